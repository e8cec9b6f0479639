"""The loops of the verbs `retrieve` and `match`: pictures in, network and gallery asked, answers out.

Every function takes `call(model, inputs, outputs)`, which asks another model: see `sluice.wire.calls`.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from sluice.errors import InvalidArgument
from sluice.frames import Search
from sluice.methods.grouping.prompts import TEMPLATES
from sluice.models import text_embedder
from sluice.models.feature_extractor import templates
from sluice.models.text_embedder import Words
from sluice.options import flag
from sluice.wire import stored_frames
from sluice.wire.calls import Call, Tensors, json_object, json_strings, texts
from sluice.wire.query import QUERY, Config

OPTIONS = (*(field.name for field in fields(Search)), "templates", "allow_unknown")


async def words(
    call: Call, inputs: Any, templates: Any, config: Config, allow_unknown: bool | None = None
) -> Words | None:
    """The TEXTS of a request as vectors; None where there are none. templates, allow_unknown: as in `retrieve`'s
    OPTIONS, None where they were not given.

    Raises InvalidArgument naming the text at fault, or where this server ranks by no words.
    """
    given = texts(inputs, "TEXTS")
    if given is None:
        if templates is not None:
            raise InvalidArgument("templates are sentences for TEXTS; give some, or leave templates out")
        if allow_unknown is not None:
            raise InvalidArgument("allow_unknown is about TEXTS; give some, or leave allow_unknown out")
        return None
    if not config.texts:
        raise InvalidArgument("this server does not rank by words: give ROIS, or switch on `texts` of `retrieve`")
    if not 0 < len(given) <= config.max_texts:
        raise InvalidArgument(f"a request holds 1 to {config.max_texts} texts, got {len(given)}; split it")
    if templates is not None and templates not in tuple(TEMPLATES):
        raise InvalidArgument(f"templates is null or one of {', '.join(TEMPLATES)}, got {templates!r:.80}")
    check = inputs.check_cancelled
    return await text_embedder.embed(call, given, templates, check, allow_unknown=bool(allow_unknown))


# ------------------------------------------------------------------------------------------------ the verbs


async def retrieve(call: Call, inputs: Any, config: Config) -> Tensors:
    """The stored frames that match best, by regions, by words or by both; tensors as in
    `ensembles/retrieve/config.pbtxt`."""
    options = json_object(inputs)
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise InvalidArgument(f"OPTIONS has {', '.join(unknown)!s:.200}; known are: {', '.join(OPTIONS)}")
    allow_unknown = flag("allow_unknown", options["allow_unknown"]) if "allow_unknown" in options else None
    options.pop("allow_unknown", None)
    said = await words(call, inputs, options.pop("templates", None), config, allow_unknown)
    query = vectors = None
    more: dict[str, Any] = {}
    if said is not None:
        more |= said.notes()
        options["embedder"] = said.grouper
        vectors = said.vectors
    if said is None or any(name in inputs for name in QUERY):
        query, told = await templates(call, inputs, config)
        more |= {"notes": told} if told else {}
    answer = await stored_frames.search(call, options, query, vectors)
    if more:
        searched = json.loads(answer["SEARCHED"][0])
        notes = [*searched.get("notes", ()), *more.get("notes", ())]
        searched |= {**more, "notes": notes} if notes else more
        answer = {**answer, "SEARCHED": json_strings([searched])}
    return answer
