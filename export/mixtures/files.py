"""Files of mixture-density detectors: ours, and checkpoints with the published key names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from export import stored as files
from export.mixtures.network import Design, MixtureSSD

# ------------------------------------------------------------------------------------------------ weights

PUBLISHED = {
    "LOCATION_MEAN": "loc_mu", "LOCATION_VARIANCE": "loc_var", "LOCATION_WEIGHT": "loc_pi",
    "CLASS_MEAN": "conf_mu", "CLASS_VARIANCE": "conf_var", "CLASS_WEIGHT": "conf_pi",
}  # fmt: skip


def published_names(design: Design) -> list[str]:
    """Every key of a published checkpoint of this design, without `module.`."""
    with torch.device("meta"):  # names need no memory
        network = MixtureSSD(design)
    names = [name for name in network.backbone.state_dict()]
    for output in design.depths():
        for component in range(1, design.k + 1):
            for source in range(len(network.sources)):
                names += [f"{PUBLISHED[output]}_{component}.{source}.{kind}" for kind in ("weight", "bias")]
    return names


@torch.no_grad()
def from_published(state: dict[str, Tensor], labels: Sequence[str] | None = None) -> MixtureSSD:
    """A network from a checkpoint with the published names: 24 heads of six convolutions, or 20 without variance.

    state: name -> tensor, each name with or without `module.`; or {'weight': such a state}.
    labels: names of the classes; 'class 1', 'class 2', ... where they are not given.
    Raises ValueError naming the keys that are missing, too many or of another shape.
    """
    if "weight" in state and isinstance(state["weight"], dict):
        state = state["weight"]
    state = {name.removeprefix("module."): value for name, value in state.items()}
    try:
        priors, classes = state["loc_mu_1.0.weight"].shape[0] // 4, 0
        classes = state["conf_mu_1.0.weight"].shape[0] // priors
    except (KeyError, ZeroDivisionError):
        raise ValueError("expected a checkpoint with loc_mu_1.0.weight and conf_mu_1.0.weight, found neither") from None
    components = sum(f"loc_mu_{k}.0.weight" in state for k in range(1, 65))
    names = tuple(labels) if labels else tuple(f"class {i}" for i in range(1, classes))
    if len(names) != classes - 1:
        raise ValueError(f"expected {classes - 1} labels, got {len(names)}")
    design = Design("ssd300_vgg16", names, components, class_variance="conf_var_1.0.weight" in state)
    wanted, given = set(published_names(design)), set(state)
    if wanted != given:
        raise ValueError(f"missing: {sorted(wanted - given)[:8]}; not known: {sorted(given - wanted)[:8]}")
    network = MixtureSSD(design)
    for name, own in network.backbone.state_dict().items():
        own.copy_(_shaped(state, name, own.shape))
    for i, (head, source) in enumerate(zip(network.heads, network.sources, strict=True)):
        a = len(source.shapes)
        assert isinstance(head, nn.Conv2d) and head.bias is not None
        for kind, array in (("weight", head.weight), ("bias", head.bias)):
            for output, part in network._parts(array, a).items():
                for component in range(design.k):
                    name = f"{PUBLISHED[output]}_{component + 1}.{i}.{kind}"
                    own = part[:, component]
                    own.copy_(_shaped(state, name, own.flatten(0, 1).shape).reshape(own.shape))
    return network.eval()


def _shaped(state: dict[str, Tensor], name: str, shape: Sequence[int]) -> Tensor:
    if list(state[name].shape) != list(shape):
        raise ValueError(f"{name} has the shape {list(state[name].shape)}, this network needs {list(shape)}")
    return state[name]


def begin_from_features(network: MixtureSSD, weights: str | Path) -> None:
    """Give the light backbone what the feature extractor has learned; the names that both have."""
    from export.matching.network import load as load_features

    learned = load_features(weights).detector.state_dict()
    own = network.backbone.state_dict()
    shared = {name: value for name, value in learned.items() if name in own and own[name].shape == value.shape}
    network.backbone.load_state_dict({**own, **shared})


def save(network: MixtureSSD, path: str | Path) -> None:
    """Store a network as float16, with what rebuilds it."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    torch.save({"design": asdict(network.design), "state": state}, path)


def load(path: str | Path) -> MixtureSSD:
    """A stored network, or a published checkpoint, ready to serve (eval mode, float32).

    Raises FileNotFoundError, or ValueError when the file holds something else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"weights {path.name} not found; train them with: python -m export.mixtures.train --out {path.name}"
        )
    stored = files.read(path)
    if isinstance(stored, dict) and set(stored) == {"design", "state"}:
        design = Design(**{**stored["design"], "labels": tuple(stored["design"]["labels"])})
        network = MixtureSSD(design)
        network.load_state_dict(stored["state"])
        return network.eval()
    if isinstance(stored, dict):
        return from_published(stored)
    raise ValueError(f"expected weights of a mixture-density detector in {path.name}, got another file")
