"""Makes a trained network of `enhance` smaller, a round at a time, for as long as its pictures stay sharp.

    python -m export.video.prune --model frame_upscaler_clean --weights weights/frame_upscaler_clean.pt \\
        --data ../shared/data/camvid --out small.pt

A round measures what every channel contributes, removes those that contribute least, and trains the rest again. The
rounds end when the sharpness on held-out frames falls below `--threshold` of what it was. The last network above it is
kept, and beside it, in small.json, the table of size against quality.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.training import camvid
from export.training.loop import Run
from export.training.options import changed, options
from export.video import channels
from export.video import network as video
from export.video.data import Pairs, clean
from export.video.losses import luma
from export.video.network import Enhancer
from export.video.train import TASKS, Learner, Recipe, losses

RECIPE = Recipe(steps=300, rate=3e-4)
MEASURED, JUDGED = 16, 24  # batches that contributions are measured on; batches of held-out crops


def sharpness(found: Tensor, wanted: Tensor) -> float:
    """How much of the true picture's detail there is: slope of the luma along that of the true one; 1: all of it.

    Regression of differences between neighbours on the true ones, so that noise, which follows nothing, does not count.
    found, wanted: RGB [B, 3, H, W] 0..1.
    """
    across = [luma(x).diff(dim=3) for x in (found, wanted)]
    down = [luma(x).diff(dim=2) for x in (found, wanted)]
    shared = sum((a * b).sum() for a, b in (across, down))
    return float(shared / sum(b.square().sum() for _, b in (across, down)))


@torch.no_grad()
def quality(enhancer: Enhancer, pairs: Pairs, batch: int) -> dict[str, float]:
    """PSNR of RGB, decibels, and sharpness, over the same crops each time."""
    errors, sharp = [], []
    for step in range(JUDGED):
        given, wanted = pairs.batch(step, batch)
        found = enhancer.network.eval()(given).clamp(0, 1)
        errors.append(float((found - wanted).square().mean()))
        sharp.append(sharpness(found, wanted))
    return {"PSNR, dB": float(-10 * np.log10(np.mean(errors))), "sharpness": float(np.mean(sharp))}


def retrained(enhancer: Enhancer, pairs: Pairs, recipe: Recipe, seed: int) -> Enhancer:
    """The same design after the recipe's steps."""
    torch.manual_seed(seed)
    learner = Learner(enhancer.network, adversary=False)
    Run(learner, losses(learner, pairs, recipe, None), recipe, seed).go()
    return Enhancer(enhancer.design, learner.network.eval())


def prune(
    enhancer: Enhancer, pairs: Pairs, held_out: Pairs, recipe: Recipe, share: float, rounds: int, threshold: float
) -> tuple[Enhancer, list[dict[str, Any]]]:
    """The smallest network that is sharp enough, and a row of the table for each round, the first and the failed too.

    share: of the channels that go in a round; threshold: of the first network's sharpness.
    """

    def row(number: int, candidate: Enhancer) -> dict[str, Any]:
        parameters, work = channels.cost(candidate)
        found = {name: round(value, 4) for name, value in quality(candidate, held_out, recipe.batch).items()}
        return {"round": number, "parameters": parameters, "multiply-adds a pixel": round(work), **found}

    table = [row(0, enhancer)]
    for number in range(1, rounds + 1):
        network = enhancer.network.train()
        loss = losses(Learner(network, adversary=False), pairs, replace(recipe, bf16=0), None)
        found = channels.contributions(network, loss, MEASURED)
        smaller = channels.pruned(enhancer, channels.least(found, share))
        smaller = retrained(smaller, pairs, recipe, number)
        table.append(row(number, smaller))
        print(" ".join(f"{key} {value}" for key, value in table[-1].items()), flush=True)
        if table[-1]["sharpness"] < threshold * table[0]["sharpness"]:
            break
        enhancer = smaller
    return enhancer, table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export.video.prune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", choices=sorted(TASKS), required=True, help="what it was trained for")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="CamVid's folder")
    parser.add_argument("--out", type=Path, required=True, help="weights to write")
    parser.add_argument("--share", type=float, default=0.15, help="of the channels that go in a round (0.15)")
    parser.add_argument("--rounds", type=int, default=8, help="at most (8)")
    parser.add_argument("--threshold", type=float, default=0.98, help="of the first network's sharpness (0.98)")
    options(parser, Recipe)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    task = TASKS[given.model]
    same = {name: getattr(task.recipe, name) for name in ("side", "structure", "leaves")}
    recipe = changed(replace(RECIPE, **same), given.set)
    images = clean(given.data, recipe.scenes, given.out.with_suffix(".scenes.npz"), recipe.leaves, given.seed)
    unseen = [frame.image for frame in camvid.split(camvid.read(given.data, camvid.TRAINING_DRIVES))[1]]
    enhancer, table = prune(
        video.load(given.weights),
        Pairs(images, task.damage, recipe.side, recipe.clips, given.seed),
        Pairs(unseen, task.damage, recipe.side, recipe.clips // 8, given.seed + 1),
        recipe,
        given.share,
        given.rounds,
        given.threshold,
    )
    video.save(enhancer, given.out)
    facts = {"pruning": table, "recipe": {"seed": given.seed, "share": given.share, **asdict(recipe)}}
    given.out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
