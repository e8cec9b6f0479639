"""The shipped networks with convolutions in int8: what that saves, and what it loses on LIVE1 and Set5.

Weights by channel, activations by tensor, uint8, their ranges from the least to the greatest value on a few generated
scenes. The last convolution, which makes the picture, stays in fp32, as does all that is no convolution.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import onnx

from bench import report
from bench.enhance_networks import REMOVERS, UPSCALERS, Contender
from bench.enhance_quality import QUALITIES, Decibels, coded, doubling, mean, photographs
from bench.enhance_speed import Limits, race
from export.networks import video_entry

CALIBRATED = 12  # scenes
SIZE = (720, 1280)  # pixels of the frame that is timed


def measure(ours: Mapping[str, Contender], data: Path, quick: bool) -> None:
    """Print time and PSNR in both precisions. data: folder of restoration/; without it only times are told."""
    rows = []
    for model in (REMOVERS[1], UPSCALERS[0]):
        if model not in ours:
            continue
        whole = ours[model]
        small = replace(whole, name=f"{model}, int8", content=quantized(whole.content))
        limits = Limits(1, 1, 0) if quick else Limits()
        times = race([whole, small], (96, 160) if quick else SIZE, limits)
        quality = {one.name: psnr(one, model, data / "restoration", quick) for one in (whole, small)}
        for one in (whole, small):
            ms = times[one.name]
            loss = Decibels(quality[one.name] - quality[whole.name])
            rows.append([one.name, median(ms), min(ms), max(ms), Decibels(quality[one.name]), loss])
    report.table(
        "int8 beside fp32 at 720p, ONNX Runtime; PSNR of luma on LIVE1 at quality 10, or Set5 x2",
        ["network", "ms a frame", "least", "most", "PSNR, dB", "against fp32, dB"],
        rows,
    )


def psnr(one: Contender, model: str, folder: Path, quick: bool) -> float:
    """dB; NaN where the photographs are missing."""
    live = model in REMOVERS
    folder = folder / ("live1" if live else "set5")
    if not folder.is_dir():
        return float("nan")
    images, sessions = photographs(folder, quick), {model: one.session(1)}
    found = coded(images, QUALITIES[0], False, sessions) if live else doubling(images, sessions)
    return mean(found[model]).psnr


def quantized(content: bytes) -> bytes:
    """An ONNX file of a served network -> the same with int8 convolutions."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Scenes(CalibrationDataReader):
        def __init__(self) -> None:
            self.given: Iterator[dict[str, np.ndarray]] = (
                video_entry.frames(video_entry.shapes(1, 176, 256), 900 + i) for i in range(CALIBRATED)
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
