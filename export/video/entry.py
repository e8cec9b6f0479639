"""The networks of `enhance` in the table of exports, and the command for published ones. No torch until it is used."""

from __future__ import annotations

from export.entry import Command
from export.video.rows import entry, frames, shapes

__all__ = ["COMMANDS", "ENTRIES", "entry", "frames", "shapes"]


def import_upscaler(words: list[str]) -> int:
    """Run `sluice export enhancer`, which exports a published upscaler. Returns the exit status."""
    from export.video import import_upscaler

    return import_upscaler.main(words)


# Data and licence stand in the record that training writes.
ENTRIES = (
    entry(
        "artifact_remover_weak",
        start="artifact_remover_strong",
        title="U-SNet, which takes out what a codec left in a frame: mild damage (high bitrate, JPEG of 30 and up)",
    ),
    entry(
        "artifact_remover_strong",
        title="U-SNet, which takes out what a codec left in a frame: strong damage (low bitrate, JPEG of 10 to 25)",
    ),
    entry("frame_upscaler_clean", title="RRRDB, which doubles a frame that no codec has spoiled"),
    entry(
        "frame_upscaler_lossy",
        start="frame_upscaler_clean",
        title="RRRDB, which doubles a frame that a codec has spoiled",
    ),
)
COMMANDS = (
    Command(
        name="enhancer",
        purpose="a published upscaler (ESRGAN, Real-ESRGAN)",
        usage="sluice export enhancer --from FILE",
        run=import_upscaler,
    ),
)
