"""The table graph -> task metric: the work that each served graph is judged by."""

from __future__ import annotations

from bench.networks import detection, enhancement, retrieval, sampling, segmentation
from bench.networks.task import Task


def table() -> dict[str, Task]:
    """Return the task of every served graph, by the graph's name."""
    names = ("digits", "streets")
    return {
        "feature_extractor": retrieval.TASK,
        "mixture_detector": detection.TASK,
        **{name: segmentation.task(name) for name in ("image_grouper", "text_encoder")},
        **{name: enhancement.task(name) for name in enhancement.DAMAGE},
        **{f"{name}_{kind}": sampling.task(name, kind) for name in names for kind in sampling.KINDS},
    }
