"""The kernel that NumPy's products run on: told, tried, chosen where OpenBLAS took an old one, left alone elsewhere."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from sluice_client.commands import doctor

from bench import report
from sluice.process import blas
from tests import kernels

CLEAN = {name: value for name, value in os.environ.items() if name not in (blas.VARIABLE, blas.REASON)}
HERE = blas.kernel()
needs_openblas = pytest.mark.skipif(HERE is None, reason="NumPy multiplies without OpenBLAS here")
has_more = pytest.mark.skipif(not blas.better("Prescott"), reason="the processor has nothing beyond SSE")


@needs_openblas
def test_a_named_kernel_is_the_one_that_runs_and_its_products_are_right():
    for name in ("Prescott", *blas.better("Prescott")):
        told = blas.trial({**CLEAN, blas.VARIABLE: name})
        assert told is not None and told["kernel"].lower() == name.lower() and told["right"] and told["gflops"] > 0


@needs_openblas
@has_more
def test_where_openblas_took_its_oldest_kernel_a_better_one_is_tried_and_named():
    chosen = blas.choose(CLEAN, own="Prescott")
    assert chosen.kernel in blas.better("Prescott") and chosen.environment[blas.VARIABLE] == chosen.kernel
    assert "took Prescott" in chosen.reason and "GFLOP/s" in chosen.reason and "checked" in chosen.reason
    script = "import json; from sluice.process import blas; print(json.dumps(blas.told()))"
    done = subprocess.run([sys.executable, "-c", script], env={**CLEAN, **chosen.environment}, capture_output=True)
    assert json.loads(done.stdout) == {"kernel": chosen.kernel, "reason": chosen.reason, "better": None}


@needs_openblas
def test_what_the_environment_names_is_left_alone():
    chosen = blas.choose({**CLEAN, blas.VARIABLE: "Prescott"}, own="Prescott")
    assert chosen.environment == {} and chosen.reason == "named by OPENBLAS_CORETYPE"


def test_a_kernel_that_uses_all_the_processor_has_is_left_alone():
    for name in ("SkylakeX", "COOPERLAKE", "SapphireRapids"):
        assert blas.better(name) == [] and blas.choose(CLEAN, own=name).environment == {}
    assert blas.better(None) == []


@pytest.mark.parametrize(
    ("has", "better"),
    [
        ("sse2", []),
        ("sse2 avx avx2 fma", ["Haswell"]),
        ("avx2 fma avx512f", ["Haswell"]),
        ("avx2 fma avx512f avx512cd avx512bw avx512dq avx512vl amx_int8", ["SkylakeX", "Haswell"]),
    ],
)
def test_no_kernel_is_tried_that_the_processor_cannot_run(monkeypatch, has, better):
    monkeypatch.setattr(blas, "instructions", lambda: frozenset(has.split()))
    assert blas.better("Prescott") == better and blas.better("Barcelona") == better
    assert blas.better("Haswell") == better[:-1]


@needs_openblas
@has_more
def test_a_kernel_that_is_wrong_slower_or_does_not_run_is_not_chosen(monkeypatch):
    for trouble in ({"right": False}, {"gflops": 1.2}, {"kernel": "Other"}, None):

        def trial(environment, trouble=trouble):
            told = {"kernel": environment[blas.VARIABLE], "right": True, "gflops": 1.0}
            return told if told["kernel"] == "Prescott" else trouble and {**told, "gflops": 2.0, **trouble}

        monkeypatch.setattr(blas, "trial", trial)
        chosen = blas.choose(CLEAN, own="Prescott")
        assert chosen.kernel == "Prescott" and chosen.environment == {} and "did no better" in chosen.reason


def test_a_trial_that_cannot_run_says_nothing(tmp_path):
    assert blas.trial(CLEAN, tmp_path / "no-python") is None
    assert blas.trial({**CLEAN, "PYTHONHOME": str(tmp_path)}) is None


def test_wrong_products_are_seen(monkeypatch):
    right = np.einsum
    assert blas.measured()["right"]
    monkeypatch.setattr(np, "einsum", lambda *given: right(*given) * (1 + 1e-3))
    assert not blas.measured()["right"]


class Told:
    """A client whose gallery describes itself."""

    def __init__(self, **told):
        self.told = told

    def describe(self, timeout):
        return self.told


def test_the_doctor_says_what_multiplies_and_what_to_do_about_an_old_kernel():
    (well,) = doctor._blas(Told(blas={"kernel": "SkylakeX", "reason": "tried", "better": None}), 1)
    assert well.ok and well.text == "SkylakeX (tried)"
    (old,) = doctor._blas(Told(blas={"kernel": "Prescott", "reason": "why", "better": "SkylakeX"}), 1)
    assert not old.ok and "sluice serve" in old.remedy and "OPENBLAS_CORETYPE=SkylakeX" in old.remedy
    assert list(doctor._blas(Told(frames=1), 1)) == []


def test_a_benchmark_tells_the_kernel_of_each_side(capsys):
    report.as_json(True)
    try:
        report.multipliers()
    finally:
        report.as_json(False)
    rows = {row["library"].split(",")[0]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["NumPy"]["version"] == np.__version__ and (HERE or "unknown") in rows["NumPy"]["kernel"]
    assert "onnxruntime" not in sys.modules or "ONNX Runtime" in rows


@needs_openblas
def test_kernels_to_test_are_old_middling_and_this_machines(monkeypatch):
    monkeypatch.delenv(blas.VARIABLE, raising=False)
    names = [name for name, _ in kernels.runs()]
    assert names[0] == "Prescott" and names[-1].startswith(HERE)
    assert ("Haswell" in names) == blas.runs_here("Haswell")
    monkeypatch.setenv(blas.VARIABLE, "Nehalem")
    assert [name for name, _ in kernels.runs()] == ["Nehalem, which OPENBLAS_CORETYPE names"]
