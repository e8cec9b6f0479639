"""Lists the models that a working server has. The transport asks for them, since `health` is no inference."""

from __future__ import annotations

__all__ = ["MODELS", "VERBS"]

VERBS = ("compare", "detect", "embed", "enhance", "ingest", "match", "retrieve", "sample", "segment", "select")
MODELS = (
    *("image_decoder", "feature_extractor", "mixture_detector", "uncertainty_aggregator", "object_detector"),
    *("frame_networks", "frame_view"),
    *("frame_gallery", "gallery_search"),
    *("digits_score", "digits_curvature", "streets_score", "streets_curvature"),
    *("image_grouper", "text_encoder", "text_embedder"),
    *("artifact_remover_weak", "artifact_remover_strong", "frame_upscaler_clean", "frame_upscaler_lossy"),
    *VERBS,
)
