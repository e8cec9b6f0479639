"""Whether somebody still waits for the answer that is being worked on, across the processes of one server.

Triton tells a model that its caller has gone, but not the models that this one asks in turn (2.51): they go on for
nobody. So a request that asks others holds a *line*, a socket that listens under a name of its own for as long as an
answer is wanted, and hands the name on. Who works for it rings: where nobody listens, because the caller has gone, has
his answer or his process has died, the work is for nothing. The name is in the kernel's abstract space (unix(7)): no
file is made and none is left.

What is asked of whom follows the task, not the arguments: `check` knows the request that the running task works for.
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
    """Who waits for an answer, as the one who works on it sees him."""

    @property
    def line(self) -> Line:
        """For other models that are asked for this answer."""

    def check_cancelled(self) -> None:
        """Raise Cancelled when he has gone. Threads may ask."""

    def close(self) -> None:
        """Close the line, if there is one."""


class Line:
    """Held by who wants an answer. `name` is for those who work on it."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(16)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind("\0" + NAME + self.name)
        self._socket.listen(1)

    def close(self) -> None:
        """Say that the answer is not wanted any more, or has come."""
        self._socket.close()


def gone(name: str) -> bool:
    """Return whether nobody holds the line of that name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ring:
        ring.setblocking(False)
        try:
            ring.connect("\0" + NAME + name)
        except BlockingIOError:  # it has rung before: somebody is there, who does not pick up
            return False
        except OSError:
            return True
        return False


@contextlib.contextmanager
def working_for(caller: Caller) -> Iterator[None]:
    """Let the running task, and those that it begins, work for a caller."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def current() -> Caller | None:
    """Whom the running task works for; None for itself, as in a test or a benchmark."""
    return _caller.get()


def checker() -> Callable[[], None]:
    """What raises Cancelled when the caller of the running task has gone; for a thread, which has no task, to keep."""
    caller = current()
    return _nobody if caller is None else caller.check_cancelled


def check() -> None:
    """Raise Cancelled when the caller of the running task has gone."""
    checker()()


def _nobody() -> None:
    """Nobody goes where nobody waits."""


class Watch:
    """Calls `check` every so many seconds, whichever of several threads comes by; what it raises ends them all."""

    def __init__(self, check: Callable[[], None], every: float = 0.05) -> None:
        self._check, self._every, self._next = check, every, 0.0

    def __call__(self) -> None:
        if time.monotonic() >= self._next:  # two threads may both find it so, which does no harm
            self._check()
            self._next = time.monotonic() + self._every


def refuse_gone(name: str) -> None:
    """Raise Cancelled when nobody holds the line of that name."""
    if gone(name):
        raise Cancelled("the request was cancelled")
