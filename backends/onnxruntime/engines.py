"""Runs a graph in one of two libraries: ONNX Runtime, or OpenVINO where a config asks for it.

Both take and give NumPy arrays, strings as `str` objects, BF16 as its 16 bits. An engine belongs to one instance of a
model, which is one process, and is used by one thread.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

from . import bfloat16, rtx
from .options import Options
from .programs import Programs, Shapes
from .rules import TYPES, Graph, Tensor, shown

_MEMORY = re.compile(r"alloc|memory", re.I)
_WITHOUT = "remove the accelerator from config.pbtxt"


class GraphError(Exception):
    """A graph that cannot be loaded, or a run that failed. `caller` is True if the inputs were at fault."""

    def __init__(self, message: str, caller: bool = False):
        super().__init__(message)
        self.caller = caller


class Engine(Protocol):
    """A loaded graph."""

    graph: Graph
    library: str  # with its version, such as "ONNX Runtime 1.20"
    precision: str  # "fp32" or "bf16", of all that the graph computes in float32

    def run(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the named outputs for these inputs. Raises GraphError."""

    def described(self) -> str:
        """Return library, version and settings, one line for the log."""


def load(path: Path, options: Options) -> Engine:
    """Load a graph, by OpenVINO if the options say so. Raises GraphError with a remedy."""
    if options.openvino is None:
        return OnnxRuntime(path, options)
    return OpenVino(path, options)


def signature(path: Path, op_libraries: Sequence[str] = ()) -> Graph:
    """Return names, types and shapes of a graph, as ONNX Runtime infers them, without preparing it for running.

    op_libraries: custom operators, without which a graph that uses them does not open.
    """
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    _register(settings, op_libraries)
    return _graph(_session(path, settings))


class OnnxRuntime:
    """A graph in ONNX Runtime: in its CPU provider, or an engine in its TensorRT-RTX plug-in."""

    def __init__(self, path: Path, options: Options):
        settings = ort.SessionOptions()
        settings.log_severity_level = 3  # warnings about a graph are for whoever exported it
        settings.graph_optimization_level = getattr(ort.GraphOptimizationLevel, options.graph_level)
        mode = ort.ExecutionMode
        settings.execution_mode = mode.ORT_PARALLEL if options.parallel else mode.ORT_SEQUENTIAL
        if options.global_pool:
            # There is one pool per process. An instance is a process here, so each instance has a pool of its own.
            with contextlib.suppress(Exception):  # an existing pool stays as it is
                ort.set_global_thread_pool_sizes(options.intra_threads, options.inter_threads)
            settings.use_per_session_threads = False
        else:
            settings.intra_op_num_threads = options.intra_threads
            settings.inter_op_num_threads = options.inter_threads
        if options.mem_arena is not None:
            settings.enable_cpu_mem_arena = options.mem_arena
        if options.mem_pattern is not None:
            settings.enable_mem_pattern = options.mem_pattern
        for key, value in options.session_entries:
            settings.add_session_config_entry(key, value)
        _register(settings, options.op_libraries)
        self.library, self.precision = f"ONNX Runtime {ort.__version__}", "fp32"
        if options.rtx is not None:
            try:
                self.library, self.precision = rtx.attach(settings, path, dict(options.rtx))
            except rtx.Unfit as error:
                raise GraphError(str(error)) from None
        self._session = _session(path, settings, on_cpu=options.rtx is None)
        self._run_options: ort.RunOptions | None = None
        if options.run_entries:
            self._run_options = ort.RunOptions()
            for key, value in options.run_entries:
                self._run_options.add_run_config_entry(key, value)
        self._options = options
        self.graph = _graph(self._session)
        tensors = {**self.graph.inputs, **self.graph.defaults, **self.graph.outputs}
        self._bfloats = {name for name, tensor in tensors.items() if tensor.type == "TYPE_BF16"}
        if self._bfloats and not bfloat16.AVAILABLE:
            raise GraphError(f"BF16 needs a newer ONNX Runtime than {ort.__version__}; run: pip install -U onnxruntime")

    def run(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            if self._bfloats:
                return self._run_as_bits(outputs, feeds)
            return self._session.run(list(outputs), dict(feeds), self._run_options)
        except Exception as error:
            raise _refused(error, feeds) from None

    def _run_as_bits(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run with some tensor in BF16, for which ONNX Runtime has no array: its 16 bits go in and out."""
        given = {
            name: bfloat16.value(array) if name in self._bfloats else ort.OrtValue.ortvalue_from_numpy(array)
            for name, array in feeds.items()
        }
        found = self._session.run_with_ort_values(list(outputs), given, self._run_options)
        return [
            bfloat16.bits(value) if name in self._bfloats else value.numpy()
            for name, value in zip(outputs, found, strict=True)
        ]

    def described(self) -> str:
        return f"{self.library} ({self._options.described()})"


class OpenVino:
    """A graph in OpenVINO's CPU plugin, which computes every output of the graph, asked for or not."""

    def __init__(self, path: Path, options: Options):
        if options.openvino is None:
            raise ValueError("options without openvino; use OnnxRuntime")
        try:
            import openvino
        except ImportError:
            raise GraphError(
                "cpu_execution_accelerator 'openvino' needs the package openvino, which is not installed where the "
                "server runs; run: pip install openvino, or remove the accelerator from config.pbtxt"
            ) from None
        self.graph = signature(path, options.op_libraries)
        tensors = {**self.graph.inputs, **self.graph.outputs}
        unknown = [name for name, tensor in tensors.items() if tensor.type in ("TYPE_STRING", "TYPE_BF16")]
        if unknown:
            raise GraphError(
                f"OpenVINO has no strings and no BF16 here ({', '.join(unknown)}); remove the accelerator from "
                "config.pbtxt"
            )
        chosen = options.openvino
        self._threads = chosen.threads or options.intra_threads
        settings: dict[str, Any] = {
            # Always set, because on CPUs with bf16 OpenVINO would use bf16 by default.
            "INFERENCE_PRECISION_HINT": chosen.precision,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # several instances would be pinned to the same cores
        }
        if self._threads:
            settings["INFERENCE_NUM_THREADS"] = self._threads
        core = openvino.Core()

        def compiled(shapes: Shapes | None) -> Any:
            model = source if shapes is None else _fitted(source, shapes)
            try:
                return core.compile_model(model, "CPU", settings)
            except Exception as error:
                raise GraphError(f"{self.library} cannot run this graph: {_cleaned(error)}; {_WITHOUT}") from None

        self.library = f"OpenVINO {_version(openvino)}"
        try:
            source = core.read_model(path)
        except Exception as error:
            raise GraphError(f"{self.library} cannot read this graph: {_cleaned(error)}; {_WITHOUT}") from None
        self._places = {name: place for place, port in enumerate(source.outputs) for name in port.get_names()}
        # A CPU without bf16 computes in f32 whatever was asked for, so the log tells the precision in use.
        able = chosen.precision.upper() in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = chosen.precision if able else "fp32"
        self._kept = chosen.programs
        self._programs = Programs(compiled, chosen.programs)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            found = self._programs.run(feeds)
        except GraphError:
            raise
        except Exception as error:
            raise _refused(error, feeds) from None
        return [found[self._places[name]] for name in outputs]

    def described(self) -> str:
        shapes = f"at most {self._kept}, each for one shape" if self._kept else "one for all shapes"
        threads = self._threads or "all"
        return f"{self.library} (precision={self.precision} num_of_threads={threads} programs: {shapes})"


def _fitted(source: Any, shapes: Shapes) -> Any:
    """Return a copy of OpenVINO's model with fixed shapes of its inputs. Raises ValueError if it does not take them."""
    model = source.clone()
    for name, shape in shapes.items():
        taken = model.input(name).partial_shape  # which reshape() would replace, whatever it is
        if taken.rank.get_length() != len(shape) or any(
            axis.is_static and axis.get_length() != size for axis, size in zip(taken, shape, strict=True)
        ):
            raise ValueError(f"input '{name}' is {taken} in the graph")
    model.reshape({name: list(shape) for name, shape in shapes.items()})
    return model


def _refused(error: Exception, feeds: Mapping[str, np.ndarray]) -> GraphError:
    """Return the error for a failed run. The caller is at fault, whose sizes or values the graph does not take, unless
    memory ran out."""
    text = _cleaned(error)
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return GraphError(text)
    given = ", ".join(f"{name} {shown(array.shape)}" for name, array in feeds.items())
    return GraphError(f"the graph does not take these inputs ({given}), send others: {text}", caller=True)


def _register(settings: ort.SessionOptions, libraries: Sequence[str]) -> None:
    for library in libraries:
        try:
            settings.register_custom_ops_library(library)
        except Exception as error:
            name = Path(library).name
            raise GraphError(
                f"op_library_filename '{name}' does not load: {_cleaned(error)}; correct it in config.pbtxt"
            ) from None


def _version(openvino: Any) -> str:
    return str(openvino.__version__).split("-")[0]


def _session(path: Path, settings: ort.SessionOptions, on_cpu: bool = True) -> ort.InferenceSession:
    """Open a graph. on_cpu: False takes the providers that `settings` names."""
    providers = ["CPUExecutionProvider"] if on_cpu else None
    try:
        # Without enable_fallback=0 a failed load would be tried once more, and printed.
        return ort.InferenceSession(str(path), settings, providers=providers, enable_fallback=0)
    except Exception as error:
        gc.collect()  # a half-built session holds its file
        raise GraphError(f"ONNX Runtime {ort.__version__} cannot load {path.name}: {_cleaned(error)}") from None


def _graph(session: ort.InferenceSession) -> Graph:
    def tensors(arguments: Sequence[Any]) -> dict[str, Tensor]:
        return {each.name: Tensor(_type(each.type), _dims(each.shape)) for each in arguments}

    return Graph(
        tensors(session.get_inputs()), tensors(session.get_outputs()), tensors(session.get_overridable_initializers())
    )


def _dims(shape: Sequence[int | str | None]) -> tuple[int, ...]:
    """Return a shape with symbols and unknown sizes as -1."""
    return tuple(size if isinstance(size, int) else -1 for size in shape)


def _type(text: str) -> str:
    """Return the config's name of a type: `tensor(float)` -> TYPE_FP32. A type that no config can name is marked
    `onnx:`."""
    match = re.fullmatch(r"tensor\((\w+)\)", text)
    return TYPES.get(match[1], f"onnx:{text}") if match else f"onnx:{text}"


def _cleaned(error: Exception) -> str:
    """Return a library's message for the caller in one line, without its codes and without paths of the machine."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"(?:(?<=\s)|^|(?<=[('\":]))/[^\s'\"(),]+/([^\s'\"(),/]*)", r"\1", text)
    return text or type(error).__name__
