"""The verb `enhance` over the repository's own networks: tiles give what the whole frame gives, configs agree."""

import asyncio
import json

import numpy as np
import pytest

from sluice import contracts
from sluice.methods.video.planes import planes_size
from sluice.verbs.enhance import Config, Enhancer
from sluice.wire.calls import strings

NAMES = ("artifact_remover_weak", "artifact_remover_strong", "frame_upscaler_clean", "frame_upscaler_lossy")
ENHANCE = contracts.models()["enhance"]


def config(**more):
    texts = {key: value.string_value for key, value in ENHANCE.parameters.items()}
    return contracts.parameters(Config, {**texts, **more})


@pytest.mark.parametrize("name", NAMES)
def test_the_verb_knows_the_radius_that_the_network_has(name):
    radius = contracts.models()[name].parameters["receptive_radius"].string_value
    assert config().radii[name] == int(radius)


@pytest.fixture(scope="module")
def networks():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    made = {}
    for name in NAMES:
        path = contracts.ROOT / "model_repository" / name / "1" / "model.onnx"
        if not path.exists():
            pytest.fail(f"{path.relative_to(contracts.ROOT)} is missing; run: make export")
        made[name] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return made


def enhanced(networks, tile, sizes, **given):
    async def call(model, inputs, outputs):
        sizes.append(inputs["LUMA"].shape[1:])
        return dict(zip(outputs, networks[model].run(list(outputs), dict(inputs)), strict=True))

    async def run():
        options = {name: given.pop(name) for name in list(given) if name.islower()}
        enhancer = Enhancer(call, config(tile=str(tile)))
        inputs = {**given, "OPTIONS": strings([json.dumps(options)])}
        return [answer async for answer in enhancer.enhance(inputs, lambda: None)][1]

    return asyncio.run(run())


@pytest.mark.parametrize("mode", ["weak", "strong"])
@pytest.mark.parametrize("do", ["artefacts", "upscale"])
@pytest.mark.parametrize("form", ["RGB", "PLANES"])
def test_tiled_equals_whole(networks, mode, do, form):
    height, width = 181, 233
    rng = np.random.default_rng(8)
    if form == "RGB":
        given = {"RGB": rng.integers(0, 256, (1, height, width, 3), np.uint8)}
    else:
        flat = rng.integers(0, 256, (1, 1, planes_size(height, width)), np.uint8)
        given = {"PLANES": flat, "width": width, "height": height}
    tiles, whole = [], []
    one = enhanced(networks, 40_000, tiles, do=do, mode=mode, **given)[form]
    other = enhanced(networks, 1 << 20, whole, do=do, mode=mode, **given)[form]
    assert len(tiles) > 1 and whole == [(height, width)]
    assert np.abs(one.astype(int) - other).max() <= 1
