"""Commands in pipes: ids from stdin and to it, whole folders of images, a stdout that is full, closed or left."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from sluice_client import RequestIgnored, Sluice, cli
from sluice_client.files import coco, naming
from sluice_client.frames import Frame

from tests.made.command_line import ROI, lines
from tests.made.fake_server import png

SLUICE = f"{sys.executable} -m sluice_client.cli"
ODD = ["a b", "  two  spaces", "quote'\"$HOME", "-dash", "süd/über 1", "x.png"]


@pytest.fixture
def odd(server):
    """Store frames with ids that a shell would take apart."""
    with Sluice() as client:
        for i, id in enumerate(ODD):
            client.add(png(i), id=id, drive="A" if i < 4 else "B")
    return server


def shell(script: str) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, timeout=60)


def stdin(monkeypatch, data: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data.encode())))


# Ids ----------------------------------------------------------------------------------------------------------------


def test_ids_with_spaces_survive_a_pipe_and_xargs(odd, tmp_path):
    done = shell(f"{SLUICE} list --null -q | {SLUICE} get - --null -q -o {tmp_path}/out")
    assert done.returncode == 0 and [json.loads(line)["id"] for line in done.stdout.splitlines()] == ODD
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == len(ODD)
    done = shell(f"{SLUICE} list --drive A --null -q | xargs -0 {SLUICE} delete --")
    assert (done.returncode, done.stdout) == (0, "4 deleted\n") and list(odd.frames) == ODD[4:]
    done = shell(f"{SLUICE} list --null -q | {SLUICE} delete - --null --json")
    assert done.returncode == 0 and odd.frames == {}
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"id": id, "deleted": True} for id in ODD[4:]]


ABOUT_IDS = [
    ["get", "-"],
    ["delete", "-"],
    ["detect", "--ids", "-"],
    ["segment", "--classes", "road", "--ids", "-"],
    ["compare", "--texts", "a road", "--ids", "-"],
]


@pytest.mark.parametrize("words", ABOUT_IDS, ids=lambda words: words[0])
def test_every_command_about_ids_reads_them_from_stdin_in_both_forms(odd, words, monkeypatch, capsys):
    stdin(monkeypatch, "x.png\r\n\na b\nx.png\n")
    assert cli.main([*words, "--json"]) == 0
    assert [row["id"] for row in lines(capsys)] == ["x.png", "a b"]
    with Sluice() as client:
        client.add(png(0), id="a b")
        client.add(png(5), id="x.png")
    stdin(monkeypatch, "  two  spaces\0a b\0")
    assert cli.main([*words, "--null", "--json"]) == 0
    assert [row["id"] for row in lines(capsys)] == ["  two  spaces", "a b"]
    for data, more, message in (
        ("", [], "no ids on stdin"),
        ("a b\n", ["--null"], "stdin has no zero byte; leave --null out"),
        ("a b\0", [], "say so with --null"),
    ):
        stdin(monkeypatch, data)
        assert cli.main([*words, *more]) == 2
        said = capsys.readouterr()
        assert message in said.err and said.err.count("\n") == 1 and said.out == ""


def test_labelled_ids_may_end_with_zero_bytes_and_stdin_is_read_once(odd, tmp_path, monkeypatch, capsys):
    (tmp_path / "labelled").write_bytes(b"a b\0  two  spaces\0")
    cli.main(["score", "-q"])
    capsys.readouterr()
    assert cli.main(["select", "--labelled", str(tmp_path / "labelled"), "--null", "-q", "--json"]) == 0
    assert json.loads(odd.calls[-1][0].inputs["OPTIONS"][0])["labelled"] == ["a b", "  two  spaces"]
    assert cli.main(["select", "--labelled", "-", "--candidates", "-"]) == 2
    assert "can be read only once" in capsys.readouterr().err
    assert cli.main(["select", "--null"]) == 2
    assert "--labelled" in capsys.readouterr().err
    assert cli.main(["get", "-", "-"]) == 2


# Images -------------------------------------------------------------------------------------------------------------


def test_get_writes_many_images_each_under_a_name_with_an_ending(odd, tmp_path, capsys):
    assert cli.main(["get", *ODD[:3], ODD[4], "x.png", "-o", str(tmp_path / "out")]) == 0
    rows = lines(capsys)
    assert [row["file"] for row in rows] == [
        str(tmp_path / "out" / name)
        for name in ("a b.png", "  two  spaces.png", "quote'_$HOME.png", "süd/über 1.png", "x.png")
    ]
    for row in rows:
        with open(row["file"], "rb") as file:
            assert file.read() == odd.bytes[row["id"]]
    assert cli.main(["get", "x.png", "-o", f"{tmp_path}/one/"]) == 0 and (tmp_path / "one" / "x.png").exists()
    assert cli.main(["get", "x.png", "-o", str(tmp_path / "y.png")]) == 0 and (tmp_path / "y.png").is_file()
    (tmp_path / "file").write_bytes(b"")
    assert cli.main(["get", "a b", "x.png", "-o", str(tmp_path / "file")]) == 2
    assert "a file of that name" in capsys.readouterr().err


def test_an_id_that_is_not_stored_fails_alone(odd, tmp_path, capsys):
    assert cli.main(["get", "a b", "nosuch", "x.png", "-o", str(tmp_path / "out"), "--json"]) == 1
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [("error" in row, row["id"]) for row in rows] == [(False, "a b"), (True, "nosuch"), (False, "x.png")]
    assert "no frame with the id 'nosuch' is stored" in said.err and len(os.listdir(tmp_path / "out")) == 2
    assert cli.main(["get", "nosuch"]) == 2
    assert "sluice list" in capsys.readouterr().err


def test_coco_calls_stored_frames_as_get_does(odd, tmp_path, capsys):
    images = tmp_path / "images.json"
    words = ["detect", "--ids", *ODD[:3], *ODD[4:], "--to", "coco", "-o", str(tmp_path / "r.json"), "-q"]
    assert cli.main([*words, "--coco-images", str(images)]) == 0
    names = [one["file_name"] for one in json.loads(images.read_text())["images"]]
    assert names == ["a b.png", "  two  spaces.png", "quote'_$HOME.png", "süd/über 1.png", "x.png"]
    words = ["segment", "--ids", "a b", "x.png", "--classes", "road", "--coco", str(tmp_path / "s.json"), "-q"]
    assert cli.main([*words, "--coco-images", str(images)]) == 0
    assert [one["file_name"] for one in json.loads(images.read_text())["images"]] == ["a b.png", "x.png"]
    # Labels of one's own know what their files are called.
    own = {"images": [{"id": 7, "file_name": "val/a b.jpeg"}], "categories": [{"id": 1, "name": "road"}]}
    (tmp_path / "own.json").write_text(json.dumps(own))
    words = ["segment", "--ids", "a b", "--classes", "road", "--coco", str(tmp_path / "s.json"), "-q"]
    assert cli.main([*words, "--coco-ids", str(tmp_path / "own.json"), "--coco-images", str(images)]) == 0
    assert [one["file_name"] for one in json.loads(images.read_text())["images"]] == ["val/a b.jpeg"]


def test_names_of_stored_frames_are_distinct_and_keep_an_ending_that_pictures_have():
    formats = {"a": "jpeg", "a.jpg": "jpeg", "A.JPG": None, "b": "webp", "v1.2": "png", "c": None, "../d": "jpeg"}
    assert naming.stored(formats) == {
        "a": "a.jpg",
        "a.jpg": "a-2.jpg",
        "A.JPG": "A-3.JPG",
        "b": "b.webp",
        "v1.2": "v1.2.png",
        "c": "c",
        "../d": "_/d.jpg",
    }
    frames = [Frame(id, more={"format": format}) for id, format in formats.items()]
    ids = coco.Ids.of([], [], frames)
    assert ids.files == {}  # of images that are not asked for


# stdout -------------------------------------------------------------------------------------------------------------


FULL = ["list", "list --json", "list --null", "get x.png", "detect --ids x.png", "detect --ids x.png --to coco",
        f"retrieve --id x.png --roi {ROI} --to csv", "score", "delete x.png", "words", "--help", "get --help",
        "detect --ids x.png --to jsonl -o /dev/full", "detect --ids x.png --to coco -o /dev/full"]  # fmt: skip


@pytest.mark.parametrize("words", FULL)
def test_a_full_disk_is_one_sentence_and_1(odd, words):
    done = shell(f"{SLUICE} {words} > /dev/full" if "/dev/full" not in words else f"{SLUICE} {words}")
    what = "stdout" if "/dev/full" not in words else "/dev/full"
    assert done.stderr.splitlines()[-1] == f"sluice: {what} cannot be written: No space left on device."
    assert done.returncode == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["list", "delete x.png"])
def test_a_closed_stdout_is_refused_before_anything_is_done(odd, words):
    done = shell(f"{SLUICE} {words} >&-")
    assert done.returncode == 2 and done.stderr.startswith("sluice: stdout is closed") and "x.png" in odd.frames


def test_a_stderr_that_cannot_be_written_leaves_data_alone(odd):
    for where in ("2>&-", "2>/dev/full"):
        done = shell(f"{SLUICE} list --drive nowhere --drive A {where}")
        assert done.returncode == 0 and len(done.stdout.splitlines()) == 4


def test_what_was_asked_is_done_although_nobody_reads_on(server, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.png").write_bytes(png(i))
    # `true` reads nothing: the first line that add prints finds no reader.
    done = shell(f"{SLUICE} add {folder} --batch 1 --in-flight 1 --json | true")
    assert done.returncode == 0 and len(server.frames) == 6 and "Traceback" not in done.stderr
    assert shell(f"{SLUICE} list --json | true").returncode == 0


# Nothing is passed over in silence -----------------------------------------------------------------------------------


def test_a_known_frame_that_is_described_otherwise_is_told(server, tmp_path, capsys):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    assert cli.main(["add", str(tmp_path), "--tags", "day", "--drive", "A"]) == 0
    capsys.readouterr()
    assert cli.main(["add", str(tmp_path), "--drive", "A"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert cli.main(["add", str(tmp_path), "--tags", "night,rain", "--drive", "B"]) == 0
    said = capsys.readouterr()
    assert "0 stored, 3 known" in said.out
    assert "not taken over (drive of 3, tags of 3)" in said.err and "0.png stays 'A', not 'B'" in said.err
    assert cli.main(["add", str(tmp_path), "--tags", "night,rain", "--json"]) == 0
    assert [row["differs"] for row in lines(capsys)] == [{"tags": {"given": ["night", "rain"], "stored": ["day"]}}] * 3


def test_names_that_no_frame_has_are_told_beside_the_answer(odd, tmp_path, capsys):
    cli.main(["score", "-q"])
    capsys.readouterr()
    assert cli.main(["list", "--drive", "nowhere", "--drive", "A"]) == 0
    said = capsys.readouterr()
    assert (
        len(said.out.splitlines()) == 4
        and said.err.count("warning: drives: no stored frame has such a drives: 'nowhere'") == 1
    )
    (tmp_path / "labelled").write_text("a b\nx\ny\nz\n")
    assert cli.main(["select", "--labelled", str(tmp_path / "labelled"), "--json"]) == 0
    said = capsys.readouterr()
    assert "warning: labelled: no stored frame has such a labelled: 'x', 'y' and 1 more" in said.err
    assert json.loads(said.out.splitlines()[0])["no_effect"][0]["count"] == 3
    assert cli.main(["retrieve", "--id", "a b", "--roi", ROI, "--drive", "A", "--drive", "nowhere", "--json"]) == 0
    said = capsys.readouterr()
    assert "warning: drives" in said.err and json.loads(said.out.splitlines()[0])["no_effect"][0]["values"] == [
        "nowhere"
    ]


def test_the_clients_tell_it_too(odd):
    with Sluice() as client:
        assert client.select(labelled=["a b", "x"]).no_effect[0].values == ("x",)
        assert client.select(labelled=["a b"]).no_effect == ()
        with pytest.warns(RequestIgnored, match="'nowhere'"):
            assert list(client.frames(drives=["nowhere"], page=1)) == []
        receipt = client.add(png(0), id="a b", drive="C")
        assert receipt.status == "known" and receipt.differs == {"drive": {"given": "C", "stored": "A"}}


# Several queries ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "queries", "owners"),
    [
        ("a.png --roi 1,1,9,9 b.png --roi 2,2,9,9 --roi 3,3,9,9", "ab", [0, 1, 1]),
        ("a.png b.png --roi 1,1,9,9 --roi 2,2,9,9 c.png --roi 3,3,9,9", "abc", [0, 0, 1, 1, 2]),
        ("--roi 1,1,9,9 a.png b.png --roi=2,2,9,9", "ab", [0, 1]),
        ("-k 3 a.png --ro 1,1,9,9 -k5 --drive A b.png --roi 2,2,9,9 --json", "ab", [0, 1]),
        ("a.png --roi 0%,0%,50%,50% --and b.png --roi 2,2,9,9 -- c.png --roi", "ab", None),
    ],
    ids=str,
)
def test_a_region_belongs_to_the_queries_named_before_it(odd, words, queries, owners, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate("abc"):
        (tmp_path / f"{name}.png").write_bytes(png(i))
    assert cli.main(["retrieve", *words.split()]) == (2 if owners is None else 0)
    said = capsys.readouterr()
    if owners is None:
        assert "behind c.png" in said.err  # behind -- all words are images
        return
    call = odd.calls[-1][0]
    assert call.inputs["QUERY_IMAGES"].tolist() == [png("abc".index(name)) for name in queries]
    assert call.inputs["ROI_QUERY"].tolist() == owners
    assert f"{len(queries)} queries, each with its count of regions: a.png" in said.err


def test_stored_frames_are_queries_too_and_each_may_have_a_list(odd, capsys):
    words = ["retrieve", "--id", "a b", "--roi", ROI, "--id", "x.png", "--roi", ROI, "--combine", "query"]
    assert cli.main(words) == 0
    call = odd.calls[-1][0]
    assert call.inputs["QUERY_IDS"].tolist() == [b"a b", b"x.png"] and call.inputs["ROI_QUERY"].tolist() == [0, 1]
    assert json.loads(call.inputs["OPTIONS"][0])["combine"] == "query"
    assert cli.main(["retrieve", "--id", "a b", "--roi", ROI, "b.png", "--roi", ROI]) == 2
    assert "one of the two" in capsys.readouterr().err
