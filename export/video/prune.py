"""Makes a trained network of `enhance` smaller in rounds, as long as its pictures stay sharp.

    python -m export.video.prune --model frame_upscaler_clean --weights weights/frame_upscaler_clean.pt \\
        --data ../shared/data/camvid --out small.pt

A round measures what every channel contributes, removes those that contribute least, and trains the rest again. Rounds
end when the sharpness on held-out frames falls below `--threshold` of the first network's. The last network above the
threshold is kept, and beside it, in small.json, the table of size against quality.
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
from export.video.data import Pairs, clean
from export.video.losses import luma
from export.video.network import Enhancer, load, save
from export.video.train import TASKS, Learner, Recipe, losses

RECIPE = Recipe(steps=300, rate=3e-4)
MEASURED, JUDGED = 16, 24  # batches that measure contributions; batches of held-out crops that judge a network


def sharpness(found: Tensor, wanted: Tensor) -> float:
    """Return how much of the true picture's detail there is; 1 means all of it.

    This is the slope in a regression of the differences between neighbouring lumas on the true differences, so that
    noise, which does not follow them, does not count. found, wanted: RGB [B, 3, H, W] 0..1.
    """
    across = [luma(x).diff(dim=3) for x in (found, wanted)]
    down = [luma(x).diff(dim=2) for x in (found, wanted)]
    shared = sum((a * b).sum() for a, b in (across, down))
    return float(shared / sum(b.square().sum() for _, b in (across, down)))


@torch.no_grad()
def quality(enhancer: Enhancer, pairs: Pairs, batch: int) -> dict[str, float]:
    """Return PSNR of RGB, decibels, and sharpness, over the same crops each time. batch: crops at a time."""
    errors, sharp = [], []
    for step in range(JUDGED):
        given, wanted = pairs.batch(step, batch)
        found = enhancer.network.eval()(given).clamp(0, 1)
        errors.append(float((found - wanted).square().mean()))
        sharp.append(sharpness(found, wanted))
    return {"PSNR, dB": float(-10 * np.log10(np.mean(errors))), "sharpness": float(np.mean(sharp))}


def retrained(enhancer: Enhancer, pairs: Pairs, recipe: Recipe, seed: int) -> Enhancer:
    """Train a network by the recipe's steps and return it in eval mode."""
    torch.manual_seed(seed)
    learner = Learner(enhancer.network, adversary=False)
    Run(learner, losses(learner, pairs, recipe, None), recipe, seed).go()
    return Enhancer(enhancer.design, learner.network.eval())


def prune(
    enhancer: Enhancer, pairs: Pairs, held_out: Pairs, recipe: Recipe, share: float, rounds: int, threshold: float
) -> tuple[Enhancer, list[dict[str, Any]]]:
    """Return the smallest network that is sharp enough, and the table: a row for the first network and for each round.

    share: of the channels that a round removes. threshold: share of the first network's sharpness. The round that
    failed has a row as well.
    """

    def row(number: int, candidate: Enhancer) -> dict[str, Any]:
        """Return the table's row of a network."""
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
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m export.video.prune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", choices=sorted(TASKS), required=True, help="the model that the network was trained for"
    )
    parser.add_argument("--weights", type=Path, required=True, help="the trained network")
    parser.add_argument("--data", type=Path, required=True, help="CamVid's folder")
    parser.add_argument("--out", type=Path, required=True, help="weights to write")
    parser.add_argument(
        "--share", type=float, default=0.15, help="share of the channels that a round removes (default %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=8, help="greatest number of rounds (default %(default)s)")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.98,
        help="share of the first network's sharpness to keep (default %(default)s)",
    )
    options(parser, Recipe)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    task = TASKS[given.model]
    same = {name: getattr(task.recipe, name) for name in ("side", "structure", "leaves")}
    recipe = changed(replace(RECIPE, **same), given.set)
    images = clean(given.data, recipe.scenes, given.out.with_suffix(".scenes.npz"), recipe.leaves, given.seed)
    unseen = [frame.image for frame in camvid.split(camvid.read(given.data, camvid.TRAINING_DRIVES))[1]]
    enhancer, table = prune(
        load(given.weights),
        Pairs(images, task.damage, recipe.side, recipe.clips, given.seed),
        Pairs(unseen, task.damage, recipe.side, recipe.clips // 8, given.seed + 1),
        recipe,
        given.share,
        given.rounds,
        given.threshold,
    )
    save(enhancer, given.out)
    facts = {"pruning": table, "recipe": {"seed": given.seed, "share": given.share, **asdict(recipe)}}
    given.out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
