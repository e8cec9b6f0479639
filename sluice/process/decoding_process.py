"""Decodes one picture after the other in a process of its own: `python -m sluice.process.decoding_process SOCKET`.

The process dies with the one that started it, takes no more memory and computing time than each job allows, and ends if
no job comes for a while.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

IDLE = 60.0  # seconds without a job
SPENT = signal.SIGXCPU
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(socket: int) -> None:
    """Answer jobs until none comes for IDLE seconds.

    A job is a pickled (memory in bytes, seconds, function, data, args, kwargs). An answer is (True, the function's
    result) or (False, its exception). The kernel ends the process with SIGXCPU when the seconds are spent.
    """
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    line = Connection(socket)
    while line.poll(IDLE):
        try:
            memory, seconds, work, data, args, kwargs = pickle.loads(line.recv_bytes())
        except EOFError:
            return
        _limit(memory, seconds)
        answer: Any
        try:
            answer = True, work(data, *args, **kwargs)
        except Exception as error:
            answer = False, error
        _limit(None, None)
        line.send_bytes(_pickled(answer))
        del answer, data


def _pickled(answer: tuple[bool, Any]) -> bytes:
    try:
        return pickle.dumps(answer, protocol=5)
    except Exception:
        return pickle.dumps((False, RuntimeError(repr(answer[1])[:1000])), protocol=5)


def _limit(memory: int | None, seconds: float | None) -> None:
    """Let this process take so many bytes more than it has taken. None: as many as it wants."""
    none = resource.RLIM_INFINITY
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (none if memory is None else taken + memory, none))
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (none if seconds is None else int(used + seconds) + 1, none))


if __name__ == "__main__":
    main(int(sys.argv[1]))
