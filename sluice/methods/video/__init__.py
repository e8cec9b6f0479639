"""Video: frames as planes of bytes, on their way through a remover of codec artefacts, an upscaler, or both.

The bits that were spent on a frame tell how much the codec damaged it, and so choose the networks for it. A frame may
be cut into tiles, so that the memory of a network does not grow with the frame, and the result is the same. Frames of a
stream are begun and answered in order, across requests.

Read `planes` (a picture), `packets` (H.264 decoded), `rate` and `modes` (choosing networks), `tiles` (bounded memory),
`scaling` (downscaling by area) and `streams` (frames in order). Source: the project's own measurements,
docs/decisions/video.md; the standards are named beside the code that follows them.

    >>> import numpy as np
    >>> from sluice.methods import video
    >>> picture = video.Picture.of_rgb(np.full((720, 1280, 3), 128, np.uint8))
    >>> video.choose("auto", "artefacts", video.level(1280, 720, bits=10_000))  # 0.3 Mbit/s at 30 frames per second
    ('artifact_remover_weak',)
    >>> half = video.resized(picture, 360, 640)
    >>> half.rgb().shape, half.planes(video.Colour("bt709", "limited")).shape
    ((360, 640, 3), (345600,))

`packets` imports PyAV when it opens a decoder, and is not handed on: import it from its module, as `tiles.tiles`.
"""

from __future__ import annotations

from sluice.methods.video.modes import DO, MODES, UPSCALERS, Auto, Way, choose, level, reaching, scale_of, share
from sluice.methods.video.planes import MATRICES, RANGES, RGB, Beside, Colour, Picture, planes_size, usual
from sluice.methods.video.rate import Rate, Spent, Stills
from sluice.methods.video.scaling import SCALES, area, resized, scaled
from sluice.methods.video.streams import Place, Stream, Streams

__all__ = [
    "DO",
    "MATRICES",
    "MODES",
    "RANGES",
    "RGB",
    "SCALES",
    "UPSCALERS",
    "Auto",
    "Beside",
    "Colour",
    "Picture",
    "Place",
    "Rate",
    "Spent",
    "Stills",
    "Stream",
    "Streams",
    "Way",
    "area",
    "choose",
    "level",
    "planes_size",
    "reaching",
    "resized",
    "scale_of",
    "scaled",
    "share",
    "usual",
]
