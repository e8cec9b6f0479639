"""Trains the small network of `segment` and `compare`: images and captions in, masks by words out.

    python -m export.grouping.train --data ../shared/data/camvid --out weights/grouping.pt

Data: crops of CamVid's frames (drives 0016E5 and 0001TP without the held-out stretches) and of generated street scenes,
with captions that list what can be seen in the crop. Drive 0006R0 is read only to judge the weights at the end. Without
`--data` every crop is of generated scenes, so that the weights are free for any use.

Losses, of images and captions alone: contrastive, and multi-label with nouns in prompts, both as published but that all
captions and nouns of one meaning are right answers (`--set multi_label=equation_7` takes the patent's form of the
second); and a third over groups and their patches (`losses.grouped`). `--set groups=0 --set same=0` leaves out what is
not published.

A run that was stopped goes on from its checkpoint (`OUT.checkpoint`) when started again with the same arguments.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.grouping import captions, judge
from export.grouping.data import Captioned, Cropping, Sample, generated, real, sources
from export.grouping.losses import MULTI_LABEL, contrastive, grouped
from export.grouping.network import GREATEST_SCALE, Design, GroupingNetwork, TrunkPatches, save
from export.grouping.scenes import drawn
from export.training import CAMVID_USE, camvid, loop, records
from export.training.loop import Progress, Run, generator
from export.training.options import changed, options
from export.training.trunk import LICENCE, Trunk, check_name, check_place, pretrained
from sluice.methods.grouping.pairs import VOCABULARY
from sluice.methods.grouping.tokens import END, START, tokenizer

SIZES = ((96, 0.7), (192, 0.3))  # pixels per side of a picture, and the share of steps
TILES = ((1, 0.2), (2, 0.4), (3, 0.4))  # crops per row of a picture, and the share of steps
HEIGHT = 384  # rows at which frames are judged


@dataclass(frozen=True)
class Recipe(loop.Recipe):
    """Every choice of a training run; change one with --set NAME=VALUE."""

    steps: int = 10_000
    batch: int = 16
    rate: float = 5e-4  # with 1e-3 all groups come to mean the same
    warm: float = 0.03
    decay: float = 0.05
    average: float = 0.998
    drop: float = 0.05  # share of words that are replaced by the word that stands for all unknown words
    bf16: int = 1
    scenes: int = 200  # generated scenes
    labels: float = 1.0  # weight of the multi-label loss
    multi_label: str = "mean_of_logs"  # form of the multi-label loss: the authors', or equation_7, the patent's
    groups: float = 3.0  # weight of the losses over groups
    patches: float = 3.0  # weight of the same over patches
    least: float = 0.05  # share of a crop that is area enough for a concept
    alone: float = 0.5  # weight of the term by which a group means one concept alone
    words: float = 1.0  # weight of the loss that tells words apart
    same: int = 1  # 1 takes all captions that name the same concepts for right answers, 0 an image's own alone
    prompts: int = 2  # prompts per concept and step
    trunk: str = ""  # "lite0": patches of a frozen trunk, that of --trunk
    layers: int = 2  # transformer blocks on the trunk before patches are grouped

    def __post_init__(self) -> None:
        check_name(self.trunk)
        if self.multi_label not in MULTI_LABEL:
            raise ValueError(f"multi_label is one of {', '.join(MULTI_LABEL)}, got {self.multi_label!r}")


def small(vocabulary: int = VOCABULARY, end: int = END, trunk: str = "", layers: int = 4) -> Design:
    """Return the design of the shipped network, with one grouping stage of 16 groups.

    vocabulary: number of words; end: number of the end token, the start token is one less. trunk: as in `Design`.
    layers: transformer blocks before the patches are grouped.
    """
    return Design(
        vision={
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": layers + 1,
            "depths": [layers, 1],
            "num_group_tokens": [16, 0],
            "num_output_groups": [16, 16],
            "num_attention_heads": 4,
        },
        text={
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": vocabulary,
            "bos_token_id": end - 1,
            "eos_token_id": end,
        },
        width=128,
        hidden=512,
        trunk=trunk,
    )


class Vocabulary:
    """The few words of the training as rows of a small table. Row 0 stands for every other word."""

    def __init__(self, texts: list[str]):
        ids = np.unique(tokenizer()(texts).ids)
        self.ids = ids[ids > 0]
        self.index = np.zeros(VOCABULARY, np.int64)
        self.index[self.ids] = 1 + np.arange(len(self.ids))

    def __len__(self) -> int:
        return 1 + len(self.ids)

    def __call__(self, texts: list[str]) -> Tensor:
        """Return the rows of texts, int64 [N, L], L being the length of the longest text."""
        ids = tokenizer()(texts).ids
        return torch.from_numpy(self.index[ids[:, : int(ids.argmax(axis=1).max()) + 1]])


class Learner(nn.Module):
    """The trained module: the network on the small vocabulary, and the temperature of the multi-label loss."""

    def __init__(
        self, vocabulary: Vocabulary, design: Callable[[int, int], Design] = small, pretrained: Trunk | None = None
    ):
        super().__init__()
        self.vocabulary = vocabulary
        self.network = GroupingNetwork(design(len(vocabulary), len(vocabulary) - 1))
        nn.init.constant_(self.network.vit.logit_scale, math.log(30))  # transformers' 14 is for weeks of training
        self.labels_scale = nn.Parameter(self.network.vit.logit_scale.detach().clone())
        begin(self.network.vit.vision_model)
        if pretrained is not None:
            own = self.network.vit.vision_model.embeddings.patch_embeddings.trunk
            own.load_state_dict(pretrained.state_dict())
            own.freeze(len(own.blocks), True)
        # Gives the meaning of a patch before it joins a group; thrown away after training.
        width = self.network.design.width
        grouping = next(s for s in self.network.vit.vision_model.encoder.stages if s.num_group_token).downsample
        self.patch_projection = nn.Linear(grouping.norm_x.normalized_shape[0], width)
        self._patches: Tensor | None = None
        grouping.norm_x.register_forward_hook(self._kept)

    def _kept(self, module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        """Keep the patches before they are grouped, for `patches`."""
        self._patches = result

    def patches(self) -> Tensor:
        """Return the embeddings of the patches of the pictures that `forward` saw last, [B, N, E] of length 1."""
        assert self._patches is not None
        return F.normalize(self.patch_projection(self._patches.float()), dim=-1)

    def forward(
        self, images: Tensor, texts: list[Tensor], random: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return image embeddings [B, E], group embeddings [B, G, E], soft assignment [B, G, N], text embeddings.

        images: uint8 [B, S, S, 3]. texts: batches of tokens int64 [N_i, L_i]; their embeddings [sum N_i, E] come in the
        same order. random: the generator by which groups are drawn, None to take the best.
        """
        vit = self.network.vit
        features, mean, product = self.network.image(images, random)
        batch, count, width = features.shape
        # One batch per projector, since its norm has to serve images and groups, captions and prompts alike.
        found = vit.visual_projection(torch.cat([mean, features.reshape(-1, width)]))
        said = vit.text_projection(torch.cat([self.network.text(tokens) for tokens in texts]))
        found, said = F.normalize(found.float(), dim=-1), F.normalize(said.float(), dim=-1)
        return found[:batch], found[batch:].reshape(batch, count, -1), product, said

    def finished(self) -> GroupingNetwork:
        """Return the network with all 49,408 words. Words that the training never used share a row."""
        small_network, index = self.network, self.vocabulary.index
        design = small_network.design
        text = {**design.text, "vocab_size": VOCABULARY, "bos_token_id": START, "eos_token_id": END}
        network = GroupingNetwork(replace(design, text=text))
        state = dict(small_network.vit.state_dict())
        name = "text_model.embeddings.token_embedding.weight"
        state[name] = state[name][torch.from_numpy(index)]
        network.vit.load_state_dict(state)
        return network.eval()


def losses(learner: Learner, crops: Captioned, recipe: Recipe, seed: int) -> Callable[[int], Tensor]:
    """Return the function step -> the sum of the losses of that step."""

    def loss(step: int) -> Tensor:
        rng, random = np.random.default_rng((seed, step, 1)), generator(seed, step)
        side = drawn_from(SIZES, rng)
        tiles = drawn_from(TILES, rng) if recipe.groups else 1
        samples = [crops.sample(step * recipe.batch + i, side, tiles) for i in range(recipe.batch)]
        return sum(parts(learner, samples, recipe, rng, random).values(), torch.zeros(()))

    return loss


def parts(
    learner: Learner, samples: list[Sample], recipe: Recipe, rng: np.random.Generator, random: torch.Generator
) -> dict[str, Tensor]:
    """Return the weighted losses of one batch, by name.

    Captions are compared with pictures of one crop. In a picture of several crops, the nouns of a crop are compared
    with the groups that are assigned there.
    """
    images = torch.from_numpy(np.stack([s.image for s in samples]))
    named = torch.from_numpy(np.stack([s.named for s in samples]))  # [B, T, C]
    known = torch.from_numpy(np.stack([s.known for s in samples]))
    crops, count = named.shape[1:]
    prompts = [captions.prompt(concept, rng) for _ in range(recipe.prompts) for concept in range(count)]
    sentences = [s.caption for s in samples] if crops == 1 else []
    texts = [
        blurred(learner.vocabulary(part), recipe.drop, len(learner.vocabulary), random)
        for part in (sentences, prompts)
        if part
    ]
    with torch.autocast("cpu", torch.bfloat16, enabled=bool(recipe.bf16)):
        found, groups, product, said = learner(images, texts, random)
    captioned, nouns = said[: len(sentences)], said[len(sentences) :]
    scale = learner.network.scale
    share = by_tile(product, round(crops**0.5))
    result = {}
    if crops == 1:
        same = (named == named.transpose(0, 1)).all(dim=2) if recipe.same else None
        result["captions"] = contrastive(found, captioned, scale, same)
    else:
        found = F.normalize(share.transpose(1, 2) @ groups, dim=-1).flatten(0, 1)
    if recipe.labels:
        factor = learner.labels_scale.exp().clamp(max=GREATEST_SCALE)
        repeated = [m.flatten(0, 1).repeat(1, recipe.prompts) for m in (named, known)]
        result["nouns"] = recipe.labels * MULTI_LABEL[recipe.multi_label](found, nouns, factor, *repeated)
    if recipe.words and recipe.prompts > 1:
        # Beyond the paper: two prompts of one concept mean the same, prompts of two concepts do not. Without this loss
        # words and groups wait for each other to come apart, and for hundreds of steps neither does.
        result["words"] = recipe.words * contrastive(nouns[:count], nouns[count : 2 * count], scale)
    if recipe.groups:
        alone = learner.patches()
        own = by_tile(torch.eye(alone.shape[1])[None], round(crops**0.5)).expand(len(alone), -1, -1)
        asked = (("groups", recipe.groups, groups, share), ("patches", recipe.patches, alone, own))
        for what, weight, vectors, belongs in asked:
            for n in range(recipe.prompts):
                chosen = nouns[n * count : (n + 1) * count]
                pair = grouped(vectors, chosen, scale, belongs, named, known, recipe.least, recipe.alone)
                for name, value in zip((f"{what} claimed", f"{what} denied"), pair, strict=True):
                    result[name] = result.get(name, torch.zeros(())) + weight * value / recipe.prompts
    return result


def begin(vision: Any) -> None:
    """Set the first values of a small image encoder.

    Those of transformers are for a width of 384 and weeks of training. With them a picture's content hardly reaches the
    groups, and all groups first learn to mean the class that is everywhere.
    """
    for name, module in vision.named_modules():
        if isinstance(module, nn.Linear):
            # With less gain all patches would belong to all groups alike, and the noise of the drawing would win.
            gain = 1.5 if name.endswith(("assign.q_proj", "assign.k_proj")) else 1.0
            nn.init.normal_(module.weight, std=gain * module.in_features**-0.5)
    patch = vision.embeddings.patch_embeddings
    for layer in (patch.fine, patch.coarse) if isinstance(patch, TrunkPatches) else (patch.projection,):
        nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
        if layer.bias is not None:
            # The norm after this layer removes the brightness of a patch, except for what the bias keeps.
            nn.init.normal_(layer.bias, std=1.0)
    # transformers begins with zeros, but tokens that are all alike would stay so.
    nn.init.trunc_normal_(vision.embeddings.position_embeddings, std=0.02)
    for stage in vision.encoder.stages:
        if stage.num_group_token and stage.group_projector is None:
            nn.init.normal_(stage.group_token, std=0.5)


def blurred(tokens: Tensor, share: float, vocabulary: int, random: torch.Generator) -> Tensor:
    """Replace a share of words by that for unknown words; start and end stay. tokens: rows, int64 [N, L]."""
    chosen = torch.rand(tokens.shape, generator=random) < share
    return torch.where(chosen & (tokens < vocabulary - 2), 0, tokens)


def by_tile(product: Tensor, tiles: int) -> Tensor:
    """Return how much of each crop is assigned to each group, [B, G, tiles^2]. product: [B, G, N], square pictures."""
    batch, groups, n = product.shape
    side = round(n**0.5) // tiles
    return product.reshape(batch, groups, tiles, side, tiles, side).mean(dim=(3, 5)).flatten(2)


def drawn_from(table: tuple[tuple[int, float], ...], rng: np.random.Generator) -> int:
    """Draw a value by its chance. table: (value, chance); chances sum to 1."""
    values, chances = zip(*table, strict=True)
    return int(rng.choice(values, p=chances))


# ------------------------------------------------------------------------------------------------ the run


def train(
    data: Path | None, out: Path, seed: int, recipe: Recipe, trunk: Path | None = None, command: str = ""
) -> None:
    """Train, save the weights, and record their masks' IoU on frames that were not trained on.

    data: CamVid's folder; None for generated scenes alone. trunk: the file of the trunk's weights, None for ImageNet's.
    command: the command line, for the record. Raises ValueError for another trunk than ImageNet's without `data`.
    """
    if data is None and trunk is not None:
        raise ValueError(f"without --data only generated pictures are seen, and {trunk.name} may have seen others")
    cache = out.with_suffix(".scenes.npz")
    training, extra, judged = sources(data, drawn(recipe.scenes, cache) if recipe.scenes else [])
    crops = Captioned([real(f) for f in training], [generated(s) for s in extra], Cropping(), seed)
    torch.manual_seed(seed)
    vocabulary = Vocabulary(captions.corpus([scene.caption for scene in extra]))
    if recipe.trunk:
        design = partial(small, trunk=recipe.trunk, layers=recipe.layers)
        begun = pretrained(trunk)
        check_place(out, begun)
        learner = Learner(vocabulary, design, begun)
    else:
        learner = Learner(vocabulary)
    run = Run(learner, losses(learner, crops, recipe, seed), recipe, seed)
    checkpoint = out.with_suffix(".checkpoint")
    if checkpoint.exists():
        run.resume(checkpoint)
    run.go(Progress(checkpoint, run.step, shown=25, every=100))
    network = learner.finished()
    save(network, out)
    facts = record(network, judged)
    if data is None:
        facts["data"] = (
            f"{recipe.scenes} generated scenes (scenes) with captions, a tenth of them to judge on; no photograph but "
            "those of ImageNet that the trunk saw; no mask in any loss"
        )
    facts["licence"] = records.licence(data is None, CAMVID_USE, LICENCE if recipe.trunk else "")
    facts |= {"command": command} if command else {}
    facts["recipe"] = {"seed": seed, "pictures": recipe.steps * recipe.batch, **asdict(recipe)}
    facts["words"] = (
        f"the network knows {len(learner.vocabulary) - 1} of the 49,408 numbers of the tokenizer; all others are one "
        "word to it, which it was trained with"
    )
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
    cache.unlink(missing_ok=True)


def record(network: GroupingNetwork, places: dict[str, list[camvid.Frame]]) -> dict[str, Any]:
    """Return the training record, which the model card quotes. places: frames to judge on, by a description."""
    reach = []
    for name, frames in places.items():
        each = judge.judge(network, frames, HEIGHT)
        guessed, single, label = judge.chance(frames)
        row = {
            "frames": f"{name} ({len(frames)})",
            "mean IoU": round(float(np.nanmean(each)), 3),
            "labels at random": round(guessed, 3),
            f"best single class ({label})": round(single, 3),
        }
        row.update({label: round(float(v), 3) for label, v in zip(camvid.CLASSES, each, strict=True)})
        print(row, flush=True)
        reach.append(row)
    return {
        "data": "CamVid, crops of the drives 0016E5 and 0001TP but for held-out stretches (213 of 266 frames) with "
        "captions made from the labels' shares of each crop (the classes that have at least 2 % of it), drive 0006R0 "
        "unseen; generated scenes (scenes) with captions; no mask in any loss",
        "parameters": sum(p.numel() for p in network.parameters()),
        "reach": reach,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m export.grouping.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="CamVid's folder (default: generated scenes alone)")
    parser.add_argument("--out", type=Path, required=True, help="weights to write, e.g. weights/grouping.pt")
    parser.add_argument("--trunk", type=Path, help="weights of the trunk, e.g. weights/trunk.pt (default: ImageNet's)")
    options(parser, Recipe)
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    command = shlex.join(["python", "-m", "export.grouping.train", *arguments])
    try:
        train(given.data, given.out, given.seed, changed(Recipe(), given.set), given.trunk, command)
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
