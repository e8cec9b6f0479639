"""Puts the fake server behind a real gRPC socket that speaks Triton's protocol, for tests of what only a
network does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from sluice_client.errors import SluiceError
from sluice_client.tensors import Call, Tensors
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.made.certificates import Pair

from .streams import Streaming, answered, inputs

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]


class _Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(
        self,
        answer: Callable[[Call, float], Tensors],
        ready: Callable[[str], bool],
        headers: list[dict],
        streaming: Streaming,
    ):
        self.answer = answer
        self.streaming = streaming
        self.ready = ready
        self.headers = headers

    def ServerLive(self, request, context):
        self.headers.append(dict(context.invocation_metadata()))
        return service_pb2.ServerLiveResponse(live=True)

    def ServerReady(self, request, context):
        return service_pb2.ServerReadyResponse(ready=True)

    def ServerMetadata(self, request, context):
        return service_pb2.ServerMetadataResponse(name="triton", version="2.51.0")

    def ModelReady(self, request, context):
        return service_pb2.ModelReadyResponse(ready=self.ready(request.name))

    def ModelInfer(self, request, context):
        self.headers.append(dict(context.invocation_metadata()))
        wanted = tuple(output.name for output in request.outputs)
        try:
            tensors = self.answer(Call(request.model_name, inputs(request), wanted), context.time_remaining())
        except SluiceError as error:
            context.abort(getattr(grpc.StatusCode, error.status), error.message)
        response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
        answered(response, tensors)
        return response

    def ModelStreamInfer(self, requests, context):
        self.headers.append(dict(context.invocation_metadata()))
        yield from self.streaming.answer(requests, context)


@contextlib.contextmanager
def serving(
    answer: Callable[[Call, float], Tensors],
    *,
    ready: Callable[[str], bool] = lambda name: True,
    port: int = 0,
    pair: Pair | None = None,
    client_ca: Path | None = None,
    headers: list[dict] | None = None,
    streaming: Streaming | None = None,
) -> Iterator[str]:
    """Serve on loopback until the block ends. Yields host:port.

    port       0 for any that is free.
    pair       certificate and key, for TLS.
    client_ca  file of the authority that must have signed the clients' certificates.
    headers    list that gets those of every inference, and of the question whether the server is live.
    streaming  answers the verbs with many answers; None takes that of the fake server whose `answer` is given.
    """
    if streaming is None:
        streaming = Streaming(getattr(getattr(answer, "__self__", None), "events", None))
    server = grpc.server(ThreadPoolExecutor(8), options=UNLIMITED)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
        _Service(answer, ready, [] if headers is None else headers, streaming), server
    )
    if pair is None:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        files = [(pair.key.read_bytes(), pair.cert.read_bytes())]
        root = None if client_ca is None else client_ca.read_bytes()
        bound = server.add_secure_port(
            f"127.0.0.1:{port}", grpc.ssl_server_credentials(files, root, client_ca is not None)
        )
    server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        server.stop(0).wait()


def slow(answer: Callable[[Call, float], Tensors], seconds: float) -> Callable[[Call, float], Tensors]:
    def delayed(call: Call, timeout: float) -> Tensors:
        time.sleep(seconds)
        return answer(call, timeout)

    return delayed
