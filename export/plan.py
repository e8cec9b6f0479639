"""Builds a TensorRT engine (`model.plan`) from the ONNX file, in NVIDIA's Triton image on the GPU that will run it.

An engine is good for one release of TensorRT and one kind of GPU, so it is built where it is served and never shipped.
`model_repository/NAME/configs/tensorrt.pbtxt` serves it: tritonserver --model-config-name=tensorrt.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from export.entry import ExportError, Network

if TYPE_CHECKING:
    import onnx

IMAGE_TOOL = Path("/usr/src/tensorrt/bin/trtexec")  # NVIDIA's images keep it off the PATH


def build(network: Network, progress: Callable[[str], None] = lambda _: None) -> Path:
    """Build `model.plan` beside `model.onnx` and return its path.

    Raises ExportError where GPU, builder or ONNX file are missing, and where the builder fails.
    """
    require_gpu()
    command, name = tool()
    if not network.onnx.exists():
        raise ExportError(f"model.onnx of {network.name} is missing; run: sluice export {network.name}")
    import onnx

    progress(f"{network.name}: {name} builds model.plan; this takes minutes")
    with tempfile.TemporaryDirectory(prefix=".plan-", dir=network.plan.parent) as folder:
        source, engine = Path(folder) / "model.onnx", Path(folder) / "model.plan"
        onnx.save(for_tensorrt(onnx.load(network.onnx)), source)
        arguments = (trtexec if name == "trtexec" else polygraphy)(network, source, engine)
        done = subprocess.run([command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode or not engine.exists():
            log = network.plan.with_suffix(".log")
            log.write_text(done.stdout)
            raise ExportError(
                f"{name} could not build {network.name} (status {done.returncode}); its output is in {log}"
            )
        engine.replace(network.plan)
    return network.plan


def require_gpu() -> None:
    """Check that an NVIDIA GPU answers. Raises ExportError where none does."""
    smi = shutil.which("nvidia-smi")
    seen = subprocess.run([smi, "-L"], capture_output=True, text=True).stdout if smi else ""
    if "GPU" not in seen:
        raise ExportError(
            "a TensorRT plan is built on the GPU that will run it, and there is none here; "
            "run this inside the image of the Dockerfile on that machine (docker run --gpus all ...)"
        )


def tool() -> tuple[str, str]:
    """Return the builder's path and its name, `trtexec` or `polygraphy`. Raises ExportError where there is none."""
    for name in ("trtexec", "polygraphy"):
        found = shutil.which(name) or (str(IMAGE_TOOL) if name == "trtexec" and IMAGE_TOOL.exists() else None)
        if found:
            return found, name
    raise ExportError("neither trtexec nor polygraphy is installed here; run this inside the image of the Dockerfile")


def trtexec(network: Network, source: Path, engine: Path) -> list[str]:
    """Return trtexec's arguments: the profile of the table, and fp16 where the table allows it."""
    named = [f"--{which}Shapes={_shapes(network, i)}" for i, which in enumerate(("min", "opt", "max"))]
    return [f"--onnx={source}", f"--saveEngine={engine}", *_half(network), "--skipInference", *named]


def polygraphy(network: Network, source: Path, engine: Path) -> list[str]:
    """Return polygraphy's arguments for the same profile."""
    named = []
    for index, which in enumerate(("min", "opt", "max")):
        named.append(f"--trt-{which}-shapes")
        named += [f"{name}:[{','.join(map(str, shapes[index]))}]" for name, shapes in network.profile.items()]
    return ["convert", str(source), "-o", str(engine), "--convert-to", "trt", *_half(network), *named]


def _half(network: Network) -> list[str]:
    """Return the option for fp16 where the table allows it."""
    return ["--fp16"] if network.fast else []


def _shapes(network: Network, index: int) -> str:
    """Return the profile's shapes as trtexec reads them: NAME:1x2x3,... index: 0 least, 1 best, 2 greatest."""
    return ",".join(f"{name}:{'x'.join(map(str, shapes[index]))}" for name, shapes in network.profile.items())


def for_tensorrt(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with uint8 inputs cast before anything else, as TensorRT wants it.

    Where a Transpose stands between an input and its Cast, the two change places, which leaves all values as they are.
    Raises ExportError where anything else uses an uint8 input.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for value in graph.input:
        if value.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
            continue
        users = [node for node in graph.node if value.name in node.input]
        if len(users) == 1 and users[0].op_type == "Cast":
            continue
        after = [node for node in graph.node if users and users[0].output[0] in node.input]
        if len(users) != 1 or users[0].op_type != "Transpose" or len(after) != 1 or after[0].op_type != "Cast":
            raise ExportError(
                f"TensorRT needs {value.name} cast before it is used; it is used by {[n.op_type for n in users]}"
            )
        transpose, cast = users[0], after[0]
        last, middle = cast.output[0], transpose.output[0]
        cast.input[0], cast.output[0] = value.name, middle
        transpose.input[0], transpose.output[0] = middle, last
        nodes = [node for node in graph.node]
        i, j = nodes.index(transpose), nodes.index(cast)
        nodes[i], nodes[j] = cast, transpose
        del graph.node[:]
        graph.node.extend(nodes)
        stale = [info for info in graph.value_info if info.name in (middle, last)]
        for info in stale:
            graph.value_info.remove(info)
    return result
