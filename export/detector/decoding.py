"""Decodes the outputs of a detector into boxes and scores, as torch modules that become a part of the exported graph.

Every decoder takes the canvas, uint8 [B, H, W, 3], and the network's outputs in the order of `Mapping.tensors`. It
returns boxes float32 [B, N, 4], corners in pixels of the canvas, and scores float32 [B, N, C], 0 to 1, no background.

Sources: Redmon and Farhadi, "YOLOv3", 2018, section 2.1; the formulas that YOLOv5 and YOLOv8 publish; Lin et al.,
"Focal Loss for Dense Object Detection", ICCV 2017; Carion et al., "End-to-End Object Detection with Transformers",
ECCV 2020.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.onnx.operators import shape_as_tensor

from export.detector.mapping import Mapping
from export.entry import ExportError

BINS = 16  # of the distances of YOLOv8
LARGEST = math.log(1000 / 16)  # greatest logarithm of a side over its anchor's, as in the published RetinaNet


def decoder(mapping: Mapping) -> nn.Module:
    """Return the decoder of a mapping's kind."""
    kinds = {"yolo": Yolo, "yolo_grids": Grids, "anchors": Anchors, "boxes": Boxes}
    return kinds[mapping.kind](mapping)


class Decoder(nn.Module):
    """The steps that all kinds share."""

    def __init__(self, mapping: Mapping) -> None:
        super().__init__()
        self.mapping = mapping
        self.classes = len(mapping.labels)

    def activated(self, logits: Tensor) -> Tensor:
        """Return scores without background, [B, N, C]. logits: [B, N, C], with the background C + 1."""
        told, extra = self.mapping, self.mapping.background != "none"
        if logits.shape[-1] != self.classes + extra:
            classes = int(logits.shape[-1]) - extra
            raise ExportError(
                f"the mapping names {self.classes} classes, the network's scores have {classes}"
                f"{' beside the background' if extra else ''}; name them all in `labels`, in the network's order"
            )
        scores = logits.float()
        if told.activation == "softmax":
            scores = scores.softmax(-1)
        elif told.activation == "sigmoid":
            scores = scores.sigmoid()
        if extra:
            scores = scores[..., 1:] if told.background == "first" else scores[..., :-1]
        return self.of_best_class(scores)

    def of_best_class(self, scores: Tensor) -> Tensor:
        """Return the scores, 0 for all but the best class of a box where the mapping says so; the first of equals."""
        if not self.mapping.best_class or self.classes == 1:
            return scores
        best = scores.argmax(-1, keepdim=True)
        return scores * (torch.arange(self.classes) == best)

    def corners(self, canvas: Tensor, boxes: Tensor) -> Tensor:
        """Return boxes [B, N, 4] of the mapping's format and unit as corners in pixels."""
        boxes = boxes.float()
        if self.mapping.unit == "normalised":
            # The sides stay variable in a traced graph only where they are read as a tensor.
            side = shape_as_tensor(canvas)[1:3].flip(0).float()
            boxes = boxes * torch.cat([side, side])
        if self.mapping.format == "xyxy":
            return boxes
        place, size = boxes[..., :2], boxes[..., 2:]
        low = place - size / 2 if self.mapping.format == "cxcywh" else place
        return torch.cat([low, low + size], -1)


class Boxes(Decoder):
    """Boxes and scores in a tensor each: DETR, and graphs with their own suppression, which add class numbers."""

    def forward(self, canvas: Tensor, boxes: Tensor, scores: Tensor, *numbers: Tensor) -> tuple[Tensor, Tensor]:
        if boxes.ndim == 2:  # a graph without a batch
            boxes, scores = boxes[None], scores[None]
            numbers = tuple(one[None] for one in numbers)
        if not numbers:
            return self.corners(canvas, boxes), self.activated(scores)
        known = numbers[0].long()[..., None] - self.mapping.first_class == torch.arange(self.classes)
        score = scores.float() if self.mapping.activation == "none" else scores.float().sigmoid()
        return self.corners(canvas, boxes), torch.where(known, score[..., None], torch.zeros(1))


class Yolo(Decoder):
    """Decoded YOLO heads: per box its place and, after the objectness if there is one, a score per class."""

    def forward(self, canvas: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        extra = 4 + self.mapping.objectness
        if found.shape[-1] != extra + self.classes:
            if found.shape[1] != extra + self.classes:
                raise ExportError(
                    f"the mapping names {self.classes} classes, {self.mapping.predictions[0]} is {list(found.shape)}, "
                    f"which has no axis of {extra} + {self.classes}; name all classes in `labels`, or change objectness"
                )
            found = found.transpose(1, 2)
        scores = self.activated(found[..., extra:])
        if self.mapping.objectness:
            sure = found[..., 4:5].float()
            scores = scores * (sure if self.mapping.activation == "none" else sure.sigmoid())
        return self.corners(canvas, found[..., :4]), scores


class Grids(Decoder):
    """Raw YOLO heads, [B, A * (5 + C), h, w], [B, A, h, w, 5 + C] or, of v8, [B, 64 + C, h, w], per stride."""

    def forward(self, canvas: Tensor, *grids: Tensor) -> tuple[Tensor, Tensor]:
        parts = [self.level(level, grid) for level, grid in enumerate(grids)]
        return torch.cat([boxes for boxes, _ in parts], 1), torch.cat([scores for _, scores in parts], 1)

    def level(self, level: int, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and scores of one stride."""
        v8 = self.mapping.formula == "v8"
        many = 1 if v8 else len(self.mapping.anchors[level])
        width = (4 * BINS if v8 else 5) + self.classes
        if grid.ndim == 4:
            if grid.shape[1] != many * width:
                raise ExportError(
                    f"the mapping names {self.classes} classes, {many} anchors, so {self.mapping.predictions[level]} "
                    f"should have {many} * {width} channels; it is {list(grid.shape)}; correct `labels` or `anchors`"
                )
            # Not unflatten, in which the tracer fixes the other sizes.
            split = grid.reshape(grid.shape[0], many, width, grid.shape[2], grid.shape[3])
            grid = split.permute(0, 1, 3, 4, 2)  # [B, A, h, w, 5 + C]
        if grid.shape[1] != many or grid.shape[4] != width:
            raise ExportError(
                f"the mapping names {self.classes} classes, {many} anchors, so {self.mapping.predictions[level]} "
                f"should be [B, {many}, h, w, {width}]; it is {list(grid.shape)}; correct `labels` or `anchors`"
            )
        grid = grid.float()
        y, x = torch.meshgrid(torch.arange(grid.shape[2]), torch.arange(grid.shape[3]), indexing="ij")
        cell, stride = torch.stack([x, y], -1).float(), float(self.mapping.strides[level])
        if v8:
            bins = grid[..., : 4 * BINS].reshape(*grid.shape[:4], 4, BINS).softmax(-1)
            apart = (bins * torch.arange(BINS).float()).sum(-1)
            boxes = torch.cat([cell + 0.5 - apart[..., :2], cell + 0.5 + apart[..., 2:]], -1) * stride
            scores = grid[..., 4 * BINS :].sigmoid()
        else:
            anchor = torch.tensor(self.mapping.anchors[level], dtype=torch.float32)[:, None, None]
            if self.mapping.formula == "v3":
                centre = (grid[..., :2].sigmoid() + cell) * stride
                size = grid[..., 2:4].clamp(max=10.0).exp() * anchor
            else:
                centre = (grid[..., :2].sigmoid() * 2 - 0.5 + cell) * stride
                size = (grid[..., 2:4].sigmoid() * 2) ** 2 * anchor
            boxes = torch.cat([centre - size / 2, centre + size / 2], -1)
            scores = grid[..., 5:].sigmoid() * grid[..., 4:5].sigmoid()
        return boxes.flatten(1, 3), self.of_best_class(scores.flatten(1, 3))


class Anchors(Decoder):
    """Offsets dx, dy, dw, dh from anchors, and scores: concatenated, [B, N, 4], or per level, [B, A * 4, h, w]."""

    def forward(self, canvas: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        levels = len(self.mapping.boxes)
        offsets = torch.cat([self.flat(one, 4) for one in given[:levels]], 1).float()
        width = self.classes + (self.mapping.background != "none")
        logits = torch.cat([self.flat(one, width) for one in given[levels : 2 * levels]], 1)
        anchors = given[-1].float().reshape(-1, 4) if self.mapping.anchors_tensor else self.made(canvas)
        if not self.mapping.anchors_tensor and anchors.shape[0] != offsets.shape[1]:
            raise ExportError(
                f"the mapping's strides, anchor_sizes and anchor_ratios make {anchors.shape[0]} anchors on a canvas of "
                f"{canvas.shape[2]}x{canvas.shape[1]}, the network has {offsets.shape[1]}; correct them"
            )
        size = anchors[:, 2:] - anchors[:, :2]
        offsets = offsets / torch.tensor(self.mapping.delta_weights)
        centre = anchors[:, :2] + size / 2 + offsets[..., :2] * size
        half = offsets[..., 2:].clamp(max=LARGEST).exp() * size / 2
        return torch.cat([centre - half, centre + half], -1), self.activated(logits)

    def flat(self, tensor: Tensor, width: int) -> Tensor:
        """Return a level's tensor as [B, h * w * A, width]; a concatenated one as it is."""
        if tensor.ndim != 4:
            return tensor
        if tensor.shape[1] % width:
            raise ExportError(
                f"the mapping names {self.classes} classes, which do not divide the {tensor.shape[1]} channels of a "
                "level's scores; name them all in `labels`"
            )
        many = tensor.shape[1] // width
        split = tensor.reshape(tensor.shape[0], many, width, tensor.shape[2], tensor.shape[3])
        return split.permute(0, 3, 4, 1, 2).flatten(1, 3)

    def made(self, canvas: Tensor) -> Tensor:
        """Return the anchors of all levels, float32 [N, 4] corners: row by row, cell by cell, ratio by ratio."""
        told, levels = self.mapping, []
        for stride, sizes in zip(told.strides, told.anchor_sizes, strict=True):
            ratio = torch.tensor(told.anchor_ratios).sqrt()
            side = torch.tensor([float(size) for size in sizes])
            width = (side[None] / ratio[:, None]).reshape(-1)
            height = (side[None] * ratio[:, None]).reshape(-1)
            shape = torch.stack([-width, -height, width, height], 1) / 2
            if told.anchor_round:
                shape = shape.round()
            h, w = (-(-canvas.shape[axis] // stride) for axis in (1, 2))
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            centre = (torch.stack([x, y, x, y], -1).float() + told.anchor_shift) * stride
            levels.append((centre[:, :, None] + shape).reshape(-1, 4))
        return torch.cat(levels)
