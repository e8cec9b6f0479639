"""The two sides of a gallery: `reading` and `writing` lock it, and turn errors of disk and SQLite into its own."""

import sqlite3
import threading

import pytest

from sluice.gallery.catalogue import transaction
from sluice.gallery.errors import GalleryError, ReadOnly
from sluice.gallery.store import Gallery
from tests.made.gallery_frames import CHANNELS, MODEL, batch


@pytest.fixture
def store(tmp_path):
    with Gallery(tmp_path / "gallery", MODEL, CHANNELS) as store:
        store.add(*batch("ab"))
        yield store


def test_a_reader_sees_the_catalogue_and_a_table_of_its_latest_commit(store):
    with store.reading() as connection:
        assert connection.execute("SELECT count(*) FROM frames").fetchone() == (2,)
        assert store.table().ids == ["a", "b"]
        with store.reading() as again, store.writing():  # one thread may nest them, and read while it writes
            assert again is connection


def test_one_thread_at_a_time_reads_and_one_writes(store):
    for side in (store.reading, store.writing):
        entered, other = threading.Event(), threading.Event()

        def enter(side=side, entered=entered, other=other):
            entered.set()
            with side():
                other.set()

        with side():
            thread = threading.Thread(target=enter)
            thread.start()
            assert entered.wait(10) and not other.wait(0.1)
        thread.join(10)
        assert other.is_set()


def test_a_writer_that_fails_leaves_the_catalogue_as_it_was(store):
    with pytest.raises(GalleryError), store.writing() as intake, transaction(intake.editor):
        intake.editor.execute("DELETE FROM frames")
        raise sqlite3.OperationalError("disk I/O error")
    assert [frame["id"] for frame in store.list()["frames"]] == ["a", "b"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), sqlite3.DatabaseError("broken")])
def test_what_the_disk_answers_becomes_an_error_of_the_gallery(store, error):
    for side in (store.reading, store.writing):
        with pytest.raises(GalleryError), side():
            raise error


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_locked(store):
    store.writable = False
    with pytest.raises(ReadOnly, match="make it writable"), store.writing():
        raise AssertionError("not entered")
    with store.reading() as connection:
        assert connection.execute("SELECT count(*) FROM frames").fetchone() == (2,)
