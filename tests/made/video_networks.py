"""Defines networks of the verb `enhance` in closed form, with the contract of the real ones."""

from __future__ import annotations

import asyncio

import numpy as np

from sluice.errors import Unavailable
from sluice.methods.video import scale_of

RADIUS = 2
NETWORKS = " ".join(
    f"{name}={RADIUS}"
    for name in ("artifact_remover_weak", "artifact_remover_strong", "frame_upscaler_clean", "frame_upscaler_lossy")
)


def around(plane: np.ndarray) -> np.ndarray:
    """Run a network of receptive radius 2: unequal weights around each sample, zeros outside, modulo 256."""
    wide = np.pad(plane.astype(np.int64), ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)))
    height, width = plane.shape[:2]
    total = sum(wide[i : i + height, j : j + width] * (1 + i * i + 3 * j) for i in range(5) for j in range(5))
    return (total % 256).astype(np.uint8)


def removed(plane: np.ndarray) -> np.ndarray:
    """Return what the artefact removers of this file make of a plane [H, W, C]."""
    return around(plane)


def doubled(plane: np.ndarray) -> np.ndarray:
    """Return what the upscalers of this file make of a plane [H, W, C]."""
    return enlarged(plane, 2)


def enlarged(plane: np.ndarray, scale: int) -> np.ndarray:
    """Return what an upscaler of that scale makes of a plane [H, W, C]. Each scale darkens it by another share."""
    return (around(plane) // scale).repeat(scale, axis=0).repeat(scale, axis=1)


class Networks:
    """The function `call` of the verb. models: names of the models asked. seen: shapes of the inputs. most: greatest
    number of calls at a time.

    fail: raise Unavailable at this call, once. gate: calls wait until this event is set.
    """

    def __init__(self, fail: int = -1, gate: asyncio.Event | None = None):
        self.models, self.seen, self.strengths, self.colours = [], [], [], []
        self.fail, self.gate, self.now, self.most = fail, gate, 0, 0

    async def __call__(self, model, inputs, outputs):
        if len(self.models) == self.fail:
            self.fail = -1
            raise Unavailable(f"{model} is busy; try again")
        self.now += 1
        self.most = max(self.most, self.now)
        self.models.append(model)
        self.seen.append(inputs["LUMA"].shape)
        self.strengths.append(float(inputs["STRENGTH"][0, 0]))
        self.colours.append(inputs["COLOUR"][0])
        await asyncio.sleep(0.001)  # as if another process did the work: the loop goes on meanwhile
        if self.gate is not None:
            await self.gate.wait()
        self.now -= 1
        luma, chroma = inputs["LUMA"], inputs["CHROMA"]
        assert luma.dtype == chroma.dtype == np.uint8 and inputs["COLOUR"].shape == (len(luma), 3, 4)
        scale = scale_of(model)
        height, width = scale * luma.shape[1], scale * luma.shape[2]

        def make(plane: np.ndarray) -> np.ndarray:
            return removed(plane) if scale == 1 else enlarged(plane, scale)

        small = make(chroma[0])
        if chroma.shape[1:3] != luma.shape[1:3]:
            small = small[: -(-height // 2), : -(-width // 2)]
        found = {"LUMA_OUT": make(luma[0][..., None])[..., 0][None], "CHROMA_OUT": small[None]}
        return {name: found[name] for name in outputs}
