"""Imports a GroupViT checkpoint of your own into the file that `sluice export grouping` reads.

    python -m export.grouping.import_checkpoint nvidia/groupvit-gcc-yfcc --out weights/grouping.pt
    python -m export.grouping.import_checkpoint group_vit_gcc_yfcc_30e-879422e0.pth --out weights/grouping.pt

SOURCE is a model in your cache of Hugging Face, a folder of `save_pretrained`, or the authors' file, published or of a
training (`model`, `optimizer`, ...). Nothing is fetched. Afterwards run: sluice export grouping --weights FILE.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from export.grouping.network import TextEncoder, load, save


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m export.grouping.import_checkpoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="OWNER/NAME of a model in the cache, a folder, or a file")
    parser.add_argument("--out", type=Path, required=True, help="file to write, in float32")
    given = parser.parse_args(arguments)
    try:
        network = load(given.source)
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    save(network, given.out, half=False)
    count = sum(p.numel() for p in network.parameters())
    learned = TextEncoder(network).learned()
    words = "all" if learned.all() else f"{learned.sum():,} of its {len(learned):,}"
    print(f"wrote {given.out}: {count:,} parameters, {network.groups} groups, patches of {network.patch} pixels")
    print(f"the text encoder has learned {words} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(main())
