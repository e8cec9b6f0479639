"""What a command says: data on stdout, everything else on stderr, and the exit codes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from tqdm import tqdm

from .errors import Cancelled, DeadlineExceeded, ServerFailed, SluiceError, Unavailable, UnexpectedAnswer
from .text_files import as_json

__all__ = ["INTERRUPTED", "OK", "SOME_FAILED", "TRY_AGAIN", "USAGE", "Console", "Patience", "exit_code"]

OK = 0
SOME_FAILED = 1  # some items were refused, or the server failed
USAGE = 2  # wrong arguments or bad input; nothing was done
TRY_AGAIN = 75  # no server, or a busy one: the same command may work later (sysexits.h: EX_TEMPFAIL)
INTERRUPTED = 130

_NEWS = 5.0  # seconds between two lines to who waits


def exit_code(error: SluiceError) -> int:
    if isinstance(error, Unavailable | DeadlineExceeded):
        return TRY_AGAIN
    if isinstance(error, ServerFailed | UnexpectedAnswer | Cancelled):
        return SOME_FAILED
    return USAGE


class Console:
    """json: one object a line on stdout instead of text. quiet: no progress and no notes, errors only."""

    def __init__(self, json: bool = False, quiet: bool = False):
        self.json = json
        self.quiet = quiet

    def data(self, value: dict[str, Any]) -> None:
        """One JSON object a line; NaN does not occur in JSON and must not be in `value`."""
        print(as_json(value, sys.stdout.encoding or "utf-8"), flush=True)

    def text(self, line: str = "") -> None:
        print(line, flush=True)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Columns as wide as they need; numbers to the right."""
        lines = [[_printable(cell) for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in [list(head), *lines]) for i in range(len(head))]
        right = [bool(lines) and all(_number(row[i]) for row in lines) for i in range(len(head))]
        for row in [list(head), *lines]:
            cells = [
                cell.rjust(width) if numeric else cell.ljust(width)
                for cell, width, numeric in zip(row, widths, right, strict=True)
            ]
            print("  ".join(cells).rstrip())
        sys.stdout.flush()

    def note(self, line: str) -> None:
        """For a person at the terminal."""
        if not self.quiet:
            tqdm.write(line, file=sys.stderr)

    def error(self, line: str) -> None:
        tqdm.write(f"sluice: {line}", file=sys.stderr)

    def progress(self, total: int | None, unit: str, what: str) -> tqdm:
        """A bar on stderr; none when that is no terminal or --quiet was given."""
        return tqdm(
            total=total,
            unit=unit,
            desc=what,
            file=sys.stderr,
            disable=self.quiet or not sys.stderr.isatty(),
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
