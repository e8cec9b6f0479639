"""Small detectors with random weights, exported as users export theirs, and long-hand readings of them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

YOLO_ANCHORS = [[[20, 24], [40, 36], [64, 90]], [[80, 60], [120, 140], [200, 160]]]
STRIDES = [16, 32]
SIZES = [[32.0, 48.0], [64.0, 96.0]]  # of RetinaNet's anchors per level
RATIOS = [0.5, 1.0, 2.0]


class Trunk(nn.Module):
    """Two maps, at strides 16 and 32, with dropout between."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 8, 8), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())
        self.drop = nn.Dropout(0.3)
        self.down = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())

    def forward(self, x):
        fine = self.drop(self.stem(x))
        return fine, self.down(fine)


class YoloGrids(nn.Module):
    """Raw heads, [B, 3 * (5 + C), h, w] per stride."""

    def __init__(self, classes: int, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__()
        self.trunk = Trunk()
        self.heads = nn.ModuleList(nn.Conv2d(12, 3 * (5 + classes), 1) for _ in STRIDES)
        for head in self.heads:
            nn.init.normal_(head.weight, std=1.5)

    def forward(self, images):
        return tuple(head(level) for head, level in zip(self.heads, self.trunk(images), strict=True))


class YoloDecoded(nn.Module):
    """Decoded heads like YOLOv8's, [B, 4 + C, N]: centre and size in pixels, and scores."""

    def __init__(self, classes: int, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__()
        self.trunk, self.head = Trunk(), nn.Conv2d(12, 4 + classes, 1)
        nn.init.normal_(self.head.weight, std=1.5)

    def forward(self, images):
        _, coarse = self.trunk(images)
        raw = self.head(coarse)
        y, x = torch.meshgrid(torch.arange(raw.shape[2]), torch.arange(raw.shape[3]), indexing="ij")
        centre = (torch.stack([x, y]) + raw[:, :2].sigmoid()) * 32
        found = torch.cat([centre, raw[:, 2:4].sigmoid() * 150 + 8, raw[:, 4:].sigmoid()], 1)
        return found.flatten(2)


class RetinaNet(nn.Module):
    """Logits [B, N, C] and offsets [B, N, 4] of six anchors per cell, all levels side by side as torchvision's head."""

    def __init__(self, classes: int, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__()
        self.trunk, self.classes = Trunk(), classes
        self.score, self.place = nn.Conv2d(12, 6 * classes, 3, 1, 1), nn.Conv2d(12, 6 * 4, 3, 1, 1)
        nn.init.normal_(self.score.weight, std=0.5)

    def forward(self, images):
        levels = self.trunk(images)

        def flat(head, k):
            parts = []
            for level in levels:
                raw = head(level)
                parts.append(raw.unflatten(1, (6, k)).permute(0, 3, 4, 1, 2).flatten(1, 3))
            return torch.cat(parts, 1)

        return flat(self.score, self.classes), flat(self.place, 4)


class RetinaLevels(RetinaNet):
    """The same, with a tensor of logits and one of offsets per level, [B, 6 * C, h, w] and [B, 6 * 4, h, w]."""

    def forward(self, images):
        levels = self.trunk(images)
        return (*(self.score(level) for level in levels), *(self.place(level) for level in levels))


class YoloBins(nn.Module):
    """Raw heads of YOLOv8, [B, 64 + C, h, w] per stride."""

    def __init__(self, classes: int, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__()
        self.trunk = Trunk()
        self.heads = nn.ModuleList(nn.Conv2d(12, 64 + classes, 1) for _ in STRIDES)
        for head in self.heads:
            nn.init.normal_(head.weight, std=1.5)

    def forward(self, images):
        return tuple(head(level) for head, level in zip(self.heads, self.trunk(images), strict=True))


class Finished(nn.Module):
    """The form that torchvision exports: one image [3, H, W] in; boxes [K, 4], labels [K] from 1, scores [K] out."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__()
        self.head = nn.Conv2d(3, 7, 64, 64)

    def forward(self, image):
        raw = self.head(image[None])[0].flatten(1).T
        low = raw[:, :2].sigmoid() * 100
        return torch.cat([low, low + 20 + raw[:, 2:4].sigmoid() * 60], 1), raw[:, 5:].argmax(1) + 1, raw[:, 4].sigmoid()


def write(
    path: Path,
    module: nn.Module,
    inputs: str,
    outputs: list[str],
    shape: tuple[int, ...],
    free: bool = True,
    **more: object,
) -> Path:
    """Export a module as users do. free: whether the batch is free, and with four axes height and width, too."""
    axes = {inputs: {0: "b", 2: "h", 3: "w"}, **{name: {0: "b"} for name in outputs}} if free else {}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            torch.rand(shape),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=[inputs],
            output_names=outputs,
            dynamic_axes=axes,
            **more,
        )
    path.write_bytes(buffer.getvalue())
    return path


def detr(seed: int = 0, queries: int = 12, classes: int = 3):
    """Return transformers' DETR with a tiny ResNet of random weights."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    torch.manual_seed(seed)
    trunk = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    config = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=trunk,
        num_queries=queries,
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_labels=classes,
    )  # fmt: skip
    model = DetrForObjectDetection(config).eval()
    for name, weights in model.named_parameters():  # else all queries would give one box
        if name.startswith("model.decoder") or "query_position" in name or "predictor" in name or "classifier" in name:
            nn.init.normal_(weights, std=2.0 if "query_position" in name else 0.4)
    return model


class DetrOutputs(nn.Module):
    """The two outputs of DETR that a user exports."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        found = self.model(pixel_values, pixel_mask=torch.ones_like(pixel_values[:, 0]).long())
        return found.logits, found.pred_boxes


def suppressed(boxes: np.ndarray, scores: np.ndarray, least: float, iou: float) -> list[tuple[int, float, list[float]]]:
    """Suppress by hand, class by class: boxes [N, 4] corners, scores [N, C]. Returns class, score, box; best first."""
    found = []
    for c in range(scores.shape[1]):
        kept: list[int] = []
        for i in sorted(np.flatnonzero(scores[:, c] >= least), key=lambda i: -scores[i, c]):
            if all(overlap(boxes[i], boxes[j]) <= iou for j in kept):
                kept.append(int(i))
        found += [(c, float(scores[i, c]), boxes[i].tolist()) for i in kept]
    return sorted(found, key=lambda one: -one[1])


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    union = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared
    return shared / union if union > 0 else 0.0


def yolo_boxes(grids: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Read raw heads as YOLOv5 publishes it, cell by cell: boxes [N, 4] corners, scores [N, C]."""
    boxes, scores = [], []
    for stride, anchors, grid in zip(STRIDES, YOLO_ANCHORS, grids, strict=True):
        cells = grid.reshape(3, -1, *grid.shape[-2:])
        for a, (aw, ah) in enumerate(anchors):
            for y in range(cells.shape[2]):
                for x in range(cells.shape[3]):
                    p = 1 / (1 + np.exp(-cells[a, :, y, x].astype(np.float64)))
                    cx, cy = (p[0] * 2 - 0.5 + x) * stride, (p[1] * 2 - 0.5 + y) * stride
                    w, h = (p[2] * 2) ** 2 * aw, (p[3] * 2) ** 2 * ah
                    boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                    best = int(np.argmax(p[5:]))
                    scores.append([p[4] * p[5 + c] if c == best else 0 for c in range(len(p) - 5)])
    return np.array(boxes), np.array(scores)


def bins_boxes(grids: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Read raw heads as YOLOv8 publishes it, cell by cell: boxes [N, 4] corners, scores [N, C]."""
    boxes, scores = [], []
    for stride, grid in zip(STRIDES, grids, strict=True):
        for y in range(grid.shape[1]):
            for x in range(grid.shape[2]):
                share = np.exp(grid[:64, y, x].astype(np.float64).reshape(4, 16))
                left, top, right, bottom = (share * np.arange(16)).sum(1) / share.sum(1)
                corners = (x + 0.5 - left, y + 0.5 - top, x + 0.5 + right, y + 0.5 + bottom)
                boxes.append([value * stride for value in corners])
                p = 1 / (1 + np.exp(-grid[64:, y, x].astype(np.float64)))
                scores.append(np.where(np.arange(len(p)) == p.argmax(), p, 0))
    return np.array(boxes), np.array(scores)


def retina_boxes(logits: np.ndarray, offsets: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Read RetinaNet's outputs of one image as its paper and torchvision do, anchor by anchor."""
    boxes, n = [], 0
    for stride, sizes in zip(STRIDES, SIZES, strict=True):
        for y in range(height // stride):
            for x in range(width // stride):
                for ratio in RATIOS:
                    for size in sizes:
                        w, h = size / ratio**0.5, size * ratio**0.5
                        x0, y0, x1, y1 = (round(v) for v in (-w / 2, -h / 2, w / 2, h / 2))
                        dx, dy, dw, dh = offsets[n]
                        cx = x * stride + (x0 + x1) / 2 + dx * (x1 - x0)
                        cy = y * stride + (y0 + y1) / 2 + dy * (y1 - y0)
                        w, h = np.exp(dw) * (x1 - x0), np.exp(dh) * (y1 - y0)
                        boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                        n += 1
    assert n == len(offsets)
    return np.array(boxes), 1 / (1 + np.exp(-logits.astype(np.float64)))
