"""The model `image_grouper`: windows of a picture to groups and embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sluice.contracts import configured
from sluice.errors import InvalidArgument
from sluice.methods.grouping.rules import Grouped
from sluice.process import decoding
from sluice.versions import network_version, seen_version
from sluice.wire import compare, ingest
from sluice.wire.calls import Call, each
from sluice.wire.pictures import Config, read

GROUPER = "image_grouper"


class Grouper:
    """The grouping network as one request sees it: so many windows at a time, however many pictures there are."""

    def __init__(self, call: Call, in_flight: int, check: Callable[[], None] = lambda: None):
        """check: raises Cancelled when the caller has gone; asked before each window."""
        self.call, self.check = call, check
        self._places = asyncio.Semaphore(in_flight)

    async def groups(self, windows: np.ndarray) -> Grouped:
        """What the network says of a picture's windows [W, H, W, 3]. Raises InvalidArgument for what is no number."""
        names = ("GROUPS", "EMBEDDING", "ASSIGNMENT")
        answers = await each(list(windows), lambda window: self._ask(window, names), len(windows), self.check)
        return Grouped(*(np.concatenate([answer[name] for answer in answers]) for name in names))

    async def embedding(self, window: np.ndarray) -> np.ndarray:
        """The whole of a window [H, W, 3]: float32 [E], unit length. Raises InvalidArgument for what is no number."""
        vector = (await self._ask(window, ("EMBEDDING",)))["EMBEDDING"][0]
        if not np.isfinite(vector).all():
            raise InvalidArgument("EMBEDDING holds NaN or infinite numbers; the network or its input is broken")
        return vector

    async def _ask(self, window: np.ndarray, outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
        async with self._places:
            self.check()
            answer = await self.call(GROUPER, {"IMAGE": window[None]}, outputs)
            return {name: np.array(answer[name], np.float32) for name in outputs}


async def embed(call: Call, data: bytes, config: Config | None = None) -> np.ndarray:
    """One encoded picture, seen whole: float32 [E], unit length, to be compared with `text_embeddings.embed`.

    Raises InvalidArgument for bytes that are no image.
    """
    config = config or Config()
    windows, _ = await decoding.run(read, data, config)
    return await Grouper(call, 1).embedding(windows[0])


def served_version(repository: Path, model: str) -> str | None:
    """Return the version that embeddings of this server's network are stored with; None if there is no such network,
    or if it has not been exported.

    The version is the network's, and the size at which it sees images unless that is the usual one.
    Raises ValueError if `ingest` and `compare` show images to the network at different sizes.
    """
    if not model or not any(repository.glob(f"{model}/[0-9]*/model.onnx")):
        return None
    network = network_version(repository, model)
    stored = configured(ingest.Config, repository, "ingest")
    compared = configured(compare.Config, repository, "compare").shaping()
    if stored.embeddings and stored.sketch().shaping() != compared:
        raise ValueError(
            "`ingest` embeds frames at another size than `compare` does, so their embeddings do not compare; set "
            "embedding_size of ingest/config.pbtxt and size of compare/config.pbtxt to the same number"
        )
    return seen_version(network, compared)
