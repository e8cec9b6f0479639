"""The packages of `sluice.methods`: their examples run, their public names exist, and importing them stays light."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

from sluice import methods

PACKAGES = sorted(module.name for module in pkgutil.iter_modules(methods.__path__))

# Modules that take long to import. Each stub of Triton imports some packages of methods before it can answer.
HEAVY = {
    "av",
    "beartype",
    "ftfy",
    "google",
    "jaxtyping",
    "onnx",
    "onnxruntime",
    "openvino",
    "PIL",
    "regex",
    "scipy",
    "torch",
    "tritonclient",
}
# Pillow comes with `sluice.images`, whose geometry these packages share.
ALLOWED = {"matching": {"PIL"}, "mixtures": {"PIL"}, "selection": {"PIL"}, "grouping": {"PIL"}}


@pytest.mark.parametrize("name", PACKAGES)
def test_the_example_of_a_package_runs_and_prints_what_it_says(name):
    package = importlib.import_module(f"sluice.methods.{name}")
    assert ">>> " in (package.__doc__ or "")
    assert doctest.testmod(package).failed == 0


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_hands_on_the_names_that_it_lists_and_hides_no_module(name):
    package = importlib.import_module(f"sluice.methods.{name}")
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert sorted(package.__all__) == sorted(set(package.__all__))
    assert all(hasattr(package, public) for public in package.__all__)
    assert not modules & set(package.__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_a_package_imports_nothing_heavy(name):
    script = f"import sys, sluice.methods.{name}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "numpy" in run.stdout.split() or name == "scan"
    assert set(run.stdout.split()) & HEAVY <= ALLOWED.get(name, set())
