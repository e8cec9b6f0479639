"""Rules: from groups to classes, one map of scores per class at a time.

`Official` is the published rule. A pixel belongs to the group with the largest share in it, and has the scores of that
group: the product of two softmaxes, over all classes and over the few classes that the whole image looks like. `Plain`
has fewer steps: the score of a pixel is the mean cosine of the groups, weighted by their shares in it, so borders
follow the shares. `Guided` makes probabilities of the plain scores at each patch, and smooths them along the surfaces
that the picture shows (`grouping.guided_filter`).

Neither rule ever holds a number for every class at every pixel. `layer` makes the map of one class at the working size,
and `classes` are those that can win somewhere, so a thousand names cost little more than the few that the image shows.

Source: Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022, and its evaluation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from sluice.activations import softmax
from sluice.errors import InvalidArgument
from sluice.methods.grouping.guided_filter import GuidedFilter
from sluice.methods.grouping.painting import Rule
from sluice.methods.grouping.upsampling import Upsampling, overtake, strongest, upsample
from sluice.methods.grouping.windows import Plan

TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Grouped:
    """The grouping network's answer for the V windows of one image, taken as float32.

    groups:     [V, G, E] one unit vector per group, G of 256 or less.
    embedding:  [V, E] unit vector of the whole window.
    assignment: [V, G, h, w] share of each group in each patch; sums to 1 over G.
    windows:    uint8 [V, H, W, 3] RGB, as the network saw them; None where no rule asks for them.

    Raises InvalidArgument, which names the tensor, for a shape that does not fit the others and for numbers that are
    not finite.
    """

    groups: np.ndarray
    embedding: np.ndarray
    assignment: np.ndarray
    windows: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("groups", "embedding", "assignment"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float32))
        if self.groups.ndim != 3 or 0 in self.groups.shape or self.groups.shape[1] > 256:
            raise InvalidArgument(
                "GROUPS is [V, G, E]: windows, groups (256 at most), channels; got " + str(list(self.groups.shape))
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
        """Return V, the number of windows."""
        return len(self.groups)


def cosines(vectors: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the cosine of unit vectors [..., E] with unit vectors of classes [C, E]: float64 [..., C], -1 to 1.

    A cosine depends on its own two vectors alone, to the last bit. So equal classes have equal scores, and so have
    equal images, at any place and beside any others.
    """
    vectors, classes = (np.ascontiguousarray(part, np.float64) for part in (vectors, classes))
    # Not a matrix product: a BLAS sums columns at the end of its blocks in another order than those in the middle.
    rows = np.einsum("re,ce->rc", vectors.reshape(-1, vectors.shape[-1]), classes)
    return rows.reshape(*vectors.shape[:-1], len(classes))


def official_scores(groups: np.ndarray, whole: np.ndarray, scale: float, top: int = 5) -> np.ndarray:
    """Score groups by the published rule: softmax over all classes times softmax over the window's best classes.

    groups: [..., G, C] cosines of the groups. whole: [..., C] cosines of the whole window.
    scale: the factor by which the network multiplies cosines, > 0. top: how many classes a window may show.
    Returns float64 [..., G, C], 0 to 1; 0 for classes that are not among the `top` best of the window. Of equal classes
    the first are taken.
    """
    order = np.argsort(-whole, axis=-1, kind="stable")
    chosen = np.zeros(whole.shape, bool)
    np.put_along_axis(chosen, order[..., :top], True, axis=-1)
    logits = scale * groups
    return softmax(np.where(chosen[..., None, :], logits, -np.inf), -1) * softmax(logits, -1)


def unclaimed(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Tell which groups are background, bool [..., G]: those whose best score is below the threshold.

    scores: [..., G, C]. If no group of a window reaches the threshold, the window's best score takes its place, so that
    a window is never background alone.
    """
    best = scores.max(axis=-1)
    return best < np.minimum(threshold, best.max(axis=-1, keepdims=True))


class Official:
    """The published rule on the windows of one image."""

    by_group = True

    def __init__(
        self, grouped: Grouped, classes: np.ndarray, scale: float, plan: Plan, top: int, background: float | None
    ):
        """Score all groups.

        classes: [C, E] unit vectors. top: as in `official_scores`.
        background: threshold as in `unclaimed`; None means that no pixel is background.
        """
        self._plan, self._counts = plan, plan.counts()
        self.groups = [strongest(assignment, plan.window) for assignment in grouped.assignment]
        scores = official_scores(cosines(grouped.groups, classes), cosines(grouped.embedding, classes), scale, top)
        # The scores of a group that looks like none of the window's best classes may be too small for float32. They are
        # kept above 0, so that the group still has a best class.
        self._scores = np.where(scores > 0, np.maximum(scores, TINY), 0).astype(np.float32)
        self._ground = None if background is None else unclaimed(self._scores, background)
        self.classes = np.flatnonzero((self._scores > 0).any(axis=(0, 1)))
        # All over the image: where maps are interpolated between two groups, a class may win that is best in neither.
        self.boxes = np.tile([0, plan.working[0] - 1, 0, plan.working[1] - 1], (len(self.classes), 1))

    def layer(self, index: int) -> np.ndarray:
        """Return the score of one class at the working size, mean over the windows: float32 [h, w], 0 to 1."""
        return self._mean(self._scores[:, :, index])

    def ground(self) -> np.ndarray | None:
        """Return the share of windows in which a pixel is background, float32 [h, w]; None without a threshold."""
        return None if self._ground is None else self._mean(self._ground.astype(np.float32))

    def confidence(self, best: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Return the best scores of rows start to stop as they are, because they are the confidence."""
        return best

    def named(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the class of each group, int64 [V, G], -1 for background; and its score, float32 [V, G]."""
        name = self._scores.argmax(axis=-1)
        return name if self._ground is None else np.where(self._ground, -1, name), self._scores.max(axis=-1)

    def _mean(self, values: np.ndarray) -> np.ndarray:
        """Lay one number per group [V, G] over the pixels of the groups, and average over the windows: [h, w]."""
        total = np.zeros(self._plan.working, np.float32)
        height, width = self._plan.window
        for (top, left), groups, value in zip(self._plan.corners, self.groups, values, strict=True):
            if value.any():
                total[top : top + height, left : left + width] += value[groups]
        total /= self._counts
        return total


class ByPixel(ABC):
    """The part that the plain and the guided rule share: scores at each pixel, from the groups' cosines."""

    by_group = False

    def __init__(self, grouped: Grouped, classes: np.ndarray, scale: float, plan: Plan):
        """classes: [C, E] unit vectors."""
        self._grouped, self._scale, self._plan = grouped, scale, plan
        self._cosines = cosines(grouped.groups, classes).astype(np.float32)
        self._first, self._times = _distinct(self._cosines.reshape(-1, len(classes)))

    @cached_property
    def groups(self) -> list[np.ndarray]:
        """Return the group of each pixel, one uint8 [h, w] per window; the masks do without it, so it is made late."""
        return [strongest(assignment, self._plan.window) for assignment in self._grouped.assignment]

    @abstractmethod
    def layer(self, index: int) -> np.ndarray:
        """Return the score of one class, mean over the windows: float32 [h, w]."""

    def ground(self) -> None:
        """Return None: `grouping.segment` decides the background by pixel, see `Rule.by_group`."""
        return None

    def named(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the class of each group, int64 [V, G]; and its softmax over classes, float32 [V, G]."""
        shares = softmax(self._scale * self._cosines, -1)
        return self._cosines.argmax(axis=-1), shares.max(axis=-1)

    def _mean_cosine(self, index: int) -> np.ndarray:
        """Return the mean cosine of the groups with one class, weighted by their shares: float32 [V, h, w]."""
        # Not a matrix product, as in `cosines`: a patch's sum is made the same way for every class and at every place.
        return np.einsum("vg,vghw->vhw", self._cosines[:, :, index], self._grouped.assignment)

    def _survey(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the best score at each pixel of the layers, float32 [h, w], and its class, uint16 [h, w]."""
        best = self.layer(0)
        winner = np.zeros(best.shape, np.uint16)
        for index in self._first[1:]:
            overtake(best, winner, self.layer(index), index)
        return best, winner

    def _laid(self, maps: np.ndarray) -> np.ndarray:
        """Upsample maps [V, h, w] to their windows, and average over the windows: float32 [h, w] of the working
        size."""
        if len(self._plan) == 1:
            return upsample(maps[0], self._plan.window)
        total = np.zeros(self._plan.working, np.float32)
        height, width = self._plan.window
        for (top, left), one in zip(self._plan.corners, maps, strict=True):
            total[top : top + height, left : left + width] += upsample(one, self._plan.window)
        total /= self._plan.counts()
        return total


class Plain(ByPixel):
    """The plain rule on the windows of one image: the mean of the groups' cosines, weighted by their shares."""

    def __init__(
        self, grouped: Grouped, classes: np.ndarray, scale: float, plan: Plan, top: int, background: float | None
    ):
        """Find the best class of each pixel at the working size.

        classes: [C, E] unit vectors. top, background: not used by this rule; see `Rule.by_group`.
        """
        super().__init__(grouped, classes, scale, plan)
        self._best, winner = self._survey()
        self.classes, self.boxes = _boxes(winner)

    def layer(self, index: int) -> np.ndarray:
        """Return the score of one class at the working size, mean over the windows: float32 [h, w], -1 to 1."""
        # Upsampling is linear, so the groups are averaged first and one map per window is upsampled.
        return self._laid(self._mean_cosine(index))

    def confidence(self, best: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Return the softmax over classes at the best class of rows start to stop, given the best scores there."""
        return np.minimum(np.exp(self._scale * best - self._evidence.rows(start, stop)), 1)

    @cached_property
    def _evidence(self) -> Upsampling:
        """Return the logarithm of the softmax's denominator, made at the working size, as maps of the result's size."""
        total = np.zeros(self._plan.working, np.float32)
        for index, times in zip(self._first, self._times, strict=True):
            power = self.layer(index)
            power -= self._best
            power *= self._scale
            np.exp(power, out=power)
            power *= times
            total += power
        return Upsampling(np.log(total) + self._scale * self._best, self._plan.size)


class Guided(ByPixel):
    """The guided rule on the windows of one image: probabilities of the patches, smoothed along surfaces."""

    def __init__(
        self, grouped: Grouped, classes: np.ndarray, scale: float, plan: Plan, top: int, background: float | None
    ):
        """Find the classes that win somewhere.

        classes: [C, E] unit vectors. top, background: not used by this rule; see `Rule.by_group`.
        Raises ValueError if `grouped` lacks its windows.
        """
        super().__init__(grouped, classes, scale, plan)
        if grouped.windows is None:
            raise ValueError("the guided rule needs the windows as the network saw them, got None")
        height, width = grouped.assignment.shape[2:]
        self._filter = GuidedFilter(grouped.windows, (height, width))
        powers = (self._logits(index) + np.log(times) for index, times in zip(self._first, self._times, strict=True))
        self._evidence = reduce(np.logaddexp, powers)
        _, winner = self._survey()
        self.classes, self.boxes = _boxes(winner)

    def layer(self, index: int) -> np.ndarray:
        """Return the probability of one class, mean over the windows: float32 [h, w], about 0 to 1.

        Its size is that of the filter's cells if one window sees the whole image, else the working size.
        """
        fine = self._filter.apply(np.exp(self._logits(index) - self._evidence).astype(np.float32))
        return fine[0] if len(fine) == 1 else self._laid(fine)

    def confidence(self, best: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Return the best scores of rows start to stop, which are probabilities but for a little beyond 0 and 1."""
        return np.clip(best, 0, 1)

    def _logits(self, index: int) -> np.ndarray:
        """Return the scaled mean cosine of one class at the patches, float64 [V, h, w]."""
        return self._scale * self._mean_cosine(index).astype(np.float64)


# Every rule by its name: made of (grouped, classes, scale, plan, top, background).
RULES: dict[str, Callable[[Grouped, np.ndarray, float, Plan, int, float | None], Rule]] = {
    "official": Official,
    "plain": Plain,
    "guided": Guided,
}


def _distinct(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first class of each set of classes with equal cosines, rising, and the number of classes in each set.

    cosines: [V * G, C]. Words that the network has never learned all have the same vector, so the score at every pixel
    is made once for all of them.
    """
    _, first, times = np.unique(cosines, axis=1, return_index=True, return_counts=True)
    order = np.argsort(first)
    return first[order], times[order]


def _boxes(winner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes that occur in a map of classes [h, w], rising, and their boxes as in `painting.Rule`."""
    classes = np.flatnonzero(np.bincount(winner.ravel()))
    boxes = []
    for index in classes:
        own = winner == index
        rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
        boxes.append([rows[0], rows[-1], columns[0], columns[-1]])
    return classes, np.array(boxes)
