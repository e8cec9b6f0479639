"""Finds the root: the folder of repositories and engines, in the clone or in the user's data folder.

A clone is its own root: its engines lie in model_repository/*/1. An installed package carries the same tree in
`sluice/shipped`, which may be read-only and is no place for files that a user builds and changes. So `sluice export`
copies both repositories to a root in the user's data folder and builds the engines there, and `sluice serve` serves it.

A root holds both sets of weights; `sluice.process.weights` says where the engines of each lie in it.

A root remembers what was copied (RECORD). If the package is newer than the copy, files that nobody touched are
replaced, and files that somebody changed are kept and named.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from sluice import contracts
from sluice.process import weights as sets

SHIPPED = Path(__file__).resolve().parent.parent / "shipped"  # in an installed package; see setup.py
RECORD = ".shipped.json"  # {"files": {"model_repository/NAME/config.pbtxt": SHA-256 of what the package had}}
BUILT = ("model.onnx", "model.plan", "model.plan.json", "model.rtx.onnx", "model.rtx.onnx.json")


class RootError(RuntimeError):
    """A root cannot be used. The message is one line that says what is wrong and what to do."""


def origin() -> Path:
    """Return the tree that came with this package: model_repository/, ensembles/, backends/, export/, weights/."""
    return SHIPPED if SHIPPED.is_dir() else contracts.ROOT


def default(weights: str | None = None) -> Path:
    """Return the root to use if none is given: the clone, or else the folder `sluice` in the user's data folder.

    weights: name of the set whose engines lie there; None for that of the environment.

    The data folder is XDG_DATA_HOME, else ~/.local/share (XDG Base Directory Specification, by which relative paths are
    ignored). Raises RootError if the user has no home, and for an unknown set.
    """
    return within(_tree(), weights)


def within(tree: Path, weights: str | None) -> Path:
    """Return the place of a set's engines in a tree. weights: None for the set of the environment.

    Raises RootError for an unknown set.
    """
    try:
        return sets.place(tree, sets.chosen(weights))
    except ValueError as error:
        raise RootError(str(error)) from None


def _tree() -> Path:
    """Return the folder of `default` that holds the engines of all sets. Raises RootError if the user has no home."""
    if origin() != SHIPPED:
        return contracts.ROOT
    told = os.environ.get("XDG_DATA_HOME", "")
    try:
        data = Path(told) if os.path.isabs(told) else Path.home() / ".local" / "share"
    except RuntimeError:
        raise RootError("this user has no home folder for models and engines; name a folder with --root") from None
    return data / "sluice"


def find(given: str | os.PathLike[str] | None = None, weights: str | None = None) -> tuple[Path, list[str]]:
    """Return the root to serve, `given` or the default, and a line per file of the root that an operator should look
    at.

    weights: name of the set to serve; None for that of the environment. A root that was laid out by an older package is
    brought up to date. Raises RootError if there is no root, with the command that makes it.
    """
    root = within(Path(given), weights) if given else default(weights)
    missing = [name for name in contracts.REPOSITORIES if not (root / name).is_dir()]
    if missing:
        raise RootError(f"there is no {' and no '.join(missing)} in {root}; run: {command(root)}")
    return root.resolve(), lay_out(root) if (root / RECORD).is_file() else []


def prepare(given: str | os.PathLike[str] | None = None, weights: str | None = None) -> tuple[Path, list[str]]:
    """Return the root to build engines in, as `find` does, and lay it out if it is not there yet."""
    return laid_out(within(Path(given), weights) if given else default(weights))


def laid_out(root: Path) -> tuple[Path, list[str]]:
    """Return the place of a set's engines, laid out if it is not there yet, and what `find` returns besides."""
    there = all((root / name).is_dir() for name in contracts.REPOSITORIES)
    if there and not (root / RECORD).is_file():
        return root.resolve(), []  # a clone, or repositories of the user's own
    return root.resolve(), lay_out(root)


def command(root: Path, name: str = "export") -> str:
    """Return the command that makes the engines of a root, or serves them, as a line for the terminal."""
    tree, weights = sets.parts(root)
    where = "" if tree.resolve() == _tree().resolve() else f" --root {shlex.quote(str(tree))}"
    return f"sluice {name}{where}{'' if weights == sets.chosen() else f' --weights {weights}'}"


def backends(root: Path) -> Path:
    """Return the folder of our Python-based backends: the root's own if it has one, else the package's."""
    own = root / "backends"
    return own if own.is_dir() else origin() / "backends"


def lay_out(root: Path) -> list[str]:
    """Copy the package's repositories to `root`, or bring an earlier copy up to date. Engines are not touched.

    Returns a line per file that was kept because somebody changed it and whose original has changed since.
    Raises RootError if `root` has to be written and cannot be.
    """
    shipped = _shipped()
    kept = []
    try:
        before = _recorded(root)
        now = {name: _digest(path) for name, path in shipped.items()}
        for name, path in shipped.items():
            target = root / name
            there = _digest(target) if target.is_file() else None
            if there is None or (there != now[name] and there == before.get(name)):
                _replace(target, path.read_bytes())
            elif there != now[name] and before.get(name) != now[name]:
                kept.append(f"{target} was changed here and is kept; the package's own is now another: {path}")
        kept += _retire(root, before, now)
        if before != now:
            _replace(root / RECORD, json.dumps({"files": now}, indent=1).encode())
    except OSError as error:
        raise RootError(
            f"cannot write {error.filename or root} ({error.strerror}), and the models in {root} are not those of this "
            "package; change its permissions, or name another folder with --root"
        ) from None
    return kept


def _shipped() -> dict[str, Path]:
    """Return every file of both repositories that is not built here, by its place in a root."""
    source = origin()
    paths = [path for name in contracts.REPOSITORIES for path in sorted((source / name).rglob("*")) if path.is_file()]
    return {
        path.relative_to(source).as_posix(): path
        for path in paths
        if path.name not in BUILT and "__pycache__" not in path.parts
    }


def _recorded(root: Path) -> dict[str, str]:
    """Read what `lay_out` wrote last. Returns nothing if it never ran or the file is damaged; files that differ are
    then kept.
    """
    try:
        files = json.loads((root / RECORD).read_text(encoding="utf-8"))["files"].items()
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: digest for name, digest in files if _inside(name) and isinstance(digest, str)}


def _inside(name: str) -> bool:
    """Tell whether a recorded place is that of a model's file in a root, and not one elsewhere."""
    parts = name.split("/")
    return len(parts) > 2 and parts[0] in contracts.REPOSITORIES and not {"", ".", ".."}.intersection(parts)


def _retire(root: Path, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Remove what the package no longer has: a model with everything built for it, or a file of a model that stays.

    before, now: SHA-256 by place. A file that somebody changed is kept, and so is its whole model.
    Returns a line per such file.
    """
    kept, gone = [], [name for name in before if name not in now]
    changed = {name for name in gone if (root / name).is_file() and _digest(root / name) != before[name]}
    for model in {_model(name) for name in gone}:
        mine = [name for name in gone if _model(name) == model]
        if model in {_model(name) for name in now}:
            for name in set(mine) - changed:
                (root / name).unlink(missing_ok=True)
        elif not changed.intersection(mine):
            shutil.rmtree(root / model, ignore_errors=True)
        kept += [f"{root / name} was changed here and is kept; the package has it no longer" for name in mine
                 if name in changed]  # fmt: skip
    return kept


def _model(name: str) -> str:
    """Return the folder of the model that a file belongs to: 'ensembles/detect' for 'ensembles/detect/1/.gitkeep'."""
    return "/".join(name.split("/")[:2])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    """Write a file at once, so that a reader finds the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
