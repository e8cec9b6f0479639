"""Compares three ways to choose the frames that a detector learns from next, by mean average precision.

    python -m bench active_learning [--json] [--sets real,generated] [--seeds 3] [--quick]

A detector meets frames of another world. A few of them are labelled. In every cycle the detector goes on learning and
looks at the pool, and more frames are labelled: those that `sluice.methods.selection.choice` picks (four uncertainties,
z-scores over the pool), those with the greatest entropy of an object's class probabilities, or random
ones. Data, and what the start has seen: bench/active_learning/data.py. Training: bench/active_learning/training.py.

Needs CamVid in --data (else SLUICE_DATA, else ../shared/data). Runs one process of one thread per core. Finished
trainings are kept in .bench/active_learning, so that a stopped run goes on. --quick is for tests: its numbers mean
nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench import report
from bench.active_learning import curves
from bench.active_learning.choice import STRATEGIES, Views, chance, choose
from bench.active_learning.curves import Point
from bench.active_learning.data import NAMES, Sizes
from bench.active_learning.training import Job, Result, Settings, begin, cached, facts, perform
from sluice.contracts import ROOT


@dataclass(frozen=True)
class Plan:
    """first: frames labelled at the start, the same for all strategies of a seed. step: frames added in every cycle."""

    sets: tuple[str, ...] = NAMES
    seeds: int = 3
    first: int = 6
    step: int = 6
    cycles: int = 2

    def sizes(self) -> list[int]:
        """Return the frames labelled in each cycle, the start first."""
        return [self.first + self.step * cycle for cycle in range(self.cycles + 1)]


QUICK_PLAN = Plan(seeds=2, first=6, step=6, cycles=1)
QUICK_SIZES = Sizes(start=8, pool=16, test=8, every=6)


def arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench active_learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    folder = os.environ.get("SLUICE_DATA") or ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(folder), help="folder that holds camvid/")
    parser.add_argument(
        "--cache", type=Path, default=ROOT / ".bench" / "active_learning", help="folder of finished trainings"
    )
    parser.add_argument("--sets", default=",".join(NAMES), help="data sets, of " + ", ".join(NAMES))
    parser.add_argument("--seeds", type=int, default=Plan.seeds, help="repetitions, each with another start set")
    parser.add_argument("--cycles", type=int, default=Plan.cycles, help="cycles of choosing and learning")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="steps of each training")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="(default: one per core)")
    parser.add_argument("--quick", action="store_true", help="a few frames and steps, to see that it runs")
    given = report.parse(parser, argv)
    unknown = [name for name in given.sets.split(",") if name not in NAMES]
    if unknown:
        parser.error(f"--sets: unknown {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if given.cycles < 1 or given.steps < 1:
        parser.error("--cycles and --steps: 1 or more")
    if given.seeds < 2:
        parser.error("--seeds: 2 or more; one says nothing of the spread")
    return given


def main(argv: list[str]) -> int:
    """Run every training that is not kept yet and print the tables. Returns 0, or 2 when CamVid is missing."""
    given = arguments(argv)
    camvid = given.data / "camvid"
    if not camvid.is_dir():
        print(
            f"expected CamVid in {camvid}; give the folder that holds camvid/ with --data or SLUICE_DATA",
            file=sys.stderr,
        )
        return 2
    given.cache.mkdir(parents=True, exist_ok=True)
    sets = tuple(given.sets.split(","))
    plan = replace(QUICK_PLAN, sets=sets) if given.quick else Plan(sets, given.seeds, cycles=given.cycles)
    settings = Settings(str(camvid.resolve()), str(given.cache.resolve()), steps=given.steps)
    if given.quick:
        settings = replace(settings, sizes=QUICK_SIZES, start_steps=8, start_batch=4, steps=12, batch=4)
    begun = time.monotonic()
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        try:
            points, known = run(plan, settings, pool.submit, given.processes)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for name in plan.sets:
        curves.show(name, [p for p in points if p.data_set == name], known[name], plan.sizes(), settings)
    report.say(f"{(time.monotonic() - begun) / 60:.1f} minutes for what was not kept from an earlier run")
    return 0


# ------------------------------------------------------------------------------------------------ the order of work

Submit = Callable[..., Future]


def run(plan: Plan, settings: Settings, submit: Submit, processes: int) -> tuple[list[Point], dict[str, Any]]:
    """Perform every training of a plan. Returns all points, and the facts of every data set. Each training begins as
    soon as the one before it has finished; every result is kept by its job."""
    # The scenes are drawn first, each data set in one process, so that no two processes draw the same ones.
    asked = {name: submit(facts, name, settings) for name in plan.sets}
    told = {name: future.result() for name, future in asked.items()}
    for future in [submit(begin, name, settings) for name in plan.sets]:
        future.result()
    progress = Progress(plan, processes)
    points: list[Point] = []
    open_: dict[Future, tuple[Point, Job]] = {}

    def add(point: Point, labelled: list[str], before: Job | None = None) -> None:
        job = job_of(point, labelled, plan, before)
        done = cached(job, settings)
        if done:
            progress.total -= 1
            finish(point, job, done)
        else:
            open_[submit(perform, job, settings)] = (point, job)

    def finish(point: Point, job: Job, result: Result) -> None:
        points.append(replace(point, result=result, labelled=job.labelled))
        pool = told[point.data_set]["pool"]
        look = partial(Views.load, Path(settings.cache) / result.views) if result.views else lambda: None
        for next_ in successors(point, plan):
            views = None if next_.strategy == "random" else look()
            more = choose(next_.strategy, views, pool, job.labelled, plan.step, point.seed)
            add(next_, [*job.labelled, *more], job)

    for name in plan.sets:
        add(Point(name, curves.NONE, 0, plan.cycles), [])
        add(Point(name, curves.ALL, 0, plan.cycles), list(told[name]["pool"]))
    for seed in range(plan.seeds):
        for name in plan.sets:
            add(Point(name, curves.START, seed, 0), chance(told[name]["pool"], seed)[: plan.first])
    while open_:
        for future in wait(open_, return_when=FIRST_COMPLETED).done:
            point, job = open_.pop(future)
            result = future.result()
            progress(point, result, len(job.labelled))
            finish(point, job, result)
    return points, told


def job_of(point: Point, labelled: list[str], plan: Plan, before: Job | None) -> Job:
    """Return the training of a point. All strategies of a seed see the same crops and noise in a cycle, as far as their
    frames are the same. The pool is looked at if a choice follows. The training on all labels at once takes as many
    steps as a whole curve."""
    follows = point.cycle < plan.cycles
    times = plan.cycles + 1 if point.strategy == curves.ALL else 1
    seed = 1000 * point.seed + point.cycle
    return Job(point.data_set, tuple(labelled), seed, follows and point.strategy != "random", before, follows, times)


def successors(point: Point, plan: Plan) -> list[Point]:
    """Return the points that can begin once this one has finished."""
    if point.cycle >= plan.cycles:
        return []
    next_ = replace(point, cycle=point.cycle + 1)
    return [replace(next_, strategy=s) for s in STRATEGIES] if point.strategy == curves.START else [next_]


class Progress:
    """Prints each finished training and the time that is left, to stderr."""

    def __init__(self, plan: Plan, processes: int):
        each = 1 + len(STRATEGIES) * plan.cycles
        self.total, self.done, self.processes = len(plan.sets) * (2 + plan.seeds * each), 0, processes
        self.begun = time.monotonic()

    def __call__(self, point: Point, result: Result, labelled: int) -> None:
        self.done += 1
        left = (self.total - self.done) * (time.monotonic() - self.begun) / self.done / 60
        print(
            f"{self.done}/{self.total}  {point.data_set} {point.strategy} seed {point.seed}, {labelled} frames: "
            f"mAP {result.mean:.3f}, {result.seconds:.0f} s; {left:.0f} min left",
            file=sys.stderr,
            flush=True,
        )
