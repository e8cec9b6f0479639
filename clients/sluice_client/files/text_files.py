"""Reads and writes text: UTF-8 with or without a byte order mark, lines that end with LF or CR LF, JSON.

Names of files need not be UTF-8. Python reads their other bytes as lone surrogates (PEP 383), which UTF-8 cannot hold.
JSON holds them as \\udcXX, so that a program that reads it finds the file again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest, unwritten

__all__ = ["as_json", "from_json", "json_lines", "lines", "objects", "read", "write"]

_BLANK = " \t\r\f\v"  # is stripped from lines; other white space may belong to a name


def read(path: str | Path) -> str:
    """Return the text of a file without its byte order mark; the path "-" is stdin.

    Raises InvalidRequest when the file cannot be read or is not UTF-8.
    """
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        why = "it looks like UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else f"byte {error.start} is not"
        raise InvalidRequest(f"{path} should be text in UTF-8; {why}. Save it as UTF-8.") from None
    except (OSError, ValueError) as error:  # ValueError for a name that no file can have
        raise InvalidRequest(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def lines(text: str) -> list[str]:
    """Split a text into lines and strip them. Only LF and CR LF end a line, unlike in `str.splitlines`."""
    return [line.strip(_BLANK) for line in text.split("\n")]


def write(path: str | Path, text: str) -> None:
    """Write a text as UTF-8. Raises InvalidRequest or CannotWrite when the file cannot be written."""
    try:
        Path(path).write_bytes(text.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError) as error:
        raise unwritten(path, error) from None


def as_json(value: Any, encoding: str = "utf-8") -> str:
    """Write a value as JSON on one line.

    Letters beyond ASCII stay as they are; if `encoding` lacks any of them, all are written as \\uXXXX.
    Raises ValueError for NaN and infinity, which JSON does not have.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)
    return text


def from_json(text: str, what: str) -> Any:
    """Read a JSON text. Raises InvalidRequest, whose message begins with `what`, the name of the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError where it is nested a thousand deep
        raise InvalidRequest(f"{what} is not JSON: {error}.") from None


def objects(path: str) -> list[dict[str, Any]]:
    """Read a file of JSON lines, objects with an `id`, as `sluice detect --to jsonl` writes them; "-" is stdin.

    Raises InvalidRequest with the number of the line that is wrong.
    """
    return json_lines(read(path), path)


def json_lines(text: str, path: str) -> list[dict[str, Any]]:
    """Read JSON lines as `objects` does, from the text of the file at `path`."""
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
