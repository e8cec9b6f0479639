"""Keeps a gallery open in a server: opens it when it is asked for, and again after its folder was put back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sluice.errors import Refusal
from sluice.gallery.errors import LogLost, Moved
from sluice.gallery.store import Gallery

Answer = TypeVar("Answer")


class Holder:
    """One folder and the gallery that is open in it, or the refusal to open it. Not safe for threads."""

    def __init__(self, folder: Path, model: str, **options: Any) -> None:
        """folder, model, options: as of `Gallery`. A folder that is refused is tried again at each `get`."""
        self.model = model
        self._folder, self._options = folder, options
        self._gallery: Gallery | None = None
        self._create = True  # until the gallery was open once; a folder that vanishes later is not made anew
        try:
            self.get()
        except Refusal as refusal:  # the models that need no gallery are served all the same
            print(f"frame_gallery: refused: {refusal}", file=sys.stderr, flush=True)

    def get(self) -> Gallery:
        """Return the open gallery. Raises what `Gallery` raises."""
        if self._gallery is None:
            self._gallery = Gallery(self._folder, self.model, create=self._create, **self._options)
            self._create = False
        return self._gallery

    def run(self, work: Callable[[], Answer]) -> Answer:
        """Run `work`, which calls `get`, and return its result.

        If the gallery's files were moved, nothing was done. Then the gallery is opened again at its path, and `work`
        runs once more.
        """
        try:
            return work()
        except LogLost:
            raise
        except Moved:
            self.close()
            return work()

    def close(self) -> None:
        """Close the gallery."""
        if self._gallery is not None:
            self._gallery.close()
            self._gallery = None
