"""Judges the two networks of `segment`: mean IoU of masks asked for by words, through the verb's own code."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from bench.class_names import CAMVID
from bench.networks.engines import Run
from bench.networks.pictures import encoded, frames
from bench.networks.task import Task, Work
from bench.segment_process import InProcess
from export.grouping.judge import confusion, overlaps


class Replaced:
    """A network of `InProcess` with another engine in its place; named by its tensors, as sessions are."""

    def __init__(self, session: Any, run: Run):
        self.inputs = [SimpleNamespace(name=port.name) for port in session.get_inputs()]
        self.outputs = [SimpleNamespace(name=port.name) for port in session.get_outputs()]
        self.engine = run

    def get_inputs(self) -> list[SimpleNamespace]:
        return self.inputs

    def get_outputs(self) -> list[SimpleNamespace]:
        return self.outputs

    def run(self, names: Sequence[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
        found = self.engine(given)
        return [found[name] for name in names]


def task(name: str) -> Task:
    """Return the task of one of the two networks; the other stays in fp32."""

    def prepare(data: Path | None, count: int) -> tuple[Work, str]:
        given = frames(data, count)

        def work(run: Run) -> list[np.ndarray]:
            here = InProcess()  # anew, since embeddings of texts are kept
            here.sessions[name] = Replaced(here.sessions[name], run)
            tables = []
            for frame in given:
                answer = here.segment([encoded(frame.image)], CAMVID)
                mask = np.asarray(Image.open(io.BytesIO(answer["MASKS"][0])))
                tables.append(confusion(mask, frame.labels))
            return tables

        return work, f"{len(given)} frames of CamVid's drive 0006R0" if data else f"{len(given)} generated scenes"

    return Task("mean IoU", prepare, score, inputs=32)


def score(pieces: Sequence[np.ndarray]) -> float:
    """Return the mean IoU over the classes that occur. pieces: a confusion per frame."""
    return float(np.nanmean(overlaps(np.sum(pieces, axis=0))))
