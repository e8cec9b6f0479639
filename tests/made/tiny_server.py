"""Questions to a `sluice serve` over the tiny repository: whether it is up, answers, and left nothing behind."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import numpy as np
import psutil

from sluice.server import keeper, probe
from sluice.server import launch as launcher

ANY_PORTS = ("--grpc-port", "0", "--metrics-port", "0", "--health-port", "0")


def up(process: subprocess.Popen) -> dict:
    """Return the JSON line that `serve --json` prints when it is up, with the prefix of its shared memory."""
    said = json.loads(process.stdout.readline())
    [prefix] = {path.name.rpartition("_")[0] for path in keeper.regions(f"sluice_{said['keeper']}_")}
    return {**said, "prefix": prefix}


def add_one(server: launcher.Server, x: float = -1.0, seconds: float = 10.0) -> float:
    """Return what the tiny model makes of `x`, within `seconds`."""
    with server.client() as client:
        ask = probe.asker(client, seconds)
        return ask("adder", {"X": np.array([[x]], np.float32)})["Y"].item()


def eventually(true: Callable[[], object], seconds: float = 60.0) -> bool:
    """Return whether `true()` became true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def all_gone(said: dict) -> bool:
    """Return whether no process and no shared-memory region of a server is left."""
    family = [
        each
        for each in psutil.process_iter(["cmdline"])
        if each.pid in (said["pid"], said["keeper"]) or said["prefix"] in " ".join(each.info["cmdline"] or [])
    ]
    return not family and not keeper.regions(said["prefix"])
