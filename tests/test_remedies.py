"""Remedies in error messages exist: the commands, options, models, fields and make targets that they name.

Every sentence of the server, the backends and the client is looked through: what stands in backticks, every `--option`,
and what follows 'run:'.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sluice_client import cli
from sluice_client.commands import COMMANDS

import export.__main__ as export
from sluice import contracts
from sluice.server import cli as serve

ROOT = contracts.ROOT
PLACES = ("sluice", "backends", "clients/sluice_client", "ensembles", "model_repository")
FILES = sorted(path for place in PLACES for path in (ROOT / place).rglob("*.py"))
PROGRAMS = {"make", "pip", "sudo", "docker", "python", "sluice"}
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
MODELS = set(contracts.models())


def _options(parser) -> set[str]:
    return {text for action in parser._actions for text in action.option_strings}


_commands = next(action for action in cli.parser()._actions if action.dest == "command").choices
OPTIONS = {name: _options(_commands[name]) for name in COMMANDS}
OPTIONS |= {"serve": _options(serve.arguments()), "export": _options(export.arguments())}
EVERY_OPTION = set().union(*OPTIONS.values())


def _bare(tree: ast.AST) -> set[int]:
    """Return the ids of the strings that are no sentences to a reader: docstrings, and the parts of an f-string."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            found |= {id(value) for value in node.values}
    return found


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every string with a space in it; the values of an f-string become {}."""
    tree = ast.parse(path.read_text())
    bare = _bare(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (value.value if isinstance(value, ast.Constant) else "{}" for value in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.lineno, node.value


def names(paths: list[Path]) -> set[str]:
    """Return what a sentence may name in backticks: arguments, fields, keys, functions and classes of these files."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
            elif isinstance(node, ast.Dict):
                found |= {key.value for key in node.keys if isinstance(key, ast.Constant)}
            elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                found |= {each.value for each in node.args if isinstance(each, ast.Constant)}
            elif isinstance(node, ast.Tuple | ast.Set):
                found |= {each.value for each in node.elts if isinstance(each, ast.Constant)}
    return {str(name) for name in found}


NAMES = {place: names([path for path in FILES if path.is_relative_to(ROOT / place)]) for place in PLACES}


def _command(name: str, words: list[str]) -> list[str]:
    """Return a sentence per part of `sluice NAME words` that does not exist."""
    if name not in OPTIONS:
        return [f"there is no command {name}"]
    wanted = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help"}
    return [f"{name} has no option {option}" for option in sorted(wanted - OPTIONS[name])]


def missing(text: str, place: str) -> list[str]:
    """Return what a sentence of the file `place` names although nothing offers it."""
    found = []
    for quoted in re.findall(r"`([^`]+)`", text):
        first, *words = quoted.split()
        if "{" in first or (first == "sluice" and (not words or words[0] in ("COMMAND", "{}"))):
            continue
        if first == "sluice":
            found += _command(words[0], words[1:])
        elif first == "python":
            found += [] if importlib.util.find_spec(words[1]) else [f"there is no module {words[1]}"]
        elif first == "make":
            found += [f"there is no target {word}" for word in words if word not in TARGETS]
        elif place.startswith("clients") and first in OPTIONS:
            found += _command(first, words)
        elif first in OPTIONS and first not in MODELS:
            found.append(f"no verb is called {first}, the command is `sluice {first}`")
        elif first not in MODELS and first.strip(".()") not in NAMES[place]:
            found.append(f"nothing of {place} is called {first}")
    loose = re.sub(r"`[^`]*`|python -m export[^;]*", "", text)
    found += [f"no option {o}" for o in re.findall(r"(?<![\w-])--[a-z][a-z-]+", loose) if o not in EVERY_OPTION]
    for run in re.findall(r"\brun: (\w+)(?: ([\w-]+))?", text):
        offered = {"make": TARGETS, "sluice": OPTIONS}.get(run[0])
        if run[0] not in PROGRAMS or (offered is not None and run[1] not in offered):
            found.append(f"nobody can run {' '.join(run)}")
    return found


@pytest.mark.parametrize("place", PLACES)
def test_every_remedy_exists(place):
    found = [
        f"{path.relative_to(ROOT)}:{line}: {wrong}"
        for path in FILES
        if path.is_relative_to(ROOT / place)
        for line, text in sentences(path)
        if " " in text
        for wrong in missing(text, place)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("text", "said"), [
    ("no frame; `list` shows those that are", "no verb is called list, the command is `sluice list`"),
    ("run `sluice lst`", "there is no command lst"),
    ("run `sluice list --pages`", "list has no option --pages"),
    ("give more with --tiemout", "no option --tiemout"),
    ("it is missing; run: make exprt", "nobody can run make exprt"),
    ("it is missing; run: sluice exprt", "nobody can run sluice exprt"),
    ("call `make exprt`", "there is no target exprt"),
    ("see `python -m sluice.galery verify`", "there is no module sluice.galery"),
])  # fmt: skip
def test_a_remedy_that_does_not_exist_is_found(text, said):
    assert missing(text, "sluice") == [said]


@pytest.mark.parametrize("text", [
    "run `sluice list --json`", "send them as `select` gave them", "run: make export", "run: sluice export",
    "see --timeout",
    "start it with --auto-complete-config",
])  # fmt: skip
def test_a_remedy_that_exists_passes(text):
    assert missing(text, "sluice") == []
