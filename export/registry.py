"""The table of networks that can be exported, read by every step (graph, check, card, plan), and of the commands.

The table fills itself: each folder of export/ with a module `entry` adds that module's ENTRIES (networks) and, where it
has any, its COMMANDS. Nothing here imports torch; a network's `load` does, when it is called.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import replace as replace_fields
from pathlib import Path
from types import ModuleType

import export
from export.entry import Command, ExportError, Network, home
from sluice.process import weights


def entry_modules() -> Iterator[ModuleType]:
    """Import and yield the module `entry` of each folder of export/ that has one, ordered by the folder's name."""
    for folder in sorted(found.name for found in pkgutil.iter_modules(export.__path__) if found.ispkg):
        name = f"export.{folder}.entry"
        if importlib.util.find_spec(name):
            yield importlib.import_module(name)


def gathered() -> dict[str, Network]:
    """Return every network by name. Raises ValueError where two entries claim one name."""
    found: dict[str, Network] = {}
    for module in entry_modules():
        for network in module.ENTRIES:
            if network.name in found:
                raise ValueError(f"{module.__name__} lists {network.name}, which another entry lists already")
            found[network.name] = network
    return found


NETWORKS: dict[str, Network] = gathered()
COMMANDS: dict[str, Command] = {
    command.name: command for module in entry_modules() for command in getattr(module, "COMMANDS", ())
}


def find(name: str) -> Network:
    """Return the network of that name. Raises ExportError, naming those that there are, for an unknown name."""
    if name not in NETWORKS:
        raise ExportError(f"there is no network {name!r}; there are: {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name]


def families() -> dict[str, tuple[Network, ...]]:
    """Return the networks by the name of their weights. Those of one file are exported together and share a card."""
    found: dict[str, tuple[Network, ...]] = {}
    for network in NETWORKS.values():
        name = network.weights.stem
        found[name] = (*found.get(name, ()), network)
    return found


def together(name: str) -> tuple[Network, ...]:
    """Return all networks that are exported from one file of weights. name: of the weights, or of one of the networks.

    Raises ExportError, naming the weights and the commands that there are, for an unknown name.
    """
    known = families()
    if name not in known and name not in NETWORKS:
        others = "".join(f"; {command.purpose}: {command.usage}" for command in COMMANDS.values())
        raise ExportError(f"there is no network {name!r}; there are: {', '.join(sorted(known))}{others}")
    return known[name if name in known else NETWORKS[name].weights.stem]


def usual() -> list[str]:
    """Return the names of the weights of every network that the repositories serve, in the order of the table.

    A network that takes another's place (`Network.model`) is left out, since its weights are a user's own.
    """
    return [name for name, networks in families().items() if not any(network.model for network in networks)]


def at(networks: Sequence[Network], root: Path) -> tuple[Network, ...]:
    """Return the networks as written to `root`, which may be another than the one that this code lies in."""
    return tuple(networks) if root == home() else tuple(replace_fields(network, root=root) for network in networks)


def weights_of(network: Network, given: Path | None) -> Path:
    """Return the weights to export: those given, those in the network's root, or those that came with this code.

    Raises ExportError, with the way to train them, where there are none.
    """
    path = given or network.weights
    if given is None and not path.exists() and network.name in NETWORKS:
        path = network.shipped
    if not path.is_file():
        free = weights.parts(network.root)[1] == weights.FREE and given is None
        way = "docs/commercial.md says how" if free else f"train them with: {network.train}"
        raise ExportError(f"weights {path} are missing; {way}")
    return path
