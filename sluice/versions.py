"""Which network an answer came from, read how: the version that features, scores and embeddings are stamped with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def network_version(repository: Path, model: str) -> str:
    """'model/version/hash' of an exported network, so that what two networks made is never mixed.

    The hash is that of model.onnx also where an engine made from it is served: the engine computes the same function.
    Raises FileNotFoundError with the remedy where the network has not been exported.
    """
    graph = graph_of(repository, model)
    return f"{model}/{graph.parent.name}/{hashlib.sha256(graph.read_bytes()).hexdigest()[:12]}"


def seen_version(network: str, shaping: Mapping[str, Any]) -> str:
    """'network' or 'network/hash' of what a network makes of pictures that it is shown in a certain way.

    shaping: the parameters of that way as they differ from the usual ones; none: the network's version alone, with
    which everything is stamped that was stored before this was told apart.
    """
    return shaped(network, shaping) if shaping else network


def shaped(network: str, shaping: Mapping[str, Any]) -> str:
    told = json.dumps(shaping, sort_keys=True)
    return f"{network}/{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def graph_of(repository: Path, model: str) -> Path:
    """The newest model.onnx of a network. Raises FileNotFoundError with the remedy where there is none."""
    versions = sorted(int(path.parent.name) for path in repository.glob(f"{model}/[0-9]*/model.onnx"))
    if not versions:
        raise FileNotFoundError(f"{model}/1/model.onnx is missing; run: sluice export")
    return repository / model / str(versions[-1]) / "model.onnx"


def network_record(repository: Path, model: str) -> dict[str, str]:
    """What a network's graph says of itself: the entries of its metadata, name -> text; empty where it says nothing.

    Read without the package `onnx`, which takes longer to import than a detector needs to start. Raises
    FileNotFoundError as `network_version`, and ValueError where the file is no ONNX graph.
    """
    path = graph_of(repository, model)
    try:
        fields = _fields(memoryview(path.read_bytes()))
        entries = [dict(_fields(value)) for field, value in fields if field == METADATA]
        return {bytes(entry.get(1, b"")).decode(): bytes(entry.get(2, b"")).decode() for entry in entries}
    except (IndexError, ValueError) as error:
        found = f"{model}/{path.parent.name}/model.onnx"
        raise ValueError(f"{found} is no ONNX graph ({error}); run: sluice export") from None


METADATA = 14  # the field of onnx.ModelProto: entries with a key (1) and a value (2)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a protobuf message that have a length: number and content. Source: protobuf's encoding guide."""
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
