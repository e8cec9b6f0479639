"""Runs `sluice export`, which makes the engines that `sluice serve` serves, with the export code of this package.

The export code needs torch and lies outside this package, which does without. So the command becomes `python -m
export`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from sluice.server import root


def command(argv: Sequence[str] | None = None) -> int:
    """Replace this process by `python -m export`. Returns an exit code only if there is no export code to run."""
    code = root.origin()
    if not (code / "export" / "__main__.py").is_file():
        print("sluice export: this installation has no export code; export in a clone (make export) and copy "
              "model_repository/ from there", file=sys.stderr)  # fmt: skip
        return 2
    paths = [str(code), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    words = sys.argv[1:] if argv is None else argv
    # -P: a folder `export` where the user happens to be is not ours.
    os.execve(sys.executable, [sys.executable, "-P", "-m", "export", *words], environment)
