"""Files named on the command line: the ones that are meant, in the order that is meant."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from sluice_client import InvalidRequest
from sluice_client.files.image_files import images_in, listed


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


def test_what_a_folder_holds_besides_is_left_out_and_told_in_one_line(tmp_path):
    touch(tmp_path, "a.jpg", "b.JFIF", "c.MPO", "d.webp", "deep/e.jpeg")
    touch(
        tmp_path,
        "._a.jpg",
        ".DS_Store",
        "f.HEIC",
        "g.HEIC",
        "h.tif",
        "labels.txt",
        "README",
        ".thumbs/i.jpg",
        "clip.mp4",
    )
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe.jpg")
    told: list[str] = []
    names = [str(path.relative_to(tmp_path)) for path in images_in([tmp_path, tmp_path / "a.jpg"], told.append)]
    assert names == ["a.jpg", "b.JFIF", "c.MPO", "d.webp", "deep/e.jpeg", "link.jpg"]
    assert len(told) == 1 and "\n" not in told[0] and told[0].startswith("left out: 2 .HEIC, ")
    for one in (
        *("1 ._ file of macOS", "1 hidden file", "1 .tif", "1 .txt", "1 without ending", "1 hidden folder", "1 .mp4"),
        *("1 link to a folder", "1 link to nothing", "1 that is no file"),
    ):
        assert one in told[0], told[0]
    assert told[0].endswith("(convert pictures to JPEG, PNG or WebP first)")


def test_a_folder_of_good_pictures_says_nothing_and_one_of_others_says_which(tmp_path):
    touch(tmp_path, "good/a.jpg", "other/a.heic", "other/b.HEIC", "other/.c.jpg")
    told: list[str] = []
    assert len(images_in([tmp_path / "good"], told.append)) == 1 and not told
    with pytest.raises(
        InvalidRequest, match=r"other holds no \.jpeg, .* files, only 1 .heic, 1 .HEIC, 1 hidden file \("
    ):
        images_in([tmp_path / "other"])


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    told: list[str] = []
    assert len(images_in([tmp_path], told.append)) == 1 and "1 folder that cannot be read" in told[0]


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
        ('{"file": "a", "time": "now"}', "line 2: time should be a number of seconds; got 'now'"),
        ('{"file": "a", "time": true}', "time should be a number of seconds; got True"),
        ('{"file": null}', "line 2: file should be a path; got None"),
    ],
)
def test_a_wrong_line_of_a_list_is_named_by_its_number(tmp_path, line, message):
    (tmp_path / "frames.jsonl").write_text('{"file": "a.jpg"}\n' + line)
    with pytest.raises(InvalidRequest, match=message):
        listed(tmp_path / "frames.jsonl")
