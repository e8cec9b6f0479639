"""Which words the server's text encoder has learned: what it tells about all, and what a verb's answer says of its own.

sluice.words().known                        the words to choose from
sluice.words(["a giraffe"]).words.unknown   (("giraffe",),)
sluice.segment(...).words.said()            sentences about what the answer cannot mean
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..answers.words import Words
from ..options import texts as listed
from ..tensors import Call, Tensors, from_json, json_tensor, strings, take
from ..tensors import texts as decoded
from .segment import Templates, check_templates, names

__all__ = ["MODEL", "Part", "Vocabulary", "answer", "joined", "requests"]

MODEL = "text_embedder"

_BATCH = 1_000  # texts of a call


@dataclass(frozen=True)
class Vocabulary:
    """The answer of `words`.

    every:  whether the text encoder has learned all that its tokenizer can say; then `known` is empty.
    tokens: how many of the tokenizer's pieces of words it has learned.
    known:  the words to choose from, sorted.
    words:  about the texts that were given.
    model:  the text encoder, "text_encoder/1/<12 hex digits>".
    """

    every: bool
    tokens: int
    known: tuple[str, ...]
    words: Words
    model: str = ""


class Part(NamedTuple):
    """One call's answer. read: of each of its texts what the network reads."""

    read: list[Mapping[str, Any]]
    known: Mapping[str, Any]
    model: str


def requests(texts: Sequence[str] = (), templates: Templates | None = None) -> Iterator[Call]:
    """One call at least. texts: names to be checked. templates: the sentences that they will be put into; None: none.

    Raises InvalidRequest for texts that cannot be.
    """
    check_templates(templates)
    given = listed("texts", texts)
    given = names(given, "texts") if given else []
    options = json_tensor({"templates": templates, "vectors": False, "vocabulary": True})
    for start in range(0, max(len(given), 1), _BATCH):
        part = {"TEXTS": strings(given[start : start + _BATCH])} if given else {}
        yield Call(MODEL, {**part, "OPTIONS": options}, ("WORDS", "VOCABULARY", "MODEL"))


def answer(tensors: Tensors) -> Part:
    return Part(
        [from_json(MODEL, one) for one in take(tensors, MODEL, "WORDS", None)],
        from_json(MODEL, take(tensors, MODEL, "VOCABULARY", 1)[0]),
        decoded(take(tensors, MODEL, "MODEL", 2))[1],
    )


def joined(parts: Sequence[Part], texts: Sequence[str]) -> Vocabulary:
    """The answers to all calls about these texts as one."""
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
