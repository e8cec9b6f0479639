"""Pages as a browser builds them, a real browser where one is installed, and a text that must not become HTML."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

EVIL = "<img src=x onerror=alert(1)>\"'&</script><!--"


class Page(HTMLParser):
    """Elements with their attributes, and the text between them, as a browser would build them."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def visible(built: Page) -> set[str]:
    """Return the ids of the buttons that are shown, and "strength" for the slider with its label."""
    shown = [(tag, a) for tag, a in built.elements if tag in ("button", "label") and "hidden" not in a]
    return {str(a.get("id") or a["class"]) for tag, a in shown if "id" in a or (tag == "label" and "class" in a)}


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)")


def opened(path: Path, tmp_path: Path, hash: str = "") -> str:
    """Return the page's DOM after its script has run."""
    done = subprocess.run(
        [
            str(CHROMIUM),
            *["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
            *["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"],
            f"--user-data-dir={tmp_path / 'browser'}",
            "--virtual-time-budget=2000",
            "--dump-dom",
            path.as_uri() + hash,
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def loosened(text: str, script: str) -> str:
    """Return the page with a script of the test's and a policy that permits it, as the page's own does not."""
    policy = re.search(r"script-src '[^']*'", text)
    assert policy is not None
    return text.replace(policy[0], "script-src 'unsafe-inline'").replace("</body>", f"<script>{script}</script></body>")
