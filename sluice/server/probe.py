"""Questions that show a model at work: a tiny true request for each entry point, instead of trust in 'ready'.

Triton reports a model READY although its Python process is dead, so the launcher waits for, and the watchdog repeats,
one real inference. A probe is a function of one argument, `ask`, that raises when the answer is not what it must be:

    ask(model, {"INPUT": array, ...}, ["OUTPUT", ...]) -> {"OUTPUT": array}       outputs None: all

Models without a probe are reported as 'ready (not probed)'.
"""
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tritonclient.grpc as grpcclient
from PIL import Image
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

Ask = Callable[..., dict[str, np.ndarray]]
Probe = Callable[[Ask], None]

ANSWERS, UNPROBED = "answers", "ready (not probed)"
BUSY = "Exceeds maximum queue size"  # a full queue is a live model


class ProbeError(RuntimeError):
    """A model is loaded but does not answer as it must; `model` and the reason in one line."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"{model} is loaded but does not answer: {reason}")
        self.model = model
        self.reason = reason


def tiny_jpeg(width: int = 64, height: int = 48) -> np.ndarray:
    """A small coloured ramp as JPEG: STRING [1] of bytes, as an image tensor on the wire."""
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)
    ramp[..., 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    ramp[..., 2] = 90
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "JPEG", quality=90)
    return np.array([file.getvalue()], dtype=object)


def expect(true: bool, message: str) -> None:
    """Raise when an answer is wrong; a probe's sentence about it."""
    if not true:
        raise ValueError(message)


def image_decoder(ask: Ask) -> None:
    image = ask("image_decoder", {"ENCODED": tiny_jpeg()[None]}, ["IMAGE"])["IMAGE"]
    expect(image.ndim == 4 and image.shape[-1] == 3, f"an image [1, H, W, 3] expected, got {list(image.shape)}")


def embed(ask: Ask) -> None:
    features = ask("embed", {"ENCODED": tiny_jpeg()[None]}, ["FEATURES"])["FEATURES"].astype(np.float32)
    length = np.linalg.norm(features, axis=-1)
    expect(bool(np.all(np.abs(length - 1) < 0.02)), "features of unit length expected, "
           f"got lengths {length.min():.3f} to {length.max():.3f}")


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
        if "version" in error.message():  # a gallery made by another network: alive, and rightly refusing
            return
        raise
    expect(len(scores) <= 1, f"at most one frame expected, got {len(scores)}")


def ingest(ask: Ask) -> None:
    # A picture that is none: everything answers and nothing is stored.
    request = {"IMAGES": np.array([b"probe"], object), "FRAMES": np.array([b"{}"], object)}
    receipt = json.loads(ask("ingest", request, ["RECEIPTS"])["RECEIPTS"][0])
    expect(receipt["status"] == "refused", f"a refusal expected, got {receipt['status']}")


def frame_gallery(ask: Ask) -> None:
    answer = ask("frame_gallery", {"COMMAND": np.array([b'{"op": "describe"}'], object)}, ["ANSWER"])["ANSWER"]
    expect(json.loads(answer[0])["frames"] >= 0, "a description of the gallery expected")


# One entry a model that a caller may ask; written beside the verbs as they come.
PROBES: dict[str, Probe] = {
    "image_decoder": image_decoder,
    "embed": embed,
    "frame_gallery": frame_gallery,
    "ingest": ingest,
    "match": match,
    "retrieve": retrieve,
}


def asker(client: grpcclient.InferenceServerClient, seconds: float) -> Ask:
    """An `ask` over `client` whose requests, all together, take at most `seconds`."""
    deadline = time.monotonic() + seconds

    def ask(model: str, inputs: Mapping[str, np.ndarray],
            outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        tensors = []
        for name, array in inputs.items():
            tensor = grpcclient.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        wanted = None if outputs is None else [grpcclient.InferRequestedOutput(name) for name in outputs]
        left = max(deadline - time.monotonic(), 0.001)
        result = client.infer(model, tensors, outputs=wanted, client_timeout=left)
        names = outputs or [output.name for output in result.get_response().outputs]
        return {name: result.as_numpy(name) for name in names}

    return ask


def check(client: grpcclient.InferenceServerClient, model: str, seconds: float,
          probes: Mapping[str, Probe] | None = None) -> str:
    """Ask `model` its question; returns 'answers' or 'ready (not probed)', raises ProbeError.

    seconds: the most it may take.
    probes:  PROBES unless given.
    """
    probe = (PROBES if probes is None else probes).get(model)
    if probe is None:
        return UNPROBED
    try:
        probe(asker(client, seconds))
    except InferenceServerException as error:
        reason = " ".join((error.message() or str(error)).split())
        if BUSY not in reason:
            raise ProbeError(model, reason) from error
    except Exception as error:  # a probe is foreign code: whatever it raises means no right answer
        raise ProbeError(model, " ".join(str(error).split()) or type(error).__name__) from error
    return ANSWERS
