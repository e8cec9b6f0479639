"""Trains a score network: digits with their classes, or street crops.

    python -m export.genie.train_score --model digits --data ../shared/data/generation/mnist.npz --out digits.pt
    python -m export.genie.train_score --model streets --data ../shared/data/camvid --out streets.pt

Without `--data` the streets are crops of generated scenes alone, so that the weights are free for any use.

The network learns v = alpha eps - sigma x_0 by mean squared error, t uniform in [0.001, 1]. A step of 128 digits takes
about 0.43 s on one core (bf16). A run that was stopped goes on from its checkpoint (`OUT.checkpoint`) when started
again with the same arguments. The curvature head is trained afterwards, by `export.genie.train_head`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from export.genie.data import Pictures, batch, digits, streets
from export.genie.files import save
from export.genie.network import Design, ScoreNetwork, light
from export.genie.process import EARLIEST, alpha, over, sigma
from export.training import CAMVID_USE, GENERATED_LICENCE
from export.training.loop import Progress, Recipe, Run, generator
from export.training.options import changed, options

# On one core the digits take about 20 minutes, the streets 45.
RECIPES = {"digits": Recipe(steps=3500, bf16=1), "streets": Recipe(steps=5000, bf16=1)}
WIDTHS = {"digits": (32, 64, 96), "streets": (48, 96, 128)}
STREET_CROPS, STREET_SCENES = 40_000, 120
SCENES_ALONE = 400  # scenes, where nothing else is cut
FACTS = {
    "digits": ("MNIST, 60,000 training digits padded to 32 x 32", "MNIST's licence (MIT in the edition read here)"),
    "streets": (
        "CamVid, squares of the drives 0016E5 and 0001TP but for held-out stretches (213 of 266 frames) at 32 x 32, "
        "drive 0006R0 unseen; one in five from generated scenes (scenes)",
        CAMVID_USE,
    ),
}


def pictures_of(model: str, data: Path | None, seed: int, cache: Path) -> Pictures:
    """Return the pictures that a shipped model is trained on. cache: file that keeps generated scenes.

    data: MNIST's file or CamVid's folder; None for streets of generated scenes alone.
    Raises ValueError for digits without a file.
    """
    if model == "digits":
        if data is None:
            raise ValueError("digits are read from MNIST; give its file with --data")
        return digits(data)
    return streets(data, STREET_CROPS, STREET_SCENES if data else SCENES_ALONE, seed, cache)


def facts_of(model: str, data: Path | None) -> tuple[str, str]:
    """Return data and licence of a shipped model, in words. data: as for `pictures_of`."""
    alone = f"{SCENES_ALONE} generated scenes (scenes), squares of them at 32 x 32; no photograph", GENERATED_LICENCE
    return FACTS[model] if data else alone


def design_of(model: str, pictures: Pictures) -> Design:
    """Return the design of a shipped model for pictures of this size, these channels and classes."""
    return light(WIDTHS[model], pictures.channels, pictures.classes, size=pictures.images.shape[-1])


def moments(count: int, random: torch.Generator) -> Tensor:
    """Draw the times of a batch, [B] in [0.001, 1]: one per stretch of B equal stretches, which steadies the loss."""
    place = (torch.arange(count) + torch.rand(count, generator=random)) / count
    return EARLIEST + (1 - EARLIEST) * place[torch.randperm(count, generator=random)]


def losses(network: ScoreNetwork, pictures: Pictures, recipe: Recipe, seed: int) -> Callable[[int], Tensor]:
    """Return the function step -> mean squared error of v, or of eps for networks that predict eps."""

    def loss(step: int) -> Tensor:
        random = generator(seed, step)
        images, labels = batch(pictures, recipe.batch, network.design.null, recipe.drop, random)
        t = moments(recipe.batch, random)
        eps = torch.randn(images.shape, generator=random)
        a, s = over(alpha(t)), over(sigma(t))
        x = a * images + s * eps
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(recipe.bf16)):
            found, _, _ = network.parts(x, t, labels)
        error = (found.float() - eps).square().flatten(1).mean(1)
        if network.design.prediction == "v_prediction":
            error = error / a.flatten().square()  # eps = alpha v + sigma x: an error of v, alpha times as large in eps
        return error.mean()

    return loss


def train(model: str, data: Path | None, out: Path, seed: int, recipe: Recipe, command: str = "") -> None:
    """Train a shipped model, save the weights, and write the training record beside them. command: for the record."""
    pictures = pictures_of(model, data, seed, out.with_suffix(".scenes.npz"))
    torch.manual_seed(seed)
    network = ScoreNetwork(design_of(model, pictures))
    run = Run(network, losses(network, pictures, recipe, seed), recipe, seed)
    checkpoint = out.with_suffix(".checkpoint")
    if checkpoint.exists():
        run.resume(checkpoint)
    run.go(Progress(checkpoint, run.step))
    save(network, out)
    data_text, licence = facts_of(model, data)
    facts = {
        "data": data_text,
        "licence": licence,
        "parameters": sum(p.numel() for p in network.parameters()),
        "recipe": {"seed": seed, "pictures": recipe.steps * recipe.batch, **asdict(recipe)},
        **({"command": command} if command else {}),
    }
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m export.genie.train_score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", choices=sorted(RECIPES), required=True)
    parser.add_argument("--data", type=Path, help="digits: mnist.npz; streets: CamVid's folder, or none")
    parser.add_argument("--out", type=Path, required=True, help="weights to write")
    options(parser, Recipe)
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    command = shlex.join(["python", "-m", "export.genie.train_score", *arguments])
    try:
        train(given.model, given.data, given.out, given.seed, changed(RECIPES[given.model], given.set), command)
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
