"""Runs callers, threads that ask again as soon as they have an answer, and makes the images that they send."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


class Tensors(dict[str, np.ndarray]):
    """The tensors of a request that nobody cancels."""

    def check_cancelled(self) -> None:
        """Do nothing; a real request raises here once its caller has left."""


def strings(values: list[bytes]) -> np.ndarray:
    """Return bytes as a string tensor, [n] object."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def pictures(count: int, size: tuple[int, int]) -> list[bytes]:
    """Draw street scenes and return them as JPEG files. size: (width, height), pixels."""
    from PIL import Image

    import scenes

    encoded = []
    for seed in range(count):
        buffer = io.BytesIO()
        Image.fromarray(scenes.render(seed, size).image).save(buffer, "JPEG", quality=90)
        encoded.append(buffer.getvalue())
    return encoded


def throughput(work: Callable[[int], Any], callers: int, seconds: float) -> float:
    """Return the calls per second of `callers` threads, each of which asks again as soon as it has its answer. `work`
    gets a running number."""
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
