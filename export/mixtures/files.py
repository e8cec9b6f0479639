"""Files of mixture-density detectors: reads and writes ours, and reads checkpoints with the published key names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from export import stored
from export.mixtures.network import Design, MixtureSSD
from export.training import trunk

# How a published checkpoint begins the names of each output's convolutions.
PUBLISHED = {
    "LOCATION_MEAN": "loc_mu",
    "LOCATION_VARIANCE": "loc_var",
    "LOCATION_WEIGHT": "loc_pi",
    "CLASS_MEAN": "conf_mu",
    "CLASS_VARIANCE": "conf_var",
    "CLASS_WEIGHT": "conf_pi",
}


def published_names(design: Design) -> list[str]:
    """Return every key of a published checkpoint of this design, without `module.`."""
    with torch.device("meta"):  # names need no memory
        network = MixtureSSD(design)
    names = list(network.backbone.state_dict())
    for output in design.depths():
        for component in range(1, design.k + 1):
            for source in range(len(network.sources)):
                names += [f"{PUBLISHED[output]}_{component}.{source}.{kind}" for kind in ("weight", "bias")]
    return names


@torch.no_grad()
def from_published(state: dict[str, Tensor], labels: Sequence[str] | None = None) -> MixtureSSD:
    """Return the network of a checkpoint with the published names: 24 heads of six convolutions, 20 without variance.

    state: name -> tensor, each name with or without `module.`; or {'weight': such a state}.
    labels: names of the classes without the background; None for 'class 1', 'class 2', ...
    Raises ValueError, naming the keys, where some are missing, unknown or of another shape.
    """
    if "weight" in state and isinstance(state["weight"], dict):
        state = state["weight"]
    state = {name.removeprefix("module."): value for name, value in state.items()}
    design = _published_design(state, labels)
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
            for output, part in network.parts(array, a).items():
                for component in range(design.k):
                    name = f"{PUBLISHED[output]}_{component + 1}.{i}.{kind}"
                    own = part[:, component]
                    own.copy_(_shaped(state, name, own.flatten(0, 1).shape).reshape(own.shape))
    return network.eval()


def _published_design(state: dict[str, Tensor], labels: Sequence[str] | None) -> Design:
    """Return the design that a checkpoint's names and shapes tell. Raises ValueError where they tell none."""
    try:
        priors = state["loc_mu_1.0.weight"].shape[0] // 4
        classes = state["conf_mu_1.0.weight"].shape[0] // priors
    except (KeyError, ZeroDivisionError):
        raise ValueError("expected a checkpoint with loc_mu_1.0.weight and conf_mu_1.0.weight, found neither") from None
    components = sum(f"loc_mu_{k}.0.weight" in state for k in range(1, 65))
    names = tuple(labels) if labels else tuple(f"class {i}" for i in range(1, classes))
    if len(names) != classes - 1:
        raise ValueError(f"expected {classes - 1} labels, got {len(names)}")
    return Design("ssd300_vgg16", names, components, class_variance="conf_var_1.0.weight" in state)


def _shaped(state: dict[str, Tensor], name: str, shape: Sequence[int]) -> Tensor:
    """Return one tensor of a checkpoint. Raises ValueError where it has another shape."""
    if list(state[name].shape) != list(shape):
        raise ValueError(f"{name} has the shape {list(state[name].shape)}, this network needs {list(shape)}")
    return state[name]


def begin_from_features(network: MixtureSSD, weights: str | Path) -> None:
    """Copy the feature extractor's weights into the light backbone, where both have the same name and shape."""
    from export.matching.network import load as load_features

    learned = load_features(weights).detector.state_dict()
    own = network.backbone.state_dict()
    shared = {name: value for name, value in learned.items() if name in own and own[name].shape == value.shape}
    network.backbone.load_state_dict({**own, **shared})


def save(network: MixtureSSD, path: str | Path) -> None:
    """Store a network as float16, with the design that rebuilds it."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    named = trunk.set_apart(state, "backbone.trunk.", Path(path))
    torch.save({"design": asdict(network.design), "state": state, **named}, path)


def load(path: str | Path) -> MixtureSSD:
    """Return the network of a file of `save` or of a published checkpoint, in eval mode and float32.

    Raises FileNotFoundError, or ValueError with one sentence where the file holds something else.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"weights {path.name} not found; train them with: python -m export.mixtures.train --out {path.name}"
        )
    found = stored.read(path)
    if isinstance(found, dict) and {"design", "state"} <= set(found) <= {"design", "state", "trunk"}:
        network = MixtureSSD(Design(**{**found["design"], "labels": tuple(found["design"]["labels"])}))
        stored.fill(network, trunk.put_back(found, "backbone.trunk.", path), path.name)
        return network.eval()
    if isinstance(found, dict):
        return from_published(found)
    raise ValueError(f"expected weights of a mixture-density detector in {path.name}, got another file")
