"""Counts how often a shared-memory region is still in use when its owner unregisters it right after the answer.

Triton's Python backend releases a request after it has sent the answers that `execute` returns. Three small models,
which differ only in how their answers leave, take turns: one returns them; two send them by a thread through the
request's response sender once `execute` has returned, one of these at once and one half a millisecond later. Two
accidents are then tried on either way: an answer that shared memory cannot hold, and a process that is killed just
before its answer leaves. `embed` and `feature_extractor` are measured as they are.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, serialize_byte_tensor, shared_memory

from bench import report
from sluice import server
from sluice.server import questions, watchdog

CONFIG = """backend: "python" max_batch_size: 8
input { name: "IMAGE" data_type: TYPE_UINT8 dims: [ -1 ] }
output { name: "DOUBLE" data_type: TYPE_UINT8 dims: [ -1 ] }
instance_group [ { count: 2 } ]
"""
# LATER is None when `execute` returns the answer, else the seconds between its end and the answer. An image's first
# value adds tenths of a second to that, so that there is time for the kill.
CODE = """import sys
import threading
import time

import triton_python_backend_utils as pb_utils

LATER = {later}


class TritonPythonModel:
    def execute(self, requests):
        images = [request.inputs()[0].as_numpy() for request in requests]
        responses = [pb_utils.InferenceResponse([pb_utils.Tensor("DOUBLE", image * 2)]) for image in images]
        wait = max(int(image[0, 0]) for image in images) / 10
        if LATER is None:
            time.sleep(wait)
            return responses
        senders = [request.get_response_sender() for request in requests]
        threading.Thread(target=leave, args=(LATER + wait, senders, responses)).start()
        return None


def leave(seconds, senders, responses):
    time.sleep(seconds)
    for sender, response in zip(senders, responses):
        try:
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception as error:
            print("not sent:", error, file=sys.stderr, flush=True)
            failure = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
            sender.send(failure, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
WAYS = {"returned": None, "sent_at_once": 0.0, "sent_later": 0.0005}
PATIENCE = 10.0  # seconds after which a call counts as never answered


class Caller:
    """One caller with a region of its own, which it registers before every call and unregisters right after it."""

    def __init__(self, running: server.Server, number: int, raw: bytes):
        self.running, self.client, self.size = running, running.client(), len(raw)
        self.name, self.key = f"bench_{number}", f"/{running.prefix}_bench_{number}"
        self.handle = shared_memory.create_shared_memory_region(self.name, self.key, self.size)
        shared_memory.set_shared_memory_region(self.handle, [np.frombuffer(raw, np.uint8)])

    def close(self) -> None:
        """Remove the region and close the connection."""
        shared_memory.destroy_shared_memory_region(self.handle)
        self.client.close()

    def call(
        self, model: str, name: str, dtype: str, shape: list[int], meet: Callable[..., object]
    ) -> tuple[float, bool]:
        """Ask once. Returns the seconds until the answer, and whether the region was still in use then. meet: waits for
        the other callers."""
        headers = self.running.admin_headers
        self.client.register_system_shared_memory(self.name, self.key, self.size, headers=headers)
        tensor = grpc.InferInput(name, shape, dtype)
        tensor.set_shared_memory(self.name, self.size)
        meet()
        begun = time.perf_counter()
        self.client.infer(model, [tensor], client_timeout=60)
        seconds, busy = time.perf_counter() - begun, False
        while True:
            try:
                self.client.unregister_system_shared_memory(self.name, headers=headers)
                return seconds, busy
            except InferenceServerException as error:
                if "in use" not in str(error):
                    raise
                busy = True
                time.sleep(0.02)


def measured(running: server.Server, model: str, callers: int, calls: int) -> tuple[int, int, list[float]]:
    """Return how many calls left their region in use, how many calls were made, and the seconds of each; `callers` ask
    at the same moments."""
    if model == "embed":
        name, dtype, shape = "ENCODED", "BYTES", [1, 1]
        raw = serialize_byte_tensor(questions.tiny_jpeg()[None]).item()
    else:
        image = np.zeros((1, 64, 96, 3) if model == "feature_extractor" else (1, 64 * 96 * 3), np.uint8)
        name, dtype, shape, raw = "IMAGE", np_to_triton_dtype(image.dtype), list(image.shape), image.tobytes()
    barrier = threading.Barrier(callers)

    def work(number: int) -> list[tuple[float, bool]]:
        caller = Caller(running, number, raw)
        try:
            return [caller.call(model, name, dtype, shape, barrier.wait) for _ in range(calls)]
        except BaseException:
            barrier.abort()
            raise
        finally:
            caller.close()

    with ThreadPoolExecutor(callers) as pool:
        done = [each for one in pool.map(work, range(callers)) for each in one]
    return sum(busy for _, busy in done), len(done), [seconds for seconds, _ in done]


def outcome(running: server.Server, model: str, image: np.ndarray, meanwhile: Callable[[], None]) -> str:
    """Return how one call ends while `meanwhile` happens, and after how many seconds."""

    def ask() -> str:
        begun = time.perf_counter()
        with running.client() as client:
            tensor = grpc.InferInput("IMAGE", image.shape, "UINT8")
            tensor.set_data_from_numpy(image)
            try:
                client.infer(model, [tensor], client_timeout=PATIENCE)
                ended = "answered"
            except InferenceServerException as error:
                ended = "never answered" if "Deadline Exceeded" in str(error) else "an error"
        return f"{ended} ({time.perf_counter() - begun:.1f} s)"

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        meanwhile()
        return asked.result()


def accidents(root: Path, model: str) -> list[str]:
    """Return how two calls end, and the stop after the first: one whose answer shared memory cannot hold, and one whose
    process is killed."""
    with server.start(repositories=[root], models=[model], probes={}) as running:
        for pid in watchdog.stubs(running.pid):  # the region cannot grow, as when /dev/shm is full
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        large = outcome(running, model, np.zeros((1, 40 << 20), np.uint8), lambda: None)
        stopped = f"exit code {running.stop()}"

    def kill() -> None:
        time.sleep(0.5)
        for pid in watchdog.stubs(running.pid):
            os.kill(pid, signal.SIGKILL)

    running = server.start(repositories=[root], models=[model], probes={})
    try:
        return [model, large, stopped, outcome(running, model, np.full((1, 1), 10, np.uint8), kill)]
    finally:
        running.kill()


def main(argv: list[str]) -> int:
    """Measure every model, then try the accidents, and print both tables."""
    parser = argparse.ArgumentParser(prog="python -m bench shared_memory", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="turns of each model (default 4)")
    parser.add_argument(
        "--calls", type=int, default=150, help="calls in a turn, shared by the callers (default 150; embed: a third)"
    )
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 6], help="callers at a time (default 1 6)")
    args = report.parse(parser, argv)
    models = ["embed", "feature_extractor", *WAYS]
    found: dict[tuple[str, int], list[tuple[int, int, list[float]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, later in WAYS.items():
            version = Path(folder, name, "1")
            version.mkdir(parents=True)
            (version / "model.py").write_text(CODE.format(later=later))
            (version.parent / "config.pbtxt").write_text(CONFIG)
        with server.start(models=models, extra_repositories=[folder]) as running:
            for model in models:
                measured(running, model, 2, 10)
            for _ in range(args.rounds):
                for model in models:
                    for callers in args.callers:
                        calls = args.calls // callers // (3 if model == "embed" else 1)
                        found.setdefault((model, callers), []).append(measured(running, model, callers, calls))
        rows = []
        for (model, callers), turns in found.items():
            busy, calls = sum(turn[0] for turn in turns), sum(turn[1] for turn in turns)
            seconds = [each for turn in turns for each in turn[2]]
            rows.append([model, callers, f"{busy} of {calls}", 1e3 * statistics.median(seconds)])
        report.table(
            "regions still in use right after the answer",
            ["model", "callers", "in use", "median ms"],
            rows,
        )
        report.table(
            "accidents",
            [
                "model",
                "an answer that shared memory cannot hold",
                "the stop after that",
                "killed before the answer leaves",
            ],
            [accidents(Path(folder), name) for name in ("returned", "sent_later")],
        )
    return 0
