"""The query of `retrieve` and `match`: its tensors and the limits of one request."""

from __future__ import annotations

from dataclasses import dataclass

from sluice import images

QUERY = ("QUERY_IMAGES", "QUERY_IDS", "ROIS", "ROI_QUERY")


@dataclass(frozen=True)
class Config(images.Config):
    """Limits of one request, checked before anything is decoded; and those of its images."""

    max_queries: int = 16
    max_rois: int = 64
    max_cells: int = 32_768  # of feature maps, which the ROIs of a request cover together
    max_images: int = 256
    in_flight: int = 8  # images of one request that wait for the network at the same time
    max_texts: int = 16
    texts: bool = False  # whether frames are ranked by words, too
