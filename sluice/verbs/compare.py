"""The verb `compare`: how well images and texts agree.

Each image is seen whole and becomes one vector, each text becomes one vector (`sluice.models.text_embedder`). The
answer holds the cosine of every pair, and per image a ranking of the texts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sluice.errors import InvalidArgument, Refusal
from sluice.methods import grouping
from sluice.models import text_embedder
from sluice.models.image_grouper import Grouper
from sluice.process import decoding
from sluice.wire import pictures, stored_frames
from sluice.wire.calls import Call, Tensors, json_strings, strings
from sluice.wire.compare import Config, read

__all__ = ["Config", "compare"]


async def compare(call: Call, inputs: Any, config: Config) -> Tensors:
    """Compare every image with every text; tensors as in `ensembles/compare/config.pbtxt`.

    An image that cannot be read, or an id that is not stored, has rows of NaN and its reason in ERRORS; the others are
    answered. With keep_embeddings the gallery keeps the vectors of its frames, for `retrieve`.
    Raises InvalidArgument for a request that is wrong as a whole, before anything is asked of a network.
    """
    given, options = read(inputs, config)
    asked, check = pictures.asked(inputs, config), inputs.check_cancelled
    if options.keep_embeddings and asked.kind != "IDS":
        raise InvalidArgument("keep_embeddings is for stored frames; give IDS, or store the images first with `ingest`")
    words = await text_embedder.embed(call, given, options.templates, check, allow_unknown=options.allow_unknown)
    grouper = Grouper(call, config.in_flight, check)

    async def one(data: bytes) -> np.ndarray:
        return await grouper.embedding(await decoding.run(pictures.read_whole, data, config))

    answers = await pictures.answered(call, asked, config, check, one)
    good = [i for i, one in enumerate(answers) if not isinstance(one, Refusal)]
    found = [one for one in answers if not isinstance(one, Refusal)]
    vectors = np.full((len(answers), len(found[0]) if found else words.vectors.shape[1]), np.nan, np.float32)
    cosines = np.full((len(answers), len(given)), np.nan, np.float32)
    ranked = cosines.copy()
    if found:
        vectors[good] = found
    if found and given:
        cosines[good] = grouping.similarity(vectors[good], words.vectors)
        ranked[good] = grouping.ranking(cosines[good], words.scale)
    if found and options.keep_embeddings:
        await stored_frames.keep_embeddings(call, asked.ids(good), vectors[good], words.grouper)
    notes = {
        "templates": options.templates,
        "scale": words.scale,
        **words.notes(),
        "text_encoder": words.encoder,
    }
    return {
        "SIMILARITY": cosines,
        "PROBABILITIES": ranked,
        "IMAGE_EMBEDDINGS": vectors if options.embeddings else vectors[:0],
        "TEXT_EMBEDDINGS": words.vectors if options.embeddings else words.vectors[:0],
        "ERRORS": strings(str(one) if isinstance(one, Refusal) else "" for one in answers),
        "NOTES": json_strings([notes]),
        "MODEL": strings([words.grouper]),
    }
