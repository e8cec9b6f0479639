"""GroupViT: groups of pixels and their meaning in words, learned from captions, without one mask.

The network is transformers' `GroupViTModel`, so that checkpoints of that class load as they are: a folder of
`save_pretrained`, a model in the user's cache, and the authors' `.pth` (`key_names`). Nothing is fetched. The forward
pass is our own (`forward`), for images of any size in one encoder run.

Contract of the served graphs, for any such network; G groups, embeddings of length E, patches of P pixels:

    image_grouper   IMAGE uint8 [B, H, W, 3] RGB 0-255, H and W multiples of P
                 -> GROUPS     float32 [B, G, E]  of length 1
                    EMBEDDING  float32 [B, E]     of length 1, of the whole image
                    ASSIGNMENT float32 [B, G, H / P, W / P]  soft, product of all stages; sums to 1 over G
    text_encoder    TOKENS int64 [B, L], L from 1 to 77; tokens after the end token do not matter and may be cut off
                 -> EMBEDDING  float32 [B, E]     not normalised, since templates are averaged as they are
                    SCALE      float32 [B, 1]     of similarities, min(exp(logit_scale), 100)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GroupViTConfig, GroupViTModel, GroupViTTextConfig, GroupViTVisionConfig

from export import stored
from export.grouping.forward import block, folded, patches, positions, stages
from export.training import trunk
from export.training.trunk import TAPS, Trunk
from sluice.methods.grouping import vocabulary
from sluice.methods.grouping.tokens import clean, tokenizer

# Mean and deviation that GroupViT was trained with. The processor of the converted checkpoints names CLIP's instead, by
# a mistake of the conversion (reference D3).
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
GREATEST_SCALE = 100.0
EMBEDDINGS = "text_model.embeddings.token_embedding.weight"
ROWS = "token_rows"
TRUNK = "vision_model.embeddings.patch_embeddings.trunk."  # begins the names of the pretrained trunk's weights


@dataclass(frozen=True)
class Design:
    """The settings that rebuild a network, stored beside its weights.

    vision, text: differences from the defaults of `GroupViTVisionConfig` and `GroupViTTextConfig`; {} is the published
    network. width: of the embeddings. hidden: of the projectors' middle layer. mean, deviation: of the pixels (RGB,
    0-1) in training.
    """

    vision: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)
    width: int = 256
    hidden: int = 4096
    mean: tuple[float, ...] = IMAGENET[0]
    deviation: tuple[float, ...] = IMAGENET[1]
    trunk: str = ""

    @property
    def config(self) -> GroupViTConfig:
        """Return the design as transformers' configuration."""
        return GroupViTConfig(
            vision_config=dict(self.vision),
            text_config=dict(self.text),
            projection_dim=self.width,
            projection_intermediate_dim=self.hidden,
        )


class GroupingNetwork(nn.Module):
    """A `GroupViTModel` with a forward pass for images of any size. Raises ValueError for designs that never group."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, design: Design):
        super().__init__()
        self.design = design
        config = design.config
        self.patch, self.groups = check(config)
        self.vit: Any = GroupViTModel(config)
        if design.trunk:
            embeddings: Any = self.vit.vision_model.embeddings
            embeddings.patch_embeddings = TrunkPatches(embeddings.position_embeddings.shape[-1])
        end = text_of(config).eos_token_id
        if not isinstance(end, int):
            raise ValueError(f"expected one end token in the text settings, got eos_token_id {end}")
        self.end = end
        self.register_buffer("mean", torch.tensor(design.mean), persistent=False)
        self.register_buffer("deviation", torch.tensor(design.deviation), persistent=False)

    @property
    def step(self) -> int:
        """Return the number, pixels, of which both sides of an image must be multiples."""
        return trunk.STEP if self.design.trunk else self.patch

    def image(self, image: Tensor, random: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Run the image encoder: group features [B, G, D], their mean [B, D], soft assignment [B, G, H / P * W / P].

        image: uint8 [B, H, W, 3] RGB, sides multiples of the patch. random: the generator by which groups are drawn in
        training, None otherwise.
        """
        embeddings = self.vit.vision_model.embeddings
        if self.design.trunk:
            return self.grouped(embeddings.patch_embeddings.trunk(trunk.normalise(image)), random)
        return self._stages(patches(embeddings, image, self.mean, self.deviation), random)

    def grouped(self, taps: Sequence[Tensor], random: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `image` returns, from the four maps of the pretrained trunk."""
        embeddings = self.vit.vision_model.embeddings
        x = embeddings.patch_embeddings(taps)
        tokens = embeddings.layernorm(x.flatten(2).transpose(1, 2))
        return self._stages(tokens + positions(embeddings.position_embeddings, *x.shape[-2:]), random)

    def _stages(self, x: Tensor, random: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `image` returns, from patches [B, N, D]."""
        vision = self.vit.vision_model
        x, product = stages(vision.encoder, x, random)
        groups = vision.layernorm(x)
        return groups, groups.mean(dim=1), product

    def text(self, tokens: Tensor, words: Words | None = None) -> Tensor:
        """Return the text features at the end token, [B, D]. tokens: int64 [B, L], L at most 77.

        words: a smaller form of the network's own table of words; None for that table.
        """
        model = self.vit.text_model
        length = tokens.shape[1]
        table = model.embeddings
        x = (words or table.token_embedding)(tokens) + table.position_embedding.weight[:length]
        full = table.position_embedding.weight.shape[0]
        mask = torch.ones(full, full, dtype=torch.bool).tril()[:length, :length]
        for layer in model.encoder.layers:
            x = block(layer, x, mask)
        # Checkpoints from before transformers 4.31 name 2 as end token; in all of them the highest token is the end.
        end = tokens.argmax(dim=1) if self.end == 2 else (tokens == self.end).int().argmax(dim=1)
        chosen = (torch.arange(length) == end[:, None]).to(x.dtype)
        return (chosen[:, None] @ model.final_layer_norm(x))[:, 0]

    @property
    def scale(self) -> Tensor:
        """Return the factor of similarities, a scalar."""
        return self.vit.logit_scale.exp().clamp(max=GREATEST_SCALE)


class TrunkPatches(nn.Module):
    """Patches of 16 x 16 pixels from the pretrained trunk's maps at strides 16 and 32, in place of GroupViT's own.

    forward: the trunk's four maps -> [B, D, H / 16, W / 16]. width: D.
    """

    def __init__(self, width: int):
        super().__init__()
        _, _, sixteenth, last = TAPS.values()
        self.trunk = Trunk()
        self.fine, self.coarse = nn.Conv2d(sixteenth, width, 1), nn.Conv2d(last, width, 1, bias=False)

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        return self.fine(taps[2]) + F.interpolate(self.coarse(taps[3]), scale_factor=2, mode="nearest")


def check(config: GroupViTConfig) -> tuple[int, int]:
    """Return patch side and number of groups.

    Raises ValueError, naming the setting, for a network that `GroupingNetwork` cannot be.
    """
    vision = vision_of(config)
    if not isinstance(vision.patch_size, int) or not isinstance(vision.image_size, int):
        raise ValueError(f"expected square images and patches, got {vision.image_size} and {vision.patch_size}")
    counts, outputs = list(vision.num_group_tokens), list(vision.num_output_groups)
    if not len(vision.depths) == len(counts) == len(outputs):
        raise ValueError(f"expected group tokens and groups for {len(vision.depths)} stages, got {counts}, {outputs}")
    if not any(counts):
        raise ValueError(f"expected a network that groups somewhere, got num_group_tokens {counts}")
    grouping = max(index for index, count in enumerate(counts) if count)
    if vision.num_channels != 3:
        raise ValueError(f"expected a network for 3 channels, got {vision.num_channels}")
    return vision.patch_size, outputs[grouping]


def vision_of(config: GroupViTConfig) -> GroupViTVisionConfig:
    """Return the settings of the image encoder, which transformers also types as the dict that they are made of."""
    assert isinstance(config.vision_config, GroupViTVisionConfig)
    return config.vision_config


def text_of(config: GroupViTConfig) -> GroupViTTextConfig:
    """Return the settings of the text encoder, as `vision_of` does."""
    assert isinstance(config.text_config, GroupViTTextConfig)
    return config.text_config


class ImageGrouper(nn.Module):
    """The served `image_grouper`, with the contract of the module's docstring."""

    def __init__(self, network: GroupingNetwork):
        super().__init__()
        self.network, self.project = network, folded(network.vit.visual_projection)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        side = self.network.patch
        groups, mean, product = self.network.image(image)
        grid = (-1, product.shape[1], image.shape[1] // side, image.shape[2] // side)
        return F.normalize(self.project(groups), dim=-1), F.normalize(self.project(mean), dim=-1), product.reshape(grid)


class TextEncoder(nn.Module):
    """The served `text_encoder`, with the contract of the module's docstring."""

    def __init__(self, network: GroupingNetwork):
        super().__init__()
        self.network, self.project = network, folded(network.vit.text_projection)
        found = distinct(network.vit.text_model.embeddings.token_embedding.weight.detach())
        self.words = None if found is None else Words(*found)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.project(self.network.text(tokens, self.words)), self.network.scale.expand(tokens.shape[0], 1)

    def learned(self) -> np.ndarray:
        """Return which tokens the network tells from all others, bool [V]: those with a row of their own.

        Tokens that the training never used share one row, which stands for everything unknown.
        """
        table = self.network.vit.text_model.embeddings.token_embedding.weight.detach()
        _, index, count = torch.unique(table, dim=0, return_inverse=True, return_counts=True)
        return (count[index] == 1).numpy()

    @property
    def record(self) -> dict[str, str]:
        """Return the metadata of the graph: the tokens that were learned, and words made of them."""
        learned = self.learned()
        return {vocabulary.MARK: vocabulary.written(learned), vocabulary.LISTED: " ".join(listed(learned))}


def listed(learned: np.ndarray) -> list[str]:
    """Return the words that a network knows, sorted; none where all tokens were learned, which are too many to list.

    They are words of our training, and further learned tokens that are words and are no part of those.
    learned: bool [V].
    """
    from export.grouping import captions  # imported here, since a network in itself needs no training's words

    if learned.all():
        return []
    encoding = tokenizer()
    said: dict[str, tuple[int, ...]] = {}
    for text in captions.corpus():
        said |= dict(encoding.words(clean(text)))
    said = {word: numbers for word, numbers in said.items() if learned[list(numbers)].all() and word.isalpha()}
    used = {number for numbers in said.values() for number in numbers}
    further = encoding.whole(number for number in np.flatnonzero(learned) if number not in used)
    return sorted({*said, *(word for word in further if word.isalpha())})


class Words(nn.Module):
    """A table of words that stores equal rows once. rows: [R, D]; index: int32 [V], the row of each word."""

    rows: Tensor
    index: Tensor

    def __init__(self, rows: Tensor, index: Tensor):
        super().__init__()
        self.register_buffer("rows", rows)
        self.register_buffer("index", index)

    def forward(self, tokens: Tensor) -> Tensor:
        """Look up tokens, int64 [B, L] -> [B, L, D]."""
        return self.rows[self.index[tokens]]


def distinct(table: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the distinct rows of a table of words [V, D], and the row of each word, int32 [V].

    Returns None unless fewer than half of the rows are distinct. In a small network most of the 49,408 words never
    occurred in training and share a row.
    """
    rows, index = torch.unique(table, dim=0, return_inverse=True)
    return (rows, index.to(torch.int32)) if len(rows) < len(index) // 2 else None


# ------------------------------------------------------------------------------------------------ storing


def save(network: GroupingNetwork, path: str | Path, half: bool = True) -> None:
    """Store a network with its design, as float16, or unchanged if `half` is False.

    Equal rows of the table of words are stored once.
    """
    state = {k: v.half() if half and v.is_floating_point() else v for k, v in network.vit.state_dict().items()}
    if (found := distinct(state[EMBEDDINGS])) is not None:
        state[EMBEDDINGS], state[ROWS] = found
    named = trunk.set_apart(state, TRUNK, Path(path))
    torch.save({"design": asdict(network.design), "state": state, **named}, path)


def load(source: str | Path) -> GroupingNetwork:
    """Return a stored network in eval mode and float32.

    source: a file of `save`, the authors' `.pth`, a folder of transformers' `save_pretrained`, or the name of a model
    in the user's cache (`nvidia/groupvit-gcc-yfcc`). Nothing is fetched.
    Raises FileNotFoundError, or ValueError with one sentence where the source holds something else.
    """
    path = Path(source)
    if path.is_file():
        return _stored(path)
    if not path.is_dir() and len(path.parts) != 2:
        raise FileNotFoundError(
            f"weights {path.name} not found; train them with: python -m export.grouping.train --out {path.name}"
        )
    if (path / "config.json").is_file():
        stored.settings(path / "config.json")
    for file in (*path.glob("*.safetensors"), *path.glob("*.bin")):
        stored.begun(file)
    try:
        config = GroupViTConfig.from_pretrained(source, local_files_only=True)
        if config.model_type != "groupvit" or not (path.is_dir() or config.vision_config):
            raise ValueError(f"expected a GroupViTModel, {path.name} holds a {config.model_type}")
        loaded: Any = GroupViTModel.from_pretrained(
            source, config=config, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
        model, told = loaded  # a pair, because of output_loading_info
    except OSError as error:
        where = f"the folder {path.name}" if path.is_dir() else f"the model {source}"
        raise FileNotFoundError(
            f"{where} has no config.json and weights of a GroupViTModel here; pass a folder as save_pretrained writes "
            "it, or download the model into the cache first: hf download OWNER/NAME"
        ) from error
    except ValueError:
        raise
    except Exception as error:  # a damaged file fails in torch's and safetensors' readers in any way
        raise ValueError(f"{path.name} {stored.reason(error)}") from None
    if told["missing_keys"] or told["mismatched_keys"]:
        lacking = sorted(told["missing_keys"])[:4]
        raise ValueError(f"the weights in {path.name} are not those of its config.json; missing: {lacking}")
    network = GroupingNetwork(design_of(config))
    network.vit.load_state_dict(model.state_dict())
    return network.eval()


def design_of(config: GroupViTConfig) -> Design:
    """Return the design of a checkpoint of transformers."""
    vision, text = (
        {k: v for k, v in part.to_diff_dict().items() if k not in ("model_type", "transformers_version")}
        for part in (vision_of(config), text_of(config))
    )
    return Design(
        vision=vision,
        text=text,
        width=config.projection_dim,
        hidden=config.projection_intermediate_dim,
    )


def _stored(path: Path) -> GroupingNetwork:
    """Return the network of one file, ours or the authors'. Raises ValueError as `load` does."""
    found = stored.read(path)
    if isinstance(found, dict) and {"design", "state"} <= set(found) <= {"design", "state", "trunk"}:
        network = GroupingNetwork(Design(**found["design"]))
        state = trunk.put_back(found, TRUNK, path)
        if ROWS in state:
            state[EMBEDDINGS] = state[EMBEDDINGS][state.pop(ROWS).long()]
    else:
        from export.grouping.key_names import from_official

        entries = stored.weights(found, path.name, ("model", "state_dict"))
        if "img_encoder.pos_embed" not in entries:
            raise ValueError(
                f"expected weights of a GroupViT in {path.name}, got tensors like {', '.join(sorted(entries)[:3])}"
            )
        network, state = GroupingNetwork(Design()), from_official(entries)
    stored.fill(network.vit, state, path.name)
    return network.eval()
