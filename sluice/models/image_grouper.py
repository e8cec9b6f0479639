"""The model `image_grouper`: asks it for groups and embeddings of windows, and tells its version."""

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
from sluice.wire.pictures import Config, read_whole

GROUPER = "image_grouper"
NO_GROUPS = (
    "the server's image_grouper has no groups but the whole image, as a CLIP has none, so there is no mask; ask "
    "`compare` for the image as a whole, or serve a network with groups (sluice export grouping)"
)


class Grouper:
    """Asks the grouping network for one request, about a limited number of windows at the same time."""

    def __init__(self, call: Call, in_flight: int, check: Callable[[], None] = lambda: None):
        """in_flight: windows at the same time. check: raises Cancelled when the caller has gone; called per window."""
        self.call, self.check = call, check
        self._places = asyncio.Semaphore(in_flight)

    async def groups(self, windows: np.ndarray) -> Grouped:
        """Group the windows of an image. windows: uint8 [V, H, W, 3] RGB 0-255.

        Raises InvalidArgument as `Grouped` does, and for a network whose only group is the whole image.
        """
        names = ("GROUPS", "EMBEDDING", "ASSIGNMENT")
        answers = await each(list(windows), lambda window: self._ask(window, names), len(windows), self.check)
        groups, embedding, assignment = (np.concatenate([answer[name] for answer in answers]) for name in names)
        found = Grouped(groups, embedding, assignment, windows)
        if found.groups.shape[1] == 1:
            raise InvalidArgument(NO_GROUPS)
        return found

    async def embedding(self, window: np.ndarray) -> np.ndarray:
        """Return the embedding of a whole window, float32 [E], unit length. window: uint8 [H, W, 3] RGB 0-255.

        Raises InvalidArgument for an embedding that is not finite.
        """
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
    """Return the embedding of an encoded image that is seen whole: float32 [E], unit length.

    The embedding can be compared with the vectors of `text_embedder.embed`.
    Raises InvalidArgument for bytes that are no image.
    """
    config = config or Config()
    return await Grouper(call, 1).embedding(await decoding.run(read_whole, data, config))


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
            "embedding_canvases and embedding_size of ingest/config.pbtxt to what canvases and size of "
            "compare/config.pbtxt are"
        )
    return seen_version(network, compared)
