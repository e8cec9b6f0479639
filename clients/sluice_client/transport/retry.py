"""When to try again, and how long to wait before: the one policy of both clients."""

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
    """Exponential back-off with full jitter: wait n is uniform in [0, min(first * factor**n, most)] seconds.

    Retry()                 # as long as the deadline of the call allows
    Retry(attempts=1)       # never
    Retry(first=1, most=30) # patient
    """

    first: float = 0.1  # seconds, the most that the first wait can take
    factor: float = 2.0
    most: float = 5.0  # seconds, the most that any wait can take
    attempts: int | None = None  # None: no limit but the deadline

    def __post_init__(self) -> None:
        for name in ("first", "factor", "most"):
            options.number(name, getattr(self, name))
        if self.first <= 0 or self.factor < 1 or self.most < self.first:
            raise InvalidRequest(f"Retry needs first > 0, factor >= 1 and most >= first; got {self}.")
        options.wholes(self, attempts=(1, None))

    def waits(self, jitter: Callable[[], float]) -> Iterator[float]:
        """Seconds to wait before each further attempt; `jitter` draws from [0, 1)."""
        ceiling = self.first
        made = 1
        while self.attempts is None or made < self.attempts:
            yield ceiling * jitter()
            ceiling = min(ceiling * self.factor, self.most)
            made += 1


def policy(retry: Retry | None) -> Retry:
    """The policy of a client; None: the usual one. Raises InvalidRequest for what is none."""
    if retry is not None and not isinstance(retry, Retry):
        raise InvalidRequest(f"retry is a Retry, such as Retry(attempts=3); got {retry!r:.80}.")
    return retry or Retry()


def patience(timeout: float) -> float:
    """A timeout in seconds, infinity among them. Raises InvalidRequest for what is no number above 0."""
    try:
        seconds = float(timeout) if isinstance(timeout, numbers.Real) and not isinstance(timeout, bool) else 0.0
    except OverflowError:  # a whole number beyond all that a float holds
        seconds = math.inf
    if not seconds > 0:
        raise InvalidRequest(f"timeout must be > 0 seconds; got {timeout!r:.80}.")
    return seconds


class Attempts:
    """The attempts of one call inside its deadline. Holds no clock and does not sleep, so that both clients share it.

        attempts = Attempts(retry, timeout, clock())
        while True:
            try:
                return send(call, attempts.remaining(clock()))
            except Unavailable as error:
                sleep(attempts.wait_after(error, clock()))   # raises when there is no point in waiting
            except DeadlineExceeded as error:
                raise attempts.ended(error, clock())         # with the reason why there was more than one attempt

    timeout: seconds for the whole call, waits included.
    """

    def __init__(self, retry: Retry, timeout: float, now: float, jitter: Callable[[], float] = random.random):
        self.made = 0
        self.timeout = patience(timeout)
        self._begin = now
        self._end = now + self.timeout
        self._waits = retry.waits(jitter)
        self._last: SluiceError | None = None

    def remaining(self, now: float) -> float:
        """Seconds left for the next attempt, never less than a millisecond."""
        self.made += 1
        return max(self._end - now, 1e-3)

    def wait_after(self, error: SluiceError, now: float) -> float:
        """Seconds to wait before the next attempt. Raises `error`, with the count of attempts, when none is left.

        Near the end a wait takes at most half of what is left, so that the last attempt is late but has time.
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
        """What to raise for an attempt that did not come back in time: `error`, or why those before it failed.

        The last attempt has what is left of the deadline, which may be too little for any answer.
        """
        if self._last is None:
            return error
        return Unavailable(
            f"{self._last.message} Tried {self.made} times in {now - self._begin:.1f} s, the last time without an "
            "answer.",
            status=self._last.status,
            remedy=self._last.remedy,
        )
