"""Writes the card of a user's own detector."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from export.detector.assembly import Source
from export.detector.bf16 import Cost
from export.detector.mapping import KINDS, Mapping


def text(
    graph: bytes, sources: Sequence[Source], mapping: Mapping, passes: int, worst: float, cost: Cost, gives: str
) -> str:
    """Return the card in Markdown.

    graph: model.onnx. worst: the greatest difference of a box between the graph and the networks, pixels. gives: which
    uncertainties the detector gives, in words.
    """
    rows = [
        ("sources", ", ".join(f"`{source.origin}` (sha256 `{source.sha256}`)" for source in sources)),
        ("sha256 of model.onnx", f"`{sha256(graph).hexdigest()}`, {len(graph):,} bytes"),
        ("outputs", KINDS[mapping.kind]),
        ("classes", ", ".join(mapping.labels)),
        ("canvases", f"{mapping.canvases}, {'aspect kept' if mapping.keep_aspect else 'stretched'}"),
        ("suppression", f"iou {mapping.iou:g}, confidence {mapping.confidence:g}" if mapping.suppress else "none"),
        ("uncertainties", gives),
    ]
    agreement = (
        f"ONNX Runtime, one thread, on generated street scenes at every canvas: boxes differ by {worst:.2g} pixels at "
        "most from those of the networks run by themselves and decoded by torch."
        if passes == 1
        else "Not compared: the masks of dropout are in the served graph alone. One image of a batch equals the same "
        "image alone, at every canvas."
    )
    parts = [
        "# box_detector",
        "A detector of the user's own. Written by `sluice export detector`; do not edit.",
        "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows),
        "## The served graph against the networks",
        agreement,
        "## bf16 through OpenVINO (profiles auto and cpu-fast)",
        f"{cost.told()}.",
        "How well this detector finds your objects is not measured here; `python -m bench detect` measures ours.",
    ]
    return "\n\n".join(parts) + "\n"
