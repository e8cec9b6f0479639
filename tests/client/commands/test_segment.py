"""`sluice segment`, `compare` and `retrieve --text` on the command line, against a fake server over a real socket."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from sluice_client import cli, errors
from sluice_client.drawing import palette

from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.grpc import serving


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "frames" / "night").mkdir(parents=True)
    for i, name in enumerate(("x.png", "night/y.png", "night/y.jpg")):
        (tmp_path / "frames" / name).write_bytes(png(i))
    fake = FakeServer()
    with serving(fake.answer) as where:
        monkeypatch.setenv("SLUICE_URL", where)
        yield fake


def test_a_picture_becomes_an_indexed_mask_an_overlay_and_a_table(server, tmp_path, capsys):
    words = ["a.png", "--classes", "road, nowhere,car", "--out", "mask.png", "--overlay", "over.jpg"]
    assert cli.main(["segment", *words, "--page", "page.html"]) == 0
    said = capsys.readouterr()
    with Image.open("mask.png") as image:
        assert image.mode == "P" and image.size == (64, 48) and set(np.unique(image)) == {0, 2}
        assert image.convert("RGB").getpixel((60, 4)) == palette.colour(2)
    with Image.open("over.jpg") as image:
        assert image.format == "JPEG" and image.height > 48
    assert [line.split()[:3] for line in said.out.splitlines()[1:]] == [["a.png", "0", "road"], ["a.png", "2", "car"]]
    assert "wrote mask.png" in said.err and (tmp_path / "page.html").read_text().count('class="layer"') == 2
    assert json.loads(server.calls[0][0].inputs["OPTIONS"][0]) == {}, "the server's defaults hold"


def test_a_folder_becomes_a_folder_and_a_broken_picture_fails_alone(server, tmp_path, capsys):
    (tmp_path / "frames" / "zz.png").write_bytes(b"junk")
    (tmp_path / "names.txt").write_text("road\n\ncar\n")
    words = ["frames", "--classes-file", "names.txt", "--out", "masks/", "--overlay", "over", "--batch", "1"]
    words += ["--coco", "masks.json", "--coco-images", "images.json", "--background", "0.5", "--rule", "plain"]
    assert cli.main(["segment", *words]) == 1
    said = capsys.readouterr()
    assert "frames/zz.png: not an image" in said.err
    names = sorted(str(path.relative_to(tmp_path / "masks")) for path in (tmp_path / "masks").rglob("*.png"))
    assert names == ["night/y-2.png", "night/y.png", "x.png"] and len(list((tmp_path / "over").rglob("*.jpg"))) == 3
    loaded = COCO("images.json").loadRes("masks.json")
    assert len(loaded.getAnnIds()) == 6 and {one["name"] for one in loaded.dataset["categories"]} == {"road", "car"}
    assert json.loads(server.calls[0][0].inputs["OPTIONS"][0]) == {"background": 0.5, "rule": "plain"}


def test_three_pictures_of_two_folders_get_three_masks_and_none_in_the_place_of_an_input(server, tmp_path, capsys):
    for i, name in enumerate(("a/1.png", "b/1.png", "b/1-2.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(i))
    before = (tmp_path / "a" / "1.png").read_bytes()
    for words in (["a", "b"], ["a/1.png", "b/1.png", "b/1-2.png"]):
        assert cli.main(["segment", *words, "--classes", "road,car", "--out", "o/", "--overlay", "o/"]) == 0
        assert sorted(path.name for path in (tmp_path / "o").glob("*.png")) == ["1-2.png", "1-3.png", "1.png"]
        assert len(list((tmp_path / "o").glob("*.jpg"))) == 3
    calls = len(server.calls)
    for words in (["a", "--out", "a/"], ["a/1.png", "--out", "a/1.png"], ["b", "--overlay", "x", "--out", "b"],
                  ["a.png", "--out", "both.png", "--overlay", "both.png"]):  # fmt: skip
        assert cli.main(["segment", *words, "--classes", "road,car"]) == 2
        assert "would take the place of" in capsys.readouterr().err
    assert (tmp_path / "a" / "1.png").read_bytes() == before and len(server.calls) == calls


def test_a_long_name_gets_its_mask(server, tmp_path):
    (tmp_path / f"{'x' * 240}.png").write_bytes(png(1))
    assert cli.main(["segment", f"{'x' * 240}.png", "--classes", "road,car", "--out", "o/"]) == 0
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["x" * 240 + ".png"]


def test_stored_frames_are_segmented_and_json_says_all(server, capsys):
    cli.main(["add", "frames/x.png", "--id-from", "name", "-q"])
    capsys.readouterr()
    assert cli.main(["segment", "--ids", "x", "nobody", "--classes", "road", "--overlay", "o/", "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["id"] for row in rows] == ["x", "nobody"] and rows[1]["error"] and not rows[1]["segments"]
    assert rows[0]["segments"][0]["size"] == [48, 64] and rows[0]["classes"][0]["name"] == "road"


def test_what_json_says_becomes_a_page_later_from_files_from_the_server_and_from_a_folder(server, tmp_path, capsys):
    (tmp_path / "zz.png").write_bytes(b"junk")
    assert cli.main(["segment", "a.png", "zz.png", "--classes", "road,nowhere,car", "--json"]) == 1
    (tmp_path / "found.jsonl").write_text(capsys.readouterr().out)
    assert cli.main(["page", "found.jsonl", "-o", "page.html", "--title", "My <drive>"]) == 0
    text = (tmp_path / "page.html").read_text()
    assert text.count('class="layer"') == 2 and "not an image" in text and "My &lt;drive&gt;" in text
    assert "2 of 3 classes in 1 images; 1 could not be read" in text
    cli.main(["add", "frames", "--id-from", "name", "-q"])
    capsys.readouterr()
    cli.main(["segment", "--ids", "x", "--classes", "road", "--json"])
    (tmp_path / "stored.jsonl").write_text(capsys.readouterr().out)
    assert cli.main(["page", "stored.jsonl", "-o", "page.html"]) == 0
    assert "The image is missing" not in (tmp_path / "page.html").read_text()
    assert cli.main(["page", "stored.jsonl", "-o", "page.html", "--images", "frames"]) == 0
    assert "The image is missing" not in (tmp_path / "page.html").read_text()
    both = (tmp_path / "found.jsonl").read_text() + (tmp_path / "stored.jsonl").read_text()
    (tmp_path / "both.jsonl").write_text(both)
    capsys.readouterr()
    assert cli.main(["page", "both.jsonl", "-o", "page.html"]) == 2
    assert "other classes than a.png" in capsys.readouterr().err


def test_frames_that_words_cannot_find_are_told_when_they_are_added(server, capsys, monkeypatch):
    kept = server._store
    reasons = iter([None, "image_grouper failed; the server's log says why", None])

    def store(data, frame):
        why = next(reasons)
        return {**kept(data, frame), "embedded": why is None, "unembedded": why}

    monkeypatch.setattr(server, "_store", store)
    assert cli.main(["add", "frames", "--json"]) == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["embedded"] for row in rows] == [True, False, True] and "log says why" in rows[1]["unembedded"]
    assert "1 of them cannot be found by words yet (image_grouper failed" in said.err
    assert "run `sluice compare --unembedded`" in said.err and "not scored" not in said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["segment", "frames", "--classes", "a", "--coco-ids", "x.json"], "belongs to --coco"),
        (["segment", "a.png", "frames/x.png", "--classes", "a", "--out", "m.png"], "write m.png/"),
        (["segment", "a.png", "--classes", "a", "--out", "m.jpg"], "must end with .png"),
        (["segment", "a.png", "--classes", "a", "--overlay", "m.tif"], "--overlay must end with"),
        (["segment", "a.png", "--classes", "a", "--out", "no/m.png"], "there is no folder no"),
        (["segment", "a.png", "--classes", " , "], "There is no class"),
        (["segment", "a.png", "--classes", "a", "--strength", "3"], "--strength"),
        (["segment", "a.png", "--classes", "Car,car"], "leave one of them out"),
        (["segment", "--classes", "a"], "Give images"),
        (["segment", "a.png", "--classes-file", "no.txt"], "cannot be read"),
        (["compare", "a.png"], "--texts"),
        (["compare", "a.png", "--texts", "a", "--sort", "b"], "--sort must be"),
        (["compare", "a.png", "--texts", "a", "--keep"], "stored frames"),
        (["compare", "a.png", "--unembedded"], "takes no images"),
        (["retrieve", "--text", "rain", "--fuse", "0.5"], "beside a query"),
        (["retrieve", "a.png", "--text", "rain"], "--roi"),
    ],
)
def test_bad_input_is_one_line_and_2(server, words, message, capsys):
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.startswith("sluice: ") and said.err.count("\n") == 1 and said.out == ""


def test_a_server_without_the_verb_is_told_as_that(server, capsys):
    text = "Request for unknown model: 'segment' is not found"
    server.trouble = [errors.from_status("NOT_FOUND", text)]
    assert cli.main(["segment", "a.png", "--classes", "road"]) == 2
    assert "no verb `segment`" in capsys.readouterr().err


def test_pictures_are_compared_with_texts_as_a_table_and_as_json(server, capsys):
    assert cli.main(["compare", "a.png", "frames/x.png", "--texts", "a road", "night", "--sort", "night"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["image", "text", "similarity", "probability", "%"] and len(rows) == 5
    Path("junk.png").write_bytes(b"junk")
    assert cli.main(["compare", "a.png", "junk.png", "--texts", "a road", "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[0]["texts"]["a road"]["probability"] == 1 and found[1]["error"] and len(found) == 2


def test_words_find_frames_once_they_are_embedded(server, capsys, tmp_path):
    cli.main(["add", "frames", "-q"])
    cli.main(["retrieve", "--text", "rain"])
    assert "run `sluice compare --unembedded`" in capsys.readouterr().err
    assert cli.main(["compare", "--unembedded"]) == 0
    assert "3 embedded, 0 failed" in capsys.readouterr().out
    page, saved = str(tmp_path / "p.html"), str(tmp_path / "s.json")
    assert cli.main(["retrieve", "--text", "rain", "--text", "fog", "-k", "2", "--page", page, "--save", saved]) == 0
    capsys.readouterr()
    with open(page) as file:
        text = file.read()
    assert text.count('class="card"') == 2 and "rain; fog" in text and "words 0." in text
    assert cli.main(["page", saved, "-o", page]) == 0
    with open(page) as file:
        assert "rain; fog" in file.read()
    both = ["retrieve", "a.png", "--roi", "1,1,9,9", "--text", "rain", "--fuse", "0.2", "--page", page]
    assert cli.main(both) == 0
    asked = [call for call, _ in server.calls if call.model == "retrieve"][-1]
    assert json.loads(asked.inputs["OPTIONS"][0])["fuse"] == 0.2
