"""From groups to classes: the two rules by which the pixels of a picture get scores, one map a class at a time.

`Official` is the published rule: a pixel belongs to the group that claims it most, and has that group's scores, which
are two softmaxes multiplied: over all classes, and over the few that the whole picture looks like. `Plain` needs no
such steps: a pixel's score is the mean cosine of the groups by their share in it, so borders follow the shares.

Neither ever holds a number for every class at every pixel: `layer` makes the map of one class at the working size, and
`classes` are the only ones that can win somewhere, so a thousand names cost little more than the few that are there.

Source: Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022, and its evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sluice.activations import softmax
from sluice.errors import InvalidArgument
from sluice.methods.grouping.upsampling import Upsampling, overtake, strongest, upsample
from sluice.methods.grouping.windows import Plan

TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Grouped:
    """What the grouping network says of the W windows of one picture, float32.

    groups:     [W, G, E] one unit vector a group.
    embedding:  [W, E] unit vector of the whole window.
    assignment: [W, G, h, w] share of each group in each patch; sums to 1 over G.

    Raises InvalidArgument naming the tensor whose shape does not fit the others', and for numbers that are not finite.
    """

    groups: np.ndarray
    embedding: np.ndarray
    assignment: np.ndarray

    def __post_init__(self) -> None:
        for name in ("groups", "embedding", "assignment"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float32))
        if self.groups.ndim != 3 or 0 in self.groups.shape or self.groups.shape[1] > 256:
            raise InvalidArgument(
                "GROUPS is [W, G, E]: windows, groups (256 at most), channels; got " + str(list(self.groups.shape))
            )
        w, g, e = self.groups.shape
        if self.embedding.shape != (w, e):
            raise InvalidArgument(f"EMBEDDING must be {[w, e]} beside GROUPS; got {list(self.embedding.shape)}")
        if self.assignment.ndim != 4 or self.assignment.shape[:2] != (w, g) or 0 in self.assignment.shape:
            raise InvalidArgument(
                f"ASSIGNMENT must be [{w}, {g}, h, w] beside GROUPS; got {list(self.assignment.shape)}"
            )
        for name in ("groups", "embedding", "assignment"):
            if not np.isfinite(getattr(self, name)).all():
                raise InvalidArgument(
                    f"{name.upper()} holds NaN or infinite numbers; the network or its input is broken"
                )

    def __len__(self) -> int:
        """W."""
        return len(self.groups)


def cosines(vectors: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Similarity of unit vectors [..., E] with unit vectors of classes [C, E]: float64 [..., C], -1 to 1.

    A cosine depends on its own two vectors alone, to the last bit: equal classes have equal scores, and so have equal
    pictures, wherever they stand and whatever else is asked.
    """
    vectors, classes = (np.ascontiguousarray(part, np.float64) for part in (vectors, classes))
    # Not a matrix product: a BLAS sums the columns at its blocks' ends in another order than those in the middle.
    rows = np.einsum("re,ce->rc", vectors.reshape(-1, vectors.shape[-1]), classes)
    return rows.reshape(*vectors.shape[:-1], len(classes))


def official_scores(groups: np.ndarray, whole: np.ndarray, scale: float, top: int = 5) -> np.ndarray:
    """Scores of the groups by the published rule: softmax over all classes times softmax over the picture's best.

    groups: [..., G, C] cosines of the groups; whole: [..., C] of the whole window.
    scale: what the network multiplies cosines by, > 0. top: how many classes the picture may show.
    Returns float64 [..., G, C], 0 to 1; 0 for classes that are not among the best. Ties for the last go to the first.
    """
    order = np.argsort(-whole, axis=-1, kind="stable")
    chosen = np.zeros(whole.shape, bool)
    np.put_along_axis(chosen, order[..., :top], True, axis=-1)
    logits = scale * groups
    return softmax(np.where(chosen[..., None, :], logits, -np.inf), -1) * softmax(logits, -1)


def unclaimed(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Which groups are background: those whose best score is below the threshold, or below the window's best of all
    where even that does not reach it, so that a window is never background alone.

    scores: [..., G, C]; returns bool [..., G].
    """
    best = scores.max(axis=-1)
    return best < np.minimum(threshold, best.max(axis=-1, keepdims=True))


class Official:
    """The published rule on the windows of one picture."""

    def __init__(
        self, grouped: Grouped, classes: np.ndarray, scale: float, plan: Plan, top: int, threshold: float | None
    ):
        """classes: [C, E] unit vectors. top: as in `official_scores`. threshold: as in `unclaimed`; None: no
        background."""
        self._plan, self._counts = plan, plan.counts()
        self.groups = [strongest(assignment, plan.window) for assignment in grouped.assignment]
        scores = official_scores(cosines(grouped.groups, classes), cosines(grouped.embedding, classes), scale, top)
        # A group that looks like none of the best has scores below float32's least, and still one class is the best.
        self._scores = np.where(scores > 0, np.maximum(scores, TINY), 0).astype(np.float32)
        self._ground = None if threshold is None else unclaimed(self._scores, threshold)
        self.classes = np.flatnonzero((self._scores > 0).any(axis=(0, 1)))
        # All over the picture: between two groups a class may win that is the best of neither.
        self.boxes = np.tile([0, plan.working[0] - 1, 0, plan.working[1] - 1], (len(self.classes), 1))

    def layer(self, index: int) -> np.ndarray:
        """Score of one class at the working size, mean over the windows: float32 [h, w], 0 to 1."""
        return self._mean(self._scores[:, :, index])

    def ground(self) -> np.ndarray | None:
        """The background's score, 1 where all windows say so: float32 [h, w]; None: the rule has no background."""
        return None if self._ground is None else self._mean(self._ground.astype(np.float32))

    def confidence(self, best: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Of rows start to stop of the result, given the score of the best class there: the score itself."""
        return best

    def named(self) -> tuple[np.ndarray, np.ndarray]:
        """What each group is: index of its class, -1 for background, int64 [W, G]; and the score, float32 [W, G]."""
        name = self._scores.argmax(axis=-1)
        return name if self._ground is None else np.where(self._ground, -1, name), self._scores.max(axis=-1)

    def _mean(self, values: np.ndarray) -> np.ndarray:
        """[W, G] numbers, one a group, laid over the groups' pixels and averaged over the windows."""
        total = np.zeros(self._plan.working, np.float32)
        height, width = self._plan.window
        for (top, left), groups, value in zip(self._plan.corners, self.groups, values, strict=True):
            if value.any():
                total[top : top + height, left : left + width] += value[groups]
        total /= self._counts
        return total


class Plain:
    """Mean cosine of the groups by their share: the picture's own likelihood, without the published rule's steps."""

    def __init__(self, grouped: Grouped, classes: np.ndarray, scale: float, plan: Plan, size: tuple[int, int]):
        """classes: [C, E] unit vectors. size: of the result, (H, W)."""
        self._grouped, self._plan, self._scale, self._size = grouped, plan, scale, size
        self._counts = plan.counts()
        self._cosines = cosines(grouped.groups, classes).astype(np.float32)
        self._first, self._times = _distinct(self._cosines.reshape(-1, len(classes)))
        self._best, winner = self._survey()
        self.classes, self.boxes = _boxes(winner)

    @cached_property
    def groups(self) -> list[np.ndarray]:
        """The group of each pixel, uint8 [H, W] a window; of no use to the masks, so made when it is asked for."""
        return [strongest(assignment, self._plan.window) for assignment in self._grouped.assignment]

    def layer(self, index: int) -> np.ndarray:
        """Score of one class at the working size, mean over the windows: float32 [h, w], -1 to 1."""
        # The mean of maps upsampled is that of the maps.
        shares = zip(self._cosines[:, :, index], self._grouped.assignment, strict=True)
        # Not a matrix product, see `cosines`: a pixel's sum is made the same way for every class and at every place.
        maps = (np.einsum("g,ghw->hw", cosine, assignment) for cosine, assignment in shares)
        windows = (upsample(one, self._plan.window) for one in maps)
        if len(self._plan) == 1:
            return next(windows)
        total = np.zeros(self._plan.working, np.float32)
        height, width = self._plan.window
        for (top, left), window in zip(self._plan.corners, windows, strict=True):
            total[top : top + height, left : left + width] += window
        total /= self._counts
        return total

    def ground(self) -> None:
        """This rule has no background of its own; see `Options.background`."""
        return None

    def confidence(self, best: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Of rows start to stop of the result, given the score of the best class there: its share in the softmax."""
        return np.minimum(np.exp(self._scale * best - self._evidence.rows(start, stop)), 1)

    def named(self) -> tuple[np.ndarray, np.ndarray]:
        """What each group is: index of its class, int64 [W, G]; and that class's share, float32 [W, G]."""
        shares = softmax(self._scale * self._cosines, -1)
        return self._cosines.argmax(axis=-1), shares.max(axis=-1)

    def _survey(self) -> tuple[np.ndarray, np.ndarray]:
        """At each pixel of the working size the best score, float32 [h, w], and the class that has it, uint16."""
        best, winner = self.layer(0), np.zeros(self._plan.working, np.uint16)
        for index in self._first[1:]:
            overtake(best, winner, self.layer(index), index)
        return best, winner

    @cached_property
    def _evidence(self) -> Upsampling:
        """The logarithm of the softmax's sum at the working size, as maps of the result's."""
        total = np.zeros(self._plan.working, np.float32)
        for index, times in zip(self._first, self._times, strict=True):
            power = self.layer(index)
            power -= self._best
            power *= self._scale
            np.exp(power, out=power)
            power *= times
            total += power
        return Upsampling(np.log(total) + self._scale * self._best, self._size)


def _distinct(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes that the groups tell apart: index of the first of each kind, rising, and how many are of that kind.

    Words that the network has never learned all mean the same to it, and a score at every pixel is made once for them.

    cosines: [W * G, C].
    """
    _, first, times = np.unique(cosines, axis=1, return_index=True, return_counts=True)
    order = np.argsort(first)
    return first[order], times[order]


def _boxes(winner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes of a picture of classes, rising, and where they are: first and last row, first and last column."""
    classes = np.flatnonzero(np.bincount(winner.ravel()))
    boxes = []
    for index in classes:
        own = winner == index
        rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
        boxes.append([rows[0], rows[-1], columns[0], columns[-1]])
    return classes, np.array(boxes)
