"""Which network an answer came from: the version that features, scores and embeddings are stamped with."""

from __future__ import annotations

import hashlib
from pathlib import Path


def network_version(repository: Path, model: str) -> str:
    """'model/version/hash' of an exported network, so that what two networks made is never mixed.

    The hash is that of model.onnx also where an engine made from it is served: the engine computes the same function.
    Raises FileNotFoundError with the remedy where the network has not been exported.
    """
    versions = sorted(int(path.parent.name) for path in repository.glob(f"{model}/[0-9]*/model.onnx"))
    if not versions:
        raise FileNotFoundError(f"{model}/1/model.onnx is missing; run: make export")
    digest = hashlib.sha256((repository / model / str(versions[-1]) / "model.onnx").read_bytes()).hexdigest()
    return f"{model}/{versions[-1]}/{digest[:12]}"
