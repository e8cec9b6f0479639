"""Tokens: turns texts into the numbers that text encoders of CLIP's family read, 77 per text, by byte-pair encoding.

A text is cleaned (mojibake and HTML entities repaired, white space joined, lower case) and cut into words. The bytes of
each word are joined pair by pair, in the order in which the pairs were learned. There are 49,408 numbers: 256 bytes,
the same bytes at the end of a word, 48,894 joined pairs, start and end. Names that differ only in case are one text.
A text encoder with a vocabulary of its own brings its pairs, their numbers and its length (`pairs`).

Source of the method: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
Source and licence of the pairs: `sluice/methods/grouping/data/bpe_simple_vocab_16e6.md`.
"""

from __future__ import annotations

import functools
import heapq
import html
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.grouping.pairs import BYTES, SINGLE, Pairs, published

START, END, PADDING = 49_406, 49_407, 0
INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")  # control and format characters, among them zero-width ones, and spaces
MOST_CHARACTERS = 5_000  # of one text; 77 numbers hold about 300, so more is a mistake

# The published pattern without its alternatives for the texts of start and end: what a caller writes is text, never a
# mark. Its case is ignored although the text is lower: 's is also 'ſ.
WORD = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"

# Words that are remembered, and how long they may be: 32,768 words of 64 characters at most are some 10 MB.
REMEMBERED, LONGEST_REMEMBERED = 32_768, 64


class Tokens(NamedTuple):
    """n texts as a network reads them.

    ids:       int64 [n, L], start, the words, end, then PADDING; L is 77 in the published networks.
    truncated: bool [n], whether the end of the text did not fit.
    """

    ids: np.ndarray
    truncated: np.ndarray


def clean(text: str) -> str:
    """Return the text as the network reads it; texts that are equal then are the same to the network."""
    # ftfy takes most of the time and changes nothing in plain text; only an ampersand can begin an entity.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy  # imported here, because most processes never meet such a text

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


def cleaned(texts: Sequence[str], what: str = "text", distinct: bool = False, pieces: int | None = None) -> list[str]:
    """Clean texts as `clean` does, and check that each has something to read in it.

    what: the caller's word for a text in a message, such as "class name".
    distinct: True refuses texts that read the same, such as two names that differ only in case: as classes they would
    share every score, which halves both.
    pieces: the most pieces of words that the network reads of a text, for a message; None leaves the number out.
    Raises InvalidArgument for what is no list of texts, and for a text that is empty or longer than MOST_CHARACTERS.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise InvalidArgument(f"expected a list of {what}s, got {type(texts).__name__}; put a single one into a list")
    result: list[str] = []
    first: dict[str, int] = {}
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidArgument(f"{what} {i} is no text but {type(text).__name__}: {str(text)[:40]!r}")
        if len(text) > MOST_CHARACTERS:
            reads = "" if pieces is None else f" (the network reads {pieces:,} pieces of words)"
            raise InvalidArgument(
                f"{what} {i} has {len(text):,} characters, more than the limit of {MOST_CHARACTERS:,}{reads}; it "
                f"begins with {text[:40]!r}"
            )
        result.append(clean(text))
        if all(unicodedata.category(character) in INVISIBLE for character in result[-1]):
            raise InvalidArgument(f"{what} {i} is empty: {text[:40]!r}; give at least one visible character")
        if distinct and (k := first.setdefault(result[-1], i)) != i:
            raise InvalidArgument(
                f"{what}s {k} and {i}, {texts[k][:40]!r} and {text[:40]!r}, are one to the network, which reads both "
                f"as {result[-1][:40]!r}; leave one of them out"
            )
    return result


class Tokenizer:
    """The encoding with its pairs loaded, safe to use from several threads; `tokenizer` returns the published one."""

    def __init__(self, pairs: Pairs):
        import regex  # imported here, because of all processes that clean texts only one cuts them into words

        self.pairs = pairs
        self._number_of_byte = [BYTES.index(byte) for byte in range(256)]
        # Inside, symbols are numbered by SINGLE and then by the rank of the first pair that makes them.
        symbols = {symbol: i for i, symbol in enumerate(SINGLE)}
        self._joined: dict[tuple[int, int], int] = {}  # 512 + rank of a pair
        self._made = list(range(len(SINGLE)))  # the symbol that a pair makes, by 512 + rank
        for rank, (left, right) in enumerate(pairs.merges, len(SINGLE)):
            self._joined.setdefault((symbols[left], symbols[right]), rank)
            self._made.append(symbols.setdefault(left + right, rank))
        self._words = regex.compile(WORD, regex.IGNORECASE)
        self._remembered = functools.lru_cache(REMEMBERED)(self.word)

    def word(self, word: str) -> tuple[int, ...]:
        """Return the numbers of one word, not empty, that `WORD` has cut from a cleaned text.

        The published way joins the pair of least rank wherever it stands, then the next. Here a heap orders the pairs
        by rank, then place. The result is the same, because a pair is always learned after the symbols in it. (Where
        two pairs make one symbol, the order is that of the library `tokenizers`.) The heap
        takes n log n steps for n bytes; the published way takes n squared, which is minutes for one long word.
        """
        numbers = [self._number_of_byte[byte] for byte in word.encode()]
        numbers[-1] += 256
        last = len(numbers)
        before, after = list(range(-1, last - 1)), list(range(1, last + 1))
        joined, made = self._joined, self._made
        heap = [(joined[pair], i) for i, pair in enumerate(pairwise(numbers)) if pair in joined]
        heapq.heapify(heap)
        while heap:
            number, left = heapq.heappop(heap)
            right = after[left]
            # Stale where one of the two was joined to another meanwhile; -1 is no symbol.
            if right == last or joined.get((numbers[left], numbers[right])) != number:
                continue
            numbers[left], numbers[right] = made[number], -1
            after[left] = right = after[right]
            if right < last:
                before[right] = left
                if (pair := (numbers[left], numbers[right])) in joined:
                    heapq.heappush(heap, (joined[pair], left))
            if (first := before[left]) >= 0 and (pair := (numbers[first], numbers[left])) in joined:
                heapq.heappush(heap, (joined[pair], first))
        return tuple(self.pairs.numbers[number] for number in numbers if number >= 0)

    def encode(self, text: str, most: int | None = None) -> list[int]:
        """Return the numbers of a text that `clean` has made, without start and end.

        most: words after this many numbers are left out; None reads all words.
        """
        numbers: list[int] = []
        for _, of_word in self.words(text):
            numbers += of_word
            if most is not None and len(numbers) >= most:
                break
        return numbers

    def words(self, text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the words of a text that `clean` has made, in their order, each with its numbers."""
        for found in self._words.finditer(text):
            word = found.group()
            yield word, self._remembered(word) if len(word) <= LONGEST_REMEMBERED else self.word(word)

    def whole(self, numbers: Iterable[int]) -> list[str]:
        """Return those of the numbers that are whole words by themselves, as words; start and end are no words."""
        spelt = {number: pair for pair, number in self._joined.items()}
        inside = {number: symbol for symbol, number in enumerate(self.pairs.numbers)}

        def bytes_(symbol: int) -> bytes:
            if symbol in spelt:
                return b"".join(map(bytes_, spelt[symbol]))
            return bytes([BYTES[symbol % 256]])

        ends = [int(number) for number in numbers if int(number) in inside]
        words = [bytes_(inside[number]).decode(errors="replace") for number in ends]
        return [word for word, number in zip(words, ends, strict=True) if self.word(word) == (number,)]

    def __call__(self, texts: Sequence[str], what: str = "text") -> Tokens:
        """Clean texts, and turn them into tokens as `read` does. what: as for `cleaned`, which says what is raised."""
        return self.read(cleaned(texts, what, pieces=self.pairs.length - 2))

    def read(self, texts: Sequence[str], length: int | None = None) -> Tokens:
        """Turn texts that `clean` has made into tokens.

        length: numbers per text, start and end included, at least 2; None for as many as the network reads.

        A text that is too long loses its end, keeps the end token and is marked as truncated.
        """
        start, end = self.pairs.start, self.pairs.end
        length = self.pairs.length if length is None else length
        ids = np.full((len(texts), length), PADDING, np.int64)
        truncated = np.zeros(len(texts), bool)
        room = length - 2
        for i, text in enumerate(texts):
            numbers = self.encode(text, room + 1)
            truncated[i] = len(numbers) > room
            row = [start, *numbers[:room], end]
            ids[i, : len(row)] = row
        return Tokens(ids, truncated)


@functools.cache
def tokenizer() -> Tokenizer:
    """Return the published tokenizer of this process; the first call loads it, which takes some tenths of a second.

    Raises FileNotFoundError when the file of pairs is missing, and ValueError when it is not the published one.
    """
    return Tokenizer(published())
