"""The words of a request that the server's text encoder has not learned, and the texts that look the same to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["NOTHING", "Words"]

_SAID = 8  # texts that a sentence names


@dataclass(frozen=True)
class Words:
    """Doubts about texts.

    texts:   as they were given.
    unknown: for each text, the words that the network has not learned, except articles and prepositions. The network
             cannot tell such words apart, so an answer about the text means nothing; it comes only with
             `allow_unknown`.
    ignored: for each text, the articles, prepositions and punctuation that the network has not learned and skips.
    same:    groups of places of texts that the network cannot tell apart.
    """

    texts: tuple[str, ...] = ()
    unknown: tuple[tuple[str, ...], ...] = ()
    ignored: tuple[tuple[str, ...], ...] = ()
    same: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, notes: Mapping[str, Any], texts: Sequence[str]) -> Words:
        """Read the doubts from the notes of a verb; older servers report none."""
        lists = (notes.get(name) or [()] * len(texts) for name in ("unknown", "ignored"))
        unknown, ignored = (tuple(tuple(map(str, words)) for words in one) for one in lists)
        return cls(tuple(texts), unknown, ignored, tuple(map(tuple, notes.get("same") or ())))

    def __bool__(self) -> bool:
        """Tell whether there is any doubt."""
        return bool(any(self.unknown) or any(self.ignored) or self.same)

    def like(self, place: int) -> tuple[str, ...]:
        """Return the other texts that the network cannot tell from the text at `place`."""
        return tuple(self.texts[i] for group in self.same if place in group for i in group if i != place)

    def said(self) -> list[str]:
        """Return sentences for a person; none without a doubt."""
        lines = []
        for words, what in (
            (self.unknown, "not learned by the network, which cannot tell them from any other such word"),
            (self.ignored, "not learned by the network, which skips them"),
        ):
            if found := [_in(some, text) for some, text in zip(words, self.texts, strict=True) if some]:
                lines.append(f"{what}: {_listed(found)}")
        if self.same:
            groups = [" = ".join(repr(self.texts[i][:80]) for i in group[:_SAID]) for group in self.same]
            lines.append(f"the same to the network: {_listed(groups)}")
        return lines

    def mark(self, place: int) -> str:
        """Return a few words about one text for a page; "" without a doubt."""
        parts = [f"not learned: {', '.join(self.unknown[place])}"] if self.unknown and self.unknown[place] else []
        parts += [f"read over: {', '.join(self.ignored[place])}"] if self.ignored and self.ignored[place] else []
        parts += [f"the same as {', '.join(like)}"] if (like := self.like(place)) else []
        return "; ".join(parts)

    def as_json(self) -> dict[str, dict[str, list[str]]]:
        """Return text -> its doubts: unknown, ignored, same (the other texts)."""
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
        """Read what `as_json` wrote about these texts."""
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
