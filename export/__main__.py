"""`python -m export NAME`: turn trained weights into what Triton serves, check it, and write the model card."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from export import card, check, fit, graph, plan
from export.entry import ExportError, Network
from export.registry import digest, families, together, weights_of


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def listing() -> str:
    """A line for each file of weights: whether it is there, and whether what is built from it is up to date."""
    lines = []
    for name, networks in sorted(families().items()):
        weights = networks[0].weights
        if not weights.exists():
            state = f"no weights; {networks[0].train}"
        elif all(graph.current(network, weights) for network in networks):
            state = "up to date"
        else:
            state = f"to be exported: python -m export {name}"
        lines.append(f"{name:<24} {state}")
    return "\n".join(lines)


def export_onnx(networks: Sequence[Network], weights: Path, *, force: bool, checked: bool) -> None:
    """Write each model.onnx that is missing or old; with `checked`, compare them with torch and write the card."""
    start = time.monotonic()
    old = [network for network in networks if force or not graph.current(network, weights)]
    for network in networks:
        if network not in old:
            say(f"{network.name}: model.onnx is up to date")
            continue
        say(f"{network.name}: tracing {weights.name} at {check.sizes(network.example)}")
        content = graph.export(network, weights)
        graph.write(network, content)
        say(f"{network.name}: wrote model.onnx, {len(content) / 1e6:.1f} MB, sha256 {digest(network.onnx)[:12]}")
    # Also of a graph that is up to date: its config may be another checkout's.
    for network in networks:
        for line in fit.fit(network):
            say(line)
    if checked and (old or not card.current(networks, weights)):
        written = card.write(weights, [compared(network, weights) for network in networks])
        say(f"{written.stem}: wrote weights/{written.name}")
    if old or checked:
        say(f"{networks[0].card.stem}: done in {time.monotonic() - start:.1f} s")


def compared(network: Network, weights: Path) -> check.Report:
    """The graph against torch; what differs must not be served by accident and is removed."""
    say(f"{network.name}: torch against ONNX Runtime")
    try:
        report = check.compare(network, weights, network.onnx, say)
    except ExportError:
        network.onnx.unlink(missing_ok=True)
        raise
    if report.not_measured:
        say(f"  bf16 through OpenVINO: {report.not_measured}")
    return report


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["genie"]:
        from export import unet

        return unet.main(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Turn trained weights into model_repository/NAME/1/model.onnx (or model.plan) and check it.",
        epilog="Exit status: 0 done or up to date, 1 it could not be done (one line says why), 2 wrong usage. "
        "A diffusion network of your own: python -m export genie --help",
    )
    parser.add_argument("name", nargs="?", help="weights or network to export; see --list")
    parser.add_argument("--weights", type=Path, help="trained weights (default weights/NAME.pt)")
    parser.add_argument(
        "--format", choices=("onnx", "plan"), default="onnx", help="plan: TensorRT, needs its image and a GPU"
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with torch at many sizes and write weights/NAME.md"
    )
    parser.add_argument("--force", action="store_true", help="export even when the file is up to date")
    parser.add_argument("--list", action="store_true", help="say what can be exported and what is up to date")
    options = parser.parse_args(arguments)
    if options.list:
        print(listing())
        return 0
    if options.name is None:
        parser.error(f"name a network: {', '.join(sorted(families()))}")
    try:
        networks = together(options.name)
        if options.format == "plan":
            for network in networks:
                say(f"{network.name}: wrote {plan.build(network, say).name}")
        else:
            weights = weights_of(networks[0], options.weights)
            export_onnx(networks, weights, force=options.force, checked=options.check)
    except ExportError as error:
        say(f"python -m export: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
