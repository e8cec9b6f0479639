"""Detects and selects for the fake server: every picture shows a few objects, by simple rules.

The first byte of the SHA-256 of a picture decides how many objects it shows (0 to 3) and how uncertain they are.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from sluice_client import errors
from sluice_client.answers.detect import TYPES
from sluice_client.tensors import strings

DETECTOR = "mixture_detector/1/fedcba987654"
LABELS = ("Car", "Pedestrian", "Bicyclist", "SignSymbol")


def objects_of(data: bytes, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a picture. Raises the client's error for bytes that are no picture."""
    try:
        width, height = Image.open(io.BytesIO(data)).size
    except OSError:
        raise errors.from_status("INVALID_ARGUMENT", "not an image: send a JPEG, PNG or WebP file") from None
    digest = hashlib.sha256(data).digest()
    found = []
    for i in range(digest[0] % 4):
        scale = (1 + digest[i + 1]) / 256
        found.append(
            {
                "class": (digest[0] + i) % len(LABELS),
                "score": np.float32(0.95 - 0.2 * i),
                "box": np.array([4 * i, 4, 4 * i + width / 4, 4 + height / 2], np.float32),
                "place": np.array([0.1, 0.2, 0.3, 0.4, 0.01, 0.02, 0.03, 0.04], np.float32) * np.float32(scale),
                "kind": np.array([np.nan if options.get("no_variance") else 0.5 * scale, 0.05 * scale], np.float32),
            }
        )
    least = options.get("min_score", 0.5)
    wanted = options.get("labels")
    return [one for one in found if one["score"] >= least and (wanted is None or LABELS[one["class"]] in wanted)]


def summary_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    def part(values: np.ndarray) -> dict[str, Any]:
        mean = values.mean(0) if len(values) else np.zeros(4)
        m2 = ((values - mean) ** 2).sum(0) if len(values) else np.zeros(4)
        maxima = dict(zip(TYPES, values.max(0).tolist(), strict=True)) if len(values) else None
        moments = {
            "n": len(values),
            "mean": dict(zip(TYPES, mean.tolist(), strict=True)),
            "m2": dict(zip(TYPES, m2.tolist(), strict=True)),
        }
        return {"objects": len(values), "maxima": maxima, "moments": moments}

    rows = np.array([[*one["place"].reshape(2, 4).max(1), *one["kind"]] for one in found], np.float64).reshape(-1, 4)
    kinds = [one["class"] for one in found]
    classes = {LABELS[kind]: part(rows[np.array(kinds) == kind]) for kind in sorted(set(kinds))}
    return {"model": DETECTOR, **part(rows), "classes": classes}


def stored_form(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "label": LABELS[one["class"]],
        "score": float(one["score"]),
        "box": one["box"].tolist(),
        "box_uncertainties": one["place"].tolist(),
        "class_uncertainties": one["kind"].tolist(),
    }


class Detector:
    """Mixed into the fake server, whose `frames` and `bytes` it uses."""

    frames: dict[str, dict[str, Any]]
    bytes: dict[str, bytes]

    def detect(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        options = json.loads(inputs["OPTIONS"][0])
        assert ("IMAGES" in inputs) != ("IDS" in inputs)
        names = [id.decode() for id in inputs.get("IDS", ())]
        rows: list[tuple[int, dict[str, Any]]] = []
        summaries, failures = [], []
        for i in range(len(names) or len(inputs["IMAGES"])):
            try:
                if names and names[i] not in self.bytes:
                    raise errors.from_status("NOT_FOUND", f"no frame with the id {names[i]!r} is stored")
                found = objects_of(self.bytes[names[i]] if names else inputs["IMAGES"][i], options)
            except errors.SluiceError as error:
                summaries.append("")
                failures.append(error.message)
                continue
            rows += [(i, one) for one in found]
            summaries.append(json.dumps(summary_of(found)))
            failures.append("")
            if options.get("keep_scores"):
                kept = [stored_form(one) for one in found]
                self.frames[names[i]] |= {"detector": DETECTOR, "summary": summary_of(found), "objects": kept}
        n = len(rows)
        return {
            "IMAGE": np.array([i for i, _ in rows], np.int32),
            "BOXES": np.array([one["box"] for _, one in rows], np.float32).reshape(n, 4),
            "CLASSES": np.array([one["class"] for _, one in rows], np.int32),
            "SCORES": np.array([one["score"] for _, one in rows], np.float32),
            "BOX_UNCERTAINTIES": np.array([one["place"] for _, one in rows], np.float32).reshape(n, 8),
            "CLASS_UNCERTAINTIES": np.array([one["kind"] for _, one in rows], np.float32).reshape(n, 2),
            "SUMMARIES": strings(summaries),
            "ERRORS": strings(failures),
            "LABELS": strings(LABELS),
            "MODEL": strings([DETECTOR]),
        }

    def unscored(self, cursor: str | None, limit: int) -> dict[str, Any]:
        """List the frames without scores.

        The cursor counts frames in the order of storing, so scoring does not move it.
        """
        places = [(i, id) for i, (id, frame) in enumerate(self.frames.items()) if frame.get("detector") != DETECTOR]
        rest = [(i, id) for i, id in places if i >= int(cursor or 0)]
        page = rest[:limit]
        return {"ids": [id for _, id in page], "next": str(page[-1][0] + 1) if len(rest) > limit else None}

    def select(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Score each image by the largest ratio of its maxima to the pool's, which is enough for a ranking."""
        options = json.loads(inputs["OPTIONS"][0])
        if "CANDIDATES" in inputs:
            pool = [json.loads(text) for text in inputs["CANDIDATES"]]
            frames: dict[str, Any] = {one["id"]: {} for one in pool}
            unscored = sorted(one["id"] for one in pool if one["summary"] is None)
            pool = [one for one in pool if one["summary"] is not None]
        else:
            frames = {
                id: frame
                for id, frame in self.frames.items()
                if options.get("drives") is None or frame["drive"] in options["drives"]
            }
            pool = [{"id": id, "summary": frame["summary"]} for id, frame in frames.items() if "summary" in frame]
            unscored = sorted(id for id, frame in frames.items() if "summary" not in frame)
        pool = [one for one in pool if one["id"] not in options.get("labelled", ())]
        empty = sorted(one["id"] for one in pool if not one["summary"]["objects"])
        rows = [
            ([one["summary"]["maxima"][name] for name in TYPES], one["id"]) for one in pool if one["summary"]["objects"]
        ]
        table = np.array([values for values, _ in rows], np.float32).reshape(len(rows), 4)
        z = (table - table.mean(0)) / np.maximum(table.std(0), 1e-9) if len(rows) else table
        scores = z.max(1)
        order = sorted(range(len(rows)), key=lambda i: (-scores[i], rows[i][1]))
        if "threshold" in options:
            order = [i for i in order if scores[i] >= options["threshold"]]
        else:
            order = order[: options.get("n", 100)]
        counts = {"frames": len(pool), "without_objects": len(empty), "unscored": len(unscored)}
        searched: dict[str, Any] = {**counts, "remedy": "run `sluice score`, then select again" if unscored else None}
        by = {"pool": ["pool of the fleet"], "frames": 400, "objects": 900}
        searched |= self.no_effect(options)  # type: ignore[attr-defined]
        searched |= {"frozen": options.get("frozen", False), "judged_by": by}
        return {
            "IDS": strings(rows[i][1] for i in order),
            "SCORES": scores[order].astype(np.float32),
            "Z": z[order].astype(np.float32).reshape(-1, 4),
            "MAXIMA": table[order].reshape(-1, 4),
            "REASONS": strings(
                f"{TYPES[int(z[i].argmax())]} of a Car is {scores[i]:.1f} standard deviations above the pool"
                for i in order
            ),
            "FRAMES": strings(json.dumps(frames[rows[i][1]]) for i in order),
            "WITHOUT_OBJECTS": strings(empty),
            "UNSCORED": strings(unscored),
            "STATISTICS": strings([json.dumps({"detector": DETECTOR, "pool": ["1"], "n": len(rows)})]),
            "SEARCHED": strings([json.dumps(searched)]),
        }
