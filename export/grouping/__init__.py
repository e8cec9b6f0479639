"""The networks of masks from words: training, checkpoints of others, and their entries in the table of exports."""
