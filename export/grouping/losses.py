"""Losses of image and text encoders: contrastive, multi-label, and, beyond the paper, over groups.

The multi-label loss has two forms, which treat an image's several nouns in two ways. With `mean_of_logs`, of the
authors' code, each noun by itself should get its share of the probability. With `equation_7`, of the paper and the
patent, the nouns together should get all of it in whatever shares, so a noun that is hard to see costs less.

Sources: Xu et al., "GroupViT", CVPR 2022, section 3.3; equation 7 of its patent; reference section 2.4.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, positive: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the mean over rows of the cross-entropy with equal shares for all positive columns.

    logits: [N, M]; positive: bool [N, M]; known: bool [N, M], columns that take part in a row, None for all. Rows
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
    """Return the contrastive loss: half image to text, half text to image.

    images, texts: [B, E] of length 1. scale: factor of similarities. same: bool [B, B], whether text j says the same as
    text i. None takes only an image's own text for right, as in the paper, where no two of 4,096 captions are alike;
    captions made from eleven classes often are.
    """
    positive = torch.eye(len(images), dtype=torch.bool) if same is None else same
    logits = scale * images @ texts.T
    return (cross_entropy(logits, positive) + cross_entropy(logits.T, positive.T)) / 2


def mean_of_logs(
    images: Tensor, nouns: Tensor, scale: Tensor, positive: Tensor | None = None, known: Tensor | None = None
) -> Tensor:
    """Return the multi-label loss between images and nouns in prompts in the form of the authors' code.

    images: [B, E]; nouns: [M, E], both of length 1. positive: bool [B, M], whether an image's caption names the noun.
    None: as in the paper each image has K nouns, in the images' order, which are right for that image alone.
    known: bool [B, M], whether the caption would name the noun if the image showed it, None for always.
    """
    positive = _own(images, nouns) if positive is None else positive
    logits = scale * images @ nouns.T
    other = None if known is None else known.T
    return (cross_entropy(logits, positive, known) + cross_entropy(logits.T, positive.T, other)) / 2


def equation_7(
    images: Tensor, nouns: Tensor, scale: Tensor, positive: Tensor | None = None, known: Tensor | None = None
) -> Tensor:
    """Return the multi-label loss by equation 7 of the patent. Arguments as for `mean_of_logs`.

    It is half image to texts, half texts to image. With z of images, t of nouns, tau = 1 / scale, k over the nouns of
    an image and j over images:

        image to texts: -(1/B) sum_i log( sum_k exp(z_i . t_ik / tau) / sum_k sum_j exp(z_i . t_jk / tau) )
        texts to image: the mean over k and i of -log( exp(t_ik . z_i / tau) / sum_j exp(t_ik . z_j / tau) )

    The paper adds the two; half of each is as large as the other losses here. Where a noun is right for several images
    (`positive`), the second mean goes over every pair of an image and a noun of its own. Images without a noun do not
    count; without any noun the loss is 0.
    """
    positive = _own(images, nouns) if positive is None else positive
    if not bool(positive.any()):
        return images.new_zeros(())
    logits = scale * images @ nouns.T
    if known is not None:
        logits = logits.masked_fill(~known, float("-inf"))
    rows = positive.any(dim=1)
    together = logits.masked_fill(~positive, float("-inf"))
    to_texts = (torch.logsumexp(logits, dim=1) - torch.logsumexp(together, dim=1))[rows].mean()
    to_image = (torch.logsumexp(logits, dim=0) - logits)[positive].mean()
    return (to_texts + to_image) / 2


MULTI_LABEL = {"mean_of_logs": mean_of_logs, "equation_7": equation_7}


def _own(images: Tensor, nouns: Tensor) -> Tensor:
    """Return `positive` for nouns that belong to the images in order, as many to each, bool [B, M]."""
    own = torch.arange(len(nouns)) // (len(nouns) // len(images))
    return torch.arange(len(images))[:, None] == own


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
    """Return two losses by which groups of patches mean what the caption names, and nothing else (beyond the paper).

    The published losses ask this of an image as a whole, and leave it to twelve million captions that groups and words
    come together. Here a batch is put together from crops, each with a caption that lists all there is in it, and the
    question is asked crop by crop.

    groups: [B, G, E]; nouns: [C, E], one per concept, both of length 1. share: [B, G, T], how much of crop t is
    assigned to group g, sums to 1 over G. named, known: bool [B, T, C], as in `data.Sample`. least: share of a crop
    that is area enough for a concept. alone: weight of the second term.
    With p, the softmax over nouns of each group, the first loss asks that every named noun has its area, and that
    groups there mean it alone:

        area = sum_g share p,  -log min(1, area / least) - alone log(sum_g share p^2 / area)

    Without the second term all groups of a crop may mean a little of everything that it names, and the class that
    covers most of the frames wins everywhere. The second loss asks that groups mean nothing that the caption denies:
    -sum_g share log sum p over nouns named or unknown.
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
