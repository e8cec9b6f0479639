"""Graphs of score networks in ONNX Runtime, in this process."""

from __future__ import annotations

import onnxruntime

from sluice import contracts


def session(content: bytes | str) -> onnxruntime.InferenceSession:
    """A graph, or the path of one, in fp32 with one thread; several threads may call it at a time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def shipped(name: str) -> onnxruntime.InferenceSession:
    """A graph of model_repository. Raises SystemExit where it was not exported."""
    path = contracts.ROOT / "model_repository" / name / "1" / "model.onnx"
    if not path.is_file():
        raise SystemExit(f"the graph of {name} is missing; run: make export")
    return session(str(path))
