"""Prints results: Markdown tables, or JSON lines with --json; and each claim with its measured value and its target."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sluice.process import blas

_json = False


def as_json(on: bool) -> None:
    """Print JSON lines instead of tables from here on."""
    global _json
    _json = on


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Read a benchmark's command line, which has --json besides its own options, and print as it says."""
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    given = parser.parse_args(argv)
    as_json(given.json)
    return given


def machine() -> dict[str, Any]:
    """Return what the figures were measured on: processor, cores, the instruction sets that decide, memory in GiB."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    lines = dict(line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    return {
        "cpu": fields.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "isa": sorted(blas.instructions() & {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
    }


def processor() -> str:
    """Return the processor in words: its name, and the instructions for less precision that it has."""
    about = machine()
    return f"{about['cpu'].strip()} ({', '.join(about['isa'])})"


def multipliers() -> None:
    """Print which libraries multiplied matrices in this process: NumPy's kernel, and each other library that was
    loaded.

    A server that the benchmark started runs the kernel of this process. A peer with an environment of its own reports
    its kernel where it is started.
    """
    rows = [("NumPy, ours and the peer's", version("numpy"), f"OpenBLAS {blas.Choice(**_kernel())}")]
    if "onnxruntime" in sys.modules:
        rows.append(("ONNX Runtime", version("onnxruntime"), "its own, by the processor; it does not say which"))
    if "openvino" in sys.modules:
        rows.append(("OpenVINO", version("openvino"), "oneDNN, by the processor; it does not say which"))
    if torch := sys.modules.get("torch"):
        library = "MKL" if torch.backends.mkl.is_available() else "another BLAS than MKL"
        said = f"{library} and oneDNN, by the processor; its own loops: {torch.backends.cpu.get_cpu_capability()}"
        rows.append(("torch", version("torch"), said))
    table("libraries that multiplied", ["library", "version", "kernel"], rows)


def _kernel() -> dict[str, Any]:
    told = blas.told()
    return {"kernel": told["kernel"], "reason": told["reason"]}


def say(text: str) -> None:
    """Print a sentence beside the tables; nothing is printed in JSON."""
    if not _json:
        print(text, flush=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table in Markdown, or in JSON as one object per row."""
    if _json:
        for row in rows:
            print(json.dumps({"table": title, **dict(zip(columns, map(_plain, row), strict=True))}), flush=True)
        return
    cells = [list(columns)] + [[_text(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    print(f"\n{title}\n")
    for i, row in enumerate(cells):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if i == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print(flush=True)


def claim(
    name: str,
    value: float | None,
    mark: float,
    holds: bool,
    unit: str,
    spread: Sequence[float] | None = None,
    reason: str | None = None,
) -> None:
    """Print what was claimed and what was measured.

    mark: the value that the claim promises. spread: (least, greatest) of the measured values. A value of None means
    that it could not be measured; then `holds` is False and `reason` says why.
    """
    spread = None if spread is None else [_plain(spread[0]), _plain(spread[1])]
    row = {"claim": name, "value": _plain(value), "mark": mark, "holds": bool(holds), "unit": unit, "spread": spread}
    if reason is not None:
        row["reason"] = reason
    if _json:
        print(json.dumps(row), flush=True)
        return
    between = "" if spread is None else f" ({_text(spread[0])} to {_text(spread[1])})"
    got = "not measured" if value is None else f"{_text(value)} {unit}{between}"
    print(f"{'holds' if holds else 'SHORT'}: {name}: {got}; mark {_text(mark)}" + (f"; {reason}" if reason else ""))


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
