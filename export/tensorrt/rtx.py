"""Compiles TensorRT-for-RTX engines (`model.rtx.onnx`) ahead of time, on any CPU, with NVIDIA's own parser and builder.

NVIDIA's libraries come with the extra `tensorrt` and are under NVIDIA's licence. An engine is compiled for the kinds of
GPU that are named; the GPU finishes the compilation when it loads the engine. ONNX Runtime's TensorRT-RTX plug-in reads
engines out of an ONNX file with one node, EPContext (ONNX Runtime, "EP Context Design"), so that file is what is
written. `model_repository/NAME/configs/rtx.pbtxt` serves it: `sluice serve --profile rtx`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.entry import ExportError, Network
from export.files import digest, replace
from export.tensorrt.graph import float_products, precision_of, prepared
from sluice.server import sidecar

if TYPE_CHECKING:
    import onnx

# The word of --for -> compute capability. TensorRT for RTX has no sm90: Hopper (H100, H200) runs classic plans only.
CAPABILITIES = {"sm75": "7.5", "sm80": "8.0", "sm86": "8.6", "sm89": "8.9", "sm120": "12.0", "sm121": "12.1"}
USUAL = ("sm80", "sm86", "sm89", "sm120")  # Ampere, Ada, Blackwell
INSTALL = (
    "pip install --no-deps tensorrt-rtx-cu12-libs==1.7.1.116 tensorrt-rtx-cu12-bindings==1.7.1.116 "
    "nvidia-cuda-runtime-cu12"
)


def capabilities(text: str | None) -> tuple[str, ...]:
    """Return the words of --for, such as sm80,sm86; the usual ones for None. Raises ExportError for an unknown one."""
    words = USUAL if text is None else tuple(dict.fromkeys(word.strip().lower() for word in text.split(",")))
    for word in words:
        if word == "sm90":
            raise ExportError(
                "TensorRT for RTX has no engines for sm90 (H100, H200), which runs classic plans only, built there "
                f"with --format plan; --for takes {', '.join(CAPABILITIES)}"
            )
        if word not in CAPABILITIES:
            raise ExportError(f"there is no GPU {word!r} to compile for; --for takes {', '.join(CAPABILITIES)}")
    return words


def build(
    network: Network,
    wanted: Sequence[str] = USUAL,
    precision: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the engine and its sidecar beside `model.onnx`, and return the engine's path.

    wanted: words of `CAPABILITIES`. precision: "fp32" or "fp16"; None takes what the table says.
    Raises ExportError where NVIDIA's packages or the ONNX file are missing, and where parser or builder refuse the
    graph, with their reason. Nothing is written then.
    """
    trt = library()
    chosen = precision_of(network, precision)
    model = prepared(network, chosen)
    products = float_products(model) if "sm75" in wanted else []
    if products:
        remedy = "leave sm75 out" if chosen == "fp16" else "say --precision fp16, or leave sm75 out"
        raise ExportError(
            f"sm75 takes no matrix product in fp32, and {network.name} in {chosen} has {len(products)} of them, such "
            f"as {products[0]}; {remedy}"
        )
    progress(f"{network.name}: TensorRT for RTX {trt.__version__} compiles {chosen} for {', '.join(wanted)}")
    with held_back():
        engine = compiled(trt, model, network, wanted)
    replace(network.rtx, context(engine, model, network, trt.__version__).SerializeToString(deterministic=True))
    record = sidecar.Sidecar(
        format="rtx",
        network=network.model or network.name,
        graph_sha256=digest(network.onnx),
        engine_sha256=digest(network.rtx),
        precision=chosen,
        tensorrt=trt.__version__,
        capabilities=tuple(CAPABILITIES[word] for word in wanted),
        profile=network.profile,
    )
    replace(sidecar.place(network.rtx), record.text().encode())
    return network.rtx


def library() -> Any:
    """Return NVIDIA's module `tensorrt_rtx_bindings`, after loading the CUDA runtime that its libraries ask for.

    Raises ExportError, with the command that installs them, where the packages are missing or do not load.
    """
    runtime = _cuda_runtime()
    missing = [name for name in ("tensorrt_rtx_libs", "tensorrt_rtx_bindings") if not importlib.util.find_spec(name)]
    if runtime is None:
        missing.append("nvidia.cuda_runtime")
    if missing:
        raise ExportError(
            f"not installed here: {', '.join(missing)}; they are under NVIDIA's licence and take 230 MB, so nothing "
            f"installs them for you: {INSTALL}"
        )
    try:
        # Its libraries look for libcudart.so.12 by name, and find it once this process has loaded it.
        ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
        import tensorrt_rtx_bindings
    except (OSError, ImportError) as error:
        raise ExportError(f"TensorRT for RTX does not load here ({error}); install it again: {INSTALL}") from None
    return tensorrt_rtx_bindings


def _cuda_runtime() -> Path | None:
    """Return the CUDA runtime of the package nvidia-cuda-runtime-cu12, or None where it is not installed."""
    try:
        spec = importlib.util.find_spec("nvidia.cuda_runtime")
    except ModuleNotFoundError:
        return None
    places = spec.submodule_search_locations if spec else None
    found = [path for place in places or () for path in Path(place).glob("lib/libcudart.so.12")]
    return found[0] if found else None


@contextmanager
def held_back() -> Iterator[None]:
    """Raise KeyboardInterrupt for a Ctrl-C after the block. Within it NVIDIA's library would drop the exception."""
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    mine = threading.current_thread() is threading.main_thread() and before is signal.default_int_handler
    if mine:
        signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def compiled(trt: Any, model: onnx.ModelProto, network: Network, wanted: Sequence[str]) -> bytes:
    """Parse a prepared graph and compile it. Returns the engine.

    trt: `library()`. Raises ExportError with the reason of parser or builder, which stands in their log alone.
    """
    told: list[str] = []

    class Log(trt.ILogger):
        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                told.append(" ".join(message.split()))

    log = Log()
    builder = trt.Builder(log)
    definition = builder.create_network(0)
    parser = trt.OnnxParser(definition, log)
    if not parser.parse(model.SerializeToString()):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = [f"{error.desc()} (node {error.node_name()}, {error.node_operator()})" for error in errors]
        raise ExportError(f"NVIDIA's parser refuses {network.name}: {'; '.join(reasons or told)}")
    settings = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for name, shapes in network.profile.items():
        profile.set_shape(name, *shapes)
    settings.add_optimization_profile(profile)
    settings.num_compute_capabilities = len(wanted)
    for index, word in enumerate(wanted):
        settings.set_compute_capability(getattr(trt.ComputeCapability, word.upper()), index)
    engine = builder.build_serialized_network(definition, settings)
    if engine is None:
        reasons = [line for line in told if "cudaError" not in line]  # of a machine without a driver, which is no fault
        raise ExportError(f"NVIDIA's builder refuses {network.name}: {'; '.join(reasons or told)}")
    return bytes(engine)


def context(engine: bytes, model: onnx.ModelProto, network: Network, version: str) -> onnx.ModelProto:
    """Return an ONNX file with the inputs and outputs of `model` and one node, which holds the engine."""
    import onnx

    node = onnx.helper.make_node(
        "EPContext",
        [value.name for value in model.graph.input],
        [value.name for value in model.graph.output],
        name=network.name,
        domain="com.microsoft",
        main_context=0,
        embed_mode=1,
        ep_cache_context=engine,
        ep_sdk_version=version,
        source="NvTensorRTRTXExecutionProvider",
        partition_name=network.name,
    )
    graph = onnx.helper.make_graph([node], network.name, model.graph.input, model.graph.output)
    opsets = [onnx.helper.make_opsetid("", network.opset), onnx.helper.make_opsetid("com.microsoft", 1)]
    made = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version, producer_name="sluice")
    onnx.helper.set_model_props(made, {entry.key: entry.value for entry in model.metadata_props})
    return made
