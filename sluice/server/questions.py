"""Questions that show a model at work: a tiny true request per model, instead of trust in "ready".

A probe is a function of one argument, `ask`, that raises when the answer is not what it must be:

    ask(model, {"INPUT": array, ...}, ["OUTPUT", ...]) -> {"OUTPUT": array}       outputs None: all
    ask(model, {...}, stream=True) -> [{"OUTPUT": array}, ...]                    of a model that answers with a stream

`PROBES` is the table of them. A model that is not in it is reported as "ready (not probed)".
"""

import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tritonclient.utils import InferenceServerException

from sluice.methods.mixtures.summaries import Part, Summary

Ask = Callable[..., Any]
Probe = Callable[[Ask], None]


def tiny_jpeg(width: int = 64, height: int = 48) -> np.ndarray:
    """Return a small coloured ramp as JPEG: an object array [1] of bytes, as Triton takes an encoded image."""
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)
    ramp[..., 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    ramp[..., 2] = 90
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "JPEG", quality=90)
    return np.array([file.getvalue()], dtype=object)


def expect(true: bool, message: str) -> None:
    """Raise ValueError with a probe's message unless `true`."""
    if not true:
        raise ValueError(message)


# A model of one size of images says so where it gets another.
ONE_SIZE = re.compile(r"unexpected shape for input .IMAGE.*xpected \[-1,(\d+),(\d+),3\]", re.S)
# A folder that is no gallery, or one without its catalogue: the models live, and tell everybody what to do about it.
REFUSED = re.compile(r"the gallery's (folder|catalogue|log|disk)|frames\.sqlite|no gallery yet|made by a newer Sluice")


def image_decoder(ask: Ask) -> None:
    image = ask("image_decoder", {"ENCODED": tiny_jpeg()[None]}, ["IMAGE"])["IMAGE"]
    expect(image.ndim == 4 and image.shape[-1] == 3, f"an image [1, H, W, 3] expected, got {list(image.shape)}")


def embed(ask: Ask) -> None:
    features = ask("embed", {"ENCODED": tiny_jpeg()[None]}, ["FEATURES"])["FEATURES"].astype(np.float32)
    length = np.linalg.norm(features, axis=-1)
    expect(
        bool(np.all(np.abs(length - 1) < 0.02)),
        f"features of unit length expected, got lengths {length.min():.3f} to {length.max():.3f}",
    )


def match(ask: Ask) -> None:
    picture = tiny_jpeg()
    roi = np.array([[8, 8, 40, 40]], np.float32)
    score = ask("match", {"QUERY_IMAGES": picture, "ROIS": roi, "IMAGES": picture}, ["SCORES"])["SCORES"]
    expect(bool(abs(score[0] - 1) < 0.02), f"a picture matches itself with a score of 1, got {score[0]:.3f}")


def retrieve(ask: Ask) -> None:
    request = {"QUERY_IMAGES": tiny_jpeg(), "ROIS": np.array([[8, 8, 40, 40]], np.float32)}
    try:
        scores = ask("retrieve", {**request, "OPTIONS": np.array([b'{"k": 1}'], object)}, ["SCORES"])["SCORES"]
    except InferenceServerException as error:
        # A gallery made by another network, or one that is refused: alive, and rightly refusing.
        if "this server runs" in error.message() or REFUSED.search(error.message()):
            return
        raise
    expect(len(scores) <= 1, f"at most one frame expected, got {len(scores)}")


def ingest(ask: Ask) -> None:
    # A picture that is none: everything answers and nothing is stored.
    request = {"IMAGES": np.array([b"probe"], object), "FRAMES": np.array([b"{}"], object)}
    try:
        receipt = json.loads(ask("ingest", request, ["RECEIPTS"])["RECEIPTS"][0])
    except InferenceServerException as error:
        if REFUSED.search(error.message()):
            return
        raise
    expect(receipt["status"] == "refused", f"a refusal expected, got {receipt['status']}")


def frame_gallery(ask: Ask) -> None:
    try:
        answer = ask("frame_gallery", {"COMMAND": np.array([b'{"op": "describe"}'], object)}, ["ANSWER"])["ANSWER"]
    except InferenceServerException as error:
        if REFUSED.search(error.message()):
            return
        raise
    expect(json.loads(answer[0])["frames"] >= 0, "a description of the gallery expected")


def gallery_search(ask: Ask) -> None:
    # A search that no frame passes: the whole way but for the scan, whatever the gallery holds. If the network gives
    # other channels, the model refuses this question as it must; `retrieve` is then asked the whole way.
    cell = np.zeros((1, 64), np.float32)
    cell[0, 0] = 1
    one = np.ones(1, np.int32)
    request = {
        "COMMAND": np.array([b'{"op": "search", "drives": []}'], object),
        "TEMPLATES": cell,
        "TEMPLATE_ROI": one - 1,
        "ROI_QUERY": one - 1,
        "ROI_CELLS": one,
        "ROI_SHAPE": np.ones((1, 2), np.int32),
    }
    try:
        ids = ask("gallery_search", request, ["IDS"])["IDS"]
    except InferenceServerException as error:
        if "this server runs" in error.message() or REFUSED.search(error.message()):  # as of retrieve
            return
        raise
    expect(len(ids) == 0, f"no frame expected, got {len(ids)}")


def mixture_detector(ask: Ask) -> None:
    # 320 is a size that every detector takes which may stand here: multiples of 32, and the published one of 300.
    ramp = np.broadcast_to(np.linspace(0, 255, 320).astype(np.uint8)[:, None], (1, 320, 320, 3))
    heads = ask("mixture_detector", {"IMAGE": np.ascontiguousarray(ramp)})
    b, n, k, _ = heads["CLASS_MEAN"].shape
    expect(
        heads["PRIORS"].shape == (b, n, 4) and heads["LOCATION_MEAN"].shape == (b, n, k, 4),
        f"heads of {n} priors and {k} components expected, got {[list(head.shape) for head in heads.values()]}",
    )
    expect(all(np.isfinite(head).all() for head in heads.values()), "finite heads expected, got NaN or infinite ones")


def frame_networks(ask: Ask) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 320).astype(np.uint8)[:, None], (1, 320, 320, 3))
    answer = ask("frame_networks", {"IMAGE": np.ascontiguousarray(ramp)}, ["FEATURES", "PRIORS", "EMBEDDING"])
    expect(all(np.isfinite(one).all() for one in answer.values()), "finite numbers expected, got NaN or infinite ones")


def frame_view(ask: Ask) -> None:
    try:
        object_detector(ask, "frame_view")
    except InferenceServerException as error:
        # `ingest` does not ask it where the detector is a user's own, which gives no mixture heads.
        if "a plain detector's output" not in error.message():
            raise


def uncertainty_aggregator(ask: Ask) -> None:
    # Two components one to each side of the prior: variances 1/2 (sigmoid of 0) in the data and 1 in the model.
    mean = np.zeros((1, 1, 2, 4), np.float32)
    mean[0, 0, :, 0] = -1, 1
    logits = np.broadcast_to(np.array([0, 4], np.float32), (1, 1, 2, 2))
    nothing = np.zeros_like(mean)
    answer = ask(
        "uncertainty_aggregator",
        {
            "PRIORS": np.array([[[50, 40, 20, 10]]], np.float32),
            "LOCATION_MEAN": mean,
            "LOCATION_VARIANCE": nothing,
            "LOCATION_WEIGHT": nothing,
            "CLASS_MEAN": np.ascontiguousarray(logits),
            "CLASS_VARIANCE": nothing[..., :2],
            "CLASS_WEIGHT": nothing[..., 0],
            "LABELS": np.array([b"probe"], object),
            "DETECTOR": np.array([b"probe"], object),
            "OPTIONS": np.array([b'{"location_sigmoid": "variance"}'], object),  # whatever the parameters say
        },
        ["BOXES", "BOX_UNCERTAINTIES"],
    )
    box, parts = answer["BOXES"].tolist(), answer["BOX_UNCERTAINTIES"].tolist()
    expect(
        box == [[40, 35, 60, 45]] and bool(np.allclose(parts, [[0.5] * 4 + [1, 0, 0, 0]], atol=1e-5)),
        f"the planted box with the variances 1/2 and 1 expected, got {box} with {parts}",
    )


def object_detector(ask: Ask, model: str = "object_detector") -> None:
    grey = np.full((1, 320, 320, 3), 114, np.uint8)
    geometry = np.array([[320, 320, 1, 1, 0, 0]], np.float32)
    request = {"IMAGE": grey, "GEOMETRY": geometry, "OPTIONS": np.array([b'{"min_score": 1}'], object)}
    try:
        answer = ask(model, request, ["BOXES", "SUMMARIES"])
    except InferenceServerException as error:
        size = ONE_SIZE.search(error.message())  # a network of the user's own may take a single size
        if not size:
            raise
        request["IMAGE"] = np.full((1, int(size[1]), int(size[2]), 3), 114, np.uint8)
        answer = ask(model, request, ["BOXES", "SUMMARIES"])
    shape, count = list(answer["BOXES"].shape), len(answer["SUMMARIES"])
    expect(shape[1:] == [4] and count == 1, f"boxes [m, 4] and one summary expected, got {shape} and {count}")


def detect(ask: Ask) -> None:
    options = np.array([b'{"object_score": 0.5, "min_score": 0.5}'], object)
    answer = ask("detect", {"IMAGES": tiny_jpeg(), "OPTIONS": options}, ["SCORES", "SUMMARIES", "ERRORS"])
    expect(answer["ERRORS"][0] == b"", f"no error expected, got {answer['ERRORS'][0]!r}")
    objects = json.loads(answer["SUMMARIES"][0])["objects"]
    expect(objects == len(answer["SCORES"]), f"a summary of {len(answer['SCORES'])} objects expected, got {objects}")


def image_grouper(ask: Ask) -> None:
    # 64 x 96 is a size that every network of this family takes: multiples of 16 and of 32.
    ramp = np.broadcast_to(np.linspace(0, 255, 96).astype(np.uint8)[:, None], (1, 64, 96, 3))
    answer = ask("image_grouper", {"IMAGE": np.ascontiguousarray(ramp)}, ["GROUPS", "EMBEDDING", "ASSIGNMENT"])
    length, shares = np.linalg.norm(answer["EMBEDDING"], axis=-1), answer["ASSIGNMENT"].sum(axis=1)
    expect(
        answer["GROUPS"].shape[1] == answer["ASSIGNMENT"].shape[1] and bool(np.allclose(shares, 1, atol=1e-3)),
        f"shares of {answer['GROUPS'].shape[1]} groups that sum to 1 expected, got {answer['ASSIGNMENT'].shape[1]} "
        f"with {shares.min():.3f} to {shares.max():.3f}",
    )
    expect(bool(np.allclose(length, 1, atol=1e-3)), f"an embedding of unit length expected, got {length[0]:.3f}")


def text_encoder(ask: Ask) -> None:
    # Three tokens that every vocabulary has, also that of a network of a user's own.
    answer = ask("text_encoder", {"TOKENS": np.array([[2, 1, 0]], np.int64)}, ["EMBEDDING", "SCALE"])
    vector, scale = answer["EMBEDDING"], float(answer["SCALE"][0, 0])
    expect(
        bool(np.isfinite(vector).all() and vector.any()) and 0 < scale <= 100,
        f"an embedding and a scale above 0 and up to 100 expected, got {vector.ravel()[:4]} and {scale}",
    )


def text_embedder(ask: Ask) -> None:
    answer = ask("text_embedder", {"TEXTS": np.array([b"sky"], object)}, ["EMBEDDINGS", "MODEL"])
    length = np.linalg.norm(answer["EMBEDDINGS"], axis=-1)
    expect(bool(np.allclose(length, 1, atol=1e-3)), f"a vector of unit length expected, got {length}")


def segment(ask: Ask) -> None:
    # Of one class alone every pixel is.
    request = {"IMAGES": tiny_jpeg(), "CLASSES": np.array([b"sky"], object)}
    answer = ask("segment", request, ["MASKS", "AREAS", "ERRORS"])
    if b"has no groups but the whole image" in answer["ERRORS"][0]:
        return  # a CLIP of a user's own, which serves `compare` and `retrieve` only
    expect(answer["ERRORS"][0] == b"", f"no error expected, got {answer['ERRORS'][0]!r}")
    mask = np.asarray(Image.open(io.BytesIO(answer["MASKS"][0])))
    expect(
        mask.shape == (48, 64) and not mask.any() and float(answer["AREAS"][0, 0]) == 1,
        f"a mask of 64 x 48 of the only class expected, got {mask.shape[::-1]} with {np.unique(mask)}",
    )


def compare(ask: Ask) -> None:
    request = {"IMAGES": tiny_jpeg(), "TEXTS": np.array([b"sky", b"sky"], object)}
    answer = ask("compare", request, ["SIMILARITY", "PROBABILITIES"])
    cosine, share = answer["SIMILARITY"][0], answer["PROBABILITIES"][0]
    expect(
        bool(np.abs(cosine).max() < 1.001 and np.allclose(share, 0.5, atol=1e-3)),
        f"a cosine, and equal shares of equal texts expected, got {cosine} and {share}",
    )


def select(ask: Ask) -> None:
    # Two images with an object each, whose first uncertainty is 0.1 and 0.3: mean 0.2, deviation 0.1.
    parts = {"certain": Part.of(np.full((1, 4), 0.1)), "unsure": Part.of(np.array([[0.3, 0.1, 0.1, 0.1]]))}
    candidates = [
        json.dumps({"id": id_, "summary": json.loads(Summary("probe", {"thing": part}).to_json())}).encode()
        for id_, part in parts.items()
    ]
    request = {"CANDIDATES": np.array(candidates, object), "OPTIONS": np.array([b'{"n": 1}'], object)}
    answer = ask("select", request, ["IDS", "SCORES"])
    ids, scores = answer["IDS"].tolist(), answer["SCORES"].tolist()
    expect(
        ids == [b"unsure"] and abs(scores[0] - 1) < 1e-5,
        f"the unsure image, one deviation above the mean, expected; got {ids} with {scores}",
    )


def score_network(model: str, channels: int, labels: bool, outputs: Sequence[str]) -> Probe:
    """Return the probe of a score network for images of 32 x 32 pixels."""
    shape = (2, channels, 32, 32)

    def probe(ask: Ask) -> None:
        request = {"SAMPLE": np.zeros(shape, np.float32), "TIME": np.array([[0.9], [0.1]], np.float32)}
        if labels:
            request["LABEL"] = np.zeros((2, 1), np.int64)
        answer = ask(model, request, outputs)
        expect(
            all(answer[name].shape == shape and bool(np.isfinite(answer[name]).all()) for name in outputs),
            f"finite images {list(shape)} expected, got {[list(answer[name].shape) for name in outputs]}",
        )

    return probe


def sample(ask: Ask) -> None:
    # One picture in one step; whether its network wants a label is told by the network's own refusal.
    request = {"OPTIONS": np.array([b'{"steps": 1, "solver": "ddim"}'], object)}
    try:
        answers = ask("sample", request, stream=True)
    except InferenceServerException as error:
        if "LABELS" not in error.message():
            raise
        answers = ask("sample", {**request, "LABELS": np.zeros(1, np.int64)}, stream=True)
    kinds = [json.loads(answer["EVENT"][0])["kind"] for answer in answers]
    expect(kinds[-2:] == ["result", "end"], f"a stream with a result and its end expected, got {kinds}")
    picture = answers[-2]["IMAGES"][0]
    expect(picture[:4] == b"\x89PNG", f"a PNG expected, got {len(picture)} bytes of something else")


def frame_network(model: str, scale: int) -> Probe:
    """Return the probe of a network for frames: at strength 0 a grey frame stays as it is, whatever was trained."""

    def probe(ask: Ask) -> None:
        to_rgb = np.hstack([np.eye(3) / 255, np.zeros((3, 1))]).astype(np.float32)[None]
        request = {"LUMA": np.full((1, 6, 10), 90, np.uint8), "CHROMA": np.full((1, 6, 10, 2), 90, np.uint8),
                   "COLOUR": to_rgb, "STRENGTH": np.zeros((1, 1), np.float32)}  # fmt: skip
        answer = ask(model, request, ["LUMA_OUT", "CHROMA_OUT"])
        luma, chroma = answer["LUMA_OUT"], answer["CHROMA_OUT"]
        expect(
            luma.shape == (1, 6 * scale, 10 * scale) and chroma.shape == (*luma.shape, 2),
            f"planes {scale} times as large expected, got {list(luma.shape)} and {list(chroma.shape)}",
        )
        expect(
            bool(np.abs(np.append(luma, chroma).astype(int) - 90).max() <= 1),
            f"grey of 90 expected at strength 0, got {luma.min()} to {luma.max()}",
        )

    return probe


def enhance(ask: Ask) -> None:
    # A frame that is to become half as large needs no network: order, pictures and the stream are what is asked.
    request = {"RGB": np.full((1, 8, 12, 3), 90, np.uint8),
               "OPTIONS": np.array([b'{"do": "upscale", "size": [6, 4]}'], object)}  # fmt: skip
    answers = ask("enhance", request, stream=True)
    kinds = [json.loads(answer["EVENT"][0])["kind"] for answer in answers]
    expect(kinds == ["begun", "frame", "end"], f"a frame between begin and end expected, got {kinds}")
    frame = answers[1]["RGB"]
    expect(
        frame.shape == (4, 6, 3) and bool((frame == 90).all()),
        f"6 x 4 pixels of grey expected, got {frame.shape[1::-1]} with {frame.min()} to {frame.max()}",
    )


EPSILON, CURVATURE = ("EPSILON",), ("EPSILON", "DERIVATIVE")

# One entry a model that a caller may ask; written beside the verbs as they come.
PROBES: dict[str, Probe] = {
    "artifact_remover_strong": frame_network("artifact_remover_strong", 1),
    "artifact_remover_weak": frame_network("artifact_remover_weak", 1),
    "compare": compare,
    "detect": detect,
    "image_decoder": image_decoder,
    "image_grouper": image_grouper,
    "embed": embed,
    "enhance": enhance,
    "frame_upscaler_clean": frame_network("frame_upscaler_clean", 2),
    "frame_upscaler_lossy": frame_network("frame_upscaler_lossy", 2),
    # Published networks, where a user has imported some (`sluice export enhancer`).
    **{
        name: frame_network(name, scale)
        for kind in ("clean", "lossy")
        for scale in (2, 3, 4)
        for name in [f"frame_upscaler_{kind}_x{scale}"]
    },
    "frame_gallery": frame_gallery,
    "frame_networks": frame_networks,
    "frame_view": frame_view,
    "gallery_search": gallery_search,
    "ingest": ingest,
    "match": match,
    "mixture_detector": mixture_detector,
    "object_detector": object_detector,
    "digits_curvature": score_network("digits_curvature", 1, True, CURVATURE),
    "digits_score": score_network("digits_score", 1, True, EPSILON),
    "retrieve": retrieve,
    "sample": sample,
    "segment": segment,
    "select": select,
    "streets_curvature": score_network("streets_curvature", 3, False, CURVATURE),
    "streets_score": score_network("streets_score", 3, False, EPSILON),
    "text_embedder": text_embedder,
    "text_encoder": text_encoder,
    "uncertainty_aggregator": uncertainty_aggregator,
}
