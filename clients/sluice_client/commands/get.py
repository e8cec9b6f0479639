"""Print the facts that the gallery keeps about frames, and fetch their images.

examples:
  sluice get 0016E5-000390
  sluice get 0016E5-000390 -o frame.jpg
  sluice list --tag night --null | sluice get - --null -o night/    files are called as COCO's `file_name` calls them
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from ..client import Sluice
from ..errors import NotFound, ServerFailed
from ..files import naming, whole_files
from ..frames import Frame
from ..terminal import object_outputs, stored_ids
from ..terminal.console import OK, SOME_FAILED, Console

PLACE = 71
LOCAL = False


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("ids", nargs="+", metavar="ID", help=f"ids of stored frames; {stored_ids.FROM_STDIN}")
    stored_ids.null(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        help="write the image, exactly as it was added, to this file; several images, or with / at the end, into this "
        "folder",
    )


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    ids = stored_ids.ids(args.ids, args.null)
    place = None if args.output is None else _place(args.output, len(ids))
    known = {frame.id: frame for some in object_outputs.chunks(ids) for frame in _known(client, some)}
    if not known:
        client.get(ids[:1])  # raises an error that names the id
    files = {} if place is None else _files(place, list(known.values()))
    failed = 0
    with console.progress(len(ids), " images", "fetching") as bar:
        for id in ids:
            told = known[id].as_json() if id in known else {"id": id, "error": f"no frame with the id {id!r} is stored"}
            if id in files:
                try:
                    data = client.image(id)
                except (NotFound, ServerFailed) as error:  # the frame was deleted meanwhile, or its bytes are damaged
                    told["error"] = error.message
                else:
                    whole_files.folder(files[id].parent, "--output")
                    whole_files.store(files[id], data)
                    told["file"] = str(files[id])
            if "error" in told:
                failed += 1
                console.error(told["error"])
            if console.json or "error" not in told:
                console.data(told)
            bar.update()
    if place is not None:
        console.note(f"wrote {place}" if place.is_file() else f"wrote {len(ids) - failed} images into {place}")
    return SOME_FAILED if failed else OK


def _known(client: Sluice, ids: Sequence[str]) -> list[Frame]:
    """Return the facts of the frames; ids that are not stored are left out."""
    try:
        return client.get(ids)
    except NotFound:
        return [] if len(ids) == 1 else [frame for id in ids for frame in _known(client, [id])]


def _place(said: str, count: int) -> Path:
    """Return the file for one image, or the folder for several images, which is made."""
    path = Path(said)
    if count == 1 and not path.is_dir() and not said.endswith(("/", os.sep)):
        return whole_files.place(path, "--output")
    return whole_files.folder(path, "--output")


def _files(place: Path, frames: Sequence[Frame]) -> dict[str, Path]:
    """Return the file of each frame's image, by the frames' ids."""
    if not place.is_dir():
        return {frame.id: place for frame in frames}
    names = naming.stored({frame.id: frame.more.get("format") for frame in frames})
    return {id: place / name for id, name in names.items()}
