"""Keeps what less precision costs each network: `precision.json` beside the weights, by `python -m bench networks`.

Cards print it, and the export to int8 refuses by it. A figure is of one graph; of another graph nothing is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from export.entry import ExportError, Network, home
from export.files import digest, replace
from sluice.process import weights as sets

MOST = 0.01  # share of its task metric that a network may lose in int8
TITLE = "## What less precision costs"
COMMAND = "python -m bench networks --record"
ACCUMULATES = (
    "A GPU adds the products of a sum in another order, and some in fp16, so that its figures differ in the last "
    "digits."
)
UNEXECUTED = (
    "Classic plans of TensorRT and engines of TensorRT for RTX were never executed for this card, because neither kind "
    "of engine can be executed where Sluice is developed (docs/tensorrt.md)."
)


@dataclass(frozen=True)
class Cost:
    """The cost of one precision of one network.

    sha256: of the model.onnx that was measured. metric: its task metric in words, with the unit. data: it was measured
    on. whole, value: the metric in fp32 and in this precision. difference, low, high: value - whole, paired on the same
    inputs, and the 95 % bootstrap interval. loss: share of the metric that is lost, negative where it got better.
    size: bytes of the graph. processor: that it was measured on.
    """

    sha256: str
    metric: str
    data: str
    whole: float
    value: float
    difference: float
    low: float
    high: float
    loss: float
    size: int
    processor: str


Costs = dict[str, dict[str, Cost]]  # network -> precision -> cost


def path(root: Path | None = None) -> Path:
    """Return the path of a set's record. root: place of the set's engines; None for that of the environment."""
    return sets.shelf(root or home()) / "precision.json"


def read(root: Path | None = None) -> Costs:
    """Return the record, empty where there is none. Raises ExportError where the file is not such a record."""
    file = path(root)
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {name: {kind: Cost(**cost) for kind, cost in costs.items()} for name, costs in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ExportError(f"{file} is no record of precisions ({error}); write it again with: {COMMAND}") from None


def write(costs: Mapping[str, Mapping[str, Cost]], root: Path | None = None) -> None:
    """Write the costs of some networks into the record; the other networks keep theirs."""
    all_known = read(root) | {name: dict(found) for name, found in costs.items()}
    plain = {name: {kind: asdict(cost) for kind, cost in all_known[name].items()} for name in sorted(all_known)}
    replace(path(root), (json.dumps(plain, indent=1) + "\n").encode())


def of(network: Network) -> dict[str, Cost]:
    """Return what is known of a network's graph as it lies there: precision -> cost, empty if it was not measured."""
    if not network.onnx.is_file():
        return {}
    sha = digest(network.onnx)
    return {kind: cost for kind, cost in known(network).items() if cost.sha256 == sha}


def known(network: Network) -> dict[str, Cost]:
    """Return what the record of a network's set says of it, precision -> cost, also where that is of another graph."""
    return read(home(sets.parts(network.root)[1])).get(network.name, {})


def section(networks: Sequence[Network]) -> str:
    """Return the section of a card in Markdown: a row per network and precision, or the reason why there is none.

    The section also says that no engine of TensorRT was executed.
    """
    rows = []
    for network in networks:
        for kind, cost in of(network).items():
            kept = "" if kind != "int8" else "kept" if cost.loss <= MOST else "refused"
            rows.append(
                f"| {network.name} | {kind} | {cost.metric} | {cost.whole:.4g} | {cost.difference:+.2g} "
                f"({cost.low:+.2g} to {cost.high:+.2g}) | {cost.loss:+.2%} | {cost.size / 1e6:.2f} | {kept} |"
            )
    if not rows:
        return f"{TITLE}\n\n{UNEXECUTED}\n\nNot measured for this graph; `{COMMAND}` does it."
    costs = [cost for network in networks for cost in of(network).values()]
    head = (
        "| graph | precision | task metric | in fp32 | difference, 95 % interval | lost | MB | int8 |",
        "|---|---|---|--:|--:|--:|--:|---|",
    )
    said = (
        f"Measured by `{COMMAND}` on {'; '.join(dict.fromkeys(cost.data for cost in costs))}, each pair on the same "
        f"inputs, on {'; '.join(dict.fromkeys(cost.processor for cost in costs))}. fp16: the graph that TensorRT gets, "
        f"every result rounded to fp16, sums in fp32. {ACCUMULATES} Int8 is kept where at most {MOST:.0%} is lost."
    )
    return "\n".join([TITLE, "", UNEXECUTED, "", said, "", *head, *rows])
