"""Score networks and curvature heads of the sampler GENIE, their trainings, and networks of the user's own.

Read `process`, `network` and `files` for the networks, `data`, `train_score` and `train_head` for the trainings, and
`diffusers_folder` and `own_network` for checkpoints. `entry` holds the rows in the table of exports, made by `rows`.
"""
