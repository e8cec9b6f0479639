"""Losses of mixture-density detection, and the matching of priors to objects that they rest on.

Two forms, chosen by `Form`: the paper's as it is computed (the defaults) and the patent's where the two differ.
Sources: Choi et al., ICCV 2021, equations 3 to 7; US 12,387,481, paragraphs 70-79; matching, mining: SSD, section 2.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from export.mixtures.network import VARIANCES


@dataclass(frozen=True)
class Form:
    """The choices in which paper and patent differ, and the choice of class loss.

    deviation: the location's sigmoid is a standard deviation (paper), or if False a variance (patent, paragraph 73).
    floor: added to the deviation, in the normaliser alone.
    epsilon: added to the mixture's density before the logarithm. The patent prints 'e^-9', which may be read as 1e-9
    (so the authors' code) or as exp(-9); see `EPSILONS`.
    location: weight of the location loss.
    class_loss: 1 for the loss of logits with noise (equation 5), 2 for that of the mixture of probabilities.
    ratio: hard negatives per positive; 0 counts all negatives. least_negatives: per image, also without objects.
    threshold: least IoU of a match. forced: every object claims its best prior, whatever the overlap, and an IoU of
    exactly `threshold` matches (paper). If False, objects claim none and a match needs more than `threshold` (patent).
    scaled: offsets are divided by SSD's variances.
    background_alone: a batch without any match counts as background, its loss divided by 1. If False, its loss is 0
    (patent, paragraph 78).
    """

    deviation: bool = True
    floor: float = 0.3
    epsilon: float = 1e-9
    location: float = 0.5
    class_loss: int = 1
    ratio: float = 3.0
    forced: bool = True
    threshold: float = 0.5
    scaled: bool = True
    least_negatives: int = 0
    background_alone: bool = True


PAPER = Form()
PATENT = Form(deviation=False, floor=0.0, location=1.0, ratio=0.0, forced=False, scaled=False, background_alone=False)
FORMS = {"paper": PAPER, "patent": PATENT}
EPSILONS = {"1e-9": 1e-9, "exp(-9)": math.exp(-9)}


# ------------------------------------------------------------------------------------------------ boxes


def corners(boxes: Tensor) -> Tensor:
    """Convert boxes [..., 4] from cx, cy, w, h to x0, y0, x1, y1."""
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], dim=-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of corner boxes, [n, 4] and [m, 4] -> [n, m]."""
    low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(dim=1), (b[:, 2:] - b[:, :2]).prod(dim=1)
    return shared / (area_a[:, None] + area_b[None] - shared).clamp(min=1e-9)


def encode(boxes: Tensor, priors: Tensor, scaled: bool = True) -> Tensor:
    """Return corner boxes [n, 4] as offsets from their priors [n, 4] (cx, cy, w, h), the inverse of `boxes.decode`.

    scaled: as in `Form`.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    move = (centre - priors[:, :2]) / priors[:, 2:]
    grow = ((boxes[:, 2:] - boxes[:, :2]) / priors[:, 2:] + 1e-9).log()
    return torch.cat([move / VARIANCES[0], grow / VARIANCES[1]], 1) if scaled else torch.cat([move, grow], 1)


def match(
    boxes: Tensor, classes: Tensor, priors: Tensor, threshold: float, forced: bool = True
) -> tuple[Tensor, Tensor]:
    """Assign to each prior the object that it overlaps most, if by `threshold`.

    boxes: [G, 4] corners. classes: [G] int64, 1..C-1, or -1 for objects that count neither way.
    priors: [N, 4] cx, cy, w, h. threshold, forced: as in `Form`.
    Returns per prior the class [N] int64 (0 for background, -1 for neither) and the index of its object [N] int64.
    """
    found = torch.zeros(len(priors), dtype=torch.int64)
    which = torch.zeros(len(priors), dtype=torch.int64)
    if len(boxes) == 0:
        return found, which
    overlap = iou(boxes, corners(priors))
    best, which = overlap.max(dim=0)
    real = classes > 0
    for g in torch.nonzero(real & forced).flatten().tolist():
        own = int(overlap[g].argmax())
        which[own], best[own] = g, 2.0
    found = torch.where(best >= threshold if forced else best > threshold, classes[which], 0)
    # Priors whose centre lies on an object that counts neither way are not learned as background either.
    unsure = ~real
    if unsure.any():
        centre, doubtful = priors[:, None, :2], boxes[unsure][None]
        inside = ((centre >= doubtful[..., :2]) & (centre <= doubtful[..., 2:])).all(dim=2).any(dim=1)
        found = torch.where(inside & (found == 0), -1, found)
    return found, which


# ------------------------------------------------------------------------------------------------ likelihoods


def location_loss(
    mean: Tensor, variance: Tensor, weight: Tensor, target: Tensor, form: Form, even: float = 0
) -> Tensor:
    """Return the negative log-likelihood of the true offsets under each coordinate's mixture, [n, 4].

    mean, variance (raw), weight (raw): [n, K, 4]; target: [n, 4]. even: 0 to 1, how far the weights are drawn to 1/K.
    The weight `form.location` is not applied.
    """
    pi = weight.softmax(dim=1)
    pi = even / pi.shape[1] + (1 - even) * pi
    spread = variance.clamp(min=-30).sigmoid()  # below, float32 has no gradient but NaN
    deviation = spread if form.deviation else spread.sqrt()
    distance = (target[:, None] - mean) / deviation
    density = (-0.5 * distance**2).exp() / (math.sqrt(2 * math.pi) * (deviation + form.floor))
    return -((pi * density).sum(dim=1) + form.epsilon).log()


def class_loss(
    mean: Tensor, variance: Tensor | None, weight: Tensor, target: Tensor, noise: Tensor, form: Form, even: float = 0
) -> Tensor:
    """Return the loss of the true class, [n].

    mean, variance (raw), noise: [n, K, C]; weight (raw): [n, K]; target: [n] int64, 0..C-1. variance: None for logits
    without noise. even: as for `location_loss`.
    Type 1 is the cross-entropy of logits with noise of the predicted variance, weighted by component. Type 2 is the
    cross-entropy of the mixture of probabilities, without noise.
    """
    pi = weight.softmax(dim=1)
    pi = even / pi.shape[1] + (1 - even) * pi
    index = target[:, None, None].expand(-1, mean.shape[1], 1)
    if form.class_loss == 2:
        probability = mean.softmax(dim=2).gather(2, index).squeeze(2)
        return -((pi * probability).sum(dim=1) + form.epsilon).log()
    # The root of a sigmoid by its logarithm: where the sigmoid is 0 in float32, sqrt would have no finite gradient.
    logits = mean if variance is None else mean + (0.5 * F.logsigmoid(variance)).exp() * noise
    return (pi * -logits.log_softmax(dim=2).gather(2, index).squeeze(2)).sum(dim=1)


def smooth_l1(mean: Tensor, target: Tensor) -> Tensor:
    """Return the smooth L1 loss averaged over components, [n, K, 4] and [n, 4] -> [n, 4].

    Every component learns the object by itself before they share it.
    """
    return F.smooth_l1_loss(mean, target[:, None].expand_as(mean), reduction="none").mean(dim=1)


# ------------------------------------------------------------------------------------------------ a batch


def losses(
    outputs: dict[str, Tensor],
    objects: list[tuple[Tensor, Tensor]],
    form: Form,
    warm: float = 1.0,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Return location and class loss of a batch, each divided by its N positives.

    Their sum is the patent's L = (L_location + L_class+ + L_class-) / N (paragraph 78). A batch without positives
    follows `Form.background_alone`. A detector without mixture heads learns by smooth L1 and cross-entropy.

    outputs: the graph's tensors by name. objects: per image corner boxes [G, 4], pixels, and classes [G] (see `match`).
    warm: rises from 0 to 1 in training. It is the share of the likelihood against smooth L1, and of the learned weights
    against equal weights. Without a warm start one component takes all (the mixture collapses).
    generator: of the noise in the logits.
    """
    priors = outputs["PRIORS"][0]
    with torch.no_grad():
        pairs = [match(boxes, classes, priors, form.threshold, form.forced) for boxes, classes in objects]
    label = torch.stack([found for found, _ in pairs])
    positive = label > 0
    if not (form.background_alone or positive.any()):
        nothing = outputs["CLASS_MEAN"][:0].sum()  # 0, through which a gradient of 0 goes back
        return {"location": nothing, "class": nothing}
    count = positive.sum().clamp(min=1)
    offsets = [
        encode(boxes[which[found > 0]], priors[found > 0], form.scaled)
        for (boxes, _), (found, which) in zip(objects, pairs, strict=True)
    ]
    target = torch.cat(offsets) if offsets else torch.zeros(0, 4)
    mean = outputs["LOCATION_MEAN"][positive]
    if "LOCATION_VARIANCE" in outputs:
        variance, weight = outputs["LOCATION_VARIANCE"][positive], outputs["LOCATION_WEIGHT"][positive]
        located = form.location * location_loss(mean, variance, weight, target, form, even=1 - warm)
        located = warm * located + (1 - warm) * smooth_l1(mean, target)
    else:
        located = smooth_l1(mean, target)
    each = _class_losses(outputs, label.clamp(min=0), form, 1 - warm, generator)
    chosen = positive | mined(each.detach(), label, form)
    return {"location": located.sum() / count, "class": each[chosen].sum() / count}


def _class_losses(
    outputs: dict[str, Tensor], label: Tensor, form: Form, even: float, generator: torch.Generator | None
) -> Tensor:
    """Return the class loss of every prior, [B, N]. One draw of noise serves mining and loss, as in the paper."""
    logits = outputs["CLASS_MEAN"]
    batch, n, k, _ = logits.shape
    weight = outputs.get("CLASS_WEIGHT", torch.zeros(batch, n, k))
    variance = outputs.get("CLASS_VARIANCE")
    noise = torch.randn(logits.shape, generator=generator) if variance is not None else torch.zeros(())
    if variance is not None:
        variance, noise = variance.flatten(0, 1), noise.flatten(0, 1)
    return class_loss(logits.flatten(0, 1), variance, weight.flatten(0, 1), label.flatten(), noise, form, even).view(
        batch, n
    )


def mined(each: Tensor, label: Tensor, form: Form) -> Tensor:
    """Choose the background priors to learn from, bool [B, N]: those with the largest losses of each image.

    An image gets `form.ratio` times its positives, at least `form.least_negatives`.
    each: class loss [B, N]. label: class of each prior [B, N].
    """
    background = label == 0
    if not form.ratio:
        return background
    wanted = ((label > 0).sum(dim=1) * form.ratio).clamp(min=form.least_negatives)
    wanted = torch.minimum(wanted, background.sum(dim=1)).to(torch.int64)
    ranked = each.masked_fill(~background, -math.inf).argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(ranked)
    place.scatter_(1, ranked, torch.arange(each.shape[1]).expand_as(ranked))
    return background & (place < wanted[:, None])
