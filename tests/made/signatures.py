"""The public methods of a client and the arguments that they take."""

from __future__ import annotations

import inspect
import typing


def methods(kind: type) -> dict[str, typing.Callable]:
    """Return the public methods of a client by their names."""
    return {name: one for name, one in inspect.getmembers(kind, callable) if not name.startswith("_")}


def arguments(method: typing.Callable) -> list[str]:
    """Return the names of all arguments of a method, its options included."""
    hints = typing.get_type_hints(method)
    names = []
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            (options,) = typing.get_args(hints[parameter.name])
            names += typing.get_type_hints(options)
        else:
            assert hints[parameter.name] is not typing.Any
            names.append(parameter.name)
    return names
