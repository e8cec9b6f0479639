"""Video: planes of bytes on their way through a remover of codec artefacts, an upscaler, or both.

Read `planes` (the picture), `packets` (H.264 decoded), `rate` and `modes` (which networks), `tiles` (bounded memory),
`scaling` (downscaling by area) and `streams` (frames in order between requests).
"""
