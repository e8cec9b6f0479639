"""The commands of `sluice`, one file each. Every file in this folder is a command; no list names them.

The file of a command has:

* a docstring, which --help shows: first what the command does, after an empty line its examples and notes;
* `PLACE`, where `sluice --help` lists the command: commands with the same tens belong together, the ones order them;
* `LOCAL`, True if the command asks no server by itself, so that `run` gets None as its client;
* `arguments(parser)`, which adds the command's options, and `run(args, console, client)`, which returns an exit code;
* `TELLS = True` if all that the command does is to print, so that it ends when nobody reads its output any more;
* `STOPPED`, the sentence that Ctrl-C prints, if the usual one does not hold.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

__all__ = ["COMMANDS"]


def _found() -> dict[str, ModuleType]:
    """Return the command of each file in this folder by its name, in the order of their `PLACE`."""
    modules = {one.name: importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)}
    return dict(sorted(modules.items(), key=lambda item: item[1].PLACE))


COMMANDS = _found()
