"""Prints what a command has to say: data on stdout, everything else on stderr. Holds the exit codes."""

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
SOME_FAILED = 1  # some items were refused, the server failed, or its answer could not be written
USAGE = 2  # wrong arguments or bad input; nothing was done
TRY_AGAIN = 75  # no server, or a busy one: the same command may work later (sysexits.h: EX_TEMPFAIL)
INTERRUPTED = 130

_NEWS = 5.0  # seconds between two lines about waiting


def exit_code(error: SluiceError) -> int:
    """Return the exit code of a command that ends with this error."""
    if isinstance(error, Unavailable | DeadlineExceeded):
        return TRY_AGAIN
    if isinstance(error, ServerFailed | UnexpectedAnswer | Cancelled | CannotWrite):
        return SOME_FAILED
    return USAGE


class StoppedReading(Exception):
    """The reader of stdout has closed it, as `head` does when it has read enough."""


def let_go() -> None:
    """Send the rest of stdout to nowhere, so that Python does not report a second error while it closes stdout."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Console:
    """Prints the data, notes, errors and progress of one command.

    json:  True to print one JSON object per line on stdout instead of text.
    quiet: True to print errors only, neither progress nor notes.
    tells: True if all that the command does is to print, so that it ends when nobody reads its output any more.
    """

    def __init__(self, json: bool = False, quiet: bool = False, tells: bool = False):
        self.json = json
        self.quiet = quiet
        self.tells = tells

    def data(self, value: dict[str, Any]) -> None:
        """Print a JSON object on a line of its own. `value` must not hold NaN, which JSON does not have."""
        self.write(as_json(value, sys.stdout.encoding or "utf-8") + "\n")

    def write(self, text: str) -> None:
        """Print data.

        Raises CannotWrite if the data is lost. If nobody reads stdout any more, a command that does nothing but print
        gets StoppedReading; any other command goes on without printing.
        """
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
        """Print a line of data."""
        self.write(line + "\n")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print rows under a head, in columns as wide as their cells; columns of numbers are aligned to the right."""
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
        """Print a line for a person on stderr, unless --quiet is given."""
        if not self.quiet:
            self._say(line)

    def error(self, line: str) -> None:
        """Print an error on stderr."""
        self._say(f"sluice: {line}")

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # there is no other place to report that stderr cannot be written
            if sys.stderr is not None:
                tqdm.write(line, file=sys.stderr)

    def progress(self, total: int | None, unit: str, what: str) -> tqdm:
        """Return a progress bar on stderr. It shows nothing if stderr is no terminal or --quiet is given.

        total: of units; None if it is not known. what: the word in front of the bar, such as "adding".
        """
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
    """Tells a person who waits for a server why, and until when: at once, then now and then, however many calls wait.

    An instance is the `on_retry` of a client. It may be called from several threads.
    """

    def __init__(self, console: Console):
        self._console = console
        self._lock = threading.Lock()
        self._next = 0.0  # when there may be another line

    def __call__(self, error: Unavailable, wait: float) -> None:
        """Print a line, unless one was printed shortly before.

        error: why a call is tried again. wait: seconds until then.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + _NEWS
        self._console.note(f"{error.message} Trying again{_until(error.left)}; stop with Ctrl-C.")


def _until(left: float | None) -> str:
    """Return how long the calls will be tried again. left: seconds until the deadline; None if it is not known."""
    if left is None:
        return ""
    clock = time.strftime("%H:%M:%S", time.localtime(time.time() + left))
    return f" for up to {left:.1f} s" if left < 9.5 else f" for up to {left:.0f} s, until {clock}"


def _printable(text: str) -> str:
    """Replace control characters, so that another person's id or file name cannot steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _number(text: str) -> bool:
    """Return whether a cell belongs to a column of numbers; an empty cell and "-" do."""
    try:
        float(text)
    except ValueError:
        return text in ("", "-")
    return True
