"""Trains a mixture-density detector, `lite0` on the pretrained trunk or `small` without it.

    python -m export.mixtures.train --data DIR --out weights/mixture_detector.pt --set trunk=lite0

Data: boxes of CamVid's components (Car, Pedestrian, Bicyclist, SignSymbol) in the drives 0016E5 and 0001TP without the
held-out stretches (`camvid.HELD_OUT`), and generated street scenes. Drive 0006R0 is read only to judge the weights at
the end. The backbone begins with the feature extractor's weights, which come from the same frames; a trunk stays as it
is there. Without `--data`
every crop is of generated scenes, so that the weights are free for any use.

The loss is the paper's. --set loss=patent takes that of US 12,387,481 (paragraphs 70 to 78), --set 'epsilon=exp(-9)'
the other reading of its 'e^-9'. The choice is stored with the weights, because it tells how to read their heads.

A step of 16 crops takes about 0.7 s of one core (bf16). A run that was stopped goes on from its checkpoint
(`OUT.checkpoint`) when started again with the same arguments.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from export.mixtures import average_precision
from export.mixtures.average_precision import Found
from export.mixtures.files import begin_from_features, save
from export.mixtures.losses import EPSILONS, FORMS, Form, losses
from export.mixtures.network import Design, MixtureSSD
from export.training import CAMVID_USE, camvid, records, trunk
from export.training.camvid import Frame
from export.training.crops import Box, Cropping, Crops, sources
from export.training.options import changed, options

CANVAS = (480, 640)  # (H, W) at which a CamVid frame is shown to the network


@dataclass(frozen=True)
class Recipe(Cropping):
    """Every choice of a training run; change one with --set NAME=VALUE."""

    canvas: float = 512 / 480
    pastes: float = 1.5
    scenes: float = 0.25
    scene_count: int = 200
    steps: int = 3000  # optimiser steps
    batch: int = 16  # crops per step
    rate: float = 2e-3  # AdamW, one cycle
    decay: float = 0.02
    warm: float = 0.2  # share of the steps over which smooth L1 gives way to the likelihood, equal weights to learned
    loss: str = "paper"  # paper, or patent (paragraphs 70 to 78); see docs/decisions/mixtures.md
    epsilon: str = "1e-9"  # 1e-9 or exp(-9): the two readings of the 'e^-9' that the patent adds to a density
    class_loss: int = 1  # 1: logits with noise; 2: mixture of probabilities
    threshold: float = 0.45  # least IoU of a prior with the object that it is assigned
    least_side: float = 7.0  # objects with a smaller box count neither way, canvas pixels
    trunk: str = ""  # "lite0": a frozen trunk, that of the feature extractor or ImageNet's
    least_seen: float = 0.5  # objects of which the crop shows a smaller share count neither way

    def __post_init__(self) -> None:
        trunk.check_name(self.trunk)
        for name, known in (("loss", FORMS), ("epsilon", EPSILONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {' or '.join(known)}, got {getattr(self, name)!r}")

    @property
    def form(self) -> Form:
        """Return the form of the loss."""
        return replace(
            FORMS[self.loss],
            epsilon=EPSILONS[self.epsilon],
            class_loss=self.class_loss,
            threshold=self.threshold,
            least_negatives=24,
        )

    @property
    def design(self) -> Design:
        """Return the design of the network to train, which holds how its heads are to be read."""
        return read_by(Design(self.trunk or "small"), self.form)


def read_by(design: Design, form: Form) -> Design:
    """Return the design with its heads read as this form of the loss writes them."""
    return replace(design, location_sigmoid="deviation" if form.deviation else "variance", scaled=form.scaled)


def objects_of(rows: Sequence[tuple[int, Box]], side: float, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return the objects of a crop for the losses: corner boxes [G, 4], and classes [G] from 1 or -1.

    Class -1 marks objects that count neither way, being too small or mostly hidden.
    rows: (CamVid's class, box in crop pixels), also of objects outside the crop. side: of the crop, pixels.
    """
    boxes: list[list[float]] = []
    classes: list[int] = []
    for label, (x0, y0, x1, y1) in rows:
        seen = [max(x0, 0.0), max(y0, 0.0), min(x1, side), min(y1, side)]
        w, h = seen[2] - seen[0], seen[3] - seen[1]
        if w < 2 or h < 2:
            continue
        small = min(w, h) < recipe.least_side or w * h < 2 * recipe.least_side**2
        hidden = w * h < recipe.least_seen * (x1 - x0) * (y1 - y0)
        boxes.append(seen)
        classes.append(-1 if small or hidden else 1 + camvid.OBJECT_CLASSES.index(label))
    return torch.tensor(boxes, dtype=torch.float32).view(-1, 4), torch.tensor(classes, dtype=torch.int64)


Batch = tuple[Tensor, list[tuple[Tensor, Tensor]]]


def batch(crops: Crops, recipe: Recipe, step: int) -> Batch:
    """Return the crops of a step: images uint8 [B, S, S, 3], and per image the objects of `objects_of`."""
    made = [crops.crop(step * recipe.batch + i) for i in range(recipe.batch)]
    images = torch.from_numpy(np.stack([image for image, _, _ in made]))
    return images, [objects_of(rows, float(recipe.crop), recipe) for _, _, rows in made]


def forward(network: MixtureSSD, images: Tensor) -> dict[str, Tensor]:
    """Return the graph's tensors by name, computed in bf16 and returned as float32."""
    with torch.autocast("cpu", torch.bfloat16):
        pixels = network.backbone.pixels(images).contiguous(memory_format=torch.channels_last)
        found = network.raw(pixels)
    return dict(zip(("PRIORS", *network.design.depths()), found, strict=True))


class Run:
    """A training under way: network, optimiser, schedule and crops."""

    def __init__(self, network: MixtureSSD, frames: list[Frame], extra: list[Frame], recipe: Recipe, seed: int):
        if read_by(network.design, recipe.form) != network.design:
            raise ValueError(f"the network's design is of another loss than {recipe.loss}; give it that of the recipe")
        torch.manual_seed(seed)
        self.network, self.recipe, self.seed, self.step = network, recipe, seed, 0
        self.crops = Crops(frames or extra, recipe, seed, extra if frames else [])
        self.noise = torch.Generator().manual_seed(seed)
        if recipe.trunk:
            network.backbone.trunk.freeze(len(network.backbone.trunk.blocks), True)
        network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits this form
        self.optimiser = torch.optim.AdamW(
            [p for p in network.parameters() if p.requires_grad], recipe.rate, weight_decay=recipe.decay
        )
        rise = max(0.1, 2 / recipe.steps)  # a rise of one step alone would be a division by zero
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, recipe.rate, total_steps=recipe.steps, pct_start=rise, div_factor=10, final_div_factor=100
        )

    def go(self, after: Callable[[Run, dict[str, float]], None] | None = None) -> MixtureSSD:
        """Take the remaining steps and return the network in eval mode.

        after: called after each step with the losses by name; None for no call.
        """
        r = self.recipe
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(batch, self.crops, r, self.step)
            while self.step < r.steps:
                images, objects = coming.result()
                coming = pool.submit(batch, self.crops, r, self.step + 1)
                warm = min(1.0, self.step / max(1.0, r.warm * r.steps))
                found = losses(forward(self.network, images), objects, r.form, warm, self.noise)
                total = sum(found.values(), torch.zeros(()))
                if not torch.isfinite(total):
                    raise ArithmeticError(f"the loss is {float(total.detach())} at step {self.step}; try a lower rate")
                self.optimiser.zero_grad(set_to_none=True)
                total.backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
                self.optimiser.step()
                self.schedule.step()
                self.step += 1
                if after:
                    after(self, {name: float(value.detach()) for name, value in found.items()})
        return self.network.eval()

    def state(self) -> dict[str, object]:
        """Return the checkpoint: everything that `resume` needs."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "noise": self.noise.get_state(),
            "step": self.step,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
        }

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint. Raises SystemExit where the checkpoint is of another recipe or seed."""
        stored = torch.load(path, weights_only=True)
        if stored["recipe"] != asdict(self.recipe) or stored["seed"] != self.seed:
            raise SystemExit(f"{path.name} is of another recipe or seed; remove it to start anew")
        self.network.load_state_dict(stored["network"])
        self.optimiser.load_state_dict(stored["optimiser"])
        self.schedule.load_state_dict(stored["schedule"])
        self.noise.set_state(stored["noise"])
        self.step = stored["step"]


# ------------------------------------------------------------------------------------------------ judging


@torch.no_grad()
def heads(network: MixtureSSD, image: np.ndarray, canvas: tuple[int, int] = CANVAS) -> dict[str, np.ndarray]:
    """Return the raw heads of one frame by name, with a batch axis.

    image: uint8 [H, W, 3]. canvas: (H, W) that the image is scaled to.
    """
    shown = image
    if image.shape[:2] != canvas:
        shown = np.asarray(Image.fromarray(image).resize(canvas[::-1], Image.Resampling.BILINEAR))
    found = forward(network, torch.from_numpy(shown.copy())[None])
    return {name: value.numpy() for name, value in found.items()}


def found_in(network: MixtureSSD, frame: Frame, least: float = 0.01) -> Found:
    """Return the detections of one frame by the server's own post-processing, boxes in pixels of the frame.

    least: detections with a lower score are left out.
    """
    from sluice.methods.mixtures.heads import Heads
    from sluice.methods.mixtures.objects import detections
    from sluice.methods.mixtures.options import Options

    arrays = heads(network, frame.image)
    options = Options(min_score=least, **asdict(network.design.reading))
    result = detections(Heads.of(arrays), None, options)[0]
    height, width = frame.labels.shape
    scale = np.array([width / CANVAS[1], height / CANVAS[0]] * 2, np.float32)
    boxes = np.clip(result.boxes * scale, 0, [width, height] * 2)  # as the server does, and as the truth is
    return Found(boxes, result.classes, result.scores)


def judge(network: MixtureSSD, frames: Sequence[Frame], iou: float = 0.5) -> tuple[float, list[float]]:
    """Return the mean average precision over frames, and the average precision per class."""
    truth = [average_precision.truth_of(frame.labels) for frame in frames]
    found = [found_in(network, frame) for frame in frames]
    return average_precision.mean_average_precision(found, truth, len(network.design.labels), iou)


@torch.no_grad()
def components_used(network: MixtureSSD, frames: Sequence[Frame]) -> float:
    """Return the effective number of class components: exp of the entropy of the mean weights.

    1 means that the mixture has collapsed, K that all components have equal weight.
    """
    total = np.zeros(network.design.k)
    for frame in frames:
        weight = heads(network, frame.image)["CLASS_WEIGHT"][0].astype(np.float64)
        weight = np.exp(weight - weight.max(axis=1, keepdims=True))
        total += (weight / weight.sum(axis=1, keepdims=True)).mean(axis=0)
    share = total / total.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


# ------------------------------------------------------------------------------------------------ the run


class Progress:
    """Prints losses and remaining time, and writes the checkpoint every `every` steps."""

    def __init__(self, checkpoint: Path, first: int, every: int = 200):
        self.checkpoint, self.first, self.every = checkpoint, first, every
        self.start, self.sums, self.count = time.monotonic(), dict[str, float](), 0

    def __call__(self, run: Run, found: dict[str, float]) -> None:
        for name, value in found.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        if run.step % 25 == 0 or run.step == run.recipe.steps:
            spent = time.monotonic() - self.start
            left = spent / (run.step - self.first) * (run.recipe.steps - run.step)
            shown = "  ".join(f"{name} {value / self.count:.3f}" for name, value in self.sums.items())
            print(
                f"step {run.step}/{run.recipe.steps}  {shown}  {spent / 60:.1f} min, {left / 60:.1f} left", flush=True
            )
            self.sums, self.count = {}, 0
        if run.step % self.every == 0 and run.step < run.recipe.steps:
            part = self.checkpoint.with_suffix(".new")
            torch.save(run.state(), part)
            part.replace(self.checkpoint)


def train(data: Path | None, out: Path, seed: int, recipe: Recipe, features: Path | None, command: str = "") -> None:
    """Train, save the weights, and record their precision on held-out frames and on drive 0006R0.

    data: CamVid's folder; None for generated scenes alone, a tenth of which is held out and judged on.
    features: weights of the feature extractor that the backbone begins with, None to begin at random.
    command: the command line, for the record.
    """
    if data is None:
        records.check_free(features)
    training, extra = sources(data, recipe, out.with_suffix(".scenes.npz"))
    judged = {}
    if data is None:
        judged["generated scenes, unseen"], training = training[::10], [f for i, f in enumerate(training) if i % 10]
    else:
        judged["held-out stretches of the training drives"] = camvid.split(camvid.read(data, camvid.TRAINING_DRIVES))[1]
        judged["drive 0006R0, unseen"] = camvid.read(data, (camvid.EVALUATION_DRIVE,))
    torch.manual_seed(seed)
    network = MixtureSSD(recipe.design)
    if features:
        begin_from_features(network, features)
    elif recipe.trunk:
        network.backbone.trunk.load_state_dict(trunk.pretrained().state_dict())
    if recipe.trunk:
        trunk.check_place(out, network.backbone.trunk)
    run = Run(network, training, extra, recipe, seed)
    checkpoint = out.with_suffix(".checkpoint")
    if checkpoint.exists():
        run.resume(checkpoint)
    run.go(Progress(checkpoint, run.step))
    save(network, out)
    record(network, judged, out, seed, recipe, command)
    checkpoint.unlink(missing_ok=True)
    out.with_suffix(".scenes.npz").unlink(missing_ok=True)


def record(
    network: MixtureSSD, judged: dict[str, list[Frame]], out: Path, seed: int, recipe: Recipe, command: str
) -> None:
    """Write the training record, which the model card quotes, beside the weights. judged: frames by description."""
    reach, alone = [], len(judged) == 1
    for name, frames in judged.items():
        mean, each = judge(network, frames)
        row = {"frames": f"{name} ({len(frames)})", "mAP at IoU 0.5": round(mean, 3)}
        row.update({label: round(value, 3) for label, value in zip(network.design.labels, each, strict=True)})
        print(row, flush=True)
        reach.append(row)
    scenes = f"{recipe.scene_count} generated scenes (scenes)"
    real = (
        "CamVid, boxes of the components of Car, Pedestrian, Bicyclist and SignSymbol, drives 0016E5 and 0001TP but "
        "for held-out stretches (213 of 266 frames), drive 0006R0 unseen"
    )
    began = "the backbone began as the feature extractor's, trained on the same"
    alone_data = f"{scenes}, a tenth of them to judge on; no photograph but those of ImageNet that the trunk saw"
    facts = {
        "data": alone_data if alone else "; ".join([real, *([scenes] if recipe.scenes else []), began]),
        "licence": records.licence(alone, CAMVID_USE, trunk.LICENCE if recipe.trunk else ""),
        "parameters": sum(p.numel() for p in network.parameters()),
        "recipe": {"seed": seed, "crops": recipe.steps * recipe.batch, **asdict(recipe)},
        "reach": reach,
        "class components in use, of 4": round(components_used(network, frames[::5]), 2),
        **({"command": command} if command else {}),
    }
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m export.mixtures.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="CamVid's folder (default: generated scenes alone)")
    parser.add_argument("--out", type=Path, required=True, help="weights to write, e.g. weights/mixture_detector.pt")
    parser.add_argument(
        "--features",
        type=Path,
        help="feature extractor whose weights the backbone begins with; '' for none (default: "
        "weights/feature_extractor.pt with --data, none without)",
    )
    options(parser, Recipe)
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    usual = Path("weights/feature_extractor.pt") if given.data else None
    begin = usual if given.features is None else given.features if str(given.features) not in ("", ".") else None
    command = shlex.join(["python", "-m", "export.mixtures.train", *arguments])
    try:
        train(given.data, given.out, given.seed, changed(Recipe(), given.set), begin, command)
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
