"""Decides whether to try a call again and how long to wait before, for both clients."""

from __future__ import annotations

import math
import numbers
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .. import options
from ..errors import DeadlineExceeded, InvalidRequest, SluiceError, Unavailable

__all__ = ["Attempts", "Retry", "patience", "policy"]

_TOO_SHORT = 0.02  # seconds; an attempt with less would only turn "unavailable" into "deadline exceeded"


@dataclass(frozen=True)
class Retry:
    """Exponential back-off with full jitter. Wait n (from 0) is uniform in [0, min(first * factor**n, most)] seconds.

    Retry()                  # try again as long as the deadline of the call allows
    Retry(attempts=1)        # never try again
    Retry(first=1, most=30)  # wait longer between attempts
    """

    first: float = 0.1  # seconds, maximum of the first wait, > 0
    factor: float = 2.0  # growth of the maximum from wait to wait, >= 1
    most: float = 5.0  # seconds, maximum of every wait, >= first
    attempts: int | None = None  # maximum number of attempts, the first included; None: limited by the deadline only

    def __post_init__(self) -> None:
        for name in ("first", "factor", "most"):
            options.number(name, getattr(self, name))
        if self.first <= 0 or self.factor < 1 or self.most < self.first:
            raise InvalidRequest(f"Retry needs first > 0, factor >= 1 and most >= first; got {self}.")
        options.wholes(self, attempts=(1, None))

    def waits(self, jitter: Callable[[], float]) -> Iterator[float]:
        """Yield the seconds to wait before each further attempt. `jitter` draws from [0, 1)."""
        ceiling = self.first
        made = 1
        while self.attempts is None or made < self.attempts:
            yield ceiling * jitter()
            ceiling = min(ceiling * self.factor, self.most)
            made += 1


def policy(retry: Retry | None) -> Retry:
    """Return the policy of a client, `Retry()` for None. Raises InvalidRequest for a value that is no Retry."""
    if retry is not None and not isinstance(retry, Retry):
        raise InvalidRequest(f"retry is a Retry, such as Retry(attempts=3); got {retry!r:.80}.")
    return retry or Retry()


def patience(timeout: float) -> float:
    """Return a timeout in seconds; infinity is allowed. Raises InvalidRequest for a value that is no number above 0."""
    try:
        seconds = float(timeout) if isinstance(timeout, numbers.Real) and not isinstance(timeout, bool) else 0.0
    except OverflowError:  # a whole number that is too large for a float
        seconds = math.inf
    if not seconds > 0:
        raise InvalidRequest(f"timeout must be > 0 seconds; got {timeout!r:.80}.")
    return seconds


class Attempts:
    """The attempts of one call until its deadline. It reads no clock and does not sleep, so both clients can share it.

        attempts = Attempts(retry, timeout, clock())
        while True:
            try:
                return send(call, attempts.remaining(clock()))
            except Unavailable as error:
                sleep(attempts.wait_after(error, clock()))   # raises if no attempt is left
            except DeadlineExceeded as error:
                raise attempts.ended(error, clock())         # tells why there was more than one attempt

    timeout: seconds for the whole call, waits included. now: seconds of the clock when the call begins.
    jitter:  draws from [0, 1).
    """

    def __init__(self, retry: Retry, timeout: float, now: float, jitter: Callable[[], float] = random.random):
        self.made = 0
        self.timeout = patience(timeout)
        self._begin = now
        self._end = now + self.timeout
        self._waits = retry.waits(jitter)
        self._last: SluiceError | None = None

    def remaining(self, now: float) -> float:
        """Count an attempt and return the seconds left for it, at least 0.001."""
        self.made += 1
        return max(self._end - now, 1e-3)

    def wait_after(self, error: SluiceError, now: float) -> float:
        """Return the seconds to wait before the next attempt. Raises `error`, with the number of attempts, if
        no attempt is left.

        A wait takes at most half of the time that is left, so that the last attempt is late but still has time.
        """
        wait = next(self._waits, None)
        left = self._end - now
        self._last = error
        if wait is None or left < _TOO_SHORT:
            if self.made > 1:
                took = now - self._begin
                raise Unavailable(
                    f"{error.message} Tried {self.made} times in {took:.1f} s.",
                    status=error.status,
                    remedy=error.remedy,
                ) from None
            raise error
        if isinstance(error, Unavailable):
            error.left = left
        return min(wait, left / 2)

    def ended(self, error: DeadlineExceeded, now: float) -> SluiceError:
        """Return the exception for an attempt that was not answered in time: `error` if it was the first attempt, else
        the reason why the attempts before it failed.

        The last attempt gets only the time that is left until the deadline, which may be too short for any answer.
        """
        if self._last is None:
            return error
        return Unavailable(
            f"{self._last.message} Tried {self.made} times in {now - self._begin:.1f} s, the last time without an "
            "answer.",
            status=self._last.status,
            remedy=self._last.remedy,
        )
