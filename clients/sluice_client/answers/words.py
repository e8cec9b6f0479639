"""What the server's text encoder reads of the texts of one call: the words that it has not learned, and texts that mean
the same to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["NOTHING", "Words"]

_SAID = 8  # texts of a sentence


@dataclass(frozen=True)
class Words:
    """About each of some texts, in their order.

    texts:   as they were given.
    unknown: of each text the words that the network has not learned, articles and prepositions apart. To it all such
             words are one, so an answer about the text means nothing; it comes only with `allow_unknown`.
    ignored: of each text the articles, prepositions and punctuation that it has not learned; it reads on over them.
    same:    places of texts that are one to the network, in groups.
    """

    texts: tuple[str, ...] = ()
    unknown: tuple[tuple[str, ...], ...] = ()
    ignored: tuple[tuple[str, ...], ...] = ()
    same: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, notes: Mapping[str, Any], texts: Sequence[str]) -> Words:
        """What a verb's notes say about its texts; nothing where an older server says nothing."""
        lists = (notes.get(name) or [()] * len(texts) for name in ("unknown", "ignored"))
        unknown, ignored = (tuple(tuple(map(str, words)) for words in one) for one in lists)
        return cls(tuple(texts), unknown, ignored, tuple(map(tuple, notes.get("same") or ())))

    def __bool__(self) -> bool:
        """Whether there is anything to say."""
        return bool(any(self.unknown) or any(self.ignored) or self.same)

    def like(self, place: int) -> tuple[str, ...]:
        """The other texts that are one with this to the network."""
        return tuple(self.texts[i] for group in self.same if place in group for i in group if i != place)

    def said(self) -> list[str]:
        """Sentences for a person, none where all is well."""
        lines = []
        for words, what in (
            (self.unknown, "not learned by the network, which cannot tell them from any other such word"),
            (self.ignored, "not learned by the network, which reads on over them"),
        ):
            if found := [_in(some, text) for some, text in zip(words, self.texts, strict=True) if some]:
                lines.append(f"{what}: {_listed(found)}")
        if self.same:
            groups = [" = ".join(repr(self.texts[i][:80]) for i in group[:_SAID]) for group in self.same]
            lines.append(f"the same to the network: {_listed(groups)}")
        return lines

    def mark(self, place: int) -> str:
        """A few words about one text for a page; "" where all is well."""
        parts = [f"not learned: {', '.join(self.unknown[place])}"] if self.unknown and self.unknown[place] else []
        parts += [f"read over: {', '.join(self.ignored[place])}"] if self.ignored and self.ignored[place] else []
        parts += [f"the same as {', '.join(like)}"] if (like := self.like(place)) else []
        return "; ".join(parts)

    def as_json(self) -> dict[str, dict[str, list[str]]]:
        """By the text what there is to say of it: unknown, ignored, same (the other texts)."""
        found: dict[str, dict[str, list[str]]] = {}
        for place, text in enumerate(self.texts):
            told = {
                "unknown": list(self.unknown[place]),
                "ignored": list(self.ignored[place]),
                "same": list(self.like(place)),
            }
            if any(told.values()):
                found[text] = {name: words for name, words in told.items() if words}
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Mapping[str, Sequence[str]]], texts: Sequence[str]) -> Words:
        """What `as_json` made of these texts."""
        unknown, ignored, same = (
            tuple(tuple(map(str, value.get(text, {}).get(name, ()))) for text in texts)
            for name in ("unknown", "ignored", "same")
        )
        groups = {
            tuple(i for i, other in enumerate(texts) if i == place or other in like)
            for place, like in enumerate(same)
            if like
        }
        return cls(tuple(texts), unknown, ignored, tuple(sorted(groups)))


NOTHING = Words()


def _in(words: Sequence[str], text: str) -> str:
    said = " and ".join(map(repr, words[:_SAID]))
    return said if text.lower() in words else f"{said} in {text[:80]!r}"


def _listed(parts: Iterable[str]) -> str:
    every = list(parts)
    more = len(every) - _SAID
    return ", ".join(every[:_SAID]) + (f" and {more:,} more" if more > 0 else "")
