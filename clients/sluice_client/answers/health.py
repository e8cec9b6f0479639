"""The answer of `health`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Health"]


@dataclass(frozen=True)
class Health:
    """Is a server there, and what of it answers?

    models: name -> ready. Triton calls a model ready even after its process died; `sluice doctor` asks it something.
    """

    live: bool
    ready: bool
    server: str = ""
    models: Mapping[str, bool] = field(default_factory=dict, hash=False)

    @property
    def ok(self) -> bool:
        return self.live and self.ready and all(self.models.values())
