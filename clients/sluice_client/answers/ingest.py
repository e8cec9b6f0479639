"""The answer of `ingest`: one receipt per frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Receipt"]


@dataclass(frozen=True)
class Receipt:
    """The outcome for one image that was added.

    status:   "stored" (new, and on disk), "known" (the gallery has these bytes, under this `id`) or "refused".
    error, remedy: why the image was refused, and what to do about it; None unless refused.
    retry:    True if the image was refused for the moment only, such as by a full disk; `ingest` has tried again until
              its deadline.
    scored:   for a stored frame, whether the detector has examined it, so that `select` can rank it; else None.
    unscored: why the detector has not examined it, or None if it has or gave no reason; `sluice score` does it later.
    embedded, unembedded: the same for the network by which words find a frame; `sluice compare --unembedded` does it
              later.
    differs:  for a known frame, what was given differently this time, field -> {"given", "stored"}. The stored values
              stay; to change them, delete the frame and add it again.
    """

    status: str
    id: str
    sha256: str = ""
    error: str | None = None
    remedy: str | None = None
    retry: bool = False
    scored: bool | None = None
    unscored: str | None = None
    embedded: bool | None = None
    unembedded: str | None = None
    differs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    @property
    def ok(self) -> bool:
        """Tell whether the image is in the gallery."""
        return self.status != "refused"

    def as_json(self) -> dict[str, Any]:
        names = ("status", "id", "sha256", "error", "remedy", "scored", "unscored", "embedded", "unembedded")
        return {name: getattr(self, name) for name in names} | ({"differs": self.differs} if self.differs else {})
