"""The verb `sample` through the real server: stream, previews, cancellation, limits, the same picture each time."""

import io
import json
import queue
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from tritonclient.utils import np_to_triton_dtype

from sluice.methods import genie
from sluice.methods.genie.solvers import SOLVERS
from sluice.wire.calls import strings

KINDS = {"SEEDS": np.uint64, "LABELS": np.int64, "TENSORS": np.float32}


def tensors(OPTIONS=None, **given):
    given["OPTIONS"] = [json.dumps(OPTIONS or {})]
    made = []
    for name, value in given.items():
        array = np.asarray(value, KINDS[name]) if name in KINDS else strings(value)
        made.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        made[-1].set_data_from_numpy(array)
    return made


@contextmanager
def stream(server, **given):
    """Start a request and return a function that gives the next (facts, result), or None at the end."""
    client, come = triton.InferenceServerClient(server.grpc), queue.Queue()
    client.start_stream(lambda result, error: come.put((result, error)), headers={"triton_grpc_error": "true"})

    def following(timeout=60):
        result, error = come.get(timeout=timeout)
        if error:
            raise error
        if result.get_response().parameters["triton_final_response"].bool_param:
            return None
        return json.loads(result.as_numpy("EVENT")[0]), result

    try:
        client.async_stream_infer("sample", tensors(**given), enable_empty_final_response=True)
        yield following
    finally:
        client.stop_stream(cancel_requests=True)
        client.close()


def ask(server, OPTIONS=None, **given):
    """Return all events of one request."""
    with stream(server, OPTIONS=OPTIONS, **given) as following:
        return list(iter(following, None))


def rows(events, name="TENSORS"):
    found = {}
    for facts, result in events:
        if facts["kind"] == "result":
            found.update(zip(result.as_numpy("INDEX").tolist(), result.as_numpy(name), strict=True))
    return [found[i] for i in sorted(found)]


def outcomes(server, outcome):
    """Return the number of requests of `sample` that the server counts with this outcome."""
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    wanted = [line for line in lines if line.startswith("sluice_requests_total{") and 'model="sample"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in wanted if f'outcome="{outcome}"' in line)


def calls(server, model):
    """Return the number of inferences that the model has made, by Triton's own count."""
    statistics = triton.InferenceServerClient(server.grpc).get_inference_statistics(model)
    return statistics.model_stats[0].inference_count


def eventually(true, seconds=10):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def network(server):
    """Return the score networks behind the server for the loop of `genie.trajectory`, asked one call at a time."""
    client = triton.InferenceServerClient(server.grpc)

    def of(model, labels=None, null=None):
        def ask(call):
            given = {"SAMPLE": call.x.astype(np.float32), "TIME": call.t.astype(np.float32)[:, None]}
            if labels is not None:
                given["LABEL"] = np.where(call.null, null, np.resize(labels, len(call.x)))[:, None]
            made = []
            for name, array in given.items():
                made.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
                made[-1].set_data_from_numpy(array)
            answer = client.infer(f"{model}_{'curvature' if call.derivative else 'score'}", made)
            return answer.as_numpy("EPSILON"), answer.as_numpy("DERIVATIVE")

        return ask

    return of


# ------------------------------------------------------------------------------------------------ true answers


@pytest.mark.parametrize("solver", ["genie", "unipc"])
def test_the_server_gives_what_the_loop_gives(server, network, solver):
    labels = np.array([3, 1, 4, 1, 5])
    options = {"solver": solver, "steps": 4, "guidance": 0.5, "guidance_rule": "first_order"}
    events = ask(server, {"model": "digits", "format": "tensor", "seed": 10, "count": 5, **options}, LABELS=labels)
    latents = genie.noise(range(10, 15), (1, 32, 32))
    plan = genie.Options(**options, grid=SOLVERS[solver].grid)
    expected = genie.sample(network("digits", labels, 10), latents, plan)
    np.testing.assert_array_equal(np.stack(rows(events)), expected)
    assert (events[-1][0]["kind"], events[-1][0]["nfe"], events[-1][0]["images"]) == ("end", 8, 5)


def test_pictures_of_digits_are_digits(server):
    events = ask(server, {"model": "digits", "steps": 10, "count": 10}, LABELS=list(range(10)))
    pictures = [np.asarray(Image.open(io.BytesIO(png))).astype(int) for png in rows(events, "IMAGES")]
    assert all(picture.shape == (32, 32) for picture in pictures)
    # White strokes on black that stay off the edge, and of no two digits the same ones.
    assert all(0.03 < (picture > 127).mean() < 0.4 and picture[:2].mean() < 20 for picture in pictures)
    ones, zeros = (pictures[1] > 127).sum(), (pictures[0] > 127).sum()
    assert ones < zeros


def test_a_seed_gives_the_same_picture_in_any_company(server):
    options = {"model": "streets", "steps": 5, "format": "tensor"}
    (alone,) = rows(ask(server, options, SEEDS=[41]))
    many = rows(ask(server, options, SEEDS=[*range(30), 41, *range(50, 73)]))
    np.testing.assert_array_equal(many[30], alone)
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(ask, server, {**options, "steps": 5 + i % 2}, SEEDS=[i, 41]) for i in range(6)]
        crowd = [rows(job.result()) for job in jobs]
    for i in (0, 2, 4):
        np.testing.assert_array_equal(crowd[i][1], alone)


def test_concurrent_requests_share_network_batches(server):
    # Encoding the first step of each apart would be 8 x 40 executions.
    before = triton.InferenceServerClient(server.grpc).get_inference_statistics("digits_score").model_stats[0]
    options = {"model": "digits", "solver": "ddim", "steps": 40}
    with ThreadPoolExecutor(8) as pool:
        ends = [job.result()[-1][0] for job in
                [pool.submit(ask, server, options, SEEDS=[i], LABELS=[i]) for i in range(8)]]  # fmt: skip
    after = triton.InferenceServerClient(server.grpc).get_inference_statistics("digits_score").model_stats[0]
    assert after.inference_count - before.inference_count == 320
    assert after.execution_count - before.execution_count < 240
    assert np.mean([end["rows_a_call"] for end in ends]) > 1.5


def test_pictures_to_latents_and_back(server):
    first = ask(server, {"model": "digits", "seed": 2, "steps": 25}, LABELS=[7])
    (png,) = rows(first, "IMAGES")
    task = {"model": "digits", "solver": "unipc", "steps": 40}
    encoded = ask(server, {**task, "task": "encode"}, IMAGES=[png, b"no picture"], LABELS=[7])
    latents = rows(encoded)
    assert np.isfinite(latents[0]).all() and np.isnan(latents[1]).all() and encoded[-1][0]["failed"] == 1
    back = rows(ask(server, {**task, "format": "tensor"}, TENSORS=latents[0][None], LABELS=[7]))[0]
    original = np.asarray(Image.open(io.BytesIO(png)), np.float32) / 127.5 - 1
    assert np.sqrt(np.mean((back[0] - original) ** 2)) < 0.05


def test_the_way_between_two_seeds_begins_and_ends_at_them(server):
    options = {"model": "streets", "steps": 5, "format": "tensor"}
    way = rows(ask(server, {**options, "task": "interpolate", "between": 4}, SEEDS=[1, 2]))
    ends = rows(ask(server, options, SEEDS=[1, 2]))
    np.testing.assert_allclose([way[0], way[3]], ends, atol=1e-3)
    assert np.abs(way[1] - way[0]).max() > 1e-2


# ------------------------------------------------------------------------------------------------ the stream


def test_previews_arrive_while_the_loop_runs(server):
    with stream(server, OPTIONS={"model": "digits", "steps": 60, "count": 8, "preview": 20}, LABELS=[3]) as following:
        times, kinds = [], []
        while (event := following()) is not None:
            kinds.append((event[0]["kind"], event[0].get("step")))
            times.append(time.monotonic())
    shown = [i for i, (kind, _) in enumerate(kinds) if kind == "preview"]
    assert [kinds[i][1] for i in shown] == [20, 40, 60]
    assert kinds[-1][0] == "end" and kinds[-2][0] == "result"
    assert times[shown[1]] - times[shown[0]] > 0.01 and times[-1] > times[shown[0]]


def test_cancelling_stops_the_loop_within_a_step(server):
    before = outcomes(server, "cancelled")
    endless = {"model": "streets", "solver": "ddim", "steps": 1000, "count": 4, "preview": 1}
    with stream(server, OPTIONS=endless) as following:
        for _ in range(5):
            following()
    eventually(lambda: outcomes(server, "cancelled") == before + 1)
    rest = calls(server, "streets_score")
    time.sleep(0.5)
    assert calls(server, "streets_score") == rest, "the loop goes on"


def test_a_killed_client_leaves_no_loop_running(server):
    before = outcomes(server, "cancelled")
    endless = b'{"model": "streets", "steps": 1000, "count": 16, "preview": 1}'
    program = textwrap.dedent(f"""
        import sys, numpy as np, tritonclient.grpc as triton
        client = triton.InferenceServerClient({server.grpc!r})
        client.start_stream(lambda result, error: print(error or "event", flush=True))
        text = triton.InferInput("OPTIONS", [1], "BYTES")
        text.set_data_from_numpy(np.array([{endless!r}], object))
        client.async_stream_infer("sample", [text])
        sys.stdin.read()
    """)
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True)
    try:
        for _ in range(3):
            assert process.stdout.readline() == "event\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually(lambda: outcomes(server, "cancelled") == before + 1)
    rest = calls(server, "streets_curvature")
    time.sleep(1)
    assert calls(server, "streets_curvature") == rest, "the loop goes on"


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "given", "sentence"),
    [
        ({"steps": 0}, {}, "steps is a whole number from 1 to 1000"),
        ({"model": "streets", "guidance": 2}, {}, "guidance needs a network with a null label"),
        ({"model": "digits"}, {"LABELS": [10]}, "labels of digits are 0 to 9, got 10"),
        ({"model": "streets"}, {"TENSORS": np.full((1, 3, 32, 32), np.nan)}, "must be finite"),
        ({"model": "streets"}, {"TENSORS": np.zeros((1, 3, 16, 16))}, "TENSORS of streets are"),
        ({"model": "streets", "count": 100_000}, {}, "count is a whole number from 1 to 4096"),
    ],
)
def test_a_wrong_request_gets_a_sentence(server, options, given, sentence):
    with pytest.raises(triton.InferenceServerException, match=sentence) as caught:
        ask(server, options, **given)
    assert "INVALID_ARGUMENT" in str(caught.value.status())
    assert "Traceback" not in str(caught.value) and "sluice:" not in str(caught.value)


def test_too_many_requests_are_refused_at_once_and_the_others_answered(server):
    most, extra = 64, 5
    client, come = triton.InferenceServerClient(server.grpc), queue.Queue()
    client.start_stream(lambda result, error: come.put(error or json.loads(result.as_numpy("EVENT")[0])["kind"]))
    try:
        for i in range(most + extra):
            client.async_stream_infer("sample", tensors({"model": "digits", "solver": "ddim", "steps": 10},
                                                        SEEDS=[i], LABELS=[1]))  # fmt: skip
        ends, refused = 0, []
        while ends + len(refused) < most + extra:
            said = come.get(timeout=60)
            ends += said == "end"
            refused += [said] if isinstance(said, Exception) else []
    finally:
        client.stop_stream()
    # Those that come in while earlier ones finish find room.
    assert all("busy with 64 requests; try again" in str(error) for error in refused) and ends >= most
