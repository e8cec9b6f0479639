"""Writes tiny CLIPs of random weights, transformers' folders and OpenCLIP's files, with a vocabulary of their own."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from sluice.methods.grouping.pairs import SINGLE

MERGES = [
    ("a", "r</w>"), ("c", "ar</w>"), ("r", "e"), ("re", "d</w>"), ("s", "k"), ("sk", "y</w>"), ("a", "b"),
    ("ab", "c</w>"), ("b", "c</w>"), ("a", "bc</w>"), ("Ã", "©"), ("Ã©", "Ã©"),
]  # fmt: skip  # two of them make abc</w>
CERTAIN = [pair for pair in MERGES if pair != ("a", "bc</w>")]  # each of them makes a symbol of its own
START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH, WIDTH, SIDE = 20, 24, 56
TEXTS = ["a red car", "the sky", "Größe & RED  cars, abc abcabc!!", "red " * 40]


def numbers(seed: int = 0) -> dict[str, int]:
    """Return a vocabulary of MERGES, its numbers in no order."""
    symbols = list(dict.fromkeys([*SINGLE, *(left + right for left, right in MERGES), START, END]))
    random.Random(seed).shuffle(symbols)
    return {symbol: number for number, symbol in enumerate(symbols)}


def tokenizer() -> CLIPTokenizer:
    """Return transformers' tokenizer of that vocabulary."""
    return CLIPTokenizer(vocab=numbers(), merges=MERGES, model_max_length=LENGTH)


def transformers_folder(folder: Path, parts: bool = False, **text: Any) -> CLIPModel:
    """Write a folder of `save_pretrained` and return its network. parts: the tokenizer as vocab.json and merges.txt.

    text: further settings of the text encoder.
    """
    torch.manual_seed(0)
    said = numbers()
    both = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"eos_token_id": said[END], "bos_token_id": said[START], "pad_token_id": 0}
    config = CLIPConfig(
        projection_dim=WIDTH,
        text_config={**both, **ends, "max_position_embeddings": LENGTH, "vocab_size": len(said), **text},
        vision_config={**both, "image_size": SIDE, "patch_size": 14},
    )
    network = CLIPModel(config).eval()
    with torch.no_grad():  # biases and norms of a new network are 0 and 1, which would hide a mistake
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    network.save_pretrained(folder)
    if parts:
        (folder / "vocab.json").write_text(json.dumps(said))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in MERGES))
    else:
        tokenizer().save_pretrained(folder)
    return network


# ------------------------------------------------------------------------------------------------ OpenCLIP


def open_clip(folder: Path, quick: bool = True, prefix: str = "", size: int = 0) -> dict[str, Tensor]:
    """Write weights, settings and pairs in OpenCLIP's form, and return the weights without the prefix of the text side.

    size: rows of the table of tokens, 0 for those of CERTAIN. The file of pairs is bpe.txt.
    """
    torch.manual_seed(1)
    wide, deep, rows = 64, 2, size or 512 + len(CERTAIN) + 2
    state: dict[str, Tensor] = {
        "visual.class_embedding": torch.randn(wide),
        "visual.positional_embedding": torch.randn((SIDE // 14) ** 2 + 1, wide),
        "visual.conv1.weight": torch.randn(wide, 3, 14, 14) / 10,
        "visual.proj": torch.randn(wide, WIDTH) / 8,
        "token_embedding.weight": torch.randn(rows, wide),
        "positional_embedding": torch.randn(LENGTH, wide),
        "text_projection": torch.randn(wide, WIDTH) / 8,
        "logit_scale": torch.tensor(3.5),
    }
    norms = ["visual.ln_pre", "visual.ln_post", "ln_final"]
    for tower in ("visual.", ""):
        for layer in range(deep):
            base = f"{tower}transformer.resblocks.{layer}"
            norms += [f"{base}.ln_1", f"{base}.ln_2"]
            for name, out, into in (
                ("attn.in_proj_", 3 * wide, wide),
                ("attn.out_proj.", wide, wide),
                ("mlp.c_fc.", 4 * wide, wide),
                ("mlp.c_proj.", wide, 4 * wide),
            ):
                state[f"{base}.{name}weight"] = torch.randn(out, into) / into**0.5
                state[f"{base}.{name}bias"] = torch.randn(out) / 10
    for norm in norms:
        state[f"{norm}.weight"], state[f"{norm}.bias"] = 1 + torch.randn(wide) / 10, torch.randn(wide) / 10
    folder.mkdir(parents=True, exist_ok=True)
    outer = {
        (key if key.startswith("visual.") or key == "logit_scale" else prefix + key): value
        for key, value in state.items()
    }
    mask = {f"{prefix}attn_mask": torch.full((LENGTH, LENGTH), float("-inf")).triu(1)}
    torch.save({**outer, **mask}, folder / "open_clip_pytorch_model.bin")
    model = {
        "embed_dim": WIDTH,
        "quick_gelu": quick,
        "vision_cfg": {"image_size": SIDE, "layers": deep, "width": wide, "patch_size": 14, "head_width": 16},
        "text_cfg": {"context_length": LENGTH, "vocab_size": rows, "width": wide, "heads": 4, "layers": deep},
    }
    said = {"model_cfg": model, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}}
    (folder / "open_clip_config.json").write_text(json.dumps(said))
    (folder / "bpe.txt").write_text("version\n" + "".join(f"{a} {b}\n" for a, b in CERTAIN))
    return state


def _transformer(state: dict[str, Tensor], base: str, x: Tensor, quick: bool, mask: Tensor | None) -> Tensor:
    """Run the blocks of one side in plain torch. x: [B, N, D]."""
    heads = 4
    norm = lambda name, x: F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])  # noqa: E731
    linear = lambda name, x: F.linear(x, state[f"{name}weight"], state[f"{name}bias"])  # noqa: E731
    for layer in range(2):
        own = f"{base}transformer.resblocks.{layer}"
        q, k, v = linear(f"{own}.attn.in_proj_", norm(f"{own}.ln_1", x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
        logits = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        found = (logits if mask is None else logits + mask).softmax(-1) @ v
        x = x + linear(f"{own}.attn.out_proj.", found.transpose(1, 2).flatten(2))
        hidden = linear(f"{own}.mlp.c_fc.", norm(f"{own}.ln_2", x))
        hidden = hidden * torch.sigmoid(1.702 * hidden) if quick else F.gelu(hidden)
        x = x + linear(f"{own}.mlp.c_proj.", hidden)
    return x


def open_images(state: dict[str, Tensor], pixels: Tensor, quick: bool) -> Tensor:
    """Return OpenCLIP's vectors of normalised images [B, 3, SIDE, SIDE], [B, WIDTH], in plain torch."""
    norm = lambda name, x: F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])  # noqa: E731
    x = F.conv2d(pixels, state["visual.conv1.weight"], stride=14).flatten(2).transpose(1, 2)
    x = torch.cat([state["visual.class_embedding"].expand(len(x), 1, -1), x], 1) + state["visual.positional_embedding"]
    x = _transformer(state, "visual.", norm("visual.ln_pre", x), quick, None)
    return norm("visual.ln_post", x[:, 0]) @ state["visual.proj"]


def open_texts(state: dict[str, Tensor], ids: Tensor, quick: bool) -> Tensor:
    """Return OpenCLIP's vectors of token numbers [B, LENGTH], [B, WIDTH], in plain torch."""
    x = state["token_embedding.weight"][ids] + state["positional_embedding"]
    mask = torch.full((LENGTH, LENGTH), float("-inf")).triu(1)
    x = _transformer(state, "", x, quick, mask)
    x = F.layer_norm(x, x.shape[-1:], state["ln_final.weight"], state["ln_final.bias"])
    return x[torch.arange(len(x)), ids.argmax(-1)] @ state["text_projection"]
