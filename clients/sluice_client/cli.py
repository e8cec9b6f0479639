"""The program `sluice`. It finds a command's file, runs it, and turns every failure into one line and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

from PIL import Image

from .commands import COMMANDS
from .errors import CannotWrite, MetadataIgnored, RequestIgnored, SluiceError
from .terminal import distribution, server_options, usage
from .terminal.console import INTERRUPTED, SOME_FAILED, USAGE, Console, Patience, StoppedReading, exit_code, let_go
from .terminal.usage import Parser

__all__ = ["main", "parser"]

EPILOG = """\
exit codes:
  0    done
  1    some items were refused, the server failed, or the output could not be written
  2    wrong arguments or bad input
  75   no server, or a busy one: try again later
  130  stopped with Ctrl-C; what was acknowledged is stored

`sluice COMMAND --help` shows the options and examples of a command.
"""


def parser() -> Parser:
    """Return the parser of the whole command line."""
    return parsers()[0]


def parsers() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the whole command line, and the parsers of the commands by their names."""
    top = Parser(
        prog="sluice",
        description="Keep the frames of a camera fleet, find those that show a given object, and make new pictures.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"sluice {distribution.version()}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        assert module.__doc__ is not None
        # The first paragraph says what the command does; the others are shown as they are written.
        first, _, rest = module.__doc__.strip().partition("\n\n")
        summary = " ".join(first.split())
        one = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=rest.strip("\n"),
            parents=[_common(module.LOCAL)],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(one)
    for name in sorted({*_PLUGIN_HELP, *_plugins()}):
        # Added only so that the list of commands shows them; `main` runs them before anything is parsed.
        commands.add_parser(name, help=_PLUGIN_HELP.get(name, "an installed extension"), add_help=False)
    found = dict(commands.choices)
    top.set_defaults(parsers=(top, found))  # for `completion`, which is itself among them
    return top, found


# Commands that other packages bring. Each of these needs the extra of its name.
_PLUGIN_HELP = {
    "serve": "Start a server on this machine (needs the extra `serve`).",
    "export": "Make the networks that `sluice serve` runs (needs the extra `export`).",
}


def _common(local: bool) -> Parser:
    """Return the options that every command has. local: True if the command asks no server."""
    common = Parser(add_help=False)
    if not local:
        server_options.add(common)
        common.add_argument(
            "--timeout",
            type=float,
            default=60.0,
            metavar="S",
            help="seconds for one call, its retries included (default %(default)g)",
        )
    common.add_argument("--json", action="store_true", help="print one JSON object per line on stdout")
    common.add_argument("-q", "--quiet", action="store_true", help="print no progress and no notes on stderr")
    return common


def _plugins() -> dict[str, metadata.EntryPoint]:
    """Return the commands that installed packages bring, by their names."""
    return {point.name: point for point in metadata.entry_points(group="sluice.commands")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    argv: the words behind `sluice`; None for those of this process.
    Raises SystemExit for --help, --version and wrong usage, as argparse does.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    console = Console()
    if sys.stdout is None:  # it was closed, and the next file that is opened would get its number
        console.error("stdout is closed; send it to a file, or to /dev/null.")
        return USAGE
    stopped = "stopped. What was acknowledged is stored; the same command goes on from there."
    try:
        if words and (words[0] in _plugins() or words[0] in _PLUGIN_HELP):
            return _run_plugin(words[0], words[1:], console)
        # gRPC writes lines of its own on stderr if a handshake fails; our error says it in one line, with the remedy.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        args = _parse(words)
        module = COMMANDS[args.command]
        console = Console(json=args.json, quiet=args.quiet, tells=getattr(module, "TELLS", False))
        for sentence in args.settings.kept_back() if hasattr(args, "settings") else ():
            console.note(sentence)
        stopped = getattr(module, "STOPPED", stopped)
        with _in_one_line(console):
            if module.LOCAL:
                return module.run(args, console, None)
            with server_options.client(args, on_retry=Patience(console)) as client:
                return module.run(args, console, client)
    except SystemExit:  # argparse raises it after it has printed a help text
        try:
            console.write("")
        except CannotWrite as error:
            return _lost(console, error)
        raise
    except CannotWrite as error:
        return _lost(console, error)
    except StoppedReading:
        return 0
    except SluiceError as error:
        console.error(str(error))
        return exit_code(error)
    except KeyboardInterrupt:
        console.error(stopped)
        return INTERRUPTED


def _lost(console: Console, error: CannotWrite) -> int:
    """Report that output was lost, and return the exit code."""
    let_go()
    console.error(str(error))
    return exit_code(error)


@contextlib.contextmanager
def _in_one_line(console: Console) -> Iterator[None]:
    """Print each warning once, as a note without lines of code; and escape characters that stdout cannot encode."""
    if getattr(sys.stdout, "errors", None) == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # whose errors are strict is a real stream
    with warnings.catch_warnings():
        said: set[str] = set()

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if str(message) not in said:
                said.add(str(message))
                console.note(f"warning: {message}" if issubclass(category, RequestIgnored) else str(message))

        warnings.showwarning = show
        warnings.simplefilter("always", MetadataIgnored)
        warnings.simplefilter("always", RequestIgnored)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the server says how large is too large
        warnings.filterwarnings("ignore", "Corrupt EXIF|Truncated File Read", UserWarning)  # MetadataIgnored says it
        yield


def _parse(words: list[str]) -> argparse.Namespace:
    """Parse a command line, and put settings files' values in the place of defaults.

    argparse takes positional words from one place only, but `sluice match QUERY --roi ... IMAGES` has them in two.
    """
    top, commands = parsers()
    usage.check(words, top, commands)
    args, more = top.parse_known_args(words)
    if hasattr(args, "config"):
        settings = server_options.settings(args)
        # A file's value replaces a default, and an option replaces a file's value.
        commands[args.command].set_defaults(**settings.defaults())
        args, more = top.parse_known_args(words)
        args.settings = settings
    positional = next((name for name in ("paths", "ids", "names") if isinstance(getattr(args, name, None), list)), None)
    if more and (positional is None or any(word.startswith("-") for word in more)):
        commands[args.command].error(f"`sluice {args.command}` does not know: {' '.join(more)}")
    if more and positional is not None:
        getattr(args, positional).extend(more)
    return args


def _run_plugin(name: str, words: list[str], console: Console) -> int:
    """Run a command of another package, and return its exit code."""
    point = _plugins().get(name)
    try:
        if point is None:
            raise ModuleNotFoundError("sluice.server")
        command = point.load()
    except ImportError as error:
        console.error(
            f"`sluice {name}` needs the server part, which is not installed ({error}). "
            f"Install it with: pip install 'sluice-perception[{name if name in _PLUGIN_HELP else 'serve'}]'"
        )
        return USAGE
    try:
        return int(command(words) or 0)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            console.error(stop.code)
            return SOME_FAILED
        raise


if __name__ == "__main__":
    sys.exit(main())
