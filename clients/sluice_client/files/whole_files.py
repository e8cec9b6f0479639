"""Files that are there whole or not at all: written beside their place, then moved into it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from ..errors import InvalidRequest, unwritten

__all__ = ["folder", "place", "store", "temporary"]


def store(path: Path, data: bytes) -> None:
    """Raises InvalidRequest or CannotWrite when the file cannot be written; then what was there is as it was."""
    beside = temporary(path)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)  # a pipe or a device: nothing may take its place
            return
        try:
            beside.write_bytes(data)
            beside.replace(path)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()
    except OSError as error:
        raise unwritten(path, error) from None


def temporary(path: Path, ending: str = ".part") -> Path:
    """A file beside `path` that nobody else has; its name is short, however long the other is."""
    return path.with_name(f".sluice-{os.getpid():x}-{secrets.token_hex(4)}{ending}")


def place(path: Path, option: str) -> Path:
    """`path`, when its folder is there. Asked before the work that would be lost otherwise."""
    if not path.parent.is_dir():
        raise InvalidRequest(f"{option}: there is no folder {path.parent}; make it first.")
    return path


def folder(path: Path, option: str) -> Path:
    """The folder, made if it is missing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "there is a file of that name" if path.exists() else error.strerror or error
        raise InvalidRequest(f"{option}: {path} cannot be made: {why}.") from None
    return path
