"""Measures each network in fp32, bf16, fp16 and int8: what its task loses, its time, and its share of a core's limit.

    python -m bench networks [--only NAME ...] [--parts quality speed] [--record] [--quick] [--json]

Quality: the task metric of each graph (`bench/networks/tasks.py`), in each precision on the same inputs, with the
paired difference to fp32 and its 95 % bootstrap interval over inputs. Data: CamVid and LIVE1 in --data (else
SLUICE_DATA, else ../shared/data), or generated scenes where the folder is missing or --generated is given. bf16 is
OpenVINO's, where the processor has it. fp16 is the graph that TensorRT gets, every result rounded to fp16 and sums in
fp32; a GPU accumulates otherwise. Int8 has Q/DQ nodes and is calibrated on generated inputs.
Speed: one thread, batches of one, in turns. ONNX Runtime computes the fp16 graph in fp32 on a CPU. Int8 is timed where
it is kept, which is where it loses at most 1 % of the task metric.

--record writes the costs to weights/precision.json, by which int8 is refused, and into the cards.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from statistics import median

import numpy as np

from bench import report
from bench.intervals import paired
from bench.networks import speed
from bench.networks.engines import INT8, WHOLE, Precisions
from bench.networks.task import Task
from bench.networks.tasks import table
from export import card
from export.files import digest
from export.precision import record
from export.precision.inputs import COUNT, generated
from export.precision.record import MOST, Cost
from export.registry import NETWORKS
from sluice import contracts

PARTS = ("quality", "speed")
ROUNDS = 9
FP16_MARK = 0.01  # share of the task metric that fp16 may lose


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench networks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = os.environ.get("SLUICE_DATA") or contracts.ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(folder), help="folder that holds camvid/ and restoration/")
    parser.add_argument("--generated", action="store_true", help="measure on generated scenes even if --data is there")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="graphs to measure (default: all)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default both)")
    parser.add_argument("--record", action="store_true", help="write weights/precision.json and the cards")
    parser.add_argument("--quick", action="store_true", help="a few inputs, to see that it runs")
    given = report.parse(parser, argv)
    unknown = sorted(set(given.only or ()) - set(table()))
    if unknown:
        parser.error(f"--only: unknown {', '.join(unknown)}; there are {', '.join(table())}")
    if given.record and (given.quick or "quality" not in given.parts):
        parser.error("--record keeps figures of the part quality at full length; leave out --quick")
    return given


def main(argv: list[str]) -> int:
    """Measure the networks that are asked for. Returns 0."""
    given = arguments(argv)
    data = given.data if (given.data / "camvid").is_dir() and not given.generated else None
    costs: record.Costs = {}
    times: list[list[object]] = []
    for name, task in table().items():
        if given.only and name not in given.only:
            continue
        if not NETWORKS[name].onnx.is_file():
            raise SystemExit(f"the graph of {name} is missing; run: make export")
        print(f"{name} ...", file=sys.stderr, flush=True)
        network = Precisions(NETWORKS[name], 2 if given.quick else COUNT)
        if "quality" in given.parts:
            costs[name] = quality(name, task, network, data, given.quick)
            if given.record:
                record.write(costs)
        if "speed" in given.parts:
            known = costs.get(name) or record.of(NETWORKS[name])
            kept = INT8 in known and known[INT8].loss <= MOST
            times += timed(name, network, kept, 2 if given.quick else ROUNDS)
    show(costs, times)
    if given.record:
        for path in card.refresh([NETWORKS[name] for name in costs]):
            report.say(f"wrote {path.name}")
    return 0


def quality(name: str, task: Task, network: Precisions, data: Path | None, quick: bool) -> dict[str, Cost]:
    """Return the cost of each precision but fp32 in a network's task."""
    work, said = task.prepare(data, task.quick if quick else task.inputs)
    pieces = {kind: work(run) for kind, run in network.runs.items()}
    whole = task.score(pieces[WHOLE])
    found = {}
    for kind in pieces:
        if kind == WHOLE:
            continue
        value = task.score(pieces[kind])
        difference, low, high = paired(task.score, pieces[WHOLE], pieces[kind], 20 if quick else task.resamples)
        found[kind] = Cost(
            sha256=digest(NETWORKS[name].onnx), metric=task.metric, data=said, whole=whole, value=value,
            difference=difference, low=low, high=high, loss=task.loss(whole, value), size=network.size[kind],
            processor=report.processor(),
        )  # fmt: skip
    return found


def timed(name: str, network: Precisions, int8: bool, rounds: int) -> list[list[object]]:
    """Return a row per precision with its time. int8: whether int8 is kept, and so timed."""
    runs = {kind: run for kind, run in network.timed.items() if kind != INT8 or int8}
    given = next(generated(NETWORKS[name], 1))
    work, found = speed.operations(network.whole, given), speed.race(runs, given, rounds)
    rows: list[list[object]] = []
    for kind, ms in found.items():
        rate = work / median(ms) * 1e3
        share = rate / speed.limits()[kind]
        rows.append([name, kind, median(ms), min(ms), max(ms), rate / 1e9, f"{share:.0%}", network.size[kind] / 1e6])
    return rows


def show(costs: record.Costs, times: list[list[object]]) -> None:
    """Print both tables, and whether fp16 keeps its mark."""
    rows = [
        [name, kind, cost.metric, cost.whole, cost.difference, cost.low, cost.high, f"{cost.loss:+.2%}",
         "" if kind != INT8 else "kept" if cost.loss <= MOST else "refused"]
        for name, found in costs.items() for kind, cost in found.items()
    ]  # fmt: skip
    if rows:
        columns = ["graph", "precision", "task metric", "in fp32", "difference", "low", "high", "lost", "int8"]
        report.table("what less precision costs, paired with fp32 on the same inputs", columns, rows)
        for name, found in costs.items():
            report.say(f"{name}: {found['fp16'].data}")
        lost = [found["fp16"].loss for found in costs.values()]
        worst = float(np.max(lost))  # NaN where a metric is 0 in fp32, of which nothing can be lost
        name = f"share of the task metric that fp16 loses, the worst of {len(lost)} graphs"
        if math.isnan(worst):
            report.claim(name, None, FP16_MARK, False, "of the metric", reason="a task metric is 0 in fp32")
        else:
            report.claim(name, worst, FP16_MARK, worst <= FP16_MARK, "of the metric", (min(lost), worst))
    if times:
        columns = ["graph", "precision", "ms", "least", "most", "GFLOP/s", "of the core's limit", "MB"]
        report.table("one call of one input, one thread, in turns", columns, times)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
