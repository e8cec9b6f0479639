"""What image and text encoders are trained by: contrastive, multi-label, and, beyond the paper, over groups.

Sources: Xu et al., "GroupViT", CVPR 2022, section 3.3; reference section 2.4.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, positive: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean over rows of the cross-entropy with equal shares for all positive columns.

    logits: [N, M]; positive: bool [N, M]; known: bool [N, M], columns that take part in a row, all if None. Rows
    without a positive column do not count; without any row the loss is 0.
    """
    if known is not None:
        logits = logits.masked_fill(~known, float("-inf"))
    logs = torch.log_softmax(logits, dim=1).masked_fill(~positive, 0.0)
    count = positive.sum(dim=1)
    rows = count > 0
    if not bool(rows.any()):
        return logits.new_zeros(())
    return -(logs.sum(dim=1)[rows] / count[rows]).mean()


def contrastive(images: Tensor, texts: Tensor, scale: Tensor, same: Tensor | None = None) -> Tensor:
    """Half image to text, half text to image. images, texts: [B, E] of length 1; scale: a factor.

    same: bool [B, B], whether text j says the same as text i. None: only its own text is right for an image, as in the
    paper, where no two of 4,096 captions are alike; captions made from eleven classes often are.
    """
    positive = torch.eye(len(images), dtype=torch.bool) if same is None else same
    logits = scale * images @ texts.T
    return (cross_entropy(logits, positive) + cross_entropy(logits.T, positive.T)) / 2


def multi_label(
    images: Tensor, nouns: Tensor, scale: Tensor, positive: Tensor | None = None, known: Tensor | None = None
) -> Tensor:
    """The same between images and nouns in prompts.

    images: [B, E]; nouns: [M, E], of length 1. positive: bool [B, M], whether an image's caption names the noun; None:
    as in the paper the nouns are K of every image, in its order, and right for that image alone. known: bool [B, M],
    whether the caption would name it if it were there.
    """
    if positive is None:
        own = torch.arange(len(nouns)) // (len(nouns) // len(images))
        positive = torch.arange(len(images))[:, None] == own
    logits = scale * images @ nouns.T
    other = None if known is None else known.T
    return (cross_entropy(logits, positive, known) + cross_entropy(logits.T, positive.T, other)) / 2


def grouped(
    groups: Tensor,
    nouns: Tensor,
    scale: Tensor,
    share: Tensor,
    named: Tensor,
    known: Tensor,
    least: float,
    alone: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The patches of a picture mean what its caption names, and nothing else: beyond the paper.

    The published losses ask this of an image as a whole, and leave it to twelve million captions that groups and words
    come together. Here a batch is put together from crops, each with a caption that lists all there is in it, and the
    question is asked crop by crop.

    groups: [B, G, E]; nouns: [C, E], one a concept, of length 1; share: [B, G, T], how much of crop t is assigned to
    group g, sums to 1 over G; named, known: bool [B, T, C], what the crop's caption names, and for what it says whether
    it is there; least: share of a crop that is enough for a concept; alone: weight of the second term.
    Returns two losses over p, the softmax over nouns of each group. Every named noun has its area, and where it has it,
    it is meant alone:

        area = sum_g share p,  -log min(1, area / least) - alone log(sum_g share p^2 / area)

    Without the second term all groups of a crop may mean a little of everything that it names, and what covers most of
    the frames wins everywhere. And what a group means is not denied: -sum_g share log sum p, nouns named or unknown.
    """
    logs = torch.log_softmax(scale * groups @ nouns.T, dim=-1)
    p, belongs = logs.exp(), share.transpose(1, 2)
    area = belongs @ p  # [B, T, C]
    pure = belongs @ p.square() / area.clamp(min=1e-6)
    short = -torch.log((area / least).clamp(1e-6, 1.0)) - alone * torch.log(pure.clamp(min=1e-6))
    claimed = (short * named).sum() / named.sum().clamp(min=1)
    allowed = logs[:, :, None].masked_fill(~(named | ~known)[:, None], float("-inf"))  # [B, G, T, C]
    denied = -torch.logsumexp(allowed, dim=-1).clamp(min=-20.0)
    return claimed, (share * denied).sum(dim=1).mean()
