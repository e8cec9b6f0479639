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
from bench.grouping import official  # noqa: E402
from export import graph  # noqa: E402
from export.grouping import network as grouping  # noqa: E402
from export.grouping.rows import pair  # noqa: E402
from sluice.verbs import compare, segment  # noqa: E402
from tests.made.words_server import Request, Server, opened  # noqa: E402

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


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network():
    """Return a network with random weights in transformers' modules."""
    pictures = np.stack([scenes.render(i, (224, 224)).image for i in range(8)])
    return official.drawn(DESIGN, CLASSES, pictures)


@pytest.fixture(scope="module")
def server(network, tmp_path_factory):
    """Serve the two graphs behind `call`."""
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
    return asyncio.run(segment.segment(server.call, request, segment.Config()))


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
    found = opened(answer["MASKS"][0])
    expected = official.masks(network, data, CLASSES, "subset", slide, threshold)
    assert found.shape == expected.shape == (height, width)
    assert len(np.unique(expected)) > 1  # or equality would say little
    assert (found == expected).mean() >= REACH


@pytest.mark.parametrize("templates", ["simple", "full"])
def test_templates_are_averaged_as_published(server, network, templates):
    data = encoded(3, 320, 240)
    answer = ask(server, data, templates=templates)
    expected = official.masks(network, data, CLASSES, templates)
    assert (opened(answer["MASKS"][0]) == expected).mean() >= REACH


@torch.no_grad()
def test_vectors_and_cosines_equal_transformers(server, network):
    texts = ["a red car on the road", "trees", "two people beside a bicycle"]
    data = encoded(9, 448, 336)
    request = Request({"embeddings": True}, IMAGES=[data], TEXTS=texts)
    answer = asyncio.run(compare.compare(server.call, request, compare.Config()))
    _, whole, _ = official.image_features(network, official.scaled(data, (224, 304)))
    expected = F.normalize(official.text_features(network, texts), dim=-1)
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
