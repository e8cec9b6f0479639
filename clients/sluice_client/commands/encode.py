"""Find the latents of images, from which a diffusion network makes the same images again.

examples:
  sluice encode photo.png --model streets --out latents.npz
  sluice encode frames/ --model streets --fit --steps 25 --out latents.npz
  sluice encode seven.png --model digits --label 7 --out latents.npz
  sluice sample --latents latents.npz --out again.png                    and back

A folder is searched for JPEG, PNG and WebP by their endings, with its subfolders. An image that cannot be read is named
and left out. The file is of NumPy's format .npz and holds latents float32 [n, C, S, S], names, labels, and the options
of the encoding. More steps make the images that come back more exact. --timeout is the longest wait for the server's
first message, and for each one after it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..client import Sluice
from ..errors import InvalidRequest
from ..files import latents, whole_files
from ..files.image_files import images_in
from ..terminal import sample_options
from ..terminal.console import OK, SOME_FAILED, Console

PLACE = 51
LOCAL = False
STOPPED = sample_options.STOPPED


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("paths", nargs="+", metavar="IMAGE", help="image files, and folders of them")
    parser.add_argument("-o", "--out", required=True, metavar="FILE", help="the file of the latents (.npz)")
    parser.add_argument(
        "--fit", action="store_true", help="cut the middle square out of images of another size, and scale it"
    )
    sample_options.arguments(parser, "image")


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    out = whole_files.place(Path(args.out), "--out")
    if out.suffix != ".npz":
        raise InvalidRequest(f"--out must end with .npz; got {args.out!r}.")
    files = images_in([Path(path) for path in args.paths], console.note)
    labels, options = sample_options.labels(args), sample_options.options(args)
    with sample_options.Follow(console, "encoding") as follow:
        found = client.encode(files, model=args.model, labels=labels, on_event=follow, timeout=args.timeout, **options)
    good = found.good()
    if len(good):
        classes = None if labels is None else [labels] * len(files) if isinstance(labels, int) else labels
        if classes is not None:
            classes = classes * len(files) if len(classes) == 1 else classes
            classes = [one for one, error in zip(classes, found.errors, strict=True) if error is None]
        kept = {name: value for name, value in options.items() if name != "fit"}
        latents.save(out, good, classes, kept)
        console.note(f"wrote {out}")
    errors = {name: error for name, error in zip(found.names, found.errors, strict=True) if error}
    sample_options.facts(console, found.end, {"out": str(out) if len(good) else None, "errors": errors})
    return SOME_FAILED if errors else OK
