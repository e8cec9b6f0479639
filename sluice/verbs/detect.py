"""The verb `detect`: images in, objects with their uncertainties out.

An image goes to `object_detector`, an ensemble of two models: `mixture_detector` gives raw heads, 4.5 MB per image,
and `uncertainty_aggregator` makes the few objects of them. So heads leave the server only for callers that ask the
first model by its name; heads of any other detector may be sent to the second. The maths is in
`sluice.methods.mixtures`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.mixtures.options import Options
from sluice.models.object_detector import Config, Detected, described, detect_one
from sluice.models.uncertainty_aggregator import objects
from sluice.options import flag
from sluice.wire import pictures, stored_frames
from sluice.wire.calls import Call, Tensors, json_object, strings

__all__ = ["Config", "detect"]


async def detect(call: Call, inputs: Any, config: Config) -> Tensors:
    """Find the objects of each image, and how sure they are; tensors as in `ensembles/detect/config.pbtxt`.

    An image that cannot be read, or an id that is not stored, has no objects and its reason in ERRORS; the others are
    answered. With keep_scores the gallery keeps what was found, for `select`.
    Raises InvalidArgument for a request that is wrong as a whole, before anything is asked of a network.
    """
    asked, options = pictures.asked(inputs, config), json_object(inputs)
    keep = _keeps(options, asked.kind)
    Options.from_json(options, without=("shown",))  # `detect` itself says how images are shown to the network
    if options.get("labels"):
        await described(call, config, options)  # refuses unknown labels once, rather than image by image

    async def one(data: bytes) -> Detected:
        return await detect_one(call, data, config, options)

    found = await pictures.answered(call, asked, config, inputs.check_cancelled, one)
    good = [i for i, one in enumerate(found) if isinstance(one, Detected)]
    seen = [one for one in found if isinstance(one, Detected)]
    labels, model = (seen[0].labels, seen[0].model) if seen else await described(call, config, options)
    if keep and seen:
        detections = [one.detections for one in seen]
        await stored_frames.keep_scores(call, asked.ids(good), model, labels, detections)
    return {
        **objects([one.detections for one in seen], good),
        "FAINT": np.array([one.detections.faint if isinstance(one, Detected) else np.nan for one in found], np.float32),
        "SUMMARIES": strings(one.summary if isinstance(one, Detected) else "" for one in found),
        "ERRORS": strings("" if isinstance(one, Detected) else str(one) for one in found),
        "LABELS": strings(labels),
        "MODEL": strings([model]),
    }


def _keeps(options: dict[str, Any], kind: str) -> bool:
    """Take keep_scores out of the options; return whether the gallery is to keep what is found.

    kind: IMAGES or IDS. Raises InvalidArgument for images that are not stored, and for other options beside it.
    """
    keep = flag("keep_scores", options.pop("keep_scores", False))
    if keep and kind != "IDS":
        raise InvalidArgument("keep_scores is for stored frames; give IDS, or store the images first with `ingest`")
    if keep and options:
        raise InvalidArgument(
            f"keep_scores stores what every frame of the gallery is compared by, so it takes no other options; got "
            f"{sorted(options)}"
        )
    return keep
