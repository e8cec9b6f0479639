"""Provides networks in closed form for tests of words: pictures show colours, and texts speak of colours."""

import asyncio
import io
import json

import numpy as np
from PIL import Image

from sluice.errors import NotFound
from sluice.methods.grouping import tokens, vocabulary
from sluice.methods.grouping.pairs import LENGTH
from sluice.models import text_embedder
from sluice.wire.calls import strings

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 50, 220), "yellow": (230, 220, 40)}
CHANNELS, SCALE, PATCH = 32, 20.0, 16
GROUPER, ENCODER = "image_grouper/1/0123456789ab", "text_encoder/1/ba9876543210"
_NUMBERS = {tokens.tokenizer().encode(name)[0]: i for i, name in enumerate(COLOURS)}


def picture(*colours, width=96, height=64, kind="PNG", **how):
    """Return an encoded picture of colours in stripes from left to right."""
    image = Image.new("RGB", (width, height))
    for i, name in enumerate(colours):
        left, right = (round(width * k / len(colours)) for k in (i, i + 1))
        image.paste(COLOURS[name], (left, 0, right, height))
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def grouper(image):
    """Answer as `image_grouper` does to uint8 [B, H, W, 3], with one group per colour."""
    b, height, width, _ = image.shape
    h, w = height // PATCH, width // PATCH
    assert image.dtype == np.uint8 and (h * PATCH, w * PATCH) == (height, width)
    patches = image.reshape(b, h, PATCH, w, PATCH, 3).mean(axis=(2, 4))
    known = np.array(list(COLOURS.values()), float)
    logits = -np.abs(patches[:, None] - known[None, :, None, None]).sum(axis=-1) / 20
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    groups = np.broadcast_to(np.eye(len(known), CHANNELS), (b, len(known), CHANNELS))
    whole = np.einsum("bghw,bge->be", shares, groups)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    return {name: array.astype(np.float32) for name, array in
            (("GROUPS", groups), ("EMBEDDING", whole), ("ASSIGNMENT", shares))}  # fmt: skip


def encoder(ids):
    """Answer as `text_encoder` does to TOKENS [B, L]: with the direction of the colour that a text names.

    Longer texts give longer vectors; a text without a colour gives a direction of its own, always the same.
    """
    assert ids.dtype == np.int64 and ids.ndim == 2 and 2 < ids.shape[1] <= LENGTH
    vectors = np.zeros((len(ids), CHANNELS), np.float32)
    for row, vector in zip(ids, vectors, strict=True):
        end = row.argmax()
        assert row[0] == tokens.START and row[end] == tokens.END
        words = row[1:end].tolist()
        for word in words:
            if word in _NUMBERS:
                vector[_NUMBERS[word]] += 3
        other = np.random.default_rng(words).standard_normal(CHANNELS - len(COLOURS))
        vector[len(COLOURS) :] += other * (0.05 if vector.any() else 1)
        vector *= 0.1 * len(words)
    return {"EMBEDDING": vectors, "SCALE": np.full((len(ids), 1), SCALE, np.float32)}


class Server:
    """Answers `call` as the server's models do, and counts the calls per model."""

    def __init__(self, stored=(), config=None, see=grouper, read=encoder, known=vocabulary.EVERY):
        self.see, self.read, self.stored = see, read, dict(stored)
        self.asked, self.shapes, self.busy, self.most, self.kept = [], [], 0, 0, []
        config = config or text_embedder.Config()
        self.embedder = text_embedder.Embedder(self.call, config, ENCODER, GROUPER, known)

    async def call(self, model, inputs, outputs):
        self.asked.append(model)
        if model == "text_embedder":
            answer = await self.embedder.run(inputs)
        else:
            self.busy += 1
            self.most = max(self.most, self.busy)
            await asyncio.sleep(0)
            try:
                answer = getattr(self, model)(inputs)
            finally:
                self.busy -= 1
        return {name: np.asarray(answer[name]) for name in outputs if name in answer}

    def image_grouper(self, inputs):
        self.shapes.append(inputs["IMAGE"].shape)
        return self.see(inputs["IMAGE"])

    def text_encoder(self, inputs):
        self.shapes.append(inputs["TOKENS"].shape)
        return self.read(inputs["TOKENS"])

    def frame_gallery(self, inputs):
        command = json.loads(inputs["COMMAND"][0])
        if command["op"] == "embed":
            self.kept.append((command, np.array(inputs["EMBEDDINGS"])))
            return {"ANSWER": strings(["null"])}
        (id_,) = command["ids"]
        if id_ not in self.stored:
            raise NotFound(f"no frame with the id {id_!r}")
        return {"ENCODED": strings([self.stored[id_]])}

    def count(self, model):
        return self.asked.count(model)


class Request(dict):
    """The tensors of a request."""

    def __init__(self, options=None, **inputs):
        super().__init__({name: strings(values) for name, values in inputs.items()})
        if options is not None:
            self["OPTIONS"] = strings([json.dumps(options)])

    def check_cancelled(self):
        pass


def words(array):
    return [value.decode() for value in array]


def opened(data):
    """Decode a picture into an array."""
    return np.asarray(Image.open(io.BytesIO(data)))
