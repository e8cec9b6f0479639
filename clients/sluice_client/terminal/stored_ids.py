"""The ids of stored frames on a command line: as words, or from stdin in place of `-`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

from ..errors import InvalidRequest
from ..files import text_files

__all__ = ["FROM_STDIN", "ids", "lines", "null"]

FROM_STDIN = "- reads ids from stdin, one a line"


def null(parser: argparse.ArgumentParser, where: str = "the ids on stdin") -> None:
    """Add the option --null. where: what it is about."""
    parser.add_argument(
        "--null", action="store_true", help=f"{where} end with a zero byte, as `sluice list --null` writes them"
    )


def ids(words: Iterable[str], zero: bool) -> list[str]:
    """Return the ids, each once. words: as given. zero: whether --null was given.

    Raises InvalidRequest where stdin has none, or --null says what is not so.
    """
    words = list(words)
    if zero and "-" not in words:
        raise InvalidRequest("--null is about the ids on stdin; give - for them, or leave it out.")
    if words.count("-") > 1:
        raise InvalidRequest("- stands for stdin, which can be read once; give it once.")
    found = list(dict.fromkeys(_all(words, zero)))
    if not found:
        raise InvalidRequest("There are no ids on stdin.")
    return found


def _all(words: Iterable[str], zero: bool) -> Iterator[str]:
    for word in words:
        if word == "-":
            yield from lines("-", zero)
        else:
            yield word


def lines(path: str, zero: bool) -> list[str]:
    """Return the ids in a file, "-" for stdin: one a line, or with `zero` each before a zero byte."""
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
