"""The rows of GroupViT in the table of exports, and the command for a user's own CLIP. Imports no torch until used."""

from __future__ import annotations

from export.entry import Command
from export.grouping.rows import pair
from export.training import CAMVID_DATA, CAMVID_LICENCE

# A checkpoint of one's own becomes weights/grouping.pt by export.grouping.import_checkpoint.
ENTRIES = pair(data=CAMVID_DATA, licence=CAMVID_LICENCE)


def export_own(words: list[str]) -> int:
    """Run `sluice export texts`, which exports a CLIP of the user's own. Returns the exit status."""
    from export.grouping import own_clip

    return own_clip.main(words)


COMMANDS = (
    Command(
        name="texts",
        purpose="a CLIP of your own for `compare` and `retrieve` by words",
        usage="sluice export texts --from FOLDER --root DIR",
        run=export_own,
    ),
)
