"""A user's own feature network: its map is found, whitened, and served with the same numbers as it came."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

torch = pytest.importorskip("torch")

from export import destination, registry  # noqa: E402
from export.entry import ExportError  # noqa: E402
from export.features import batches, canvases, command, maps, source, whitening  # noqa: E402
from export.tensorrt import profiles  # noqa: E402
from sluice import contracts, images  # noqa: E402
from tests.made import feature_networks  # noqa: E402


def quiet(line):
    pass


@pytest.fixture(scope="session")
def frames(tmp_path_factory):
    """Write four small pictures of noise of all scales."""
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(3)
    for index in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((128, 96))
        fine = rng.integers(-40, 40, (96, 128, 3))
        Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return folder


# ---------------------------------------------------------------------------------------------------- whitening


def test_whitening_is_the_closed_form():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((4000, 24)) @ rng.standard_normal((24, 24)) + 300
    moments = whitening.Moments()
    for part in np.array_split(vectors, 7):
        moments.add(part)
    found = whitening.fit(moments, 16)
    centred = vectors - vectors.mean(axis=0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    wanted = centred @ directions[:16].T / (lengths[:16] / np.sqrt(len(vectors)))
    signs = np.sign(directions[np.arange(16), np.abs(directions[:16]).argmax(axis=1)])
    np.testing.assert_allclose((vectors - found.mean) @ found.matrix, wanted * signs, atol=2e-3)
    assert found.kept == pytest.approx((lengths[:16] ** 2).sum() / (lengths**2).sum()) and found.cells == 4000


def test_a_map_of_fewer_directions_than_channels_is_refused():
    moments = whitening.Moments()
    moments.add(np.random.default_rng(0).standard_normal((500, 20)) @ np.ones((20, 32)))
    with pytest.raises(ExportError, match=r"varies in 1 directions, fewer than 16 channels; give more frames"):
        whitening.fit(moments, 16)


# ---------------------------------------------------------------------------------------------------- maps


@pytest.mark.parametrize(
    ("shape", "layout", "found"),
    [
        ((2, 512, 14, 28), "nchw", (512, 16, 0)),
        ((2, 14, 28, 96), "nhwc", (96, 16, 0)),
        ((2, 512 + 1, 384), "tokens", (384, 14, 1)),
        ((2, 512 + 5, 384), "tokens", (384, 14, 5)),  # a class token and four registers
        ((2, 392, 64), "tokens", (64, 16, 0)),
        ((2, 512, 14, 14), "nchw", None),
        ((2, 512, 1, 1), "nchw", None),
        ((2, 3, 224, 448), "nchw", None),
        ((2, 77, 384), "tokens", None),
    ],
)
def test_layout_and_stride_follow_from_the_shape(shape, layout, found):
    one = maps.shaped("x", shape, layout, source.PROBE, False)
    assert (one and (one.channels, one.stride, one.before)) == found


def test_canvases_are_the_usual_ones_in_multiples_of_the_stride(tmp_path):
    network = feature_networks.graph(tmp_path / "net.onnx")
    seen = canvases.choose(network, maps.Map("y", "tokens", 64, 14), ())
    assert seen.text == "644x476 742x420 546x546 476x644 420x742" and seen.multiple == 14
    seen = canvases.choose(network, maps.Map("y", "nchw", 64, 16), ())
    assert seen.text == images.Config().canvases and seen.multiple == 32
    with pytest.raises(ExportError, match=r"stride of 14, and 224 x 100 are no multiples.*--canvas 224x98"):
        canvases.choose(network, maps.Map("y", "tokens", 64, 14), ((224, 100),))


def test_a_stage_is_found_before_the_layers_inside_it():
    """Hold that a residual branch is no candidate: x -> conv -> add with x, then a pooled vector."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["branch"], kernel_shape=[1, 1]),
            helper.make_node("Add", ["x", "branch"], ["stage"]),
            helper.make_node("GlobalAveragePool", ["stage"], ["pooled"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, "h", "w"])],
        [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["b", 3, 1, 1])],
        [numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w")],
    )
    assert maps.candidates(graph, "x") == ["stage", "pooled"]


# ---------------------------------------------------------------------------------------------------- batches


def test_a_batch_of_one_inside_a_transformer_is_freed(tmp_path):
    found = feature_networks.graph(tmp_path / "net.onnx", kind="tokens", batch=1, size=(64, 48))
    assert batches.fixed(found) == 1
    pair = source.probe(found, 2, found.size)
    both = source.run(batches.freed(found), found, pair, ["map"])["map"]
    for index in range(2):
        alone = source.run(found.model, found, pair[index : index + 1], ["map"])["map"]
        np.testing.assert_allclose(both[index], alone[0], atol=1e-5)


def test_a_batch_that_cannot_be_freed_is_refused_with_the_remedy(tmp_path):
    found = feature_networks.graph(tmp_path / "net.onnx", kind="mixed", batch=1, size=(64, 48))
    with pytest.raises(ExportError, match=r"another map at map when a second image.*dynamic_axes"):
        maps.seen(batches.freed(found), found, ["map"], found.size)


# ---------------------------------------------------------------------------------------------------- the command


def exported(tmp_path, frames, *more, given=None):
    """Run the command into a new root and return what it says and the root."""
    given = given or tmp_path / "net.onnx"
    said = []
    parser = command.arguments()
    options = parser.parse_args(["--from", str(given), "--frames", str(frames), *more])
    command.export(given, command.choices_of(options, parser), tmp_path / "root", say=said.append)
    return said, tmp_path / "root"


def agrees(root, look, size, channels):
    """Check a served graph against a network as it came. look: float32 [B, 3, H, W] normalised -> map [B, h, w, D]."""
    import onnxruntime

    path = root / "model_repository" / "feature_extractor" / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).integers(0, 256, (2, size[1], size[0], 3), dtype=np.uint8)
    (found,) = session.run(["FEATURES"], {"IMAGE": image})
    mean, std = (np.array(one, np.float32) for one in command.NORMALISATIONS["imagenet"])
    came = look(((image / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).astype(np.float32))
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    matrix = held["sluice/whitening"].squeeze()
    matrix = matrix.T if held["sluice/whitening"].ndim == 4 else matrix
    wanted = (came - held["sluice/map_mean"].reshape(-1)) @ matrix
    wanted /= np.linalg.norm(wanted, axis=-1, keepdims=True)
    assert found.shape == wanted.shape and found.shape[-1] == channels and found.dtype == np.float16
    np.testing.assert_allclose(found.astype(np.float32), wanted, atol=2e-3)


def test_a_graph_is_served_with_its_map_and_its_configs_fit(tmp_path, frames):
    network = feature_networks.graph(tmp_path / "net.onnx")
    said, root = exported(tmp_path, frames, "--canvas", "64x48", "96x64", "--channels", "16")
    assert said[0] == "map: map (nchw, 24 channels, stride 8)" and "imagenet" in " ".join(said)

    def look(pixels):
        return source.run(network.model, network, pixels, ["map"])["map"].transpose(0, 2, 3, 1)

    agrees(root, look, (96, 64), 16)
    folder = root / "model_repository" / "feature_extractor"
    shipped = contracts.ROOT / "model_repository" / "feature_extractor"
    names = {path.relative_to(shipped) for path in [shipped / "config.pbtxt", *shipped.glob("configs/*.pbtxt")]}
    fast = (folder / "configs/cpu-fast.pbtxt").read_text()
    assert ('key: "programs" value: "3"' in fast) == ('"bf16"' in fast), "one per canvas and one more"
    assert {path.relative_to(folder) for path in folder.rglob("*.pbtxt")} == names
    for name in names:
        config = contracts.read(folder / name)
        assert contracts.tensors(config.output) == {"FEATURES": ("FP16", [-1, -1, 16])}
        assert config.parameters["canvases"].string_value == "64x48 96x64"
    assert images.Config().for_network(root / "model_repository").sizes == [(64, 48), (96, 64)]
    card = (root / "weights" / "feature_extractor.md").read_text()
    assert "whitened PCA to 16" in card and "1x64x96x3" in card
    # An engine takes the network's own canvases, up to the batches of the table.
    (ours,) = registry.at(registry.together("feature_extractor"), root)
    assert profiles.fitted(ours).profile == {"IMAGE": ((1, 48, 64, 3), (4, 48, 64, 3), (8, 64, 96, 3))}
    assert profiles.fitted(registry.NETWORKS["feature_extractor"]) is registry.NETWORKS["feature_extractor"]
    # The same again gives the same bytes; an engine of the network before it goes.
    before = (folder / "1" / "model.onnx").read_bytes()
    (folder / "1" / "model.plan").write_bytes(b"old")
    exported(tmp_path, frames, "--canvas", "64x48", "96x64", "--channels", "16")
    assert (folder / "1" / "model.onnx").read_bytes() == before and not (folder / "1" / "model.plan").exists()


@pytest.mark.parametrize(
    ("made", "more", "sentence"),
    [
        ({}, ["--tensor", "nowhere"], r"no map nowhere; with --tensor choose one of: .*map \(nchw, 24 channels"),
        ({}, ["--layout", "tokens"], r"no map of rows and columns in the layout tokens; with --tensor"),
        ({}, ["--channels", "32"], r"32 channels are more than the map map .* has; give at most 24"),
        ({}, ["--channels", "20"], r"a multiple of 16 channels up to 1,024, got 20"),
        ({"kind": "pooled"}, [], r"has no map of rows and columns: .* without its pooling"),
        ({"kind": "custom"}, [], r"custom operators .*: my::Thing; export the network with standard"),
        ({"kind": "external"}, [], r"keeps its weights in net\.data, which is not beside it; copy"),
        ({"kind": "text"}, [], r"is no ONNX file"),
        ({"channels_in": 4}, [], r"needs one input of images.*its inputs are: x \[\?, 4, \?, \?\]"),
        ({}, ["--canvas", "68x44"], r"stride of 8, and 68 x 44 are no multiples of it; give --canvas 64x48"),
        ({}, ["--canvas", "5x5"], r"stride of 8, and 5 x 5 are no multiples of it; give --canvas 8x8"),
        ({"size": (64, 48)}, ["--canvas", "96x64"], r"takes images of 64 x 48 only; leave out --canvas"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence_and_nothing_is_written(tmp_path, frames, made, more, sentence):
    feature_networks.write(tmp_path / "net.onnx", **made)
    with pytest.raises(ExportError, match=sentence) as error:
        exported(tmp_path, frames, *more)
    assert "\n" not in str(error.value) and not (tmp_path / "root").exists()


def test_without_frames_a_map_is_not_reduced(tmp_path):
    feature_networks.write(tmp_path / "net.onnx")
    options = command.Choices(channels=16, canvases=((64, 48),))
    with pytest.raises(ExportError, match=r"reduced to 16 channels by a PCA of your own pictures; give a folder"):
        command.export(tmp_path / "net.onnx", options, tmp_path / "root", say=quiet)


def test_the_clone_stays_as_it_is(tmp_path, capsys):
    feature_networks.write(tmp_path / "net.onnx")
    assert command.main(["--from", str(tmp_path / "net.onnx"), "--root", str(contracts.ROOT)]) == 1
    assert "name another folder with --root" in capsys.readouterr().err


def test_ours_do_not_overwrite_it_and_it_does_not_overwrite_what_was_changed(tmp_path, capsys):
    from export.__main__ import done, listing

    folder = tmp_path / "model_repository" / "feature_extractor"
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(f"{destination.MARK} features`\n")
    options = type("", (), {"format": "onnx", "weights": None, "force": True, "check": False, "precision": None})
    assert done("feature_extractor", tmp_path, options) and "a network of your own" in capsys.readouterr().err
    options.precision = "int8"
    assert not done("feature_extractor", tmp_path, options) and "leave out --precision" in capsys.readouterr().err
    assert not (folder / "1").exists() and "a network of your own" in listing(tmp_path)
    (folder / "config.pbtxt").write_text("# by hand\n")
    feature_networks.write(tmp_path / "net.onnx")
    with pytest.raises(ExportError, match=r"was changed by hand; --force overwrites it"):
        command.export(tmp_path / "net.onnx", command.Choices(), tmp_path, say=quiet)


# ---------------------------------------------------------------------------------------------------- transformers


@pytest.mark.long
@pytest.mark.parametrize("kind", feature_networks.KINDS)
def test_a_folder_of_transformers_is_served_as_torch_computes_it(tmp_path, frames, kind):
    network = feature_networks.folder(tmp_path / "net", kind)
    canvas = (112, 84) if kind == "dinov2" else (128, 96)
    said, root = exported(
        tmp_path, frames, "--canvas", "x".join(map(str, canvas)), "--channels", "32", given=tmp_path / "net"
    )
    assert f"stride {14 if kind == 'dinov2' else 16}" in said[0]

    def look(pixels):
        with torch.no_grad():
            return feature_networks.map_of(network, kind, torch.from_numpy(pixels)).numpy()

    agrees(root, look, canvas, 32)


@pytest.mark.long
def test_weights_of_another_design_are_refused(tmp_path):
    """Run in a process of its own, since transformers is slow to import."""
    feature_networks.folder(tmp_path / "one", "resnet")
    feature_networks.folder(tmp_path / "other", "convnext")
    (tmp_path / "one" / "config.json").write_bytes((tmp_path / "other" / "config.json").read_bytes())
    words = [sys.executable, "-m", "export", "features", "--from", str(tmp_path / "one"), "--list"]
    ran = subprocess.run(words, capture_output=True, text=True, cwd=contracts.ROOT)
    assert ran.returncode == 1 and "weights of another design" in ran.stderr.strip().splitlines()[-1]
