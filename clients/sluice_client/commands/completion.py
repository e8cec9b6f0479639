"""Print the script with which a shell (bash, zsh or fish) completes the commands and options of `sluice`.

examples:
  source <(sluice completion bash)        for this shell
  sluice completion bash > ~/.local/share/bash-completion/completions/sluice
  sluice completion zsh > ~/.zfunc/_sluice        with  fpath+=~/.zfunc  before compinit in ~/.zshrc
  sluice completion fish > ~/.config/fish/completions/sluice.fish

The script holds the commands and options of this version, so write it again after an update. While you type, it starts
no Python and asks no server.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ..errors import Unsupported
from ..terminal.console import OK, Console

PLACE = 81
LOCAL = True

SHELLS = ("bash", "zsh", "fish")

# The kinds of values, by the words that help texts have for them.
_FILES = ("FILE", "FOUND", "IMAGE", "PATH", "QUERY")
_FOLDERS = ("DIR", "FOLDER")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that the script is for")


def run(args: argparse.Namespace, console: Console, client: None) -> int:
    """Run the command and return its exit code."""
    script = scripted(args.shell, *args.parsers)
    if console.json:
        console.data({"shell": args.shell, "script": script})
    else:
        console.text(script)
    return OK


def scripted(shell: str, top: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser]) -> str:
    """Return the script that shtab makes of the parser of everything and those of the commands."""
    try:
        import shtab  # only this command needs it
    except ImportError:
        raise Unsupported("Completion needs shtab, which is not installed.", remedy="pip install shtab") from None
    for parser in commands.values():
        for action in parser._actions:
            if action.metavar in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # read by shtab
            elif action.metavar in _FOLDERS:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # read by shtab
    return shtab.complete(top, shell)
