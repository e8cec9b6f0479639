"""Notices models that do not answer although Triton calls them ready, loads them again, and tells which models answer.

Triton 2.51 goes on reporting READY after a model's Python process has died. Every request to the model then fails after
a second, or half of them if it has two instances. Three looks find that, none of which waits for another:

* the process table, twice a second: a process that has ended, or that a signal has stopped, while its model counts as
  ready. Nothing is asked, so nothing can hold this look up.
* the pulse, every three seconds, of the models with our glue: does the event loop live?
* the true question of `probe`, every half minute, and with each pulse while the last answer was wrong.

A model that answers late is silent, unless it, or a model that it asks, makes progress meanwhile; then it is busy.
Readiness (`tell`) follows at once. A lost model is loaded again at once, and so is a model that is silent or wrong
twice in a row. While the server's Python processes compute, a long request may be the reason, and ten times are waited
for.

To load a model again, it is unloaded and loaded with the admin key; processes that still hang are killed first. If a
model does not answer after three loads, the server is ended, so that its supervisor starts a new one.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from sluice.server import probe, questions
from sluice.server.processes import Processes, stubs
from sluice.server.pulse import Pulse
from sluice.server.running import Server

__all__ = ["Watchdog", "stubs"]

STRIKES, STRIKES_AT_WORK = 2, 10  # answers that failed until a model is loaded again: idle, computing
LOADS = 3  # fruitless ones in a row until the server is ended
DEAD = "is not healthy"  # Triton of a Python process that it found dead


@dataclass
class State:
    """The facts known of one model. lost, silent and wrong say why it does not answer; '' if that is not the reason.

    lost:     its process is gone, or it is being loaded again for another reason.
    silent:   its pulse did not come.
    wrong:    its true answer did not come, or was an error.
    unloaded: somebody else has unloaded it.
    answered: monotonic seconds of its last true answer.
    due:      monotonic seconds of its next true question.
    """

    lost: str = ""
    silent: str = ""
    wrong: str = ""
    unloaded: bool = False
    answered: float = 0.0
    due: float = 0.0
    strikes: int = 0

    @property
    def answers(self) -> bool:
        return not (self.lost or self.silent or self.wrong or self.unloaded)


class Progress(NamedTuple):
    """The progress of the models up to a moment: requests answered, and seconds computed, per model."""

    when: float
    done: dict[str, int]
    seconds: dict[str, float]

    def led_on(self, now: "Progress", models: tuple[str, ...]) -> bool:
        """Tell whether one of the models made progress between this moment and a later one."""
        computed = sum(now.seconds.get(name, 0.0) - self.seconds.get(name, 0.0) for name in models)
        return any(now.done.get(name, 0) > self.done.get(name, 0) for name in models) or computed > 0.01 + 0.01 * (
            now.when - self.when
        )


class Watchdog:
    """Watches one server from `start()` until the server ends or `close()` is called.

    every:    seconds between two true questions to a model. 0 asks neither these nor for a pulse, and watches processes
              only.
    patience: seconds that a true question may take.
    look:     seconds between two looks at the processes.
    beat:     seconds between two pulses. A pulse may take so long and two seconds more.
    say:      receives a line per thing noticed or done.
    tell:     receives model -> whether it answers, and "" -> whether all do, at the start and at every change.
    """

    def __init__(
        self,
        server: Server,
        every: float = 30.0,
        patience: float = 15.0,
        look: float = 0.5,
        beat: float = 3.0,
        probes: Mapping[str, questions.Probe] | None = None,
        say: Callable[[str], None] | None = None,
        tell: Callable[[Mapping[str, bool]], None] | None = None,
    ) -> None:
        self.server, self.every, self.patience, self.look = server, every, patience, look
        self.beat = min(beat, every)
        self.probes = questions.PROBES if probes is None else probes
        self.say = say or (lambda line: print(f"sluice: {line}", file=sys.stderr, flush=True))
        self.tell = tell or (lambda answers: None)
        self.gave_up = False
        self.reloads: dict[str, int] = {}  # that helped
        self.ended = threading.Event()
        self.processes = Processes(server.pid, server.models)
        now = time.monotonic()
        spread = {name: every * (1 + i / max(len(server.models), 1)) for i, name in enumerate(server.models)}
        self.states = {name: State(answered=now, due=now + spread[name]) for name in server.models}
        self.below = {name: self._below(name) for name in server.models}
        self._lock = threading.RLock()
        self._pulses: dict[str, Pulse] = {}
        self._under_way: set[tuple[str, str]] = set()
        # A thread for whatever may hang: a load, a pulse and a question of each model.
        self._pool = ThreadPoolExecutor(3 * len(server.models) or 1, thread_name_prefix="watchdog")
        self._threads = [
            threading.Thread(target=self._repeat, args=work, daemon=True)
            for work in ((look, self._look), (self.beat, self._ask_all))
            if work[0]
        ]

    def start(self) -> None:
        self._published()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop watching. A question under way is not waited for; it may hang, and it ends with the server."""
        self.ended.set()
        for thread in self._threads:
            thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # Rounds --------------------------------------------------------------------------------------------------------

    def _repeat(self, seconds: float, what: Callable[[], None]) -> None:
        while not self.ended.wait(seconds) and self._up():
            try:
                what()
            except (InferenceServerException, OSError) as error:
                if self._up():
                    self.say(f"watchdog: {' '.join(str(error).split())}; looking again")

    def _up(self) -> bool:
        return self.server.running() and not self.ended.is_set() and not self.gave_up

    def _look(self) -> None:
        for model, why in self.processes.lost().items():
            if not self.states[model].lost:
                self._soon("load", model, self._lose, why)

    def _lose(self, client: grpcclient.InferenceServerClient, model: str, why: str) -> None:
        if self._loaded(client, model):
            self._reload(client, model, why)

    def _ask_all(self) -> None:
        self.processes.learn()  # what others have loaded
        with self.server.client() as client:
            before = self._progress(client)
        for model, state in self.states.items():
            if state.lost:
                continue
            if model in self.server.pulsing:
                self._soon("pulse", model, self._feel, before)
            if before.when >= state.due or not state.answers:
                state.due = before.when + self.every
                self._soon("question", model, self._ask, before)

    def _soon(self, kind: str, model: str, what: Callable[..., None], *more: object) -> None:
        """Run a piece of work in a thread with a client of its own, unless the same work is under way."""
        with self._lock:
            if (kind, model) in self._under_way:
                return
            self._under_way.add((kind, model))

        def done() -> None:
            try:
                with self.server.client() as client:  # of its own: a client has one stream at a time
                    what(client, model, *more)
            except (InferenceServerException, OSError) as error:
                if self._up():
                    self.say(f"watchdog: {model}: {' '.join(str(error).split())}; looking again")
            finally:
                with self._lock:
                    self._under_way.discard((kind, model))

        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self._pool.submit(done)

    # Questions -----------------------------------------------------------------------------------------------------

    def _feel(self, client: grpcclient.InferenceServerClient, model: str, before: Progress) -> None:
        """Ask for the pulse of a model."""
        state, seconds = self.states[model], self.beat + 2
        try:
            if model not in self._pulses:
                self._pulses[model] = Pulse(client, model, seconds)
            self._pulses[model].ask(client, seconds)
        except (InferenceServerException, queue.Empty) as error:
            why = str(error)
            late = isinstance(error, queue.Empty) or "deadline" in why.lower()
            # Another error is an answer, too: of Triton's, for a model that has no place or is not there.
            if (late or DEAD in why) and not self._excused(client, model, before if late else None):
                self._fault(model, silent="its event loop does not answer", dead=DEAD in why)
            return
        if state.silent or state.unloaded:
            state.silent, state.unloaded = "", False
            self._published()

    def _ask(self, client: grpcclient.InferenceServerClient, model: str, before: Progress) -> None:
        """Ask a model its true question."""
        state, begun = self.states[model], time.monotonic()
        try:
            known = probe.check(client, model, self.patience, self.probes) == probe.ANSWERS
        except probe.ProbeError as error:
            late = time.monotonic() - begun >= self.patience
            if not self._excused(client, model, before if late else None):
                self._fault(model, wrong="no answer in time" if late else error.reason, dead=DEAD in error.reason)
            return
        was = state.answers
        state.unloaded = not (known or self._loaded(client, model))
        if known:
            state.answered, state.strikes, state.wrong, state.silent = time.monotonic(), 0, "", ""
        if state.answers != was:
            self._published()

    def _excused(self, client: grpcclient.InferenceServerClient, model: str, before: Progress | None) -> bool:
        """Tell whether a model that did not answer is not at fault: it is being loaded, was unloaded, or is busy.

        before: progress at the time of the question. None if an answer came, but was an error.
        """
        state = self.states[model]
        if state.lost or not self._up():
            return True
        if not self._loaded(client, model):
            state.unloaded = True
            self._published()
            return True
        return before is not None and before.led_on(self._progress(client), (model, *self.below[model]))

    def _fault(self, model: str, silent: str = "", wrong: str = "", dead: bool = False) -> None:
        """Note that a model does not answer, and load it again unless that is the first time."""
        state, begun = self.states[model], time.monotonic()
        with self._lock:
            state.silent, state.wrong, state.unloaded = silent or state.silent, wrong or state.wrong, False
            state.strikes += 1
        self._published()
        if any(not self.states[name].answers for name in self.below[model]):
            state.strikes = 0  # that one is at fault, and is asked itself
            return
        worked = sum(self.processes.seconds().values())
        self.ended.wait(0.2)
        at_work = sum(self.processes.seconds().values()) - worked > 0.02
        if dead or state.strikes >= (STRIKES_AT_WORK if at_work else STRIKES):
            state.strikes = 0
            for name in self.server.members[model] or (model,):  # an ensemble has no process of its own
                if name == model or self.states[name].answered < begun - self.patience:
                    self._soon("load", name, self._reload, silent or wrong)

    def _progress(self, client: grpcclient.InferenceServerClient) -> Progress:
        try:
            told = client.get_inference_statistics(client_timeout=self.beat).model_stats
        except InferenceServerException:
            told = []
        # Failures do not count: a question that we gave up on is one.
        done = {each.name: each.inference_stats.success.count for each in told}
        return Progress(time.monotonic(), done, self.processes.seconds())

    def _loaded(self, client: grpcclient.InferenceServerClient, model: str) -> bool:
        """Tell whether Triton has the model loaded: not if somebody unloaded it on purpose, or the server ends."""
        try:
            return client.is_model_ready(model, client_timeout=self.patience)
        except InferenceServerException as error:
            return "Deadline" in str(error)  # the server itself hangs

    # Remedy --------------------------------------------------------------------------------------------------------

    def _reload(self, client: grpcclient.InferenceServerClient, model: str, why: str) -> None:
        """Load `model` again until it answers. After LOADS loads in vain, end the server."""
        state, begun = self.states[model], time.monotonic()
        with self._lock:
            state.lost = why
        self._published()
        for turn in range(1, LOADS + 1):
            try:
                self._load(client, model)
                break
            except (InferenceServerException, probe.ProbeError) as error:
                if not self._up():
                    return
                self.say(
                    f"{model}: {why}; loading it again did not help ({turn} of {LOADS}): {' '.join(str(error).split())}"
                )
                self.ended.wait(self.look)
        else:
            self.gave_up = True
            self.say(f"{model}: given up; stopping the server")
            self.server.ask_to_stop()
            return
        self.processes.learn()
        self.states[model] = State(answered=time.monotonic(), due=time.monotonic() + self.every)
        self.reloads[model] = self.reloads.get(model, 0) + 1
        self._published()
        self.say(f"{model}: {why}; loaded again in {time.monotonic() - begun:.1f} s")

    def _load(self, client: grpcclient.InferenceServerClient, model: str) -> None:
        """Unload, load and ask a model once. Raises InferenceServerException or ProbeError if that does not help."""
        for process in self.processes.known():
            if process.model == model and process.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)  # a hanging instance would keep its last requests for ever
        # A load alone does nothing to a model whose files have not changed, nor does one with another config:
        # Triton 2.51 keeps instances that look equal. Between the two calls requests are refused as not there.
        client.unload_model(model, headers=self.server.admin_headers, client_timeout=60.0)
        client.load_model(model, headers=self.server.admin_headers, client_timeout=60.0)
        deadline = time.monotonic() + self.patience
        while True:
            try:
                probe.check(client, model, self.patience, self.probes)
                return
            except probe.ProbeError:
                waiting = any(self.states[name].lost for name in self.below[model])  # it asks one that is not up yet
                if not waiting or time.monotonic() > deadline:
                    raise
            self.ended.wait(0.1)

    # Readiness -----------------------------------------------------------------------------------------------------

    def _below(self, model: str) -> tuple[str, ...]:
        """Return the served models that a model is wired from or asks, and the ones below these."""
        found: list[str] = []
        more = [model]
        while more:
            name = more.pop()
            for each in (*self.server.members.get(name, ()), *self.server.calls.get(name, ())):
                if each in self.server.models and each not in found and each != model:
                    found.append(each)
                    more.append(each)
        return tuple(found)

    def _published(self) -> None:
        with self._lock:
            own = {name: state.answers for name, state in self.states.items()}
            told = {name: good and all(own[each] for each in self.below[name]) for name, good in own.items()}
            self.tell({**told, "": all(told.values())})
