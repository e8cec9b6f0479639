"""A request of `sample`, read and checked before it costs anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sluice import images
from sluice.errors import InvalidArgument, NotFound
from sluice.methods.genie.latents import SEEDS
from sluice.methods.genie.schedule import EARLIEST, LATEST, MOST_STEPS
from sluice.methods.genie.solvers import SOLVERS
from sluice.methods.genie.trajectory import Options as Solver
from sluice.options import check_options, choice, flag, names_of, option, split, whole
from sluice.wire.calls import json_object

TASKS = ("sample", "encode", "interpolate")
FORMATS = ("png", "tensor")
SOURCES = ("SEEDS", "IMAGES", "TENSORS")
MOST_BETWEEN = 256
WORD = "NAME=CxHxW[:labels[:null]][@latest]"


@dataclass(frozen=True)
class Network:
    """A score network that the verb knows: the models NAME_score and, with a curvature head, NAME_curvature.

    labels: rows of the table of classes, 0 for an unconditional network. null: the label that stands for no class, or
    None if there is no such label.
    latest: the greatest t that the network was trained at, where trajectories begin. curvature: whether the network has
    a curvature head.
    """

    name: str
    channels: int
    height: int
    width: int
    labels: int = 0
    null: int | None = None
    latest: float = LATEST
    curvature: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (C, H, W) of an image."""
        return self.channels, self.height, self.width

    @property
    def classes(self) -> int:
        """Count the labels that a caller may give: all, except a null label that comes last."""
        return self.labels - 1 if self.null is not None and self.null == self.labels - 1 else self.labels


@dataclass(frozen=True)
class Config(images.Limits):
    """The verb's parameters and limits.

    models: NAME=CxHxW[:labels[:null]][@latest] per network, separated by spaces; the first is the default.
    without_curvature: names of networks that have no model NAME_curvature. batch, in_flight, least: see `Rounds`.
    """

    models: str = ""
    without_curvature: str = ""
    max_images: int = 4096  # of one request: results as well as pictures to encode
    max_previews: int = 20_000  # of one request, because nothing slows the loop down for a caller that does not read
    part: int = 64  # images of one request that are under way at the same time
    max_requests: int = 64  # at the same time
    batch: int = 64
    in_flight: int = 2
    least: int = 4

    @cached_property
    def networks(self) -> dict[str, Network]:
        """Return the networks by their names. Raises ValueError if `models` cannot be read."""
        found = [_network(word) for word in self.models.split()]
        if not found:
            raise ValueError(f"models: expected {WORD}, one a word; got none")
        flat = self.without_curvature.split()
        return {network.name: dataclasses.replace(network, curvature=network.name not in flat) for network in found}

    @property
    def asked(self) -> tuple[str, ...]:
        """Return the models that these parameters name."""
        return tuple(
            f"{network.name}_{kind}"
            for network in self.networks.values()
            for kind in ("score", "curvature")
            if kind == "score" or network.curvature
        )


def _network(word: str) -> Network:
    """Read one word of `models`. Raises ValueError with the form that was expected."""
    name, _, rest = word.partition("=")
    rest, at, time = rest.partition("@")
    shape, *more = rest.split(":")
    try:
        latest = float(time) if at else LATEST
        channels, height, width = (int(n) for n in shape.split("x"))
        count, null = [*(int(n) for n in more), *(None, None)][:2]
    except ValueError:
        raise ValueError(f"models: expected {WORD}, got {word!r}") from None
    labels = count or 0
    if not name or channels not in (1, 3) or min(height, width) < 1 or not 0 <= (null or 0) <= max(0, labels - 1):
        raise ValueError(f"models: expected 1 or 3 channels and a null label below the count of labels, got {word!r}")
    if not EARLIEST < latest <= LATEST:
        raise ValueError(f"models: expected a latest time above {EARLIEST:g}, at most {LATEST:g}, got {word!r}")
    return Network(name, channels, height, width, labels, null, latest)


@dataclass(frozen=True)
class Options:
    """The choices of a caller beside the solver. Raises InvalidArgument naming the option at fault."""

    model: Any = None  # name of a network; None: the first of the server's
    task: str = option("sample", choice(TASKS))
    format: str = option("png", choice(FORMATS))  # of the images that result
    preview: int = option(0, whole(0, MOST_STEPS))  # steps from one preview to the next; 0: none
    between: int = option(8, whole(2, MOST_BETWEEN))  # images per pair in an interpolation, both ends included
    seed: int | None = option(None, whole(0, SEEDS - 1))  # of the first image, instead of SEEDS; None: 0
    count: int | None = option(None, whole(1))  # images from `seed` on; None: 1, or 2 for an interpolation
    fit: bool = option(False, flag)  # cut out and scale the middle of images that have another size

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Request:
    """A checked request. Exactly one of seeds, pictures and tensors is not None.

    labels: int64, per image that results (sample), per picture (encode) or per pair (interpolate); None for an
    unconditional network.
    seeds: uint64 [n]. pictures: n encoded images. tensors: float32 [n, C, H, W]. An interpolation takes them in pairs.
    """

    network: Network
    options: Options
    solver: Solver
    labels: np.ndarray | None
    seeds: np.ndarray | None = None
    pictures: list[bytes] | None = None
    tensors: np.ndarray | None = None

    @property
    def sources(self) -> int:
        """Count the seeds, pictures or tensors."""
        given = next(one for one in (self.seeds, self.pictures, self.tensors) if one is not None)
        return len(given)

    @property
    def interpolates(self) -> bool:
        """Tell whether the task is to interpolate."""
        return self.options.task == "interpolate"

    @property
    def images(self) -> int:
        """Count the images, or latents, that result."""
        return self.sources // 2 * self.options.between if self.interpolates else self.sources

    @property
    def encodes(self) -> bool:
        """Tell whether pictures are turned into latents, as the task or as its first part."""
        return self.options.task == "encode" or self.pictures is not None

    @property
    def calls(self) -> int:
        """Count the network calls per image, one after the other, with those for the ends of its pair."""
        return self.solver.calls * (1 + (self.encodes and self.interpolates))

    @property
    def nfe(self) -> int:
        """Count the network evaluations per image, with those for the ends of its pair."""
        return self.solver.nfe * (1 + (self.encodes and self.interpolates))


def read(inputs: Mapping[str, np.ndarray], config: Config) -> Request:
    """Read a request.

    Raises InvalidArgument naming the tensor, the label or the option at fault, and NotFound for an unknown model.
    """
    own, solver = split(json_object(inputs), names_of(Options), names_of(Solver))
    options = Options(**own)
    name = next(iter(config.networks)) if options.model is None else options.model
    if not isinstance(name, str) or name not in config.networks:
        raise NotFound(f"there is no model {str(name)[:80]!r}; there are: {', '.join(config.networks)}")
    network = config.networks[name]
    if options.count is not None:
        whole(1, config.max_images)("count", options.count)
    # Without a curvature head genie takes its derivative by difference.
    how = Solver(**({} if network.curvature else {"curvature": False}) | solver)
    sources = _sources(inputs, network, options, config)
    if "grid" not in solver and "seeds" in sources:  # latents of pictures come back on the grid that encoded them
        how = dataclasses.replace(how, grid=SOLVERS[how.solver].grid)
    request = Request(network, options, how, None, **sources)
    _fitting(request, config)
    return dataclasses.replace(request, labels=_labels(inputs, request))


def _sources(inputs: Mapping[str, np.ndarray], network: Network, options: Options, config: Config) -> dict[str, Any]:
    """Return the one source that is given, as a field of `Request`."""
    task = options.task
    there = [name for name in SOURCES if name in inputs]
    asked = [name for name in ("seed", "count") if getattr(options, name) is not None]
    if len(there) > 1 or (there and asked):
        raise InvalidArgument(f"give one of SEEDS (or seed and count), IMAGES, TENSORS; got {', '.join(there + asked)}")
    if task == "encode" and there not in (["IMAGES"], ["TENSORS"]):
        raise InvalidArgument("to encode, give pictures: IMAGES, or TENSORS with values of -1 to 1")
    if task == "sample" and there == ["IMAGES"]:
        raise InvalidArgument("pictures are for the tasks encode and interpolate; to sample, give seeds, or as TENSORS "
                              "the latents that encode gave")  # fmt: skip
    if not there:
        first = 0 if options.seed is None else options.seed
        count = (2 if task == "interpolate" else 1) if options.count is None else options.count
        if first + count > SEEDS:
            raise InvalidArgument(f"seeds go up to {SEEDS - 1} (64 bits); {count} from {first} on do not fit")
        return {"seeds": np.uint64(first) + np.arange(count, dtype=np.uint64)}
    found = inputs[there[0]]
    if len(found) > config.max_images or not len(found):
        raise InvalidArgument(f"a request holds 1 to {config.max_images:,} images, got {len(found):,}; send fewer")
    if there == ["SEEDS"]:
        return {"seeds": found.reshape(-1).astype(np.uint64)}
    if there == ["IMAGES"]:
        return {"pictures": [bytes(one) for one in found.reshape(-1)]}
    if found.shape[1:] != network.shape:
        raise InvalidArgument(f"TENSORS of {network.name} are [n, {', '.join(map(str, network.shape))}], "
                              f"got {list(found.shape)}")  # fmt: skip
    if not np.isfinite(found).all():
        bad = np.flatnonzero(~np.isfinite(found).all(axis=(1, 2, 3)))
        raise InvalidArgument(f"TENSORS must be finite; number {bad[0]} (from 0) is not")
    return {"tensors": np.array(found, np.float32)}


def _fitting(request: Request, config: Config) -> None:
    """Raise InvalidArgument if task, options, sources and network do not fit each other."""
    network, solver, preview = request.network, request.solver, request.options.preview
    if request.interpolates and request.sources % 2:
        raise InvalidArgument(f"interpolation goes between pairs; got an odd count of {request.sources}")
    if request.images > config.max_images:
        raise InvalidArgument(f"a request makes at most {config.max_images:,} images, this one {request.images:,}; "
                              "send parts of it")  # fmt: skip
    shown = request.images * (solver.steps // preview) if preview else 0
    if shown > config.max_previews:
        raise InvalidArgument(f"a request shows at most {config.max_previews:,} previews, this one {shown:,}; "
                              "raise preview, or leave it out")  # fmt: skip
    if request.encodes and (solver.analytic_first or solver.denoise):
        raise InvalidArgument(
            "analytic_first and denoise are for sampling from noise; leave them out to encode, and to decode its result"
        )
    if solver.derivative == "head" and not network.curvature:
        raise InvalidArgument(
            f"curvature is true, and {network.name} has no curvature head; leave curvature out, which takes the "
            "derivative by difference, or distil a head: python -m export.genie.train_head"
        )
    if preview and request.options.task == "encode":
        raise InvalidArgument("there is nothing to preview of an encoding; leave preview out")
    if solver.guidance > 0 and network.null is None:
        raise InvalidArgument(
            f"guidance needs a network with a null label, which {network.name} is not"
            + (": it is unconditional" if not network.labels else "")
        )


def _labels(inputs: Mapping[str, np.ndarray], request: Request) -> np.ndarray | None:
    """Return a label per source, or per pair of sources; None for an unconditional network."""
    network = request.network
    given = inputs["LABELS"].reshape(-1) if "LABELS" in inputs else np.empty(0, np.int64)
    if not network.labels:
        if len(given):
            raise InvalidArgument(f"{network.name} is unconditional; leave LABELS out")
        return None
    wanted = request.sources // 2 if request.interpolates else request.sources
    if not len(given):
        raise InvalidArgument(f"{network.name} is class-conditional: give LABELS, 0 to {network.classes - 1}, "
                              "one per image or one for all")  # fmt: skip
    if len(given) not in (1, wanted):
        each = "pair" if request.interpolates else "image"
        raise InvalidArgument(f"give one label for all or {wanted}, one per {each}; got {len(given)}")
    wrong = given[(given < 0) | (given >= network.classes)]
    if len(wrong):
        raise InvalidArgument(f"labels of {network.name} are 0 to {network.classes - 1}, got {wrong[0]}")
    return np.broadcast_to(given.astype(np.int64), (wanted,)).copy()
