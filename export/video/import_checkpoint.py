"""Imports an ESRGAN or Real-ESRGAN checkpoint in the place of a model of the verb `enhance`.

    python -m export.video.import_checkpoint RealESRGAN_x2plus.pth --model frame_upscaler_clean
    sluice export frame_upscaler_clean --weights weights/frame_upscaler_clean.own.pt

The command writes one file that `sluice export` reads, measures the network's receptive radius, and writes the radius
into the model's configs. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from export.entry import ROOT, ExportError
from export.video import network, radius

MODELS = ("artifact_remover_weak", "artifact_remover_strong", "frame_upscaler_clean", "frame_upscaler_lossy")


def set_radius(folder: Path, pixels: int) -> list[Path]:
    """Write `receptive_radius` into the configs in a model's folder, and return those that were changed.

    Raises ExportError where a config has no such parameter.
    """
    changed = []
    for path in sorted([*folder.glob("config.pbtxt"), *folder.glob("configs/*.pbtxt")]):
        text = path.read_text(encoding="utf-8")
        new, count = re.subn(
            r'(key:\s*"receptive_radius"\s*value\s*\{\s*string_value:\s*")\d+(")', rf"\g<1>{pixels}\g<2>", text
        )
        if not count:
            raise ExportError(f"{path} has no parameter receptive_radius; add one as in artifact_remover_weak")
        if new != text:
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m export.video.import_checkpoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        type=Path,
        help="checkpoint of RRDBNet or SRVGGNetCompact (also ncnn's .param, its .bin beside it), or weights of ours",
    )
    parser.add_argument("--model", choices=MODELS, required=True, help="the model that the network becomes")
    parser.add_argument("--out", type=Path, help="file to write (default weights/MODEL.own.pt), in float32")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    out = given.out or given.root / "weights" / f"{given.model}.own.pt"
    try:
        enhancer = network.load(given.source)
        wanted = "removers keep the size (scale 1)" if given.model.startswith("artifact") else "upscalers enlarge"
        if (enhancer.scale == 1) != given.model.startswith("artifact"):
            raise ValueError(f"{given.source.name} is a network of scale {enhancer.scale}, and {wanted}")
        if enhancer.scale > 2:
            raise ValueError(
                f"{given.source.name} enlarges {enhancer.scale} times, and {given.model} doubles; import it as a "
                "model of its own: sluice export enhancer --from FILE"
            )
        reach = radius.radius(enhancer.design)
        set_radius(given.root / "model_repository" / given.model, reach)
    except (OSError, ValueError, ExportError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    network.save(enhancer, out, half=False)
    count = sum(p.numel() for p in enhancer.network.parameters())
    print(f"wrote {out}: {count:,} parameters, scale {enhancer.scale}, receptive radius {reach} pixels")
    print(f"now: sluice export {given.model} --weights {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
