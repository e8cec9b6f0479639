"""Turns trained weights into graphs for Triton, and trains the weights.

The files here are the conversion. Read `entry` (a row of the table of networks), `registry` (the table), `graph` (torch
to ONNX), `check` (ONNX against torch), `card` (the model card) and `__main__` (`sluice export`), in that order. Each
folder is a family of networks, with its `entry`, its networks, its trainings, and the import of other people's
checkpoints. `training` holds the parts that all trainings share.
"""
