"""The verb `compare`: how well pictures and texts agree.

Each picture is seen whole and becomes one vector, each text becomes one (`sluice.text_embeddings`); their cosines are
the answer, and a ranking of the texts for each picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice import decoding, grouping, ingestion, segmentation_images, text_embeddings, vocabulary
from sluice.calls import Call, Tensors, json_object, json_strings, strings, text, texts
from sluice.errors import InvalidArgument, Refusal
from sluice.grouping_prompts import TEMPLATES
from sluice.segmentation_images import Grouper

OPTIONS = ("templates", "embeddings", "keep_embeddings", "allow_unknown")


@dataclass(frozen=True)
class Config(segmentation_images.Config):
    """How the network sees pictures, and limits of one request."""

    max_images: int = 256
    max_texts: int = 1_000


async def compare(call: Call, inputs: Any, config: Config) -> Tensors:
    """Cosine of every picture with every text; tensors as in `ensembles/compare/config.pbtxt`.

    A picture that cannot be read, or an id that is not stored, has rows of NaN and its reason in ERRORS; the others are
    answered. With keep_embeddings the gallery keeps the vectors of its frames, for `retrieve`.
    Raises InvalidArgument for a request that is wrong as a whole, before anything is asked of a network.
    """
    given, templates, wanted, keep, allow_unknown = _read(inputs, config)
    kind, batch = segmentation_images.asked(inputs, config)
    if keep and kind != "IDS":
        raise InvalidArgument("keep_embeddings is for stored frames; give IDS, or store the images first with `ingest`")
    check = inputs.check_cancelled
    words = await text_embeddings.embed(call, given, templates, check, allow_unknown=allow_unknown)
    grouper = Grouper(call, config.in_flight, check)

    async def one(data: bytes) -> np.ndarray:
        windows, _ = await decoding.run(segmentation_images.read, data, config)
        return await grouper.embedding(windows[0])

    answers = await segmentation_images.answered(call, inputs, config, one)
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
    if found and keep:
        await ingestion.keep_embeddings(call, [text(batch[i]) for i in good], vectors[good], words.grouper)
    notes = {
        "templates": templates,
        "scale": words.scale,
        **words.notes(),
        "text_encoder": words.encoder,
    }
    return {
        "SIMILARITY": cosines,
        "PROBABILITIES": ranked,
        "IMAGE_EMBEDDINGS": vectors if wanted else vectors[:0],
        "TEXT_EMBEDDINGS": words.vectors if wanted else words.vectors[:0],
        "ERRORS": strings(str(one) if isinstance(one, Refusal) else "" for one in answers),
        "NOTES": json_strings([notes]),
        "MODEL": strings([words.grouper]),
    }


def _read(inputs: Mapping[str, np.ndarray], config: Config) -> tuple[list[str], str | None, bool, bool, bool]:
    """Texts, templates, whether the vectors are wanted, whether the gallery is to keep those of the frames, and whether
    unknown words are allowed."""
    options = json_object(inputs)
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise InvalidArgument(f"OPTIONS has {unknown}; known are: {', '.join(OPTIONS)}")
    templates, (wanted, keep, allow) = options.get("templates"), (vocabulary.flag(options, one) for one in OPTIONS[1:])
    if templates is not None and templates not in tuple(TEMPLATES):
        raise InvalidArgument(f"templates is null or one of {', '.join(TEMPLATES)}, got {templates!r}")
    count = inputs["TEXTS"].size if "TEXTS" in inputs else 0
    if count > config.max_texts:
        raise InvalidArgument(f"a request holds 1 to {config.max_texts:,} texts, got {count:,}; split it")
    if not (count or wanted or keep):
        raise InvalidArgument("give TEXTS, one at least, or ask for embeddings alone with the option embeddings: true")
    return texts(inputs, "TEXTS") or [], templates, wanted, keep, allow
