"""Renders one street scene from one seed, with labels, instances and a caption that agree with the picture."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from scenes import captions, develop, labels, light, world
from scenes.camera import NEAR, Camera
from scenes.canvas import FINE, Canvas
from scenes.labels import BACKGROUND, KINDS
from scenes.shapes import Thing
from scenes.street import Street
from scenes.street import choose as choose_street

TIMES = light.TIMES
EXCLUDABLE = KINDS + BACKGROUND
ATTEMPTS = 24
WALLS = (labels.BUILDING, labels.FENCE)
# How many of a kind to expect in 100 m of street.
RATES = {"truck": 0.45, "motorcycle": 0.16, "bicycle": 0.4, "pedestrian": 5.0, "car": 5.0}


@dataclass(frozen=True)
class Instance:
    """One thing that can be counted.

    number: its value in `Scene.instance_map`. box: x0, y0, x1, y1 in pixels, half open, tight around its visible
    pixels. area: visible pixels. visible: visible pixels over those it would have if nothing stood before it and the
    picture did not end, 0-1. distance: metres. clear: large and open enough to be named in the caption.
    """

    number: int
    kind: str
    box: tuple[int, int, int, int]
    area: int
    visible: float
    distance: float
    clear: bool


@dataclass(frozen=True)
class Scene:
    """A picture and the truth about it.

    image: uint8 [H, W, 3] RGB. labels: uint8 [H, W], index into `CLASSES` (CamVid's order). instances: nearest first.
    instance_map: uint16 [H, W], 0 or the number of an instance. caption: English; nouns: the kinds named in it.
    """

    image: np.ndarray
    labels: np.ndarray
    instances: tuple[Instance, ...]
    instance_map: np.ndarray
    caption: str
    nouns: tuple[str, ...]
    time_of_day: str
    weather: str
    seed: int

    def mask(self, instance: Instance) -> np.ndarray:
        """Return the visible pixels of an instance, bool [H, W]."""
        return self.instance_map == instance.number


def render(
    seed: int,
    size: tuple[int, int] = (480, 360),
    *,
    time_of_day: str | None = None,
    require: Collection[str] | None = None,
    exclude: Collection[str] = (),
    distance: tuple[float, float] = (6.0, 30.0),
) -> Scene:
    """Draw a street scene. The same arguments give the same bytes.

    size: width, height in pixels, 32 to 4096 each. time_of_day: 'day', 'dusk' or 'night'; None lets the seed choose.
    require: kinds of which at least one must be clearly visible. exclude: kinds (also 'building', 'tree', 'fence',
    'lamp post') that must not appear. distance: metres from the camera within which the required things are placed.

    Raises ValueError for an unknown kind or time, a kind both required and excluded, or a size out of range.
    """
    require = _kinds(require or (), KINDS, "require")
    exclude = _kinds(exclude, EXCLUDABLE, "exclude")
    check(seed, size, time_of_day, require, exclude)
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([int(seed), attempt])
        scene = _attempt(rng, seed, size, time_of_day, require, exclude, distance)
        if require <= {i.kind for i in scene.instances if i.clear}:
            return scene
    missing = sorted(require - {i.kind for i in scene.instances if i.clear})
    raise ValueError(
        f"seed {seed}: {missing} could not be made visible in {ATTEMPTS} layouts; "
        "use another seed, fewer kinds in require or a nearer distance"
    )


def _kinds(given: Collection[str], allowed: tuple[str, ...], name: str) -> frozenset[str]:
    given = {given} if isinstance(given, str) else set(given)
    unknown = sorted(given - set(allowed))
    if unknown:
        raise ValueError(f"{name} holds {unknown}; expected any of {list(allowed)}")
    return frozenset(given)


def check(
    seed: int, size: tuple[int, int], time_of_day: str | None, require: frozenset[str], exclude: frozenset[str]
) -> None:
    """Raise ValueError for arguments that `render` refuses."""
    if seed < 0:
        raise ValueError(f"seed must be 0 or greater; got {seed}")
    if len(size) != 2 or not all(32 <= side <= 4096 for side in size):
        raise ValueError(f"size must be width and height of 32 to 4096 pixels; got {tuple(size)}")
    if time_of_day is not None and time_of_day not in TIMES:
        raise ValueError(f"time_of_day must be one of {list(TIMES)} or None; got {time_of_day!r}")
    if require & exclude:
        raise ValueError(f"{sorted(require & exclude)} cannot be both required and excluded")


def some_time(rng: np.random.Generator) -> str:
    """Choose a time: three scenes in five by day, one at dusk, one by night."""
    return ("day", "day", "day", "dusk", "night")[rng.integers(5)]


def view(rng: np.random.Generator, street: Street, size: tuple[int, int], z: float = 0.0) -> Camera:
    """Return a dashboard camera in its lane, looking along the road."""
    width, height = size
    lane = street.driving * (street.half - (2.1 if street.parking else 0.0)) / 2
    return Camera(
        x=lane + rng.normal(0, 0.35),
        height=rng.uniform(1.15, 1.75),
        z=z,
        yaw=float(np.clip(rng.normal(0, 0.05), -0.14, 0.14)),
        focal=width * rng.uniform(0.78, 1.15),
        middle=width * rng.uniform(0.46, 0.54),
        horizon=height * rng.uniform(0.38, 0.52),
    )


def _attempt(
    rng: np.random.Generator,
    seed: int,
    size: tuple[int, int],
    time_of_day: str | None,
    require: frozenset[str],
    exclude: frozenset[str],
    distance: tuple[float, float],
) -> Scene:
    time = time_of_day or some_time(rng)
    sky = light.choose(rng, time)
    street = choose_street(rng)
    layout = world.Layout(rng, street, sky, -12.0, 165.0, exclude, eye=0.0)
    near, far = distance
    for kind in sorted(require):
        for _ in range(20):
            lane = "own" if kind in ("car", "truck", "motorcycle", "bicycle") and rng.random() < 0.6 else None
            if layout.put(kind, near + (far - near) * rng.random() ** 1.3, lane=lane):
                break
    layout.lay_ground()
    build_up(layout, (18, 80), 0.4)
    layout.close(185.0)
    layout.fill(rates(street), near=rng.uniform(6, 12) - layout.start)
    return picture(rng, seed, size, view(rng, street, size), sky, layout.ground, layout.things)


def build_up(layout: world.Layout, crossing: tuple[float, float], chance: float) -> None:
    """Lay out side road, crossings, marks, houses, furniture. crossing: metres between which a side road may begin."""
    rng = layout.rng
    gaps, zebras, stops = [], [], []
    if rng.random() < chance:
        z = rng.uniform(*crossing)
        gaps.append((z, z + rng.uniform(6, 9)))
        if rng.random() < 0.55:
            stops.append(z - 3.5)
    if rng.random() < chance / 2:
        zebras.append(crossing[0] / 2 + rng.uniform(0, 30))
        if rng.random() < 0.4:
            stops.append(zebras[0] - 3)
    layout.lay_marks(zebras, stops, gaps)
    layout.line_with_buildings(gaps)
    layout.furnish(gaps, stops)


def rates(street: Street) -> dict[str, float]:
    """Return how many of each kind to expect in 100 m of this street."""
    return {kind: rate * (street.people if kind == "pedestrian" else street.traffic) for kind, rate in RATES.items()}


def picture(
    rng: np.random.Generator,
    seed: int,
    size: tuple[int, int],
    camera: Camera,
    sky: light.Light,
    ground: list[Thing],
    things: list[Thing],
    noise: np.random.Generator | None = None,
) -> Scene:
    """Paint, light and label a laid-out world as the camera sees it. noise: a generator for the noise alone; None takes
    `rng`."""
    canvas = Canvas(size, camera, sky.sun, glowing=sky.lamps > 0)
    order = _back_to_front(camera, things)
    painted = list(ground) + order
    whole = {}
    for number, thing in enumerate(painted, 1):
        canvas.paint(thing, number)
        if thing.kind:
            whole[number] = _extent(canvas, thing, number)
    numbers = np.asarray(canvas.numbers)[FINE // 2 :: FINE, FINE // 2 :: FINE]
    image = develop.develop(canvas, camera, sky, painted, numbers, rng, noise)
    classes = np.array([labels.SKY, *(thing.label for thing in painted)], np.uint8)[numbers]
    instances, instance_map = _instances(size, numbers, painted, whole, camera)
    clear = [i.kind for i in instances if i.clear]
    floor = size[0] * size[1] // 100
    around = [noun for noun, label in (("building", labels.BUILDING), ("tree", labels.TREE), ("fence", labels.FENCE))
              if _visible(numbers, painted, noun) > (floor if label != labels.FENCE else floor // 2)]  # fmt: skip
    text, nouns = captions.caption(clear, around, sky.time, sky.weather)
    return Scene(image, classes, instances, instance_map, text, nouns, sky.time, sky.weather, seed)


def _visible(numbers: np.ndarray, painted: list[Thing], noun: str) -> int:
    table = np.array([False, *(thing.noun == noun for thing in painted)])
    return int(table[numbers].sum())


def _back_to_front(camera: Camera, things: list[Thing]) -> list[Thing]:
    """Return things sorted so that each comes after those that it hides.

    The order is by the nearest part, but for buildings by the farthest, because things before a long wall hide the
    wall.
    """

    def ahead(thing: Thing) -> float:
        low, high = thing.model.low, thing.model.high
        c, s = np.cos(thing.yaw), np.sin(thing.yaw)
        reach = [-x * s + z * c for x in (low[0], high[0]) for z in (low[2], high[2])]
        return thing.place[2] - camera.z + (max(reach) if thing.label in WALLS else min(reach))

    return sorted((t for t in things if ahead(t) > -3), key=lambda t: -ahead(t))


def _extent(canvas: Canvas, thing: Thing, number: int) -> tuple[int, float, tuple[int, int, int, int]]:
    """Return what a thing covers right after it was painted.

    That is its pixels on the fine canvas, the share of its box inside the picture, and a box in fine pixels.
    """
    points = canvas.camera.turned(thing.model.points, thing.place, thing.yaw)
    nothing = 0, 0.0, (0, 0, 0, 0)
    if points[:, 2].max() < NEAR:
        return nothing
    pixels = canvas.camera.pixels(np.maximum(points, (-1e9, -1e9, NEAR)))
    margin = thing.model.reach * canvas.camera.focal / max(float(points[:, 2].min()), NEAR) + 1
    (x0, y0), (x1, y1) = pixels.min(0) - margin, pixels.max(0) + margin
    width, height = canvas.numbers.size
    a, b, c, d = max(0, int(x0)), max(0, int(y0)), min(width, int(x1) + 2), min(height, int(y1) + 2)
    if a >= c or b >= d:
        return nothing
    covered = int((np.asarray(canvas.numbers.crop((a, b, c, d))) == number).sum())
    inside = (min(x1, width) - max(x0, 0)) * (min(y1, height) - max(y0, 0)) / ((x1 - x0) * (y1 - y0))
    return covered, float(min(1.0, inside)), (a, b, c, d)


def _instances(
    size: tuple[int, int],
    numbers: np.ndarray,
    painted: list[Thing],
    whole: dict[int, tuple[int, float, tuple[int, int, int, int]]],
    camera: Camera,
) -> tuple[tuple[Instance, ...], np.ndarray]:
    table = np.zeros(len(painted) + 1, np.uint16)
    found = []
    counts = np.bincount(numbers.ravel(), minlength=len(painted) + 1)
    enough = max(4, size[0] * size[1] // 3500)
    seen = [n for n in whole if counts[n]]
    seen.sort(key=lambda n: painted[n - 1].place[2])
    for index, number in enumerate(seen, 1):
        table[number] = index
        thing = painted[number - 1]
        assert thing.kind is not None  # `whole` holds those that are counted
        covered, inside, (a, b, c, d) = whole[number]
        left, above = a // FINE, b // FINE
        part = numbers[above : d // FINE + 1, left : c // FINE + 1] == number
        rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        box = (left + int(columns[0]), above + int(rows[0]), left + int(columns[-1]) + 1, above + int(rows[-1]) + 1)
        visible = min(1.0, counts[number] * FINE * FINE / max(covered, 1)) * inside
        distance = float(camera.turned(np.zeros((1, 3), np.float32), thing.place, thing.yaw)[0, 2])
        clear = bool(counts[number] >= enough and visible >= 0.3)
        found.append(Instance(index, thing.kind, box, int(counts[number]), float(visible), distance, clear))
    return tuple(found), table[numbers]
