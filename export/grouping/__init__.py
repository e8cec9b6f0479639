"""The networks of masks from words: GroupViT, its training from captions, and checkpoints of others.

Read `network` and `forward` for the networks, `captions`, `data`, `scenes`, `losses`, `train` and `judge` for the
training, `key_names` and `import_checkpoint` for checkpoints. `entry` holds the rows in the table of exports.
"""
