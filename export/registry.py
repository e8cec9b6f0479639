"""The table of networks that can be exported: one entry each, read by every step (graph, check, card, plan).

Nothing here imports torch; `load` does, when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as replace_fields
from pathlib import Path

from export.entry import ROOT, ExportError, Network, Tensor
from export.examples import street_pictures
from export.genie import entry
from export.grouping import entry as grouping_entry
from export.matching.entry import _feature_extractor
from export.mixtures.entry import MIXTURE_HEADS, _mixture_detector
from export.video import entry as video_entry


def _distilled(model: str, data: str) -> str:
    """The commands that train a score network of the verb `sample`, and then its head."""
    given = f"--model {model} --data ../shared/data/{data}"
    return (
        f"python -m export.genie.train_score {given} --out {model}.pt && "
        f"python -m export.genie.train_head {given} --score {model}.pt --out weights/{model}.pt"
    )


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network(
            name="feature_extractor",
            title="Feature map of Deep Template Matching: a one-stage detector with a U-Net backbone, penultimate map",
            load=_feature_extractor,
            train="python -m export.matching.train --data ../shared/data/camvid --out weights/feature_extractor.pt",
            inputs=(Tensor("IMAGE", ("batch", "height", "width", 3)),),
            outputs=(Tensor("FEATURES", ("batch", "rows", "columns", 64)),),
            example={"IMAGE": (2, 96, 160, 3)},
            # Every canvas of `image_decoder`, a tiny and a long one; batches from 1 to the model's limit.
            check=(
                {"IMAGE": (1, 640, 832, 3)},
                {"IMAGE": (3, 544, 960, 3)},
                {"IMAGE": (4, 736, 736, 3)},
                {"IMAGE": (1, 832, 640, 3)},
                {"IMAGE": (1, 960, 544, 3)},
                {"IMAGE": (8, 64, 64, 3)},
                {"IMAGE": (5, 32, 256, 3)},
            ),
            make=street_pictures,
            # Outputs are float16 of length 1: one step of float16 below 1 is 0.0005, so rounding may differ by one.
            tolerance=1e-3,
            profile={"IMAGE": ((1, 256, 256, 3), (4, 640, 832, 3), (8, 960, 960, 3))},
            unit=("FEATURES",),
            data="CamVid drives 0016E5 and 0001TP, and generated street scenes (`scenes`); drive 0006R0 is held out",
            licence="CamVid is CC BY-NC 4.0: these weights are for research, not for commerce",
        ),
        Network(
            name="mixture_detector",
            title="Mixture-density detector: SSD with a mixture of Gaussians for every box coordinate and class",
            load=_mixture_detector,
            train="python -m export.mixtures.train --data ../shared/data/camvid --out weights/mixture_detector.pt",
            inputs=(Tensor("IMAGE", ("batch", "height", "width", 3)),),
            outputs=MIXTURE_HEADS,
            example={"IMAGE": (2, 96, 160, 3)},
            # Every canvas of `detect`, a tiny and a long one; batches from 1 to the model's limit.
            check=(
                {"IMAGE": (1, 384, 512, 3)},
                {"IMAGE": (3, 320, 576, 3)},
                {"IMAGE": (4, 448, 448, 3)},
                {"IMAGE": (1, 512, 384, 3)},
                {"IMAGE": (1, 576, 320, 3)},
                {"IMAGE": (8, 64, 64, 3)},
                {"IMAGE": (5, 32, 256, 3)},
            ),
            make=street_pictures,
            # Raw heads reach about 20; sums of a few hundred products differ in the last digits of float32.
            tolerance=2e-3,
            profile={"IMAGE": ((1, 256, 256, 3), (4, 384, 512, 3), (8, 576, 576, 3))},
            edition="2",  # its graph says how the heads are to be read
            data="CamVid drives 0016E5 and 0001TP, and generated street scenes (`scenes`); drive 0006R0 is held out",
            licence="CamVid is CC BY-NC 4.0: these weights are for research, not for commerce",
        ),
        # A user's own checkpoint of the published network, served in the place of the small one; see
        # docs/decisions/mixtures.md for the parameters of `detect` that go with it.
        Network(
            name="ssd300_vgg16",
            model="mixture_detector",
            title="Mixture-density detector as published: SSD300 on VGG-16, 8,732 priors",
            load=_mixture_detector,
            train="the published recipe; any checkpoint with its key names is taken: --weights FILE.pth",
            inputs=(Tensor("IMAGE", ("batch", "height", "width", 3)),),
            outputs=MIXTURE_HEADS,
            example={"IMAGE": (2, 320, 352, 3)},
            check=({"IMAGE": (1, 300, 300, 3)}, {"IMAGE": (3, 300, 300, 3)}),
            make=street_pictures,
            tolerance=2e-3,
            profile={"IMAGE": ((1, 300, 300, 3), (4, 300, 300, 3), (8, 300, 300, 3))},
            edition="2",  # its graph says how the heads are to be read
        ),
        # Those of the verb `sample`; data and licence stand in the record that training writes.
        *entry.pair(
            "digits",
            channels=1,
            size=32,
            labels=11,  # the digits, and 10 for none
            title="Score network of digits and its curvature head, for the sampler GENIE; class-conditional",
            train=_distilled("digits", "generation/mnist.npz"),
        ),
        *entry.pair(
            "streets",
            channels=3,
            size=32,
            title="Score network of street scenes and its curvature head, for the sampler GENIE; unconditional",
            train=_distilled("streets", "camvid"),
        ),
        # Those of the verbs `segment` and `compare`. A checkpoint of one's own: export.grouping.import_checkpoint.
        *grouping_entry.pair(
            data="CamVid drives 0016E5 and 0001TP, and generated street scenes (`scenes`); drive 0006R0 is held out",
            licence="CamVid is CC BY-NC 4.0: these weights are for research, not for commerce",
        ),
        # Those of the verb `enhance`; data and licence stand in the record that training writes. A checkpoint of one's
        # own: export.video.import_checkpoint.
        video_entry.entry(
            "artifact_remover_weak",
            start="artifact_remover_strong",
            title="U-SNet, which takes out what a codec left in a frame: mild damage (high bitrate, JPEG of 30 and up)",
        ),
        video_entry.entry(
            "artifact_remover_strong",
            title="U-SNet, which takes out what a codec left in a frame: strong damage (low bitrate, JPEG of 10 to 25)",
        ),
        video_entry.entry("frame_upscaler_clean", title="RRRDB, which doubles a frame that no codec has spoiled"),
        video_entry.entry(
            "frame_upscaler_lossy",
            start="frame_upscaler_clean",
            title="RRRDB, which doubles a frame that a codec has spoiled",
        ),
    )
}


def find(name: str) -> Network:
    if name not in NETWORKS:
        raise ExportError(f"there is no network {name!r}; there are: {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name]


def families() -> dict[str, tuple[Network, ...]]:
    """The networks by the name of their weights: those of one file are exported together and share a card."""
    found: dict[str, tuple[Network, ...]] = {}
    for network in NETWORKS.values():
        name = network.weights.stem
        found[name] = (*found.get(name, ()), network)
    return found


def together(name: str) -> tuple[Network, ...]:
    """Everything that is exported from the weights of that name, or from those of the network of that name."""
    known = families()
    if name not in known and name not in NETWORKS:
        raise ExportError(
            f"there is no network {name!r}; there are: {', '.join(sorted(known))}; "
            "a diffusion network of your own: sluice export genie --unet FOLDER"
        )
    return known[name if name in known else NETWORKS[name].weights.stem]


def usual() -> list[str]:
    """The names of the weights that make every network which the repositories serve; in the order of the table.

    A network that takes another's place (`Network.model`) is not among them: its weights are a user's own.
    """
    return [name for name, networks in families().items() if not any(network.model for network in networks)]


def at(networks: Sequence[Network], root: Path) -> tuple[Network, ...]:
    """The same networks, written to another root than the one that this code lies in."""
    return tuple(networks) if root == ROOT else tuple(replace_fields(network, root=root) for network in networks)


def weights_of(network: Network, given: Path | None) -> Path:
    """The weights to export: those given, those in the network's root, or those that came with this code.

    Raises ExportError with the command that makes them where they are missing.
    """
    path = given or network.weights
    if given is None and not path.exists() and network.name in NETWORKS:
        path = NETWORKS[network.name].weights
    if not path.is_file():
        raise ExportError(f"weights {path} are missing; train them with: {network.train}")
    return path
