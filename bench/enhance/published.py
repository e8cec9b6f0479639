"""Compares realesr-animevideov3 as `enhance` serves it with ncnn, which its files were published for: time and answer.

Both have one thread and the same frame of RGB, from bytes to bytes, and take turns. ncnn computes 3 x 3 convolutions by
Winograd's algorithm, with a quarter of the products; ONNX Runtime and OpenVINO have none of that for x86.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench import report
from bench.enhance import realesr
from bench.enhance.networks import Session, exported
from export.video import network as video
from export.video import rows
from sluice.methods.video.planes import RGB

SCALES = (2, 3, 4)
TOLD = 2  # grey levels of 255
FP32, BF16 = "ONNX Runtime, fp32", "OpenVINO, bf16"
Side = Callable[[], np.ndarray]


def measure(size: tuple[int, int], rounds: int, folder: Path) -> None:
    """Print a table for each scale, and the claims. size: (H, W) of the frame. rounds: turns of each side."""
    if reason := realesr.missing("openvino"):
        for name in ("greatest difference of a published network from ncnn", "ncnn's time over ours"):
            report.claim(name, None, TOLD if "difference" in name else 1.0, False, "", reason=f"skipped: {reason}")
        return
    for scale in SCALES:
        sides = contenders(scale, size, folder)
        times, found = race(sides, rounds)
        theirs = found["ncnn"].astype(int)
        apart = {name: int(np.abs(image - theirs).max()) for name, image in found.items()}
        report.table(
            f"realesr-animevideov3 x{scale}, {size[1]} x {size[0]} in, one thread (ncnn {version('ncnn')})",
            ["engine", "ms per frame", "least", "most", "differs by at most"],
            [[name, median(one), min(one), max(one), apart[name]] for name, one in times.items()],
        )
        name = f"greatest difference of x{scale} in fp32 from ncnn"
        report.claim(name, apart[FP32], TOLD, apart[FP32] <= TOLD, "of 255")
        for side in (FP32, BF16):
            name = f"ncnn's time over ours, x{scale}, {side}"
            if side not in times:
                report.claim(name, None, 1.0, False, "times", reason="skipped: this processor has no bf16")
                continue
            ratios = sorted(b / a for a, b in zip(times[side], times["ncnn"], strict=True))
            report.claim(name, median(ratios), 1.0, median(ratios) >= 1, "times", (ratios[0], ratios[-1]))


def contenders(scale: int, size: tuple[int, int], folder: Path) -> dict[str, Side]:
    """Return the sides by name; each makes the answer to the same frame, uint8 [sH, sW, 3]."""
    import openvino

    param = realesr.param(scale)
    enhancer = video.load(param)
    content = exported("published", video.Served(enhancer).eval(), scale, folder).content
    given = dict(rows.frames(rows.shapes(1, *size, halved=False), 0), COLOUR=RGB.to_rgb[None].astype(np.float32))
    image = np.dstack([given["LUMA"][0], given["CHROMA"][0]])
    session = Session(content, 1)
    net = realesr.opened(param, 1)
    sides: dict[str, Side] = {"ncnn": lambda: realesr.enlarged(net, image)}
    sides[FP32] = lambda: _joined(*session.run(given))
    core, graph = openvino.Core(), folder / f"x{scale}.onnx"
    graph.write_bytes(content)
    for kind, hint in (("fp32", "f32"), ("bf16", "bf16")):
        if kind == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            continue
        sides[f"OpenVINO, {kind}"] = _openvino(core, graph, hint, given)
    return sides


def _openvino(core: Any, graph: Path, hint: str, given: Mapping[str, np.ndarray]) -> Side:
    """Return OpenVINO's side in the precision of the hint."""
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1}
    asked = core.compile_model(str(graph), "CPU", settings).create_infer_request()
    return lambda: _joined(*(np.array(one) for one in asked.infer(given).values()))


def _joined(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Return the RGB of the planes of one frame."""
    return np.dstack([luma[0], chroma[0]])


def race(sides: dict[str, Side], rounds: int) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
    """Return the milliseconds of each turn, and the last answer, by side. The first answer is not measured."""
    found = {name: side() for name, side in sides.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(rounds):
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            begin = time.perf_counter()
            found[name] = sides[name]()
            times[name].append(1000 * (time.perf_counter() - begin))
    return times, found
