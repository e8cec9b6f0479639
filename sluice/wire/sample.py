"""What a caller of the verb `sample` asks for, read and checked before it costs anything."""

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
from sluice.methods.genie.trajectory import Options
from sluice.wire.calls import json_object

TASKS = ("sample", "encode", "interpolate")
FORMATS = ("png", "tensor")
SOURCES = ("SEEDS", "IMAGES", "TENSORS")
MOST_BETWEEN = 256
WORD = "NAME=CxHxW[:labels[:null]][@latest]"


@dataclass(frozen=True)
class Network:
    """A score network that the verb knows: the models NAME_score and, with a curvature head, NAME_curvature.

    labels: rows of its table of classes, 0 for an unconditional network; null: the label that stands for no class.
    latest: the greatest t that it was trained at, where trajectories begin. curvature: whether there is a head.
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
        return self.channels, self.height, self.width

    @property
    def classes(self) -> int:
        """Labels that a caller may give: all but the null label, where that is the last."""
        return self.labels - 1 if self.null is not None and self.null == self.labels - 1 else self.labels


@dataclass(frozen=True)
class Config(images.Limits):
    """The verb's parameters.

    models: NAME=CxHxW[:labels[:null]][@latest], the first is the default. without_curvature: those of them that have no
    model NAME_curvature. batch, in_flight, least: see `Rounds`.
    """

    models: str = ""
    without_curvature: str = ""
    max_images: int = 4096  # of one request, results and pictures to encode alike
    max_previews: int = 20_000  # of one request: nothing slows the loop down for a caller that does not read
    part: int = 64  # images of one request that are under way at a time
    max_requests: int = 64  # at a time
    batch: int = 64
    in_flight: int = 2
    least: int = 4

    @cached_property
    def networks(self) -> dict[str, Network]:
        found = [_network(word) for word in self.models.split()]
        if not found:
            raise ValueError(f"models: expected {WORD}, one a word; got none")
        flat = self.without_curvature.split()
        return {network.name: dataclasses.replace(network, curvature=network.name not in flat) for network in found}

    @property
    def asked(self) -> tuple[str, ...]:
        """The models that these parameters name."""
        return tuple(
            f"{network.name}_{kind}"
            for network in self.networks.values()
            for kind in ("score", "curvature")
            if kind == "score" or network.curvature
        )


def _network(word: str) -> Network:
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
class Request:
    """A checked request. Exactly one of seeds, pictures and tensors is not None.

    seeds: uint64 [n]; pictures: encoded, n of them; tensors: float32 [n, C, H, W]. Interpolation takes them in pairs.
    labels: int64, one for each image that results (sample), picture (encode) or pair; None: unconditional.
    """

    network: Network
    task: str
    options: Options
    labels: np.ndarray | None
    seeds: np.ndarray | None = None
    pictures: list[bytes] | None = None
    tensors: np.ndarray | None = None
    preview: int = 0
    format: str = "png"
    between: int = 8
    fit: bool = False

    @property
    def sources(self) -> int:
        given = next(one for one in (self.seeds, self.pictures, self.tensors) if one is not None)
        return len(given)

    @property
    def images(self) -> int:
        """How many images, or latents, result."""
        return self.sources // 2 * self.between if self.task == "interpolate" else self.sources

    @property
    def encodes(self) -> bool:
        """Whether the way from pictures to latents is gone as well."""
        return self.task == "encode" or self.pictures is not None

    @property
    def calls(self) -> int:
        """Network calls for an image, one after the other; those for its pair's ends included."""
        return self.options.calls * (1 + (self.encodes and self.task == "interpolate"))

    @property
    def nfe(self) -> int:
        return self.options.nfe * (1 + (self.encodes and self.task == "interpolate"))


def read(inputs: Mapping[str, np.ndarray], config: Config) -> Request:
    """The request in these tensors. Raises InvalidArgument, or NotFound for a model that is not there."""
    given = json_object(inputs)
    own = {
        "model": given.pop("model", next(iter(config.networks))),
        "task": given.pop("task", "sample"),
        "format": given.pop("format", "png"),
    }
    numbers = {
        name: _whole(name, given.pop(name, default), low, high)
        for name, default, low, high in (
            ("preview", 0, 0, MOST_STEPS),
            ("between", 8, 2, MOST_BETWEEN),
            ("seed", 0, 0, SEEDS - 1),
            ("count", 1, 1, config.max_images),
        )
        if name in given or name in ("preview", "between")
    }
    fit = given.pop("fit", False)
    if not isinstance(fit, bool):
        raise InvalidArgument(f"fit is true or false, got {fit!r}")
    for name, known in (("task", TASKS), ("format", FORMATS)):
        if own[name] not in known:
            raise InvalidArgument(f"{name} is one of {', '.join(known)}, got {own[name]!r}")
    network = config.networks.get(own["model"]) if isinstance(own["model"], str) else None
    if network is None:
        raise NotFound(f"there is no model {str(own['model'])[:80]!r}; there are: {', '.join(config.networks)}")
    options = _solver(given, network)
    request = Request(
        network,
        own["task"],
        options,
        None,
        **_sources(inputs, own["task"], network, numbers, config),
        preview=numbers["preview"],
        format=own["format"],
        between=numbers["between"],
        fit=fit,
    )
    _fitting(request, config)
    return dataclasses.replace(request, labels=_labels(inputs, request))


def _solver(given: dict[str, Any], network: Network) -> Options:
    """The options of the solver; without a curvature head genie takes its derivative by difference."""
    names = [field.name for field in dataclasses.fields(Options)]
    unknown = sorted(set(given) - set(names))
    if unknown:
        own = ("model", "task", "format", "preview", "between", "seed", "count", "fit")
        raise InvalidArgument(f"OPTIONS has {', '.join(map(repr, unknown))}; known are: {', '.join((*own, *names))}")
    return Options(**({} if network.curvature else {"curvature": False}) | given)


def _sources(
    inputs: Mapping[str, np.ndarray], task: str, network: Network, numbers: dict[str, int], config: Config
) -> dict[str, Any]:
    """The one source that is given, as a field of `Request`."""
    there = [name for name in SOURCES if name in inputs]
    asked: list[str] = [name for name in ("seed", "count") if name in numbers]
    if len(there) > 1 or (there and asked):
        raise InvalidArgument(f"give one of SEEDS (or seed and count), IMAGES, TENSORS; got {', '.join(there + asked)}")
    if task == "encode" and there not in (["IMAGES"], ["TENSORS"]):
        raise InvalidArgument("to encode, give pictures: IMAGES, or TENSORS with values of -1 to 1")
    if task == "sample" and there == ["IMAGES"]:
        raise InvalidArgument("pictures are for the tasks encode and interpolate; to sample, give seeds, or as TENSORS "
                              "the latents that encode gave")  # fmt: skip
    if not there:
        first, count = numbers.get("seed", 0), numbers.get("count", 2 if task == "interpolate" else 1)
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
    """What a task and its options demand of each other."""
    network, options = request.network, request.options
    if request.task == "interpolate" and request.sources % 2:
        raise InvalidArgument(f"interpolation goes between pairs; got an odd count of {request.sources}")
    if request.images > config.max_images:
        raise InvalidArgument(f"a request makes at most {config.max_images:,} images, this one {request.images:,}; "
                              "send parts of it")  # fmt: skip
    shown = request.images * (options.steps // request.preview) if request.preview else 0
    if shown > config.max_previews:
        raise InvalidArgument(f"a request shows at most {config.max_previews:,} previews, this one {shown:,}; "
                              "raise preview, or leave it out")  # fmt: skip
    if request.encodes and (options.analytic_first or options.denoise):
        raise InvalidArgument(
            "analytic_first and denoise are for sampling from noise; leave them out to encode, and to decode its result"
        )
    if options.derivative == "head" and not network.curvature:
        raise InvalidArgument(
            f"curvature is true, and {network.name} has no curvature head; leave curvature out, which takes the "
            "derivative by difference, or distil a head: python -m export.genie.train_head"
        )
    if request.preview and request.task == "encode":
        raise InvalidArgument("there is nothing to preview of an encoding; leave preview out")
    if options.guidance > 0 and network.null is None:
        raise InvalidArgument(
            f"guidance needs a network with a null label, which {network.name} is not"
            + (": it is unconditional" if not network.labels else "")
        )


def _labels(inputs: Mapping[str, np.ndarray], request: Request) -> np.ndarray | None:
    """One for each source, or pair of sources."""
    network = request.network
    given = inputs["LABELS"].reshape(-1) if "LABELS" in inputs else np.empty(0, np.int64)
    if not network.labels:
        if len(given):
            raise InvalidArgument(f"{network.name} is unconditional; leave LABELS out")
        return None
    wanted = request.sources // 2 if request.task == "interpolate" else request.sources
    if not len(given):
        raise InvalidArgument(f"{network.name} is class-conditional: give LABELS, 0 to {network.classes - 1}, "
                              "one an image or one for all")  # fmt: skip
    if len(given) not in (1, wanted):
        each = "a pair" if request.task == "interpolate" else "an image"
        raise InvalidArgument(f"give one label for all or {wanted}, one {each}; got {len(given)}")
    wrong = given[(given < 0) | (given >= network.classes)]
    if len(wrong):
        raise InvalidArgument(f"labels of {network.name} are 0 to {network.classes - 1}, got {wrong[0]}")
    return np.broadcast_to(given.astype(np.int64), (wanted,)).copy()


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidArgument(f"{name} is a whole number from {low} to {high}, got {str(value)[:40]}")
    return value
