"""Runs `sluice enhance` for images: one file each, and none overwrites another or an input."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path
from typing import Any

from ..client import Sluice
from ..drawing import pictures
from ..errors import InvalidRequest
from ..files import naming, whole_files
from ..files.image_files import images_in
from ..pages import enhance
from ..video.writer import CONTAINERS
from .console import OK, SOME_FAILED, Console

_SHOWN = 8  # images on the page of --compare
_ENDINGS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
_WELL = "coded too well to gain by it; --mode weak removes them all the same"


def run(args: argparse.Namespace, options: dict[str, Any], console: Console, client: Sluice) -> int:
    """Enhance the images of a command line and return the exit code. options: of `Sluice.enhance`."""
    files = images_in([Path(path) for path in args.paths], console.note)
    outs, form = _outs(args, files)
    naming.keep_inputs(outs, files, "--out")
    for path, out in zip(files, outs, strict=True):
        if len(outs) > 1 and path.stem != out.stem:
            console.note(f"{path} becomes {out}, since another image has its name")
    mode = args.mode or "auto"
    told: dict[str, Any] = {"out": args.out, "images": 0, "mode": mode, "done": {}, "errors": {}}
    pairs: list[enhance.Pair] = []
    spared = 0
    with console.progress(len(files), " images", "enhancing") as bar:
        for path, out in zip(files, outs, strict=True):
            # Each image is a stream of its own, so that the mode is chosen for each.
            asked = options | {"format": form} | _sized(path, args.to)
            (one,) = client.enhance([path], batch=1, timeout=args.timeout, **asked)
            if one.image is None:
                told["errors"][str(path)] = one.error or "was dropped"
            else:
                whole_files.folder(out.parent, "--out")
                whole_files.store(out, one.image)
                told["images"] += 1
                told["done"][str(path)] = list(one.done)
                spared += options["do"] != "upscale" and not one.repaired
                for note in one.notes:
                    if note != pictures.UNREAD:  # this was said when the file was read
                        console.note(f"{path}: {note}")
                if args.compare and len(pairs) < _SHOWN:
                    pairs.append(enhance.Pair(path.name, path.read_bytes(), one.image, one.done))
            bar.update()
    console.note(f"wrote {told['images']} images to {args.out}")
    if mode == "auto" and told["images"]:
        console.note(f"mode auto: {_choices(list(told['done'].values()))}")
    if spared:
        console.note(f"no artefacts were removed from {spared} of them: {_WELL}")
    if args.compare:
        enhance.write(args.compare, pairs, title="images")
        console.note(f"wrote {args.compare}")
    for name, error in told["errors"].items():
        console.error(f"{name}: {error}")
    if console.json:
        console.data(told)
    return SOME_FAILED if told["errors"] else OK


def _choices(done: list[list[str]]) -> str:
    """Return how many images went through which networks, such as "a and b (3 of 4), left as it is (1 of 4)"."""
    counts = Counter(" and ".join(networks) or "left as it is" for networks in done)
    if len(done) == 1:
        return next(iter(counts))
    return ", ".join(f"{networks} ({count:,} of {len(done):,})" for networks, count in counts.most_common())


def _outs(args: argparse.Namespace, files: list[Path]) -> tuple[list[Path], str]:
    """Return the file of each image, and the format.

    --out is a file for a single image, whose ending tells the format; otherwise a folder.
    """
    target, ending = Path(args.out), Path(args.out).suffix.lower()
    folder = args.out.endswith(("/", os.sep)) or target.is_dir()
    if not folder and ending in (*_ENDINGS, *CONTAINERS, ".webp", ".gif", ".avi"):
        if ending not in _ENDINGS:
            raise InvalidRequest(
                f"--out {args.out}: images become .png or .jpg, or a folder of them, written {args.out}/."
            )
        if len(files) > 1 or any(Path(path).is_dir() for path in args.paths):
            raise InvalidRequest(
                f"--out {args.out}: {len(files)} images need a folder; write {args.out}/ with / at its end."
            )
        if args.format and args.format != _ENDINGS[ending]:
            raise InvalidRequest(f"--out {args.out} and --format {args.format} exclude each other; leave one out.")
        return [whole_files.place(target, "--out")], _ENDINGS[ending]
    for path in args.paths:
        if Path(path).is_dir() and target.resolve() == Path(path).resolve():
            raise InvalidRequest(
                f"--out {args.out} is a folder of inputs; an output would take the place of an input, or be "
                "taken for one next time. Write to another folder."
            )
    form = args.format or "png"
    end = ".png" if form == "png" else ".jpg"
    return [whole_files.folder(target, "--out") / f"{name}{end}" for name in naming.below(args.paths, files)], form


def _sized(path: Path, to: dict[str, Any] | None) -> dict[str, Any]:
    """Return the option that gives an image its new size. Its sides are those of the image as it is shown, upright."""
    if to is None or "short" not in to:
        return to or {}
    try:
        width, height = pictures.size(path.read_bytes())
    except (OSError, pictures.NotAPicture):
        return {}  # the server says what is wrong with it
    scale = to["short"] / min(width, height)
    return {"size": (max(1, round(width * scale)), max(1, round(height * scale)))}
