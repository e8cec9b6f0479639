"""The page of detections and of a selection: whole, safe, and sorted by a real browser as it says."""

from __future__ import annotations

import math
import re

import pytest
from sluice_client import Box, Detected, Detections, Frame, InvalidRequest, Object, Pick, Selection, Uncertainties
from sluice_client.answers.detect import TYPES
from sluice_client.pages import detect

from tests.made.browser import EVIL, Page, browser, loosened, opened, visible
from tests.made.fake_server import png

LABELS = ("Car", "Pedestrian")


def thing(label: str, four: tuple[float, ...], score: float = 0.9) -> Object:
    box = Box(8, 8, 24, 24)
    return Object(label, LABELS.index(label), score, box, (four[0],) * 4, (four[1],) * 4, four[2], four[3])


# Each image is the most uncertain of one type: a of the first, b of the second, and so on.
FOUND = Detected(
    (
        Detections("a", (thing("Car", (0.8, 0.1, 0.2, 0.02)),), frame=Frame("a", "A", time=3.0)),
        Detections("b", (thing("Car", (0.1, 0.9, 0.1, 0.01)), thing("Pedestrian", (0.2, 0.2, 0.3, 0.05), 0.6))),
        Detections("c", (thing("Pedestrian", (0.3, 0.3, 0.7, 0.03), 0.7),), frame=Frame("c", "B", time=1.0)),
        Detections("d", (thing("Pedestrian", (0.4, 0.05, 0.05, 0.2), 0.8),), frame=Frame("d", "B", time=2.0)),
        Detections("empty"),
        Detections("broken", error="not an image"),
    ),
    LABELS,
    "mixture_detector/1/x",
)
PICKS = Selection(
    tuple(
        Pick(
            id,
            4.0 - i,
            Uncertainties(4.0 - i, -1.0, math.nan, 0.5),
            Uncertainties(0.4, 0.3, math.nan, 0.1),
            f"why {id}",
        )
        for i, id in enumerate("cab")
    ),
    ("lonely",),
    ("forgotten",),
    {"detector": "mixture_detector/1/x"},
    {"frames": 77, "without_objects": 1, "unscored": 1, "remedy": "run `sluice score`"},
)


def render(found: Detected = FOUND, images=lambda id: png(1), **options) -> str:
    return detect.render(found, images, **options)


def test_every_object_has_a_box_a_row_and_two_bars_of_two_halves_beside_each():
    built = Page(render())
    count = sum(map(len, FOUND))
    assert sum(tag == "article" for tag, _ in built.elements) == len(FOUND)
    assert sum(tag == "rect" and a.get("class") == "mark" for tag, a in built.elements) == count
    assert sum(tag == "li" for tag, _ in built.elements) == count
    halves = [a["class"] for tag, a in built.elements if tag == "i" and a.get("class") in ("a", "e")]
    assert len(halves) == 4 * (2 * count + 1), "on the picture, in the list, and once in the key"
    assert halves.count("a") == halves.count("e")


def test_a_half_is_full_at_the_largest_of_its_kind_on_the_page():
    row = re.search(r'<li class="r0" data-object="0".*?</li>', render())
    assert row is not None and re.findall(r"--v:([\d.]+)", row[0]) == ["1.000", "0.333", "0.535", "0.316"]
    assert "0.8" in render() and "place, epistemic 0.9" in render()


def test_what_is_not_there_is_said_not_dropped():
    text = render()
    assert "5 objects in 5 images, 1 of them without any; 1 could not be read" in text
    assert "not an image" in text and "nothing found" in text
    text = render(Detected((Detections("a"),)))
    assert "0 objects" in text and "data-object" not in text.split("<main>")[1].split("<script>")[0]


def test_a_page_without_objects_has_no_button_for_their_boxes():
    none = Detected((Detections("empty"), Detections("broken", error="not an image")), LABELS, "m")
    assert not visible(Page(render(none))) & {"boxes-all"} and "boxes-all" in visible(Page(render()))


def test_a_type_that_the_detector_does_not_give_has_an_empty_half_and_a_dash():
    text = render(Detected((Detections("a", (thing("Car", (0.5, 0.1, math.nan, 0.05)),)),), LABELS))
    row = re.search(r'<li class="r0".*?</li>', text)
    assert row is not None and re.findall(r"--v:([\d.]+)", row[0])[2] == "0.000" and "class, aleatoric nan" not in text
    assert "<td>–</td>" in text and "NaN" not in text.split('id="data">')[1].split("</script>")[0]


def test_a_selection_shows_its_picks_in_order_with_z_scores_and_reasons_and_the_rest_by_id():
    text = render(selection=PICKS)
    built = Page(text)
    assert [a["alt"] for tag, a in built.elements if tag == "img"] == [
        f"Image {i}: {id}" for i, id in enumerate("cab", 1)
    ]
    shown = " ".join(built.texts)
    for piece in ("3 picked of 77; 1 without an object; 1 not scored", "why c", "+4.0", "-1.0", "lonely", "forgotten"):
        assert piece in shown, piece
    assert "run `sluice score`" in shown and "standard deviations above the pool" in shown


def test_the_object_that_made_a_pick_stands_on_top_of_its_card():
    first = re.compile(r'<article class="card" data-place="(\d)".*?<span class="label">(\w+)<', re.DOTALL)
    rows = first.findall(render(selection=PICKS))
    assert rows == [("0", "Pedestrian"), ("1", "Car"), ("2", "Pedestrian")], "b is picked for the first type"
    calm, wild = thing("Car", (0.1, 0.1, 0.1, 0.01), 0.99), thing("Pedestrian", (0.2, 0.1, 0.1, 0.01), 0.5)
    text = render(Detected((Detections("a", (calm, wild)),), LABELS), selection=PICKS)
    assert text.index('class="label">Pedestrian<') < text.index('class="label">Car<')


def test_a_selection_can_be_shown_without_the_objects_of_its_picks():
    text = render(Detected(()), selection=PICKS)
    assert text.count('class="card"') == 3 and '<section class="key" aria-label="How to read the bars" hidden>' in text


@pytest.mark.parametrize("where", ["id", "label", "error", "drive", "reason", "others", "model", "title", "missing"])
def test_what_a_stranger_wrote_stays_text(where):
    evil = Object(EVIL, 0, 0.9, Box(0, 0, 8, 8), (0.1,) * 4, (0.1,) * 4, 0.1, 0.1)
    one = Detections(
        EVIL if where == "id" else "f",
        (evil,) if where == "label" else (thing("Car", (1, 1, 1, 1)),),
        frame=Frame("f", EVIL if where == "drive" else "A"),
        error=EVIL if where == "error" else None,
    )
    four = Uncertainties(1, 1, 1, 1)
    selection = Selection((Pick(one.id, 1.0, four, four, EVIL),), (EVIL,)) if where in ("reason", "others") else None

    def images(id: str) -> bytes:
        if where == "missing":
            raise OSError(EVIL)
        return png(1)

    found = Detected((one,), (EVIL,) if where == "label" else LABELS, EVIL if where == "model" else "m")
    built = Page(render(found, images, selection=selection, title=EVIL if where == "title" else None))
    assert not any("onerror" in attributes for _, attributes in built.elements)
    assert sum(tag == "script" for tag, _ in built.elements) == 2
    assert any("onerror" in text for text in built.texts)


def test_the_page_needs_nothing_else_and_every_picture_has_a_text():
    for tag, attributes in Page(render(selection=PICKS)).elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes[name])
        assert tag != "img" or attributes.get("alt")


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match="cannot be written"):
        detect.write(tmp_path / "no" / "x.html", FOUND, lambda id: png(1))


@browser
@pytest.mark.parametrize("selection", [None, PICKS])
def test_a_browser_opens_the_page_without_errors(selection, tmp_path):
    path = tmp_path / "found.html"
    detect.write(path, FOUND, lambda id: png(1), selection=selection, title=EVIL)
    dom = opened(path, tmp_path)
    root = dom[: dom.index("<head>")]
    assert 'data-ready="yes"' in root and "data-errors" not in root, root
    assert '<option value="Pedestrian">Pedestrian</option>' in dom and 'class="n sorts"' in dom


@browser
def test_cards_and_table_sort_by_each_uncertainty_and_the_filters_do_what_they_say(tmp_path):
    script = """{
    const log = [];
    const $ = (id) => document.getElementById(id);
    const set = (id, value, event) => { $(id).value = value; $(id).dispatchEvent(new Event(event)); };
    const first = (list, text) => [...list].map((one) => text(one)[0]).join("");
    const visible = () => document.querySelectorAll(".card:not([hidden])");
    const ids = () => first(visible(), (card) => data.images[card.dataset.place].id);
    for (const type of TYPES) { set("order", type, "change"); log.push(ids()); }
    log.push(first(document.querySelectorAll('[data-place="1"] li .label'), (label) => label.textContent));
    set("order", "time", "change"); log.push(ids());
    set("order", "rank", "change");
    set("label", "Pedestrian", "change"); log.push(ids());
    log.push(document.querySelectorAll('[data-place="1"] .off').length);
    set("label", "", "change");
    set("least", "75", "input"); log.push(ids()); log.push($("shown").textContent);
    set("least", "0", "input");
    set("drive", "B", "change"); log.push(ids());
    const buttons = [...document.querySelectorAll("th button")];
    const column = () => first(document.querySelectorAll("details.table tbody tr"), (row) => row.cells[0].textContent);
    buttons[5].click(); log.push(column());
    buttons[5].click(); log.push(column());
    buttons[0].click(); log.push(column());
    document.querySelector('[data-place="2"] li').dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
    log.push(document.querySelectorAll(".on").length);
    document.documentElement.dataset.log = log.join(";");
    }""".replace("TYPES", str(list(TYPES)))
    path = tmp_path / "found.html"
    path.write_text(loosened(render(), script))
    dom = opened(path, tmp_path)
    log = re.search(r'data-log="([^"]*)"', dom)
    assert log, dom[:500]
    assert log[1].split(";") == [
        *("adcbeb", "bcadeb", "cbadeb", "dbcaeb"),  # the image that is most uncertain of each type comes first
        "PC",  # inside a card too
        "cdabeb",
        "bcd",
        "3",  # the Car of b: its box, its bars, its row
        "abd",
        "3 of 6",
        "cd",
        *("bcbadeb", "dabcbeb", "abbbcde"),
        "3",
    ]
