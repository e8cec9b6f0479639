"""A request that is answered many times: one gRPC stream each, for both transports. Triton's ModelStreamInfer.

Triton says three things in ways of its own. An error of the model ends the stream with its status only if the header
`triton_grpc_error` asks for that. What is refused before the model sees it (a full queue, a model that is not there, a
tensor of another type) comes as a text without a status, so the status is read from the words. That the last answer has
come is said by an empty answer only if the request asks for one.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncGenerator, Generator
from typing import Any, NamedTuple

import grpc
import numpy as np
from tritonclient.grpc import InferResult, service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

from ..errors import Cancelled, DeadlineExceeded
from ..tensors import Call, Tensors
from .connection import Connection
from .tls_failures import failure

__all__ = ["AsyncStreams", "Streams"]


class Streams:
    """The streams of one server, as many at once as there are calls; threads may share it."""

    def __init__(self, connection: Connection, credentials: grpc.ChannelCredentials | None):
        self._connection = connection
        # tritonclient keeps its channel to itself. This one has the same options, so gRPC shares the connection.
        options: Any = connection.channel_args()
        self._channel = (
            grpc.insecure_channel(connection.address, options)
            if credentials is None
            else grpc.secure_channel(connection.address, credentials, options)
        )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._closed = False

    def stream(self, call: Call, first: float, then: float) -> Generator[Tensors, None, None]:
        """The answers as they come; closing the iterator, or an exception in it, cancels the request at the server.

        first: seconds until the first answer; then: until each further. What the caller does between them takes none.
        """
        try:
            answers = self._stub.ModelStreamInfer(iter((_message(call),)), metadata=_metadata(self._connection))
        except ValueError:
            if not self._closed:
                raise
            raise Cancelled("The client is closed.", remedy="Make a new one.") from None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            answers.cancel()

        seconds = first
        try:
            while True:
                alarm = threading.Timer(seconds, give_up)
                alarm.daemon = True
                alarm.start()
                try:
                    response = next(answers, None)
                finally:
                    alarm.cancel()
                answer = _answer(call, response)
                if answer.refused is not None:
                    raise failure(self._connection, *answer.refused)
                if answer.tensors is not None:
                    yield answer.tensors
                if answer.last:
                    return
                seconds = then
        except grpc.RpcError as error:
            if late.is_set():
                raise _too_late(seconds) from None
            if self._closed:  # gRPC says so in several ways, some of which look like a broken connection
                raise _left() from None
            raise failure(self._connection, error.code().name, error.details()) from None
        finally:
            answers.cancel()  # nothing happens if it has ended

    def close(self) -> None:
        self._closed = True
        self._channel.close()


class AsyncStreams:
    """The same with asyncio. Made where an event loop runs, because gRPC binds the channel to it."""

    def __init__(self, connection: Connection, credentials: grpc.ChannelCredentials | None):
        self._connection = connection
        options: Any = connection.channel_args()
        self._channel = (
            grpc.aio.insecure_channel(connection.address, options)
            if credentials is None
            else grpc.aio.secure_channel(connection.address, credentials, options)
        )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def stream(self, call: Call, first: float, then: float) -> AsyncGenerator[Tensors, None]:
        """As `Streams.stream`; a cancelled task cancels the request too."""
        try:
            answers = self._stub.ModelStreamInfer(iter((_message(call),)), metadata=_metadata(self._connection))
        except grpc.aio.UsageError:
            raise Cancelled("The client is closed.", remedy="Make a new one.") from None
        seconds = first
        try:
            while True:
                async with asyncio.timeout(seconds):
                    response = await answers.read()
                answer = _answer(call, None if response is grpc.aio.EOF else response)
                if answer.refused is not None:
                    raise await asyncio.to_thread(failure, self._connection, *answer.refused)
                if answer.tensors is not None:
                    yield answer.tensors
                if answer.last:
                    return
                seconds = then
        except TimeoutError:
            raise _too_late(seconds) from None
        except grpc.aio.AioRpcError as error:
            # In a thread, because it may look at the server.
            raise await asyncio.to_thread(failure, self._connection, error.code().name, error.details()) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the caller's own wish
            # gRPC raises this also when the channel was closed under the call.
            raise _left() from None
        finally:
            answers.cancel()

    async def close(self) -> None:
        await self._channel.close()


def _message(call: Call) -> service_pb2.ModelInferRequest:
    message = service_pb2.ModelInferRequest(model_name=call.model)
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    for name, array in call.inputs.items():
        kind = "BYTES" if array.dtype == np.object_ else np_to_triton_dtype(array.dtype)
        message.inputs.add(name=name, datatype=kind, shape=array.shape)
        if kind == "BYTES":
            message.raw_input_contents.append(serialize_byte_tensor(array).item() if array.size else b"")
        else:
            message.raw_input_contents.append(np.ascontiguousarray(array).tobytes())
    # No outputs are named, since not every answer has all of them: then Triton gives those that there are.
    return message


def _metadata(connection: Connection) -> tuple[tuple[str, str], ...]:
    return (*connection.headers.items(), ("triton_grpc_error", "true"))


class _Answer(NamedTuple):
    """One message of the stream. tensors: None where it has none. refused: status and text of an error."""

    tensors: Tensors | None
    last: bool
    refused: tuple[str, str] | None = None


def _answer(call: Call, response: service_pb2.ModelStreamInferResponse | None) -> _Answer:
    """response: None when the server has closed the stream."""
    if response is None:
        return _Answer(None, True)
    parameters = response.infer_response.parameters
    if response.error_message:
        text = response.error_message
        # The model's own errors have parameters. They come here only from a Triton too old for the header.
        return _Answer(None, True, ("UNKNOWN" if parameters else _status(text), text))
    result = InferResult(response.infer_response)
    there = {output.name for output in response.infer_response.outputs}
    tensors = {name: result.as_numpy(name) for name in call.outputs if name in there}
    last = "triton_final_response" in parameters and parameters["triton_final_response"].bool_param
    return _Answer(tensors or None, last)


_BUSY = re.compile(r"maximum queue size|is not ready|unavailable|server is stopping|timeout expired", re.IGNORECASE)
_UNKNOWN = re.compile(r"unknown model|not found", re.IGNORECASE)


def _status(text: str) -> str:
    """The status of a refusal that came without one: what is not known to be something else is the request's fault."""
    return "UNAVAILABLE" if _BUSY.search(text) else "NOT_FOUND" if _UNKNOWN.search(text) else "INVALID_ARGUMENT"


def _left() -> Cancelled:
    return Cancelled("The client was closed while the call was under way.")


def _too_late(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"The server said nothing for {seconds:.3g} s.")
