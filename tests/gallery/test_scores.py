"""The gallery keeps what a detector found, knows what is unscored; an old gallery is brought up, nothing is lost."""

import contextlib
import hashlib
import json
import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from sluice.errors import InvalidArgument
from sluice.gallery import annotate, catalogue, scores, upkeep
from sluice.gallery.scores import Detector, Score
from sluice.gallery.store import Frame, Gallery, ReadOnly
from sluice.methods.mixtures.summaries import Detections, Summary
from tests.made.gallery_frames import CHANNELS, FLAT, MODEL, TALL, WIDE, batch, features, picture, template
from tests.made.gallery_scores import DETECTOR, FORMAT_1, LABELS, as_format_1, found, objects, rows

NEWER = Detector("mixture_detector/1/bbbbbbbbbbbb", LABELS)


@pytest.fixture
def store(tmp_path):
    with Gallery(tmp_path / "gallery", MODEL, CHANNELS, threads=1) as opened:
        yield opened


# ------------------------------------------------------------------------------------------------ storing


def test_what_was_found_comes_back_as_it_was(store):
    receipts = store.add(*batch("abc"), found(3, 0, None))
    assert [receipt.scored for receipt in receipts] == [True, True, False]
    a, b, c = store.get(["a", "b", "c"], objects=True)
    expected = Summary.of(replace(Detections.from_array(objects(3, 0)), faint=0.0), LABELS, model=DETECTOR.version)
    assert a["detector"] == DETECTOR.version and a["summary"] == json.loads(expected.to_json())
    assert [one["label"] for one in a["objects"]] == [LABELS[int(row[0])] for row in objects(3, 0)]
    np.testing.assert_array_equal(
        np.array([[*o["box"], *o["box_uncertainties"], *o["class_uncertainties"]] for o in a["objects"]], np.float32),
        objects(3, 0)[:, 2:],
    )
    assert (
        b["summary"]["faint"] == 0.25
        and b["summary"]["objects"] == 0
        and b["summary"]["maxima"] is None
        and b["objects"] == []
    )
    assert c["detector"] is None and c["summary"] is None and c["objects"] is None
    assert [(one["id"], one["detector"], one["object_count"]) for one in store.list()["frames"]] == [
        ("a", DETECTOR.version, 3),
        ("b", DETECTOR.version, 0),
        ("c", None, None),
    ]
    json.dumps([a, b, c], allow_nan=False)


def test_what_a_detector_cannot_have_found_is_refused():
    good = objects(2)
    for change, words in (
        (lambda rows: rows[:, :15], "16"),
        (lambda rows: rows[0], "16"),
        (lambda rows: np.where(np.arange(16) == 3, np.nan, rows), "finite"),
        (lambda rows: np.where(np.arange(16) == 0, 2, rows), "class is a number from 0 to 1"),
        (lambda rows: np.where(np.arange(16) == 0, 0.5, rows), "class"),
        (lambda rows: "nothing", "rows of 16"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            scores.checked(change(good), LABELS)
    unknown = np.where(np.arange(16) == 14, np.nan, good)  # a detector without class variances
    assert np.isnan(scores.checked(unknown, LABELS)[:, 14]).all()


def test_an_unknown_uncertainty_is_null_in_json(store):
    rows_ = np.where(np.arange(16) == 14, np.nan, objects(2)).astype(np.float32)
    store.add(*batch("a"), [Score(DETECTOR, rows_)])
    (told,) = store.get(["a"], objects=True)
    assert told["summary"]["maxima"]["class_aleatoric"] is None
    assert told["objects"][0]["class_uncertainties"][0] is None
    json.dumps(told, allow_nan=False)


def test_a_frame_without_objects_says_what_the_objects_of_its_detector_say(store):
    plain = np.where(np.arange(16) >= 6, np.nan, objects(2)).astype(np.float32)
    store.add(*batch("abc"), [Score(DETECTOR, plain), Score(DETECTOR, plain[:0]), Score(NEWER, plain[:0])])
    full, empty, unknown = (frame["summary"] for frame in store.get(["a", "b", "c"]))
    assert full["uncertainties"] == empty["uncertainties"] == []
    assert "uncertainties" not in unknown  # NEWER found nothing anywhere and is not served here
    (served,) = store.get(["c"], detector=Detector(NEWER.version, LABELS, given=("class_epistemic",)))
    assert served["summary"]["uncertainties"] == ["class_epistemic"]


def test_scores_written_later_take_the_place_of_older_ones(store):
    store.add(*batch("abc"), found(1, None, None))
    assert annotate.SCORES.keep(store, ["a", "nobody", "c"], found(2, 2, 5, detector=NEWER)) == ["a", "c"]
    told = store.get(["a", "b", "c"])
    assert [one["detector"] for one in told] == [NEWER.version, None, NEWER.version]
    assert [one["summary"] and one["summary"]["objects"] for one in told] == [2, None, 5]
    assert store.describe()["detectors"] == {NEWER.version: 2}


def test_a_version_of_a_detector_has_one_list_of_classes(store):
    store.add(*batch("a"), found(1))
    other = Detector(DETECTOR.version, ("Car", "Tram"))
    with pytest.raises(InvalidArgument, match="another version"):
        annotate.SCORES.keep(store, ["a"], [Score(other, objects(1))])
    assert store.get(["a"])[0]["summary"]["objects"] == 1
    (receipt,) = store.add(*batch("b"), [Score(other, objects(1))])  # the frame is kept all the same
    assert receipt.status == "stored" and not receipt.scored and "another version" in receipt.unscored
    assert store.get(["b"])[0]["detector"] is None


def test_scores_need_one_a_frame(store):
    with pytest.raises(InvalidArgument, match="1 scores"):
        store.add(*batch("ab"), found(1))
    with pytest.raises(InvalidArgument, match="2 ids and 1 scores"):
        annotate.SCORES.keep(store, ["a", "b"], found(1))


def test_pages_of_unscored_frames_walk_through_them_once(store):
    store.add(*batch("abcdefg"), found(1, None, None, 0, None, None, None))
    page = annotate.SCORES.lacking(store, DETECTOR.version, limit=2)
    assert page["ids"] == ["b", "c"] and page["unscored"] == 5
    annotate.SCORES.keep(store, ["b", "c", "f"], found(1, 1, 1))
    store.delete(["e"])
    page = annotate.SCORES.lacking(store, DETECTOR.version, cursor=page["next"], limit=2)
    assert page == {"ids": ["g"], "next": None, "unscored": 1}
    assert annotate.SCORES.lacking(store, NEWER.version)["unscored"] == 6
    for wrong in ({"limit": 0}, {"cursor": "x"}):
        with pytest.raises(InvalidArgument):
            annotate.SCORES.lacking(store, DETECTOR.version, **wrong)


def test_a_deleted_frame_takes_its_scores_with_it(store):
    store.add(*batch("ab"), found(1, 2))
    store.delete(["a"])
    store.add(*batch("a"))
    assert [one["detector"] for one in store.get(["a", "b"])] == [None, DETECTOR.version]
    with contextlib.closing(sqlite3.connect(store.root / catalogue.FILE)) as file:
        for table in ("scores", "descriptors"):
            seqs = {seq for (seq,) in file.execute(f"SELECT seq FROM {table}")}
            assert seqs <= {seq for (seq,) in file.execute("SELECT seq FROM frames")}


def test_scores_outlive_a_compaction(store):
    store.add(*batch("abcd"), found(1, 2, 3, 4))
    before = store.get(["b", "d"], objects=True)
    store.delete(["a", "c"])
    upkeep.compact(store, waste=0)
    assert store.get(["b", "d"], objects=True) == before


def test_a_loser_of_a_race_scores_nothing(store, monkeypatch):
    """Let another writer store the same picture first, unscored: its row stands, and the receipt says so."""
    with contextlib.closing(Gallery(store.root, MODEL, CHANNELS, threads=1)) as rival:
        write = store._intake._store

        def late(entries):
            rival.add(*batch("a"))
            write(entries)

        monkeypatch.setattr(store._intake, "_store", late)
        (receipt,) = store.add(*batch("a"), found(2))
    assert receipt.status == "known" and not receipt.scored
    assert store.get(["a"])[0]["detector"] is None


# ------------------------------------------------------------------------------------------------ descriptors


@pytest.mark.parametrize("geometry", [WIDE, FLAT, TALL])
def test_a_descriptor_is_the_mean_of_the_cells_that_show_the_picture(store, geometry):
    store.add(*batch("a", geometry))
    cells = features("a", geometry).astype(np.float64)
    if geometry == FLAT:
        cells = cells[1:4]
    total = np.zeros(CHANNELS)
    for row in cells:
        for cell in row:
            total += cell
    kept = scores.descriptors(store._reader, [1])[1]
    np.testing.assert_allclose(kept, total / np.linalg.norm(total), atol=1e-3)


def test_cells_that_cancel_have_the_descriptor_zero():
    assert not scores.descriptor(np.stack([np.ones((1, 4)), -np.ones((1, 4))])).any()


# ------------------------------------------------------------------------------------------------ format 1


@pytest.fixture
def old(tmp_path):
    """Make a folder of format 1 with frames, one of them deleted."""
    root = tmp_path / "old"
    with Gallery(root, MODEL, CHANNELS, threads=1) as store:
        store.add(*batch("abcd", drive="north", time=1.0))
        store.add(*batch("ef", TALL))
        store.delete(["c"])
    as_format_1(root)
    return root


def test_the_tables_of_format_1_are_what_they_were():
    """Freeze the wording of the released format: another column in `frames` would need another migration."""
    assert hashlib.sha256(" ".join(catalogue.SCHEMA.split()).encode()).hexdigest()[:16] == "8a6580b06208e1ce"


def test_an_old_gallery_is_brought_up_and_loses_no_frame(old):
    with contextlib.closing(sqlite3.connect(old / catalogue.FILE)) as file:
        before = file.execute("SELECT * FROM frames ORDER BY seq").fetchall()
    with Gallery(old, MODEL, CHANNELS, threads=1) as store:
        assert rows(store) == before and len(before) == 5
        assert store.describe()["format"] == catalogue.FORMAT and store.describe()["detectors"] == {}
        assert set(store.search(template("a")).ids) == set("abdef")
        assert all(store.image(name) == picture(name) for name in "abdef")
        assert list(upkeep.verify(store)) == []
        assert annotate.SCORES.lacking(store, DETECTOR.version)["ids"] == list("abdef")
        assert annotate.SCORES.keep(store, ["b"], found(2)) == ["b"]
        assert store.add(*batch("g"), found(1))[0].scored
    with Gallery(old, MODEL, CHANNELS, threads=1) as store:
        assert store.get(["b"])[0]["summary"]["objects"] == 2
        assert annotate.SCORES.lacking(store, DETECTOR.version)["ids"] == list("adef")


def test_two_processes_may_bring_a_gallery_up_at_the_same_moment(old):
    with contextlib.closing(Gallery(old, MODEL, CHANNELS)) as one, contextlib.closing(Gallery(old, MODEL)) as two:
        annotate.SCORES.keep(one, ["a"], found(1))
        assert two.get(["a"])[0]["detector"] == DETECTOR.version


def test_a_migration_that_breaks_off_leaves_the_old_gallery(old, monkeypatch):
    """Interrupt the migration, which is one commit: until then the folder is of format 1 and complete."""
    monkeypatch.setattr(catalogue, "SCHEMA_2", catalogue.SCHEMA_2 + "INSERT INTO nowhere VALUES(1);\n")
    with pytest.raises(Exception, match="nowhere"):
        Gallery(old, MODEL, CHANNELS)
    with contextlib.closing(sqlite3.connect(old / catalogue.FILE)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (1,)
        assert {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} == FORMAT_1
    monkeypatch.undo()
    with Gallery(old, MODEL, CHANNELS, threads=1) as store:
        assert set(store.search(template("a")).ids) == set("abdef")


def test_an_old_program_goes_on_adding_beside_a_new_one(old):
    """Write `frames` as a program that knows no scores: its frames are unscored, and what it deletes is gone."""
    old_program = contextlib.closing(sqlite3.connect(old / catalogue.FILE, isolation_level=None))
    with old_program as program, Gallery(old, MODEL, CHANNELS, threads=1) as store:
        annotate.SCORES.keep(store, ["a"], found(1))
        row = program.execute("SELECT * FROM frames WHERE id = 'a'").fetchone()
        program.execute("INSERT INTO changes(seq) VALUES(1)")
        program.execute("DELETE FROM frames WHERE id = 'a'")
        program.execute(catalogue.INSERT, ("z", *row[2:]))
        assert annotate.SCORES.lacking(store, DETECTOR.version)["ids"] == list("bdefz")
        assert store.get(["z"])[0]["detector"] is None


def test_an_old_gallery_that_cannot_be_written_is_read_as_unscored(old, monkeypatch):
    from sluice.gallery import store as module

    before = shutil.copytree(old, old.with_name("copy"))
    monkeypatch.setattr(module, "writable", lambda folder: False)
    with Gallery(old, MODEL, CHANNELS, threads=1) as store:
        assert set(store.search(template("a")).ids) == set("abdef")
        assert store.get(["a"])[0]["detector"] is None and len(store.list()["frames"]) == 5
        assert annotate.SCORES.lacking(store, DETECTOR.version)["unscored"] == 5
        assert store.describe()["detectors"] == {}
        with pytest.raises(ReadOnly):
            annotate.SCORES.keep(store, ["a"], found(1))
    file = catalogue.FILE
    assert (old / file).read_bytes() == (before / file).read_bytes()


def test_frames_are_named_by_the_rule_of_the_gallery(store):
    with pytest.raises(InvalidArgument, match="ids is a list"):
        annotate.SCORES.keep(store, ["\n"], found(1))
    assert store.add([Frame()], [b"x"], [features("x")], [WIDE], found(0))[0].scored
