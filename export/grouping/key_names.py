"""Translates the key names of the authors' checkpoints to those of transformers' `GroupViTModel`, and back.

The two networks are the same (equal to 1e-7 on random weights); only names differ, three tensors of an attention lie
in one (`qkv`, `in_proj`), and the projectors' linear layers are convolutions of width 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

UNUSED = {"multi_label_logit_scale"}  # a temperature of the training, not part of the network
# The authors' pattern and transformers' pattern, for all but attention. {n} is a whole number, {w} the rest.
RULES = (
    ("logit_scale", "logit_scale"),
    ("img_encoder.pos_embed", "vision_model.embeddings.position_embeddings"),
    ("img_encoder.patch_embed.proj.{w}", "vision_model.embeddings.patch_embeddings.projection.{w}"),
    ("img_encoder.patch_embed.norm.{w}", "vision_model.embeddings.layernorm.{w}"),
    ("img_encoder.layers.{n}.group_token", "vision_model.encoder.stages.{n}.group_token"),
    ("img_encoder.layers.{n}.blocks.{n}.norm1.{w}", "vision_model.encoder.stages.{n}.layers.{n}.layer_norm1.{w}"),
    ("img_encoder.layers.{n}.blocks.{n}.norm2.{w}", "vision_model.encoder.stages.{n}.layers.{n}.layer_norm2.{w}"),
    ("img_encoder.layers.{n}.blocks.{n}.mlp.{w}", "vision_model.encoder.stages.{n}.layers.{n}.mlp.{w}"),
    (
        "img_encoder.layers.{n}.blocks.{n}.attn.proj.{w}",
        "vision_model.encoder.stages.{n}.layers.{n}.self_attn.out_proj.{w}",
    ),
    (
        "img_encoder.layers.{n}.downsample.pre_assign_attn.attn.proj.{w}",
        "vision_model.encoder.stages.{n}.downsample.pre_assign_attn.attn.out_proj.{w}",
    ),
    ("img_encoder.layers.{n}.downsample.{w}", "vision_model.encoder.stages.{n}.downsample.{w}"),
    ("img_encoder.layers.{n}.group_projector.{w}", "vision_model.encoder.stages.{n}.group_projector.{w}"),
    ("img_encoder.norm.{w}", "vision_model.layernorm.{w}"),
    ("text_encoder.token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
    ("text_encoder.positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("text_encoder.transformer.resblocks.{n}.ln_1.{w}", "text_model.encoder.layers.{n}.layer_norm1.{w}"),
    ("text_encoder.transformer.resblocks.{n}.ln_2.{w}", "text_model.encoder.layers.{n}.layer_norm2.{w}"),
    ("text_encoder.transformer.resblocks.{n}.mlp.c_fc.{w}", "text_model.encoder.layers.{n}.mlp.fc1.{w}"),
    ("text_encoder.transformer.resblocks.{n}.mlp.c_proj.{w}", "text_model.encoder.layers.{n}.mlp.fc2.{w}"),
    (
        "text_encoder.transformer.resblocks.{n}.attn.out_proj.{w}",
        "text_model.encoder.layers.{n}.self_attn.out_proj.{w}",
    ),
    ("text_encoder.ln_final.{w}", "text_model.final_layer_norm.{w}"),
    ("img_projector.linear_hidden.0.{w}", "visual_projection.0.{w}"),
    ("img_projector.linear_hidden.1.{w}", "visual_projection.1.{w}"),
    ("img_projector.linear_out.{w}", "visual_projection.3.{w}"),
    ("text_projector.linear_hidden.0.{w}", "text_projection.0.{w}"),
    ("text_projector.linear_hidden.1.{w}", "text_projection.1.{w}"),
    ("text_projector.linear_out.{w}", "text_projection.3.{w}"),
)
# One tensor of the authors' is three of transformers': q, k and v, in that order.
JOINED = (
    ("img_encoder.layers.{n}.blocks.{n}.attn.qkv.{w}", "vision_model.encoder.stages.{n}.layers.{n}.self_attn.{p}.{w}"),
    ("text_encoder.transformer.resblocks.{n}.attn.in_proj_{w}", "text_model.encoder.layers.{n}.self_attn.{p}.{w}"),
)
PARTS = ("q_proj", "k_proj", "v_proj")
CONVOLUTIONS = re.compile(r"(img|text)_projector\.linear_(hidden\.0|out)\.weight")


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the authors' tensors under transformers' names. Raises ValueError for an unknown name."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in UNUSED:
            continue
        if (parts := split_names(name)) is not None:
            found.update(zip(parts, value.chunk(3), strict=True))
            continue
        found[name_of(name)] = value[..., 0] if CONVOLUTIONS.fullmatch(name) else value
    return found


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return transformers' tensors under the authors' names.

    Raises ValueError for an unknown name, and for an attention that lacks a part.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        for theirs, ours in JOINED:
            if (match := _matched(ours.replace("{p}", "q_proj"), name)) is not None:
                parts = [_filled(ours.replace("{p}", part), match) for part in PARTS]
                if lacking := [part for part in parts if part not in state]:
                    raise ValueError(f"expected {lacking[0]} beside {name}, found none")
                found[_filled(theirs, match)] = torch.cat([state[part] for part in parts])
                break
            if any(_matched(ours.replace("{p}", part), name) is not None for part in PARTS[1:]):
                break
        else:
            official = _renamed(name, 1, 0)
            found[official] = value[..., None] if CONVOLUTIONS.fullmatch(official) else value
    return found


def name_of(official: str) -> str:
    """Return transformers' name of one of the authors' tensors that is not joined. Raises ValueError if unknown."""
    return _renamed(official, 0, 1)


def split_names(official: str) -> list[str] | None:
    """Return the three names of a joined tensor, None for other tensors."""
    for theirs, ours in JOINED:
        if (match := _matched(theirs, official)) is not None:
            return [_filled(ours.replace("{p}", part), match) for part in PARTS]
    return None


def _renamed(name: str, given: int, wanted: int) -> str:
    """Translate a name by RULES. given, wanted: 0 for the authors' names, 1 for transformers'."""
    for rule in RULES:
        if (match := _matched(rule[given], name)) is not None:
            return _filled(rule[wanted], match)
    raise ValueError(f"expected a tensor of GroupViT, got {name}")


def _matched(pattern: str, name: str) -> tuple[str, ...] | None:
    """Return the texts in the places of a pattern, None where the name is of another form."""
    expression = re.escape(pattern).replace(r"\{n\}", r"(\d+)").replace(r"\{w\}", r"(.+)")
    match = re.fullmatch(expression, name)
    return match.groups() if match else None


def _filled(pattern: str, parts: tuple[str, ...]) -> str:
    """Return a pattern with its places filled, in order."""
    values = iter(parts)
    return re.sub(r"\{[nw]\}", lambda _: next(values), pattern)
