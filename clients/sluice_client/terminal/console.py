"""What a command says: data on stdout, everything else on stderr, and the exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from tqdm import tqdm

from ..errors import Cancelled, CannotWrite, DeadlineExceeded, ServerFailed, SluiceError, Unavailable, UnexpectedAnswer
from ..files.text_files import as_json

__all__ = ["INTERRUPTED", "OK", "SOME_FAILED", "TRY_AGAIN", "USAGE", "Console", "Patience", "StoppedReading",
           "exit_code", "let_go"]  # fmt: skip

OK = 0
SOME_FAILED = 1  # some items were refused, the server failed, or what it said could not be written
USAGE = 2  # wrong arguments or bad input; nothing was done
TRY_AGAIN = 75  # no server, or a busy one: the same command may work later (sysexits.h: EX_TEMPFAIL)
INTERRUPTED = 130

_NEWS = 5.0  # seconds between two lines to who waits


def exit_code(error: SluiceError) -> int:
    if isinstance(error, Unavailable | DeadlineExceeded):
        return TRY_AGAIN
    if isinstance(error, ServerFailed | UnexpectedAnswer | Cancelled | CannotWrite):
        return SOME_FAILED
    return USAGE


class StoppedReading(Exception):
    """Whoever read stdout has seen enough."""


def let_go() -> None:
    """Let what is still to be printed go nowhere, so that Python does not complain once more while it closes stdout."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Console:
    """json: one object a line on stdout instead of text. quiet: no progress and no notes, errors only. tells: the
    command's work is what it prints, so that it ends when nobody reads on."""

    def __init__(self, json: bool = False, quiet: bool = False, tells: bool = False):
        self.json = json
        self.quiet = quiet
        self.tells = tells

    def data(self, value: dict[str, Any]) -> None:
        """One JSON object a line; NaN does not occur in JSON and must not be in `value`."""
        self.write(as_json(value, sys.stdout.encoding or "utf-8") + "\n")

    def write(self, text: str) -> None:
        """Print what is data. Raises CannotWrite when it is lost, and StoppedReading when nobody reads on; a command
        that does more than tell goes on then, without printing."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            let_go()
            if self.tells:
                raise StoppedReading from None
        except OSError as error:
            name = "stdout" if sys.stdout is sys.__stdout__ else getattr(sys.stdout, "name", "stdout")
            raise CannotWrite(f"{name} cannot be written: {error.strerror or error}.") from None

    def text(self, line: str = "") -> None:
        self.write(line + "\n")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Columns as wide as they need; numbers to the right."""
        lines = [[_printable(cell) for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in [list(head), *lines]) for i in range(len(head))]
        text = []
        right = [bool(lines) and all(_number(row[i]) for row in lines) for i in range(len(head))]
        for row in [list(head), *lines]:
            cells = [
                cell.rjust(width) if numeric else cell.ljust(width)
                for cell, width, numeric in zip(row, widths, right, strict=True)
            ]
            text.append("  ".join(cells).rstrip() + "\n")
        self.write("".join(text))

    def note(self, line: str) -> None:
        """For a person at the terminal."""
        if not self.quiet:
            self._say(line)

    def error(self, line: str) -> None:
        self._say(f"sluice: {line}")

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # there is no other place to say that stderr cannot be written
            if sys.stderr is not None:
                tqdm.write(line, file=sys.stderr)

    def progress(self, total: int | None, unit: str, what: str) -> tqdm:
        """A bar on stderr; none when that is no terminal or --quiet was given."""
        return tqdm(
            total=total,
            unit=unit,
            desc=what,
            file=sys.stderr,
            disable=self.quiet or sys.stderr is None or not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
        )


class Patience:
    """Tells who waits for a server why, and until when: at once, then now and then, however many calls wait.

    An instance is the `on_retry` of a client; its calls may come from several threads.
    """

    def __init__(self, console: Console):
        self._console = console
        self._lock = threading.Lock()
        self._next = 0.0  # when there may be another line

    def __call__(self, error: Unavailable, wait: float) -> None:
        """error: why a call is tried again; wait: the seconds before that."""
        with self._lock:
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + _NEWS
        self._console.note(f"{error.message} Trying again{_until(error.left)}; stop with Ctrl-C.")


def _until(left: float | None) -> str:
    """left: seconds until the deadline; None: not known."""
    if left is None:
        return ""
    clock = time.strftime("%H:%M:%S", time.localtime(time.time() + left))
    return f" for up to {left:.1f} s" if left < 9.5 else f" for up to {left:.0f} s, until {clock}"


def _printable(text: str) -> str:
    """Control characters of a stranger's id or file name must not steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("", "-")
    return True
