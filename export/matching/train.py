"""Trains the feature extractor.

    python -m export.matching.train --data DIR --out weights/feature_extractor.pt --set trunk=lite0 --set camera=0.3

Data: CamVid's drives 0016E5 and 0001TP without the held-out stretches (`camvid.HELD_OUT`); drive 0006R0 is never read.
Without `--data` every crop is of generated scenes, so that the weights are free for any use.
Retrieval compares cosines between max-pooled, normalised cells, so the training has a cosine classifier on these cells,
beside the detector's own losses (dense classes at full feature resolution, heat maps, sizes). Objects are cut out by
their masks and pasted at random sizes, so that small objects are as frequent as large ones.

With `--set trunk=lite0` the network begins from ImageNet's trunk (`export.training.trunk`); the first blocks and all
depthwise kernels stay as they are. A step of 16 crops takes about 1.2 s of one core without AMX (bf16). A run that
was stopped goes on from its checkpoint (`OUT.checkpoint`) when started again with the same arguments.
"""

from __future__ import annotations

import argparse
import json
import queue
import shlex
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from export.matching.network import Detector, Widths, cells, load, save
from export.training import CAMVID_USE, camvid, records, trunk
from export.training.camvid import Frame
from export.training.crops import Box, Cropping, Crops, sources
from export.training.options import changed, options


@dataclass(frozen=True)
class Recipe(Cropping):
    """Every choice of a training run; change one with --set NAME=VALUE."""

    steps: int = 4600  # optimiser steps
    batch: int = 16  # crops per step
    rate: float = 3e-3  # AdamW, one cycle
    decay: float = 0.02
    dense: float = 1.0  # weights of the losses
    cell: float = 1.0
    hard: float = 0.5  # extra weight of the hardest twentieth of the cells
    heat: float = 0.5
    size: float = 0.1
    boost: float = 8.0  # how strongly an object's part of a cell outvotes background
    fill: float = 0.3  # objects that fill this share of their box or more give its cells their class; 1 for none
    temperature: float = 16.0  # first scale of the cosine classifier
    margin: float = 0.0  # taken from the cosine of the true class
    prototypes: int = 1  # directions per class of the cosine classifier
    trunk: str = ""  # "lite0" begins from the pretrained trunk
    trunk_rate: float = 0.1  # the trunk's share of the rate
    frozen: int = 5  # blocks of the trunk that do not learn
    still: int = 1  # 1: the trunk's depthwise kernels do not learn
    whiten: float = (
        1.0  # share of the mean variance added when cells are whitened at the end; 0 leaves them as they are
    )

    def __post_init__(self) -> None:
        trunk.check_name(self.trunk)


# Of Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist; rarer classes count more.
CLASS_WEIGHTS = (0.6, 0.7, 1.5, 0.6, 1.0, 0.7, 2.0, 1.2, 1.2, 2.0, 2.5)


def batch(crops: Crops, recipe: Recipe, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the crops of a step: images, labels, heat, sizes, inside.

    images [B, S, S, 3] uint8, labels [B, S, S] uint8, heat [B, 4, S/4, S/4] and sizes [B, 3, S/4, S/4] as `draw` makes
    them, inside [B, S/8, S/8] int64: the class of the smallest object box that covers the cell, 11 where none does.
    """
    b, n = recipe.batch, recipe.crop // 4
    made = [crops.crop(step * b + i) for i in range(b)]
    heat, sizes = np.zeros((b, 4, n, n), np.float32), np.zeros((b, 3, n, n), np.float32)
    inside = np.full((b, n // 2, n // 2), 11, np.int64)
    for i, (_, labels, objects) in enumerate(made):
        cover(inside[i], labels, objects, recipe.fill)
        for label, box in objects:
            draw(heat[i, camvid.OBJECT_CLASSES.index(label)], sizes[i], box)
    images = torch.from_numpy(np.stack([m[0] for m in made]))
    classes = torch.from_numpy(np.stack([m[1] for m in made]))
    return images, classes, torch.from_numpy(heat), torch.from_numpy(sizes), torch.from_numpy(inside)


def draw(heat: np.ndarray, sizes: np.ndarray, box: Box) -> None:
    """Draw an object into its heat map (Gaussian, 1 at the centre cell) and size maps (log w/16, log h/16, there).

    heat: [n, n], sizes: [3, n, n], cells of 4 pixels; box: in pixels. An object whose centre is outside is left out.
    """
    n = heat.shape[0]
    x, y = int((box[0] + box[2]) / 8 // 1), int((box[1] + box[3]) / 8 // 1)
    w, h = box[2] - box[0], box[3] - box[1]
    if not (0 <= x < n and 0 <= y < n) or w < 2 or h < 2:
        return
    sx, sy = max(w / 4 / 6, 0.6), max(h / 4 / 6, 0.6)
    grid = np.arange(n, dtype=np.float32)
    np.maximum(
        heat,
        np.exp(-((grid - x) ** 2) / (2 * sx * sx))[None] * np.exp(-((grid - y) ** 2) / (2 * sy * sy))[:, None],
        out=heat,
    )
    sizes[:, y, x] = np.log(w / 16), np.log(h / 16), 1.0


def cover(cells: np.ndarray, labels: np.ndarray, objects: list[tuple[int, Box]], fill: float) -> None:
    """Write an object's class into the cells that its box covers by half or more, small boxes last.

    cells: [n, n] int64, of 8 pixels; labels: [8n, 8n] uint8. A region of interest is a box too: where its corner shows
    road, the query's cell should still look for the object (as in FCOS, Tian et al., 2019, where all of a box counts).
    Objects that fill less than `fill` of their box, mostly merged objects, are left out.
    """
    for label, (x0, y0, x1, y1) in sorted(objects, key=lambda o: -(o[1][2] - o[1][0]) * (o[1][3] - o[1][1])):
        inner = labels[max(0, round(y0)) : max(0, round(y1)), max(0, round(x0)) : max(0, round(x1))] == label
        if inner.size < 16 or inner.mean() < fill:
            continue
        i0, i1, j0, j1 = (max(0, round(v / 8)) for v in (y0, y1, x0, x1))
        cells[i0 : max(i0 + 1, i1), j0 : max(j0 + 1, j1)] = label


class CosineClassifier(nn.Module):
    """Classes of cells by their cosine with learned directions. A head for training alone; it is not served."""

    def __init__(self, channels: int, recipe: Recipe):
        super().__init__()
        self.recipe = recipe
        self.directions = nn.Parameter(torch.randn(11 * recipe.prototypes, channels))
        self.scale = nn.Parameter(torch.tensor(recipe.temperature).log())

    def forward(self, unit: Tensor) -> Tensor:
        """Return the cosine with each class's nearest direction, [N, 11]. unit: [N, C] rows of length 1."""
        cosine = unit @ F.normalize(self.directions, dim=1).T
        return cosine.view(len(unit), 11, -1).amax(dim=2)

    def loss(self, unit: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of every cell, [N]. unit: [N, C]; target: int64 [N]."""
        cosine = self(unit)
        if self.recipe.margin:
            cosine = cosine - self.recipe.margin * F.one_hot(target, 11)
        return F.cross_entropy(cosine * self.scale.exp().clamp(max=40), target, reduction="none")


def shares(labels: Tensor, size: int) -> Tensor:
    """Count the pixels of each class in every block, labels [B, S, S] uint8 -> [B, 12, S/size, S/size] float32."""
    b, side, _ = labels.shape
    blocks = labels.view(b, side // size, size, side // size, size)
    return torch.stack([(blocks == c).sum(dim=(2, 4), dtype=torch.uint8) for c in range(12)], dim=1).float()


def votes(share: Tensor, boost: float) -> Tensor:
    """Return the class of every block, int64 [B, h, w]: objects outvote background, 11 where no label wins.

    share: [B, 12, h, w] of `shares`. boost: weight of a pixel of an object.
    """
    weight = torch.ones(12)
    weight[list(camvid.OBJECT_CLASSES)] = boost
    weight[2] = boost / 2  # poles are as thin as a cell
    return (share * weight[:, None, None]).argmax(dim=1)


def heat_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Return the focal loss of centre heat maps, divided by the number of objects.

    logits, heat: [B, 4, h, w]. Source: Zhou et al., 2019, eq. 1.
    """
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    peak = heat >= 0.999
    positive = -((1 - p) ** 2) * p.log() * peak
    negative = -((1 - heat) ** 4) * p**2 * (1 - p).log() * ~peak
    return (positive + negative).sum() / peak.sum().clamp(min=1)


def losses(
    detector: Detector, classifier: CosineClassifier, batch: tuple[Tensor, ...], recipe: Recipe
) -> dict[str, Tensor]:
    """Return all weighted losses of a batch, by name. batch: as the function `batch` returns it."""
    images, labels, heat, sizes, inside = batch
    weight = torch.tensor(CLASS_WEIGHTS)
    with torch.autocast("cpu", torch.bfloat16):
        features = detector(detector.pixels(images).contiguous(memory_format=torch.channels_last))
        dense, centre, size = detector.detect(features)
    share = shares(labels, 4)
    target = votes(share, recipe.boost / 2)
    out = {"dense": recipe.dense * F.cross_entropy(dense.float(), target.where(target < 11, -100), weight)}
    target = votes(F.avg_pool2d(share, 2), recipe.boost)
    seen = torch.isin(
        target, torch.tensor(camvid.OBJECT_CLASSES)
    )  # an object seen in the cell outweighs a box around it
    target = target.where(seen | (inside == 11), inside).flatten()
    unit = cells(features).permute(0, 2, 3, 1).flatten(0, 2)
    known = target < 11
    each = classifier.loss(unit[known], target[known]) * weight[target[known]]
    out["cell"] = recipe.cell * each.mean() / weight[target[known]].mean()
    out["hard"] = recipe.hard * each.topk(max(1, len(each) // 20)).values.mean() / 4
    out["heat"] = recipe.heat * heat_loss(centre.float(), heat)
    there = sizes[:, 2:]
    out["size"] = recipe.size * ((size.float() - sizes[:, :2]).abs() * there).sum() / there.sum().clamp(min=1)
    return out


def train(
    data: Path | None,
    out: Path,
    seed: int,
    recipe: Recipe,
    begin: Path | None = None,
    every: int = 200,
    command: str = "",
) -> None:
    """Train, save and record, as the module's docstring says.

    data: CamVid's folder; None for generated scenes alone. begin: weights of an earlier stage to continue from, None to
    begin at random. every: steps between checkpoints. command: the command line, for the record.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    if data is None:
        records.check_free(begin)
    training, extra = sources(data, recipe, out.with_suffix(".scenes.npz"))
    crops = Crops(training, recipe, seed, extra)
    detector = load(begin).detector.train() if begin else Detector(Widths(trunk=recipe.trunk))
    checkpoint, first = out.with_suffix(".checkpoint"), 0
    if recipe.trunk != detector.widths.trunk:
        raise ValueError(
            f"{begin.name if begin else 'the network'} has trunk {detector.widths.trunk!r}; say so by --set"
        )
    learns = False
    if recipe.trunk:
        if begin is None:
            detector.trunk.load_state_dict(trunk.pretrained().state_dict())
        detector.trunk.freeze(recipe.frozen, bool(recipe.still))
        learns = recipe.frozen < len(detector.trunk.blocks)
        if not checkpoint.exists():
            trunk.check_place(out, None if learns else detector.trunk)
    detector = detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits this form
    classifier = CosineClassifier(detector.widths.channels, recipe)
    parameters = [*detector.parameters(), *classifier.parameters()]
    groups: list[dict[str, object]] = [{"params": parameters}]
    rates = [recipe.rate]
    if recipe.trunk:
        groups = trunk.rates(detector, detector.trunk, recipe.rate, recipe.trunk_rate)
        groups.append({"params": list(classifier.parameters())})
        rates = [recipe.rate, recipe.rate * recipe.trunk_rate, recipe.rate]
    optimiser = torch.optim.AdamW(groups, recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rates, total_steps=recipe.steps, pct_start=0.1, div_factor=10, final_div_factor=100
    )
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True)
        if stored["recipe"] != asdict(recipe) or stored["seed"] != seed:
            raise SystemExit(f"{checkpoint.name} is of another recipe or seed; remove it to start anew")
        detector.load_state_dict(stored["detector"])
        classifier.load_state_dict(stored["classifier"])
        optimiser.load_state_dict(stored["optimiser"])
        schedule.load_state_dict(stored["schedule"])
        first = stored["step"]
    waiting: queue.Queue[tuple[Tensor, ...]] = queue.Queue(3)

    def fill() -> None:
        for step in range(first, recipe.steps):
            waiting.put(batch(crops, recipe, step))

    threading.Thread(target=fill, daemon=True).start()
    start, sums = time.monotonic(), dict[str, float]()
    for step in range(first, recipe.steps):
        found = losses(detector, classifier, waiting.get(), recipe)
        optimiser.zero_grad(set_to_none=True)
        sum(found.values(), torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        schedule.step()
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if (step + 1) % 25 == 0 or step + 1 == recipe.steps:
            spent = time.monotonic() - start
            left = spent / (step + 1 - first) * (recipe.steps - step - 1)
            shown = "  ".join(f"{k} {v / 25:.3f}" for k, v in sums.items())
            print(
                f"step {step + 1}/{recipe.steps}  {shown}  scale {float(classifier.scale.exp().detach()):.1f}  "
                f"{spent / 60:.1f} min, {left / 60:.1f} left",
                flush=True,
            )
            sums.clear()
        if (step + 1) % every == 0 and step + 1 < recipe.steps:
            state = {
                "detector": detector.state_dict(),
                "classifier": classifier.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step + 1,
                "recipe": asdict(recipe),
                "seed": seed,
            }
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
            save(detector, out, replace=learns)
    if recipe.whiten:
        whiten(detector, training[::9], recipe)
    save(detector, out, replace=learns)
    record(detector, out, seed, recipe, data is None, command)
    checkpoint.unlink(missing_ok=True)
    out.with_suffix(".scenes.npz").unlink(missing_ok=True)


@torch.no_grad()
def whiten(detector: Detector, frames: list[Frame], recipe: Recipe) -> None:
    """Lower the weight of directions in which cells of one class differ, inside the penultimate convolution.

    Differences within a class (light, texture) hide those between classes. The heads are turned back, so the
    detector's answers stay as they were.
    """
    detector.eval()
    rows, classes = [], []
    for frame in frames:
        height, width = (round(side * recipe.canvas / 32) * 32 for side in frame.labels.shape)
        image = Image.fromarray(frame.image).resize((width, height), Image.Resampling.BILINEAR)
        labels = Image.fromarray(frame.labels).resize((width // 4, height // 4), Image.Resampling.NEAREST)
        with torch.autocast("cpu", torch.bfloat16):
            map_ = detector(detector.pixels(torch.from_numpy(np.asarray(image).copy())[None]))
        rows.append(map_[0].float().flatten(1).T)
        classes.append(torch.from_numpy(np.asarray(labels).astype(np.int64)).flatten())
    x, label = torch.cat(rows), torch.cat(classes)
    x, label = x[label < 11], label[label < 11]
    member = F.one_hot(label, 11).float()
    centre = (member.T @ x) / member.sum(dim=0).clamp(min=1)[:, None]
    within = (x - centre[label]).T @ (x - centre[label]) / len(x)
    values, vectors = torch.linalg.eigh(within)
    scale = (values.clamp(min=0) + recipe.whiten * values.mean()).sqrt()
    turn, back = vectors @ torch.diag(1 / scale) @ vectors.T, vectors @ torch.diag(scale) @ vectors.T
    last, heads = detector.penultimate, detector.heads
    last.weight.copy_((turn @ last.weight.flatten(1)).view_as(last.weight))
    if last.bias is not None:
        last.bias.copy_(turn @ last.bias)
    heads.weight.copy_((heads.weight.flatten(1) @ back).view_as(heads.weight))


def record(detector: Detector, out: Path, seed: int, recipe: Recipe, alone: bool, command: str) -> None:
    """Write the training record, which the model card quotes, beside the weights.

    alone: whether generated scenes alone were read.
    """
    scenes = f"{recipe.scene_count} generated street scenes (scenes)"
    real = "CamVid, drives 0016E5 and 0001TP but for held-out stretches (213 of 266 frames); drive 0006R0 unseen"
    both = f"{real}; {scenes}" if recipe.scenes else real
    facts = {
        "data": f"{scenes}; no photograph but those of ImageNet that the trunk saw" if alone else both,
        "licence": records.licence(alone, CAMVID_USE, trunk.LICENCE if recipe.trunk else ""),
        "parameters": sum(p.numel() for p in detector.parameters()),
        "recipe": {"seed": seed, "crops": recipe.steps * recipe.batch, **asdict(recipe)},
        **({"command": command} if command else {}),
    }
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m export.matching.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="CamVid's folder (default: generated scenes alone)")
    parser.add_argument("--out", type=Path, required=True, help="weights to write, e.g. weights/feature_extractor.pt")
    parser.add_argument("--begin", type=Path, help="weights of an earlier stage to continue from")
    options(parser, Recipe)
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    command = shlex.join(["python", "-m", "export.matching.train", *arguments])
    try:
        train(given.data, given.out, given.seed, changed(Recipe(), given.set), given.begin, command=command)
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
