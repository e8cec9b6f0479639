"""Which of the two removers and of the two upscalers a stream gets: from its resolution and bitrate, or as told.

What coding has done to a picture is told by the bits that were spent on it. Larger pictures need fewer bits a pixel:
the rule of thumb in video coding is that bits grow with the pixels to the power of 3/4. So the measure is bits a frame
over pixels^(3/4), and the marks are set at 720p with 30 frames a second. A still (JPEG) has no neighbours to be
predicted from, so it needs several times the bits of a video's frame.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        return Choice("weak", "clean")
    spent = bits / (STILL if still else 1.0) / (width * height) ** 0.75
    remover = "strong" if spent < COARSE else "weak" if spent < SPARED else ""
    return Choice(remover, "clean" if spent >= FINE else "lossy")
