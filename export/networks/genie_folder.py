"""Reads a user's own checkpoint of diffusers' `UNet2DModel` from a local folder.

Taken are a pipeline's folder (`unet/config.json`, `scheduler/scheduler_config.json`), the U-Net's own, and the flat
form with both configurations side by side. What the network predicts and its noise levels stand in the scheduler's
configuration. Nothing is fetched.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from export.networks.genie import PREDICTIONS, Design, ScoreNetwork

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
# What of a scheduler's configuration sets its noise levels; the rest is about other solvers.
NOISE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")


def read(folder: Path, *, prediction: str = "", null: int | None = None, head_width: int = 0) -> ScoreNetwork:
    """The score network of a folder, eval mode, float32; with `head_width`, with a curvature head that gives 0.

    prediction: `epsilon` or `v_prediction`, in the place of what the scheduler's configuration says.
    null: the class label that the network was trained to take for none; without it there is no guidance.
    Raises FileNotFoundError for missing files, ValueError for networks that are not of this process.
    """
    home = _home(folder)
    config = _settings(home / "config.json")
    found = config.get("_class_name", "UNet2DModel")
    if found != "UNet2DModel":
        raise ValueError(f"expected a UNet2DModel in {folder.name}/config.json, got {found}")
    noise = _scheduler(folder, home)
    said = noise.get("prediction_type", "epsilon")
    prediction = prediction or said
    if prediction not in PREDICTIONS:
        raise ValueError(f"expected a network that predicts epsilon or v_prediction, {folder.name} says {prediction!r}")
    unet = {key: value for key, value in config.items() if not key.startswith("_")}
    size = unet.get("sample_size") or 32
    if not isinstance(size, int):
        if size[0] != size[1]:
            raise ValueError(f"expected a network for square images, got sample_size {size}")
        size = size[0]
    labels = int(unet.get("num_class_embeds") or 0)
    design = Design(
        unet=unet,
        channels=unet.get("in_channels", 3),
        size=size,
        prediction=prediction,
        classes=labels if null is None else labels - 1,
        null=null,
        noise={key: noise[key] for key in NOISE if noise.get(key) is not None},
        head_width=head_width,
    )
    network = ScoreNetwork(design)
    missing, unknown = network.unet.load_state_dict(_state(weights_file(folder)), strict=False)
    if missing or unknown:
        raise ValueError(
            f"the weights in {folder.name} are not those of its config.json; missing: {missing[:4]}, "
            f"not known: {unknown[:4]}"
        )
    return network.eval()


def weights_file(folder: Path) -> Path:
    """Where a folder keeps its weights. Raises FileNotFoundError."""
    home = _home(folder)
    for name in WEIGHTS:
        if (home / name).exists():
            return home / name
    raise FileNotFoundError(f"expected {' or '.join(WEIGHTS)} in the folder {home.name}, found neither")


def _home(folder: Path) -> Path:
    return folder / "unet" if (folder / "unet" / "config.json").exists() else folder


def _settings(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(
            f"expected {path.name} and {WEIGHTS[0]} in the folder {path.parent.name}, found no {path.name}; "
            "pass a folder as diffusers' save_pretrained writes it"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} must hold a JSON object; got a {type(found).__name__}")
    return found


def _scheduler(folder: Path, home: Path) -> dict[str, Any]:
    """The scheduler's configuration; that of Ho et al. (2020) where the folder has none."""
    for place in (folder, folder / "scheduler", home.parent / "scheduler"):
        if (place / "scheduler_config.json").exists():
            return _settings(place / "scheduler_config.json")
    return {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def _state(weights: Path) -> dict[str, torch.Tensor]:
    if weights.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(weights)
    return torch.load(weights, map_location="cpu", weights_only=True)
