"""Which of the two removers and of the two upscalers a stream gets: from its resolution and bitrate, or as told.

What coding has done to a picture is told by the bits that were spent on it. Larger pictures need fewer bits a pixel:
the rule of thumb in video coding is that bits grow with the pixels to the power of 3/4. So the measure is bits a frame
over pixels^(3/4), and the marks are set at 720p with 30 frames a second. A still (JPEG) has no neighbours to be
predicted from, so it needs several times the bits of a video's frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from sluice.video_rate import Spent

MODES = ("auto", "weak", "strong", "clean", "lossy")
DO = ("artefacts", "upscale", "both")

_FRAME = (1280 * 720) ** 0.75 * 30
# Where one network overtakes the other on the H.264 ladder of `bench enhance`, said as bits a second of 720p30.
COARSE = 1e6 / _FRAME  # below: the strong remover
FINE = 2.5e6 / _FRAME  # above: the upscaler for clean input
SPARED = 4.5e6 / _FRAME  # above: no remover, which would take more than it gives
STILL = 12.0  # bits of a still over those of a video's frame that looks the same


@dataclass(frozen=True)
class Choice:
    """remover: "weak", "strong", or "" where the picture is better left alone; upscaler: "clean" or "lossy"."""

    remover: str
    upscaler: str


_REMOVERS, _UPSCALERS = ("strong", "weak", ""), ("lossy", "clean")  # for ever better pictures
_HELD = 1.2  # so far beyond a mark must a stream's mean be to change what was chosen; there both networks do as well
MILD = Choice("weak", "clean")


def choose(mode: str, width: int, height: int, bits: float | None, still: bool = False) -> Choice:
    """The networks for pictures of this size.

    mode:  "weak" and "clean" stand for good input, "strong" and "lossy" for coarse, whichever network is asked for;
           "auto" decides from the bits, and lets good pictures pass a remover by.
    bits:  a frame, on average; None: not known, as with pixels that nobody says the origin of, or coded without loss:
           then the mild networks.
    still: coded without other frames, as JPEG is.
    """
    if mode in ("strong", "lossy"):
        return Choice("strong", "lossy")
    if mode in ("weak", "clean") or bits is None:
        return MILD
    spent = bits / (STILL if still else 1.0) / (width * height) ** 0.75
    remover = "strong" if spent < COARSE else "weak" if spent < SPARED else ""
    return Choice(remover, "clean" if spent >= FINE else "lossy")


class Auto:
    """What mode auto has chosen for a stream, from frame to frame.

    It begins with the mild networks, is led by the bounds of the mean until there is a mean of whole groups, takes what
    follows from that, and then holds on to it until the mean is well beyond a mark. Another size begins anew.
    """

    def __init__(self) -> None:
        self._size = (0, 0)
        self._choice, self._held = MILD, False

    def follow(self, width: int, height: int, spent: Spent | None) -> Choice:
        """The networks for the next frame. spent: on the frames until it; None: not known."""
        if self._size != (width, height) or spent is None:
            self._size, self._choice, self._held = (width, height), MILD, False
        if spent is None:
            return self._choice
        margin = _HELD if self._held else 1.0
        least, most = (
            choose("auto", width, height, bits, spent.still) for bits in (spent.low / margin, spent.high * margin)
        )
        self._choice = Choice(
            _between(_REMOVERS, self._choice.remover, least.remover, most.remover),
            _between(_UPSCALERS, self._choice.upscaler, least.upscaler, most.upscaler),
        )
        self._held = self._held or spent.whole
        return self._choice


def _between(order: tuple[str, ...], now: str, least: str, most: str) -> str:
    """`now`, or the nearest to it from `least` to `most`."""
    return order[min(max(order.index(now), order.index(least)), order.index(most))]
