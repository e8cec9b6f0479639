"""The loop of the trainings of genie, grouping and video: steps, moving average, checkpoint, time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """Every choice of a training run; change one with --set NAME=VALUE."""

    steps: int = 5000  # optimiser steps
    batch: int = 128  # pictures per step
    rate: float = 1e-3  # AdamW's greatest rate: up to it over `warm`, then down along a cosine
    warm: float = 0.05  # share of the steps
    decay: float = 0.01
    average: float = 0.999  # decay per step of the weights' moving average, lower at the beginning
    drop: float = 0.1  # share of labels replaced by the null label
    bf16: int = 0  # 1 for a forward pass in bf16


class Run:
    """A training under way.

    trained: the part of the network that learns. loss: step -> loss of that step. It must draw its random numbers from
    the step's number, so that a run that was stopped goes on as if it had not been.
    """

    def __init__(self, trained: nn.Module, loss: Callable[[int], Tensor], recipe: Recipe, seed: int):
        self.trained, self.loss, self.recipe, self.seed, self.step = trained, loss, recipe, seed, 0
        self.average = {name: value.detach().clone() for name, value in trained.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            trained.parameters(), recipe.rate, betas=(0.9, 0.99), weight_decay=recipe.decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            recipe.rate,
            total_steps=recipe.steps + 1,
            pct_start=recipe.warm,
            div_factor=20,
            final_div_factor=20,
            cycle_momentum=False,
        )

    def go(self, after: Callable[[Run, float], None] | None = None, until: int | None = None) -> None:
        """Take the remaining steps, or those before `until`. After the last step the network gets the averaged weights.

        after: called after each step with its loss; None for no call. until: None for all steps.
        """
        last = self.recipe.steps if until is None else min(until, self.recipe.steps)
        self.trained.train()
        while self.step < last:
            loss = self.loss(self.step)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
            self.optimiser.step()
            self.schedule.step()
            self.step += 1
            self.follow()
            if after:
                after(self, float(loss.detach()))
        self.trained.eval()
        if self.step == self.recipe.steps:
            self.trained.load_state_dict(self.average)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the averaged weights towards the present ones, by `Recipe.average`."""
        keep = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        for name, value in self.trained.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - keep)

    def state(self) -> dict[str, object]:
        """Return the checkpoint: everything that `resume` needs."""
        return {
            "trained": self.trained.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
        }

    def keep(self, path: Path) -> None:
        """Write a checkpoint, which replaces the file at once."""
        part = path.with_suffix(".new")
        torch.save(self.state(), part)
        part.replace(path)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint. Raises SystemExit where the checkpoint is of another recipe or seed."""
        stored = torch.load(path, weights_only=True)
        if stored["recipe"] != asdict(self.recipe) or stored["seed"] != self.seed:
            raise SystemExit(f"{path.name} is of another recipe or seed; remove it to start anew")
        self.trained.load_state_dict(stored["trained"])
        self.average = stored["average"]
        self.optimiser.load_state_dict(stored["optimiser"])
        self.schedule.load_state_dict(stored["schedule"])
        self.step = stored["step"]


class Progress:
    """Prints the loss and the remaining time every `shown` steps, and writes the checkpoint every `every` steps."""

    def __init__(self, checkpoint: Path, first: int, shown: int = 50, every: int = 250):
        self.checkpoint, self.first, self.shown, self.every = checkpoint, first, shown, every
        self.start, self.sum, self.count = time.monotonic(), 0.0, 0

    def __call__(self, run: Run, loss: float) -> None:
        self.sum, self.count = self.sum + loss, self.count + 1
        if run.step % self.shown == 0 or run.step == run.recipe.steps:
            spent = time.monotonic() - self.start
            left = spent / (run.step - self.first) * (run.recipe.steps - run.step)
            print(
                f"step {run.step}/{run.recipe.steps}  loss {self.sum / self.count:.4f}  "
                f"{spent / 60:.1f} min, {left / 60:.1f} left",
                flush=True,
            )
            self.sum, self.count = 0.0, 0
        if run.step % self.every == 0 and run.step < run.recipe.steps:
            run.keep(self.checkpoint)


def generator(seed: int, step: int) -> torch.Generator:
    """Return the generator of random numbers for one step of one training."""
    mixed = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
