"""The answer of `ingest`: one receipt per frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Receipt"]


@dataclass(frozen=True)
class Receipt:
    """What became of one image that was added.

    status: "stored" (new, and on disk), "known" (these bytes are there already, `id` is the first one's) or "refused".
    error, remedy: why, and what to do, when refused.
    retry:  refused only for now (the disk is full, say); `ingest` has tried until its deadline.
    scored: for a stored frame, whether the detector has looked at it, so that `select` can rank it; else None.
    unscored: why it has not, where there is a reason; `sluice score` does it later.
    embedded, unembedded: the same of the network by which words find a frame; `sluice compare --unembedded` does it
            later.
    differs: of a known frame, what was said otherwise now: field -> {"given", "stored"}. It stays as it is stored; to
            describe it anew, delete it and add it again.
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
        return self.status != "refused"

    def as_json(self) -> dict[str, Any]:
        names = ("status", "id", "sha256", "error", "remedy", "scored", "unscored", "embedded", "unembedded")
        return {name: getattr(self, name) for name in names} | ({"differs": self.differs} if self.differs else {})
