"""Make new pictures with a diffusion network; the same seed gives the same picture.

examples:
  sluice sample --model digits --label 7 --solver genie --steps 5 --seeds 0:64 --out grid.png
  sluice sample --model digits --labels 0:10 --guidance 2 --out digits.png
  sluice sample --model streets --seeds 3,9,27 --out streets/            one PNG per seed
  sluice sample --model streets --seeds 0:16 --steps 25 --previews steps/ --out grid.png
  sluice encode photo.png --model streets --out latents.npz; sluice sample --latents latents.npz --out again.png

Seeds 0:64 are 0 to 63; without --seeds there is one seed per label, from 0 on. --latents decodes a file of `sluice
encode` with the model, labels and options of the encoding, unless others are given. --timeout is the longest wait for
the server's first message, and for each one after it, so that it is never too short for a large request.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..answers.sample_events import Event
from ..client import Sluice
from ..errors import InvalidRequest
from ..files import latents
from ..terminal import sample_options
from ..terminal.console import Console

PLACE = 50
LOCAL = False
STOPPED = sample_options.STOPPED


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--seeds", type=sample_options.numbers, metavar="LIST", help="seeds, such as 7, 3,9 or 0:64 (default 0)"
    )
    group.add_argument("--latents", metavar="FILE", help="decode a file that `sluice encode` wrote")
    sample_options.arguments(parser, "image")
    sample_options.outputs(parser)


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    asked, names = _asked(args)
    pictures = sample_options.Pictures(args, names)
    with sample_options.Follow(console, "sampling") as follow:

        def on_event(event: Event) -> None:
            follow(event)
            pictures(event)

        samples = client.sample(**asked, on_event=on_event, timeout=args.timeout)
    return pictures.finish(samples, console)


def _asked(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Return the keywords of the client, and a name for each image."""
    labels, options = sample_options.labels(args), sample_options.options(args)
    if args.latents is not None:
        stored = latents.load(Path(args.latents))
        if labels is None and stored.labels is not None:
            labels = list(stored.labels)
        asked = {"model": args.model or stored.model, "latents": stored.tensors, "labels": labels}
        return asked | dict(stored.options) | options, [Path(name).stem for name in stored.names]
    seeds = args.seeds or list(range(len(labels) if isinstance(labels, list) else 1))
    if isinstance(labels, list) and len(labels) not in (1, len(seeds)):
        raise InvalidRequest(
            f"--labels must be one for each of {len(seeds)} seeds; got {len(labels)}. For one class give --label.",
        )
    several = labels if isinstance(labels, list) and len(labels) > 1 else None
    names = [f"{seed}-label{several[i]}" if several else str(seed) for i, seed in enumerate(seeds)]
    return {"model": args.model, "seeds": seeds, "labels": labels, **options}, names
