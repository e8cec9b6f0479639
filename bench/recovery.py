"""Measures the seconds from killing a model's process to its first correct answer, beside a plain load.

A process of a random model is killed (SIGKILL) at a random moment while the watchdog of `sluice serve` watches, and a
caller asks that model until the answer is correct. Loading means to unload and load a living model and to wait for its
first correct answer. Both are measured in one server and take turns, so they share the machine's load.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import time
from collections.abc import Sequence

import numpy as np
import tritonclient.grpc as triton

from bench import report
from sluice import server
from sluice.server import probe, questions
from sluice.server.watchdog import Watchdog

MARK = 2.0  # seconds


def main(argv: list[str]) -> int:
    """Kill and load every model several times, print the table and the claim."""
    parser = argparse.ArgumentParser(prog="python -m bench recovery", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="kills and loads of every model (default 10)")
    parser.add_argument("--models", metavar="A,B", help="only these models (default: all with a known correct answer)")
    args = report.parse(parser, argv)
    with server.start() as running:
        asked = [name for name in running.models if name in questions.PROBES]
        names = args.models.split(",") if args.models else asked
        if strange := sorted(set(names) - set(asked)):
            parser.error(f"no true question is known for {', '.join(strange)}; there are: {', '.join(asked)}")
        watchdog = Watchdog(running, say=lambda line: None)
        watchdog.start()
        killed: dict[str, list[float]] = {name: [] for name in names}
        loaded: dict[str, list[float]] = {name: [] for name in names}
        with running.client() as client:
            for _ in range(args.rounds):
                for name in random.sample(names, len(names)):
                    loaded[name].append(load(client, running, name))
                for name in random.sample(names, len(names)):
                    time.sleep(random.uniform(0, 1))
                    killed[name].append(kill(client, watchdog, name))
        watchdog.close()
    report.table(
        f"seconds to the first true answer, {args.rounds} times per model",
        ["model", "kill, median", "kill, 95 %", "load, median", "load, 95 %", "difference of medians"],
        [[name, *spread(killed[name]), *spread(loaded[name]), difference(killed[name], loaded[name])]
         for name in names],
    )  # fmt: skip
    worst = max(names, key=lambda name: difference(killed[name], loaded[name]))
    value = difference(killed[worst], loaded[worst])
    report.claim(f"a killed process beyond a load ({worst}, the slowest)", value, MARK, value <= MARK, "s")
    return 0


def load(client: triton.InferenceServerClient, running: server.Server, name: str) -> float:
    """Return the seconds to unload and load a living model, up to its first correct answer."""
    begun = time.monotonic()
    client.unload_model(name, headers=running.admin_headers)
    client.load_model(name, headers=running.admin_headers)
    return answered(client, name, begun)


def kill(client: triton.InferenceServerClient, watchdog: Watchdog, name: str) -> float:
    """Return the seconds from killing all processes of a model to its first correct answer. All are killed, because
    with one of two processes alive every second answer would come at once."""
    before, begun = watchdog.reloads.get(name, 0), time.monotonic()
    for process in watchdog.processes.known():
        if process.model == name and process.alive():
            os.kill(process.pid, signal.SIGKILL)
    seconds = answered(client, name, begun)
    while watchdog.reloads.get(name, 0) == before:
        time.sleep(0.02)
    return seconds


def answered(client: triton.InferenceServerClient, name: str, begun: float) -> float:
    """Ask a model until it answers correctly. Returns the seconds since `begun`."""
    while True:
        try:
            probe.check(client, name, 30.0)
            return time.monotonic() - begun
        except probe.ProbeError:
            time.sleep(0.01)


def spread(seconds: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95 % quantile."""
    return statistics.median(seconds), float(np.percentile(seconds, 95))


def difference(killed: Sequence[float], loaded: Sequence[float]) -> float:
    """Return by how many seconds the median of the kills exceeds that of the loads."""
    return statistics.median(killed) - statistics.median(loaded)
