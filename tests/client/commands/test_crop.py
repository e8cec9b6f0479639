"""`sluice crop`: regions drawn over a picture in a real browser become the command that searches for them."""

from __future__ import annotations

import html
import json
import re
import shlex

import pytest
from sluice_client import InvalidRequest, cli
from sluice_client.pages import crop

from tests.made.browser import EVIL, Page, browser, opened
from tests.made.fake_server import png

SIZE = 64, 48  # of the fake server's pictures


def test_the_page_is_one_file_and_harmless(tmp_path):
    page = crop.render(EVIL, png(0), ["sluice", "retrieve", EVIL])
    built = Page(page)
    assert EVIL not in page and [a["alt"] for tag, a in built.elements if tag == "img"] == [EVIL]
    assert f"Sluice: regions of {EVIL}" in built.texts and not any("onerror" in a for _, a in built.elements)
    assert sum(tag == "script" for tag, _ in built.elements) == 2
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    with pytest.raises(InvalidRequest, match="no JPEG, PNG or WebP"):
        crop.render("a.txt", b"text", ["sluice"])


def test_the_command_writes_the_page_and_says_where(tmp_path, capsys):
    picture = tmp_path / "a b.png"
    picture.write_bytes(png(0))
    target = tmp_path / "crop.html"
    assert cli.main(["crop", str(picture), "-o", str(target), "--no-open", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"page": str(target), "opened": False}
    assert "a b.png" in target.read_text()
    assert cli.main(["crop", str(tmp_path / "none.png"), "--no-open"]) == 2


@browser
def test_boxes_that_are_drawn_become_the_regions_of_a_command(tmp_path):
    script = """{
    const stage = document.getElementById("stage"), frame = stage.getBoundingClientRect(), log = [];
    stage.setPointerCapture = () => {};
    const at = (x, y) => ({ clientX: frame.left + x / 64 * frame.width, clientY: frame.top + y / 48 * frame.height,
      button: 0, pointerId: 1, bubbles: true });
    const fire = (kind, x, y) => stage.dispatchEvent(new PointerEvent(kind, at(x, y)));
    const draw = (x0, y0, x1, y1) => {
      fire("pointerdown", x0, y0); fire("pointermove", x1, y1); fire("pointerup", x1, y1);
    };
    const told = () => log.push(document.getElementById("command").textContent);
    draw(40, 30, 8, 8); told();
    draw(50, 10, 500, 40); told();
    draw(20, 20, 21, 30); told();
    log.push(document.getElementById("told").textContent);
    document.getElementById("undo").click(); told();
    document.documentElement.dataset.log = JSON.stringify(log);
    }"""
    page = crop.render("a b.png", png(0), ["sluice", "retrieve", "it's a b.png"])
    policy = re.search(r"script-src '[^']*'", page)
    assert policy
    path = tmp_path / "crop.html"
    path.write_text(
        page.replace(policy[0], "script-src 'unsafe-inline'").replace("</body>", f"<script>{script}</script></body>")
    )
    dom = opened(path, tmp_path)
    assert "data-errors" not in dom[: dom.index("<head>")]
    found = re.search(r'data-log="([^"]*)"', dom)
    assert found, dom[:500]
    one, two, sliver, told, undone = json.loads(html.unescape(found[1]))
    assert shlex.split(one) == ["sluice", "retrieve", "it's a b.png", "--roi", "8,8,40,30"]
    assert shlex.split(two)[3:] == ["--roi", "8,8,40,30", "--roi", "50,10,64,40"], "clipped to the picture"
    assert sliver == two and "2 x 2" in told and undone == one
