"""Versions of networks, with which features, scores and embeddings are stamped, so that none are mixed.

A version names a network and the digest of its graph, also the precision in which the graph runs, if that is not fp32
and the way in which images are shown to it, if that is not the usual one. Two numbers compare
only if their versions are equal.

The launcher tells the processes of a server in which precision its networks run, and an engine of TensorRT tells it in
its sidecar. bf16 rounds to 8 significant bits and fp16 to 11, so their features and scores are not those of fp32.
Versions from before precision was named are of fp32.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sluice import contracts


def network_version(repository: Path, model: str) -> str:
    """Return 'model/version/hash' of an exported network, with '/bf16' or '/fp16' behind it if this server runs it so.

    The hash is that of the ONNX file that is computed. Of an engine this is the file that the engine was made from, and
    the engine's sidecar knows hash and precision.
    Raises FileNotFoundError, which names the remedy, if the network has not been exported, and ValueError for a sidecar
    that cannot be read.
    """
    graph, served = graph_of(repository, model), _served_file(repository, model)
    engine = read_sidecar(served) if is_engine(served) else None
    digest = hashlib.sha256(graph.read_bytes()).hexdigest() if engine is None else engine.graph_sha256
    version = f"{model}/{graph.parent.name}/{digest[:12]}"
    return stamped(version, precision_of(model) if engine is None else engine.precision)


def seen_version(network: str, shaping: Mapping[str, Any]) -> str:
    """Return the version of a network that is shown images in a certain way: 'network' or 'network/hash'.

    network: as `network_version` gives it. shaping: the parameters of that way that differ from the usual ones. Without
    any the version is that of the network, as all frames have it that were stored by servers without this distinction.
    """
    return shaped(network, shaping) if shaping else network


def shaped(network: str, shaping: Mapping[str, Any]) -> str:
    """Return 'network/hash', with a hash of the parameters that shape the answers of the network."""
    told = json.dumps(shaping, sort_keys=True)
    return f"{network}/{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def graph_of(repository: Path, model: str) -> Path:
    """Return the newest ONNX file that a network computes: model.onnx, or another that the served config names, such as
    int8. An engine computes model.onnx, from which it was made.

    Raises FileNotFoundError, which names the remedy, if there is none.
    """
    served = _served_file(repository, model)
    return served.with_name(ONNX_FILE) if is_engine(served) else served


ONNX_FILE = "model.onnx"
# The file that a config names, and the backend whose file is model.plan if none is named. A config is not parsed here,
# because that takes an import longer than a detector takes to start.
NAMED = re.compile(r'^[^#\n]*\bdefault_model_filename\s*:\s*"([^"/]+)"', re.MULTILINE)
PLANNED = re.compile(r'^[^#\n]*\b(?:backend|platform)\s*:\s*"tensorrt(?:_plan)?"', re.MULTILINE)


def _served_file(repository: Path, model: str) -> Path:
    """Return the file that this server gives to the network's backend: a graph or an engine. Raises as `graph_of`."""
    versions = sorted(int(path.parent.name) for path in repository.glob(f"{model}/[0-9]*/model.onnx"))
    if not versions:
        raise FileNotFoundError(f"{model}/1/model.onnx is missing; run: sluice export")
    config = contracts.served_path(repository, model, contracts.config_name())
    text = "" if config is None else config.read_text(encoding="utf-8")
    named = NAMED.search(text)
    usual = "model.plan" if PLANNED.search(text) else ONNX_FILE
    return repository / model / str(versions[-1]) / (named.group(1) if named else usual)


def network_record(repository: Path, model: str) -> dict[str, str]:
    """Read the metadata of a network's graph, name -> text; empty if the graph has none.

    The graph is read without the package `onnx`, which takes longer to import than a detector takes to start.
    Raises FileNotFoundError as `network_version` does, and ValueError if the file is no ONNX graph.
    """
    path = graph_of(repository, model)
    try:
        fields = _fields(memoryview(path.read_bytes()))
        entries = [dict(_fields(value)) for field, value in fields if field == METADATA]
        return {bytes(entry.get(1, b"")).decode(): bytes(entry.get(2, b"")).decode() for entry in entries}
    except (IndexError, ValueError) as error:
        found = f"{model}/{path.parent.name}/{path.name}"
        raise ValueError(f"{found} is no ONNX graph ({error}); run: sluice export") from None


METADATA = 14  # the field of onnx.ModelProto: entries with a key (1) and a value (2)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the fields of a protobuf message that have a length. Source: Protocol Buffers,
    "Encoding". Raises ValueError or IndexError for bytes that are no message."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value

    while at < len(message):
        field, kind = divmod(number(), 8)
        if kind == 2:
            size = number()
            yield field, message[at : at + size]
            at += size
        elif kind == 0:
            number()
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind} at byte {at}")
    if at != len(message):
        raise ValueError(f"it ends within a field, at byte {len(message)}")


# ---------------------------------------------------------------------------------------------------- engines


@dataclass(frozen=True)
class Sidecar:
    """Facts of an engine.

    format: "plan" (classic TensorRT) or "rtx" (TensorRT for RTX). network: the model that the engine is for.
    graph_sha256: of the model.onnx that the engine was built from. engine_sha256: of the engine's file.
    precision: of the graph, "fp32" or "fp16". tensorrt: version of the library that built the engine, such as "1.7.1".
    capabilities: compute capabilities of the GPUs that the engine is for, such as "8.6".
    profile: input -> its least, best and greatest shape.
    """

    format: str
    network: str
    graph_sha256: str
    engine_sha256: str
    precision: str
    tensorrt: str
    capabilities: tuple[str, ...]
    profile: Mapping[str, Sequence[Sequence[int]]]

    def text(self) -> str:
        """Return the content of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"


def sidecar_place(engine: Path) -> Path:
    """Return the path of an engine's sidecar: the engine's name with .json behind it."""
    return engine.with_name(f"{engine.name}.json")


def read_sidecar(engine: Path) -> Sidecar | None:
    """Return the sidecar of an engine, or None if the engine has none.

    Raises ValueError for a file that is no sidecar.
    """
    path = sidecar_place(engine)
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Sidecar(**{**found, "capabilities": tuple(found["capabilities"])})
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ValueError(
            f"{path.name} is not the record of an engine ({type(error).__name__}: {error}); build the engine again"
        ) from None


def is_served_engine(repository: Path, model: str) -> bool:
    """Return whether this server runs a network as an engine of TensorRT. Raises FileNotFoundError as `graph_of`."""
    return is_engine(_served_file(repository, model))


def is_engine(path: Path) -> bool:
    """Return whether a served file is an engine by its name, such as model.plan and model.rtx.onnx, and no graph."""
    return path.suffix != ".onnx" or path.name.endswith(".rtx.onnx")


# ------------------------------------------------------------------------------------------- the precision of a server


VARIABLE = "SLUICE_PRECISION"  # of the environment of the server's processes: `Served` as JSON
FP32, BF16, FP16 = "fp32", "bf16", "fp16"
SHORT = (BF16, FP16)  # named in versions


@dataclass(frozen=True)
class Served:
    """What a server's networks are and in which precision they run.

    profile:  the profile that was asked for, such as "auto". None: no launcher of ours started the server.
    reason:   a clause that says why the networks run in their precision.
    networks: name -> "fp32", "bf16" or "fp16".
    kept:     name -> why this network runs in fp32 although others run in bf16.
    weights:  the set of weights in words, such as "free" (`sluice.process.weights`); empty if not told.
    """

    profile: str | None = None
    reason: str = "not told by the server's start"
    networks: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""

    def __str__(self) -> str:
        counts = {short: sum(one == short for one in self.networks.values()) for short in SHORT}
        told = [f"{count} of {len(self.networks)} networks in {short}" for short, count in counts.items() if count]
        return f"{', '.join(told) or FP32} ({self.reason})"

    @property
    def environment(self) -> dict[str, str]:
        """Return the variable that hands this record on to the processes of the server."""
        return {VARIABLE: json.dumps(asdict(self))}

    def reason_of(self, network: str) -> str:
        """Return why a network runs in its precision."""
        return self.kept.get(network) or self.reasons[self.networks[network]]

    @property
    def reasons(self) -> dict[str, str]:
        """Return why networks run in fp32, and why others run in bf16 or fp16, if any do."""
        found = {short: self.reason for short in SHORT if short in self.networks.values()}
        whole = "its engine is in fp32" if FP16 in found else "its config asks for no other precision"
        return {**found, FP32: whole if found else self.reason}

    def as_json(self) -> dict[str, Any]:
        """Return this record for JSON."""
        return {**asdict(self), "told": str(self)}


def told_precision() -> Served:
    """Return what the launcher told this process. Without a launcher nothing is known, and fp32 holds."""
    said = os.environ.get(VARIABLE)
    return Served(**json.loads(said)) if said else Served()


METRIC = (
    "SLUICE_PRECISION_METRIC"  # of the environment: name of `as_metric`; empty where the networks' backend tells it
)


def as_metric(family: Any) -> tuple[Any, ...]:
    """Set a metric to 1 for the precision of each network, and return the objects that keep it; () without its name.

    NVIDIA's backends do not tell the precision, so every Python model of ours sets the same metric there.
    family: the class MetricFamily of Triton's Python backend.
    """
    name, served = os.environ.get(METRIC), told_precision()
    if not name:
        return ()
    made = family(name=name, description="1 for the precision in which a network runs", kind=family.GAUGE)
    gauges = [
        made.Metric(labels={"model": network, "precision": precision, "reason": served.reason_of(network)})
        for network, precision in served.networks.items()
    ]
    for gauge in gauges:
        gauge.set(1)
    return made, *gauges


def precision_of(model: str) -> str:
    """Return the precision in which this server runs a network."""
    return told_precision().networks.get(model, FP32)


def stamped(version: str, precision: str) -> str:
    """Return the version of a network 'model/version/hash' that runs in a precision."""
    return version if precision == FP32 else f"{version}/{precision}"


def precision_in(version: str) -> str:
    """Return the precision that a version names, also behind a hash of how images are shown; fp32 if none is named."""
    parts = version.split("/")[3:]
    return next((short for short in SHORT if short in parts), FP32)


def without(version: str) -> str:
    """Return a version without its precision: equal for versions that differ in nothing else."""
    parts = version.split("/")
    return "/".join(parts[:3] + [part for part in parts[3:] if part not in SHORT])


def unshaped(version: str) -> str:
    """Return a version of `seen_version` without the hash of the way in which images are shown."""
    parts = version.split("/")
    return "/".join(parts[:3] + [part for part in parts[3:] if part in SHORT])


def remedy(made: str, runs: str) -> str:
    """Return how a network that runs in the precision `runs` gets to `made`: what stands behind 'serve with'."""
    if made == FP16:
        return "--profile gpu or rtx and an engine in fp16"
    if made == BF16:
        return "--profile auto on a processor with bf16"
    engine = ", or with an engine in fp32 (sluice export --precision fp32)" if runs == FP16 else ""
    return f"--profile auto{engine}"


def precision_hint(versions: list[str], served: str | None) -> str:
    """Return what else an error about versions should say: the remedy if they differ from `served` in precision alone,
    or else nothing.
    """
    if served is None or any(without(one) != without(served) for one in versions):
        return ""
    made, runs = sorted({precision_in(one) for one in versions}, reverse=True), precision_in(served)
    way = remedy(FP32 if FP32 in made else made[0], runs)
    return f". They are of the same network in {', '.join(made)}, which runs here in {runs}; serve with {way}"
