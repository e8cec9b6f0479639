"""Writes the model card of a file of weights: data, licence, recipe, accuracy, and its graphs compared with torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import graph, registry
from export.check import Report, read_record, sizes
from export.entry import ExportError, Network, Tensor
from export.files import digest, replace
from export.precision import record as precision
from sluice.process import weights as sets

UNKNOWN = "not recorded"
GRAPH, RECORD = "sha256 of model.onnx", "sha256 of the training record"
WEIGHTS = "sha256 of the weights"


def text(weights: Path, reports: Sequence[Report], command: str = "") -> str:
    """Return the card in Markdown. reports: one per graph that is made from these weights.

    command: the command that writes the card, empty for that of a network in the table of exports.

    The training record (`weights/NAME.json`) goes before the table of exports where both name data or licence.
    """
    record = read_record(weights.with_suffix(".json"))
    networks = [report.network for report in reports]
    first, name, chosen = networks[0], networks[0].card.stem, sets.parts(networks[0].root)[1]
    usual = f"python -m export {name}{'' if chosen == sets.RESEARCH else f' --weights {chosen}'} --check"
    facts = [graph.facts(network.onnx) for network in networks]
    inputs = dict.fromkeys(tensor for network in networks for tensor in network.inputs)
    outputs = dict.fromkeys(tensor for network in networks for tensor in network.outputs)
    rows = [
        ("weights", f"`{weights.name}`, {weights.stat().st_size:,} bytes"),
        (WEIGHTS, f"`{digest(weights)}`"),
        *_graphs(networks).items(),
        ("opset, IR, producer", "{opset}, {ir}, {producer}".format(**facts[0])),
        ("parameters", _parameters(record, networks, facts)),
        (RECORD, _record_digest(weights)),
        *(("input", _tensor(tensor)) for tensor in inputs),
        *(("output", _tensor(tensor)) for tensor in outputs),
    ]
    parts = [
        f"# {name}",
        first.title + ".",
        f"Written by `{command or usual}`; do not edit.",
        _table(("", ""), rows),
        "## Exported against torch",
        *(part for report in reports for part in _differences(report, len(reports) > 1)),
    ]
    if first.fast:
        parts += ["## bf16 through OpenVINO (profile cpu-fast)", *(_bf16(report) for report in reports)]
    parts += [
        precision.section(networks),
        "## Data and licence",
        f"Data: {_prose(record.get('data') or first.data or UNKNOWN)}.",
        f"Licence: {_prose(record.get('licence') or record.get('license') or first.licence or UNKNOWN)}.",
        "## Recipe",
        _value(record["recipe"]) if "recipe" in record else UNKNOWN + ".",
        f"Command: `{record.get('command') or first.train}`",
        "## What it reaches",
        _value(record["reach"]) if "reach" in record else UNKNOWN + ".",
    ]
    known = {"data", "licence", "license", "recipe", "reach", "command", "parameters"}
    rest = {key: value for key, value in record.items() if key not in known}
    if rest:
        parts += ["## Besides", _value(rest)]
    return "\n\n".join(parts) + "\n"


def write(weights: Path, reports: Sequence[Report], command: str = "") -> Path:
    """Write the card beside the weights and return its path. command: as for `text`."""
    card = reports[0].network.card
    replace(card, text(weights, reports, command).encode())
    return card


def current(networks: Sequence[Network], weights: Path) -> bool:
    """Return whether the card is of these graphs and of this training record."""
    card = networks[0].card
    if not (card.exists() and all(network.onnx.exists() for network in networks)):
        return False
    found = _rows(card)
    wanted = {**_graphs(networks), RECORD: _record_digest(weights)}
    if precision.section(networks) not in card.read_text(encoding="utf-8"):
        return False
    return all(found.get(key) == value for key, value in wanted.items())


def belongs(weights: Path) -> None:
    """Raise ExportError where the card beside some weights is of other weights, or of another record of a training.

    Such a card would tell another network's data and licence. Weights without a card pass.
    """
    card = weights.with_suffix(".md")
    found = _rows(card) if card.is_file() else {}
    for key, value in ((WEIGHTS, f"`{digest(weights)}`"), (RECORD, _record_digest(weights))):
        if found.get(key, value) != value:
            raise ExportError(
                f"{weights.name} and its card {card.name} do not belong together: the {key} is {value} here and "
                f"{found[key]} in the card; fetch both anew, or write the card with --check"
            )


def _rows(card: Path) -> dict[str, str]:
    """Return the rows of two columns in a card, by the first."""
    return dict(re.findall(r"^\| (.+?) \| (.+) \|$", card.read_text(encoding="utf-8"), re.MULTILINE))


def refresh(networks: Sequence[Network]) -> list[Path]:
    """Write the costs of less precision anew into the cards of these networks, and return the cards that changed.

    The rest of a card stays as it is, so that nothing is compared with torch.
    """
    changed = []
    for card in dict.fromkeys(network.card for network in networks):
        family = [network for network in registry.NETWORKS.values() if network.card == card]
        if not card.is_file():
            continue
        text = card.read_text(encoding="utf-8")
        begin = text.find(precision.TITLE)
        begin = text.index("## Data and licence") if begin < 0 else begin
        end = text.index("## Data and licence")
        new = f"{text[:begin]}{precision.section(family)}\n\n{text[end:]}"
        if new != text:
            replace(card, new.encode())
            changed.append(card)
    return changed


def _graphs(networks: Sequence[Network]) -> dict[str, str]:
    """Return the rows with the digest of each graph."""
    alone = len(networks) == 1
    return {GRAPH if alone else f"{GRAPH} of {n.name}": f"`{digest(n.onnx)}`" for n in networks}


def _differences(report: Report, named: bool) -> list[str]:
    """Return sentence and table of a graph's comparison with torch. named: whether the sentence names the graph."""
    network = report.network
    return [
        (f"`{network.name}`: " if named else "")
        + f"{report.runtime}, CPU, one thread, on {network.made} at sizes that tracing did not see. Greatest absolute "
        f"difference {report.greatest:.2e}; {network.tolerance:g} is allowed.",
        _table(("input", "greatest difference"), [(sizes(row.shapes), f"{row.difference:.2e}") for row in report.rows]),
    ]


def _record_digest(weights: Path) -> str:
    """Return the digest of the training record as the card writes it."""
    record = weights.with_suffix(".json")
    return f"`{digest(record)}`" if record.exists() else UNKNOWN


def _parameters(record: dict[str, Any], networks: Sequence[Network], facts: Sequence[dict[str, Any]]) -> str:
    """Return the numbers of trained and of served parameters in words."""
    if len(networks) == 1:
        served = f"{facts[0]['parameters']:,} in the graph's {facts[0]['operators']} operators, BatchNorm folded"
    else:
        served = "; ".join(
            f"{found['parameters']:,} in the {found['operators']} operators of {network.name}"
            for network, found in zip(networks, facts, strict=True)
        )
    trained = record.get("parameters")
    return f"{trained:,} trained; {served}" if isinstance(trained, int) else served


def _tensor(tensor: Tensor) -> str:
    """Return a tensor's name and axes in Markdown."""
    return f"`{tensor.name}` [{', '.join(map(str, tensor.axes))}]"


def _bf16(report: Report) -> str:
    """Return the sentences about bf16, or why it was not measured."""
    if report.bf16 is None:
        return report.not_measured[:1].upper() + report.not_measured[1:] + "."
    cost = report.bf16
    return (
        f"1 - cosine between a cell in bf16 and in float32, over all cells above: {cost.mean:.1e} on average, "
        f"{cost.hundredth:.1e} or more in one cell of a hundred, {cost.worst:.1e} at worst. Greatest absolute "
        f"difference {cost.difference:.1e}. Executed on: {cost.executed}."
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _prose(value: Any) -> str:
    """Return a record's value in one line of text."""
    if isinstance(value, str):
        return value.strip().rstrip(".")
    if isinstance(value, list):
        return "; ".join(_prose(item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_prose(item)}" for key, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(value: Any) -> str:
    """Return a record's value in Markdown: text as it is, an object as a table, a list of objects as rows."""
    if isinstance(value, dict):
        return _table(("", ""), [(str(key), _prose(item)) for key, item in value.items()])
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        head = tuple(dict.fromkeys(key for item in value for key in item))
        return _table(head, [tuple(_prose(item.get(key, "")) for key in head) for item in value])
    return _prose(value) + "."
