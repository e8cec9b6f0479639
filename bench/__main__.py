"""Runs one benchmark: `python -m bench NAME [options]`. Without a name it lists all of them.

SLUICE_WEIGHTS=free measures the weights for commercial use (docs/commercial.md) in place of the others.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bench import report
from sluice.process import blas


def benchmarks() -> dict[str, str]:
    """Return the name of every benchmark and the first line of its docstring. A benchmark is a module here, or the
    `__main__` of a folder, that has a function `main`."""
    found = {}
    here = Path(__file__).parent
    for path in [*here.glob("*.py"), *here.glob("*/__main__.py")]:
        tree = ast.parse(path.read_text())
        if path != Path(__file__) and any(isinstance(x, ast.FunctionDef) and x.name == "main" for x in tree.body):
            name = path.stem if path.parent == here else path.parent.name
            found[name] = (ast.get_docstring(tree) or "").split("\n")[0]
    return dict(sorted(found.items()))


def benchmark(name: str) -> Callable[[list[str]], int]:
    """Return the function `main` of a benchmark."""
    folder = (Path(__file__).parent / name).is_dir()
    return importlib.import_module(f"bench.{name}.__main__" if folder else f"bench.{name}").main


def main(argv: list[str]) -> int:
    """Run the benchmark that the command line names. Returns its exit status, or 2 when no benchmark has that name."""
    known = benchmarks()
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__, "\n")
        for name, line in known.items():
            print(f"  {name:18} {line}")
        print("\n  --json prints one JSON object per line; each benchmark has its own --help")
        return 0
    if argv[0] not in known:
        print(f"no benchmark {argv[0]!r}; known are: {', '.join(known)}", file=sys.stderr)
        return 2
    if {"-h", "--help"} & set(argv):
        return benchmark(argv[0])(argv[1:])
    again_with_the_best_kernel()
    code = benchmark(argv[0])(argv[1:])
    report.multipliers()
    return code


def again_with_the_best_kernel() -> None:
    """Start this process again where OpenBLAS took an old kernel, because figures against that kernel would flatter
    Sluice."""
    chosen = blas.choose(os.environ)
    if chosen.environment:
        os.environ.update(chosen.environment)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
