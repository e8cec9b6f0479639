"""Masks: the steps that follow the grouping network and the text encoder, in order.

Encoded sentences become one vector per class, and the groups of an image become labels at the caller's size. All of it
is NumPy on the outputs of `image_grouper` and `text_encoder`; the sizes of the networks, the number of groups G and the
channels E are free.

    sentences = prompts.prompts(["road", "car"], "full")              # for the text encoder
    classes   = class_embeddings(encoded, templates=80)               # [2, E]
    plan      = plan_of(height, width, options)                       # working size and windows
    found     = segment(grouped, classes, scale, plan, options)       # labels at the caller's size

Source: Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022, and its evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sluice.activations import softmax
from sluice.errors import InvalidArgument
from sluice.methods.grouping.painting import Painted, group_map, paint
from sluice.methods.grouping.prompts import TEMPLATES
from sluice.methods.grouping.rules import RULES, Grouped, cosines
from sluice.methods.grouping.windows import PATCH, VIEWS, Plan, plan
from sluice.options import check_options, choice, number, option, whole


@dataclass(frozen=True)
class Options:
    """Every constant of the way from groups to masks; the defaults are the published ones."""

    rule: str = option("official", choice(RULES))
    top: int = option(5, whole(1, 10_000))  # most classes that a window may show, for the official rule
    # Least confidence of a class, below which a pixel is background; None gives every pixel a class. Published are 0.95
    # for Pascal VOC and COCO objects, 0.35 for Pascal Context.
    background: float | None = option(None, number(0, 1))
    templates: str = option("simple", choice(TEMPLATES))  # a set of `sluice.methods.grouping.prompts`
    view: str = option("windows", choice(VIEWS))  # whole: one window over the whole image
    short: int = option(448, whole(PATCH, 2048))  # pixels of the short side to which the image is scaled
    longest: int = option(2048, whole(PATCH, 8192))  # most pixels of the long side
    window: int = option(448, whole(PATCH, 2048))  # pixels of a window's side, a multiple of `multiple`
    multiple: int = option(PATCH, whole(1, 512))  # of which the network takes sides, pixels
    stride: int = option(224, whole(1, 2048))  # pixels from one window to the next

    def __post_init__(self) -> None:
        check_options(self)
        if self.window % self.multiple:
            raise InvalidArgument(f"window is a multiple of {self.multiple}, got {self.window}")
        if self.stride > self.window:
            raise InvalidArgument(f"stride is at most window, {self.window}, or pixels stay unseen; got {self.stride}")


def plan_of(height: int, width: int, options: Options | None = None) -> Plan:
    """Choose working size and windows of an image, pixels. Raises InvalidArgument as `grouping.windows.plan` does."""
    o = options or Options()
    return plan(height, width, o.view, o.short, o.longest, o.window, o.stride, o.multiple)


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors [..., E] to length 1, float32. Raises InvalidArgument for a vector that is zero or not finite."""
    length = np.linalg.norm(np.asarray(vectors, np.float64), axis=-1, keepdims=True)
    if not np.isfinite(length).all() or (length == 0).any():
        raise InvalidArgument("an embedding is zero or not finite; the network is broken")
    return (vectors / length).astype(np.float32)


def class_embeddings(embeddings: np.ndarray, templates: int) -> np.ndarray:
    """Return one unit vector per class, float32 [C, E], from the embeddings of its sentences.

    embeddings: [C * T, E] as the text encoder gives them, NOT normalised, in the order of `prompts.prompts`.
    templates: T, the number of sentences per class.

    The mean over a class's sentences is normalised, and not each sentence. So a sentence that the encoder answers with
    a longer vector counts for more, as published.
    Raises InvalidArgument for another number of embeddings, and for a mean that is zero or not finite.
    """
    if embeddings.ndim != 2 or not len(embeddings) or len(embeddings) % templates:
        raise InvalidArgument(f"expected {templates} embeddings a class, [C * {templates}, E]; got {embeddings.shape}")
    grouped = np.asarray(embeddings, np.float64).reshape(-1, templates, embeddings.shape[1])
    return normalised(grouped.mean(axis=1))


def similarity(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return the cosine of every image with every text, float32 [B, T], -1 to 1.

    images: [B, E], texts: [T, E], of any length. Raises InvalidArgument for shapes that do not fit each other.
    """
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1]:
        raise InvalidArgument(f"expected [B, E] and [T, E] of the same E; got {images.shape} and {texts.shape}")
    return cosines(normalised(images), normalised(texts)).astype(np.float32)


def ranking(cosine: np.ndarray, scale: float) -> np.ndarray:
    """Return the probability of each text for an image that is about one of them: softmax over texts, float32 [B, T].

    cosine: [B, T]. scale: the factor by which the network multiplies cosines.
    """
    return softmax(scale * np.asarray(cosine, np.float64), -1).astype(np.float32)


@dataclass(frozen=True)
class Segmentation:
    """The masks of one image of H x W pixels, with C classes, V windows and G groups per window.

    plan, painted: the windows, and the scores behind the labels.
    labels:       uint8 [H, W], or uint16 beyond 255 classes: 0 is background, k the class k - 1.
    presence:     float32 [C], probability of each class for the whole image: softmax, mean over the windows.
    similarity:   float32 [C], cosine of the whole image with each class, mean over the windows.
    pixels:       int64 [C + 1], number of pixels with each label.
    group_labels: [V * G] label of each group by itself, of the type of `labels`.
    group_scores: float32 [V * G], score of that label.

    The other maps cost as much as the labels and few callers want them, so they are made when first asked for.
    """

    plan: Plan
    painted: Painted
    labels: np.ndarray
    presence: np.ndarray
    similarity: np.ndarray
    pixels: np.ndarray
    group_labels: np.ndarray
    group_scores: np.ndarray

    @property
    def confidence(self) -> np.ndarray:
        """Return the score of the best class at every pixel, float32 [H, W], 0 to 1.

        This includes pixels that became background because the score is below the threshold. The official rule's score
        is the product of its two softmaxes, the plain rule's is its softmax.
        """
        return self.painted.confidence

    @cached_property
    def group_map(self) -> np.ndarray:
        """Return the group of each pixel, uint16 [H, W]: window * G + group."""
        groups = len(self.group_labels) // len(self.plan)
        return group_map(self.painted.rule.groups, groups, self.plan, self.plan.size)


def segment(
    grouped: Grouped, classes: np.ndarray, scale: float, plan: Plan, options: Options | None = None
) -> Segmentation:
    """Label every pixel of the caller's image with one of the classes, or as background.

    grouped: the network's answer for the plan's windows, in the order of its corners.
    classes: [C, E] unit vectors, as `class_embeddings` gives them.
    scale: the text encoder's output SCALE, by which cosines are multiplied, > 0.
    Raises InvalidArgument when these do not fit each other or are not finite.
    """
    options = options or Options()
    if len(grouped) != len(plan):
        raise InvalidArgument(f"the plan has {len(plan)} windows, the network's answer {len(grouped)}")
    if classes.ndim != 2 or not len(classes) or classes.shape[1] != grouped.groups.shape[2]:
        raise InvalidArgument(
            f"classes are [C, {grouped.groups.shape[2]}], as the groups' channels are; got {list(classes.shape)}"
        )
    if not np.isfinite(classes).all() or not np.isfinite(scale) or scale <= 0:
        raise InvalidArgument("the classes' embeddings and the scale must be finite, the scale above 0")
    rule = RULES[options.rule](grouped, classes, scale, plan, options.top, options.background)
    painted = paint(rule, len(classes), plan.size)
    labels = painted.labels
    name, score = rule.named()
    if options.background is not None and not rule.by_group:
        # By group or by pixel, the best of an image keeps its class.
        threshold = min(options.background, float(painted.confidence.max()))
        labels[painted.confidence < threshold] = 0
        name = np.where(score < min(options.background, float(score.max())), -1, name)
    whole = cosines(grouped.embedding, classes)
    return Segmentation(
        plan,
        painted,
        labels,
        softmax(scale * whole, -1).mean(axis=0).astype(np.float32),
        whole.mean(axis=0).astype(np.float32),
        np.bincount(labels.ravel(), minlength=len(classes) + 1),
        (name.ravel() + 1).astype(labels.dtype),
        score.ravel().astype(np.float32),
    )
