"""The checks of shapes in `tests.methods.shapes` refuse what does not fit, and no public function is without one."""
# ruff: noqa: F722 -- the axes of an annotation are no names of Python

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from jaxtyping import Float32

from sluice import methods
from sluice.methods import matching, mixtures, selection
from sluice.methods.matching import scoring
from tests.methods import shapes

A = np.ndarray
# Public functions with arrays whose shapes depend on more than their arguments' shapes.
WITHOUT = {selection.select}


def public():
    for module in pkgutil.iter_modules(methods.__path__):
        package = importlib.import_module(f"sluice.methods.{module.name}")
        yield from (
            inspect.unwrap(getattr(package, name))
            for name in package.__all__
            if inspect.isfunction(getattr(package, name))
        )


@pytest.mark.parametrize("one", shapes.SIGNATURES, ids=lambda one: one.__qualname__)
def test_a_signature_names_parameters_that_exist(one):
    hints = set(inspect.get_annotations(shapes.SIGNATURES[one])) - {"return"}
    assert hints <= set(inspect.signature(one).parameters)


def test_every_public_function_that_takes_or_gives_arrays_has_a_signature():
    arrays = {one for one in public() if "ndarray" in str(inspect.get_annotations(one))}
    assert len(arrays) > 30
    assert not arrays - set(shapes.SIGNATURES) - WITHOUT


def test_the_tests_of_this_folder_run_through_the_checks():
    assert matching.similarity is scoring.similarity
    assert matching.similarity.__wrapped__ in shapes.SIGNATURES


def test_an_argument_of_a_wrong_shape_is_refused_although_the_function_takes_it():
    assert matching.top(np.zeros(3), 2).shape == (2,)
    with pytest.raises(shapes.Misfit, match="combine: query should be"):
        matching.combine(np.zeros((2, 3)), "max", np.zeros(4, np.int32))


def test_a_result_of_a_wrong_shape_or_dtype_is_refused():
    def wrong(vectors, dtype, cut):
        return np.asarray(vectors, dtype)[..., cut:]

    def signature(vectors: Float32[A, "*n C"]) -> Float32[A, "*n C"]: ...

    check = shapes.checked(wrong, signature)
    vectors = np.zeros((2, 3), np.float32)
    assert check(vectors, np.float32, 0).shape == (2, 3)
    for dtype, cut in ((np.float64, 0), (np.float32, 1)):
        with pytest.raises(shapes.Misfit, match="return should be"):
            check(vectors, dtype, cut)


def test_a_value_with_a_wrong_dtype_is_refused_when_it_is_made():
    boxes = [np.zeros((2, 4), np.float32), np.zeros(2, np.int32), np.zeros(2, np.float32)]
    uncertain = [np.zeros((2, 8), np.float32), np.zeros((2, 2), np.float32)]
    assert len(mixtures.Detections(*boxes, *uncertain)) == 2
    with pytest.raises(shapes.Misfit, match="Detections: scores should be"):
        mixtures.Detections(*boxes[:2], np.zeros(2), *uncertain)


def test_the_checks_are_gone_after_them():
    function = scoring.similarity.__wrapped__
    with shapes.checking({}):
        pass
    assert scoring.similarity.__wrapped__ is function
