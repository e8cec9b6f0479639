"""The command `sluice`: finds the command's file, runs it, and turns every failure into one line and an exit code."""

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
    return parsers()[0]


def parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of all, and those of the commands by their names."""
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
        # The first paragraph says what the command does, the others are shown as they stand.
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
        # Only for the list of commands; `main` hands these over before anything is parsed.
        commands.add_parser(name, help=_PLUGIN_HELP.get(name, "an installed extension"), add_help=False)
    found = dict(commands.choices)
    top.set_defaults(parsers=(top, found))  # for `completion`, which is itself among them
    return top, found


# Commands of the server's side; each needs the extra of its name.
_PLUGIN_HELP = {
    "serve": "Start a server on this machine (needs the extra `serve`).",
    "export": "Make the engines that `sluice serve` serves (needs the extra `export`).",
}


def _common(local: bool) -> Parser:
    common = Parser(add_help=False)
    if not local:
        server_options.add(common)
        common.add_argument(
            "--timeout",
            type=float,
            default=60.0,
            metavar="S",
            help="seconds for one call with its retries (default %(default)g)",
        )
    common.add_argument("--json", action="store_true", help="one JSON object a line on stdout")
    common.add_argument("-q", "--quiet", action="store_true", help="no progress and no notes on stderr")
    return common


def _plugins() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group="sluice.commands")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Raises SystemExit for --help, --version and wrong usage, as argparse does."""
    words = list(sys.argv[1:] if argv is None else argv)
    console = Console()
    if sys.stdout is None:  # closed: what is opened next would get its number
        console.error("stdout is closed; let it go to a file, or to /dev/null.")
        return USAGE
    stopped = "stopped. What was acknowledged is stored; the same command goes on from there."
    try:
        if words and (words[0] in _plugins() or words[0] in _PLUGIN_HELP):
            return _run_plugin(words[0], words[1:], console)
        # gRPC writes lines of its own on stderr where a handshake fails; ours says it in one, with the remedy.
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
    except SystemExit:  # of argparse, which has printed a help text
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
    let_go()
    console.error(str(error))
    return exit_code(error)


@contextlib.contextmanager
def _in_one_line(console: Console) -> Iterator[None]:
    """What is warned of becomes a note, once and without lines of code; what stdout cannot show ends nothing."""
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
        warnings.filterwarnings("ignore", "Corrupt EXIF|Truncated File Read", UserWarning)  # MetadataIgnored tells it
        yield


def _parse(words: list[str]) -> argparse.Namespace:
    """argparse takes positional words from one place only; `sluice match QUERY --roi ... IMAGES` has them in two."""
    top, commands = parsers()
    usage.check(words, top, commands)
    args, more = top.parse_known_args(words)
    if hasattr(args, "config"):
        settings = server_options.settings(args)
        # What a file says takes the place of a default, and an option that of a file.
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
