"""Makes smaller networks of trained ones: measures the channels of each convolution, and removes the least useful.

Only channels inside a block are removed: those between the two convolutions of a U-SNet block, and those that each
dense convolution of an RRRDB adds. The skip around a block stays, so a block without any channels disappears (U-SNet,
its last bias too) or becomes a single convolution (RRRDB).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from export.video.network import Design, Enhancer
from export.video.rrdb import DenseBlock
from export.video.usnet import Residual


def units(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Return the convolutions whose channels may be removed, by name, in order."""
    found: dict[str, nn.Conv2d] = {}
    for name, module in network.named_modules():
        if isinstance(module, Residual):
            found[f"{name}.first"] = module.first
        elif isinstance(module, DenseBlock):
            for index in range(1, module.count):
                conv = module.get_submodule(f"conv{index}")
                assert isinstance(conv, nn.Conv2d)
                found[f"{name}.conv{index}"] = conv
    return found


def contributions(network: nn.Module, loss: Callable[[int], Tensor], batches: int) -> dict[str, Tensor]:
    """Return how much the loss would change without each channel, float32 [channels] by name of the convolution.

    To first order this is the mean over pictures of | sum over pixels of activation times its gradient |.
    loss: number of a batch -> the loss of `network` on that batch. batches: how many are measured.
    Source: Molchanov et al., 2017, eq. 8.
    """
    seen: dict[str, Tensor] = {}
    found = {name: torch.zeros(conv.out_channels) for name, conv in units(network).items()}

    def watch(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _given: object, made: Tensor) -> None:
            made.retain_grad()
            seen[name] = made

        return keep

    hooks = [conv.register_forward_hook(watch(name)) for name, conv in units(network).items()]
    try:
        for batch in range(batches):
            network.zero_grad(set_to_none=True)
            loss(batch).backward()
            for name, made in seen.items():
                assert made.grad is not None  # `keep` has asked for it
                found[name] += (made.detach() * made.grad).float().sum((2, 3)).abs().mean(0) / batches
    finally:
        for hook in hooks:
            hook.remove()
        network.zero_grad(set_to_none=True)
    return found


def least(found: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return the channels that stay when the `share` that contributes least goes, indices by convolution's name."""
    every = torch.cat(list(found.values()))
    gone = int(share * len(every))
    mark = every.sort().values[gone - 1] if gone else every.new_tensor(-1.0)
    return {name: torch.nonzero(value > mark).flatten() for name, value in found.items()}


def pruned(enhancer: Enhancer, kept: Mapping[str, Tensor]) -> Enhancer:
    """Return the network with only these channels of each convolution. Raises ValueError for networks not of ours."""
    if enhancer.design.kind == "usnet":
        return _usnet(enhancer, kept)
    if enhancer.design.kind == "rrrdb":
        return _rrrdb(enhancer, kept)
    raise ValueError(f"expected a network of kind usnet or rrrdb, got {enhancer.design.kind}; others are not pruned")


def _usnet(enhancer: Enhancer, kept: Mapping[str, Tensor]) -> Enhancer:
    """Return `pruned` of a U-SNet."""
    state = dict(enhancer.network.state_dict())
    hidden = []
    for index, before in enumerate(enhancer.design.settings["hidden"]):
        name = f"blocks.{index}"
        stay = kept[f"{name}.first"] if before else torch.zeros(0, dtype=torch.long)
        hidden.append(len(stay))
        if not len(stay):
            state = {key: value for key, value in state.items() if not key.startswith(f"{name}.")}
            continue
        for part in ("weight", "bias"):
            state[f"{name}.first.{part}"] = state[f"{name}.first.{part}"][stay]
        state[f"{name}.second.weight"] = state[f"{name}.second.weight"][:, stay]
    return _built(Design("usnet", {**enhancer.design.settings, "hidden": hidden}), state)


def _rrrdb(enhancer: Enhancer, kept: Mapping[str, Tensor]) -> Enhancer:
    """Return `pruned` of an RRRDB."""
    settings, state = enhancer.design.settings, dict(enhancer.network.state_dict())
    made = {key: value for key, value in state.items() if not re.match(r"body\.", key)}
    growth: list[list[list[int]]] = []
    for block, subs in enumerate(settings["growth"]):
        growth.append([])
        for sub, convolutions in enumerate(subs, start=1):
            name = f"body.{block}.rdb{sub}"
            inputs, start = torch.arange(settings["width"]), settings["width"]
            sizes: list[int] = []
            for index in range(1, len(convolutions) + 2):
                last = index == len(convolutions) + 1
                stay = torch.arange(settings["width"]) if last else kept[f"{name}.conv{index}"]
                if len(stay):
                    new = f"{name}.conv{len(sizes) + 1}"
                    made[f"{new}.weight"] = state[f"{name}.conv{index}.weight"][stay][:, inputs]
                    made[f"{new}.bias"] = state[f"{name}.conv{index}.bias"][stay]
                if not last:
                    inputs = torch.cat([inputs, start + stay])
                    start += convolutions[index - 1]
                    if len(stay):
                        sizes.append(len(stay))
            growth[-1].append(sizes)
    return _built(Design("rrrdb", {**settings, "growth": growth}), made)


def _built(design: Design, state: Mapping[str, Tensor]) -> Enhancer:
    """Return a network of a design with these weights, in eval mode."""
    network = design.build()
    network.load_state_dict(state)
    return Enhancer(design, network.eval())


def cost(enhancer: Enhancer) -> tuple[int, float]:
    """Return the number of served parameters, and the multiply-adds per pixel of the input."""
    total = 0

    def count(module: nn.Module, _given: object, made: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += made[0, 0].numel() * module.weight.numel()

    side = 64
    convolutions = [module for module in enhancer.network.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(count) for module in convolutions]
    with torch.no_grad():
        enhancer.network.eval()(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    served = (p.numel() for name, p in enhancer.network.named_parameters() if not name.startswith("branches."))
    return sum(served), total / side**2
