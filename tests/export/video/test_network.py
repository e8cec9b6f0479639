"""Networks of `enhance`: shapes, planes, graphs against torch, published checkpoints, how far they look, pruning."""

from __future__ import annotations

import argparse
import dataclasses
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from export import check, graph  # noqa: E402
from export.entry import ExportError  # noqa: E402
from export.video import (  # noqa: E402
    channels,
    import_checkpoint,
)
from export.video import entry as video_entry  # noqa: E402
from export.video import network as video  # noqa: E402
from export.video import planes as video_planes  # noqa: E402
from export.video import radius as video_radius  # noqa: E402
from export.video.network import PRESETS, Design, Enhancer, Served  # noqa: E402
from export.video.rrdb import RRRDB, RRDBNet, SRVGGNetCompact, bicubic, doubled, folded  # noqa: E402
from sluice import contracts  # noqa: E402
from sluice.contracts import ROOT  # noqa: E402
from sluice.methods.video.planes import RGB, Colour, Picture  # noqa: E402
from sluice.methods.video.planes import doubled as chroma_doubled  # noqa: E402
from sluice.methods.video.planes import halved as chroma_halved  # noqa: E402

TINY = {
    "usnet": Design("usnet", {"width": 4, "hidden": [8, 0, 3]}),
    "rrrdb": Design("rrrdb", {"width": 6, "fine": 4, "growth": [[[4, 3], []], [[2], [1]]]}),
    "rrrdb folded": Design("rrrdb", {"width": 6, "fine": 0, "growth": [[[4], [3]]], "fold": 2}),
    "srvgg": Design("srvgg", {"width": 5, "convolutions": 2, "scale": 2}),
    "rrdbnet": Design("rrdbnet", {"width": 4, "growth": 2, "blocks": 1, "scale": 2}),
}
SIZES = ((64, 96), (37, 53), (7, 5), (2, 1), (1, 9))


pytestmark = pytest.mark.usefixtures("one_thread")


def shaken(design: Design, seed: int = 0) -> Enhancer:
    """Give the design weights of about the size that training gives them, none of them 0."""
    torch.manual_seed(seed)
    network = design.build()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return Enhancer(design, network.eval())


def inputs(height: int, width: int, halved: bool = True, seed: int = 0, batch: int = 1, strength: float = 1.0):
    random = np.random.default_rng(seed)
    small = (-(-height // 2), -(-width // 2)) if halved else (height, width)
    colour = Colour("bt601", "limited") if halved else RGB
    return (
        torch.from_numpy(random.integers(0, 256, (batch, height, width), np.uint8)),
        torch.from_numpy(random.integers(0, 256, (batch, *small, 2), np.uint8)),
        torch.from_numpy(colour.to_rgb.astype(np.float32)).repeat(batch, 1, 1),
        torch.full((batch, 1), strength),
    )


# -- shapes and planes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", TINY)
def test_planes_of_any_size_come_out_at_the_scale_of_the_network(kind, size):
    enhancer = shaken(TINY[kind])
    scale, (height, width) = enhancer.scale, size
    served = Served(enhancer)
    with torch.no_grad():
        luma, chroma = served(*inputs(height, width, batch=2))
        assert luma.dtype == chroma.dtype == torch.uint8
        assert luma.shape == (2, scale * height, scale * width)
        assert chroma.shape == (2, -(-scale * height // 2), -(-scale * width // 2), 2)
        luma, chroma = served(*inputs(height, width, halved=False))
    assert luma.shape == (1, scale * height, scale * width)
    assert chroma.shape == (1, scale * height, scale * width, 2)


@pytest.mark.parametrize("kind", TINY)
def test_a_single_pixel_is_taken_for_rgb(kind):
    enhancer = shaken(TINY[kind])
    with torch.no_grad():
        luma, chroma = Served(enhancer)(*inputs(1, 1))
    assert luma.shape == (1, enhancer.scale, enhancer.scale)
    assert chroma.shape == (1, enhancer.scale, enhancer.scale, 2)


@pytest.mark.parametrize("halved", [True, False])
def test_without_strength_a_remover_gives_the_frame_as_it_came(halved):
    given = inputs(37, 52, halved, strength=0.0)
    with torch.no_grad():
        luma, chroma = Served(shaken(TINY["usnet"]))(*given)
    assert torch.equal(luma, given[0]) and torch.equal(chroma, given[1])


def test_half_the_strength_is_half_the_change():
    served = Served(shaken(TINY["usnet"]))
    with torch.no_grad():
        found = {share: served(*inputs(24, 32, False, strength=share))[0].float() for share in (0.0, 0.5, 1.0)}
    assert (found[1.0] - found[0.0]).abs().max() > 20
    assert (found[0.5] - (found[0.0] + found[1.0]) / 2).abs().max() <= 1


@pytest.mark.parametrize("fine", [0, 3])
@pytest.mark.parametrize("fold", [1, 2, 4])
def test_the_plain_picture_of_any_fold_is_bicubic(fold, fine):
    network = RRRDB(6, fine, [[[4]]], fold)
    for size in ((9, 11), (1, 1), (8, 6), (2, 5)):
        x = torch.rand(2, 3, *size)
        found = network.beyond(x, 0.0)[:, :, : 2 * size[0], : 2 * size[1]]
        torch.testing.assert_close(found, bicubic(x), atol=1e-6, rtol=0)
        assert network(x).shape == found.shape


def test_without_strength_an_upscaler_is_bicubic():
    luma, chroma, colour, strength = inputs(12, 10, False, strength=0.0)
    with torch.no_grad():
        found, _ = Served(shaken(TINY["rrrdb"]))(luma, chroma, colour, strength)
    assert np.abs(found[0].numpy() - np.clip(keys(luma[0].numpy().astype(float)), 0, 255)).max() <= 0.501


def keys(plane: np.ndarray) -> np.ndarray:
    """Double the size by Keys' kernel with a = -1/2, in plain loops, the edge repeated."""

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    def along(line):
        out = []
        for index in range(2 * len(line)):
            place = (index + 0.5) / 2 - 0.5
            first = int(np.floor(place)) - 1
            out.append(sum(kernel(place - j) * line[min(max(j, 0), len(line) - 1)] for j in range(first, first + 4)))
        return np.array(out)

    return np.apply_along_axis(along, 1, np.apply_along_axis(along, 0, plane))


@pytest.mark.parametrize("size", [(1, 1), (5, 4)])
def test_bicubic_equals_a_long_hand_one(size):
    plane = np.random.default_rng(1).uniform(size=(3, *size))
    found = bicubic(torch.from_numpy(plane)[None])[0].numpy()
    assert np.allclose(found, [keys(one) for one in plane], atol=1e-12)


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("range_", ["limited", "full"])
@pytest.mark.parametrize("size", [(16, 20), (15, 9)])
def test_colours_equal_a_long_hand_reference_to_one_grey_level(matrix, range_, size):
    """Compare a remover that adds 0.1 to each of R, G and B with the same in float64."""

    class Brighter(torch.nn.Module):
        def forward(self, x):
            return x + 0.1

    served = Served(Enhancer(TINY["usnet"], Brighter()))
    colour = Colour(matrix, range_)
    random = np.random.default_rng(2)
    picture = Picture.of_rgb(random.integers(40, 200, (*size, 3), np.uint8))
    picture = Picture.of_planes(picture.planes(colour), *size, colour)
    with torch.no_grad():
        luma, chroma = served(
            torch.from_numpy(picture.luma.copy())[None],
            torch.from_numpy(picture.chroma.copy())[None],
            torch.from_numpy(colour.to_rgb.astype(np.float32))[None],
            torch.ones(1, 1),
        )
    large = chroma_doubled(picture.chroma.astype(np.float64))[: size[0], : size[1]]
    planes = np.dstack([picture.luma.astype(np.float64), large])
    rgb = planes @ colour.to_rgb[:, :3].T + colour.to_rgb[:, 3]
    change = (np.clip(rgb + 0.1, 0, 1) - rgb) @ np.linalg.inv(colour.to_rgb[:, :3]).T
    wanted_luma = np.clip(picture.luma + change[..., 0], 0, 255)
    wanted_chroma = np.clip(picture.chroma + chroma_halved(change[..., 1:]), 0, 255)
    assert np.abs(luma[0].numpy() - wanted_luma).max() <= 1
    assert np.abs(chroma[0].numpy() - wanted_chroma).max() <= 1
    assert np.abs(luma[0].numpy() - picture.luma.astype(float)).max() > 10


def test_chroma_of_half_size_lies_between_its_pixels_as_the_verb_has_it():
    chroma = np.random.default_rng(3).uniform(0, 255, (5, 4, 2))
    planes = torch.from_numpy(chroma).permute(2, 0, 1)[None]
    large = video_planes.enlarged(planes, 2)
    assert np.allclose(large[0].permute(1, 2, 0).numpy(), chroma_doubled(chroma))
    odd = large[:, :, :9, :7]
    assert np.allclose(
        video_planes.reduced(odd, 2)[0].permute(1, 2, 0).numpy(), chroma_halved(odd[0].permute(1, 2, 0).numpy())
    )


def test_the_inverse_of_a_colour_matrix_is_that_of_numpy():
    matrix = np.random.default_rng(4).normal(size=(5, 3, 3))
    assert np.allclose(video_planes.inverse(torch.from_numpy(matrix)).numpy(), np.linalg.inv(matrix))


def test_folding_is_what_pixel_unshuffle_does_and_doubling_repeats():
    x = torch.randn(2, 3, 8, 12)
    for fold in (1, 2, 4):
        assert torch.equal(folded(x, fold), torch.nn.functional.pixel_unshuffle(x, fold))
    assert torch.equal(doubled(x), torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest"))
    assert folded(torch.ones(1, 3, 5, 7), 4).shape == (1, 48, 2, 2)


# -- the architectures -------------------------------------------------------------------------------------------------


def test_branches_are_there_in_training_only_and_are_not_stored(tmp_path):
    enhancer = shaken(PRESETS["usnet_tiny"])
    x = torch.rand(1, 3, 32, 32)
    pictures = enhancer.network.train()(x)
    assert len(pictures) == 7 and all(picture.shape == x.shape for picture in pictures)
    with torch.no_grad():
        found = enhancer.network.eval()(x)
    assert torch.allclose(found, pictures[-1], atol=1e-5)
    video.save(enhancer, tmp_path / "a.pt", half=False)
    stored = torch.load(tmp_path / "a.pt", weights_only=True)["state"]
    assert stored and not any(name.startswith("branches") for name in stored)
    assert torch.equal(video.load(tmp_path / "a.pt").network(x), found)


def test_what_is_shipped_costs_what_the_marks_allow():
    parameters, work = channels.cost(Enhancer(PRESETS["usnet_small"], PRESETS["usnet_small"].build()))
    assert work <= 56_000, "a tenth of DnCNN's multiply-adds a pixel"
    assert parameters == 615_244
    parameters, _ = channels.cost(Enhancer(PRESETS["rrrdb_medium"], PRESETS["rrrdb_medium"].build()))
    assert parameters <= 250_000


@pytest.mark.parametrize("kind", TINY)
def test_stored_networks_come_back(kind, tmp_path):
    enhancer = shaken(TINY[kind])
    video.save(enhancer, tmp_path / "a.pt", half=False)
    again = video.load(tmp_path / "a.pt")
    assert again.design == enhancer.design and not again.network.training
    x = torch.rand(1, 3, 16, 12)
    with torch.no_grad():
        assert torch.equal(again.network(x), enhancer.network(x))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="train them with"):
        video.load(tmp_path / "none.pt")
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"RRDBNet or SRVGGNetCompact, got keys like fc\.weight"):
        video.load(tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"expected weights of a network in list\.pt"):
        video.load(tmp_path / "list.pt")
    with pytest.raises(ValueError, match="unknown kind of network 'edsr'"):
        Design("edsr")


# -- published checkpoints ---------------------------------------------------------------------------------------------


def old_style(name: str) -> str:
    """Return a BasicSR name as ESRGAN's authors wrote it."""
    name = name.replace("conv_body.", "trunk_conv.").replace("conv_hr.", "HRconv.")
    name = name.replace("conv_up1.", "upconv1.").replace("conv_up2.", "upconv2.")
    return name.replace("body.", "RRDB_trunk.").replace(".rdb", ".RDB")


def oldest_style(name: str, blocks: int) -> str:
    """Return a BasicSR name as ESRGAN first had it: the layer's number in a sequence."""
    name = re.sub(r"^body\.(\d+)\.rdb(\d)\.conv(\d)\.", r"model.1.sub.\1.RDB\2.conv\3.0.", name)
    layers = {
        "conv_first": 0,
        "conv_body": f"1.sub.{blocks}",
        "conv_up1": 3,
        "conv_up2": 6,
        "conv_hr": 8,
        "conv_last": 10,
    }
    for ours, number in layers.items():
        name = name.replace(f"{ours}.", f"model.{number}.")
    return name


def published(network) -> dict:
    return {name: torch.randn(value.shape) * 0.05 for name, value in network.state_dict().items()}


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("wrapped", ["params_ema", "params", "bare", "old", "oldest", "parallel", "lightning", "gan"])
def test_checkpoints_of_rrdbnet_load_in_every_style(wrapped, scale, tmp_path):
    network = RRDBNet(width=6, growth=4, blocks=2, scale=scale)
    state = published(network)
    if scale == 4:
        assert {"conv_first.weight", "body.1.rdb3.conv5.bias", "conv_up2.weight", "conv_hr.weight"} <= set(state)
    other = {name: value + 1 for name, value in state.items()}
    stored = {
        "params_ema": {"params": other, "params_ema": state},
        "params": {"params": state},
        "bare": state,
        "old": {old_style(name): value for name, value in state.items()},
        "oldest": {oldest_style(name, 2): value for name, value in state.items()},
        "lightning": {"state_dict": state, "epoch": 3, "optimizer_states": [{"lr": 1e-4}]},
        "gan": {"state_dict": {f"generator.{n}": v for n, v in state.items()} | {"discriminator.x": torch.ones(2)}},
        "parallel": {"params": {f"module.{name}": value for name, value in state.items()}},
    }[wrapped]
    torch.save(stored, tmp_path / "net.pth")
    found = video.load(tmp_path / "net.pth")
    assert found.design == Design("rrdbnet", {"width": 6, "growth": 4, "blocks": 2, "scale": scale, "convolutions": 5})
    network.load_state_dict(state)
    x = torch.rand(1, 3, 10, 14)
    with torch.no_grad():
        assert torch.equal(found.network(x), network.eval()(x))
    assert found.network(x).shape == (1, 3, 10 * scale, 14 * scale) and found.scale == scale


def own_repository(root):
    """Write the config beside which a user's own checkpoint is stored."""
    folder = root / "model_repository" / "frame_upscaler_clean"
    folder.mkdir(parents=True)
    (root / "weights").mkdir()
    (folder / "config.pbtxt").write_text('parameters [ { key: "receptive_radius" value { string_value: "18" } } ]\n')


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>", "is a web page, not weights"),
        (b"\n<html lang='en'>", "is a web page, not weights"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 67040989\n",
            "is a Git LFS pointer, not the file that it stands for; fetch that: git lfs pull",
        ),
        (b"", "is empty"),
        (b"PK\x03\x04 the first bytes of a download that broke off", "is no whole file of weights"),
        (b"some text", "is no whole file of weights"),
        ({"model.0.weight": "x"}, "expected weights of a network in net.pth, by itself or under params_ema"),
        ({"config": argparse.Namespace(scale=4)}, "holds objects of argparse.Namespace beside its weights"),
    ],
    ids=["page", "page without a type", "pointer", "empty", "torn", "text", "no tensors", "objects"],
)
def test_what_is_no_checkpoint_is_named_in_one_sentence(content, reason, tmp_path, capsys):
    own_repository(tmp_path)
    if isinstance(content, bytes):
        (tmp_path / "net.pth").write_bytes(content)
    else:
        torch.save(content, tmp_path / "net.pth")
    given = [str(tmp_path / "net.pth"), "--root", str(tmp_path), "--model", "frame_upscaler_clean"]
    assert import_checkpoint.main(given) == 1
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1 and "net.pth" in said
    assert list((tmp_path / "weights").iterdir()) == []


@pytest.mark.parametrize("style", ["new", "oldest", "srvgg"])
def test_a_checkpoint_that_lacks_any_one_tensor_is_refused_in_one_sentence(style, tmp_path):
    network = SRVGGNetCompact(6, 2, 2) if style == "srvgg" else RRDBNet(width=6, growth=4, blocks=2, scale=4)
    state = published(network)
    if style == "oldest":
        state = {oldest_style(name, 2): value for name, value in state.items()}
    for name in state:
        torch.save({key: value for key, value in state.items() if key != name}, tmp_path / "net.pth")
        with pytest.raises(ValueError, match=r"net\.pth") as refused:
            video.load(tmp_path / "net.pth")
        assert "\n" not in str(refused.value)
    torch.save(state | {"extra.weight": torch.ones(2)}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"extra\.weight"):
        video.load(tmp_path / "net.pth")


@pytest.mark.parametrize(("layers", "said"), [((0, 3, 5, 7), "0, 3, 5, 7"), ((0, 2, 4), "0, 2, 4")])
def test_an_oldest_style_network_of_another_scale_is_refused(layers, said, tmp_path):
    state = {oldest_style(name, 1): value for name, value in published(RRDBNet(6, 4, 1, 4)).items()}
    state = {key: value for key, value in state.items() if key.startswith("model.1.")}
    state |= {f"model.{layer}.{kind}": torch.ones(3) for layer in layers for kind in ("weight", "bias")}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=rf"enlarges twice by 2 .*, got layers {said}: one of another scale"):
        video.load(tmp_path / "net.pth")


def test_rrdbnet_equals_a_long_hand_evaluation():
    """Evaluate ESRGAN's formulas with plain functions, from the names of the checkpoint alone."""
    network = RRDBNet(width=4, growth=3, blocks=1, scale=2).eval()
    state = published(network)
    network.load_state_dict(state)
    functional = torch.nn.functional

    def conv(name, x):
        return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    def leaky(x):
        return torch.where(x > 0, x, 0.2 * x)

    x = torch.rand(1, 3, 6, 8)
    first = conv("conv_first", functional.pixel_unshuffle(x, 2))
    h = first
    for block in ("rdb1", "rdb2", "rdb3"):
        known = [h]
        for index in (1, 2, 3, 4):
            known.append(leaky(conv(f"body.0.{block}.conv{index}", torch.cat(known, 1))))
        h = h + 0.2 * conv(f"body.0.{block}.conv5", torch.cat(known, 1))
    h = first + conv("conv_body", first + 0.2 * h)
    for name in ("conv_up1", "conv_up2"):
        h = leaky(conv(name, functional.interpolate(h, scale_factor=2, mode="nearest")))
    h = conv("conv_last", leaky(conv("conv_hr", h)))
    with torch.no_grad():
        assert torch.allclose(network(x), h, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 4])
def test_checkpoints_of_srvgg_load_and_equal_a_long_hand_evaluation(scale, tmp_path):
    network = SRVGGNetCompact(width=6, convolutions=3, scale=scale)
    state = published(network)
    torch.save({"params": state}, tmp_path / "net.pth")
    found = video.load(tmp_path / "net.pth")
    assert found.design == Design("srvgg", {"width": 6, "convolutions": 3, "scale": scale})
    x = torch.rand(1, 3, 9, 7)
    functional = torch.nn.functional
    h = x
    for index in (0, 2, 4, 6):
        h = functional.conv2d(h, state[f"body.{index}.weight"], state[f"body.{index}.bias"], padding=1)
        h = functional.prelu(h, state[f"body.{index + 1}.weight"])
    h = functional.conv2d(h, state["body.8.weight"], state["body.8.bias"], padding=1)
    wanted = functional.pixel_shuffle(h, scale) + functional.interpolate(x, scale_factor=scale, mode="nearest")
    with torch.no_grad():
        assert torch.allclose(found.network(x), wanted, atol=1e-5)


def test_a_checkpoint_of_ones_own_becomes_a_model(tmp_path, capsys):
    folder = tmp_path / "model_repository" / "frame_upscaler_clean"
    (folder / "configs").mkdir(parents=True)
    (tmp_path / "weights").mkdir()
    line = 'parameters [ { key: "receptive_radius" value { string_value: "18" } } ]\n'
    (folder / "config.pbtxt").write_text(line)
    (folder / "configs" / "tensorrt.pbtxt").write_text(line)
    network = SRVGGNetCompact(width=6, convolutions=3, scale=2)
    torch.save({"params": published(network)}, tmp_path / "net.pth")
    given = [str(tmp_path / "net.pth"), "--root", str(tmp_path), "--model"]
    assert import_checkpoint.main([*given, "frame_upscaler_clean"]) == 0
    assert "scale 2, receptive radius 7 pixels" in capsys.readouterr().out
    assert 'string_value: "7"' in (folder / "config.pbtxt").read_text()
    assert 'string_value: "7"' in (folder / "configs" / "tensorrt.pbtxt").read_text()
    assert video.load(tmp_path / "weights" / "frame_upscaler_clean.own.pt").scale == 2
    assert import_checkpoint.main([*given, "artifact_remover_weak"]) == 1
    assert "scale 2, and removers keep the size" in capsys.readouterr().err
    (folder / "config.pbtxt").write_text("")
    with pytest.raises(ExportError, match="has no parameter receptive_radius"):
        import_checkpoint.set_radius(folder, 9)


# -- graphs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TINY)
def test_the_graph_equals_torch_at_odd_sizes_and_both_kinds_of_chroma(kind, tmp_path):
    entry = dataclasses.replace(
        video_entry.entry("tiny", title="Tiny"),
        root=tmp_path,
        check=(
            video_entry.shapes(1, 64, 96),
            video_entry.shapes(3, 33, 47),
            video_entry.shapes(1, 17, 30, halved=False),
            video_entry.shapes(1, 7, 5),
            video_entry.shapes(2, 1, 1, halved=False),
        ),
        fast=False,
    )
    entry.weights.parent.mkdir()
    video.save(shaken(TINY[kind]), entry.weights)
    graph.write(entry, graph.export(entry, entry.weights))
    assert check.compare(entry, entry.weights, entry.onnx).greatest <= 1
    operators = {node.op_type for node in onnx.load(entry.onnx).graph.node}
    assert not operators & {"SpaceToDepth", "Inverse", "If", "Loop"}


# -- how far a network looks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("halved", [True, False])
def test_what_is_farther_away_than_the_radius_changes_nothing(kind, halved):
    design = TINY[kind]
    radius = video_radius.radius(design)
    served = Served(shaken(design, 5))
    served.double()
    side = 2 * (radius + 8) // 16 * 16 + 32
    luma, chroma, colour, strength = inputs(side, side, halved, 6)
    planes = luma.double(), chroma.double()
    middle, finer = side // 2 // 8 * 8, 2 if halved else 1
    changed = [plane.clone() for plane in planes]
    changed[0][0, middle, middle] += 100
    changed[1][0, middle // finer, middle // finer] += 100
    with torch.no_grad():
        before, after = (served.enhanced(*pair, colour.double(), strength.double()) for pair in (planes, changed))
    farthest = 0
    for a, b, coarser in zip(before, after, (1, finer), strict=True):
        places = torch.nonzero((a != b).any(1)[0]) * coarser
        for place in (places // served.scale, (places + coarser - 1) // served.scale):
            farthest = max(farthest, int((middle - place).max()), int((place - middle - finer + 1).max()))
    assert radius - 8 <= farthest <= radius


@pytest.mark.parametrize("model", ["artifact_remover_weak", "artifact_remover_strong", "frame_upscaler_clean",
                                   "frame_upscaler_lossy"])  # fmt: skip
def test_the_configs_tell_the_radius_of_the_shipped_networks(model):
    radius = video_radius.radius(video.load(contracts.ROOT / "weights" / f"{model}.pt").design)
    assert contracts.models()[model].parameters["receptive_radius"].string_value == str(radius)


def test_the_radius_of_plain_convolutions_is_their_number():
    assert video_radius.radius(Design("srvgg", {"width": 8, "convolutions": 4, "scale": 2})) == 4 + 2 + 2


def test_a_strip_is_made_longer_where_a_network_looks_beyond_it(monkeypatch):
    wanted = video_radius.radius(TINY["usnet"])
    monkeypatch.setattr(video_radius, "AT_FIRST", 16)
    assert video_radius.radius(TINY["usnet"]) == wanted > 16


@pytest.mark.parametrize("name", import_checkpoint.MODELS)
def test_the_config_says_how_far_the_shipped_network_looks(name):
    folder = ROOT / "model_repository" / name
    weights = folder.parents[1] / "weights" / f"{name}.pt"
    wanted = f'key: "receptive_radius" value {{ string_value: "{video_radius.radius(video.load(weights).design)}" }}'
    for config in ("config.pbtxt", "configs/tensorrt.pbtxt"):
        assert wanted in (folder / config).read_text()


# -- pruning -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["usnet", "rrrdb"])
def test_channels_that_do_nothing_go_and_the_picture_stays(kind):
    enhancer = shaken(TINY[kind])
    x, y = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16 * enhancer.scale, 16 * enhancer.scale)
    names = list(channels.units(enhancer.network))
    with torch.no_grad():  # two channels of the first convolution say nothing, and the whole of the last
        convolutions = channels.units(enhancer.network)
        for name, gone in ((names[0], slice(0, 2)), (names[-1], slice(None))):
            convolutions[name].weight[gone] = 0
            convolutions[name].bias[gone] = 0
        if kind == "usnet":  # a block without channels goes with its bias
            enhancer.network.blocks[-1].second.bias.zero_()
    found = channels.contributions(enhancer.network, lambda _: (enhancer.network(x) - y).square().mean(), batches=2)
    assert set(found) == set(names)
    assert found[names[0]][:2].abs().max() == 0 and found[names[-1]].abs().max() == 0
    assert found[names[0]][2:].max() > 0
    kept = {name: torch.nonzero(value > 0).flatten() for name, value in found.items()}
    smaller = channels.pruned(enhancer, kept)
    assert channels.cost(smaller)[0] < channels.cost(enhancer)[0]
    with torch.no_grad():
        assert torch.allclose(smaller.network(x), enhancer.network(x), atol=1e-5)


def test_the_share_that_goes_is_that_of_all_channels_together():
    found = {"a": torch.tensor([5.0, 1.0, 4.0]), "b": torch.tensor([0.5, 9.0])}
    kept = channels.least(found, 0.4)
    assert kept["a"].tolist() == [0, 2] and kept["b"].tolist() == [1]
    assert [len(stay) for stay in channels.least(found, 0.0).values()] == [3, 2]


def test_published_networks_are_not_pruned():
    with pytest.raises(ValueError, match="kind usnet or rrrdb, got srvgg"):
        channels.pruned(shaken(TINY["srvgg"]), {})
