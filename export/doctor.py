"""Says for each network which formats exist, are fresh and fit this machine, and the command that makes the others.

Only files are read and the machine is asked: nothing is built, loaded or changed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from export import destination, graph
from export.entry import ROOT, ExportError, Network
from export.precision import graphs, record
from export.registry import at, families, together, usual, weights_of
from sluice import contracts
from sluice.process import weights as sets
from sluice.server import profile, root, sidecar
from sluice.server.layout import asks_for_bf16

NAME = "doctor"
# A command is to be run for the first two; nothing can be done here about `elsewhere` and `not served`.
OLD, MISSING, FRESH, ELSEWHERE, NOT_SERVED = "old", "missing", "fresh", "elsewhere", "not served"


@dataclass(frozen=True)
class Finding:
    """The state of one format of one network.

    state: `fresh`, `old` or `missing`; `elsewhere` for what this machine cannot serve; `not served` for a precision
    that the network's configs leave out. note: a clause that says why. command: makes or renews the format; empty where
    nothing is to be done.
    """

    network: str
    format: str
    state: str
    note: str = ""
    command: str = ""


@dataclass(frozen=True)
class Machine:
    """The abilities of this machine.

    gpus: compute capability of each. no_bf16: why bf16 is missing, empty where it is there.
    """

    gpus: tuple[str, ...]
    no_bf16: str

    @classmethod
    def here(cls) -> Machine:
        """Ask this machine."""
        return cls(tuple(sidecar.gpus()), profile.bf16_here()[1])


def examine(network: Network, machine: Machine) -> list[Finding]:
    """Return what there is of a network, a finding per format."""
    command = f"{root.command(network.root)} {network.card.stem}"
    own = destination.imported(network.onnx.parents[1])
    source = _onnx(network, command, own)
    if source.state == MISSING:
        return [source]
    found = [source, _bf16(network, machine)]
    if not own:
        found += [_int8(network)]
    return [*found, *(_engine(network, form, machine, command) for form in ("plan", "rtx"))]


def _onnx(network: Network, command: str, own: bool) -> Finding:
    """Return the state of model.onnx. own: whether it is a user's network, which has no weights of ours."""
    if not network.onnx.is_file():
        return Finding(network.name, "onnx", MISSING, "", command)
    if own:
        return Finding(network.name, "onnx", FRESH, "a network of your own")
    try:
        weights = weights_of(network, None)
    except ExportError as error:
        return Finding(network.name, "onnx", OLD, f"cannot be compared: {error}")
    if graph.current(network, weights):
        return Finding(network.name, "onnx", FRESH)
    return Finding(network.name, "onnx", OLD, f"not made from {weights.name} by this version", command)


def _bf16(network: Network, machine: Machine) -> Finding:
    """Return whether the profile `auto` serves this network in bf16 here."""
    config = network.onnx.parents[1] / "configs" / f"{profile.CONFIGS['cpu-fast']}.pbtxt"
    if not config.is_file() or not asks_for_bf16(contracts.read(config)):
        return Finding(network.name, "bf16", NOT_SERVED, "stays in fp32; its config.pbtxt says why")
    if machine.no_bf16:
        return Finding(network.name, "bf16", ELSEWHERE, machine.no_bf16)
    return Finding(network.name, "bf16", FRESH, "by sluice serve --profile auto")


def _int8(network: Network) -> Finding:
    """Return the state of the graph in int8, which nobody has to make.

    Its command names this network alone, since networks of the same weights may lose more, and another root than a
    clone, which stays in fp32.
    """
    command = f"{root.command(network.root)} {network.name} --precision int8{' --root DIR' * (network.root == ROOT)}"
    path = graphs.file(network, "int8")
    known = record.of(network).get("int8")
    if known is not None and known.loss > record.MOST:
        return Finding(network.name, "int8", NOT_SERVED, f"is {known.loss:.1%} worse in {known.metric}")
    if not path.is_file():
        return Finding(network.name, "int8", NOT_SERVED, f"to try it: {command} --frames FOLDER")
    if graphs.fresh(path, network):
        return Finding(network.name, "int8", FRESH)
    return Finding(network.name, "int8", OLD, "made of another model.onnx", command)


def _engine(network: Network, form: str, machine: Machine, command: str) -> Finding:
    """Return the state of a TensorRT engine. form: "plan" or "rtx"."""
    path = network.plan if form == "plan" else network.rtx
    make = f"{command} --format {form}"
    if not path.is_file():
        if form == "plan" and not machine.gpus:
            return Finding(network.name, form, ELSEWHERE, "is built on the GPU that serves it; there is none here")
        return Finding(network.name, form, MISSING, "", make)
    wrong = sidecar.misfits(path, network.model or network.name, gpus=machine.gpus, graph=network.onnx)
    if wrong:
        return Finding(network.name, form, OLD, wrong[0].partition("; run:")[0], make)
    if not sidecar.place(path).is_file():
        return Finding(network.name, form, OLD, "has no record of what it was built from", make)
    if not machine.gpus:
        return Finding(network.name, form, ELSEWHERE, "fresh, but there is no GPU here to serve it")
    return Finding(network.name, form, FRESH)


def said(findings: Iterable[Finding]) -> str:
    """Return the findings as a table, a line each, with a blank line between networks."""
    lines, last = [], ""
    for found in findings:
        if last and found.network != last:
            lines.append("")
        name, last = ("" if found.network == last else found.network), found.network
        text = ". ".join(filter(None, [found.note, f"run: {found.command}" if found.command else ""]))
        lines.append(f"{name:<24} {found.format:<6} {found.state:<11} {text}".rstrip())
    return "\n".join(lines)


def arguments() -> argparse.ArgumentParser:
    """Return the parser of `sluice export doctor`."""
    parser = argparse.ArgumentParser(
        prog="sluice export doctor",
        description="Say for each network which formats exist, whether they are fresh and fit this machine, and the "
        "command that makes what is missing. Nothing is built or changed.",
        epilog="States: fresh; old (made from other weights, or for another GPU); missing; elsewhere (this machine "
        "cannot serve it); not served. Exit status: 0 where every model.onnx is fresh, 1 where one is old or missing.",
    )
    parser.add_argument("name", nargs="?", help="weights or network; default: every network of ours")
    parser.add_argument("--root", type=Path, metavar="DIR", help=f"folder of models and engines {destination.DEFAULT}")
    parser.add_argument("--weights", choices=sets.SETS, help="set of weights (default: as `sluice export`)")
    parser.add_argument("--json", action="store_true", help="a JSON array of the findings")
    return parser


def main(words: Sequence[str]) -> int:
    """Run `sluice export doctor` with these words. Returns the exit status."""
    given = arguments().parse_args(words)
    try:
        place = destination.find(given.root, given.weights)
        chosen = [together(given.name)] if given.name else [families()[name] for name in usual()]
        machine = Machine.here()
        findings = [each for rows in chosen for network in at(rows, place) for each in examine(network, machine)]
    except ExportError as error:
        print(f"sluice export doctor: {error}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps([asdict(found) for found in findings], indent=1))
    else:
        print(said(findings))
    return 1 if any(found.format == "onnx" and found.state != FRESH for found in findings) else 0
