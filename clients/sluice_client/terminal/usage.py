"""Extends argparse: numbers are read as people write them, and misspelt options and commands get a hint."""

from __future__ import annotations

import argparse
import difflib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

__all__ = ["Parser", "check", "meant"]


class Parser(argparse.ArgumentParser):
    """A parser that reads numbers as people write them.

    In `--roi -4.5,0,10,10` and `--after -1e9` the second word is a value, since no option begins with a digit. NaN,
    infinity and whole numbers beyond 64 bits are refused.

    words_as: the option whose value a word without an option becomes, in its place among the options; "" for none.
              argparse itself takes words from one place only.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")
        self.register("type", float, _real)
        self.register("type", int, _whole)
        self.words_as = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse a command line as argparse does, with the words as values of `words_as`."""
        return super().parse_known_args(list(self._in_place(args)) if self.words_as and args else args, namespace)

    def _in_place(self, words: Sequence[str]) -> Iterator[str]:
        """Yield a command line in which each word that is neither an option nor its value is a value of `words_as`."""
        left = iter(words)
        for word in left:
            if word == "--":
                yield from (f"{self.words_as}={one}" for one in left)
            elif word == "-" or not word.startswith("-") or self._negative_number_matcher.match(word):
                yield f"{self.words_as}={word}"
            else:
                yield word
                if self._wants_value(word):
                    yield from itertools.islice(left, 1)

    def _wants_value(self, option: str) -> bool:
        """Return whether the next word is the value of this option, whose name may be shortened."""
        known = self._option_string_actions
        meant = [known[option]] if option in known else [one for name, one in known.items() if name.startswith(option)]
        return any(action.nargs is None for action in meant)

    def options(self) -> list[str]:
        """Return every option as it is written, such as -n and --server."""
        return [text for action in self._actions for text in action.option_strings]

    def option(self, word: str) -> str | None:
        """Return the option that argparse finds in a word, without a value behind `=`; None if the word is a value."""
        if len(word) < 2 or not word.startswith("-") or " " in word or self._negative_number_matcher.match(word):
            return None
        return word.partition("=")[0] if word.startswith("--") else word[:2]

    def takes(self, option: str) -> bool:
        """Return whether an option is known, or the beginning of one; argparse refuses one with several endings."""
        return any(one == option or (option.startswith("--") and one.startswith(option)) for one in self.options())


def _real(text: str) -> float:
    """Return a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"a number was expected, got {text!r:.80}")
    return value


def _whole(text: str) -> int:
    """Return a whole number of at most 64 bits."""
    try:
        value = int(text)
    except ValueError:
        value = 1 << 63
    if not -(1 << 63) <= value < 1 << 63:
        raise argparse.ArgumentTypeError(f"a whole number was expected, got {text!r:.80}")
    return value


def meant(word: str, known: Iterable[str]) -> str | None:
    """Return the known word whose letters are nearest to a misspelt one; None if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return near[0] if near else None


def check(words: Sequence[str], top: Parser, commands: Mapping[str, Parser]) -> None:
    """Refuse an unknown command or option with the usage of the right command.

    This runs before argparse, which would complain of arguments that are missing because of the mistake. Raises
    SystemExit, as argparse does.
    """
    place = next((place for place, word in enumerate(words) if not word.startswith("-")), len(words))
    if place == len(words):
        return
    name, behind = words[place], list(words[place + 1 :])
    command = commands.get(name)
    if command is None:
        near = meant(name, commands)
        top.error(f"there is no command {name!r:.80}" + (f"; did you mean `sluice {near}`?" if near else ""))
    for word in words[:place]:
        if not top.takes(option := top.option(word) or word) and command.takes(option):
            command.error(f"options stand behind the command: sluice {name} {option}")
    given = behind[: behind.index("--")] if "--" in behind else behind
    for option in filter(None, map(command.option, given)):
        if not command.takes(option):
            _unknown(option, name, command, commands)


def _unknown(option: str, name: str, command: Parser, commands: Mapping[str, Parser]) -> NoReturn:
    """Refuse an unknown option, with the option that was meant or the commands that have it."""
    hint = ""
    others = [f"`sluice {other}`" for other, one in commands.items() if option in one.options()]
    if option.startswith("--") and (near := meant(option, command.options())):
        hint = f"; did you mean {near}?"
    elif others:
        hint = f"; it is an option of {', '.join(others)}"
    command.error(f"`sluice {name}` does not know {option:.80}{hint}")
    raise AssertionError  # not reached: `error` ends the program
