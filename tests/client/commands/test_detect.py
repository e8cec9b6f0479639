"""`sluice detect`, `score` and `select` on the command line, against a fake server over a real socket."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from pycocotools.coco import COCO
from sluice_client import cli
from sluice_client.answers.detect import TYPES

from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.detector import DETECTOR, LABELS, objects_of
from tests.made.fake_server.grpc import serving

COUNTS = [len(objects_of(png(seed), {})) for seed in range(6)]


@pytest.fixture
def drive(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i * 30:06d}.png").write_bytes(png(i))
    return folder


@pytest.fixture
def stored(server, drive, capsys):
    """Add the same pictures to the gallery, under the names of their files."""
    cli.main(["add", str(drive), "--drive", "A", "--id-from", "name", "-q"])
    capsys.readouterr()
    return [f"{i * 30:06d}" for i in range(6)]


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_folder_gives_a_row_an_object_and_names_the_pictures_without(server, drive, capsys):
    assert cli.main(["detect", str(drive)]) == 0
    said = capsys.readouterr()
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[0][:4] == ["image", "label", "score", "box"]
    assert len(rows) - 1 == sum(max(count, 1) for count in COUNTS)
    assert [row[1] for row in rows].count("-") == COUNTS.count(0)
    assert f"{sum(COUNTS)} objects in 6 images" in said.err


def test_json_lines_come_as_they_are_found_and_hold_everything(server, drive, capsys):
    assert cli.main(["detect", str(drive), "--json", "-q", "--batch", "2"]) == 0
    rows = lines(capsys)
    assert [len(row["objects"]) for row in rows] == COUNTS and rows[0]["model"] == DETECTOR
    first = next(row for row in rows if row["objects"])["objects"][0]
    assert set(TYPES) <= set(first) and len(first["box_epistemic"]) == 4
    assert (rows[0]["width"], rows[0]["height"]) == (64, 48)


def test_every_option_of_detect_is_sent(server, drive, capsys):
    words = ["--min-score", "0.1", "--object-score", "0.6", "--labels", "Car, Pedestrian", "--class-reduce", "max"]
    words += ["--confidence", "0.02", "--iou", "0.5", "--boxes", "100", "--keep", "50"]
    assert cli.main(["detect", str(drive / "000000.png"), *words]) == 0
    assert json.loads(server.calls[-1][0].inputs["OPTIONS"][0]) == {
        "min_score": 0.1,
        "object_score": 0.6,
        "labels": ["Car", "Pedestrian"],
        "class_reduce": "max",
        "confidence": 0.02,
        "iou": 0.5,
        "candidates": 100,
        "keep": 50,
    }


def test_a_picture_that_cannot_be_read_is_named_and_the_exit_code_is_1(server, drive, capsys):
    (drive / "bad.png").write_bytes(b"junk")
    assert cli.main(["detect", str(drive), "--to", "jsonl"]) == 1
    said = capsys.readouterr()
    assert "1 images failed" in said.err and len(said.out.splitlines()) == 7
    assert cli.main(["detect", str(drive)]) == 1
    assert "bad.png: not an image" in capsys.readouterr().err


def test_stored_frames_are_detected_in_by_their_ids_also_from_a_pipe(server, stored, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(stored[1:3]).encode() + b"\r\n")))
    assert cli.main(["detect", "--ids", stored[0], "-", "--json"]) == 0
    assert [row["id"] for row in lines(capsys)] == stored[:3]
    assert cli.main(["detect", "--ids", "nobody", "--json"]) == 1
    assert "'nobody'" in lines(capsys)[0]["error"]


def test_coco_results_and_images_go_together_and_pycocotools_loads_them(server, drive, tmp_path, capsys):
    images, results = str(tmp_path / "images.json"), str(tmp_path / "results.json")
    words = ["detect", str(drive), "--to", "coco", "--coco-images", images, "-o", results]
    assert cli.main(words) == 0
    assert capsys.readouterr().out == ""
    truth = COCO(images)
    loaded = truth.loadRes(results)
    assert len(truth.getImgIds()) == 6 and len(loaded.getAnnIds()) == sum(COUNTS)
    assert [one["name"] for one in truth.loadCats(truth.getCatIds())] == list(LABELS)
    assert all(set(TYPES) <= set(one) for one in loaded.loadAnns(loaded.getAnnIds()))


def test_coco_names_pictures_by_their_paths_whatever_their_drive(server, drive, tmp_path):
    images, results = str(tmp_path / "images.json"), str(tmp_path / "results.json")
    words = ["detect", str(drive), "--to", "coco", "--coco-images", images, "-o", results, "--drive", "0042"]
    assert cli.main(words) == 0
    named = {one["file_name"] for one in COCO(images).imgs.values()}
    assert named == {str(path) for path in drive.iterdir()}


def test_the_numbers_of_a_coco_file_with_labels_are_taken_over(server, stored, drive, tmp_path, capsys):
    labels = {
        "images": [{"id": 100 + i, "file_name": f"{i * 30:06d}.jpg"} for i in range(6)],
        "categories": [{"id": 9 - i, "name": name} for i, name in enumerate(LABELS)],
    }
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    capsys.readouterr()
    assert cli.main(["detect", "--ids", *stored, "--to", "coco", "--coco-ids", str(tmp_path / "labels.json")]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["image_id"] for row in rows} == {100 + i for i in range(6) if COUNTS[i]}
    assert {row["category_id"] for row in rows} <= {9, 8, 7, 6}


def test_label_studio_gets_tasks_in_order_and_a_configuration(server, stored, tmp_path, capsys):
    config = tmp_path / "config.xml"
    words = ["detect", "--ids", *stored, "--to", "labelstudio", "--address", "s3://b/{id}.jpg"]
    assert cli.main([*words, "--label-config", str(config)]) == 0
    tasks = json.loads(capsys.readouterr().out)
    assert [task["data"]["image"] for task in tasks] == [f"s3://b/{id}.jpg" for id in stored]
    assert [len(task["predictions"][0]["result"]) for task in tasks] == COUNTS
    assert tasks[0]["data"]["drive"] == "A" and 'value="Car"' in config.read_text()


def test_score_scores_what_has_no_score_and_a_second_run_has_nothing_to_do(server, stored, capsys):
    server.frames[stored[2]]["detector"] = "mixture_detector/1/older"
    assert cli.main(["score", "-n", "2"]) == 0
    assert "2 scored, 0 failed" in capsys.readouterr().out
    assert cli.main(["score", "--json", "--batch", "1"]) == 0
    assert [row["id"] for row in lines(capsys)] == stored[2:]
    assert all(frame["detector"] == DETECTOR for frame in server.frames.values())
    assert cli.main(["score"]) == 0
    assert "0 scored" in capsys.readouterr().out


def test_add_says_how_many_frames_were_stored_without_scores_and_why(server, drive, capsys):
    store = server._store
    reasons = iter([None, None, "the queue was full", *[None] * 3])

    def half(data, frame):
        receipt, reason = store(data, frame), next(reasons)
        return {**receipt, "scored": reason is None, "unscored": reason}

    server._store = half
    assert cli.main(["add", str(drive), "--json"]) == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["scored"] for row in rows] == [True, True, False, True, True, True]
    assert "1 of them are not scored yet (the queue was full); run `sluice score`" in said.err


def test_a_frame_that_cannot_be_scored_is_named_and_does_not_hold_up_the_others(server, stored, capsys):
    server.bytes[stored[1]] = b"rotten"
    assert cli.main(["score", "--batch", "2"]) == 1
    said = capsys.readouterr()
    assert "5 scored, 1 failed" in said.out and f"{stored[1]}: not an image" in said.err


def test_select_ranks_the_scored_frames_and_says_what_it_could_not_rank(server, stored, tmp_path, capsys):
    cli.main(["score", "-n", "5", "-q"])
    capsys.readouterr()
    others, statistics = tmp_path / "others.jsonl", tmp_path / "statistics.json"
    words = ["select", "-n", "2", "--others", str(others), "--save-statistics", str(statistics)]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[0][:3] == ["rank", "score", "id"] and [row[0] for row in rows[1:]] == ["1", "2"]
    assert "standard deviations above the pool" in said.out and "2 picked of 5" in said.err
    assert f"{COUNTS[:5].count(0)} without an object" in said.err and "1 not scored" in said.err
    assert "run `sluice score`" in said.err
    listed = [json.loads(line) for line in others.read_text().splitlines()]
    assert {"id": stored[5], "why": "unscored"} in listed and len(listed) == COUNTS[:5].count(0) + 1
    assert cli.main(["select", "--statistics", str(statistics), "--json"]) == 0
    kept = json.loads(statistics.read_text())
    assert json.loads(server.calls[-1][0].inputs["OPTIONS"][0]) == {"statistics": [kept]}
    picks = lines(capsys)
    assert [pick["rank"] for pick in picks] == list(range(1, len(picks) + 1)) and set(picks[0]["z"]) == set(TYPES)
    assert "frozen" not in picks[0]
    page = tmp_path / "frozen.html"
    assert cli.main(["select", "--statistics", str(statistics), "--frozen", "--json", "--page", str(page)]) == 0
    (sent,) = [call.inputs for call, _ in server.calls if call.model == "select"][-1:]
    assert json.loads(sent["OPTIONS"][0]) == {"statistics": [kept], "frozen": True}
    said = capsys.readouterr()
    assert all(json.loads(line)["frozen"] is True for line in said.out.splitlines())
    assert "judged by another pool (pool of the fleet: 400 frames, 900 objects)" in said.err
    assert "standard deviations above another pool" in page.read_text()
    assert "judged by another pool (pool of the fleet" in page.read_text()


def test_every_option_of_select_is_sent(server, stored, tmp_path, capsys):
    (tmp_path / "labelled.txt").write_text("a\n\nb\n")
    words = [
        "select",
        "-n",
        "3",
        "--aggregate",
        "mean",
        "--over-objects",
        "max",
        "--no-empty",
        "--type",
        TYPES[1],
        "--type",
        TYPES[3],
    ]
    words += [
        "--weight",
        "Car=2.5",
        "--weight",
        "SignSymbol=0",
        "--per-drive",
        "4",
        "--diversity",
        "5",
        "--labelled",
        str(tmp_path / "labelled.txt"),
    ]
    words += ["--labelled-tag", "done", "--drive", "A", "--camera", "c", "--after", "1", "--before", "2", "--tag", "t"]
    assert cli.main([*words, "--exclude", "e", "--detector", "d/1/x", "--object-score", "0.7"]) == 0
    assert json.loads(server.calls[-1][0].inputs["OPTIONS"][0]) == {
        "n": 3,
        "aggregate": "mean",
        "over_objects": "max",
        "rank_empty": False,
        "types": [TYPES[1], TYPES[3]],
        "class_weights": {"Car": 2.5, "SignSymbol": 0},
        "per_drive": 4,
        "diversity": {"of": 5},
        "labelled": ["a", "b"],
        "labelled_tag": "done",
        "drives": ["A"],
        "cameras": ["c"],
        "after": 1,
        "before": 2,
        "tags": ["t"],
        "exclude": ["e"],
        "detector": "d/1/x",
        "object_score": 0.7,
    }


@pytest.mark.parametrize("form", ["labelstudio", "coco"])
def test_picks_go_to_the_labelling_tool_in_their_order_with_their_boxes(server, stored, form, capsys):
    cli.main(["score", "-q"])
    capsys.readouterr()
    assert cli.main(["select", "-n", "3", "--json"]) == 0
    picks = [pick["id"] for pick in lines(capsys)]
    assert cli.main(["select", "-n", "3", "--to", form]) == 0
    made = json.loads(capsys.readouterr().out)
    if form == "labelstudio":
        assert [task["data"]["id"] for task in made] == picks and [task["data"]["rank"] for task in made] == [1, 2, 3]
        assert all(task["predictions"][0]["result"] for task in made)
    else:
        assert {row["image_id"] for row in made} == {1, 2, 3}


def test_what_detect_wrote_can_be_selected_from_and_shown_without_a_gallery(server, drive, tmp_path, capsys):
    found, page = str(tmp_path / "found.jsonl"), tmp_path / "next.html"
    (drive / "bad.png").write_bytes(b"junk")
    assert cli.main(["detect", str(drive), "--to", "jsonl", "-o", found, "--drive", "A"]) == 1
    assert cli.main(["select", "--candidates", found, "-n", "2", "--page", str(page), "--to", "labelstudio"]) == 0
    said = capsys.readouterr()
    tasks = json.loads(said.out)
    assert len(tasks) == 2 and all(task["predictions"][0]["result"] for task in tasks)
    assert "1 not scored" in said.err and server.frames == {}
    sent = [json.loads(text) for text in server.calls[-1][0].inputs["CANDIDATES"]]
    assert len(sent) == 7 and {one["drive"] for one in sent} == {"A"}
    text = page.read_text()
    assert text.count('class="card"') == 2 and "The image is missing" not in text


def test_pages_are_written_for_files_stored_frames_and_picks(server, stored, drive, tmp_path, capsys):
    pages = [tmp_path / name for name in ("files.html", "stored.html", "picks.html")]
    assert cli.main(["detect", str(drive), "--page", str(pages[0])]) == 0
    assert cli.main(["detect", "--ids", *stored, "--page", str(pages[1])]) == 0
    cli.main(["score", "-q"])
    assert cli.main(["select", "-n", "2", "--page", str(pages[2])]) == 0
    cards = [page.read_text().count('class="card"') for page in pages]
    assert cards == [6, 6, 2] and not any("The image is missing" in page.read_text() for page in pages)


def test_a_page_can_be_made_later_from_json_lines(server, stored, drive, tmp_path, capsys):
    lines, page = tmp_path / "found.jsonl", tmp_path / "later.html"
    for words in ([str(drive)], ["--ids", *stored]):
        assert cli.main(["detect", *words, "--to", "jsonl", "-o", str(lines)]) == 0
        assert cli.main(["page", str(lines), "-o", str(page)]) == 0
        assert page.read_text().count('class="card"') == 6 and "The image is missing" not in page.read_text()
    assert cli.main(["page", str(lines), "-o", str(page), "--images", str(drive), "--server", "127.0.0.1:9"]) == 0
    assert "The image is missing" not in page.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["detect"], "one of the two"),
        (["detect", "a.jpg", "--ids", "b"], "one of the two"),
        (["detect", "nowhere"], "nowhere does not exist"),
        (["detect", "--ids", "a", "--drive", "A"], "--drive is for images"),
        (["detect", "--ids", "a", "--iou", "7"], "iou must lie in 0..1"),
        (["detect", "--ids", "a", "--to", "coco", "--json"], "exclude each other"),
        (["detect", "--ids", "a", "--coco-images", "x"], "--coco-images belongs to --to coco"),
        (["detect", "--ids", "a", "--to", "coco", "--address", "x{id}"], "--address belongs to"),
        (["detect", "--ids", "a", "--to", "labelstudio", "--address", "x"], "in the place of its id"),
        (["detect", "--ids", "a", "-o", "x"], "--output needs a form"),
        (["detect", "--ids", "a", "--to", "coco", "--coco-ids", "none.json"], "none.json cannot be read"),
        (["detect", "--ids", "a", "--json", "-o", "no/where.jsonl"], "there is no folder no"),
        (["score", "-n", "0"], "-n must be at least 1"),
        (["select", "-n", "1", "--threshold", "2"], "not both"),
        (["select", "--candidates", "none.jsonl"], "none.jsonl cannot be read"),
        (["select", "--statistics", "none.json"], "none.json cannot be read"),
        (["select", "--weight", "Car=-1"], "at least 0; got Car=-1"),
    ],
)
def test_bad_input_is_one_line_and_2(server, words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.startswith("sluice: ") and said.err.count("\n") == 1 and said.out == ""


def test_a_line_of_candidates_at_fault_is_named_by_its_number(server, tmp_path, capsys):
    (tmp_path / "c.jsonl").write_text('{"id": "a", "summary": {}}\n\n{"no": 1}\n')
    assert cli.main(["select", "--candidates", str(tmp_path / "c.jsonl")]) == 2
    assert "line 3: an object with `id`" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["select", "--weight", "Car"], ["select", "--type", "place"], ["score", "word"]])
def test_wrong_usage_is_2(words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2


def test_ctrl_c_ends_score_at_once_and_the_next_run_goes_on_from_there(drive, capsys):
    fake = FakeServer()
    asked = threading.Event()

    def answer(call, timeout):
        if call.model == "detect" and sum(frame.get("detector") == DETECTOR for frame in fake.frames.values()) >= 2:
            asked.set()
            time.sleep(3)
        return fake.answer(call, timeout)

    with serving(answer) as where:
        cli.main(["add", str(drive), "--server", where, "-q", "--id-from", "name"])
        child = subprocess.Popen(
            [sys.executable, "-m", "sluice_client.cli", "score", "--batch", "1", "--in-flight", "1", "--json"],
            env={**os.environ, "SLUICE_URL": where},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert asked.wait(30)
        begin = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, said = child.communicate(timeout=30)
        assert child.returncode == 130 and "goes on from there" in said and "Traceback" not in said
        assert time.monotonic() - begin < 2.5
        acknowledged = [json.loads(line)["id"] for line in out.splitlines()]
        assert all(fake.frames[id]["detector"] == DETECTOR for id in acknowledged) and acknowledged
        time.sleep(3)
        fake.frames[list(fake.frames)[2]].pop("detector", None)
        capsys.readouterr()
        assert cli.main(["score", "--server", where, "--json"]) == 0
    assert not set(acknowledged) & {row["id"] for row in lines(capsys)}
