"""Versions of networks, with which features, scores and embeddings are stamped, so that none are mixed.

A version names a network and the digest of its graph, and also the way in which images are shown to it, if that is not
the usual one. Two numbers compare only if their versions are equal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def network_version(repository: Path, model: str) -> str:
    """Return 'model/version/hash' of an exported network.

    The hash is that of model.onnx, even if an engine made from it is served: the engine computes the same function.
    Raises FileNotFoundError, which names the remedy, if the network has not been exported.
    """
    graph = graph_of(repository, model)
    return f"{model}/{graph.parent.name}/{hashlib.sha256(graph.read_bytes()).hexdigest()[:12]}"


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
    """Return the newest model.onnx of a network. Raises FileNotFoundError, which names the remedy, if there is none."""
    versions = sorted(int(path.parent.name) for path in repository.glob(f"{model}/[0-9]*/model.onnx"))
    if not versions:
        raise FileNotFoundError(f"{model}/1/model.onnx is missing; run: sluice export")
    return repository / model / str(versions[-1]) / "model.onnx"


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
        found = f"{model}/{path.parent.name}/model.onnx"
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
