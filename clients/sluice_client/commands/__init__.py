"""The commands of `sluice`, one file each.

A command's file has a docstring (first line: what it does; the rest: examples, shown by --help), `LOCAL` (True: has no
client), `arguments(parser)` and `run(args, console, client) -> exit code`; `TELLS = True` where all its work is what it
prints, so that it ends when nobody reads on; and `STOPPED`, what is said after Ctrl-C, where the usual does not hold.
"""

from __future__ import annotations

from types import ModuleType

from . import (
    add,
    compare,
    completion,
    crop,
    delete,
    detect,
    doctor,
    encode,
    enhance,
    get,
    interpolate,
    list,
    match,
    page,
    retrieve,
    sample,
    score,
    segment,
    select,
    words,
)

__all__ = ["COMMANDS"]

COMMANDS: dict[str, ModuleType] = {
    "add": add,
    "retrieve": retrieve,
    "match": match,
    "crop": crop,
    "detect": detect,
    "score": score,
    "select": select,
    "segment": segment,
    "compare": compare,
    "words": words,
    "sample": sample,
    "encode": encode,
    "interpolate": interpolate,
    "enhance": enhance,
    "page": page,
    "list": list,
    "get": get,
    "delete": delete,
    "doctor": doctor,
    "completion": completion,
}
