"""Distils the curvature of a trained score network into its head: GENIE's training.

    python -m export.genie.train_head --model digits --data ../shared/data/generation/mnist.npz \\
        --score digits_score.pt --out weights/digits.pt

The target is the exact derivative of eps along the trajectory, d eps / d gamma: one forward-mode product of the whole
network's Jacobian with the direction in which x_t and t move together. The head is given the predicted eps, as by the
solver, not the true noise. Derivatives are float32, because in bf16 the derivative by t is mostly noise. They are nine
tenths of the work, so they are computed once, for `targets` noised pictures, from which the steps then draw.

`--score` takes a diffusers folder as well (`--model folder --data PICTURES`). The score network is not changed.
Source: Dockhorn, Vahdat, Kreis, NeurIPS 2022, section 3.1; reference formulas F5 and F8.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from export.genie import diffusers_folder, train_score
from export.genie.data import Pictures, batch, folder
from export.genie.files import load, save
from export.genie.network import ScoreNetwork, mixed, with_head
from export.genie.process import alpha, gamma, over, sigma, time_slope
from export.training.loop import Progress, Recipe, Run, generator
from export.training.options import changed, options

AT_ONCE = 64  # pictures whose derivatives are computed at a time
# Offsets of the steps' numbers: batches and judging draw other random numbers than the making of targets.
DRAWN_FROM, JUDGED_FROM = 500_000_000, 1_000_000_000


@dataclass(frozen=True)
class HeadRecipe(Recipe):
    """Every choice of a distillation. bf16 is for the head alone, never for the derivative."""

    steps: int = 6000
    batch: int = 128
    rate: float = 3e-3
    average: float = 0.995
    bf16: int = 1
    targets: int = 32768  # noised pictures; each is drawn about steps * batch / targets times
    width: int = 32  # channels of the head
    blocks: int = 1  # residual blocks


RECIPES = {"digits": HeadRecipe(), "streets": HeadRecipe(steps=4000, targets=16384), "folder": HeadRecipe()}

Score = Callable[[Tensor, Tensor], Tensor]


def derivative(score: Score, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return eps and its exact derivative d eps / d gamma along the trajectory.

    score: x [B, C, H, W], t [B] -> eps, which may be guided: (1 + w) eps_c - w eps_u. Along the trajectory
    d x_t / d gamma = eps / sqrt(1 + gamma^2) - x_t gamma / (1 + gamma^2).
    Source: reference formula F5.
    """
    eps = score(x, t)
    return eps, along(score, x, t, eps)


def along(score: Score, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Return the derivative of `derivative`, given eps = score(x, t)."""
    a, s = over(alpha(t)), over(sigma(t))
    # torch 2.13 refuses expanded tensors here, such as one t for all images.
    point = x.contiguous(), t.contiguous()
    return torch.func.jvp(score, point, (a * eps - a * s * x, time_slope(point[1])))[1]


@torch.no_grad()
def target(network: ScoreNetwork, x: Tensor, t: Tensor, labels: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return the head's inputs (x, eps, features, embedding, t) and its target, without gradients."""
    eps, features, embedding = network.parts(x, t, labels)
    return (x, eps, features, embedding, t), along(lambda x, t: network(x, t, labels), x, t, eps)


def noised(
    pictures: Pictures, recipe: HeadRecipe, null: int | None, random: torch.Generator, count: int = 0
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Draw noised pictures as the solver meets them: x_t, t and labels. count: 0 for the recipe's batch."""
    count = count or recipe.batch
    images, labels = batch(pictures, count, null, recipe.drop, random)
    t = train_score.moments(count, random)
    x = over(alpha(t)) * images + over(sigma(t)) * torch.randn(images.shape, generator=random)
    return x, t, labels


@dataclass(frozen=True)
class Targets:
    """The head's inputs and targets for many noised pictures. Features and embedding are float16.

    A grey picture of 32 x 32 takes about 28 kB, a coloured picture 60 kB.
    """

    given: tuple[Tensor, ...]
    wanted: Tensor

    @classmethod
    def make(cls, network: ScoreNetwork, pictures: Pictures, recipe: HeadRecipe, seed: int) -> Targets:
        """Compute `recipe.targets` of them. The seed alone decides which."""
        rows: list[list[Tensor]] = []
        made, start = 0, time.monotonic()
        while made < recipe.targets:
            count = min(AT_ONCE, recipe.targets - made)
            x, t, labels = noised(pictures, recipe, network.design.null, generator(seed, len(rows)), count)
            (x, eps, features, embedding, t), wanted = target(network, x, t, labels)
            rows.append([x, eps, features.half(), embedding.half(), t, wanted])
            made += count
            if len(rows) % 32 == 0:
                left = (time.monotonic() - start) / made * (recipe.targets - made) / 60
                print(f"targets {made}/{recipe.targets}  {left:.1f} min left", flush=True)
        *given, wanted = (torch.cat(column) for column in zip(*rows, strict=True))
        return cls(tuple(given), wanted)

    def some(self, count: int, random: torch.Generator) -> tuple[list[Tensor], Tensor]:
        """Draw `count` of them with replacement, as float32: the inputs, and the targets."""
        chosen = torch.randint(len(self.wanted), (count,), generator=random)
        return [tensor[chosen].float() for tensor in self.given], self.wanted[chosen]


def losses(network: ScoreNetwork, pictures: Pictures, recipe: HeadRecipe, seed: int) -> Callable[[int], Tensor]:
    """Return the function step -> gamma^2 || head - derivative ||^2, mean over pixels and batch.

    Source: reference formula F8.
    """
    head = network.head
    if head is None:
        raise ValueError("expected a network with a curvature head; make one with `with_head`")
    targets = Targets.make(network, pictures, recipe, seed)

    def loss(step: int) -> Tensor:
        given, wanted = targets.some(recipe.batch, generator(seed, DRAWN_FROM + step))
        t = given[-1]
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(recipe.bf16)):
            k1, k2, k3 = head(*given)
        return (over(gamma(t)) * (mixed(k1.float(), k2.float(), k3.float(), t) - wanted)).square().mean()

    return loss


@torch.no_grad()
def judge(network: ScoreNetwork, pictures: Pictures, recipe: HeadRecipe, batches: int = 8) -> list[dict[str, float]]:
    """Measure the head's error by ranges of t, a row per range.

    A row holds the root mean square of gamma times the derivative, and the share of its square that the head misses: 0
    for an exact head, 1 for a head as good as none (DDIM).
    """
    edges = [0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
    missed, whole, count = torch.zeros(3, len(edges) - 1)
    for index in range(batches):
        random = generator(recipe.steps, JUDGED_FROM + index)
        x, t, labels = noised(pictures, recipe, network.design.null, random)
        given, wanted = target(network, x, t, labels)
        assert network.head is not None  # `losses` has asked
        k1, k2, k3 = network.head(*given)
        error = mixed(k1, k2, k3, t) - wanted
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


def pictures_of(model: str, data: Path | None, out: Path, seed: int, network: ScoreNetwork) -> Pictures:
    """Return the pictures of a shipped model, or for `folder` the user's own at the network's size.

    Raises ValueError where `data` is None and the model is read from files.
    """
    if model == "folder":
        if data is None:
            raise ValueError("pictures of your own are read from a folder; give it with --data")
        return folder(data, network.design.size, network.design.channels)
    return train_score.pictures_of(model, data, seed, out.with_suffix(".scenes.npz"))


def train(
    network: ScoreNetwork, pictures: Pictures, out: Path, seed: int, recipe: HeadRecipe, before: dict[str, Any]
) -> ScoreNetwork:
    """Train a new head for a score network, save both, record the head's error, and return the network with its head.

    before: the training record of the score network, empty where there is none.
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
            **asdict(recipe),
        },
        "reach": reach,
    }
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
    return network


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m export.genie.train_head",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", choices=sorted(RECIPES), required=True, help="folder: pictures and network of your own"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="mnist.npz, CamVid's folder, or a folder of pictures (default, for streets: generated scenes alone)",
    )
    parser.add_argument("--score", type=Path, required=True, help="weights of the score network, or a diffusers folder")
    parser.add_argument(
        "--prediction",
        default="",
        help="for a diffusers folder: epsilon or v_prediction (default: as its scheduler says)",
    )
    parser.add_argument("--null", type=int, help="for a diffusers folder: the label that stands for no class")
    parser.add_argument("--out", type=Path, required=True, help="weights to write")
    options(parser, HeadRecipe)
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    try:
        if given.score.is_dir():
            network = diffusers_folder.read(given.score, prediction=given.prediction, null=given.null)
        else:
            network = load(given.score)
        pictures = pictures_of(given.model, given.data, given.out, given.seed, network)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    record = given.score.with_suffix(".json")
    before = json.loads(record.read_text()) if record.is_file() else {}
    if "command" in before:
        before["command"] += " && " + shlex.join(["python", "-m", "export.genie.train_head", *arguments])
    train(network, pictures, given.out, given.seed, changed(RECIPES[given.model], given.set), before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
