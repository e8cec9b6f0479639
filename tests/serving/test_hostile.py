"""A hostile neighbour on the real server: other callers are answered as if it were not there."""

import contextlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from sluice_client import NewFrame, Query, Sluice
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from sluice import contracts, images
from sluice.gallery.store import Frame, Gallery
from sluice.methods import matching
from sluice.process import decoding_process
from sluice.server import probe
from sluice.versions import network_version
from tests.made.broken_files import many_scans
from tests.made.encoded_pictures import jpeg

HOSTILE = many_scans((8000, 8000), 60)  # as few as are let in: 4 s of decoding a picture, in 370 kB


def strings(*values):
    array = np.empty(len(values), object)
    array[:] = [value.encode() if isinstance(value, str) else value for value in values]
    return array


def request(inputs):
    tensors = []
    for name, array in inputs.items():
        tensors.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        tensors[-1].set_data_from_numpy(array)
    return tensors


def left(server, model, inputs, seconds):
    """Ask, and be gone after so many seconds. Returns whether the answer came before."""
    with triton.InferenceServerClient(server.grpc) as client:
        if model in ("sample", "enhance"):
            come = []
            client.start_stream(lambda result, error: come.append(result))
            client.async_stream_infer(model, request(inputs))
            time.sleep(seconds)
            client.stop_stream(cancel_requests=True)
            kinds = [json.loads(one.as_numpy("EVENT")[0])["kind"] for one in come if one is not None]
            return "frame" in kinds or "result" in kinds
        with contextlib.suppress(InferenceServerException):
            client.infer(model, request(inputs), client_timeout=seconds)
            return True
        return False


def alone(server, model):
    """Return the seconds that the server's own question to a verb takes."""
    with triton.InferenceServerClient(server.grpc) as client:
        begun = time.monotonic()
        assert probe.check(client, model, 60) == probe.ANSWERS
        return time.monotonic() - begun


def decoders(server):
    """Return the ids of the server's separate processes that decode pictures."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            named = decoding_process.__name__.encode() in (entry / "cmdline").read_bytes().split(b"\0")
            if named and os.getpgid(int(entry.name)) == server.pid:
                found.append(int(entry.name))
    return found


ROI = np.array([[0, 0, 8000, 8000]], np.float32)
PICTURES = {
    "image_decoder": {"ENCODED": strings(HOSTILE)[None]},
    "embed": {"ENCODED": strings(HOSTILE)[None]},
    "detect": {"IMAGES": strings(*[HOSTILE] * 4)},
    "segment": {"IMAGES": strings(*[HOSTILE] * 4), "CLASSES": strings("sky", "road")},
    "compare": {"IMAGES": strings(*[HOSTILE] * 4), "TEXTS": strings("sky")},
    "match": {"QUERY_IMAGES": strings(HOSTILE), "ROIS": ROI, "IMAGES": strings(*[HOSTILE] * 4)},
    "retrieve": {"QUERY_IMAGES": strings(HOSTILE), "ROIS": ROI},
    "ingest": {"IMAGES": strings(*[HOSTILE] * 4), "FRAMES": strings(*["{}"] * 4)},
    "enhance": {"IMAGES": strings(*[HOSTILE] * 4)},
    "sample": {
        "IMAGES": strings(*[HOSTILE] * 4),
        "OPTIONS": strings(json.dumps({"task": "encode", "network": "digits", "fit": True})),
    },
}


def test_a_picture_of_too_many_scans_is_refused_on_every_verb_and_its_neighbour_is_answered(server):
    bomb, good = many_scans((8000, 8000), 2500), jpeg(1)
    begun = time.monotonic()
    with triton.InferenceServerClient(server.grpc) as client:
        answer = client.infer("detect", request({"IMAGES": strings(bomb, good)}))
        errors = answer.as_numpy("ERRORS").tolist()
        assert b"more than 64 scans" in errors[0] and errors[1] == b""
        for model in ("image_decoder", "embed", "retrieve"):
            inputs = {
                name: strings(bomb).reshape(value.shape) if value.dtype == object else value
                for name, value in PICTURES[model].items()
            }
            with pytest.raises(InferenceServerException, match="more than 64 scans") as refused:
                client.infer(model, request(inputs))
            assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "models",
    [("detect", "ingest", "enhance"), pytest.param(tuple(PICTURES), marks=pytest.mark.long)],
    ids=["some", "all"],
)
def test_pictures_of_callers_that_have_gone_stop_nobody(server, models):
    usual = {model: max(alone(server, model) for _ in range(2)) for model in models}
    for model in models:
        inputs = PICTURES[model]
        with ThreadPoolExecutor(4) as threads:
            assert not any(threads.map(lambda _: left(server, model, inputs, 0.7), range(4))), model  # noqa: B023
        for other in {model, "detect", "ingest"}:
            took = alone(server, other)
            assert took < usual[other] + 2, f"{other} took {took:.1f} s after {model}, {usual[other]:.1f} alone"


def test_what_decodes_ends_with_the_server(start):
    server = start(models=["image_decoder"])
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(left, server, "image_decoder", PICTURES["image_decoder"], 60)
        until = time.monotonic() + 20
        while not (found := decoders(server)) and time.monotonic() < until:
            time.sleep(0.02)
        assert found
        server.kill()
        assert not answer.result()
    assert not any(Path("/proc", str(pid)).exists() for pid in found)


# ------------------------------------------------------------------------------------------------ searches

CELLS = 80 * 104  # of a frame on the canvas of 832 x 640
FRAMES = 30


@pytest.fixture(scope="module")
def alike(server):
    """Fill the server's gallery with frames that no bound tells apart: every search scores each of them twice."""
    version = network_version(contracts.ROOT / "model_repository", "feature_extractor")
    geometry = images.place(832, 640, [(832, 640)])[1].as_array()
    random = np.random.default_rng(0)
    cells = matching.unit(1 + 0.01 * random.standard_normal((80, 104, 64))).astype(np.float16)
    ids = [f"alike {i}" for i in range(FRAMES)]
    with Gallery(server.gallery, model=version, channels=64) as gallery:
        receipts = gallery.add(
            [Frame(id=id_) for id_ in ids], [id_.encode() for id_ in ids], [cells] * FRAMES, [geometry] * FRAMES
        )
        assert {receipt.status for receipt in receipts} == {"stored"}
        yield ids
        gallery.delete(ids)


def search(ids, regions, **options):
    """Return a request of `retrieve` for whole frames."""
    return {
        "QUERY_IDS": strings(ids[0]),
        "ROIS": np.tile(np.array([[0, 0, 832, 640]], np.float32), (regions, 1)),
        "OPTIONS": strings(json.dumps({"k": 1, "heatmaps": False, **options})),
    }


def seconds(work):
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def test_searches_of_callers_that_have_gone_stop_nobody(server, alike):
    """Search for 3 whole frames in each of 30: 4e11 products, ten seconds of two cores; a second search is refused."""
    with Sluice(server.grpc, timeout=60) as client, ThreadPoolExecutor(2) as threads:
        fresh = iter(range(100))
        innocent = {
            "list": lambda: next(client.frames(page=5)),
            "describe": client.describe,
            "ingest": lambda: list(client.ingest([NewFrame(jpeg(900 + next(fresh)))])),
            "retrieve": lambda: client.retrieve(Query(id=alike[0], rois=[[0, 0, 60, 60]]), k=1),
        }
        usual = {name: max(seconds(work) for _ in range(2)) for name, work in innocent.items()}
        hostile = search(alike, 3)
        gone = [threads.submit(left, server, "retrieve", hostile, 4) for _ in range(2)]
        time.sleep(1)
        for name in ("list", "describe", "ingest"):  # while one is at work
            took = seconds(innocent[name])
            assert took < usual[name] + 2, f"{name} took {took:.1f} s, {usual[name]:.1f} alone"
        assert not all(answered.result() for answered in gone)
        for name, work in innocent.items():
            took = seconds(work)
            assert took < usual[name] + 2, f"{name} took {took:.1f} s, {usual[name]:.1f} alone"


def test_a_large_search_runs_alone_and_the_next_one_is_told_so(server, alike):
    def asked(_):
        """Return the error of a large search, or None if it was answered within its time."""
        with triton.InferenceServerClient(server.grpc) as client:
            try:
                client.infer("retrieve", request(search(alike, 3)), client_timeout=8)
            except InferenceServerException as error:
                return error

    def told():
        """Return what those of two simultaneous searches are told that find the place taken."""
        with ThreadPoolExecutor(2) as threads:
            errors = [error for error in threads.map(asked, range(2)) if error is not None]
        return [error.message() for error in errors if error.status() == "StatusCode.UNAVAILABLE"]

    deadline = time.monotonic() + 30
    while len(found := told()) == 2 and time.monotonic() < deadline:
        time.sleep(1)  # a search of the tests before, whose caller has gone, is about to end
    (sentence,) = found
    assert "1 search as large as this one is under way" in sentence
