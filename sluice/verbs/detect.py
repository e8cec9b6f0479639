"""The verb `detect`, and the model `uncertainty_aggregator` behind it: pictures in, objects and uncertainties out.

A picture goes to `object_detector`, which is two models one after the other: `mixture_detector` gives raw heads, 4.5 MB
of them, and `uncertainty_aggregator` makes the few objects of them. So heads never leave the server unless somebody
asks the first model by its name. Heads of any other detector may be brought to the second. The maths is in
`sluice.methods.mixtures.objects`.
"""

from __future__ import annotations

from typing import Any

from sluice.errors import InvalidArgument, NotFound, Refusal
from sluice.methods.mixtures.options import Options
from sluice.models.object_detector import Config, Detected, described, detect_one
from sluice.models.uncertainty_aggregator import objects
from sluice.options import text
from sluice.wire import stored_frames
from sluice.wire.calls import Call, Tensors, each, json_object, strings


async def detect(call: Call, inputs: Any, config: Config) -> Tensors:
    """What is in each image and how sure that is; tensors as in `ensembles/detect/config.pbtxt`.

    An image that cannot be read, or an id that is not stored, has no objects and its reason in ERRORS; the others are
    answered. With keep_scores the gallery keeps what was found, for `select`.
    """
    given = [name for name in ("IMAGES", "IDS") if name in inputs]
    if len(given) != 1:
        raise InvalidArgument(f"give IMAGES or IDS, exactly one of them; got {' and '.join(given) or 'neither'}")
    batch = list(inputs[given[0]].reshape(-1))
    if not 0 < len(batch) <= config.max_images:
        raise InvalidArgument(f"a request holds 1 to {config.max_images} images, got {len(batch)}; split it")
    options = json_object(inputs)
    keep = _keeps(options, given[0])
    Options.from_json(options, without=("shown",))  # that is for `detect` to say
    if options.get("labels"):
        await described(call, config, options)  # which refuses unknown labels, once and not image by image

    async def one(item: Any) -> Detected | Refusal:
        try:
            data = bytes(item) if given[0] == "IMAGES" else await stored_frames.image(call, text(item))
            return await detect_one(call, data, config, options)
        except (InvalidArgument, NotFound) as refusal:
            return refusal

    found = await each(batch, one, config.in_flight, inputs.check_cancelled)
    good = [(i, one) for i, one in enumerate(found) if isinstance(one, Detected)]
    if keep and good:
        ids, seen = [text(batch[i]) for i, _ in good], [one.detections for _, one in good]
        await stored_frames.keep_scores(call, ids, good[0][1].model, good[0][1].labels, seen)
    labels, model = (good[0][1].labels, good[0][1].model) if good else await described(call, config, options)
    return {
        **objects([one.detections for _, one in good], [i for i, _ in good]),
        "SUMMARIES": strings(one.summary if isinstance(one, Detected) else "" for one in found),
        "ERRORS": strings("" if isinstance(one, Detected) else str(one) for one in found),
        "LABELS": strings(labels),
        "MODEL": strings([model]),
    }


def _keeps(options: dict[str, Any], kind: str) -> bool:
    """Whether the gallery is to keep what is found; takes keep_scores out of the options."""
    keep = options.pop("keep_scores", False)
    if not isinstance(keep, bool):
        raise InvalidArgument(f"keep_scores is true or false, got {keep!r}")
    if keep and kind != "IDS":
        raise InvalidArgument("keep_scores is for stored frames; give IDS, or store the images first with `ingest`")
    if keep and options:
        raise InvalidArgument(
            f"keep_scores stores what every frame of the gallery is compared by, so it takes no other options; got "
            f"{sorted(options)}"
        )
    return keep
