"""The floor plan: which package may import which, no import circles, and rooms that are named alike."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sluice import contracts

ROOT = contracts.ROOT
PLACES = dict.fromkeys(("sluice", "export", "bench", "scenes", "demo"), ROOT) | {"sluice_client": ROOT / "clients"}
SHIPPED = ROOT / "sluice" / "shipped"  # what an installed wheel carries; in a clone it is not there

GROUND = {"errors", "images", "image_headers", "frames", "activations", "contracts", "versions", "options"}

# Floor of sluice/ -> the floors that it may import, besides itself. What is not listed is forbidden.
SERVER = {
    "errors": set(),
    **{module: GROUND for module in GROUND - {"errors"}},
    "process": {"errors", "image_headers", "versions"},
    "methods": GROUND,
    "gallery": GROUND | {"methods"},
    "wire": GROUND | {"methods"},
    "models": GROUND | {"methods", "gallery", "wire", "process"},
    "verbs": GROUND | {"methods", "wire", "models", "process"},
    "triton": {"contracts", "errors"},
    "server": {"contracts", "versions", "process"},
}
# Importer -> module that it may import although the table forbids it, with the reason.
SERVER_EXCEPTIONS = {
    ("methods", "process.callers"): "a long computation ends when its caller has gone",
    ("gallery", "process.callers"): "likewise, a search",
    ("gallery", "process.slots"): "large searches take turns, whichever process runs them",
    ("wire", "process.decoding"): "limits of what a picture may cost",
    ("triton", "process.callers"): "the caller's leaving is watched from there",
    ("triton", "versions"): "the precision of networks whose own backend does not tell it as a metric",
    ("triton", "wire.plain_json"): "answers for callers without a Triton client",
    ("server", "methods.mixtures.summaries"): "one probe sends a summary",
    ("server", "gallery.ownership"): "a gallery that does not belong together is told before Triton starts",
    ("server", "gallery.catalogue"): "likewise, one that cannot be written",
    ("server", "gallery.makers"): "a network goes on in the precision in which it made what the gallery holds",
}
METHODS_EXCEPTIONS = {("scan", "matching"), ("selection", "mixtures")}

# Floors of the client, from the left; each may import what stands left of it, and itself.
CLIENT = (
    {"errors"},
    {"frames", "options", "tensors"},
    {"filters", "drawing"},
    {"query"},
    {"answers"},
    {"files"},
    {"verbs", "transport", "pages"},
    {"video", "delivery", "aio.delivery"},
    {"streaming", "aio.streaming"},
    {"client", "aio.client", "aio"},
    {"terminal"},
    {"commands"},
    {"cli"},
    {""},  # the package itself, which hands on the public names
)
CONVERSION = {"entry", "examples", "files", "onnx_file", "own", "stored", "destination", "tensorrt"}
# Backbone and feature loss are those of matching; networks of a user's own are checked as ours are, and a published
# upscaler and a CLIP are checked and get their card as ours do.
EXPORT_EXCEPTIONS = {
    ("mixtures", "matching"),
    ("video", "matching"),
    ("genie", "check"),
    ("features", "check"),
    ("frame", "fit"),
}
EXPORT_EXCEPTIONS |= {(here, there) for here in ("video", "grouping") for there in ("check", "card")}


@cache
def modules() -> dict[str, Path]:
    """Return dotted name -> file of every module of ours outside tests."""
    found = {}
    for package, place in PLACES.items():
        for path in sorted((place / package).rglob("*.py")):
            if SHIPPED not in path.parents:
                found[".".join(path.relative_to(place).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


@cache
def imported(name: str) -> frozenset[str]:
    """Return the modules of ours that a module imports, those inside functions too; by their full names."""
    path, found = modules()[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            inner = {f"{base}.{alias.name}" for alias in node.names}
            found |= {one for one in inner if one in modules()}
            if not inner <= set(modules()):
                found.add(base)
    return frozenset(one for one in found if one in modules() and one != name)


def pairs(package: str) -> Iterator[tuple[str, str]]:
    """Yield (importer, imported) within a package, both without the package's name."""
    for name in modules():
        if name == package or name.startswith(f"{package}."):
            for other in imported(name):
                if other == package or other.startswith(f"{package}."):
                    yield name[len(package) + 1 :], other[len(package) + 1 :]


def floor(name: str) -> str:
    return name.split(".")[0]


def test_the_server_imports_only_floors_below():
    wrong = []
    for name, other in pairs("sluice"):
        here, there = floor(name), floor(other)
        if here == there or not here:
            continue
        allowed = there in SERVER[here] or any(
            (here, one) in SERVER_EXCEPTIONS for one in (other, other.rpartition(".")[0])
        )
        if not allowed:
            wrong.append(f"{name} imports {other}")
    assert not wrong


def test_every_exception_is_still_needed():
    seen = {(floor(name), other) for name, other in pairs("sluice")}
    assert not [one for one in SERVER_EXCEPTIONS if one not in seen]


def test_no_verb_imports_a_verb():
    assert not [pair for pair in pairs("sluice") if floor(pair[0]) == floor(pair[1]) == "verbs"]


def test_a_method_imports_the_ground_only():
    wrong = set()
    for name, other in pairs("sluice.methods"):
        here, there = floor(name), floor(other)
        if here != there and (here, there) not in METHODS_EXCEPTIONS:
            wrong.add((name, other))
    assert not wrong


def test_glue_imports_one_module_of_ours():
    for repository in contracts.REPOSITORIES:
        for path in sorted((ROOT / repository).glob("*/1/model.py")):
            names = set()
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sluice"):
                    names |= {f"{node.module}.{alias.name}" for alias in node.names}
            free = {"sluice.triton.PythonModel", "sluice.triton.StreamingModel", "sluice.versions.network_version"}
            rest = names - free
            if path.parent.parent.name == "image_decoder":
                rest -= {"sluice.images", "sluice.errors.InvalidArgument"}
            assert len(rest) == 1, f"{path.relative_to(ROOT)} imports {sorted(rest)}"


def test_the_client_imports_only_what_stands_left_of_it():
    places = {name: i for i, names in enumerate(CLIENT) for name in names}

    def place(name: str) -> int:
        return places[name] if name in places else places[floor(name)]

    wrong = [
        f"{name or 'sluice_client'} imports {other}"
        for name, other in pairs("sluice_client")
        if other and floor(name) != floor(other) and place(other) >= place(name)
    ]
    assert not wrong


def test_a_family_of_networks_imports_itself_and_what_all_share():
    families = {path.parent.name for path in (ROOT / "export").glob("*/entry.py")}
    assert families >= {"matching", "mixtures", "grouping", "genie", "video"}
    wrong = set()
    for name, other in pairs("export"):
        here, there = floor(name), floor(other)
        shared = there in CONVERSION | {"training"} or (here, there) in EXPORT_EXCEPTIONS
        if here in families and here != there and not shared:
            wrong.add((name, other))
        if here == "training" and there in families:
            wrong.add((name, other))
    assert not wrong


def test_a_benchmark_imports_itself_and_the_files_at_the_top():
    folders = {path.parent.name for path in (ROOT / "bench").glob("*/__main__.py")}
    wrong = {
        (name, other)
        for name, other in pairs("bench")
        if floor(name) in folders and floor(other) in folders and floor(name) != floor(other)
    }
    assert not wrong


def test_there_is_no_import_circle():
    state: dict[str, int] = {}  # 1: on the way, 2: done

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert state.get(name) != 1, " -> ".join((*way[way.index(name) :], name))
        if name in state:
            return
        state[name] = 1
        for other in sorted(imported(name)):
            # A package's __init__ that hands on names of its own modules is no circle: they do not import it.
            walk(other, (*way, name))
        state[name] = 2

    for name in modules():
        walk(name, ())


def test_a_package_calls_each_kind_of_thing_by_a_word_of_its_own():
    owners: dict[str, list[str]] = {}
    for name, path in modules().items():
        if name.startswith("sluice."):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and node.name in ("Pool", "Moments"):
                    owners.setdefault(node.name, []).append(name)
    assert owners == {"Pool": ["sluice.methods.selection.pool"], "Moments": ["sluice.methods.mixtures.summaries"]}


MODELS = {path.parent.name for path in (ROOT / "model_repository").glob("*/config.pbtxt")}
VERBS = {path.parent.name for path in (ROOT / "ensembles").glob("*/config.pbtxt")}


def rooms(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / "sluice" / folder).glob("*.py")} - {"__init__"}


def test_every_verb_has_its_file_and_every_file_its_verb():
    assert rooms("verbs") == VERBS == {path.parent.parent.name for path in (ROOT / "ensembles").glob("*/1/model.py")}


def test_a_file_of_models_has_a_models_name():
    # score_network stands for the several networks of `sample`: NAME_score and NAME_curvature.
    assert rooms("models") - {"score_network"} <= MODELS
    python = {name for name in MODELS if (ROOT / "model_repository" / name / "1" / "model.py").exists()}
    assert python - {"image_decoder"} <= rooms("models")


@pytest.mark.parametrize("folder", ["sluice", "clients/sluice_client"])
def test_a_newcomer_sees_few_rooms(folder):
    inside = list((ROOT / folder).iterdir())
    files = [path for path in inside if path.suffix == ".py"]
    folders = [path for path in inside if path.is_dir() and path.name not in ("__pycache__", "shipped")]
    most = (10, 8) if folder == "sluice" else (12, 10)
    assert len(files) <= most[0] and len(folders) <= most[1]


def test_no_file_is_long():
    for name, path in modules().items():
        most = 600 if name in ("sluice_client.client", "sluice_client.aio.client") else 400
        assert len(path.read_text().splitlines()) <= most, name
    for folder, most in (("backends", 400), ("tests", 700)):
        for path in sorted((ROOT / folder).rglob("*.py")):
            assert len(path.read_text().splitlines()) <= most, path


def test_no_test_imports_from_another_test():
    """Hold that what tests share lies in tests/made, and that folders of tests do not climb into each other."""
    wrong = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                inside = node.level == 1 and path.is_relative_to(ROOT / "tests" / "made")
                names = {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
                if (node.level and not inside) or any(re.search(r"\.test_\w+$", name) for name in names):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong


def test_a_file_does_not_repeat_its_folders_name():
    for name in modules():
        *folders, last = name.split(".")
        if folders and len(folders) > 1:
            assert not re.match(rf"{re.escape(folders[-1])}_", last), name


def test_an_exception_from_typing_names_its_code_and_its_reason():
    places = [*modules().values(), *(ROOT / "backends").rglob("*.py"), *(ROOT / "docs").glob("*.py")]
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in places
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "# type: ignore" in line and not re.search(r"# type: ignore\[[a-z, -]+\]  # \w", line)
    ]
    assert not wrong
