"""The gallery as a pool: the same picks as of a list of the same images, as of one moment, whatever the filters."""

import contextlib
import json
import math
import sqlite3
import threading

import numpy as np
import pytest

from sluice.errors import InvalidArgument
from sluice.gallery import annotate, catalogue, scores, selection_pool, snapshot
from sluice.gallery import store as store_module
from sluice.gallery.scores import Detector, Score
from sluice.gallery.store import Busy, Frame, Gallery, VersionMismatch
from sluice.methods.selection import choice
from sluice.methods.selection.candidates import Candidates
from sluice.methods.selection.options import Options
from sluice.wire import picks
from tests.made.gallery_frames import CHANNELS, FLAT, WIDE, features, picture
from tests.made.gallery_frames import MODEL as FEATURES
from tests.made.gallery_scores import as_format_1, as_format_4
from tests.made.uncertain_objects import LABELS, MODEL, Picture, long_hand, pictures

DETECTOR = Detector(MODEL, LABELS)


@pytest.fixture
def store(tmp_path):
    with Gallery(tmp_path / "gallery", FEATURES, CHANNELS, threads=1) as opened:
        yield opened


def fill(store, images, geometry=WIDE, tags=(), times=None):
    """Store made-up images with what was found in them."""
    frames = [
        Frame(image.id, image.drive, "front", None if times is None else times[i], tags)
        for i, image in enumerate(images)
    ]
    found = [
        Score(DETECTOR, image.detections().as_array(), None if math.isnan(image.faint) else image.faint)
        for image in images
    ]
    names = [image.id for image in images]
    maps = [features(name, geometry) for name in names]
    receipts = store.add(frames, [picture(name) for name in names], maps, [geometry] * len(names), found)
    assert all(receipt.scored for receipt in receipts)


def answer(store, detector=DETECTOR, **options):
    asked = Options.from_json(options)
    with selection_pool.opened(store, detector, asked) as frames:
        return picks.answer(frames, asked)


def ids(answer, name="IDS"):
    return [one.decode() for one in answer[name]]


def told(answer, name):
    return json.loads(answer[name][0])


OPTIONS = [
    {},
    {"n": 3, "over_objects": "mean"},
    {"over_objects": "max", "aggregate": "max"},
    {"threshold": 0.5, "types": ["location_epistemic", "class_epistemic"]},
    {"class_weights": {"Car": 0, "Bicyclist": 2}, "per_drive": 2},
    {"labelled": ["image 001", "image 005", "nobody"], "drives": ["north", ""]},
    {"exclude": ["image 002"], "drives": ["south"], "n": 4},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_gallery_and_a_list_of_the_same_images_give_the_same_picks(store, options, monkeypatch):
    monkeypatch.setattr(selection_pool, "FRAMES", 3)  # several batches
    images = pictures(8, 24)
    fill(store, images)
    asked = Options.from_json(options)
    one = answer(store, **options)
    two = picks.answer(Candidates([image.candidate() for image in images], asked), asked)
    assert ids(one) == ids(two) and len(ids(one))
    for name in ("SCORES", "Z", "MAXIMA"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, atol=1e-6)
    assert sorted(ids(one, "WITHOUT_OBJECTS")) == sorted(ids(two, "WITHOUT_OBJECTS"))
    left, right = told(one, "STATISTICS"), told(two, "STATISTICS")
    assert left["n"] == right["n"] and left["frames"] == right["frames"]
    for name in ("mean", "std"):
        for t, value in left[name].items():
            assert right[name][t] == pytest.approx(value, rel=1e-9)


def test_filters_say_who_may_be_picked_and_the_pool_stays_whole(store):
    images = pictures(9, 30)
    fill(store, images, times=[float(i) for i in range(30)])
    whole = answer(store)
    for filters in ({"drives": ["north"]}, {"after": 10, "before": 20}, {"exclude": ids(whole)[:3]}, {"cameras": []}):
        some = answer(store, **filters)
        assert told(some, "STATISTICS") == told(whole, "STATISTICS")
        scores_ = dict(zip(ids(whole), whole["SCORES"], strict=True))
        assert [scores_[id_] for id_ in ids(some)] == some["SCORES"].tolist()
    assert ids(answer(store, cameras=[])) == []
    north = {image.id for image in images if image.drive == "north"}
    assert set(ids(answer(store, drives=["north"]))) <= north
    assert set(ids(answer(store, drives=["north"]), "WITHOUT_OBJECTS")) <= north


@pytest.mark.parametrize(
    "filters",
    [
        {"drives": ["north", "nowhere"]},
        {"drives": []},
        {"cameras": ["front"]},
        {"cameras": ["rear"]},
        {"after": 3},
        {"before": 3},
        {"after": 3, "before": 9},
        {"tags": ["day", "rain"]},
        {"tags": []},
        {"exclude": ["image 001", "image 002"]},
    ],
    ids=str,
)
def test_a_list_is_filtered_as_the_gallery_is(store, filters):
    images = pictures(15, 18)
    fill(store, images[:8], tags=("day", "rain"), times=[float(i) for i in range(8)])
    fill(store, images[8:], tags=("day",))
    about = [{"tags": ["day", "rain"], "time": float(i)} for i in range(8)] + [{"tags": ["day"]}] * 10
    listed = [image.candidate(camera="front", **more) for image, more in zip(images, about, strict=True)]
    asked = Options.from_json(filters)
    one, two = answer(store, **filters), picks.answer(Candidates(listed, asked), asked)
    assert ids(one) == ids(two)
    assert ids(one, "WITHOUT_OBJECTS") == ids(two, "WITHOUT_OBJECTS")
    assert told(one, "STATISTICS")["frames"] == told(two, "STATISTICS")["frames"] == 18


def test_labelled_frames_belong_neither_to_the_picks_nor_to_the_pool(store):
    images = pictures(10, 20)
    done = [image.id for image in images[:5]]
    fill(store, images[:5], tags=("done", "day"))
    fill(store, images[5:], tags=("day",))
    expected = [id_ for _, id_, _ in long_hand(images[5:])]
    for options in ({"labelled": done}, {"labelled_tag": "done"}, {"labelled": done[:2], "labelled_tag": "done"}):
        assert ids(answer(store, **options)) == expected
    assert ids(answer(store, labelled_tag="nothing")) == [id_ for _, id_, _ in long_hand(images)]
    assert ids(answer(store, labelled_tag="day")) == []


def test_what_a_request_names_in_vain_is_told_of_stored_frames_and_of_a_list(store):
    images = pictures(6, 21)
    fill(store, images, tags=("day",))
    listed = [image.candidate(camera="front", tags=["day"]) for image in images]
    asked = {
        "labelled": [images[0].id, "nosuch"],
        "labelled_tag": "done",
        "drives": ["north", "nowhere"],
        "cameras": ["rear"],
        "tags": ["day"],
        "exclude": ["x", images[1].id],
        "before": 3,
        "aggregate": "sum",
        "types": ["class_epistemic"],
    }
    one = told(answer(store, **asked), "SEARCHED")["no_effect"]
    options = Options.from_json(asked)
    two = told(picks.answer(Candidates(listed, options), options), "SEARCHED")["no_effect"]
    expected = [
        ("labelled", ["nosuch"]),
        ("labelled_tag", ["done"]),
        ("drives", ["nowhere"]),
        ("cameras", ["rear"]),
        ("exclude", ["x"]),
        ("before", []),
        ("aggregate", []),
    ]
    for vain, whose in ((one, "stored frame"), (two, "candidate")):
        assert [(entry["option"], entry["values"]) for entry in vain] == expected
        assert vain[0]["why"] == f"no {whose} has such an id" and vain[1]["why"] == f"no {whose} has such a tag"
    assert "no_effect" not in told(answer(store, labelled=[images[0].id], tags=["day"], aggregate="sum"), "SEARCHED")
    many = told(answer(store, labelled=[f"no {i}" for i in range(250)]), "SEARCHED")["no_effect"]
    assert many[0]["count"] == 250 and many[0]["values"] == [f"no {i}" for i in range(100)]


def test_weights_that_no_candidate_needs_and_frozen_statistics_of_the_same_pool_are_told(store):
    images = pictures(6, 22)
    listed = [image.candidate() for image in images]
    asked = Options.from_json({"class_weights": {"Truck": 2}})
    said = picks.answer(Candidates(listed, asked), asked)
    (entry,) = told(said, "SEARCHED")["no_effect"]
    assert (entry["option"], entry["values"]) == ("class_weights", ["Truck"])
    fill(store, images)
    own = told(answer(store), "STATISTICS")
    assert [one["option"] for one in told(answer(store, statistics=own, frozen=True), "SEARCHED")["no_effect"]] == [
        "frozen"
    ]


def test_what_cannot_be_ranked_is_listed(store):
    fill(store, [Picture("a", [("Car", [1.0] * 4)]), Picture("b"), Picture("c", [("Pedestrian", [2.0] * 4)])])
    store.add([Frame("d"), Frame("e")], [b"d", b"e"], [features("d"), features("e")], [WIDE] * 2)
    annotate.SCORES.keep(store, ["e"], [Score(Detector("older", LABELS), np.zeros((0, 16), np.float32))])
    said = answer(store, class_weights={"Car": 0})
    assert ids(said) == ["c"]
    assert ids(said, "WITHOUT_OBJECTS") == ["a", "b"]
    assert ids(said, "UNSCORED") == ["d", "e"]
    searched = told(said, "SEARCHED")
    assert (searched["frames"], searched["without_objects"], searched["unscored"]) == (3, 2, 2)
    assert "sluice score" in searched["remedy"] and MODEL in searched["remedy"]
    short = answer(store, listed=1, class_weights={"Car": 0})
    assert len(short["UNSCORED"]) == 1 and len(short["WITHOUT_OBJECTS"]) == 1
    assert told(short, "SEARCHED")["unscored"] == 2 and told(short, "SEARCHED")["without_objects"] == 2
    searched = told(answer(store, exclude=["d", "e"]), "SEARCHED")
    assert searched["faintless"] == 1 and "an older server scored them" in searched["remedy"]
    assert told(answer(store, exclude=["b", "d", "e"]), "SEARCHED")["remedy"] is None


def test_only_what_is_certain_enough_is_an_object(store):
    image = Picture("a", [("Car", [1.0] * 4), ("Car", [9.0] * 4)])
    rows = image.detections().as_array()
    rows[1, 1] = 0.3
    store.add([Frame("a")], [b"a"], [features("a")], [WIDE], [Score(DETECTOR, rows)])
    assert answer(store)["MAXIMA"].max() == 1 and told(answer(store), "STATISTICS")["n"] == 1
    assert answer(store, object_score=0.2)["MAXIMA"].max() == 9
    assert ids(answer(store, object_score=0.95), "WITHOUT_OBJECTS") == ["a"]


def test_an_empty_gallery_and_one_that_nobody_scored_answer_with_nothing(store):
    for unscored in ([], ["a"]):
        said = answer(store)
        assert ids(said) == [] and said["Z"].shape == (0, 4) and ids(said, "UNSCORED") == unscored
        store.add([Frame("a")], [b"a"], [features("a")], [WIDE])


def test_classes_that_the_detector_does_not_know_are_refused(store):
    fill(store, pictures(1, 4))
    with pytest.raises(InvalidArgument, match="has Tram; the detector knows Car, Pedestrian, Bicyclist"):
        answer(store, class_weights={"Tram": 2})
    with pytest.raises(InvalidArgument, match="every class out"):
        answer(store, class_weights=dict.fromkeys(LABELS, 0))


# -------------------------------------------------------------------------------------------- frames without an object

EMPTY = [Picture("low", [("Car", [1.0] * 4)], faint=5.0), Picture("high", [("Car", [3.0] * 4)])]
EMPTY += [Picture("a", faint=1.0), Picture("b", faint=3.0), Picture("c", faint=2.0)]


def test_frames_without_an_object_are_ranked_as_those_of_a_list(store):
    fill(store, EMPTY)
    one = answer(store)
    two = picks.answer(Candidates([image.candidate() for image in EMPTY], Options()), Options())
    assert ids(one) == ids(two) == ["b", "high", "c", "low", "a"]
    assert one["SCORES"].tolist() == two["SCORES"].tolist() and ids(one, "REASONS")[0] == ids(two, "REASONS")[0]
    assert told(one, "STATISTICS")["faint"] == told(two, "STATISTICS")["faint"]
    higher = answer(store, object_score=0.95)  # now the objects of score 0.9 are faint, too
    assert ids(higher) == ["low", "b", "c", "a"] and ids(higher, "WITHOUT_OBJECTS") == ["high"]
    assert "add up to 5.90 objects" in ids(higher, "REASONS")[0]


def test_a_gallery_of_format_4_says_what_it_lacks_and_scoring_again_ranks_it(store, monkeypatch):
    fill(store, EMPTY)
    store.close()
    as_format_4(store.root)
    with monkeypatch.context() as patched:  # first in a folder that cannot be written
        patched.setattr(store_module, "writable", lambda folder: False)
        with Gallery(store.root, FEATURES, CHANNELS, threads=1) as read:
            said = answer(read)
            assert ids(said) == ["high", "low"] and told(said, "SEARCHED")["faintless"] == 3
    with Gallery(store.root, FEATURES, CHANNELS, threads=1) as opened:
        said = answer(opened)
        assert opened.describe()["format"] == 5 and opened.describe()["detectors"] == {MODEL: 5}
        assert ids(said) == ["high", "low"] and sorted(ids(said, "WITHOUT_OBJECTS")) == ["a", "b", "c"]
        assert "3 images without an object are not ranked" in told(said, "SEARCHED")["remedy"]
        page = annotate.SCORES.lacking(opened, MODEL)  # which `sluice score` asks
        assert sorted(page["ids"]) == ["a", "b", "c"] and page["unscored"] == 3
        again = [Score(DETECTOR, one.detections().as_array(), one.faint) for one in EMPTY if one.id in page["ids"]]
        annotate.SCORES.keep(opened, ["a", "b", "c"], again)
        assert annotate.SCORES.lacking(opened, MODEL) == {"ids": [], "next": None, "unscored": 0}
        said = answer(opened)
        assert ids(said) == ["b", "high", "c", "low", "a"] and told(said, "SEARCHED")["remedy"] is None


def test_a_program_of_format_4_beside_this_one_leaves_frames_to_be_scored_again(store):
    fill(store, EMPTY)
    with contextlib.closing(sqlite3.connect(store.root / catalogue.FILE, isolation_level=None)) as older:
        older.execute(
            "INSERT OR REPLACE INTO scores(seq, detector, objects) "
            "SELECT seq, detector, objects FROM scores WHERE length(objects) = 0"
        )
    assert annotate.SCORES.lacking(store, MODEL)["unscored"] == 3


# ------------------------------------------------------------------------------------------------ versions of the pool


def test_statistics_hold_until_frames_scores_or_labels_change(store):
    images = pictures(12, 20)
    fill(store, images[:18])
    kept = told(answer(store), "STATISTICS")
    assert ids(answer(store, statistics=kept, n=3)) == ids(answer(store, n=3))
    assert ids(answer(store, statistics=kept, drives=["north"])) == ids(answer(store, drives=["north"]))
    with contextlib.closing(Gallery(store.root, FEATURES, CHANNELS)) as other:
        assert ids(answer(other, statistics=kept)) == ids(answer(store))  # another process, the same pool
    changes = (
        lambda: store.delete([images[0].id]),
        lambda: fill(store, images[18:19]),
        lambda: store.add([Frame("unscored")], [b"u"], [features("u")], [WIDE]),
        lambda: annotate.SCORES.keep(store, ["unscored"], [Score(DETECTOR, np.zeros((0, 16), np.float32))]),
    )
    for change in changes:
        kept = told(answer(store), "STATISTICS")
        change()
        with pytest.raises(InvalidArgument, match="have changed since; leave `statistics` out"):
            answer(store, statistics=kept)
    kept = told(answer(store), "STATISTICS")
    for options, words in (
        ({"labelled": [images[1].id]}, "have changed"),
        ({"class_weights": {"Car": 0}}, "all classes but Car"),
        ({"object_score": 0.6}, "score of 0.6"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            answer(store, statistics=kept, **options)
    with pytest.raises(InvalidArgument, match="detector"):
        answer(store, Detector("another", LABELS), statistics=kept)


def test_two_galleries_share_statistics_and_pick_as_one(tmp_path):
    images = pictures(13, 40)
    with Gallery(tmp_path / "1", FEATURES, CHANNELS) as one, Gallery(tmp_path / "2", FEATURES, CHANNELS) as two:
        fill(one, images[::2])
        fill(two, images[1::2])
        shared = [told(answer(store), "STATISTICS") for store in (one, two)]
        best = []
        for store in (one, two):
            said = answer(store, statistics=shared, n=9)
            best += zip((-said["SCORES"]).tolist(), ids(said), strict=True)
    assert [id_ for _, id_ in sorted(best)[:9]] == [id_ for _, id_, _ in long_hand(images)[:9]]


def test_a_selection_sees_one_moment(store, monkeypatch):
    """Let another process add, score again and delete between the two passes of a selection: none of it is seen."""
    monkeypatch.setattr(selection_pool, "FRAMES", 4)
    images = pictures(14, 20)
    fill(store, images)
    expected = answer(store)
    statistics = choice.statistics

    def late(frames, left_out):
        done = statistics(frames, left_out)
        with contextlib.closing(Gallery(store.root, FEATURES, CHANNELS)) as other:
            fill(other, [Picture(f"new {i}", [("Car", [1e6] * 4)]) for i in range(3)])
            ranked = ids(expected)
            other.delete(ranked[:2])
            annotate.SCORES.keep(other, ranked[2:3], [Score(DETECTOR, np.zeros((0, 16), np.float32))])
            store.list()  # and this process's table follows it meanwhile
        return done

    monkeypatch.setattr(choice, "statistics", late)
    during = answer(store)
    monkeypatch.undo()
    for name in ("IDS", "SCORES", "Z", "WITHOUT_OBJECTS", "UNSCORED", "STATISTICS"):
        assert (during[name] == expected[name]).all(), name
    assert ids(answer(store))[0].startswith("new")


def test_a_gallery_that_changes_all_the_time_says_so(store, monkeypatch):
    fill(store, pictures(1, 4))
    monkeypatch.setattr(snapshot, "_agree", lambda *_: False)
    with pytest.raises(Busy, match="try the same again"):
        answer(store)


def test_selections_run_while_others_add(store):
    failures, done = [], threading.Event()

    def ask():
        while not done.is_set():
            try:
                said = answer(store, n=5)
                assert len(said["IDS"]) <= 5
            except Exception as error:
                failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for i in range(15):
        fill(store, [Picture(f"{i}-{j}", [("Car", [float(i), 1, 1, 1])]) for j in range(3)])
    done.set()
    thread.join()
    assert not failures and ids(answer(store, n=3)) == ["14-0", "14-1", "14-2"]


# ------------------------------------------------------------------------------------------------ diversity


def test_a_diverse_selection_goes_by_the_stored_descriptors(store, monkeypatch):
    """Store five frames of one scene and two of others: equal bytes of features have equal descriptors."""
    images = [Picture(f"{i}", [("Car", [10.0 - i] * 4)]) for i in range(7)]
    scene = ["one"] * 5 + ["two", "three"]
    found = [Score(DETECTOR, image.detections().as_array()) for image in images]
    frames = [Frame(image.id) for image in images]
    shown = [features(name, FLAT) for name in scene]
    store.add(frames, [picture(image.id) for image in images], shown, [FLAT] * 7, found)
    assert ids(answer(store, n=3)) == ["0", "1", "2"]
    said = answer(store, n=3, diversity=3)
    assert ids(said)[0] == "0" and set(ids(said)) == {"0", "5", "6"}
    assert "the earlier pick that looks most like it" in said["REASONS"][1].decode()
    # Frames that format 1 stored have none: they are made from their features, with the same picks.
    store._editor.execute("DELETE FROM descriptors WHERE seq % 2 = 0")
    again = answer(store, n=3, diversity=3)
    assert ids(again) == ids(said) and again["REASONS"].tolist() == said["REASONS"].tolist()


def test_descriptors_of_two_versions_of_the_features_do_not_compare(store):
    fill(store, pictures(2, 4))
    with contextlib.closing(Gallery(store.root, "feature_extractor/2/ffff", CHANNELS, mixed=True)) as other:
        fill(other, [Picture("new", [("Car", [50.0] * 4)])])
        assert "new" in ids(answer(other))
        with pytest.raises(VersionMismatch, match="do not compare"):
            answer(other, n=4, diversity=2)


# ------------------------------------------------------------------------------------------------ old galleries


def test_a_gallery_of_format_1_that_cannot_be_written_is_all_unscored(tmp_path, monkeypatch):
    from sluice.gallery import store as module

    with Gallery(tmp_path / "old", FEATURES, CHANNELS) as store:
        fill(store, pictures(3, 4))
    as_format_1(tmp_path / "old")
    monkeypatch.setattr(module, "writable", lambda folder: False)
    with Gallery(tmp_path / "old", FEATURES, CHANNELS) as store:
        said = answer(store)
    assert ids(said) == [] and len(said["UNSCORED"]) == 4 and told(said, "STATISTICS")["n"] == 0


def test_values_are_those_of_the_detections(store):
    image = pictures(5, 1)[0]
    fill(store, [image])
    asked = Options()
    with selection_pool.opened(store, DETECTOR, asked) as frames:
        (batch,) = list(frames.batches())
    np.testing.assert_array_equal(batch.values, image.detections().types().astype(np.float64))
    assert scores.NOTES.counts(store._reader) == {MODEL: 1}
