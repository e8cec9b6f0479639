"""The real server: the models that a gallery needs, and how often a model was asked."""

from pathlib import Path

from sluice import contracts

# The models of a server that only stores frames.
STORE = ["ingest", "frame_gallery", "feature_extractor"]


def calls(client, model):
    """Return the number of requests that the model has answered, by Triton's own count."""
    return client.get_inference_statistics(model).model_stats[0].inference_stats.success.count


def link_engines(root: Path) -> None:
    """Lend a root the engines of the clone, where it has none of its own; the page makes them anew in a minute."""
    for graph in (contracts.ROOT / "model_repository").glob("*/1/model.onnx"):
        place = root / graph.relative_to(contracts.ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to(graph)
