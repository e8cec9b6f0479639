"""Tells a model whether a caller still waits for the answer that it works on, across the processes of one server.

Triton tells a model that its caller has gone, but not the models that this model asks in turn (2.51); they would go on
for nobody. So a request that asks other models holds a *line*, a socket that listens under a name of its own for as
long as an answer is wanted, and hands the name on. A model that works for the request connects to that name. If nobody
listens, the caller has gone, has the answer, or its process has died, and the work is for nothing. The name is in the
kernel's abstract space (unix(7)), so no file is made and none is left.

The caller is known by the running task and not by an argument: `check` knows the request that the task works for.
"""

from __future__ import annotations

import contextlib
import contextvars
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from sluice.errors import Cancelled

NAME = "sluice-line-"
_caller: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("caller", default=None)


class Caller(Protocol):
    """A caller who waits for an answer, as seen by the code that works on it."""

    @property
    def line(self) -> Line:
        """Return the name of the line to hand on to other models that are asked for this answer."""

    def check_cancelled(self) -> None:
        """Raise Cancelled if the caller has gone. May be called from any thread."""

    def close(self) -> None:
        """Close the line, if there is one."""


class Line:
    """A socket held as long as an answer is wanted. `name` is for the models that work on the answer."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(16)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind("\0" + NAME + self.name)
        self._socket.listen(1)

    def close(self) -> None:
        """Stop listening: the answer has come, or is not wanted any more."""
        self._socket.close()


def gone(name: str) -> bool:
    """Tell whether nobody holds the line of that name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ring:
        ring.setblocking(False)
        try:
            ring.connect("\0" + NAME + name)
        except BlockingIOError:  # an earlier call waits in the queue, so the caller is there
            return False
        except OSError:
            return True
        return False


@contextlib.contextmanager
def working_for(caller: Caller) -> Iterator[None]:
    """Let the running task, and the tasks that it begins, work for a caller."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def current() -> Caller | None:
    """Return the caller that the running task works for. In a test or a benchmark it is one who never goes."""
    return _caller.get()


def checker() -> Callable[[], None]:
    """Return a function for threads, which have no task. It raises Cancelled once the running task's caller is gone."""
    caller = current()
    return _nobody if caller is None else caller.check_cancelled


def check() -> None:
    """Raise Cancelled if the caller of the running task has gone."""
    checker()()


def _nobody() -> None:
    """Do nothing: without a caller, nobody can go."""


class Watch:
    """Calls `check` every so many seconds, from whichever of several threads comes by. An exception of it ends all of
    them.
    """

    def __init__(self, check: Callable[[], None], every: float = 0.05) -> None:
        self._check, self._every, self._next = check, every, 0.0

    def __call__(self) -> None:
        if time.monotonic() >= self._next:  # two threads may both find it so, which does no harm
            self._check()
            self._next = time.monotonic() + self._every


def refuse_gone(name: str) -> None:
    """Raise Cancelled if nobody holds the line of that name."""
    if gone(name):
        raise Cancelled("the request was cancelled")
