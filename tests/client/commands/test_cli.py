"""The command line: data on stdout, the rest on stderr, exit codes that scripts can trust. Runs against a fake server
over a real socket; a few times as a process of its own."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import pytest
from sluice_client import cli, commands
from sluice_client.commands import COMMANDS
from sluice_client.files.saved_results import load
from sluice_client.verbs import health

from tests.made import videos
from tests.made.broken_files import broken_exif
from tests.made.command_line import ROI, lines
from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.grpc import serving


@pytest.fixture
def drive(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i * 30:06d}.png").write_bytes(png(i))
    return folder


def process(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "sluice_client.cli", *words], capture_output=True, text=True, timeout=60, **options
    )


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_examples_and_explains_its_arguments(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and f"sluice {name}" in text and "examples:" in text
    module = COMMANDS[name]
    assert module.__doc__ and module.__doc__.splitlines()[0] in " ".join(text.split())


def test_the_list_of_commands_names_each_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(re.search(rf"\n    {name}\s", text) for name in [*COMMANDS, "serve"]) and "75" in text


def test_every_file_is_a_command_and_has_a_place_of_its_own():
    files = {path.stem for path in Path(commands.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(COMMANDS) == files
    places = [module.PLACE for module in COMMANDS.values()]
    assert places == sorted(set(places)) and list(COMMANDS)[:2] == ["add", "retrieve"]


def test_add_stores_a_folder_and_says_how_many(server, drive, capsys):
    words = ["add", str(drive), "--drive", "A", "--camera", "front", "--tags", "day, dry", "--time-from", "name"]
    assert cli.main([*words, "--fps", "30", "--id-from", "name"]) == 0
    assert capsys.readouterr().out.startswith("4 stored, 0 known, 0 refused in ")
    assert server.frames["000060"] | {"sha256": ""} == {
        "id": "000060",
        "drive": "A",
        "camera": "front",
        "time": 2.0,
        "tags": ["day", "dry"],
        "sha256": "",
        "width": 64,
        "height": 48,
    }
    assert cli.main([*words, "--fps", "30"]) == 0
    assert capsys.readouterr().out.startswith("0 stored, 4 known, 0 refused in ")


def test_add_goes_on_after_a_bad_file_and_ends_with_1(server, drive, capsys):
    (drive / "bad.png").write_bytes(b"junk")
    (drive / "empty.png").write_bytes(b"")
    assert cli.main(["add", str(drive), "--json"]) == 1
    rows = lines(capsys)
    assert [row["status"] for row in rows] == ["stored"] * 4 + ["refused"] * 2
    assert rows[0]["file"].endswith("000000.png") and "not an image" in rows[4]["error"]
    assert cli.main(["add", str(drive)]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("0 stored, 4 known, 2 refused") and "bad.png was refused: not an image" in said.err
    assert "empty.png was refused: has zero bytes." in said.err


def test_a_video_is_refused_by_a_sentence_and_its_neighbours_are_added(server, drive, tmp_path, capsys):
    videos.plain(tmp_path / "clip.jpg", "mp4", "libx264", count=2)
    assert cli.main(["add", str(tmp_path / "clip.jpg")]) == 2
    assert "clip.jpg: It is a video, and only images can be added" in capsys.readouterr().err
    assert cli.main(["add", str(tmp_path / "clip.jpg"), str(drive)]) == 1
    said = capsys.readouterr()
    assert "clip.jpg was refused: It is a video" in said.err and "1 refused" in said.out and "0 stored" not in said.out


def test_metadata_that_cannot_be_read_cost_a_note_and_no_frame(server, drive, capsys):
    (drive / "bad.png").write_bytes(broken_exif((40, 30), "PNG"))
    for words in (["add", str(drive)], ["detect", str(drive)], ["match", str(drive / "bad.png"), "--roi", "0,0,9,9",
                  str(drive)]):  # fmt: skip
        assert cli.main(words) == 0
        assert capsys.readouterr().err.count("bad.png: its EXIF data cannot be read and was ignored") == 1


def test_add_reads_a_list_of_frames_with_what_is_known_of_each(server, drive):
    rows = [{"file": "000000.png", "id": "x", "drive": "B", "time": 1.5, "tags": ["t"]}, {"file": "000030.png"}]
    (drive / "frames.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert cli.main(["add", "--frames", str(drive / "frames.jsonl"), "--drive", "A"]) == 0
    assert (server.frames["x"]["drive"], server.frames["x"]["time"]) == ("B", 1.5)
    assert sorted(frame["drive"] for frame in server.frames.values()) == ["A", "B"]


def test_retrieve_prints_a_table_json_lines_or_csv(server, drive, capsys):
    cli.main(["add", str(drive), "--drive", "A", "--id-from", "name"])
    words = ["retrieve", str(drive / "000030.png"), "--roi", ROI, "-k", "2"]
    capsys.readouterr()
    assert cli.main(words) == 0
    said = capsys.readouterr()
    table = said.out.splitlines()
    assert table[0].split()[:3] == ["rank", "score", "id"] and table[1].split()[:4] == ["1", "1.0000", "000030", "A"]
    assert "2 of 4 frames" in said.err
    assert cli.main([*words, "--json", "-q"]) == 0
    rows = lines(capsys)
    assert [row["rank"] for row in rows] == [1, 2]
    assert rows[0]["id"] == "000030" and rows[0]["boxes"] == [[8, 8, 16, 16]] and rows[0]["frame"]["drive"] == "A"
    assert cli.main([*words, "--to", "csv", "-q"]) == 0
    said = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert rows[0]["id"] == "000030" and float(rows[0]["score"]) == 1 and said.err == ""


def test_retrieve_sends_every_option(server, drive, capsys):
    cli.main(["add", str(drive), "--id-from", "name"])
    words = ["--roi", "1,2,3,4", "--roi", "5,6,7,8", "-k", "3", "--score", "mean", "--combine", "mean"]
    words += ["--drive", "A", "--drive", "B", "--camera", "c", "--after", "1", "--before", "2"]
    words += ["--tag", "t", "--exclude", "e", "--per-drive", "4", "--threshold", "0.5"]
    assert cli.main(["retrieve", "--id", "000030", *words]) == 0
    call = server.calls[-1][0]
    assert call.inputs["ROIS"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]] and call.inputs["QUERY_IDS"].tolist() == [
        b"000030"
    ]
    assert json.loads(call.inputs["OPTIONS"][0]) == {
        "k": 3,
        "score": "mean",
        "combine": "mean",
        "drives": ["A", "B"],
        "cameras": ["c"],
        "after": 1,
        "before": 2,
        "tags": ["t"],
        "exclude": ["e"],
        "per_drive": 4,
        "threshold": 0.5,
        "heatmaps": False,
    }


def test_retrieve_writes_page_heat_maps_and_a_file_that_makes_the_page_again(server, drive, tmp_path, capsys):
    cli.main(["add", str(drive), "--id-from", "name"])
    out = [tmp_path / name for name in ("found.html", "heat", "found.json", "again.html", "local.html")]
    page, heat, saved, again, local = map(str, out)
    query = str(drive / "000030.png")
    words = ["retrieve", query, "--roi", ROI, "--page", page, "--heatmaps", heat, "--save", saved]
    assert cli.main(words) == 0
    assert out[0].read_text().count('class="card"') == 4
    assert sorted(os.listdir(heat))[0] == "001_000030.png"
    assert load(saved).image == png(1) and load(saved).found.matches[0].heatmap is not None
    assert cli.main(["page", saved, "-o", again, "--title", "000030.png"]) == 0
    assert out[3].read_text() == out[0].read_text()
    assert cli.main(["page", saved, "-o", local, "--images", str(drive), "--server", "127.0.0.1:9"]) == 0
    assert out[4].read_text().count("data:image/jpeg") == out[0].read_text().count("data:image/jpeg")


def test_several_queries_each_with_regions_and_a_heat_map_of_its_own(server, drive, tmp_path, capsys):
    cli.main(["add", str(drive), "--id-from", "name"])
    page, saved, again = (tmp_path / name for name in ("found.html", "found.json", "again.html"))
    first, other = str(drive / "000030.png"), str(drive / "000060.png")
    query = ["--roi", ROI, "--and", other, "--roi", "1,2,30,40", "--roi", "5,6,20,30", "--all-heatmaps"]
    for words, named in ((["retrieve", first, *query], "000030"), (["match", first, str(drive), *query], "000030.png")):
        heat = tmp_path / words[0]
        where = ["--page", str(page), "--heatmaps", str(heat), "--save", str(saved)]
        assert cli.main([*words, *where]) == 0
        call = next(call for call, _ in reversed(server.calls) if call.model == words[0])
        assert call.inputs["ROI_QUERY"].tolist() == [0, 1, 1] and len(call.inputs["QUERY_IMAGES"]) == 2
        assert call.inputs["ROIS"].tolist()[1] == [1, 2, 30, 40]
        assert set(os.listdir(heat)) >= {f"001_{named}{end}.png" for end in ("", "_query1", "_query2")}
        assert len(os.listdir(heat)) == 12
        text = page.read_text()
        assert text.count(">Heat map of query 1<") == text.count(">Heat map of query 2<") == 4
        assert text.count('data-of="0"') == 8 and text.count("region 3:") == 1 and "<dt>query</dt><dd>2</dd>" in text
        assert load(str(saved)).others[0].rois == ((1, 2, 30, 40), (5, 6, 20, 30))
        assert cli.main(["page", str(saved), "-o", str(again), "--title", "000030.png"]) == 0
        assert again.read_text() == text
    capsys.readouterr()
    assert cli.main(["retrieve", first, "--roi", ROI, "--and", other]) == 2
    assert "--roi behind --and" in capsys.readouterr().err
    assert cli.main(["retrieve", first, "--roi", ROI, "--all-heatmaps"]) == 2
    assert "--heatmaps, --page or --save" in capsys.readouterr().err


def test_match_takes_query_and_images_apart_and_shows_the_best_first(server, drive, tmp_path, capsys):
    (drive / "bad.png").write_bytes(b"junk")
    page = tmp_path / "m.html"
    query = str(drive / "000060.png")
    assert cli.main(["match", query, "--roi", ROI, str(drive), "--json", "--page", str(page)]) == 1
    rows = lines(capsys)
    assert len(rows) == 5 and rows[0]["id"] == query and rows[0]["score"] == 1
    assert rows[-1]["score"] is None and "not an image" in rows[-1]["error"]
    assert (
        page.read_text().count('class="card"') == 5 and "images compared; 1 could not be compared" in page.read_text()
    )


def test_match_against_a_stored_frame_scores_every_path(server, drive, capsys):
    cli.main(["add", str(drive), "--id-from", "name"])
    capsys.readouterr()
    assert cli.main(["match", "--id", "000060", "--roi", ROI, str(drive), "-k", "2", "--json"]) == 0
    assert len(lines(capsys)) == 2


def test_list_get_and_delete(server, drive, tmp_path, capsys):
    cli.main(["add", str(drive), "--drive", "A", "--id-from", "name"])
    capsys.readouterr()
    assert cli.main(["list", "--drive", "A", "--json", "-n", "3"]) == 0
    assert len(lines(capsys)) == 3
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split("\t")[:2] == ["000000", "A"]
    assert cli.main(["get", "000030", "-o", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").read_bytes() == png(1) and lines(capsys)[0]["id"] == "000030"
    assert cli.main(["delete", "000030", "nobody"]) == 1
    said = capsys.readouterr()
    assert said.out == "1 deleted\n" and "nobody was not stored" in said.err
    assert cli.main(["delete", "000060"]) == 0


def test_doctor_asks_every_verb_and_is_content(server, capsys):
    assert cli.main(["doctor", "--write", "--json"]) == 0
    rows = lines(capsys)
    assert all(row["ok"] and row["remedy"] == "" for row in rows)
    checks = [row["check"] for row in rows]
    assert {f"verb {verb}" for verb in health.VERBS} | {"store and find", "gallery"} <= set(checks)
    assert server.frames == {}, "the frame of the test is deleted again"


def test_doctor_names_what_is_wrong_with_a_remedy_and_ends_with_1(monkeypatch, capsys):
    fake = FakeServer()
    fake.match = lambda inputs: {**FakeServer.match(fake, inputs), "MODEL": None}  # type: ignore[method-assign]
    with serving(fake.answer, ready=lambda name: name != "image_decoder") as where:
        assert cli.main(["doctor", "--server", where, "--timeout", "2"]) == 1
    text = capsys.readouterr().out
    assert "FAIL  model image_decoder" in text and "FAIL  verb match" in text and text.count("->") == 2
    assert cli.main(["doctor", "--server", "127.0.0.1:9", "--timeout", "0.5"]) == 1
    text = capsys.readouterr().out
    assert "No server answers at 127.0.0.1:9" in text and "sluice serve" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["retrieve", "no.jpg", "--roi", ROI], "no.jpg cannot be read"),
        (["retrieve", "--roi", ROI], "an image or --id, one of the two"),
        (["retrieve", "--id", "f", "a.jpg", "--roi", ROI], "one of the two"),
        (["retrieve", "--id", "f"], "Say with --roi which part of the query to look for (x0,y0,x1,y1"),
        (["retrieve", "--id", "f", "--roi", "9,9,1,1"], "x0 < x1"),
        (["retrieve", "--id", "f", "--roi", ROI, "-k", "0"], "k must be"),
        (["retrieve", "--id", "nobody", "--roi", ROI], "no frame with the id 'nobody'"),
        (["match", "--id", "f", "--roi", ROI, "nowhere/"], "nowhere does not exist"),
        (["add"], "no images to add"),
        (["add", "nowhere"], "nowhere does not exist"),
        (["add", "x", "--frames", "y"], "not both"),
        (["page", "no.json", "-o", "x.html"], "no.json cannot be read"),
        (["list", "--server", "http://x:1"], "speaks gRPC"),
        (["get", "a", "-o", "nowhere/x"], "there is no folder nowhere"),
        (["get", "a", "--null"], "--null is for ids on stdin"),
        (["list", "-n", "0"], "-n must be at least 1"),
        (["list", "--null", "--json"], "leave one out"),
        (["retrieve", "a.jpg", "b.jpg"], "Say with --roi which part"),
        (["retrieve", "a.jpg", "--roi", ROI, "b.jpg"], "behind b.jpg"),
    ],
)
def test_bad_input_is_one_line_and_2(server, words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.startswith("sluice: ") and said.err.count("\n") == 1 and said.out == ""


@pytest.mark.parametrize(
    "words", [[], ["dance"], ["retrieve", "x", "--roi", "1,2,3"], ["list", "--colour"], ["list", "word"], ["page", "x"]]
)
def test_wrong_usage_is_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2


def test_no_server_is_75_and_says_so_while_it_waits(capsys):
    assert cli.main(["list", "--server", "127.0.0.1:9", "--timeout", "0.3"]) == 75
    said = capsys.readouterr().err
    assert "Trying again for up to 0.3 s" in said and "Start a server with `sluice serve`" in said
    assert cli.main(["list", "--server", "127.0.0.1:9", "--timeout", "0.3", "-q"]) == 75
    assert capsys.readouterr().err.count("\n") == 1


def test_a_server_that_fails_is_1(capsys):
    def fail(call, timeout):
        from sluice_client.errors import ServerFailed

        raise ServerFailed("the model failed")

    with serving(fail) as where:
        assert cli.main(["list", "--server", where]) == 1
    assert "the model failed" in capsys.readouterr().err


def test_serve_is_handed_its_words_and_its_exit_code_is_kept(monkeypatch):
    got = []

    class Point:
        name = "serve"

        def load(self):
            return lambda words: got.append(words) or 7

    monkeypatch.setattr(cli, "_plugins", lambda: {"serve": Point()})
    assert cli.main(["serve", "--grpc-port", "9", "--json"]) == 7
    assert got == [["--grpc-port", "9", "--json"]]


def test_serve_without_the_server_part_says_how_to_get_it(monkeypatch, capsys):
    class Point:
        def load(self):
            raise ModuleNotFoundError("No module named 'pytriton'")

    for plugins in ({}, {"serve": Point()}):
        monkeypatch.setattr(cli, "_plugins", lambda plugins=plugins: plugins)
        assert cli.main(["serve"]) == 2
        assert "pip install 'sluice-perception[serve]'" in capsys.readouterr().err


def test_the_command_is_installed_and_the_server_registers_its_own():
    scripts = {point.name: point.value for point in metadata.entry_points(group="console_scripts")}
    assert scripts["sluice"] == "sluice_client.cli:main"
    assert "serve" in {point.name for point in metadata.entry_points(group="sluice.commands")}


def test_as_a_process_stdout_is_data_only_and_stderr_has_no_bar_without_a_terminal(server, drive):
    done = process("add", str(drive), "--json")
    assert done.returncode == 0 and done.stderr == ""
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["stored"] * 4
    assert process("retrieve", str(drive / "000000.png"), "--roi", "4,4,1,1").returncode == 2


def test_a_reader_that_stops_reading_is_no_error(server, drive):
    cli.main(["add", str(drive)])
    command = f"{sys.executable} -m sluice_client.cli list --json | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1 and done.stderr in ("", "4 frames\n")


@pytest.mark.parametrize("state", ["slow", "absent"])
def test_ctrl_c_ends_at_once_with_130(state, drive):
    asked = threading.Event()

    def answer(call, timeout):
        asked.set()
        time.sleep(3)
        return FakeServer().answer(call, timeout)

    with serving(answer) as where:
        child = subprocess.Popen(
            [sys.executable, "-m", "sluice_client.cli", "add", str(drive), "--batch", "1"],
            env={**os.environ, "SLUICE_URL": where if state == "slow" else "127.0.0.1:9"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stderr is not None
        if state == "slow":
            assert asked.wait(30)
        else:
            assert "Trying again" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        begin = time.monotonic()
        _, said = child.communicate(timeout=30)
    assert child.returncode == 130 and "stopped" in said and "Traceback" not in said
    assert time.monotonic() - begin < 2.5


def test_a_region_in_percent_is_of_the_picture_also_of_a_stored_one(server, drive, monkeypatch):
    assert cli.main(["add", str(drive)]) == 0
    asked = []
    answer = server.retrieve
    monkeypatch.setattr(server, "retrieve", lambda inputs: asked.append(inputs["ROIS"].tolist()) or answer(inputs))
    for query in ([str(drive / "000030.png")], ["--id", next(iter(server.frames))]):
        assert cli.main(["retrieve", *query, "--roi", "25%,50%, 75%,100%", "--roi", "1,2,30,40"]) == 0
    assert asked == [[[16, 24, 48, 48], [1, 2, 30, 40]]] * 2, "of 64 x 48 pixels"
    with pytest.raises(SystemExit, match="2"):
        cli.main(["retrieve", str(drive / "000030.png"), "--roi", "10%,20,30%,40%"])


def test_what_the_server_says_of_a_region_is_told(server, drive, capsys):
    assert cli.main(["add", str(drive)]) == 0
    words = [str(drive / "000030.png"), "--roi=-4.5,0,10,10"]
    for command in (["retrieve", *words, "-k", "1"], ["match", *words, str(drive)]):
        assert cli.main(command) == 0
        assert "warning: ROI 0: [-4.5, 0.0, 10.0, 10.0] was clipped" in capsys.readouterr().err
    assert cli.main(["retrieve", *words, "-k", "1", "--json"]) == 0
    (row,) = lines(capsys)
    assert row["notes"] == ["ROI 0: [-4.5, 0.0, 10.0, 10.0] was clipped"]
