"""Reads a vision network from a folder of transformers' save_pretrained: DINOv2, CLIP's vision side, ResNet, ConvNeXt.

The folder holds config.json, model.safetensors and, where it was kept, preprocessor_config.json with mean and standard
deviation of the pixels. Every map that the network tells (its hidden states and the last one) becomes an output.
"""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from export import stored
from export.entry import ExportError
from export.features import source
from export.features.source import PROBE, Source
from export.files import digest
from export.onnx_file import OPSET

WEIGHTS = "model.safetensors"
SHARDED = "model.safetensors.index.json"
LAST = "last_hidden_state"
VISION_SIDES = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel"}  # of networks that also read texts
EXAMPLE = (2, 3, PROBE[1], PROBE[0])
# Parts that make one vector of the map, which a checkpoint for another task lacks without harm.
POOLING = ("pooler.", "head.")


class Maps(nn.Module):
    """A vision network of transformers as a function of pixels alone.

    forward: float32 [B, 3, H, W] -> the hidden states in order, then the last one, in the network's own layout.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        taken = inspect.signature(network.forward).parameters
        # Position embeddings of other sizes of image are interpolated; networks without this argument always do so.
        self.more = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in taken else {}

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        found = self.network(pixel_values=pixels, output_hidden_states=True, **self.more)
        return (*found.hidden_states, found[LAST])


def read(folder: Path) -> Source:
    """Return the network of a folder.

    Raises ExportError with one sentence and the remedy where the folder holds no such network, or weights of another.
    """
    network = load(folder)
    module = Maps(network).eval()
    with torch.no_grad():
        try:
            count = len(module(torch.zeros(EXAMPLE)))
        except Exception as error:  # the network's own code can raise anything
            raise ExportError(
                f"{folder} cannot be run on images ({_first(error)}); export it to ONNX yourself and give that file"
            ) from None
    names = [f"hidden_states.{index}" for index in range(count - 1)] + [LAST]
    found = source.read(_traced(module, names), str(folder), digest(_weights(folder)))
    mean, std = pixels(folder)

    def run(image: np.ndarray, name: str) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(image))[names.index(name)].numpy()

    return Source(
        found.model, found.image, found.nchw, found.size, found.origin, found.sha256, mean=mean, std=std, run=run
    )


def load(folder: Path) -> nn.Module:
    """Return the vision network of a folder, in eval mode and float32. Raises ExportError as `read` does."""
    import transformers

    transformers.utils.logging.set_verbosity_error()  # the text side of CLIP would be reported, tensor by tensor
    transformers.utils.logging.disable_progress_bar()
    try:
        _weights(folder)
        kind = stored.settings(folder / "config.json").get("model_type", "")
        maker: Any = getattr(transformers, VISION_SIDES.get(str(kind), "AutoModel"))
        network, told = maker.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            attn_implementation="eager",
            dtype=torch.float32,
        )
    except ExportError:
        raise
    except Exception as error:  # a damaged folder can fail in transformers' readers in any way
        raise ExportError(f"{folder} holds no network that transformers reads ({_first(error)})") from None
    missing = sorted(name for name in told["missing_keys"] if not name.startswith(POOLING))
    if missing:
        raise ExportError(
            f"{folder} has a config.json of {kind} and weights of another design: {len(missing)} tensors are missing, "
            f"{', '.join(missing[:3])} among them; give the config.json that was saved with the weights"
        )
    return network.eval()


def pixels(folder: Path) -> tuple[source.Pixels | None, source.Pixels | None]:
    """Return mean and standard deviation of pixels from 0 to 1, None where the folder does not say them."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return None, None
    try:
        said = stored.settings(path)
        mean, std = (tuple(map(float, said[name])) for name in ("image_mean", "image_std"))
        assert len(mean) == len(std) == 3
        factor = float(said.get("rescale_factor", 1 / 255)) * 255
    except (KeyError, TypeError, ValueError, AssertionError):
        return None, None
    return tuple(m / factor for m in mean), tuple(s / factor for s in std)  # type: ignore[return-value]  # three each


def _weights(folder: Path) -> Path:
    """Return the file of weights. Raises ExportError where there is none, or several."""
    if not (folder / "config.json").is_file():
        raise ExportError(f"{folder} has no config.json; give a folder that transformers' save_pretrained wrote")
    if (folder / SHARDED).is_file():
        raise ExportError(f"{folder} has its weights in several files; save it again with max_shard_size='100GB'")
    if not (folder / WEIGHTS).is_file():
        raise ExportError(f"{folder} has no {WEIGHTS}; save the network there with save_pretrained")
    return folder / WEIGHTS


def _traced(module: Maps, names: Sequence[str]) -> onnx.ModelProto:
    """Return the graph of a network with free batch and sides. Raises ExportError where it cannot be traced."""
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracing exporter is meant, see export.graph
            torch.onnx.export(
                module,
                (torch.zeros(EXAMPLE),),
                buffer,  # type: ignore[arg-type]  # typed as a path; this exporter writes into a file, too
                dynamo=False,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=list(names),
                dynamic_axes={"pixels": {0: "batch", 2: "height", 3: "width"}, **{n: {0: "batch"} for n in names}},
            )
    except Exception as error:  # the exporter fails in any way on what it does not know
        raise ExportError(
            f"the network cannot be traced ({_first(error)}); export it to ONNX yourself and give that file"
        ) from None
    return onnx.load_model_from_string(buffer.getvalue())


def _first(error: Exception) -> str:
    """Return the first line of an error, at most 200 characters of it."""
    return (str(error).strip().split("\n", 1)[0] or type(error).__name__)[:200]
