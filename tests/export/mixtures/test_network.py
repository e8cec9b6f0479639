"""The mixture-density detectors: sizes, priors, published checkpoints, fused heads, storing, and the exported graph."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from sluice.contracts import ROOT

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from export import graph  # noqa: E402
from export.check import session  # noqa: E402
from export.matching import network as features  # noqa: E402
from export.mixtures import files  # noqa: E402
from export.mixtures import network as mixtures_network  # noqa: E402
from export.mixtures.network import Design, MixtureSSD  # noqa: E402
from export.registry import NETWORKS  # noqa: E402

WEIGHTS = ROOT / "weights" / "mixture_detector.pt"


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def small():
    """Return the light preset with BatchNorms as uneven as after training."""
    torch.manual_seed(0)
    network = MixtureSSD()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.5, 2)
    return network.eval()


def names_of(count):
    return tuple(f"class {i}" for i in range(1, count + 1))


def published(classes=21, **choices):
    """Return the published preset without memory for its parameters: enough to count them and to ask for priors."""
    with torch.device("meta"):
        return MixtureSSD(Design("ssd300_vgg16", names_of(classes - 1), **choices))


def count(network):
    return sum(p.numel() for p in network.parameters())


def greatest_difference(one, other):
    assert one.shape == other.shape
    return float((one.double() - other.double()).abs().max())


def pictures(batch, height, width, seed=0):
    return torch.randint(
        0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


# ------------------------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize(
    "classes, choices, parameters",
    [
        (21, {}, 52_349_576),
        (81, {}, 116_507_336),
        (21, {"class_variance": False}, 41_121_968),
        (81, {"class_variance": False}, 73_200_848),
        (21, {"mixture": False}, 26_285_486),
    ],
)
def test_the_published_preset_has_the_published_number_of_parameters(classes, choices, parameters):
    assert count(published(classes, **choices)) == parameters


@pytest.mark.parametrize("preset", ["small", "ssd300_vgg16"])
def test_one_convolution_a_source_holds_all_heads(preset):
    with torch.device("meta"):
        network = MixtureSSD(Design(preset, names_of(6), components=3))
    for head, source in zip(network.heads, network.sources, strict=True):
        assert isinstance(head, torch.nn.Conv2d) and head.kernel_size == (3, 3)
        assert head.out_channels == len(source.shapes) * 3 * (12 + 2 * 7 + 1)


def test_only_the_means_of_the_first_component_begin_without_bias_so_that_components_differ():
    torch.manual_seed(3)
    network = MixtureSSD()
    for head, source in zip(network.heads, network.sources, strict=True):
        for name, part in network.parts(head.bias, len(source.shapes)).items():
            assert (part[:, 0].abs().max() == 0) == name.endswith("MEAN")
            assert part[:, 1:].abs().max() > 0
        weight = network.parts(head.weight, len(source.shapes))["CLASS_MEAN"].detach()
        assert not torch.allclose(weight[:, 0], weight[:, 1]) and not torch.allclose(weight[:, 1], weight[:, 2])


def test_another_preset_is_refused():
    with pytest.raises(ValueError, match="small or ssd300_vgg16, got 'ssd512'"):
        MixtureSSD(Design("ssd512"))


# ------------------------------------------------------------------------------------------------ priors

VOC = ((30, 60), (60, 111), (111, 162), (162, 213), (213, 264), (264, 315))
COCO = ((21, 45), (45, 99), (99, 153), (153, 207), (207, 261), (261, 315))


def long_hand_priors(sizes):
    """Return SSD300's priors in pixels of 300, one after the other: source, row, column, shape."""
    rows = []
    for cells, step, (s, after), ratios in zip(
        (38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300), sizes, ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)), strict=True
    ):
        for i in range(cells):
            for j in range(cells):
                shapes = [(s, s), (math.sqrt(s * after),) * 2]
                for ratio in ratios:
                    shapes += [(s * math.sqrt(ratio), s / math.sqrt(ratio))]
                    shapes += [(s / math.sqrt(ratio), s * math.sqrt(ratio))]
                for w, h in shapes:
                    fractions = ((j + 0.5) * step / 300, (i + 0.5) * step / 300, w / 300, h / 300)
                    rows.append([300 * min(max(v, 0.0), 1.0) for v in fractions])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("classes, sizes", [(21, VOC), (81, COCO)])
def test_the_published_priors_are_those_of_a_long_hand_count(classes, sizes):
    found = published(classes).priors([(n, n) for n in (38, 19, 10, 5, 3, 1)], torch.device("cpu"))
    wanted = long_hand_priors(sizes)
    assert found.shape == (1, 8732, 4) == (1, *wanted.shape)
    assert greatest_difference(found[0], wanted) < 1e-3


def test_single_published_priors_have_the_values_of_the_formulas():
    boxes = published().priors([(n, n) for n in (38, 19, 10, 5, 3, 1)], torch.device("cpu"))[0]
    root = math.sqrt(2)
    assert boxes[0].tolist() == [4, 4, 30, 30]
    assert boxes[1].tolist() == pytest.approx([4, 4, math.sqrt(1800), math.sqrt(1800)])
    assert boxes[2].tolist() == pytest.approx([4, 4, 30 * root, 30 / root])
    assert boxes[4].tolist() == [12, 4, 30, 30], "the column runs before the row"
    assert boxes[38 * 4].tolist() == [4, 12, 30, 30]
    assert boxes[38 * 38 * 4 + 4].tolist() == pytest.approx([8, 8, 60 * math.sqrt(3), 60 / math.sqrt(3)])
    # Clipped to the image: a centre (9.5 cells of 32 pixels are 304) and a width (264 times the root of 2 is 373).
    assert boxes[38 * 38 * 4 + 19 * 19 * 6 + 9 * 6].tolist() == [300, 16, 111, 111]
    assert boxes[-2].tolist() == pytest.approx([150, 150, 300, 264 / root])
    assert boxes.min() >= 0 and boxes.max() == 300


def test_priors_of_the_light_preset_are_square_standing_and_lying_in_every_cell_of_four_strides(small):
    with torch.inference_mode():
        boxes = small(torch.zeros(2, 64, 96, 3, dtype=torch.uint8))[0]
    rows = []
    for step, s in ((8, 18), (16, 40), (32, 84), (64, 180)):
        for i in range(math.ceil(64 / step)):
            for j in range(math.ceil(96 / step)):
                for w, h in ((s, s), (0.7 * s, 1.6 * s), (1.5 * s, 0.75 * s)):
                    rows.append([(j + 0.5) * step, (i + 0.5) * step, w, h])
    assert torch.allclose(boxes, torch.tensor(rows).expand(2, -1, -1))
    grids = [(384 // step, 512 // step) for step in (8, 16, 32, 64)]
    assert small.priors(grids, torch.device("cpu")).shape == (1, 12_240, 4)


# ------------------------------------------------------------------------------------------------ published checkpoints

HEADS = ("loc_mu", "loc_var", "loc_pi", "conf_mu", "conf_var", "conf_pi")
SOURCES = ((512, 4), (1024, 6), (512, 6), (256, 6), (256, 4), (256, 4))  # channels, priors a cell


def published_shapes(classes, components=4, heads=HEADS):
    """Name -> shape of every tensor of a published checkpoint, written out."""
    shapes = {}
    widths = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    for place, i, o in zip(places, widths, widths[1:], strict=False):
        shapes[f"vgg.{place}.weight"] = (o, i, 3, 3)
    shapes["vgg.31.weight"], shapes["vgg.33.weight"] = (1024, 512, 3, 3), (1024, 1024, 1, 1)
    shapes["L2Norm.weight"] = (512,)
    extras = ((256, 1024, 1), (512, 256, 3), (128, 512, 1), (256, 128, 3), (128, 256, 1), (256, 128, 3))
    for place, (o, i, size) in enumerate((*extras, *extras[-2:])):
        shapes[f"extras.{place}.weight"] = (o, i, size, size)
    depth = {"loc_mu": 4, "loc_var": 4, "loc_pi": 4, "conf_mu": classes, "conf_var": classes, "conf_pi": 1}
    for head in heads:
        for k in range(1, components + 1):
            for source, (channels, a) in enumerate(SOURCES):
                shapes[f"{head}_{k}.{source}.weight"] = (a * depth[head], channels, 3, 3)
    biases = {n.replace("weight", "bias"): s[:1] for n, s in shapes.items() if n != "L2Norm.weight"}
    return {**shapes, **biases}


def constants(shapes, prefix=""):
    """Return a checkpoint in which every tensor repeats a number of its own, stored as that number alone."""
    return {prefix + n: torch.tensor(float(i)).expand(shape) for i, (n, shape) in enumerate(shapes.items(), 1)}


def random_checkpoint(classes, seed=0):
    """Return a checkpoint whose feature maps neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in published_shapes(classes).items():
        scale = math.sqrt(2 / math.prod(shape[1:])) if len(shape) == 4 else 0.05
        found[name] = torch.randn(shape, generator=generator) * scale
    found["L2Norm.weight"] = 20 + found["L2Norm.weight"]
    return found


def long_hand(state, image, classes):
    """Run the published network as its reference describes it: 24 separate heads, permute, view, cat."""

    def layer(x, name, **how):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **how)

    rgb = image.float() - torch.tensor([123.0, 117.0, 104.0])
    x = rgb.permute(0, 3, 1, 2)
    places = iter((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))
    maps = []
    for stage, count_ in enumerate((2, 2, 3, 3, 3)):
        for _ in range(count_):
            x = F.relu(layer(x, f"vgg.{next(places)}", padding=1))
        if stage == 3:
            maps.append(x / (x.norm(dim=1, keepdim=True) + 1e-10) * state["L2Norm.weight"].view(1, -1, 1, 1))
        if stage < 4:
            x = F.max_pool2d(x, 2, 2, ceil_mode=stage == 2)
    x = F.max_pool2d(x, 3, 1, 1)
    x = F.relu(layer(x, "vgg.31", padding=6, dilation=6))
    x = F.relu(layer(x, "vgg.33"))
    maps.append(x)
    for i, how in enumerate(({}, {"stride": 2, "padding": 1}) * 2 + ({}, {}) * 2):
        x = F.relu(layer(x, f"extras.{i}", **how))
        if i % 2 == 1:
            maps.append(x)
    assert [m.shape[-1] for m in maps] == [38, 19, 10, 5, 3, 1]
    found = {}
    for head, depth in zip(HEADS, (4, 4, 4, classes, classes, 1), strict=True):
        for k in range(1, 5):
            flat = [
                layer(m, f"{head}_{k}.{i}", padding=1).permute(0, 2, 3, 1).contiguous().view(len(image), -1)
                for i, m in enumerate(maps)
            ]
            found[head, k] = torch.cat(flat, 1).view(len(image), -1, depth)
    return found


def test_a_published_checkpoint_gives_the_numbers_of_its_24_separate_heads():
    state, image, classes = random_checkpoint(4), pictures(1, 300, 300), 4
    network = files.from_published({f"module.{name}": value for name, value in state.items()})
    with torch.inference_mode():
        answers = dict(zip(("PRIORS", *network.design.depths()), network(image), strict=True))
        wanted = long_hand(state, image, classes)
    assert not network.training and network.design.classes == classes
    n, k = 8732, 4
    assert [tuple(t.shape) for t in answers.values()] == [
        (1, n, 4), (1, n, k, 4), (1, n, k, 4), (1, n, k, 4), (1, n, k, classes), (1, n, k, classes), (1, n, k)
    ]  # fmt: skip
    for output, head in zip(mixtures_network.OUTPUTS, HEADS, strict=True):
        for k in range(4):
            one = wanted[head, k + 1]
            found = answers[output][:, :, k]
            found = found[..., None] if head == "conf_pi" else found
            assert one.std() > 0.05, "the test would compare nothing"
            # Thirteen layers in float32, in another order of summation: far less than any misplaced channel.
            assert greatest_difference(found, one) < 1e-3 * one.std()


@pytest.mark.parametrize("form", ["plain", "module.", "weight"])
def test_every_tensor_of_a_published_checkpoint_lands_in_its_place(form):
    shapes = published_shapes(21)
    assert len(shapes) == 335
    state = constants(shapes, "module." if form == "module." else "")
    network = files.from_published({"weight": state} if form == "weight" else state)
    assert count(network) == 52_349_576 and network.design.labels == names_of(20)
    number = {name: float(i) for i, name in enumerate(shapes, 1)}
    for name, value in network.backbone.state_dict().items():
        assert bool((value == number[name]).all()), name
    for i, head in enumerate(network.heads):
        for kind, array in (("weight", head.weight), ("bias", head.bias)):
            for (output, part), published_head in zip(network.parts(array, SOURCES[i][1]).items(), HEADS, strict=True):
                assert output == mixtures_network.OUTPUTS[HEADS.index(published_head)]
                for k in range(4):
                    assert bool((part[:, k] == number[f"{published_head}_{k + 1}.{i}.{kind}"]).all())


def test_the_names_of_a_checkpoint_are_the_published_ones():
    design = Design("ssd300_vgg16", names_of(20))
    assert sorted(files.published_names(design)) == sorted(published_shapes(21))
    without = dataclasses.replace(design, class_variance=False)
    assert not any("conf_var" in name for name in files.published_names(without))


def test_a_checkpoint_without_class_variance_or_with_other_components_is_known_by_its_names(tmp_path):
    shapes = published_shapes(3, components=2, heads=tuple(h for h in HEADS if h != "conf_var"))
    torch.save(constants(shapes), tmp_path / "eff.pth")
    network = files.load(tmp_path / "eff.pth")
    assert network.design == Design("ssd300_vgg16", ("class 1", "class 2"), 2, class_variance=False)
    assert "CLASS_VARIANCE" not in network.design.depths()
    assert files.from_published(constants(shapes), ["cat", "dog"]).design.labels == ("cat", "dog")
    with pytest.raises(ValueError, match="expected 2 labels, got 3"):
        files.from_published(constants(shapes), ["cat", "dog", "cow"])


def changed(changes):
    shapes = published_shapes(2, components=1)
    for name, shape in changes.items():
        if shape is None:
            del shapes[name]
        else:
            shapes[name] = shape
    return constants(shapes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"loc_var_1.3.bias": None}, r"missing: \['loc_var_1\.3\.bias'\]"),
        ({"vgg.31.weight": None}, r"missing: \['vgg\.31\.weight'\]"),
        ({"loc_mu_3.0.weight": (16, 512, 3, 3)}, r"missing: .*_2\.0\.bias.*not known: \['loc_mu_3\.0\.weight'\]"),
        ({"extras.8.weight": (256, 128, 3, 3)}, r"not known: \['extras\.8\.weight'\]"),
        ({"loc_pi_1.2.weight": (20, 512, 3, 3)}, r"loc_pi_1\.2\.weight has the shape \[20, 512, 3, 3\]"),
        ({"loc_mu_1.4.weight": (256, 16, 3, 3)}, r"loc_mu_1\.4\.weight has the shape \[256, 16, 3, 3\]"),
        ({"extras.1.weight": (512, 256, 1, 1)}, r"extras\.1\.weight has the shape \[512, 256, 1, 1\]"),
        ({"conf_mu_1.0.weight": None}, "conf_mu_1"),
        ({"loc_mu_1.0.weight": None}, "loc_mu_1"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_the_name_of_what_does_not(changes, message):
    with pytest.raises(ValueError, match=message):
        files.from_published(changed(changes))


# ------------------------------------------------------------------------------------------------ forward


def test_the_fused_convolution_of_the_light_preset_equals_separate_ones(small):
    d, pixels = small.design, small.backbone.pixels(pictures(2, 64, 96))
    with torch.inference_mode():
        maps = small.backbone(pixels)
        answers = dict(zip(("PRIORS", *d.depths()), small.raw(pixels), strict=True))
        for output, depth in d.depths().items():
            for k in range(d.k):
                flat = []
                for m, head, source in zip(maps, small.heads, small.sources, strict=True):
                    a = len(source.shapes)
                    weight = small.parts(head.weight, a)[output][:, k].reshape(a * depth, -1, 3, 3)
                    bias = small.parts(head.bias, a)[output][:, k].reshape(a * depth)
                    flat.append(F.conv2d(m, weight, bias, padding=1).permute(0, 2, 3, 1).reshape(2, -1, depth))
                wanted = torch.cat(flat, 1)
                found = answers[output][:, :, k]
                assert greatest_difference(found.reshape(wanted.shape), wanted) < 1e-4


def test_an_image_has_the_same_heads_alone_and_in_a_batch(small):
    image = pictures(3, 64, 64)
    with torch.inference_mode():
        together, alone = small(image), small(image[1:2])
    for one, other in zip(together, alone, strict=True):
        assert one.dtype == torch.float32
        assert greatest_difference(one[1:2], other) < 1e-4


def test_pixels_are_taken_as_bytes_in_rgb_and_normalised_inside(small):
    image = pictures(1, 64, 64)
    with torch.inference_mode():
        pixels = (image.permute(0, 3, 1, 2).float() - 114) / 64
        for one, other in zip(small(image), small.raw(pixels), strict=True):
            assert torch.equal(one, other)
        swapped = small(image.flip(-1))[1]
        assert not torch.allclose(swapped, small(image)[1], atol=1e-2)
    mean = torch.tensor([123, 117, 104], dtype=torch.uint8).expand(1, 2, 2, 3)
    vgg = mixtures_network.Vgg.pixels
    with torch.device("meta"):
        backbone = mixtures_network.Vgg()
    assert vgg(backbone, mean).abs().max() == 0
    assert vgg(backbone, torch.full((1, 2, 2, 3), 255, dtype=torch.uint8))[0, :, 0, 0].tolist() == [132, 138, 151]


def test_the_detector_without_mixture_heads_is_the_same_but_for_them(small):
    network = MixtureSSD(mixtures_network.plain(small.design)).eval()
    with torch.inference_mode():
        boxes, location, classes = network(pictures(1, 64, 64))
    assert location.shape == (1, boxes.shape[1], 1, 4) and classes.shape == (1, boxes.shape[1], 1, 5)
    assert network.backbone.state_dict().keys() == small.backbone.state_dict().keys()


# ------------------------------------------------------------------------------------------------ weights


def test_a_stored_network_comes_back_with_its_design(tmp_path):
    torch.manual_seed(1)
    network = MixtureSSD(Design(labels=("Tram", "Dog"), components=3, class_variance=False)).eval()
    files.save(network, tmp_path / "w.pt")
    again = files.load(tmp_path / "w.pt")
    assert again.design == network.design and not again.training
    for name, value in network.state_dict().items():
        stored = again.state_dict()[name]
        assert stored.dtype == value.dtype
        assert torch.equal(stored, value.half().to(value.dtype) if value.is_floating_point() else value), name
    files.save(again, tmp_path / "w2.pt")
    for one, other in zip(again(pictures(1, 32, 32)), files.load(tmp_path / "w2.pt")(pictures(1, 32, 32)), strict=True):
        assert torch.equal(one, other)


def test_other_files_are_refused(tmp_path):
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="loc_mu_1"):
        files.load(tmp_path / "other.pt")
    torch.save(torch.zeros(1), tmp_path / "tensor.pt")
    with pytest.raises(ValueError, match=r"expected weights of a mixture-density detector in tensor\.pt"):
        files.load(tmp_path / "tensor.pt")
    with pytest.raises(FileNotFoundError, match=r"python -m export\.mixtures\.train"):
        files.load(tmp_path / "missing.pt")


def test_a_training_begins_with_the_layers_that_the_feature_extractor_shares(tmp_path):
    torch.manual_seed(2)
    learned = features.Detector()
    for layer in learned.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1)
    features.save(learned, tmp_path / "f.pt")
    network = MixtureSSD()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    files.begin_from_features(network, tmp_path / "f.pt")
    source, own = learned.state_dict(), network.backbone.state_dict()
    shared = [name for name in own if name in source]
    assert {name.split(".")[0] for name in shared} == {
        "quarter", "eighth", "sixteenth", "last", "up_sixteenth", "up_eighth",
    }  # fmt: skip
    for name in shared:
        if source[name].is_floating_point():
            assert torch.equal(own[name], source[name].half().float()), name
    for name, value in network.state_dict().items():
        if name.removeprefix("backbone.") not in source:
            assert torch.equal(value, before[name]), name
            assert name.startswith(("heads.", "backbone.coarse"))


@pytest.mark.skipif(not WEIGHTS.exists(), reason="weights/mixture_detector.pt is not there: make train")
def test_the_committed_weights_keep_the_contract():
    network = files.load(WEIGHTS)
    assert network.design == Design("lite0")
    with torch.inference_mode():
        answers = network(pictures(1, 64, 64))
    assert all(bool(torch.isfinite(a).all()) for a in answers)
    assert WEIGHTS.stat().st_size < 6e6
    labels = ROOT / "model_repository" / "mixture_detector" / "labels.txt"
    if labels.exists():
        assert tuple(labels.read_text().split()) == network.design.labels
    if WEIGHTS.with_suffix(".json").exists():
        record = json.loads(WEIGHTS.with_suffix(".json").read_text())
        assert "CC BY-NC" in record["licence"] and record["parameters"] == count(network)


# ------------------------------------------------------------------------------------------------ the graph


def noise(shapes, seed):
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 256, shape, dtype=np.uint8) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def exported(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    files.save(small, folder / "w.pt")
    network = dataclasses.replace(NETWORKS["mixture_detector"], make=noise, root=folder)
    content = graph.export(network, folder / "w.pt")
    (folder / "model.onnx").write_bytes(content)
    return network, files.load(folder / "w.pt"), session(folder / "model.onnx")


@pytest.mark.parametrize("size", [(1, 32, 32), (3, 32, 160), (1, 128, 64), (2, 64, 224), (1, 96, 96)])
def test_the_graph_equals_torch_at_sizes_that_tracing_did_not_see(exported, size):
    table, network, run = exported
    image = pictures(*size, seed=sum(size))
    with torch.inference_mode():
        wanted = network(image)
    names = [tensor.name for tensor in table.outputs]
    assert names == ["PRIORS", *mixtures_network.OUTPUTS]
    for name, one, other in zip(names, run.run(names, {"IMAGE": image.numpy()}), wanted, strict=True):
        assert one.dtype == np.float32 and one.shape == tuple(other.shape), name
        np.testing.assert_allclose(one, other.numpy(), atol=table.tolerance, rtol=0, err_msg=name)
