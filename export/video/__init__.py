"""The networks of `enhance`, their training, and checkpoints of others.

Read `usnet`, `rrdb`, `planes` and `network` for the networks, `codec`, `data`, `losses`, `train` and `judge` for the
training, `channels` and `prune` for smaller networks, and `esrgan`, `ncnn_file`, `radius`,
`import_checkpoint` and `import_upscaler` for checkpoints. `rows` and `entry` hold the rows in the table of exports.
"""
