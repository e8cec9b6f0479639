"""Reads the ids of stored frames from a command line, or from stdin in the place of `-`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

from ..errors import InvalidRequest
from ..files import text_files

__all__ = ["FROM_STDIN", "ids", "lines", "null"]

FROM_STDIN = "- reads ids from stdin, one per line"


def null(parser: argparse.ArgumentParser, where: str = "the ids on stdin") -> None:
    """Add the option --null to a command's parser. where: the ids that it is about, for the help text."""
    parser.add_argument(
        "--null", action="store_true", help=f"{where} end with a zero byte, as `sluice list --null` writes them"
    )


def ids(words: Iterable[str], zero: bool) -> list[str]:
    """Return the ids, each of them once.

    words: of the command line.
    zero:  True if --null is given.
    Raises InvalidRequest if there are no ids, or if --null does not fit.
    """
    words = list(words)
    if zero and "-" not in words:
        raise InvalidRequest("--null is for ids on stdin; give - to read them, or leave --null out.")
    if words.count("-") > 1:
        raise InvalidRequest("- stands for stdin, which can be read only once; give - once.")
    found = list(dict.fromkeys(_all(words, zero)))
    if not found:
        raise InvalidRequest("There are no ids on stdin.")
    return found


def _all(words: Iterable[str], zero: bool) -> Iterator[str]:
    """Yield the words, with the lines of stdin in the place of "-"."""
    for word in words:
        if word == "-":
            yield from lines("-", zero)
        else:
            yield word


def lines(path: str, zero: bool) -> list[str]:
    """Return the ids in a file.

    path: of the file; "-" for stdin.
    zero: True if a zero byte ends each id; False if each stands on a line of its own.
    Raises InvalidRequest if the file has the other form.
    """
    text = text_files.read(path)
    if zero:
        if text.strip() and "\0" not in text:
            raise InvalidRequest(f"{_called(path)} has no zero byte; leave --null out.")
        return [id for id in text.split("\0") if id.strip("\r\n")]
    if "\0" in text:
        raise InvalidRequest(f"The ids of {_called(path)} end with zero bytes; say so with --null.")
    return [id for id in text_files.lines(text) if id]


def _called(path: str) -> str:
    return "stdin" if path == "-" else path
