"""Samples for the fake server: plain pictures of 8 x 8 pixels, whose brightness follows from their seed.

The latent of a picture is the picture itself, so encoding and decoding again give the same. `digits` is grey and has
ten classes, `streets` has colours and none. A request is taken in parts of four images.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image
from sluice_client import errors
from sluice_client.tensors import Call, Tensors, strings

SIDE, PART = 8, 4
CHANNELS = {"digits": 1, "streets": 3}


def value_of(seed: int, label: int = 0) -> float:
    """Return the brightness of a sample, -1..1."""
    return ((int(seed) * 37 + label * 11) % 256) / 127.5 - 1


def picture(value: float, channels: int = 3) -> np.ndarray:
    """Return float32 [C, 8, 8] of one brightness, with a darker pixel in the corner."""
    array = np.full((channels, SIDE, SIDE), value, np.float32)
    array[:, 0, 0] = -1
    return array


def encoded(array: np.ndarray, form: str = "PNG") -> bytes:
    pixels = ((array + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


class Sampler:
    """`events(call, timeout)` is the function that a transport needs. `trouble` and `calls` are those of `FakeServer`.

    break_after: (events, exception), raised after so many events of a stream.
    """

    calls: list[tuple[Call, float]]
    trouble: list[Exception]
    break_after: tuple[int, Exception] | None = None

    def events(self, call: Call, timeout: float) -> Iterator[Tensors]:
        self.calls.append((call, timeout))
        if self.trouble:
            raise self.trouble.pop(0)
        for told, tensors in enumerate(self._events(call.inputs)):
            if self.break_after is not None and told == self.break_after[0]:
                raise self.break_after[1]
            yield {name: array for name, array in tensors.items() if name in call.outputs}

    def _events(self, inputs: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        options = json.loads(inputs["OPTIONS"][0])
        model, task = options.get("model", "digits"), options.get("task", "sample")
        if model not in CHANNELS:
            raise errors.from_status("NOT_FOUND", f"no network is called {model!r}; there are digits, streets")
        if (model == "digits") != ("LABELS" in inputs):
            raise errors.from_status("INVALID_ARGUMENT", f"LABELS does not fit {model}; digits needs it")
        steps, preview = options.get("steps", 10), options.get("preview", 0)
        images = self._images(inputs, options, CHANNELS[model])
        failed = 0
        for begin in range(0, len(images), PART):
            part = images[begin : begin + PART]
            index = np.arange(begin, begin + len(part), dtype=np.int32)
            for step in range(1, steps + 1):
                place = {"done": (begin + step / steps * len(part)) / len(images), "step": step, "steps": steps}
                yield {"EVENT": _event("progress", place)}
                if preview and step % preview == 0:
                    blurred = [np.zeros((1, 8, 8)) if image is None else image / 2 for image in part]
                    yield {
                        "EVENT": _event("preview", place),
                        "INDEX": index,
                        "IMAGES": strings(encoded(one, "JPEG") for one in blurred),
                    }
            failed += sum(image is None for image in part)
            yield {"EVENT": _event("result", place), "INDEX": index, **self._result(part, options, CHANNELS[model])}
        guided = 2 if options.get("guidance") else 1
        facts = {"images": len(images) - failed, "failed": failed, "nfe": steps * guided, "calls": steps}
        facts |= {"seconds": 0.25, "model": model, "networks": [f"{model}_curvature"], "task": task}
        yield {"EVENT": _event("end", {**facts, "solver": options.get("solver", "genie")})}

    def _images(self, inputs: Mapping[str, np.ndarray], options: dict[str, Any], channels: int) -> list[Any]:
        labels = inputs.get("LABELS", np.zeros(1, np.int64))
        if "TENSORS" in inputs:
            ends = list(inputs["TENSORS"])
        elif "IMAGES" in inputs:
            ends = [_opened(data, channels, options.get("fit", False)) for data in inputs["IMAGES"]]
        else:
            seeds = inputs.get("SEEDS")
            first = options.get("seed", 0)
            seeds = range(first, first + options.get("count", 1)) if seeds is None else seeds.tolist()
            ends = [picture(value_of(s, int(labels[i % len(labels)])), channels) for i, s in enumerate(seeds)]
        if options.get("task") != "interpolate":
            return ends
        shares = np.linspace(0, 1, options.get("between", 8))
        pairs = zip(ends[::2], ends[1::2], strict=True)
        return [None if a is None or b is None else a * (1 - t) + b * t for a, b in pairs for t in shares]

    def _result(self, part: list[Any], options: dict[str, Any], channels: int) -> dict[str, np.ndarray]:
        failures = strings("" if image is not None else _WHY for image in part)
        if options.get("task") == "encode" or options.get("format") == "tensor":
            blank = np.full((channels, SIDE, SIDE), np.nan, np.float32)
            stacked = np.stack([blank if image is None else image for image in part]).astype(np.float32)
            return {"TENSORS": stacked, "ERRORS": failures}
        return {"IMAGES": strings(b"" if image is None else encoded(image) for image in part), "ERRORS": failures}


_WHY = "not an image of 8 x 8 pixels: send a JPEG, PNG or WebP file"


def _event(kind: str, facts: dict[str, Any]) -> np.ndarray:
    return strings([json.dumps({"kind": kind, **facts})])


def _opened(data: bytes, channels: int, fit: bool) -> np.ndarray | None:
    try:
        image = Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB")
    except OSError:
        return None
    if image.size != (SIDE, SIDE) and not fit:
        return None
    pixels = np.asarray(image.resize((SIDE, SIDE)), np.float32) / 127.5 - 1
    return pixels[None] if channels == 1 else np.moveaxis(pixels, -1, 0)
