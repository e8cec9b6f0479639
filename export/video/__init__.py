"""The networks of `enhance`: training, checkpoints of others, and their entries in the table of exports."""
