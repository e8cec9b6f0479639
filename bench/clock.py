"""Adds up the seconds that a function takes while a benchmark runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def clocked(module: Any, name: str, seconds: dict[str, float], step: str) -> Iterator[None]:
    """Add the seconds that a module's function takes to `seconds[step]`."""
    function: Callable = getattr(module, name)

    def wrapped(*args: Any, **given: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*args, **given)
        finally:
            seconds[step] += time.perf_counter() - begin

    setattr(module, name, wrapped)
    try:
        yield
    finally:
        setattr(module, name, function)
