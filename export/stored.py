"""Reads files of weights, ours and other people's, and refuses other files with one sentence on their kind."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

HEAD = 512  # bytes at the beginning of a file that tell its kind
POINTER = b"version https://git-lfs.github.com/spec/"
PREFIX = "module."  # which DataParallel puts before every name


def begun(path: Path) -> bytes:
    """Return the first HEAD bytes of a file of weights.

    Raises FileNotFoundError, or ValueError with one sentence where the file is empty, a web page or a Git LFS pointer.
    """
    if not path.is_file():
        what = "a folder" if path.exists() else "missing"
        raise FileNotFoundError(f"expected a file, and {path.name} is {what}; check its path")
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if head.startswith(POINTER):
        raise ValueError(f"{path.name} is a Git LFS pointer, not the file that it stands for; fetch that: git lfs pull")
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|\?xml|!--)", head, re.IGNORECASE):
        raise ValueError(f"{path.name} is a web page, not weights: the download was answered with a page; get the file")
    if not head:
        raise ValueError(f"{path.name} is empty")
    return head


def read(path: Path) -> Any:
    """Return the content of a file of torch.save or safetensors, tensors on the CPU. No code in the file is run.

    Raises FileNotFoundError, or ValueError with one sentence where it is another kind of file, or is damaged.
    """
    head = begun(path)
    try:
        if _is_safetensors(head, path.stat().st_size):
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file fails in torch's and safetensors' readers in any way
        raise ValueError(f"{path.name} {reason(error)}") from None


def _is_safetensors(head: bytes, size: int) -> bool:
    """Return whether a file begins with the length of a JSON object and that object. Its name does not matter."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def reason(error: Exception) -> str:
    """Return why torch or safetensors could not read a file, as a clause to follow the file's name."""
    found = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
    if found:
        return (
            f"holds objects of {found[1]} beside its weights, and reading objects can run code; if you trust the file, "
            "take the weights out of it: torch.save({'model': torch.load(FILE, weights_only=False)['model']}, OUT)"
        )
    said = str(error).rpartition("WeightsUnpickler error:")[2]  # torch puts advice before the reason
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    said = lines[0].partition(". ")[0][:160] if lines and not isinstance(error, KeyError) else type(error).__name__
    return f"is no whole file of weights of torch or safetensors ({said}); give one, or fetch it again"


def weights(stored: Any, name: str, places: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the table of weights by name, without the prefix of DataParallel.

    stored: the table itself or a checkpoint that holds it, as `read` returns it. name: of the file.
    places: keys under which a checkpoint may hold the table, the best first.
    Raises ValueError, naming the keys that there are, where there is no table.
    """
    if not isinstance(stored, Mapping):
        raise ValueError(f"expected weights of a network in {name}, got a {type(stored).__name__}")
    found = next((stored[key] for key in places if isinstance(stored.get(key), Mapping)), stored)
    if not found or not all(isinstance(key, str) and torch.is_tensor(value) for key, value in found.items()):
        keys = ", ".join(sorted(map(str, found))[:6]) or "nothing"
        raise ValueError(f"expected weights of a network in {name}, by itself or under {', '.join(places)}; got {keys}")
    return {key.removeprefix(PREFIX): value for key, value in found.items()}


def fill(network: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Copy weights into a network, in the network's own precision. name: of the file.

    Raises ValueError with one sentence where some tensors are missing, unknown or of another shape.
    """
    own = network.state_dict()
    problems = [
        _few("missing", [key for key in own if key not in state], len(own)),
        _few("not known", [key for key in state if key not in own], len(state)),
        _few(
            "of another shape",
            [
                f"{key} {list(state[key].shape)}, not {list(own[key].shape)}"
                for key in own
                if key in state and state[key].shape != own[key].shape
            ],
            len(own),
        ),
    ]
    if any(problems):
        raise ValueError(f"the weights in {name} are not those of this network; {'; '.join(filter(None, problems))}")
    network.load_state_dict(dict(state))


def _few(what: str, names: list[str], of: int) -> str:
    """Return the first three of some names with their number, empty without names. of: number of all tensors."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what}: {', '.join(names[:3])}{more} (of {of} tensors)" if names else ""


def settings(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises FileNotFoundError, or ValueError with one sentence where the file holds something else.
    """
    text = path.read_bytes()
    if text.startswith(POINTER):
        raise ValueError(f"{path.name} is a Git LFS pointer, not the file that it stands for; fetch that: git lfs pull")
    try:
        found = json.loads(text.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} must hold a JSON object; got a {type(found).__name__}")
    return found
