"""The options of `retrieve`, `select` and `list` that say which stored frames are looked at.

Each option is stored under the name of its field in `filters.Filter`.
"""

from __future__ import annotations

import argparse
from typing import cast

from ..filters import FilterKeywords

__all__ = ["add", "given", "moment"]


def add(parser: argparse.ArgumentParser) -> None:
    """Add an option for each filter to a command's parser."""
    group = parser.add_argument_group("which frames")
    group.add_argument(
        "--drive", dest="drives", action="append", metavar="NAME", help="only frames of this drive; may be repeated"
    )
    group.add_argument(
        "--camera", dest="cameras", action="append", metavar="NAME", help="only frames of this camera; may be repeated"
    )
    group.add_argument(
        "--after", type=moment, metavar="T", help="only frames of this time or later: seconds, or 2026-03-01T12:00Z"
    )
    group.add_argument(
        "--before", type=moment, metavar="T", help="only frames before this time: seconds, or 2026-03-01T12:00Z"
    )
    group.add_argument(
        "--tag",
        dest="tags",
        action="append",
        metavar="TAG",
        help="only frames with this tag; if repeated, only frames with all of these tags",
    )
    group.add_argument("--exclude", action="append", metavar="ID", help="leave this frame out; may be repeated")


def given(args: argparse.Namespace) -> FilterKeywords:
    """Return the filters that a command line gives, as keywords of the client; None for an option that is not given."""
    return cast(FilterKeywords, {name: getattr(args, name) for name in FilterKeywords.__annotations__})


def moment(text: str) -> float | str:
    """Return the value of a time's option: a number if it reads as a number, else the text."""
    try:
        return float(text)
    except ValueError:
        return text
