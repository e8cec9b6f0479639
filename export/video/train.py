"""Trains the networks of `enhance` on pairs of a clean crop and the same crop as a codec shows it.

    python -m export.video.train --model artifact_remover_strong --data ../shared/data/camvid \\
        --judge ../shared/data/restoration --out weights/artifact_remover_strong.pt

Removers learn by L1 and MS-SSIM, each residual block supervised by a branch of its own. Networks that enlarge learn by
L1, and by choice (`--set`) by features of the shipped extractor, an adversary, and sharpened targets. `--start` begins
with other weights, in their design, such as a remover of weak damage with those for strong damage. `--judge` names the
folder of LIVE1 and Set5, which no network is trained on; their scores go into the record beside the weights. Without
`--data` all clean frames are generated, scenes and dead leaves, so that the weights are free for any use.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.training import CAMVID_USE, camvid, loop, records
from export.training.loop import Progress, Run
from export.training.options import changed, options
from export.video import judge
from export.video.data import Damage, Pairs, clean, clips
from export.video.losses import Critic, adversarial, decibels, deep, features_differ, sharpened
from export.video.network import PRESETS, Design, Enhancer, Served, load, save
from export.video.usnet import USNet


@dataclass(frozen=True)
class Recipe(loop.Recipe):
    """Every choice of a training run; change one with --set NAME=VALUE."""

    steps: int = 3000
    batch: int = 16
    rate: float = 1e-3
    average: float = 0.998
    bf16: int = 1
    side: int = 64  # of a crop that the network is given, pixels
    clips: int = 200  # clips of video to code
    scenes: int = 100  # generated scenes among the clean frames
    leaves: int = 0  # pictures of dead leaves among them
    deep: float = 0.05  # weight of each branch's loss; 0 trains without branches
    structure: float = 0.03  # weight of MS-SSIM
    decibels: float = 0.0  # weight of PSNR, per dB
    feature: float = 0.0  # weight of the features' difference
    adversary: float = 0.0  # weight of the critic's verdict
    sharpen: float = 0.0  # amount of unsharp masking of the ground truth


@dataclass(frozen=True)
class Task:
    """The training of a shipped network: design, damage, recipe."""

    design: Design
    damage: Damage
    recipe: Recipe


# A tenth of the crops is clean, so that clean pictures stay as they are.
STRONG = Damage(jpeg=(8, 28), crf=(28, 44), bits=(0.01, 0.06), coded=0.9, video=0.6)
WEAK = Damage(jpeg=(28, 65), crf=(16, 42), bits=(0.015, 0.3), coded=0.9, video=0.75)
READ = "CamVid, drives 0016E5 and 0001TP but for held-out stretches (213 of 266 frames), drive 0006R0 unseen"
JUDGED = 1_000_000  # seed of the clips to judge on; no training takes this seed
_UPSCALER = Recipe(side=48, batch=32, structure=0.0, steps=20000, rate=2e-3, leaves=60)
_REMOVER = Recipe(steps=20000, rate=1.5e-3, clips=400, leaves=100)
TASKS = {
    "artifact_remover_strong": Task(PRESETS["usnet_small"], STRONG, _REMOVER),
    "artifact_remover_weak": Task(PRESETS["usnet_small"], WEAK, replace(_REMOVER, steps=6000, rate=8e-4)),
    "frame_upscaler_clean": Task(PRESETS["rrrdb_small"], Damage(coded=0.0, scale=2, zoom=3.0, zoomed=0.75), _UPSCALER),
    "frame_upscaler_lossy": Task(
        PRESETS["rrrdb_small"],
        Damage(jpeg=(40, 95), crf=(18, 32), bits=(0.15, 0.8), coded=0.9, video=0.6, scale=2, zoom=3.0, zoomed=0.75),
        replace(_UPSCALER, steps=6000, rate=6e-4),
    ),
}


class Learner(nn.Module):
    """The trained module: the network, and the critic if an adversary is asked for."""

    def __init__(self, network: nn.Module, adversary: bool):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits this form
        self.critic = Critic() if adversary else None


def losses(learner: Learner, pairs: Pairs, recipe: Recipe, extractor: nn.Module | None) -> Callable[[int], Tensor]:
    """Return the function step -> the loss of that step. extractor: None for no loss by features."""

    def loss(step: int) -> Tensor:
        given, wanted = pairs.batch(step, recipe.batch)
        if recipe.sharpen:
            wanted = sharpened(wanted, recipe.sharpen)
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(recipe.bf16)):
            found = learner.network(given.to(memory_format=torch.channels_last))
        pictures = [picture.float() for picture in (found if isinstance(found, list) else [found])]
        found = pictures[-1]
        total = deep(pictures, wanted, recipe.deep, recipe.structure)
        if recipe.decibels:
            total = total + recipe.decibels * decibels(found, wanted)
        if recipe.feature and extractor is not None:
            total = total + recipe.feature * features_differ(extractor, found, wanted)
        if learner.critic is not None:
            fooled, told = adversarial(learner.critic, found, wanted)
            total = total + recipe.adversary * fooled + told
        return total

    return loss


class Features(nn.Module):
    """The shipped extractor's map at a quarter of the size: RGB [B, 3, H, W] 0..1 -> [B, C, H/4, W/4]."""

    def __init__(self, weights: Path):
        super().__init__()
        from export.matching.network import load as load_extractor

        self.detector = load_extractor(weights).detector.requires_grad_(False)

    def forward(self, rgb: Tensor) -> Tensor:
        return self.detector((rgb * 255 - 114) / 64)


def reach(enhancer: Enhancer, damage: Damage, judged: Path, data: Path | None) -> list[dict[str, Any]]:
    """Return the rows of the record: PSNR of the luma on LIVE1 or Set5, and on coded clips of CamVid's held-out frames.

    judged: folder of live1 and set5. data: CamVid's folder; None leaves the clips out.
    """
    enhance = judge.enhancing(Served(enhancer))
    if enhancer.scale == 2:
        rows = [judge.enlarging(enhance, judged / "set5", quality) for quality in (0, 90, 70, 40)]
    else:
        rows = [
            judge.deblocking(enhance, judged / "live1", quality, colour)
            for colour in (False, True)
            for quality in (10, 20, 30, 40)
        ]
    if data is None:
        return rows
    held_out = camvid.split(camvid.read(data, camvid.TRAINING_DRIVES))[1]
    kinds = {"weak": WEAK, "strong": STRONG}
    for name, coding in kinds.items():
        coded = clips([frame.image for frame in held_out], 6, replace(coding, scale=damage.scale), JUDGED)
        rows.append(judge.of_clips(enhance, coded, f"CamVid held out, whole groups of video, {name} damage"))
    return rows


def train(
    task: Task, data: Path | None, out: Path, seed: int, start: Path | None, judged: Path | None, command: str = ""
) -> Enhancer:
    """Train, save the weights, write the record beside them, and return the network.

    data: CamVid's folder; None to train on generated pictures alone. start: weights to begin with, None to begin at
    random. judged: folder of live1 and set5, None not to judge. command: the command line, for the record; the commands
    of the start go before it. Raises ValueError where `data` is None and other weights that saw more have a part.
    """
    recipe = task.recipe
    if data is None:
        records.check_free(start)
        if recipe.feature:
            raise ValueError("the extractor of the loss by features saw photographs; without --data leave feature at 0")
    before = records.read(start)
    torch.manual_seed(seed)
    begun = Enhancer(task.design, task.design.build()) if start is None else load(start)
    network = begun.network
    if isinstance(network, USNet) and not recipe.deep:
        del network.branches[:]
    images = clean(data, recipe.scenes, out.with_suffix(".scenes.npz"), recipe.leaves, seed)
    pairs = Pairs(images, task.damage, recipe.side, recipe.clips, seed)
    learner = Learner(network, recipe.adversary > 0)
    extractor = Features(Path("weights/feature_extractor.pt")) if recipe.feature else None
    run = Run(learner, losses(learner, pairs, recipe, extractor), recipe, seed)
    checkpoint = out.with_suffix(".checkpoint")
    if checkpoint.exists():
        run.resume(checkpoint)
    run.go(Progress(checkpoint, run.step))
    enhancer = Enhancer(begun.design, network.eval())
    save(enhancer, out)
    facts: dict[str, Any] = {
        "data": f"{f'{READ}; ' if data else ''}{recipe.scenes} generated scenes (scenes); {recipe.leaves} generated "
        "pictures of dead leaves. LIVE1, Set5 and park_joy are unseen",
        "licence": records.licence(data is None, CAMVID_USE),
        "parameters": sum(p.numel() for name, p in network.named_parameters() if not name.startswith("branches.")),
        "damage": asdict(task.damage),
        "recipe": {"seed": seed, **({"start": start.name} if start else {}), **asdict(recipe)},
    }
    if before:
        facts["before"] = {key: before[key] for key in ("data", "damage", "recipe", "before") if key in before}
        command = " && ".join(one for one in (before.get("command", ""), command) if one)
    if command:
        facts["command"] = command
    if judged is not None:
        facts["reach"] = reach(load(out), task.damage, judged, data)
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
    return enhancer


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m export.video.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", choices=sorted(TASKS), required=True, help="the network to train")
    parser.add_argument("--data", type=Path, help="CamVid's folder (default: generated pictures alone)")
    parser.add_argument("--out", type=Path, required=True, help="weights to write")
    parser.add_argument("--start", type=Path, help="weights to begin with (default: at random)")
    parser.add_argument("--judge", type=Path, help="folder of live1 and set5 (default: not judged)")
    options(parser, Recipe)
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    task = TASKS[given.model]
    task = replace(task, recipe=changed(task.recipe, given.set))
    command = shlex.join(["python", "-m", "export.video.train", *arguments])
    try:
        train(task, given.data, given.out, given.seed, given.start, given.judge, command)
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
