"""The transport of the asyncio client, by tritonclient.grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import tritonclient.grpc.aio as grpc
from tritonclient.utils import InferenceServerException

from ..answers.health import Health
from ..errors import Cancelled, SluiceError
from ..tensors import Call, Tensors
from .connection import Connection
from .protocol import pack, unpack
from .streams import AsyncStreams
from .tls_failures import failure

__all__ = ["AsyncGrpc"]


class AsyncGrpc:
    """A transport for the tasks of one event loop. gRPC binds a channel to the event loop that runs when the channel is
    made, so both channels are made on first use."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._headers = dict(connection.headers)
        self._credentials = connection.credentials()
        self._made: grpc.InferenceServerClient | None = None
        self._streams: AsyncStreams | None = None

    def _client(self) -> grpc.InferenceServerClient:
        if self._made is None:
            self._made = grpc.InferenceServerClient(
                self._connection.address, creds=self._credentials, channel_args=self._connection.channel_args()
            )
        return self._made

    async def infer(self, call: Call, timeout: float) -> Tensors:
        inputs, outputs = pack(call, grpc)
        client = self._client()
        try:
            result = await client.infer(
                call.model, inputs, outputs=outputs, headers=self._headers, client_timeout=timeout
            )
        except InferenceServerException as error:
            raise await self._failure(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the caller cancelled the task
            # gRPC also raises this when the channel is closed during the call.
            raise Cancelled("The client was closed while the call was under way.") from None
        return unpack(call, result)

    def stream(self, call: Call, first: float, then: float) -> AsyncGenerator[Tensors, None]:
        if self._streams is None:
            self._streams = AsyncStreams(self._connection, self._credentials)
        return self._streams.stream(call, first, then)

    async def health(self, models: Sequence[str], timeout: float) -> Health:
        client = self._client()
        asked: dict[str, Any] = {"headers": self._headers, "client_timeout": timeout}
        try:
            live = await client.is_server_live(**asked)
            ready = await client.is_server_ready(**asked)
            about = await client.get_server_metadata(**asked)
            ready_models = {name: await client.is_model_ready(name, **asked) for name in models}
        except InferenceServerException as error:
            raise await self._failure(error) from None
        return Health(live, ready, f"{about.name} {about.version}", ready_models)

    async def _failure(self, error: InferenceServerException) -> SluiceError:
        # In a thread, because `failure` may connect to the server to find out more.
        return await asyncio.to_thread(failure, self._connection, error.status(), error.message())

    async def close(self) -> None:
        if self._streams is not None:
            streams, self._streams = self._streams, None
            await streams.close()
        if self._made is not None:
            made, self._made = self._made, None
            await made.close()
