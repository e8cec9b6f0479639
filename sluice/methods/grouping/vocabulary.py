"""The words that a text encoder has learned, and the check that a name has no others.

A small network learns a few of the tokenizer's 49,408 tokens. All others share one vector, so that 'dog' and 'giraffe'
are the same to the network, and 'car park' is 'car'. The exporter writes the learned tokens into the graph of the text
encoder (`MARK`, `LISTED`). A name with a word that was not learned is answered only to a caller who allows it.

A word is known if each of its tokens was learned, and a name is known if each of its words is. Articles, prepositions
and punctuation do not count, unless the name holds nothing else. The network reads on over those that were not learned,
and the answer says so.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.grouping import tokens
from sluice.methods.grouping.pairs import VOCABULARY, Pairs
from sluice.versions import network_record

MARK = "sluice.learned_tokens"  # metadata of a graph: numbers and ranges of learned tokens, or ALL
LISTED = "sluice.words"  # metadata of a graph: words of its training, for people who look for a word
ALL = "all"
UNLEARNED = -1  # stands for every token that was not learned
MOST_SAID = 8  # most unknown names that one message lists

APART = frozenset((
    "a", "an", "the", "about", "above", "across", "after", "against", "along", "amid", "among", "around", "at",
    "before", "behind", "below", "beneath", "beside", "between", "beyond", "by", "down", "during", "for", "from", "in",
    "inside", "into", "near", "of", "off", "on", "onto", "out", "outside", "over", "past", "through", "to", "toward",
    "towards", "under", "underneath", "until", "up", "upon", "via", "with", "within", "without",
))  # fmt: skip


class Reading(NamedTuple):
    """The words of a text that the network has not learned, as they were cleaned, each once.

    unknown: words that make the text unknown. ignored: articles, prepositions and punctuation, which do not count.
    """

    unknown: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The vocabulary of one text encoder.

    learned: bool [49408], the tokens that were learned; None means all of them. listed: words of the training.
    pairs: of a network with a vocabulary of its own; None for those that Sluice ships.
    """

    learned: np.ndarray | None = None
    listed: tuple[str, ...] = ()
    pairs: Pairs | None = None

    @functools.cached_property
    def tokenizer(self) -> tokens.Tokenizer:
        """Return the tokenizer of the network; that of the pairs which Sluice ships is one for the whole process."""
        return tokens.tokenizer() if self.pairs is None else tokens.Tokenizer(self.pairs)

    @classmethod
    def of(cls, repository: Path, model: str) -> Vocabulary:
        """Read the vocabulary of an exported text encoder; a graph of another exporter has learned all tokens.

        Raises ValueError for a graph of our exporter that does not list its tokens, and for a list that cannot be read;
        FileNotFoundError if there is no graph.
        """
        record = network_record(repository, model)
        if MARK not in record:
            if "sluice.network" in record:
                raise ValueError(f"{model} does not say which words it has learned; run: sluice export")
            return cls()
        return cls(parsed(record[MARK]), tuple(record.get(LISTED, "").split()), Pairs.of(repository, model))

    def reading(self, text: str) -> Reading:
        """Return the words of a text that the network has not learned. text: cleaned by `tokens.clean`."""
        if self.learned is None:
            return Reading((), ())
        words = dict(self.tokenizer.words(text))
        counting = {word for word in words if not _apart(word)} or set(words)
        lacking = [word for word, numbers in words.items() if not self.learned[list(numbers)].all()]
        unknown = tuple(word for word in lacking if word in counting)
        return Reading(unknown, tuple(word for word in lacking if word not in counting))

    def seen(self, ids: np.ndarray) -> np.ndarray:
        """Return tokens as the network tells them apart: int32 of the same shape, unlearned ones as `UNLEARNED`."""
        ids = ids.astype(np.int32)
        return ids if self.learned is None else np.where(self.learned[ids], ids, np.int32(UNLEARNED))

    def words(self) -> list[str]:
        """Return the words to choose from, sorted; [] if all tokens were learned.

        These are the words of the training, or if none are listed every learned token that is a whole word.
        """
        if self.learned is None:
            return []
        return sorted(self.listed or self.tokenizer.whole(np.flatnonzero(self.learned)))


EVERY = Vocabulary()


def _apart(word: str) -> bool:
    """Tell whether a word is an article, a preposition or punctuation."""
    return word in APART or all(unicodedata.category(character).startswith("P") for character in word)


def check(names: Sequence[str], readings: Iterable[Reading]) -> None:
    """Raise InvalidArgument if a name is unknown; the message lists names, their unknown words, and remedies."""
    wrong = dict.fromkeys((name, reading.unknown) for name, reading in zip(names, readings, strict=True))
    parts = [
        " and ".join(f"{word[:40]!r}" for word in unknown[:MOST_SAID])
        + ("" if name in unknown else f" in {name[:80]!r}")
        for name, unknown in wrong
        if unknown
    ]
    if parts:
        more = f" and {len(parts) - MOST_SAID:,} more names" if len(parts) > MOST_SAID else ""
        raise InvalidArgument(
            f"the text encoder has not learned {', '.join(parts[:MOST_SAID])}{more}: to it all such words are one, so "
            "the answer would mean nothing. Use words that it has learned (`sluice words` lists them), serve a network "
            "that has learned these (python -m export.grouping.import_checkpoint), or set the option allow_unknown"
        )


def parsed(said: str) -> np.ndarray | None:
    """Read the text of `MARK`: bool [49408], None for all tokens. Raises ValueError for text that cannot be meant."""
    if said == ALL:
        return None
    learned = np.zeros(VOCABULARY, bool)
    for part in said.split(","):
        first, dash, last = part.partition("-")
        begin, end = int(first), int(last if dash else first)
        if not 0 <= begin <= end < VOCABULARY:
            raise ValueError(f"{MARK} says {part!r}, which are no tokens of {VOCABULARY:,}")
        learned[begin : end + 1] = True
    return learned


def written(learned: np.ndarray) -> str:
    """Write learned tokens, bool [49408], as the text of `MARK`, such as "11,13,267-269,49406-49407".

    Raises ValueError if no token was learned.
    """
    if learned.all():
        return ALL
    places = np.flatnonzero(learned)
    if not len(places):
        raise ValueError("the text encoder has learned no token at all")
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
