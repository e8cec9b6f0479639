"""The steps of GroupViT's forward pass, on the modules that transformers' `GroupViTModel` holds.

transformers' own forward passes refuse images of another size than the training's, write the hard assignment by
scattering, and run the encoder again for a segmentation. These take its modules, and so its checkpoints, and nothing
else of it. Written for one encoder run, for tracing with free sizes, and for TensorRT, which knows no scatter here.

Sources: Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022; reference section 2.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHARPNESS = -0.75  # of the cubic kernel, torch's and PIL's convention apart from each other: torch's


def attend(attention: Any, query: Tensor, source: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """`GroupViTAttention` with its projections in one product. source: keys and values, the query itself if None.

    query: [B, Q, D]; source: [B, S, D]; mask: bool [Q, S], true where a query may look.
    """
    batch, width = query.shape[0], attention.embed_dim
    ask, key, value = attention.q_proj, attention.k_proj, attention.v_proj
    if source is None:
        weight, bias = torch.cat([ask.weight, key.weight, value.weight]), torch.cat([ask.bias, key.bias, value.bias])
        parts = F.linear(query, weight, bias).split(width, dim=-1)
    else:
        weight, bias = torch.cat([key.weight, value.weight]), torch.cat([key.bias, value.bias])
        parts = (ask(query), *F.linear(source, weight, bias).split(width, dim=-1))
    q, k, v = (part.reshape(batch, -1, attention.num_heads, attention.head_dim).transpose(1, 2) for part in parts)
    # Written out: the backward pass of torch's fused attention takes five times as long on a CPU at these sizes.
    logits = (q * attention.scale) @ k.transpose(-2, -1)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    found = logits.softmax(dim=-1).to(v.dtype) @ v
    return attention.out_proj(found.transpose(1, 2).reshape(batch, -1, width))


def block(layer: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """One pre-norm transformer block (`GroupViTEncoderLayer`), of either encoder. x: [B, N, D]."""
    x = x + attend(layer.self_attn, layer.layer_norm1(x), mask=mask)
    return x + layer.mlp(layer.layer_norm2(x))


def assignment(logits: Tensor, random: torch.Generator | None) -> Tensor:
    """Each token to one group, one-hot over the groups. logits: float32 [B, G, N].

    With `random`, as in training: the groups are drawn by Gumbel noise, and the gradient is that of the softmax over
    the noisy logits (straight-through). Without it the greatest logit wins, the first of equal ones.
    """
    if random is not None:
        uniform = torch.rand(logits.shape, generator=random).clamp_(1e-9, 1 - 1e-7)
        logits = logits - torch.log(-torch.log(uniform))
    best = logits.argmax(dim=-2, keepdim=True)
    hard = (torch.arange(logits.shape[-2], device=logits.device)[:, None] == best).to(logits.dtype)
    if random is None:
        return hard
    soft = logits.softmax(dim=-2)
    return hard - soft.detach() + soft


def group(grouping: Any, x: Tensor, tokens: Tensor, random: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """`GroupViTTokenAssign`: image tokens to groups. x: [B, N, D]; tokens: [B, G_in, D].

    Returns the groups [B, G, D], and the soft assignment without noise [B, G, N], which sums to 1 over G.
    """
    x, tokens = grouping.norm_x(x), grouping.norm_tokens(tokens)
    p = grouping.norm_post_tokens(grouping.mlp_inter(tokens))
    cross = grouping.pre_assign_attn
    p = p + attend(cross.attn, p, x)
    p = cross.norm_post(p + cross.mlp(cross.norm2(p)))
    assign = grouping.assign
    # A group that is chosen by a hair is another group: these logits are float32 in every precision.
    with torch.autocast(x.device.type, enabled=False):
        q, k = assign.q_proj(p.float()), assign.k_proj(x.float())
        logits = (q * assign.scale) @ k.transpose(-2, -1)
        soft = logits.softmax(dim=-2)
        hard = assignment(logits, random)
        share = hard / (hard.sum(dim=-1, keepdim=True) + assign.assign_eps)
    found = p + assign.proj(share @ assign.v_proj(x))
    return found + grouping.mlp_channels(grouping.norm_new_x(found)), soft


def stages(encoder: Any, x: Tensor, random: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """All stages of the image encoder. x: [B, N, D] patches with positions.

    Returns the last tokens [B, G, D], and the product of the stages' soft assignments [B, G, N].
    """
    tokens: Tensor | None = None
    product: Tensor | None = None
    for stage in encoder.stages:
        count = stage.num_group_token
        if count:
            own = stage.group_token.expand(x.shape[0], -1, -1)
            tokens = own if stage.group_projector is None else own + stage.group_projector(tokens)
            x = torch.cat([x, tokens], dim=1)
        for layer in stage.layers:
            x = block(layer, x)
        if count:
            x, tokens = x[:, :-count], x[:, -count:]
            x, soft = group(stage.downsample, x, tokens, random)
            with torch.autocast(x.device.type, enabled=False):
                product = soft if product is None else soft @ product
    assert product is not None  # `grouping.check` refuses networks that never group
    return x, product


def patches(embeddings: Any, image: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Patches with norm and positions [B, h w, D]. image: uint8 [B, H, W, 3] RGB; mean, deviation: [3], of 0-1.

    Pixels are normalised by weight and bias of the patch embedding, so that 0-255 enters as it is, exact even in bf16.
    """
    projection = embeddings.patch_embeddings.projection
    side = projection.kernel_size[0]
    batch, height, width, _ = image.shape
    h, w = height // side, width // side
    cells = image.float().reshape(batch, h, side, w, side, 3).permute(0, 1, 3, 2, 4, 5).reshape(batch, h * w, -1)
    scaled = projection.weight / (255 * deviation)[:, None, None]
    bias = projection.bias - (projection.weight * (mean / deviation)[:, None, None]).sum(dim=(1, 2, 3))
    x = F.linear(cells, scaled.permute(0, 2, 3, 1).reshape(scaled.shape[0], -1), bias)
    return embeddings.layernorm(x) + positions(embeddings.position_embeddings, h, w)


def positions(table: Tensor, rows: Any, columns: Any) -> Tensor:
    """Learned positions for another number of patches, by bicubic interpolation as torch's. [1, S^2, D] -> [1, h w, D].

    Two products with small matrices: on a CPU a fraction of what ONNX Runtime's cubic Resize takes, and exact at S.
    """
    side = round(int(table.shape[1]) ** 0.5)
    square = table.reshape(side, side, -1)
    down = cubic(side, rows) @ square.reshape(side, -1)  # [h, S D]
    across = cubic(side, columns) @ down.reshape(-1, side, square.shape[-1])  # [w, S] @ [h, S, D]
    return across.reshape(1, -1, square.shape[-1])


def cubic(given: int, wanted: Any) -> Tensor:
    """The matrix [wanted, given] of bicubic interpolation along one axis; the ends are repeated."""
    place = (torch.arange(wanted).float() + 0.5) * (given / torch.as_tensor(wanted).float()) - 0.5
    first = torch.floor(place)
    t = place - first
    a = SHARPNESS
    near = lambda d: ((a + 2) * d - (a + 3)) * d * d + 1  # noqa: E731
    far = lambda d: ((a * d - 5 * a) * d + 8 * a) * d - 4 * a  # noqa: E731
    cells = torch.arange(given).float()
    matrix = torch.zeros(1, given)
    for offset, weight in ((-1, far(t + 1)), (0, near(t)), (1, near(1 - t)), (2, far(2 - t))):
        index = (first + offset).clamp(0, given - 1)
        matrix = matrix + weight[:, None] * (index[:, None] == cells).float()
    return matrix


def folded(projection: nn.Sequential) -> nn.Sequential:
    """A projector (linear, batch norm, ReLU, linear) as it serves: the norm is part of the first linear layer."""
    linear, norm, _, last = projection
    assert isinstance(linear, nn.Linear) and isinstance(norm, nn.BatchNorm1d) and isinstance(last, nn.Linear)
    assert norm.running_var is not None and norm.running_mean is not None
    with torch.no_grad():
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        first = nn.Linear(linear.in_features, linear.out_features)
        first.weight.copy_(linear.weight * scale[:, None])
        first.bias.copy_((linear.bias - norm.running_mean) * scale + norm.bias)
    return nn.Sequential(first, nn.ReLU(), last)
