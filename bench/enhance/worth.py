"""Reports quality per millisecond, as a table and as a picture: each network's gain over the time of one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from bench import report
from bench.enhance.networks import SHIPPED
from bench.enhance.quality import PUBLISHED, Decibels

TITLES = ("artefacts removed, LIVE1 luma, JPEG of quality 10: dB over the decoded picture",
          "doubled, Set5 luma: dB over bicubic")  # fmt: skip


def measure(
    times: Mapping[str, Sequence[float]],
    size: str,
    gains: tuple[Mapping[str, float], Mapping[str, float]],
    untrained: tuple[Sequence[str], Sequence[str]] = ((), ()),
    picture: Path | None = None,
) -> None:
    """Print gain over time, and the claim that ours is the most for each of the two tasks.

    times: milliseconds of frames. gains: dB of removers and of upscalers. Both are by model or peer. untrained: peers
    of either kind whose quality is unknown; the table says what they would have to gain to equal ours.
    """
    for title, found, unknown in zip(TITLES, gains, untrained, strict=True):
        both = {name: gain for name, gain in found.items() if name in times}
        if not both:
            continue
        worth = {name: 1000 * gain / median(times[name]) for name, gain in both.items()}
        rows = [
            [name, "published" if name in PUBLISHED else "measured", Decibels(gain), median(times[name]), worth[name]]
            for name, gain in both.items()
        ]
        ours = max((worth[name] for name in worth if name in SHIPPED), default=None)
        for name in unknown:
            if ours is None or name not in times:
                continue
            ms = median(times[name])
            rows.append([name, "needed to equal ours", Decibels(ours * ms / 1000), ms, ours])
        report.table(
            f"{title}; time of a {size} frame", ["", "quality", "gain, dB", "ms per frame", "dB per second"], rows
        )
        theirs = {name: value for name, value in worth.items() if name not in SHIPPED}
        if ours is None or not theirs:
            continue
        best = max(theirs, key=theirs.__getitem__)
        ratio = ours / theirs[best]
        report.claim(
            f"decibels gained per millisecond, {title.split(',')[0]}, over the best peer ({best})",
            ratio, 1.0, ratio > 1, "times", reason="the peer's quality is as published, its time as measured here",
        )  # fmt: skip
    if picture is not None:
        from bench.enhance.picture import write

        write(picture, times, size, gains)
