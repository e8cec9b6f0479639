"""Reads a user's own checkpoint of diffusers' `UNet2DModel` from a local folder, as diffusers itself reads it.

The folder may be a pipeline's (`unet/config.json`, `scheduler/scheduler_config.json`), the U-Net's own, or a flat one
with both configurations side by side. Weights may be of one precision (`...fp16.safetensors`) or in several pieces, and
may be of older versions of diffusers. The scheduler's configuration tells what the network predicts and at which noise
levels; a scheduler of another process is refused. Nothing is fetched.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffusers import UNet2DModel
from torch import Tensor

from export import stored
from export.genie.network import PREDICTIONS, Design, ScoreNetwork

STEM = "diffusion_pytorch_model"
WEIGHTS = (f"{STEM}.safetensors", f"{STEM}.bin")
# The settings of a scheduler that set its noise levels; the others are about solvers.
NOISE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
# Schedulers of this process, x_t = alpha x_0 + sigma eps by `betas`: their first and last beta unless configured.
BETAS = {
    **dict.fromkeys(
        ("DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler",
         "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
         "DPMSolverMultistepScheduler", "DPMSolverMultistepInverseScheduler", "DPMSolverSinglestepScheduler",
         "DEISMultistepScheduler", "UniPCMultistepScheduler", "SASolverScheduler", "RePaintScheduler"),
        (1e-4, 0.02),
    ),
    **dict.fromkeys(
        ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler"),
        (0.00085, 0.012),
    ),
}  # fmt: skip
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # before diffusers 0.17
DECODERS = ("vqvae", "vae", "movq", "vqgan")  # folders of a pipeline whose network draws latents, not pixels
Say = Callable[[str], None]


def told(line: str) -> None:
    """Print a line to stderr, where it is no part of a command's answer."""
    print(line, file=sys.stderr, flush=True)


def read(
    folder: Path, *, prediction: str = "", null: int | None = None, head_width: int = 0, say: Say = told
) -> ScoreNetwork:
    """Return the score network of a folder, in eval mode and float32.

    prediction: `epsilon` or `v_prediction`; empty for what the scheduler's configuration says.
    null: the class label that the network was trained to take for no class; None where there is none, and no guidance.
    head_width: channels of a new curvature head, which gives 0; 0 for no head.
    say: is given a line for each setting that was ignored or guessed.
    Raises FileNotFoundError for missing files, ValueError for networks that are not of this process.
    """
    home = _home(folder)
    config = _settings(home / "config.json")
    found = config.get("_class_name", "UNet2DModel")
    if found != "UNet2DModel":
        raise ValueError(f"expected a UNet2DModel in {folder.name}/config.json, got {found}")
    _of_pixels(folder, home)
    noise = _noise(folder, home, say)
    prediction = prediction or noise.pop("prediction_type")
    if prediction not in PREDICTIONS:
        raise ValueError(f"expected a network that predicts epsilon or v_prediction, {folder.name} says {prediction!r}")
    known = set(inspect.signature(UNet2DModel.__init__).parameters) - {"self"}
    unet = {key: value for key, value in config.items() if key in known}
    if ignored := sorted(key for key in set(config) - known if not key.startswith("_")):
        say(f"config.json: ignored {', '.join(ignored)}, which are no settings of a UNet2DModel (EMA's own, say)")
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
    path = weights_file(folder)
    stored.fill(network.unet, _state(path), path.name)
    return network.eval()


def weights_file(folder: Path) -> Path:
    """Return the file of a folder's weights, or the index of their pieces.

    Raises FileNotFoundError where there is none, ValueError where several files could be meant.
    """
    home = _home(folder)
    for name in (name for plain in WEIGHTS for name in (plain, f"{plain}.index.json")):
        if (home / name).exists():
            return home / name
    for ending in ("safetensors", "bin"):
        variants = sorted(home.glob(f"{STEM}.*.{ending}"))
        if len(variants) > 1:
            names = ", ".join(path.name for path in variants)
            raise ValueError(f"{home.name} has several weights: {names}; rename the one that you mean to {WEIGHTS[0]}")
        if variants:
            return variants[0]
    raise FileNotFoundError(f"expected {' or '.join(WEIGHTS)} in the folder {home.name}, found neither")


def _home(folder: Path) -> Path:
    """Return the folder that holds the U-Net's config.json."""
    return folder / "unet" if (folder / "unet" / "config.json").exists() else folder


def _of_pixels(folder: Path, home: Path) -> None:
    """Check that the U-Net draws pixels. Raises ValueError where its pipeline decodes its answers."""
    for place in {folder, home.parent} if home.name.startswith("unet") else {folder}:
        for name in DECODERS:
            if (place / name / "config.json").exists():
                decoder = _settings(place / name / "config.json").get("_class_name", name)
                raise ValueError(
                    f"expected a network that draws pixels; {place.name} has {name}/, a {decoder}, beside it: what its "
                    "U-Net draws are latents for that to decode, which `sample` does not do"
                )


def _settings(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises FileNotFoundError, or ValueError where it holds something else."""
    if not path.exists():
        raise FileNotFoundError(
            f"expected {path.name} and {WEIGHTS[0]} in the folder {path.parent.name}, found no {path.name}; "
            "pass a folder as diffusers' save_pretrained writes it"
        )
    return stored.settings(path)


def _noise(folder: Path, home: Path, say: Say) -> dict[str, Any]:
    """Return the scheduler's configuration, its noise levels and `prediction_type` completed by its class's defaults.

    Without a configuration they are those of Ho et al. (2020), which `say` is told.
    Raises ValueError for a scheduler of another process.
    """
    run = home.parent.parent  # where training scripts of diffusers keep it: RUN/checkpoint-500/unet
    for place in (folder, folder / "scheduler", home.parent / "scheduler", run / "scheduler"):
        if (place / "scheduler_config.json").exists():
            break
    else:
        say(
            "found no scheduler_config.json: taken for a network that predicts epsilon, trained with the 1,000 linear "
            "betas from 0.0001 to 0.02 of Ho et al. (2020)"
        )
        place = None
    given = _settings(place / "scheduler_config.json") if place else {}
    name = given.get("_class_name", "DDPMScheduler")
    if name not in BETAS:
        raise ValueError(
            "expected a scheduler of the variance-preserving process with betas, such as DDPMScheduler, got "
            f"{name}: its networks answer another question, or at other noise levels, which `sample` cannot draw with"
        )
    if given.get("use_flow_sigmas"):
        raise ValueError(f"expected noise by betas, got {name} with use_flow_sigmas: its networks are of flow matching")
    start, end = BETAS[name]
    own = {"num_train_timesteps": 1000, "beta_start": start, "beta_end": end, "beta_schedule": "linear"}
    return {**own, "prediction_type": "epsilon", **{key: value for key, value in given.items() if value is not None}}


def _state(path: Path) -> dict[str, Tensor]:
    """Return the U-Net's weights under the names of today's diffusers. path: a file, or an index of pieces."""
    pieces = [path]
    if path.name.endswith(".index.json"):
        listed = stored.settings(path).get("weight_map")
        if not isinstance(listed, dict):
            raise ValueError(f"expected a weight_map in {path.name}, which names the file of each tensor")
        pieces = [path.parent / name for name in sorted(set(map(str, listed.values())))]
    state: dict[str, Tensor] = {}
    for piece in pieces:
        state |= stored.weights(stored.read(piece), piece.name, ("state_dict",))
    return {_named(key): value for key, value in state.items()}


def _named(key: str) -> str:
    """Return today's name of a tensor, which differs for attention before diffusers 0.17."""
    old = rf"(attentions\.\d+)\.({'|'.join(ATTENTION)})\.(weight|bias)$"
    return re.sub(old, lambda found: f"{found[1]}.{ATTENTION[found[2]]}.{found[3]}", key)
