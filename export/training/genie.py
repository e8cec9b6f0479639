"""Distils the curvature of a trained score network into its head: GENIE's training.

    python -m export.training.genie --model digits --data ../shared/data/generation/mnist.npz \\
        --score digits_score.pt --out weights/digits.pt

The target is the exact derivative of eps along the trajectory, d eps / d gamma: one forward-mode product of the whole
network's Jacobian with the direction in which x_t and t move together. The head is given the predicted eps, which is
what it is given by the solver, not the true noise. Everything is float32: in bf16 the derivative by t is mostly noise.

`--score` takes a diffusers folder as well (`--model folder --data PICTURES`); the score network stays as it is.
Source: Dockhorn, Vahdat, Kreis, NeurIPS 2022, section 3.1; reference formulas F5 and F8.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from export.networks import genie_folder
from export.networks.genie import (
    ScoreNetwork,
    alpha,
    gamma,
    load,
    mixed,
    over,
    save,
    sigma,
    time_slope,
    with_head,
)
from export.training import genie_data, genie_score
from export.training.genie_data import Pictures, generator
from export.training.genie_run import Progress, Recipe, Run
from export.training.recipe import changed, options

MODELS = (*sorted(genie_score.RECIPES), "folder")
JUDGED_FROM = 1_000_000_000  # steps whose random numbers no training sees


@dataclass(frozen=True)
class HeadRecipe(Recipe):
    """Choices of a distillation; the derivative is never computed in bf16."""

    steps: int = 1000
    batch: int = 64
    rate: float = 1e-3
    average: float = 0.99
    width: int = 32  # channels of the head
    blocks: int = 1  # residual blocks


Score = Callable[[Tensor, Tensor], Tensor]


def derivative(score: Score, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """eps and d eps / d gamma along the trajectory, exactly.

    score: x [B, C, H, W], t [B] -> eps; a guided eps, (1 + w) eps_c - w eps_u, is one as well. Along the trajectory
    d x_t / d gamma = eps / sqrt(1 + gamma^2) - x_t gamma / (1 + gamma^2).
    Source: reference formula F5.
    """
    eps = score(x, t)
    return eps, along(score, x, t, eps)


def along(score: Score, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """The derivative where eps = score(x, t) is known already."""
    a, s = over(alpha(t)), over(sigma(t))
    # An expanded tensor, one t for all images say, cannot be a point of the product (torch 2.13).
    point = x.contiguous(), t.contiguous()
    _, found = torch.func.jvp(score, point, (a * eps - a * s * x, time_slope(point[1])))
    return found


@torch.no_grad()
def target(network: ScoreNetwork, x: Tensor, t: Tensor, labels: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
    """What the head is given (x, eps, features, embedding, t), and what it should say; without gradients."""
    eps, features, embedding = network.parts(x, t, labels)
    return (x, eps, features, embedding, t), along(lambda x, t: network(x, t, labels), x, t, eps)


def noised(pictures: Pictures, recipe: Recipe, null: int | None, random: torch.Generator):
    """A batch as the solver meets it: x_t, t and labels."""
    images, labels = genie_data.batch(pictures, recipe.batch, null, recipe.drop, random)
    t = genie_score.moments(recipe.batch, random)
    x = over(alpha(t)) * images + over(sigma(t)) * torch.randn(images.shape, generator=random)
    return x, t, labels


def losses(network: ScoreNetwork, pictures: Pictures, recipe: Recipe, seed: int) -> Callable[[int], Tensor]:
    """step -> gamma^2 || head - derivative ||^2, mean over pixels and batch. Source: reference formula F8."""
    head = network.head
    if head is None:
        raise ValueError("expected a network with a curvature head; make one with `with_head`")

    def loss(step: int) -> Tensor:
        x, t, labels = noised(pictures, recipe, network.design.null, generator(seed, step))
        given, wanted = target(network, x, t, labels)
        return (over(gamma(t)) * (mixed(*head(*given), t) - wanted)).square().mean()

    return loss


@torch.no_grad()
def judge(network: ScoreNetwork, pictures: Pictures, recipe: Recipe, batches: int = 8) -> list[dict[str, float]]:
    """How near the head comes, by ranges of t: root mean square of gamma times the derivative, and the share of its
    square that the head misses: 0 exact, 1 as good as no head (DDIM)."""
    edges = [0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
    missed, whole, count = torch.zeros(3, len(edges) - 1)
    for index in range(batches):
        random = generator(recipe.steps, JUDGED_FROM + index)
        x, t, labels = noised(pictures, recipe, network.design.null, random)
        given, wanted = target(network, x, t, labels)
        assert network.head is not None  # `losses` has asked
        error = mixed(*network.head(*given), t) - wanted
        cell = torch.bucketize(t, torch.tensor(edges[1:-1]), right=True)
        missed.index_add_(0, cell, (over(gamma(t)) * error).square().flatten(1).sum(1))
        whole.index_add_(0, cell, (over(gamma(t)) * wanted).square().flatten(1).sum(1))
        count.index_add_(0, cell, torch.full_like(t, float(wanted[0].numel())))
    return [
        {
            "from t": edges[i],
            "to t": edges[i + 1],
            "gamma d eps/d gamma, rms": round(float(whole[i] / count[i]) ** 0.5, 4),
            "missed": round(float(missed[i] / whole[i]), 4),
        }
        for i in range(len(edges) - 1)
    ]


def pictures_of(model: str, data: Path, out: Path, seed: int, network: ScoreNetwork) -> Pictures:
    if model == "folder":
        return genie_data.folder(data, network.design.size, network.design.channels)
    return genie_score.pictures_of(model, data, seed, out.with_suffix(".scenes.npz"))


def train(
    network: ScoreNetwork, pictures: Pictures, out: Path, seed: int, recipe: HeadRecipe, before: dict[str, Any]
) -> ScoreNetwork:
    """Train a new head for a score network, save both, and say how near it comes. Returns the network with its head.

    before: what the training of the score network recorded.
    """
    torch.manual_seed(seed)
    network = with_head(network, recipe.width, recipe.blocks)
    network.unet.requires_grad_(False)
    assert network.head is not None
    run = Run(network.head, losses(network, pictures, recipe, seed), recipe, seed)
    checkpoint = out.with_suffix(".checkpoint")
    if checkpoint.exists():
        run.resume(checkpoint)
    run.go(Progress(checkpoint, run.step))
    save(network, out)
    reach = judge(network, pictures, recipe)
    for row in reach:
        print(row, flush=True)
    facts = {
        **before,
        "parameters": sum(p.numel() for p in network.parameters()),
        "head": {
            "parameters": sum(p.numel() for p in network.head.parameters()),
            "seed": seed,
            "pictures": recipe.steps * recipe.batch,
            **asdict(recipe),
        },
        "reach": reach,
    }
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
    return network


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export.training.genie",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", choices=MODELS, required=True, help="folder: a user's own pictures")
    parser.add_argument("--data", type=Path, required=True, help="mnist.npz, CamVid's folder, or a folder of pictures")
    parser.add_argument("--score", type=Path, required=True, help="weights of the score network, or a diffusers folder")
    parser.add_argument("--prediction", default="", help="of a folder's network: epsilon or v_prediction")
    parser.add_argument("--null", type=int, help="of a folder's network: the label that stands for no class")
    parser.add_argument("--out", type=Path, required=True, help="weights to write")
    options(parser, HeadRecipe)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    try:
        if given.score.is_dir():
            network = genie_folder.read(given.score, prediction=given.prediction, null=given.null)
        else:
            network = load(given.score)
        pictures = pictures_of(given.model, given.data, given.out, given.seed, network)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    record = given.score.with_suffix(".json")
    before = json.loads(record.read_text()) if record.is_file() else {}
    train(network, pictures, given.out, given.seed, changed(HeadRecipe(), given.set), before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
