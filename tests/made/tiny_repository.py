"""Writes a model repository of one tiny Python model, for tests of the launcher; it starts in half a second."""

from __future__ import annotations

import py_compile
from collections.abc import Callable
from pathlib import Path

import numpy as np

CONFIG = """backend: "python"
max_batch_size: 8
input [{ name: "X" data_type: TYPE_FP32 dims: [ 1 ] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }]
instance_group [{ count: 1 }]
"""
# Answers X + 1, after sleeping for X seconds if X is positive, or after computing for X - 100 s if X is above 100.
MODEL = """import time
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "X").as_numpy()
            seconds = float(x.max())
            until = time.monotonic() + seconds - 100
            while time.monotonic() < until:
                pass
            time.sleep(seconds if 0 < seconds < 100 else 0)
            answers.append(pb.InferenceResponse([pb.Tensor("Y", x + 1)]))
        return answers
"""

ENSEMBLE = """platform: "ensemble"
input [{ name: "X" data_type: TYPE_FP32 dims: [ 1 ] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }]
ensemble_scheduling { step [{ model_name: "adder" model_version: -1
  input_map { key: "X" value: "X" } output_map { key: "Y" value: "Y" } }] }
max_batch_size: 8
"""


def make(root: Path, name: str = "adder", config: str = CONFIG, model: str = MODEL) -> Path:
    """Write a root with one model, as `sluice serve --root` expects it, and return its model_repository."""
    for folder in ("ensembles", "backends"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    version = root / "model_repository" / name / "1"
    version.mkdir(parents=True, exist_ok=True)
    (version / "model.py").write_text(model)
    # Triton's stub would write this at the first load, and the model would look changed at the second.
    py_compile.compile(str(version / "model.py"))
    if config:
        (version.parent / "config.pbtxt").write_text(config)
    return root / "model_repository"


def question(ask: Callable[..., dict[str, np.ndarray]], model: str = "adder") -> None:
    """Probe the tiny model: raise ValueError unless it answers 0 to -1."""
    answer = ask(model, {"X": np.array([[-1.0]], np.float32)})["Y"]
    if answer.item() != 0:
        raise ValueError(f"-1 + 1 is 0, got {answer.item()}")
