"""Compares masks from words with transformers in torch: images per second, equality, shares of time.

Two networks run at 224 x 224: GroupViT's published design with random weights, and the small one that is shipped.
Speed: `segment` through the server and in one process against `GroupViTModel` on the same cores, one sentence per
class. Equality: masks against the published rule written out in torch, vectors against the class. Shares: where the
time of one picture goes; and the text encoder's requests for known names, counted by Triton.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench import report

PARTS = ("equality", "speed", "shares")
LARGE = (640, 480)


def main(argv: list[str]) -> int:
    """Run the parts that are asked for on the networks that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench grouping", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default all)")
    parser.add_argument("--networks", nargs="+", choices=("base", "small"), default=("base", "small"))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each turn (default 4)")
    parser.add_argument("--images", type=int, default=16, help="generated pictures (default 16)")
    parser.add_argument("--profile", default="cpu", help="profile of the server (default cpu)")
    parser.add_argument("--quick", action="store_true", help="short turns, to see that it runs; its figures are rough")
    args = report.parse(parser, argv)
    rounds, seconds = (2, 0.5) if args.quick else (args.rounds, args.seconds)
    try:
        from bench import segment_process
        from bench.grouping import equality, networks, serving, shares
    except ImportError as error:
        need = "torch and transformers, pip install '.[export]', and the client"
        raise SystemExit(f"this benchmark needs {need}: {error}") from None
    from bench.callers import pictures

    encoded = pictures(args.images, (networks.SIDE, networks.SIDE))
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.networks:
            subject = networks.subject(kind, Path(folder))
            if "equality" in args.parts:
                equality.measure(subject, args.images)
            if {"speed", "shares"}.isdisjoint(args.parts):
                continue
            with networks.served(subject.root, args.profile) as (running, client):
                if "speed" in args.parts:
                    sets = ("CamVid", "VOC", "COCO") if kind == "base" else ("CamVid",)
                    serving.measure(subject, client, encoded, sets, rounds, seconds, running.pid)
                if "shares" in args.parts:
                    here = segment_process.InProcess(subject.root)
                    shares.measure(here, client, encoded, f"{subject.title}, 224 x 224", 6 * rounds)
                    shares.counted(client, running.grpc, encoded)
    if "shares" in args.parts and "small" in args.networks:
        segment_process.check_current()
        here = segment_process.InProcess()
        with networks.served(None, args.profile) as (_, client):
            title = f"as shipped ({here.config.size} pixels), {LARGE[0]} x {LARGE[1]}"
            shares.measure(here, client, pictures(args.images, LARGE), title, 6 * rounds)
    return 0
