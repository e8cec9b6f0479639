"""The commands that the model `frame_gallery` understands: JSON and tensors in, the gallery asked, tensors out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sluice import retrieval
from sluice.errors import InvalidArgument
from sluice.gallery.frames import Frame, Search
from sluice.gallery.store import Gallery
from sluice.images import Geometry
from sluice.matching import Templates

TEMPLATES = ("TEMPLATES", "TEMPLATE_ROI", "ROI_QUERY", "ROI_CELLS", "ROI_SHAPE")


@dataclass(frozen=True)
class Config:
    """Where the features come from and how the search runs."""

    feature_model: str = "feature_extractor"
    channels: int = 64
    threads: int = 0  # of one search; 0: one a core
    max_ids: int = 1_000  # ids of one get or delete


def feature_version(repository: Path, model: str) -> str:
    """'model/version/hash': what the gallery stamps on every frame, so that features of two networks never mix.

    The hash is that of model.onnx also where an engine made from it is served: the engine computes the same function.
    Raises FileNotFoundError with the remedy where the network has not been exported.
    """
    versions = sorted(int(path.parent.name) for path in repository.glob(f"{model}/[0-9]*/model.onnx"))
    if not versions:
        raise FileNotFoundError(f"{model}/1/model.onnx is missing; run: make export")
    digest = hashlib.sha256((repository / model / str(versions[-1]) / "model.onnx").read_bytes()).hexdigest()
    return f"{model}/{versions[-1]}/{digest[:12]}"


class Commands:
    """One gallery's commands. Every method takes the command's fields and the request's tensors."""

    def __init__(self, store: Gallery, config: Config):
        self.store, self.config = store, config
        self.version = _bytes([(store.model or "").encode()])
        self.known = {
            name.removeprefix("do_"): getattr(self, name) for name in dir(self) if name.startswith("do_")
        }

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Answer one request. Raises InvalidArgument for a command that is not known or not whole."""
        try:
            command = json.loads(inputs["COMMAND"].reshape(-1)[0])
            operation = self.known[command.pop("op")]
        except (ValueError, KeyError, AttributeError, TypeError, IndexError):
            raise InvalidArgument(
                f'COMMAND is a JSON object with "op", one of {", ".join(sorted(self.known))}'
            ) from None
        try:
            return operation(inputs, **command)
        except TypeError as error:
            if "argument" in str(error):  # a field too many or too few in the caller's JSON
                raise InvalidArgument(f"COMMAND: {str(error).split('() ')[-1]}") from None
            raise

    def do_model(self, inputs: Any) -> dict[str, Any]:
        return {"MODEL": self.version}

    def do_describe(self, inputs: Any) -> dict[str, Any]:
        return _answer(self.store.describe())

    def do_known(self, inputs: Any, sha256: list[str]) -> dict[str, Any]:
        return _answer(self.store.known(sha256))

    def do_add(self, inputs: Any, frames: list[dict[str, Any]]) -> dict[str, Any]:
        given = zip(frames, inputs["ENCODED"], inputs["FEATURES"], inputs["GEOMETRY"], strict=True)
        receipts: list[dict[str, Any]] = [{} for _ in frames]
        good = []
        for i, (fields, data, features, geometry) in enumerate(given):
            try:
                good.append((i, Frame.from_json(fields), bytes(data), features, geometry))
            except InvalidArgument as error:
                receipts[i] = {"status": "refused", "error": str(error)}
        if good:
            positions, *columns = (list(column) for column in zip(*good, strict=True))
            for i, receipt in zip(positions, self.store.add(*columns), strict=True):
                receipts[i] = receipt.to_json()
        return _answer(receipts)

    def do_features(self, inputs: Any, id: str) -> dict[str, Any]:
        return {"FEATURES": self.store.features(id), "GEOMETRY": self.store.geometry(id)}

    def do_list(self, inputs: Any, after: str | None = None, limit: int = 100, **filters: Any) -> dict[str, Any]:
        return _answer(self.store.list(after, limit, **filters))

    def do_get(self, inputs: Any, ids: list[str], images: bool = False) -> dict[str, Any]:
        self._few(ids)
        encoded = [self.store.image(id) for id in ids] if images else []
        return {**_answer(self.store.get(ids)), "ENCODED": _bytes(encoded)}

    def do_delete(self, inputs: Any, ids: list[str]) -> dict[str, Any]:
        self._few(ids)
        return _answer(list(self.store.delete(ids)))

    def do_search(self, inputs: Any, **options: Any) -> dict[str, Any]:
        search = Search.from_json(options)
        try:
            templates = Templates(*(inputs[name] for name in TEMPLATES))
        except (KeyError, ValueError) as error:
            raise InvalidArgument(f"search needs {', '.join(TEMPLATES)}: {error}") from None
        found = self.store.search(templates, search)
        locations = np.zeros((len(found.ids), len(templates.query), 4), np.float32)
        heats = [b""] * len(found.ids)
        for i, (features, geometry) in enumerate(zip(found.features, found.geometries, strict=True)):
            view = Geometry.from_array(geometry)
            locations[i], heats[i] = retrieval.show(features, view, templates, search.heatmaps)
        searched = {"frames": found.searched, "rescored": found.rescored, "seconds": round(found.seconds, 6)}
        return {
            "IDS": _bytes([id.encode() for id in found.ids]),
            "SCORES": found.scores,
            "QUERY": found.query,
            "ROI_SCORES": found.roi_scores,
            "LOCATIONS": locations,
            "HEATMAPS": _bytes(heats),
            "FRAMES": _bytes([json.dumps(frame).encode() for frame in found.frames]),
            "MODEL": self.version,
            "SEARCHED": [json.dumps(searched).encode()],
        }

    def _few(self, ids: list[str]) -> None:
        if not isinstance(ids, list) or not 0 < len(ids) <= self.config.max_ids:
            raise InvalidArgument(f"ids is a list of 1 to {self.config.max_ids} ids")


def _answer(value: Any) -> dict[str, Any]:
    return {"ANSWER": _bytes([json.dumps(value).encode()])}


def _bytes(values: list[bytes]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array
