"""Triton's Python backend, met in one place: requests in, answers or clear errors out, outcomes counted.

A model subclasses `PythonModel` and writes `infer`. What it raises decides what its caller sees: a `Refusal` of
`sluice.errors` becomes its gRPC status with its sentence; anything else is logged in full on the server and becomes
INTERNAL without text, because Triton would send the traceback. Each request of a batch is answered on its own, so
that one caller's mistake never fails a neighbour.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import json
import re
import string
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np
import triton_python_backend_utils as pb_utils  # lives in Triton's stub alone

from sluice.contracts import BINARY, CALLS, NoParameters, parameters
from sluice.errors import Cancelled, InvalidArgument, Late, NotFound, Refusal, Unavailable
from sluice.process import callers
from sluice.wire import plain_json

OUTCOMES = ("ok", "invalid", "rejected", "timeout", "cancelled", "failed")
SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]

LOOK = 0.1  # seconds between two looks at whether the caller is still there, while another model is at work
LONGEST = 4_000  # bytes of an error's sentence; beyond 8 kB a gRPC client gets RESOURCE_EXHAUSTED in its place

SOONEST = 0.02  # seconds from a stream's request to its refusal, and to its coroutine's end, at least

# Triton's own words, by which an error of a called model is recognised: its code is lost on the way (2.51).
_BUSY = re.compile(r"Exceeds maximum queue size|unavailable|failed to start", re.I)
_AWAY = re.compile(r"not ready|unknown model|not found: model|server is stopping|is not healthy", re.I)
_LATE = re.compile(r"Request timeout expired", re.I)
_MARK = re.compile(r"\[sluice:(\w+)\] ")  # ours: the code travels before the sentence


class Inputs(dict[str, np.ndarray]):
    """The tensors of one request by name; an optional input that was not given is missing.

    watched: what knows whether the caller has gone: the request, or the sender of a streamed answer.
    """

    def __init__(self, request: Any, names: Iterable[str], watched: Any = None):
        super().__init__()
        for name in names:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is not None:
                self[name] = tensor.as_numpy()
        self._watched = request if watched is None else watched
        asked = _INNER.fullmatch(request.request_id())
        self._asked_by = asked[1] if asked else None  # the line of the model that asks
        self.form = plain_json.RAW  # how bytes and halves are written in this request and its answer

    def check_cancelled(self) -> None:
        """Raises Cancelled when the caller has gone; loops call it between steps."""
        if self._watched.is_cancelled():
            raise Cancelled("the request was cancelled")
        if self._asked_by is not None:
            callers.refuse_gone(self._asked_by)

    @functools.cached_property
    def line(self) -> callers.Line:
        """What other models that work for this request can tell by whether it is still wanted."""
        return callers.Line()

    def close(self) -> None:
        """The request has been answered."""
        if "line" in self.__dict__:
            self.line.close()


# The request id by which one model asks another, with the name of the line that it holds (`sluice.process.callers`).
INNER = "sluice-inner"
_INNER = re.compile(INNER + r"(?: ([0-9a-f]{32}))?")
PING = "sluice-ping"  # the id of a request that only wants to know whether we live: `sluice.server.pulse`


class PythonModel:
    """One Triton model: `Config` is its parameters as a dataclass, `infer` its work.

    infer(inputs: Inputs) -> mapping of output name to array; it may be a coroutine, which may `await self.call(...)`
    other models. With `merge = True` (models with max_batch_size > 0) the requests of an execution whose shapes agree
    are put together along axis 0 and `infer` is called once for all of them.
    """

    Config: ClassVar[type] = NoParameters
    merge: ClassVar[bool] = False
    config: Any

    def initialize(self, args: Mapping[str, str]) -> None:
        try:
            self._initialize(args)
        except Exception as error:
            # Triton shows whoever asked for the load the error and the files of its frames: this one has no path.
            print(f"{args['model_name']}: {traceback.format_exc()}", file=sys.stderr, flush=True)
            if isinstance(error, OSError) and error.filename:
                raise RuntimeError(f"{Path(str(error.filename)).name}: {error.strerror}") from None
            raise error.with_traceback(None) from None

    def _initialize(self, args: Mapping[str, str]) -> None:
        contract = json.loads(args["model_config"])
        self.name, self.version = args["model_name"], args["model_version"]
        self.repository = Path(args["model_repository"]).parent
        self.inputs = [entry["name"] for entry in contract["input"]]
        self.types = {
            entry["name"]: pb_utils.triton_string_to_numpy(entry["data_type"]) for entry in contract["output"]
        }
        given = contract.get("parameters", {})
        self.binary = frozenset(given[BINARY]["string_value"].split() if BINARY in given else ())
        if self.binary and self.merge:
            raise ValueError(f"a model whose requests are merged cannot have the parameter {BINARY!r}")
        self.calls = frozenset(given[CALLS]["string_value"].split() if CALLS in given else ())
        self.config = parameters(self.Config, given)
        if unlisted := sorted(set(getattr(self.config, "asked", ())) - self.calls):
            raise ValueError(f"the parameter {CALLS!r} must list {', '.join(unlisted)} too, which the others name")
        self.load()

    @functools.cached_property
    def _metrics(self) -> _Metrics:
        # At the first request: made in `initialize` they can end a stub while other models are loading (2.51).
        return _Metrics(self.name, self.version)

    def load(self) -> None:
        """Called once after `config` is set; the place to open what the model needs."""

    def infer(self, inputs: Inputs) -> Any:
        raise TypeError(f"{type(self).__name__} has no infer")

    async def execute(self, requests: list[Any]) -> list[Any]:
        start = time.perf_counter()
        answers: list[Any] = [None] * len(requests)
        await asyncio.gather(*(self._answer_group(group, requests, answers) for group in self._groups(requests)))
        seconds = time.perf_counter() - start
        for answer in answers:
            if answer is not None:
                self._metrics.count(answer[1], seconds)
        return [_pong() if answer is None else answer[0] for answer in answers]

    def _groups(self, requests: list[Any]) -> list[list[int]]:
        """The requests by what is answered at a time: each alone, or those whose inputs agree but for axis 0, so that
        they can be merged. A request that only asks whether we live is in none."""
        groups: dict[Any, list[int]] = {}
        for i, request in enumerate(requests):
            if request.request_id() == PING:
                continue
            alike = tuple((tensor.name(), tuple(tensor.shape()[1:])) for tensor in request.inputs())
            groups.setdefault(alike if self.merge else i, []).append(i)
        return list(groups.values())

    async def _answer_group(self, group: list[int], requests: list[Any], answers: list[Any]) -> None:
        if len(group) > 1:
            try:
                for i, answer in zip(group, await self._merged([requests[i] for i in group]), strict=True):
                    answers[i] = answer
                return
            except Exception:  # one of them is at fault: alone, each gets its own answer
                pass
        for i in group:
            answers[i] = await self._answer(requests[i])

    async def _merged(self, requests: list[Any]) -> list[Any]:
        singles = [Inputs(request, self.inputs) for request in requests]
        counts = [len(next(iter(single.values()))) for single in singles]
        whole = Inputs(requests[0], ())
        for name in singles[0]:
            whole[name] = np.concatenate([single[name] for single in singles])
        outputs = await self._infer(whole)
        stops = np.cumsum(counts)
        parts = {name: np.split(np.asarray(array), stops[:-1]) for name, array in outputs.items()}
        return [
            (self._response({name: part[i] for name, part in parts.items()}, request, plain_json.RAW), "ok")
            for i, request in enumerate(requests)
        ]

    async def _answer(self, request: Any) -> tuple[Any, str]:
        """(response, outcome) of one request; never raises."""
        try:
            inputs = self._read(request)
            inputs.check_cancelled()
            with contextlib.closing(inputs), callers.working_for(inputs):
                return self._response(await self._infer(inputs), request, inputs.form), "ok"
        except Exception as error:
            return self._refused(error, request)

    def _read(self, request: Any, watched: Any = None) -> Inputs:
        """Return the tensors of a request as `infer` takes them. Raises InvalidArgument as `plain_json.read` does."""
        inputs = Inputs(request, self.inputs, watched)
        inputs.form = plain_json.read(inputs, self.binary, np.float16 in self.types.values())
        return inputs

    def _refused(self, error: Exception, request: Any) -> tuple[Any, str]:
        """(response, outcome) of a request that `infer` raised for. Called while the error is being handled."""
        inner = _INNER.fullmatch(request.request_id()) is not None
        if isinstance(error, Refusal):
            kind = _kind(error)
            return _error(str(error), kind, inner), _KINDS[kind][1] if kind else "failed"
        print(f"{self.name}: {traceback.format_exc()}", file=sys.stderr, flush=True)
        return _error(f"{self.name} failed; the server's log says why", None, inner), "failed"

    async def _infer(self, inputs: Inputs) -> Mapping[str, Any]:
        outputs = self.infer(inputs)
        return await outputs if inspect.isawaitable(outputs) else outputs

    def _response(self, outputs: Mapping[str, Any], request: Any, form: plain_json.Form) -> Any:
        wanted = request.requested_output_names()
        tensors = []
        for name, array in outputs.items():
            if wanted and name not in wanted:
                continue
            tensors.append(pb_utils.Tensor(name, plain_json.written(name, array, self.types[name], form, self.binary)))
        return pb_utils.InferenceResponse(output_tensors=tensors)

    async def call(self, model: str, inputs: Mapping[str, np.ndarray], outputs: Iterable[str]) -> dict[str, np.ndarray]:
        """Ask another model of this server and wait for its answer.

        inputs: name -> array; outputs: the names wanted. Returns name -> array (a copy is not made: use it before the
        next await, or copy). Raises the Refusal that the other model answered with; a full queue is Unavailable. Where
        the caller of the request that is being worked on goes meanwhile, the other model learns of it.
        """
        if model not in self.calls:
            raise RuntimeError(f"{self.name} asks {model}, which its config.pbtxt must list in the parameter {CALLS!r}")
        caller = callers.current()
        request = pb_utils.InferenceRequest(
            model_name=model,
            request_id=INNER if caller is None else f"{INNER} {caller.line.name}",
            requested_output_names=list(outputs),
            inputs=[pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()],
        )
        answer = asyncio.ensure_future(request.async_exec())
        try:
            while caller is not None and not (await asyncio.wait({answer}, timeout=LOOK))[0]:
                caller.check_cancelled()
        except Cancelled:
            assert caller is not None
            caller.close()  # the other model ends soon, if it is one of ours; its answer is waited for all the same
        response = await answer
        if response.has_error():
            raise _refusal(response.error().message(), model)
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


PythonModel.initialize.__code__ = PythonModel.initialize.__code__.replace(co_filename="sluice/triton.py")


class StreamingModel(PythonModel):
    """A model that answers a request with a stream (`decoupled`): `infer` is an asynchronous generator of answers.

    Requests run side by side in one event loop, and an execution that waits does not hold up the next: Triton's queue
    never fills. So the limit is here: beyond `most` running requests the next one is refused as busy, at once.
    Ending or cancelling a stream closes the generator.
    """

    most: int = 64  # requests at a time; `load` may set another
    _running: int = 0

    async def execute(self, requests: list[Any]) -> None:  # type: ignore[override]  # answers go by the senders
        await asyncio.gather(*(self._stream(request) for request in requests))

    async def _stream(self, request: Any) -> None:
        start, sender, outcome = time.perf_counter(), request.get_response_sender(), "ok"
        if request.request_id() == PING:
            await asyncio.sleep(SOONEST)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            await asyncio.sleep(SOONEST)
            return
        self._running += 1
        last = None
        try:
            if self._running > self.most:
                raise Unavailable(f"{self.name} is busy with {self.most} requests; try again")
            inputs = self._read(request, sender)
            with contextlib.closing(inputs), callers.working_for(inputs):
                await self._send(inputs, sender, request)
        except Exception as error:
            last, outcome = self._refused(error, request)
            # A stream whose error comes before Triton has finished beginning it can end the server (2.51, signal 11
            # once in some 20 refusals that were made at once; none in 4,000 after 5 ms).
            await asyncio.sleep(max(0.0, SOONEST - (time.perf_counter() - start)))
        finally:
            self._running -= 1
            if last is not None:
                sender.send(last, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            else:
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        seconds = time.perf_counter() - start
        self._metrics.count(outcome, seconds)
        # The stub notes a coroutine after it has begun, and does not find one that has ended by then (2.51: an error in
        # its log, and the note stays). The caller has his answer already.
        await asyncio.sleep(max(0.0, SOONEST - seconds))

    async def _send(self, inputs: Inputs, sender: Any, request: Any) -> None:
        async with contextlib.aclosing(self.infer(inputs)) as answers:
            async for outputs in answers:
                inputs.check_cancelled()
                sender.send(self._response(outputs, request, inputs.form))


class _Metrics:
    """Triton counts the errors of Python models as successes and its rejections not at all, so we count ourselves."""

    def __init__(self, model: str, version: str):
        family = pb_utils.MetricFamily(
            name="sluice_requests_total",
            description="Requests answered, by outcome",
            kind=pb_utils.MetricFamily.COUNTER,
        )
        labels = {"model": model, "version": version}
        self._outcomes = {name: family.Metric(labels={**labels, "outcome": name}) for name in OUTCOMES}
        histogram = pb_utils.MetricFamily(
            name="sluice_request_seconds",
            description="Seconds from a model's receiving a request to its answer",
            kind=pb_utils.MetricFamily.HISTOGRAM,
        )
        self._seconds = histogram.Metric(labels=labels, buckets=SECONDS)
        self._families = family, histogram  # a metric dies with its family

    def count(self, outcome: str, seconds: float) -> None:
        self._outcomes[outcome].increment(1)
        self._seconds.observe(seconds)


# Kind of refusal -> (its Triton code, the outcome that is counted). Codes by name: the stub fills them in late.
_KINDS: dict[type[Refusal], tuple[str, str]] = {
    InvalidArgument: ("INVALID_ARG", "invalid"),
    NotFound: ("NOT_FOUND", "invalid"),
    Cancelled: ("CANCELLED", "cancelled"),
    Late: ("UNAVAILABLE", "timeout"),
    Unavailable: ("UNAVAILABLE", "rejected"),
    Refusal: ("INTERNAL", "failed"),  # nothing to be done by asking again or otherwise, but its sentence says what is
}


def _pong() -> Any:
    return pb_utils.InferenceResponse(output_tensors=[])


def _kind(refusal: Refusal) -> type[Refusal] | None:
    return next((kind for kind in _KINDS if isinstance(refusal, kind)), None)


def _error(message: str, kind: type[Refusal] | None, inner: bool) -> Any:
    code = getattr(pb_utils.TritonError, _KINDS[kind][0] if kind else "INTERNAL")
    if len(quote(message, safe=string.punctuation + " ")) > LONGEST:  # as gRPC writes it, beyond ASCII 3 to 12 a letter
        message = f"{message[:240]} ... {message[-80:]}"
    if inner and kind:
        message = f"[sluice:{kind.__name__}] {message}"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def _refusal(message: str, model: str) -> Exception:
    """The exception that stands for what another model answered."""
    mark = _MARK.search(message)
    if mark:
        kinds = {kind.__name__: kind for kind in _KINDS}
        return kinds[mark.group(1)](message[mark.end() :])
    if _BUSY.search(message):
        return Unavailable(f"{model} is busy; try again")
    if _AWAY.search(message):
        return Unavailable(f"{model} is being loaded or unloaded; try again in some seconds")
    if _LATE.search(message):
        return Late(f"{model} did not start within its time limit; try again")
    return RuntimeError(f"{model}: {message}")
