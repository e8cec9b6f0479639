"""Writes a network into a root in the place of `feature_extractor`: graph, configs and card.

The configs are the shipped ones, each with the network's own canvases and channels, so that every profile of
`sluice serve` finds the network.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from onnx import ModelProto

from export import check, destination
from export.entry import ExportError
from export.features.canvases import Canvases
from export.features.served import MODEL, OUTPUT, Plan
from export.features.source import Source
from export.files import digest
from export.files import replace as replace_file
from sluice.server import root as roots

COMMAND = "sluice export features"
FAST = "configs/cpu-fast.pbtxt"
# 1 - cosine between a cell in bf16 and in float32, on average, up to which the profile cpu-fast takes bf16.
MOST_BF16 = 1e-3


def check_place(root: Path, force: bool) -> None:
    """Check that the model of this name in a root may be overwritten: ours as shipped, or one of this command.

    force: it may in any case. Raises ExportError otherwise.
    """
    folder = root / "model_repository" / MODEL
    there, shipped = folder / "config.pbtxt", shipped_configs()["config.pbtxt"]
    if force or not there.is_file() or destination.imported(folder) or there.read_text(encoding="utf-8") == shipped:
        return
    raise ExportError(f"{there} was changed by hand; --force overwrites it, or name another folder with --root")


def shipped_configs() -> dict[str, str]:
    """Return the texts of the shipped configs of the model, by their path in its folder."""
    folder = roots.origin() / "model_repository" / MODEL
    paths = sorted([folder / "config.pbtxt", *folder.glob("configs/*.pbtxt")])
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def record(source: Source, plan: Plan) -> dict[str, str]:
    """Return the metadata of the graph: the network's origin, and all that was added to it."""
    return {
        "sluice.network": MODEL,
        "sluice.source": Path(source.origin).name,
        "sluice.source_sha256": source.sha256,
        "sluice.map": plan.map.told,
        "sluice.mean": " ".join(f"{value:g}" for value in plan.mean),
        "sluice.std": " ".join(f"{value:g}" for value in plan.std),
    }


def write(
    root: Path,
    model: ModelProto,
    source: Source,
    plan: Plan,
    seen: Canvases,
    report: check.Report,
    say: Callable[[str], None],
) -> None:
    """Write graph, configs and card, and remove engines of the network that was there before.

    say: is given a line per file. Raises ExportError where the root cannot be written.
    """
    folder = root / "model_repository" / MODEL
    precise = report.bf16 is not None and report.bf16.mean <= MOST_BF16
    shipped = shipped_configs()
    texts = {
        name: config(shipped["config.pbtxt" if name == FAST and not precise else name], plan, seen, source)
        for name in shipped
    }
    try:
        for built in (folder / "1").glob("model.*"):
            if built.name != "model.onnx":
                built.unlink()
        for name, text in texts.items():
            replace_file(folder / name, text.encode())
        replace_file(folder / "1" / "model.onnx", model.SerializeToString(deterministic=True))
        replace_file(root / "weights" / f"{MODEL}.md", card(folder, source, plan, seen, report, precise).encode())
    except OSError as error:
        raise ExportError(f"cannot write {error.filename or folder}: {error.strerror or error}") from None
    say(f"wrote model_repository/{MODEL} in {root}, and its card weights/{MODEL}.md")


def config(shipped: str, plan: Plan, seen: Canvases, source: Source) -> str:
    """Return a shipped config's text with the channels and canvases of a network.

    Raises ExportError where the shipped config has no dims of OUTPUT.
    """
    body = "\n".join(line for line in shipped.splitlines() if not line.startswith("#")).strip()
    found = re.search(rf'(name:\s*"{OUTPUT}"[^}}]*?dims:\s*\[)[^\]]*(\])', body)
    if not found:
        raise ExportError(f"the shipped config has no output {OUTPUT} with dims")
    body = f"{body[: found.end(1)]} -1, -1, {plan.channels} {body[found.start(2) :]}"
    programs = len(seen.sizes) + 1  # in bf16 one per canvas, and one for the question of the start
    body = re.sub(r'(key: "programs" value: ")\d+', rf"\g<1>{programs}", body)
    return f"""{destination.MARK} features`; it may be changed, but is written anew with the graph.
# {plan.map.channels} channels at stride {plan.map.stride} of {Path(source.origin).name}, {plan.map.name}.
{body}
# canvases: width x height of the images that the network sees, which `embed`, `ingest`, `retrieve` and `match` make.
# multiple: divides each of their sides.
parameters [
  {{ key: "canvases" value {{ string_value: "{seen.text}" }} }},
  {{ key: "multiple" value {{ string_value: "{seen.multiple}" }} }}
]
"""


def card(folder: Path, source: Source, plan: Plan, seen: Canvases, report: check.Report, precise: bool) -> str:
    """Return the card in Markdown. folder: of the model. precise: whether cpu-fast takes bf16."""
    projection = plan.projection
    reduced = (
        "none; all channels are kept"
        if projection is None
        else f"whitened PCA to {plan.channels}, fitted on {projection.cells:,} cells, keeps {projection.kept:.1%} of "
        "the variance"
    )
    rows = [
        ("source", f"`{Path(source.origin).name}`"),
        ("sha256 of the weights", f"`{source.sha256}`"),
        ("sha256 of model.onnx", f"`{digest(folder / '1' / 'model.onnx')}`"),
        ("map", plan.map.told),
        ("reduction", reduced),
        ("mean, std of pixels from 0 to 1", f"{_numbers(plan.mean)}; {_numbers(plan.std)}"),
        ("canvases", seen.text),
        ("output", f"`{OUTPUT}` [batch, rows, columns, {plan.channels}], float16, length 1"),
    ]
    came = "torch" if source.run else "the ONNX file as it came, in ONNX Runtime"
    lines = [
        f"# {MODEL}",
        f"A feature network of the user's own. Written by `{COMMAND}`; do not edit.",
        "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows),
        f"## The served graph against {came}",
        f"{report.runtime}, one thread, on generated street scenes. Greatest absolute difference "
        f"{report.greatest:.2e}; {report.network.tolerance:g} is allowed.",
        "| input | greatest difference |\n|---|---|\n"
        + "\n".join(f"| {check.sizes(row.shapes)} | {row.difference:.2e} |" for row in report.rows),
        "## bf16 through OpenVINO (profile cpu-fast)",
        _bf16(report, precise),
        "How well this network finds your objects is not measured here; `python -m bench recall` measures it for ours.",
    ]
    return "\n\n".join(lines) + "\n"


def _bf16(report: check.Report, precise: bool) -> str:
    """Return the sentences about bf16."""
    if report.bf16 is None:
        return f"{report.not_measured[:1].upper()}{report.not_measured[1:]}. The profile serves float32."
    cost = report.bf16
    return (
        f"1 - cosine between a cell in bf16 and in float32: {cost.mean:.1e} on average, {cost.hundredth:.1e} or more "
        f"in one cell of a hundred, {cost.worst:.1e} at worst. Up to {MOST_BF16:g} on average the profile serves bf16; "
        f"it serves {'bf16' if precise else 'float32'}."
    )


def _numbers(values: tuple[float, ...]) -> str:
    """Return numbers in words."""
    return ", ".join(f"{value:.4g}" for value in values)
