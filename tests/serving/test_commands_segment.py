"""`sluice segment`, `compare` and `retrieve --text` against the real server: masks in every form, frames by words."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from sluice_client import AsyncSluice, NewFrame, Sluice, cli
from sluice_client.drawing import palette

import scenes
from tests.made.command_line import run

CLASSES = ["road", "car", "bicyclist"]
LONG = ("--timeout", "300")


@pytest.fixture
def scene(server, monkeypatch, tmp_path):
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    monkeypatch.chdir(tmp_path)
    seed = uuid.uuid4().int % 2**31  # frames are stored once each
    Image.fromarray(np.asarray(scenes.render(seed).image)).save("photo.jpg", quality=92)
    Image.fromarray(np.asarray(scenes.render(seed + 1, (320, 400)).image)).save("tall.png")
    Path("broken.jpg").write_bytes(b"\xff\xd8\xff")
    return f"drive-{seed}"


def test_a_photo_becomes_an_indexed_mask(scene, capsys):
    assert cli.main(["segment", "photo.jpg", "--classes", ",".join(CLASSES), "--out", "mask.png", *LONG]) == 0
    said = capsys.readouterr()
    with Image.open("mask.png") as image:
        assert image.mode == "P" and image.size == (480, 360) and json.loads(image.text["classes"]) == CLASSES
        mask, coloured = np.asarray(image), np.asarray(image.convert("RGB"))
    shown = np.unique(mask).tolist()
    assert shown and max(shown) < 3
    for place in shown:
        assert (coloured[mask == place] == palette.colour(place)).all()
    rows = [line.split() for line in said.out.splitlines()[1:]]
    assert {row[2]: float(row[3]) for row in rows} == pytest.approx(
        {CLASSES[place]: 100 * (mask == place).mean() for place in shown}, abs=0.06
    )


def test_masks_overlays_coco_and_a_page_of_a_folder_and_a_broken_picture_fails_alone(scene, capsys):
    words = ["segment", ".", "--classes", ",".join(CLASSES), "--out", "masks/", "--overlay", "overlays/"]
    words += ["--coco", "masks.json", "--coco-images", "images.json", "--page", "page.html", *LONG]
    code, rows, said = run(capsys, *words)
    assert code == 1 and [row["error"] is None for row in rows] == [False, True, True], said
    masks = {}
    for name, size in (("photo", (480, 360)), ("tall", (320, 400))):
        with Image.open(f"masks/{name}.png") as image:
            assert image.size == size
            masks[name] = np.asarray(image)
        with Image.open(f"overlays/{name}.jpg") as image:
            assert image.width == size[0] and image.height > size[1], "with a legend below"
    found = COCO("images.json").loadRes("masks.json")
    assert sum(len(np.unique(mask)) for mask in masks.values()) == len(found.getAnnIds())
    for row in found.loadAnns(found.getAnnIds()):
        mask = masks[Path(found.loadImgs(row["image_id"])[0]["file_name"]).stem] == row["category_id"] - 1
        assert (found.annToMask(row).astype(bool) == mask).all() and row["area"] == mask.sum()
    assert Path("page.html").read_text().count('class="layer"') == len(found.getAnnIds())
    Path("found.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert cli.main(["page", "found.jsonl", "-o", "again.html"]) == 0
    assert Path("again.html").read_text().count('class="layer"') == len(found.getAnnIds())


def test_run_lengths_and_pictures_are_the_same_masks_of_stored_frames_too(scene, server, capsys):
    with Sluice(server.grpc, timeout=300) as client:
        stored = client.add("photo.jpg", drive=scene)
        kinds = {format: client.segment(["photo.jpg"], classes=CLASSES, format=format) for format in ("png", "rle")}
        (whole,), (runs,) = kinds["png"], kinds["rle"]
        assert (whole.mask == runs.mask).all() and whole.rle() == runs.rle()
        (frame,) = client.segment(ids=[stored.id], classes=CLASSES, format="rle", groups=True, confidence=True)
        assert (frame.mask == whole.mask).all() and (frame.width, frame.height) == (480, 360)
        assert frame.confidence.shape == frame.groups.shape == (360, 480)
        assert frame.groups.max() < len(frame.grouping["classes"])
        client.delete([stored.id])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["segment", "photo.jpg", "--classes", "Car,car"], "are one to the network"),
        (["segment", "photo.jpg", "--classes", "x" * 5000], "5,000 characters"),
        (["segment", "photo.jpg", "--classes-file", "names.txt"], "1 to 1,000 class names, got 10,000"),
        (["compare", "photo.jpg", "--texts", "x" * 5001], "5,001 characters"),
        (["retrieve", "--text", "x" * 5001], "5,001 characters"),
    ],
)
def test_names_that_cannot_be_are_refused_in_one_line(scene, capsys, words, message):
    Path("names.txt").write_text("\n".join(f"thing {i}" for i in range(10_000)))
    code, rows, said = run(capsys, *words, *LONG)
    assert (code, rows) == (2, []) and message in said and said.count("\n") == 1, said


def test_probabilities_of_a_picture_sum_to_one(scene, capsys):
    code, rows, said = run(capsys, "compare", "photo.jpg", "--texts", "a road", "a fence", *LONG)
    assert code == 0, said
    told = rows[0]["texts"].values()
    assert sum(one["probability"] for one in told) == pytest.approx(1, abs=1e-4)
    assert all(-1.001 <= one["similarity"] <= 1.001 for one in told)


def test_words_find_the_frames_of_a_drive(scene, capsys):
    code, rows, said = run(capsys, "add", "photo.jpg", "tall.png", "--drive", scene, *LONG)
    assert code == 0 and all(row["embedded"] and row["unembedded"] is None for row in rows), said
    ids = [row["id"] for row in rows]
    assert run(capsys, "compare", "--ids", *ids, "--keep", *LONG)[0] == 0, "again: what is there is replaced"
    told = run(capsys, "compare", "--ids", *ids, "--texts", "a bicyclist at night", *LONG)[1]
    cosines = {row["id"]: row["texts"]["a bicyclist at night"]["similarity"] for row in told}
    words = ["retrieve", "--text", "a bicyclist at night", "--drive", scene, "--page", "page.html", *LONG]
    code, found, said = run(capsys, *words)
    assert code == 0 and {row["id"] for row in found} == set(ids), said
    assert {row["id"]: row["score"] for row in found} == pytest.approx(cosines, abs=2e-3)
    assert found[0]["score"] >= found[1]["score"] and "a bicyclist at night" in Path("page.html").read_text()
    both = ["retrieve", "photo.jpg", "--roi", "200,180,290,250", "--text", "a road", "--fuse", "0.1", "--drive", scene]
    code, found, said = run(capsys, *both, *LONG)
    assert code == 0 and found[0]["id"] == ids[0] and found[0]["boxes"] and len(found[0]["text_scores"]) == 1, said
    run(capsys, "delete", *ids)


def test_the_asyncio_client_segments_compares_and_finds_by_words(scene, server):
    async def ask():
        async with AsyncSluice(server.grpc, timeout=300) as sluice:
            receipts = await sluice.ingest([NewFrame("photo.jpg", drive=scene), NewFrame("tall.png", drive=scene)])
            ids = [receipt.id for receipt in receipts]
            files, frames, likeness, found = await asyncio.gather(
                sluice.segment(["photo.jpg", "broken.jpg", "tall.png"], classes=CLASSES),
                sluice.segment(ids=ids, classes=CLASSES, format="rle"),
                sluice.compare(["photo.jpg", "tall.png"], ["a road"]),
                sluice.retrieve(texts=["a road"], drives=[scene]),
            )
            await sluice.delete(ids)
            return ids, files, frames, likeness, found

    ids, files, frames, likeness, found = asyncio.run(ask())
    first, broken, second = files
    assert broken.error and (first.mask == frames.images[0].mask).all() and (second.mask == frames.images[1].mask).all()
    assert {match.id: match.score for match in found} == pytest.approx(
        dict(zip(ids, likeness.similarity[:, 0].tolist(), strict=True)), abs=2e-3
    )
