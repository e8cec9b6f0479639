"""Recall: planted, natural and generated objects by their size, Deep Template Matching against pooling and chance.

    python -m bench recall [--json] [--parts planted,natural,generated] [--quick]

Data: CamVid in --data (else SLUICE_DATA, else ../shared/data). Every part says which frames the network was trained
on: see recall_planted, recall_natural and recall_generated. --quick is for tests: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from bench import report
from bench.recall import generated as recall_generated
from bench.recall import natural as recall_natural
from bench.recall import planted as recall_planted
from bench.recall.scores import METHODS, Extractor
from export.training import camvid
from sluice.contracts import ROOT

SIZES = (0.001, 0.003, 0.01, 0.03, 0.1)
PARTS = ("planted", "natural", "generated")
BICYCLIST = 10


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench recall", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = os.environ.get("SLUICE_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(folder), help="folder that holds camvid/")
    parser.add_argument(
        "--model", type=Path, default=ROOT / "weights" / "feature_extractor.pt", help="weights (.pt) or graph (.onnx)"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="which of " + ", ".join(PARTS))
    parser.add_argument("--seeds", type=int, default=3, help="repetitions of the planted part")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="a few frames and queries, to see that it runs")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(argv)
    unknown = [p for p in given.parts.split(",") if p not in PARTS]
    if unknown:
        parser.error(f"--parts: unknown {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return given


def main(argv: list[str]) -> int:
    given = arguments(argv)
    report.as_json(given.json)
    folder = given.data / "camvid"
    if not folder.is_dir():
        print(
            f"expected CamVid in {folder}; give the folder that holds camvid/ with --data or SLUICE_DATA",
            file=sys.stderr,
        )
        return 2
    extract = Extractor(given.model, given.threads)
    parts = given.parts.split(",")
    start = time.monotonic()
    if "planted" in parts:
        planted(extract, folder, 1 if given.quick else given.seeds, given.quick)
    if "natural" in parts:
        natural(extract, folder, given.quick)
    if "generated" in parts:
        generated(extract, given.quick)
    report.say(f"{(time.monotonic() - start) / 60:.1f} minutes")
    return 0


def planted(extract: Extractor, folder: Path, seeds: int, quick: bool) -> None:
    """See recall_planted. Bicyclist is the class that enough frames of the pool's drive lack."""
    training, held_out = camvid.split(camvid.read(folder, camvid.TRAINING_DRIVES))
    pool = [f for f in camvid.read(folder, (camvid.EVALUATION_DRIVE,)) if f.lacks(BICYCLIST)]
    backgrounds = [f for f in held_out if f.lacks(BICYCLIST)]
    objects = camvid.cut_out(held_out, BICYCLIST)
    decoys = [o for label in (6, 8, 9) for o in camvid.cut_out(held_out, label)]
    sizes: tuple[float, ...] = SIZES
    queries, draws = 12, 20
    if quick:
        pool, backgrounds, sizes, queries, draws = pool[::6], backgrounds[::6], (0.01,), 2, 3
    plain = [extract(f.image) for f in pool]
    rows, found = [], {}
    for kind, extra, repeats, chosen in (
        ("planted", None, seeds, objects),
        ("planted, others hold decoys", decoys, 1, objects),
        ("planted, objects trained on", None, 1, camvid.cut_out(training, BICYCLIST)),
    ):
        for size in sizes if kind == "planted" else [s for s in sizes if s in (0.003, 0.01, 0.03)]:
            made = [
                recall_planted.experiment(
                    extract, pool, plain, chosen, backgrounds, size, seed, queries, draws, decoys=extra
                )
                for seed in range(repeats)
            ]
            recall = np.concatenate([m.recall for m in made], axis=1)
            precision = np.concatenate([m.precision for m in made], axis=1)
            found[kind, size] = recall.mean(axis=1), [m.recall.mean(axis=1) for m in made], recall
            rows.append(
                (
                    kind,
                    f"{size:.1%}",
                    recall.shape[1],
                    *recall.mean(axis=1),
                    float(recall[0].std()),
                    made[0].chance,
                    *precision.mean(axis=1),
                )
            )
    report.table(
        f"planted: recall@10 of Bicyclist by area; {len(pool)} frames of {camvid.EVALUATION_DRIVE}, 1 in 10 positive",
        ("kind", "area", "queries", *METHODS, "spread over queries (sd)", "chance", *(f"AP {m}" for m in METHODS)),
        rows,
    )
    for size, mark in ((0.01, 0.6), (0.003, 0.3)):
        if ("planted", size) in found:
            mean, each, _ = found["planted", size]
            ends = [min(e[0] for e in each), max(e[0] for e in each)]
            report.claim(
                f"recall planted at {size:.1%}", float(mean[0]), mark, bool(mean[0] >= mark), "recall@10", ends
            )
    mean, each, _ = found["planted", 0.01]
    times = [float(e[0] / max(e[1:].max(), 1e-9)) for e in each]
    value = float(mean[0] / max(mean[1:].max(), 1e-9))
    report.claim(
        "recall planted at 1.0% against the better pooling", value, 3.0, value >= 3, "times", [min(times), max(times)]
    )


def natural(extract: Extractor, folder: Path, quick: bool) -> None:
    """See recall_natural."""
    frames = camvid.read(folder, (*camvid.TRAINING_DRIVES, camvid.EVALUATION_DRIVE))
    pools: tuple[str, ...] = (camvid.EVALUATION_DRIVE, *camvid.TRAINING_DRIVES)
    if quick:
        frames, pools = frames[::6], pools[:1]
    views = {f.name: extract(f.image) for f in frames}
    rows, ahead = [], []
    for pool in pools:
        out = recall_natural.experiment(pool, frames, views, BICYCLIST, 2 if quick else 12)
        known = "new" if pool == camvid.EVALUATION_DRIVE else "trained on, but for held-out stretches"
        for low, high in (*recall_natural.BANDS, (0.0, 1.0)):
            chosen = (out.area >= low) & (out.area < high)
            if not chosen.any():
                continue
            for name, values, chance in (
                ("all", out.all_sizes, out.chance[0]),
                ("0.3% and more", out.large, out.chance[1]),
            ):
                part = values[:, chosen]
                rows.append(
                    (
                        pool,
                        known,
                        f"{low:.1%} to {high:.1%}",
                        name,
                        int(chosen.sum()),
                        *part.mean(axis=1),
                        float(part[0].std()),
                        chance,
                    )
                )
        best = np.nanmean(out.large[1:], axis=1).max()
        ahead.append(
            (
                pool,
                float(np.nanmean(out.large[0])),
                float(best),
                [float(np.nanpercentile(out.large[0], q)) for q in (10, 90)],
            )
        )
    report.table(
        "natural: average precision of Bicyclist by the area of the query's region, each drive in turn as the pool",
        (
            "pool",
            "to the network",
            "query area",
            "positive frames",
            "queries",
            *METHODS,
            "spread over queries (sd)",
            "chance",
        ),
        rows,
    )
    for pool, dtm, best, ends in ahead:
        report.claim(
            f"natural, pool {pool}, objects of 0.3% and more: above both poolings ({best:.3f})",
            dtm,
            best,
            dtm > best,
            "average precision",
            ends,
        )


def generated(extract: Extractor, quick: bool) -> None:
    """See recall_generated."""
    count, queries, kinds, distances = 90, 8, recall_generated.RARE, recall_generated.DISTANCES
    if quick:
        count, queries, kinds, distances = 9, 1, kinds[:1], distances[:1]
    # Spread the seeds: neighbouring ones are used when a street is refused.
    common = [
        recall_generated.scene(extract, recall_generated.FIRST_SEED - 100_000 + 20 * i, None, (0, 0))[0]
        for i in range(count)
    ]
    made = [recall_generated.experiment(extract, common, kind, d, 0, queries) for kind in kinds for d in distances]
    report.table(
        f"generated: recall@10 in {round(count / 0.9)} street scenes, one in ten with the kind asked for",
        (
            "kind",
            "distance, m",
            "median area of query",
            "queries",
            *METHODS,
            "spread over queries (sd)",
            *(f"AP {m}" for m in METHODS),
        ),
        [
            (
                m.kind,
                f"{m.distance[0]:.0f} to {m.distance[1]:.0f}",
                f"{np.median(m.area):.2%}",
                m.recall.shape[1],
                *m.recall.mean(axis=1),
                float(m.recall[0].std()),
                *m.precision.mean(axis=1),
            )
            for m in made
        ],
    )
    area, recall = np.concatenate([m.area for m in made]), np.concatenate([m.recall for m in made], axis=1)
    for name, low, high, mark in (("1%", 0.005, 0.02, 0.6), ("0.3%", 0.0015, 0.005, 0.3)):
        chosen = (area >= low) & (area < high)
        if not chosen.any():
            report.claim(
                f"recall generated at {name}", None, mark, False, "recall@10", reason="no query of this size was drawn"
            )
            continue
        mean, ends = recall[:, chosen].mean(axis=1), np.percentile(recall[0, chosen], (10, 90))
        report.claim(
            f"recall generated at {name} ({low:.2%} to {high:.1%})",
            float(mean[0]),
            mark,
            bool(mean[0] >= mark),
            "recall@10",
            ends,
        )
        if name == "1%":
            times = float(mean[0] / max(mean[1:].max(), 1e-9))
            report.claim("recall generated at 1% against the better pooling", times, 3.0, times >= 3, "times")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
