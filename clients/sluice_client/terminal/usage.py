"""argparse for this command line: numbers as people write them, and a hint where an option or a command is misspelt."""

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
    """argparse, for numbers as people write them: `--roi -4.5,0,10,10` and `--after -1e9` give values, since no option
    of ours begins with a digit; and neither NaN, infinity nor what 64 bits do not hold is a number."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")
        self.register("type", float, _real)
        self.register("type", int, _whole)
        self.words_as = ""  # the option as which a word counts in its place: argparse itself takes words from one place

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_known_args(list(self._in_place(args)) if self.words_as and args else args, namespace)

    def _in_place(self, words: Sequence[str]) -> Iterator[str]:
        """Write each word that is neither an option nor the value of one as a value of `words_as`."""
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
        """Whether the next word belongs to this one, which may be short for an option's name."""
        known = self._option_string_actions
        meant = [known[option]] if option in known else [one for name, one in known.items() if name.startswith(option)]
        return any(action.nargs is None for action in meant)

    def options(self) -> list[str]:
        """Every option, as it is written: -n, --server."""
        return [text for action in self._actions for text in action.option_strings]

    def option(self, word: str) -> str | None:
        """What argparse would take for an option, without a value behind `=`; None for a value, such as -1 or -."""
        if len(word) < 2 or not word.startswith("-") or " " in word or self._negative_number_matcher.match(word):
            return None
        return word.partition("=")[0] if word.startswith("--") else word[:2]

    def takes(self, option: str) -> bool:
        """Whether it is an option of this parser, or begins as some of them do (argparse has its own say of those)."""
        return any(one == option or (option.startswith("--") and one.startswith(option)) for one in self.options())


def _real(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"a number was expected, got {text!r:.80}")
    return value


def _whole(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 1 << 63
    if not -(1 << 63) <= value < 1 << 63:
        raise argparse.ArgumentTypeError(f"a whole number was expected, got {text!r:.80}")
    return value


def meant(word: str, known: Iterable[str]) -> str | None:
    """What was meant by a misspelt word, as far as letters tell: the nearest that is known, None where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return near[0] if near else None


def check(words: Sequence[str], top: Parser, commands: Mapping[str, Parser]) -> None:
    """Ends with the usage of the right command where a command or an option is not known, before argparse complains of
    what is missing because of it. Raises SystemExit, as argparse does."""
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
    hint = ""
    others = [f"`sluice {other}`" for other, one in commands.items() if option in one.options()]
    if option.startswith("--") and (near := meant(option, command.options())):
        hint = f"; did you mean {near}?"
    elif others:
        hint = f"; it is an option of {', '.join(others)}"
    command.error(f"`sluice {name}` does not know {option:.80}{hint}")
    raise AssertionError  # not reached: `error` ends the program
