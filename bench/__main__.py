"""`python -m bench NAME [options]`: one benchmark a claim. `python -m bench` lists them."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from pathlib import Path

from bench import report
from sluice.process import blas


def benchmarks() -> dict[str, str]:
    """Name -> first line of the docstring of every module of this folder that has a `main`."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text())
        if path.stem != "__main__" and any(isinstance(x, ast.FunctionDef) and x.name == "main" for x in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").split("\n")[0]
    return found


def main(argv: list[str]) -> int:
    known = benchmarks()
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__, "\n")
        for name, line in known.items():
            print(f"  {name:18} {line}")
        print("\n  --json prints one JSON object a line; each benchmark has its own --help")
        return 0
    if argv[0] not in known:
        print(f"no benchmark {argv[0]!r}; known are: {', '.join(known)}", file=sys.stderr)
        return 2
    if {"-h", "--help"} & set(argv):
        return importlib.import_module(f"bench.{argv[0]}").main(argv[1:])
    again_with_the_best_kernel()
    code = importlib.import_module(f"bench.{argv[0]}").main(argv[1:])
    report.multipliers()
    return code


def again_with_the_best_kernel() -> None:
    """Start this process anew where OpenBLAS took an old kernel: against that one, every figure would flatter us."""
    chosen = blas.choose(os.environ)
    if chosen.environment:
        os.environ.update(chosen.environment)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
