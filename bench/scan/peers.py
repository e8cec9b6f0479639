"""Runs other libraries that compute the same score, each in a process of an environment of its own.

This file is both sides. `Peer` starts it with the other environment's Python; run as a script it answers requests, one
JSON object per line, with the seconds that a query took. There it imports nothing of the repository.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = {"lancedb": ["lancedb", "pyarrow"], "qdrant": ["qdrant-client"], "maxsim-cpu": ["maxsim-cpu"]}
MODULES = {"lancedb": "lancedb", "qdrant": "qdrant_client", "maxsim-cpu": "maxsim_cpu"}


class Peer:
    """One library in its process. `reason` says why it cannot be asked, or is None while it can."""

    def __init__(self, name: str, python: Path) -> None:
        self.name = name
        self.reason: str | None = None
        self._process = subprocess.Popen(
            [str(python), __file__, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.version = self._receive().get("version")

    def ask(self, gallery: Path, query: Path, k: int) -> dict[str, Any] | None:
        """Search a gallery (.npy float32 [n, P, C]) for a query (.npy float32 [Q, C]). Returns {seconds, ids}, or None
        if the library failed."""
        if self.reason is not None:
            return None
        try:
            assert self._process.stdin is not None
            print(json.dumps([str(gallery), str(query), k]), file=self._process.stdin, flush=True)
        except OSError:
            self.reason = f"{self.name} ended with status {self._process.wait()}"
            return None
        answer = self._receive()
        return answer if "seconds" in answer else None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"{self.name} ended with status {self._process.wait()}"}
        self.reason = answer.get("error", self.reason)
        return answer


def environment(folder: Path) -> tuple[Path, dict[str, str]]:
    """Make the peers' environment if it is missing. Returns its Python, and for each library that could not be
    installed the reason."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    failed = {}
    for name, packages in PACKAGES.items():
        if subprocess.run([str(python), "-c", f"import {MODULES[name]}"], capture_output=True).returncode == 0:
            continue
        command = [str(python), "-m", "pip", "install", "--quiet", *packages]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            failed[name] = f"{name} could not be installed: {(lines or ['pip failed'])[-1][:160]}"
    return python, failed


# ---------------------------------------------------------------------------------- in the other environment


class LanceDB:
    """A flat search of a multivector column, cosine."""

    def __init__(self, gallery: np.ndarray) -> None:
        import tempfile

        import lancedb
        import pyarrow as pa

        n, cells, channels = gallery.shape
        values = pa.FixedSizeListArray.from_arrays(pa.array(gallery.reshape(-1)), channels)
        vectors = pa.ListArray.from_arrays(pa.array(np.arange(0, n * cells + 1, cells, np.int32)), values)
        self._folder = tempfile.TemporaryDirectory()
        table = pa.table({"id": pa.array(np.arange(n)), "vector": vectors})
        self._table = lancedb.connect(self._folder.name).create_table("frames", table)

    def query(self, rows: np.ndarray, k: int) -> list[int]:
        """Return the ids of the k best."""
        found = self._table.search(rows).distance_type("cosine").limit(k).select(["id", "_distance"]).to_arrow()
        return found["id"].to_pylist()


class Qdrant:
    """The client's local mode; multivectors are compared by MaxSim."""

    def __init__(self, gallery: np.ndarray) -> None:
        from qdrant_client import QdrantClient, models

        self._client = QdrantClient(":memory:")
        comparator = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        self._client.create_collection(
            "frames",
            vectors_config=models.VectorParams(
                size=gallery.shape[2], distance=models.Distance.COSINE, multivector_config=comparator
            ),
        )
        for i in range(0, len(gallery), 50):
            part = [models.PointStruct(id=j, vector=gallery[j].tolist()) for j in range(i, min(i + 50, len(gallery)))]
            self._client.upsert("frames", part)

    def query(self, rows: np.ndarray, k: int) -> list[int]:
        """Return the ids of the k best."""
        return [point.id for point in self._client.query_points("frames", query=rows.tolist(), limit=k).points]


class MaxSim:
    """The library maxsim-cpu. Beyond 4096 numbers in a query it answers wrongly or crashes, so the query's rows are
    split."""

    def __init__(self, gallery: np.ndarray) -> None:
        self._gallery = gallery

    def query(self, rows: np.ndarray, k: int) -> list[int]:
        """Return the ids of the k best."""
        import maxsim_cpu

        step = 4096 // rows.shape[1]
        total = np.zeros(len(self._gallery), np.float32)
        for i in range(0, len(rows), step):
            total += maxsim_cpu.maxsim_scores(np.ascontiguousarray(rows[i : i + step]), self._gallery)
        return np.argsort(-total, kind="stable")[:k].tolist()


def answer(name: str) -> None:
    """Answer requests from the standard input until it ends."""
    from importlib.metadata import version

    kinds = {"lancedb": LanceDB, "qdrant": Qdrant, "maxsim-cpu": MaxSim}
    try:
        __import__(MODULES[name])
        print(json.dumps({"version": version(PACKAGES[name][0])}), flush=True)
    except Exception as error:
        print(json.dumps({"error": f"{name} does not import: {error}"[:200]}), flush=True)
        return
    opened: tuple[str, Any] = ("", None)
    for line in sys.stdin:
        gallery, query, k = json.loads(line)
        try:
            if opened[0] != gallery:
                opened = gallery, kinds[name](np.load(gallery))
            rows = np.load(query)
            started = time.perf_counter()
            ids = opened[1].query(rows, k)
            print(json.dumps({"seconds": time.perf_counter() - started, "ids": ids}), flush=True)
        except Exception as error:
            print(json.dumps({"error": f"{name}: {type(error).__name__}: {error}"[:200]}), flush=True)


if __name__ == "__main__":
    answer(sys.argv[1])
