"""The commands of `frame_gallery` that verbs send, as functions."""

from __future__ import annotations

import numpy as np

from sluice.wire.calls import Call, json_strings


async def keep_embeddings(call: Call, ids: list[str], vectors: np.ndarray, embedder: str) -> None:
    """Have the gallery keep embeddings of stored frames, for `retrieve`; one that is gone by now is left out.

    vectors: float32 [n, E], unit length. embedder: version of the network that made them.
    """
    command = {"op": "embed", "ids": ids, "embedder": embedder}
    await call("frame_gallery", {"COMMAND": json_strings([command]), "EMBEDDINGS": vectors}, ["ANSWER"])


async def image(call: Call, id_: str) -> bytes:
    """The bytes of one stored frame; each for itself, so that an id that is not there fails alone."""
    command = {"op": "get", "ids": [id_], "images": True}
    answer = await call("frame_gallery", {"COMMAND": json_strings([command])}, ["ENCODED"])
    return bytes(answer["ENCODED"][0])
