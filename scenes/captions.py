"""Writes a sentence or two about a scene, about nothing but what can be seen in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
PLURAL = {
    "car": "cars",
    "truck": "trucks",
    "motorcycle": "motorcycles",
    "bicycle": "bicycles",
    "pedestrian": "pedestrians",
    "sign": "signs",
    "traffic light": "traffic lights",
    "building": "buildings",
    "tree": "trees",
    "fence": "fences",
}
ORDER = ("car", "truck", "motorcycle", "bicycle", "pedestrian", "sign", "traffic light")
WHEN = {"day": "by day", "dusk": "at dusk", "night": "at night"}


def counted(kind: str, count: int) -> str:
    """Return a count of a kind in words: 'a car', 'two cars', 'many cars' (more than twelve)."""
    rider = kind in ("motorcycle", "bicycle")
    if count == 1:
        return f"a {kind} with its rider" if rider else f"a {kind}"
    number = NUMBERS[count] if count < len(NUMBERS) else "many"
    return f"{number} {PLURAL[kind]}" + (" with their riders" if rider else "")


def listed(parts: list[str]) -> str:
    """Join parts with commas and 'and'."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def caption(kinds: Iterable[str], surroundings: Iterable[str], time: str, weather: str) -> tuple[str, tuple[str, ...]]:
    """Return the caption, and the nouns in it.

    kinds: the kind of every instance that can be made out, with repeats. surroundings: those of 'building', 'tree',
    'fence' that can be seen. time: 'day', 'dusk', 'night'. weather: 'sunny', 'overcast', 'clear'.
    """
    counts = Counter(kinds)
    seen = [kind for kind in ORDER if counts[kind]]
    sky = f" under {'an overcast' if weather == 'overcast' else 'a ' + weather} sky" if time == "day" else ""
    first = f"A street {WHEN[time]}{sky}"
    first += f" with {listed([counted(kind, counts[kind]) for kind in seen])}." if seen else ", empty of traffic."
    around = [kind for kind in ("building", "tree", "fence") if kind in set(surroundings)]
    second = f" {listed([PLURAL[kind] for kind in around]).capitalize()} line the road." if around else ""
    return first + second, ("street", *seen, *around)
