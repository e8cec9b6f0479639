"""Stands in for a server, in memory: answers every verb with tensors of the wire's form, from simple rules.

The score is 1 for the same bytes, else it follows from the lengths. Bytes that Pillow cannot open are refused as no
image. `tests.made.fake_server.grpc` puts the stand-in behind a real connection.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image
from sluice_client import errors
from sluice_client.tensors import Call, strings

from .detector import DETECTOR, Detector
from .enhancer import FakeEnhancer
from .grouper import GROUPER, Grouper, about, likeness
from .sampler import Sampler

MODEL = "feature_extractor/1/0123456789ab"


def png(seed: int = 0, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a small PNG of noise, a different picture per seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def heat_png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) * 5).save(file, "PNG")
    return file.getvalue()


def _notes(inputs: Mapping[str, np.ndarray]) -> list[str]:
    return [f"ROI {i}: {roi.tolist()} was clipped" for i, roi in enumerate(inputs.get("ROIS", ())) if roi.min() < 0]


def _heats(drawn: list[bool], inputs: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Score every image by the last query, with the same map for every query."""
    queries = len(inputs.get("QUERY_IMAGES", inputs.get("QUERY_IDS", ())))
    each = np.full((len(drawn), queries if options["heatmaps"] == "all" else 0), b"", object)
    each[np.array(drawn, bool)] = heat_png()
    return {
        "HEATMAPS": strings(heat_png() if draw else b"" for draw in drawn),
        "HEATMAP_QUERY": np.array([queries - 1 if draw else -1 for draw in drawn], np.int32),
        "QUERY_HEATMAPS": each,
    }


class FakeServer(Detector, Sampler, Grouper):
    """`answer(call, timeout)` is the function that a transport needs. trouble: exceptions to raise first, one
    per call."""

    def __init__(self, trouble: list[Exception] | None = None):
        self.frames: dict[str, dict[str, Any]] = {}
        self.bytes: dict[str, bytes] = {}
        self.calls: list[tuple[Call, float]] = []
        self.trouble = list(trouble or [])
        self.lock = threading.Lock()

    @functools.cached_property
    def enhancer(self) -> FakeEnhancer:
        return FakeEnhancer()

    def events(self, call: Call, timeout: float) -> Iterator[Mapping[str, np.ndarray]]:
        return self.enhancer.events(call, timeout) if call.model == "enhance" else super().events(call, timeout)

    def answer(self, call: Call, timeout: float) -> Mapping[str, np.ndarray]:
        with self.lock:
            self.calls.append((call, timeout))
            if self.trouble:
                raise self.trouble.pop(0)
            tensors = getattr(self, call.model)(call.inputs)
        return {name: tensors[name] for name in call.outputs if name in tensors}

    def embed(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert inputs["ENCODED"].shape == (1, 1)
        _decode(inputs["ENCODED"][0, 0])
        features = np.zeros((1, 6, 8, 4), np.float16)
        features[..., 0] = 1
        return {"FEATURES": features, "GEOMETRY": np.array([[64, 48, 1, 1, 0, 0]], np.float32)}

    def ingest(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            "RECEIPTS": strings(
                json.dumps(self._store(data, json.loads(frame)))
                for data, frame in zip(inputs["IMAGES"], inputs["FRAMES"], strict=True)
            )
        }

    def _store(self, data: bytes, frame: dict[str, Any]) -> dict[str, Any]:
        sha = hashlib.sha256(data).hexdigest()
        known = [id for id, stored in self.frames.items() if stored["sha256"] == sha]
        if known:
            told = {"status": "known", "id": known[0], "sha256": sha, "error": None, "remedy": None}
            kept = self.frames[known[0]]
            names = [name for name in ("drive", "tags") if frame[name] and frame[name] != kept[name]]
            differs = {name: {"given": frame[name], "stored": kept[name]} for name in names}
            return told | ({"differs": differs} if differs else {})
        id = frame["id"] or sha[:16]
        problem = None
        if id in self.frames:
            problem = "the id is taken by other bytes; choose another"
        try:
            image = _decode(data)
        except errors.InvalidRequest as error:
            problem = error.message
        if problem:
            return {"status": "refused", "id": frame["id"], "sha256": sha, "error": problem, "remedy": "send an image"}
        self.bytes[id] = data
        self.frames[id] = {**frame, "id": id, "sha256": sha, "width": image.width, "height": image.height}
        return {"status": "stored", "id": id, "sha256": sha, "error": None, "remedy": None}

    def retrieve(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        options = json.loads(inputs["OPTIONS"][0])
        query = self._query(inputs) if "ROIS" in inputs else None
        rois = len(inputs.get("ROIS", ()))
        said = [one.decode() for one in inputs.get("TEXTS", ())]
        fuse = options.get("fuse", 0.5) if query is not None else 1.0

        def score(id: str) -> float:
            data = self.bytes[id]
            shown = 0.0 if query is None else _score(query, data)
            return sum(likeness(data, text) for text in said) / len(said) * fuse + shown * (1 - fuse) if said else shown

        rows = [
            (score(id), id)
            for id, frame in self.frames.items()
            if (options.get("drives") is None or frame["drive"] in options["drives"])
            and set(options.get("tags") or ()) <= set(frame["tags"])
            and id not in (options.get("exclude") or ())
            and (not said or frame.get("embedder") == GROUPER)
        ]
        told: dict[str, Any] = {"frames": len(rows), "rescored": min(len(rows), options["k"]), "seconds": 0.25}
        if said:
            lacking = sum(frame.get("embedder") != GROUPER for frame in self.frames.values())
            told |= {"embedder": GROUPER, "lacking": lacking, "truncated": [], **about(said, options)}
            told |= {"remedy": "embed them"} if lacking else {}
        told |= self.no_effect(options)
        told |= {"notes": notes} if (notes := _notes(inputs)) else {}
        rows.sort(key=lambda row: (-row[0], row[1]))
        best = [row for row in rows if row[0] >= (options.get("threshold") or -1)][: options["k"]]
        n = len(best)
        return {
            "IDS": strings(id for _, id in best),
            "SCORES": np.array([score for score, _ in best], np.float32),
            "QUERY": np.full(n, -1, np.int32),
            "ROI_SCORES": np.repeat(np.array([[s] for s, _ in best], np.float32).reshape(n, 1), rois, 1),
            "LOCATIONS": np.tile(np.array([8, 8, 16, 16], np.float32), (n, rois, 1)),
            **_heats([bool(options["heatmaps"] and rois)] * n, inputs, options),
            "TEXT_SCORES": np.array(
                [[likeness(self.bytes[id], t) for t in said] for _, id in best], np.float32
            ).reshape(n, len(said)),
            "FRAMES": strings(json.dumps(self.frames[id]) for _, id in best),
            "MODEL": strings([MODEL]),
            "SEARCHED": strings([json.dumps(told)]),
        }

    def no_effect(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer's entry about the options that name a value which no stored frame has."""
        told = []
        for option, known in (
            ("labelled", set(self.frames)),
            ("drives", {frame["drive"] for frame in self.frames.values()}),
        ):
            missing = [name for name in options.get(option) or () if name not in known]
            if missing:
                why = f"no stored frame has such a {option}"
                told.append({"option": option, "why": why, "values": missing[:2], "count": len(missing)})
        return {"no_effect": told} if told else {}

    def match(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        query = self._query(inputs)
        rois = len(inputs["ROIS"])
        scores, failures = [], []
        for data in inputs["IMAGES"]:
            try:
                _decode(data)
                scores.append(_score(query, data))
                failures.append("")
            except errors.InvalidRequest as error:
                scores.append(np.nan)
                failures.append(error.message)
        n = len(scores)
        table = np.array(scores, np.float32)
        return {
            "SCORES": table,
            "ROI_SCORES": np.repeat(table[:, None], rois, 1),
            "LOCATIONS": np.where(np.isnan(table)[:, None, None], np.nan, np.float32(8))
            * np.ones((n, rois, 4), np.float32),
            **_heats([not failure for failure in failures], inputs, json.loads(inputs["OPTIONS"][0])),
            "ERRORS": strings(failures),
            "NOTES": strings([json.dumps({"notes": _notes(inputs)})]),
            "MODEL": strings([MODEL]),
        }

    def frame_gallery(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        command = json.loads(inputs["COMMAND"][0])
        operation = command.pop("op")
        if operation == "describe":
            drives = {frame["drive"]: 1 for frame in self.frames.values()}
            unscored = sum(frame.get("detector") != DETECTOR for frame in self.frames.values())
            told = {"frames": len(self.frames), "model": MODEL, "drives": drives, "writable": True}
            return _answer({**told, "detector": DETECTOR, "unscored": unscored})
        if operation == "unembedded":
            ids = [id for id, frame in self.frames.items() if frame.get("embedder") != GROUPER]
            return _answer({"ids": ids, "next": None, "unembedded": len(ids)})
        if operation == "unscored":
            return _answer(self.unscored(**command))
        if operation == "list":
            begin = int(command["cursor"] or 0)
            frames = [
                frame
                for frame in self.frames.values()
                if command.get("drives") is None or frame["drive"] in command["drives"]
            ]
            end = begin + command["limit"]
            page = {"frames": frames[begin:end], "next": str(end) if end < len(frames) else None}
            return _answer(page | ({} if begin else self.no_effect(command)))
        if operation == "delete":
            return _answer([id for id in command["ids"] if self.frames.pop(id, None) and self.bytes.pop(id)])
        if operation == "precision":
            return _answer({"profile": "cpu", "reason": "a server for tests", "networks": {}, "kept": {}, "told": ""})
        assert operation == "get"
        for id in command["ids"]:
            if id not in self.frames:
                raise errors.from_status(
                    "NOT_FOUND", f"no frame with the id {id!r} is stored; `sluice list` shows those that are"
                )
        return {
            **_answer([self._told(id, command.get("objects", False)) for id in command["ids"]]),
            "ENCODED": strings(self.bytes[id] for id in command["ids"] if command["images"]),
        }

    def _told(self, id: str, objects: bool) -> dict[str, Any]:
        format = (_decode(self.bytes[id]).format or "").lower()
        return {**self.frames[id], **self._found(id, objects), "format": format}

    def _found(self, id: str, objects: bool) -> dict[str, Any]:
        names = ("detector", "summary", "objects") if objects else ("detector", "summary")
        return {"objects": None} | {name: self.frames[id].get(name) for name in names}

    def _query(self, inputs: Mapping[str, np.ndarray]) -> bytes:
        if "QUERY_IDS" in inputs:
            id = inputs["QUERY_IDS"][0].decode()
            if id not in self.bytes:
                raise errors.from_status(
                    "NOT_FOUND", f"no frame with the id {id!r} is stored; `sluice list` shows those that are"
                )
            return self.bytes[id]
        _decode(inputs["QUERY_IMAGES"][0])
        return inputs["QUERY_IMAGES"][0]


def _answer(value: Any) -> dict[str, np.ndarray]:
    return {"ANSWER": strings([json.dumps(value)])}


def _decode(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except OSError:
        raise errors.from_status("INVALID_ARGUMENT", "not an image: send a JPEG, PNG or WebP file") from None


def _score(query: bytes, data: bytes) -> float:
    return 1.0 if query == data else 1 / (2 + abs(len(query) - len(data)) % 7)
