"""Runs `python -m sluice.server.release`: both repositories side by side in dist/repository, for tools that take one
root.

Models are copied with their built networks and all their configs. Python's caches are not copied.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from sluice.process import weights
from sluice.server import layout
from sluice.server.layout import StartError
from sluice.server.root import command


def release(root: Path, target: Path) -> list[str]:
    """Copy every model of both repositories under `root` into `target`, which is made anew. Returns the models' names.

    Raises StartError if a config cannot be read, a name stands in both repositories, or a network was not exported.
    Then nothing has been changed.
    """
    models = layout.find_models([root / "model_repository", root / "ensembles"], None, auto_complete=False)
    names = layout.choose(models, None, command(root))
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for name in names:
        shutil.copytree(models[name].folder, fresh / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return sorted(names)


def main(argv: Sequence[str]) -> int:
    """Run the command: print the folder and the names. Returns 2 if something is missing."""
    parser = argparse.ArgumentParser(prog="python -m sluice.server.release", description=__doc__.split("\n")[0])
    parser.add_argument("--root", metavar="DIR", help="folder with both repositories (default: as `sluice serve`)")
    parser.add_argument("--weights", choices=weights.SETS, help="set of weights (default: as `sluice serve`)")
    parser.add_argument("--target", metavar="DIR", type=Path, help="folder to make (default: dist/repository there)")
    given = parser.parse_args(argv)
    try:
        root, notes = layout.find_root(given.root, given.weights)
        for line in notes:
            print(f"release: {line}", file=sys.stderr)
        target = given.target or root / "dist/repository"
        names = release(root, target)
    except StartError as error:
        print(f"release: {error}", file=sys.stderr)
        return 2
    print(f"{target}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
