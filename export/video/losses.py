"""Losses of the networks of `enhance`: L1, multi-scale structural similarity, and two terms for sharpness.

Pictures are [B, C, H, W] float32, 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five levels
K1, K2 = 0.01, 0.03
LEAST = 1e-5  # mean squared error of a picture, of 1: that of 50 dB
LUMA = (0.299, 0.587, 0.114)  # BT.601


def luma(rgb: Tensor) -> Tensor:
    """Return the luma of RGB, [B, 3, H, W] -> [B, 1, H, W], BT.601 over the full range."""
    return (rgb * rgb.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def gaussian(size: int = 11, sigma: float = 1.5) -> Tensor:
    """Return SSIM's window along one axis, float32 [size], which sums to 1. sigma: pixels."""
    x = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    weight = torch.exp(-x.square() / (2 * sigma**2))
    return weight / weight.sum()


def blurred(x: Tensor, window: Tensor) -> Tensor:
    """Blur each channel where the window of size k lies inside: [B, C, H, W] -> [B, C, H - k + 1, W - k + 1]."""
    batch, channels, height, width = x.shape
    window = window.to(x)
    x = x.reshape(batch * channels, 1, height, width)
    x = F.conv2d(F.conv2d(x, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return x.reshape(batch, channels, *x.shape[2:])


def similarity(a: Tensor, b: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Return structural similarity, and its factor of contrast and structure, as means per channel: both [B, C].

    Source: Wang et al., 2004, eq. 13.
    """
    # One blur for all five, since a convolution costs by the call as much as by the pixel.
    mean_a, mean_b, aa, bb, ab = blurred(torch.cat([a, b, a * a, b * b, a * b], 1), window).chunk(5, 1)
    contrast = (2 * (ab - mean_a * mean_b) + K2**2) / (aa - mean_a.square() + bb - mean_b.square() + K2**2)
    likeness = (2 * mean_a * mean_b + K1**2) / (mean_a.square() + mean_b.square() + K1**2)
    return (likeness * contrast).mean((2, 3)), contrast.mean((2, 3))


def ms_ssim(a: Tensor, b: Tensor, levels: int = 5, size: int = 11, sigma: float = 1.5) -> Tensor:
    """Return the multi-scale structural similarity of each picture, mean over channels: [B], at most 1.

    With fewer than five levels the weights of those levels are scaled to sum to 1.
    Raises ValueError where the coarsest level is smaller than the window.
    Source: Wang, Simoncelli, Bovik, 2003, eq. 7.
    """
    least = min(a.shape[2:])
    if (least >> (levels - 1)) < size:
        raise ValueError(
            f"expected pictures of at least {size << (levels - 1)} pixels a side for {levels} levels and a window of "
            f"{size}, got {least}; use fewer levels"
        )
    weights = torch.tensor(WEIGHTS[:levels])
    if levels < len(WEIGHTS):  # all five are used as published, though they sum to 1.0001
        weights = weights / weights.sum()
    window, product = gaussian(size, sigma), torch.ones(a.shape[:2])
    for level, weight in enumerate(weights):
        ssim, contrast = similarity(a, b, window)
        last = level == levels - 1
        # A negative contrast has no power; cutting it off also keeps its gradient finite.
        product = product * (ssim if last else contrast).clamp(min=1e-6) ** weight
        if not last:
            odd = [side % 2 for side in a.shape[2:]]
            a, b = F.avg_pool2d(a, 2, padding=odd), F.avg_pool2d(b, 2, padding=odd)
    return product.mean(1)


def pixels_and_structure(found: Tensor, wanted: Tensor, structure: float, levels: int = 3) -> Tensor:
    """Return L1 over RGB plus `structure` times 1 - MS-SSIM of the luma.

    Source: Zhao et al., 2017, section III.
    """
    loss = F.l1_loss(found, wanted)
    if structure:
        loss = loss + structure * (1 - ms_ssim(luma(found), luma(wanted), levels)).mean()
    return loss


def decibels(found: Tensor, wanted: Tensor) -> Tensor:
    """Return minus the PSNR of the luma of RGB, dB against a peak of 1, the mean over pictures.

    Unlike L1, this counts a tenth of a good picture's error as much as a tenth of a poor picture's, so that what hardly
    needs mending is not spoiled for the sake of the rest. Errors below `LEAST` count no further.
    Source: Chen et al., "Simple Baselines for Image Restoration", 2022, which trains by PSNR.
    """
    return 10 * torch.log10(luma(found - wanted).square().mean((1, 2, 3)) + LEAST).mean()


def deep(pictures: Sequence[Tensor], wanted: Tensor, share: float, structure: float) -> Tensor:
    """Return the loss of deep supervision: the last picture's loss plus `share` of the L1 of each branch's picture."""
    loss = pixels_and_structure(pictures[-1], wanted, structure)
    for picture in pictures[:-1]:
        loss = loss + share * F.l1_loss(picture, wanted)
    return loss


def sharpened(rgb: Tensor, amount: float, size: int = 11, sigma: float = 2.0) -> Tensor:
    """Sharpen pictures by unsharp masking: add `amount` times the difference from a blur, within 0..1.

    Differences below 10 of 255 grey levels are not added, so that noise stays as it is.
    """
    edge = size // 2
    lost = rgb - blurred(F.pad(rgb, (edge,) * 4, mode="reflect"), gaussian(size, sigma))
    return (rgb + amount * lost * (lost.abs() > 10 / 255)).clamp(0, 1)


class Critic(nn.Module):
    """Tells true pictures from enlarged ones, a score per 8 x 8 pixels: [B, 3, H, W] -> [B, 1, H/8, W/8]."""

    def __init__(self, width: int = 24):
        super().__init__()
        layers: list[nn.Module] = []
        for seen, made in ((3, width), (width, 2 * width), (2 * width, 2 * width)):
            layers += [nn.Conv2d(seen, made, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(2 * width, 1, 3, padding=1))

    def forward(self, rgb: Tensor) -> Tensor:
        return self.layers(rgb)


def adversarial(critic: Critic, found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the network's loss and the critic's, hinge losses that share no gradient.

    The critic's weights are constants in the first loss, the found picture in the second, so one optimiser can take
    both in one step.
    """
    fixed = {name: value.detach() for name, value in critic.named_parameters()}
    fooled = -functional_call(critic, fixed, (found,)).mean()
    told = F.relu(1 - critic(wanted)).mean() + F.relu(1 + critic(found.detach())).mean()
    return fooled, told


def features_differ(extractor: nn.Module, found: Tensor, wanted: Tensor) -> Tensor:
    """Return the L1 between feature maps. extractor: RGB [B, 3, H, W] 0..1 -> features; its weights do not learn."""
    with torch.no_grad():
        there = extractor(wanted)
    return F.l1_loss(extractor(found), there)
