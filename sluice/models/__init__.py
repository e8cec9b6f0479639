"""The models of `model_repository` that are Python, and how the networks are asked."""
