"""The gallery keeps what it is given, once, and finds it again as brute force over what it keeps would."""

import contextlib
import json
import sqlite3
import threading

import numpy as np
import pytest

from sluice.errors import InvalidArgument, NotFound
from sluice.frames import Filter
from sluice.gallery import catalogue, upkeep
from sluice.gallery.store import Frame, Gallery, NotAGallery, Search, UnknownId, VersionMismatch
from sluice.methods import matching
from tests.made.gallery_frames import CHANNELS, FLAT, MODEL, TALL, WIDE, batch, features, picture, template
from tests.made.gallery_search import compare


@pytest.fixture
def store(tmp_path):
    with Gallery(tmp_path / "gallery", MODEL, CHANNELS, threads=1) as opened:
        yield opened


def another(store, model=MODEL, **options):
    """Open the same folder as another process would."""
    return contextlib.closing(Gallery(store.root, model, CHANNELS, threads=1, **options))


def statuses(receipts):
    return [receipt.status for receipt in receipts]


# ---------------------------------------------------------------------------------------------------------- adding


def test_a_stored_frame_comes_back_as_it_was(store):
    frame = Frame("a", "drive 1", "front", 12.5, ("night", "rain", "night"))
    (receipt,) = store.add([frame], [b"bytes"], [features("a")], [WIDE])
    assert receipt.status == "stored" and receipt.id == "a" and receipt.error is None
    with another(store) as other:
        assert other.image("a") == b"bytes"
        assert np.array_equal(other.features("a"), features("a"))
        assert np.array_equal(other.geometry("a"), WIDE.as_array())
        assert other.get(["a"]) == [
            {
                "id": "a",
                "sha256": receipt.sha256,
                "drive": "drive 1",
                "camera": "front",
                "time": 12.5,
                "tags": ["night", "rain"],
                "width": 64,
                "height": 48,
                "model": MODEL,
                "detector": None,
                "summary": None,
            }
        ]


def test_a_frame_without_an_id_is_named_after_its_bytes(store):
    (receipt,) = store.add([Frame()], [b"bytes"], [features("a")], [WIDE.as_array()])
    assert receipt.id == receipt.sha256[:16]


def test_a_batch_sent_again_is_known_under_its_first_ids(store):
    assert statuses(store.add(*batch("abc"))) == ["stored"] * 3
    frames = [Frame(f"other {i}") for i in range(3)]
    again = store.add(frames, *batch("abc")[1:])
    assert statuses(again) == ["known"] * 3 and [r.id for r in again] == ["a", "b", "c"]
    assert store.describe()["frames"] == 3 and store.describe()["unreferenced_bytes"] == 0


def test_an_id_with_other_bytes_is_refused_and_its_neighbours_are_stored(store):
    store.add(*batch("a"))
    receipts = store.add([Frame("b"), Frame("a"), Frame("c")], [b"b", b"not a", b"c"], *batch("bac")[2:])
    assert statuses(receipts) == ["stored", "refused", "stored"]
    assert "'a'" in receipts[1].error and "another id" in receipts[1].remedy
    assert store.image("a") == picture("a")


def test_a_batch_is_judged_within_itself_too(store):
    frames = [Frame("a"), Frame("b"), Frame("a"), Frame("a")]
    receipts = store.add(frames, [b"1", b"1", b"2", b"1"], [features("x")] * 4, [WIDE] * 4)
    assert [(r.status, r.id) for r in receipts] == [("stored", "a"), ("known", "a"), ("refused", "a"), ("known", "a")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f, g: (np.where(np.arange(CHANNELS) == 3, np.nan, f), g), "finite"),
        (lambda f, g: (f.astype(np.float32) * 1e6, g), "finite"),
        (lambda f, g: (f * np.float16(2), g), "length 1"),
        (lambda f, g: (f[..., :5], g), "16"),
        (lambda f, g: (f[0], g), "16"),
        (lambda f, g: (f.astype(np.int8), g), "floating"),
        (lambda f, g: (f[:0], g), "16"),
        (lambda f, g: (f, g[:5]), "geometry"),
        (lambda f, g: (f, g * np.nan), "geometry"),
        (lambda f, g: (f, g * [0, 1, 1, 1, 1, 1]), "geometry"),
        (lambda f, g: ("features", g), "arrays of numbers|floating"),
    ],
)
def test_features_that_cannot_be_stored_refuse_their_frame_alone(store, change, words):
    frames, images, maps, geometries = batch("abc")
    maps[1], geometries[1] = change(maps[1], geometries[1])
    receipts = store.add(frames, images, maps, geometries)
    assert statuses(receipts) == ["stored", "refused", "stored"]
    assert any(word in receipts[1].error for word in words.split("|")) and receipts[1].remedy
    assert statuses(store.add(*batch("abc"))) == ["known", "stored", "known"]


def test_padding_cells_are_copies_of_the_nearest_cell_of_the_picture(store):
    store.add(*batch("a", FLAT))
    kept, given = store.features("a"), features("a", FLAT)
    assert np.array_equal(kept, given[[1, 1, 2, 3, 3]])


def test_frames_of_several_canvases_live_in_one_batch(store):
    flat, tall = batch("ab"), batch("cd", TALL)
    assert statuses(store.add(*(one + two for one, two in zip(flat, tall, strict=True)))) == ["stored"] * 4
    assert store.features("d").shape == (4, 3, CHANNELS)
    assert store.describe()["shards"] == 2
    assert set(store.search(template("c", TALL)).ids) == set("abcd")


def test_lists_of_unequal_length_are_refused(store):
    with pytest.raises(InvalidArgument, match="1 images"):
        store.add([Frame("a"), Frame("b")], [b""], [features("a")], [WIDE])


@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""},
        {"id": 3},
        {"id": "x" * 257},
        {"id": "a\nb"},
        {"id": "\ud800"},
        {"drive": None},
        {"camera": "\0"},
        {"time": "noon"},
        {"time": float("nan")},
        {"time": True},
        {"time": 10**400},
        {"tags": "night"},
        {"tags": [1]},
        {"tags": [""]},
        {"tags": [str(i) for i in range(65)]},
        {"color": "red"},
    ],
)
def test_a_frame_described_wrongly_is_refused_by_name(fields):
    with pytest.raises(InvalidArgument, match=next(iter(fields))):
        Frame.from_json(json.dumps(fields))


def test_a_race_for_a_key_has_one_winner_and_no_second_row(store, monkeypatch):
    """Let another writer be faster between looking the keys up and writing the rows."""
    with another(store) as rival:
        write = store._intake._store

        def late(entries):
            rival.add(
                [Frame("first"), Frame("b")], [picture("a"), b"other"], [features("a"), features("b")], [WIDE] * 2
            )
            write(entries)

        monkeypatch.setattr(store._intake, "_store", late)
        frames = [Frame("a"), Frame("b"), Frame("c"), Frame("c2"), Frame("b2")]
        images = [picture("a"), picture("b"), picture("c"), picture("c"), picture("b")]
        receipts = store.add(frames, images, [features(n) for n in "abccb"], [WIDE] * 5)
    assert [(r.status, r.id) for r in receipts] == [
        ("known", "first"),
        ("refused", "b"),
        ("stored", "c"),
        ("known", "c"),
        ("refused", "b2"),
    ]
    assert receipts[0].differs == {"id": {"given": "a", "stored": "first"}}
    assert store.describe()["frames"] == 3
    assert store.describe()["unreferenced_bytes"] > 0  # the losers' bytes
    assert list(upkeep.verify(store)) == []


FIRST = {"id": "a", "drive": "north", "camera": "front", "time": 1.5, "tags": ("day", "dry")}


@pytest.mark.parametrize(
    ("again", "differs"),
    [
        (FIRST, {}),
        ({}, {}),  # what is left out says nothing
        ({"tags": ("dry", "day")}, {}),
        ({"id": "b"}, {"id": {"given": "b", "stored": "a"}}),
        ({"drive": "south"}, {"drive": {"given": "south", "stored": "north"}}),
        ({"camera": "rear", "time": 0}, {"camera": {"given": "rear", "stored": "front"},
                                         "time": {"given": 0.0, "stored": 1.5}}),
        ({"tags": ("day", "rain")}, {"tags": {"given": ["day", "rain"], "stored": ["day", "dry"]}}),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_said_otherwise_of_a_known_picture_is_not_taken_over_and_told(store, again, differs):
    one = (Frame(**FIRST), b"bytes", features("a"), WIDE)
    (receipt,) = store.add(*([part] for part in one))
    assert (receipt.status, receipt.differs) == ("stored", {})
    frames = [Frame(**again), Frame("c"), Frame(**{**again, "id": "d"})]
    told = store.add(frames, [b"bytes", b"new", b"new"], [features("a")] * 3, [WIDE] * 3)
    assert statuses(told) == ["known", "stored", "known"] and told[0].differs == differs
    assert told[0].to_json()["differs"] == differs and told[1].differs == {}
    # A twin in the same batch is held against the frame that came first.
    assert told[2].differs["id"] == {"given": "d", "stored": "c"}
    assert set(told[2].differs) == {"id"} | set(again)
    assert store.known([told[0].sha256]) == [Frame(**FIRST)]  # nothing of it has changed


def test_known_tells_frames_by_hash(store):
    (receipt,) = store.add(*batch("a"))
    assert store.known([receipt.sha256, "00" * 32]) == [Frame("a"), None]
    with pytest.raises(InvalidArgument, match="hexadecimal"):
        store.known(["xyz"])


def test_a_full_shard_is_closed_and_never_changes(tmp_path):
    with Gallery(tmp_path, MODEL, CHANNELS, shard_bytes=1) as store:
        store.add(*batch("ab"))
        before = {file: file.read_bytes() for file in (tmp_path / "shards").iterdir()}
        store.add(*batch("cd"))
        assert store.describe()["shards"] == 2
        assert {file: file.read_bytes() for file in before} == before
        assert set(store.search(template("a")).ids) == set("abcd")


# --------------------------------------------------------------------------------------------------------- searching


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    """Store sixty frames of three drives, cameras and canvases, delete every fifth; return gallery and rest."""
    stored, random = {}, np.random.default_rng(7)
    with Gallery(tmp_path_factory.mktemp("drives"), MODEL, CHANNELS, threads=1) as store:
        for start in range(0, 60, 6):
            for i in range(start, start + 6):
                geometry = (WIDE, FLAT, TALL)[i % 3]
                frame = Frame(
                    f"f{i:02}",
                    ("", "north", "south")[random.integers(3)],
                    ("front", "rear")[random.integers(2)],
                    None if i % 7 == 0 else float(i),
                    tuple(np.array(["day", "rain", "night"])[random.random(3) < 0.5].tolist()),
                )
                store.add([frame], [picture(i)], [features(i // 2, geometry)], [geometry])
                stored[frame.id] = frame, store.features(frame.id), geometry
        gone = [f"f{i:02}" for i in range(0, 60, 5)]
        assert store.delete(gone) == gone
        for id_ in gone:
            del stored[id_]
        yield store, stored


SEARCHES = [
    Search(),
    Search(k=100),
    Search(k=7, drives=("north",)),
    Search(k=7, drives=("north", "", "nowhere"), cameras=("rear",)),
    Search(k=50, after=11, before=22),  # 11 is in, 22 is not
    Search(k=50, before=20, tags=("day", "rain")),
    Search(k=50, exclude=("f01", "f02", "f05", "unknown")),
    Search(k=50, per_drive=2),
    Search(k=3, per_drive=1, threshold=0.3),
    Search(k=50, threshold=0.4),
    Search(k=5, tags=()),
    Search(k=9, drives=()),
    Search(k=9, tags=("fog",)),
    Search(k=9, after=1e9),
]


@pytest.mark.parametrize("combine", ["max", "mean", "query"])
@pytest.mark.parametrize("score", ["roi", "image", "mean", "area"])
def test_search_equals_brute_force_over_what_passes_the_filters(drives, score, combine):
    from dataclasses import replace

    store, stored = drives
    rows = [template(name, geometry).rows for name, geometry in ((3, WIDE), (8, TALL), (11, FLAT))]
    templates = matching.stack(rows, query=[0, 0, 1], cells=[12, 12, 12])
    for search in SEARCHES:
        compare(store, stored, templates, replace(search, score=score, combine=combine))


def test_a_search_by_all_cells_follows_a_growing_shard(store):
    stored = {}
    for name, geometry in (("a", WIDE), ("b", FLAT), ("c", WIDE), ("d", FLAT)):
        store.add(*batch([name], geometry))
        stored[name] = Frame(name), store.features(name), geometry
        compare(store, stored, template("b"), Search(score="image"))


def test_frames_that_score_alike_come_in_the_order_of_their_ids(store):
    names = ["c", "b", "a", "B", "ä", "10", "9"]
    for name in names:
        store.add([Frame(name)], [picture(name)], [features("the same")], [WIDE])
    assert list(store.search(template("the same"), Search(k=4)).ids) == sorted(names)[:4]


def test_a_filter_that_nobody_matches_gives_an_empty_answer(store):
    for _ in range(2):
        found = store.search(template("a"), Search(drives=("nowhere",)))
        assert found.ids == () and found.scores.shape == (0,) and found.roi_scores.shape == (0, 1)
        assert found.searched == 0
        store.add(*batch("ab"))


def test_a_template_of_other_channels_is_refused(store):
    with pytest.raises(InvalidArgument, match="16 channels"):
        store.search(matching.stack([np.ones((1, 3), np.float32)]))


def test_a_search_sees_whole_batches_while_others_add(store):
    """Add batches of 5 by another process's gallery and delete them by this one: every count is a multiple of 5."""
    counts, failures = [], []
    done = threading.Event()

    def read():
        with another(store) as reader:
            while not done.is_set():
                try:
                    found = reader.search(template("a"), Search(k=1000))
                    counts.append(found.searched)
                    assert len(set(found.ids)) == len(found.ids) == found.searched
                except Exception as error:
                    failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    with another(store) as writer:
        for i in range(20):
            writer.add(*batch(f"{i}-{j}" for j in range(5)))
            if i % 4 == 3:
                store.delete([f"{i - 1}-{j}" for j in range(5)])
    done.set()
    thread.join()
    assert not failures and counts and all(count % 5 == 0 for count in counts)
    assert store.search(template("a")).searched == 75


def test_the_scan_is_given_views_of_the_files_themselves(store):
    """Allow a gallery larger than memory to be read past the page cache: `reading` finds the file by these views."""
    store.add(*batch("abc"))
    (member,) = store._snapshot(Search())[1]
    for array, kind in ((member.block.codes, "codes"), (member.block.exact, "exact")):
        base = array
        while not isinstance(base, np.memmap):
            base = base.base
        assert base.filename.suffix == f".{kind}" and array.ctypes.data == base.ctypes.data
        assert array.flags.c_contiguous


def test_an_answer_outlives_its_frames(store):
    store.add(*batch("ab"))
    found = store.search(template("a"))
    store.delete(["a", "b"])
    upkeep.compact(store)
    np.testing.assert_array_equal(found.features[0], features("a"))
    assert not found.features[0].flags.writeable


# ------------------------------------------------------------------------------------------- single frames, deletion


def test_unknown_ids_are_named(store):
    store.add(*batch("a"))
    for ask in (lambda: store.get(["a", "nobody"]), lambda: store.image("nobody"), lambda: store.features("nobody")):
        with pytest.raises(UnknownId, match="'nobody'") as error:
            ask()
        assert isinstance(error.value, NotFound)


@pytest.mark.parametrize("wrong", [["a", 3], [["a"]], "a", None, {"a": 1}, ["\ud800"], [""]])
def test_what_is_no_list_of_ids_is_refused(store, wrong):
    store.add(*batch("a"))
    for ask in (store.get, store.delete):
        with pytest.raises(InvalidArgument, match="ids is a list"):
            ask(wrong)
    assert store.describe()["frames"] == 1


@pytest.mark.parametrize("wrong", [3, ["a"], None, "\ud800", ""])
def test_what_is_no_id_is_refused(store, wrong):
    for ask in (store.image, store.features, store.geometry):
        with pytest.raises(InvalidArgument, match="ids is a list"):
            ask(wrong)


def test_deletion_holds_and_may_be_repeated(store):
    store.add(*batch("abc"))
    with another(store) as reader:
        assert reader.search(template("b"), Search(k=1)).ids == ("b",)
        assert store.delete(["b", "nobody", "b"]) == ["b"]
        assert store.delete(["b"]) == []
        assert "b" not in reader.search(template("b")).ids
        with pytest.raises(UnknownId):
            reader.image("b")
        assert statuses(store.add(*batch("b"))) == ["stored"]
        assert reader.search(template("b"), Search(k=1)).ids == ("b",)
        assert reader.describe()["frames"] == 3


def test_a_reader_that_looks_only_afterwards_sees_the_frame_that_took_the_place_of_another(store):
    store.add(*batch("ab"))
    with another(store) as reader:
        assert reader.describe()["frames"] == 2
        store.delete(["a"])
        store.add([Frame("a")], [b"new"], [features("new")], [WIDE])
        assert np.array_equal(reader.features("a"), features("new"))
        assert reader.image("a") == b"new"
        assert reader.search(template("new"), Search(k=1)).ids == ("a",)
        assert reader.search(template("new"), Search(exclude=("a",))).ids == ("b",)


def test_a_reader_follows_a_thousand_deletions(store):
    with another(store) as reader:
        names = [f"{i}" for i in range(1100)]
        store.add(*batch(names))
        assert reader.describe()["frames"] == 1100
        store.delete(names[:1000])
        assert reader.describe()["frames"] == 100
        assert reader.search(template("1050"), Search(k=1)).ids == ("1050",)
        assert reader._table.n == 100  # the rows of deleted frames are not kept for ever


def test_pages_walk_through_all_frames_while_some_come_and_go(store):
    store.add(*batch("abcdefg", drive="north"))
    page = store.list(limit=3)
    assert [frame["id"] for frame in page["frames"]] == ["a", "b", "c"]
    store.delete(["b", "d"])
    store.add(*batch("h", drive="south"))
    page = store.list(cursor=page["next"], limit=3)
    assert [frame["id"] for frame in page["frames"]] == ["e", "f", "g"]
    page = store.list(cursor=page["next"], limit=3)
    assert [frame["id"] for frame in page["frames"]] == ["h"] and page["next"] is None
    assert [frame["id"] for frame in store.list(filters=Filter(drives=("south",)))["frames"]] == ["h"]
    json.dumps(page)
    for wrong in ({"limit": 0}, {"limit": 1001}, {"cursor": "x"}, {"cursor": 7}):
        with pytest.raises(InvalidArgument):
            store.list(**wrong)


def test_describe_counts(store):
    store.add(*batch("abc", drive="north", camera="front", time=5.0))
    store.add(*batch("d", drive="south", time=7.0))
    told = store.describe()
    json.dumps(told)
    assert told["frames"] == 4 and told["drives"] == {"north": 3, "south": 1} and told["cameras"] == {"": 1, "front": 3}
    assert told["first_time"] == 5 and told["last_time"] == 7 and told["versions"] == {MODEL: 4}
    records = store._reader.execute("SELECT sum(head) FROM checks").fetchone()[0]
    assert 0 < records < 4 * 1000 and told["damaged"] == {}
    assert told["bytes"] == 4 * (12 * CHANNELS * 3) + 4 * len(picture("a")) + records
    assert told["unreferenced_bytes"] == 0


# --------------------------------------------------------------------------------------------------- versions, format


def test_features_of_another_model_version_are_never_mixed(store):
    store.add(*batch("ab"))
    with another(store, "feature_extractor/2/ffff") as other:
        for ask in (
            lambda: other.search(template("a")),
            lambda: other.add(*batch("a")),
            lambda: other.add(*batch("c")),
            lambda: other.features("a"),
        ):
            with pytest.raises(VersionMismatch, match="feature_extractor/1/0123456789ab"):
                ask()
        assert other.image("a") == picture("a")
    with another(store, "feature_extractor/2/ffff", mixed=True) as other:
        assert other.search(template("a")).ids == ()
        other.add(*batch("cd"))
        assert set(other.search(template("a")).ids) == {"c", "d"}
        assert other.describe()["versions"] == {MODEL: 2, "feature_extractor/2/ffff": 2}
        with pytest.raises(VersionMismatch, match="ffff"):
            store.search(template("a"))
        upkeep.compact(other, waste=0)
        assert set(other.search(template("a")).ids) == {"c", "d"}
        other.delete(["c", "d"])
    assert set(store.search(template("a")).ids) == {"a", "b"}


def test_a_newer_format_is_refused(store):
    with contextlib.closing(sqlite3.connect(store.root / "frames.sqlite")) as file:
        file.execute(f"PRAGMA user_version={catalogue.FORMAT + 1}")
    with pytest.raises(NotAGallery, match="newer"):
        Gallery(store.root, MODEL, CHANNELS)


def test_another_programs_file_is_refused(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "frames.sqlite")) as file:
        file.execute("CREATE TABLE theirs(x)")
    with pytest.raises(NotAGallery, match="another program"):
        Gallery(tmp_path, MODEL, CHANNELS)
    (tmp_path / "frames.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(NotAGallery, match="not a gallery"):
        Gallery(tmp_path, MODEL, CHANNELS)
    with pytest.raises(NotAGallery, match="another folder"):
        Gallery(tmp_path / "frames.sqlite", MODEL, CHANNELS)


def test_a_gallery_opened_only_to_look_says_so(store):
    with contextlib.closing(Gallery(store.root)) as looking:
        assert looking.describe()["frames"] == 0
        with pytest.raises(InvalidArgument, match="only to look"):
            looking.add(*batch("a"))
