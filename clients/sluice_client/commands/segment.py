"""Tell for every pixel which of your classes it shows. Classes are given by names, and nothing is trained for them.

examples:
  sluice segment photo.jpg --classes road,car,tree --out mask.png
  sluice segment photo.jpg --classes "traffic light,sky" --background 0.5 --overlay overlay.jpg
  sluice segment frames/ --classes-file names.txt --out masks/ --overlay overlays/ --page found.html
  sluice segment frames/ --classes road,car --coco masks.json --coco-images images.json
  sluice segment --ids 0016E5-000390 0016E5-000420 --classes road,car --json > found.jsonl

A mask is a PNG whose pixels are the places of the classes in the list, from 0 on, and 255 for background
(--background). It has a palette for viewers, and holds the names. With more than 254 classes it has 16 bits, 65535 for
background, and no palette. A folder is searched for JPEG, PNG and WebP by their endings, with its subfolders, and its
masks are written to a folder. Without an output, a table is printed. A name with a word that the network has not
learned is refused; `sluice words` lists the words that it has learned.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..answers.segment import Segmentation, Segmented
from ..client import Sluice
from ..drawing.sheet import ENDINGS, encode
from ..errors import InvalidRequest
from ..files import coco, naming, text_files, whole_files
from ..frames import Frame
from ..pages import segment
from ..terminal import object_outputs, stored_ids
from ..terminal.console import OK, SOME_FAILED, Console
from ..verbs.segment import RULES, TEMPLATES, WINDOWS

PLACE = 40
LOCAL = False


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("paths", nargs="*", metavar="IMAGE", help="image files, and folders of them")
    parser.add_argument(
        "--ids", nargs="+", metavar="ID", help=f"ids of stored frames, instead of images; {stored_ids.FROM_STDIN}"
    )
    stored_ids.null(parser)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--classes", metavar="A,B", help="names of the classes, up to 1,000")
    group.add_argument("--classes-file", metavar="FILE", help="a file with the names, one per line; - for stdin")
    parser.add_argument(
        "-o",
        "--out",
        metavar="PATH",
        help="write the mask to this file, as PNG; several masks into this folder, with / at its end",
    )
    parser.add_argument(
        "--overlay", metavar="PATH", help=f"write the image with colours and a legend, likewise ({', '.join(ENDINGS)})"
    )
    parser.add_argument("--coco", metavar="FILE", help="write the masks as COCO's results, with run lengths")
    parser.add_argument("--coco-images", metavar="FILE", help="also write COCO's file of images and categories")
    parser.add_argument(
        "--coco-ids",
        metavar="FILE",
        help="take the numbers of images and categories from this COCO file, such as that of your labels",
    )
    parser.add_argument("--page", metavar="FILE", help="write a page with overlays and a legend (HTML, one file)")
    parser.add_argument(
        "--background",
        type=float,
        metavar="P",
        help="least confidence of a pixel that gets a class, 0..1; others are background (default: no background)",
    )
    parser.add_argument(
        "--templates",
        choices=TEMPLATES,
        help="the sentences that a name is put into: simple is 1, subset 7, full 80, identity none (default: subset)",
    )
    parser.add_argument(
        "--allow-unknown", action="store_true", help="go on even if the network has not learned a word of a name"
    )
    parser.add_argument(
        "--rule",
        choices=RULES,
        help="official, the published rule; plain, the mean cosine; or guided, plain smoothed along the surfaces that "
        "the picture shows (default: the server's, guided)",
    )
    parser.add_argument(
        "--top", type=int, metavar="N", help="with --rule official: the most classes that one view shows (default 5)"
    )
    parser.add_argument(
        "--window",
        choices=WINDOWS,
        help="look at the image whole, or through windows that slide over it (default: auto)",
    )
    parser.add_argument(
        "--strength", type=float, default=0.5, metavar="F", help="strength of the overlay's colours, 0..1 (default 0.5)"
    )
    parser.add_argument("--batch", type=int, default=4, metavar="N", help="images per call (default 4)")
    parser.add_argument("--in-flight", type=int, default=2, metavar="N", help="calls at the same time (default 2)")


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    _check(args)
    images, ids = object_outputs.what(args, console)
    fetch: Callable[[str], bytes] = object_outputs.files if ids is None else client.image
    classes = _classes(args)
    if labels := object_outputs.numbers(args, images or ids or ()):
        for name in classes:
            labels.category(name)
    if images is not None:
        names = naming.below(args.paths, images)
    else:
        names = naming.distinct([naming.safe(id) for id in ids or ()])
    masks, overlays = (_Place.of(option, args, names) for option in ("out", "overlay"))
    written: list[Path] = []
    for option, where, ending in (("--out", masks, ".png"), ("--overlay", overlays, ".jpg")):
        if where is not None:
            files = [where.file(i, ending) for i in range(len(names))]
            naming.keep_inputs(files, [*(images or ()), *written], option)
            written += files
    failed = done = 0
    with console.progress(len(names), " images", "segmenting") as bar:

        def progress(some: list[Segmentation]) -> None:
            nonlocal done, failed
            for one in some:
                failed += one.error is not None
                if console.json:
                    console.data(one.as_json())
                elif one.error is not None:
                    console.error(f"{one.id}: {one.error.removeprefix(one.id).lstrip()}")
                if one.error is None and masks is not None:
                    whole_files.store(masks.path(done, ".png"), one.png())
                if one.error is None and overlays is not None:
                    path = overlays.path(done, ".jpg")
                    picture = one.overlay(fetch(one.id), strength=args.strength)
                    whole_files.store(path, encode(picture, path.suffix.lower()))
                done += 1
            bar.update(len(some))

        asked = {name: getattr(args, name) for name in ("background", "templates", "rule", "top", "window")}
        found = client.segment(
            images,
            ids=ids,
            classes=classes,
            progress=progress,
            batch=args.batch,
            in_flight=args.in_flight,
            allow_unknown=args.allow_unknown,
            **{name: value for name, value in asked.items() if value is not None},
        )
    if not console.json:
        console.table(_HEAD, [row for one in found for row in _rows(one)])
    frames = [] if ids is None or not args.coco_images else _frames(found, client)
    _coco(found, frames, args, console)
    if args.page:
        segment.write(args.page, found, fetch)
        console.note(f"wrote {args.page}")
    for place in filter(None, (masks, overlays)):
        if failed < len(found):
            console.note(f"wrote {place.target}")
    if found.truncated:
        console.note(
            f"the network did not read the ends of these names, which are too long: {', '.join(found.truncated)}"
        )
    for line in found.words.said():
        console.note(f"warning: {line}")
    return SOME_FAILED if failed else OK


def _check(args: argparse.Namespace) -> None:
    """Raise InvalidRequest for mistakes that would otherwise be found only after the work."""
    if not 0 <= args.strength <= 1:
        raise InvalidRequest(f"--strength must lie in 0..1; got {args.strength}.")
    for name in ("coco_images", "coco_ids"):
        if getattr(args, name) and not args.coco:
            raise InvalidRequest(f"--{name.replace('_', '-')} belongs to --coco.")
    for option in ("coco", "coco_images", "page"):
        if getattr(args, option):
            whole_files.place(Path(getattr(args, option)), f"--{option.replace('_', '-')}")


def _classes(args: argparse.Namespace) -> list[str]:
    """Return the names of the classes. Raises InvalidRequest if there are none."""
    said = args.classes.split(",") if args.classes is not None else text_files.lines(text_files.read(args.classes_file))
    names = [name for name in map(str.strip, said) if name]
    if not names:
        raise InvalidRequest("There is no class: give names, as in --classes road,car.")
    return names


@dataclass(frozen=True)
class _Place:
    """The place of one kind of output: a file, or a folder with a file for each image.

    target: the file or folder. names: of the files in a folder, one per image; None if the target is a file.
    """

    target: Path
    names: list[str] | None

    @classmethod
    def of(cls, option: str, args: argparse.Namespace, names: list[str]) -> _Place | None:
        """Return the place that an option names; None if it is not given. Raises InvalidRequest if it cannot be."""
        said = getattr(args, option)
        if said is None:
            return None
        target, endings = Path(said), (".png",) if option == "out" else tuple(ENDINGS)
        if said.endswith(("/", os.sep)) or target.is_dir() or any(Path(path).is_dir() for path in args.paths):
            return cls(whole_files.folder(target, f"--{option}"), names)
        if len(names) > 1:
            raise InvalidRequest(
                f"--{option} {said}: {len(names)} images need a folder; write {said}/ with / at its end.",
            )
        if target.suffix.lower() not in endings:
            raise InvalidRequest(
                f"--{option} must end with {' or '.join(endings)}, or with / for a folder; got {said!r}.",
            )
        return cls(whole_files.place(target, f"--{option}"), None)

    def file(self, place: int, ending: str) -> Path:
        """Return the path of the file of the image at this place."""
        return self.target if self.names is None else self.target / (self.names[place] + ending)

    def path(self, place: int, ending: str) -> Path:
        """Return the path of an image's file, whose folder is made."""
        path = self.file(place, ending)
        whole_files.folder(path.parent, "--out")
        return path


def _frames(found: Segmented, client: Sluice) -> list[Frame]:
    good = [one.id for one in found if one.error is None]
    return [frame for some in object_outputs.chunks(good) for frame in client.get(some)]


def _coco(found: Segmented, frames: list[Frame], args: argparse.Namespace, console: Console) -> None:
    if not args.coco:
        return
    good = [one.id for one in found if one.error is None]
    ids = object_outputs.numbers(args, good) or coco.Ids.of(found.images, found.classes, frames)
    text_files.write(args.coco, text_files.as_json(coco.segments(found.images, ids)) + "\n")
    console.note(f"wrote {args.coco}")
    if args.coco_images:
        text_files.write(args.coco_images, text_files.as_json(coco.dataset(found.images, ids)) + "\n")
        console.note(f"wrote {args.coco_images}")


_HEAD = ("image", "class", "name", "area %", "score")


def _rows(one: Segmentation) -> list[list[str]]:
    if one.error is not None:
        return []
    rows: list[list[Any]] = [
        [one.id, str(share.place), share.name, f"{100 * share.area:.1f}", f"{share.score:.3f}"]
        for share in one.shares()
    ]
    return rows or [[one.id, "-", "", "", ""]]
