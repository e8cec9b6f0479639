"""Another camera: the planted part with one side, the pool or the query, seen by a strongly changed camera.

The other camera is made: its focal length is longer, its lens bends straight lines, its colours, contrast, focus and
noise differ, and its pictures are compressed strongly. It sees each picture after the objects were pasted, so it sees
the objects as well; areas are those before. The frames, objects and draws are those of the planted part, but for an
empty margin at the border, which the longer focal length cuts off. Every row has the same pictures.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from bench.recall.findings import FAST, FULL, TIMES, Case, Claim, Findings, Setting, at_least
from bench.recall.planted import LENGTHS, SOME_SIZES, Ground, Outcome, Pasting, outcome, pasting
from bench.recall.scores import Box, Query, View, scores
from bench.recall.supply import supply

MARGIN = 0.15  # share of the width and height that the other camera does not see, at the least, at each border
QUERIES = 1000  # seed of the noise of the first query; those of the pool count from 0
HALF = 0.5  # of the recall within one camera, the mark across cameras
ONE_SIZE = 0.01  # of the changes by themselves


@dataclass(frozen=True)
class Camera:
    """A camera that takes a picture of a picture, of the same size.

    focal: times the focal length, at the corners. barrel: how strongly lines bow outwards; the magnification at the
    centre is greater than at the corners by this share. gains: of red, green and blue. gamma: exponent of brightness,
    as a share of white. blur: radius, pixels. noise: standard deviation, grey levels of 256. quality: of JPEG; 0 leaves
    JPEG out.
    """

    focal: float = 1.0
    barrel: float = 0.0
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    quality: int = 0

    def see(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Return the picture, [H, W, 3] uint8. seed: of the noise."""
        light = _sampled(image.astype(np.float32), *self.sources(*image.shape[:2]))
        light = 255 * np.clip((light / 255) ** np.float32(self.gamma) * np.array(self.gains, np.float32), 0, 1)
        seen = Image.fromarray(np.rint(light).astype(np.uint8))
        if self.blur:
            seen = seen.filter(ImageFilter.GaussianBlur(self.blur))
        grain = np.random.default_rng(seed).normal(0, self.noise, image.shape) if self.noise else 0
        seen = Image.fromarray(np.clip(np.rint(np.asarray(seen) + grain), 0, 255).astype(np.uint8))
        if self.quality:
            file = io.BytesIO()
            seen.save(file, "JPEG", quality=self.quality)
            seen = Image.open(file)
        return np.asarray(seen)

    def sources(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the place that each pixel shows, in the picture that is taken: y and x, float32 [H, W] each."""
        y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
        x = np.arange(width, dtype=np.float32)[None] - (width - 1) / 2
        far = (y * y + x * x) / ((height / 2) ** 2 + (width / 2) ** 2)
        scale = (1 + self.barrel * far) / ((1 + self.barrel) * self.focal)
        return y * scale + (height - 1) / 2, x * scale + (width - 1) / 2

    def box(self, box: Box, height: int, width: int) -> Box:
        """Return the box in which the camera sees a box of the picture. Raises ValueError when it does not see it."""
        y, x = self.sources(height, width)
        inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
        if not inside.any():
            raise ValueError(f"the camera does not see {box}; paste objects further inside")
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _sampled(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return an image [H, W, 3] at places between its pixels, bilinearly. y, x: [H, W]."""
    height, width = image.shape[:2]
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = np.minimum(y.astype(int), height - 2), np.minimum(x.astype(int), width - 2)
    down, right = (y - top)[..., None], (x - left)[..., None]
    above = image[top, left] * (1 - right) + image[top, left + 1] * right
    below = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
    return above * (1 - down) + below * down


SAME = Camera()
OTHER = Camera(focal=1.3, barrel=0.15, gains=(1.1, 1.0, 0.75), gamma=0.7, blur=1.0, noise=8.0, quality=25)
CHANGES = {  # each change of the other camera by itself
    "optics": Camera(focal=OTHER.focal, barrel=OTHER.barrel),
    "colour": Camera(gains=OTHER.gains, gamma=OTHER.gamma),
    "blur, noise, JPEG": Camera(blur=OTHER.blur, noise=OTHER.noise, quality=OTHER.quality),
}


@dataclass(frozen=True)
class Sight:
    """The views that one camera has of a pasting.

    present, absent: per frame of the pool, with an object and as it is. asked: the queries.
    """

    present: list[View]
    absent: list[View]
    asked: list[Query]

    @classmethod
    def of(cls, ground: Ground, made: Pasting, camera: Camera, absent: list[View]) -> Sight:
        """Return the sight of a camera. absent: its views of the pool as it is."""
        height, width = ground.pool[0].labels.shape
        asked = [
            Query.of(ground.extract(camera.see(p.image, QUERIES + number)), camera.box(p.box, height, width))
            for number, p in enumerate(made.asked)
        ]
        return cls(views(ground, camera, [p.image for p in made.planted]), absent, asked)


def views(ground: Ground, camera: Camera, pictures: list[np.ndarray]) -> list[View]:
    """Return the views of pictures that a camera sees; the same place in the list has the same noise."""
    if camera == SAME:
        return [ground.extract(picture) for picture in pictures]
    return [ground.extract(camera.see(picture, number)) for number, picture in enumerate(pictures)]


def across(ground: Ground, made: Pasting, query: Sight, pool: Sight, seed: int) -> Outcome:
    """Search what one camera sees for what another asks. seed: of the draws, the same for every pair of cameras."""
    found, missing = (scores(query.asked, seen) for seen in (pool.present, pool.absent))
    return outcome(ground, made, found, missing, np.random.default_rng((seed, 1)))


def measure(given: Setting) -> Findings:
    """Search with every pair of the two cameras, and with each change by itself in the pool."""
    length, has = LENGTHS[given.length], supply(given)
    ground = Ground.of(given.extract, has, length)
    plain = [frame.image for frame in ground.pool]
    changed = {"all": OTHER} | (CHANGES if given.length == FULL else {})
    absent = {name: views(ground, camera, plain) for name, camera in changed.items()}
    made: dict[tuple[str, str, float], list[Outcome]] = {}
    for size in SOME_SIZES if given.length == FULL else (ONE_SIZE,):
        for seed in range(given.seeds):
            pasted = pasting(ground, has.objects, size, np.random.default_rng((seed, round(size * 1e6))), margin=MARGIN)
            same, other = Sight.of(ground, pasted, SAME, ground.plain), Sight.of(ground, pasted, OTHER, absent["all"])
            pairs = {("same", "same"): (same, same), ("same", "other"): (same, other), ("other", "same"): (other, same)}
            for (query, pool), sights in pairs.items():
                made.setdefault((query, pool, size), []).append(across(ground, pasted, *sights, seed))
            for name in CHANGES if size == ONE_SIZE and seed == 0 and given.length == FULL else ():
                seen = Sight(views(ground, CHANGES[name], [p.image for p in pasted.planted]), absent[name], [])
                made["same", name, size] = [across(ground, pasted, same, seen, seed)]
    return Findings(
        title(ground, has.name),
        ("camera of the query", "of the pool", "area"),
        cases(made),
        claims(made) if given.length != FAST else [],
    )


def title(ground: Ground, name: str) -> str:
    """Return the title of the table. name: of the pool."""
    where = f"{len(ground.pool)} frames of {name}, 1 in 10 positive"
    return f"camera: recall@{ground.depth} of Bicyclist across cameras; {where}"


def cases(made: dict[tuple[str, str, float], list[Outcome]]) -> list[Case]:
    """Return a row per pair of cameras and size; those with one change by itself are the last."""
    rows = []
    for (query, pool, size), each in sorted(made.items(), key=lambda one: (one[0][1] in CHANGES, one[0][2])):
        recall = np.concatenate([m.recall for m in each], axis=1)
        precision = np.concatenate([m.precision for m in each], axis=1)
        asked = [name for m in each for name in m.asked]
        rows.append(Case((query, pool, f"{size:.1%}"), recall, each[0].chance, precision, asked))
    return rows


def claims(made: dict[tuple[str, str, float], list[Outcome]]) -> list[Claim]:
    """Return what is claimed of objects of 1 %: across cameras half of what is found within one is still found."""
    within, pool, query = (
        float(np.mean([m.recall[0].mean() for m in made[(*pair, ONE_SIZE)]]))
        for pair in (("same", "same"), ("same", "other"), ("other", "same"))
    )
    name = "recall of objects of 1% across cameras, of that within one"
    if not within:
        return [Claim(name, None, HALF, False, TIMES, reason="nothing was found within one camera")]
    return [
        at_least(f"{name}: the pool changes", pool / within, HALF, TIMES),
        at_least(f"{name}: the query changes", query / within, HALF, TIMES),
    ]
