"""Score networks and curvature heads of the sampler: training, others' checkpoints, table entries."""
