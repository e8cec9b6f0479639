"""Measures the speed and quality of the networks that enhance frames, and their stream through the server.

speed: every shipped network at 360p, 720p and 1080p in ONNX Runtime on all cores, in the same run beside the published
realesr-animevideov3 by ncnn, and beside bicubic, FSRCNN(56,12,4), SRVGGNetCompact of our size, AR-CNN and DnCNN, whose
weights are random. quality: PSNR, SSIM and MS-SSIM of the shipped networks and of realesr-animevideov3; PSNR of the
others as published. With both, a table tells the gain per millisecond. ladder: the same scores on whole groups of
pictures of x264 and x265 at several rates, and what mode auto makes of them, clip by clip. stream: the verb through the
real server against the same code in this process. precision: time and loss of the networks in bf16 and in int8.
published: Real-ESRGAN's x2, x3 and x4 for video as they are served against ncnn, one thread each. marks: the rates at
which one network overtakes another, by which mode auto decides.

LIVE1, Set5 and CamVid are looked for in --data (else SLUICE_DATA, else ../shared/data). A part whose data is missing is
skipped, and its claims are SHORT.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from bench import report
from sluice import contracts
from sluice.process.weights import shelf
from sluice.server import root as roots

PARTS = ("speed", "quality", "ladder", "stream", "precision", "published")
MARKS = "marks"  # takes half an hour and is needed only when networks or marks change
NAMES = ("360p", "720p", "1080p")
CLIPS = 4  # pans over the unseen drive in the ladder
PIXELS = "720p"  # size of the frame by whose time the gain is divided


def main(argv: list[str]) -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench enhance", description=__doc__)
    folder = os.environ.get("SLUICE_DATA") or contracts.ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(folder), help="folder of restoration/, camvid/ and video/")
    parser.add_argument("--weights", type=Path, default=shelf(roots.default()), help="folder of our weights")
    parser.add_argument(
        "--parts", nargs="+", choices=(*PARTS, MARKS), default=PARTS, help=f"what to measure (default all but {MARKS})"
    )
    parser.add_argument("--sizes", nargs="+", choices=NAMES, default=NAMES, help="sizes of the frames (default all)")
    parser.add_argument("--seconds", type=float, default=6.0, help="time of each network at each size (default 6)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side of the stream (default 5)")
    parser.add_argument("--profile", default="cpu", help="profile of the server (default cpu)")
    parser.add_argument("--picture", type=Path, help="write quality against milliseconds there (PNG)")
    parser.add_argument("--quick", action="store_true", help="few and small pictures, to see that it runs")
    args = report.parse(parser, argv)
    try:
        import av  # noqa: F401
        import torch
    except ImportError as error:
        raise SystemExit(f"this benchmark needs torch and av, pip install '.[export,test]': {error}") from None
    torch.set_num_threads(1)  # torch only scores here; small pictures are no faster with more threads
    ours, peers = contenders(args) if set(args.parts) - {"stream", "published"} else ({}, [])
    times = speed(args, ours, peers) if "speed" in args.parts else {}
    gains = quality(args, ours) if "quality" in args.parts else ({}, {})
    if times and any(gains):
        from bench.enhance import worth

        size = PIXELS if PIXELS in times else next(iter(times))
        smaller, larger = (
            [one.name for one in peers if one.scale == scale and one.parameters and one.name not in found]
            for scale, found in zip((1, 2), gains, strict=True)
        )
        worth.measure(times[size], size, gains, (smaller, larger), args.picture)
    if "ladder" in args.parts:
        ladder(args, ours, peers)
    if MARKS in args.parts:
        from bench.enhance import marks

        for what in marks.measure(ours, args.data / "restoration", args.quick):
            skipped(f"no {what}; give the folders that hold it with --data and --weights")
    if "precision" in args.parts:
        from bench.enhance import precision

        precision.measure(ours, args.data, args.quick)
    if "published" in args.parts:
        from bench.enhance import published

        with tempfile.TemporaryDirectory() as scratch:
            size = (96, 160) if args.quick else (360, 640)
            published.measure(size, 2 if args.quick else args.rounds, Path(scratch))
    if "stream" in args.parts:
        from bench.enhance import stream

        stream.measure(args.profile, 1 if args.quick else args.rounds, (96, 160) if args.quick else (720, 1280))
    return 0


def contenders(args: argparse.Namespace) -> tuple[dict, list]:
    """Return our networks by model, and the peers if a part needs them."""
    from bench.enhance import networks, realesr

    with tempfile.TemporaryDirectory() as scratch:
        ours = networks.shipped(args.weights, Path(scratch))
        absent = [model for model in networks.SHIPPED if model not in ours]
        if absent:
            skipped(f"no weights of {', '.join(absent)} in {args.weights}; train them or give --weights")
        if not {"speed", "ladder"} & set(args.parts):
            return ours, []
        peers = networks.peers(ours, Path(scratch))
        if reason := realesr.missing():
            skipped(f"realesr-animevideov3 is not measured beside ours: {reason}")
        else:
            peers.append(realesr.peer(Path(scratch)))
        return ours, peers


def speed(args: argparse.Namespace, ours: dict, peers: list) -> dict:
    """Return the milliseconds of each frame, by size and by model or peer."""
    from bench.enhance.speed import Limits, measure, merged

    limits = Limits(1, 1, 0) if args.quick else Limits(seconds=args.seconds)
    sides = [*merged(ours), *peers]
    found = measure(sides, args.sizes[:1] if args.quick else args.sizes, limits)
    return {
        size: {name: times[one.name] for one in sides for name in one.models or (one.name,)}
        for size, times in found.items()
    }


def quality(args: argparse.Namespace, ours: dict) -> tuple[dict[str, float], dict[str, float]]:
    """Return the gains in dB by model or peer: of removers and of upscalers."""
    from bench.enhance.quality import deblocking, enlarging, unmeasured

    photographs = args.data / "restoration"
    gains: list[dict[str, float]] = []
    for name, work in (("live1", deblocking), ("set5", enlarging)):
        if (photographs / name).is_dir():
            gains.append(work(ours, photographs / name, args.quick))
            continue
        gains.append({})
        reason = skipped(f"no {name} in {photographs}; give the folder of restoration/ with --data or SLUICE_DATA")
        unmeasured(name, reason)
    return gains[0], gains[1]


def ladder(args: argparse.Namespace, ours: dict, peers: list) -> None:
    """Print the ladder of rates for the data that is there."""
    from bench.enhance.ladder import measure
    from bench.enhance.networks import BICUBIC

    bicubic = next(one for one in peers if one.name == BICUBIC).session(1)
    for what in measure(ours, args.data, bicubic, CLIPS, args.quick):
        skipped(f"no {what} in {args.data}; give the folder that holds it with --data or SLUICE_DATA")


def skipped(why: str) -> str:
    """Print to stderr why something was skipped. Returns the same sentence."""
    print(f"skipped: {why}", file=sys.stderr, flush=True)
    return f"skipped: {why}"
