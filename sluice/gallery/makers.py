"""Tells in which precision the networks ran that made what a gallery holds, without opening it for a server."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from sluice.gallery import embeddings, scores
from sluice.gallery.catalogue import FILE, connect, translated
from sluice.gallery.errors import GalleryError
from sluice.versions import precision_in

# What a network made -> versions and frames of each.
FEATURES = "SELECT version, count(*) FROM models JOIN frames USING(model) GROUP BY model"


def precisions(root: Path) -> dict[str, tuple[str, str]]:
    """Return per network (its work, its precision) for all networks whose work a gallery's frames hold.

    The work is 'features', 'scores' or 'embeddings'. If a network worked in several precisions, the precision that made
    most frames is told. Empty for a folder without frames, and for a gallery that cannot be read, which is refused
    elsewhere.
    """
    if not (root / FILE).exists() or not (root / FILE).stat().st_size:
        return {}
    made: dict[str, tuple[str, str]] = {}
    with contextlib.suppress(GalleryError), translated():
        with contextlib.closing(connect(root, writable=False, timeout=1)) as connection:
            counted = {
                "embeddings": embeddings.NOTES.counts(connection),
                "scores": scores.NOTES.counts(connection),
                "features": dict(connection.execute(FEATURES)),
            }
        for work, versions in counted.items():
            frames: dict[str, Counter[str]] = {}
            for version, count in versions.items():
                network = version.partition("/")[0]
                frames.setdefault(network, Counter())[precision_in(version)] += count
            made |= {network: (work, counts.most_common(1)[0][0]) for network, counts in frames.items()}
    return made
