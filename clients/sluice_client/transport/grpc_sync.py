"""The transport of the synchronous client, by tritonclient.grpc."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from ..answers.health import Health
from ..errors import Cancelled
from ..tensors import Call, Tensors
from .connection import Connection
from .protocol import pack, unpack
from .streams import Streams
from .tls_failures import failure

__all__ = ["Grpc"]


class Grpc:
    """A transport that all threads share. Calls with one answer go through tritonclient; streams do not, because
    tritonclient allows only one stream per client at a time."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._headers = dict(connection.headers)
        credentials = connection.credentials()
        self._client = grpc.InferenceServerClient(
            connection.address, creds=credentials, channel_args=connection.channel_args()
        )
        self._streams = Streams(connection, credentials)

    def infer(self, call: Call, timeout: float) -> Tensors:
        inputs, outputs = pack(call, grpc)
        try:
            result = self._client.infer(
                call.model, inputs, outputs=outputs, headers=self._headers, client_timeout=timeout
            )
        except InferenceServerException as error:
            raise failure(self._connection, error.status(), error.message()) from None
        except ValueError as error:
            if "closed channel" not in str(error):
                raise
            raise Cancelled("The client is closed.", remedy="Make a new one.") from None
        return unpack(call, result)

    def stream(self, call: Call, first: float, then: float) -> Generator[Tensors, None, None]:
        return self._streams.stream(call, first, then)

    def health(self, models: Sequence[str], timeout: float) -> Health:
        asked: dict[str, Any] = {"headers": self._headers, "client_timeout": timeout}
        try:
            live = self._client.is_server_live(**asked)
            ready = self._client.is_server_ready(**asked)
            about = self._client.get_server_metadata(**asked)
            ready_models = {name: self._client.is_model_ready(name, **asked) for name in models}
        except InferenceServerException as error:
            raise failure(self._connection, error.status(), error.message()) from None
        return Health(live, ready, f"{about.name} {about.version}", ready_models)

    def close(self) -> None:
        self._streams.close()
        self._client.close()
