"""A gallery that a server holds open: refused until it is rebuilt, replaced, or read only."""

import json

import numpy as np
import pytest

from sluice.gallery.errors import LogLost
from sluice.gallery.holder import Holder
from sluice.gallery.rebuilding import rebuild
from sluice.gallery.store import Gallery, NotAGallery
from sluice.models.gallery_search import Commands, Config
from tests.made.gallery_frames import CHANNELS, MODEL, batch, template


def asker(held, embedder=None):
    served = Commands(held, Config(max_ids=5), None, embedder)

    def run(op, tensors=None, **fields):
        command = np.array([json.dumps({"op": op, **fields}).encode()], object)
        return served.run({"COMMAND": command, **(tensors or {})})

    return run


def told(answer, name="ANSWER"):
    return json.loads(answer[name][0])


def holder(root):
    return Holder(root, MODEL, channels=CHANNELS, threads=1)


def test_a_gallery_without_its_catalogue_is_refused_in_every_command_until_it_is_rebuilt(tmp_path, capsys):
    with Gallery(tmp_path / "gallery", MODEL, CHANNELS, threads=1) as store:
        store.add(*batch("abc"))
    for file in (tmp_path / "gallery").glob("frames.sqlite*"):
        file.unlink()
    held = holder(tmp_path / "gallery")
    assert "refused: the gallery's catalogue" in capsys.readouterr().err  # and the server's other models go on
    ask = asker(held)
    for op, fields in (("describe", {}), ("list", {}), ("known", {"sha256": ["00" * 32], "frames": [{}]})):
        with pytest.raises(NotAGallery, match="rebuild FOLDER"):
            ask(op, **fields)
    rebuild(tmp_path / "gallery")
    assert told(ask("describe"))["frames"] == 3
    held.close()


def test_a_folder_that_is_replaced_is_opened_again_and_one_that_vanished_is_not_made(tmp_path):
    root, away = tmp_path / "gallery", tmp_path / "away"
    held = holder(root)
    held.get().add(*batch("ab"))
    ask = asker(held)
    root.rename(away)
    for _ in range(2):
        with pytest.raises(NotAGallery, match="was removed while it was open"):
            ask("list")
    assert not root.exists()
    with Gallery(root, MODEL, CHANNELS, threads=1) as other:
        other.add(*batch("xyz"))
        assert told(ask("describe"))["frames"] == 3
        assert told(ask("known", sha256=["00" * 32], frames=[{}])) == [None]
    held.close()
    with Gallery(root, MODEL, CHANNELS, threads=1) as other:
        assert other.describe()["frames"] == 3  # who let the old folder go has taken nothing of the new one with it


def test_a_log_that_was_taken_is_not_begun_anew_beside_the_one_that_others_write(tmp_path):
    held = holder(tmp_path / "gallery")
    held.get().add(*batch("ab"))
    (tmp_path / "gallery" / "frames.sqlite-wal").unlink()
    ask = asker(held)
    with pytest.raises(LogLost, match="stop every program"):
        ask("list")
    assert not (tmp_path / "gallery" / "frames.sqlite-wal").exists()
    held.close()
    with Gallery(tmp_path / "gallery", MODEL, CHANNELS, threads=1) as again:
        assert set(again.search(template("a")).ids) == {"a", "b"}  # as it says: nothing is lost
