"""`health`: which models a working server has. The asking itself is the transport's, since it is not an inference."""

from __future__ import annotations

__all__ = ["MODELS", "VERBS"]

VERBS = ("detect", "embed", "ingest", "match", "retrieve", "select")
MODELS = (
    *("image_decoder", "feature_extractor", "mixture_detector", "uncertainty_aggregator", "frame_gallery"),
    *VERBS,
)
