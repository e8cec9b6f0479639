"""Values that no caller means, in every numeric and text field of every verb: refused in words, or answered rightly.

The fields are those of docs/protocol.md's tables, of the configs' inputs, of the JSON that describes frames and
candidates, and of the gallery's commands. A fault of ours (INTERNAL), or no answer, is what must not be.
"""

from __future__ import annotations

import inspect
import json
import queue
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

from sluice import contracts
from sluice.methods.mixtures.summaries import Part, Summary
from sluice.models.frame_gallery import Commands
from tests.made.encoded_pictures import jpeg
from tests.made.protocol_page import TABLES

VALUES = [10**400, -(10**400), float("nan"), float("inf"), "\ud800", "x" * 10_000, "\0", {"\ud800": 1}]
TEXTS = [b"\xed\xa0\x80", b"x" * 10_000, b"\0", b"", str(10**400).encode(), b"NaN", b'"\\ud800"', b'{"\\udfff": 0}']
FLOATS = [np.nan, np.inf, -np.inf, np.float32(3e38), -1.0]
FRAME = ("id", "drive", "camera", "time", "tags")
RIGHT = ("INVALID_ARGUMENT", "NOT_FOUND")  # the latter where a name is asked for that nothing has


@pytest.fixture(scope="module")
def verbs():
    """Return a small valid request per verb; `enhance` and `sample` answer with streams."""
    picture, other = (np.array([jpeg(seed, (64, 48))], object) for seed in (7101, 7102))
    roi, word = np.array([[8, 8, 40, 40]], np.float32), np.array([b"road"], object)
    parts = {"thing": Part.of(np.full((1, 4), 0.1))}
    candidate = {"id": "a", "summary": json.loads(Summary("probe", parts).to_json())}
    return {
        "embed": {"ENCODED": picture[None]},
        "ingest": {"IMAGES": other, "FRAMES": np.array([b"{}"], object)},
        "retrieve": {"QUERY_IMAGES": picture, "ROIS": roi},
        "match": {"QUERY_IMAGES": picture, "ROIS": roi, "IMAGES": picture},
        "detect": {"IMAGES": picture},
        "select": {"CANDIDATES": np.array([json.dumps(candidate).encode()], object)},
        "segment": {"IMAGES": picture, "CLASSES": word},
        "compare": {"IMAGES": picture, "TEXTS": word},
        "sample": {"LABELS": np.array([1], np.int64)},
        "enhance": {"RGB": np.full((1, 8, 12, 3), 90, np.uint8)},
        "frame_gallery": {"COMMAND": np.array([b'{"op": "describe"}'], object)},
        "text_embedder": {"TEXTS": word},
    }


@pytest.fixture(scope="module")
def refusal(server):
    """Return why a request was wrongly refused, in a line, or None if it was answered or rightly refused."""

    def refusal(verb: str, inputs: dict[str, np.ndarray]) -> str | None:
        tensors = []
        for name, array in inputs.items():
            tensors.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
            tensors[-1].set_data_from_numpy(array)
        with triton.InferenceServerClient(server.grpc) as client:
            try:
                if verb not in ("sample", "enhance"):
                    client.infer(verb, tensors, client_timeout=60)
                    return None
                answers: queue.Queue = queue.Queue()
                client.start_stream(
                    lambda result, error: answers.put((result, error)), headers={"triton_grpc_error": "true"}
                )
                client.async_stream_infer(verb, tensors, enable_empty_final_response=True)
                _, error = answers.get(timeout=60)
                if error is not None:
                    raise error
            except InferenceServerException as error:
                status = str(error.status()).rpartition(".")[2]
                return None if status in RIGHT else f"{status}: {error.message()}"
            except queue.Empty:
                return "no answer"
            finally:
                client.stop_stream(cancel_requests=True)
        return None

    return refusal


def with_options(inputs: dict[str, np.ndarray], options: dict, name: str = "OPTIONS") -> dict[str, np.ndarray]:
    text = np.array([json.dumps(options).encode()], object)
    return {**inputs, name: text[None] if "ENCODED" in inputs else text}


def wrong(name: str) -> Iterator[dict]:
    """Yield options that give `name` a value without sense: alone, in a list, in an object."""
    for value in VALUES:
        yield {name: value}
        yield {name: [value]}
    yield {name: {"a": 10**400, "model": "\0", "of": 10**400}}


@pytest.mark.parametrize("verb", sorted(TABLES))
def test_every_option_of_every_verb(verbs, refusal, verb):
    faults = []
    inputs = verbs[verb] if verb != "retrieve" else {"TEXTS": np.array([b"road"], object)}  # whose answers cost least
    for name in TABLES[verb]:
        for options in wrong(name):
            more = {"bitrate": 1000, "fps": 25} if name in ("bitrate", "fps") else {}
            if fault := refusal(verb, with_options(inputs, {**more, **options})):
                faults.append(f"{str(options)[:60]}: {fault}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("verb", [*sorted(TABLES), "text_embedder"])
def test_every_input_of_every_verb(verbs, refusal, verb):
    [path] = contracts.ROOT.glob(f"*/{verb}/config.pbtxt")
    faults = []
    for given in contracts.read(path).input:
        name = given.name
        word = model_config_pb2.DataType.Name(given.data_type).removeprefix("TYPE_").replace("STRING", "BYTES")
        kind = triton_to_np_dtype(word)
        shape = verbs[verb][name].shape if name in verbs[verb] else tuple(max(size, 1) for size in given.dims)
        values = TEXTS if kind is np.object_ else FLOATS if np.dtype(kind).kind == "f" else [0, np.iinfo(kind).max]
        for value in values:
            array = np.empty(shape, kind)
            array[...] = value
            if fault := refusal(verb, {**verbs[verb], name: array}):
                faults.append(f"{name} {str(value)[:40]}: {fault}")
    assert not faults, "\n".join(faults)


def test_every_field_of_a_frame_and_of_a_candidate(verbs, refusal):
    faults = []
    candidate = json.loads(verbs["select"]["CANDIDATES"][0])
    cases = [("ingest", "FRAMES", one) for name in FRAME for one in wrong(name)]
    for name in (*FRAME, "descriptor", "summary"):
        cases += [("select", "CANDIDATES", {**candidate, **one}) for one in wrong(name)]
    for name in candidate["summary"]:
        cases += [("select", "CANDIDATES", {**candidate, "summary": {**candidate["summary"], **one}})
                  for one in wrong(name)]  # fmt: skip
    for verb, tensor, described in cases:
        text = np.array([json.dumps(described).encode()], object)
        if fault := refusal(verb, {**verbs[verb], tensor: text}):
            faults.append(f"{verb} {str(described)[:80]}: {fault}")
    assert not faults, "\n".join(faults)


def test_every_field_of_every_command_of_the_gallery(refusal):
    good = {"ids": ["a"], "id": "a", "sha256": ["0" * 64], "frames": [{}], "limit": 1}
    faults = []
    for name, method in inspect.getmembers(Commands, inspect.isfunction):
        if not name.startswith("do_"):
            continue
        taken = [one for one in inspect.signature(method).parameters if one not in ("self", "inputs")]
        needed = {one: good[one] for one in taken if one in good}
        more = {"options": (*TABLES["select"], "k"), "filters": ("drives", "cameras", "tags", "before", "exclude")}
        for field in [each for one in taken for each in more.get(one, (one,))]:
            for options in wrong(field):
                command = {"op": name.removeprefix("do_"), **needed, **options}
                if fault := refusal("frame_gallery", {"COMMAND": np.array([json.dumps(command).encode()], object)}):
                    faults.append(f"{name} {str(options)[:60]}: {fault}")
    assert not faults, "\n".join(faults)
