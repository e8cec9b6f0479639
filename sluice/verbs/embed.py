"""The verb `embed`: encoded images in, their feature maps out.

The verb asks the models `image_decoder` and `feature_extractor` one after the other. It is code rather than an ensemble
so that it can take the options that plain JSON needs (`sluice.wire.plain_json`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sluice.wire.calls import Call, Tensors, json_object


async def embed(call: Call, inputs: Mapping[str, np.ndarray]) -> Tensors:
    """Return the feature map of each image of a request; tensors as in `ensembles/embed/config.pbtxt`.

    Raises InvalidArgument for an image that cannot be read, for images of one request that need canvases of unequal
    shape, and for options that the verb does not have.
    """
    json_object(inputs, known=("encoding", "dtype"))  # which `sluice.triton` has taken out
    seen = await call("image_decoder", {"ENCODED": inputs["ENCODED"]}, ["IMAGE", "GEOMETRY"])
    canvas, geometry = seen["IMAGE"], np.array(seen["GEOMETRY"])
    answer = await call("feature_extractor", {"IMAGE": canvas}, ["FEATURES"])
    return {"FEATURES": answer["FEATURES"], "GEOMETRY": geometry}
