"""Chooses the networks for a frame, from its resolution and bitrate or as the caller asks.

The bits that were spent on a picture tell how much coding has damaged it. Larger pictures need fewer bits per pixel:
the rule of thumb in video coding is that bits grow with the pixels to the power of 3/4. So the measure, the *level*, is
bits per frame over pixels^(3/4). A still (JPEG) cannot be predicted from neighbours in time, so it needs many times the
bits of a frame of a video. Where a remover gains less, `share` weakens its change, so that good video loses nothing.

The marks below are the levels at which one way overtakes another on whole groups of pictures. `python -m bench enhance
--parts marks` measures them; docs/decisions/video.md has the tables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from sluice.methods.video.rate import Spent

MODES = ("auto", "weak", "strong", "clean", "lossy")
DO = ("artefacts", "upscale", "both")

Way = tuple[str, ...]  # networks, in their order
WEAK, STRONG = "artifact_remover_weak", "artifact_remover_strong"
UPSCALERS = CLEAN, LOSSY = "frame_upscaler_clean", "frame_upscaler_lossy"  # each doubles
REMOVERS = WEAK, STRONG
_IMPORTED = re.compile(rf"(?:{'|'.join(UPSCALERS)})_x([234])")  # a published network beside ours, for the same input

_FRAME = (1280 * 720) ** 0.75 * 30  # turns bits per second of 720p with 30 frames per second into a level
COARSE = 0.08e6 / _FRAME  # below this level the strong remover is used; video of use lies above
COARSE_STILL = 0.25e6 / _FRAME  # the same for stills, near quality 10 of JPEG
FULL, SLOPE = 0.5e6 / _FRAME, 0.6  # up to this level a remover changes a frame of video in full, above by less
MENDED = 0.35e6 / _FRAME  # below, a remover before the upscaler; above, the upscaler for lossy input alone is better
MENDED_STILL = 0.8e6 / _FRAME  # the same for stills
GOOD = 1.5e6 / _FRAME  # above, the upscaler for clean input and no remover, which would do more harm than good
STILL = 30.0  # bits of a still over those of a frame of a video that looks the same
BEGINNING = math.sqrt(MENDED * GOOD)  # the level of a stream before anything is known of its rate


def _ladder(coarse: float, mended: float) -> dict[str, tuple[tuple[float, Way], ...]]:
    """Return per task the ways, each up to a level. The second upscaler is used if the picture becomes more than twice
    as large. coarse: the level below which the strong remover is used. mended: below it, a remover goes first."""
    return {
        "artefacts": ((coarse, (STRONG,)), (GOOD, (WEAK,)), (math.inf, ())),
        "upscale": ((GOOD, (LOSSY, LOSSY)), (math.inf, (CLEAN, LOSSY))),
        "both": (
            (coarse, (STRONG, LOSSY, LOSSY)),
            (mended, (WEAK, LOSSY, LOSSY)),
            (GOOD, (LOSSY, LOSSY)),
            (math.inf, (CLEAN, LOSSY)),
        ),
    }


_OF_VIDEO, _OF_STILLS = _ladder(COARSE, MENDED), _ladder(COARSE_STILL, MENDED_STILL)
_MILD: dict[str, Way] = {"artefacts": (WEAK,), "upscale": (CLEAN, CLEAN), "both": (WEAK, CLEAN, CLEAN)}
_HARD: dict[str, Way] = {"artefacts": (STRONG,), "upscale": (LOSSY, LOSSY), "both": (STRONG, LOSSY, LOSSY)}
_HELD = 1.2  # the mean must lie beyond a mark by this factor to change the way; that close, both ways do equally well


def choose(mode: str, do: str, at: float | None, still: bool = False) -> Way:
    """Choose the networks for a frame, in their order.

    mode: "weak" and "clean" both stand for good input, "strong" and "lossy" both for coarse input; "auto" decides from
          the level, and leaves out the remover if the picture is better without.
    do:   "artefacts", "upscale" or "both".
    at:   the level; None if it is not known, as for pixels of unknown origin and for lossless files, which get the
          networks for good input.
    still: whether the picture was coded without other frames.
    """
    if mode in ("strong", "lossy"):
        return _HARD[do]
    if mode in ("weak", "clean") or at is None:
        return _MILD[do]
    return next(way for most, way in (_OF_STILLS if still else _OF_VIDEO)[do] if at < most)


def share(at: float | None, still: bool = False) -> float:
    """Return the share of a remover's change that mode "auto" makes, 0..1.

    The better a frame of a video was coded, the more of the change would be wrong. at, still: as of `choose`.
    """
    return 1.0 if at is None or still else min(1.0, (FULL / max(at, FULL)) ** SLOPE)


def scale_of(model: str) -> int:
    """Return how many times a side becomes as large. Raises ValueError for a name that no network of `enhance` has."""
    if model in REMOVERS:
        return 1
    if model in UPSCALERS:
        return 2
    if found := _IMPORTED.fullmatch(model):
        return int(found[1])
    raise ValueError(f"{model!r} is none of {', '.join(REMOVERS + UPSCALERS)}, nor an upscaler with _x2, _x3 or _x4")


def reaching(upscaler: str, ratio: float, served: Iterable[str]) -> str:
    """Return the network that does the work of an upscaler.

    This is the one of least scale that makes the frame `ratio` times as large or more in one pass, and where none does,
    that which doubles, for a second pass to follow. An imported network goes before ours of the same scale.
    upscaler: of UPSCALERS. served: names of all networks.
    """
    networks = {2: upscaler} | {scale_of(name): name for name in served if name.startswith(f"{upscaler}_x")}
    return networks[min((scale for scale in networks if scale >= ratio), default=2)]


def level(width: int, height: int, bits: float, still: bool = False) -> float:
    """Return the level of a picture, which compares over sizes: bits over pixels^(3/4).

    width, height: pixels. bits: spent on this frame. still: whether it was coded without other frames, as a JPEG is.
    """
    return min(bits / (STILL if still else 1.0) / (width * height) ** 0.75, 1e30)


class Auto:
    """The level by which mode "auto" treats a stream, from frame to frame.

    The level begins between two marks. While the mean of whole groups is not known, its bounds push the level; then the
    level takes the mean, and follows it at a distance: it moves only when the mean is far enough away, and no farther
    than needed. So the chosen networks stay until the mean is well beyond a mark. Another size begins anew.
    """

    def __init__(self) -> None:
        self._size = (0, 0)
        self._level, self._held = BEGINNING, False

    def follow(self, width: int, height: int, spent: Spent | None) -> float | None:
        """Return the level for the next frame of this size, pixels; None if `spent` is None.

        spent: the rate of the stream so far; None if it is not known.
        """
        if self._size != (width, height) or spent is None:
            self._size, self._level, self._held = (width, height), BEGINNING, False
        if spent is None:
            return None
        margin = _HELD if self._held else 1.0
        least, most = (level(width, height, bits, spent.still) for bits in (spent.low / margin, spent.high * margin))
        self._level = min(max(self._level, least), most)
        self._held = self._held or spent.whole
        return self._level
