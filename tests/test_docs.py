"""The manual holds together: every page is listed, every link and anchor leads somewhere, every picture is shown."""

from __future__ import annotations

import fnmatch
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice import contracts

ROOT = contracts.ROOT
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "weights").glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def prose(text: str) -> str:
    """Return the text without blocks of code and code in a line, where brackets are no links."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))


def targets(page: Path) -> Iterator[str]:
    """Yield the targets of links and pictures of a page, in Markdown and in HTML."""
    text = prose(page.read_text())
    yield from re.findall(r"\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)", text)
    yield from re.findall(r"\b(?:src|srcset|href)=\"([^\"]+)\"", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings: small letters, hyphens for blanks, no other signs."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(
        r"^#{1,6} +(.+?)\s*$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M), re.M
    ):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        again = found.get(anchor, 0)
        found[anchor] = again + 1
        names.add(f"{anchor}-{again}" if again else anchor)
    return names


def test_anchors_are_those_of_github(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# `add` & *more*: a/b?\n## Same\n```\n# no heading\n```\n## Same\n### [A link](x.md), of 3.5\n")
    assert anchors(page) == {"add--more-ab", "same", "same-1", "a-link-of-35"}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page):
    for target in targets(page):
        if re.match(r"[a-z]+:", target):
            assert target.startswith(("https://", "http://", "mailto:")), target
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / urllib.parse.unquote(name)).resolve() if name else page
        assert file.is_relative_to(ROOT) and file.exists(), target
        if anchor:
            assert anchor in anchors(file), f"{target}: {file.name} has the anchors {sorted(anchors(file))}"


def test_every_page_is_in_the_index():
    index = DOCS / "README.md"
    listed = {(DOCS / target.partition("#")[0]).resolve() for target in targets(index)}
    missing = [
        name for page, name in zip(PAGES, NAMES, strict=True) if page.is_relative_to(DOCS) and page not in listed
    ]
    assert missing == [str(index.relative_to(ROOT))]


def test_every_picture_is_shown():
    shown = {(page.parent / target).resolve() for page in PAGES for target in targets(page)}
    pictures = {path for path in DOCS.rglob("*") if path.suffix in {".png", ".jpg", ".svg"}}
    assert pictures and pictures <= shown


def test_every_setting_is_explained():
    from sluice_client.terminal import settings

    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", (DOCS / "settings.md").read_text(), re.M))
    assert set(rows) == set(settings.KEYS)
    for name, row in rows.items():
        assert ("SLUICE_" in row) == (name not in settings.DEFAULTS), name


def test_the_picture_of_the_architecture_shows_every_verb_and_model():
    names = re.findall(r'class="name"[^>]*>([^<]+)<', (DOCS / "architecture.svg").read_text())
    verbs = {path.parent.name for path in (ROOT / "ensembles").glob("*/config.pbtxt")}
    models = {path.parent.name for path in (ROOT / "model_repository").glob("*/config.pbtxt")}
    for name in verbs | models:
        assert any(fnmatch.fnmatchcase(name, shown) for shown in names), name
    methods = {path.name for path in (ROOT / "sluice" / "methods").glob("[!_]*") if path.is_dir()}
    for shown in set(names) - methods:
        assert not methods or any(fnmatch.fnmatchcase(name, shown) for name in verbs | models), shown
    assert methods <= set(names)
