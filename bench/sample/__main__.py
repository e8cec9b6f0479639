"""Measures images per second of `sample`, the time of the curvature head, and callers who share calls.

The shipped networks run in fp32, one thread per core, with genie, 10 steps, PNG. Server: 1 to 8 callers of 16 images
and one of 64 against one thread per core in this process, with the same graphs, loop and encoding. Head: processor time
of the graph that also gives the derivative over that of the graph without it. Batching: callers of one image each,
whose network calls the server puts together.
"""

from __future__ import annotations

import argparse

from bench import report

PARTS = ("head", "server", "batching")


def main(argv: list[str]) -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench sample", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default all)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each turn of the server (default 8)")
    parser.add_argument("--profile", default="cpu", help="profile of the server (default cpu)")
    parser.add_argument("--quick", action="store_true", help="short turns, to see that it runs; its figures are rough")
    args = report.parse(parser, argv)
    rounds, seconds = (2, 0.5) if args.quick else (args.rounds, args.seconds)
    if "head" in args.parts:
        from bench.sample import head

        head.measure(6 * rounds)
    if {"server", "batching"} & set(args.parts):
        from sluice_client import Sluice

        from bench.sample import serving
        from sluice import server

        with server.start(profile=args.profile, models=serving.MODELS) as running:  # noqa: SIM117
            with Sluice(running.grpc, timeout=300) as client:
                if "server" in args.parts:
                    serving.measure(client, rounds, seconds)
                if "batching" in args.parts:
                    serving.together(client, rounds, seconds)
    return 0
