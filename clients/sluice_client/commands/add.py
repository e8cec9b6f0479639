"""Store images, each of them once, however often the command is repeated.

examples:
  sluice add drives/0016E5 --drive 0016E5 --camera front
  sluice add night/*.jpg --drive 0042 --tags night,rain --time-from mtime
  sluice add drives/0042 --drive 0042 --time-from name --fps 30    000390.jpg is at 13.0 s
  sluice add --frames frames.jsonl    a line is {"file": "a.jpg", "drive": "0042", "time": 1.5}

A folder is searched for JPEG, PNG and WebP by their endings, with its subfolders. Other files in
it are counted and left out. Files are added in the order of their names.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from pathlib import Path

from ..answers.ingest import Receipt
from ..client import Sluice
from ..errors import InvalidRequest
from ..files.content import VIDEO, kind
from ..files.frame_times import FrameTimes
from ..files.image_files import images_in, listed
from ..terminal.console import OK, SOME_FAILED, Console
from ..verbs.ingest import NewFrame, refused

PLACE = 10
LOCAL = False


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="image files, and folders of them")
    parser.add_argument("--drive", default="", help="name of the drive, to filter by later")
    parser.add_argument("--camera", default="", help="name of the camera, such as front")
    parser.add_argument("--tags", default="", metavar="A,B", help="words to filter by later")
    parser.add_argument(
        "--frames", metavar="FILE", help="JSON lines, each with file, and optionally id, drive, camera, time and tags"
    )
    parser.add_argument(
        "--time-from",
        choices=("mtime", "name", "none"),
        default="none",
        help="source of a frame's time: mtime, the file's date; name, the number or date in its name; none, no time "
        "(default)",
    )
    parser.add_argument(
        "--fps",
        type=float,
        help="frames per second: with --time-from name, the number in the name, or behind the date in it, counts "
        "frames; otherwise the order of the files does",
    )
    parser.add_argument(
        "--id-from",
        choices=("bytes", "name"),
        default="bytes",
        help="source of a frame's id: its bytes (default), or its file name without the ending",
    )
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="images per call (default 16)")
    parser.add_argument("--in-flight", type=int, default=4, metavar="N", help="calls at the same time (default 4)")


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    frames, videos = _frames(args, console)
    frames, twins = _apart(frames)
    files = [str(frame.image) for frame in frames]
    counts = {"stored": 0, "known": 0, "refused": len(videos)}
    for path in videos:
        if console.json:
            console.data({"file": str(path), "status": "refused", "error": _NO_VIDEO})
        else:
            console.error(f"{path} was refused: {_NO_VIDEO}")
    unscored: list[str | None] = []  # one reason per frame that the detector has not scored
    unembedded: list[str | None] = []  # one reason per frame that has no embedding for words to find it by
    otherwise: list[tuple[str, Receipt]] = []  # known frames that are described otherwise now
    done = 0
    begin = time.monotonic()

    def tell(file: str, receipt: Receipt) -> None:
        counts[receipt.status] += 1
        if receipt.scored is False:
            unscored.append(receipt.unscored)
        if receipt.embedded is False:
            unembedded.append(receipt.unembedded)
        if receipt.differs:
            otherwise.append((file, receipt))
        if console.json:
            console.data({"file": file, **receipt.as_json()})
        elif not receipt.ok:
            why = f"{receipt.error or ''} {receipt.remedy or ''}".strip().removeprefix(f"{file} ")
            console.error(f"{file} was refused: {why}")

    try:
        with console.progress(len(frames), " images", "adding") as bar:

            def progress(receipts: list[Receipt]) -> None:
                nonlocal done
                for receipt in receipts:
                    tell(files[done], receipt)
                    done += 1
                bar.update(len(receipts))
                bar.set_postfix(counts, refresh=False)

            for frame, first in twins:
                taken = InvalidRequest(
                    f"{first} comes before it with the same id, {frame.id!r}.",
                    remedy="Take the ids from the bytes, or give them with --frames.",
                )
                tell(str(frame.image), refused(frame, taken))
            client.ingest(frames, progress=progress, batch=args.batch, in_flight=args.in_flight)
    finally:  # also if the command ends early, since the frames that were answered are stored
        if not console.json:
            ended = f"{counts['stored']} stored, {counts['known']} known, {counts['refused']} refused"
            open_ = len(frames) - done
            rest = f"; {open_} not answered, so run it again: frames that are stored are known then" if open_ else ""
            console.text(f"{ended} in {time.monotonic() - begin:.1f} s{rest}")
    for reasons, lacks, remedy in (
        (unscored, "are not scored yet", "run `sluice score` before `sluice select`"),
        (unembedded, "cannot be found by words yet", "run `sluice compare --unembedded` before `retrieve --text`"),
    ):
        if reasons:
            why = next((f" ({reason})" for reason in reasons if reason), "")
            console.note(f"{len(reasons)} of them {lacks}{why}; {remedy}")
    if otherwise:
        console.note(f"warning: {_kept(otherwise)}")
    return SOME_FAILED if counts["refused"] else OK


def _kept(otherwise: list[tuple[str, Receipt]]) -> str:
    """Return a sentence about the descriptions that were not taken over, with the first of them as the example."""
    fields = Counter(name for _, receipt in otherwise for name in receipt.differs)
    told = ", ".join(f"{name} of {count}" for name, count in fields.items())
    file, receipt = otherwise[0]
    name, both = next(iter(receipt.differs.items()))
    kept, given = (",".join(v) if isinstance(v, list | tuple) else v for v in (both["stored"], both["given"]))
    return (
        f"known frames keep their stored descriptions, and other descriptions given now are not taken over ({told}): "
        f"the {name} of {file} stays {kept!r}, not {given!r}. To describe a frame differently, `sluice delete` it and "
        "add it again"
    )


_NO_VIDEO = "It is a video, and only images can be added; take frames out first: ffmpeg -i IN -vf fps=2 OUT/%06d.jpg"


def _frames(args: argparse.Namespace, console: Console) -> tuple[list[NewFrame], list[Path]]:
    """Return the frames, and the files that are left out because they are videos."""
    tags = tuple(tag for tag in (part.strip() for part in args.tags.split(",")) if tag)
    times = FrameTimes(args.time_from, args.fps)
    if args.frames:
        if args.paths:
            raise InvalidRequest("Give paths or --frames, not both.")
        entries = listed(Path(args.frames))
    else:
        entries = [{"file": path} for path in images_in([Path(path) for path in args.paths], console.note)]
    if not entries:
        raise InvalidRequest("There are no images to add: give image files, folders of them, or --frames.")
    videos = [entry["file"] for entry in entries if kind(entry["file"]) == VIDEO]
    if len(videos) == len(entries):
        raise InvalidRequest(f"{videos[0]}: {_NO_VIDEO}")
    no_pictures = set(videos)
    entries = [entry for entry in entries if entry["file"] not in no_pictures]
    read = times.of({i: entry["file"] for i, entry in enumerate(entries) if entry.get("time") is None}, console.note)
    frames = []
    for index, entry in enumerate(entries):
        path: Path = entry["file"]
        frames.append(
            NewFrame(
                path,
                id=entry.get("id") or (_told(path.stem) if args.id_from == "name" else None),
                drive=entry.get("drive", args.drive),
                camera=entry.get("camera", args.camera),
                time=read[index] if entry.get("time") is None else entry["time"],
                tags=entry.get("tags", tags),
            )
        )
    return frames, videos


def _apart(frames: list[NewFrame]) -> tuple[list[NewFrame], list[tuple[NewFrame, str]]]:
    """Return the frames whose ids differ, and (frame, earlier file) of each frame whose id an earlier file has."""
    first: dict[str, NewFrame] = {}
    apart, twins = [], []
    for frame in frames:
        if frame.id is not None and first.setdefault(frame.id, frame) is not frame:
            twins.append((frame, str(first[frame.id].image)))
        else:
            apart.append(frame)
    return apart, twins


def _told(name: str) -> str:
    """Return a file's name as an id; bytes that are no UTF-8 are written as \\xe9."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
