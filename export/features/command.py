"""Exports a feature network of your own in the place of `feature_extractor`, which every search looks through.

    sluice export features --from MODEL --root DIR --frames FOLDER

MODEL is an ONNX file (timm, torchvision, OpenCLIP and others are exported to one), or a folder of transformers with
config.json and model.safetensors. Its map is found, reduced to --channels by whitened PCA fitted on the pictures of
--frames, compared with the network as it came, and written into DIR with its config.pbtxt and a card. Nothing is
fetched, and MODEL stays where it is. docs/own_networks.md goes through all of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export import own
from export.entry import ExportError
from export.own import Say
from sluice import images
from sluice.models.feature_extractor import MOST_CHANNELS, STEP
from sluice.server import root as roots

if TYPE_CHECKING:
    from export.features.maps import Map
    from export.features.source import Source

Pixels = tuple[float, float, float]
CHANNELS = 64  # where --frames are given and --channels are not, as our own network has
# Mean and standard deviation of pixels from 0 to 1, by the name under which networks' makers know them.
NORMALISATIONS: dict[str, tuple[Pixels, Pixels]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "raw": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}


@dataclass(frozen=True)
class Choices:
    """All that a caller may say of a network; empty and None leave it to the network.

    tensor, layout: of the map. normalisation: mean and standard deviation of pixels from 0 to 1.
    canvases: (width, height) of the images that the network sees. channels: of the features. frames: folder of pictures
    that the whitening is fitted on.
    """

    tensor: str = ""
    layout: str = ""
    normalisation: tuple[Pixels, Pixels] | None = None
    canvases: tuple[tuple[int, int], ...] = ()
    channels: int | None = None
    frames: Path | None = None


def export(given: Path, choices: Choices, root: Path, *, force: bool = False, say: Say = print) -> None:
    """Write a network into `root` as its `feature_extractor`, with configs and card.

    given: ONNX file or folder. force: overwrite a model of that name that is neither ours nor of this command.
    say: is given a line per thing found or done. Raises ExportError before anything was written.
    """
    from export.features import agreement, batches, maps, pictures, served, written
    from export.features import canvases as sizes

    written.check_place(root, force)
    source, found = looked(given, choices)
    chosen = maps.choose(source, found, choices.tensor, choices.layout)
    say(f"map: {chosen.told}")
    if others := [one for one in found if one != chosen]:
        say(f"others, for --tensor: {maps.listing(others)}")
    mean, std = normalised(source, choices, say)
    seen = sizes.choose(source, chosen, choices.canvases)
    config = images.Config(canvases=seen.text, multiple=seen.multiple)
    say(f"canvases: {seen.text}")
    channels = checked_channels(choices, chosen.channels, chosen.told)
    projection = None
    if choices.frames is not None:
        from export.features import whitening

        paths = pictures.listed(choices.frames)
        say(f"fitting {channels} channels on {len(paths)} pictures of {choices.frames}")
        projection = whitening.fit(
            pictures.moments(paths, config, pictures.vectors(source, chosen, mean, std), say), channels
        )
        say(f"{channels} of {chosen.channels} channels keep {projection.kept:.1%} of the variance")
    plan = served.Plan(chosen, mean, std, projection)
    model = served.build(batches.freed(source), source, plan, written.record(source, plan))
    report = agreement.measured(model, source, plan, seen, say)
    own.lay_out(root, say)
    written.write(root, model, source, plan, seen, report, say)


def looked(given: Path, choices: Choices) -> tuple[Source, list[Map]]:
    """Return a network and its maps. Raises ExportError where it cannot be read or has no map of that name."""
    from export import onnx_file
    from export.features import batches, canvases, maps
    from export.features import source as sources
    from export.files import digest

    if given.is_dir():
        from export.features import transformers_folder

        source = transformers_folder.read(given)
    elif given.is_file():
        source = sources.read(onnx_file.load(given), given.name, digest(given))
    else:
        raise ExportError(f"--from {given} is not there; give an ONNX file or a folder of transformers")
    model = batches.freed(source)
    if choices.canvases:
        canvases.checked(source, choices.canvases)
    names = maps.candidates(source.model.graph, source.image.name)
    every = batches.depending(source.model.graph, source.image.name)
    if choices.tensor and choices.tensor not in names:
        names = [*names, choices.tensor] if choices.tensor in every else names
    if not names:
        raise ExportError(f"{source.origin} computes nothing from its image {source.image.name}; give another file")
    try:
        # At a canvas that is no multiple of its stride a map would not be found, and a finer one would take its place.
        return source, maps.seen(model, source, names, source.size or sources.PROBE)
    except ExportError:
        if not choices.canvases:
            raise
        return source, maps.seen(model, source, names, choices.canvases[0])  # a graph that runs at one size alone


def normalised(source: Source, choices: Choices, say: Say) -> tuple[Pixels, Pixels]:
    """Return mean and standard deviation of the pixels: those given, those that the source records, or ImageNet's."""
    import numpy as np

    if source.dtype == np.uint8:
        if choices.normalisation:
            raise ExportError(f"{source.origin} takes uint8 and normalises inside; leave out the normalisation")
        say("normalisation: inside the network, which takes uint8")
        return NORMALISATIONS["raw"]
    if choices.normalisation:
        return choices.normalisation
    if source.mean is not None and source.std is not None:
        say(f"normalisation: mean {told(source.mean)}, std {told(source.std)}, as preprocessor_config.json says")
        return source.mean, source.std
    say(
        "normalisation: imagenet, since the file does not record any; if the network was trained with another, give it "
        "with --normalisation, or with --mean and --std"
    )
    return NORMALISATIONS["imagenet"]


def checked_channels(choices: Choices, own: int, map_told: str) -> int:
    """Return the channels of the features. own: channels of the map. map_told: the map in words.

    Raises ExportError where a gallery cannot hold so many, or the map has too few.
    """
    channels = choices.channels or (min(CHANNELS, own) if choices.frames else own)
    if channels > own:
        raise ExportError(f"{channels} channels are more than the map {map_told} has; give at most {own}")
    if channels % STEP or not 0 < channels <= MOST_CHANNELS:
        raise ExportError(
            f"features have a multiple of {STEP} channels up to {MOST_CHANNELS:,}, got {channels}; "
            "give --channels and, to reduce the map, pictures of your cameras with --frames"
        )
    if channels != own and choices.frames is None:
        raise ExportError(
            f"the map {map_told} is reduced to {channels} channels by a PCA of your own pictures; give a folder of "
            "them with --frames"
        )
    return channels


def told(values: Sequence[float]) -> str:
    """Return numbers in words."""
    return ", ".join(f"{value:.4g}" for value in values)


def arguments() -> argparse.ArgumentParser:
    """Return the parser of `sluice export features`."""
    parser = own.parser("features", __doc__)
    parser.add_argument(
        "--from", dest="given", type=Path, required=True, metavar="MODEL", help="ONNX file, or folder of transformers"
    )
    parser.add_argument("--frames", type=Path, metavar="FOLDER", help="pictures of your cameras, to fit the PCA on")
    parser.add_argument("--channels", type=int, help=f"of the features (default {CHANNELS}; all without --frames)")
    parser.add_argument("--tensor", default="", metavar="NAME", help="the map (default: found; see --list)")
    parser.add_argument("--layout", default="", choices=("nchw", "nhwc", "tokens"), help="of the map (default: found)")
    parser.add_argument("--normalisation", choices=tuple(NORMALISATIONS), help="of pixels (raw: they stay 0 to 255)")
    parser.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="of pixels from 0 to 1")
    parser.add_argument("--std", type=float, nargs=3, metavar=("R", "G", "B"), help="of pixels from 0 to 1")
    parser.add_argument(
        "--canvas", nargs="+", default=[], metavar="WxH", help="sizes of image that the network sees (default: usual)"
    )
    parser.add_argument("--list", action="store_true", help="list the maps of the network, and write nothing")
    parser.add_argument("--force", action="store_true", help="overwrite a feature_extractor of another origin in DIR")
    return parser


def choices_of(options: argparse.Namespace, parser: argparse.ArgumentParser) -> Choices:
    """Return the choices that the words of a command line make. Ends the program with status 2 where they clash."""
    from export.features import canvases

    if (options.mean is None) != (options.std is None) or (options.mean and options.normalisation):
        parser.error("give --mean and --std together, or --normalisation, or none of them")
    if options.std and min(options.std) <= 0:
        parser.error("--std are three numbers above 0")
    given = (tuple(options.mean), tuple(options.std)) if options.mean else NORMALISATIONS.get(options.normalisation)
    try:
        sizes = canvases.read(options.canvas)
    except ExportError as error:
        parser.error(str(error))
    return Choices(options.tensor, options.layout, given, sizes, options.channels, options.frames)


def main(words: list[str] | None = None) -> int:
    """Run `sluice export features` and return its exit status."""
    parser = arguments()
    options = parser.parse_args(words)
    choices = choices_of(options, parser)

    def work() -> None:
        if options.list:
            _, found = looked(options.given, choices)
            print("\n".join(one.told for one in found))
            return
        place = own.place(options.root)
        export(options.given, choices, place, force=options.force, say=own.say)
        others, serve = roots.command(place), roots.command(place, "serve")
        own.say(f"the other networks, where they are missing: {others}; then: {serve}")

    return own.run(parser.prog, work)
