"""Reads published checkpoints of ESRGAN and Real-ESRGAN: the kind of network, its sizes, its weights under our names.

Three styles of keys name the same network: BasicSR's, which `rrdb` has, the older style of ESRGAN's authors, and the
oldest, where layers have their number in a sequence (`model.1.sub.0.RDB1.conv1.0.weight`), as most community models
still do. The sizes follow from the shapes of the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from export import stored

# Keys under which checkpoints keep the weights: BasicSR's, the averaged weights first, and those of other trainers.
WRAPPED = ("params_ema", "params", "state_dict", "model_state_dict", "model")
GENERATOR = "generator."  # before every name in a table that holds a discriminator as well
OLD = (
    (r"^RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
    (r"^trunk_conv\.", "conv_body."),
    (r"^upconv(\d)\.", r"conv_up\1."),
    (r"^HRconv\.", "conv_hr."),
)
BLOCK = re.compile(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(weight|bias)")
# Numbers of the layers in the sequence of a network that enlarges twice by 2; layers without weights have the rest.
NUMBERED = {"0": "conv_first", "3": "conv_up1", "6": "conv_up2", "8": "conv_hr", "10": "conv_last"}
FOLDED_TO_SCALE = {3: 4, 12: 2, 48: 1}  # channels that RRDBNet's first convolution sees


def read(checkpoint: Any, name: str) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Return the kind of network, the arguments of its class, and its weights.

    checkpoint: the content of the file, as `stored.read` returns it. name: of the file.
    Raises ValueError where it is no checkpoint of RRDBNet or SRVGGNetCompact.
    """
    state = stored.weights(checkpoint, name, WRAPPED)
    if any(key.startswith(GENERATOR) for key in state):
        state = {key.removeprefix(GENERATOR): value for key, value in state.items() if key.startswith(GENERATOR)}
    if "model.0.weight" in state and any(BLOCK.fullmatch(key) for key in state):
        state = _numbered(state, name)
    state = {_renamed(key): value for key, value in state.items()}
    if "conv_first.weight" in state and "body.0.rdb1.conv1.weight" in state:
        return "rrdbnet", _rrdbnet(state, name), state
    if "body.0.weight" in state and "body.1.weight" in state:
        return "srvgg", _srvgg(state, name), state
    raise ValueError(
        f"expected in {name} weights of ours or a checkpoint of RRDBNet or SRVGGNetCompact, got keys like "
        f"{', '.join(sorted(state)[:3])}"
    )


def _numbered(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return weights of the oldest style under BasicSR's names.

    Raises ValueError for another scale than 4, and for unknown layers, such as those of ESRGAN+.
    """
    blocks = {match[1] for key in state if (match := BLOCK.fullmatch(key))}
    numbers = dict(NUMBERED) | {f"1.sub.{len(blocks)}": "conv_body"}
    layers = {match[1] for key in state if (match := re.fullmatch(r"model\.(\d+)\.(?:weight|bias)", key))}
    if layers - set(numbers):
        raise ValueError(
            f"expected in {name} an ESRGAN that enlarges twice by 2 (layers model.0, 1, 3, 6, 8, 10), got layers "
            f"{', '.join(sorted(layers, key=int))}: one of another scale"
        )
    found, unknown = {}, []
    for key, value in state.items():
        layer, _, kind = key.removeprefix("model.").rpartition(".")
        if match := BLOCK.fullmatch(key):
            found[f"body.{match[1]}.rdb{match[2]}.conv{match[3]}.{match[4]}"] = value
        elif layer in numbers and kind in ("weight", "bias"):
            found[f"{numbers[layer]}.{kind}"] = value
        else:
            unknown.append(key)
    if unknown:
        raise ValueError(f"expected in {name} the layers of an ESRGAN, got {', '.join(unknown[:3])} as well")
    return found


def _renamed(key: str) -> str:
    """Return BasicSR's name for a name of ESRGAN's authors; other names stay."""
    for pattern, new in OLD:
        key = re.sub(pattern, new, key)
    return key


def _rrdbnet(state: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """Return the arguments of RRDBNet by the shapes of its weights."""
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
    """Return the arguments of SRVGGNetCompact by the shapes of its weights."""
    last = max(int(match[1]) for key in state if (match := re.fullmatch(r"body\.(\d+)\.weight", key)))
    scale = round((state[f"body.{last}.weight"].shape[0] / 3) ** 0.5)
    if last % 2 or state[f"body.{last}.weight"].shape[0] != 3 * scale**2:
        raise ValueError(f"expected SRVGGNetCompact in {name}: a last convolution of 3 s^2 channels")
    return {"width": state["body.0.weight"].shape[0], "convolutions": (last - 2) // 2, "scale": scale}
