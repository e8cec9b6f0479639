"""Where engines are written: the clone that this code lies in, or a root of the user's (`sluice.server.root`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from export.entry import ExportError
from sluice.server import root

HELP = (
    "folder for models and engines, laid out if it is new (default: the clone; of an installed package the folder "
    "`sluice` in the user's data folder)"
)
# What the extra `export` brings besides what a client has, and what an engine needs of it.
PACKAGES = {"onnx": ("torch", "onnx", "onnxruntime", "transformers", "diffusers"), "plan": ("onnx",)}


def find(given: Path | None) -> Path:
    """The root to look at; it need not be there. Raises ExportError where the user has no home for one."""
    try:
        return given.resolve() if given else root.default().resolve()
    except root.RootError as error:
        raise ExportError(str(error)) from None


def prepare(given: Path | None, say: Callable[[str], None]) -> Path:
    """The root to write to, with both repositories in it; raises ExportError where it cannot be written."""
    place = find(given)
    new = not place.is_dir() or not any(place.iterdir())
    try:
        place, notes = root.prepare(place)
    except root.RootError as error:
        raise ExportError(str(error)) from None
    for line in [f"laid out both repositories in {place}"] * new + notes:
        say(line)
    return place


def needed(form: str) -> None:
    """Raise ExportError with the command that installs it where a package is missing. form: "onnx" or "plan"."""
    missing = [name for name in PACKAGES[form] if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"not installed here: {', '.join(missing)}; the extra `export` brings them: "
            "pip install 'sluice-perception[export]'"
        )
