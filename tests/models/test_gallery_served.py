"""The gallery as a server holds it: refused, replaced, read only; and what shapes stored rows is in their version."""

import json

import numpy as np
import pytest

from sluice.gallery.errors import LogLost
from sluice.gallery.holder import Holder
from sluice.gallery.rebuilding import rebuild
from sluice.gallery.store import Gallery, NotAGallery, VersionMismatch
from sluice.models import feature_extractor, image_grouper
from sluice.models.gallery_search import Commands, Config
from sluice.versions import network_version
from tests.made.gallery_frames import CHANNELS, EMBEDDER, MODEL, TALL, batch, embedding, template


@pytest.fixture
def store(tmp_path):
    with Gallery(tmp_path / "gallery", MODEL, CHANNELS, threads=1) as opened:
        yield opened


def asker(held, embedder=None):
    served = Commands(held, Config(max_ids=5), None, embedder)

    def run(op, tensors=None, **fields):
        command = np.array([json.dumps({"op": op, **fields}).encode()], object)
        return served.run({"COMMAND": command, **(tensors or {})})

    return run


def told(answer, name="ANSWER"):
    return json.loads(answer[name][0])


# ------------------------------------------------------------------------ a gallery that comes and goes, and is refused


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


def test_a_search_says_which_frames_are_set_aside(store):
    store.add(*batch("ab"))
    store.add(*batch("cd", TALL))
    query = "SELECT name FROM frames JOIN shards USING(shard) WHERE id = 'a'"
    (name,) = store._reader.execute(query).fetchone()
    with open(store.folder / f"{name}.codes", "r+b") as file:
        file.truncate(5)
    asked = template("c", TALL)
    tensors = {"TEMPLATES": asked.rows, "TEMPLATE_ROI": asked.roi, "ROI_QUERY": asked.query}
    tensors |= {"ROI_CELLS": asked.cells, "ROI_SHAPE": np.array([[1, 2]], np.int32)}
    answer = asker(store)("search", tensors)
    damaged = told(answer, "SEARCHED")["damaged"]
    assert damaged["frames"] == 2 and damaged["ids"] == ["a", "b"] and f"{name}.codes" in damaged["shards"][name]
    assert "set aside" in damaged["remedy"] and "a, b" in told(answer, "SEARCHED")["notes"][0]
    assert {text.decode() for text in answer["IDS"]} == {"c", "d"}


# ----------------------------------------------------------------------------- what shapes rows is in their version


def repository(root, **configs):
    """Write a repository with two networks, and verbs with the given parameters."""
    for model in ("feature_extractor", "image_grouper"):
        (root / "model_repository" / model / "1").mkdir(parents=True, exist_ok=True)
        (root / "model_repository" / model / "1" / "model.onnx").write_bytes(b"net")
    for verb, values in {"ingest": {"embedding_size": 336}, "compare": {"size": 336}, **configs}.items():
        (root / "ensembles" / verb).mkdir(parents=True, exist_ok=True)
        entries = [f'{{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in values.items()]
        text = f'name: "{verb}"\nparameters [ {", ".join(entries)} ]\n'
        (root / "ensembles" / verb / "config.pbtxt").write_text(text)
    return root / "model_repository"


def test_todays_versions_stay_and_other_canvases_and_sizes_are_other_versions(tmp_path):
    usual = repository(tmp_path / "usual")
    assert feature_extractor.served_version(usual, "feature_extractor") == network_version(usual, "feature_extractor")
    small = {"canvases": "416x320 320x416"}
    other = repository(tmp_path / "other", ingest=small | {"embedding_size": 336}, retrieve=small)
    seen = feature_extractor.served_version(other, "feature_extractor")
    assert seen.startswith(network_version(other, "feature_extractor") + "/") and len(seen.split("/")) == 4
    with pytest.raises(ValueError, match=r"different canvases.*alike"):
        feature_extractor.served_version(repository(tmp_path / "mixed", retrieve=small), "feature_extractor")
    network = network_version(usual, "image_grouper")
    assert image_grouper.served_version(usual, "image_grouper") == network
    half = repository(tmp_path / "half", ingest={"embedding_size": 224, "embeddings": "true"}, compare={"size": 224})
    assert image_grouper.served_version(half, "image_grouper").startswith(network + "/")
    with pytest.raises(ValueError, match=r"at another size.*same number"):
        apart = repository(tmp_path / "apart", ingest={"embedding_size": 224, "embeddings": "true"})
        image_grouper.served_version(apart, "image_grouper")


def test_who_names_the_served_network_means_it_as_it_is_served(store):
    seen = f"{EMBEDDER}/0123abcd"
    ask = asker(store, seen)
    store.add(*batch("a"))
    vectors = np.asarray(embedding("a"), np.float32)[None]
    ask("embed", {"EMBEDDINGS": vectors}, ids=["a"], embedder=EMBEDDER)
    assert told(ask("describe"))["embedders"] == {seen: 1}


def test_features_of_other_canvases_are_refused_with_the_remedy(store):
    store.add(*batch("a"))
    with Gallery(store.root, f"{MODEL}/0123abcd", CHANNELS, threads=1) as other:
        with pytest.raises(VersionMismatch, match="new gallery folder"):
            other.search(template("a"))
        with pytest.raises(VersionMismatch, match="new gallery folder"):
            other.add(*batch("b"))
