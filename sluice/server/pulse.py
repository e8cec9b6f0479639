"""Asks a model's event loop whether it lives. The answer costs a millisecond, however long the model's true answer
takes.

The glue of our Python models (`sluice.triton`) answers a request with the id PING at once and with nothing, before it
reads the request's tensors. So any tensors do that Triton lets through; they are made from the model's config.
"""

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from sluice.server import probe

PING = "sluice-ping"


class Pulse:
    """The question to one model. Raises InferenceServerException if the model's config cannot be had."""

    def __init__(self, client: grpcclient.InferenceServerClient, model: str, seconds: float) -> None:
        config = client.get_model_config(model, client_timeout=seconds).config
        self.model, self.stream = model, config.model_transaction_policy.decoupled
        self.inputs = {
            each.name: _smallest(each, config.max_batch_size > 0) for each in config.input if not each.optional
        }

    def ask(self, client: grpcclient.InferenceServerClient, seconds: float) -> None:
        """Return once the answer has come. Raises InferenceServerException or queue.Empty otherwise.

        client: a client with no stream open.
        """
        probe.asker(client, seconds)(self.model, self.inputs, stream=self.stream, request_id=PING)


def _smallest(given: model_config_pb2.ModelInput, batched: bool) -> np.ndarray:
    """Return a tensor of zeros that this input takes, as small as the config allows."""
    kind = model_config_pb2.DataType.Name(given.data_type).removeprefix("TYPE_")
    shape = [1] * batched + [max(size, 1) for size in given.dims]
    if kind == "STRING":
        return np.full(shape, b"", object)
    return np.zeros(shape, triton_to_np_dtype(kind))
