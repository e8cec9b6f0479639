"""The gallery when things go wrong: killed writers, racing writers, a full disk, a folder that cannot be written.

Full and read-only disks are real ones: a small tmpfs and a read-only bind mount, made in a mount namespace of the child
process, so that they end with it. Where that is not permitted, these tests are skipped; the failures injected at each
step of a batch are always run.
"""

import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from sluice.contracts import ROOT
from sluice.gallery import shards, upkeep
from sluice.gallery.store import Full, Gallery, ReadOnly, Search
from tests.made.gallery_failures import Failing, receipts, start
from tests.made.gallery_frames import CHANNELS, MODEL, TALL, WIDE, batch, features, picture, template

KILLS = 12
STEP, FRAMES = 60, 600  # each round begins 60 frames later than the one before: some known ones, always new ones


def same_as_sent(store, names):
    for name in names:
        (frame,) = store.known([hashlib.sha256(picture(name)).hexdigest()])
        id_ = frame.id
        assert id_ in (name, *(f"{name} of {seed}" for seed in range(100)))
        assert store.image(id_) == picture(name)
        np.testing.assert_array_equal(store.features(id_), features(name, TALL if int(name) % 5 == 0 else WIDE))


def test_nothing_acknowledged_is_lost_when_writers_are_killed(tmp_path):
    """Kill two writers over the same frames with SIGKILL in the middle of the stream, again and again."""
    chance = random.Random(5)
    acknowledged, midstream = {}, 0
    with Gallery(tmp_path, MODEL, CHANNELS, threads=1) as store:
        for seed in range(KILLS):
            writers = [start("add", tmp_path, seed + i * 50, seed * STEP, FRAMES) for i in range(2)]
            for writer in writers:
                assert writer.stdout.readline() == "ready\n"
            # By acknowledged batches and not by the clock, so that a busy machine kills in the middle, too.
            heard = [writers[seed % 2].stdout.readline() for _ in range(chance.randrange(5))]
            time.sleep(chance.uniform(0, 0.03))
            for writer in writers:
                midstream += writer.poll() is None
                writer.kill()
                heard += writer.stdout.readlines()
                writer.wait()
                writer.stdout.close()
            for name, status, id_ in receipts(heard):
                assert status in ("stored", "known")
                assert acknowledged.setdefault(name, id_) == id_
            told = store.describe()
            assert told["frames"] >= len(acknowledged)
            assert list(upkeep.verify(store)) == []
            if seed % 4 == 3 and len(acknowledged) > 10:
                gone = chance.sample(sorted(acknowledged), len(acknowledged) // 2)
                assert len(store.delete([acknowledged.pop(name) for name in gone])) == len(gone)
        assert midstream >= 10 and len(acknowledged) > 50  # the kills did come in the middle of the stream
        same_as_sent(store, acknowledged)

        before = store.describe()["frames"]
        total = KILLS * STEP + FRAMES
        again = start("add", tmp_path, 99, 0, total)
        out, _ = again.communicate()
        statuses = [status for _, status, _ in receipts(out.splitlines(keepends=True))]
        assert statuses.count("known") == before and statuses.count("stored") == total - before
        found = store.search(template("3"), Search(k=10_000))
        assert len(found.ids) == len(set(found.ids)) == total
        assert len({frame["sha256"] for frame in found.frames}) == total
        same_as_sent(store, map(str, range(total)))

        upkeep.compact(store, waste=0)  # the dead writers' shards and tails
        assert store.describe()["unreferenced_bytes"] == 0
        assert list(upkeep.verify(store)) == []
        same_as_sent(store, map(str, range(0, total, 17)))


def test_bytes_and_names_are_on_the_disk_before_the_row(tmp_path, monkeypatch):
    with Gallery(tmp_path, MODEL, CHANNELS, threads=1) as store:
        log = []
        for call in ("pwrite", "fdatasync", "fsync"):
            real = getattr(os, call)
            monkeypatch.setattr(shards.os, call, lambda *a, call=call, real=real: (log.append(call), real(*a))[1])
        store._editor.set_trace_callback(lambda statement: log.append(statement.split()[0]))
        store.add(*batch("ab"))
        steps = [step for step in log if step not in ("SELECT", "INSERT")]
        assert steps == ["pwrite"] * 3 + ["fdatasync"] * 3 + ["fsync", "BEGIN", "COMMIT"]
        assert log.index("INSERT") > log.index("BEGIN")
        for connection in (store._editor, store._reader):
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: the commit is on the disk, too
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_processes_that_add_the_same_frames_at_once_store_each_once(tmp_path):
    writers = [start("add", tmp_path, seed, 0, 120) for seed in range(3)]
    heard = [writer.communicate()[0].splitlines(keepends=True) for writer in writers]
    told = {}
    for lines in heard:
        for name, status, id_ in receipts(lines):
            told.setdefault(name, []).append((status, id_))
    assert len(told) == 120
    for answers in told.values():
        assert sorted(status for status, _ in answers) == ["known", "known", "stored"]
        assert len({id_ for _, id_ in answers}) == 1  # all three were told the same id
    with Gallery(tmp_path, MODEL, CHANNELS, threads=1) as store:
        assert store.describe()["frames"] == 120
        assert list(upkeep.verify(store)) == []


@pytest.mark.parametrize(
    "step", ["images", "exact", "codes", "new file", "fdatasync", "insert", "descriptor", "commit"]
)
def test_a_disk_that_fills_at_any_step_acknowledges_nothing_and_works_again(tmp_path, monkeypatch, step):
    with Gallery(tmp_path, MODEL, CHANNELS, threads=1) as store:
        store.add(*batch("ab"))
        shape = TALL if step == "new file" else WIDE
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with monkeypatch.context() as patch:
            if step == "new file":
                opened, real = [], os.open

                def third(path, flags, *rest, **more):
                    if flags & os.O_EXCL:
                        opened.append(path)
                        if len(opened) == 3:
                            raise full
                    return real(path, flags, *rest, **more)

                patch.setattr(shards.os, "open", third)
            elif step == "fdatasync":
                patch.setattr(shards.os, "fdatasync", lambda file: (_ for _ in ()).throw(full))
            elif step in ("insert", "descriptor", "commit"):
                word = {"insert": "INSERT INTO frames", "descriptor": "INTO descriptors", "commit": "COMMIT"}[step]
                patch.setattr(store._intake, "editor", Failing(store._editor, word))
            else:
                write = shards.Writer._write

                def torn(writer, kind, data):
                    write(writer, kind, data[: len(data) // 2] if kind == step else data)
                    if kind == step:
                        raise full

                patch.setattr(shards.Writer, "_write", torn)
            with pytest.raises(Full, match="no space is left"):
                store.add(*batch("cd", shape))
            assert set(store.search(template("a")).ids) == {"a", "b"}
        # After a failed commit nobody may take the bytes back: it may come to life when the log is recovered.
        assert (store.describe()["unreferenced_bytes"] > 0) == (step == "commit")
        assert [receipt.status for receipt in store.add(*batch("acd", shape))] == ["known", "stored", "stored"]
        assert list(upkeep.verify(store)) == []
        assert set(store.search(template("a")).ids) == set("abcd")
        upkeep.compact(store, waste=0)
        assert store.describe()["unreferenced_bytes"] == 0
        assert set(store.search(template("a")).ids) == set("abcd")


def in_namespace(mount, *arguments):
    """Run the script in a mount namespace of its own; skips where the system does not permit that."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("this user may not make mount namespaces (unshare -m)")
    command = " ".join([mount, "&& exec", sys.executable, "-m tests.made.gallery_process", *map(str, arguments)])
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], cwd=ROOT, capture_output=True, text=True)
    if "mount" in done.stderr:
        pytest.skip(f"mounting is not permitted: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_full_disk_loses_nothing_and_recovers_when_there_is_space(tmp_path):
    told, message = in_namespace(f"mount -t tmpfs -o size=4m tmpfs {tmp_path}", "fill", tmp_path)
    assert "no space is left" in message and str(tmp_path) not in message
    assert told["acknowledged"] > 100 and told["refused_while_full"] == 3
    assert told["found_while_full"] and told["images_while_full"]
    assert told["again"] == ["stored"] * 8 and told["found_after"]
    assert told["damage"] == [] and told["frames"] == told["acknowledged"] + 8


@pytest.mark.parametrize("held", [False, True])
def test_a_folder_that_cannot_be_written_is_read_and_says_so(tmp_path, held):
    """Read a gallery without permission to write.

    held: True if another process has the gallery open for writing, so that there is a log beside the catalogue.
    """
    store = Gallery(tmp_path / "gallery", MODEL, CHANNELS, threads=1)
    store.add(*batch("ab"))
    if not held:
        store.close()
    told, _ = in_namespace(
        f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path}", "look", tmp_path
    )
    assert told["found"] == told["after"] == ["a"] and told["image"] and not told["writable"]
    for change in ("add", "delete", "compact", "new"):
        assert told[change].startswith("ReadOnly: ") and "writable" in told[change]
        assert str(tmp_path) not in told[change]
    if held:
        store.close()


def test_a_folder_that_becomes_read_only_refuses_additions_and_is_read_on(tmp_path, monkeypatch):
    """Put the system's own answer in its place, because a mount with open files cannot be made read-only."""
    with Gallery(tmp_path, MODEL, CHANNELS, threads=1) as store:
        store.add(*batch("a"))

        def read_only(*_):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        with monkeypatch.context() as patch:
            patch.setattr(shards.os, "pwrite", read_only)
            with pytest.raises(ReadOnly, match="cannot be written"):
                store.add(*batch("b"))
            assert store.search(template("a")).ids == ("a",)
        assert store.add(*batch("b"))[0].status == "stored"
