"""The installed package and our texts about it: its name on the index, its extras, and the wheel's contents."""

from __future__ import annotations

import re
import subprocess
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from sluice_client.terminal import distribution

from export.destination import PACKAGES
from sluice import contracts
from tests.made.wheel import build

ROOT = contracts.ROOT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
TEXTS = {".py", ".md", ".pbtxt", ".toml", ".html", ".js", ".yaml", ".yml", ".json", ".txt", ""}
WHAT = re.compile(r"""(?:pip3?|uv) install\b((?:[ \t]+(?:\\\n\s*)?(?:"[^"\n]*"|'[^'\n]*'|[^\s'"`;,)(]+))*)""")


def files() -> list[Path]:
    """Return every text of ours that a user may read."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    return [ROOT / name for name in names.stdout.splitlines() if Path(name).suffix in TEXTS and (ROOT / name).is_file()]


def required(requirement: str) -> tuple[str, set[str]]:
    """Return the name and the extras of a requirement: 'tritonclient[grpc]>=2.60' -> ('tritonclient', {'grpc'})."""
    found = re.match(r"([A-Za-z0-9_.-]+)(?:\[([^\]]*)\])?", requirement)
    assert found, requirement
    return found[1].lower().replace("_", "-"), set(filter(None, re.split(r"[\s,]+", found[2] or "")))


KNOWN: dict[str, set[str]] = {}
for _requirement in [*PROJECT["dependencies"], *(each for extra in EXTRAS.values() for each in extra)]:
    _name, _extras = required(_requirement)
    KNOWN.setdefault(_name, set()).update(_extras)
KNOWN[distribution.NAME] = set(EXTRAS)


def strangers(text: str) -> list[str]:
    """Return the packages that a text's `pip install ...` names and that are neither ours nor our dependencies."""
    found = []
    for words in WHAT.findall(text):
        for word in re.findall(r"\"[^\"\n]*\"|'[^'\n]*'|[^\s'\"\\]+", words):
            word = word.strip("\"'")
            if word == "#":
                break
            wheel = re.match(r"(?:\S*/)?([\w-]+?)-[\d.]+[\w-]*\.whl(\[.*\])?$", word)
            if wheel:
                word = wheel[1] + (wheel[2] or "")
            if word in ("", ".", "-", ">&2") or word.startswith("--") or re.fullmatch(r"-\w", word):
                continue
            name, extras = required(distribution.NAME + word[1:] if word.startswith(".[") else word)
            extras = {extra for extra in extras if not extra.startswith("{")}  # an f-string fills it in
            if name not in KNOWN or extras - KNOWN[name]:
                found.append(word)
    return found


def test_no_text_of_ours_names_a_package_that_is_not_ours():
    wrong, commands = [], 0
    for path in files():
        if path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        commands += len(WHAT.findall(text))
        wrong += [f"{path.relative_to(ROOT)}: pip install {word}" for word in strangers(text)]
    assert not wrong, "\n".join(wrong)
    assert commands >= 10


@pytest.mark.parametrize(("text", "word"), [
    ("run: pip install 'sluice[serve]'", "sluice[serve]"),
    ("pip install sluice", "sluice"),
    ("pip install -e '.[sevre]'", ".[sevre]"),
    ("`pip install -U tritonclient[http]`", "tritonclient[http]"),
    ("pip install dist/sluice-0.1.0-py3-none-any.whl", "sluice"),
    ('pip install --quiet "numpy<2" \\\n   "pilow>=10"', "pilow>=10"),
])  # fmt: skip
def test_a_stranger_is_found(text, word):
    assert strangers(text) == [word]


@pytest.mark.parametrize("text", [
    "pip install 'sluice-perception[serve,export]'", "pip install -e '.[openvino]'", "pip install 'numpy>=1.26'; or",
    "pip install 'dist/sluice_perception-0.1.0-py3-none-any.whl[serve]'", "pip install --no-deps --editable .",
])  # fmt: skip
def test_ours_and_what_we_need_pass(text):
    assert strangers(text) == []


def test_the_name_is_one_everywhere():
    assert PROJECT["name"] == distribution.NAME
    assert distribution.version() == PROJECT["version"]


def test_the_export_asks_for_what_its_extra_brings():
    brought = {required(each)[0] for each in EXTRAS["export"]}
    for names in PACKAGES.values():
        assert set(names) <= brought


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Build the wheel of this tree in a copy, because a build writes beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    return build(folder)


def test_the_wheel_carries_what_a_clone_has_and_nothing_that_was_built(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    wanted = set()
    for name in names:
        top = name.split("/")[0]
        if top in ("model_repository", "ensembles", "backends", "export", "scenes", "weights"):
            wanted.add(f"sluice/shipped/{name}")
        elif top == "sluice":
            wanted.add(name)
        elif name.startswith("clients/sluice_client/"):  # beside it lies what makes the client
            wanted.add(name.removeprefix("clients/"))
    assert len(wanted) > 300
    found = {name for name in inside if ".dist-info/" not in name}
    assert found == wanted, f"lacks {sorted(wanted - found)[:9]}, has besides {sorted(found - wanted)[:9]}"


def test_a_wheel_is_small_enough_for_the_index(wheel):
    assert wheel.stat().st_size < 100 << 20


def test_our_dependencies_can_be_had_under_their_names():
    """Check against the installed test environment, in which a misspelt dependency would be missing."""
    missing = []
    for extra in ("serve", "export", "test"):
        for requirement in EXTRAS[extra]:
            try:
                metadata.version(required(requirement)[0])
            except metadata.PackageNotFoundError:
                missing.append(requirement)
    assert not missing
