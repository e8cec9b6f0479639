"""Computes what `bench recall` ranks frames by: feature maps, three scores, recall@N and average precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sluice import images
from sluice.methods import matching

METHODS = ("DTM", "whole-image pooling", "ROI-mean pooling")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class View:
    """A frame as retrieval knows it.

    features: [h, w, C] float16, every cell of length 1. mean: [C] float32, the mean of the cells, scaled to length 1.
    """

    features: np.ndarray
    geometry: images.Geometry
    mean: np.ndarray


class Extractor:
    """Computes feature maps of images, by the trained weights (torch) or by an exported graph (ONNX Runtime)."""

    def __init__(self, weights: Path, threads: int, canvas: tuple[int, int] | None = None):
        self.sizes = [canvas] if canvas else images.Config().sizes
        self.run: Callable[[np.ndarray], np.ndarray]
        if weights.suffix == ".onnx":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
            self.run = lambda batch: session.run(None, {session.get_inputs()[0].name: batch})[0]
        else:
            import torch

            from export.matching.network import load

            torch.set_num_threads(threads)
            network = load(weights).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits this form

            def run(batch: np.ndarray) -> np.ndarray:
                with torch.inference_mode():
                    return network(torch.from_numpy(batch)).numpy()

            self.run = run

    def __call__(self, image: np.ndarray) -> View:
        """Return the view of an image, scaled onto a canvas as the server's decoder does.

        image: [H, W, 3] uint8 RGB of any size.
        """
        height, width = image.shape[:2]
        (canvas_width, canvas_height), geometry = images.place(width, height, self.sizes)
        content = round(width * geometry.scale_x), round(height * geometry.scale_y)
        canvas = np.full((1, canvas_height, canvas_width, 3), images.GREY, np.uint8)
        x, y = int(geometry.left), int(geometry.top)
        scaled = Image.fromarray(image).resize(content, Image.Resampling.BILINEAR)
        canvas[0, y : y + content[1], x : x + content[0]] = np.asarray(scaled)
        features = self.run(canvas)[0]
        grid = features.shape[0], features.shape[1]
        valid = images.valid_cells(geometry, grid, matching.stride_of(geometry, grid))
        # The mean is over the cells that lie on the image, because only those are kept by the gallery.
        return View(features, geometry, matching.unit(features[valid].astype(np.float32).mean(axis=0)))


@dataclass(frozen=True)
class Query:
    """A region of a frame, ready to compare.

    rows: [q, C] the region's cells. pooled: [C] their mean, and whole: [C] the mean of the frame, both of length 1.
    """

    rows: np.ndarray
    pooled: np.ndarray
    whole: np.ndarray

    @classmethod
    def of(cls, view: View, box: Box) -> Query:
        """Return the region of a frame that a box (x0, y0, x1, y1), pixels, marks."""
        grid = view.features.shape[0], view.features.shape[1]
        rows = matching.template(view.features, matching.roi_cells(box, view.geometry, grid))
        return cls(rows, matching.unit(rows.mean(axis=0)), view.mean)


def scores(queries: list[Query], views: Iterable[View]) -> np.ndarray:
    """Return how well every frame answers every query, [3, queries, frames] float32, first axis as METHODS."""
    templates = matching.stack([q.rows for q in queries])  # each query is a region: one pass over a frame serves all
    pooled, whole = np.stack([q.pooled for q in queries]), np.stack([q.whole for q in queries])
    found = []
    for view in views:
        dtm = matching.image_scores(view.features, templates, view.geometry)
        found.append((dtm, whole @ view.mean, pooled @ view.mean))
    return np.array(found, np.float32).transpose(1, 2, 0)


def recall_at(scores: np.ndarray, positive: np.ndarray, n: int) -> float:
    """Return the share of the positive items that are among the n best scored; equal scores count against us.

    scores: [N] float; positive: [N] bool, at least one True.
    """
    order = np.lexsort((positive, -np.asarray(scores)))
    return float(positive[order[:n]].sum() / positive.sum())


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the mean, over the positive items, of the precision at their rank; equal scores count against us."""
    hits = positive[np.lexsort((positive, -np.asarray(scores)))]
    places = np.flatnonzero(hits) + 1
    return float((np.arange(1, len(places) + 1) / places).mean())


def judged(scores: np.ndarray, positive: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return recall among the n best scored, and average precision, per method: [M] each.

    scores: [M, N] float, a row per method; positive: [N] bool, at least one True.
    """
    recall = [recall_at(row, positive, n) for row in scores]
    return np.array(recall), np.array([average_precision(row, positive) for row in scores])
