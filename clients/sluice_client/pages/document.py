"""What every page is made of: the frame around it, text made harmless, boxes drawn over pictures, tables.

Everything that a stranger may have chosen (ids, drives, tags, file names) is escaped, and the page's own policy lets no
other script run than the one written here, found by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from ..drawing import pictures
from ..drawing.pictures import Picture
from ..files import text_files
from ..frames import Box

__all__ = [
    "Table",
    "document",
    "doubt",
    "json_text",
    "listed",
    "numeric",
    "piece",
    "rectangle",
    "rows",
    "seconds",
    "side",
    "svg",
    "table",
    "text",
    "write",
]

# Up to so many results: pixels of a picture's longer side, so that a page of many results can still be mailed.
_SIDES = ((24, 800), (120, 480), (float("inf"), 320))


@dataclass(frozen=True)
class Table:
    """A table to show below the results; cells are texts, numbers go to the right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | float | int]]


def write(path: str | os.PathLike, page: str) -> None:
    """Raises InvalidRequest when the file cannot be written."""
    text_files.write(Path(path), page)


def document(
    *,
    title: str,
    summary: str,
    top: str,
    cards: Sequence[str],
    empty: str,
    tables: Sequence[Table],
    listing: str,
    footer: str,
    data: object,
    scripts: Sequence[str],
    styles: Sequence[str] = ("page.css",),
    below: str = "",
) -> str:
    """Return the page. title, summary, empty, footer: texts; top, cards, below: HTML; listing: HTML, "" where there is
    none; scripts, styles: names of files of web/."""
    script = "\n".join(map(piece, scripts))
    if listing:
        scrolled = f'<div class="scroll">{listing}</div>'
        listing = f'<details class="table">\n<summary>The same as a table</summary>\n{scrolled}\n</details>'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(piece("page.html")).substitute(
        title=text(title),
        script_hash=f"sha256-{digest}",
        style="\n".join(map(piece, styles)).replace("$ramp", pictures.ramp_css()),
        summary=text(summary),
        top=top,
        cards="\n".join(cards) or f'<p class="empty">{text(empty)}</p>',
        tables="\n".join([*map(table, tables), below]),
        listing=listing,
        footer=text(footer),
        data=json_text(data),
        script=script,
    )


def piece(name: str) -> str:
    """A file of web/."""
    return (resources.files("sluice_client") / "pages" / "web" / name).read_text(encoding="utf-8")


def side(count: int) -> int:
    """Pixels of the longer side of each of so many pictures."""
    return next(pixels for most, pixels in _SIDES if count <= most)


def text(value: object) -> str:
    """For use between tags and inside quoted attributes."""
    return html.escape(str(value), quote=True)


def json_text(value: object) -> str:
    """For use inside a script element, which ends at the first `</script` and must not see `<!--` either."""
    written = text_files.as_json(value)
    for character in "<>&\u2028\u2029":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written


def doubt(why: str) -> str:
    """A mark beside a name that does not mean what it says; "" where there is no reason."""
    return f'<b class="doubt" title="{text(why)}">?</b>' if why else ""


def rectangle(box: Box) -> str:
    """The attributes of an SVG rect, pixels of the image."""
    return f'x="{box.x0:.2f}" y="{box.y0:.2f}" width="{box.x1 - box.x0:.2f}" height="{box.y1 - box.y0:.2f}"'


def svg(picture: Picture, marks: str) -> str:
    """Marks in pixels of the image, laid over its picture."""
    return (
        f'<svg viewBox="0 0 {picture.width} {picture.height}" preserveAspectRatio="xMidYMid meet" '
        f'aria-hidden="true">{marks}</svg>'
    )


def seconds(value: float) -> str:
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def table(shown: Table) -> str:
    return f'<h2>{text(shown.title)}</h2><div class="scroll">{rows(shown.head, shown.rows)}</div>'


def rows(head: Sequence[str], lines: Sequence[Sequence[str | float | int]]) -> str:
    def cell(value: str | float | int) -> str:
        return f'<td class="n">{text(value)}</td>' if numeric(value) else f"<td>{text(value)}</td>"

    numbers = [bool(lines) and all(numeric(row[i]) or row[i] == "" for row in lines) for i in range(len(head))]
    names = "".join(f"<th{' class=n' if n else ''}>{text(name)}</th>" for name, n in zip(head, numbers, strict=True))
    body = "".join("<tr>" + "".join(map(cell, row)) + "</tr>" for row in lines)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def numeric(value: object) -> bool:
    """A number as a person writes it; not an id that Python would take for one, such as 0016E5_00390."""
    return _NUMBER.fullmatch(str(value)) is not None


_NUMBER = re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?(e[-+]\d+)? ?[%x]?")


def listed(title: str, ids: Sequence[str]) -> str:
    """Many ids, folded away."""
    shown = ", ".join(map(text, ids[:_LISTED])) + (f" and {len(ids) - _LISTED:,} more" if len(ids) > _LISTED else "")
    return f'<details class="table"><summary>{text(title)} ({len(ids):,})</summary><p class="id">{shown}</p></details>'


_LISTED = 1000
