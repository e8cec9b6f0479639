"""The files and modules that the manual names are there, so that a page cannot outlive a move."""

from __future__ import annotations

import re

import pytest

from sluice import contracts

ROOT = contracts.ROOT
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("weights/*.md")))
FOLDERS = "sluice|clients|export|bench|backends|scenes|demo|tests|ensembles|model_repository|weights|docs"
BUILT = ("model.onnx", "model.plan", "demo/frames", "demo/index", "sluice/shipped")  # made by commands
METADATA = {"sluice.toml", "sluice.learned_tokens", "sluice.reading"}  # dotted, but no modules


def named_files(text: str) -> set[str]:
    """Return the paths of this repository that a page names in code, without what only a command makes."""
    code = " ".join(re.findall(r"^```.*?^```$|`[^`\n]+`", text, re.S | re.M))
    found = set(re.findall(rf"(?<![\w/.$-])((?:{FOLDERS})/[\w./*-]*)", code))
    return {path.rstrip(".") for path in found if not any(part in path for part in (*BUILT, "NAME", "VERB"))}


def named_modules(text: str) -> set[str]:
    """Return the modules that a page runs by `python -m`, and the dotted names of this repository in code."""
    ran = set(re.findall(r"python3? (?:-P )?-m\s+((?:export|bench|demo|scenes|sluice)[\w.]*)", text))
    dotted = set(re.findall(r"`((?:sluice|export|bench|scenes)(?:\.[a-z_]+)+)", text))
    return {name for name in (ran | dotted) - METADATA if "NAME" not in name}


def there(name: str) -> bool:
    """Return whether a dotted name is a module of ours, or is written in the module that the name begins with."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                left = parts[length:]
                return not left or (len(left) == 1 and re.search(rf"\b{left[0]}\b", file.read_text()) is not None)
    return False


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_file_and_module_that_is_named_exists(page):
    text = page.read_text()
    assert [path for path in sorted(named_files(text)) if not list(ROOT.glob(path.rstrip("/")))] == []
    assert [name for name in sorted(named_modules(text)) if not there(name)] == []


def test_every_test_file_that_is_named_anywhere_exists():
    """Look through the sources, the Makefile and the settings: the manual's pages have their own test above."""
    texts = [ROOT / "Makefile", ROOT / "pyproject.toml"]
    for folder in FOLDERS.split("|"):
        texts += (ROOT / folder).rglob("*.py")
    found = {name for path in texts for name in re.findall(r"\btests/[\w/]+\.py\b", path.read_text())}
    assert "tests/methods/test_equality.py" in found, "tests/kernels.py names it"
    assert [name for name in sorted(found) if not (ROOT / name).is_file()] == []


TREES = {
    "gallery": "sluice/gallery",
    "serving": "sluice/server",
    "genie": "sluice/methods/genie",
    "grouping": "sluice/methods/grouping",
    "selection": "sluice/methods/selection",
    "video": "sluice/methods/video",
}


@pytest.mark.parametrize(("page", "folder"), TREES.items())
def test_the_tree_of_a_decision_names_every_file_of_its_folder(page, folder):
    text = (ROOT / "docs" / "decisions" / f"{page}.md").read_text()
    files = {str(path.relative_to(ROOT)) for path in (ROOT / folder).glob("[!_]*.py")}
    missing = files - set(re.findall(r"^(sluice/[\w/]+\.py) ", text, re.M))
    assert files and not missing, f"say in the tree at the top of docs/decisions/{page}.md what these do: {missing}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_test_file_that_is_named_exists(page):
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert sorted(set(re.findall(r"\btest_\w+\.py\b", page.read_text())) - there) == []
