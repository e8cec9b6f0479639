"""The asyncio transport: tritonclient.grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import tritonclient.grpc.aio as grpc
from tritonclient.utils import InferenceServerException

from .errors import Cancelled, from_status
from .results import Health
from .tensors import Call, Tensors
from .transport import CHANNEL, address, pack, unpack

__all__ = ["AsyncGrpc"]


class AsyncGrpc:
    """One channel, made on first use, because gRPC binds it to the event loop that runs then."""

    def __init__(self, server: str):
        self._address = address(server)
        self._made: grpc.InferenceServerClient | None = None

    def _client(self) -> grpc.InferenceServerClient:
        if self._made is None:
            self._made = grpc.InferenceServerClient(self._address, channel_args=list(CHANNEL))
        return self._made

    async def infer(self, call: Call, timeout: float) -> Tensors:
        inputs, outputs = pack(call, grpc)
        client = self._client()
        try:
            result = await client.infer(call.model, inputs, outputs=outputs, client_timeout=timeout)
        except InferenceServerException as error:
            raise from_status(error.status(), error.message(), self._address) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the caller's own wish
            # gRPC raises this also when the channel was closed under the call.
            raise Cancelled("The client was closed while the call was under way.") from None
        return unpack(call, result)

    async def health(self, models: Sequence[str], timeout: float) -> Health:
        client = self._client()
        try:
            live = await client.is_server_live(client_timeout=timeout)
            ready = await client.is_server_ready(client_timeout=timeout)
            about = await client.get_server_metadata(client_timeout=timeout)
            ready_models = {name: await client.is_model_ready(name, client_timeout=timeout) for name in models}
        except InferenceServerException as error:
            raise from_status(error.status(), error.message(), self._address) from None
        return Health(live, ready, f"{about.name} {about.version}", ready_models)

    async def close(self) -> None:
        if self._made is not None:
            made, self._made = self._made, None
            await made.close()
