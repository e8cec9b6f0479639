"""Answers `enhance` for the fake server: the server's own code over plain networks.

The removers change nothing, the upscalers repeat every sample, so a test sees where each pixel went.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
from sluice_client import errors
from sluice_client.tensors import Call, Tensors

from sluice.errors import InvalidArgument, Refusal
from sluice.verbs.enhance import Config, Enhancer

NETWORKS = "artifact_remover_weak=8 artifact_remover_strong=8 frame_upscaler_clean=8 frame_upscaler_lossy=8"


async def plain(model, inputs, outputs):
    scale = 2 if model.startswith("frame_upscaler") else 1
    found = {f"{name}_OUT": inputs[name].repeat(scale, axis=1).repeat(scale, axis=2) for name in ("LUMA", "CHROMA")}
    luma, small = inputs["LUMA"].shape[1:], inputs["CHROMA"].shape[1:3]
    if small != luma:
        found["CHROMA_OUT"] = found["CHROMA_OUT"][:, : -(-scale * luma[0] // 2), : -(-scale * luma[1] // 2)]
    return found


class FakeEnhancer:
    """`events(call, timeout)` is the function that `transport.Function` needs; threads may call it.

    trouble: raised in place of an answer, one per call. fail_at: (number of a frame, exception), raised before that
    frame. requests: the options of each request.
    """

    def __init__(self, trouble: list[Exception] | None = None, fail_at: tuple[int, Exception] | None = None):
        self.trouble, self.fail_at, self.calls = list(trouble or []), fail_at, []
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.enhancer = self._run(self._made())

    async def _made(self):
        return Enhancer(plain, Config(networks=NETWORKS))

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=60)

    def answer(self, call: Call, timeout: float) -> Tensors:
        raise errors.Unsupported("only enhance is here")

    def events(self, call: Call, timeout: float) -> Iterator[Tensors]:
        self.calls.append(call)
        if self.trouble:
            raise self.trouble.pop(0)
        answers = self.enhancer.enhance(dict(call.inputs), lambda: None)
        try:
            while (tensors := self._run(_next(answers))) is not None:
                if self.fail_at and f'"number": {self.fail_at[0]},'.encode() in tensors["EVENT"][0]:
                    raise self.fail_at[1]
                yield {name: np.array(array) for name, array in tensors.items()}
        except Refusal as error:
            kind = errors.InvalidRequest if isinstance(error, InvalidArgument) else errors.Unavailable
            raise kind(str(error)) from None
        finally:
            self._run(answers.aclose())


async def _next(answers):
    return await anext(answers, None)
