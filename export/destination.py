"""Finds and prepares the folder that engines are written to: this clone, or a user's root (`sluice.server.root`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from export.entry import ExportError
from sluice.server import root

DEFAULT = "(default: the clone; of an installed package the folder `sluice` in the user's data folder)"
HELP = f"folder for models and engines, laid out if it is new {DEFAULT}"
# Begins the config.pbtxt of a model that a command of `sluice export` made of a user's own network.
MARK = "# Written by `sluice export"
# The packages of the extra `export` that each format needs.
PACKAGES = {"onnx": ("torch", "onnx", "onnxruntime", "transformers", "diffusers"), "plan": ("onnx",), "rtx": ("onnx",)}


def find(given: Path | None, weights: str | None = None) -> Path:
    """Return the root to look at, which need not exist. given: None for the default.

    weights: name of the set whose engines are meant; None for that of the environment.
    Raises ExportError where a file is given, for an unknown set, and where no root is given and the user has no home
    folder.
    """
    if given is not None and given.exists() and not given.is_dir():
        raise ExportError(f"--root {given} is a file; name a folder, which may be a new one")
    try:
        return (root.within(given, weights) if given else root.default(weights)).resolve()
    except root.RootError as error:
        raise ExportError(str(error)) from None


def prepare(given: Path | None, say: Callable[[str], None], weights: str | None = None) -> Path:
    """Return the root to write to, after laying out both repositories in it. say: is given a line per thing done.

    weights: as for `find`. Raises ExportError where the root cannot be written.
    """
    place = find(given, weights)
    new = not place.is_dir() or not any(place.iterdir())
    try:
        place, notes = root.laid_out(place)
    except root.RootError as error:
        raise ExportError(str(error)) from None
    for line in [f"laid out both repositories in {place}"] * new + notes:
        say(line)
    return place


def imported(model: Path, mark: str = MARK) -> bool:
    """Return whether a command wrote a model of a user's own network. model: its folder in a root.

    mark: the words that begin the config, by default those of any command of `sluice export`.
    """
    config = model / "config.pbtxt"
    return config.is_file() and config.read_text(encoding="utf-8").startswith(mark)


def needed(form: str) -> None:
    """Check that the packages of a format are installed. form: "onnx", "plan" or "rtx".

    Raises ExportError, with the command that installs them, where some are missing.
    """
    missing = [name for name in PACKAGES[form] if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"not installed here: {', '.join(missing)}; the extra `export` brings them: "
            "pip install 'sluice-perception[export]'"
        )
