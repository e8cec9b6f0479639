"""Networks that enlarge a picture: RRRDB, which is shipped, and RRDBNet and SRVGGNetCompact for published checkpoints.

forward of all three: x [B, 3, H, W] RGB 0..1 -> [B, 3, sH, sW], slightly beyond 0..1 too. The latter two have the names
of BasicSR's checkpoints, so that those load as they are.

Source: Wang et al., ESRGAN, 2018, section 3; reference sections 3.1 and 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of every leaky rectifier
SHARE = 0.2  # of a block's answer that is added to its input


class DenseBlock(nn.Module):
    """Densely connected convolutions, each of which sees the input and all answers before.

    growth: channels of each convolution but the last; there are len(growth) + 1 of them.
    """

    def __init__(self, width: int, growth: Sequence[int]):
        super().__init__()
        self.count = len(growth) + 1
        seen = width
        for index, channels in enumerate([*growth, width], start=1):
            conv = nn.Conv2d(seen, channels, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight, a=SLOPE)
            with torch.no_grad():
                conv.weight.mul_(0.1)
            assert conv.bias is not None  # asked for by default
            nn.init.zeros_(conv.bias)
            self.add_module(f"conv{index}", conv)
            seen += channels

    def forward(self, x: Tensor) -> Tensor:
        known = x
        for index in range(1, self.count):
            found = F.leaky_relu(self.get_submodule(f"conv{index}")(known), SLOPE)
            known = torch.cat([known, found], 1)
        return x + SHARE * self.get_submodule(f"conv{self.count}")(known)


class RRDB(nn.Module):
    """Residual in residual: dense blocks in a row, whose answer times SHARE is added to the input."""

    def __init__(self, width: int, growths: Sequence[Sequence[int]]):
        super().__init__()
        self.count = len(growths)
        for index, growth in enumerate(growths, start=1):
            self.add_module(f"rdb{index}", DenseBlock(width, growth))

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for index in range(1, self.count + 1):
            h = self.get_submodule(f"rdb{index}")(h)
        return x + SHARE * h


class RRRDB(nn.Module):
    """Reduced RRDB network: convolution, blocks of sub-blocks of dense layers, convolution, upsampler, convolution.

    The answer is added to the bicubically enlarged picture, so the network learns only what that lacks.
    width: channels of the blocks. fine: channels at high resolution; with 0 there is no last convolution, and the
    upsampler makes the picture. growth: channels of each dense convolution as [blocks][sub-blocks][convolutions], which
    pruning makes uneven. fold: the blocks work at so many times less resolution, on squares of pixels as channels.
    """

    scale = 2
    plain: Tensor

    def __init__(self, width: int, fine: int, growth: Sequence[Sequence[Sequence[int]]], fold: int = 1):
        super().__init__()
        self.fold = fold
        self.conv_first = nn.Conv2d(3 * fold**2, width, 3)  # sees the continued picture
        self.body = nn.Sequential(*(RRDB(width, growths) for growths in growth))
        self.conv_body = nn.Conv2d(width, width, 3, padding=1)
        self.conv_up = nn.Conv2d(width, (fine or 3) * (self.scale * fold) ** 2, 3, padding=1)
        self.conv_last = nn.Conv2d(fine, 3, 3, padding=1) if fine else None
        last = self.conv_last or self.conv_up
        nn.init.normal_(last.weight, std=1e-3)
        assert last.bias is not None  # asked for by default
        nn.init.zeros_(last.bias)
        self.register_buffer("plain", bicubic_phases(fold), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.beyond(x)[:, :, : self.scale * x.shape[2], : self.scale * x.shape[3]]

    def beyond(self, x: Tensor, strength: Tensor | float = 1.0) -> Tensor:
        """Return the answer up to the end of the last folded square, for callers that cut it off later.

        strength: factor of what is added to the enlarged picture, a number or [B, 1, 1, 1].
        """
        margin = self.plain.shape[2] // 2
        seen = folded(F.pad(x, (margin * self.fold,) * 4, mode="replicate"), self.fold)
        with torch.autocast(x.device.type, enabled=False):  # half precision would cost grey levels here
            plain = F.conv2d(seen, self.plain)
        more = margin - 1  # than conv_first needs
        first = self.conv_first(seen[:, :, more : seen.shape[2] - more, more : seen.shape[3] - more] if more else seen)
        h = self.conv_up(first + self.conv_body(self.body(first)))
        if self.conv_last is None:  # summed before the shuffle, as a pass over the large picture costs a layer
            return F.pixel_shuffle(plain + strength * h, self.scale * self.fold)
        h = self.conv_last(F.leaky_relu(F.pixel_shuffle(h, self.scale * self.fold), SLOPE))
        return F.pixel_shuffle(plain, self.scale * self.fold) + strength * h


class RRDBNet(nn.Module):
    """ESRGAN's generator. scale 4 works at the resolution of the input, 2 and 1 at a half and a quarter of it."""

    def __init__(self, width: int, growth: int, blocks: int, scale: int, convolutions: int = 5):
        super().__init__()
        self.scale, self.fold = scale, {4: 1, 2: 2, 1: 4}[scale]
        self.conv_first = nn.Conv2d(3 * self.fold**2, width, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(width, [[growth] * (convolutions - 1)] * 3) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(width, width, 3, padding=1)
        self.conv_up1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_up2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2], x.shape[3]
        first = self.conv_first(folded(x, self.fold))
        h = first + self.conv_body(self.body(first))
        for up in (self.conv_up1, self.conv_up2):
            h = F.leaky_relu(up(doubled(h)), SLOPE)
        h = self.conv_last(F.leaky_relu(self.conv_hr(h), SLOPE))
        return h[:, :, : height * self.scale, : width * self.scale]


class SRVGGNetCompact(nn.Module):
    """Real-ESRGAN's small network: plain convolutions with PReLU, all at low resolution, added to the nearest pixel.

    drawn: scale of the picture that the convolutions draw; where it is more than `scale`, that picture is reduced
    bicubically, as in the published x2 and x3 of realesr-animevideov3, which draw x4. 0 stands for `scale`.
    """

    reducing: Tensor
    plain: Tensor

    def __init__(self, width: int, convolutions: int, scale: int, drawn: int = 0):
        super().__init__()
        self.scale, self.drawn = scale, drawn or scale
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.PReLU(width)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 3 * self.drawn**2, 3, padding=1))
        if self.drawn != scale:
            self.register_buffer("reducing", reducing_phases(self.drawn, scale), persistent=False)
        self.register_buffer("plain", enlarging_phases(scale), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self._phases(x), self.scale)

    def beyond(self, x: Tensor, strength: Tensor | float) -> Tensor:
        """Return the answer blended with the bicubically enlarged picture, 0: that alone, 1: the network alone."""
        # Before the shuffle, since each pass over the large picture costs a layer.
        plain = F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), self.plain)
        return F.pixel_shuffle(plain + strength * (self._phases(x) - plain), self.scale)

    def _phases(self, x: Tensor) -> Tensor:
        """Return the answer with the pixels of each square of scale x scale as channels, [B, 3 s^2, H, W]."""
        # Each pixel s^2 times before the shuffle is the nearest pixel after it, without a Resize in the graph.
        h = self.body(x) + x.repeat_interleave(self.drawn**2, dim=1)
        return h if self.drawn == self.scale else F.conv2d(continued(h, self.drawn), self.reducing)


def continued(x: Tensor, side: int) -> Tensor:
    """Continue a picture by a square on each side, the outermost pixel repeated, [B, C, H, W] -> [B, C, H+2, W+2].

    The channels of x are the colours' squares of side x side pixels.
    """
    place = torch.arange(x.shape[1])
    row, column = place // side % side, place % side
    for axis, step, at in ((2, side, row), (3, 1, column)):
        first = x.narrow(axis, 0, 1).index_select(1, place - step * at)
        last = x.narrow(axis, x.shape[axis] - 1, 1).index_select(1, place + step * (side - 1 - at))
        x = torch.cat([first, x, last], axis)
    return x


def doubled(x: Tensor) -> Tensor:
    """Repeat each pixel four times, [B, C, H, W] -> [B, C, 2H, 2W]."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height, 1, width, 1).expand(batch, channels, height, 2, width, 2)
    return x.reshape(batch, channels, 2 * height, 2 * width)


def folded(x: Tensor, fold: int) -> Tensor:
    """Turn squares of fold x fold pixels into channels, [B, C, H, W] -> [B, C fold^2, ceil(H/fold), ceil(W/fold)].

    The last row and column are repeated up to a multiple of `fold`. TensorRT has no pixel_unshuffle, hence reshape and
    transpose.
    """
    if fold == 1:
        return x
    x = F.pad(x, (0, fold - 1, 0, fold - 1), mode="replicate")
    batch, channels, height, width = x.shape
    rows, columns = height // fold, width // fold
    x = x[:, :, : rows * fold, : columns * fold].reshape(batch, channels, rows, fold, columns, fold)
    return x.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels * fold * fold, rows, columns)


def cubic(distance: float, a: float) -> float:
    """Return the weight of a pixel at that distance, pixels, by Keys' kernel. Source: Keys, 1981, eq. 8."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def enlarging_phases(scale: int) -> Tensor:
    """Return bicubic enlarging (a = -1/2) as one convolution, [3 s^2, 3, 5, 5].

    The picture must be continued by two pixels, and the answer shuffled by `scale`.
    """
    places = [(phase + 0.5) / scale - 0.5 for phase in range(scale)]
    along = torch.tensor([[cubic(pixel - place, -0.5) for pixel in range(-2, 3)] for place in places])
    return torch.einsum("cd,pr,qs->cpqdrs", torch.eye(3), along, along).reshape(3 * scale**2, 3, 5, 5)


def reducing_phases(drawn: int, scale: int) -> Tensor:
    """Return bicubic reducing from `drawn` to `scale`, as ncnn's Interp does it, as one convolution of squares.

    Each pixel is made of 4 x 4 neighbours with a = -3/4, however much smaller the picture becomes. The squares must be
    continued by one (`continued`), and the answer shuffled by `scale`. Returns [3 scale^2, 3 drawn^2, 3, 3].
    """
    along = torch.zeros(scale, drawn, 3)  # each way: phase of the answer, pixel of the square, square
    for phase in range(scale):
        place = (phase + 0.5) * drawn / scale - 0.5
        for pixel in range(math.floor(place) - 1, math.floor(place) + 3):
            along[phase, pixel % drawn, pixel // drawn + 1] = cubic(pixel - place, -0.75)
    both = torch.einsum("cd,pro,qsn->cpqdrson", torch.eye(3), along, along)
    return both.reshape(3 * scale**2, 3 * drawn**2, 3, 3)


# Bicubic interpolation at -1/4 and +1/4 of a pixel, Keys' kernel with a = -1/2; the second is the first reversed.
QUARTER = (-0.0703125, 0.8671875, 0.2265625, -0.0234375)
PHASES = ((*reversed(QUARTER), 0.0), (0.0, *QUARTER))  # weights of five pixels around the output's place


def bicubic_phases(fold: int) -> Tensor:
    """Return the weights of `bicubic` as one convolution of the folded picture, [3 (2 fold)^2, 3 fold^2, k, k].

    The picture must be continued by two pixels or more, and the answer shuffled by 2 fold.
    """
    margin = -(-2 // fold)
    along = torch.zeros(2 * fold, fold, 2 * margin + 1)  # each way: phase of the output, of the input, place
    for phase in range(2 * fold):
        for pixel, weight in zip(range(phase // 2 - 2, phase // 2 + 3), PHASES[phase % 2], strict=True):
            along[phase, pixel % fold, pixel // fold + margin] = weight
    both = torch.einsum("cd,pro,qsn->cpqdrson", torch.eye(3), along, along)
    return both.reshape(12 * fold**2, 3 * fold**2, 2 * margin + 1, 2 * margin + 1)


def bicubic(x: Tensor) -> Tensor:
    """Double a picture by Keys' bicubic kernel (a = -1/2), the edge repeated, [B, 3, H, W] -> [B, 3, 2H, 2W].

    It takes one convolution per axis, with the two phases as channels. Source: Keys, 1981, eq. 15.
    """
    for axis in (2, 3):
        x = _twice(x, axis)
    return x


def _twice(x: Tensor, axis: int) -> Tensor:
    """Double a picture along one axis."""
    batch, channels, height, width = x.shape
    kernel = torch.tensor(PHASES * 3, dtype=x.dtype).view((6, 1, 5, 1) if axis == 2 else (6, 1, 1, 5))
    padded = F.pad(x, (0, 0, 2, 2) if axis == 2 else (2, 2, 0, 0), mode="replicate")
    both = F.conv2d(padded, kernel, groups=3).reshape(batch, channels, 2, height, width)
    if axis == 2:
        return both.permute(0, 1, 3, 2, 4).reshape(batch, channels, 2 * height, width)
    return both.permute(0, 1, 3, 4, 2).reshape(batch, channels, height, 2 * width)
