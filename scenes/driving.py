"""Takes pictures from one car along one street, in the same light, of the same things coming nearer.

`drive` gives single pictures, `film` a video.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from scenes import draw_people, draw_vehicles, light, world
from scenes.camera import Camera
from scenes.labels import BICYCLIST, CAR
from scenes.scene import Scene, build_up, check, picture, rates, some_time, view
from scenes.shapes import Thing
from scenes.street import Street
from scenes.street import choose as choose_street

BLOCK = 100.0  # metres of street, laid out at a time
SIGHT = 170.0  # metres ahead of the camera; farther things are not painted
RARE = 8  # about one frame in so many shows a motorcycle


@dataclass(frozen=True)
class Frame:
    """One picture of a drive. time: seconds from the start of the drive. tags: time of day and weather, nothing that
    would give a searched object away."""

    id: str
    drive: str
    camera: str
    time: float
    tags: tuple[str, ...]
    scene: Scene


def drive(
    seed: int,
    frames: int,
    size: tuple[int, int] = (480, 360),
    *,
    name: str | None = None,
    camera: str = "front",
    time_of_day: str | None = None,
    interval: float = 1.0,
) -> Iterator[Frame]:
    """Take `frames` pictures along a street, one every `interval` seconds. The same arguments give the same bytes.

    Yields frames in order. In about one frame in eight a motorcycle is clearly visible, in the others there is none.
    Raises ValueError as `render` does, and for frames < 1 or interval <= 0.
    """
    check(seed, size, time_of_day, frozenset(), frozenset())
    if frames < 1 or not interval > 0:
        raise ValueError(f"frames must be 1 or more and interval greater than 0 s; got {frames} and {interval}")
    return _frames(seed, frames, size, name or f"drive{seed}", camera, time_of_day, interval)


def film(
    seed: int, frames: int, size: tuple[int, int] = (640, 360), *, fps: float = 25.0, time_of_day: str | None = None
) -> Iterator[np.ndarray]:
    """Take a drive as a video camera does: `frames` pictures in a row, uint8 [H, W, 3] RGB, `fps` per second.

    `drive` takes each picture anew. Here exposure, colours, lens and clouds stay, only the noise is new in each frame,
    and the vehicle ahead stays there. The same arguments give the same bytes. Raises ValueError as `drive` does.
    """
    check(seed, size, time_of_day, frozenset(), frozenset())
    if frames < 1 or not fps > 0:
        raise ValueError(f"frames must be 1 or more and fps greater than 0; got {frames} and {fps}")
    return _film(seed, frames, size, fps, time_of_day)


class _Journey:
    """The things that stand and move along the street of a drive. rng: after laying out the beginning, it goes on to
    draw the rest."""

    def __init__(self, seed: int, size: tuple[int, int], time_of_day: str | None):
        self.seed, self.rng = seed, np.random.default_rng([seed, 1])
        self.sky = light.choose(self.rng, time_of_day or some_time(self.rng))
        self.street = choose_street(self.rng)
        self.start = view(self.rng, self.street, size)
        self.pace = self.rng.uniform(6.5, 10.0)  # metres per second
        self._base = world.Layout(self.rng, self.street, self.sky, 0.0, SIGHT, ())
        self._base.lay_ground()
        self._base.close(SIGHT + 25)
        self._blocks: dict[int, world.Layout] = {}

    def at(self, time: float) -> tuple[Camera, list[Thing], list[Thing]]:
        """Return the camera, the ground and the things within sight. time: seconds, growing from call to call."""
        start, blocks = self.start, self._blocks
        here = replace(
            start,
            z=time * self.pace,
            x=start.x + 0.2 * np.sin(time * 0.3),
            yaw=start.yaw + 0.015 * np.sin(time * 0.45),
        )
        first, last = int((here.z - 12) // BLOCK), int((here.z + SIGHT) // BLOCK)
        for block in range(first, last + 1):
            if block not in blocks:
                blocks[block] = _block(self.seed, self.street, self.sky, block)
        for block in [b for b in blocks if b < first]:
            del blocks[block]
        ground = [_along(t, here.z) for t in self._base.ground] + [t for b in sorted(blocks) for t in blocks[b].ground]
        things = [_along(t, here.z) for t in self._base.things]
        for block in sorted(blocks):
            things += [moved(t, time, self.pace) for t in blocks[block].things]
        return here, ground, [t for t in things if t.place[2] - here.z < SIGHT + 60]


def _frames(
    seed: int,
    frames: int,
    size: tuple[int, int],
    name: str,
    camera_name: str,
    time_of_day: str | None,
    interval: float,
) -> Iterator[Frame]:
    journey = _Journey(seed, size, time_of_day)
    sky, street = journey.sky, journey.street
    leaders = _leaders(journey.rng, street, journey.start, frames)
    rare = rare_frames(journey.rng, frames)
    for index in range(frames):
        time = index * interval
        here, ground, things = journey.at(time)
        leader = leaders[index]
        if leader is not None:
            things.append(_along(leader, here.z))
        scene = _picture(seed, index, size, here, sky, ground, things, street, index in rare)
        tags = (sky.time, sky.weather)
        yield Frame(f"{name}_{index:05d}", name, camera_name, time, tags, scene)


def _film(seed: int, frames: int, size: tuple[int, int], fps: float, time_of_day: str | None) -> Iterator[np.ndarray]:
    journey = _Journey(seed, size, time_of_day)
    (leader,) = _leaders(journey.rng, journey.street, journey.start, 1)
    for index in range(frames):
        here, ground, things = journey.at(index / fps)
        if leader is not None:
            things.append(_along(leader, here.z))
        camera, noise = np.random.default_rng([seed, 3]), np.random.default_rng([seed, 3, index])
        yield picture(camera, seed, size, here, journey.sky, ground, things, noise).image


def rare_frames(rng: np.random.Generator, frames: int) -> frozenset[int]:
    """Return the frames in which a motorcycle shows: one in eight, in runs of one to three."""
    wanted = max(1, round(frames / RARE)) if frames >= RARE // 2 else 0
    chosen: set[int] = set()
    while len(chosen) < wanted:
        start, length = int(rng.integers(frames)), int(rng.integers(1, 4))
        chosen.update(range(start, min(frames, start + min(length, wanted - len(chosen)))))
    return frozenset(chosen)


def _block(seed: int, street: Street, sky: light.Light, block: int) -> world.Layout:
    rng = np.random.default_rng([seed, 2, block + 1])
    layout = world.Layout(rng, street, sky, block * BLOCK, (block + 1) * BLOCK, ("motorcycle",))
    build_up(layout, (block * BLOCK + 10, (block + 1) * BLOCK - 15), 0.35)
    layout.fill(rates(street), near=0.0, oncoming=True)
    return layout


def _leaders(rng: np.random.Generator, street: Street, start: Camera, frames: int) -> list[Thing | None]:
    """Return the vehicle ahead of the camera in each frame: a car or a truck for a while, then another one or None."""
    out: list[Thing | None] = []
    while len(out) < frames:
        length = int(rng.integers(5, 13))
        if rng.random() < 0.35:
            out += [None] * length
            continue
        kind = "truck" if rng.random() < 0.15 else "car"
        model = draw_vehicles.truck(rng) if kind == "truck" else draw_vehicles.car(rng, braking=rng.random() < 0.4)
        near, far = sorted(rng.uniform(12 if kind == "truck" else 9, 45, 2))
        gaps = np.linspace(*((near, far) if rng.random() < 0.5 else (far, near)), length)
        for gap in gaps:
            out.append(Thing(model, CAR, (start.x, 0.0, float(gap)), 0.0, kind, kind, grain=0.03))
    return out[:frames]


def _along(thing: Thing, z: float) -> Thing:
    """Return the thing carried along by the camera."""
    return replace(thing, place=(thing.place[0], thing.place[1], thing.place[2] + z))


def moved(thing: Thing, time: float, pace: float) -> Thing:
    """Return a thing as it stands at `time`. It stands where the layout put it when the camera is 25 m before that
    place."""
    if not thing.speed:
        return thing
    meeting = (thing.place[2] - 25) / pace
    return replace(thing, place=(thing.place[0], thing.place[1], thing.place[2] + thing.speed * (time - meeting)))


def _picture(
    seed: int,
    index: int,
    size: tuple[int, int],
    here: Camera,
    sky: light.Light,
    ground: list[Thing],
    things: list[Thing],
    street: Street,
    rare: bool,
) -> Scene:
    if not rare:
        return picture(np.random.default_rng([seed, 3, index]), seed, size, here, sky, ground, things)
    for attempt in range(8):
        rng = np.random.default_rng([seed, 3, index, attempt])
        own = rng.random() < 0.5
        lane = street.driving * (street.half - (2.1 if street.parking else 0.0)) / 2
        away = rng.uniform(6.5, 22)
        x = (lane if own else -lane) + rng.normal(0, 0.5)
        yaw = (0.0 if own else np.pi) + rng.normal(0, 0.2)
        model = draw_people.motorcycle(rng)
        rider = Thing(model, BICYCLIST, (x, 0.0, here.z + away), yaw, "motorcycle", "motorcycle", grain=0.06)
        others = [
            t for t in things if t.kind is None or abs(t.place[0] - x) > 1.6 or abs(t.place[2] - rider.place[2]) > 5
        ]
        scene = picture(rng, seed, size, here, sky, ground, [*others, rider])
        if any(i.kind == "motorcycle" and i.clear for i in scene.instances):
            return scene
    return scene
