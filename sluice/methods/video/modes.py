"""Through which networks a frame goes: from its resolution and bitrate, or as told.

What coding has done to a picture is told by the bits that were spent on it. Larger pictures need fewer bits a pixel:
the rule of thumb in video coding is that bits grow with the pixels to the power of 3/4. So the measure, the level, is
bits a frame over pixels^(3/4), and the marks are told as bits a second of 720p with 30 frames. A still (JPEG) has no
neighbours to be predicted from, so it needs many times the bits of a video's frame.

The marks are where one way overtakes another on whole groups of pictures: `python -m bench enhance --parts marks`;
the tables are in docs/decisions/video.md.
"""

from __future__ import annotations

import math

from sluice.methods.video.rate import Spent

MODES = ("auto", "weak", "strong", "clean", "lossy")
DO = ("artefacts", "upscale", "both")

Way = tuple[str, ...]  # networks, in their order
WEAK, STRONG = "artifact_remover_weak", "artifact_remover_strong"
UPSCALERS = CLEAN, LOSSY = "frame_upscaler_clean", "frame_upscaler_lossy"

_FRAME = (1280 * 720) ** 0.75 * 30
COARSE = 0.25e6 / _FRAME  # below: the strong remover
MENDED = 0.8e6 / _FRAME  # below: a remover before the upscaler; above, the upscaler for lossy input does better alone
GOOD = 1.5e6 / _FRAME  # above: no remover, which would take more than it gives, and the upscaler for clean input
STILL = 30.0  # bits of a still over those of a video's frame that looks the same
BEGINNING = math.sqrt(MENDED * GOOD)  # the level of a stream of which nothing is known yet

# Of each thing to do: the ways, each up to a level. The second upscaler is for what becomes more than twice as large.
_LADDERS: dict[str, tuple[tuple[float, Way], ...]] = {
    "artefacts": ((COARSE, (STRONG,)), (GOOD, (WEAK,)), (math.inf, ())),
    "upscale": ((GOOD, (LOSSY, LOSSY)), (math.inf, (CLEAN, LOSSY))),
    "both": (
        (COARSE, (STRONG, LOSSY, LOSSY)),
        (MENDED, (WEAK, LOSSY, LOSSY)),
        (GOOD, (LOSSY, LOSSY)),
        (math.inf, (CLEAN, LOSSY)),
    ),
}
_MILD: dict[str, Way] = {"artefacts": (WEAK,), "upscale": (CLEAN, CLEAN), "both": (WEAK, CLEAN, CLEAN)}
_HARD: dict[str, Way] = {"artefacts": (STRONG,), "upscale": (LOSSY, LOSSY), "both": (STRONG, LOSSY, LOSSY)}
_HELD = 1.2  # a stream's mean must lie so far beyond a mark to change what was chosen; there both ways do as well


def choose(mode: str, do: str, at: float | None) -> Way:
    """The networks for a frame.

    mode:  "weak" and "clean" stand for good input, "strong" and "lossy" for coarse, whichever network is asked for;
           "auto" decides from the level, lets good pictures pass a remover by, and enlarges without one where that is
           better than with it.
    do:    artefacts, upscale or both.
    at:    the level; None: not known, as with pixels that nobody says the origin of, or coded without loss: then the
           mild networks.
    """
    if mode in ("strong", "lossy"):
        return _HARD[do]
    if mode in ("weak", "clean") or at is None:
        return _MILD[do]
    return next(way for most, way in _LADDERS[do] if at < most)


def level(width: int, height: int, bits: float, still: bool = False) -> float:
    """What was spent on a picture, comparable over sizes. bits: a frame; still: coded without others, as JPEG is."""
    return min(bits / (STILL if still else 1.0) / (width * height) ** 0.75, 1e30)


class Auto:
    """The level by which mode auto treats a stream, from frame to frame.

    It begins between the marks, and is led by the bounds of the mean until there is a mean of whole groups.
    It takes that, and then follows it at a distance: it moves only when the mean is far enough away, and no farther
    than it must. So what was chosen stays until the mean is well beyond a mark. Another size begins anew.
    """

    def __init__(self) -> None:
        self._size = (0, 0)
        self._level, self._held = BEGINNING, False

    def follow(self, width: int, height: int, spent: Spent | None) -> float | None:
        """The level for the next frame. spent: on the frames until it; None: not known."""
        if self._size != (width, height) or spent is None:
            self._size, self._level, self._held = (width, height), BEGINNING, False
        if spent is None:
            return None
        margin = _HELD if self._held else 1.0
        least, most = (level(width, height, bits, spent.still) for bits in (spent.low / margin, spent.high * margin))
        self._level = min(max(self._level, least), most)
        self._held = self._held or spent.whole
        return self._level
