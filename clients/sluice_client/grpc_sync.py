"""The synchronous transport: tritonclient.grpc."""

from __future__ import annotations

from collections.abc import Sequence

import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from .errors import Cancelled, from_status
from .results import Health
from .tensors import Call, Tensors
from .transport import CHANNEL, address, pack, unpack

__all__ = ["Grpc"]


class Grpc:
    """One channel, shared by all threads (tritonclient's unary calls are thread-safe, its streams are not)."""

    def __init__(self, server: str):
        self._address = address(server)
        self._client = grpc.InferenceServerClient(self._address, channel_args=list(CHANNEL))

    def infer(self, call: Call, timeout: float) -> Tensors:
        inputs, outputs = pack(call, grpc)
        try:
            result = self._client.infer(call.model, inputs, outputs=outputs, client_timeout=timeout)
        except InferenceServerException as error:
            raise from_status(error.status(), error.message(), self._address) from None
        except ValueError as error:
            if "closed channel" not in str(error):
                raise
            raise Cancelled("The client is closed.", remedy="Make a new one.") from None
        return unpack(call, result)

    def health(self, models: Sequence[str], timeout: float) -> Health:
        try:
            live = self._client.is_server_live(client_timeout=timeout)
            ready = self._client.is_server_ready(client_timeout=timeout)
            about = self._client.get_server_metadata(client_timeout=timeout)
            ready_models = {name: self._client.is_model_ready(name, client_timeout=timeout) for name in models}
        except InferenceServerException as error:
            raise from_status(error.status(), error.message(), self._address) from None
        return Health(live, ready, f"{about.name} {about.version}", ready_models)

    def close(self) -> None:
        self._client.close()
