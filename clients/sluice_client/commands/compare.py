"""Tell how well images and texts agree.

examples:
  sluice compare photo.jpg --texts "a road" "a fence"
  sluice compare frames/ --texts "a car" trees --sort trees
  sluice compare --ids 0016E5-000390 0016E5-000420 --texts "a traffic light" --json
  sluice compare photo.jpg --texts road car tree --templates full       names of classes, put into sentences
  sluice compare --unembedded        give old frames the embedding by which `sluice retrieve --text` finds them

The similarity is a cosine, -1 to 1. The probability is that of each text if the image is about exactly one of them. A
folder is searched for JPEG, PNG and WebP by their endings, with its subfolders. A text with a word that the network has
not learned is refused; `sluice words` lists the words that it has learned.
"""

from __future__ import annotations

import argparse
from itertools import islice

from ..answers.compare import Compared
from ..client import Sluice
from ..errors import InvalidRequest
from ..terminal import object_outputs, stored_ids
from ..terminal.console import OK, SOME_FAILED, Console
from ..verbs.segment import TEMPLATES

PLACE = 41
LOCAL = False

_CHUNK = 256  # ids per call of the client


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("paths", nargs="*", metavar="IMAGE", help="image files, and folders of them")
    parser.add_argument(
        "--ids", nargs="+", metavar="ID", help=f"ids of stored frames, instead of images; {stored_ids.FROM_STDIN}"
    )
    stored_ids.null(parser)
    parser.add_argument(
        "--unembedded",
        action="store_true",
        help="embed all stored frames that `sluice retrieve --text` cannot find yet, instead of comparing",
    )
    parser.add_argument("--texts", nargs="+", metavar="TEXT", default=[], help="texts for what the images may show")
    parser.add_argument(
        "--sort",
        metavar="TEXT",
        help="list the images in the order in which they agree with this one of the texts, the best first",
    )
    parser.add_argument(
        "--templates", choices=TEMPLATES, help="put the texts, as class names, into this set of sentences"
    )
    parser.add_argument(
        "--allow-unknown", action="store_true", help="go on even if the network has not learned a word of a text"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="with --ids: store the embeddings, so that `sluice retrieve --text` finds these frames",
    )
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="images per call (default 16)")
    parser.add_argument("--in-flight", type=int, default=2, metavar="N", help="calls at the same time (default 2)")


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    if args.unembedded:
        return _embed(args, console, client)
    if not args.texts and not args.keep:
        raise InvalidRequest('Give texts to compare with, as in --texts "a road" "a fence".')
    if args.sort is not None and args.sort not in args.texts:
        raise InvalidRequest(f"--sort must be one of the texts; got {args.sort!r}.")
    images, ids = object_outputs.what(args, console)
    if args.keep and ids is None:
        raise InvalidRequest("--keep is for stored frames; give --ids, or add the images first.")
    with console.progress(len(images or ids or ()), " images", "comparing") as bar:
        found = client.compare(
            images,
            args.texts,
            ids=ids,
            progress=lambda done: bar.update(len(done)),
            batch=args.batch,
            in_flight=args.in_flight,
            templates=args.templates,
            keep_embeddings=args.keep,
            allow_unknown=args.allow_unknown,
        )
    order = list(range(len(found)))
    if args.sort is not None:
        place = args.texts.index(args.sort)
        order.sort(key=lambda i: (found.errors[i] is not None, -float(found.similarity[i, place])))
    if console.json:
        rows = found.as_json()
        for i in order:
            console.data(rows[i])
    else:
        _table(found, order, console)
    if found.truncated:
        console.note(
            f"the network did not read the ends of these texts, which are too long: {', '.join(found.truncated)}"
        )
    for line in found.words.said():
        console.note(f"warning: {line}")
    return SOME_FAILED if any(found.errors) else OK


def _table(found: Compared, order: list[int], console: Console) -> None:
    for i in order:
        if error := found.errors[i]:
            console.error(f"{found.ids[i]}: {error.removeprefix(found.ids[i]).lstrip()}")
    rows = [
        [one.id, one.text, f"{one.similarity:.4f}", f"{100 * one.probability:.1f}"]
        for i in order
        for one in found.ranking(i)
    ]
    if found.texts:
        console.table(("image", "text", "similarity", "probability %"), rows)


def _embed(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    if args.paths or args.ids or args.null or args.texts or args.sort:
        raise InvalidRequest("--unembedded takes no images, ids or texts, nor --null.")
    told = client.describe().get("unembedded")
    counts = {"embedded": 0, "failed": 0}
    with console.progress(told if isinstance(told, int) else None, " frames", "embedding") as bar:

        def progress(done: Compared) -> None:
            for id, error in zip(done.ids, done.errors, strict=True):
                counts["embedded" if error is None else "failed"] += 1
                if console.json:
                    console.data({"id": id, "model": done.model, "error": error})
                elif error is not None:
                    console.error(f"{id}: {error}")
            bar.update(len(done))

        ids = client.unembedded()
        while chunk := list(islice(ids, _CHUNK)):
            client.compare(
                ids=chunk, keep_embeddings=True, progress=progress, batch=args.batch, in_flight=args.in_flight
            )
    if not console.json:
        console.text(f"{counts['embedded']} embedded, {counts['failed']} failed")
    return SOME_FAILED if counts["failed"] else OK
