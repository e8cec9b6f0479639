"""Segments and compares for the fake server: every picture shows its classes as stripes from left to right.

A text's cosine with a picture follows from its length and that of the picture's bytes. With `background` the last
stripe is background; the name "nowhere" is never seen. The fake server knows all words but those of `UNLEARNED`, which
are all the same to it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from sluice_client import errors
from sluice_client.drawing import run_lengths
from sluice_client.tensors import strings

GROUPER = "image_grouper/1/0a1b2c3d4e5f"
UNLEARNED = ("giraffe", "park")
READ_OVER = "near"


def read(text: str) -> dict[str, Any]:
    """Return what the server's `text_embedder` says about a text."""
    words = text.lower().split()
    key = " ".join("?" if word in (*UNLEARNED, READ_OVER) else word for word in words)
    unknown = [word for word in dict.fromkeys(words) if word in UNLEARNED]
    return {"key": key, "unknown": unknown, "ignored": [READ_OVER] if READ_OVER in words else []}


def about(said: list[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the notes of a verb about its texts. Raises InvalidRequest for a word that was not learned."""
    found = [read(text) for text in said]
    wrong = [word for one in found for word in one["unknown"]]
    if wrong and not options.get("allow_unknown"):
        raise errors.from_status(
            "INVALID_ARGUMENT", f"the text encoder has not learned {wrong[0]!r}: see `sluice words`"
        )
    keys = [one["key"] for one in found]
    same = {tuple(i for i, key in enumerate(keys) if key == wanted) for wanted in keys}
    lists = {name: [one[name] for one in found] for name in ("unknown", "ignored")}
    return {**lists, "same": sorted(group for group in same if len(group) > 1)}


def png_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def stripes(width: int, height: int, names: list[str], options: Mapping[str, Any]) -> np.ndarray:
    """Return the label map [H, W] in the form in which the server sends it."""
    kind = np.uint8 if len(names) <= 254 else np.uint16
    seen = [i for i, name in enumerate(names) if name != "nowhere"]
    values = np.array([*seen, *([np.iinfo(kind).max] if not seen or options.get("background") else [])], kind)
    return np.tile(values[np.arange(width) * len(values) // width], (height, 1))


def likeness(data: bytes, text: str) -> float:
    return ((len(data) * 31 + len(text) * 17) % 97) / 97


class Grouper:
    """Mixed into the fake server, whose `frames` and `bytes` it uses."""

    frames: dict[str, dict[str, Any]]
    bytes: dict[str, bytes]

    def _each(self, inputs: Mapping[str, np.ndarray]) -> list[tuple[bytes, Image.Image | None, str]]:
        """Return data, picture and error of each image of a request."""
        assert ("IMAGES" in inputs) != ("IDS" in inputs)
        found: list[tuple[bytes, Image.Image | None, str]] = []
        for item in inputs["IMAGES"] if "IMAGES" in inputs else inputs["IDS"]:
            try:
                if "IDS" in inputs and item.decode() not in self.bytes:
                    raise errors.from_status("NOT_FOUND", f"no frame with the id {item.decode()!r} is stored")
                data = self.bytes[item.decode()] if "IDS" in inputs else item
                found.append((data, Image.open(io.BytesIO(data)), ""))
            except errors.SluiceError as error:
                found.append((b"", None, error.message))
            except OSError:
                found.append((b"", None, "not an image: send a JPEG, PNG or WebP file"))
        return found

    def segment(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        options = json.loads(inputs["OPTIONS"][0])
        names = [one.decode() for one in inputs["CLASSES"]]
        if len({name.lower() for name in names}) < len(names):
            raise errors.from_status(
                "INVALID_ARGUMENT", "two class names are one to the network; leave one of them out"
            )
        told = about(names, options)
        rows = self._each(inputs)
        masks, areas, groups, sure = [], [], [], []
        for _, image, _ in rows:
            if image is None:
                areas.append([np.nan] * len(names))
                masks.append(b"")
                groups.append(b"")
                sure.append(b"")
                continue
            mask = stripes(*image.size, names, options)
            areas.append([float((mask == i).mean()) for i in range(len(names))])
            runs = [{"class": i, **run_lengths.encode(mask == i)} for i in range(len(names)) if (mask == i).any()]
            masks.append(json.dumps(runs).encode() if options.get("format") == "rle" else png_of(mask))
            groups.append(png_of(mask.astype(np.uint8)) if options.get("groups") else b"")
            sure.append(png_of(np.full(mask.shape, 200, np.uint8)) if options.get("confidence") else b"")
        facts = {"windows": 1, "groups": 8, "classes": [0, -1], "scores": [0.5, 0.0]}
        table = np.array(areas, np.float32).reshape(len(rows), len(names))
        sizes = [None if image is None else [image.height, image.width] for _, image, _ in rows]
        notes: dict[str, Any] = {"rule": options.get("rule", "official"), "text_encoder": "t/1/0", "sizes": sizes}
        notes["truncated"] = [i for i, name in enumerate(names) if len(name) > 100]
        notes |= told
        if options.get("groups"):
            notes["groups"] = [None if image is None else facts for _, image, _ in rows]
        return {
            "MASKS": strings(masks),
            "SCORES": np.where(np.isnan(table), np.float32(np.nan), np.float32(1 / len(names))),
            "AREAS": table,
            "GROUPS": strings(groups),
            "CONFIDENCE": strings(sure),
            "ERRORS": strings(error for _, _, error in rows),
            "NOTES": strings([json.dumps(notes)]),
            "MODEL": strings([GROUPER]),
        }

    def compare(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        options = json.loads(inputs["OPTIONS"][0])
        said = [one.decode() for one in inputs["TEXTS"]] if "TEXTS" in inputs else []
        told = about(said, options)
        rows = self._each(inputs)
        cosines = np.array(
            [[np.nan if image is None else likeness(data, text) for text in said] for data, image, _ in rows],
            np.float32,
        ).reshape(len(rows), len(said))
        shares = np.exp(20 * (cosines - cosines.max(1, keepdims=True, initial=-1)))
        vectors = np.array([[np.nan] * 4 if image is None else [1, 0, 0, 0] for _, image, _ in rows], np.float32)
        if options.get("keep_embeddings"):
            for id in inputs["IDS"]:
                if id.decode() in self.frames:
                    self.frames[id.decode()]["embedder"] = GROUPER
        wanted = bool(options.get("embeddings"))
        return {
            "SIMILARITY": cosines,
            "PROBABILITIES": (shares / shares.sum(1, keepdims=True)).astype(np.float32),
            "IMAGE_EMBEDDINGS": vectors if wanted else vectors[:0],
            "TEXT_EMBEDDINGS": np.zeros((len(said) if wanted else 0, 4), np.float32),
            "ERRORS": strings(error for _, _, error in rows),
            "NOTES": strings(
                [json.dumps({"scale": 20.0, "truncated": [], "templates": options.get("templates"), **told})]
            ),
            "MODEL": strings([GROUPER]),
        }

    def text_embedder(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        options = json.loads(inputs["OPTIONS"][0])
        assert options["vectors"] is False and options["vocabulary"] is True
        known = {"all": False, "tokens": 3, "words": ["car", "road"]}
        return {
            "WORDS": strings(json.dumps(read(one.decode())) for one in inputs.get("TEXTS", ())),
            "VOCABULARY": strings([json.dumps(known)]),
            "MODEL": strings([GROUPER, "text_encoder/1/0123456789ab"]),
        }
