"""`health`: which models a working server has. The asking itself is the transport's, since it is not an inference."""

from __future__ import annotations

__all__ = ["MODELS", "VERBS"]

VERBS = ("embed", "ingest", "match", "retrieve")
MODELS = ("image_decoder", "feature_extractor", "frame_gallery", *VERBS)
