"""Keeps latents in one file of NumPy (.npz), with all that is needed to generate their pictures again.

The file holds latents (float32 [n, C, S, S]), names (texts), labels (int64 [n], empty where the network has no classes)
and about (JSON with the model and the options of `encode`).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..answers.sample import Latents
from ..errors import InvalidRequest
from .whole_files import store

__all__ = ["Stored", "load", "save"]


@dataclass(frozen=True)
class Stored:
    """The contents of a file of latents.

    tensors: float32 [n, C, S, S]. names: n texts. labels: n numbers of classes, or None if the file has none.
    model:   the network that made the latents, or None if the file does not say.
    options: the options of `encode` that decoding must repeat.
    """

    tensors: np.ndarray = field(repr=False)
    names: tuple[str, ...]
    labels: tuple[int, ...] | None
    model: str | None
    options: Mapping[str, Any]


def save(path: Path, latents: Latents, labels: Sequence[int] | None, options: Mapping[str, Any]) -> None:
    """Write latents to a file.

    latents: without failed ones. labels: one per latent, or None for a network without classes.
    Raises InvalidRequest or CannotWrite when the file cannot be written.
    """
    file = io.BytesIO()
    np.savez(
        file,
        latents=latents.tensors,
        names=np.array(latents.names, dtype=np.str_),
        labels=np.array(labels or (), np.int64),
        about=np.array(json.dumps({"model": latents.end.model, "options": dict(options)})),
    )
    store(path, file.getvalue())


def load(path: Path) -> Stored:
    """Read a file that `save` wrote, or any .npz with an array `latents`.

    Raises InvalidRequest when the file cannot be read, or is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile) or "latents" not in file:
                raise ValueError("it has no latents")
            tensors = file["latents"]
            names = file["names"].tolist() if "names" in file else [str(place) for place in range(len(tensors))]
            labels = tuple(file["labels"].tolist()) if "labels" in file else ()
            about = json.loads(str(file["about"])) if "about" in file else {}
            if len(names) != len(tensors) or len(labels) not in (0, len(tensors)):
                raise ValueError("names and labels do not fit the latents")
            return Stored(tensors, tuple(names), labels or None, about.get("model"), about.get("options", {}))
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InvalidRequest(f"{path} is no file of `sluice encode` ({error}).") from None
