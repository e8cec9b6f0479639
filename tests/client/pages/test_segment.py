"""The page of segmented images: whole, safe, and used by a real browser as it says."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from sluice_client import InvalidRequest, Segmentation, Segmented
from sluice_client.drawing import run_lengths
from sluice_client.pages import segment

from tests.made.browser import EVIL, Page, browser, loosened, opened, visible
from tests.made.fake_server import png

CLASSES = ("road", "car", "sky")


def one(id: str, areas: tuple[float, float, float], **more) -> Segmentation:
    """Return a picture of 64 x 48 whose classes have these shares of the area, from left to right."""
    mask = np.full((48, 64), 255, np.uint8)
    begin = 0
    for i, area in enumerate(areas):
        mask[:, begin : begin + round(64 * area)] = i
        begin += round(64 * area)
    runs = [{"class": i, **run_lengths.encode(mask == i)} for i in range(3) if (mask == i).any()]
    shares = tuple(float((mask == i).mean()) for i in range(3))
    classes = more.pop("classes", CLASSES)
    return Segmentation(id, classes, (0.2, 0.3, 0.5), shares, json.dumps(runs).encode(), 64, 48, **more)


FOUND = Segmented(
    (
        one("a", (0.5, 0.25, 0.25)),
        one("b", (0.25, 0.75, 0)),
        one("c", (0.25, 0, 0)),
        Segmentation("broken", CLASSES, (float("nan"),) * 3, (float("nan"),) * 3, error="not an image"),
    ),
    CLASSES,
    "image_grouper/1/x",
)


def render(found: Segmented = FOUND, images=lambda id: png(1), **options) -> str:
    return segment.render(found, images, **options)


def test_every_class_has_a_layer_a_row_and_a_place_in_the_legend():
    text = render()
    built = Page(text)
    assert sum(tag == "article" for tag, _ in built.elements) == 4
    assert sum(a.get("class") == "layer" for _, a in built.elements) == 6
    assert sum(tag == "li" and "data-class" in a for tag, a in built.elements) == 6
    assert [a["value"] for tag, a in built.elements if tag == "button" and "value" in a] == ["0", "1", "2"]
    shown = " ".join(built.texts)
    for piece in ("3 of 3 classes in 3 images; 1 could not be read", "background 75.0 %", "not an image", "64 × 48 px"):
        assert piece in shown, piece


def test_a_page_without_classes_has_no_buttons_for_their_colours():
    none = Segmented(FOUND.images[3:], CLASSES, "m")
    assert visible(Page(render(none))) == {"copy"} and visible(Page(render())) == {"copy", "boxes-all", "strength"}


def test_the_page_needs_nothing_else():
    for tag, attributes in Page(render()).elements:
        assert (attributes.get("src") or "data:").startswith("data:"), (tag, attributes)
        assert tag != "img" or "alt" in attributes


@pytest.mark.parametrize("where", ["id", "class", "error", "model", "title", "missing", "truncated"])
def test_what_a_stranger_wrote_stays_text(where):
    names = (EVIL, "car", "sky") if where == "class" else CLASSES
    shown = one(EVIL if where == "id" else "f", (0.5, 0.25, 0.25), classes=names)
    failed = Segmentation("g", names, (0.0,) * 3, (0.0,) * 3, error=EVIL if where == "error" else "why")

    def images(id: str) -> bytes:
        if where == "missing":
            raise OSError(EVIL)
        return png(1)

    truncated = (EVIL,) if where == "truncated" else ()
    found = Segmented((shown, failed), names, EVIL if where == "model" else "m", truncated)
    built = Page(render(found, images, title=EVIL if where == "title" else None))
    assert not any("onerror" in attributes for _, attributes in built.elements)
    assert sum(tag == "script" for tag, _ in built.elements) == 2 and any("onerror" in text for text in built.texts)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match="cannot be written"):
        segment.write(tmp_path / "no" / "x.html", FOUND, lambda id: png(1))


@browser
def test_a_browser_opens_the_page_hides_lights_and_sorts(tmp_path):
    script = """{
    const log = [];
    const set = (id, value, event) => { $(id).value = value; $(id).dispatchEvent(new Event(event)); };
    const visible = () => [...document.querySelectorAll(".card:not([hidden])")];
    const ids = () => visible().map((card) => data.images[card.dataset.place].id[0]).join("");
    set("label", "car", "change"); set("order", "area", "change"); log.push(ids(), $("shown").textContent);
    set("label", "", "change"); set("order", "rank", "change"); log.push(ids());
    document.querySelector(".classes button[value='0']").click();
    log.push(document.querySelectorAll(".layer.off").length, document.querySelectorAll("li.off").length);
    document.querySelector(".classes button[value='0']").click();
    log.push(document.querySelectorAll(".off").length);
    const row = document.querySelector('[data-place="0"] li[data-class="1"]');
    row.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
    log.push(document.querySelectorAll(".lit").length, document.querySelectorAll(".layer.on").length);
    row.dispatchEvent(new MouseEvent("mouseout", {bubbles: true}));
    log.push(document.querySelectorAll(".lit").length);
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "b", bubbles: true}));
    log.push(getComputedStyle(document.querySelector(".layer")).display);
    document.documentElement.dataset.log = log.join(";");
    }"""
    path = tmp_path / "found.html"
    path.write_text(loosened(render(title=EVIL), script))
    dom = opened(path, tmp_path)
    root = dom[: dom.index("<head>")]
    assert 'data-ready="yes"' in root and "data-errors" not in root, root
    log = re.search(r'data-log="([^"]*)"', dom)
    assert log, dom[:500]
    assert log[1].split(";") == ["ba", "2 of 4", "abcb", "3", "3", "0", "1", "1", "0", "none"]
