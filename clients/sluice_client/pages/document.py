"""Makes one HTML file, which needs no other file and no network, from a template of web/ and the facts that it shows.

Jinja2 escapes every fact (ids, drives, tags, names of files and classes, errors), so what a stranger wrote stays text.
Only the client's own CSS and JavaScript enter a page as they are. The page's Content-Security-Policy names the hash of
its script, so that a browser runs no other.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..drawing import pictures
from ..files import text_files

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["Table", "numeric", "render", "write"]


@dataclass(frozen=True)
class Table:
    """A table of a page. Cells are texts or numbers; numbers, also those written as text, are aligned to the right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | float | int]]

    @property
    def numbers(self) -> list[bool]:
        """Tell for each column whether it holds numbers alone; cells without a text are passed over."""
        columns = range(len(self.head))
        return [bool(self.rows) and all(numeric(row[i]) or row[i] == "" for row in self.rows) for i in columns]


def write(path: str | os.PathLike, page: str) -> None:
    """Write the page to a file. Raises InvalidRequest or CannotWrite when the file cannot be written."""
    text_files.write(Path(path), page)


def render(
    template: str,
    *,
    title: str,
    summary: str,
    data: object,
    footer: str = "Sluice",
    tables: Sequence[Table] = (),
    listing: Table | None = None,
    **facts: Any,
) -> str:
    """Return the page as text.

    template: name of a file of web/ that extends page.html.
    title:    text of the browser's tab and of the heading. summary: one line below the heading.
    data:     what the page's script reads; must have a form in JSON.
    tables:   shown below the results. listing: all results as one table, folded away; None for a page without it.
    facts:    what the template shows besides. One that the template names and `facts` lacks raises UndefinedError.
    """
    page = _templates().get_template(template)
    return page.render(title=title, summary=summary, data=data, footer=footer, tables=tables, listing=listing, **facts)


@lru_cache(maxsize=1)
def _templates() -> Environment:
    """Return the templates of web/, with escaping on and missing facts refused."""
    # Imported here because most commands make no page, and they should start fast.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("sluice_client", "pages/web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"own": _own, "ramp": pictures.ramp_css()}
    made.filters["sha256"] = _sha256
    made.tests["numeric"] = numeric
    # NaN is refused, and the names of files that are not UTF-8 are kept; `tojson` escapes < > & ' on top.
    made.policies |= {"json.dumps_function": text_files.as_json, "json.dumps_kwargs": {}}
    return made


def _own(names: Sequence[str]) -> Markup:
    """Join files of web/, CSS or JavaScript, as text that is not escaped. The only such text in a page."""
    from markupsafe import Markup

    folder = resources.files("sluice_client") / "pages" / "web"
    return Markup("\n".join((folder / name).read_text(encoding="utf-8") for name in names))


def _sha256(script: str) -> str:
    """Return the digest of a script as a Content-Security-Policy writes it, in base64."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def numeric(value: object) -> bool:
    """Tell whether a value is a number as a person writes it.

    Ids that Python would read as a number, such as 0016E5_00390, are none.
    """
    return _NUMBER.fullmatch(str(value)) is not None


_NUMBER = re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?(e[-+]\d+)? ?[%x]?")
