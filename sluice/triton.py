"""The door to Triton's Python backend: reads requests, writes answers or clear errors, and counts outcomes.

A model subclasses `PythonModel` and writes `infer`. Its exceptions decide what the caller sees: a `Refusal` of
`sluice.errors` becomes its gRPC status with its sentence. Any other exception is logged in full on the server and
becomes INTERNAL without its text, because Triton would send the traceback. Each request of a batch is answered on its
own, so that the mistake of one caller never fails the request of another.
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

from sluice import versions
from sluice.contracts import BINARY, CALLS, NoParameters, parameters
from sluice.errors import Cancelled, InvalidArgument, Late, NotFound, Refusal, Unavailable
from sluice.process import callers
from sluice.wire import plain_json

OUTCOMES = ("ok", "invalid", "rejected", "timeout", "cancelled", "failed")
SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]

LOOK = 0.1  # seconds between two checks whether the caller is still there, while another model works
LONGEST = 4_000  # bytes of an error's sentence; beyond 8 kB a gRPC client gets RESOURCE_EXHAUSTED instead

SOONEST = 0.02  # least seconds from the request of a stream to its refusal, and to the end of its coroutine

# Triton's own words, by which the error of a called model is recognised: its code is lost on the way (2.51).
_BUSY = re.compile(r"Exceeds maximum queue size|unavailable|failed to start", re.I)
_AWAY = re.compile(r"not ready|unknown model|not found: model|server is stopping|is not healthy", re.I)
_LATE = re.compile(r"Request timeout expired", re.I)
_MARK = re.compile(r"\[sluice:(\w+)\] ")  # between our own models the kind of refusal travels before the sentence


class Inputs(dict[str, np.ndarray]):
    """The tensors of one request by name; an optional input that was not given is missing.

    watched: the object whose `is_cancelled()` tells whether the caller has left: the sender of a streamed answer, or
        None for the request itself.
    """

    def __init__(self, request: Any, names: Iterable[str], watched: Any = None):
        super().__init__()
        for name in names:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is not None:
                self[name] = tensor.as_numpy()
        self._watched = request if watched is None else watched
        asked = _INNER.fullmatch(request.request_id())
        self._asked_by = asked[1] if asked else None  # name of the line of the model that asks
        self.form = plain_json.RAW  # the way in which this request and its answer write bytes and float16

    def check_cancelled(self) -> None:
        """Raise Cancelled if the caller has left. Loops call this between steps."""
        if self._watched.is_cancelled():
            raise Cancelled("the request was cancelled")
        if self._asked_by is not None:
            callers.refuse_gone(self._asked_by)

    @functools.cached_property
    def line(self) -> callers.Line:
        """Return the line by which other models that work for this request learn whether it is still wanted."""
        return callers.Line()

    def close(self) -> None:
        """Close the line, because the request has been answered."""
        if "line" in self.__dict__:
            self.line.close()


# Id of a request by which one model asks another, with the name of the asking model's line (`sluice.process.callers`).
INNER = "sluice-inner"
_INNER = re.compile(INNER + r"(?: ([0-9a-f]{32}))?")
PING = "sluice-ping"  # id of a request that only asks whether the model is alive (`sluice.server.pulse`)


class PythonModel:
    """A model of Triton. `Config` is the dataclass of its parameters, `infer` its work.

    infer(inputs: Inputs) returns a mapping of output name to array. It may be a coroutine, which may call other models
    by `await self.call(...)`.
    merge: True, for models with max_batch_size > 0, joins the requests of an execution whose shapes agree along axis 0
        and calls `infer` once for all of them.
    """

    Config: ClassVar[type] = NoParameters
    merge: ClassVar[bool] = False
    config: Any

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the model, as Triton asks for it once. Raises without traceback or path what loading raises."""
        try:
            self._initialize(args)
        except Exception as error:
            # Triton shows the error and the files of its frames to whoever asked for the load. This frame has no path.
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
        if hasattr(self.config, "for_network"):
            self.config = self.config.for_network(self.repository)
        if unlisted := sorted(set(getattr(self.config, "asked", ())) - self.calls):
            raise ValueError(f"the parameter {CALLS!r} must list {', '.join(unlisted)} too, which the others name")
        self.load()

    @functools.cached_property
    def _metrics(self) -> _Metrics:
        # Made at the first request: made in `initialize` they can end a stub while other models load (2.51).
        return _Metrics(self.name, self.version)

    def load(self) -> None:
        """Open what the model needs; called once, after `config` is set. Models override this."""

    def infer(self, inputs: Inputs) -> Any:
        """Answer one request, or several merged ones. Models override this."""
        raise TypeError(f"{type(self).__name__} has no infer")

    async def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of an execution of Triton, in their order, and count their outcomes."""
        start = time.perf_counter()
        answers: list[Any] = [None] * len(requests)
        await asyncio.gather(*(self._answer_group(group, requests, answers) for group in self._groups(requests)))
        seconds = time.perf_counter() - start
        for answer in answers:
            if answer is not None:
                self._metrics.count(answer[1], seconds)
        return [_pong() if answer is None else answer[0] for answer in answers]

    def _groups(self, requests: list[Any]) -> list[list[int]]:
        """Group the positions of requests that are answered together.

        Each request is a group of its own, or with `merge` those whose inputs agree but for axis 0. A request that only
        asks whether the model is alive is in no group.
        """
        groups: dict[Any, list[int]] = {}
        for i, request in enumerate(requests):
            if request.request_id() == PING:
                continue
            alike = tuple((tensor.name(), tuple(tensor.shape()[1:])) for tensor in request.inputs())
            groups.setdefault(alike if self.merge else i, []).append(i)
        return list(groups.values())

    async def _answer_group(self, group: list[int], requests: list[Any], answers: list[Any]) -> None:
        """Answer the requests at these positions, and enter (response, outcome) of each into `answers`."""
        if len(group) > 1:
            try:
                for i, answer in zip(group, await self._merged([requests[i] for i in group]), strict=True):
                    answers[i] = answer
                return
            except Exception:  # one request is at fault; answered alone, each gets its own answer
                pass
        for i in group:
            answers[i] = await self._answer(requests[i])

    async def _merged(self, requests: list[Any]) -> list[Any]:
        """Return (response, outcome) of each request, by one call of `infer` for all of them."""
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
        """Return (response, outcome) of one request; never raises."""
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
        """Return (response, outcome) of a request for which `infer` raised. Called while the error is handled."""
        inner = _INNER.fullmatch(request.request_id()) is not None
        if isinstance(error, Refusal):
            kind = _kind(error)
            return _error(str(error), kind, inner), _KINDS[kind][1] if kind else "failed"
        print(f"{self.name}: {traceback.format_exc()}", file=sys.stderr, flush=True)
        return _error(f"{self.name} failed; the server's log says why", None, inner), "failed"

    async def _infer(self, inputs: Inputs) -> Mapping[str, Any]:
        """Call `infer`, and wait if it is a coroutine."""
        outputs = self.infer(inputs)
        return await outputs if inspect.isawaitable(outputs) else outputs

    def _response(self, outputs: Mapping[str, Any], request: Any, form: plain_json.Form) -> Any:
        """Make Triton's response of those outputs that the request wants."""
        wanted = request.requested_output_names()
        tensors = []
        for name, array in outputs.items():
            if wanted and name not in wanted:
                continue
            tensors.append(pb_utils.Tensor(name, plain_json.written(name, array, self.types[name], form, self.binary)))
        return pb_utils.InferenceResponse(output_tensors=tensors)

    async def call(self, model: str, inputs: Mapping[str, np.ndarray], outputs: Iterable[str]) -> dict[str, np.ndarray]:
        """Ask another model of this server, and wait for its answer.

        inputs: name -> array. outputs: the names of the outputs wanted.
        Returns name -> array. The arrays are not copied, so use or copy them before the next await.
        If the caller of the current request leaves meanwhile, the other model learns of it.

        Raises the Refusal with which the other model answers; a full queue is Unavailable. Raises RuntimeError for a
        model that the parameter `calls` does not list.
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
            caller.close()  # a model of ours ends soon now; in any case its answer must be waited for
        response = await answer
        if response.has_error():
            raise _refusal(response.error().message(), model)
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


PythonModel.initialize.__code__ = PythonModel.initialize.__code__.replace(co_filename="sluice/triton.py")


class StreamingModel(PythonModel):
    """A model that answers a request with a stream (`decoupled`): `infer` is an asynchronous generator of answers.

    Requests run side by side in one event loop, and an execution that waits does not hold up the next, so Triton's own
    queue never fills. The limit is therefore here: while `most` requests run, a further one is refused as busy at once.
    Ending or cancelling a stream closes the generator.
    """

    most: int = 64  # requests at a time; `load` may set another number
    _running: int = 0

    async def execute(self, requests: list[Any]) -> None:  # type: ignore[override]  # answers go by the senders
        """Answer the requests of an execution of Triton by their senders, and count their outcomes."""
        await asyncio.gather(*(self._stream(request) for request in requests))

    async def _stream(self, request: Any) -> None:
        """Answer one request by its sender, and count its outcome."""
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
            # An error that comes before Triton has finished opening the stream can end the server (2.51: signal 11 once
            # in some 20 immediate refusals; none in 4,000 refusals after 5 ms).
            await asyncio.sleep(max(0.0, SOONEST - (time.perf_counter() - start)))
        finally:
            self._running -= 1
            if last is not None:
                sender.send(last, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            else:
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        seconds = time.perf_counter() - start
        self._metrics.count(outcome, seconds)
        # The stub registers a coroutine after it has begun, and fails to for one that has ended by then (2.51: an error
        # in its log, and the entry is never removed). The caller has the answer already.
        await asyncio.sleep(max(0.0, SOONEST - seconds))

    async def _send(self, inputs: Inputs, sender: Any, request: Any) -> None:
        """Send the answers of `infer` one by one. Raises Cancelled if the caller has left."""
        async with contextlib.aclosing(self.infer(inputs)) as answers:
            async for outputs in answers:
                inputs.check_cancelled()
                sender.send(self._response(outputs, request, inputs.form))


class _Metrics:
    """Counters of outcomes, because Triton counts errors of Python models as successes and rejections not at all."""

    def __init__(self, model: str, version: str):
        family = pb_utils.MetricFamily(
            "sluice_requests_total", "Requests answered, by outcome", pb_utils.MetricFamily.COUNTER
        )
        labels = {"model": model, "version": version}
        self._outcomes = {name: family.Metric(labels={**labels, "outcome": name}) for name in OUTCOMES}
        histogram = pb_utils.MetricFamily(
            name="sluice_request_seconds",
            description="Seconds from a model's receiving a request to its answer",
            kind=pb_utils.MetricFamily.HISTOGRAM,
        )
        self._seconds = histogram.Metric(labels=labels, buckets=SECONDS)
        self._families = family, histogram, *versions.as_metric(pb_utils.MetricFamily)  # a metric dies with its family

    def count(self, outcome: str, seconds: float) -> None:
        """Count a request. outcome: of OUTCOMES. seconds: from its receipt to its answer."""
        self._outcomes[outcome].increment(1)
        self._seconds.observe(seconds)


# Kind of refusal -> (its Triton code, the outcome that is counted). The stub defines the codes late, hence names.
_KINDS: dict[type[Refusal], tuple[str, str]] = {
    InvalidArgument: ("INVALID_ARG", "invalid"),
    NotFound: ("NOT_FOUND", "invalid"),
    Cancelled: ("CANCELLED", "cancelled"),
    Late: ("UNAVAILABLE", "timeout"),
    Unavailable: ("UNAVAILABLE", "rejected"),
    Refusal: ("INTERNAL", "failed"),  # no other request would do better, but the sentence says what is wrong
}


def _pong() -> Any:
    """Return the answer to a request that only asks whether the model is alive."""
    return pb_utils.InferenceResponse(output_tensors=[])


def _kind(refusal: Refusal) -> type[Refusal] | None:
    """Return the row of `_KINDS` of a refusal."""
    return next((kind for kind in _KINDS if isinstance(refusal, kind)), None)


def _error(message: str, kind: type[Refusal] | None, inner: bool) -> Any:
    """Make Triton's response for an error. kind: None for a fault of the server. inner: for another model of ours."""
    code = getattr(pb_utils.TritonError, _KINDS[kind][0] if kind else "INTERNAL")
    if (
        len(quote(message, safe=string.punctuation + " ")) > LONGEST
    ):  # gRPC's form: 3 to 12 bytes per letter beyond ASCII
        message = f"{message[:240]} ... {message[-80:]}"
    if inner and kind:
        message = f"[sluice:{kind.__name__}] {message}"
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))


def _refusal(message: str, model: str) -> Exception:
    """Return the exception that stands for the error message of another model."""
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
