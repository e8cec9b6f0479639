"""Measures the shipped networks in bf16 and in int8: the time saved, and the loss on LIVE1 and Set5.

bf16 is the profile cpu-fast: OpenVINO, beside its own fp32. int8 has weights by channel and activations by tensor,
uint8, whose ranges reach from the least to the greatest value on a few generated scenes. The last convolution, which
makes the picture, stays in fp32, as does every other operation.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx

from bench import report
from bench.enhance.networks import REMOVERS, UPSCALERS, Contender, Session
from bench.enhance.quality import QUALITIES, Decibels, coded, doubling, mean, photographs
from bench.enhance.speed import Limits, race
from export.video import entry

CALIBRATED = 12  # scenes
SIZE = (720, 1280)  # pixels of the frame that is timed
BF16 = "OpenVINO in bf16"
NO_BF16 = "skipped: no OpenVINO (pip install 'sluice-perception[openvino]'), or no bf16 in this CPU"
LOST = 0.05  # dB that bf16 may lose


def measure(ours: Mapping[str, Contender], data: Path, quick: bool) -> None:
    """Print time and PSNR in each precision, and whether bf16 wins: faster, and at most a twentieth of a
    decibel worse."""
    rows = []
    for model in (REMOVERS[1], UPSCALERS[0]):
        if model not in ours:
            continue
        sides = variants(ours[model])
        limits = Limits(1, 1, 0) if quick else Limits()
        times = race(sides, (96, 160) if quick else SIZE, limits)
        quality = {one.name: psnr(one, model, data / "restoration", quick) for one in sides}
        whole, fast = sides[0], next((one for one in sides if one.name.endswith(BF16)), None)
        for one in sides:
            ms = times[one.name]
            loss = Decibels(quality[one.name] - quality[whole.name])
            rows.append([one.name, median(ms), min(ms), max(ms), Decibels(quality[one.name]), loss])
        claim = f"{model}, {BF16}: frames per second over fp32 in ONNX Runtime"
        if fast is None:
            report.claim(claim, None, 1.0, False, "times", reason=NO_BF16)
            continue
        ratios = [a / b for a, b in zip(times[whole.name], times[fast.name], strict=False)]
        lost = quality[whole.name] - quality[fast.name]  # NaN without photographs, and then the claim does not hold
        report.claim(
            claim, median(ratios), 1.0, median(ratios) > 1 and lost <= LOST, "times", (min(ratios), max(ratios)),
            reason="what it loses is unknown without photographs" if np.isnan(lost) else f"it loses {lost:.2f} dB",
        )  # fmt: skip
    report.table(
        "precisions at 720p on all cores; PSNR of luma on LIVE1 at quality 10, or Set5 x2",
        ["network", "ms per frame", "least", "most", "PSNR, dB", "against fp32, dB"],
        rows,
    )


def variants(whole: Contender) -> list[Contender]:
    """Return the network as it is served and in int8; with OpenVINO installed also in its fp32 and, if the CPU has it,
    bf16."""
    found = [whole, replace(whole, name=f"{whole.name}, int8", content=quantized(whole.content))]
    try:
        import openvino
    except ImportError:
        return found
    found.append(OpenVino(**vars(whole) | {"name": f"{whole.name}, OpenVINO in fp32"}))
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        found.append(OpenVino(**vars(whole) | {"name": f"{whole.name}, {BF16}"}, precision="bf16"))
    return found


@dataclass(frozen=True)
class OpenVino(Contender):
    """A network in OpenVINO, compiled as the profile cpu-fast does it. precision: f32 or bf16."""

    precision: str = "f32"

    def session(self, threads: int | None = None) -> Session:
        """Compile the network. threads: None takes all cores."""
        return _OpenVinoSession(self.content, self.precision, threads)


class _OpenVinoSession(Session):
    """The compiled network, asked like a session of ONNX Runtime."""

    def __init__(self, content: bytes, precision: str, threads: int | None):
        import openvino

        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads or len(os.sched_getaffinity(0)),
        }
        core = openvino.Core()
        self._compiled = core.compile_model(core.read_model(content, b""), "CPU", settings)
        self.inputs = [port.any_name for port in self._compiled.inputs]

    def run(self, given: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        request: Any = (
            self._compiled.create_infer_request()
        )  # a request of its own per call, because pictures are enhanced side by side
        found = request.infer({name: given[name] for name in self.inputs})
        luma, chroma = (np.array(found[name]) for name in ("LUMA_OUT", "CHROMA_OUT"))
        return luma, chroma


def psnr(one: Contender, model: str, folder: Path, quick: bool) -> float:
    """Return the PSNR of a network on its photographs, dB; NaN if they are missing."""
    live = model in REMOVERS
    folder = folder / ("live1" if live else "set5")
    if not folder.is_dir():
        return float("nan")
    images, sessions = photographs(folder, quick), {model: one.session(1)}
    found = coded(images, QUALITIES[0], False, sessions) if live else doubling(images, sessions)
    return mean(found[model]).psnr


def quantized(content: bytes) -> bytes:
    """Return the ONNX file of a served network with int8 convolutions."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Scenes(CalibrationDataReader):
        def __init__(self) -> None:
            self.given: Iterator[dict[str, np.ndarray]] = (
                entry.frames(entry.shapes(1, 176, 256), 900 + i) for i in range(CALIBRATED)
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.given, None)

    with tempfile.TemporaryDirectory() as folder:
        before, ready, after = (Path(folder) / f"{name}.onnx" for name in ("before", "ready", "after"))
        before.write_bytes(content)
        quant_pre_process(before, ready, skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(ready).graph.node if node.op_type == "Conv"]
        quantize_static(
            ready, after, Scenes(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"], per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=convolutions[-1:],
        )  # fmt: skip
        return after.read_bytes()
