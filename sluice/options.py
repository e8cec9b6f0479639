"""A caller's JSON and texts, read and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sluice.errors import InvalidArgument


def text(value: Any) -> str:
    """One element of a tensor of strings. Raises InvalidArgument where it is not UTF-8."""
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise InvalidArgument("text must be UTF-8") from None


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parsed(given: str | bytes, what: str) -> Any:
    """The value of a caller's JSON. Raises InvalidArgument where it is none, or has half a character: an escaped
    surrogate without its other half, which nothing can store or print."""
    given = text(given)
    try:
        value = json.loads(given)
        if _SURROGATE.search(given):
            for key, part in value.items() if isinstance(value, dict) else [("", value)]:
                where = f"{what}: {key!a:.80}" if key else what
                json.dumps([key, part], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise InvalidArgument(f"{where} has half a character, the surrogate {half} alone; leave it out") from None
    except (ValueError, RecursionError) as error:  # the latter where it is nested a thousand deep
        raise InvalidArgument(f"{what} is not JSON: {error}") from None
    return value


def flag(options: Mapping[str, Any], name: str = "allow_unknown") -> bool:
    """An option that is true or false; false where it was not given. Raises InvalidArgument for anything else."""
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name} is true or false, got {value!r:.80}")
    return value
