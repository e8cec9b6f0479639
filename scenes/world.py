"""Lays out a street: what stands where, in metres, before anything is painted."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from scenes import draw_buildings, draw_ground, draw_people, draw_plants, draw_street, draw_vehicles
from scenes.labels import BUILDING, CAR, FENCE, LABEL, PAVEMENT, PEDESTRIAN, POLE, ROAD, SIGN, TREE
from scenes.light import Light
from scenes.shapes import Model, Thing
from scenes.street import HEDGE, RAILINGS, Street

Gaps = list[tuple[float, float]]  # stretches where side roads come in, from and to along the street


class Layout:
    """Collects the things of a street between two places along it. `free` keeps them from standing in each other.

    eye: place along the street of the only camera, so that things far from it may be coarse; None for a camera that
    drives past.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        street: Street,
        light: Light,
        start: float,
        end: float,
        exclude: Collection[str],
        eye: float | None = None,
    ):
        self.rng, self.street, self.light = rng, street, light
        self.start, self.end, self.eye = start, end, eye
        self.exclude = frozenset(exclude)
        self.ground: list[Thing] = []
        self.things: list[Thing] = []
        self._taken: dict[str, list[tuple[float, float]]] = {}

    def free(self, lane: str, z: float, room: float) -> bool:
        """Return whether nothing stands in `lane` within `room` metres of z. If so, the place is taken."""
        taken = self._taken.setdefault(lane, [])
        if any(a < z + room and b > z - room for a, b in taken):
            return False
        taken.append((z - room, z + room))
        return True

    def add(
        self,
        model: Model,
        label: int,
        x: float,
        z: float,
        *,
        yaw: float = 0.0,
        kind: str | None = None,
        noun: str | None = None,
        y: float = 0.0,
        **more: Any,
    ) -> None:
        """Put a model at a place."""
        if (kind or noun) in self.exclude:
            return
        self.things.append(
            Thing(model, label, (x, y, z), yaw, kind, noun or kind, key=int(self.rng.integers(997)), **more)
        )

    def _ground(self, model: Model | None, label: int, noun: str, grain: float) -> None:
        if model is not None:
            key = int(self.rng.integers(997))
            self.ground.append(Thing(model, label, (0.0, 0.0, 0.0), noun=noun, flat=True, grain=grain, key=key))

    def lay_ground(self) -> None:
        """Lay road, pavements and the land beyond them, from the start to far behind the end."""
        s = self.street
        z0, z1 = self.start - 30, self.end + 120
        side = s.half + s.pavement
        green = bool(s.setback or s.open_country)
        for way in (-1, 1):
            x0, x1 = sorted((way * side, way * 400))
            verge = draw_ground.plain(x0, x1, z0, z1, (0.30, 0.36, 0.18) if green else s.slabs)
            self._ground(verge, TREE if green else PAVEMENT, "verge", 0.22)
            x0, x1 = sorted((way * s.half, way * side))
            self._ground(draw_ground.plain(x0, x1, z0, z1, s.slabs), PAVEMENT, "pavement", 0.12)
        self._ground(draw_ground.plain(-s.half, s.half, z0, z1, s.asphalt), ROAD, "road", 0.13)

    def lay_marks(self, zebras: list[float], stops: list[float], gaps: Gaps) -> None:
        """Lay side roads in the gaps, then repairs, paint and kerbs."""
        s, rng = self.street, self.rng
        for a, b in gaps:
            self._ground(draw_ground.plain(-200, 200, a - 2, b + 2, s.slabs), PAVEMENT, "pavement", 0.12)
            self._ground(draw_ground.plain(-200, 200, a, b, s.asphalt), ROAD, "road", 0.13)
            self._ground(draw_ground.plain(-s.half, s.half, a - 2.1, b + 2.1, s.asphalt), ROAD, "road", 0.13)
        self._ground(draw_ground.patches(rng, s.half, self.start, self.end, s.tone), ROAD, "road", 0.1)
        paint = draw_ground.marks(
            rng,
            s.half,
            self.start,
            self.end,
            kerbside=s.kerbside,
            gaps=gaps,
            zebras=zebras,
            stops=stops,
            driving=s.driving,
        )
        self._ground(paint, ROAD, "lane marks", 0.15)
        kerbs = draw_ground.kerbs(s.half, self.start, self.end, [(a - 2, b + 2) for a, b in gaps])
        self._ground(kerbs, PAVEMENT, "kerb", 0.1)

    def line_with_buildings(self, gaps: Gaps) -> None:
        """Put rows of houses on both sides, with trees where a plot is empty and nothing where a side road comes in."""
        s, rng = self.street, self.rng
        edge = s.half + s.pavement + s.setback
        for way in (-1, 1):
            z = self.start
            while z < self.end:
                wide = min(rng.uniform(7, 20), max(4.0, self.end - z))
                crossing = any(a - 3 < z + wide and b + 3 > z for a, b in gaps)
                if not crossing and rng.random() >= s.open_country:
                    depth, x = rng.uniform(8, 14), way * (edge + rng.uniform(0, 0.6))
                    house = draw_buildings.building(rng, depth, wide - 0.05, far=self.closeness(z) < 0.4)
                    turn = 0.0 if way > 0 else np.pi
                    self.add(house, BUILDING, x, z + wide / 2, yaw=turn, noun="building", grain=0.09)
                elif not crossing:
                    for _ in range(int(rng.integers(1, 4))):
                        self.plant(way * (edge + rng.uniform(1, 10)), rng.uniform(z, z + wide))
                z += wide + (rng.uniform(0, 5) if rng.random() < 0.25 else 0.0)

    def close(self, z: float) -> None:
        """Put a row of houses and trees across the far end of the street, so that it does not end in the open sky."""
        rng = self.rng
        for x in np.arange(-90, 91, 18):
            if rng.random() < 0.6:
                house = draw_buildings.building(rng, 10, rng.uniform(12, 17), far=True)
                self.add(house, BUILDING, x, z + rng.uniform(-4, 4), yaw=-np.pi / 2, noun="building", grain=0.05)
            else:
                self.plant(x, z + rng.uniform(-8, 0))

    def closeness(self, z: float) -> float:
        """Return how finely a thing at z need be drawn: 1 up to 30 m from the camera, less beyond."""
        return 0.6 if self.eye is None else min(1.0, 30 / max(1.0, abs(z - self.eye)))

    def plant(self, x: float, z: float) -> None:
        """Put a tree at a place."""
        leaves = int(draw_plants.FULL * self.closeness(z) ** 1.5)
        model = draw_plants.tree(self.rng, self.light.sun, bare=self.street.bare, leaves=leaves)
        self.add(model, TREE, x, z, noun="tree", grain=0.35, shadow=0.8)

    def furnish(self, gaps: Gaps, stops: list[float]) -> None:
        """Put trees, lamp posts, fences, hedges, bollards, signs and traffic lights."""
        s, rng = self.street, self.rng

        def clear(z: float) -> bool:
            return all(z < a - 2 or z > b + 2 for a, b in gaps)

        spacing = rng.uniform(22, 34)
        for way in (-1, 1):
            kerb, inner = f"kerb{way}", way * (s.half + 0.5)
            for z in np.arange(self.start + rng.uniform(4, spacing), self.end, spacing):
                if clear(z) and self.free(kerb, z, 1.0):
                    lamp = draw_street.lamp_post(rng, -way * rng.uniform(0.9, 1.8))
                    self.add(lamp, POLE, inner, z, noun="lamp post", shadow=0.15)
            for z in np.arange(self.start + 4, self.end, 9.0):
                if rng.random() < s.trees * 0.7 and clear(z) and self.free(kerb, z, 1.2):
                    self.plant(inner + way * 0.4 if s.setback < 1 else way * (s.half + s.pavement + 1.1), z)
            self._fence_in(way, clear)
            for z in np.arange(self.start + rng.uniform(4, 18), self.end, rng.uniform(12, 30)):
                if rng.random() < 0.6 and clear(z) and self.free(kerb, z, 0.5):
                    self.put_sign(way, z)
            if rng.random() < 0.35:
                for z in np.arange(self.start, self.end, 2.2):
                    if rng.random() < 0.4 and clear(z) and self.free(kerb, z, 0.3):
                        bollard = draw_street.post(0.95, 0.07, (0.12, 0.12, 0.12))
                        self.add(bollard, POLE, way * (s.half + 0.4), z, noun="bollard", shadow=0.5)
        for z in stops:
            phase = int(rng.integers(3))
            for way in (-1, 1):
                self.put_light(way, z + 1.2, phase)

    def _fence_in(self, way: int, clear: Callable[[float], bool]) -> None:
        """Put fences or hedges before gardens, and railings along the kerb where houses stand on the pavement."""
        s, rng = self.street, self.rng
        guard = s.setback < 1 and s.fence_style == RAILINGS
        if s.setback < 1 and not guard:
            return
        x = way * (s.half + 0.35 if guard else s.half + s.pavement + 0.05)
        turn = 0.0 if way > 0 else np.pi
        z = self.start - 6
        while z < self.end:
            length = rng.uniform(6, 22)
            wanted = rng.random() < s.fences and clear(z) and clear(z + length) and clear(z + length / 2)
            if wanted and (not guard or self.free(f"kerb{way}", z + length / 2, length / 2)):
                for piece in np.arange(z, z + length, 6.0):
                    if s.fence_style == HEDGE:
                        hedge = draw_plants.hedge(rng, 6.0)
                        self.add(hedge, TREE, x, piece + 3, yaw=turn, noun="hedge", grain=0.3)
                    else:
                        fence = draw_street.fence(rng, 6.0, s.fence_style)
                        self.add(fence, FENCE, x, piece + 3, yaw=turn, noun="fence", grain=0.08)
            z += length + rng.uniform(0, 15)

    def put_sign(self, way: int, z: float) -> None:
        """Put a traffic sign beside the road."""
        if "sign" in self.exclude:
            return
        rng = self.rng
        height, x = rng.uniform(2.1, 2.7), way * (self.street.half + rng.uniform(0.4, 0.8))
        self.add(draw_street.post(height + 0.3, 0.035), POLE, x, z, noun="sign post", shadow=0.2)
        plate = draw_street.sign(rng, height)
        self.add(plate, SIGN, x, z - 0.02, yaw=rng.normal(0, 0.12), kind="sign", shadow=0.0)

    def put_light(self, way: int, z: float, phase: int) -> None:
        """Put a traffic light beside the road."""
        if "traffic light" in self.exclude:
            return
        rng = self.rng
        height, x = rng.uniform(2.7, 3.3), way * (self.street.half + 0.5)
        pole = draw_street.post(height + 0.4, 0.06, (0.15, 0.15, 0.16))
        self.add(pole, POLE, x, z, noun="signal post", shadow=0.2)
        head = draw_street.traffic_light(height, phase)
        self.add(head, SIGN, x, z - 0.05, yaw=rng.normal(0, 0.1), kind="traffic light", shadow=0.0)

    def put(self, kind: str, z: float, *, lane: str | None = None) -> bool:
        """Put one road user or sign of `kind` near z. Returns False if there is no room."""
        s, rng = self.street, self.rng
        if kind == "sign":
            way = s.driving if rng.random() < 0.6 else -s.driving
            if not self.free(f"kerb{way}", z, 0.5):
                return False
            self.put_sign(way, z)
        elif kind == "traffic light":
            way = s.driving if rng.random() < 0.6 else -s.driving
            if not self.free(f"kerb{way}", z, 0.5):
                return False
            self.put_light(way, z, int(rng.integers(3)))
        elif kind == "pedestrian":
            self._walk(z, lane)
        else:
            return self._ride(kind, z, lane)
        return True

    def _walk(self, z: float, lane: str | None) -> None:
        s, rng = self.street, self.rng
        model = draw_people.pedestrian(rng)
        if lane == "crossing":
            way = 1 if rng.random() < 0.5 else -1
            x, yaw, speed = rng.uniform(-s.half * 0.8, s.half * 0.8), way * np.pi / 2 + rng.normal(0, 0.1), 0.0
            if not (self.free("own", z, 1.5) and self.free("other", z, 1.5)):
                return
        else:
            side = 1 if rng.random() < 0.5 else -1
            x = side * (s.half + rng.uniform(0.7, max(0.9, s.pavement - 0.4)))
            ahead = rng.random() < 0.5
            yaw = (0.0 if ahead else np.pi) + rng.normal(0, 0.35)
            speed = (1 if ahead else -1) * rng.uniform(0.0, 1.6)
        self.add(model, PEDESTRIAN, x, z, yaw=yaw, kind="pedestrian", speed=speed, grain=0.08)

    def _ride(self, kind: str, z: float, lane: str | None) -> bool:
        s, rng = self.street, self.rng
        lane = lane or ("own" if rng.random() < 0.5 else "other")
        lane_x = s.driving * (s.half - (2.1 if s.parking else 0.0)) / 2
        if lane.startswith("parked"):
            side = -1 if lane.endswith("l") else 1
            model = draw_vehicles.car(rng, parked=True) if kind == "car" else draw_vehicles.truck(rng, parked=True)
            room = 2.7 if kind == "car" else 4.6
            if not self.free(lane, z, room):
                return False
            ahead = side == s.driving
            self.add(
                model,
                CAR,
                side * (s.half - 1.12),
                z,
                yaw=(0.0 if ahead else np.pi) + rng.normal(0, 0.03),
                kind=kind,
                grain=0.03,
            )
            return True
        own = lane == "own"
        room = {"car": 4.0, "truck": 6.0, "motorcycle": 1.8, "bicycle": 1.5}[kind]
        lateral = rng.normal(0, 0.2)
        if kind == "bicycle":
            lateral = s.driving * abs(lane_x) * 0.45 if own else -s.driving * abs(lane_x) * 0.45
            lane = lane + " edge" if rng.random() < 0.6 else lane
        elif kind == "motorcycle":
            lateral = rng.normal(0, 0.5)
        if not self.free(lane, z, room):
            return False
        x = (lane_x if own else -lane_x) + lateral
        if kind == "car":
            model = draw_vehicles.car(rng, braking=rng.random() < 0.4)
        else:
            model = {
                "truck": draw_vehicles.truck,
                "motorcycle": draw_people.motorcycle,
                "bicycle": draw_people.bicycle,
            }[kind](rng)
        pace = {"car": 11.0, "truck": 10.0, "motorcycle": 12.0, "bicycle": 4.5}[kind] * rng.uniform(0.7, 1.1)
        yaw = (0.0 if own else np.pi) + rng.normal(0, 0.05 if kind in ("car", "truck") else 0.15)
        crossing = kind in ("bicycle", "motorcycle") and rng.random() < 0.12
        if crossing:  # turning in or out, so seen from the side
            yaw += rng.uniform(0.6, 1.4) * (1 if rng.random() < 0.5 else -1)
        self.add(
            model,
            LABEL[kind],
            x,
            z,
            yaw=yaw,
            kind=kind,
            speed=pace if own else -pace,
            grain=0.03 if kind in ("car", "truck") else 0.06,
        )
        return True

    def fill(self, rates: dict[str, float], near: float, *, oncoming: bool = False) -> None:
        """Put traffic and people.

        rates: how many of each kind are expected in 100 m. near: metres left free at the start. oncoming: True keeps
        the camera's own lane empty.
        """
        s, rng = self.street, self.rng
        span = (self.end - self.start) / 100
        if s.parking:
            for lane in ("parked l", "parked r"):
                share = rng.choice([0.15, 0.6, 0.9])
                for z in np.arange(self.start + max(0.0, near - 5), self.end, 5.7):
                    if rng.random() < share:
                        self.put("truck" if rng.random() < 0.07 else "car", z + rng.normal(0, 0.3), lane=lane)
        for kind, rate in rates.items():
            if kind in self.exclude:
                continue
            for _ in range(rng.poisson(rate * span)):
                z = self.start + near + (self.end - self.start - near) * rng.random() ** 1.3
                where = "other" if oncoming else None
                if kind == "pedestrian":
                    where = "crossing" if rng.random() < 0.08 and not oncoming else None
                self.put(kind, z, lane=where)
