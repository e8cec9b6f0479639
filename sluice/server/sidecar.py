"""Compares the sidecar of a TensorRT engine with what is there, before the engine is loaded.

An engine itself tells nothing until a GPU loads it, and then fails in NVIDIA's words, or serves another network's
answers.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sluice.versions import Sidecar
from sluice.versions import read_sidecar as read
from sluice.versions import sidecar_place as place

__all__ = ["Sidecar", "digest", "gpus", "library_version", "misfits", "place", "read", "release"]


def misfits(
    engine: Path, network: str, *, gpus: Sequence[str] = (), tensorrt: str = "", graph: Path | None = None
) -> list[str]:
    """Return why an engine must not be loaded, a sentence each; none if its sidecar fits or the engine has none.

    network: the model that would load the engine. gpus: compute capabilities of the GPUs that would; empty if unknown.
    tensorrt: version of the library that would; empty if unknown. graph: the model.onnx that the engine must come from,
    None to leave that open.
    """
    try:
        record = read(engine)
    except ValueError as error:
        return [str(error)]
    if record is None:
        return []
    remedy = f"run: sluice export {network} --format {record.format}"
    wrong = []
    if record.network != network:
        wrong.append(f"{engine.name} is an engine of {record.network}, and {network} would load it; {remedy}")
    elif graph is not None and graph.is_file() and digest(graph) != record.graph_sha256:
        wrong.append(f"{engine.name} was built from another {graph.name} than the one beside it; {remedy}")
    if digest(engine) != record.engine_sha256:
        wrong.append(f"{engine.name} is not the engine that {place(engine).name} describes; {remedy}")
    if tensorrt and record.tensorrt and release(tensorrt) != release(record.tensorrt):
        wrong.append(
            f"{engine.name} was built by TensorRT {record.tensorrt}, and TensorRT {tensorrt} would load it; {remedy}"
        )
    others = [gpu for gpu in gpus if gpu not in record.capabilities]
    if others and record.capabilities:
        chosen = f" --for sm{others[0].replace('.', '')}" if record.format == "rtx" else ""
        wrong.append(
            f"{engine.name} is for GPUs of compute capability {', '.join(record.capabilities)}, and the GPU here has "
            f"{others[0]}; {remedy}{chosen}"
        )
    return wrong


def release(version: str) -> tuple[str, ...]:
    """Return the first three numbers of a version: engines are good within one such release."""
    return tuple(version.split(".")[:3])


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def gpus() -> list[str]:
    """Return the compute capability of each NVIDIA GPU here, such as "8.6"; empty if nvidia-smi finds none."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return []
    asked = subprocess.run([smi, "--query-gpu=compute_cap", "--format=csv,noheader"], capture_output=True, text=True)
    return asked.stdout.split() if asked.returncode == 0 else []


def library_version(library: str) -> str:
    """Return the version of a TensorRT library, such as "10.13.3"; empty if the library is not found.

    library: a path, or a name that the loader knows. Source: `getInferLibVersion` of NvInferRuntime.h.
    """
    if not library:
        return ""
    try:
        number = ctypes.CDLL(library).getInferLibVersion()
    except (OSError, AttributeError):
        return ""
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
