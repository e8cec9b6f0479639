"""`make test-kernels`: the tests under several kernels of OpenBLAS, as on other processors. By hand; an hour for all.

    make test-kernels
    make test-kernels TESTS="tests/methods/test_equality.py tests/methods/grouping/test_masks.py"
    make test-kernels TESTS=-x

Prescott is what OpenBLAS falls back to where it does not know a processor, Haswell what processors with AVX2 run, and
last comes what this machine runs by itself. NumPy's own loops are held to the same instructions. Servers and other
processes that the tests start inherit both. What cannot be steered so: ONNX Runtime and torch bring kernels of their
own and take them by the processor, in every run alike. Where the environment names a kernel, only that one is run.
"""

import os
import subprocess
import sys

from sluice.process import blas

# What NumPy compiles apart for processors that have it; x86-64 without these is what Prescott has.
_AVX512 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"
NUMPY_WITHOUT = {"Prescott": f"AVX F16C FMA3 AVX2 {_AVX512}", "Haswell": _AVX512}


def runs() -> list[tuple[str, dict[str, str]]]:
    """Return the runs to make: the kernel's name, and the environment variables that choose it."""
    if named := os.environ.get(blas.VARIABLE):
        return [(f"{named}, which {blas.VARIABLE} names", {})]
    here = blas.kernel()
    if here is None:
        return [("no OpenBLAS", {})]
    found = [(f"{here}, which this machine runs", {})]
    for name, without in reversed(NUMPY_WITHOUT.items()):
        # Haswell only where the processor has AVX2: a kernel without its instructions ends the process.
        if name == "Prescott" or blas.runs_here(name):
            found.insert(0, (name, {blas.VARIABLE: name, "NPY_DISABLE_CPU_FEATURES": without}))
    return found


def main(arguments: list[str]) -> int:
    """Run the tests once per kernel. Returns 1 when one of the runs is red, otherwise 0."""
    print("ONNX Runtime and torch take their own kernels by the processor, in every run the same.")
    results = []
    for name, environment in runs():
        print(f"\n=== {name}", flush=True)
        command = [sys.executable, "-m", "pytest", "-m", "not long", *arguments]
        results.append((name, subprocess.run(command, env={**os.environ, **environment}).returncode))
    print()
    for name, code in results:
        print(f"{'green' if code == 0 else f'RED, exit code {code}'}: {name}")
    return int(any(code for _, code in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
