"""The record of a training, which lies beside its weights, and whether it says that they are free for any use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.training import GENERATED_LICENCE


def read(weights: Path | None) -> dict[str, Any]:
    """Return the record beside some weights, empty for None and where there is none."""
    record = weights and weights.with_suffix(".json")
    return json.loads(record.read_text(encoding="utf-8")) if record and record.is_file() else {}


def check_free(weights: Path | None) -> None:
    """Raise ValueError where weights to begin with may have seen other pictures than generated ones. None passes."""
    if weights is not None and not str(read(weights).get("licence", "")).startswith(GENERATED_LICENCE):
        raise ValueError(
            f"without --data only generated pictures are seen, but {weights.name} may have seen others, as its record "
            "does not say that it did not; begin with other weights, or with none"
        )


def licence(alone: bool, other: str, *more: str) -> str:
    """Return the licence of weights. alone: whether generated pictures alone were seen. other: the licence if not.

    more: what else has a part, such as the trunk's licence; empty texts are left out.
    """
    return "; ".join(filter(None, [GENERATED_LICENCE if alone else other, *more]))
