"""The verb `enhance` through the real server: pictures, order, what is dropped, who goes away, what is forgotten."""

import io
import json
import queue
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shared_memory
from PIL import Image
from tritonclient.utils import np_to_triton_dtype

import scenes
from sluice.wire.calls import strings
from tests.made.packets import coded

RANDOM = np.random.default_rng(6)


def noise(*shape):
    return RANDOM.integers(0, 256, shape, np.uint8)


def street(height, width):
    """Return a crop of a drawn street that coding damages, uint8 [H, W, 3], up to 160 x 380."""
    return np.array(scenes.render(11).image[200 : 200 + height, 100 : 100 + width])


def jpeg(pixels, quality):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def tensors(OPTIONS=None, **given):
    made = []
    for name, value in {**given, "OPTIONS": [json.dumps(OPTIONS or {})]}.items():
        array = value if isinstance(value, np.ndarray) else strings(value)
        made.append(triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        made[-1].set_data_from_numpy(np.ascontiguousarray(array))
    return made


@contextmanager
def connected(server, alone=False):
    """Open a stream: `send(...)` begins a request, `following()` returns the next (facts, result), or None at its end.

    alone: True if there is only one request, whose error then has a status. With several requests it must be False,
    because the first error would end the stream under the others, which Triton 2.51 does not survive.
    """
    client, come = triton.InferenceServerClient(server.grpc), queue.Queue()
    headers = {"triton_grpc_error": "true"} if alone else None
    client.start_stream(lambda result, error: come.put((result, error)), headers=headers)

    running = [0]

    def send(**given):
        running[0] += 1
        client.async_stream_infer("enhance", tensors(**given), enable_empty_final_response=True)

    def following(timeout=60):
        result, error = come.get(timeout=timeout)
        if error:
            running[0] -= 1
            raise error
        if result.get_response().parameters["triton_final_response"].bool_param:
            running[0] -= 1
            return None
        return json.loads(result.as_numpy("EVENT")[0]), result

    try:
        yield send, following
    finally:
        client.stop_stream(cancel_requests=running[0] > 0)
        client.close()


def ask(server, OPTIONS=None, **given):
    """Return all events of one request."""
    with connected(server, alone=True) as (send, following):
        send(OPTIONS=OPTIONS, **given)
        return list(iter(following, None))


def events(following, requests):
    """Return the events of `requests` requests that run side by side."""
    told, ends = [], 0
    while ends < requests:
        event = following()
        ends += event is None
        told += [event] if event else []
    return told


def outcomes(server, outcome):
    """Return the number of requests of `enhance` that the server counts with this outcome."""
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    wanted = [line for line in lines if line.startswith("sluice_requests_total{") and 'model="enhance"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in wanted if f'outcome="{outcome}"' in line)


def calls(server, model):
    statistics = triton.InferenceServerClient(server.grpc).get_inference_statistics(model)
    return statistics.model_stats[0].inference_count


def stopped(server, model):
    """Return whether a model receives no more calls; calls made before may still be on their way."""
    count = calls(server, model)
    time.sleep(1)
    return calls(server, model) == count


def eventually(true, seconds=30):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


# ------------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("quality", [10, 20])
def test_a_coded_picture_comes_back_nearer_to_the_original(server, quality):
    original = street(128, 192)
    data = jpeg(original, quality)
    (facts, result) = ask(server, {"format": "rgb"}, IMAGES=[data])[1]
    assert facts["done"] == ["artifact_remover_strong"]

    def error(pixels):
        return np.mean((np.asarray(pixels, float) - original) ** 2)

    assert error(result.as_numpy("RGB")) < error(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (48, 64)])
def test_sizes_forms_and_strength(server, size):
    frame = street(*size)
    (_, same) = ask(server, {"strength": 0}, RGB=frame[None])[1]
    np.testing.assert_array_equal(same.as_numpy("RGB"), frame)
    (facts, double) = ask(server, {"do": "both", "mode": "clean", "format": "png"}, RGB=frame[None])[1]
    assert facts["done"] == ["artifact_remover_weak", "frame_upscaler_clean"]
    assert Image.open(io.BytesIO(double.as_numpy("IMAGE")[0])).size == (2 * size[1], 2 * size[0])
    (facts, _) = ask(server, {"do": "upscale", "size": [size[1], size[0]]}, RGB=frame[None])[1]
    assert facts["done"] == []


def test_packets_are_decoded_by_the_server(server):
    packets = [bytes(one) for one in coded(6)]
    told = ask(server, {"do": "upscale", "scale": "3/2", "mode": "clean"}, PACKETS=packets)
    frames = [facts for facts, _ in told if facts["kind"] == "frame"]
    assert [facts["number"] for facts in frames] == list(range(6))
    assert {(facts["width"], facts["height"], facts["matrix"]) for facts in frames} == {(48, 24, "bt709")}


def test_raw_frames_come_through_shared_memory(server):
    frames = np.stack([street(48, 64), street(48, 64)[::-1]])
    key = f"/{server.prefix}_frames"
    region = shared_memory.create_shared_memory_region("frames", key, frames.nbytes)
    client, come = triton.InferenceServerClient(server.grpc), queue.Queue()
    try:
        shared_memory.set_shared_memory_region(region, [frames])
        client.register_system_shared_memory("frames", key, frames.nbytes, headers=server.admin_headers)
        given = [triton.InferInput("RGB", list(frames.shape), "UINT8"), *tensors({"strength": 0})]
        given[0].set_shared_memory("frames", frames.nbytes)
        client.start_stream(lambda result, error: come.put((result, error)))
        client.async_stream_infer("enhance", given)
        answers = [come.get(timeout=60) for _ in range(4)]  # begun, two frames, end
        assert [error for _, error in answers] == [None] * 4
        np.testing.assert_array_equal([result.as_numpy("RGB") for result, _ in answers[1:3]], frames)
    finally:
        client.stop_stream()
        client.unregister_system_shared_memory("frames", headers=server.admin_headers)
        client.close()
        shared_memory.destroy_shared_memory_region(region)


# ------------------------------------------------------------------------------------------------ the stream


def test_mode_auto_follows_the_bitrate_of_packets_that_come_one_at_a_time(server):
    size, group = (160, 96), {"g": "50", "sc_threshold": "0"}
    packets = coded(60, size, options={"crf": "51", **group}) + coded(120, size, options={"qp": "1", **group})
    with connected(server) as (send, following):
        told = []
        for i, packet in enumerate(packets):
            options = {"stream": "rate", "first": i, "last": i == len(packets) - 1}
            send(OPTIONS=options, PACKETS=[bytes(packet)])
            told += [facts for facts, _ in events(following, 1) if facts["kind"] == "frame"]
    assert [facts["number"] for facts in told] == list(range(180))
    done = [facts["done"] for facts in told]
    # The first frame, coded alone, is as large as in good video, and is not taken for it.
    assert done[0] == ["artifact_remover_weak"] and told[0]["provisional"]
    assert done[59] == ["artifact_remover_weak"] and not told[59]["provisional"] and done[-1] == []
    assert [facts["switched"] for facts in told] == [i > 0 and done[i] != done[i - 1] for i in range(180)]
    assert sum(facts["switched"] for facts in told) == 1


def test_frames_of_many_requests_come_back_in_order(server):
    with connected(server) as (send, following):
        for i in range(5):
            size = (8, 8) if i % 2 else (64, 48)  # the small ones are done sooner, and wait
            send(OPTIONS={"stream": "order", "first": 2 * i, "times": [i, i + 0.5], "last": i == 4},
                 RGB=noise(2, *size, 3))  # fmt: skip
        told = [facts for facts, _ in events(following, 5) if facts["kind"] == "frame"]
    assert [facts["number"] for facts in told] == list(range(10))
    assert [facts["time"] for facts in told] == [i / 2 for i in range(10)]


def test_a_frame_out_of_order_is_refused(server):
    options = {"stream": "late", "first": 3}
    ask(server, options, RGB=noise(1, 8, 8, 3))
    with pytest.raises(triton.InferenceServerException, match="'late' is at frame 4, got 3; send frames in the order"):
        ask(server, options, RGB=noise(1, 8, 8, 3))
    (begun, *_) = ask(server, {**options, "first": 4, "last": True}, RGB=noise(1, 8, 8, 3))
    assert not begun[0]["new"]


def test_frames_that_come_too_fast_are_dropped_and_told_or_waited_for(server):
    count, frame = 10, noise(1, 90, 160, 3)
    for policy in ("drop", "wait"):
        with connected(server) as (send, following):
            options = {"stream": policy, "policy": policy, "backlog": 1, "do": "both"}
            for i in range(count):
                send(OPTIONS={**options, "first": i, "last": i == count - 1}, RGB=frame)
            told = [facts for facts, _ in events(following, count)]
        places = [(facts["number"], facts["kind"]) for facts in told if facts["kind"] in ("frame", "dropped")]
        assert [number for number, _ in places] == list(range(count))
        dropped = [number for number, kind in places if kind == "dropped"]
        assert bool(dropped) == (policy == "drop") and count - 1 not in dropped
        assert dropped == [number for facts in told if facts["kind"] == "end" for number in facts["dropped"]]


def test_an_idle_stream_is_forgotten(server):
    ask(server, {"stream": "idle", "idle": 1}, RGB=noise(1, 8, 8, 3))
    time.sleep(1.5)
    (begun, *_) = ask(server, {"stream": "idle", "last": True}, RGB=noise(1, 8, 8, 3))
    assert begun[0]["new"], "it would refuse frame 0 otherwise"


def test_too_many_streams_are_refused_until_some_are_idle(server):
    refused = []
    with connected(server) as (send, following):
        for i in range(70):
            send(OPTIONS={"stream": f"many {i}", "idle": 8, "strength": 0}, RGB=noise(1, 1, 1, 3))
        ends = 0
        while ends + len(refused) < 70:
            try:
                ends += following() is None
            except triton.InferenceServerException as error:
                refused.append(str(error))
    assert len(refused) >= 6 and all("64 streams are known, and no more may be" in text for text in refused)

    def room():
        try:
            return ask(server, {"stream": "one more", "last": True}, RGB=noise(1, 1, 1, 3))
        except triton.InferenceServerException:
            return False

    eventually(room, 60)


# ------------------------------------------------------------------------------------------------ who goes away


def test_cancelling_stops_the_work_within_a_frame(server):
    before, asked = outcomes(server, "cancelled"), calls(server, "frame_upscaler_clean")
    with connected(server) as (send, following):
        send(OPTIONS={"do": "upscale", "mode": "clean"}, RGB=noise(32, 180, 240, 3))
        assert following()[0]["kind"] == "begun" and following()[0]["kind"] == "frame"
    eventually(lambda: outcomes(server, "cancelled") == before + 1)
    eventually(lambda: stopped(server, "frame_upscaler_clean"))
    assert calls(server, "frame_upscaler_clean") - asked < 32, "the work went on"


def test_a_killed_client_leaves_no_work_running(server):
    before, asked = outcomes(server, "cancelled"), calls(server, "frame_upscaler_clean")
    program = textwrap.dedent(f"""
        import sys, numpy as np, tritonclient.grpc as triton
        client = triton.InferenceServerClient({server.grpc!r})
        client.start_stream(lambda result, error: print(error or "event", flush=True))
        frames = triton.InferInput("RGB", [32, 180, 240, 3], "UINT8")
        frames.set_data_from_numpy(np.zeros((32, 180, 240, 3), np.uint8))
        text = triton.InferInput("OPTIONS", [1], "BYTES")
        text.set_data_from_numpy(np.array([b'{{"do": "upscale", "stream": "killed", "idle": 1}}'], object))
        client.async_stream_infer("enhance", [frames, text])
        sys.stdin.read()
    """)
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True)
    try:
        for _ in range(2):
            assert process.stdout.readline() == "event\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually(lambda: outcomes(server, "cancelled") == before + 1)
    eventually(lambda: stopped(server, "frame_upscaler_clean"))
    assert calls(server, "frame_upscaler_clean") - asked < 32, "the work went on"
    eventually(lambda: ask(server, {"stream": "killed", "last": True}, RGB=noise(1, 1, 1, 3))[0][0]["new"])


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "given", "sentence"),
    [
        ({}, {}, "give frames as one of IMAGES, RGB, PLANES, PACKETS; got none"),
        ({"do": "upscale", "size": [900, 8]}, {"RGB": noise(1, 8, 8, 3)}, "becomes at most 4 times as large"),
        ({}, {"RGB": noise(33, 1, 1, 3)}, "a request holds 1 to 32 frames, got 33"),
        ({}, {"PLANES": noise(1, 7, 5)}, "PLANES of an odd size"),
        ({"matrix": "bt2020"}, {"RGB": noise(1, 1, 1, 3)}, "matrix is one of bt601, bt709"),
        ({}, {"PACKETS": [b"junk" * 50]}, "packet 0 cannot be decoded"),
    ],
)
def test_a_wrong_request_gets_a_sentence(server, options, given, sentence):
    with pytest.raises(triton.InferenceServerException, match=sentence) as caught:
        ask(server, options, **given)
    assert "INVALID_ARGUMENT" in str(caught.value.status())
    assert "Traceback" not in str(caught.value) and "sluice:" not in str(caught.value)


def test_a_picture_that_cannot_be_read_fails_alone(server):
    told = [facts for facts, _ in ask(server, IMAGES=[jpeg(street(8, 8), 90), b"junk"])]
    assert [facts["kind"] for facts in told] == ["begun", "frame", "failed", "end"]
    assert "not an image" in told[2]["error"]
