"""Reads published checkpoints of ESRGAN and Real-ESRGAN: what network they are, and their weights under our names.

Two styles of keys name the same network: BasicSR's, which `video_rrdb` has, and the older one of ESRGAN's authors. The
sizes follow from the shapes of the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

WRAPPED = ("params_ema", "params")  # where BasicSR keeps the weights; the averaged ones come first
OLD = (
    (r"^RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
    (r"^trunk_conv\.", "conv_body."),
    (r"^upconv(\d)\.", r"conv_up\1."),
    (r"^HRconv\.", "conv_hr."),
)
FOLDED_TO_SCALE = {3: 4, 12: 2, 48: 1}  # channels that RRDBNet's first convolution sees


def read(stored: Any, name: str) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Kind of network, arguments of its class, and its weights. stored: what torch.load gave; name: of the file.

    Raises ValueError when it is no checkpoint of RRDBNet or SRVGGNetCompact.
    """
    state = _weights(stored, name)
    state = {_renamed(key): value for key, value in state.items()}
    if "conv_first.weight" in state and "body.0.rdb1.conv1.weight" in state:
        return "rrdbnet", _rrdbnet(state, name), state
    if "body.0.weight" in state and "body.1.weight" in state:
        return "srvgg", _srvgg(state, name), state
    raise ValueError(
        f"expected in {name} weights of ours or a checkpoint of RRDBNet or SRVGGNetCompact, got keys like "
        f"{', '.join(sorted(state)[:3])}"
    )


def _weights(stored: Any, name: str) -> Mapping[str, Tensor]:
    """The dictionary of weights, wherever the file has it, names without what DataParallel puts before them."""
    for key in WRAPPED:
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
            break
    if not isinstance(stored, Mapping) or not stored or not all(torch.is_tensor(v) for v in stored.values()):
        raise ValueError(f"expected weights of a network in {name}, got another file")
    return {key.removeprefix("module."): value for key, value in stored.items()}


def _renamed(key: str) -> str:
    for pattern, new in OLD:
        key = re.sub(pattern, new, key)
    return key


def _rrdbnet(state: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    width, seen = state["conv_first.weight"].shape[:2]
    if seen not in FOLDED_TO_SCALE:
        raise ValueError(f"expected RRDBNet of 3, 12 or 48 input channels in {name}, got {seen}")
    return {
        "width": width,
        "growth": state["body.0.rdb1.conv1.weight"].shape[0],
        "blocks": 1 + max(int(key.split(".")[1]) for key in state if key.startswith("body.")),
        "scale": FOLDED_TO_SCALE[seen],
        "convolutions": max(int(key.split(".")[3][4:]) for key in state if key.startswith("body.0.rdb1.")),
    }


def _srvgg(state: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    last = max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    scale = round((state[f"body.{last}.weight"].shape[0] / 3) ** 0.5)
    if last % 2 or state[f"body.{last}.weight"].shape[0] != 3 * scale**2:
        raise ValueError(f"expected SRVGGNetCompact in {name}: a last convolution of 3 s^2 channels")
    return {"width": state["body.0.weight"].shape[0], "convolutions": (last - 2) // 2, "scale": scale}
