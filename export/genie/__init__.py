"""Score networks and curvature heads of the sampler GENIE: their training, checkpoints of others, and their exports."""
