"""Defines daylight, dusk and night: direction and colour of the light. Colours are linear, 1 = white paper in
the sun."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TIMES = ("day", "dusk", "night")


@dataclass(frozen=True)
class Light:
    """sun: unit vector towards the sun (or moon). direct, ambient, high, low, haze: RGB linear.

    reach: metres until haze hides two thirds. clouds: 0-1. exposure: factor before the film curve. lamps: strength of
    artificial light, 0 by day.
    """

    time: str
    weather: str
    sun: np.ndarray
    direct: np.ndarray
    ambient: np.ndarray
    high: np.ndarray
    low: np.ndarray
    haze: np.ndarray
    reach: float
    clouds: float
    exposure: float
    lamps: float

    def __post_init__(self) -> None:
        for name in ("direct", "ambient", "high", "low", "haze"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float32))


def choose(rng: np.random.Generator, time: str) -> Light:
    """Choose the light of a scene at `time` ('day', 'dusk' or 'night')."""
    around, up = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(22, 60) if time == "day" else rng.uniform(6, 14))
    sun = np.array([np.cos(up) * np.cos(around), np.sin(up), np.cos(up) * np.sin(around)], np.float32)
    warmth = rng.uniform(-1, 1)
    balance = np.array([1 + 0.05 * warmth, 1.0, 1 - 0.06 * warmth])
    if time == "day":
        sunny = rng.random() < 0.55
        clouds = rng.uniform(0.0, 0.5) if sunny else rng.uniform(0.6, 1.0)
        direct = np.array([1.0, 0.93, 0.80]) * (rng.uniform(0.65, 1.0) if sunny else rng.uniform(0.0, 0.12))
        ambient = (
            np.array([0.36, 0.40, 0.46]) * rng.uniform(0.8, 1.2)
            if sunny
            else np.array([0.62, 0.65, 0.68]) * rng.uniform(0.65, 1.1)
        )
        blue = np.array([0.16, 0.34, 0.72]) * rng.uniform(0.9, 1.5)
        grey = np.array([0.60, 0.64, 0.68]) * rng.uniform(0.7, 1.4)
        high = blue if sunny else grey
        low = np.array([0.75, 0.83, 0.92]) * rng.uniform(0.9, 1.3) if sunny else grey * 1.15
        exposure = rng.uniform(0.75, 1.3)
        return Light(
            time,
            "sunny" if sunny else "overcast",
            sun,
            direct * balance,
            ambient * balance,
            high,
            low,
            low * 0.9,
            rng.uniform(250, 900),
            clouds,
            exposure,
            0.0,
        )
    if time == "dusk":
        ember = np.array([1.0, 0.52, 0.25]) * rng.uniform(0.55, 0.95)
        high = np.array([0.12, 0.17, 0.34]) * rng.uniform(0.7, 1.3)
        ambient = np.array([0.17, 0.17, 0.22]) * rng.uniform(0.7, 1.2)
        direct = np.array([0.42, 0.22, 0.10]) * rng.uniform(0.1, 0.8)
        return Light(
            time,
            "clear",
            sun,
            direct,
            ambient * balance,
            high,
            ember,
            (0.45 * ember + 0.55 * high) * 0.8,
            rng.uniform(250, 600),
            rng.uniform(0.1, 0.7),
            rng.uniform(0.95, 1.4),
            0.6,
        )
    high = np.array([0.006, 0.008, 0.018]) * rng.uniform(0.6, 2.0)
    low = np.array([0.045, 0.033, 0.026]) * rng.uniform(0.6, 1.6)
    ambient = np.array([0.040, 0.042, 0.058]) * rng.uniform(0.8, 1.6)
    return Light(
        time,
        "clear",
        sun,
        np.zeros(3),
        ambient,
        high,
        low,
        low * 0.8,
        rng.uniform(200, 500),
        rng.uniform(0.0, 0.5),
        rng.uniform(1.0, 1.5),
        1.0,
    )
