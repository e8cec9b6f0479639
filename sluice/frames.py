"""Frames as a caller describes them: `Frame`, the `Filter` that frames pass, and a `Search` among those that pass.

A new filter is a field of `Filter` here, with a line in `passes`, and the same line for arrays in `gallery.table`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sluice.options import Kind, check_options, choice, number, of_json, option, text_list, whole

MAX_ID = 256  # characters of an id, a drive, a camera, a tag
MAX_TAGS = 64
MAX_K = 10_000
FORMS = ("roi", "image", "mean", "area")  # of a score: see sluice.methods.matching.scoring
COMBINATIONS = ("max", "mean", "query")  # of the scores of several regions: likewise
HEATMAPS = (True, False, "all")  # of the query that scored, none, or of each query by itself as well
FUSE = 0.5

# ------------------------------------------------------------------------------------------------ kinds of values


def is_name(value: Any) -> bool:
    """Return whether a value may be an id, a drive, a camera or a tag."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
        return False
    return all(c >= " " and c != "\x7f" and not "\ud800" <= c <= "\udfff" for c in value)


def _tags(value: Any) -> tuple[str, ...] | None:
    """Return the tags, each once; None if they cannot be tags."""
    good = isinstance(value, list | tuple) and len(value) <= MAX_TAGS and all(map(is_name, value))
    return tuple(dict.fromkeys(value)) if good else None


def _moment(value: Any) -> float | None:
    """Return a time in seconds; None if it is neither a number nor ISO 8601 with a zone."""
    if not isinstance(value, str):
        return number().accept(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()


_TEXT = f"a text of 1 to {MAX_ID} characters without control characters"
_NAME = Kind(_TEXT, lambda value: value if is_name(value) else None)
_NAME_OR_NONE = Kind(f"{_TEXT}, or '' if there is none", lambda value: value if value == "" or is_name(value) else None)
_TAGS = Kind(f"a list of at most {MAX_TAGS} tags, each {_TEXT}", _tags)
_MOMENT = Kind("seconds, or a time with its zone such as 2026-03-01T12:00Z", _moment)

# ------------------------------------------------------------------------------------------------ a frame


@dataclass(frozen=True)
class Frame:
    """A caller's description of one image. Raises InvalidArgument for a field that is not of its kind."""

    id: str | None = option(None, _NAME)  # None: the first 16 hexadecimal digits of the image's SHA-256
    drive: str = option("", _NAME_OR_NONE)
    camera: str = option("", _NAME_OR_NONE)
    time: float | None = option(None, number())  # seconds, on the caller's clock; None: not known
    tags: tuple[str, ...] = option((), _TAGS)

    def __post_init__(self) -> None:
        check_options(self)

    def differs(self, stored: Frame) -> dict[str, dict[str, Any]]:
        """Return what this description says otherwise than the stored frame of the same image.

        Returns field -> {"given", "stored"}. A field that is left out (no id, drive, camera, time or tags) says
        nothing, and neither does the order of tags.
        """
        told: dict[str, dict[str, Any]] = {}
        for name in ("id", "drive", "camera", "time"):
            given, kept = getattr(self, name), getattr(stored, name)
            if given not in (None, "") and given != kept:
                told[name] = {"given": given, "stored": kept}
        if self.tags and set(self.tags) != set(stored.tags):
            told["tags"] = {"given": list(self.tags), "stored": list(stored.tags)}
        return told

    @classmethod
    def from_json(cls, given: str | bytes | Mapping[str, Any]) -> Frame:
        """Return a frame from a JSON object with some of the fields. Raises InvalidArgument, also for others."""
        return of_json(cls, given, "a frame")


# ------------------------------------------------------------------------------------------------ which frames


@dataclass(frozen=True, kw_only=True)
class Filter:
    """The filters of a request. A filter that is None lets every frame pass; a list that is empty lets no frame
    pass, but no tags demand nothing. Raises InvalidArgument for a field that is not of its kind.

    What a request names in vain is told from the fields' metadata (`sluice.methods.selection.no_effect`):
    names: which names of frames the list holds. needs: the field of `Frame` without which a frame cannot pass.
    """

    drives: tuple[str, ...] | None = option(None, text_list, names="drive")  # any of these
    cameras: tuple[str, ...] | None = option(None, text_list, names="camera")  # any of these
    # Times are seconds, or ISO 8601 with its zone, which becomes seconds since 1970.
    after: float | None = option(None, _MOMENT, needs="time")  # after <= time
    before: float | None = option(None, _MOMENT, needs="time")  # time < before
    tags: tuple[str, ...] | None = option(None, text_list, names="tag")  # all of these
    exclude: tuple[str, ...] | None = option(None, text_list, names="id")  # none of these; unknown ids do no harm

    def __post_init__(self) -> None:
        check_options(self)

    def passes(self, frame: Frame) -> bool:
        """Return whether a frame passes every filter. `sluice.gallery.table` does the same with arrays."""
        return (
            (self.drives is None or frame.drive in self.drives)
            and (self.cameras is None or frame.camera in self.cameras)
            and (self.after is None or (frame.time is not None and frame.time >= self.after))
            and (self.before is None or (frame.time is not None and frame.time < self.before))
            and set(self.tags or ()) <= set(frame.tags)
            and frame.id not in (self.exclude or ())
        )

    @classmethod
    def from_json(cls, given: str | bytes | Mapping[str, Any]) -> Filter:
        """Return a filter from a JSON object with some of the fields. Raises InvalidArgument, also for others."""
        return of_json(cls, given, "a filter")


@dataclass(frozen=True, kw_only=True)
class Search(Filter):
    """The ranking of the frames that pass the filters, and the number of frames to return.

    Raises InvalidArgument as `Filter` does.
    """

    k: int = option(10, whole(1, MAX_K))  # most frames in the answer; with combine='query', per query
    threshold: float | None = option(None, number())  # least score, inclusive
    score: str = option("roi", choice(FORMS))
    combine: str = option("mean", choice(COMBINATIONS))
    per_drive: int | None = option(None, whole(1))  # most frames per drive; frames without a drive count as one drive
    heatmaps: bool | str = option(True, choice(HEATMAPS))  # which heat maps the verb draws; the gallery draws none
    # Share of the words in the score, 0 to 1, in a search by templates and words. None: FUSE.
    fuse: float | None = option(None, number(0, 1))

    @classmethod
    def from_json(cls, given: str | bytes | Mapping[str, Any]) -> Search:
        """Return a search from a JSON object with some of the fields. Raises InvalidArgument, also for others."""
        return of_json(cls, given, "a search")
