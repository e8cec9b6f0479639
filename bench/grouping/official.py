"""Writes out GroupViT's published evaluation in torch on transformers' modules; masks and vectors must equal it.

It follows the authors line by line, without regard for speed, with one difference: a picture whose sides are no
multiples of the patch is scaled to such sides, and positions are interpolated. Used by `bench grouping` and by tests.

Source: Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022, and its evaluation.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from export.grouping.network import GroupingNetwork
from sluice.methods.grouping import prompts, tokens

PATCH = 16


def scaled(data: bytes, size: tuple[int, int]) -> Tensor:
    """Return an encoded picture as float [1, 3, h, w] of 0-255 at a size (height, width)."""
    image = Image.open(io.BytesIO(data)).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()


def normal(network: GroupingNetwork, pixels: Tensor) -> Tensor:
    """Return pixels of 0-255 normalised as the network was trained with them."""
    return (pixels / 255 - network.mean[:, None, None]) / network.deviation[:, None, None]


def image_features(network: GroupingNetwork, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return groups [G, E] and the whole [E], both of length 1, and shares [G, h, w] of the patches.

    They come from transformers' modules, with positions interpolated as the authors do. pixels: from `scaled`.
    """
    vit, vision = network.vit, network.vit.vision_model
    h, w = pixels.shape[2] // PATCH, pixels.shape[3] // PATCH
    patches = vision.embeddings.patch_embeddings(normal(network, pixels), interpolate_pos_encoding=True)
    x = vision.embeddings.layernorm(patches)
    table = vision.embeddings.position_embeddings
    side = round(table.shape[1] ** 0.5)
    square = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if (h, w) != (side, side):
        square = F.interpolate(square, (h, w), mode="bicubic", align_corners=False)
    x = x + square.flatten(2).transpose(1, 2)
    out = vision.encoder(x, output_attentions=True, return_dict=True)
    last = vision.layernorm(out.last_hidden_state)
    groups = F.normalize(vit.visual_projection(last[0]), dim=-1)
    whole = F.normalize(vit.visual_projection(last.mean(dim=1)), dim=-1)[0]
    shares = out.attentions[0]
    for attention in out.attentions[1:]:
        shares = attention @ shares
    return groups, whole, shares[0].reshape(-1, h, w)


def text_features(network: GroupingNetwork, sentences: Sequence[str]) -> Tensor:
    """Return the vectors of sentences, [n, E], not of length 1."""
    ids = torch.from_numpy(tokens.tokenizer()(sentences).ids)
    found: Tensor = network.vit.text_projection(network.vit.text_model(input_ids=ids).pooler_output)
    return found


def class_features(network: GroupingNetwork, names: Sequence[str], templates: str) -> Tensor:
    """Return the vectors of classes, [C, E]: the mean over the templates before normalisation, then normalised."""
    rows = []
    for name in names:
        written = [template.replace("{}", name) for template in prompts.TEMPLATES[templates]]
        rows.append(F.normalize(text_features(network, written).mean(dim=0), dim=-1))
    return torch.stack(rows)


def window_scores(network: GroupingNetwork, pixels: Tensor, classes: Tensor, threshold: float | None) -> Tensor:
    """Return the scores of one crop at its own size, [C or C + 1, h, w]; background comes first if there is a
    threshold."""
    return rule(network.scale, *image_features(network, pixels), classes, threshold, pixels.shape[2:])


def rule(
    scale: Tensor, groups: Tensor, whole: Tensor, shares: Tensor, classes: Tensor, threshold: float | None, size: Any
) -> Tensor:
    """Apply the published rule at a size (h, w). The other arguments come from `image_features` and
    `class_features`."""
    maps = F.interpolate(shares[None], size, mode="bilinear", align_corners=False)[0]
    onehot = F.one_hot(maps.argmax(dim=0), len(groups)).float()
    affinity = scale * groups @ classes.T
    soft = affinity.softmax(dim=-1)
    best = (scale * whole @ classes.T).softmax(dim=-1).topk(min(5, len(classes))).indices
    kept = torch.zeros(len(classes), dtype=torch.bool)
    kept[best] = True
    scores = affinity.masked_fill(~kept, float("-inf")).softmax(dim=-1) * soft
    pixel = (onehot @ scores).permute(2, 0, 1)
    if threshold is None:
        return pixel
    ground = pixel.max(dim=0).values < min(threshold, scores.max().item())
    return torch.cat([ground[None].float(), pixel])


@torch.no_grad()
def masks(
    network: GroupingNetwork,
    data: bytes,
    names: Sequence[str],
    templates: str = "subset",
    slide: bool = False,
    threshold: float | None = None,
    classes: Tensor | None = None,
) -> np.ndarray:
    """Return the label of each pixel of an encoded picture, [H, W]: index of the class, 255 for background.

    slide: True slides windows of 448 at steps of 224 over the picture at a short side of 448; False sees it whole at
    224. classes: from `class_features`, if they are known already.
    """
    width, height = Image.open(io.BytesIO(data)).size
    if classes is None:
        classes = class_features(network, names, templates)
    short = 448 if slide else 224
    scale = min(2048 / max(height, width), short / min(height, width))
    size = [int(side * scale + 0.5) for side in (height, width)]
    if not slide:
        size = [round(side / PATCH) * PATCH for side in size]
    pixels = scaled(data, (size[0], size[1]))
    crop = [448, 448] if slide else size
    total, count = torch.zeros(len(names) + (threshold is not None), *size), torch.zeros(size)
    rows, columns = (max(side - own + 223, 0) // 224 + 1 for side, own in zip(size, crop, strict=True))
    for row in range(rows):
        for column in range(columns):
            bottom, right = min(row * 224 + crop[0], size[0]), min(column * 224 + crop[1], size[1])
            top, left = bottom - crop[0], right - crop[1]
            found = window_scores(network, pixels[:, :, top:bottom, left:right], classes, threshold)
            total[:, top:bottom, left:right] += found
            count[top:bottom, left:right] += 1
    scores = F.interpolate((total / count)[None], (height, width), mode="bilinear", align_corners=False)[0]
    labels: np.ndarray = scores.argmax(dim=0).numpy()
    return labels if threshold is None else (labels - 1) % 256


# ------------------------------------------------------------------------------------------------ random weights


def drawn(design: Any, names: Sequence[str], pictures: np.ndarray, seed: int = 7) -> GroupingNetwork:
    """Return a network with random weights whose masks show several classes, as after training.

    Keys are spread and the norms of the projectors know their input; otherwise one group would have every pixel and all
    classes would look alike. pictures: uint8 [B, H, W, 3].
    """
    torch.manual_seed(seed)
    made = GroupingNetwork(design).eval()
    with torch.no_grad():
        for name, value in made.vit.named_parameters():
            if "token" in name or "embed" in name:
                value.normal_(std=0.05 if value.dim() == 4 else 0.5)
            elif value.dim() > 1:
                value.normal_(std=1.2 / value.shape[-1] ** 0.5)
        keys = [module for name, module in made.vit.named_modules() if name.endswith("assign.k_proj")]
        hooks = [module.register_forward_hook(_spread) for module in keys]
        groups, _, _ = made.image(torch.from_numpy(pictures))
        for hook in hooks:
            hook.remove()
        ids = torch.from_numpy(tokens.tokenizer()(names).ids)
        features = made.vit.text_model(input_ids=ids).pooler_output
        for projector, seen in (
            (made.vit.visual_projection, groups.flatten(0, 1)), (made.vit.text_projection, features)
        ):  # fmt: skip
            projector[1].momentum = None
            projector.train()(seen)
        made.vit.logit_scale.fill_(5)  # more than 100, the greatest scale that counts
    return made.eval()


def _spread(layer: Any, _: Any, output: Tensor) -> Tensor:
    """Change a linear layer so that this output has the mean 0 and the deviation 3 from now on. A forward hook."""
    mean, gain = output.mean(dim=(0, 1)), 3 / output.std(dim=(0, 1))
    layer.weight *= gain[:, None]
    layer.bias.copy_((layer.bias - mean) * gain)
    return (output - mean) * gain
