"""Implements Triton's ModelStreamInfer for the fake server, with Triton's own behaviour as measured on 2.51.

An error of the model ends the stream with its status if the header asks for that, and is a text without a status
otherwise. A full queue and an unknown model are always such a text. An empty answer marks the end if the request wants
that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

import grpc
import numpy as np
from sluice_client.errors import SluiceError, Unavailable
from sluice_client.tensors import Call, Tensors
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

Events = Callable[[Call, float], Iterable[Tensors]]

OUTPUTS = ("EVENT", "INDEX", "IMAGES", "TENSORS", "ERRORS")


class Streaming:
    """events: answers a call with several sets of tensors. cancelled: set when a client has left before the end."""

    def __init__(self, events: Events | None):
        self.events = events
        self.cancelled = threading.Event()

    def answer(self, requests: Iterator, context: grpc.ServicerContext) -> Iterator:
        request = next(requests)
        if self.events is None:
            text = f"Request for unknown model: '{request.model_name}' is not found"
            yield service_pb2.ModelStreamInferResponse(error_message=text)
            return
        context.add_callback(lambda: None if ended else self.cancelled.set())
        ended = False
        begun = False
        try:
            for tensors in self.events(Call(request.model_name, inputs(request), OUTPUTS), 0.0):
                if not context.is_active():
                    return
                begun = True
                yield _response(tensors, final=False)
        except SluiceError as error:
            ended = True
            if not begun and isinstance(error, Unavailable):
                yield service_pb2.ModelStreamInferResponse(error_message=f"[request id: <id_unknown>] {error.message}")
                return
            if dict(context.invocation_metadata()).get("triton_grpc_error") == "true":
                context.abort(getattr(grpc.StatusCode, error.status), error.message)
            response = _response({}, final=True)
            response.error_message = error.message
            yield response
            return
        ended = True
        if request.parameters["triton_enable_empty_final_response"].bool_param:
            yield _response({}, final=True)


def inputs(request: service_pb2.ModelInferRequest) -> dict[str, np.ndarray]:
    found = {}
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.datatype == "BYTES":
            array = deserialize_bytes_tensor(raw)
        else:
            array = np.frombuffer(raw, triton_to_np_dtype(tensor.datatype))
        found[tensor.name] = array.reshape(tuple(tensor.shape))
    return found


def answered(response: service_pb2.ModelInferResponse, tensors: Tensors) -> None:
    for name, array in tensors.items():
        kind = "BYTES" if array.dtype == np.object_ else np_to_triton_dtype(array.dtype)
        response.outputs.add(name=name, datatype=kind, shape=array.shape)
        if kind == "BYTES":
            response.raw_output_contents.append(serialize_byte_tensor(array).item() if array.size else b"")
        else:
            response.raw_output_contents.append(array.tobytes())


def _response(tensors: Tensors, *, final: bool) -> service_pb2.ModelStreamInferResponse:
    response = service_pb2.ModelStreamInferResponse()
    response.infer_response.model_name, response.infer_response.model_version = "sample", "1"
    response.infer_response.parameters["triton_final_response"].bool_param = final
    answered(response.infer_response, tensors)
    return response
