"""The steps of GroupViT's forward pass, on the modules that transformers' `GroupViTModel` holds.

transformers' own forward passes refuse images of another size than the training's, scatter for the hard assignment, and
run the encoder again for a segmentation. These steps use transformers' modules, and so its checkpoints, but none of its
forward passes: one encoder run, traceable with free sizes, and without scatter, which TensorRT does not know here.

Sources: Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022; reference section 2.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHARPNESS = -0.75  # of the cubic kernel, as torch has it; PIL's is another


def attend(attention: Any, query: Tensor, source: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Return the answer of `GroupViTAttention`, [B, Q, D], its projections joined in one product.

    query: [B, Q, D]. source: [B, S, D] for keys and values, None for the query itself. mask: bool [Q, S], True where a
    query may look, None for everywhere.
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
    # Written out, since the backward pass of torch's fused attention takes five times as long on a CPU at these sizes.
    logits = (q * attention.scale) @ k.transpose(-2, -1)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    found = logits.softmax(dim=-1).to(v.dtype) @ v
    return attention.out_proj(found.transpose(1, 2).reshape(batch, -1, width))


def block(layer: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the answer of a pre-norm transformer block (`GroupViTEncoderLayer`) of either encoder. x: [B, N, D]."""
    x = x + attend(layer.self_attn, layer.layer_norm1(x), mask=mask)
    return x + layer.mlp(layer.layer_norm2(x))


def assignment(logits: Tensor, random: torch.Generator | None) -> Tensor:
    """Assign each token to one group, one-hot over the groups, [B, G, N]. logits: float32 [B, G, N].

    random: in training, the generator of Gumbel noise by which groups are drawn; the gradient is that of the softmax
    over the noisy logits (straight-through). None: the greatest logit wins, the first among equals.
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
    """Group image tokens as `GroupViTTokenAssign` does. x: [B, N, D]; tokens: [B, G_in, D]; random: as in `assignment`.

    Returns the groups [B, G, D], and the soft assignment without noise [B, G, N], which sums to 1 over G.
    """
    x, tokens = grouping.norm_x(x), grouping.norm_tokens(tokens)
    p = grouping.norm_post_tokens(grouping.mlp_inter(tokens))
    cross = grouping.pre_assign_attn
    p = p + attend(cross.attn, p, x)
    p = cross.norm_post(p + cross.mlp(cross.norm2(p)))
    assign = grouping.assign
    # A small difference may choose another group, so these logits are float32 in every precision.
    with torch.autocast(x.device.type, enabled=False):
        q, k = assign.q_proj(p.float()), assign.k_proj(x.float())
        logits = (q * assign.scale) @ k.transpose(-2, -1)
        soft = logits.softmax(dim=-2)
        hard = assignment(logits, random)
        share = hard / (hard.sum(dim=-1, keepdim=True) + assign.assign_eps)
    found = p + assign.proj(share @ assign.v_proj(x))
    return found + grouping.mlp_channels(grouping.norm_new_x(found)), soft


def stages(encoder: Any, x: Tensor, random: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Run all stages of the image encoder. x: [B, N, D] patches with positions; random: as in `assignment`.

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
    assert product is not None  # `network.check` refuses networks that never group
    return x, product


def patches(embeddings: Any, image: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return patches with norm and positions, [B, h w, D].

    image: uint8 [B, H, W, 3] RGB. mean, deviation: [3], of pixels in 0-1; they are folded into the patch embedding, so
    that pixels enter as 0-255, which even bf16 holds exactly.
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
    """Interpolate learned positions to another number of patches, bicubic as in torch, [1, S^2, D] -> [1, h w, D].

    Two products with small matrices take a fraction of the time of ONNX Runtime's cubic Resize on a CPU, and are exact
    at S.
    """
    side = round(int(table.shape[1]) ** 0.5)
    square = table.reshape(side, side, -1)
    down = cubic(side, rows) @ square.reshape(side, -1)  # [h, S D]
    across = cubic(side, columns) @ down.reshape(-1, side, square.shape[-1])  # [w, S] @ [h, S, D]
    return across.reshape(1, -1, square.shape[-1])


def cubic(given: int, wanted: Any) -> Tensor:
    """Return the matrix [wanted, given] of bicubic interpolation along one axis, the ends repeated."""
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
    """Return a projector (linear, batch norm, ReLU, linear) with its norm folded into the first linear layer."""
    linear, norm, _, last = projection
    assert isinstance(linear, nn.Linear) and isinstance(norm, nn.BatchNorm1d) and isinstance(last, nn.Linear)
    assert norm.running_var is not None and norm.running_mean is not None
    with torch.no_grad():
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        first = nn.Linear(linear.in_features, linear.out_features)
        first.weight.copy_(linear.weight * scale[:, None])
        first.bias.copy_((linear.bias - norm.running_mean) * scale + norm.bias)
    return nn.Sequential(first, nn.ReLU(), last)
