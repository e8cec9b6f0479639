"""Runs `sluice enhance` for a video. Mistakes are found before the first frame, and computed frames are kept."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..answers.enhance import Enhanced
from ..client import Sluice
from ..errors import InvalidRequest
from ..files import whole_files
from ..pages import enhance
from ..verbs.enhance import Planes
from ..video.journal import Journal
from ..video.planes import video_image
from ..video.reader import DEINTERLACE, Facts, Lost, Video
from ..video.writer import CONTAINERS, Target, Writer
from .console import OK, SOME_FAILED, Console

_SHOWN = 8  # frames on the page of --compare
_NEWS = 10.0  # seconds between two lines if stderr is no terminal
_WELL = "no artefacts were removed: coded too well to gain by it; --mode weak removes them all the same"


def run(args: argparse.Namespace, options: dict[str, Any], console: Console, client: Sluice) -> int:
    """Enhance the video of a command line and return the exit code. options: of `Sluice.enhance_stream`."""
    source, out = Path(args.paths[0]), _out(args)
    with Video(source, args.track) as video:
        facts = video.facts
        size = _size(facts, args.to)
        matrix = facts.matrix or ("bt709" if facts.height >= 720 else "bt601")
        range_ = facts.range or "limited"
        aspect = _aspect(facts, size)
        target = Target(source, out, facts, size, aspect, matrix, range_, args.crf, args.preset)
        options = options | {"size": size, "matrix": matrix, "range": range_, "format": "yuv420"}
        if facts.bitrate is not None:
            options |= {"bitrate": facts.bitrate, "fps": float(facts.rate)}
        _notes(console, facts, target, aspect, args)
        journal = _journal(args, source, out, options | {"track": video.track})
        if journal.begun:
            console.note(f"going on after {journal.frames} finished frames")
        writer = Writer(journal, target)
        shown = _Shown(facts, journal.frames, matrix, range_) if args.compare else None
        mode = args.mode or "auto"
        work = _Work(writer, shown, console, mode)
        try:
            with _Follow(console, facts.frames, journal.frames) as follow:
                frames, stamps = itertools.tee(video.frames(skip=journal.frames))
                for one in client.enhance_stream(
                    (frame if shown is None else shown.before(frame) for frame, _ in frames),
                    times=(stamp for _, stamp in stamps),
                    first=journal.frames,
                    batch=_batch(*size),
                    timeout=args.timeout,
                    **options,
                ):
                    work.take(one)
                    follow(one)
            lost = [*_lost(source, video.lost), *work.lost(), *writer.finish(video.jumps)]
        finally:
            writer.end_part()  # finished frames are kept, however the work ends
            if journal.frames:
                journal.close()
            else:
                journal.remove()
        journal.remove()
        console.note(f"wrote {out}")
        if video.lost.resized:
            place, other = video.lost.first_resized
            console.note(f"from frame {place} on, {video.lost.resized} frames of another size ({other}) were scaled to "
                         "that of the first")  # fmt: skip
        if options["do"] != "upscale" and work.spared:
            console.note(_WELL)
        if shown is not None:
            enhance.write(args.compare, shown.pairs, title=source.name)
            console.note(f"wrote {args.compare}")
        made = {"out": str(out), "frames": writer.frames - work.failed, "width": size[0], "height": size[1]}
        return _tell(console, made | {"mode": mode, "done": work.done, "switched": work.switched}, lost)


def _tell(console: Console, told: dict[str, Any], lost: list[str]) -> int:
    """Report the frames that were lost, print the result as JSON if asked for, and return the exit code."""
    for sentence in lost:
        console.error(sentence)
    if console.json:
        console.data(told | {"trouble": " ".join(lost) or None})
    return SOME_FAILED if lost else OK


def _out(args: argparse.Namespace) -> Path:
    """Return the file of the new video. Raises InvalidRequest if --out cannot be that file."""
    source, out = Path(args.paths[0]), Path(args.out)
    if out.suffix.lower() not in CONTAINERS:
        raise InvalidRequest(f"--out of a video ends with {', '.join(CONTAINERS)}; got {args.out!r}.")
    if out.is_dir() or args.out.endswith(("/", os.sep)):
        raise InvalidRequest(f"--out of a video is a file; {args.out} is a folder.")
    if args.format:
        raise InvalidRequest("--format is for images; the format of a video follows from the ending of --out.")
    whole_files.place(out, "--out")
    if out.exists() and source.exists() and out.samefile(source):
        raise InvalidRequest(f"--out must be another file than the video itself; got {args.out!r}.")
    return out


def _size(facts: Facts, to: dict[str, Any] | None) -> tuple[int, int]:
    """Return (width, height) of the new video. Both are even, since its chroma planes have half the size."""
    if to is None:
        return max(2, facts.width // 2 * 2), max(2, facts.height // 2 * 2)
    if "size" in to:
        if any(side % 2 for side in to["size"]):
            raise InvalidRequest(f"A video has even sides; --to {to['size'][0]}x{to['size'][1]} has not.")
        return to["size"]
    scale = Fraction(to["scale"]) if "scale" in to else Fraction(to["short"], min(facts.width, facts.height))
    return max(2, round(facts.width * scale / 2) * 2), max(2, round(facts.height * scale / 2) * 2)


def _aspect(facts: Facts, size: tuple[int, int]) -> Fraction | None:
    """Return width over height of the new video's pixels, so that it is shown with the old aspect; None if unknown."""
    stretch = Fraction(size[1] * facts.width, size[0] * facts.height)  # of a pixel, which must be undone
    # A difference that comes from rounding the sides to even numbers is no wish for another shape.
    natural = Fraction(size[0] * facts.height, facts.width)
    if abs(size[1] - natural) <= 2 or abs(size[0] - size[1] * Fraction(facts.width, facts.height)) <= 2:
        return facts.aspect
    aspect = (facts.aspect or 1) * stretch
    # The two sides are 16 bits each in H.264. Source: ITU-T H.264, E.2.1.
    return aspect.limit_denominator(1000) if aspect < 60 else aspect


def _notes(console: Console, facts: Facts, target: Target, aspect: Fraction | None, args: argparse.Namespace) -> None:
    width, height = target.size
    for sentence in (*facts.others, *target.notes()):
        console.note(sentence)
    if facts.converted:
        console.note(f"its pixels are {facts.converted}; they become 4:2:0 with 8 bits")
    if args.to is None and target.size != (facts.width, facts.height):
        console.note(f"{facts.width} x {facts.height} becomes {width} x {height}: a video has even sides")
    if aspect != facts.aspect and aspect is not None:
        console.note(f"its pixels become {aspect.numerator}:{aspect.denominator}, so that it is shown in its shape")


def _batch(width: int, height: int) -> int:
    """Return how many frames a request holds: one, unless they are so small that the request itself would cost more."""
    return max(1, min(8, (1 << 20) // (width * height)))


def _journal(args: argparse.Namespace, source: Path, out: Path, options: dict[str, Any]) -> Journal:
    """Open the journal of finished frames beside the new video; --restart begins a new one."""
    path = out.with_name(f".{out.name}.journal")
    if len(os.fsencode(path.name)) > 255:  # file systems take no longer name
        path = out.with_name(f".{hashlib.sha256(os.fsencode(out.name)).hexdigest()[:32]}.journal")
    if args.restart:
        path.unlink(missing_ok=True)
    state = source.stat()
    work = {"input": [os.fspath(source.resolve()), state.st_size, state.st_mtime_ns], "options": options}
    return Journal(path, work | {"crf": args.crf, "preset": args.preset})


class _Work:
    """Writes the frames that come back, and counts those that could not be enhanced."""

    def __init__(self, writer: Writer, shown: _Shown | None, console: Console, mode: str):
        self._writer, self._shown, self._console, self._mode = writer, shown, console, mode
        self.done: tuple[str, ...] = ()  # the networks of the first frame
        self.switched: list[dict[str, Any]] = []  # frames from which on mode auto chose other networks
        self.failed, self._why = 0, ""
        self._removed = self._any = False

    def take(self, one: Enhanced) -> None:
        """Write a frame, or count it as lost. Raises InvalidRequest if the first frame is lost already."""
        if one.planes is None or one.time is None:
            why = f"frame {one.number}: {one.error or 'was dropped'}"
            if not self._writer.frames:
                raise InvalidRequest(f"{why}.")
            self.failed, self._why = self.failed + 1, self._why or why
            self._writer.leave_out()
            return
        self._writer.add(Planes(one.width, one.height, one.planes), int(one.time))
        first, self._any = not self._any, True
        self._removed |= one.repaired
        if first:
            self.done = one.done
        if one.switched:
            self.switched.append({"frame": one.number, "done": one.done})
        if one.switched or (first and self._mode == "auto"):
            why = "" if one.bits is None else f", by {one.bits / 1000:,.0f} kbit per frame"
            self._console.note(f"from frame {one.number} on: {', '.join(one.done) or 'left as it is'} (mode auto{why})")
        if self._shown is not None:
            self._shown.after(one)

    def lost(self) -> list[str]:
        """Return a sentence about the frames that could not be enhanced; an empty list if there are none."""
        if not self.failed:
            return []
        return [f"{self.failed} frames could not be enhanced and are left out; {self._why}"]

    @property
    def spared(self) -> bool:
        """Return whether the server removed artefacts from no frame at all."""
        return self._any and not self._removed


def _lost(source: Path, lost: Lost) -> list[str]:
    """Return a sentence for each part of the video that could not be enhanced as asked."""
    said = []
    if lost.packets:
        said.append(f"{source}: {lost.packets} packets could not be decoded; their frames are lost.")
    if lost.interlaced:
        said.append(
            f"{source}: {lost.interlaced} frames, the first of them frame {lost.first_interlaced}, are interlaced and "
            f"were enhanced as they are; {DEINTERLACE}"
        )
    if lost.early:
        said.append(f"{source} ends early: {lost.early}.")
    return said


class _Shown:
    """Collects frames for the page of --compare, spread evenly over a video, before and after."""

    def __init__(self, facts: Facts, first: int, matrix: str, range_: str):
        count = facts.frames or 10 * _SHOWN
        self._wanted = {first + round((count - first) * (i + 0.5) / _SHOWN) for i in range(_SHOWN)}
        self._meaning = matrix, range_
        self._number = first
        self._before: dict[int, bytes] = {}
        self.pairs: list[enhance.Pair] = []

    def before(self, frame: Planes) -> Planes:
        """Keep a frame of the source if the page shows it, and return it."""
        if self._number in self._wanted:
            self._before[self._number] = enhance.jpeg(video_image(frame, *self._meaning))
        self._number += 1
        return frame

    def after(self, one: Enhanced) -> None:
        """Keep the enhanced form of a frame that the page shows."""
        if one.number in self._before and one.planes is not None:
            image = video_image(Planes(one.width, one.height, one.planes), *self._meaning)
            pair = self._before.pop(one.number), enhance.jpeg(image)
            self.pairs.append(enhance.Pair(f"frame {one.number}", *pair, one.done))


class _Follow:
    """Shows the progress of a video: a bar with frames per second and the time left, or a line now and then."""

    def __init__(self, console: Console, total: int | None, begun: int):
        self._console, self._total, self._begun = console, total, begun
        self._bar = console.progress(total, " frames", "enhancing")
        self._bar.update(begun)
        self._started = self._told = time.monotonic()

    def __enter__(self) -> _Follow:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def __call__(self, one: Enhanced) -> None:
        self._bar.update()
        now, done = time.monotonic(), one.number + 1
        if self._bar.disable and now - self._told >= _NEWS:
            self._told = now
            rate = (done - self._begun) / (now - self._started)
            left = f" of {self._total}, {(self._total - done) / rate:.0f} s left" if self._total else ""
            self._console.note(f"enhancing: frame {done}{left}, {rate:.2g} fps")
