"""`segment` and `compare` with GroupViT graphs in ONNX Runtime, against the published evaluation written out in torch.

The network is random, on transformers' own modules; from the encoded picture to the pixels of the PNG everything is
compared.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
onnxruntime = pytest.importorskip("onnxruntime")

from torch.nn import functional as F  # noqa: E402

import scenes  # noqa: E402
from export import graph  # noqa: E402
from export.networks import grouping  # noqa: E402
from export.networks.grouping_entry import pair  # noqa: E402
from sluice import comparison, grouping_prompts, segmentation, tokens  # noqa: E402
from tests.grouping_server import Request, Server, opened  # noqa: E402

CLASSES = ["road", "sky", "car", "tree", "a man on a bicycle", "building", "traffic light", "fence"]
REACH = 0.999
DESIGN = grouping.Design(
    vision={
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "depths": [2, 1, 1],
        "num_group_tokens": [12, 6, 0],
        "num_output_groups": [12, 6, 6],
        "num_attention_heads": 2,
    },
    text={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    width=24,
    hidden=64,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spread(layer, _, output):
    """Hook: what a linear layer gives has the mean 0 and the deviation 3 from now on."""
    mean, gain = output.mean(dim=(0, 1)), 3 / output.std(dim=(0, 1))
    layer.weight *= gain[:, None]
    layer.bias.copy_((layer.bias - mean) * gain)
    return (output - mean) * gain


@pytest.fixture(scope="module")
def network():
    """Random weights; keys are spread and the projectors' norms know what they meet, as after training, or one group
    would have every pixel and all classes would look alike."""
    torch.manual_seed(7)
    made = grouping.GroupingNetwork(DESIGN).eval()
    with torch.no_grad():
        for name, value in made.vit.named_parameters():
            if "token" in name or "embed" in name:
                value.normal_(std=0.05 if value.dim() == 4 else 0.5)
            elif value.dim() > 1:
                value.normal_(std=1.2 / value.shape[-1] ** 0.5)
        keys = [module for name, module in made.vit.named_modules() if name.endswith("assign.k_proj")]
        hooks = [module.register_forward_hook(spread) for module in keys]
        groups, _, _ = made.image(torch.from_numpy(np.stack([scenes.render(i, (224, 224)).image for i in range(8)])))
        for hook in hooks:
            hook.remove()
        ids = torch.from_numpy(tokens.tokenizer()(CLASSES).ids)
        features = made.vit.text_model(input_ids=ids).pooler_output
        for projector, seen in (
            (made.vit.visual_projection, groups.flatten(0, 1)), (made.vit.text_projection, features)
        ):  # fmt: skip
            projector[1].momentum = None
            projector.train()(seen)
        made.vit.logit_scale.fill_(5)  # more than 100, the greatest scale that counts
    return made.eval()


@pytest.fixture(scope="module")
def server(network, tmp_path_factory):
    """The two graphs behind `call`."""
    weights = tmp_path_factory.mktemp("weights") / "grouping.pt"
    torch.save({"design": asdict(DESIGN), "state": network.vit.state_dict()}, weights)  # float32, not rounded
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(graph.export(one, weights), options) for one in pair()]

    def asked(session):
        names = [output.name for output in session.get_outputs()]
        given = session.get_inputs()[0].name
        return lambda array: dict(zip(names, session.run(names, {given: array}), strict=True))

    return Server(see=asked(sessions[0]), read=asked(sessions[1]))


def encoded(seed, width, height):
    buffer = io.BytesIO()
    Image.fromarray(scenes.render(seed, (width, height)).image).save(buffer, "PNG")
    return buffer.getvalue()


def ask(server, data, **options):
    request = Request(options, IMAGES=[data], CLASSES=CLASSES)
    return asyncio.run(segmentation.segment(server.call, request, segmentation.Config()))


# ------------------------------------------------------------------------------------------------ long hand


def scaled(data, size):
    """The picture as float [1, 3, h, w] of 0-255 at a size (height, width)."""
    image = Image.open(io.BytesIO(data)).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()


def image_features(network, pixels):
    """transformers' modules, positions interpolated as the authors do: groups [G, E], whole [E], shares [G, h, w]."""
    vit, vision = network.vit, network.vit.vision_model
    normal = (pixels / 255 - network.mean[:, None, None]) / network.deviation[:, None, None]
    h, w = pixels.shape[2] // 16, pixels.shape[3] // 16
    x = vision.embeddings.layernorm(vision.embeddings.patch_embeddings(normal, interpolate_pos_encoding=True))
    table = vision.embeddings.position_embeddings
    side = round(table.shape[1] ** 0.5)
    square = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if (h, w) != (side, side):
        square = F.interpolate(square, (h, w), mode="bicubic", align_corners=False)
    x = x + square.flatten(2).transpose(1, 2)
    out = vision.encoder(x, output_attentions=True, return_dict=True)
    last = vision.layernorm(out.last_hidden_state)
    groups = F.normalize(vit.visual_projection(last[0]), dim=-1)
    whole = F.normalize(vit.visual_projection(last.mean(dim=1)), dim=-1)[0]
    shares = out.attentions[0]
    for attention in out.attentions[1:]:
        shares = attention @ shares
    return groups, whole, shares[0].reshape(-1, h, w)


def text_features(network, sentences):
    ids = torch.from_numpy(tokens.tokenizer()(sentences).ids)
    return network.vit.text_projection(network.vit.text_model(input_ids=ids).pooler_output)


def class_features(network, templates):
    """[C, E]: the mean over the templates of what is not normalised, then normalised."""
    rows = []
    for name in CLASSES:
        written = [template.replace("{}", name) for template in grouping_prompts.TEMPLATES[templates]]
        rows.append(F.normalize(text_features(network, written).mean(dim=0), dim=-1))
    return torch.stack(rows)


def window_scores(network, pixels, classes, threshold):
    """Scores of one crop at its own size, background first where there is one: reference 2.3, line by line."""
    groups, whole, shares = image_features(network, pixels)
    size = pixels.shape[2:]
    maps = F.interpolate(shares[None], size, mode="bilinear", align_corners=False)[0]
    onehot = F.one_hot(maps.argmax(dim=0), len(groups)).float()
    scale = network.scale
    affinity = scale * groups @ classes.T
    soft = affinity.softmax(dim=-1)
    best = (scale * whole @ classes.T).softmax(dim=-1).topk(min(5, len(classes))).indices
    kept = torch.zeros(len(classes), dtype=torch.bool)
    kept[best] = True
    scores = affinity.masked_fill(~kept, float("-inf")).softmax(dim=-1) * soft
    pixel = (onehot @ scores).permute(2, 0, 1)
    if threshold is None:
        return pixel
    ground = pixel.max(dim=0).values < min(threshold, scores.max().item())
    return torch.cat([ground[None].float(), pixel])


@torch.no_grad()
def long_hand(network, data, templates="subset", slide=False, threshold=None):
    """The label of each pixel: index of the class, 255 for background."""
    width, height = Image.open(io.BytesIO(data)).size
    classes = class_features(network, templates)
    short = 448 if slide else 224
    scale = min(2048 / max(height, width), short / min(height, width))
    size = [int(side * scale + 0.5) for side in (height, width)]
    if not slide:
        size = [round(side / 16) * 16 for side in size]
    pixels = scaled(data, tuple(size))
    crop = [448, 448] if slide else size
    total, count = torch.zeros(len(CLASSES) + (threshold is not None), *size), torch.zeros(size)
    rows, columns = (max(side - own + 223, 0) // 224 + 1 for side, own in zip(size, crop, strict=True))
    for row in range(rows):
        for column in range(columns):
            bottom, right = min(row * 224 + crop[0], size[0]), min(column * 224 + crop[1], size[1])
            top, left = bottom - crop[0], right - crop[1]
            found = window_scores(network, pixels[:, :, top:bottom, left:right], classes, threshold)
            total[:, top:bottom, left:right] += found
            count[top:bottom, left:right] += 1
    scores = F.interpolate((total / count)[None], (height, width), mode="bilinear", align_corners=False)[0]
    labels = scores.argmax(dim=0).numpy()
    return labels if threshold is None else (labels - 1) % 256


# ------------------------------------------------------------------------------------------------ equality


@pytest.mark.parametrize(
    "seed, width, height, slide, threshold",
    [
        (448, 224, 224, False, None),
        (5, 640, 480, False, None),
        (5, 640, 480, True, None),
        (1260, 720, 540, True, 0.35),
        (5, 300, 500, False, 0.35),
        (1160, 800, 360, True, 0.95),
        (5, 90, 70, True, None),
    ],
)
def test_masks_equal_the_published_evaluation(server, network, seed, width, height, slide, threshold):
    data = encoded(seed, width, height)
    answer = ask(server, data, window="slide" if slide else "whole", background=threshold)
    found, expected = opened(answer["MASKS"][0]), long_hand(network, data, "subset", slide, threshold)
    assert found.shape == expected.shape == (height, width)
    assert len(np.unique(expected)) > 1  # or equality would say little
    assert (found == expected).mean() >= REACH


@pytest.mark.parametrize("templates", ["simple", "full"])
def test_templates_are_averaged_as_published(server, network, templates):
    data = encoded(3, 320, 240)
    answer = ask(server, data, templates=templates)
    assert (opened(answer["MASKS"][0]) == long_hand(network, data, templates)).mean() >= REACH


@torch.no_grad()
def test_vectors_and_cosines_equal_transformers(server, network):
    texts = ["a red car on the road", "trees", "two people beside a bicycle"]
    data = encoded(9, 448, 336)
    request = Request({"embeddings": True}, IMAGES=[data], TEXTS=texts)
    answer = asyncio.run(comparison.compare(server.call, request, comparison.Config()))
    _, whole, _ = image_features(network, scaled(data, (224, 304)))
    expected = F.normalize(text_features(network, texts), dim=-1)
    np.testing.assert_allclose(answer["IMAGE_EMBEDDINGS"][0], whole, atol=1e-5)
    np.testing.assert_allclose(answer["TEXT_EMBEDDINGS"], expected, atol=1e-5)
    np.testing.assert_allclose(answer["SIMILARITY"][0], expected @ whole, atol=1e-5)
    ranked = (network.scale * expected @ whole).softmax(dim=0)
    np.testing.assert_allclose(answer["PROBABILITIES"][0], ranked, atol=1e-4)


def test_the_second_request_with_the_same_names_runs_no_text_encoder(server):
    data = encoded(1, 224, 224)
    ask(server, data)
    before = server.count("text_encoder"), server.count("image_grouper")
    ask(server, data)
    assert (server.count("text_encoder"), server.count("image_grouper")) == (before[0], before[1] + 1)
