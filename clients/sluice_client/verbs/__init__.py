"""The request of every verb as tensors, and its answer read from tensors. None of the functions opens a connection."""
