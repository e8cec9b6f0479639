"""Galleries of any number of channels: maps come back as stored, and those of other channels are refused."""

import re

import numpy as np
import pytest

from sluice.errors import InvalidArgument
from sluice.gallery import scores, selection_pool, upkeep
from sluice.gallery.store import Gallery, VersionMismatch
from sluice.methods import matching
from sluice.methods.selection.options import Options
from sluice.wire import picks
from tests.made.gallery_frames import MODEL, batch, features
from tests.made.gallery_scores import DETECTOR, found

CHANNELS = [16, 48, 64, 80, 384, 768, 1024]


def maps(names, channels):
    """Return the arguments of `Gallery.add` for frames with so many channels."""
    frames, images, _, geometries = batch(names)
    return frames, images, [features(name, channels=channels) for name in names], geometries


def template(name, channels):
    return matching.stack([matching.template(features(name, channels=channels), (1, 2, 1, 3))], cells=[12])


@pytest.mark.parametrize("channels", CHANNELS)
def test_maps_come_back_as_they_were_and_are_found(tmp_path, channels):
    names = "abcdefgh"
    with Gallery(tmp_path, MODEL, channels, threads=1) as store:
        assert {one.status for one in store.add(*maps(names, channels))} == {"stored"}
    with Gallery(tmp_path, MODEL, channels, threads=1) as store:
        for name in names:
            assert np.array_equal(store.features(name), features(name, channels=channels))
        result = store.search(template("c", channels))
        assert result.ids[0] == "c" and result.scores[0] == pytest.approx(1, abs=2e-3)
        wanted = {one: matching.scores(features(one, channels=channels), template("c", channels))[0] for one in names}
        assert sorted(result.ids) == sorted(names)
        np.testing.assert_allclose(result.scores, [wanted[id_] for id_ in result.ids], atol=1e-5)
        assert store.describe()["bytes"] >= len(names) * 12 * 3 * channels
        assert list(upkeep.verify(store)) == []


def test_a_map_of_other_channels_is_refused_and_its_neighbours_are_stored(tmp_path):
    with Gallery(tmp_path, MODEL, 16, threads=1) as store:
        frames, images, maps_, geometries = batch("abc")
        maps_[1] = features("b", channels=48)
        receipts = store.add(frames, images, maps_, geometries)
        assert [one.status for one in receipts] == ["stored", "refused", "stored"]
        assert re.search("48 channels.* 16", receipts[1].error)
        with pytest.raises(InvalidArgument, match=r"16 channels.*got 48"):
            store.search(template("a", 48))


def test_a_gallery_of_another_network_is_refused_with_both_numbers(tmp_path):
    with Gallery(tmp_path, MODEL, 48, threads=1) as store:
        store.add(*maps("ab", 48))
    other = "feature_extractor/1/cccccccccccc"
    for model, mixed in ((other, False), (MODEL, False), (MODEL, True)):
        with Gallery(tmp_path, model, 1024, threads=1, mixed=mixed) as store:
            with pytest.raises(VersionMismatch, match=r"48 channels.*1024 channels.*new gallery folder"):
                store.add(*maps("c", 1024))
            with pytest.raises(VersionMismatch, match=r"48 channels.*1024 channels"):
                store.search(template("a", 1024))
    with Gallery(tmp_path, other, 1024, threads=1, mixed=True) as store:  # each version is searched by itself
        assert store.add(*maps("c", 1024))[0].status == "stored"
        assert store.search(template("c", 1024)).ids == ("c",)


@pytest.mark.parametrize("channels", [16, 80, 1024])
def test_a_diverse_selection_takes_the_frames_that_lie_apart(tmp_path, channels):
    names = "abcdef"
    with Gallery(tmp_path, MODEL, channels, threads=1) as store:
        frames, images, maps_, geometries = maps(names, channels)
        maps_[1:] = [maps_[1]] * 5  # "b" to "f" look alike, and only "a" looks otherwise
        store.add(frames, images, maps_, geometries, found(*[3] * 6))
        chosen = []
        for diversity in (1, 3):
            asked = Options.from_json({"n": 2, "diversity": diversity, "over_objects": "max", "aggregate": "max"})
            with selection_pool.opened(store, DETECTOR, asked) as pool:
                vectors = pool.descriptors(np.arange(6))
                chosen.append(picks.answer(pool, asked)["IDS"])
        assert vectors.shape == (6, channels)
        np.testing.assert_allclose(vectors[0], scores.descriptor(maps_[0]), atol=1e-3)
        assert b"a" not in chosen[0] and b"a" in chosen[1]
