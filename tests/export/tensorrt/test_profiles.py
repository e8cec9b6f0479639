"""The table of sizes that engines accept agrees with the contract of every model, and with the configs for GPUs."""

from __future__ import annotations

import pytest

from export import fit
from export.grouping.rows import LENGTH
from export.registry import NETWORKS, find
from export.tensorrt import profiles
from sluice import contracts, images

FILES = {"tensorrt": "model.plan", "rtx": "model.rtx.onnx"}


def gpu_config(model, name):
    return contracts.read(contracts.ROOT / "model_repository" / model / "configs" / f"{name}.pbtxt")


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_config_the_gpu_configs_and_the_table_agree(name, kind):
    network = find(name)
    config = contracts.models()[network.model or name]
    gpu = gpu_config(config.name, kind)
    assert gpu.name == config.name and gpu.max_batch_size == config.max_batch_size
    assert gpu.backend == ("tensorrt" if kind == "tensorrt" else "onnxruntime")
    assert gpu.default_model_filename == FILES[kind]
    assert contracts.tensors(gpu.output) == contracts.tensors(config.output)
    # What is free in the table is free in the config, or a size of the checkpoint that the exporter wrote there.
    own = fit.sizes(network.onnx) if network.onnx.exists() else {}
    for ours, declared in ((network.inputs, config.input), (network.outputs, config.output)):
        named = contracts.tensors(declared)
        for tensor in ours:
            said = list(named[tensor.name][1])
            table = [axis if isinstance(axis, int) else -1 for axis in tensor.axes[1:]]
            assert said in (table, own.get(tensor.name))
    # An engine takes one length of texts; all other tensors are as free as in the contract.
    theirs, told = contracts.tensors(gpu.input), contracts.tensors(config.input)
    for tensor in network.inputs:
        least, _, greatest = network.profile[tensor.name]
        fixed = [size if size == least[axis] else -1 for axis, size in enumerate(greatest)][1:]
        assert theirs[tensor.name][0] == told[tensor.name][0]
        assert theirs[tensor.name][1] == (fixed if tensor.name == "TOKENS" else told[tensor.name][1])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_batches_of_the_profile_are_those_of_the_config(name):
    network = find(name)
    gpu = gpu_config(network.model or name, "tensorrt")
    for least, best, greatest in network.profile.values():
        assert least[0] == 1 and greatest[0] == gpu.max_batch_size
        assert all(low <= middle <= high for low, middle, high in zip(least, best, greatest, strict=True))
        preferred = list(gpu.dynamic_batching.preferred_batch_size)
        assert not preferred or best[0] in preferred
        assert all(batch <= greatest[0] for batch in preferred)


def test_every_row_of_the_table_is_some_networks():
    used = set()
    for network in NETWORKS.values():
        used |= {name for name in profiles.TABLE if profiles_of(name, network) == network.profile}
    assert used == set(profiles.TABLE)


def profiles_of(name, network):
    try:
        return profiles.shapes(name, network.inputs)
    except KeyError:
        return None


def test_the_profile_of_the_feature_extractor_takes_every_canvas_of_the_decoder():
    low, best, high = find("feature_extractor").profile["IMAGE"]
    for width, height in images.Config().sizes:
        assert low[1] <= height <= high[1] and low[2] <= width <= high[2]
    assert (best[2], best[1]) == images.Config().sizes[0]


def test_the_profile_of_the_text_encoder_is_the_longest_text():
    assert {shape[1] for shape in find("text_encoder").profile["TOKENS"]} == {LENGTH}
