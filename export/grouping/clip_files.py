"""Reads a CLIP from transformers' folder, or from OpenCLIP's weights with the settings beside them. Fetches nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from export import stored
from export.entry import ExportError
from export.grouping import clip_vocabulary
from export.grouping.clip import LEGACY_END, Clip
from sluice.methods.grouping import pairs

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HF, OPEN = "config.json", "open_clip_config.json"
FILES = {
    HF: ("model.safetensors", "pytorch_model.bin"),
    OPEN: ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
}

# The settings of OpenCLIP that change nothing in the networks read here, and those that must have this value.
ANY = {
    "embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "image_size", "patch_size", "layers", "width", "head_width",
    "mlp_ratio", "context_length", "vocab_size", "heads", "patch_dropout", "hf_tokenizer_name", "tokenizer_kwargs",
    "custom_text", "init_logit_scale", "output_tokens", "pad_id",
}  # fmt: skip
ONLY: dict[str, tuple[Any, ...]] = {
    "pool_type": ("tok", "argmax", "eos"),
    "ls_init_value": (None,),
    "attentional_pool": (False,),
    "embed_cls": (False,),
    "no_ln_pre": (False,),
    "no_causal_mask": (False,),
    "final_ln_after_pool": (False,),
    "proj_type": ("linear",),
    "proj_bias": (False,),
    "pos_embed_type": ("learnable",),
    "init_logit_bias": (None,),
    "timm_model_name": (None, ""),
    "hf_model_name": (None, ""),
}

# Names of OpenCLIP, and of transformers, without the tower's prefix.
OUTSIDE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",
    "visual.ln_post.": "vision_model.post_layernorm.",
    "visual.proj": "visual_projection.weight",
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "token_embedding.": "text_model.embeddings.token_embedding.",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "ln_final.": "text_model.final_layer_norm.",
    "text_projection": "text_projection.weight",
    "logit_scale": "logit_scale",
}
INSIDE = {
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".attn.out_proj.": ".self_attn.out_proj.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
}


def read(source: Path, vocabulary: Path | None = None) -> Clip:
    """Return the CLIP of a folder or a file.

    source: a folder with `config.json` or `open_clip_config.json` and weights, or OpenCLIP's weights with
    `open_clip_config.json` beside them. vocabulary: a folder of tokenizer files or a file of pairs; None for the
    folder's own, or for OpenCLIP the published one.
    Raises ExportError with one sentence where that is not to be had.
    """
    folder = source if source.is_dir() else source.parent
    try:
        kind, weights = _found(source, folder)
        settings = stored.settings(folder / kind)
        config = _hf(settings) if kind == HF else _open(settings)
        state = stored.weights(stored.read(weights), weights.name, ("state_dict", "model"))
        state = {key: value.float() for key, value in state.items()}
        if kind == OPEN:
            state = renamed(state, weights.name)
        state = {key: value for key, value in state.items() if not key.endswith(".position_ids")}
        model = CLIPModel(config)
        stored.fill(model, state, weights.name)
        mean, deviation = _pixels(folder, settings)
    except ExportError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise ExportError(f"{source} cannot be exported: {reason}") from None
    text: Any = config.text_config
    size, length = text.vocab_size, text.max_position_embeddings
    if vocabulary is None and kind == OPEN and not clip_vocabulary.there(folder) and size == pairs.VOCABULARY:
        found = pairs.listed(pairs.text(), size, length)
    else:
        found = clip_vocabulary.read(vocabulary or folder, size, length)
    if kind == OPEN:
        text.eos_token_id = found.end
    elif text.eos_token_id not in (LEGACY_END, found.end):
        raise ExportError(
            f"{HF} names {text.eos_token_id} as end token, the vocabulary {found.end}: they are not of one network"
        )
    elif text.eos_token_id == LEGACY_END and found.end != max(*found.numbers, found.start, found.end):
        raise ExportError(f"{HF} names {LEGACY_END} as end token; write the vocabulary's there: {found.end}")
    return Clip(model.eval(), weights, found, mean, deviation)


def _found(source: Path, folder: Path) -> tuple[str, Path]:
    """Return the name of the settings and the path of the weights. Raises ExportError where one is missing."""
    if not source.exists():
        raise ExportError(f"{source} is missing; give a folder or a file of a CLIP")
    if source.is_file():
        if not (folder / OPEN).is_file():
            raise ExportError(f"there is no {OPEN} beside {source.name}; put it there, as OpenCLIP publishes it")
        return OPEN, source
    for kind, names in FILES.items():
        for name in names:
            if (folder / kind).is_file() and (folder / name).is_file():
                return kind, folder / name
    raise ExportError(
        f"{source} holds no CLIP in one piece: expected {HF} with {' or '.join(FILES[HF])}, or {OPEN} with "
        f"{' or '.join(FILES[OPEN])}"
    )


def _hf(settings: Mapping[str, Any]) -> CLIPConfig:
    """Return the design of a transformers folder. Raises ValueError for other networks than CLIP."""
    if settings.get("model_type") != "clip":
        raise ValueError(f"{HF} describes a {settings.get('model_type')}, not a CLIP (model_type clip)")
    config = CLIPConfig(**{key: value for key, value in settings.items() if key != "model_type"})
    _square(config)
    return config


def _square(config: CLIPConfig) -> None:
    """Raise ValueError unless the image encoder reads squares of three channels."""
    vision: Any = config.vision_config
    if not (isinstance(vision.image_size, int) and isinstance(vision.patch_size, int) and vision.num_channels == 3):
        raise ValueError(
            f"expected an image encoder of squares in 3 channels, got image_size {vision.image_size}, patch_size "
            f"{vision.patch_size}, num_channels {vision.num_channels}"
        )


def _open(settings: Mapping[str, Any]) -> CLIPConfig:
    """Return the design of OpenCLIP's settings. Raises ValueError for designs that a CLIP of transformers cannot be."""
    model = settings.get("model_cfg", settings)
    vision, text = model["vision_cfg"], model["text_cfg"]
    for part in (model, vision, text):
        for key, value in part.items():
            if key not in ANY and value not in ONLY.get(key, ()):
                raise ValueError(f"{OPEN} asks for {key} {value!r}, which this import does not know")
    if not isinstance(vision["layers"], int):
        raise ValueError(f"{OPEN} describes a ResNet; its image encoder must be a ViT")
    act = "quick_gelu" if model.get("quick_gelu") else "gelu"
    width, size = vision.get("width", 768), text.get("vocab_size", pairs.VOCABULARY)
    config = CLIPConfig(
        projection_dim=model["embed_dim"],
        vision_config={
            "hidden_size": width,
            "intermediate_size": int(width * vision.get("mlp_ratio", 4)),
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": width // vision.get("head_width", 64),
            "image_size": vision.get("image_size", 224),
            "patch_size": vision.get("patch_size", 16),
            "hidden_act": act,
            "projection_dim": model["embed_dim"],
        },
        text_config={
            "hidden_size": text.get("width", 512),
            "intermediate_size": int(text.get("width", 512) * text.get("mlp_ratio", 4)),
            "num_hidden_layers": text.get("layers", 12),
            "num_attention_heads": text.get("heads", 8),
            "max_position_embeddings": text.get("context_length", 77),
            "vocab_size": size,
            "bos_token_id": size - 2,
            "eos_token_id": size - 1,  # of the published vocabulary; `read` puts that of another in its place
            "hidden_act": act,
            "projection_dim": model["embed_dim"],
        },
    )
    _square(config)
    return config


def renamed(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return OpenCLIP's weights under transformers' names. name: of the file.

    Raises ValueError, naming a tensor, for weights of another design.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        own = key.removeprefix("text.")
        if own.endswith("attn_mask"):  # a table of the causal mask, no weights
            continue
        start = next((begin for begin in OUTSIDE if own == begin or (begin[-1] == "." and own.startswith(begin))), "")
        if not start:
            raise ValueError(f"{name} holds {key}, which is no tensor of OpenCLIP's ViT and transformer")
        target = OUTSIDE[start] + own[len(start) :]
        for old, new in INSIDE.items():
            target = target.replace(old, new)
        joined = re.fullmatch(r"(.+)\.attn\.in_proj_(weight|bias)", target)
        if joined:
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                found[f"{joined[1]}.self_attn.{part}_proj.{joined[2]}"] = rows
        else:
            # OpenCLIP multiplies by its projections from the right, a linear layer by its transpose.
            found[target] = value.T.contiguous() if own in ("visual.proj", "text_projection") else value
    return found


def _pixels(folder: Path, settings: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of the pixels in training, CLIP's where the folder does not name them."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).exists():
            said = stored.settings(folder / name)
            said = said.get("image_processor", said)
            return _three(said.get("image_mean"), MEAN), _three(said.get("image_std"), DEVIATION)
    said = settings.get("preprocess_cfg", {})
    return _three(said.get("mean"), MEAN), _three(said.get("std"), DEVIATION)


def _three(values: Any, usual: tuple[float, ...]) -> tuple[float, ...]:
    """Return a number per channel, the usual ones for None. Raises ValueError for anything else."""
    found = usual if values is None else tuple(map(float, values))
    if len(found) != 3 or not torch.tensor(found).isfinite().all():
        raise ValueError(f"expected a number per channel for mean and deviation of the pixels, got {values}")
    return found
