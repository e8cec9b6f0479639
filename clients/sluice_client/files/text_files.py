"""Texts in and out of files: UTF-8 with or without a byte order mark, lines that end with LF or CR LF, JSON.

Names of files need not be UTF-8. Python reads what is none as lone surrogates (PEP 383), which UTF-8 cannot hold; in
JSON they are written as \\udcXX, so that a program that reads it finds the file again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest, unwritten

__all__ = ["as_json", "from_json", "json_lines", "lines", "objects", "read", "write"]

_BLANK = " \t\r\f\v"  # what a line may begin and end with; other white space may belong to a name


def read(path: str | Path) -> str:
    """The text of a file, without its byte order mark; "-" for stdin. Raises InvalidRequest when it cannot be read."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        why = "it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else f"byte {error.start} is none"
        raise InvalidRequest(f"{path} should be text in UTF-8; {why}. Save it as UTF-8.") from None
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        raise InvalidRequest(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def lines(text: str) -> list[str]:
    """The lines of a text without blanks around them; only LF and CR LF end one, unlike with `str.splitlines`."""
    return [line.strip(_BLANK) for line in text.split("\n")]


def write(path: str | Path, text: str) -> None:
    """Raises InvalidRequest or CannotWrite when the file cannot be written."""
    try:
        Path(path).write_bytes(text.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError) as error:
        raise unwritten(path, error) from None


def as_json(value: Any, encoding: str = "utf-8") -> str:
    """JSON on one line; letters beyond ASCII as they are, or all as \\uXXXX where `encoding` has not every one.

    Raises ValueError for NaN and infinity, which JSON has not.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def from_json(text: str, what: str) -> Any:
    """The value of a JSON text. Raises InvalidRequest that begins with `what` the text is."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # the latter where it is nested a thousand deep
        raise InvalidRequest(f"{what} is not JSON: {error}.") from None


def objects(path: str) -> list[dict[str, Any]]:
    """The JSON lines of a file, objects with an `id`, as `sluice detect --to jsonl` writes them; "-" for stdin.

    Raises InvalidRequest with the number of the line at fault.
    """
    return json_lines(read(path), path)


def json_lines(text: str, path: str) -> list[dict[str, Any]]:
    """The same, of a text that was read already."""
    entries: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for place, line in enumerate(lines(text), 1):
        if not line:
            continue
        value = from_json(line, f"{path}, line {place}")
        if not isinstance(value, dict) or not isinstance(value.get("id"), str) or not value["id"]:
            raise InvalidRequest(f"{path}, line {place}: an object with `id` was expected.")
        first = seen.setdefault(value["id"], place)
        if first != place:
            raise InvalidRequest(
                f"{path}, line {place}: the id {value['id']!r} stands in line {first} already, and an id names one "
                "picture. Run the command above both folders, so that their names tell them apart."
            )
        entries.append(value)
    return entries
