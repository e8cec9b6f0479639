"""Exports a CLIP of your own, both sides of it, for `compare` and for `retrieve` by words.

    sluice export texts --from FOLDER --root DIR
    sluice export texts --from open_clip_pytorch_model.bin --vocabulary bpe.txt.gz --root DIR

SOURCE is a folder of transformers' CLIPModel with its tokenizer's files, or OpenCLIP's weights (a ViT and a
transformer) with open_clip_config.json beside them. The networks take the places of image_grouper and text_encoder in
DIR, after their graphs were compared with torch. The vocabulary goes into the graph of the text encoder. Nothing is
fetched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export import card, check, destination, own
from export.entry import ExportError, Network
from export.files import replace as replace_file
from export.own import Say
from sluice.server import root as roots

if TYPE_CHECKING:
    from export.grouping.clip import Clip

COMMAND = "sluice export texts"
IMAGES, TEXTS = "image_grouper", "text_encoder"
# The verbs' parameters that say on which canvases, or without any at which short side, the image encoder sees a whole
# image.
SIZES = {"compare": ("canvases", "size"), "ingest": ("embedding_canvases", "embedding_size")}


def export(
    source: Path,
    root: Path,
    *,
    vocabulary: Path | None = None,
    data: str = "",
    licence: str = "",
    force: bool = False,
    say: Say = print,
) -> None:
    """Write both networks of a CLIP into a root: graphs, configs, the size at which the verbs show images, and a card.

    source, vocabulary: as for `clip_files.read`. data, licence: what the card says of them, empty if unknown.
    force: overwrite configs that were changed by hand. say: is given a line per step.
    Raises ExportError before anything was written.
    """
    from export.grouping import clip, clip_files

    found = clip_files.read(source, vocabulary)
    about = {"data": data, "licence": licence, "train": f"{COMMAND} --from {source.name}", "root": root}
    networks = clip.rows(found, about)
    files = configs(networks, found, root, force)
    files |= dict(_sized(root, verb, found.shown) for verb in SIZES)
    made = [traced(network, found.weights, say) for network in networks]
    own.lay_out(root, say)
    try:
        for network, (content, _) in zip(networks, made, strict=True):
            for built in network.onnx.parent.glob("model.*"):
                if built != network.onnx:  # an engine of the network that was there before
                    built.unlink()
            replace_file(network.onnx, content)
            say(f"wrote model_repository/{network.name}, {len(content) / 1e6:.1f} MB")
        for place, text in files.items():
            replace_file(place, text.encode())
        written = card.write(found.weights, [report for _, report in made], COMMAND)
    except OSError as error:
        raise ExportError(f"cannot write {error.filename or root}: {error.strerror or error}") from None
    say(f"wrote the card weights/{written.name}")
    say(f"{found.pairs.size:,} tokens, {found.pairs.length} per text; images are seen at {found.side} x {found.side}")


def traced(network: Network, weights: Path, say: Say) -> tuple[bytes, check.Report]:
    """Return a network's graph, and its comparison with torch. Raises ExportError where they differ."""
    say(f"{network.name}: tracing")
    return check.checked(network, weights, say)


def configs(networks: Sequence[Network], found: Clip, root: Path, force: bool) -> dict[Path, str]:
    """Return the text of every config of both models, by its path: the shipped ones with this network's sizes.

    Raises ExportError for a config that was changed by hand, unless `force` is set.
    """
    width, length = found.model.config.projection_dim, found.pairs.length
    dims = {IMAGES: {"GROUPS": f"1, {width}", "EMBEDDING": f"{width}"}, TEXTS: {"EMBEDDING": f"{width}"}}
    texts = {}
    for network in networks:
        shipped = roots.origin() / "model_repository" / network.name
        folder = root / "model_repository" / network.name
        _refuse_changed(folder / "config.pbtxt", shipped / "config.pbtxt", force or destination.imported(folder))
        for path in sorted([shipped / "config.pbtxt", *shipped.glob("configs/*.pbtxt")]):
            # Nobody has measured what 16 bits cost this network, so that every profile of the processor serves fp32.
            precise = shipped / "config.pbtxt" if path.stem.startswith("cpu") else path
            text = precise.read_text(encoding="utf-8")
            body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")).strip()
            for name, shape in dims[network.name].items():
                body = _set(body, rf'(name:\s*"{name}"[^}}]*?dims:\s*\[)[^\]]*(\])', f" {shape} ", path)
            if network.name == TEXTS:  # a config of one length, as TensorRT wants it
                body = re.sub(r'(name:\s*"TOKENS"[^}]*?dims:\s*\[)\s*\d+\s*(\])', rf"\g<1> {length} \g<2>", body)
            head = f"{destination.MARK} texts`; it may be changed, but is written anew with the graph.\n"
            texts[folder / path.relative_to(shipped)] = f"{head}# {network.title}, from {found.weights.name}.\n{body}\n"
    return texts


def _sized(root: Path, verb: str, size: int) -> tuple[Path, str]:
    """Return path and text of a verb's config with an image's short side, pixels, and no canvases. Raises as `_set`."""
    canvases, side = SIZES[verb]
    place, shipped = (folder / "ensembles" / verb / "config.pbtxt" for folder in (root, roots.origin()))
    there = place.read_text(encoding="utf-8") if place.is_file() else shipped.read_text(encoding="utf-8")
    for name, value in ((canvases, ""), (side, str(size))):
        there = _set(there, rf'(key: "{name}" value {{ string_value: ")[^"]*(")', value, place)
    return place, there


def _set(text: str, pattern: str, value: str, path: Path) -> str:
    """Return a text with `value` between the two groups of a pattern. Raises ExportError where it is not found."""
    new, count = re.subn(pattern, rf"\g<1>{value}\g<2>", text, count=1)
    if not count:
        raise ExportError(f"{path} has no place for {value.strip()}; restore it as it was shipped")
    return new


def _refuse_changed(place: Path, shipped: Path, overwrite: bool) -> None:
    """Raise ExportError for a config that somebody changed, unless it may be overwritten. The sizes do not count."""
    if overwrite or not place.is_file():
        return
    ours, theirs = (re.sub(r"\d+", "", path.read_text(encoding="utf-8")) for path in (shipped, place))
    if ours != theirs:
        raise ExportError(f"{place} was changed by hand; --force overwrites it, or name another folder with --root")


def main(arguments: list[str] | None = None) -> int:
    """Run `sluice export texts` and return its exit status."""
    parser = own.parser("texts", __doc__)
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="SOURCE", help="folder or file")
    parser.add_argument(
        "--vocabulary",
        type=Path,
        metavar="PATH",
        help="folder with tokenizer.json, or with vocab.json and merges.txt, or a file of pairs as CLIP has it "
        "(default: the files beside the weights; of OpenCLIP without such files the published pairs)",
    )
    own.add_card_options(parser)
    parser.add_argument("--force", action="store_true", help="overwrite configs that were changed by hand")
    options = parser.parse_args(arguments)

    def work() -> None:
        place = own.place(options.root)
        export(
            options.source,
            place,
            vocabulary=options.vocabulary,
            data=options.data,
            licence=options.licence,
            force=options.force,
            say=own.say,
        )
        own.say(f"serve it with: {roots.command(place, 'serve')}")
        own.say("frames that are stored already get their vectors from: sluice compare --unembedded")

    return own.run(COMMAND, work)
