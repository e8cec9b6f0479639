"""Take codec artefacts out of a video or of pictures, make them larger, or both.

examples:
  sluice enhance in.mp4 --to 1440p --out out.mp4          artefacts removed, then larger; audio copied
  sluice enhance in.mp4 --out out.mp4                     artefacts removed, same size
  sluice enhance in.mp4 --to 2x --do upscale --mode clean --out out.mp4
  sluice enhance frames/ photo.jpg --to 1.5x --out better/          one PNG each
  sluice enhance in.mp4 --to 1080p --out out.mp4 --compare page.html

--to is 1440p (pixels of the shorter side), 2560x1440, or 2x, 1.5x, 1.33x; without it the size stays. Time stamps, range
and matrix of a video stay. What is finished of a video is kept beside --out (.NAME.journal) until all is: the same
command goes on from there.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from .. import enhance, enhanced_page, storing
from ..client import Sluice
from ..console import OK, SOME_FAILED, Console
from ..enhance import Planes
from ..enhanced import Enhanced
from ..errors import InvalidRequest
from ..files import images_in
from ..video import ENDINGS, Facts, Video, video_image
from ..video_journal import Journal
from ..video_writer import PRESETS, Writer
from .sampling import distinct

LOCAL = False
STOPPED = "stopped. The finished part is kept; the same command goes on from there."

_WELL = "coded too well to gain by it; --mode weak does it all the same"
_SHOWN = 8  # frames of the page that compares
_NEWS = 10.0  # seconds between two lines where there is no terminal
_TIMES = {"2x": "2", "1.5x": "3/2", "1.33x": "4/3", "1x": "1"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="one video; or images, and folders of them")
    parser.add_argument("--to", type=_to, metavar="SIZE", help="such as 1440p, 2560x1440 or 1.5x (default: as it is)")
    parser.add_argument("--do", choices=enhance.DO, help="default: both with --to, else artefacts")
    parser.add_argument("--mode", choices=enhance.MODES, help="default auto: from resolution and bitrate")
    parser.add_argument("--strength", type=float, metavar="F", help="0..1 (default 1)")
    parser.add_argument("-o", "--out", required=True, metavar="PATH", help="the new video; for images a folder")
    parser.add_argument("--crf", type=int, default=18, metavar="N", help="of the new video, 0..51 (default 18)")
    parser.add_argument("--preset", choices=PRESETS, default="fast", help="of its encoder (default fast)")
    parser.add_argument("--format", choices=("png", "jpeg"), default="png", help="of images (default png)")
    parser.add_argument("--compare", metavar="FILE", help="write a page to compare before and after (HTML, one file)")
    parser.add_argument("--restart", action="store_true", help="throw away what was finished before")


def _to(text: str) -> dict[str, Any]:
    if text in _TIMES:
        return {"scale": _TIMES[text]}
    if short := re.fullmatch(r"([1-9]\d{0,4})p", text):
        return {"short": int(short[1])}
    if size := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text):
        return {"size": (int(size[1]), int(size[2]))}
    raise argparse.ArgumentTypeError(f"such as 1440p, 2560x1440, 2x, 1.5x or 1.33x was expected, got {text!r}")


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    videos = [path for path in args.paths if Path(path).suffix.lower() in ENDINGS]
    if videos and len(args.paths) > 1:
        raise _wrong(f"One video at a time, and no images with it; got {len(args.paths)} paths.")
    if not 0 <= args.crf <= 51:
        raise _wrong(f"--crf must lie in 0..51; got {args.crf}.")
    if args.compare:
        storing.place(Path(args.compare), "--compare")
    return _video(args, console, client) if videos else _images(args, console, client)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    given = {"do": args.do or ("both" if args.to else "artefacts"), "mode": args.mode, "strength": args.strength}
    return {name: value for name, value in given.items() if value is not None}


def _spared(options: dict[str, Any], ways: set[tuple[str, ...]]) -> bool:
    """Whether the server let pass what it was to take artefacts out of. ways: in which frames were enhanced."""
    removed = any(name.startswith("artifact_remover") for way in ways for name in way)
    return bool(ways) and options["do"] != "upscale" and not removed


# ------------------------------------------------------------------------------------------------------------- videos


def _video(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    source, out = Path(args.paths[0]), storing.place(Path(args.out), "--out")
    if out.suffix.lower() not in (".mp4", ".mkv", ".mov", ".m4v"):
        raise _wrong(f"--out of a video ends with .mp4, .mkv, .mov or .m4v; got {args.out!r}.")
    if out.exists() and out.samefile(source):
        raise _wrong(f"--out must be another file than the video itself; got {args.out!r}.")
    with Video(source) as video:
        facts = video.facts
        width, height = _size(facts, args.to)
        matrix = facts.matrix or ("bt709" if facts.height >= 720 else "bt601")
        range_ = facts.range or "limited"
        options = _options(args) | {"size": (width, height), "matrix": matrix, "range": range_, "format": "yuv420"}
        if facts.bitrate is not None:
            options |= {"bitrate": facts.bitrate, "fps": float(facts.rate)}
        _notes(console, facts, (width, height), args)
        journal = _journal(args, source, out, options)
        if journal.begun:
            console.note(f"going on after {journal.frames} finished frames")
        writer = Writer(journal, facts, width, height, matrix, range_, args.crf, args.preset)
        shown = _Shown(facts, journal.frames, matrix, range_) if args.compare else None
        ways: set[tuple[str, ...]] = set()  # in which frames were enhanced
        switched: list[dict[str, Any]] = []
        frames, stamps = itertools.tee(video.frames(skip=journal.frames))
        try:
            with _Follow(console, facts.frames, journal.frames) as follow:
                for one in client.enhance_stream(
                    (frame if shown is None else shown.before(frame) for frame, _ in frames),
                    times=(stamp for _, stamp in stamps),
                    first=journal.frames,
                    batch=_batch(width, height),
                    timeout=args.timeout,
                    **options,
                ):
                    if one.planes is None or one.time is None:
                        raise _wrong(f"frame {one.number}: {one.error or 'was dropped'}.")
                    writer.add(Planes(one.width, one.height, one.planes), int(one.time))
                    ways.add(one.done)
                    if one.switched:
                        switched.append({"frame": one.number, "done": one.done})
                        console.note(f"from frame {one.number} on: {', '.join(one.done) or 'left as it is'}{_why(one)}")
                    if shown is not None:
                        shown.after(one)
                    follow(one)
            writer.finish(source, out)
        finally:
            writer.end_part()  # what is finished stays, whatever ended it
            journal.close()
        journal.remove()
        console.note(f"wrote {out}")
        if _spared(options, ways):
            console.note(f"no artefacts were removed: {_WELL}")
        if shown is not None:
            _page(args.compare, shown.pairs, source.name, console)
        told = {"out": str(out), "frames": writer.frames, "width": width, "height": height, "trouble": video.trouble}
        told["switched"] = switched
        return _tell(console, told, [] if video.trouble is None else [f"{source} ends early: {video.trouble}."])


def _why(one: Enhanced) -> str:
    """By what mode auto chose other networks."""
    return "" if one.bits is None else f" (mode auto, by {one.bits / 1000:,.0f} kbit a frame)"


def _size(facts: Facts, to: dict[str, Any] | None) -> tuple[int, int]:
    """(width, height) of the new video: even, as its planes of half size want it."""
    if to is None:
        return max(2, facts.width // 2 * 2), max(2, facts.height // 2 * 2)
    if "size" in to:
        if any(side % 2 for side in to["size"]):
            raise _wrong(f"A video has even sides; --to {to['size'][0]}x{to['size'][1]} has not.")
        return to["size"]
    scale = Fraction(to["scale"]) if "scale" in to else Fraction(to["short"], min(facts.width, facts.height))
    return max(2, round(facts.width * scale / 2) * 2), max(2, round(facts.height * scale / 2) * 2)


def _notes(console: Console, facts: Facts, size: tuple[int, int], args: argparse.Namespace) -> None:
    if facts.converted:
        console.note(f"its pixels are {facts.converted}; they become 4:2:0 with 8 bits")
    if args.to is None and size != (facts.width, facts.height):
        console.note(f"{facts.width} x {facts.height} becomes {size[0]} x {size[1]}: a video has even sides")


def _batch(width: int, height: int) -> int:
    """Frames of a request: one at a time, unless they are so small that the request itself would cost more."""
    return max(1, min(8, (1 << 20) // (width * height)))


def _journal(args: argparse.Namespace, source: Path, out: Path, options: dict[str, Any]) -> Journal:
    path = out.with_name(f".{out.name}.journal")
    if args.restart:
        path.unlink(missing_ok=True)
    state = source.stat()
    work = {"input": [os.fspath(source.resolve()), state.st_size, state.st_mtime_ns], "options": options}
    return Journal(path, work | {"crf": args.crf, "preset": args.preset})


class _Shown:
    """Frames for the page that compares, taken evenly over a video: as they were and as they became."""

    def __init__(self, facts: Facts, first: int, matrix: str, range_: str):
        count = facts.frames or 10 * _SHOWN
        self._wanted = {first + round((count - first) * (i + 0.5) / _SHOWN) for i in range(_SHOWN)}
        self._meaning = matrix, range_
        self._number = first
        self._before: dict[int, bytes] = {}
        self.pairs: list[enhanced_page.Pair] = []

    def before(self, frame: Planes) -> Planes:
        if self._number in self._wanted:
            self._before[self._number] = enhanced_page.jpeg(video_image(frame, *self._meaning))
        self._number += 1
        return frame

    def after(self, one: Enhanced) -> None:
        if one.number in self._before and one.planes is not None:
            image = video_image(Planes(one.width, one.height, one.planes), *self._meaning)
            pair = self._before.pop(one.number), enhanced_page.jpeg(image)
            self.pairs.append(enhanced_page.Pair(f"frame {one.number}", *pair, one.done))


class _Follow:
    """How far a video is: a bar with frames a second and the time left, or a line now and then."""

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


# ------------------------------------------------------------------------------------------------------------- images


def _images(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    files = images_in([Path(path) for path in args.paths])
    folder = storing.folder(Path(args.out), "--out")
    options = _options(args) | {"format": args.format}
    ending = ".png" if args.format == "png" else ".jpg"
    names = [f"{name}{ending}" for name in distinct([path.stem for path in files])]
    errors: dict[str, str] = {}
    pairs: list[enhanced_page.Pair] = []
    spared = 0
    with console.progress(len(files), " images", "enhancing") as bar:
        place = 0
        for some, own in _alike(files, args.to):
            # Each is a stream of its own, so that the mode is chosen for each.
            for one in client.enhance(some, batch=1, timeout=args.timeout, **options, **own):
                path, name = files[place], names[place]
                if one.image is None:
                    errors[str(path)] = one.error or "was dropped"
                else:
                    storing.store(folder / name, one.image)
                    spared += _spared(options, {one.done})
                    if args.compare and len(pairs) < _SHOWN:
                        pairs.append(enhanced_page.Pair(path.name, path.read_bytes(), one.image, one.done))
                place += 1
                bar.update()
    console.note(f"wrote {len(files) - len(errors)} images to {folder}")
    if spared:
        console.note(f"no artefacts were removed from {spared} of them: {_WELL}")
    if args.compare:
        _page(args.compare, pairs, "images", console)
    told = {"out": str(folder), "images": len(files) - len(errors), "errors": errors}
    return _tell(console, told, [f"{path}: {error}" for path, error in errors.items()])


def _alike(files: list[Path], to: dict[str, Any] | None) -> Iterator[tuple[list[Path], dict[str, Any]]]:
    """The files one by one, with the size that each is to have."""
    for path in files:
        if to is None or "short" not in to:
            yield [path], to or {}
            continue
        try:
            with Image.open(path) as image:
                sides = image.size
        except (OSError, Image.DecompressionBombError):
            sides = (1, 1)  # the server says what is wrong with it
        scale = to["short"] / min(sides)
        yield [path], {"size": (max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale)))}


def _page(path: str, pairs: list[enhanced_page.Pair], title: str, console: Console) -> None:
    enhanced_page.write(path, pairs, title=title)
    console.note(f"wrote {path}")


def _tell(console: Console, told: dict[str, Any], errors: list[str]) -> int:
    for error in errors:
        console.error(error)
    if console.json:
        console.data(told)
    return SOME_FAILED if errors else OK


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(message, status="LOCAL")
