"""Makes any detector in ONNX servable by the verb `detect`, with a mapping file that says how its outputs are read.

Read `mapping` (the file), `proposal` (recognises the outputs of a graph and proposes the file), `decoding` (from a
network's outputs to boxes and scores), `dropout` and `assembly` (one graph from image to boxes, of all members), and
`folder` (the models that are written). `command` is `sluice export detector`.
"""
