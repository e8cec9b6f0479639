"""The wheel of this tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from sluice.contracts import ROOT


def build(folder: Path) -> Path:
    """Build the wheel into `folder`, from a copy there of what is not ignored; returns its path."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in names.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "tree" / name)
    # What a clone holds besides, and a wheel must not.
    for name in ("model_repository/feature_extractor/1/model.onnx", "ensembles/detect/1/__pycache__/model.pyc"):
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / name).write_bytes(b"built here")
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), "./tree"]
    done = subprocess.run([sys.executable, "-m", "pip", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))
