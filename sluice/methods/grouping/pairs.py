"""The pairs of a byte-pair encoding: those that Sluice ships, and those that came with a text encoder of one's own.

An exporter writes a text encoder's own pairs into the metadata of its graph (`MARK`), so that a graph never meets the
tokens of another vocabulary, and the version of the network, a hash of its graph, names the vocabulary too.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sluice.versions import network_record

MARK = "sluice.pairs"  # metadata of a graph: its pairs, as `Pairs.written` returns them
MERGES = Path(__file__).parent / "data" / "bpe_simple_vocab_16e6.txt.gz"
SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
VOCABULARY = 49_408  # numbers of the published vocabulary
LENGTH = 77  # numbers per text of the published networks
SUFFIX = "</w>"  # of a symbol that ends a word

# Printable bytes stand for themselves in a symbol, the other bytes for characters from 256 on.
PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
BYTES = (*PRINTABLE, *(byte for byte in range(256) if byte not in PRINTABLE))
LETTERS = (*map(chr, PRINTABLE), *(chr(256 + place) for place in range(256 - len(PRINTABLE))))
SINGLE = (*LETTERS, *(letter + SUFFIX for letter in LETTERS))  # the 512 symbols of one byte, in the published order


@dataclass(frozen=True)
class Pairs:
    """A byte-pair encoding and the texts that its network reads.

    merges: the two symbols of each pair, the pair that is joined first in front. numbers: of each symbol of SINGLE,
    then of the symbol that each pair makes. start, end: numbers around a text. length: numbers per text, start and end
    included. size: numbers that the network knows.
    """

    merges: tuple[tuple[str, str], ...]
    numbers: tuple[int, ...]
    start: int
    end: int
    length: int = LENGTH
    size: int = VOCABULARY

    def __post_init__(self) -> None:
        """Raise ValueError for an encoding that no text could be read with."""
        known = set(SINGLE)
        for left, right in self.merges:
            if left not in known or right not in known:
                raise ValueError(f"the pair {left!r} {right!r} joins a symbol that no earlier pair makes")
            known.add(left + right)
        if len(self.numbers) != len(SINGLE) + len(self.merges):
            raise ValueError(f"{len(self.merges):,} pairs have {len(self.numbers):,} numbers, not 512 more")
        if not all(0 <= number < self.size for number in (*self.numbers, self.start, self.end)):
            raise ValueError(f"the vocabulary has numbers beyond the {self.size:,} that the network knows")
        if self.length < 3:
            raise ValueError(f"the network reads {self.length} tokens per text, which leaves no room for a word")

    def written(self) -> str:
        """Return the pairs as text, for the metadata of a graph."""
        return json.dumps({**asdict(self), "merges": [" ".join(pair) for pair in self.merges]}, separators=(",", ":"))

    @classmethod
    def of(cls, repository: Path, model: str) -> Pairs | None:
        """Read the pairs of an exported text encoder; None for those that Sluice ships, which no graph names.

        Raises ValueError for pairs that cannot be read, FileNotFoundError if there is no graph.
        """
        said = network_record(repository, model).get(MARK)
        if said is None:
            return None
        try:
            found = json.loads(said)
            found["merges"] = tuple(_pair(line) for line in found["merges"])
            return cls(**{**found, "numbers": tuple(found["numbers"])})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{model} has a vocabulary that cannot be read ({error}); export it again") from None


def _pair(line: str) -> tuple[str, str]:
    left, right = line.split(" ")
    return left, right


def published(merges: Path = MERGES) -> Pairs:
    """Return the published pairs. Raises as `text` does."""
    return listed(text(merges), VOCABULARY, LENGTH)


def text(merges: Path = MERGES) -> str:
    """Return the content of the file of published pairs. Raises FileNotFoundError when the file is missing, and
    ValueError when it is not the published one."""
    data = merges.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"{merges} is not the published file of merges (sha256 {SHA256}); restore it")
    return gzip.decompress(data).decode()


def listed(content: str, size: int, length: int) -> Pairs:
    """Return the pairs of a file of CLIP's kind: a line with the version, then a pair per line.

    size: numbers of the vocabulary: the single symbols, the pairs, start and end, in this order. Further pairs are left
    out. length: numbers per text. Raises ValueError for a file of too few pairs, or of another kind.
    """
    count = size - len(SINGLE) - 2
    lines = content.split("\n")[1 : 1 + max(0, count)]
    if count < 0 or len(lines) < count or not all(line.count(" ") == 1 for line in lines):
        raise ValueError(f"expected a line with the version and {max(0, count):,} lines of two symbols")
    if len({line.replace(" ", "") for line in lines}) < len(lines):
        raise ValueError("two of its pairs make one symbol, so that its number is not certain")
    return Pairs(tuple(map(_pair, lines)), tuple(range(size - 2)), size - 2, size - 1, length, size)
