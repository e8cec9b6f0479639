"""Runs `segment` in this process: the verb's own code over the graphs of a repository, each network call timed."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.callers import Tensors, strings
from bench.score_graphs import session
from sluice import contracts
from sluice.methods.grouping.vocabulary import Vocabulary
from sluice.models import text_embedder
from sluice.server import root as roots
from sluice.verbs import segment
from sluice.versions import network_version

GRAPHS = ("image_grouper", "text_encoder")
MODELS = ("segment", "text_embedder", *GRAPHS)


class InProcess:
    """The verb and its networks, one thread per call; several threads may ask at a time.

    seconds, calls: per model, added up since the start or since `forget`. Those of `text_embedder` include those of
    `text_encoder`.
    """

    def __init__(self, root: Path | None = None):
        """Open the graphs of a folder with model_repository and ensembles, None for that of the served weights.

        Raises SystemExit if they have not been exported.
        """
        root = root or roots.default()
        configs, repository = contracts.models(root), root / "model_repository"
        for name in GRAPHS:
            if not (repository / name / "1" / "model.onnx").is_file():
                raise SystemExit(f"the graph of {name} is missing; run: make export")
        self.sessions = {name: session(str(repository / name / "1" / "model.onnx")) for name in GRAPHS}
        self.root = root
        self.config = _parameters(segment.Config, configs["segment"])
        embedder = _parameters(text_embedder.Config, configs["text_embedder"])
        encoder, grouper = (network_version(repository, name) for name in (embedder.encoder, embedder.grouper))
        known = Vocabulary.of(repository, embedder.encoder)
        self.embedder = text_embedder.Embedder(self.call, embedder, encoder, grouper, known)
        self._told: set[tuple[str | None, ...]] = set()
        self._telling = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Set `seconds` and `calls` to 0."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()

    async def call(self, model: str, inputs: Mapping[str, np.ndarray], outputs: Iterable[str]) -> dict[str, Any]:
        """Answer as `sluice.triton.PythonModel.call` does."""
        begin = time.perf_counter()
        if model == "text_embedder":
            answer = await self.embedder.run(inputs)
        else:
            answer = self.run(model, next(iter(inputs.values())))
        self.seconds[model] += time.perf_counter() - begin
        self.calls[model] += 1
        return {name: answer[name] for name in outputs}

    def run(self, model: str, given: np.ndarray) -> dict[str, np.ndarray]:
        """Return all outputs of a network for its one input."""
        network = self.sessions[model]
        names = [output.name for output in network.get_outputs()]
        return dict(zip(names, network.run(names, {network.get_inputs()[0].name: given}), strict=True))

    def segment(self, images: Sequence[bytes], names: Sequence[str], **options: Any) -> dict[str, Any]:
        """Return the tensors of one request for encoded images. Raises SystemExit if an image cannot be read."""
        request = Tensors(
            IMAGES=strings(list(images)),
            CLASSES=strings([name.encode() for name in names]),
            OPTIONS=strings([json.dumps(options).encode()]),
        )
        key = (*names, options.get("templates"))
        # Requests with new names wait on a lock of one event loop, but every thread here has a loop of its own.
        with nullcontext() if key in self._told else self._telling:
            answer = asyncio.run(segment.segment(self.call, request, self.config))
            self._told.add(key)
        for error in answer["ERRORS"]:
            if error:
                raise SystemExit(f"segment refuses an image of this benchmark: {error}")
        return answer


def _parameters(kind: Any, config: Any) -> Any:
    return contracts.parameters(kind, {name: value.string_value for name, value in config.parameters.items()})


def repository(root: Path, weights: Path, size: int) -> Path:
    """Write under `root` all that serves `segment` with the networks of a file of weights: configs, glue, graphs.

    size: pixels of the short side at which an image is seen whole. Returns `root`.
    """
    from export import fit, graph
    from export.grouping.rows import pair

    for name in MODELS:
        part = "ensembles" if name == "segment" else "model_repository"
        shutil.copytree(
            contracts.ROOT / part / name,
            root / part / name,
            ignore=shutil.ignore_patterns("__pycache__", "model.onnx", "*.plan"),
            dirs_exist_ok=True,
        )
    config = root / "ensembles" / "segment" / "config.pbtxt"
    text, count = re.subn(r'(key: "size" value \{ string_value: )"\d+"', rf'\g<1>"{size}"', config.read_text())
    if count != 1:
        raise SystemExit(f"expected one parameter 'size' in ensembles/segment/config.pbtxt, found {count}")
    config.write_text(text)
    for network in (replace(one, root=root) for one in pair()):
        graph.write(network, graph.export(network, weights))
        fit.fit(network)
    return root


def check_current() -> None:
    """Raise SystemExit unless the repository's graphs were exported from its weights as they are now."""
    from export import graph
    from export.registry import NETWORKS

    for network in (NETWORKS[name] for name in GRAPHS):
        if not (network.weights.is_file() and graph.current(network, network.weights)):
            raise SystemExit(f"the graph of {network.name} is missing or not that of its weights; run: make export")
