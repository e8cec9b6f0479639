"""A running tritonserver: its addresses, its key, and the three ways to end it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tritonclient.grpc as grpcclient

from sluice.process.blas import Choice
from sluice.server import keeper
from sluice.server.tls import Tls
from sluice.versions import Served

EXIT_TIMEOUT = 8  # seconds Triton gives running requests when it is asked to stop
GRACE = EXIT_TIMEOUT + 4  # seconds until the keeper kills it; unloading comes after the requests


@dataclass
class Server:
    """A running server. As a context manager it is stopped on leaving.

    grpc, http, metrics: "host:port" per listener; http is None if HTTP is not offered.
    admin_key: for the gRPC header triton-grpc-protocol-admin-key and the HTTP header admin-key.
    pid:       process id of tritonserver.
    prefix:    begin of the names of its /dev/shm regions.
    log:       path of Triton's log.
    gallery:   folder of the gallery that it serves.
    folder:    the run's own temporary folder.
    process:   the keeper (`sluice.server.keeper`).
    tls:       TLS of the gRPC listener; None for plaintext.
    blas:      kernel that NumPy's products run on in the server's Python processes.
    precision: set of weights, precision of each network, and why.
    members:   name -> models that an ensemble is wired from; () for other models.
    calls:     name -> models that it asks.
    pulsing:   models with our glue, which answer `sluice.server.pulse`.
    models:    name -> "answers" (a true request was answered) or "ready (not probed)".
    seconds:   durations of the start: "ready" from spawn to ready, "answer" from spawn to the last model's first
               answer.
    """

    grpc: str
    http: str | None
    metrics: str
    admin_key: str
    pid: int
    prefix: str
    log: str
    gallery: str
    folder: Path = field(repr=False)
    process: subprocess.Popen = field(repr=False)
    tls: Tls | None = field(default=None, repr=False)
    blas: Choice | None = field(default=None, repr=False)
    precision: Served = field(default_factory=Served, repr=False)
    members: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    calls: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    pulsing: frozenset[str] = field(default=frozenset(), repr=False)
    models: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    log_begins: int = field(default=0, repr=False)  # what an earlier server wrote there comes before

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def admin_headers(self) -> dict[str, str]:
        """Headers that a gRPC call to the administration needs."""
        return {"triton-grpc-protocol-admin-key": self.admin_key}

    def running(self) -> bool:
        return self.process.poll() is None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the server has ended and everything of it is removed. Returns its exit code.

        timeout: seconds; None waits for ever. Raises subprocess.TimeoutExpired.
        """
        return self.process.wait(timeout)

    def ask_to_stop(self) -> None:
        """Ask the server to finish its requests and end. A second call kills it. Returns at once."""
        if self.running():
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Let running requests finish, unload, end. Triton takes 3 to 6 s. Returns the exit code."""
        self.ask_to_stop()
        code = self.wait()
        self.remove_folder()
        return code

    def kill(self, keep_log: bool = False) -> int:
        """End tritonserver and its Python processes by SIGKILL, as a crash would. Returns the exit code once all is
        gone.
        """
        if self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        code = self.wait()
        if not keep_log:
            self.remove_folder()
        return code

    def read_log(self) -> str:
        try:
            with open(self.log, errors="replace") as log:
                log.seek(self.log_begins)
                return log.read()
        except OSError:
            return ""

    def client(self) -> grpcclient.InferenceServerClient:
        """Return a new gRPC client of this server."""
        return grpcclient.InferenceServerClient(self.grpc) if self.tls is None else self.tls.client(self.grpc)

    def describe(self) -> dict[str, object]:
        """Return what `sluice serve --json` prints."""
        return {
            "grpc": self.grpc,
            "tls": self.tls is not None,
            "http": self.http,
            "metrics": self.metrics,
            "admin_key": self.admin_key,
            "pid": self.pid,
            "keeper": self.process.pid,
            "log": self.log,
            "blas": None if self.blas is None else {"kernel": self.blas.kernel, "reason": self.blas.reason},
            "weights": self.precision.weights,
            "precision": self.precision.as_json(),
            "gallery": self.gallery,
            "models": self.models,
            "seconds": self.seconds,
        }

    def remove_folder(self) -> None:
        """Remove the run's temporary folder with the log in it. Call this after the server has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)


def spawn(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, keep_log: bool
) -> tuple[subprocess.Popen, int, str]:
    """Start `command` (tritonserver) under a keeper. Returns the keeper, tritonserver's pid and its shared-memory
    prefix.

    folder:   the run's own folder, removed with the server.
    log:      file to which the output is added.
    keep_log: True if the log is the caller's file, which must never be removed.
    """
    spec = {"command": list(command), "log": str(log), "folder": str(folder), "grace": GRACE, "keep_log": keep_log}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, json.dumps(spec)],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    process.stdout.close()
    if not line:
        raise OSError(f"the keeper of tritonserver did not start (exit code {process.wait()})")
    said = json.loads(line)
    return process, said["pid"], said["prefix"]
