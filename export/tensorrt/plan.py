"""Builds a classic TensorRT engine (`model.plan`), in NVIDIA's Triton image on the GPU that will run it.

An engine is good for one release of TensorRT and one kind of GPU, so it is built where it is served and never shipped.
The graph is strongly typed: its precision stands in the graph, as TensorRT 11 demands and 10.12 offers.
`model_repository/NAME/configs/tensorrt.pbtxt` serves it: tritonserver --model-config-name=tensorrt.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path

from export.entry import ExportError, Network
from export.files import digest, replace
from export.tensorrt.graph import precision_of, prepared
from sluice.server import sidecar

IMAGE_TOOL = Path("/usr/src/tensorrt/bin/trtexec")  # NVIDIA's images keep it off the PATH


def build(network: Network, precision: str | None = None, progress: Callable[[str], None] = lambda _: None) -> Path:
    """Build `model.plan` and its sidecar beside `model.onnx`, and return the plan's path.

    precision: "fp32" or "fp16"; None takes what the table says.
    Raises ExportError where GPU, builder or ONNX file are missing, and where the builder fails.
    """
    gpu = require_gpu()
    command, name = tool()
    import onnx

    chosen = precision_of(network, precision)
    model = prepared(network, chosen)
    progress(f"{network.name}: {name} builds model.plan in {chosen}; this takes minutes")
    with tempfile.TemporaryDirectory(prefix=".plan-", dir=network.plan.parent) as folder:
        source, engine = Path(folder) / "model.onnx", Path(folder) / "model.plan"
        onnx.save(model, source)
        arguments = (trtexec if name == "trtexec" else polygraphy)(network, source, engine)
        done = subprocess.run([command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode or not engine.exists():
            log = network.plan.with_suffix(".log")
            log.write_text(done.stdout)
            raise ExportError(
                f"{name} could not build {network.name} (status {done.returncode}); its output is in {log}"
            )
        engine.replace(network.plan)
    record = sidecar.Sidecar(
        format="plan",
        network=network.model or network.name,
        graph_sha256=digest(network.onnx),
        engine_sha256=digest(network.plan),
        precision=chosen,
        tensorrt=sidecar.library_version(find_library("nvinfer") or "libnvinfer.so"),
        capabilities=(gpu,),
        profile=network.profile,
    )
    replace(sidecar.place(network.plan), record.text().encode())
    return network.plan


def require_gpu() -> str:
    """Return the compute capability of the GPU that builds. Raises ExportError where no NVIDIA GPU answers."""
    found = sidecar.gpus()
    if not found:
        raise ExportError(
            "a TensorRT plan is built on the GPU that will run it, and there is none here; "
            "run this inside the image of the Dockerfile on that machine (docker run --gpus all ...)"
        )
    return found[0]


def tool() -> tuple[str, str]:
    """Return the builder's path and its name, `trtexec` or `polygraphy`. Raises ExportError where there is none."""
    for name in ("trtexec", "polygraphy"):
        found = shutil.which(name) or (str(IMAGE_TOOL) if name == "trtexec" and IMAGE_TOOL.exists() else None)
        if found:
            return found, name
    raise ExportError("neither trtexec nor polygraphy is installed here; run this inside the image of the Dockerfile")


def trtexec(network: Network, source: Path, engine: Path) -> list[str]:
    """Return trtexec's arguments, with the profile of the table."""
    named = [f"--{which}Shapes={_shapes(network, i)}" for i, which in enumerate(("min", "opt", "max"))]
    return [f"--onnx={source}", f"--saveEngine={engine}", "--stronglyTyped", "--skipInference", *named]


def polygraphy(network: Network, source: Path, engine: Path) -> list[str]:
    """Return polygraphy's arguments for the same profile."""
    named = []
    for index, which in enumerate(("min", "opt", "max")):
        named.append(f"--trt-{which}-shapes")
        named += [f"{name}:[{','.join(map(str, shapes[index]))}]" for name, shapes in network.profile.items()]
    return ["convert", str(source), "-o", str(engine), "--convert-to", "trt", "--strongly-typed", *named]


def _shapes(network: Network, index: int) -> str:
    """Return the profile's shapes as trtexec reads them: NAME:1x2x3,... index: 0 least, 1 best, 2 greatest."""
    return ",".join(f"{name}:{'x'.join(map(str, shapes[index]))}" for name, shapes in network.profile.items())
