"""The sets of weights that are shipped: their names, the places of their engines, and which of them a server serves.

`research` is the better set, and its data allow research only; `free` was trained on data that allow any use. The files
of weights lie in `weights/` and `weights/free/` of a tree. Engines of two sets have the same names, so each set has a
place of its own: `research` the tree itself, `free` the folder `roots/free` in it. docs/commercial.md compares the two.

A graph of `free`, or of a user's own weights, names its set in its metadata. Without that name it is of `research`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from sluice.versions import network_record

RESEARCH, FREE = "research", "free"
SETS = (RESEARCH, FREE)
OWN = "own"  # weights that are not shipped
VARIABLE = "SLUICE_WEIGHTS"  # of the environment: the set where a command line names none
KEY = "sluice.weights_set"  # of a graph's metadata
OURS = "sluice.network"  # of the metadata of every graph that `sluice export` wrote


def chosen(given: str | None = None) -> str:
    """Return the set to use. given: a name; None for that of the environment, else `research`.

    Raises ValueError for a name that is no set's.
    """
    name = given or os.environ.get(VARIABLE) or RESEARCH
    if name not in SETS:
        raise ValueError(f"there are no weights {name!r}; choose {' or '.join(SETS)} with --weights or {VARIABLE}")
    return name


def place(tree: Path, name: str) -> Path:
    """Return the folder of a set's repositories and engines. tree: root of them all."""
    return tree if name == RESEARCH else tree / "roots" / name


def parts(place: Path) -> tuple[Path, str]:
    """Return the tree and the name of the set that a place of engines belongs to."""
    inside = place.name in SETS and place.parent.name == "roots"
    return (place.parent.parent, place.name) if inside else (place, RESEARCH)


def shelf(place: Path) -> Path:
    """Return the folder with weights, records and cards of the set whose engines lie in a place."""
    tree, name = parts(place)
    return tree / "weights" if name == RESEARCH else tree / "weights" / name


def named(folders: Iterable[Path]) -> dict[str, str]:
    """Return the set of each network, by name, as its graph tells. folders: of the networks, in a model repository.

    A network without a graph, or with one of another maker, is the user's own.
    """
    found = {}
    for folder in folders:
        try:
            record: Mapping[str, str] = network_record(folder.parent, folder.name)
        except (FileNotFoundError, ValueError):  # an engine of the user's own; what cannot be served fails later
            record = {}
        found[folder.name] = record.get(KEY) or (RESEARCH if OURS in record else OWN)
    return found


def told(networks: Mapping[str, str]) -> str:
    """Return what is served in words, such as "free" or "research; own: mixture_detector". networks: as of `named`."""
    by_set: dict[str, list[str]] = {}
    for name, label in networks.items():
        by_set.setdefault(label, []).append(name)
    largest = max(by_set, key=lambda label: len(by_set[label]), default="")
    rest = (f"{label}: {', '.join(names)}" for label, names in sorted(by_set.items()) if label != largest)
    return "; ".join([largest, *rest])
