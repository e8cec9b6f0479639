"""The precision that a server's networks run in: what the processor has, what the gallery holds, and what is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from sluice import contracts, versions
from sluice.errors import Refusal
from sluice.frames import Frame
from sluice.gallery import makers
from sluice.gallery.store import Gallery
from sluice.images import Geometry
from sluice.process import blas
from sluice.server import StartError, layout, profile, sidecar
from sluice.versions import BF16, FP16, FP32, Served

PLAIN = "feature_extractor/1/ab12cd34ef56"
ENGINE = layout.Engine(Path("tritonserver"), None, (), (), Path("caches"), exposable=False)
IMAGE = layout.Engine(Path("tritonserver"), Path("backends"), (), (), Path("caches"), exposable=True)


@pytest.fixture
def processor(monkeypatch):
    """Return a function that sets the instructions of the processor and whether OpenVINO is installed."""

    def set_(*flags: str, openvino: bool = True) -> None:
        def version(name: str) -> str:
            if not openvino:
                raise profile.metadata.PackageNotFoundError(name)
            return "2026.1"

        monkeypatch.setattr(blas, "instructions", lambda: frozenset(flags))
        monkeypatch.setattr(profile.metadata, "version", version)

    return set_


def network(name: str, bf16: bool = True) -> layout.Model:
    return layout.Model(name, Path(name), "onnxruntime", (), (), ("model.onnx",), (), False, bf16)


def frame_of(gallery: Path, version: str, name: str) -> None:
    """Add a frame whose features a version of the network made."""
    features = np.zeros((2, 3, 16), np.float16)
    features[..., 0] = 1
    with Gallery(gallery, version, 16, mixed=True) as store:
        geometry = Geometry(96, 64, 1.0, 1.0, 0, 0)
        [receipt] = store.add([Frame(name)], [name.encode()], [features], [geometry.as_array()])
        assert receipt.status == "stored"


@pytest.mark.parametrize(
    ("flags", "openvino", "config", "why"),
    [
        (("avx2", "avx512_bf16"), True, "cpu-fast", "AVX512-BF16, and OpenVINO 2026.1"),
        (("avx512_bf16", "amx_bf16"), True, "cpu-fast", "AMX-BF16"),
        (("avx512f",), True, None, "neither AVX512-BF16 nor AMX-BF16"),
        (("avx512_bf16",), False, None, r"not installed, .* run: pip install 'sluice-perception\[openvino\]'"),
    ],
)
def test_auto_takes_bf16_where_the_processor_and_openvino_are_there(processor, flags, openvino, config, why):
    processor(*flags, openvino=openvino)
    choice = profile.chosen("auto", ENGINE)
    assert choice.config == config and choice.fast == (config is not None)
    given = profile.served("auto", choice, [network("a"), network("b", bf16=False)], None)
    assert given.networks == {"a": BF16 if config else FP32, "b": FP32} and not given.kept
    assert re.search(why, str(given))


def test_cpu_is_fp32_anywhere_and_cpu_fast_wants_what_it_is_named_for(processor):
    processor("amx_bf16", "avx512_bf16")
    assert profile.chosen("cpu", ENGINE).config is None
    assert profile.chosen("auto", IMAGE).config is None  # NVIDIA's backend reads no precision
    processor("avx2")
    assert profile.chosen("cpu", ENGINE).config is None
    with pytest.raises(StartError, match=r"cpu-fast serves bf16, but this processor has neither .* --profile auto"):
        profile.chosen("cpu-fast", ENGINE)


def test_a_version_names_bf16_and_nothing_else_changes(monkeypatch):
    fast = versions.stamped(PLAIN, BF16)
    assert versions.stamped(PLAIN, FP32) == PLAIN and fast == f"{PLAIN}/bf16"
    shaped = versions.seen_version(fast, {"size": 224})
    assert [versions.precision_in(one) for one in (PLAIN, fast, shaped)] == [FP32, BF16, BF16]
    assert versions.without(shaped) == versions.seen_version(PLAIN, {"size": 224})
    assert versions.precision_of("a") == FP32  # no launcher
    monkeypatch.setenv(versions.VARIABLE, Served("auto", "why", {"a": BF16}).environment[versions.VARIABLE])
    assert versions.precision_of("a") == BF16 and versions.precision_of("b") == FP32
    assert json.loads(json.dumps(versions.told_precision().as_json()))["told"] == "1 of 1 networks in bf16 (why)"


def test_a_gallery_keeps_what_it_was_made_with(tmp_path, processor):
    processor("avx512_bf16")
    assert makers.precisions(tmp_path) == {}
    frame_of(tmp_path, PLAIN, "a")
    assert makers.precisions(tmp_path) == {"feature_extractor": ("features", FP32)}
    models = [network("feature_extractor"), network("mixture_detector")]
    choice = profile.chosen("auto", ENGINE)
    given = profile.served("auto", choice, models, tmp_path)
    assert given.networks == {"feature_extractor": FP32, "mixture_detector": BF16}
    [line] = profile.notes(given, [], choice.config, tmp_path)
    assert "feature_extractor runs in fp32, because the gallery's features were made in fp32" in line
    assert "new gallery folder" in line
    forced = profile.served("cpu-fast", profile.chosen("cpu-fast", ENGINE), models, tmp_path)
    assert set(forced.networks.values()) == {BF16}
    [line] = profile.notes(forced, [], None, tmp_path)
    assert "searches and additions are refused; serve with --profile auto" in line
    # Most frames decide.
    frame_of(tmp_path, f"{PLAIN}/bf16", "b")
    frame_of(tmp_path, f"{PLAIN}/bf16", "c")
    assert profile.served("auto", choice, models, tmp_path).kept == {}
    processor("avx2")
    given = profile.served("auto", profile.chosen("auto", ENGINE), models, tmp_path)
    [line] = profile.notes(given, [], None, tmp_path)
    assert "were made in bf16 and feature_extractor runs in fp32" in line and "a processor with bf16" in line


def test_frames_of_another_precision_are_refused_in_words(tmp_path):
    frame_of(tmp_path, PLAIN, "a")
    with (
        Gallery(tmp_path, f"{PLAIN}/bf16", 16) as store,
        pytest.raises(Refusal, match=r"same network in fp32, which runs here in bf16; serve with --profile auto"),
    ):
        store.add([Frame("b")], [b"b"], [np.zeros((2, 3, 16), np.float16)], [Geometry(96, 64, 1, 1, 0, 0).as_array()])
    assert not versions.precision_hint(["other/1/ab12cd34ef56"], PLAIN)


@pytest.fixture
def engines(tmp_path):
    """Return the networks of a repository for RTX: an engine in fp16, one in fp32, and one without a record."""
    for name, precision in (("feature_extractor", FP16), ("image_grouper", FP32), ("other", "")):
        engine = tmp_path / name / "1" / "model.rtx.onnx"
        engine.parent.mkdir(parents=True)
        engine.with_name("model.onnx").write_bytes(b"graph")
        engine.write_bytes(b"engine")
        (tmp_path / name / "configs").mkdir()
        (tmp_path / name / "config.pbtxt").write_text(f'name: "{name}" backend: "onnxruntime"')
        (tmp_path / name / "configs" / "rtx.pbtxt").write_text(
            f'name: "{name}" backend: "onnxruntime" default_model_filename: "model.rtx.onnx"'
        )
        if precision:
            facts = "rtx", name, sidecar.digest(engine.with_name("model.onnx")), sidecar.digest(engine)
            sidecar.place(engine).write_text(sidecar.Sidecar(*facts, precision, "1.7.1", ("8.6",), {}).text())
    return tmp_path


def test_an_engine_runs_in_the_precision_of_its_record_and_everybody_says_so(engines, tmp_path, monkeypatch):
    models = layout.find_models([engines], "rtx", False)
    choice = profile.chosen("rtx", ENGINE)
    given = profile.served("rtx", choice, list(models.values()), None)
    assert given.networks == {"feature_extractor": FP16, "image_grouper": FP32, "other": FP32}
    assert str(given) == "1 of 3 networks in fp16 (TensorRT for RTX, as its engines were compiled)"
    # The metric of the backend takes its reason from here, by the precision that the sidecar gave it.
    assert given.reasons == {FP16: choice.reason, FP32: "its engine is in fp32"}
    [line] = profile.notes(given, list(models.values()), choice.config, None)
    assert line.startswith("model.rtx.onnx of other has no record beside it and counts as fp32; build it again")
    plain = layout.find_models([engines], None, False)
    assert set(profile.served("cpu", profile.chosen("cpu", ENGINE), list(plain.values()), None).networks.values()) == {
        FP32
    }
    # A process of the server says the same of itself, also where no launcher of ours told it.
    for config, precision in (("rtx", FP16), (None, FP32)):
        monkeypatch.setattr(contracts, "config_name", lambda config=config: config)
        assert versions.precision_in(versions.network_version(engines, "feature_extractor")) == precision
        assert versions.precision_in(versions.network_version(engines, "image_grouper")) == FP32


@pytest.mark.parametrize(
    ("made", "runs", "way"),
    [
        (FP32, FP16, r"--profile auto, or with an engine in fp32 \(sluice export --precision fp32\)"),
        (FP16, FP32, "--profile gpu or rtx and an engine in fp16"),
        (FP16, BF16, "--profile gpu or rtx and an engine in fp16"),
        (BF16, FP16, "--profile auto on a processor with bf16"),
    ],
)
def test_a_gallery_of_fp16_and_a_server_of_another_precision_are_kept_apart(tmp_path, made, runs, way):
    old, new = versions.stamped(PLAIN, made), versions.stamped(PLAIN, runs)
    frame_of(tmp_path, old, "a")
    assert makers.precisions(tmp_path) == {"feature_extractor": ("features", made)}
    refusal = rf"same network in {made}, which runs here in {runs}; serve with {way}"
    with Gallery(tmp_path, new, 16) as store, pytest.raises(Refusal, match=refusal):
        store.add([Frame("b")], [b"b"], [np.zeros((2, 3, 16), np.float16)], [Geometry(96, 64, 1, 1, 0, 0).as_array()])
    given = Served("rtx", "why", {"feature_extractor": runs})
    [line] = profile.notes(given, [], None, tmp_path)
    assert re.search(
        rf"made in {made} and feature_extractor runs in {runs}: searches .* serve with {way}, or add", line
    )


def test_configs_that_differ_in_more_than_the_accelerator_are_told(tmp_path):
    folder = tmp_path / "a"
    (folder / "configs").mkdir(parents=True)
    (folder / "config.pbtxt").write_text('name: "a" backend: "onnxruntime" max_batch_size: 8')
    fast = 'name: "a" backend: "onnxruntime" max_batch_size: {} optimization {{ execution_accelerators {{ {} }} }}'
    openvino = 'cpu_execution_accelerator [ { name: "openvino" parameters { key: "precision" value: "bf16" } } ]'
    for batch, lines in ((8, 0), (4, 1)):
        (folder / "configs" / "cpu-fast.pbtxt").write_text(fast.format(batch, openvino))
        model = layout.find_models([tmp_path], "cpu-fast", False)["a"]
        assert model.bf16 and len(profile.notes(Served(), [model], "cpu-fast", None)) == lines
    assert not layout.find_models([tmp_path], None, False)["a"].bf16
