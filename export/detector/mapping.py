"""The mapping file: how a detector's input is prepared and its outputs are read. Its format is TOML.

`sluice export detector` proposes the file from a graph, with a comment beside each line; the user confirms it by
passing it back.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from export.entry import ExportError
from export.onnx_file import first_line

KINDS = {
    "yolo": "one tensor of decoded boxes and scores per box, [B, 4 + C, N] or [B, N, 5 + C]",
    "yolo_grids": "raw YOLO heads, a tensor per stride, to be decoded with its anchors",
    "anchors": "offsets from anchors and scores, as RetinaNet and SSD give them",
    "boxes": "boxes and scores, as DETR and graphs with their own suppression give them",
}
CHOICES: dict[str, tuple[str, ...]] = {
    "kind": tuple(KINDS),
    "order": ("RGB", "BGR"),
    "activation": ("none", "sigmoid", "softmax"),
    "background": ("none", "first", "last"),
    "format": ("xyxy", "cxcywh", "xywh"),
    "unit": ("pixels", "normalised"),
    "formula": ("v3", "v5", "v8"),
}
Three = tuple[float, float, float]


@dataclass(frozen=True)
class Mapping:
    """How a detector is fed and read. The comment of each field is written into the proposed file."""

    kind: str = ""  # yolo, yolo_grids, anchors or boxes; docs/own_networks.md describes them
    labels: tuple[str, ...] = ()  # class names in the network's order, without background
    canvases: str = ""  # sizes that the network is shown, WIDTHxHEIGHT; several are allowed where its size is free
    multiple: int = 1  # sides of canvases must be multiples of this
    keep_aspect: bool = True  # true: images are scaled with their aspect and centred on grey; false: stretched
    order: str = "RGB"  # of the channels: RGB or BGR
    scale: float = 255.0  # the network sees (pixel / scale - mean) / std; 1 for a network of 0 to 255
    mean: Three = (0.0, 0.0, 0.0)  # per channel, in the order of `order`
    std: Three = (1.0, 1.0, 1.0)  # per channel; ImageNet: mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]
    predictions: tuple[str, ...] = ()  # output tensors of the kinds yolo (one) and yolo_grids (one per stride)
    boxes: tuple[str, ...] = ()  # output tensors of boxes or offsets; kind anchors: one, or one per level
    scores: tuple[str, ...] = ()  # output tensors of scores or logits, beside `boxes`
    classes: str = ""  # output tensor of class numbers, where every box has one score; "" for none
    first_class: int = 0  # the number of the first label in `classes`; torchvision's is 1
    activation: str = "none"  # from the outputs to scores of 0 to 1: none (they are scores), sigmoid or softmax
    background: str = "none"  # where the scores hold a class for "no object": none, first (SSD) or last (DETR)
    objectness: bool = False  # kind yolo: a fifth number per box multiplies its scores (YOLOv5, YOLOv7)
    format: str = "xyxy"  # of the boxes: xyxy (corners), cxcywh (centre and size) or xywh (corner and size)
    unit: str = "pixels"  # of the boxes: pixels of the canvas, or normalised (0 to 1)
    formula: str = "v5"  # kind yolo_grids: v3, v5 (v7 too) or v8 (v9, v11: distances in 16 bins, no anchors)
    strides: tuple[int, ...] = ()  # kinds yolo_grids, anchors: pixels per cell, in the order of the tensors
    # kind yolo_grids: per stride the [width, height] of each anchor, pixels
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    anchors_tensor: str = ""  # kind anchors: output tensor of the anchors as x0, y0, x1, y1; "" to make them
    anchor_sizes: tuple[tuple[float, ...], ...] = ()  # kind anchors: per level the sides of square anchors, pixels
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # kind anchors: height over width, within a cell size by size
    anchor_shift: float = 0.0  # kind anchors: place of the first centre in strides; torchvision 0, others 0.5
    anchor_round: bool = True  # kind anchors: corners rounded to whole pixels around the centre, as torchvision does
    # kind anchors: divisors of dx, dy, dw, dh; SSD: [10, 10, 5, 5]
    delta_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    best_class: bool = True  # true: a box counts for its best class only; false: for every class
    suppress: bool = True  # true: overlapping boxes of a class are suppressed; false for DETR and graphs that do it
    iou: float = 0.45  # boxes of a class that overlap by more are one object
    confidence: float = 0.01  # least score of a box that enters the suppression

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ExportError(f"the mapping's {name} is one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if any(value == 0 for value in (*self.std, *self.delta_weights, self.scale)):
            raise ExportError("the mapping's std, scale and delta_weights divide, so none may be 0")
        if not 0 <= self.iou <= 1 or not 0 <= self.confidence <= 1:
            raise ExportError("the mapping's iou and confidence are numbers from 0 to 1")
        if not self.labels or len(set(self.labels)) != len(self.labels) or "" in map(str.strip, self.labels):
            raise ExportError("the mapping's labels names each class once, in the network's order, without background")
        self._check_kind()

    def _check_kind(self) -> None:
        """Raise ExportError where the kind lacks what it needs."""
        needs = {
            "yolo": len(self.predictions) == 1,
            "yolo_grids": bool(self.predictions) and len(self.predictions) == len(self.strides),
            "anchors": bool(self.boxes) and len(self.boxes) == len(self.scores),
            "boxes": len(self.boxes) == len(self.scores) == 1,
        }
        told = {
            "yolo": "predictions with one tensor",
            "yolo_grids": "predictions and strides of one length",
            "anchors": "boxes and scores of one length",
            "boxes": "boxes and scores with one tensor each",
        }
        if not needs[self.kind]:
            raise ExportError(f"a mapping of the kind {self.kind} needs {told[self.kind]}")
        if self.kind == "yolo_grids" and self.formula != "v8" and len(self.anchors) != len(self.strides):
            raise ExportError("a mapping of the kind yolo_grids needs anchors: per stride a list of [width, height]")
        levels = bool(self.anchors_tensor) or 0 < len(self.anchor_sizes) == len(self.strides)
        if self.kind == "anchors" and not levels:
            raise ExportError(
                "a mapping of the kind anchors needs anchors_tensor, or strides and anchor_sizes of one length, a list "
                "of sides per level"
            )

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the output tensors that are read, in the order in which `decoding` takes them."""
        if self.kind in ("yolo", "yolo_grids"):
            return self.predictions
        more = [name for name in (self.classes, self.anchors_tensor) if name]
        return (*self.boxes, *self.scores, *more)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Return the canvases as (width, height). Raises ExportError for a text that cannot be meant."""
        found = []
        for word in self.canvases.split():
            width, _, height = word.partition("x")
            whole = width.isdigit() and height.isdigit() and int(width) * int(height) > 0
            if not whole or int(width) % self.multiple or int(height) % self.multiple:
                raise ExportError(
                    f"the mapping's canvases are WIDTHxHEIGHT in multiples of {self.multiple}, got {word!r}"
                )
            found.append((int(width), int(height)))
        if not found:
            raise ExportError(
                "the mapping names no canvases; give the sizes that the network is shown, such as 640x640"
            )
        return found


def read(path: Path, labels: Path | None = None) -> Mapping:
    """Read a mapping file. labels: a file of class names, one per line, in place of the mapping's own.

    Raises ExportError with one sentence for a file that is none, for an unknown name and for a value of a wrong kind.
    """
    if not path.is_file():
        raise ExportError(f"there is no file {path}; leave out --mapping, and the command proposes one")
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} is no mapping in TOML ({first_line(error)}); let the command propose one") from None
    known = {field.name: field for field in fields(Mapping)}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ExportError(f"{path} has {', '.join(unknown)}, which no mapping has; known are: {', '.join(known)}")
    if labels is not None:
        given["labels"] = read_labels(labels)
    usual = {field.name: field.default for field in fields(Mapping)}
    return Mapping(**{name: _typed(path, name, value, usual[name]) for name, value in given.items()})


def read_labels(path: Path) -> list[str]:
    """Read class names, one per line; empty lines are left out. Raises ExportError where the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read ({first_line(error)}); give a text with one class per line") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _typed(path: Path, name: str, value: Any, usual: Any) -> Any:
    """Return a value in the type of its field. Raises ExportError naming the field."""
    if isinstance(usual, bool):
        good = isinstance(value, bool)
    elif isinstance(usual, int | float):
        good = isinstance(value, type(usual) | int) and not isinstance(value, bool)
    elif isinstance(usual, str):
        good = isinstance(value, str)
    else:
        if name in ("predictions", "boxes", "scores") and isinstance(value, str):
            value = [value]
        texts = name in ("labels", "predictions", "boxes", "scores")
        good = isinstance(value, list) and all(_leaf(one, texts) for one in value)
        good = good and (name not in ("mean", "std", "delta_weights") or len(value) == len(usual))
        value = _frozen(value)
    if not good:
        raise ExportError(f"{path}: {name} is {value!r:.80}, which is not of its kind; such as {name} = {toml(usual)}")
    return value


def _leaf(value: Any, texts: bool) -> bool:
    """Return whether a value of a list is a text, or a number or a list of such."""
    if isinstance(value, list):
        return not texts and all(_leaf(one, texts) for one in value)
    return isinstance(value, str) if texts else isinstance(value, int | float) and not isinstance(value, bool)


def _frozen(value: Any) -> Any:
    """Return lists as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def toml(value: Any) -> str:
    """Return a value of a mapping as TOML, whose texts, numbers and lists are written as those of JSON."""
    return json.dumps(value, ensure_ascii=False)
