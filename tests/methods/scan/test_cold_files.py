"""Cold galleries: what is read past the mapping is what the mapping shows, and a search finds the same."""

import mmap
import os

import numpy as np
import pytest

from sluice.methods import matching
from sluice.methods.scan import cold_files
from sluice.methods.scan import engine as scan
from sluice.methods.scan.codes import quantise


@pytest.fixture
def cold(monkeypatch):
    """Take every mapped block for cold, and memory for too small; count the bytes that are then read."""
    monkeypatch.setattr(cold_files, "SMALL", 0)
    monkeypatch.setattr(cold_files, "RESIDENT", 2.0)
    monkeypatch.setattr(cold_files, "memory", lambda: 1)
    read, count = os.preadv, []

    def counting(*arguments):
        count.append(read(*arguments))
        return count[-1]

    monkeypatch.setattr(os, "preadv", counting)
    return count


def mapped(folder, name, array):
    array.tofile(folder / name)
    return np.asarray(np.memmap(folder / name, array.dtype, "r", shape=array.shape))


def shard(folder, seed, n=150, cells=7, channels=24):
    rng = np.random.default_rng(seed)
    features = matching.unit(rng.standard_normal((n, cells, channels))).astype(np.float16)
    codes = quantise(features)
    on_disk = mapped(folder, f"{seed}.codes", codes.codes)
    return scan.Block(on_disk, codes.scale, codes.error, mapped(folder, f"{seed}.exact", features))


def test_every_range_of_frames_is_read_as_it_is_mapped(tmp_path, cold):
    codes = np.random.default_rng(0).integers(0, 256, (50, 13, 37), np.uint8)
    view = mapped(tmp_path, "codes", codes)
    (source,) = found = cold_files.sources([view[3:]])
    buffer = mmap.mmap(-1, cold_files.room(47, source.size))
    for start, end in ((0, 47), (0, 1), (46, 47), (9, 25)):
        np.testing.assert_array_equal(source.read(start, end, buffer), codes[3 + start : 3 + end])
    with pytest.raises(OSError, match="shorter than"):
        source.read(40, 60, mmap.mmap(-1, cold_files.room(20, source.size)))
    cold_files.close(found)


SPARSE = [np.array([0, 2, 3, 90, 91, 149]), np.arange(4, 20)]
EVERY_OTHER = [np.arange(0, 150, 2), np.arange(1, 31, 2)]


@pytest.mark.parametrize(("rows", "read"), [(None, 25000), (SPARSE, 2000), (EVERY_OTHER, 25000)])
def test_a_search_of_cold_blocks_finds_what_brute_force_finds(tmp_path, cold, monkeypatch, rows, read):
    monkeypatch.setattr(scan, "READ", 9000)
    blocks = [shard(tmp_path, 1), shard(tmp_path, 2, n=31, cells=5)]
    templates = matching.stack([matching.unit(blocks[0].exact[3, :4])])
    before = open_files(tmp_path)  # the mappings hold theirs
    found = scan.search(blocks, rows, templates, k=9)
    assert open_files(tmp_path) == before
    assert sum(cold) > read
    expected = scan.brute_force(blocks, rows, templates, k=9)
    for field in ("block", "row", "scores", "roi_scores"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


def test_arrays_in_memory_and_files_that_are_gone_stay_as_they_are(tmp_path, cold):
    codes = np.ones((5, 3, 4), np.uint8)
    gone = mapped(tmp_path, "gone", codes)
    (tmp_path / "gone").unlink()
    other = mapped(tmp_path, "other", codes)
    (tmp_path / "other").unlink()
    (codes * 2).tofile(tmp_path / "other")
    before = open_files(tmp_path)
    assert cold_files.sources([codes, gone, other, other[:0]]) == [None] * 4
    assert open_files(tmp_path) == before


def test_a_file_in_the_page_cache_is_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cold_files, "SMALL", 0)
    view = mapped(tmp_path, "warm", np.ones((64, 8, 64), np.uint8))
    assert view.sum() and cold_files.resident(view) == 1
    assert cold_files.sources([view]) == [None]


def open_files(folder):
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return [os.readlink(link) for link in links if os.path.exists(link) and str(folder) in os.readlink(link)]
