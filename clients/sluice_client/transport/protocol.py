"""What moves a call to a server and back. The clients know only these two protocols, so tests need no network."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from tritonclient.utils import np_to_triton_dtype

from ..answers.health import Health
from ..errors import InvalidRequest, Unsupported
from ..tensors import Call, Tensors

__all__ = ["CHANNEL", "AsyncFunction", "AsyncTransport", "Function", "Transport", "address", "pack", "unpack"]


class Transport(Protocol):
    """Raises a SluiceError; never retries.

    stream: the answers of a verb that has many; first: seconds until the first of them, then: until each further.
            Closing the iterator cancels the request.
    """

    def infer(self, call: Call, timeout: float) -> Tensors: ...
    def stream(self, call: Call, first: float, then: float) -> Generator[Tensors, None, None]: ...
    def health(self, models: Sequence[str], timeout: float) -> Health: ...
    def close(self) -> None: ...


class AsyncTransport(Protocol):
    async def infer(self, call: Call, timeout: float) -> Tensors: ...
    def stream(self, call: Call, first: float, then: float) -> AsyncGenerator[Tensors, None]: ...
    async def health(self, models: Sequence[str], timeout: float) -> Health: ...
    async def close(self) -> None: ...


class Function:
    """A transport that asks a function instead of a server: `answer(call, timeout) -> tensors`, or raises.

    with Sluice(transport=Function(my_function)) as sluice: ...

    events: the same for verbs with many answers: `events(call, timeout) -> tensors, one after the other`.
    """

    def __init__(
        self,
        answer: Callable[[Call, float], Tensors],
        health: Health | None = None,
        events: Callable[[Call, float], Iterable[Tensors]] | None = None,
    ):
        self.answer = answer
        self.state = health or Health(live=True, ready=True, server="function")
        self.events = events

    def infer(self, call: Call, timeout: float) -> Tensors:
        return self.answer(call, timeout)

    def stream(self, call: Call, first: float, then: float) -> Generator[Tensors, None, None]:
        if self.events is None:
            raise Unsupported(f"This function has one answer, and `{call.model}` has many; give `events` too.")
        yield from self.events(call, first)

    def health(self, models: Sequence[str], timeout: float) -> Health:
        return self.state

    def close(self) -> None:
        pass


class AsyncFunction(Function):
    """The same for the asyncio client."""

    async def infer(self, call: Call, timeout: float) -> Tensors:  # type: ignore[override]  # awaited
        return self.answer(call, timeout)

    async def stream(self, call: Call, first: float, then: float) -> AsyncGenerator[Tensors, None]:  # type: ignore[override]  # awaited
        for tensors in super().stream(call, first, then):
            yield tensors

    async def health(self, models: Sequence[str], timeout: float) -> Health:  # type: ignore[override]  # awaited
        return self.state

    async def close(self) -> None:  # type: ignore[override]  # awaited
        pass


_LARGEST = 2**31 - 1  # bytes of one message; gRPC counts in int32

# tritonclient replaces its own channel options by those given, so the message sizes are repeated here: without them
# gRPC's 4 MiB for answers would hold. gRPC's own pause before it connects again grows to 120 s, which would make a
# restarted server look absent; our back-off does the waiting, so the channel's is kept short.
CHANNEL: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", _LARGEST),
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Triton refuses pings more often than every 5 minutes unless told otherwise.
    ("grpc.keepalive_time_ms", _LARGEST),
    ("grpc.http2.max_pings_without_data", 2),
)


def address(server: str) -> str:
    """`host:port` as gRPC wants it. Takes grpc://host:port and grpcs://host:port too; refuses HTTP addresses and
    missing ports. What the schemes mean is told in `connection`."""
    text = server.strip()
    for scheme in ("grpc://", "grpcs://", "dns:///"):
        text = text.removeprefix(scheme)
    text = text.rstrip("/")
    if text.startswith(("http://", "https://")):
        raise InvalidRequest(
            f"The client speaks gRPC and wants host:port, such as 127.0.0.1:8001; got {server!r}. "
            "Leave the scheme out, or write grpcs:// for TLS, and give the gRPC port.",
        )
    if text.startswith(("unix:", "ipv4:", "ipv6:")):
        return text
    host, colon, port = text.rpartition(":")
    if not host or not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidRequest(f"The address of a server is host:port, such as 127.0.0.1:8001; got {server!r}.")
    return text


def pack(call: Call, grpc: Any) -> tuple[list[Any], list[Any]]:
    """The call as tritonclient's inputs and requested outputs; `grpc` is tritonclient.grpc or tritonclient.grpc.aio."""
    inputs = []
    for name, array in call.inputs.items():
        kind = "BYTES" if array.dtype == np.object_ else np_to_triton_dtype(array.dtype)
        tensor = grpc.InferInput(name, list(array.shape), kind)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs, [grpc.InferRequestedOutput(name) for name in call.outputs]


def unpack(call: Call, result: Any) -> dict[str, np.ndarray]:
    """The wanted tensors that the answer has."""
    arrays = {name: result.as_numpy(name) for name in call.outputs}
    return {name: array for name, array in arrays.items() if array is not None}
