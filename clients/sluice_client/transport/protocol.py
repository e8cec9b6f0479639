"""The two protocols of a transport, which moves a call to a server and its answer back; and what all transports share.

The clients know a transport by its protocol only, so tests need no network.
"""

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
    """Moves calls to a server and their answers back. A call that fails raises a SluiceError; no call is tried again.

    infer:  returns the tensors of the one answer. timeout: seconds.
    stream: yields the tensors of each answer of a verb that answers many times. first: seconds until the first answer;
            then: seconds until each further answer. Closing the generator cancels the request.
    health: asks whether the server and each of these models are ready. timeout: seconds per question.
    close:  ends the connection.
    """

    def infer(self, call: Call, timeout: float) -> Tensors: ...
    def stream(self, call: Call, first: float, then: float) -> Generator[Tensors, None, None]: ...
    def health(self, models: Sequence[str], timeout: float) -> Health: ...
    def close(self) -> None: ...


class AsyncTransport(Protocol):
    """Moves calls as `Transport` does, with coroutines."""

    async def infer(self, call: Call, timeout: float) -> Tensors: ...
    def stream(self, call: Call, first: float, then: float) -> AsyncGenerator[Tensors, None]: ...
    async def health(self, models: Sequence[str], timeout: float) -> Health: ...
    async def close(self) -> None: ...


class Function:
    """A transport that asks functions instead of a server.

    with Sluice(transport=Function(my_function)) as sluice: ...

    answer: called as `answer(call, timeout)`; returns the tensors of the answer, or raises a SluiceError.
    health: returned by every `health`; None: the server is live and ready.
    events: called as `events(call, timeout)` for a verb that answers many times; gives the tensors of each answer.
            None: such a verb raises Unsupported.
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
    """The transport `Function` for the asyncio client. The functions themselves are plain, not coroutines."""

    async def infer(self, call: Call, timeout: float) -> Tensors:  # type: ignore[override]  # awaited
        return self.answer(call, timeout)

    async def stream(self, call: Call, first: float, then: float) -> AsyncGenerator[Tensors, None]:  # type: ignore[override]  # awaited
        for tensors in super().stream(call, first, then):
            yield tensors

    async def health(self, models: Sequence[str], timeout: float) -> Health:  # type: ignore[override]  # awaited
        return self.state

    async def close(self) -> None:  # type: ignore[override]  # awaited
        pass


_LARGEST = 2**31 - 1  # maximum bytes per message, and maximum of any option: gRPC keeps them as int32

# Options given to tritonclient replace its own, so the message sizes are repeated here; without them gRPC would limit
# answers to 4 MiB. gRPC's pause before it connects again grows to 120 s, which would make a restarted server look
# absent. The client's own back-off does the waiting, so the channel's pause is kept short.
CHANNEL: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", _LARGEST),
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Triton by default disconnects a client that pings more often than every 5 minutes.
    ("grpc.keepalive_time_ms", _LARGEST),
    ("grpc.http2.max_pings_without_data", 2),
)


def address(server: str) -> str:
    """Return `host:port` of a server's address, without the schemes grpc://, grpcs:// and dns:///. The schemes are
    interpreted by `connection`. Raises InvalidRequest for an HTTP address and for one without a port in 1..65535."""
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
    """Return the inputs and the requested outputs of a call as objects of `grpc`, which is tritonclient.grpc or
    tritonclient.grpc.aio."""
    inputs = []
    for name, array in call.inputs.items():
        kind = "BYTES" if array.dtype == np.object_ else np_to_triton_dtype(array.dtype)
        tensor = grpc.InferInput(name, list(array.shape), kind)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs, [grpc.InferRequestedOutput(name) for name in call.outputs]


def unpack(call: Call, result: Any) -> dict[str, np.ndarray]:
    """Return those of the call's outputs that the answer holds."""
    arrays = {name: result.as_numpy(name) for name in call.outputs}
    return {name: array for name, array in arrays.items() if array is not None}
