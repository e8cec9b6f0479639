"""CLIP as the two networks that `compare` and `retrieve` by words ask: one vector per image, one per text.

The modules are transformers' `CLIPModel`; the forward passes are ours, so that they are traced with free sizes. The
graphs keep the contract of `network`, with one group that is the whole image (G = 1), which `segment` refuses.

An image is seen as CLIP was trained: the square in its middle, scaled to the network's side.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.entry import Network, Shape
from export.grouping.forward import block
from export.grouping.rows import pair
from sluice.methods.grouping import pairs, vocabulary
from sluice.methods.grouping.pairs import Pairs

GREATEST_SCALE = 100.0
STEP = 16  # the verbs show images whose sides are multiples of this
LEGACY_END = 2  # eos_token_id of checkpoints from before transformers 4.31, whose highest token is the end


@dataclass(frozen=True)
class Clip:
    """A CLIP of the user's own.

    model: transformers' `CLIPModel` in float32. weights: the file that they came from. pairs: its vocabulary. mean,
    deviation: of the pixels (RGB, 0-1) in training.
    """

    model: Any
    weights: Path
    pairs: Pairs
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def side(self) -> int:
        """Return the side of the square that the image encoder sees, in pixels."""
        return int(self.model.config.vision_config.image_size)

    @property
    def shown(self) -> int:
        """Return the short side at which the verbs show images: the next multiple of STEP."""
        return -(-self.side // STEP) * STEP


class ImageEncoder(nn.Module):
    """The served `image_grouper`: IMAGE uint8 [B, H, W, 3] RGB, sides multiples of 16, to one group per image.

    Returns GROUPS float32 [B, 1, E] and EMBEDDING [B, E], the same vector of length 1, and ASSIGNMENT [B, 1, H / 16,
    W / 16], ones.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, clip: Clip):
        super().__init__()
        self.model, self.side = clip.model, clip.side
        self.register_buffer("mean", torch.tensor(clip.mean), persistent=False)
        self.register_buffer("deviation", torch.tensor(clip.deviation), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        vision, image = self.model.vision_model, image.float()  # at once: TensorRT takes uint8 for nothing else
        height, width = torch.as_tensor(image.shape[1]), torch.as_tensor(image.shape[2])
        least = torch.minimum(height, width)
        top, left = (height - least) // 2, (width - least) // 2
        square = image[:, top : top + least, left : left + least].permute(0, 3, 1, 2)
        pixels = F.interpolate(square, size=(self.side, self.side), mode="bilinear", align_corners=False)
        pixels = (pixels / 255 - self.mean[:, None, None]) / self.deviation[:, None, None]
        table = vision.embeddings
        x = table.patch_embedding(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([table.class_embedding.expand(x.shape[0], 1, -1), x], dim=1) + table.position_embedding.weight
        x = vision.pre_layrnorm(x)
        for layer in vision.encoder.layers:
            x = block(layer, x)
        vector = F.normalize(self.model.visual_projection(vision.post_layernorm(x[:, 0])), dim=-1)
        return vector[:, None], vector, torch.ones_like(image[:, None, ::STEP, ::STEP, 0])


class TextEncoder(nn.Module):
    """The served `text_encoder`, with the contract of `network`; L up to the length of the network's own context."""

    def __init__(self, clip: Clip):
        super().__init__()
        self.model, self.pairs = clip.model, clip.pairs
        self.end = clip.model.config.text_config.eos_token_id

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        text = self.model.text_model
        length, full = tokens.shape[1], self.pairs.length
        x = text.embeddings.token_embedding(tokens) + text.embeddings.position_embedding.weight[:length]
        mask = torch.ones(full, full, dtype=torch.bool).tril()[:length, :length]
        for layer in text.encoder.layers:
            x = block(layer, x, mask)
        end = tokens.argmax(dim=1) if self.end == LEGACY_END else (tokens == self.end).int().argmax(dim=1)
        chosen = (torch.arange(length) == end[:, None]).to(x.dtype)
        vector = self.model.text_projection((chosen[:, None] @ text.final_layer_norm(x))[:, 0])
        return vector, self.model.logit_scale.exp().clamp(max=GREATEST_SCALE).expand(tokens.shape[0], 1)

    @property
    def record(self) -> dict[str, str]:
        """Return the metadata of the graph: its vocabulary, and that every token of it was learned."""
        return {vocabulary.MARK: vocabulary.ALL, pairs.MARK: self.pairs.written()}


def rows(clip: Clip, about: Mapping[str, Any]) -> tuple[Network, Network]:
    """Return the rows of a CLIP in the table of exports, image encoder and text encoder. about: fields of `Network`."""
    picture, text = pair(**about)
    side, length = clip.shown, clip.pairs.length

    def sentences(shapes: Mapping[str, Shape], seed: int) -> dict[str, Any]:
        """Return TOKENS int64 [B, L] like those of texts: start, words, end, then 0. The first text is the longest."""
        batch, most = shapes["TOKENS"]
        rng, own = np.random.default_rng(seed), clip.pairs
        tokens = np.zeros((batch, most), np.int64)
        for index in range(batch):
            last = most - 1 if index == 0 else int(rng.integers(1, most))
            tokens[index, :last] = rng.choice(own.numbers, last)
            tokens[index, 0], tokens[index, last] = own.start, own.end
        return {"TOKENS": tokens}

    check = ((1, side, side, 3), (2, side, side + 64, 3), (3, 96, 64, 3))
    lengths = dict.fromkeys(((1, length), (5, min(12, length)), (3, 2)))
    return (
        replace(
            picture,
            title="CLIP's image encoder: one vector of the square in the middle of an image",
            load=lambda _: ImageEncoder(clip).eval(),
            example={"IMAGE": (4, 160, 80, 3)},
            check=tuple({"IMAGE": shape} for shape in check),
            profile={"IMAGE": ((1, side, side, 3), (4, side, side, 3), (8, side, 4 * side, 3))},
        ),
        replace(
            text,
            title="CLIP's text encoder",
            load=lambda _: TextEncoder(clip).eval(),
            example={"TOKENS": (2, min(33, length - 1))},
            check=tuple({"TOKENS": shape} for shape in lengths),
            make=sentences,
            made=f"random texts of 2 to {length} tokens",
            tolerance=1e-3,  # of vectors that are not of length 1; published ones are some 10 long
            profile={"TOKENS": ((1, 2), (64, min(16, length)), (64, length))},
        ),
    )
