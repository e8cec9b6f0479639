"""Write docs/cli.md: every command of `sluice` with its options and examples, from the parsers that print `--help`.

Run `.venv/bin/python docs/make_cli.py` after a change of a help text; tests/test_readme.py fails until the page is
written anew. The page is made from the parsers and not from the printed help, so it does not depend on the width of a
terminal, on the home directory or on how a version of Python lays out a help text.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).with_name("cli.md")
ROOT = PAGE.parent.parent

HEAD = """\
# The command line: every command and option

<!-- Written by docs/make_cli.py. Change the help texts in the code, then run: .venv/bin/python docs/make_cli.py -->

`sluice COMMAND --help` prints the same text in a terminal. [The settings page](settings.md) explains exit codes, the
settings file, and which of option, environment and file wins. [The tutorial](tutorial.md) shows the commands at work.

"""
COMMON = "Options of every command that asks a server"


def page() -> str:
    """Return the text of docs/cli.md, made from the parsers of the installed commands."""
    sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "clients")) if path not in sys.path]
    from sluice_client import cli

    from export.__main__ import arguments as export
    from sluice.server.cli import arguments as serve

    _, known = cli.parsers()
    commands: dict[str, argparse.ArgumentParser] = {"serve": serve(), "export": export()} | {
        name: one for name, one in known.items() if name not in ("serve", "export")
    }
    first = commands["retrieve"]
    common = {title: actions for title, actions in _groups(first) if title == "the server"}
    general = [action for _, actions in _groups(first) for action in actions if action.dest in GENERAL]
    lines = [HEAD, "| command | purpose |\n|---|---|\n"]
    lines += [f"| [`sluice {name}`](#sluice-{name}) | {_cell(one.description)} |\n" for name, one in commands.items()]
    lines += [f"\n## {COMMON}\n\n", _table([*general, *common["the server"]])]
    for name, one in commands.items():
        lines += _command(name, one)
    return "".join(lines).replace(str(ROOT), "the folder of the clone")


GENERAL = ("timeout", "json", "quiet")


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the pieces of one command's section: what it does, its words and options, its examples."""
    own = [
        action
        for title, actions in _groups(parser)
        for action in actions
        if title != "the server" and not (name not in ("serve", "export") and action.dest in GENERAL)
    ]
    asks = any(title == "the server" for title, _ in _groups(parser))
    words = " ".join(_word(action) for action in own if not action.option_strings)
    yield f"\n## sluice {name}\n\n{_prose(parser.description)}\n\n"
    yield f"    sluice {name} [options] {words}".rstrip() + "\n\n"
    if own:
        yield _table(own)
    if asks:
        yield f"\nBesides: [the options of every command that asks a server](#{COMMON.lower().replace(' ', '-')}).\n"
    elif name not in ("serve", "export"):
        yield "\nThis command asks no server. It takes `--json` and `-q` besides.\n"
    if parser.epilog:
        yield f"\n```text\n{parser.epilog.strip()}\n```\n"


def _groups(parser: argparse.ArgumentParser) -> list[tuple[str, list[argparse.Action]]]:
    """Return the parser's groups of options as (title, actions), without --help."""
    groups = [(group.title or "", list(group._group_actions)) for group in parser._action_groups]
    return [(title, [a for a in actions if a.dest != "help"]) for title, actions in groups if actions]


def _table(actions: list[argparse.Action]) -> str:
    """Return a Markdown table of options: as they are written, and what they do."""
    rows = []
    for action in actions:
        value = _word(action) if action.nargs != 0 or not action.option_strings else ""
        if action.option_strings:
            written = ", ".join(f"`{option}{f' {value}' if value else ''}`" for option in action.option_strings)
        else:
            written = f"`{value}`"
        told = (action.help or "") % {**vars(action), "prog": ""} if action.help else ""
        choices = ""
        if action.choices is not None and action.metavar is not None:
            choices = f" One of: {', '.join(map(str, action.choices))}."
        rows.append(f"| {written.replace('|', chr(92) + '|')} | {_cell(told)}{choices} |\n")
    return "| option | meaning |\n|---|---|\n" + "".join(rows)


def _word(action: argparse.Action) -> str:
    """Return how the value of an option, or a positional word, is written: FILE, {a,b}, [PATH ...]."""
    if action.metavar is not None:
        one = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    elif action.choices is not None:
        one = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        one = action.dest.upper() if action.option_strings else action.dest
    forms = {"*": f"[{one} ...]", "+": f"{one} [{one} ...]", "?": f"[{one}]", 0: ""}
    if isinstance(action.nargs, int) and action.nargs > 1:
        return " ".join([one] * action.nargs)
    return forms.get(action.nargs, one)


def _prose(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str | None) -> str:
    """Return the text on one line, with options and variables as code and without signs that Markdown would take."""
    pieces = _prose(text).replace("|", "\\|").split("`")  # each second one is code already
    for place in range(0, len(pieces), 2):
        plain = pieces[place].replace("<", "&lt;").replace("*", "\\*").replace("~/", "\\~/")
        pieces[place] = re.sub(r"(?<![\w-])(--[a-z][a-z-]*|\$[A-Z_]+)", r"`\1`", plain)
    return "`".join(pieces)


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
