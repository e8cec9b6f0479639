"""The answer of `health`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Health"]


@dataclass(frozen=True)
class Health:
    """The state of a server and of its models.

    live:   whether the server answers. ready: whether it has loaded its models. server: its version.
    models: name -> ready. Triton reports a model as ready even after its process has died; `sluice doctor` sends each
            model a request to find out.
    weights: the set that is served, "research" or "free", with the networks that have other weights; empty if the
            server has no gallery to ask, or is too old to tell.
    precision: profile, reason, networks (name -> fp32, bf16 or fp16), kept (name -> why in fp32) and told, a line of it
            all; empty if the server has no gallery to ask, or is too old to tell.
    """

    live: bool
    ready: bool
    server: str = ""
    models: Mapping[str, bool] = field(default_factory=dict, hash=False)
    weights: str = ""
    precision: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def ok(self) -> bool:
        """Tell whether the server and all its models are ready."""
        return self.live and self.ready and all(self.models.values())
