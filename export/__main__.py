"""Runs `sluice export`, or `python -m export` in a clone: turns trained weights into graphs for Triton and checks them.

Beside the graphs it writes the model cards.
"""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__":
    # Ctrl-C while the imports below run, which take seconds, ends the program without a traceback.
    signal.signal(signal.SIGINT, lambda *_: (os.write(2, b"sluice export: stopped\n"), os._exit(130)))

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from export import card, check, destination, doctor, fit, graph
from export.entry import ROOT, ExportError, Network
from export.files import digest
from export.frame import joined
from export.own import say
from export.precision import graphs
from export.registry import COMMANDS, at, families, together, usual, weights_of
from export.tensorrt import plan, profiles, rtx
from export.tensorrt.graph import PRECISIONS
from sluice.process import weights as sets
from sluice.server import root, sidecar


def listing(place: Path) -> str:
    """Return a line per file of weights: whether it exists, and whether its graphs in the root are up to date."""
    lines = []
    for name, entries in sorted(families().items()):
        networks = at(entries, place)
        if any(destination.imported(network.onnx.parents[1]) for network in networks):
            lines.append(f"{name:<24} a network of your own")
            continue
        try:
            weights = weights_of(networks[0], None)
        except ExportError:
            lines.append(f"{name:<24} no weights; {networks[0].train}")
            continue
        if all(graph.current(network, weights) for network in networks):
            state = "up to date"
        else:
            state = f"to be exported: {root.command(place)} {name}"
        lines.append(f"{name:<24} {state}")
    return "\n".join(lines)


def export_onnx(networks: Sequence[Network], weights: Path, *, force: bool, checked: bool) -> None:
    """Write each model.onnx that is missing or old, all made from one file of weights.

    force: write those that are up to date as well. checked: compare the graphs with torch and write the card.
    Raises ExportError where the card beside the weights is of others.
    """
    start = time.monotonic()
    if not checked:
        card.belongs(weights)
    old = [network for network in networks if force or not graph.current(network, weights)]
    for network in networks:
        if network not in old:
            say(f"{network.name}: model.onnx is up to date")
            continue
        say(f"{network.name}: tracing {weights.name} at {check.sizes(network.example)}")
        content = graph.export(network, weights)
        graph.write(network, content)
        say(f"{network.name}: wrote model.onnx, {len(content) / 1e6:.1f} MB, sha256 {digest(network.onnx)[:12]}")
    # The config of a graph that is up to date is read too, since it may be another checkout's.
    for network in networks:
        for line in fit.fit(network):
            say(line)
    if checked and (old or not card.current(networks, weights)):
        written = card.write(weights, [compared(network, weights) for network in networks])
        say(f"{written.stem}: wrote {written.relative_to(sets.parts(networks[0].root)[0])}")
    if old or checked:
        say(f"{networks[0].card.stem}: done in {time.monotonic() - start:.1f} s")


def less_precise(networks: Sequence[Network], options: argparse.Namespace) -> None:
    """Write the graphs in the precision asked for; without one, serve no graph that was made of an older model.onnx.

    Raises ExportError before any is written where one of them loses too much in int8.
    """
    chosen = [
        network for network in networks if options.precision and options.name in (network.name, network.card.stem)
    ]
    if options.precision == "int8":
        for network in chosen:
            graphs.allowed(network)
    for network in networks:
        if network in chosen:
            graphs.write(network, options.precision, options.frames, say)
        elif line := graphs.outdated(network):
            say(line)


def compared(network: Network, weights: Path) -> check.Report:
    """Compare a graph with torch and return the report.

    Raises ExportError where they differ. The graph is then removed, so that nobody serves it by accident.
    """
    say(f"{network.name}: torch against ONNX Runtime")
    try:
        report = check.compare(network, weights, network.onnx, say)
    except ExportError:
        network.onnx.unlink(missing_ok=True)
        raise
    if report.not_measured:
        say(f"  bf16 through OpenVINO: {report.not_measured}")
    return report


def write_engine(network: Network, options: argparse.Namespace) -> None:
    """Build a TensorRT engine of a network from its model.onnx, and say what was written. Raises ExportError."""
    start = time.monotonic()
    if options.format == "plan":
        engine = plan.build(network, options.precision, say)
    else:
        engine = rtx.build(network, rtx.capabilities(options.kinds), options.precision, say)
    size, seconds = engine.stat().st_size / 1e6, time.monotonic() - start
    say(f"{network.name}: wrote {engine.name} and {sidecar.place(engine).name}, {size:.1f} MB, in {seconds:.1f} s")


def done(name: str, place: Path, options: argparse.Namespace) -> bool:
    """Export into a root all networks made from the weights of that name.

    Returns False where that failed; the reason has been printed.
    """
    try:
        networks = at(together(name), place)
        if options.format == "onnx" and any(destination.imported(network.onnx.parents[1]) for network in networks):
            folder = networks[0].onnx.parents[1]
            if options.precision:
                kind = options.precision
                raise ExportError(
                    f"{name} is a network of your own; {kind} is made of ours alone: leave out --precision"
                )
            say(f"{name}: left as it is, a network of your own; to have ours again, remove {folder}")
            return True
        if options.format != "onnx":
            for network in networks:
                write_engine(profiles.fitted(network), options)
        else:
            weights = weights_of(networks[0], options.weights)
            export_onnx(networks, weights, force=options.force, checked=options.check)
            less_precise(networks, options)
    except ExportError as error:
        say(f"sluice export: {error}")
        return False
    except OSError as error:
        say(f"sluice export: {name}: cannot write {error.filename or place}: {error.strerror or error}")
        return False
    return True


def arguments() -> argparse.ArgumentParser:
    """Return the parser of `sluice export`."""
    own = "".join(f" {c.purpose[0].upper()}{c.purpose[1:]}: sluice export {c.name} --help." for c in COMMANDS.values())
    parser = argparse.ArgumentParser(
        prog="sluice export",
        description="Turn trained weights into model_repository/NAME/1/model.onnx (or model.plan, model.rtx.onnx), "
        "which `sluice serve` serves, and check it. Without NAME: every network of ours whose engine is missing or "
        "old.",
        epilog="Exit status: 0 done or up to date, 1 it could not be done (one line says why), 2 wrong usage, 130 "
        f"stopped with Ctrl-C. Formats that exist and fit this machine: sluice export doctor.{own} The same code "
        "trains networks: weights/NAME.md gives the command of each. It also "
        "imports checkpoints of other makes: python -m export.grouping.import_checkpoint, "
        f"export.video.import_checkpoint. Run both in {ROOT} or with that folder as PYTHONPATH.",
    )
    parser.add_argument("name", nargs="?", help="weights or network to export; see --list")
    parser.add_argument("--all", action="store_true", help="every network of ours, as without NAME")
    parser.add_argument("--root", type=Path, metavar="DIR", help=destination.HELP)
    parser.add_argument(
        "--weights",
        type=lambda text: text if text in sets.SETS else Path(text),
        metavar="SET|FILE",
        help="a set of weights, research or free (default: SLUICE_WEIGHTS, else research), or a file of trained "
        "weights for NAME",
    )
    parser.add_argument(
        "--format",
        choices=("onnx", "plan", "rtx"),
        default="onnx",
        help="plan: TensorRT, needs its image and a GPU; rtx: TensorRT for RTX, compiled on any CPU (docs/tensorrt.md)",
    )
    parser.add_argument(
        "--for",
        dest="kinds",
        metavar="KINDS",
        help=f"kinds of GPU that an rtx engine is for, of {', '.join(rtx.CAPABILITIES)} "
        f"(default: {','.join(rtx.USUAL)})",
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with torch at many sizes and write weights/NAME.md"
    )
    parser.add_argument(
        "--precision",
        choices=graphs.PRECISIONS,
        help="of an engine: fp32 or fp16 (default: fp16 for networks that are precise enough in 16 bits). Of ONNX: "
        "int8, fp16: another graph beside model.onnx, in --root; int8 is served in its place, and refused where "
        "it loses more than 1 %% of the network's task metric; fp32: serve model.onnx again",
    )
    parser.add_argument("--frames", type=Path, metavar="FOLDER", help="pictures to calibrate --precision int8 on")
    parser.add_argument("--force", action="store_true", help="export even where the file is up to date")
    parser.add_argument("--list", action="store_true", help="list the networks, and whether each is up to date")
    return parser


def main(words: list[str] | None = None) -> int:
    """Run `sluice export` with these words, those of the command line where None. Returns the exit status."""
    words = sys.argv[1:] if words is None else words
    if words and words[0] == doctor.NAME:
        return doctor.main(words[1:])
    if words and words[0] in COMMANDS:
        return COMMANDS[words[0]].run(words[1:])
    parser = arguments()
    options = parser.parse_args(words)
    if options.name is not None and options.all:
        parser.error(f"got {options.name} and --all; give one of the two")
    chosen = options.weights if isinstance(options.weights, str) else None
    options.weights = None if chosen else options.weights
    if options.name is None and options.weights is not None:
        parser.error(f"--weights of a file are of one network; name it: {', '.join(sorted(families()))}")
    if options.format != "rtx" and options.kinds:
        parser.error("--for is of TensorRT-for-RTX engines; say --format rtx with it")
    if options.format == "onnx" and options.precision and options.name is None:
        parser.error("--precision is of one network; name it, or say --format plan or --format rtx with it")
    if options.format != "onnx" and options.precision not in (None, *PRECISIONS):
        parser.error(f"--precision {options.precision} is of ONNX; engines have {', '.join(PRECISIONS)}")
    if options.frames and (options.format != "onnx" or options.precision != "int8"):
        parser.error("--frames are for --precision int8 in ONNX")
    try:
        if options.list:
            print(listing(destination.find(options.root, chosen)))
            return 0
        if options.name:
            together(options.name)  # a wrong name is told before anything is written
        if options.format == "rtx":
            rtx.capabilities(options.kinds)
            rtx.library()
        destination.needed(options.format)
        place = destination.prepare(options.root, say, chosen)
        failed = [name for name in ([options.name] if options.name else usual()) if not done(name, place, options)]
        written = (
            [network.model or network.name for network in together(options.name)] if options.name else joined.PARTS
        )
        if not failed and options.format == "onnx" and joined.concerns(written, place):
            joined.write(place, say, options.force)
    except ExportError as error:
        say(f"sluice export: {error}")
        return 1
    except KeyboardInterrupt:
        say("sluice export: stopped. What was finished is kept; the same command goes on from there.")
        return 130
    if failed and not options.name:
        say(f"sluice export: not exported: {', '.join(failed)}")
    if not failed and place != ROOT:
        say(f"the engines are in {place}; serve them with: {root.command(place, 'serve')}")
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `sluice export --list | head` ends without a word
    try:
        status = main()
    except KeyboardInterrupt:  # while the imports of a command of its own run
        say("sluice export: stopped")
        status = 130
    sys.exit(status)
