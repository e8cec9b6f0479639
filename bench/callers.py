"""Callers: threads that ask again as soon as they were answered, and the encoded pictures that they send."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


class Tensors(dict[str, np.ndarray]):
    """A request that nobody cancels."""

    def check_cancelled(self) -> None:
        pass


def strings(values: list[bytes]) -> np.ndarray:
    """Bytes as a string tensor, [n]."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def pictures(count: int, size: tuple[int, int]) -> list[bytes]:
    """JPEGs of generated streets. size: (width, height), pixels."""
    from PIL import Image

    import scenes

    encoded = []
    for seed in range(count):
        buffer = io.BytesIO()
        Image.fromarray(scenes.render(seed, size).image).save(buffer, "JPEG", quality=90)
        encoded.append(buffer.getvalue())
    return encoded


def throughput(work: Callable[[int], Any], callers: int, seconds: float) -> float:
    """Calls a second of `callers` threads, each of which asks again as soon as it was answered."""
    start = time.perf_counter()
    stop = start + seconds

    def caller(first: int) -> int:
        done = 0
        while time.perf_counter() < stop:
            work(first + done * callers)
            done += 1
        return done

    with ThreadPoolExecutor(callers) as pool:
        done = sum(pool.map(caller, range(callers)))
    return done / (time.perf_counter() - start)
