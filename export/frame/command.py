"""Joins the networks that look at a new frame into one, `frame_networks`, which computes once what they share.

    sluice export frame_networks [--root DIR]

`sluice export` without a name does this, too, and so does the export of one of the three. `ingest` asks the joined
network where it is made of the three that are served, and asks these one by one otherwise.
"""

from __future__ import annotations

from export import destination, own
from export.frame import joined


def main(words: list[str]) -> int:
    """Run the command and return its exit status."""
    made = own.parser("frame_networks", __doc__)
    made.add_argument("--force", action="store_true", help="join them even where the file is up to date")
    given = made.parse_args(words)
    return own.run(
        "sluice export frame_networks",
        lambda: joined.write(destination.prepare(given.root, own.say), own.say, given.force),
    )
