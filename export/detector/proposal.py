"""Recognises a detector by the shapes and values of its outputs, and writes the mapping file that it proposes.

What the outputs do not say stands in the file with a mark, for the user to fill in: names of classes, the
normalisation of pixels, anchors.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from export.detector.mapping import KINDS, Mapping, toml
from export.entry import ExportError

ASKED = "CHECK: "
COMMENT = re.compile(r"^    (\w+): .*?= .*?  # (.*)$")


@dataclass
class Proposal:
    """A mapping as far as the outputs tell it.

    found: sentences about what was recognised. values: fields of `Mapping`. asked: what the user must say, by field.
    """

    found: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the mapping file."""
        lines = [
            "# How `sluice export detector` reads this detector. Check every line, first those marked CHECK, and",
            "# pass the file with --mapping. Nothing is served before that.",
            *(f"# {sentence}" for sentence in self.found),
            "",
        ]
        told = comments()
        for one in fields(Mapping):
            if one.name not in self.values and one.name not in self.asked:
                continue
            value = self.values.get(one.name, one.default)
            lines += [f"# {told[one.name]}"] if told.get(one.name) else []
            lines += [f"# {ASKED}{self.asked[one.name]}"] if one.name in self.asked else []
            lines.append(f"{one.name} = {toml(value)}")
        return "\n".join(lines) + "\n"


def comments() -> dict[str, str]:
    """Return the comment of each field of `Mapping`, from its source."""
    found, before = {}, ""
    for line in inspect.getsource(Mapping).splitlines():
        if match := COMMENT.match(line):
            found[match[1]] = match[2]
        elif re.match(r"^    (\w+): ", line) and before.startswith("    # "):
            found[line.split(":")[0].strip()] = before[6:]
        before = line
    return found


def propose(outputs: MappingOf[str, np.ndarray], size: tuple[int, int], labels: Sequence[str], fixed: bool) -> Proposal:
    """Recognise a detector.

    outputs: of an ordinary image, by name, as the graph gave them on a canvas of `size` (width, height). labels: names
    of the classes, empty if they are not known. fixed: whether the graph takes that size alone.
    Raises ExportError, listing the outputs, where no detector is recognised.
    """
    shown = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
    for recognise in (_grids, _yolo, _anchors, _boxes):
        proposal = recognise(outputs, size, len(labels))
        if proposal is not None:
            break
    else:
        raise ExportError(
            f"no detector is recognised in the outputs {shown}; write a mapping of the kind that fits "
            f"({', '.join(KINDS)}) and pass it with --mapping, or export the graph with such outputs"
        )
    values, asked = proposal.values, proposal.asked
    proposal.found[:0] = [f"Outputs at {size[0]}x{size[1]}: {shown}."]
    if labels:
        values["labels"] = tuple(labels)
    else:
        asked["labels"] = "name the classes of the network in its order, without background, or pass --labels FILE"
        values["labels"] = tuple(f"class {i}" for i in range(values.pop("classes_", 0)))
    values.pop("classes_", None)
    values["canvases"] = f"{size[0]}x{size[1]}"
    if not fixed:
        asked["canvases"] = "the network's sides are free; name the sizes that it was trained on"
    values.setdefault("keep_aspect", True)
    values.update(order="RGB", scale=255.0)
    values["mean"], values["std"] = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    asked["mean"] = (
        "the graph does not tell how pixels are to be normalised; YOLO's are 0 to 1, torchvision's and DETR's"
    )
    asked["mean"] += " ImageNet's, unless the graph holds the normalisation"
    values.setdefault("confidence", 0.01)
    return proposal


def _grids(outputs: MappingOf[str, np.ndarray], size: tuple[int, int], labels: int) -> Proposal | None:
    """Recognise raw YOLO heads: tensors of one width per stride."""
    grids = {name: array for name, array in outputs.items() if array.ndim in (4, 5)}
    if not grids or len({_width(array) for array in grids.values()}) != 1 or len(grids) != len(outputs):
        return None
    width = _width(next(iter(grids.values())))
    strides = tuple(_stride(array, size) for array in grids.values())
    values: dict[str, Any] = {"kind": "yolo_grids", "predictions": tuple(grids), "strides": strides}
    five = next(iter(grids.values())).ndim == 5
    if len(set(strides)) != len(strides):
        return None
    many = next(iter(grids.values())).shape[1] if five else 3
    if not five and labels and width == 64 + labels:
        values |= {"formula": "v8", "classes_": labels, "iou": 0.7}
        return Proposal(["Recognised as raw heads of YOLOv8: 64 bins of distances and a logit per class."], values)
    each = width if five else width // many
    if (not five and width % many) or each <= 5:
        return None
    asked = {
        "anchors": f"the graph does not hold the {many} anchors of each stride; give them in pixels",
        "formula": "v3 takes exp of the sizes, v5 and v7 square a sigmoid; the graph does not tell",
    }
    values |= {"formula": "v5", "anchors": (), "classes_": each - 5, "best_class": True}
    return Proposal([f"Recognised as raw YOLO heads of {many} anchors and {each - 5} classes per cell."], values, asked)


def _yolo(outputs: MappingOf[str, np.ndarray], size: tuple[int, int], labels: int) -> Proposal | None:
    """Recognise decoded YOLO heads: one tensor of boxes and scores."""
    threes = {name: array for name, array in outputs.items() if array.ndim == 3 and min(array.shape[1:]) > 4}
    if len(threes) != 1 or any(array.ndim == 3 and array.shape[2] == 4 for array in outputs.values()):
        return None
    name, array = next(iter(threes.items()))
    first = array.shape[1] == 4 + labels or array.shape[1] == 5 + labels if labels else array.shape[1] < array.shape[2]
    width = array.shape[1] if first else array.shape[2]
    objectness = width == 5 + labels if labels else not first
    rows = array if first else np.swapaxes(array, 1, 2)
    values = {
        "kind": "yolo",
        "predictions": (name,),
        "activation": "none" if rows[:, 4:].min() >= 0 and rows[:, 4:].max() <= 1 else "sigmoid",
        "objectness": objectness,
        "format": "cxcywh",
        "unit": "normalised" if np.abs(rows[:, :4]).max() <= 2 else "pixels",
        "classes_": width - 4 - objectness,
    }
    asked = {"objectness": "true for YOLOv5 and v7, false for YOLOv8 and later"} if not labels else {}
    return Proposal([f"Recognised as decoded YOLO heads of {width - 4 - objectness} classes."], values, asked)


def _anchors(outputs: MappingOf[str, np.ndarray], size: tuple[int, int], labels: int) -> Proposal | None:
    """Recognise offsets from anchors: beside scores a tensor of four, concatenated or per level."""
    levels = {name: array for name, array in outputs.items() if array.ndim == 4}
    tables = {name: a for name, a in outputs.items() if a.ndim == 3 and a.shape[2] == 4}
    if levels and len(levels) == len(outputs):
        return _levels(levels, size, labels)
    if len(tables) != 1:
        return None
    (name, deltas), many = next(iter(tables.items())), next(iter(tables.values())).shape[1]
    logits = [n for n, a in outputs.items() if a.ndim == 3 and n != name and a.shape[1] == many]
    fixed = [n for n, a in outputs.items() if a.shape[-2:] == (many, 4) and n != name]
    signed = deltas.min() < 0 and np.abs(deltas).max() < min(size) / 4
    if len(logits) != 1 or not (fixed or signed):
        return None
    classes = outputs[logits[0]].shape[2]
    values = _anchor_values((name,), (logits[0],), outputs, labels)
    values["classes_"] = classes - (values["background"] != "none")
    asked = {}
    if fixed:
        values["anchors_tensor"] = fixed[0]
    else:
        asked = _asked_anchors()
        values |= {"strides": (), "anchor_sizes": (), "anchor_ratios": (0.5, 1.0, 2.0), "anchor_round": True}
        values["anchor_shift"] = 0.0
    return Proposal([f"Recognised as offsets from {many} anchors with scores of {classes} classes."], values, asked)


def _levels(levels: MappingOf[str, np.ndarray], size: tuple[int, int], labels: int) -> Proposal | None:
    """Recognise offsets and scores per level, as tensors [B, A * 4, h, w] and [B, A * C, h, w]."""
    widths = sorted({array.shape[1] for array in levels.values()})
    if len(widths) != 2 or len(levels) % 2:
        return None
    boxes = widths[0] if widths[0] % 4 == 0 else widths[1]
    many = boxes // 4
    of = {w: tuple(name for name, array in levels.items() if array.shape[1] == w) for w in widths}
    other = next(w for w in widths if w != boxes)
    if other % many or len(of[boxes]) != len(of[other]):
        return None
    values = _anchor_values(of[boxes], of[other], levels, labels)
    values |= {"strides": tuple(_stride(levels[name], size) for name in of[boxes]), "anchor_sizes": ()}
    values |= {"anchor_ratios": (0.5, 1.0, 2.0), "anchor_shift": 0.0, "anchor_round": True, "classes_": other // many}
    told = f"Recognised as {len(of[boxes])} levels of offsets from {many} anchors per cell, {other // many} classes."
    return Proposal([told], values, _asked_anchors())


def _anchor_values(
    boxes: tuple[str, ...], scores: tuple[str, ...], outputs: MappingOf[str, np.ndarray], labels: int
) -> dict[str, Any]:
    """Return the fields that both forms of offsets share."""
    width = outputs[scores[0]].shape[-1] if outputs[scores[0]].ndim == 3 else 0
    background = "first" if labels and width == labels + 1 else "none"
    return {
        "kind": "anchors",
        "boxes": boxes,
        "scores": scores,
        "activation": _activation(outputs[scores[0]]) if background == "none" else "softmax",
        "background": background,
        "delta_weights": (1.0, 1.0, 1.0, 1.0),
        "best_class": False,
        "iou": 0.5,
    }


def _asked_anchors() -> dict[str, str]:
    return {
        "anchor_sizes": "the graph does not hold the anchors; per level a list of sides, such as [[32, 40, 51]]",
        "strides": "pixels per cell of each level, such as [8, 16, 32]",
        "anchor_ratios": "height over width of the anchors",
    }


def _boxes(outputs: MappingOf[str, np.ndarray], size: tuple[int, int], labels: int) -> Proposal | None:
    """Recognise finished boxes: DETR's queries, or the output of a suppression within the graph."""
    boxes = [n for n, a in outputs.items() if a.ndim in (2, 3) and a.shape[-1] == 4 and a.dtype.kind == "f"]
    if len(boxes) > 1:  # a network whose classes are four, too
        boxes = [name for name in boxes if "box" in name.lower()]
    if len(boxes) != 1:
        return None
    name, found = boxes[0], outputs[boxes[0]]
    rest = {n: a for n, a in outputs.items() if n != name and a.shape[: found.ndim - 1] == found.shape[:-1]}
    whole = [n for n, a in rest.items() if a.ndim == found.ndim - 1 and a.dtype.kind in "iu"]
    score = [n for n, a in rest.items() if a.dtype.kind == "f" and (a.ndim == found.ndim - 1 if whole else True)]
    if len(score) != 1:
        return None
    share = bool(found.size) and np.abs(found).max() <= 1.5
    values: dict[str, Any] = {"kind": "boxes", "boxes": (name,), "scores": (score[0],), "suppress": False}
    values["unit"] = "normalised" if share else "pixels"
    asked = {"suppress": "false if the network or its graph gives each object once"}
    if whole:
        first = 0 if outputs[whole[0]].size and outputs[whole[0]].min() == 0 else 1
        values |= {"classes": whole[0], "first_class": first, "format": "xyxy", "activation": "none", "classes_": 0}
        asked["first_class"] = "torchvision's classes begin at 1, since 0 is the background"
        return Proposal(["Recognised as boxes, scores and class numbers after a suppression."], values, asked)
    classes = rest[score[0]].shape[-1]
    softmax = classes == labels + 1 if labels else share
    values |= {"format": "cxcywh" if share else "xyxy", "best_class": softmax}
    values |= (
        {"activation": "softmax", "background": "last"} if softmax else {"activation": _activation(rest[score[0]])}
    )
    if not labels:
        asked["activation"] = "DETR: softmax with background last; Conditional, Deformable and RT-DETR: sigmoid, none"
        values.setdefault("background", "none")
    values["classes_"] = classes - softmax
    like = "DETR's queries" if share else "finished boxes"
    return Proposal([f"Recognised as {like}: {found.shape[-2]} boxes, {classes} numbers of class each."], values, asked)


def _activation(scores: np.ndarray) -> str:
    return "none" if scores.size and scores.min() >= 0 and scores.max() <= 1 else "sigmoid"


def _width(array: np.ndarray) -> int:
    return int(array.shape[1] if array.ndim == 4 else array.shape[4])


def _stride(array: np.ndarray, size: tuple[int, int]) -> int:
    """Return the pixels per cell of a tensor whose rows are its second axis from the end, or third with five axes."""
    rows = array.shape[2]
    return max(1, round(size[1] / rows))
