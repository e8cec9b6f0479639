"""Plain JSON for callers without a Triton client: bytes as base64, halves as float32, a number in place of NaN.

JSON over HTTP carries text: the bytes of a PNG are not UTF-8, and JSON cannot write a float16 or a NaN. So each verb
takes three more options, which the glue (`sluice.triton`) reads for all of them:

* encoding: "base64" sends and answers tensors of bytes as base64. The config's parameter `binary` names them.
* dtype: "fp32" answers outputs that the config declares as FP16 in FP32. Only models with such outputs take it.
* nan: a number that is answered in place of each NaN.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice.errors import InvalidArgument
from sluice.options import Kind, choice, number
from sluice.wire.calls import json_object, strings

ENCODINGS = ("raw", "base64")
DTYPES = ("fp16", "fp32")
ASKED_IN = ("OPTIONS", "COMMAND")  # the input that holds a request's options as JSON
KEYS = (b'"encoding"', b'"dtype"', b'"nan"')
GREATEST = float(np.finfo(np.float32).max)
IN_PLACE_OF_NAN = Kind("a number that a float32 holds", number(-GREATEST, GREATEST).accept, null=True)


@dataclass(frozen=True)
class Form:
    """The form of the tensors of one request.

    base64: whether the tensors of bytes are base64. fp32: whether halves are answered as float32.
    nan: the number that is answered in place of NaN, or None to leave NaN as it is.
    """

    base64: bool = False
    fp32: bool = False
    nan: float | None = None


RAW = Form()


def read(inputs: dict[str, np.ndarray], binary: frozenset[str], halves: bool) -> Form:
    """Return the form that a request asks for; take it out of the options, and decode the inputs that are base64.

    inputs: the tensors of the request by name; changed in place.
    binary: names of the model's tensors that hold bytes. halves: whether the model has FP16 outputs.

    An element that is not base64 stays as it is, so that the code that reads it refuses that element alone.
    Raises InvalidArgument for an unknown value, and for rows of options that differ.
    """
    where = next((name for name in ASKED_IN if name in inputs), None)
    if where is None:
        return RAW
    rows = {_raw(row) for row in inputs[where].reshape(-1)}
    if not any(key in row for row in rows for key in KEYS):
        return RAW
    if len(rows) > 1:
        raise InvalidArgument(f"the rows of {where} are for one request and must be equal; send a request for each")
    options = json_object(inputs, where)
    encoding, nan = options.pop("encoding", "raw"), options.pop("nan", None)
    dtype = options.pop("dtype", "fp16") if halves else "fp16"
    encoding, dtype = choice(ENCODINGS)("encoding", encoding), choice(DTYPES)("dtype", dtype)
    form = Form(encoding == "base64", dtype == "fp32", IN_PLACE_OF_NAN("nan", nan))
    inputs[where] = strings([json.dumps(options)] * inputs[where].size).reshape(inputs[where].shape)
    if form.base64:
        for name in binary & set(inputs):
            inputs[name] = strings(map(_decoded, inputs[name].reshape(-1))).reshape(inputs[name].shape)
    return form


def written(name: str, array: Any, kind: type, form: Form, binary: frozenset[str]) -> np.ndarray:
    """Return one output as it crosses the wire.

    kind: NumPy's type of the output as the config declares it.
    """
    if form.base64 and name in binary:
        array = np.asarray(array)
        return strings(base64.b64encode(_raw(row)) for row in array.reshape(-1)).reshape(array.shape)
    answer: np.ndarray = np.ascontiguousarray(array, dtype=np.float32 if form.fp32 and kind is np.float16 else kind)
    if form.nan is not None and answer.dtype.kind == "f":
        answer = np.where(np.isnan(answer), answer.dtype.type(form.nan), answer)
    return answer


def _decoded(row: Any) -> bytes:
    raw = _raw(row)
    try:
        return base64.b64decode(raw, validate=True)
    except binascii.Error:
        return raw


def _raw(row: Any) -> bytes:
    return row.encode() if isinstance(row, str) else bytes(row)
