"""Measures for which words `compare`, and `retrieve` by words, find the frames that show what the words say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from bench import report
from bench.class_names import CAMVID, listed
from bench.miou.frames import Part, encoded
from bench.segment_process import InProcess
from sluice import contracts
from sluice.methods import grouping
from sluice.models import image_grouper, text_embedder
from sluice.wire import compare

# One text per class of CamVid, as a caller would write it.
TEXTS = listed(
    "the sky, a building, a pole, a road, a pavement, trees, a sign, a fence, a car, a pedestrian, a bicyclist"
)
LEAST = (0.003, 0.03)  # of a frame's pixels, from which on the frame counts as showing a class
RESAMPLES = 1000


def measure(here: InProcess, part: Part) -> None:
    """Print the average precision of each text when the frames are ordered by their similarity to it."""
    seen = contracts.configured(compare.Config, contracts.ROOT / "ensembles", "compare")
    frames = [asyncio.run(image_grouper.embed(here.call, encoded(frame.image), seen)) for frame in part.frames]
    words = asyncio.run(text_embedder.embed(here.call, TEXTS))
    cosine = grouping.similarity(np.stack(frames), words.vectors)
    shares = np.stack(
        [np.bincount(f.labels.ravel(), minlength=256)[: len(CAMVID)] / f.labels.size for f in part.frames]
    )
    rows = [
        (text, f"{least:.1%}", *_row(cosine[:, column], shares[:, column] >= least))
        for column, text in enumerate(TEXTS)
        for least in LEAST
    ]
    report.table(
        f"average precision of words, {part.title}",
        ["text", "shown from", "share of frames", "AP", "times chance", "low", "high"],
        [row for row in rows if row[2] not in (0, 1)],
    )


def _row(scores: np.ndarray, shown: np.ndarray) -> Sequence[float]:
    """Return the share of frames that show a class, the average precision, its ratio to the share, and the middle 95 %
    of the ratio when frames are drawn with replacement. The share is what an order by chance reaches."""
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(shown), (RESAMPLES, len(shown)))
    ratios = [average_precision(scores[d], shown[d]) / shown[d].mean() for d in draws if shown[d].any()]
    if not ratios:
        return shown.mean(), np.nan, np.nan, np.nan, np.nan
    found = average_precision(scores, shown)
    return shown.mean(), found, found / shown.mean(), *np.percentile(ratios, [2.5, 97.5])


def average_precision(scores: np.ndarray, shown: np.ndarray) -> float:
    """Return the mean, over the frames that are to be found, of the precision at their place. Equal scores keep their
    order. scores: [n]; shown: bool [n], at least one of them True."""
    found = shown[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(found) / np.arange(1, len(found) + 1))[found].mean())
