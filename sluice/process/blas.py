"""Tells which kernel of OpenBLAS multiplies NumPy's matrices here, and finds a better one if OpenBLAS took an old one.

OpenBLAS takes a kernel by the processor's model number when it is loaded. A processor younger than the library is not
in its list. OpenBLAS then takes its oldest kernel, at an eighth of the rate, although the processor could run a new
one. A kernel can be named beforehand in the environment of a process. So the launcher and the benchmarks look for a
better kernel, try it, name it and say so. A kernel that the environment names already is left alone.

`python sluice/process/blas.py` tells the kernel of any environment with NumPy, as JSON, and imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "OPENBLAS_CORETYPE"  # names the kernel, read by OpenBLAS when it is loaded
REASON = "SLUICE_BLAS"  # hands on why it was named

# What a kernel needs of the processor, by its rank; kernels that are not named have rank 0. Cooperlake and
# SapphireRapids need more than SkylakeX, but for bf16 alone, so of their rank they are never the ones to try.
_AVX2 = frozenset({"avx2", "fma"})
_NEEDS: tuple[frozenset[str], ...] = (
    frozenset(),
    _AVX2,
    _AVX2 | {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"},
)
_RANK = {"Haswell": 1, "Zen": 1, "Excavator": 1, "SkylakeX": 2, "Cooperlake": 2, "SapphireRapids": 2}
_CANDIDATES = ("SkylakeX", "Haswell")  # the best first
_SYMBOLS = ("openblas_get_corename64_", "scipy_openblas_get_corename64_", "openblas_get_corename")
_FASTER = 1.3  # less is not worth another kernel at this start than at the next
_SECONDS = 60.0  # a trial that takes longer has failed


@dataclass(frozen=True)
class Choice:
    """The kernel that processes started with `environment` will run; None if NumPy multiplies without OpenBLAS.

    reason: a clause that says why. environment: variables to set, empty unless OpenBLAS would take a worse kernel.
    """

    kernel: str | None
    reason: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kernel or 'unknown kernel'} ({self.reason})"


def instructions() -> frozenset[str]:
    """Return the instruction sets of this processor as Linux names them, such as avx2 or amx_int8; empty if Linux names
    none.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = (line.split(":", 1)[1] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, "").split())


def kernel() -> str | None:
    """Return the kernel that NumPy's products run on in this process, or None if they do not run on OpenBLAS."""
    import numpy  # noqa: F401  loads it

    try:
        paths = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    except OSError:
        return None
    # Other packages bring an OpenBLAS of their own.
    for path in sorted((path for path in paths if "openblas" in path), key=lambda path: "numpy" not in path):
        library = ctypes.CDLL(path)
        for symbol in _SYMBOLS:
            if hasattr(library, symbol):
                ask = getattr(library, symbol)
                ask.restype = ctypes.c_char_p
                return ask().decode()
    return None


def better(than: str | None) -> list[str]:
    """Return the kernels that use more of this processor than the given one, the best first."""
    if than is None:
        return []
    used = next((rank for name, rank in _RANK.items() if name.lower() == than.lower()), 0)
    return [name for name in _CANDIDATES if _RANK[name] > used and runs_here(name)]


def runs_here(name: str) -> bool:
    """Tell whether the processor has all instructions of a kernel. Without them the kernel ends the process."""
    return _NEEDS[_RANK.get(name, 0)] <= instructions()


def told() -> dict[str, str | None]:
    """Return what this process runs and why, for JSON: kernel, reason, and better, a kernel to name.

    better is None unless OpenBLAS took an old kernel and nobody named one.
    """
    own = kernel()
    named = os.environ.get(VARIABLE)
    others = [] if named else better(own)
    return {"kernel": own, "reason": _reason(own, os.environ), "better": others[0] if others else None}


def choose(environment: Mapping[str, str], own: str | None = None) -> Choice:
    """Choose the kernel for processes that will be started with an environment.

    own: the kernel that OpenBLAS takes by itself. None: the one of this process, if none was named for it.
    A better kernel is named only after a trial in a process of its own. It must run, its products must agree with sums
    made otherwise, and it must be clearly faster.
    """
    own = own or kernel()
    others = [] if environment.get(VARIABLE) else better(own)
    if own is None or not others:
        return Choice(own, _reason(own, environment))
    before = trial({**environment, VARIABLE: own})
    for name in others:
        after = trial({**environment, VARIABLE: name})
        if after is None or not after["right"] or str(after["kernel"]).lower() != name.lower():
            continue
        if before is None or after["gflops"] > _FASTER * before["gflops"]:
            slow = "fails" if before is None else f"makes {before['gflops']:.0f} GFLOP/s a core"
            reason = (
                f"OpenBLAS took {own}, which {slow}, but the processor has more: {name} makes {after['gflops']:.0f}, "
                "and its products were checked"
            )
            return Choice(name, reason, {VARIABLE: name, REASON: reason})
    return Choice(own, f"OpenBLAS took it although the processor has more; {', '.join(others)} did no better here")


def _reason(own: str | None, environment: Mapping[str, str]) -> str:
    if environment.get(VARIABLE):
        return environment.get(REASON) or f"named by {VARIABLE}"
    if own is None:
        return "NumPy multiplies without OpenBLAS"
    return "OpenBLAS took it although the processor has more" if better(own) else "OpenBLAS's own choice"


def trial(environment: Mapping[str, str], python: str | os.PathLike = sys.executable) -> dict[str, Any] | None:
    """Return what `measured` says in a new process with one thread, or None if that process does not end well."""
    command = [str(python), "-P", __file__]  # -P: our neighbours here are not to be taken for modules of the library
    alone = {**environment, "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=alone, capture_output=True, timeout=_SECONDS, check=True)
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def measured() -> dict[str, Any]:
    """Measure the kernel of this process: its name, whether its products are right, its GFLOP/s at 512 x 512 in
    float32.
    """
    import numpy as np

    rng = np.random.default_rng(1)
    right = True
    # Sizes that no block divides, vectors, and both orders in memory.
    for m, k, n in ((1, 7, 1), (3, 64, 1), (1, 300, 37), (37, 129, 65), (131, 515, 67)):
        for kind in (np.float32, np.float64):
            a: np.ndarray = rng.standard_normal((m, k)).astype(kind)
            b: np.ndarray = rng.standard_normal((k, n)).astype(kind)
            wide = a.astype(np.float64), b.astype(np.float64)
            wanted = np.einsum("mk,kn->mn", *wide)
            bound = 2 * k * np.finfo(kind).eps * np.einsum("mk,kn->mn", *map(np.abs, wide))
            for left, other in ((a, b), (np.asfortranarray(a), b), (a, np.asfortranarray(b))):
                right &= bool((np.abs(left @ other - wanted) <= bound).all())
    square: np.ndarray = rng.standard_normal((512, 512)).astype(np.float32)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        square @ square
        seconds.append(time.perf_counter() - started)
    return {"kernel": kernel(), "right": right, "gflops": 2 * 512**3 / min(seconds) / 1e9}


if __name__ == "__main__":
    print(json.dumps(measured()))
