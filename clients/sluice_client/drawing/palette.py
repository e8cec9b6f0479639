"""Colours of classes: a place in the list of classes has the same colour everywhere, unlike that of its neighbours.

Hues follow the golden angle and three lightnesses alternate. Both are chosen in OKLab, where equal steps look equal.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

__all__ = ["BACKGROUND", "colour", "hexadecimal", "table"]

BACKGROUND = (0, 0, 0)

_STEP = math.radians(137.508)
_LIGHTNESS = (0.72, 0.58, 0.86)
_CHROMA = 0.19  # at most; less where the colour would lie outside sRGB


@lru_cache(maxsize=4096)
def colour(place: int) -> tuple[int, int, int]:
    """Return red, green and blue, 0..255, of the class at this place, from 0."""
    hue, light = 0.5 + place * _STEP, _LIGHTNESS[place % 3]
    for chroma in np.linspace(_CHROMA, 0, 20):
        red, green, blue = _linear(light, chroma * math.cos(hue), chroma * math.sin(hue))
        if min(red, green, blue) >= 0 and max(red, green, blue) <= 1:
            break
    red, green, blue = (round(255 * _gamma(min(max(one, 0), 1))) for one in (red, green, blue))
    return red, green, blue


def _linear(light: float, a: float, b: float) -> tuple[float, float, float]:
    """Convert OKLab to linear sRGB, 0..1 where sRGB has the colour. Source: Björn Ottosson, 2020."""
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )


def _gamma(value: float) -> float:
    """Encode linear light 0..1 as sRGB does. Source: IEC 61966-2-1."""
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def hexadecimal(place: int) -> str:
    """Return the colour as HTML writes it, #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour(place))


def table(classes: int) -> np.ndarray:
    """Return the colours of all classes, uint8 [classes + 1, 3]; the last row is the background."""
    return np.array([*map(colour, range(classes)), BACKGROUND], np.uint8)
