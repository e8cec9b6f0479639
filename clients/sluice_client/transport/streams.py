"""Sends requests that are answered many times, each over a gRPC stream of its own (Triton's ModelStreamInfer).

Triton has three peculiarities here. An error of the model ends the stream with its status only if the header
`triton_grpc_error` asks for that. A request that is refused before the model sees it (a full queue, an unknown model, a
tensor of another type) is answered by a text without a status, so the status is read from the words. The end of the
answers is marked, by an empty answer, only if the request asks for that.
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
    """Opens the streams to one server, one per call. Threads may share an instance."""

    def __init__(self, connection: Connection, credentials: grpc.ChannelCredentials | None):
        self._connection = connection
        # tritonclient keeps its channel private. This one has the same options, so gRPC uses one connection for both.
        options: Any = connection.channel_args()
        self._channel = (
            grpc.insecure_channel(connection.address, options)
            if credentials is None
            else grpc.secure_channel(connection.address, credentials, options)
        )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._closed = False

    def stream(self, call: Call, first: float, then: float) -> Generator[Tensors, None, None]:
        """Yield the tensors of each answer, as the answers come. Closing the generator cancels the request.

        first: seconds until the first answer; then: seconds until each further answer. The time that the caller takes
        between two answers does not count.
        Raises a SluiceError: DeadlineExceeded after these seconds, Cancelled if the client is or was closed.
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
            if self._closed:  # gRPC reports this in several ways, some of which look like a broken connection
                raise _left() from None
            raise failure(self._connection, error.code().name, error.details()) from None
        finally:
            answers.cancel()  # does nothing to a stream that has ended

    def close(self) -> None:
        self._closed = True
        self._channel.close()


class AsyncStreams:
    """Opens the streams to one server for the tasks of one event loop. Make an instance while that loop runs, because
    gRPC binds the channel to it."""

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
        """Yield the answers as `Streams.stream` does. Cancelling the task cancels the request too."""
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
            # In a thread, because `failure` may connect to the server to find out more.
            raise await asyncio.to_thread(failure, self._connection, error.code().name, error.details()) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the caller cancelled the task
            # gRPC also raises this when the channel is closed during the call.
            raise _left() from None
        finally:
            answers.cancel()

    async def close(self) -> None:
        await self._channel.close()


def _message(call: Call) -> service_pb2.ModelInferRequest:
    """Return the message of a call. No outputs are requested by name, because not every answer has all of them: Triton
    then sends those that the model made."""
    message = service_pb2.ModelInferRequest(model_name=call.model)
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    for name, array in call.inputs.items():
        kind = "BYTES" if array.dtype == np.object_ else np_to_triton_dtype(array.dtype)
        message.inputs.add(name=name, datatype=kind, shape=array.shape)
        if kind == "BYTES":
            message.raw_input_contents.append(serialize_byte_tensor(array).item() if array.size else b"")
        else:
            message.raw_input_contents.append(np.ascontiguousarray(array).tobytes())
    return message


def _metadata(connection: Connection) -> tuple[tuple[str, str], ...]:
    return (*connection.headers.items(), ("triton_grpc_error", "true"))


class _Answer(NamedTuple):
    """One message of a stream.

    tensors: None if the message holds none. last: whether the stream ends here.
    refused: status and text of the error; None if there is no error.
    """

    tensors: Tensors | None
    last: bool
    refused: tuple[str, str] | None = None


def _answer(call: Call, response: service_pb2.ModelStreamInferResponse | None) -> _Answer:
    """Read one message of the stream of `call`. response: None if the server has closed the stream."""
    if response is None:
        return _Answer(None, True)
    parameters = response.infer_response.parameters
    if response.error_message:
        text = response.error_message
        # Errors of the model itself have parameters. Only a Triton that is too old for the header sends them like this.
        return _Answer(None, True, ("UNKNOWN" if parameters else _status(text), text))
    result = InferResult(response.infer_response)
    there = {output.name for output in response.infer_response.outputs}
    tensors = {name: result.as_numpy(name) for name in call.outputs if name in there}
    last = "triton_final_response" in parameters and parameters["triton_final_response"].bool_param
    return _Answer(tensors or None, last)


_BUSY = re.compile(r"maximum queue size|is not ready|unavailable|server is stopping|timeout expired", re.IGNORECASE)
_UNKNOWN = re.compile(r"unknown model|not found", re.IGNORECASE)


def _status(text: str) -> str:
    """Return the status of a refusal that came without one: INVALID_ARGUMENT unless the words fit another."""
    return "UNAVAILABLE" if _BUSY.search(text) else "NOT_FOUND" if _UNKNOWN.search(text) else "INVALID_ARGUMENT"


def _left() -> Cancelled:
    return Cancelled("The client was closed while the call was under way.")


def _too_late(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"The server said nothing for {seconds:.3g} s.")
