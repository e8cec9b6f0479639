"""The command line against the real server: from a folder of images to a page of results."""

from __future__ import annotations

import asyncio
import uuid

import numpy as np
import pytest
from PIL import Image
from sluice_client import AsyncSluice, InvalidRequest, NewFrame, Query

import scenes
from tests.made.command_line import run


@pytest.fixture
def drive(tmp_path):
    """Write six scenes to a folder; return the folder and a name of its own for the drive."""
    folder = tmp_path / "frames"
    folder.mkdir()
    first = uuid.uuid4().int % 2**31
    for i in range(6):
        Image.fromarray(np.asarray(scenes.render(first + i).image)).save(folder / f"{i * 30:06d}.jpg", quality=92)
    return folder, f"drive-{first}"


def test_the_doctor_finds_the_real_server_well(server, monkeypatch, capsys):
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    code, rows, _ = run(capsys, "doctor", "--write", "--timeout", "60")
    assert [row for row in rows if not row["ok"]] == [] and code == 0
    (multiplier,) = (row["text"] for row in rows if row["check"] == "server's BLAS")
    assert multiplier == str(server.blas), "what the launcher chose is what the server's Python processes run"


def test_a_folder_is_stored_searched_shown_and_deleted(server, monkeypatch, capsys, drive, tmp_path):
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    folder, name = drive
    (folder / "broken.jpg").write_bytes((folder / "000000.jpg").read_bytes()[:900])
    (folder / "empty.jpg").write_bytes(b"")
    words = ["add", str(folder), "--drive", name, "--camera", "front", "--tags", "day", "--fps", "1"]
    code, rows, said = run(capsys, *words)
    assert code == 1, said
    assert [row["status"] for row in rows] == ["stored"] * 6 + ["refused"] * 2
    assert all(row["error"] for row in rows[6:])
    code, again, _ = run(capsys, *words)
    assert [(row["status"], row["id"]) for row in again[:6]] == [("known", row["id"]) for row in rows[:6]]

    query, page, saved = str(folder / "000090.jpg"), tmp_path / "found.html", tmp_path / "found.json"
    words = ["retrieve", query, "--roi", "100,100,180,180", "--roi", "20.5,20.5,60,60", "--drive", name]
    code, found, said = run(capsys, *words, "-k", "4", "--page", str(page), "--save", str(saved))
    assert code == 0 and len(found) == 4, said
    assert found[0]["id"] == rows[3]["id"] and found[0]["score"] == pytest.approx(1, abs=2e-3)
    assert len(found[0]["roi_scores"]) == len(found[0]["boxes"]) == 2
    assert found[0]["frame"]["time"] == 3 and found[0]["frame"]["tags"] == ["day"]
    x0, y0, x1, y1 = found[0]["boxes"][0]
    assert max(abs(x0 - 100), abs(y0 - 100), abs(x1 - 180), abs(y1 - 180)) < 16, "found where it was cut out"
    assert page.read_text().count('class="heat"') == 4

    code, by_id, _ = run(capsys, "retrieve", "--id", rows[3]["id"], *words[2:], "-k", "4")
    assert [row["id"] for row in by_id] == [row["id"] for row in found]
    code, late, _ = run(capsys, *words, "--after", "4", "--tag", "day", "--camera", "front")
    assert {row["frame"]["time"] for row in late} == {4, 5}
    code, none, _ = run(capsys, *words, "--tag", "night")
    assert (code, none) == (0, [])

    code, listed, _ = run(capsys, "list", "--drive", name)
    assert sorted(row["id"] for row in listed) == sorted(row["id"] for row in rows[:6])
    filters = ["--after", "1", "--before", "1970-01-01T00:00:05Z", "--exclude", rows[2]["id"]]
    code, some, _ = run(capsys, "list", "--drive", name, *filters)
    assert code == 0 and sorted(row["time"] for row in some) == [1, 3, 4]
    code, fetched, _ = run(capsys, "get", rows[0]["id"], "-o", str(tmp_path / "x.jpg"))
    assert (tmp_path / "x.jpg").read_bytes() == (folder / "000000.jpg").read_bytes()
    assert (fetched[0]["width"], fetched[0]["height"]) == (480, 360)
    code, deleted, _ = run(capsys, "delete", *(row["id"] for row in rows[:6]))
    assert code == 0 and all(row["deleted"] for row in deleted)
    assert run(capsys, "list", "--drive", name)[1] == []


def test_match_answers_good_images_beside_a_bad_one(server, monkeypatch, capsys, drive):
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    folder, _ = drive
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    query = str(folder / "000030.jpg")
    code, rows, _ = run(capsys, "match", query, "--roi", "100,100,180,180", str(folder))
    assert code == 1 and len(rows) == 7
    assert rows[0]["id"] == query and rows[0]["score"] == pytest.approx(1, abs=2e-3)
    assert rows[-1]["id"].endswith("broken.jpg") and rows[-1]["error"] and rows[-1]["score"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["retrieve", "--id", "nobody", "--roi", "1,1,9,9"], "nobody"),
        (["retrieve", "{image}", "--roi", "9000,9000,9900,9900"], "outside"),
        (["match", "{junk}", "--roi", "1,1,9,9", "{image}"], "not an image"),
    ],
)
def test_bad_input_is_one_line_with_the_remedy_and_2(server, monkeypatch, capsys, drive, words, message):
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    folder, _ = drive
    (folder / "junk").write_bytes(b"junk")
    places = {"image": str(folder / "000000.jpg"), "junk": str(folder / "junk")}
    code, rows, said = run(capsys, *(word.format(**places) for word in words))
    assert (code, rows) == (2, []) and message in said and said.count("\n") == 1
    assert "Traceback" not in said and ".py" not in said


def test_the_asyncio_client_answers_many_at_once(server, drive):
    folder, name = drive
    paths = sorted(folder.iterdir())

    async def ask():
        async with AsyncSluice(server.grpc, timeout=120) as sluice:
            receipts = await sluice.ingest((NewFrame(path, drive=name) for path in paths), batch=2)
            queries = [Query(path, rois=[(100, 100, 160, 160)]) for path in paths]
            found = await asyncio.gather(*(sluice.retrieve(query, k=1, drives=[name]) for query in queries))
            with pytest.raises(InvalidRequest):
                await sluice.retrieve(Query(b"junk", rois=[(1, 1, 9, 9)]))
            await sluice.delete([receipt.id for receipt in receipts])
            return [receipt.id for receipt in receipts], [one.matches[0].id for one in found]

    stored, best = asyncio.run(ask())
    assert stored == best
