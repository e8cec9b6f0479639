"""The exact search of a gallery: 8-bit codes scanned with a proved bound, candidates scored again from the features.

`engine` is the search, `codes` the quantisation and its proof, `certify` the choice by bounds, `products` the ONNX
graphs that multiply, `rescore` the exact scores, `pool` the frames and threads, `reading` what lies on the disk.
"""
