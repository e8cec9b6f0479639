"""Tells which words the server's text encoder has learned, and which of the caller's words it has not.

sluice.words().known                        the words to choose from
sluice.words(["a giraffe"]).words.unknown   (("giraffe",),)
sluice.segment(...).words.said()            sentences about words that the answer cannot take into account
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import options
from ..answers.words import Words
from ..tensors import Call, Tensors, from_json, json_tensor, strings, take, texts
from .segment import Templates, check_templates, names

__all__ = ["MODEL", "Part", "Vocabulary", "answer", "joined", "requests"]

MODEL = "text_embedder"

_BATCH = 1_000  # texts per call


@dataclass(frozen=True)
class Vocabulary:
    """The answer of `words`.

    every:  True if the text encoder has learned every token of its tokenizer; then `known` is empty.
    tokens: how many of the tokenizer's tokens, which are words or pieces of words, it has learned.
    known:  the words to choose from, sorted.
    words:  which words of the texts that were sent it has learned.
    model:  version of the text encoder, "text_encoder/1/<12 hex digits>".
    """

    every: bool
    tokens: int
    known: tuple[str, ...]
    words: Words
    model: str = ""


class Part(NamedTuple):
    """The answer to one call.

    read:  for each text of the call, what the network reads in it.
    known: the vocabulary, with `all`, `tokens` and `words`.
    model: version of the text encoder.
    """

    read: list[Mapping[str, Any]]
    known: Mapping[str, Any]
    model: str


def requests(texts: Sequence[str] = (), templates: Templates | None = None) -> Iterator[Call]:
    """Yield the calls, at least one.

    texts:     names to check.
    templates: the sentences that the names will be put into; None to take them as they are.
    Raises InvalidRequest for names or templates that cannot be.
    """
    check_templates(templates)
    given = options.texts("texts", texts)
    given = names(given, "texts") if given else []
    sent = json_tensor({"templates": templates, "vectors": False, "vocabulary": True})
    for start in range(0, max(len(given), 1), _BATCH):
        part = {"TEXTS": strings(given[start : start + _BATCH])} if given else {}
        yield Call(MODEL, {**part, "OPTIONS": sent}, ("WORDS", "VOCABULARY", "MODEL"))


def answer(tensors: Tensors) -> Part:
    """Read the answer to one call."""
    return Part(
        [from_json(MODEL, one) for one in take(tensors, MODEL, "WORDS", None)],
        from_json(MODEL, take(tensors, MODEL, "VOCABULARY", 1)[0]),
        texts(take(tensors, MODEL, "MODEL", 2))[1],
    )


def joined(parts: Sequence[Part], texts: Sequence[str]) -> Vocabulary:
    """Join the answers to all calls about these texts into one."""
    read = [one for part in parts for one in part.read]
    places: dict[str, list[int]] = {}
    for place, one in enumerate(read):
        places.setdefault(one["key"], []).append(place)
    told = {name: [one[name] for one in read] for name in ("unknown", "ignored")}
    told["same"] = [group for group in places.values() if len(group) > 1]
    known = parts[0].known
    return Vocabulary(
        every=bool(known["all"]),
        tokens=int(known["tokens"]),
        known=tuple(known["words"]),
        words=Words.of(told, texts),
        model=parts[0].model,
    )
