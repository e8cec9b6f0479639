"""`python -m export NAME`: turn trained weights into what Triton serves, check it, and write the model card."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from export import card, check, graph, plan
from export.registry import NETWORKS, ExportError, Network, digest, find, weights_of


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def listing() -> str:
    """A line for each network: whether its weights are there, and whether what is built from them is up to date."""
    lines = []
    for name, network in sorted(NETWORKS.items()):
        if not network.weights.exists():
            state = f"no weights; {network.train}"
        elif graph.current(network, network.weights):
            state = "up to date"
        else:
            state = f"to be exported: python -m export {name}"
        lines.append(f"{name:<24} {state}")
    return "\n".join(lines)


def export_onnx(network: Network, weights: Path, *, force: bool, checked: bool) -> None:
    """Write model.onnx where it is missing or old; with `checked`, compare it with torch and write the card."""
    start = time.monotonic()
    if not force and graph.current(network, weights):
        say(f"{network.name}: model.onnx is up to date")
        if not checked or card.current(network, weights):
            return
    else:
        say(f"{network.name}: tracing {weights.name} at {check.sizes(network.example)}")
        content = graph.export(network, weights)
        graph.write(network, content)
        say(f"{network.name}: wrote model.onnx, {len(content) / 1e6:.1f} MB, sha256 {digest(network.onnx)[:12]}")
    if checked:
        say(f"{network.name}: torch against ONNX Runtime")
        try:
            report = check.compare(network, weights, network.onnx, say)
        except ExportError:
            network.onnx.unlink(missing_ok=True)  # what differs must not be served by accident
            raise
        if report.not_measured:
            say(f"  bf16 through OpenVINO: {report.not_measured}")
        written = card.write(network, weights, report)
        say(f"{network.name}: wrote weights/{written.name}")
    say(f"{network.name}: done in {time.monotonic() - start:.1f} s")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Turn trained weights into model_repository/NAME/1/model.onnx (or model.plan) and check it.",
        epilog="Exit status: 0 done or up to date, 1 it could not be done (one line says why), 2 wrong usage.",
    )
    parser.add_argument("name", nargs="?", help="network to export; see --list")
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
        parser.error(f"name a network: {', '.join(sorted(NETWORKS))}")
    try:
        network = find(options.name)
        if options.format == "plan":
            say(f"{network.name}: wrote {plan.build(network, say).name}")
        else:
            weights = weights_of(network, options.weights)
            export_onnx(network, weights, force=options.force, checked=options.check)
    except ExportError as error:
        say(f"python -m export: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
