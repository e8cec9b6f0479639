"""The verb `ingest` asked in this process: its requests, and the models that it calls, over a real gallery."""

import asyncio
import io
import json

import numpy as np
from PIL import Image

from sluice.gallery.scores import Detector
from sluice.methods.mixtures.summaries import Detections
from sluice.models.gallery_search import Commands, Config
from sluice.wire.calls import strings

LABELS = ("Car", "Pedestrian")
VERSION = "mixture_detector/1/aaaaaaaaaaaa"
CHANNELS = 16


def jpeg(seed, size=(64, 48)):
    """Return a JPEG of noise, a different one per seed."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def rows(count):
    """Return float32 [count, 16], rows as a detector may find them."""
    made = np.random.default_rng(count).random((count, 16)).astype(np.float32)
    made[:, 0], made[:, 1] = np.arange(count) % 2, 0.9
    return made


FAINT = 0.75  # what the detector half sees in every image


class Inputs(dict):
    """A request that nobody cancels."""

    def check_cancelled(self):
        pass


class Server:
    """The other models. detect: bytes -> (rows, labels, version), or raises."""

    def __init__(self, store, detect):
        self.commands = Commands(store, Config(), Detector(VERSION, LABELS))
        self.detect, self.asked, self.added = detect, [], []

    async def call(self, model, inputs, outputs):
        self.asked.append(model)
        await asyncio.sleep(0)
        if model == "feature_extractor":
            h, w = (side // 8 for side in inputs["IMAGE"].shape[1:3])
            cells = np.random.default_rng(int(inputs["IMAGE"].sum())).standard_normal((1, h, w, CHANNELS))
            return {"FEATURES": (cells / np.linalg.norm(cells, axis=-1, keepdims=True)).astype(np.float16)}
        if model == "detect":
            found, labels, version = self.detect(bytes(inputs["IMAGES"][0]))
            one = Detections.from_array(found)
            return {
                "BOXES": one.boxes,
                "CLASSES": one.classes,
                "SCORES": one.scores,
                "BOX_UNCERTAINTIES": one.box_uncertainties,
                "CLASS_UNCERTAINTIES": one.class_uncertainties,
                "FAINT": np.array([FAINT], np.float32),
                "ERRORS": strings([""]),
                "LABELS": strings(labels),
                "MODEL": strings([version]),
            }
        command = json.loads(inputs["COMMAND"][0])
        if command["op"] == "add":
            self.added.append(command)
        return {name: np.asarray(value) for name, value in self.commands.run(inputs).items()}
