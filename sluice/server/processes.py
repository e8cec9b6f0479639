"""Reads the process table for the Python processes of a tritonserver: their models, their computing time, lost ones.

Nothing is asked of a process, so nothing can hang: reading takes a millisecond, whatever the processes do.
"""

import contextlib
import os
import threading
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from sluice.server import keeper

STUB = "triton_python_backend_stub"


def stubs(server_pid: int) -> dict[int, str]:
    """Return the Python processes of a tritonserver: process id -> instance name such as "embed_0_1"."""
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


def model_of(instance: str, names: Collection[str]) -> str | None:
    """Return the model that an instance "<model>_<group>_<number>" belongs to: the longest name that fits."""
    fitting = [name for name in names if instance.startswith(f"{name}_")]
    return max(fitting, key=len, default=None)


class Process(NamedTuple):
    """One Python process of a server.

    model: name of the model, or None if the model is not watched.
    begun: start of the process as `keeper.start_ticks`, because process ids are used again.
    """

    pid: int
    model: str | None
    instance: str
    begun: int | None

    def alive(self) -> bool:
        return keeper.start_ticks(self.pid) == self.begun


class Processes:
    """The Python processes of one server. A process stays known until `lost` has told of its end. Threads may share
    this.

    names: models that are watched.
    """

    def __init__(self, server_pid: int, names: Collection[str]) -> None:
        self.server_pid, self.names = server_pid, names
        self._stopped: set[int] = set()  # at the last look
        self._known: dict[int, Process] = {}
        self._lock = threading.RLock()
        self.learn()

    def learn(self) -> None:
        """Take in the processes that have come since the last call."""
        found = stubs(self.server_pid)
        with self._lock:
            for pid, name in found.items():
                if pid not in self._known:
                    self._known[pid] = Process(pid, model_of(name, self.names), name, keeper.start_ticks(pid))

    def known(self) -> list[Process]:
        with self._lock:
            return list(self._known.values())

    def lost(self) -> dict[str, str]:
        """Return model -> reason for models with a process that has ended, or was stopped at this call and the one
        before.

        A model that somebody has loaded anew meanwhile is not among them, nor is one that a debugger holds.
        """
        with self._lock:
            gone = [each for each in self._known.values() if not each.alive()]
            for each in gone:
                del self._known[each.pid]
            if gone:
                self.learn()
            stopped = {pid for pid in self._known if _state(pid) == "T"}
            still, self._stopped = stopped & self._stopped, stopped
            found = {self._known[pid].model: f"its process {pid} is stopped" for pid in still}
            there = {each.instance for each in self._known.values()}
            found |= {each.model: f"its process {each.pid} has ended" for each in gone if each.instance not in there}
        return {model: why for model, why in found.items() if model is not None}

    def seconds(self) -> dict[str, float]:
        """Return the seconds of computing so far per model, of the processes that live."""
        found: dict[str, float] = {}
        for each in self.known():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{each.pid}/stat").read_text().rpartition(")")[2].split()
                spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                found[each.model or ""] = found.get(each.model or "", 0.0) + spent
        return found


def _state(pid: int) -> str:
    """Return the state letter of a process, "T" if a signal has stopped it; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
