"""The page: whole, safe against what strangers write into ids, and opened by a real browser without errors."""

from __future__ import annotations

import html
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sluice_client import Box, Found, Frame, InvalidRequest, Match, Scores
from sluice_client.drawing import pictures
from sluice_client.files import saved_results
from sluice_client.pages import document, retrieve

from tests.made.browser import EVIL, Page, browser, opened, visible
from tests.made.fake_server import heat_png, png


def matches(n: int = 4, id: str = "f{}") -> tuple[Match, ...]:
    return tuple(
        Match(
            id=id.format(i),
            score=0.9 - 0.1 * i,
            roi_scores=(0.9 - 0.1 * i, 0.5),
            boxes=(Box(8, 8, 16, 16), Box(24, 8, 32, 16)),
            frame=Frame(id.format(i), "AB"[i % 2], "front", float(n - i), ("day",), 64, 48, "ab" * 32),
            heatmap_png=heat_png(),
        )
        for i in range(n)
    )


def found(n: int = 4, id: str = "f{}") -> Found:
    return Found(matches(n, id), "feature_extractor/1/0123456789ab", 1234, 5, 0.0123)


def render(result, images=lambda id: png(1), **options) -> str:
    return retrieve.render(png(0), [(8, 8, 24, 24), (0, 0, 8, 8)], result, images, **options)


def test_the_page_shows_every_result_with_rank_score_frame_and_regions():
    text = render(found(), title="bike.jpg", tables=[retrieve.Table("Recall", ["size", "DTM"], [["1 %", 0.5]])])
    built = Page(text)
    assert sum(tag == "article" for tag, _ in built.elements) == 4
    shown = " ".join(built.texts)
    for piece in ("0.9000", "f0", "front", "drive ", "1,234 frames", "12.3 ms", "Sluice: bike.jpg", "Recall", "1 %"):
        assert piece in shown, piece
    assert sum(tag == "rect" and "mark" in (a.get("class") or "") for tag, a in built.elements) == 2 + 4 * 2


def test_the_page_needs_nothing_else():
    built = Page(render(found()))
    for tag, attributes in built.elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes[name])
    assert not re.search(r"https?://|@import|url\(", re.sub(r"data:image[^\"]*", "", render(found())))


def test_every_image_has_a_text_for_those_who_cannot_see_it():
    assert all(attributes.get("alt") for tag, attributes in Page(render(found())).elements if tag == "img")


@pytest.mark.parametrize("where", ["id", "drive", "camera", "tags", "model", "title", "error", "table", "reason"])
def test_what_a_stranger_wrote_stays_text(where):
    frame = (
        Frame("f", **{where: (EVIL,) if where == "tags" else EVIL})
        if where in ("drive", "camera", "tags")
        else Frame("f")
    )
    match = Match(EVIL if where == "id" else "f", 0.5, (0.5,), (Box(0, 0, 8, 8),), frame=frame)
    result: Found | Scores = Found((match,), EVIL if where == "model" else "m", 1, 0, 0.1)
    if where == "error":
        result = Scores((Match("a", math.nan, error=EVIL),), "m")

    def images(id: str) -> bytes:
        if where == "reason":
            raise OSError(EVIL)
        return png(1)

    tables = [retrieve.Table(EVIL, [EVIL], [[EVIL]])] if where == "table" else []
    built = Page(render(result, images, title=EVIL if where == "title" else None, tables=tables))
    assert not any("onerror" in attributes for _, attributes in built.elements)
    assert sum(tag == "script" for tag, _ in built.elements) == 2
    assert any("onerror" in text for text in built.texts) or where == "id"


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_out_of_the_embedded_json_unchanged(id):
    page = document.render("enhance.html", title="", summary="", data=[id], pairs=[])
    embedded = page.split('id="data">')[1].split("</script>")[0]
    assert json.loads(embedded) == [id] and "<" not in embedded and ">" not in embedded


def test_numbers_stand_to_the_right_and_ids_that_look_like_them_do_not():
    assert all(map(document.numeric, ["1", "-2.5", "+0.1", "1,234.5", "12 %", "7x", "1e-05", 3, 0.25]))
    assert not any(
        map(document.numeric, ["", "0016E5_00390", "16E5", "inf", "nan", "8,8,24,24", "8 8 24 24", "a", "–"])
    )


def test_the_policy_names_the_one_script_by_its_hash():
    text = render(found())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy and "default-src 'none'" in policy[1] and "script-src 'sha256-" in policy[1]
    assert "unsafe-inline" not in policy[1].split("script-src")[1]


def test_a_missing_image_is_said_on_its_card_and_spoils_nothing():
    def images(id: str) -> bytes:
        if id == "f1":
            raise OSError("gone")
        return b"junk" if id == "f2" else png(1)

    text = render(found(), images)
    assert text.count("The image is missing: gone") == 1 and text.count("this is no JPEG") == 1
    assert text.count('class="card"') == 4


@pytest.mark.parametrize("box", [(), (Box(*(math.nan,) * 4),)])
def test_a_page_found_by_words_has_no_buttons_for_heat_maps_and_places_that_it_lacks(box):
    one = Match("f", 0.5, (), box, frame=Frame("f"), text_scores=(0.5,))
    words = Page(retrieve.render(None, [], Found((one,), "m", 1, 0, 0.1), lambda id: png(1), texts=["a car"]))
    assert visible(words) == {"copy"}
    assert visible(Page(render(found()))) == {"copy", "heat-all", "boxes-all", "strength"}


def test_nothing_found_is_said_and_not_an_error():
    text = render(Found((), "m", 0, 0, 0.0))
    assert "No frame passed" in text and 'class="card"' not in text


def test_results_of_match_are_shown_with_their_errors():
    scores = Scores((*matches(2), Match("broken.jpg", math.nan, error="not an image")), "m")
    text = render(scores)
    assert "2 images compared; 1 could not be compared" in text and "not an image" in text


def test_a_query_that_is_no_image_is_refused_here():
    with pytest.raises(InvalidRequest, match="cannot be shown"):
        retrieve.render(b"junk", [(0, 0, 1, 1)], found(), lambda id: png(1))


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match="cannot be written"):
        retrieve.write(tmp_path / "no" / "x.html", png(0), [(0, 0, 8, 8)], found(), lambda id: png(1))


def test_large_images_are_made_small_and_regions_keep_their_pixels():
    data = png(0, (1500, 1000))
    picture = pictures.shrink(data, 800)
    assert (picture.width, picture.height) == (1500, 1000) and len(picture.url) < 600_000
    assert _decoded(picture.url).size == (800, 533)


def test_sixteen_bits_a_pixel_are_scaled_and_not_cut_off():
    grey = np.tile(np.arange(256, dtype=np.uint16) * 257, (64, 1))
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    pixels = np.asarray(_decoded(pictures.shrink(file.getvalue(), 256).url).convert("L")).astype(int)
    assert np.abs(pixels - np.arange(256)).max() < 12  # JPEG


def test_the_pictures_of_many_results_are_smaller():
    file = io.BytesIO()
    Image.new("RGB", (900, 600), "grey").save(file, "JPEG")

    def width(n: int) -> int:
        picture = re.search(r'<img src="([^"]*)" loading', render(found(n), lambda id: file.getvalue()))
        assert picture
        return _decoded(picture[1]).width

    assert (width(4), width(25)) == (800, 480)


def test_a_photo_held_upright_is_shown_upright():
    image = Image.fromarray(np.zeros((40, 80, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    picture = pictures.shrink(file.getvalue(), 800)
    assert (picture.width, picture.height) == (40, 80) and _decoded(picture.url).size == (40, 80)


def test_heat_is_in_one_range_for_the_whole_page_and_clear_where_nothing_is_alike():
    low, high = pictures.heat_range([heat_png(), heat_png()])
    assert 0 <= low < high == pytest.approx(235 / 255)
    assert pictures.heat_range([]) == (0, 1)
    pixels = np.asarray(_decoded(pictures.heat(heat_png(), low, high)))
    assert pixels.shape == (24, 32, 4) and pixels[0, 0, 3] == 0 and pixels[-1, -1, 3] == 255


def _decoded(url: str) -> Image.Image:
    import base64

    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_saved_results_come_back_whole():
    for result in (
        found(),
        Scores((*matches(1), Match("b", math.nan, (math.nan,), (Box(*[math.nan] * 4),), error="no")), "m"),
    ):
        text = saved_results.dumps(png(0), [(1, 2, 3, 4)], result)
        saved = saved_results.loads(text)
        assert saved.image == png(0) and saved.rois == (Box(1, 2, 3, 4),) and repr(saved.found) == repr(result)
        assert [m.heatmap_png for m in saved.found.matches] == [m.heatmap_png for m in result.matches]
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "format should be"),
        ("[]", "got 'list'"),
        ("x", "not a whole file"),
        ('{"format": "sluice.found/1"}', "not a whole"),
    ],
)
def test_what_is_no_saved_result_is_refused(text, message):
    with pytest.raises(InvalidRequest, match=message):
        saved_results.loads(text)


# In a browser ---------------------------------------------------------------------------------------------------------


@browser
@pytest.mark.parametrize("hash", ["", "#heat"])
def test_a_browser_opens_the_page_without_errors_and_the_heat_maps_can_be_switched(hash, tmp_path):
    path = tmp_path / "found.html"
    retrieve.write(path, png(0), [(8, 8, 24, 24)], found(6, id=EVIL + "{}"), lambda id: png(1), title=EVIL)
    dom = opened(path, tmp_path, hash)
    root = dom[: dom.index("<head>")]
    assert 'data-ready="yes"' in root and "data-errors" not in root, root
    assert dom.count('class="card hot"') == (6 if hash else 0) and dom.count('class="card"') == (0 if hash else 6)
    assert '<option value="A">A</option>' in dom and "<h1>" + html.escape(f"Sluice: {EVIL}", quote=False) in dom


@browser
def test_a_browser_opens_a_page_found_by_words_without_errors(tmp_path):
    path = tmp_path / "found.html"
    one = Match("f", 0.5, (), (), frame=Frame("f"), text_scores=(0.5,))
    retrieve.write(path, None, [], Found((one,), "m", 1, 0, 0.1), lambda id: png(1), texts=["a car"])
    root = opened(path, tmp_path)
    assert 'data-ready="yes"' in root[: root.index("<head>")] and "data-errors" not in root[: root.index("<head>")]


@browser
def test_a_click_on_a_picture_the_key_h_order_and_drive_do_what_they_say(tmp_path):
    script = """{
    const cards = () => [...document.querySelectorAll(".card")];
    const log = [];
    cards()[1].querySelector(".picture").click();
    log.push(cards().map((card) => +card.classList.contains("hot")).join(""));
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "h", bubbles: true}));
    log.push(cards().map((card) => +card.classList.contains("hot")).join(""));
    document.getElementById("order").value = "time";
    document.getElementById("order").dispatchEvent(new Event("change"));
    log.push(cards().map((card) => card.dataset.place).join(""));
    document.getElementById("drive").value = "B";
    document.getElementById("drive").dispatchEvent(new Event("change"));
    log.push(cards().filter((card) => !card.hidden).map((card) => card.dataset.place).join(""));
    log.push(document.getElementById("shown").textContent);
    cards()[0].querySelector("[data-do=wide]").click();
    log.push(cards()[0].className);
    document.documentElement.dataset.log = log.join(";");
    }"""
    path = tmp_path / "found.html"
    text = render(found(4))
    policy = re.search(r"script-src '[^']*'", text)
    assert policy
    # The page's policy forbids foreign scripts, so the test's script loosens it in its own copy.
    path.write_text(
        text.replace(policy[0], "script-src 'unsafe-inline'").replace("</body>", f"<script>{script}</script></body>")
    )
    dom = opened(path, tmp_path)
    log = re.search(r'data-log="([^"]*)"', dom)
    assert log, dom[:500]
    assert log[1].split(";") == ["0100", "1111", "3210", "31", "2 of 4", "card hot wide"]


@browser
def test_a_script_that_got_into_the_page_would_not_run(tmp_path):
    path = tmp_path / "found.html"
    path.write_text(
        render(found(1)).replace("</body>", "<script>document.documentElement.dataset.evil = 1</script></body>")
    )
    dom = opened(path, tmp_path)
    assert 'data-ready="yes"' in dom and "data-evil=" not in dom


@browser
def test_each_query_has_a_button_that_shows_its_own_heat_map(tmp_path):
    (match,) = matches(1)
    several = replace(found(1), matches=(replace(match, heatmap_query=1, query_heatmap_pngs=(heat_png(),) * 2),))
    path = tmp_path / "found.html"
    script = """{
    const card = document.querySelector(".card"), log = [];
    const state = () => [...card.querySelectorAll(".heat")].map((map) => `${map.dataset.of}${map.hidden ? "-" : "+"}`)
      + "|" + [...card.querySelectorAll("[data-do=heat]")].map((b) => b.getAttribute("aria-pressed")[0]).join("");
    const button = (of) => card.querySelector(`button[data-of="${of}"]`);
    log.push(state() + card.classList.contains("hot"));
    for (const of of [0, 1, 1]) { button(of).click(); log.push(state() + card.classList.contains("hot")); }
    document.documentElement.dataset.log = log.join(";");
    }"""
    text = render(several)
    policy = re.search(r"script-src '[^']*'", text)
    assert policy
    path.write_text(
        text.replace(policy[0], "script-src 'unsafe-inline'").replace("</body>", f"<script>{script}</script></body>")
    )
    dom = opened(path, tmp_path)
    assert 'data-log="1+,0-|fffalse;1-,0+|fttrue;1+,0-|tftrue;1+,0-|fffalse"' in dom
