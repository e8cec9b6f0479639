"""The model card: what the weights are, from what data, under which licence, how made, and what they reach."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import graph
from export.check import Report, read_record, sizes
from export.registry import Network, digest, replace

UNKNOWN = "not recorded"
GRAPH, RECORD = "sha256 of model.onnx", "sha256 of the training record"


def text(network: Network, weights: Path, report: Report) -> str:
    """The card in Markdown. What training recorded (`weights/NAME.json`) goes before what the table says."""
    record = read_record(weights.with_suffix(".json"))
    facts = graph.facts(network.onnx)
    rows = [
        ("weights", f"`{weights.name}`, {weights.stat().st_size:,} bytes"),
        ("sha256 of the weights", f"`{digest(weights)}`"),
        (GRAPH, f"`{digest(network.onnx)}`"),
        ("opset, IR, producer", f"{facts['opset']}, {facts['ir']}, {facts['producer']}"),
        ("parameters", _parameters(record, facts)),
        (RECORD, _record_digest(weights)),
        *(("input", _tensor(tensor)) for tensor in network.inputs),
        *(("output", _tensor(tensor)) for tensor in network.outputs),
    ]
    parts = [
        f"# {network.name}",
        network.title + ".",
        "Written by `python -m export " + network.name + " --check`; do not edit.",
        _table(("", ""), rows),
        "## Exported against torch",
        f"{report.runtime}, CPU, one thread, on generated street scenes at sizes that tracing did not see. Greatest "
        f"absolute difference {report.greatest:.2e}; {network.tolerance:g} is allowed.",
        _table(("input", "greatest difference"), [(sizes(row.shapes), f"{row.difference:.2e}") for row in report.rows]),
        "## bf16 through OpenVINO (profile cpu-fast)",
        _bf16(report),
        "## Data and licence",
        f"Data: {_prose(record.get('data') or network.data or UNKNOWN)}.",
        f"Licence: {_prose(record.get('licence') or record.get('license') or network.licence or UNKNOWN)}.",
        "## Recipe",
        _value(record["recipe"]) if "recipe" in record else UNKNOWN + ".",
        f"Command: `{record.get('command') or network.train}`",
        "## What it reaches",
        _value(record["reach"]) if "reach" in record else UNKNOWN + ".",
    ]
    known = {"data", "licence", "license", "recipe", "reach", "command", "parameters"}
    rest = {key: value for key, value in record.items() if key not in known}
    if rest:
        parts += ["## Besides", _value(rest)]
    return "\n\n".join(parts) + "\n"


def write(network: Network, weights: Path, report: Report) -> Path:
    replace(network.card, text(network, weights, report).encode())
    return network.card


def current(network: Network, weights: Path) -> bool:
    """Whether the card speaks of the graph that is there and of what training recorded."""
    if not (network.card.exists() and network.onnx.exists()):
        return False
    found = dict(re.findall(r"^\| (.+?) \| (.+) \|$", network.card.read_text(encoding="utf-8"), re.MULTILINE))
    return found.get(GRAPH) == f"`{digest(network.onnx)}`" and found.get(RECORD) == _record_digest(weights)


def _record_digest(weights: Path) -> str:
    record = weights.with_suffix(".json")
    return f"`{digest(record)}`" if record.exists() else UNKNOWN


def _parameters(record: dict[str, Any], facts: dict[str, Any]) -> str:
    trained = record.get("parameters")
    served = f"{facts['parameters']:,} in the graph's {facts['operators']} operators, BatchNorm folded"
    return f"{trained:,} trained; {served}" if isinstance(trained, int) else served


def _tensor(tensor) -> str:
    return f"`{tensor.name}` [{', '.join(map(str, tensor.axes))}]"


def _bf16(report: Report) -> str:
    if report.bf16 is None:
        return report.not_measured[:1].upper() + report.not_measured[1:] + "."
    cost = report.bf16
    return (
        f"1 - cosine between a cell in bf16 and in float32, over all cells above: {cost.mean:.1e} on average, "
        f"{cost.hundredth:.1e} or more in one cell of a hundred, {cost.worst:.1e} at worst. Greatest absolute "
        f"difference {cost.difference:.1e}. Executed on: {cost.executed}."
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _prose(value: Any) -> str:
    if isinstance(value, str):
        return value.strip().rstrip(".")
    if isinstance(value, list):
        return "; ".join(_prose(item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_prose(item)}" for key, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(value: Any) -> str:
    """A record's value as Markdown: text as it is, an object as a table, a list of objects as a table of rows."""
    if isinstance(value, dict):
        return _table(("", ""), [(str(key), _prose(item)) for key, item in value.items()])
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        head = tuple(dict.fromkeys(key for item in value for key in item))
        return _table(head, [tuple(_prose(item.get(key, "")) for key in head) for item in value])
    return _prose(value) + "."
