"""List the words that the server's text encoder has learned, or check which of your words it has learned.

examples:
  sluice words
  sluice words "traffic light" "a giraffe" "car park"
  sluice words --file names.txt --json | jq -r 'select(.known | not) | .name'

The network cannot tell words apart that it has not learned, so `segment`, `compare` and `retrieve --text` refuse a name
with such a word; --allow-unknown goes on with a warning. Articles, prepositions and punctuation do not count. The exit
code is 1 if a name is not known. An imported network of the published kind has learned all words.
"""

from __future__ import annotations

import argparse

from ..client import Sluice
from ..errors import InvalidRequest
from ..files import text_files
from ..terminal.console import OK, SOME_FAILED, Console
from ..verbs.segment import TEMPLATES

PLACE = 42
LOCAL = False


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="names or texts to check; without any, the words are listed"
    )
    parser.add_argument("--file", metavar="FILE", help="file with more names, one per line; - for stdin")
    parser.add_argument(
        "--templates", choices=TEMPLATES, help="put the names into this set of sentences (default: as they are)"
    )


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    names = list(args.names)
    if args.file is not None:
        names += filter(None, text_files.lines(text_files.read(args.file)))
        if not names:
            raise InvalidRequest(f"There is no name in {args.file}.")
    found = client.words(names, templates=args.templates)
    if not names:
        if console.json:
            console.data({"all": found.every, "tokens": found.tokens, "words": list(found.known), "model": found.model})
        for word in () if console.json else found.known:
            console.text(word)
        every = "all words: it was trained with the tokenizer's whole vocabulary"
        console.note(f"{found.model} has learned {every if found.every else f'{len(found.known):,} words'}")
        return OK
    said = found.words
    for place, name in enumerate(names) if console.json else ():
        unknown, ignored, same = said.unknown[place], said.ignored[place], said.like(place)
        row = {"name": name, "known": not unknown, "unknown": list(unknown), "ignored": list(ignored)}
        console.data({**row, "same": list(same), "model": found.model})
    if not console.json:
        console.table(
            ("name", "known", "not learned", "read over", "the same as"),
            [
                [
                    name,
                    "no" if said.unknown[place] else "yes",
                    *(" ".join(words[place]) for words in (said.unknown, said.ignored)),
                    ", ".join(said.like(place)),
                ]
                for place, name in enumerate(names)
            ],
        )
    return SOME_FAILED if any(said.unknown) else OK
