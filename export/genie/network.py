"""Score networks and the curvature head of GENIE: eps and its derivative along the trajectory, from one graph.

The process is variance preserving, t in [0, 1]: x_t = alpha(t) x_0 + sigma(t) eps, gamma = sigma / alpha. The score
network is diffusers' `UNet2DModel`, so that checkpoints of that library load as they are (`diffusers_folder`). A small
head reads the network's last feature map and predicts how eps changes along the trajectory. The second-order solver
needs that derivative, which would otherwise cost a derivative of the whole network.

Contract of the served graph, for images of C channels and size S:

    SAMPLE  float32 [B, C, S, S]  x_t, of about unit variance
    TIME    float32 [B, 1]        t
    LABEL   int64   [B, 1]        class, or the null label; an input of class-conditional networks alone
    -> EPSILON    float32 [B, C, S, S]
       DERIVATIVE float32 [B, C, S, S]  d eps / d gamma along the trajectory; an output of graphs with the head alone

Sources: Dockhorn, Vahdat, Kreis, "GENIE: Higher-Order Denoising Diffusion Solvers", NeurIPS 2022; US 12,524,845.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from export.genie.process import EARLIEST, alpha, gamma, over, sigma, time_at

PREDICTIONS = ("epsilon", "v_prediction")
LANES = 16  # numbers in the longest vector of a CPU
GRID = 8192  # cells of the table from t to a checkpoint's timesteps


def mixed(k1: Tensor, k2: Tensor, k3: Tensor, t: Tensor) -> Tensor:
    """Return d eps / d gamma from the head's three images, which are all of order 1 at every t.

    k1, k2, k3: [B, C, H, W]; t: [B].
    Source: the paper's mixed network parametrisation; reference formula F7.
    """
    g = over(gamma(t))
    return -k1 / g + k2 * g / (1 + g * g) + k3 / (g * (1 + g * g))


# ------------------------------------------------------------------------------------------------ networks


@dataclass(frozen=True)
class Design:
    """The settings that rebuild a network, stored beside its weights.

    unet: configuration of `UNet2DModel`. channels, size: of the images, pixels a side. patch: side of the squares of
    pixels that become channels before the network and pixels again behind it (half the size costs a quarter).
    prediction: what the network predicts, `epsilon` or `v_prediction`. classes: number of class labels without the null
    label, 0 for an unconditional network. null: the label that stands for no class, None where the network has none.
    noise: configuration of the diffusers scheduler that the network was trained with, whose timesteps are mapped to t;
    None for networks trained on t itself. head_width, head_blocks: channels and residual blocks of the curvature head;
    a width of 0 means no head.
    """

    unet: dict[str, Any] = field(default_factory=dict)
    channels: int = 3
    size: int = 32
    patch: int = 1
    prediction: str = "v_prediction"
    classes: int = 0
    null: int | None = None
    noise: dict[str, Any] | None = None
    head_width: int = 0
    head_blocks: int = 1

    @property
    def labels(self) -> int:
        """Return the number of class labels with the null label, which are the rows of the class embedding."""
        return int(self.unet.get("num_class_embeds") or 0)


def light(widths: tuple[int, ...], channels: int, classes: int, *, size: int = 32, patch: int = 2) -> Design:
    """Return the design of a small network. The label after the last class is the null label.

    widths: channels at size / patch, then at each half of that. classes: 0 for an unconditional network.
    """
    n = len(widths)
    unet = {
        "sample_size": size // patch,
        "in_channels": channels * patch**2,
        "out_channels": channels * patch**2,
        "down_block_types": ["DownBlock2D"] * n,
        "up_block_types": ["UpBlock2D"] * n,
        "block_out_channels": list(widths),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "attention_head_dim": min(32, widths[-1]),
        "num_class_embeds": classes + 1 if classes else None,
    }
    return Design(unet, channels, size, patch, classes=classes, null=classes if classes else None)


class ScoreNetwork(nn.Module):
    """Predicts eps from x_t, t in [0, 1] and, where there are classes, labels.

    forward: x [B, C, S, S] float, t [B] float, labels [B] int64 -> eps [B, C, S, S]. labels: None for an unconditional
    network. Raises ValueError for labels given to an unconditional network, and for none given to a conditional one.
    """

    def __init__(self, design: Design):
        super().__init__()
        check(design)
        self.design = design
        self.unet: Any = UNet2DModel(**design.unet)
        # Plain attention: torch's fused one has no forward-mode derivative on a CPU.
        for module in self.unet.modules():
            if hasattr(module, "set_processor"):
                module.set_processor(AttnProcessor())
                # Its result lies transposed in memory, which the derivative of a norm refuses (torch 2.13).
                module.register_forward_hook(lambda _, __, found: found.contiguous())
        known, before = _table(design.noise)
        self.known: Tensor | None
        self.before: Tensor | None
        self.register_buffer("known", known, persistent=False)
        self.register_buffer("before", before, persistent=False)
        self._seen: dict[str, Tensor] = {}
        self.unet.conv_norm_out.register_forward_pre_hook(lambda _, given: self._seen.update(features=given[0]))
        first = self.unet.down_blocks[0].resnets[0]
        first.register_forward_pre_hook(lambda _, given: self._seen.update(embedding=given[1]))
        width = design.head_width
        self.head = CurvatureHead(self, width, design.head_blocks) if width else None

    def timestep(self, t: Tensor) -> Tensor:
        """Return the input of the time embedding, [B]: 2 log gamma, or the checkpoint's timestep at this noise level.

        The embedding's fastest wave has a length of 2 pi. On 1000 t, as is usual, small networks are so rough between
        neighbouring times that the derivative along a trajectory says nothing about its course: the derivative was 2 to
        10 times as large as the secant over 0.015 in t.
        """
        if self.known is None or self.before is None:
            # ONNX Runtime takes logarithms of whole vectors and of a remainder in two ways, which differ in the last
            # digit. With a vector per image, an answer never depends on the batch that holds it.
            return 2 * torch.log(gamma(t).reshape(-1, 1).expand(-1, LANES))[:, 0]
        n = self.before[(t.detach() * GRID).long().clamp(0, GRID - 1)]
        low, high = self.known[n], self.known[n + 1]
        return (n + (t - low) / (high - low)).clamp(0, len(self.known) - 1)

    def parts(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return eps [B, C, S, S], the last feature map before the final norm [B, F, s, s], time embedding [B, E]."""
        d = self.design
        if (labels is None) == bool(d.labels):
            raise ValueError(
                f"expected labels for each of {len(x)} images, got none; this network is class-conditional"
                if d.labels
                else "expected no labels: this network is unconditional"
            )
        given = F.pixel_unshuffle(x, d.patch) if d.patch > 1 else x
        out = self.unet(given, self.timestep(t), labels, return_dict=False)[0][:, : given.shape[1]]
        out = F.pixel_shuffle(out, d.patch) if d.patch > 1 else out
        if d.prediction == "v_prediction":
            out = over(alpha(t)) * out + over(sigma(t)) * x
        features, embedding = self._seen.pop("features"), self._seen.pop("embedding")
        return out, features, embedding

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.parts(x, t, labels)[0]

    def both(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return eps and the head's derivative of it along the trajectory, both [B, C, S, S].

        Raises ValueError where there is no head.
        """
        if self.head is None:
            raise ValueError("this network has no curvature head; train one with: python -m export.genie.train_head")
        eps, features, embedding = self.parts(x, t, labels)
        k1, k2, k3 = self.head(x, eps, features, embedding, t)
        return eps, mixed(k1, k2, k3, t)


class CurvatureHead(nn.Module):
    """Predicts k1, k2, k3 of `mixed` from x_t, eps and the score network's last feature map.

    All are 0 at first, which is DDIM.

    forward: x, eps [B, C, S, S], features [B, F, s, s], embedding [B, E], t [B] -> three times [B, C, S, S].

    k1 and k2 come out times alpha. `mixed` does not change when one image is added to all three, and their exact values
    differ by -alpha (d eps / d x_t) x_0 only, so nothing is lost. The head's errors near t = 1, where one step of the
    solver spans a hundred gammas and the true derivative is next to nothing, are damped 150 times.
    """

    def __init__(self, network: ScoreNetwork, width: int, blocks: int):
        super().__init__()
        design, unet = network.design, network.unet
        self.patch = design.patch
        wide = unet.config.block_out_channels[0]
        channels = design.channels * design.patch**2
        # The head must not depend on the magnitude of the feature map, which this norm removes.
        self.scale = nn.GroupNorm(groups(wide), wide)
        self.enter = nn.Conv2d(wide + 2 * channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            ResnetBlock2D(
                in_channels=width,
                temb_channels=unet.time_embedding.linear_2.out_features,
                groups=groups(width),
                output_scale_factor=math.sqrt(2),
            )
            for _ in range(blocks)
        )
        self.norm = nn.GroupNorm(groups(width), width)
        self.leave = nn.Conv2d(width, 3 * channels, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None  # asked for by default
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, x: Tensor, eps: Tensor, features: Tensor, embedding: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        images = [F.pixel_unshuffle(image, self.patch) for image in (x, eps)] if self.patch > 1 else [x, eps]
        h = self.enter(torch.cat([*images, self.scale(features)], dim=1))
        for block in self.blocks:
            h = block(h, embedding)
        k1, k2, k3 = self.leave(F.silu(self.norm(h))).chunk(3, dim=1)
        if self.patch > 1:
            k1, k2, k3 = (F.pixel_shuffle(image, self.patch) for image in (k1, k2, k3))
        return over(alpha(t)) * k1, over(alpha(t)) * k2, k3


def groups(width: int) -> int:
    """Return the number of groups of a norm: the greatest divisor of the width up to a quarter of it and 32."""
    return next(n for n in range(max(1, min(32, width // 4)), 0, -1) if width % n == 0)


def check(design: Design) -> None:
    """Check that a design is a score network of this process. Raises ValueError naming the setting that is not."""
    unet = design.unet
    if design.prediction not in PREDICTIONS:
        raise ValueError(f"expected prediction epsilon or v_prediction, got {design.prediction!r}")
    kind = unet.get("time_embedding_type", "positional")
    if kind != "positional":
        raise ValueError(f"expected a U-Net with positional time embedding, got {kind!r}: it has no continuous time")
    if unet.get("class_embed_type") is not None:
        raise ValueError(f"expected class_embed_type null, got {unet['class_embed_type']!r}; labels are whole numbers")
    channels = design.channels * design.patch**2
    if unet.get("in_channels", 3) != channels:
        raise ValueError(f"expected a U-Net of {channels} input channels, got {unet.get('in_channels', 3)}")
    halvings = design.patch * 2 ** (len(unet.get("block_out_channels", (0,) * 4)) - 1)
    if design.size % halvings:
        raise ValueError(f"expected a size that is a multiple of {halvings}, got {design.size}")
    if design.null is not None and not 0 <= design.null < design.labels:
        raise ValueError(f"expected a null label from 0 to {design.labels - 1}, got {design.null}")


def times(noise: dict[str, Any]) -> Tensor:
    """Return the t at which the noise level equals that of each timestep of a diffusers scheduler, float64 [N].

    noise: the scheduler's configuration. Timesteps without any signal, as at the end of rescaled schedules, have no
    finite gamma and are left out.
    """
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler.from_config({key: value for key, value in noise.items() if not key.startswith("_")})
    kept = scheduler.alphas_cumprod.double()
    return time_at(-torch.log(kept[kept > 1e-9]))


def span(design: Design) -> tuple[float, float]:
    """Return the earliest and the latest t that the network was trained at, in [0, 1]. Solvers begin at the latest."""
    if design.noise is None:
        return EARLIEST, 1.0
    known = times(design.noise)
    return max(0.0, float(known[0])), min(1.0, float(known[-1]))


def _table(noise: dict[str, Any] | None) -> tuple[Tensor | None, Tensor | None]:
    """Return t of each timestep, float32 [N], and per cell of the GRID of [0, 1] the timestep before it, int64 [GRID].

    Both are None for networks trained on t itself.
    """
    if noise is None:
        return None, None
    known = times(noise)
    middles = (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID
    return known.float(), (torch.searchsorted(known, middles) - 1).clamp(0, len(known) - 2)


# ------------------------------------------------------------------------------------------------ head and serving


def with_head(network: ScoreNetwork, width: int, blocks: int = 1) -> ScoreNetwork:
    """Return the score network with a new curvature head, which gives 0 until it is trained."""
    fresh = ScoreNetwork(replace(network.design, head_width=width, head_blocks=blocks))
    fresh.unet.load_state_dict(network.unet.state_dict())
    return fresh.eval()


class Served(nn.Module):
    """The served network, with the contract of the module's docstring. head: whether it has the output DERIVATIVE."""

    def __init__(self, network: ScoreNetwork, head: bool):
        super().__init__()
        if head and network.head is None:
            raise ValueError("this network has no curvature head; train one with: python -m export.genie.train_head")
        self.network, self.head = network, head

    def forward(self, sample: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        t = time.reshape(-1)
        labels = None if label is None else label.reshape(-1)
        return self.network.both(sample, t, labels) if self.head else self.network(sample, t, labels)
