"""Exports a detector of your own, in ONNX, as the detector that the verb `detect` asks.

sluice export detector --from MODEL.onnx --root DIR                     proposes MODEL.toml, how it is to be read
sluice export detector --from MODEL.onnx --root DIR --mapping MODEL.toml      exports it as the file says
sluice export detector --from A.onnx B.onnx C.onnx --root DIR --mapping A.toml      an ensemble, with uncertainties
sluice export detector --from MODEL.onnx --root DIR --mapping MODEL.toml --passes 10     with dropout kept active
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from export import own
from export.entry import ExportError
from export.own import Say
from sluice.methods.mixtures.members import Members
from sluice.methods.mixtures.options import Reading
from sluice.server import root as roots

USUAL_SIZE = (640, 640)  # at which a network of free size is looked at, unless --size says otherwise
MOST = 2**31 - 1  # bytes of an ONNX file


def propose(given: Path, labels: Path | None, size: tuple[int, int], into: Path) -> str:
    """Write the proposed mapping of a detector; return what was recognised, in words.

    size: (width, height) at which a network of free size is looked at. into: the file to write, which may not exist.
    Raises ExportError where no detector is recognised, or the file is there already.
    """
    from export.detector import assembly, checking, proposal
    from export.detector.mapping import Mapping, read_labels

    if into.exists():
        raise ExportError(f"{into} is there already; pass it with --mapping, or remove it for a new proposal")
    source = assembly.read(given)
    names = read_labels(labels) if labels else []
    shown = source.size or size
    look = Mapping(kind="boxes", labels=("any",), canvases="1x1", boxes=("any",), scores=("any",))
    outputs = checking.raw(source, look, checking.picture(shown))
    proposed = proposal.propose(outputs, shown, names, source.size is not None)
    into.write_text(proposed.text(), encoding="utf-8")
    return "\n".join([*proposed.found, *(f"to be checked: {name}: {why}" for name, why in proposed.asked.items())])


def export(
    given: Sequence[Path], mapping_file: Path, labels: Path | None, passes: int, root: Path, say: Say = print
) -> None:
    """Export a detector into a root. given: the ONNX files of its members. passes: of dropout; 1 for none.

    Raises ExportError with one sentence and the remedy, before anything is written.
    """
    import onnx

    from export.detector import assembly, bf16, card, checking, dropout, folder, mapping

    told = mapping.read(mapping_file, labels)
    sources = [assembly.read(path) for path in given]
    for source in sources:
        checking.check_tensors(source, told)
        check_size(source.size, told.sizes, source.origin)
        check_dropout(len(dropout.active(source.model)), passes, len(sources), source.origin)
    batched = all(source.batched for source in sources)
    if passes > 1 and not batched:
        raise ExportError(f"{sources[0].origin} has no batch, along which the passes lie; export it with a free batch")
    canvas = checking.picture(told.sizes[0])
    example = checking.raw(sources[0], told, canvas)
    checking.decoded(told, canvas, example)
    members = Members(_source(len(sources), passes), max(len(sources), passes), told.suppress)
    say(f"joining {len(sources)} network{'' if len(sources) == 1 else 's'} into one graph")
    model = assembly.assemble(sources, told, passes, example)
    origin = {f"sluice.member_{i}_sha256": source.sha256 for i, source in enumerate(sources)}
    onnx.helper.set_model_props(model, {**members.as_record(), **Reading().as_record(), **origin})
    if model.ByteSize() > MOST:
        raise ExportError(f"the graph has {model.ByteSize() / 1e9:.1f} GB, an ONNX file 2 at most; give fewer members")
    onnx.checker.check_model(model)
    worst = checking.check_agreement(model, sources, told, passes, batched)
    if passes == 1:
        say(f"compared with the network{'' if len(sources) == 1 else 's'}: boxes differ by {worst:.2g} pixels at most")
    size = next((source.size for source in sources if source.size), None)
    own.lay_out(root, say)
    cost, graph, gives = bf16.cost(model, told), model.SerializeToString(deterministic=True), in_words(members)
    say(cost.told())
    words = f"Of {', '.join(source.origin for source in sources)}; {gives}."
    written = folder.contents(root, graph, told, size, batched, words, cost.small)
    about = card.text(graph, sources, told, passes, worst, cost, gives).encode()
    folder.Written({**written.files, root / "weights" / f"{folder.NAME}.md": about}).write()
    say(f"wrote model_repository/{folder.NAME}, its card, object_detector and the parameters that name it; {gives}")


def check_size(size: tuple[int, int] | None, sizes: Sequence[tuple[int, int]], origin: str) -> None:
    """Raise ExportError where a network of one size is to be shown others."""
    if size is not None and any(one != size for one in sizes):
        raise ExportError(f"{origin} takes images of {size[0]}x{size[1]} alone; set `canvases` to {size[0]}x{size[1]}")


def check_dropout(active: int, passes: int, members: int, origin: str) -> None:
    """Raise ExportError where dropout and passes do not fit each other. active: dropouts of the graph."""
    if passes > 1 and members > 1:
        raise ExportError("give several files, for an ensemble, or --passes, for dropout; not both")
    if passes > 1 and not active:
        raise ExportError(
            f"{origin} has no active dropout, so all passes would be the same; export it with its Dropout modules in "
            "train mode, torch.onnx.export(..., training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)"
        )
    if passes == 1 and active:
        raise ExportError(
            f"{origin} has {active} active dropout{'' if active == 1 else 's'}, so its answers would vary by chance; "
            "give --passes 10 for uncertainties, or export it in eval mode"
        )


def in_words(members: Members) -> str:
    """Return in words which uncertainties a detector gives."""
    if members.source == "none":
        return "it gives no uncertainties, and `select` ranks by the binary entropy of the score"
    how = f"an ensemble of {members.count}" if members.source == "ensemble" else f"{members.count} passes of dropout"
    return f"{how} gives the epistemic uncertainties of place and class, the aleatoric ones are not known"


def _source(files: int, passes: int) -> str:
    return "ensemble" if files > 1 else "dropout" if passes > 1 else "none"


def arguments() -> argparse.ArgumentParser:
    """Return the parser of `sluice export detector`."""
    parser = own.parser("detector", __doc__)
    parser.add_argument(
        "--from",
        dest="given",
        type=Path,
        nargs="+",
        required=True,
        metavar="MODEL",
        help="ONNX file; several: an ensemble",
    )
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="how the outputs are read (default: propose it)")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes, one per line")
    parser.add_argument("--passes", type=int, default=1, metavar="N", help="passes of a graph with active dropout")
    parser.add_argument(
        "--size", default="640x640", metavar="WxH", help="size at which a network of free size is looked at"
    )
    return parser


def main(words: list[str] | None = None) -> int:
    """Run `sluice export detector` with these words, and return the exit status."""
    parser = arguments()
    options = parser.parse_args(words)
    width, _, height = options.size.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        parser.error(f"--size is WIDTHxHEIGHT, such as 640x640, got {options.size!r}")
    if not 1 <= options.passes <= 100:
        parser.error(f"--passes is a number from 1 to 100, got {options.passes}")

    def work() -> None:
        if options.mapping is None:
            into = Path(f"{options.given[0].stem}.toml")
            print(propose(options.given[0], options.labels, (int(width), int(height)), into))
            again = " ".join(str(one) for one in options.given)
            named = f" --root {options.root}" if options.root else ""
            print(f"wrote {into}; check it, then run: sluice export detector --from {again}{named} --mapping {into}")
            return
        place = own.place(options.root)
        export(options.given, options.mapping, options.labels, options.passes, place, own.say)
        print(f"serve it with: {roots.command(place, 'serve')}")

    return own.run(parser.prog, work)
