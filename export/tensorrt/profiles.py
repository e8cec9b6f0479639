"""Holds the sizes that the engines accept, one table for every network, from which all TensorRT engines are built.

An engine accepts any size from the least to the greatest, and is tuned for the best. The greatest batch is the
`max_batch_size` of the model's config.pbtxt, and the best one is a batch that configs/tensorrt.pbtxt prefers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sluice import contracts

if TYPE_CHECKING:
    from export.entry import Network, Shape, Tensor

Range = tuple[int, int, int]  # least, best, greatest

# Network, or kind of network -> name of each free axis of its inputs -> sizes.
TABLE: dict[str, dict[str, Range]] = {
    # Canvases of `image_decoder`, whose longer side is at most 736 pixels.
    "feature_extractor": {"batch": (1, 4, 8), "height": (256, 480, 736), "width": (256, 640, 736)},
    "mixture_detector": {"batch": (1, 4, 8), "height": (256, 480, 736), "width": (256, 640, 736)},
    "ssd300_vgg16": {"batch": (1, 4, 8), "height": (300, 300, 300), "width": (300, 300, 300)},
    "image_grouper": {"batch": (1, 4, 8), "height": (224, 480, 736), "width": (224, 640, 736)},
    # One length, because the graph adds a table of 77 positions: NVIDIA's parser refuses a length that varies.
    # `text_embedder` pads to the length that the model's config says.
    "text_encoder": {"batch": (1, 64, 64), "length": (77, 77, 77)},
    # Both graphs of digits and streets, and networks of a user's own (`export.genie.rows`).
    "score_network": {"batch": (1, 16, 64)},
    # The four networks of `enhance`. CHROMA is as large as LUMA for RGB, half as large for YUV 4:2:0.
    "frame_network": {
        "batch": (1, 1, 4),
        "height": (16, 720, 1088),
        "width": (16, 1280, 1920),
        "rows": (8, 360, 1088),
        "columns": (8, 640, 1920),
    },
}


def shapes(name: str, inputs: Sequence[Tensor]) -> dict[str, tuple[Shape, Shape, Shape]]:
    """Return (least, best, greatest) shape per input, for `Network.profile`. name: row of `TABLE`."""
    row = TABLE[name]

    def shape(tensor: Tensor, which: int) -> Shape:
        return tuple(axis if isinstance(axis, int) else row[axis][which] for axis in tensor.axes)

    return {tensor.name: (shape(tensor, 0), shape(tensor, 1), shape(tensor, 2)) for tensor in inputs}


def fitted(network: Network) -> Network:
    """Return a network with the sizes that an engine of a user's own network must take: those of the canvases that its
    config.pbtxt names, or of the one length of texts that its configs/tensorrt.pbtxt does.

    A network whose configs name neither, or the table's, as those of ours, is returned as it is.
    """
    repository = network.root / "model_repository"
    if "TOKENS" in network.profile:
        config = contracts.served(repository, network.model or network.name, "tensorrt")
        length = contracts.tensors(config.input)["TOKENS"][1][0] if config else -1
        if length < 1:
            return network
        first, second, last = network.profile["TOKENS"]
        return replace(network, profile={"TOKENS": ((first[0], length), (second[0], length), (last[0], length))})
    from sluice import images  # here, since the table of networks is read without NumPy

    if network.name != images.Config.network or not contracts.parameters_among(("canvases",), repository, network.name):
        return network
    widths, heights = zip(*images.Config().for_network(repository).sizes, strict=True)
    sides = (min(heights), min(widths)), (heights[0], widths[0]), (max(heights), max(widths))
    ((name, batches),) = network.profile.items()
    least, best, greatest = ((shape[0], *side, 3) for shape, side in zip(batches, sides, strict=True))
    return replace(network, profile={name: (least, best, greatest)})
