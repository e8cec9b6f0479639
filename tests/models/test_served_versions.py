"""The versions that stored rows are kept under: whatever shapes a row is part of its version."""

import hashlib
import json

import numpy as np
import pytest

from sluice import contracts, images
from sluice.gallery.store import Gallery, VersionMismatch
from sluice.models import feature_extractor, image_grouper, object_detector
from sluice.models.gallery_search import Commands, Config
from sluice.versions import Sidecar, graph_of, network_version, sidecar_place
from sluice.wire import ingest, query
from tests.made.gallery_frames import CHANNELS, EMBEDDER, MODEL, batch, embedding, template


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


def engine_record(engine, **changed):
    """Write the sidecar of an engine."""
    facts = {"format": "rtx", "network": "feature_extractor", "graph_sha256": "0" * 64, "engine_sha256": "1" * 64}
    known = facts | {"precision": "fp32", "tensorrt": "1.7.1", "capabilities": ("8.6",), "profile": {}}
    sidecar_place(engine).write_text(Sidecar(**(known | changed)).text())


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
    with pytest.raises(ValueError, match=r"at another size.*to what canvases and size"):
        apart = repository(tmp_path / "apart", ingest={"embedding_size": 224, "embeddings": "true"})
        image_grouper.served_version(apart, "image_grouper")


def test_the_networks_own_canvases_go_before_those_of_the_verbs(tmp_path):
    own = repository(tmp_path, ingest={"canvases": "416x320"})
    config = tmp_path / "model_repository" / "feature_extractor" / "config.pbtxt"
    config.write_text(
        'parameters [ { key: "intra_op_thread_count" value { string_value: "1" } },\n'
        '{ key: "canvases" value { string_value: "518x392" } }, { key: "multiple" value { string_value: "14" } } ]\n'
    )
    seen = feature_extractor.served_version(own, "feature_extractor")
    assert seen.startswith(network_version(own, "feature_extractor") + "/")
    for kind in (ingest.Config, query.Config, images.Config):
        assert kind(max_bytes=9).for_network(own).sizes == [(518, 392)]
        assert kind(max_bytes=9).for_network(own).max_bytes == 9
    assert object_detector.Config().for_network(own) == object_detector.Config()
    config.write_text('parameters [ { key: "multiple" value { string_value: "many" } } ]\n')
    with pytest.raises(ValueError, match="'multiple' must be of type int, got 'many'"):
        images.Config().for_network(own)


def test_the_version_is_of_the_graph_that_the_served_config_computes(tmp_path, monkeypatch):
    own = repository(tmp_path)
    folder = own / "feature_extractor"
    (folder / "configs").mkdir()
    (folder / "config.pbtxt").write_text(
        '# default_model_filename: "other.onnx"\ndefault_model_filename: "small.onnx"\n'
    )
    (folder / "configs/rtx.pbtxt").write_text('backend: "onnxruntime" default_model_filename: "model.rtx.onnx"\n')
    (folder / "configs/tensorrt.pbtxt").write_text('backend: "tensorrt"\n')  # whose file is model.plan
    for name in ("small.onnx", "model.rtx.onnx", "model.plan"):
        (folder / "1" / name).write_bytes(name.encode())

    def version(config):
        monkeypatch.setattr(contracts, "config_name", lambda: config)
        return network_version(own, "feature_extractor").split("/")

    whole, small = (hashlib.sha256(content).hexdigest()[:12] for content in (b"net", b"small.onnx"))
    assert version(None) == version("cpu-fast") == ["feature_extractor", "1", small]
    for config, engine in (("rtx", "model.rtx.onnx"), ("tensorrt", "model.plan")):
        assert version(config) == ["feature_extractor", "1", whole]
        assert graph_of(own, "feature_extractor").name == "model.onnx"
        # A sidecar knows from which graph its engine was made, whatever lies beside them now.
        engine_record(folder / "1" / engine, graph_sha256="ab" * 32)
        assert version(config) == ["feature_extractor", "1", "ab" * 6]


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


def network(root, channels):
    (root / "feature_extractor").mkdir(parents=True, exist_ok=True)
    output = f'output [ {{ name: "FEATURES" data_type: TYPE_FP16 dims: [ -1, -1, {channels} ] }} ]'
    (root / "feature_extractor" / "config.pbtxt").write_text(f'name: "feature_extractor"\n{output}\n')
    return root


@pytest.mark.parametrize("channels", [16, 48, 64, 384, 1024])
def test_a_gallery_takes_the_channels_of_the_network(tmp_path, channels):
    assert feature_extractor.served_channels(network(tmp_path, channels), "feature_extractor") == channels


@pytest.mark.parametrize("channels", [-1, 0, 8, 100, 1040])
def test_channels_that_no_gallery_holds_are_refused_with_the_remedy(tmp_path, channels):
    with pytest.raises(ValueError, match=rf"{channels} channels.*multiple of 16 channels up to 1,024.*PCA"):
        feature_extractor.served_channels(network(tmp_path, channels), "feature_extractor")
