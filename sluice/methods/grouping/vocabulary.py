"""Which words a text encoder has learned, and what it therefore does not read in a name.

A small network learns a few of the tokenizer's 49,408 tokens. All others share one vector, so that 'dog' and 'giraffe'
are the same to it, and 'car park' is 'car'. The exporter writes what was learned into the graph of the text encoder
(`MARK`, `LISTED`), and a name with a word that was not is answered only to a caller who allows it.

A word is known when each of its tokens was learned, and a name is known when each of its words is. Articles,
prepositions and punctuation do not count, unless the name holds nothing else: over those that were not learned the
network reads on, and the answer says so.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.grouping import tokens
from sluice.versions import network_record

MARK = "sluice.learned_tokens"  # of a graph: numbers and ranges of tokens, or ALL
LISTED = "sluice.words"  # of a graph: words that its training said, for people who look for one
ALL = "all"
UNLEARNED = -1  # stands for every token that was not learned
MOST_SAID = 8  # unknown names in one message

APART = frozenset((
    "a", "an", "the", "about", "above", "across", "after", "against", "along", "amid", "among", "around", "at",
    "before", "behind", "below", "beneath", "beside", "between", "beyond", "by", "down", "during", "for", "from", "in",
    "inside", "into", "near", "of", "off", "on", "onto", "out", "outside", "over", "past", "through", "to", "toward",
    "towards", "under", "underneath", "until", "up", "upon", "via", "with", "within", "without",
))  # fmt: skip


class Reading(NamedTuple):
    """What the network does not read of a text. Both lists hold words as they were cleaned, each once."""

    unknown: tuple[str, ...]  # they make the text unknown
    ignored: tuple[str, ...]  # they do not count


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens that were learned, bool [49408]; None: all of them. listed: words that the training said."""

    learned: np.ndarray | None = None
    listed: tuple[str, ...] = ()

    @classmethod
    def of(cls, repository: Path, model: str) -> Vocabulary:
        """That of an exported text encoder; of one that another exporter wrote, all.

        Raises ValueError where the graph says nothing although ours wrote it, or something that cannot be, and
        FileNotFoundError where there is none.
        """
        record = network_record(repository, model)
        if MARK not in record:
            if "sluice.network" in record:
                raise ValueError(f"{model} does not say which words it has learned; run: sluice export")
            return cls()
        return cls(parsed(record[MARK]), tuple(record.get(LISTED, "").split()))

    def reading(self, text: str) -> Reading:
        """text: as `tokens.clean` has it."""
        if self.learned is None:
            return Reading((), ())
        words = dict(tokens.tokenizer().words(text))
        counting = {word for word in words if not _apart(word)} or set(words)
        lacking = [word for word, numbers in words.items() if not self.learned[list(numbers)].all()]
        unknown = tuple(word for word in lacking if word in counting)
        return Reading(unknown, tuple(word for word in lacking if word not in counting))

    def seen(self, ids: np.ndarray) -> np.ndarray:
        """Tokens of any shape as the network tells them apart: int32, all unlearned ones as `UNLEARNED`."""
        ids = ids.astype(np.int32)
        return ids if self.learned is None else np.where(self.learned[ids], ids, np.int32(UNLEARNED))

    def words(self) -> list[str]:
        """The words to choose from, sorted: those that training said, else every learned token that is a whole word;
        empty where all were learned."""
        if self.learned is None:
            return []
        return sorted(self.listed or tokens.tokenizer().whole(np.flatnonzero(self.learned)))


EVERY = Vocabulary()


def _apart(word: str) -> bool:
    return word in APART or all(unicodedata.category(character).startswith("P") for character in word)


def check(names: Sequence[str], readings: Iterable[Reading]) -> None:
    """Raise InvalidArgument where one of the names is unknown: it says the names, the words in them, and remedies."""
    wrong = dict.fromkeys((name, reading.unknown) for name, reading in zip(names, readings, strict=True))
    parts = [
        " and ".join(f"{word[:40]!r}" for word in unknown[:MOST_SAID])
        + ("" if tokens.clean(name) in unknown else f" in {name[:80]!r}")
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
    """What `MARK` says: bool [49408], or None for all. Raises ValueError where it cannot be."""
    if said == ALL:
        return None
    learned = np.zeros(tokens.VOCABULARY, bool)
    for part in said.split(","):
        first, dash, last = part.partition("-")
        begin, end = int(first), int(last if dash else first)
        if not 0 <= begin <= end < tokens.VOCABULARY:
            raise ValueError(f"{MARK} says {part!r}, which are no tokens of {tokens.VOCABULARY:,}")
        learned[begin : end + 1] = True
    return learned


def written(learned: np.ndarray) -> str:
    """bool [49408] as `MARK` says it, such as "11,13,267-269,49406-49407". Raises ValueError where nothing was
    learned."""
    if learned.all():
        return ALL
    places = np.flatnonzero(learned)
    if not len(places):
        raise ValueError("the text encoder has learned no token at all")
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
