"""The exact search of a gallery: 8-bit codes scanned with a proved bound, then the best frames scored in float32.

All frames are scored from their codes in one pass, each score with a bound on its error. Then frames are scored from
their stored float16 features, the most promising first, until the bounds prove that no other frame can reach the list.
So the list is that of a brute-force search, at a fraction of its time.

Read `codes` (the quantisation and the proof of its bound), `certify` (choosing by bounds), `products` (the ONNX graphs
that multiply), `rescore` (exact scores), `blocks` (the frames and the threads), `cold_files` (frames on the disk),
`sums` (check sums of frames) and `engine` (the search itself). Source: none; the proof stands in `codes`.

    >>> import numpy as np
    >>> from sluice.methods import matching
    >>> from sluice.methods.scan import engine
    >>> frames = matching.unit(np.random.default_rng(0).standard_normal((3, 24, 32))).astype(np.float16)  # [n, P, C]
    >>> coded = engine.quantise(frames)
    >>> gallery = engine.Block(coded.codes, coded.scale, coded.error, frames)
    >>> templates = matching.stack([matching.unit(frames[1, 7:9])])  # two cells of frame 1
    >>> found = engine.search([gallery], None, templates, k=1)
    >>> found.row.tolist(), f"{found.scores[0]:.2f}"
    ([1], '1.00')

`engine` and `products` import ONNX Runtime, so nothing is handed on here: import the modules themselves.
"""

from __future__ import annotations

__all__: list[str] = []
