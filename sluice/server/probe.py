"""Asks models the questions of `sluice.server.questions`, with a deadline, and says what is wrong with an answer.

Triton reports a model READY although its Python process is dead. So the launcher waits for one real inference per
model, and the watchdog repeats them.
"""

import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from sluice.server.questions import PROBES, Ask, Probe

ANSWERS, UNPROBED = "answers", "ready (not probed)"
BUSY = "Exceeds maximum queue size"  # a full queue is a live model


class ProbeError(RuntimeError):
    """A model is loaded but does not answer as it must. Names the model and, in one line, the reason."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"{model} is loaded but does not answer: {reason}")
        self.model = model
        self.reason = reason


def asker(client: grpcclient.InferenceServerClient, seconds: float) -> Ask:
    """Return an `ask` over `client` whose requests take at most `seconds` all together."""
    deadline = time.monotonic() + seconds

    def ask(
        model: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
        stream: bool = False,
        request_id: str = "",
    ) -> Any:
        tensors = []
        for name, array in inputs.items():
            tensor = grpcclient.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        wanted = None if outputs is None else [grpcclient.InferRequestedOutput(name) for name in outputs]
        left = max(deadline - time.monotonic(), 0.001)
        if stream:
            return list(_streamed(client, model, tensors, left, request_id))
        result = client.infer(model, tensors, outputs=wanted, client_timeout=left, request_id=request_id)
        return _arrays(result, outputs)

    return ask


def _arrays(result: grpcclient.InferResult, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    return {name: result.as_numpy(name) for name in names or [one.name for one in result.get_response().outputs]}


def _streamed(
    client: grpcclient.InferenceServerClient,
    model: str,
    tensors: list[grpcclient.InferInput],
    seconds: float,
    request_id: str = "",
) -> Iterator[dict[str, np.ndarray]]:
    """Return the answers of a stream in their order. Raises an error of the stream, or one if its end does not come in
    time.
    """
    come: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: come.put((result, error)), stream_timeout=seconds)
    try:
        client.async_stream_infer(model, tensors, request_id=request_id, enable_empty_final_response=True)
        while True:
            result, error = come.get(timeout=seconds + 1)
            if error is not None:
                raise error
            if result.get_response().parameters["triton_final_response"].bool_param:
                return
            yield _arrays(result)
    finally:
        client.stop_stream(cancel_requests=True)


def check(
    client: grpcclient.InferenceServerClient, model: str, seconds: float, probes: Mapping[str, Probe] | None = None
) -> str:
    """Ask `model` its question. Returns 'answers' or 'ready (not probed)'; raises ProbeError.

    seconds: time limit of the question.
    probes:  question per model. None: `PROBES`.
    """
    probe = (PROBES if probes is None else probes).get(model)
    if probe is None:
        return UNPROBED
    try:
        probe(asker(client, seconds))
    except InferenceServerException as error:
        reason = " ".join((error.message() or str(error)).split())
        if BUSY not in reason:
            raise ProbeError(model, reason) from error
    except Exception as error:  # a probe is foreign code: whatever it raises means no right answer
        raise ProbeError(model, " ".join(str(error).split()) or type(error).__name__) from error
    return ANSWERS
