"""Texts as other people's programs write them: with a byte order mark, CR LF, U+2028, in UTF-16; names that are not
UTF-8; numbers that are none. Each is read as it was meant, or refused in one sentence."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sluice_client import InvalidRequest, NewFrame, cli
from sluice_client.commands import COMMANDS
from sluice_client.drawing import pictures
from sluice_client.files import coco, saved_results, text_files
from sluice_client.files.image_files import listed
from sluice_client.pages import document
from sluice_client.query import UNREAD, encoded
from sluice_client.tensors import from_json, json_tensor, strings

from tests.made.fake_server import png

BOM = b"\xef\xbb\xbf"
LATIN = os.fsdecode("café.png".encode("latin-1"))  # as Python names such a file under a UTF-8 locale


def test_a_byte_order_mark_is_no_text_and_only_lf_and_crlf_end_a_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(BOM + "road\r\na\u2028b\x85c\x0bd\r\n\n car \n".encode())
    assert text_files.lines(text_files.read(tmp_path / "a.txt")) == ["road", "a\u2028b\x85c\x0bd", "", "car", ""]


def test_every_text_input_is_read_so(tmp_path, server, capsys, monkeypatch):
    """Cover --frames, --coco-ids, --labelled, --candidates, --statistics, --classes-file, `page`, ids from a pipe."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b\u2028.png"):
        Path(name).write_bytes(png(len(name)))
    rows = [{"file": "a.png", "id": "a"}, {"file": "b\u2028.png", "id": "b\u2028"}]
    frames = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\r\n"
    Path("frames.jsonl").write_bytes(BOM + frames.encode())
    assert [entry["id"] for entry in listed(Path("frames.jsonl"))] == ["a", "b\u2028"]
    assert cli.main(["add", "--frames", "frames.jsonl"]) == 0 and set(server.frames) == {"a", "b\u2028"}
    labels = {"images": [{"id": 5, "file_name": "a.png"}], "categories": [{"id": 3, "name": "Car"}]}
    Path("labels.json").write_bytes(BOM + json.dumps(labels).encode())
    assert coco.Ids.load("labels.json").numbers(["a.png"]) == {"a.png": 5}
    Path("ids.txt").write_bytes(BOM + "a\r\nb\u2028\r\n".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("ids.txt").read_bytes())))
    capsys.readouterr()
    assert cli.main(["detect", "--ids", "-", "--json"]) == 0
    said = capsys.readouterr().out
    assert [json.loads(line)["id"] for line in said.split("\n") if line] == ["a", "b\u2028"]
    Path("found.jsonl").write_bytes(BOM + said.replace("\n", "\r\n").encode())
    assert [row["id"] for row in text_files.objects("found.jsonl")] == ["a", "b\u2028"]
    assert cli.main(["page", "found.jsonl", "-o", "page.html"]) == 0
    assert cli.main(["score"]) == 0
    assert cli.main(["select", "--labelled", "ids.txt", "-n", "1"]) == 0
    assert from_json("select", server.calls[-1][0].inputs["OPTIONS"][0])["labelled"] == ["a", "b\u2028"]
    assert cli.main(["select", "-n", "1", "--save-statistics", "s.json"]) == 0
    Path("s.json").write_bytes(BOM + Path("s.json").read_bytes())
    assert cli.main(["select", "-n", "1", "--statistics", "s.json", "--candidates", "found.jsonl"]) == 0
    Path("classes.txt").write_bytes(BOM + b"road\r\ncar\r\n")
    assert cli.main(["segment", "a.png", "--classes-file", "classes.txt", "--json"]) == 0
    assert list(server.calls[-1][0].inputs["CLASSES"]) == [b"road", b"car"]
    Path("saved.json").write_bytes(BOM + b'{"format": "other"}')
    with pytest.raises(InvalidRequest, match="got 'other'"):
        saved_results.load("saved.json")


def test_what_is_not_utf8_is_named_as_what_it_is(tmp_path):
    (tmp_path / "a.txt").write_bytes("road\n".encode("utf-16"))
    with pytest.raises(InvalidRequest, match=r"a\.txt should be text in UTF-8; it looks like UTF-16\. Save it as"):
        text_files.read(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InvalidRequest, match=r"should be text in UTF-8; byte 3 is not"):
        text_files.read(tmp_path / "a.txt")
    for name in ("a\0b", "\ud800"):  # names that no file can have
        for use in (text_files.read, lambda name: text_files.write(name, ""), encoded):
            with pytest.raises(InvalidRequest, match=r"cannot be (read|written)"):
                use(name)
    with pytest.raises(InvalidRequest, match="line 1 is not JSON"):
        text_files.json_lines("[" * 100_000, "deep")


def test_an_id_that_stands_twice_is_refused_with_both_lines():
    text = '{"id": "000066.jpg"}\n{"id": "b"}\n{"id": "000066.jpg"}\n'
    with pytest.raises(InvalidRequest, match=r"both\.jsonl, line 3: the id '000066.jpg' stands in line 1 already"):
        text_files.json_lines(text, "both.jsonl")


# Two cameras whose files have the same names ------------------------------------------------------------------------


@pytest.fixture
def rig(tmp_path):
    """Write three pictures of three sizes, two of them with the same name."""
    sizes = {"front/000066.png": (64, 48), "rear/000066.png": (48, 64), "rear/000067.png": (32, 32)}
    for i, (name, size) in enumerate(sizes.items()):
        (tmp_path / "rig" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "rig" / name).write_bytes(png(i, size))
    return {str(Path("rig", name)): size for name, size in sizes.items()}


def shown(page: Path) -> dict[str, tuple[int, int]]:
    """Return id -> (width, height) of the picture, for the cards of a page that state a size."""
    cards = page.read_text().split("<article")[1:]
    found = {}
    for card in cards:
        size = re.search(r"aspect-ratio:(\d+)/(\d+)", card)
        id = re.search(r'class="id">([^<]*)<', card)
        assert id
        if size:
            found[id[1]] = int(size[1]), int(size[2])
    return found


def test_a_page_shows_each_row_its_own_picture(rig, tmp_path, server, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path("page.html")

    def made(folder: str) -> dict[str, tuple[int, int]]:
        assert cli.main(["page", "rig.jsonl", "-o", str(page), "--images", folder]) == 0
        return shown(page)

    assert cli.main(["detect", "rig", "--to", "jsonl", "-o", "rig.jsonl"]) == 0
    assert made("rig") == rig and made(str(tmp_path)) == rig
    for camera in ("front", "rear"):  # the other camera's rows have no picture rather than this one's
        assert made(f"rig/{camera}") == {id: size for id, size in rig.items() if camera in id}
    (tmp_path / "elsewhere").mkdir()
    Path("rig").rename("elsewhere/moved")
    assert made("elsewhere") == {}, "'moved/front' is not known to be 'rig/front'"
    assert made("elsewhere/moved") == rig
    Path("elsewhere/moved/rear/000067.png").rename("elsewhere/000067.png")
    Path("elsewhere/moved/rear/000066.png").rename("elsewhere/000066.png")
    shutil.rmtree("elsewhere/moved")
    assert made("elsewhere") == {"rig/rear/000067.png": (32, 32)}, "one file cannot be both cameras'"
    assert "would both be" in page.read_text()


def test_labels_that_know_one_of_two_cameras_are_refused_before_a_picture_is_sent(
    rig, tmp_path, server, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for known in ("000066.png", "front/000066.png"):
        labels = {"images": [{"id": 1, "file_name": known}], "categories": [{"id": 1, "name": "Car"}]}
        Path("labels.json").write_text(json.dumps(labels))
        front, rear = "rig/front/000066.png", "rig/rear/000066.png"
        for words in (
            ["detect", front, rear, "--to", "coco"],
            ["segment", front, rear, "--classes", "Car", "--coco", "c.json"],
        ):
            assert cli.main([*words, "--coco-ids", "labels.json"]) == 2
            said = capsys.readouterr().err
            assert "front/000066.png" in said and "rear/000066.png" in said and said.count("\n") == 1
    assert not server.calls


def test_a_class_that_the_labels_lack_is_said_before_the_last_picture(rig, tmp_path, server, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images = [{"id": i, "file_name": name} for i, name in enumerate(rig)]
    Path("labels.json").write_text(json.dumps({"images": images, "categories": []}))
    words = ["detect", "rig", "--to", "coco", "--coco-ids", "labels.json", "--batch", "1", "--in-flight", "1"]
    assert cli.main(words) == 2 and "rename it there" in capsys.readouterr().err
    assert 0 < len(server.calls) < 3
    assert cli.main(["segment", "rig", "--classes", "road", "--coco", "c.json", "--coco-ids", "labels.json"]) == 2


def test_of_two_files_that_would_have_one_id_the_second_is_refused_alone(rig, tmp_path, server, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["add", "rig", "--id-from", "name"]) == 1
    said = capsys.readouterr()
    assert (
        "rig/rear/000066.png was refused: rig/front/000066.png comes before it with the same id, '000066'" in said.err
    )
    assert "2 stored, 0 known, 1 refused" in said.out and set(server.frames) == {"000066", "000067"}
    assert server.bytes["000066"] == Path("rig/front/000066.png").read_bytes()
    Path("f.jsonl").write_text("".join(json.dumps({"file": name, "id": "a"}) + "\n" for name in rig))
    assert cli.main(["add", "--frames", "f.jsonl", "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["status"] for row in rows] == ["refused", "refused", "known"] and rows[0]["remedy"]


# Names that are not UTF-8 -------------------------------------------------------------------------------------------


def test_json_escapes_what_utf8_does_not_have_and_what_stdout_cannot_show():
    assert text_files.as_json({"id": LATIN}) == '{"id": "caf\\udce9.png"}'
    assert text_files.as_json({"id": "café"}) == '{"id": "café"}'
    assert text_files.as_json({"id": "café"}, "ascii") == '{"id": "caf\\u00e9"}'
    assert json.loads(text_files.as_json({"id": LATIN})) == {"id": LATIN}
    with pytest.raises(ValueError, match="JSON"):
        text_files.as_json({"score": math.nan})


def test_a_file_whose_name_is_not_utf8_goes_through_every_form(tmp_path, server):
    """Run the commands as separate processes, whose stdout is strict UTF-8 as in a terminal."""
    folder = tmp_path / "drive"
    folder.mkdir()
    for i, name in enumerate((LATIN, "b.png")):
        (folder / name).write_bytes(png(i))
    path = str(folder / LATIN)

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "sluice_client.cli", *words],
            capture_output=True,
            timeout=60,
            env=os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"},
        )
        assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
        return done.stdout.decode()

    def ids(text: str, key: str = "id") -> set[str]:
        return {json.loads(line)[key] for line in text.splitlines()}

    assert path in ids(run("add", str(folder), "--json", "--id-from", "name"), "file")
    assert set(server.frames) == {"caf\\xe9", "b"}
    found = run("detect", str(folder), "--json")
    assert path in ids(found)
    assert "caf" in run("detect", str(folder))
    assert path in ids(run("match", path, "--roi", "8,8,24,24", str(folder), "--json"))
    assert "caf\\udce9" in run("match", path, "--roi", "8,8,24,24", str(folder), "--to", "csv")
    assert path in ids(run("segment", str(folder), "--classes", "road", "--json"))
    assert path in ids(run("compare", str(folder), "--texts", "road", "--json"))
    page, again, saved = (tmp_path / name for name in ("a.html", "b.html", "saved.json"))
    (tmp_path / "found.jsonl").write_text(found)
    run("detect", str(folder), "--page", str(page), "--to", "jsonl", "-o", str(tmp_path / "again.jsonl"))
    assert (tmp_path / "again.jsonl").read_text() == found
    run("page", str(tmp_path / "found.jsonl"), "-o", str(again))
    for made in (page, again):
        assert made.read_text().count('class="card"') == 2 and "The image is missing" not in made.read_text()
    run("match", path, "--roi", "8,8,24,24", str(folder), "--save", str(saved))
    assert path in [match.id for match in saved_results.load(str(saved)).found.matches]
    assert "caf%E9.png" in run("detect", str(folder), "--to", "labelstudio", "--address", "http://h/{id}")
    assert len(json.loads(run("detect", str(folder), "--to", "coco", "--coco-images", str(tmp_path / "i.json")))) > 0
    assert path in {image["file_name"] for image in json.loads((tmp_path / "i.json").read_text())["images"]}


def test_a_text_that_travels_as_text_must_be_utf8():
    with pytest.raises(InvalidRequest, match=r"A text must be UTF-8; 'caf\\udce9.png' is not"):
        strings([LATIN])
    for more in ({"id": LATIN}, {"drive": LATIN}, {"camera": LATIN}, {"tags": [LATIN]}):
        with pytest.raises(InvalidRequest, match="must be UTF-8"):
            NewFrame(b"x", **more)
    assert json.loads(json_tensor({"id": LATIN})[0]) == {"id": LATIN}, "in JSON it is escaped, and comes back"


def test_a_page_holds_such_a_name(tmp_path):
    page = document.render("enhance.html", title=LATIN, summary="", data={"id": LATIN}, pairs=[])
    document.write(tmp_path / "a.html", page)
    written = (tmp_path / "a.html").read_text()
    assert (
        "<h1>caf\\udce9.png</h1>" in written
        and '<script type="application/json" id="data">{"id": "caf\\udce9.png"}<' in written
    )
    assert json.loads(written.split('id="data">')[1].split("</script>")[0]) == {"id": LATIN}


# Numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("roi", ["-4.5,0,10,10", "-4,-.5,10,1e1"])
@pytest.mark.parametrize("joined", [True, False])
def test_a_region_may_begin_with_a_minus(roi, joined):
    words = [f"--roi={roi}"] if joined else ["--roi", roi]
    args = cli._parse(["match", "a.jpg", *words, "b.jpg"])
    assert args.asked[0].rois == (tuple(map(float, roi.split(","))),) and args.paths == ["a.jpg", "b.jpg"]
    assert cli._parse(["retrieve", "--after", "-1e9", "--threshold", "-.5"]).after == -1e9
    assert cli._parse(["get", "-5"]).ids == ["-5"]


def numeric_options() -> list[tuple[str, str, type]]:
    found = []
    choices = next(action for action in cli.parser()._actions if action.dest == "command").choices
    for name in COMMANDS:
        for action in choices[name]._actions:
            if action.type in (int, float):
                found.append((name, action.option_strings[0], action.type))
    return found


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "9" * 401, "9" * 5000, "x", ""])
def test_what_is_no_number_is_refused_in_one_sentence_by_every_option(text, capsys):
    options = numeric_options()
    assert len(options) > 40
    for command, option, kind in options:
        if kind is float and text == "9" * 401:
            continue  # that is infinity, as 1e999 is
        with pytest.raises(SystemExit) as stop:
            cli.main([command, f"{option}={text}"])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and "number was expected, got" in said and "Traceback" not in said, (
            command,
            option,
        )
        assert len(said.splitlines()[-1]) < 200


@pytest.mark.parametrize("words", [["--after", "1e308"], ["-k", "0"], ["-k", str(2**62)], ["--fuse", "-1e300"]])
def test_numbers_out_of_range_are_the_servers_to_judge_and_no_traceback(server, words, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(png(0))
    code = cli.main(["retrieve", str(tmp_path / "a.png"), "--roi", "0,0,9,9", *words])
    assert code in (0, 1, 2) and capsys.readouterr().err.count("\n") <= 2


@pytest.mark.parametrize("time", ["9" * 401, "1e999", "-1e999", "NaN", "Infinity"])
def test_a_time_that_is_no_finite_number_is_refused_in_one_sentence(time, tmp_path, server, capsys):
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / "frames.jsonl").write_text(f'{{"file": "a.png", "time": {time}}}\n')
    assert cli.main(["add", "--frames", str(tmp_path / "frames.jsonl")]) == 2
    said = capsys.readouterr().err
    assert "time of a frame is in seconds and finite" in said and said.count("\n") == 1 and len(said) < 200


def test_numbers_that_json_has_not_are_refused_before_they_travel():
    with pytest.raises(InvalidRequest, match="Numbers must be finite"):
        json_tensor({"after": math.inf})


# Metadata that cannot be read -----------------------------------------------------------------------------------------


BROKEN = [
    b"Exif\0\0\0\x08\0\x02\x01\x12\0\x03",  # no TIFF header
    b"Exif\0\0II*\0\x08\0\0\0\xff\xff",  # more entries than bytes
    b"Exif\0\0II*\0\xff\xff\xff\xff",  # an offset beyond the end
    b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04ab\0\0\0\0\0\0",  # an orientation of letters
    b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x05\0\0\0\x01\0\0\0\xff\0\0\0\0",  # a fraction that lies elsewhere
    b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",  # orientation 99
]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("exif", BROKEN)
@pytest.mark.filterwarnings("ignore")
def test_exif_that_cannot_be_read_costs_no_pixel(form, exif):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(file, form, exif=exif)
    data = file.getvalue()
    assert pictures.size(data) == (64, 48) and pictures.shrink(data, 32)[1:] == (64, 48)
    whole = np.asarray(pictures.upright(data), int)
    assert whole.shape == (48, 64, 3) and abs(whole - (200, 30, 30)).max() <= 4


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(turn):
    from PIL import Image, ImageOps

    exif = Image.Exif()
    exif[0x0112] = turn
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(turn).integers(0, 256, (5, 9, 3), np.uint8)).save(file, "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue())))
    assert np.array_equal(np.asarray(pictures.upright(file.getvalue())), np.asarray(expected))
    assert pictures.size(file.getvalue()) == expected.size


def test_a_folder_is_not_lost_by_one_picture_with_broken_exif(tmp_path, server, capsys):
    from PIL import Image

    (tmp_path / "good.png").write_bytes(png(0))
    Image.new("RGB", (64, 48)).save(tmp_path / "bad.png", exif=BROKEN[0])
    assert cli.main(["detect", str(tmp_path), "--json", "--page", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2 and f"bad.png: {UNREAD}" in said.err
    assert "The image is missing" not in (tmp_path / "page.html").read_text()
