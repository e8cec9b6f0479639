"""A list of images as a pool to select from: the caller sends what `detect` answered for each."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.frames import Frame
from sluice.methods.mixtures.summaries import ENTROPY, TYPES, Summary
from sluice.methods.selection import no_effect
from sluice.methods.selection.options import Options, without_effect
from sluice.methods.selection.pool import Batch
from sluice.options import parsed
from sluice.process import callers

IMAGES = 4096  # images per batch
FARTHEST = 1e15  # greatest number of a descriptor, whose square float32 still holds
KEYS = ("id", "drive", "camera", "time", "tags", "summary", "descriptor")


class Candidates:
    """A `sluice.methods.selection.pool.Pool`. An image's number is its place in the list."""

    def __init__(self, given: Sequence[str | bytes], options: Options) -> None:
        """given: JSON objects with id and summary (null: not scored), and optionally drive, camera, time, tags,
        descriptor.

        Raises InvalidArgument naming the candidate at fault.
        """
        if options.object_score is not None:
            raise InvalidArgument("object_score is for stored frames; give it to `detect` when the summaries are made")
        watch, rows = callers.Watch(callers.checker()), []
        for i, text in enumerate(given):
            watch()
            rows.append(_parsed(i, text))
        self.frames = [frame for frame, _, _ in rows]
        self.all_ids = [str(frame.id) for frame in self.frames]
        twice = [id_ for id_, count in Counter(self.all_ids).items() if count > 1]
        if twice:
            raise InvalidArgument(f"every candidate needs an id of its own; {twice[0]!r:.80} is there twice")
        self.summaries, self.vectors = [row[1] for row in rows], [row[2] for row in rows]
        self.detector = _detector(self.summaries, options)
        self.object_score = _object_score([one for one in self.summaries if one and one.model == self.detector])
        _check_measures([one for one in self.summaries if one and one.model == self.detector])
        labelled = set(options.labelled)
        members = [frame.id not in labelled and options.labelled_tag not in frame.tags for frame in self.frames]
        self.members = np.array(members, bool)
        scored = [summary is not None and summary.model == self.detector for summary in self.summaries]
        self.scored = np.array(scored, bool) & self.members
        self.picks = np.array([options.filters.passes(frame) for frame in self.frames], bool) & self.members
        # A class that never occurs here may occur in another part of the pool, so its weight is no mistake.
        seen = {label for summary in self.summaries if summary for label in summary.classes}
        self.labels = sorted(seen | set(options.class_weights))
        self._kind = {label: kind for kind, label in enumerate(self.labels)}
        self._rank = np.argsort(np.argsort(np.array(self.all_ids, object), kind="stable"), kind="stable")
        names = sorted({frame.drive for frame in self.frames})
        drive = {name: number for number, name in enumerate(names)}
        self._drive = np.array([drive[frame.drive] for frame in self.frames], np.int64)
        self.no_effect = without_effect(self, options)
        unseen = sorted(set(options.class_weights) - seen)
        if unseen:
            self.no_effect.append(no_effect.entry("class_weights", "no candidate shows such a class", unseen))
        self.version = self._version()

    def _version(self) -> str:
        """Return the version of the pool: other images, summaries or labels make it another."""
        texts = sorted(
            self.all_ids[i] + " " + (summary.to_json() if summary else "")
            for i, summary in enumerate(self.summaries)
            if self.members[i]
        )
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]

    # ------------------------------------------------------------------------------------------------ no_effect

    what = "candidate"

    def missing(self, kind: str, names: Sequence[str]) -> list[str]:
        """Return the names that no candidate has."""
        known = {tag for frame in self.frames for tag in frame.tags} if kind == "tag" else None
        known = {getattr(frame, kind) for frame in self.frames} if known is None else known
        return [name for name in names if name not in known]

    def lacking(self, field: str) -> int:
        """Return how many candidates have no value in a field of `Frame`."""
        return sum(getattr(frame, field) is None for frame in self.frames)

    # ------------------------------------------------------------------------------------------------ the protocol

    def batches(self) -> Iterator[Batch]:
        """Yield all scored images that are not labelled, in the order of the list."""
        frames = np.flatnonzero(self.scored)
        for start in range(0, len(frames), IMAGES):
            yield self.of(frames[start : start + IMAGES])

    def of(self, frames: np.ndarray) -> Batch:
        """Return some images again, in the given order."""
        counts, kinds, values, objects, mean, m2, faint = [], [], [], [], [], [], []
        for i in frames.tolist():
            parts = [(label, part) for label, part in self.summaries[i].classes.items() if part.objects]
            counts.append(len(parts))
            faint.append(None if parts else self.summaries[i].faint)
            for label, part in parts:
                kinds.append(self._kind[label])
                values.append(part.maxima)
                objects.append(part.objects)
                mean.append(part.moments.mean)
                m2.append(part.moments.m2)
        shape = (len(kinds), len(values[0]) if values else len(TYPES))
        return Batch(
            frame=frames,
            picks=self.picks[frames],
            counts=np.array(counts, np.int64),
            kinds=np.array(kinds, np.int64),
            values=np.array(values, np.float64).reshape(shape),
            objects=np.array(objects, np.int64),
            mean=np.array(mean, np.float64).reshape(shape),
            m2=np.array(m2, np.float64).reshape(shape),
            faint=np.array(faint, np.float64),
        )

    def ranks(self, frames: np.ndarray) -> np.ndarray:
        return self._rank[frames]

    def drives(self, frames: np.ndarray) -> np.ndarray:
        return self._drive[frames]

    def descriptors(self, frames: np.ndarray) -> np.ndarray:
        """Return descriptors, float32 [len(frames), C].

        Raises InvalidArgument for a candidate without a descriptor, and for descriptors of different lengths.
        """
        vectors = [self.vectors[i] for i in frames.tolist()]
        missing = [self.all_ids[i] for i, vector in zip(frames.tolist(), vectors, strict=True) if vector is None]
        if missing:
            raise InvalidArgument(
                f"diversity needs every candidate's descriptor, numbers that say what it shows; {len(missing)} have "
                f"none, such as {missing[0]!r:.80}; send them, or select without diversity"
            )
        lengths = {len(vector) for vector in vectors}
        if len(lengths) > 1:
            raise InvalidArgument(f"descriptors must be of one length; got {sorted(lengths)}")
        return np.array(vectors, np.float32).reshape(len(vectors), -1)

    # ------------------------------------------------------------------------------------------------ for the answer

    def ids(self, frames: np.ndarray) -> list[str]:
        """Return the ids of images."""
        return [self.all_ids[i] for i in frames.tolist()]

    def described(self, frames: np.ndarray) -> list[dict[str, Any]]:
        """Return what the caller said about images."""
        return [asdict(self.frames[i]) for i in frames.tolist()]

    def unscored(self, limit: int) -> tuple[list[str], int]:
        """Return the first ids of images that may be picked but have no summary of this detector, and their number."""
        rows = np.flatnonzero(self.picks & ~self.scored)
        return self.ids(rows[:limit]), len(rows)


def _parsed(i: int, text: str | bytes) -> tuple[Frame, Summary | None, list[float] | None]:
    """Return the frame, the summary and the descriptor of candidate `i`. Raises InvalidArgument naming it."""
    try:
        given = parsed(text, "it")
        if not isinstance(given, dict) or not set(given) <= set(KEYS) or not {"id", "summary"} <= set(given):
            raise InvalidArgument(f"it is a JSON object with id and summary, and may have {', '.join(KEYS)}")
        fields = {key: given[key] for key in KEYS[:5] if given.get(key) is not None}
        frame = Frame.from_json(fields)
        if frame.id is None:
            raise InvalidArgument("its id is a text")
        summary = None if given["summary"] is None else Summary.from_json(given["summary"])
        return frame, summary, _vector(given.get("descriptor"))
    except (ValueError, RecursionError) as error:  # InvalidArgument is one, and so is what json raises
        raise InvalidArgument(f"candidate {i}: {error}") from None


def _vector(given: Any) -> list[float] | None:
    """Return a descriptor, or None. Raises InvalidArgument for what is none."""
    if given is None:
        return None
    numbers = isinstance(given, list) and all(isinstance(one, int | float) and abs(one) <= FARTHEST for one in given)
    if not given or not numbers:  # NaN is within no limit
        raise InvalidArgument(f"its descriptor is a list of numbers from -{FARTHEST:g} to {FARTHEST:g}")
    return [float(one) for one in given]


def _detector(summaries: Sequence[Summary | None], options: Options) -> str:
    """Return the version of the detector whose summaries count."""
    versions = sorted({summary.model for summary in summaries if summary is not None})
    if options.detector is not None:
        return options.detector
    if len(versions) > 1:
        raise InvalidArgument(
            f"the summaries are of several detectors, {', '.join(versions)!s:.300}, whose values do not compare; run "
            "`detect` again on the older ones, or name the `detector` that counts"
        )
    return versions[0] if versions else ""


def _check_measures(summaries: Sequence[Summary]) -> None:
    """Raise InvalidArgument unless all objects of one detector are measured alike: by four types, or by ENTROPY."""
    parts = [part.maxima for summary in summaries for part in summary.classes.values()]
    if len({len(maxima) for maxima in parts if maxima is not None}) > 1:
        raise InvalidArgument(
            f"some summaries of the detector hold the four types and some {ENTROPY}; send them as `detect` gave them"
        )


def _object_score(summaries: Sequence[Summary]) -> float | None:
    """Return the least score of an object, which is the same for all summaries; None if it is not known."""
    scores = {summary.object_score for summary in summaries}
    if len(scores) > 1:
        said = ", ".join(sorted("not known" if score is None else f"{score:g}" for score in scores))
        raise InvalidArgument(
            f"the summaries count objects of several least scores (object_score {said}), so their values do not "
            "compare; run `detect` again with one object_score for all"
        )
    return next(iter(scores), None)
