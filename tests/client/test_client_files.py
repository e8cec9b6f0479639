"""Which files are added, in which order, and when they were taken."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sluice_client import InvalidRequest
from sluice_client.files import FrameTimes, images_in, listed


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_a_folder_gives_its_images_and_those_below_in_the_order_of_their_numbers(tmp_path):
    touch(tmp_path, "b/f10.jpg", "b/f9.JPG", "a.png", "notes.txt", "b/c/f1.webp", "b/f8.jpeg")
    names = [str(path.relative_to(tmp_path)) for path in images_in([tmp_path])]
    assert names == ["a.png", "b/c/f1.webp", "b/f8.jpeg", "b/f9.JPG", "b/f10.jpg"]


def test_a_file_that_is_named_is_taken_whatever_its_ending_and_only_once(tmp_path):
    touch(tmp_path, "frame.bin", "a.png")
    assert images_in([tmp_path / "frame.bin", tmp_path, tmp_path / "a.png"]) == [
        tmp_path / "frame.bin",
        tmp_path / "a.png",
    ]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match=r"gone\.jpg does not exist"):
        images_in([tmp_path / "gone.jpg"])
    with pytest.raises(InvalidRequest, match=r"holds no \.jpeg"):
        images_in([tmp_path])


@pytest.mark.parametrize(
    ("name", "fps", "seconds"),
    [
        ("000390", 30, 13.0),
        ("0016E5_00390", 30, 13.0),
        ("frame-7.5", 2, 3.75),
        ("1700000000", None, 1_700_000_000.0),
        ("cam_1700000000.25", None, 1_700_000_000.25),
        ("1700000000250", None, 1_700_000_000.25),
        ("1700000000250000", None, 1_700_000_000.25),
        ("1700000000250000000", None, 1_700_000_000.25),
        ("20261121_011546", None, datetime(2026, 11, 21, 1, 15, 46, tzinfo=UTC).timestamp()),
        ("cam 2026-11-21T01-15-46.5", None, datetime(2026, 11, 21, 1, 15, 46, 500000, tzinfo=UTC).timestamp()),
    ],
)
def test_times_are_read_from_names_as_cameras_write_them(name, fps, seconds):
    assert FrameTimes("name", fps).of(Path(f"{name}.jpg"), 5) == pytest.approx(seconds, abs=1e-4)


def test_other_sources_of_time(tmp_path):
    touch(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", (7.5, 7.5))
    assert FrameTimes("mtime").of(tmp_path / "a.jpg", 3) == 7.5
    assert FrameTimes("none").of(tmp_path / "a.jpg", 3) is None
    assert FrameTimes("none", fps=2).of(tmp_path / "a.jpg", 3) == 1.5


def test_a_name_that_tells_no_time_is_refused_with_the_remedy():
    with pytest.raises(InvalidRequest, match="no number"):
        FrameTimes("name").of(Path("frame.jpg"), 0)
    with pytest.raises(InvalidRequest, match="390 looks like a count of frames; say with --fps"):
        FrameTimes("name").of(Path("000390.jpg"), 0)
    with pytest.raises(InvalidRequest, match="--fps must be"):
        FrameTimes("name", fps=0)


def test_a_list_of_frames_names_its_files_relative_to_itself(tmp_path):
    rows = [{"file": "a.jpg", "id": "f1", "time": 2, "tags": ["x"], "drive": None}, {"file": "/abs/b.jpg"}]
    (tmp_path / "frames.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    entries = listed(tmp_path / "frames.jsonl")
    assert entries == [
        {"file": tmp_path / "a.jpg", "id": "f1", "time": 2, "tags": ["x"]},
        {"file": Path("/abs/b.jpg")},
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "line 2: an object with `file`"),
        ('{"file": "a", "colour": 1}', "line 2: 'colour' is none of file, id"),
        ('{"file": "a", "time": "now"}', "line 2: time cannot be 'now'"),
        ('{"file": "a", "time": true}', "time cannot be True"),
    ],
)
def test_a_wrong_line_of_a_list_is_named_by_its_number(tmp_path, line, message):
    (tmp_path / "frames.jsonl").write_text('{"file": "a.jpg"}\n' + line)
    with pytest.raises(InvalidRequest, match=message):
        listed(tmp_path / "frames.jsonl")
