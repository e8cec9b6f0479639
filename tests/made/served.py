"""The real server: the models that a gallery needs, and how often a model was asked."""

# The models of a server that only stores frames.
STORE = ["ingest", "frame_gallery", "feature_extractor"]


def calls(client, model):
    """Return the number of requests that the model has answered, by Triton's own count."""
    return client.get_inference_statistics(model).model_stats[0].inference_stats.success.count
