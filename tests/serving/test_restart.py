"""A restart of the real server under its callers: they wait, go on, and end as if nothing had been."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sluice_client import Sluice, SluiceError

from sluice.server import ports

FRAMES = 60
RUN = "import sys; from sluice_client.cli import main; sys.exit(main())"


@pytest.fixture
def serve(tmp_path):
    """Start `sluice serve`, on the same port each time; kill what still runs at the end of the test."""
    [port] = ports.free("127.0.0.1", 1)
    started = []

    def serve() -> tuple[subprocess.Popen, str]:
        command = [sys.executable, "-m", "sluice.server", "--models", "ingest", "--gallery", str(tmp_path / "gallery"),
                   "--grpc-port", str(port), "--metrics-port", "0", "--health-port", "0", "--json"]  # fmt: skip
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, "TMPDIR": str(tmp_path)}))  # fmt: skip
        return started[-1], f"127.0.0.1:{port}"

    yield serve
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def pictures(folder: Path) -> Path:
    folder.mkdir()
    for i in range(FRAMES):
        noise = np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{i:03d}.jpg")
    return folder


def test_add_goes_on_across_a_restart_and_stores_everything_once(serve, tmp_path):
    folder = pictures(tmp_path / "frames")
    server, at = serve()
    assert server.stdout.readline()  # it is up
    add = subprocess.Popen(
        [sys.executable, "-c", RUN, "add", str(folder), "--server", at, "--batch", "2", "--timeout", "300"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    told: list[str] = []
    stop = threading.Event()

    def ask() -> None:  # a caller who does not try again: what it hears must say that trying again helps
        with Sluice(at, timeout=0.5) as client:
            while not stop.is_set():
                try:
                    client.describe()
                except SluiceError as error:
                    told.append(type(error).__name__)
                time.sleep(0.01)

    asking = threading.Thread(target=ask)
    asking.start()
    with Sluice(at) as client:
        while client.describe()["frames"] < 4:
            time.sleep(0.02)
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0
    assert add.poll() is None, add.communicate()
    serve()
    out, err = add.communicate(timeout=300)
    stop.set()
    asking.join()
    assert add.returncode == 0, out + err
    summary = re.search(r"(\d+) stored, (\d+) known, 0 refused in", out)
    assert summary and int(summary[1]) + int(summary[2]) == FRAMES, out + err
    with Sluice(at) as client:
        assert sum(1 for _ in client.frames()) == FRAMES
    assert set(told) <= {"Unavailable", "DeadlineExceeded"} and "Unavailable" in told
