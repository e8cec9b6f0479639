"""The parameter `calls` of every model beside what its code calls: read out of the source, so that neither can move
alone. (At run time the glue refuses a call that is not listed.)"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sluice import contracts
from sluice.server import layout

ROOT = contracts.ROOT
MODELS = layout.find_models([ROOT / "model_repository", ROOT / "ensembles"], None, False)
PYTHON = sorted(name for name, model in MODELS.items() if (model.folder / "1/model.py").is_file())


class Module:
    """The functions and classes of a module or package of `sluice`, the names that it imports, and its constants."""

    def __init__(self, path: Path):
        tree = ast.parse(path.read_text())
        self.made: dict[str, ast.AST] = {}
        self.constants: dict[str, str] = {}
        self.imported: dict[str, tuple[str, str | None]] = {}  # name -> (module, name in it; None: the module itself)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sluice":
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    own = (inner, None) if source(inner) else (node.module, alias.name)
                    self.imported[alias.asname or alias.name] = own
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.made[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                for target in node.targets:
                    if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                        self.constants[target.id] = node.value.value

    def home(self, name: ast.AST) -> tuple[Module, str] | None:
        """Return the module in which a name or `module.name` is made, and its name there; None where it is no name of
        `sluice`. Follows packages that hand on the names of their modules."""
        if isinstance(name, ast.Name):
            if name.id not in self.imported:
                return (self, name.id) if name.id in self.made or name.id in self.constants else None
            module, inner = self.imported[name.id]
        elif isinstance(name, ast.Attribute) and isinstance(name.value, ast.Name):
            module, none = self.imported.get(name.value.id, ("", ""))
            inner = name.attr if none is None else None
        else:
            return None
        return None if inner is None else read(module).home(ast.Name(inner))


def source(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


@cache
def read(module: str) -> Module:
    path = source(module)
    assert path is not None, module
    return Module(path)


def reached(path: Path) -> Iterator[tuple[Module, ast.AST]]:
    """Yield the functions and classes of `sluice` that the code of a file leads to, with their modules."""
    first = Module(path)
    seen: set[int] = set()
    waiting: list[tuple[Module, ast.AST]] = [(first, node) for node in first.made.values()]
    while waiting:
        module, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield module, node
        for each in ast.walk(node):
            home = module.home(each)
            if home is not None and home[1] in home[0].made:
                waiting.append((home[0], home[0].made[home[1]]))


def called(path: Path) -> set[str]:
    """Return the models that the code names where it calls one: `call("name", ...)`, also by a constant of a module."""
    found: set[str] = set()
    if "self.call" not in path.read_text():
        return found  # the glue hands over nothing by which to ask
    for module, node in reached(path):
        for each in ast.walk(node):
            name = getattr(each, "func", None)
            if not isinstance(each, ast.Call) or getattr(name, "attr", getattr(name, "id", "")) != "call":
                continue
            first: Any = each.args[0] if each.args else None
            if isinstance(first, ast.Constant):
                found.add(first.value)
            elif (home := module.home(first)) is not None and home[1] in home[0].constants:
                found.add(home[0].constants[home[1]])
    return found


def asked(name: str) -> set[str]:
    """Return the models that a config's parameters name, as the model's own `Config` reads them."""
    glue = MODELS[name].folder / "1/model.py"
    for node in ast.walk(ast.parse(glue.read_text())):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "Config":
            assert isinstance(node.value, ast.Attribute) and isinstance(node.value.value, ast.Name)
            kind = getattr(import_module(Module(glue).imported[node.value.value.id][0]), node.value.attr)
            given = contracts.models()[name].parameters
            config = contracts.parameters(kind, {key: value.string_value for key, value in given.items()})
            return set(getattr(config, "asked", ()))
    return set()


@pytest.mark.parametrize("name", PYTHON)
def test_a_config_lists_what_the_code_calls_and_nothing_else(name):
    expected = called(MODELS[name].folder / "1/model.py") | asked(name)
    assert set(MODELS[name].calls) == expected
    assert set(MODELS[name].calls) <= set(MODELS)


def test_the_calls_are_found_where_there_are_some():
    """Keep the test above from passing because nothing is found."""
    assert called(MODELS["detect"].folder / "1/model.py") == {
        "object_detector",
        "uncertainty_aggregator",
        "frame_gallery",
    }
    assert asked("sample") == {"digits_score", "digits_curvature", "streets_score", "streets_curvature"}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_verb_alone_brings_all_that_it_needs(name):
    chosen = set(layout.choose(MODELS, [name]))
    for each in chosen:
        assert {*MODELS[each].members, *MODELS[each].calls} <= chosen
    assert not layout.lacking(MODELS, chosen)


def test_detect_alone_is_the_chain_down_to_the_network():
    down = {"object_detector", "mixture_detector", "uncertainty_aggregator", "frame_gallery"}
    assert set(layout.choose(MODELS, ["detect"])) == {"detect"} | down


def test_what_no_repository_has_is_told(tmp_path):
    models = dict(MODELS)
    del models["text_embedder"]
    names = layout.choose(models, ["segment"])
    assert "text_embedder" not in names
    assert layout.lacking(models, names) == [
        "segment asks text_embedder, which no repository has; what needs it will be refused"
    ]
