"""`sluice detect`, `score` and `select` against the real server: from a folder of images to what to label next."""

from __future__ import annotations

import asyncio
import json
import uuid

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from sluice_client import AsyncSluice, InvalidRequest, Sluice
from sluice_client.answers.detect import TYPES

import scenes
from tests.made.command_line import run

LOW = ["--min-score", "0.2", "--object-score", "0.2"]  # so that there are objects whatever the weights make of a scene


@pytest.fixture
def drive(tmp_path):
    """Write six scenes to a folder; return the folder and a name of its own for the drive."""
    folder = tmp_path / "frames"
    folder.mkdir()
    first = uuid.uuid4().int % 2**31
    for i in range(6):
        Image.fromarray(np.asarray(scenes.render(first + i).image)).save(folder / f"{i * 30:06d}.jpg", quality=92)
    return folder, f"drive-{first}"


@pytest.fixture
def stored(server, monkeypatch, capsys, drive):
    """Add the drive to the gallery, score it, and return the ids of its frames."""
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    folder, name = drive
    rows = run(capsys, "add", str(folder), "--drive", name, "--timeout", "120")[1]
    code, scored, said = run(capsys, "score", "--timeout", "120")
    assert code == 0 and all(row["error"] is None for row in scored), said
    ids = [row["id"] for row in rows]
    yield ids
    run(capsys, "delete", *ids)


def test_a_folder_becomes_coco_results_that_pycocotools_loads(server, monkeypatch, capsys, drive, tmp_path):
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    folder, _ = drive
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    images, results, page = (str(tmp_path / name) for name in ("images.json", "results.json", "found.html"))
    words = ["detect", str(folder), *LOW, "--to", "coco", "--coco-images", images, "-o", results, "--page", page]
    from sluice_client import cli

    assert cli.main([*words, "--timeout", "120"]) == 1, "the broken image fails alone"
    assert "broken.jpg" in capsys.readouterr().err
    truth = COCO(images)
    loaded = truth.loadRes(results)
    assert len(truth.getImgIds()) == 6
    found = loaded.loadAnns(loaded.getAnnIds())
    assert found, "six street scenes show something"
    for one in found:
        x, y, width, height = one["bbox"]
        assert 0 <= x <= x + width <= 480.001 and 0 <= y <= y + height <= 360.001
        assert all(one[name] is None or one[name] >= 0 for name in TYPES)
        assert one["location_aleatoric"] == max(one["box_aleatoric"]) and 0 <= one["class_epistemic"] <= 0.25
    with open(page) as file:
        assert file.read().count('class="card"') == 7


def test_scored_frames_are_ranked_or_listed_and_none_is_lost(server, stored, capsys, drive, tmp_path):
    _, name = drive
    others = tmp_path / "others.jsonl"
    code, picks, said = run(capsys, "select", "--drive", name, "--others", str(others))
    assert code == 0, said
    rest = [json.loads(line) for line in others.read_text().splitlines()]
    assert sorted([*(row["id"] for row in picks), *(row["id"] for row in rest)]) == sorted(stored)
    scores = [row["score"] for row in picks]
    assert scores == sorted(scores, reverse=True)
    for row in picks:
        assert row["score"] == pytest.approx(np.mean([z for z in row["z"].values() if z is not None]))
        assert "standard deviations" in row["reason"] or "the same for all" in row["reason"]
        assert row["frame"]["drive"] == name


def test_what_the_gallery_keeps_is_what_detect_finds(server, stored):
    with Sluice(server.grpc, timeout=120) as sluice:
        found, kept = sluice.detect(ids=stored), sluice.objects(stored)
        assert [one.id for one in kept] == stored and all(one.error is None for one in kept)
        for now, before in zip(found, kept, strict=True):
            assert [one.label for one in now] == [one.label for one in before]
            assert np.allclose([one.uncertainties for one in now], [one.uncertainties for one in before], atol=1e-4)
            assert now.model == before.model


def test_a_list_is_selected_from_without_the_gallery_and_a_page_shows_the_picks(
    server, monkeypatch, capsys, drive, tmp_path
):
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    folder, _ = drive
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    found, page, statistics = (str(tmp_path / name) for name in ("found.jsonl", "next.html", "pool.json"))
    assert run(capsys, "detect", str(folder), *LOW, "-o", found, "--timeout", "120")[0] == 1
    words = ["select", "--candidates", found, "-n", "3", "--page", page, "--save-statistics", statistics]
    code, picks, said = run(capsys, *words, "--weight", "Car=2")
    assert code == 0 and 1 <= len(picks) <= 3 and "1 not scored" in said
    with open(page) as file:
        text = file.read()
    assert text.count('class="card"') == len(picks) and "The image is missing" not in text
    code, again, _ = run(capsys, *words[:5], "--statistics", statistics, "--weight", "Car=2")
    assert code == 0 and again == picks
    with open(statistics) as file:
        pool = json.load(file)
    (tmp_path / "other.json").write_text(json.dumps({**pool, "detector": "another/1/x"}))
    code, none, said = run(capsys, *words[:5], "--statistics", str(tmp_path / "other.json"))
    assert (code, none) == (2, []) and "another/1/x" in said


def test_the_asyncio_client_detects_and_selects(server, stored):
    async def ask():
        async with AsyncSluice(server.grpc, timeout=120) as sluice:
            found = await sluice.detect(ids=stored, batch=2, min_score=0.2, object_score=0.2)
            with pytest.raises(InvalidRequest):
                await sluice.detect(ids=stored[:1], labels=["Unicorn"])
            return found, await sluice.select(found, n=2), [id async for id in sluice.unscored()]

    found, selection, unscored = asyncio.run(ask())
    assert [one.id for one in found] == stored and len(selection) <= 2 and set(selection.ids) <= set(stored)
    assert not set(unscored) & set(stored)
