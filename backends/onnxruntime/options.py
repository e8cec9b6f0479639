"""Reads from a `config.pbtxt` and the server's flags how a graph is run, into one frozen record.

The names are those of NVIDIA's ONNX Runtime backend; values in `parameters` are strings. Parameters with other names
are left alone, as the C++ backend leaves them, so a project may keep its own beside these.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# optimization { graph { level } } -> name in onnxruntime.GraphOptimizationLevel; any other level means all, as in C++.
GRAPH_LEVELS = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}

# A config's precision -> OpenVINO's INFERENCE_PRECISION_HINT. The CPU plugin has no fp16 on most CPUs.
PRECISIONS = {"fp32": "f32", "f32": "f32", "bf16": "bf16"}


POOL = "enable-global-threadpool"


@dataclass(frozen=True)
class OpenVino:
    """`cpu_execution_accelerator { name: "openvino" parameters { ... } }`; the C++ backend reads no parameter of it."""

    precision: str = "f32"  # precision: "fp32" or "bf16"; a CPU without bf16 computes in fp32
    threads: int = 0  # num_of_threads; 0 takes intra_op_thread_count, and all cores if that is 0 too
    programs: int = 0  # programs; shapes that have a program each (`programs`); 0 serves all shapes with one


@dataclass(frozen=True)
class Options:
    """The options by which one instance of one model runs."""

    graph_level: str = "ORT_ENABLE_ALL"
    intra_threads: int = 0  # intra_op_thread_count; 0 takes one per physical core
    inter_threads: int = 0  # inter_op_thread_count; matters only when `parallel`
    parallel: bool = False  # execution_mode "1"
    mem_arena: bool | None = None  # enable_mem_arena; None takes ONNX Runtime's default
    mem_pattern: bool | None = None  # enable_mem_pattern
    global_pool: bool = False  # --backend-config=onnxruntime,enable-global-threadpool=1 (or true, or on)
    session_entries: tuple[tuple[str, str], ...] = ()  # session.use_device_allocator_for_initializers
    run_entries: tuple[tuple[str, str], ...] = ()  # memory.enable_memory_arena_shrinkage
    op_libraries: tuple[str, ...] = ()  # model_operations { op_library_filename }
    openvino: OpenVino | None = None
    rtx: tuple[tuple[str, str], ...] | None = None  # gpu_execution_accelerator "tensorrt_rtx", options of its plug-in
    left_alone: tuple[str, ...] = ()  # parts of the config without effect, one sentence each, for the log

    def described(self) -> str:
        """Return one line for the server's log."""
        words = [
            f"intra_op_thread_count={self.intra_threads}",
            f"inter_op_thread_count={self.inter_threads}",
            f"execution_mode={int(self.parallel)}",
            f"graph={self.graph_level}",
        ]
        for key, value in (("enable_mem_arena", self.mem_arena), ("enable_mem_pattern", self.mem_pattern)):
            if value is not None:
                words.append(f"{key}={int(value)}")
        words += [f"{key}={value}" for key, value in (*self.session_entries, *self.run_entries)]
        if self.global_pool:
            words.append("thread counts from --backend-config")
        return " ".join(words)


NOT_ACCELERATED = "not-accelerated"  # --backend-config=onnxruntime,not-accelerated=MODEL:MODEL


def read(config: Mapping[str, Any], flags: Mapping[str, str]) -> tuple[Options, list[str]]:
    """Return the options of a config under the server's flags, and what is wrong with them (one sentence each).

    flags: the `--backend-config` of the server, see `server_flags`.
    """
    wrong: list[str] = []
    left_alone: list[str] = []
    given = {key: str(value.get("string_value", "")) for key, value in (config.get("parameters") or {}).items()}

    def count(key: str, source: Mapping[str, str] = given) -> int:
        return max(_integer(key, source.get(key, "0"), wrong), 0)

    def switch(key: str) -> bool | None:
        return _boolean(key, given[key], wrong) if key in given else None

    def kept(*keys: str) -> tuple[tuple[str, str], ...]:
        return tuple((key, given[key]) for key in keys if key in given)

    mode = _integer("execution_mode", given.get("execution_mode", "0"), wrong)
    if mode not in (0, 1):
        wrong.append(f"execution_mode must be 0 (sequential) or 1 (parallel), got {mode}; correct the parameter")
    optimization = config.get("optimization") or {}
    level = int((optimization.get("graph") or {}).get("level") or 0)
    pooled = bool(_boolean(POOL, flags.get(POOL, "0"), wrong))
    threads_from = flags if pooled else given
    intra = count("intra_op_thread_count", threads_from)
    accelerator = _accelerator(optimization.get("execution_accelerators") or {}, wrong, left_alone)
    if kept_plain(config, flags):
        accelerator = None
    if accelerator is not None and accelerator.programs and not _has_rows(config):
        accelerator = replace(accelerator, programs=0)
        left_alone.append(
            "openvino's parameter 'programs' is left alone, because a batch that is ragged or has no rows "
            "(max_batch_size: 0) cannot be run row by row"
        )
    options = Options(
        graph_level=GRAPH_LEVELS.get(level, "ORT_ENABLE_ALL"),
        intra_threads=intra,
        inter_threads=count("inter_op_thread_count", threads_from),
        parallel=mode == 1,
        mem_arena=switch("enable_mem_arena"),
        mem_pattern=switch("enable_mem_pattern"),
        global_pool=pooled,
        session_entries=kept("session.use_device_allocator_for_initializers"),
        run_entries=kept("memory.enable_memory_arena_shrinkage"),
        op_libraries=op_libraries(config),
        openvino=accelerator,
        rtx=_rtx(optimization.get("execution_accelerators") or {}),
        left_alone=tuple(left_alone),
    )
    return options, wrong


def kept_plain(config: Mapping[str, Any], flags: Mapping[str, str]) -> bool:
    """Return whether the server's flags take a model's accelerator away, whatever its config says."""
    return str(config.get("name", "?")) in flags.get(NOT_ACCELERATED, "").split(":")


def _has_rows(config: Mapping[str, Any]) -> bool:
    """Return whether every input of a config has one row per row of the batch."""
    ragged = any(entry.get("allow_ragged_batch") for entry in config.get("input") or [])
    return int(config.get("max_batch_size") or 0) > 0 and not ragged


def op_libraries(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the libraries of custom operators that a config names; they are registered before its graph is opened."""
    return tuple(str(name) for name in (config.get("model_operations") or {}).get("op_library_filename") or [])


def default_batch(flags: Mapping[str, str], wrong: list[str]) -> int:
    """Return the batch limit that is filled in if a config has none: 4 unless the server's flags say otherwise."""
    return _integer("default-max-batch-size", flags.get("default-max-batch-size", "4"), wrong)


def _accelerator(accelerators: Mapping[str, Any], wrong: list[str], left_alone: list[str]) -> OpenVino | None:
    """Return the CPU accelerator of a config. GPU accelerators are for GPU instances and ignored here, as in C++, but
    for `tensorrt_rtx` (`_rtx`).

    C++ reads no parameter of openvino, so a config made for C++ may hold any. Unknown ones are left alone and named in
    the log.
    """
    chosen = None
    for entry in accelerators.get("cpu_execution_accelerator") or []:
        name = str(entry.get("name", ""))
        if name != "openvino":
            wrong.append(f"unknown Execution Accelerator '{name}' is requested; the only one for CPUs is 'openvino'")
            continue
        chosen = OpenVino()
        for key, value in (entry.get("parameters") or {}).items():
            if key == "precision" and str(value).lower() in PRECISIONS:
                chosen = replace(chosen, precision=PRECISIONS[str(value).lower()])
            elif key == "num_of_threads" and str(value).isdecimal():
                chosen = replace(chosen, threads=int(value))
            elif key == "programs" and str(value).isdecimal():
                chosen = replace(chosen, programs=int(value))
            else:
                left_alone.append(
                    f"openvino's parameter '{key}' = '{value}' is left alone, as the C++ backend leaves it; heeded "
                    "here are precision (fp32, bf16), num_of_threads and programs (numbers)"
                )
    return chosen


def _rtx(accelerators: Mapping[str, Any]) -> tuple[tuple[str, str], ...] | None:
    """Return the parameters of the GPU accelerator `tensorrt_rtx`, or None if the config does not ask for it."""
    for entry in accelerators.get("gpu_execution_accelerator") or []:
        if entry.get("name") == "tensorrt_rtx":
            return tuple((key, str(value)) for key, value in (entry.get("parameters") or {}).items())
    return None


def _integer(key: str, text: str, wrong: list[str]) -> int:
    try:
        return int(text)
    except ValueError:
        wrong.append(f"parameter '{key}' must be an integer, got '{text}'; correct the parameter")
        return 0


def _boolean(key: str, text: str, wrong: list[str]) -> bool | None:
    value = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}.get(text.strip().lower())
    if value is None:
        wrong.append(f"parameter '{key}' must be 0 or 1, got '{text}'; correct the parameter")
    return value


def backend_flags(arguments: Sequence[str], backend: str = "onnxruntime") -> dict[str, str]:
    """Return the options of one backend in a tritonserver's command line.

    Both forms are read: `--backend-config=onnxruntime,key=value` and `--backend-config onnxruntime,key=value`. An
    option without a backend's name is for all backends; an option that names the backend wins, wherever it stands.
    """
    of_all: dict[str, str] = {}
    own: dict[str, str] = {}
    texts = [text.partition("=")[2] for text in arguments if text.startswith("--backend-config=")]
    texts += [after for flag, after in itertools.pairwise(arguments) if flag == "--backend-config"]
    for text in texts:
        name, comma, setting = text.partition(",")
        key, equals, value = (setting if comma else text).partition("=")
        if equals and not comma:
            of_all[key] = value
        elif equals and name == backend:
            own[key] = value
    return of_all | own


def server_flags() -> dict[str, str]:
    """Return the `--backend-config` of the server that started this process; empty if that cannot be seen.

    Triton's Python backend does not hand these on to a model, but the stub is a child of the server.
    """
    try:
        raw = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return {}
    return backend_flags(raw.decode(errors="replace").split("\0"))
