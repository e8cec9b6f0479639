"""Notices models that are dead or hang although Triton calls them ready, and loads them again.

Triton 2.51 goes on reporting READY when a model's Python process has died; every request to it then fails after a
second, or half of them where it has two instances. Two looks find that:

* the process table, every second: a Python process of the server that is gone, while its model counts as ready;
* the true questions of `probe`, every half minute: a model that does not answer twice in a row. One that gets on
  with other requests meanwhile is busy, not dead; and while the server's Python processes compute, a long request may
  be the reason, so ten rounds are waited then.

The remedy is to unload and load with the admin key (what still hangs is killed first). A model that does not answer
after three loads ends the server, so that whatever supervises it starts a new one.
"""
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from sluice.server import keeper, probe
from sluice.server.running import Server

STUB = "triton_python_backend_stub"
STRIKES, STRIKES_AT_WORK = 2, 10  # rounds without an answer until a model is loaded again: idle, computing
LOADS = 3  # fruitless ones in a row until the server is ended


def stubs(server_pid: int) -> dict[int, str]:
    """The Python processes of a tritonserver: process id -> instance name such as "embed_0_1"."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
            parent = int(Path(entry.path, "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        # stub, model file, region, two sizes, parent, folder, control handle, instance name, runtime folder
        if parent == server_pid and words[0].decode().endswith(STUB) and len(words) > 8:
            found[int(entry.name)] = words[8].decode()
    return found


def model_of(instance: str, names: Mapping[str, object]) -> str | None:
    """The model an instance belongs to: "<model>_<group>_<number>", the longest name that fits."""
    fitting = [name for name in names if instance.startswith(f"{name}_")]
    return max(fitting, key=len, default=None)


class Watchdog(threading.Thread):
    """Watches one server until it ends or `close()`.

    every:    seconds between two rounds of questions; 0 asks none and only watches the processes.
    patience: seconds a question may take.
    say:      gets one line for each thing noticed and done.
    """

    def __init__(self, server: Server, every: float = 30.0, patience: float = 15.0, look: float = 1.0,
                 probes: Mapping[str, probe.Probe] | None = None, say: Callable[[str], None] | None = None) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.server, self.every, self.patience, self.look = server, every, patience, look
        self.probes = probes
        self.say = say or (lambda line: print(f"sluice: {line}", file=sys.stderr, flush=True))
        self.gave_up = False
        self.ended = threading.Event()
        self.strikes: dict[str, int] = {}
        self.broken: dict[str, str] = {}  # model -> why; until a load helps
        self.fruitless: dict[str, int] = {}
        self.reloads: dict[str, int] = {}  # that helped
        self.processes: dict[int, tuple[str, int | None]] = {}
        self._remember()

    def close(self) -> None:
        self.ended.set()
        self.join()

    def run(self) -> None:
        with self.server.client() as client:
            asked = time.monotonic()
            while not self.ended.wait(self.look) and self.server.running() and not self.gave_up:
                try:
                    self.broken.update(self._dead(client))
                    for model, why in list(self.broken.items()):
                        self._reload(client, model, why)
                    if self.every and time.monotonic() - asked >= self.every:
                        self._ask(client)
                        asked = time.monotonic()
                except (InferenceServerException, OSError) as error:
                    if self.server.running() and not self.ended.is_set():
                        self.say(f"watchdog: {' '.join(str(error).split())}; looking again")

    def _remember(self) -> None:
        self.processes = {pid: (name, keeper.start_ticks(pid)) for pid, name in stubs(self.server.pid).items()}

    def _dead(self, client: grpcclient.InferenceServerClient) -> dict[str, str]:
        """Models that lack a process they had at the last look although they count as ready, with the reason."""
        gone = {pid: name for pid, (name, begun) in self.processes.items() if keeper.start_ticks(pid) != begun}
        if not gone:
            return {}
        self._remember()
        there = {name for name, _ in self.processes.values()}  # loaded anew by somebody else
        dead = {}
        for pid, instance in gone.items():
            model = model_of(instance, self.server.models)
            if model and instance not in there and self._loaded(client, model):
                dead[model] = f"its process {pid} has ended"
        return dead

    def _loaded(self, client: grpcclient.InferenceServerClient, model: str) -> bool:
        """False when somebody unloaded it on purpose, or the server is on its way down."""
        try:
            return client.is_model_ready(model, client_timeout=self.patience)
        except InferenceServerException:
            return False

    def _ask(self, client: grpcclient.InferenceServerClient) -> None:
        answered = set()
        for model in self.server.models:
            before, worked = self._executed(client, model), self._worked()
            begun = time.monotonic()
            try:
                if probe.check(client, model, self.patience, self.probes) == probe.ANSWERS:
                    answered.add(model)
                self.strikes[model] = 0
                continue
            except probe.ProbeError as error:
                why = error.reason
            late = time.monotonic() - begun >= self.patience
            if (late and self._executed(client, model) != before) or not self._loaded(client, model):
                continue
            at_work = late and self._worked() - worked > 0.01 + 0.01 * (time.monotonic() - begun)
            self.strikes[model] = self.strikes.get(model, 0) + 1
            if self.strikes[model] >= (STRIKES_AT_WORK if at_work else STRIKES):
                for name in self.server.members[model] or (model,):  # an ensemble has no process of its own
                    if name not in answered:
                        self._reload(client, name, "no answer in time" if late else why)
                self.strikes[model] = 0

    def _executed(self, client: grpcclient.InferenceServerClient, model: str) -> int:
        """How many requests the model has answered. Failures do not count: a question that we gave up on is one."""
        try:
            versions = client.get_inference_statistics(model, client_timeout=self.patience).model_stats
        except InferenceServerException:
            return -1
        return sum(each.inference_stats.success.count for each in versions)

    def _worked(self) -> float:
        """Seconds of computing of all the server's Python processes so far."""
        ticks = 0
        for pid in self.processes:
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _reload(self, client: grpcclient.InferenceServerClient, model: str, why: str) -> None:
        """Load `model` again and see whether it answers; after LOADS fruitless loads end the server."""
        begun = time.monotonic()
        for pid, (instance, ticks) in self.processes.items():
            if model_of(instance, self.server.models) == model and keeper.start_ticks(pid) == ticks:
                os.kill(pid, signal.SIGKILL)  # a hanging instance would keep its last requests for ever
        try:
            # A load alone does nothing to a model whose files have not changed, nor does one with another config:
            # Triton 2.51 keeps instances that look equal. Between the two calls requests are refused as 'not ready'.
            client.unload_model(model, headers=self.server.admin_headers, client_timeout=60.0)
            client.load_model(model, headers=self.server.admin_headers, client_timeout=60.0)
            probe.check(client, model, self.patience, self.probes)
        except (InferenceServerException, probe.ProbeError) as error:
            self.broken[model] = why
            self.fruitless[model] = self.fruitless.get(model, 0) + 1
            self.say(f"{model}: {why}; loading it again did not help ({self.fruitless[model]} of {LOADS}): "
                     f"{' '.join(str(error).split())}")
            if self.fruitless[model] >= LOADS:
                self.gave_up = True
                self.say(f"{model}: given up; stopping the server")
                self.server.ask_to_stop()
        else:
            self.broken.pop(model, None)
            self.fruitless[model] = 0
            self.reloads[model] = self.reloads.get(model, 0) + 1
            self.say(f"{model}: {why}; loaded again in {time.monotonic() - begun:.1f} s")
        self._remember()
