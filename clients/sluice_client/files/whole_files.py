"""Writes files so that they are there whole or not at all: beside their place first, then moved into it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from ..errors import InvalidRequest, unwritten

__all__ = ["folder", "place", "store", "temporary"]


def store(path: Path, data: bytes) -> None:
    """Write a file. Raises InvalidRequest or CannotWrite when that fails; a file that was there is then unchanged."""
    beside = temporary(path)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)  # a pipe or a device, which must not be replaced
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
    """Return the path of a new file beside `path`; its name is short, however long that of `path` is."""
    return path.with_name(f".sluice-{os.getpid():x}-{secrets.token_hex(4)}{ending}")


def place(path: Path, option: str) -> Path:
    """Return `path` if its folder exists. Called before the work, which would be lost otherwise.

    option: the option that named the path. Raises InvalidRequest if there is no such folder.
    """
    if not path.parent.is_dir():
        raise InvalidRequest(f"{option}: there is no folder {path.parent}; make it first.")
    return path


def folder(path: Path, option: str) -> Path:
    """Return the folder, made if it is missing. Raises InvalidRequest, which names `option`, if it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "there is a file of that name" if path.exists() else error.strerror or error
        raise InvalidRequest(f"{option}: {path} cannot be made: {why}.") from None
    return path
