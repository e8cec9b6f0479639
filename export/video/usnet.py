"""U-SNet: removes a codec's artefacts, at a sixteenth of the resolution and with a tenth of a denoiser's work.

The network has two strided convolutions, residual blocks, two upsampling convolutions, and a skip from each down layer
to its up layer. In training a short branch after every block but the last makes a picture, so that each block learns
from a loss of its own (deep supervision). The branches are neither stored nor served.

Source: reference section 3.1 (the patent's paragraphs 25 to 27).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1  # of the leaky rectifier before the last convolution
STRIDE = 4  # of the two strided convolutions together; moving a picture by it does not change the answer


class Residual(nn.Module):
    """x + conv(relu(conv(x))). hidden: channels between the convolutions, of which pruning leaves fewer, or none."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.first = nn.Conv2d(width, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, width, 3, padding=1)
        with torch.no_grad():  # a block adds next to nothing at first, so that seven do not multiply the signal
            self.second.weight.mul_(0.1)
            assert self.second.bias is not None  # asked for by default
            self.second.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class USNet(nn.Module):
    """forward: x [B, 3, H, W] RGB 0..1, H and W multiples of 4 -> the same shape, RGB, slightly beyond 0..1 too.

    In training mode it returns a list of such pictures, one per block, the last of them the network's own.
    width: channels at half resolution, twice as many at a quarter. hidden: inner channels of each residual block.
    """

    def __init__(self, width: int, hidden: tuple[int, ...] | list[int]):
        super().__init__()
        wide = 2 * width
        self.down1 = nn.Conv2d(3, width, 5, stride=2, padding=2)
        self.down2 = nn.Conv2d(width, wide, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Residual(wide, inner) if inner else nn.Identity() for inner in hidden)
        self.up1 = nn.Conv2d(wide, 4 * width, 3, padding=1)
        self.up2 = nn.Conv2d(width, 4 * 3, 3, padding=1)
        self.branches = nn.ModuleList(nn.Conv2d(wide, STRIDE**2 * 3, 3, padding=1) for _ in hidden[1:])
        for last in (self.up2, *self.branches):  # the picture is hardly changed at first
            assert isinstance(last, nn.Conv2d) and last.bias is not None
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        half = F.relu(self.down1(x))
        quarter = F.relu(self.down2(half))
        h, pictures = quarter, []
        for index, block in enumerate(self.blocks):
            h = block(h)
            if self.training and index < len(self.branches):
                pictures.append(x + F.pixel_shuffle(self.branches[index](h), STRIDE))
        # Leaky, since the whole picture passes this rectifier, which has been seen to die in the first hundred steps.
        h = F.leaky_relu(F.pixel_shuffle(self.up1(h + quarter), 2) + half, SLOPE)
        picture = x + F.pixel_shuffle(self.up2(h), 2)
        return [*pictures, picture] if self.training else picture


def whole(x: Tensor) -> Tensor:
    """Continue x [B, C, H, W] to multiples of 4 by repeating its last row and column."""
    height, width = x.shape[2], x.shape[3]
    x = F.pad(x, (0, STRIDE - 1, 0, STRIDE - 1), mode="replicate")
    return x[:, :, : (height + STRIDE - 1) // STRIDE * STRIDE, : (width + STRIDE - 1) // STRIDE * STRIDE]
