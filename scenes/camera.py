"""Defines a pinhole camera that drives along the road, and maps metres in the world to pixels of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAR = 0.6  # metres; nearer parts are cut off


@dataclass(frozen=True)
class Camera:
    """place: x, height, z in metres. yaw: radians to the right. focal, middle, horizon: pixels of the picture.

    The horizon is shifted instead of pitching the camera, so upright edges stay upright, as after rectification.
    """

    x: float
    height: float
    z: float
    yaw: float
    focal: float
    middle: float
    horizon: float

    def turned(self, points: np.ndarray, place: tuple[float, float, float], yaw: float) -> np.ndarray:
        """Return object points [N, 3] at `place` with `yaw` in camera coordinates, [N, 3] metres (right, up, ahead)."""
        turn = yaw - self.yaw
        c, s = np.cos(turn), np.sin(turn)
        cc, cs = np.cos(self.yaw), np.sin(self.yaw)
        dx, dz = place[0] - self.x, place[2] - self.z
        out = np.empty((len(points), 3), np.float32)
        out[:, 0] = points[:, 0] * c + points[:, 2] * s + (dx * cc - dz * cs)
        out[:, 1] = points[:, 1] + (place[1] - self.height)
        out[:, 2] = -points[:, 0] * s + points[:, 2] * c + (dx * cs + dz * cc)
        return out

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Return the pixels [N, 2] (x right, y down) of camera coordinates [N, 3] with z >= NEAR."""
        scale = self.focal / np.maximum(points[:, 2], 1e-3)
        return np.stack([self.middle + points[:, 0] * scale, self.horizon - points[:, 1] * scale], 1)

    def ground(self, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return world x, world z and distance ahead in metres of the ground seen at each pixel, float32 [height,
        width] each.

        Above the horizon the values are those of a plane 400 m away, which nothing uses.
        """
        rows = np.arange(height, dtype=np.float32) + 0.5
        columns = np.arange(width, dtype=np.float32) + 0.5
        ahead = self.height * self.focal / np.maximum(rows - self.horizon, self.height * self.focal / 400)
        right = (columns[None] - self.middle) / self.focal * ahead[:, None]
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return (
            self.x + right * c + ahead[:, None] * s,
            self.z - right * s + ahead[:, None] * c,
            np.broadcast_to(ahead[:, None], right.shape),
        )


def cut(points: np.ndarray, near: float = NEAR) -> np.ndarray:
    """Cut a polygon [N, 3] in camera coordinates at the plane z = near. Returns [M, 3]; M may be 0."""
    inside = points[:, 2] >= near
    if inside.all():
        return points
    kept = []
    for index, here in enumerate(points):
        there = points[(index + 1) % len(points)]
        if inside[index]:
            kept.append(here)
        if inside[index] != inside[(index + 1) % len(points)]:
            part = (near - here[2]) / (there[2] - here[2])
            kept.append(here + part * (there - here))
    return np.array(kept, np.float32).reshape(-1, 3)
