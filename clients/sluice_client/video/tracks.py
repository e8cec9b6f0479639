"""Chooses the track of a video file: the one that is asked for, else the best that is no cover picture."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from .planes import library

__all__ = ["chosen"]

_LOOKED = 2000  # packets at most that are read to find out which tracks have more than one frame
_PICTURES = ("attached_pic", "still_image", "timed_thumbnails")


def chosen(path: Path, container: Any, track: int | None) -> tuple[Any, tuple[str, ...]]:
    """Return the stream of the video, and sentences about the other tracks.

    track: FFmpeg's number of the stream; None for the stream that players show by default, else the largest.
    Raises InvalidRequest where the file has no video, or no such track.
    """
    videos = list(container.streams.video)
    real = _real(path, videos)
    if track is not None:
        found = next((one for one in videos if one.index == track), None)
        if found is None:
            there = ", ".join(map(_named, videos)) or "none"
            raise InvalidRequest(f"{path} has no video of --track {track}; there are: {there}.")
    elif not real:
        raise InvalidRequest(
            f"{path} holds no video, or was cut off before its index was written; "
            "pictures end with .jpg, .png or .webp.",
        )
    else:
        # What is shown by default comes first, then the largest, because previews are smaller, then the first.
        found = max(real, key=lambda one: (_says(one, "default"), _pixels(one), -one.index))
    said = []
    if len(real) > 1 and track is None:
        there = ", ".join(map(_named, real))
        said.append(f"it has {len(real)} videos ({there}); --track {found.index} is taken, another by its number")
    left = Counter(one.type for one in container.streams if one.type not in ("video", "audio"))
    if left:
        words = ", ".join(f"{count} of {kind}" for kind, count in sorted(left.items()))
        said.append(f"tracks that are left out: {words}")
    return found, tuple(said)


def _real(path: Path, videos: list[Any]) -> list[Any]:
    """Return the tracks with more than one frame; a single track that is not marked as a cover counts as a video."""
    moving = [one for one in videos if not any(_says(one, name) for name in _PICTURES)]
    if len(moving) < 2:
        return moving
    # Not every file marks a cover as such. The file is opened anew, because its packets will be read again.
    counts: Counter[int] = Counter()
    numbers = [one.index for one in moving]
    av = library()
    try:
        with av.open(os.fspath(path)) as container:
            for looked, packet in enumerate(container.demux(*(container.streams[i] for i in numbers))):
                counts[packet.stream_index] += bool(packet.size)
                if looked >= _LOOKED or all(counts[i] > 1 for i in numbers):
                    break
    except av.error.FFmpegError:
        pass  # what was counted until then decides
    return [one for one in moving if counts[one.index] > 1] or moving[:1]


def _says(stream: Any, name: str) -> bool:
    """Tell whether a stream has a disposition of FFmpeg, such as "default"."""
    return bool(stream.disposition & type(stream.disposition)[name])


def _pixels(stream: Any) -> int:
    return stream.codec_context.width * stream.codec_context.height if stream.codec_context else 0


def _named(stream: Any) -> str:
    """Describe a track, such as "--track 0 (h264, 640 x 480)"."""
    context = stream.codec_context
    if context is None:
        return f"--track {stream.index} (unknown)"
    return f"--track {stream.index} ({context.name}, {context.width} x {context.height})"
