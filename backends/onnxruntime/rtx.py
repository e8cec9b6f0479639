"""Gives a graph to ONNX Runtime's TensorRT-RTX plug-in, for NVIDIA's GPUs on servers without NVIDIA's image.

A config asks for it with `gpu_execution_accelerator [ { name: "tensorrt_rtx" } ]`, an addition of this backend. The
graph is an ONNX file with a compiled engine in it; a JSON file beside it, the sidecar, says what the engine was built
for, and an engine of another network, version or GPU is named before it is loaded. The plug-in needs a driver, so that
here no engine has been executed yet: what stands below up to the driver is tested, the rest follows the plug-in's
documentation.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime as ort

PACKAGE = "onnxruntime_ep_nv_tensorrt_rtx"
INSTALL = "pip install onnxruntime-ep-nv-tensorrt-rtx-cu12"
DRIVER = "libcuda.so.1"
CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the CUDA driver API


class Unfit(Exception):
    """Raised if this machine cannot run the engine. The message says what is missing and what to do."""


def attach(settings: ort.SessionOptions, path: Path, options: Mapping[str, str]) -> tuple[str, str]:
    """Let a session run on the first GPU. Returns the library with its version, and the engine's precision.

    path: the graph, as MODEL/VERSION/FILE. options: of the plug-in, by its names. Raises Unfit.
    """
    package = _package()
    gpus = _capabilities(_driver())
    version = _version(package)
    found = misfits(path, path.parent.parent.name, gpus[:1], version)
    if found:
        raise Unfit("; ".join(found))
    try:
        plug = importlib.import_module(PACKAGE)
        with_name = {device.ep_name for device in ort.get_ep_devices()}
        if plug.get_ep_name() not in with_name:
            ort.register_execution_provider_library(plug.get_ep_name(), plug.get_library_path())
        devices = [device for device in ort.get_ep_devices() if "tensorrtrtx" in device.ep_name.lower()]
        if devices:  # with none, ONNX Runtime only says that it must be given some
            settings.add_provider_for_devices(devices[:1], dict(options))
    except Exception as error:
        raise Unfit(f"the TensorRT-RTX plug-in does not load: {' '.join(str(error).split())}; {INSTALL} -U") from None
    if not devices:
        raise Unfit(
            f"the TensorRT-RTX plug-in takes no GPU here ({', '.join(gpus)}); remove the accelerator from config.pbtxt"
        )
    record = _record(path)
    return f"TensorRT for RTX {version}", str(record["precision"]) if record else "fp32"


def _package() -> Path:
    """Return the folder of the plug-in's package. Raises Unfit if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Unfit(
            "gpu_execution_accelerator 'tensorrt_rtx' needs the package onnxruntime-ep-nv-tensorrt-rtx-cu12 (350 MB, "
            f"its libraries under NVIDIA's licence), which is not installed where the server runs; run: {INSTALL}"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _driver() -> ctypes.CDLL:
    """Return NVIDIA's driver. Raises Unfit if there is none."""
    try:
        return ctypes.CDLL(DRIVER)
    except OSError:
        raise Unfit(
            f"gpu_execution_accelerator 'tensorrt_rtx' needs an NVIDIA driver, and {DRIVER} is not on this machine; "
            "install the driver, or remove the accelerator from config.pbtxt"
        ) from None


def _capabilities(driver: ctypes.CDLL) -> list[str]:
    """Return the compute capability of each GPU, such as "8.6". Raises Unfit if the driver finds none."""
    count, number = ctypes.c_int(0), ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        raise Unfit(
            "the NVIDIA driver finds no GPU here; check nvidia-smi, or remove the accelerator from config.pbtxt"
        )
    found = []
    for device in range(count.value):
        parts = []
        for attribute in CAPABILITY:
            driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
            parts.append(str(number.value))
        found.append(".".join(parts))
    return found


def _version(package: Path) -> str:
    """Return the version of TensorRT for RTX in the plug-in's folder, such as "1.7.1"; empty if no file names it."""
    names = [path.name.partition(".so.")[2] for path in package.glob("libtensorrt_rtx.so.*")]
    return max(names, key=len, default="")


def _record(path: Path) -> dict[str, object] | None:
    """Return the sidecar's content, or None if there is none. Raises Unfit for a file that is no sidecar."""
    place = path.with_name(f"{path.name}.json")
    if not place.is_file():
        return None
    try:
        record = json.loads(place.read_text(encoding="utf-8"))
        if {"network", "graph_sha256", "engine_sha256", "tensorrt", "capabilities", "precision"} <= set(record):
            return dict(record)
    except (OSError, ValueError, TypeError):
        pass
    raise Unfit(f"{place.name} is not the record of an engine; build the engine again")


def misfits(path: Path, model: str, gpus: Sequence[str], version: str) -> list[str]:
    """Return why an engine must not be loaded, a sentence each; none if its sidecar fits or there is none.

    model: that would load the engine. gpus: compute capabilities of the GPUs that would. version: of TensorRT that
    would; empty if unknown. Raises Unfit for a file that is no sidecar.
    """
    record = _record(path)
    if record is None:
        return []
    remedy = f"compile the engine again for {model}"
    graph = path.with_name("model.onnx")
    wrong = []
    if record["network"] != model:
        wrong.append(f"{path.name} is an engine of {record['network']}, and {model} would load it; {remedy}")
    elif graph.is_file() and _digest(graph) != record["graph_sha256"]:
        wrong.append(f"{path.name} was built from another {graph.name} than the one beside it; {remedy}")
    if _digest(path) != record["engine_sha256"]:
        wrong.append(f"{path.name} is not the engine that {path.name}.json describes; {remedy}")
    built = str(record["tensorrt"])
    if version and built and version.split(".")[:3] != built.split(".")[:3]:
        wrong.append(f"{path.name} was built by TensorRT {built}, and TensorRT {version} would load it; {remedy}")
    fits = [str(one) for one in record["capabilities"]] if isinstance(record["capabilities"], list) else []
    others = [gpu for gpu in gpus if gpu not in fits]
    if fits and others:
        wrong.append(
            f"{path.name} is for GPUs of compute capability {', '.join(fits)}, and the GPU here has {others[0]}; "
            f"{remedy}, and for sm{others[0].replace('.', '')}"
        )
    return wrong


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
