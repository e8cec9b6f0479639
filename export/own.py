"""Holds what the commands share that export a network of a user's own: their options, their root, their exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from export import destination
from export.entry import ROOT, ExportError

Say = Callable[[str], None]


def say(line: str) -> None:
    """Print a line of progress, or an error, to stderr."""
    print(line, file=sys.stderr, flush=True)


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of `sluice export NAME`, which has --root. description: printed as it is laid out."""
    made = argparse.ArgumentParser(
        prog=f"sluice export {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 done, 1 it could not be done (one line says why), 2 wrong usage, 130 stopped with "
        "Ctrl-C.",
    )
    made.add_argument("--root", type=Path, metavar="DIR", help=destination.HELP)
    return made


def add_card_options(made: argparse.ArgumentParser) -> None:
    """Add --data and --licence, which tell a card what the weights cannot."""
    made.add_argument("--data", default="", help="for the card: what it was trained on, if the weights are unknown")
    made.add_argument("--licence", default="", help="for the card: the licence of unknown weights")


def place(given: Path | None, clone: bool = False) -> Path:
    """Return the root to write to, brought up to date if it is there. A new one is left to `lay_out`.

    clone: whether the root may be this clone, as it may for networks that take the place of none of ours.
    Raises ExportError for a clone that it may not be, and as `destination.prepare` does.
    """
    root = destination.find(given)
    if root == ROOT and not clone:
        raise ExportError("the files of a clone stay as they are; name another folder with --root DIR")
    return root if _new(root) else destination.prepare(given, say)


def lay_out(root: Path, say: Say) -> None:
    """Lay out a root that is new. A command does so when it has looked at the network and is about to write it."""
    if _new(root):
        destination.prepare(root, say)


def _new(root: Path) -> bool:
    return not root.is_dir() or not any(root.iterdir())


def run(command: str, work: Callable[[], None]) -> int:
    """Do the work of a command and return its exit status. A failure is told in one line that begins with `command`."""
    try:
        destination.needed("onnx")
        work()
    except ExportError as error:
        say(f"{command}: {error}")
        return 1
    except OSError as error:
        reason = error.strerror or str(error)
        say(f"{command}: {f'{error.filename}: ' if error.filename else ''}{reason}")
        return 1
    except KeyboardInterrupt:
        say(f"{command}: stopped; the same command begins again")
        return 130
    return 0
