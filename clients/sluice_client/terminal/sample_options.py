"""The options that `sample`, `encode` and `interpolate` share, their progress, and the files of their pictures."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..answers.sample import Samples
from ..answers.sample_events import End, Event, Preview, Result
from ..drawing.sheet import ENDINGS, encode, sheet
from ..errors import InvalidRequest
from ..files import naming, whole_files
from ..verbs.sample import GRIDS, RULES, SOLVERS
from .console import OK, SOME_FAILED, Console

__all__ = ["STOPPED", "Follow", "Pictures", "arguments", "facts", "labels", "numbers", "options", "outputs"]

STOPPED = "stopped, also at the server. The files that were written are whole."

_MOST = 1_000_000  # numbers in one list; the server takes far fewer
_NEWS = 10.0  # seconds between two lines if stderr is no terminal


def arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options of all three tasks to a command's parser. what: the word for an item that has a label."""
    parser.add_argument(
        "--model", metavar="NAME", help="the network, such as digits or streets (default: the server's first)"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--label", type=int, metavar="N", help="one class for all, for a network with classes")
    group.add_argument(
        "--labels", type=numbers, metavar="LIST", help=f"the class of each {what}, such as 0,1,2 or 0:10"
    )
    parser.add_argument("--solver", choices=SOLVERS, help="the solver (default: the server's, genie)")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="how many steps the solver takes, 1..1000 (default: the server's, 10)"
    )
    parser.add_argument(
        "--grid",
        choices=GRIDS,
        help="spacing of the steps in time (default: linear for genie, ddim and ab2 from seeds, else quadratic)",
    )
    parser.add_argument(
        "--guidance", type=float, metavar="W", help="weight of the guidance to the class, 0..100 (default 0)"
    )
    parser.add_argument("--guidance-rule", choices=RULES, help="source of the guided derivative (default: difference)")
    parser.add_argument(
        "--no-curvature",
        dest="curvature",
        action="store_false",
        default=None,
        help="let genie take its derivative by a difference, with two network calls per step, instead of by the "
        "network's curvature head",
    )
    parser.add_argument(
        "--difference", type=float, metavar="F", help="size of that difference as a share of a step (default 0.1)"
    )


def outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options of the two tasks that make pictures to a command's parser."""
    parser.add_argument(
        "--analytic-first",
        action="store_true",
        default=None,
        help="make the first step without the network, which saves one network call",
    )
    parser.add_argument(
        "--denoise", action="store_true", default=None, help="remove the noise that is left, by one more network call"
    )
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        metavar="PATH",
        help=f"a file for one sheet of all pictures ({', '.join(ENDINGS)}); or a folder, with / at its end, for a PNG "
        "per picture",
    )
    parser.add_argument(
        "--columns", type=int, metavar="N", help="columns of that sheet (default: about as many as rows)"
    )
    parser.add_argument(
        "--previews", metavar="FOLDER", help="write previews into this folder while the pictures are made, as JPEG"
    )
    parser.add_argument("--preview-every", type=int, metavar="N", help="steps between two previews (default 1)")


def numbers(text: str) -> list[int]:
    """Return the numbers of a list such as `3,9`, of a range such as `0:64` (0 to 63), or of both, as in `0:8,100`."""
    found: list[int] = []
    try:
        for part in text.split(","):
            first, colon, end = part.partition(":")
            run = range(int(first or 0), int(end)) if colon else range(int(part), int(part) + 1)
            if len(run) == 0 or len(found) + len(run) > _MOST:
                raise ValueError
            found += run
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"numbers such as 3,9 or 0:64 (0 to 63) were expected, got {text!r}") from None
    return found


def labels(args: argparse.Namespace) -> int | list[int] | None:
    """Return the class of all, or the class of each; None if neither is given."""
    return args.label if args.labels is None else args.labels


_OPTIONS = (
    "solver",
    "steps",
    "grid",
    "analytic_first",
    "denoise",
    "guidance",
    "guidance_rule",
    "curvature",
    "difference",
)


def options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that are given, as keywords of the client."""
    given = {name: getattr(args, name, None) for name in (*_OPTIONS, "between")}
    if getattr(args, "previews", None):
        given["preview"] = 1 if args.preview_every is None else args.preview_every
    if getattr(args, "fit", False):
        given["fit"] = True
    return {name: value for name, value in given.items() if value is not None}


class Follow:
    """Shows the progress of a stream: a bar on a terminal, otherwise a line now and then."""

    def __init__(self, console: Console, what: str):
        self._console, self._what = console, what
        self._bar = console.progress(100, "%", what)
        self._bar.bar_format = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        self._told = time.monotonic()

    def __enter__(self) -> Follow:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def __call__(self, event: Event) -> None:
        if isinstance(event, End):
            return
        self._bar.set_postfix_str(f"step {event.step} of {event.steps}", refresh=False)
        self._bar.n = 100 * event.done
        self._bar.refresh()  # events are few, so each may redraw the bar
        if self._bar.disable and time.monotonic() - self._told >= _NEWS:
            self._told = time.monotonic()
            self._console.note(f"{self._what}: {100 * event.done:.0f} %, step {event.step} of {event.steps}")


class Pictures:
    """Writes the pictures. Mistakes in the options for files are found before the pictures are made.

    In a folder, each PNG is written when its picture comes, so that finished pictures stay if the rest is stopped.
    """

    def __init__(self, args: argparse.Namespace, names: Sequence[str], columns: int | None = None):
        """Check the options.

        names:   of the pictures, in order.
        columns: of the sheet if --columns is not given; None for about as many as rows.
        """
        if args.columns is not None and args.columns < 1:
            raise InvalidRequest(f"--columns must be at least 1; got {args.columns}.")
        if args.preview_every is not None and not args.previews:
            raise InvalidRequest("--preview-every belongs to --previews.")
        if args.preview_every is not None and args.preview_every < 1:
            raise InvalidRequest(f"--preview-every must be at least 1; got {args.preview_every}.")
        self._names, self._columns = naming.distinct(names), args.columns or columns
        self.out = Path(args.out)
        self._many = args.out.endswith(("/", os.sep)) or self.out.is_dir()
        if not self._many and self.out.suffix.lower() not in ENDINGS:
            raise InvalidRequest(
                f"--out must end with one of {', '.join(ENDINGS)}, or with / for a folder; got {args.out!r}."
            )
        if self._many and args.columns is not None:
            raise InvalidRequest("--columns is for a sheet of all pictures; --out is a folder.")
        if self._many:
            whole_files.folder(self.out, "--out")
        else:
            whole_files.place(self.out, "--out")
        self._previews = whole_files.folder(Path(args.previews), "--previews") if args.previews else None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Preview) and self._previews is not None:
            for place, image in zip(event.index, event.images, strict=True):
                whole_files.store(self._previews / f"{self._name(place)}-step{event.step:03d}.jpg", image)
        if isinstance(event, Result) and self._many:
            for place, image in zip(event.index, event.images, strict=True):
                if image:
                    whole_files.store(self.out / f"{self._name(place)}.png", image)

    def finish(self, samples: Samples, console: Console) -> int:
        """Write the sheet, print what was made and which pictures could not be, and return the exit code."""
        failed = [(place, error) for place, error in enumerate(samples.errors) if error]
        if len(failed) < len(samples):
            if not self._many:
                whole = sheet(samples.pil(), self._columns)
                whole_files.store(self.out, encode(whole, self.out.suffix.lower()))
            console.note(f"wrote {self.out}")
        said = {self._name(place): error for place, error in failed}
        facts(console, samples.end, {"out": str(self.out), "errors": said})
        return SOME_FAILED if failed else OK

    def files(self) -> list[Path]:
        """Return all files that will be written, without the previews."""
        return [self.out / f"{name}.png" for name in self._names] if self._many else [self.out]

    def _name(self, place: int) -> str:
        return self._names[place] if 0 <= place < len(self._names) else str(place)


def facts(console: Console, end: End, more: dict[str, Any]) -> None:
    """Print the facts of a request, as JSON or as a line.

    more: further fields of the JSON, among them `errors`, reasons by the names of the pictures that could not be made.
    """
    if console.json:
        own = {"model": end.model, "task": end.task, "solver": end.solver, "images": end.images, "failed": end.failed}
        console.data(own | {"nfe": end.nfe, "calls": end.calls, "seconds": end.seconds} | dict(end.more) | more)
        return
    for name, error in more["errors"].items():
        console.error(f"{name}: {error.removeprefix(name).lstrip()}")
    count = "1 image" if end.images == 1 else f"{end.images} images"
    ways = f"{end.nfe} network evaluations each" + (f", in {end.calls} calls" if end.calls != end.nfe else "")
    by = ", its derivative by difference" if end.more.get("derivative") == "difference" else ""
    console.text(f"{count} of {end.model} with {end.solver}{by}, {ways}, {end.seconds:.2f} s")
