"""Names of outputs, what a file is, temporary files, and metadata that cannot be read, on the client's side."""

from __future__ import annotations

import os
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sluice_client.drawing import pictures
from sluice_client.errors import InvalidRequest, MetadataIgnored
from sluice_client.files import content, naming, whole_files
from sluice_client.query import encoded

from tests.made.broken_files import broken_exif


def test_a_number_that_makes_a_name_of_another_is_passed_over():
    assert naming.distinct(["1", "1", "1-2"]) == ["1", "1-3", "1-2"]
    assert naming.distinct(["a", "A", "b/a", "b/a"]) == ["a", "A-2", "b/a", "b/a-2"]


@given(st.lists(st.text("ab-2é", min_size=1, max_size=6) | st.just("é" * 200), max_size=30))
def test_names_are_distinct_whatever_they_were(names):
    found = naming.distinct(names)
    assert len({name.casefold() for name in found}) == len(names)
    assert all(len(os.fsencode(name)) <= naming.LONGEST for name in found)
    for name, made in zip(names, found, strict=True):
        assert made == name or names.count(name) > 1 or len(os.fsencode(name)) > 240 or "-" in made


def test_pictures_keep_their_place_below_the_folder_that_was_given(tmp_path):
    for name in ("a/1.jpg", "b/1.jpg", "b/1-2.jpg", "b/c/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    files = [tmp_path / name for name in ("a/1.jpg", "b/1-2.jpg", "b/1.jpg", "b/c/1.jpg")]
    assert naming.below([str(tmp_path / "a"), str(tmp_path / "b")], files) == ["1", "1-2", "1-3", "c/1"]
    with pytest.raises(InvalidRequest, match=r"--out: .*1\.jpg would take the place of"):
        naming.keep_inputs([tmp_path / "b" / ".." / "a" / "1.jpg"], files, "--out")
    naming.keep_inputs([tmp_path / "o" / "1.jpg"], files, "--out")


def test_signs_that_no_file_system_takes_are_replaced_before_names_are_made_distinct():
    names = [naming.safe(name) for name in ("a:b", "a*b", "../../x")]
    assert naming.distinct(names) == ["a_b", "a_b-2", "_/_/x"]


def test_a_temporary_name_is_short(tmp_path):
    path = tmp_path / ("x" * 251 + ".png")
    whole_files.store(path, b"data")
    assert path.read_bytes() == b"data" and list(tmp_path.iterdir()) == [path]
    assert len(whole_files.temporary(path).name) < 40


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", content.PICTURE),
        (b"\x89PNG\r\n\x1a\n", content.PICTURE),
        (b"RIFF\0\0\0\0WEBP", content.PICTURE),
        (b"RIFF\0\0\0\0AVI LIST", content.VIDEO),
        (b"RIFF\0\0\0\0WAVE", ""),
        (b"\0\0\0\x20ftypisom", content.VIDEO),
        (b"\0\0\0\x20ftypheic", ""),
        (b"GIF89a", content.VIDEO),
        ((b"G" + bytes(187)) * 4, content.VIDEO),
        ((bytes(4) + b"G" + bytes(187)) * 4, content.VIDEO),
        (b"G" * 20, ""),
        (b"II*\0", ""),
        (b"", ""),
    ],
)
def test_a_file_is_what_it_begins_with(tmp_path, head, kind):
    (tmp_path / "x").write_bytes(head)
    assert content.kind(tmp_path / "x") == kind
    assert content.kind(tmp_path / "missing") == "" == content.kind(tmp_path)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_metadata_that_cannot_be_read_is_ignored_with_a_warning(tmp_path, form):
    data = broken_exif((40, 30), form)
    (tmp_path / "x").write_bytes(data)
    assert pictures.size(data) == (40, 30) and pictures.upright(data).size == (40, 30)
    assert pictures.shrink(data, 20).width == 40
    with pytest.warns(MetadataIgnored, match="x: its EXIF data cannot be read and was ignored"):
        assert encoded(tmp_path / "x") == data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Image.new("RGB", (4, 4)).save(tmp_path / "good.png")
        encoded(tmp_path / "good.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(tmp_path, orientation):
    image = Image.new("RGB", (6, 4), "white")
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "x.png", exif=exif)
    data = (tmp_path / "x.png").read_bytes()
    upright = pictures.upright(data)
    assert upright.size == pictures.size(data) == ((6, 4) if orientation < 5 else (4, 6))
    right, low = upright.width - 1, upright.height - 1
    # Where row 0 and column 0 are, in words of EXIF: (top, left), (top, right), (bottom, right), ...
    corner = [(0, 0), (right, 0), (right, low), (0, low), (0, 0), (right, 0), (right, low), (0, low)][orientation - 1]
    assert upright.getpixel(corner) == (255, 0, 0)
