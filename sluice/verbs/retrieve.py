"""The verb `retrieve`: the stored frames that match regions of a query, words, or both."""

from __future__ import annotations

import json
from typing import Any

from sluice.models import feature_extractor, text_embedder
from sluice.wire import query, stored_frames
from sluice.wire.calls import Call, Tensors, json_strings
from sluice.wire.query import Config
from sluice.wire.retrieve import read

__all__ = ["Config", "retrieve"]


async def retrieve(call: Call, inputs: Any, config: Config) -> Tensors:
    """Rank stored frames; tensors as in `ensembles/retrieve/config.pbtxt`.

    Raises InvalidArgument for a request that is wrong, before anything is asked of a network; and as
    `feature_extractor.templates` and `text_embedder.embed` do.
    """
    request = read(inputs, config)
    wanted = request.texts is None or any(name in inputs for name in query.QUERY)
    regions = query.read(inputs, config) if wanted else None
    options, more = request.search, {}
    vectors = templates = None
    if request.texts is not None:
        wording, check = request.wording, inputs.check_cancelled
        words = await text_embedder.embed(
            call, request.texts, wording.templates, check, allow_unknown=wording.allow_unknown
        )
        vectors, more = words.vectors, words.notes()
        options = {**options, "embedder": words.grouper}
    told: list[str] = []
    if regions is not None:
        templates, told = await feature_extractor.templates(call, regions, config)
    answer = await stored_frames.search(call, options, templates, vectors)
    if more or told:
        searched = json.loads(answer["SEARCHED"][0])
        notes = [*searched.get("notes", ()), *told]
        searched |= {**more, "notes": notes} if notes else more
        answer = {**answer, "SEARCHED": json_strings([searched])}
    return answer
