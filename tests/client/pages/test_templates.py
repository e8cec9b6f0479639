"""Every page, full of hostile texts: it stays the page that harmless texts make. HTML stands in templates alone."""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sluice_client
from jinja2 import UndefinedError
from PIL import Image
from sluice_client import (
    Box,
    Detected,
    Detections,
    Found,
    Frame,
    InvalidRequest,
    Match,
    Object,
    Pick,
    Query,
    Scores,
    Segmentation,
    Segmented,
    Selection,
    Uncertainties,
)
from sluice_client.answers.words import Words
from sluice_client.drawing import run_lengths
from sluice_client.pages import crop, detect, document, enhance, retrieve, segment

from tests.made.browser import Page, browser, loosened, opened
from tests.made.fake_server import heat_png, png

PAGES = Path(sluice_client.__file__).parent / "pages"
TEMPLATES = sorted((PAGES / "web").glob("*.html"))
BOX = Box(0, 0, 32, 24)
FOUR = Uncertainties(0.4, 0.3, 0.2, 0.1)

HOSTILE = {
    "a script": "<script>document.documentElement.dataset.evil = 1</script>",
    "an image": "<img src=x onerror=document.documentElement.dataset.evil=1>",
    "double quotes": '" onload="document.documentElement.dataset.evil=1" x="',
    "single quotes": "' onload='document.documentElement.dataset.evil=1' x='",
    "the ends of elements": "</style></script></title></svg></main><!--",
    "a template": "{{ 7 * 7 }}{% raw %}{# gone #}",
    "an entity": "&lt;b&gt;&#60;i&#62;",
    "a style": "x;} body { display: none } a { --v:",
}


def images(id: str) -> bytes:
    """Return a picture for every id; raise, with the id itself as the reason, for ids that end with "gone"."""
    if id.endswith("gone"):
        raise OSError(id)
    return png(1)


def tables(t: str) -> list[document.Table]:
    return [document.Table(t, [t, "b"], [[t, 1], [t, t]])]


def frame(t: str) -> Frame:
    return Frame(t, t, t, 3.0, (t, t), 64, 48)


def found_page(t: str) -> str:
    match = Match(t, 0.5, (0.5, 0.4), (BOX, BOX), 0, frame(t), heat_png(), text_scores=(0.5,))
    missing = Match(t + "gone", 0.5, (0.5, 0.4), (BOX, BOX), frame=frame(t))
    words = Words((t, t + "b"), ((t,), ()), ((), (t,)), ((0, 1),))
    found = Found((match, missing), t, 2, 1, 0.1, words=words)
    others = [Query(png(2), rois=[(0, 0, 8, 8)])]
    return retrieve.render(
        png(0), [(0, 0, 8, 8)], found, images, title=t, tables=tables(t), texts=[t, t + "b"], others=others
    )


def scores_page(t: str) -> str:
    scores = Scores((Match(t, 0.5, (0.5,), (BOX,)), Match(t, float("nan"), error=t)), t)
    return retrieve.render(png(0), [(0, 0, 8, 8)], scores, images, title=t)


def detections(t: str) -> Detected:
    thing = Object(t, 0, 0.9, BOX, (0.4,) * 4, (0.3,) * 4, 0.2, 0.1)
    shown = [Detections(id, (thing,), frame=frame(t)) for id in (t, t + "gone")]
    return Detected((*shown, Detections(t + "error", error=t)), (t,), t)


def objects_page(t: str) -> str:
    return detect.render(detections(t), images, title=t, tables=tables(t))


def picks_page(t: str) -> str:
    picks = tuple(Pick(id, 1.0, FOUR, FOUR, t, frame(t)) for id in (t, t + "gone"))
    searched = {"frames": 3, "unscored": 1, "remedy": t, "frozen": True, "judged_by": {"pool": [t]}}
    selection = Selection(picks, (t,), (t,), {"detector": t}, searched)
    return detect.render(detections(t), images, selection=selection, title=t, tables=tables(t))


def masks_page(t: str) -> str:
    classes = (t, t + "b")
    words = Words(classes, ((t,), ()), ((), (t,)), ((0, 1),))
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 1
    runs = json.dumps([{"class": i, **run_lengths.encode(mask == i)} for i in range(2)]).encode()
    shown = [Segmentation(id, classes, (0.5, 0.5), (0.5, 0.5), runs, 64, 48, words=words) for id in (t, t + "gone")]
    failed = Segmentation(t, classes, (0.0, 0.0), (0.0, 0.0), error=t)
    found = Segmented((*shown, failed), classes, t, (t,), words)
    return segment.render(found, images, title=t, tables=tables(t))


def pairs_page(t: str) -> str:
    return enhance.render([enhance.Pair(t, png(1), png(2), (t, t)), enhance.Pair(t, png(1), png(2))], title=t)


def crop_page(t: str) -> str:
    return crop.render(t, png(0), ["sluice", "retrieve", t])


MADE: dict[str, Callable[[str], str]] = {
    "retrieve": found_page,
    "match": scores_page,
    "detect": objects_page,
    "select": picks_page,
    "segment": masks_page,
    "enhance": pairs_page,
    "crop": crop_page,
}
every_page = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


@every_page
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_in_every_field_leaves_every_element_and_attribute_as_it_is(make, text):
    hostile, harmless = Page(make(text)), Page(make("harmless"))
    assert [(tag, list(attributes)) for tag, attributes in hostile.elements] == [
        (tag, list(attributes)) for tag, attributes in harmless.elements
    ]
    for (tag, ours), (_, theirs) in zip(hostile.elements, harmless.elements, strict=True):
        for name, value in ours.items():
            if name == "style" or name.startswith("on"):
                assert value == theirs[name], f"<{tag} {name}> holds what a stranger wrote"
    shown, expected = (
        sum(one in part for part in page.texts) for one, page in ((text, hostile), ("harmless", harmless))
    )
    assert shown >= expected - 1 > 0, "as often as a harmless one; the embedded JSON may write it with escapes"


@every_page
def test_the_data_of_a_page_come_back_as_they_were(make):
    for text in HOSTILE.values():
        data = make(text).split('id="data">')[1].split("</script>")[0]
        assert text in _strings(json.loads(data))


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(one for part in value.values() for one in _strings(part))]
    if isinstance(value, list):
        return [one for part in value for one in _strings(part)]
    return [value] if isinstance(value, str) else []


@every_page
def test_every_page_is_one_file_with_one_script_that_its_policy_allows(make):
    text = make("x")
    built = Page(text)
    for tag, attributes in built.elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes[name])
    assert [a.get("type") for tag, a in built.elements if tag == "script"] == ["application/json", None]
    assert text.count("script-src 'sha256-") == 1 and text.count("</html>") == 1


@browser
@every_page
def test_a_browser_runs_nothing_of_what_a_stranger_wrote(make, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(make(" ".join(HOSTILE.values())))
    root = opened(path, tmp_path)
    root = root[: root.index("<head>")]
    assert "data-evil" not in root and "data-errors" not in root, root


@browser
def test_the_slider_moves_the_border_between_before_and_after(tmp_path):
    script = """{
    const slider = document.querySelector(".pair input");
    const part = () => slider.parentElement.style.getPropertyValue("--part");
    const log = [part()];
    slider.value = 250;
    slider.dispatchEvent(new Event("input"));
    log.push(part(), getComputedStyle(document.querySelector(".before")).clipPath);
    document.documentElement.dataset.log = log.join(";");
    }"""
    path = tmp_path / "page.html"
    path.write_text(loosened(enhance.render([enhance.Pair("a", png(1), png(2))]), script))
    log = re.search(r'data-log="([^"]*)"', opened(path, tmp_path))
    assert log and log[1] == "50%;25%;inset(0px 75% 0px 0px)"


# Templates ------------------------------------------------------------------------------------------------------------


def test_python_holds_no_html():
    for path in sorted(PAGES.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"</?[a-z]+[ >]", node.value), f"{path.name}:{node.lineno}: {node.value}"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_turns_escaping_off_and_every_attribute_is_quoted(path):
    text = path.read_text()
    assert not re.search(r"\|\s*safe\b|autoescape|Markup", text)
    unquoted = re.findall(r"[\w-]+=(?!\s|\"|'|=)[^\s>]*", re.sub(r"{[{%#].*?[}%#]}", "x", text, flags=re.S))
    assert not [one for one in unquoted if not one.startswith(("width=device", "initial-scale="))], unquoted


def test_a_fact_that_a_template_names_and_nobody_gives_is_an_error():
    with pytest.raises(UndefinedError, match="pairs"):
        document.render("enhance.html", title="", summary="", data=None)


def test_text_that_is_not_escaped_comes_from_the_files_of_the_package_alone():
    uses = [
        (path.name, node.lineno)
        for path in sorted(PAGES.parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Markup"
    ]
    assert [name for name, _ in uses] == ["document.py"]


def test_jinja_is_imported_only_when_a_page_is_made():
    code = (
        "import sys, sluice_client.cli\n"
        "from sluice_client.commands import COMMANDS\n"
        "from sluice_client.pages import crop, detect, enhance, retrieve, segment\n"
        "assert 'jinja2' not in sys.modules and 'markupsafe' not in sys.modules\n"
        "enhance.render([])\n"
        "assert 'jinja2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_picture_that_is_none_is_refused_by_the_page_that_compares():
    with pytest.raises(InvalidRequest, match=r"a\.txt cannot be decoded as a picture; expected"):
        enhance.render([enhance.Pair("a.txt", b"text", png(1))])


def test_a_picture_of_another_format_is_shown_in_one_that_every_browser_knows():
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(file, "BMP")
    built = Page(enhance.render([enhance.Pair("a", file.getvalue(), png(1))]))
    sources = [a["src"] or "" for tag, a in built.elements if tag == "img"]
    assert [source[: source.index(";")] for source in sources] == ["data:image/png", "data:image/jpeg"]
    assert "8 x 6 before, 64 x 48 after" in " ".join(built.texts)
