"""Runs graphs of score networks in ONNX Runtime, in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import onnxruntime

from sluice.server import root as roots


def session(content: bytes | str) -> onnxruntime.InferenceSession:
    """Open a graph, given by its content or its path, in fp32 with one thread. Several threads may call the session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def shipped(name: str) -> onnxruntime.InferenceSession:
    """Open a graph of model_repository. Raises SystemExit if it was not exported."""
    path = roots.default() / "model_repository" / name / "1" / "model.onnx"
    if not path.is_file():
        raise SystemExit(f"the graph of {name} is missing; run: make export")
    return session(str(path))


def feeds(network: onnxruntime.InferenceSession, batch: int) -> dict[str, np.ndarray]:
    """Return inputs for a batch: noise, times from all over the trajectory, class 0."""
    rng = np.random.default_rng(0)
    made = {}
    for given in network.get_inputs():
        shape = [batch, *given.shape[1:]]
        if given.name == "SAMPLE":
            made[given.name] = rng.standard_normal(shape, np.float32)
        elif given.name == "TIME":
            made[given.name] = rng.uniform(1e-3, 1, shape).astype(np.float32)
        else:
            made[given.name] = np.zeros(shape, np.int64)
    return made


def seconds(networks: Sequence[onnxruntime.InferenceSession], batch: int, rounds: int) -> np.ndarray:
    """Return the processor time of each network in each round, [networks, rounds], seconds.

    The networks take turns, and each round begins with another one. The time is that of this thread, in which a session
    of one thread computes, so other work on the machine changes it little.
    """
    given = [feeds(network, batch) for network in networks]
    times = np.zeros((len(networks), rounds + 1))
    for r in range(rounds + 1):
        for i in range(len(networks)):
            turn = (r + i) % len(networks)
            begin = time.thread_time()
            networks[turn].run(None, given[turn])
            times[turn, r] = time.thread_time() - begin
    return times[:, 1:]  # the first round warms up
