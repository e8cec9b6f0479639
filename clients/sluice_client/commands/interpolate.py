"""Make the pictures between two images, or two seeds, with a diffusion network; both ends are included.

examples:
  sluice interpolate A.png B.png --model streets --between 8 --out strip.png
  sluice interpolate --seeds 3,9 --model digits --label 7 --out strip.png
  sluice interpolate --seeds 3,9,4,5 --model streets --between 16 --out ways/    two pairs, one PNG per picture

Two images, seeds or latents are a pair, and each pair becomes a row. The pictures lie on a great circle between the two
latents, so images are encoded first. --timeout is the longest wait for the server's first message, and for each one
after it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..answers.sample_events import Event
from ..client import Sluice
from ..errors import InvalidRequest
from ..files import latents, naming
from ..terminal import sample_options
from ..terminal.console import Console

PLACE = 52
LOCAL = False
STOPPED = sample_options.STOPPED

_BETWEEN = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("paths", nargs="*", metavar="IMAGE", help="image files, two per pair")
    parser.add_argument(
        "--seeds",
        type=sample_options.numbers,
        metavar="LIST",
        help="seeds instead of images, such as 3,9; two per pair",
    )
    parser.add_argument(
        "--latents", metavar="FILE", help="latents that `sluice encode` wrote, instead of images; two per pair"
    )
    parser.add_argument(
        "--between",
        type=int,
        default=_BETWEEN,
        metavar="N",
        help="pictures per pair, both ends included, 2..256 (default 8)",
    )
    parser.add_argument(
        "--fit", action="store_true", help="cut the middle square out of images of another size, and scale it"
    )
    sample_options.arguments(parser, "pair")
    sample_options.outputs(parser)


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    asked, pairs = _asked(args)
    names = [f"{place:03d}" if pairs == 1 else f"{pair}-{place:03d}" for pair in range(pairs) for place in _way(args)]
    pictures = sample_options.Pictures(args, names, columns=args.between)
    naming.keep_inputs(pictures.files(), [Path(path) for path in args.paths], "--out")
    with sample_options.Follow(console, "interpolating") as follow:

        def on_event(event: Event) -> None:
            follow(event)
            pictures(event)

        samples = client.interpolate(**asked, on_event=on_event, timeout=args.timeout)
    return pictures.finish(samples, console)


def _way(args: argparse.Namespace) -> range:
    """Return the places of one pair's pictures; the client refuses a count beyond 2..256."""
    return range(min(max(args.between, 0), 256))


def _asked(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Return the keywords of the client, and how many pairs there are."""
    given = [name for name in ("paths", "seeds", "latents") if getattr(args, name)]
    if len(given) != 1:
        raise InvalidRequest("Give two images, --seeds or --latents, one of the three.")
    asked: dict[str, Any] = {"model": args.model, "labels": sample_options.labels(args)}
    if args.paths:
        asked["images"] = args.paths
    elif args.seeds:
        asked["seeds"] = args.seeds
    else:
        stored = latents.load(Path(args.latents))
        asked = {**stored.options, **asked, "model": args.model or stored.model, "latents": stored.tensors}
        if asked["labels"] is None and stored.labels is not None:
            asked["labels"] = _of_pairs(stored.labels)
    count = len(asked.get("images") or asked.get("seeds") or asked["latents"])
    if count % 2:
        raise InvalidRequest(f"A pair is two; got {count} of {given[0]}.")
    return asked | sample_options.options(args), count // 2


def _of_pairs(labels: tuple[int, ...]) -> list[int]:
    """Return one class per pair. Raises InvalidRequest if the two latents of a pair have different classes."""
    if labels[::2] != labels[1::2]:
        raise InvalidRequest("The two latents of a pair are of different classes; give --labels.")
    return list(labels[::2])
