"""The query of `retrieve` and `match`: regions of interest of images, read and checked; and the limits of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sluice import images
from sluice.errors import InvalidArgument
from sluice.wire.calls import check_count

QUERY = ("QUERY_IMAGES", "QUERY_IDS", "ROIS", "ROI_QUERY")


@dataclass(frozen=True)
class Config(images.Config):
    """Limits of one request, checked before anything is decoded, and the canvases of its images."""

    max_queries: int = 16
    max_rois: int = 64
    max_cells: int = 32_768  # of feature maps, covered by all ROIs of a request together
    max_images: int = 256
    in_flight: int = 8  # images of one request that wait for the network at the same time
    max_texts: int = 16
    texts: bool = False  # whether frames are ranked by words, too


class Query(NamedTuple):
    """The regions that a request looks for.

    kind: QUERY_IMAGES or QUERY_IDS. items: the queries, encoded images or ids of stored frames.
    rois: float64 [R, 4], x0, y0, x1, y1 in pixels of the query image. owner: int32 [R], the query of each region,
    which names every query at least once.
    """

    kind: str
    items: list[Any]
    rois: np.ndarray
    owner: np.ndarray


def read(inputs: Mapping[str, np.ndarray], config: Config) -> Query:
    """Read the query of a request: QUERY_IMAGES or QUERY_IDS, ROIS [R, 4] and, if given, ROI_QUERY [R].

    Raises InvalidArgument for tensors that are missing, too long, or do not fit each other.
    """
    given = [name for name in ("QUERY_IMAGES", "QUERY_IDS") if name in inputs]
    if len(given) != 1:
        raise InvalidArgument(f"give QUERY_IMAGES or QUERY_IDS, exactly one of them; got {given or 'neither'}")
    if "ROIS" not in inputs:
        raise InvalidArgument("give ROIS, the regions of the queries to look for: x0, y0, x1, y1 each")
    queries = list(inputs[given[0]].reshape(-1))
    rois = np.asarray(inputs["ROIS"], np.float64).reshape(-1, 4)
    owner = np.asarray(inputs.get("ROI_QUERY", np.zeros(len(rois), np.int32)), np.int32).reshape(-1)
    check_count("queries", len(queries), config.max_queries)
    check_count("ROIs", len(rois), config.max_rois)
    if len(owner) != len(rois):
        raise InvalidArgument(f"ROI_QUERY needs one number per ROI: {len(rois)} ROIs, {len(owner)} numbers")
    idle = sorted(set(range(len(queries))) ^ set(owner.tolist()))
    if idle:
        raise InvalidArgument(
            f"ROI_QUERY must name each of the {len(queries)} queries (0 to {len(queries) - 1}) at least once "
            f"and nothing else; wrong or missing: {idle[:8]}"
        )
    return Query(given[0], queries, rois, owner)
