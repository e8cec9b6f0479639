"""Makes frames and templates for the tests of the scan, and scores them as `matching.scoring` defines it."""

import numpy as np

from sluice.methods import matching
from sluice.methods.scan import engine as scan
from sluice.methods.scan.codes import quantise

CHANNELS = 24


def half(vectors):
    return matching.unit(vectors).astype(np.float16)


def random_frames(rng, n, cells, channels=CHANNELS):
    return half(rng.standard_normal((n, cells, channels)))


def clustered_frames(rng, n, cells, channels=CHANNELS):
    """Return cells near a few prototypes, some far more frequent than others, in proportions of its own per frame."""
    prototypes = rng.standard_normal((40, channels))
    frames = []
    for _ in range(n):
        own = rng.choice(40, size=6, p=(w := 1 / np.arange(1, 41)) / w.sum())
        frames.append(prototypes[rng.choice(own, size=cells)] + 0.4 * rng.standard_normal((cells, channels)))
    return half(np.stack(frames))


def positive_frames(rng, n, cells, channels=CHANNELS):
    """Return cells that are sparse and never negative, as after a ReLU; some cells are zero."""
    return half(np.maximum(rng.standard_normal((n, cells, channels)) - 0.7, 0))


def opposed_frames(rng, n, cells, channels=CHANNELS):
    """Return frames whose cells lie near one direction, so that the opposite template finds only cosines below zero."""
    return half(5 + rng.standard_normal((n, cells, channels)))


def equal_frames(rng, n, cells, channels=CHANNELS):
    """Return a handful of frames again and again, so that everything ties."""
    return random_frames(rng, 4, cells, channels)[rng.integers(0, 4, n)]


KINDS = [random_frames, clustered_frames, positive_frames, opposed_frames, equal_frames]


def block(features, valid=None):
    codes = quantise(features)
    return scan.Block(codes.codes, codes.scale, codes.error, features, valid)


def gallery(rng, kind, counts=(23, 0, 41), cells=(12, 8, 9), channels=CHANNELS):
    """Return blocks of different sizes, one of them empty, with different cells per frame and cells off the picture."""
    blocks = []
    for n, p in zip(counts, cells, strict=True):
        features = kind(rng, n, p, channels) if n else np.zeros((0, p, channels), np.float16)
        valid = np.ones((n, p), bool)
        valid[::2, :2] = False
        features[::2, :2] = features[::2, 2:3]
        blocks.append(block(features, valid))
    return blocks


def some_templates(rng, kind, sizes=(5, 1, 7), query=(0, 0, 1), channels=CHANNELS):
    rows = [matching.unit(kind(rng, 1, size, channels)[0]) for size in sizes]
    rows[1] = -rows[1]
    return matching.stack(rows, query=query, cells=[20, 20, 30])


def plain(blocks, rows, templates, form, combine):
    """Score every allowed frame as `matching.scoring` defines it: (block, row) and scores [N, lists], [N, R]."""
    places, scores = [], []
    for b, own in enumerate(blocks):
        for row in range(len(own.codes)) if rows is None or rows[b] is None else sorted(rows[b]):
            places.append((b, row))
            scores.append(matching.scores(own.exact[row], templates, form, own.valid[row]))
    scores = np.array(scores).reshape(-1, len(templates.query))
    return places, matching.combine(scores, combine, templates.query, form).reshape(len(scores), -1), scores


def same(result, other):
    for field in ("block", "row", "scores", "query", "roi_scores"):
        np.testing.assert_array_equal(getattr(result, field), getattr(other, field), err_msg=field)
