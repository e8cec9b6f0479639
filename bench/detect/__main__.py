"""Compares one pass with four uncertainties against dropout and ensembles, and the server against one process.

All networks have the backbone of the shipped detector and run in ONNX Runtime, fp32, one thread, in turn, in one run.
Passes: one forward pass with mixture heads against the plain detector, Monte-Carlo dropout with 25 passes and an
ensemble of 3, each with the steps that must follow it. Shares: where the time of eight images goes. Server: `detect` by
8 callers with encoded images against the same work in one process. Moments: merged in any order against all at once.
Forms: which frames `select` picks when the location's deviation is squared before it is mixed, and when it is not (the
authors' form).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from bench import report
from bench.callers import pictures

PARTS = ("passes", "shares", "server", "moments", "forms")
SIZE = (640, 480)  # pixels of the pictures; they fill the canvas of 512 x 384


def main(argv: list[str]) -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench detect", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default all)")
    parser.add_argument("--images", type=int, default=64, help="count of generated street pictures (default 64)")
    parser.add_argument("--frames", type=Path, help="folder of pictures for the part forms (default: generated ones)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender with 8 images (default 7)")
    parser.add_argument("--callers", type=int, default=8, help="concurrent callers of the server (default 8)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each turn of the server (default 8)")
    parser.add_argument("--profile", default="cpu", help="profile of the server (default cpu)")
    args = report.parse(parser, argv)
    if "moments" in args.parts:
        from bench.detect import moments

        moments.measure()
    if "forms" in args.parts:
        from bench.detect import forms

        if args.frames:
            paths = sorted(path for path in args.frames.iterdir() if path.suffix in (".jpg", ".jpeg", ".png", ".webp"))
            forms.measure([path.read_bytes() for path in paths], f"the pictures of {args.frames.name}")
        else:
            forms.measure(pictures(args.images, SIZE), "generated street pictures")
    if {"passes", "shares", "server"}.isdisjoint(args.parts):
        return 0
    from sluice import images
    from sluice.models.object_detector import Config

    config, encoded = Config(), pictures(args.images, SIZE)
    if {"passes", "shares"} & set(args.parts):
        from bench.detect import limits, networks, passes, shares
        from export.mixtures import files
        from export.registry import NETWORKS

        with tempfile.TemporaryDirectory() as folder:
            contenders = networks.contenders(Path(folder))
        network = files.load(NETWORKS["mixture_detector"].weights)
        if "passes" in args.parts:
            canvases = np.stack([images.read(data, config)[0] for data in encoded])
            seconds = passes.measure(contenders, canvases, args.rounds)
            limits.measure(network, canvases.shape[1:3], seconds)
        if "shares" in args.parts:
            shares.measure(contenders[0], encoded, config, network.design.labels, 3 * args.rounds)
    if "server" in args.parts:
        from bench.detect import serving

        serving.measure(encoded, args.callers, args.rounds, args.seconds, args.profile)
    return 0
