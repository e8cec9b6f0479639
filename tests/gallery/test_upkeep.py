"""The upkeep of a gallery: compaction beside readers and writers, restarts, torn tails, and `verify`."""

import contextlib
import json

import numpy as np
import pytest

from sluice.gallery import store as gallery_module
from sluice.gallery import upkeep
from sluice.gallery.store import Gallery, Search
from tests.made.gallery_frames import CHANNELS, MODEL, TALL, WIDE, batch, features, picture, template


@pytest.fixture
def store(tmp_path):
    with Gallery(tmp_path / "gallery", MODEL, CHANNELS, threads=1) as opened:
        yield opened


def another(store, model=MODEL, **options):
    """Open the same folder as another process would."""
    return contextlib.closing(Gallery(store.root, model, CHANNELS, threads=1, **options))


def statuses(receipts):
    return [receipt.status for receipt in receipts]


def test_compaction_frees_bytes_under_a_reader_that_goes_on(tmp_path):
    with Gallery(tmp_path, MODEL, CHANNELS, shard_bytes=4000) as store:
        names = [f"{i:02}" for i in range(60)]
        for start in range(0, 60, 6):
            store.add(*batch(names[start : start + 6], (WIDE, TALL)[start % 12 // 6]))
        with another(store) as reader:
            held = reader.search(template("01"), Search(k=60))
            store.delete(names[::2])
            before = reader.describe()
            told = upkeep.compact(store)
            after = reader.describe()
            assert told["frames"] == 30 and told["freed"] > 0
            assert after["unreferenced_bytes"] == 0 < before["unreferenced_bytes"] and after["bytes"] < before["bytes"]
            found = reader.search(template("01"), Search(k=60))
            assert sorted(found.ids) == names[1::2]
            assert found.ids == tuple(id_ for id_ in held.ids if id_ in names[1::2])
            assert all(reader.image(name) == picture(name) for name in names[1::2])
            assert list(upkeep.verify(reader)) == []
            np.testing.assert_array_equal(reader.features("01"), features("01"))
            assert statuses(store.add(*batch(["01", "new"]))) == ["known", "stored"]
            assert "new" in reader.search(template("new"), Search(k=1)).ids


def test_a_reader_behind_a_compaction_catches_up(store, monkeypatch):
    """Remove by compaction the files whose frames the reader has located but not opened yet."""
    store.add(*batch("abc"))
    store.delete(["a"])
    with another(store) as reader:
        refresh, late = gallery_module.Table.refresh, []

        def slow(table, connection):
            refresh(table, connection)
            if table is reader._table and not late:
                late.append(True)
                upkeep.compact(store)

        monkeypatch.setattr(gallery_module.Table, "refresh", slow)
        assert set(reader.search(template("b")).ids) == {"b", "c"}
        assert late


def test_compaction_leaves_living_writers_alone_and_joins_small_shards(store):
    with another(store) as one, another(store) as two, another(store) as three:
        for writer, name in zip((one, two, three), "abc", strict=True):
            writer.add(*batch(name))
        upkeep.compact(store)
        assert store.describe()["shards"] == 3
        one.close()
        two.close()
        upkeep.compact(store)
        assert store.describe()["shards"] == 2
        assert statuses(three.add(*batch("d"))) == ["stored"]
    assert set(store.search(template("a")).ids) == set("abcd")
    assert list(upkeep.verify(store)) == []


def test_compaction_leaves_a_living_writers_shard_alone_even_without_frames(store):
    with another(store) as writer:
        writer.add(*batch("ab"))
        store.delete(["a", "b"])
        upkeep.compact(store)
        assert statuses(writer.add(*batch("c"))) == ["stored"]
        assert store.search(template("c")).ids == ("c",)
        store.add(*batch("d"))
        assert set(writer.search(template("c")).ids) == {"c", "d"}
    assert list(upkeep.verify(store)) == []


def test_a_restart_goes_on_with_the_shard_that_was_left(store):
    for i in range(5):
        with another(store) as writer:
            writer.add(*batch(f"{i}-{j}" for j in range(3)))
    assert store.describe()["shards"] == 1
    assert len(store.search(template("a"), Search(k=100)).ids) == 15


def test_a_torn_tail_is_skipped_by_the_next_writer(store):
    """Leave what a writer leaves that died with half a frame written and its files at different lengths."""
    with another(store) as writer:
        writer.add(*batch("ab"))
        for kind, length in (("exact", 77), ("codes", 500), ("images", 3)):
            with open(writer.folder / f"{next(iter(writer.folder.iterdir())).stem}.{kind}", "ab") as file:
                file.write(b"x" * length)
    before = {file: file.read_bytes() for file in store.folder.iterdir()}
    store.add(*batch("cd"))
    assert all(file.read_bytes().startswith(content) for file, content in before.items())
    assert store.describe()["shards"] == 1 and store.describe()["unreferenced_bytes"] > 0
    assert list(upkeep.verify(store)) == []
    assert set(store.search(template("a")).ids) == set("abcd")


def test_verify_finds_every_kind_of_damage_and_only_that(store, capsys):
    store.add(*batch("abcde"))
    assert upkeep.main(["verify", str(store.root)]) == 0
    row = 12 * CHANNELS
    (name,) = {file.stem for file in store.folder.iterdir()}
    (end,) = store._reader.execute("SELECT offset FROM frames WHERE id = 'e'").fetchone()
    (first,) = store._reader.execute("SELECT offset FROM frames WHERE id = 'a'").fetchone()
    for kind, at in (("images", first + 5), ("images", end - 9), ("exact", 2 * row + 7), ("codes", 2 * row + 9)):
        with open(store.folder / f"{name}.{kind}", "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
    capsys.readouterr()
    assert upkeep.main(["verify", str(store.root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b", "c", "e"]
    with pytest.raises(gallery_module.Damaged):
        store.image("a")
    assert upkeep.main(["describe", str(store.root)]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 5
    assert upkeep.main(["verify", str(store.root / "nothing")]) == 2
