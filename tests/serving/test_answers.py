"""Answers on their way out: every call ends with its own answer or its own error, whatever happens meanwhile.

Measured besides, by `python -m bench shared_memory`: how soon after an answer its request has let go of shared memory.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, shared_memory

from sluice.server import keeper, watchdog
from tests.made import onnx_graphs

CALLERS = 8
ENDS = 60.0  # s after which a call counts as one that nobody answers

TENSORS = """
max_batch_size: 8
input { name: "INPUT0" data_type: TYPE_INT32 dims: [ -1 ] }
input { name: "INPUT1" data_type: TYPE_INT32 dims: [ -1 ] }
output { name: "OUTPUT0" data_type: TYPE_INT32 dims: [ -1 ] }
output { name: "OUTPUT1" data_type: TYPE_INT32 dims: [ -1 ] }
instance_group [ { count: 2 } ]
dynamic_batching { max_queue_delay_microseconds: 2000 }
"""
# A network, a Python model whose requests are merged, and one that asks that: OUTPUT0 the sum, OUTPUT1 the difference.
NETWORK = 'backend: "onnxruntime" parameters [ { key: "intra_op_thread_count" value { string_value: "1" } } ]'
MERGED = """
from sluice.errors import InvalidArgument
from sluice.triton import PythonModel

class TritonPythonModel(PythonModel):
    merge = True

    def infer(self, inputs):
        a, b = inputs["INPUT0"], inputs["INPUT1"]
        if a.shape != b.shape:
            raise InvalidArgument(f"expected two inputs of one shape, got {a.shape} and {b.shape}")
        return {"OUTPUT0": a + b, "OUTPUT1": a - b}
"""
ASKING = """
from sluice.triton import PythonModel

class TritonPythonModel(PythonModel):
    async def infer(self, inputs):
        return await self.call("merged", inputs, ["OUTPUT0", "OUTPUT1"])
"""
PYTHON = 'backend: "python" '
CALLS = 'parameters [ { key: "calls" value { string_value: "merged" } } ]'
MODELS = ("network", "merged", "asking")


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "repository"
    onnx_graphs.add_subtract(root / "network" / "1" / "model.onnx", size="k")
    for name, code in (("merged", MERGED), ("asking", ASKING)):
        (root / name / "1").mkdir(parents=True)
        (root / name / "1" / "model.py").write_text(code)
    for name, backend in (("network", NETWORK), ("merged", PYTHON), ("asking", PYTHON + CALLS)):
        (root / name / "config.pbtxt").write_text(backend + TENSORS)
    return root


class Regions:
    """One caller's two regions of shared memory, registered: inputs one after the other, outputs likewise."""

    def __init__(self, server, client, number, size=1 << 16):
        self.server, self.client, self.size = server, client, size
        self.names = [f"answers_{which}_{number}" for which in ("in", "out")]
        keys = [f"/{server.prefix}_test_{name}" for name in self.names]
        self.handles = [
            shared_memory.create_shared_memory_region(name, key, size)
            for name, key in zip(self.names, keys, strict=True)
        ]
        for name, key in zip(self.names, keys, strict=True):
            client.register_system_shared_memory(name, key, size, headers=server.admin_headers)

    def close(self):
        for name, handle in zip(self.names, self.handles, strict=True):
            with contextlib.suppress(InferenceServerException):  # the server may be gone, or a cancelled call in it
                self.client.unregister_system_shared_memory(name, headers=self.server.admin_headers)
            shared_memory.destroy_shared_memory_region(handle)


def ask(client, model, a, b, regions=None, given=False, taken=False, timeout=ENDS):
    """Return (OUTPUT0, OUTPUT1) of one call.

    given, taken: whether the inputs and the outputs travel in shared memory.
    """
    inputs, outputs, at = [], [], 0
    for name, array in (("INPUT0", a), ("INPUT1", b)):
        tensor = grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        if given:
            shared_memory.set_shared_memory_region(regions.handles[0], [array], offset=at)
            tensor.set_shared_memory(regions.names[0], array.nbytes, offset=at)
            at += array.nbytes
        else:
            tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    for place, name in enumerate(("OUTPUT0", "OUTPUT1")):
        outputs.append(grpc.InferRequestedOutput(name))
        if taken:
            outputs[-1].set_shared_memory(regions.names[1], a.nbytes, offset=place * a.nbytes)
    answer = client.infer(model, inputs, outputs=outputs, client_timeout=timeout)
    if not taken:
        return answer.as_numpy("OUTPUT0"), answer.as_numpy("OUTPUT1")
    return tuple(
        shared_memory.get_contents_as_numpy(regions.handles[1], np.int32, a.shape, offset=place * a.nbytes)
        for place in (0, 1)
    )


def pair(seed, shape=(1, 256)):
    a, b = np.random.default_rng(seed).integers(-(1 << 20), 1 << 20, (2, *shape)).astype(np.int32)
    return a, b


def everybody(server, calls):
    """Make `calls` calls by `CALLERS` callers over all models and four kinds of transport; count how they ended.

    Every tenth call is itself wrong and every twelfth is abandoned at once. An answer that belongs to another call
    fails the test.
    """

    def caller(number):
        ended = collections.Counter()
        with server.client() as client:
            regions = Regions(server, client, number)
            try:
                transports = itertools.cycle(itertools.product((False, True), repeat=2))
                for turn, (given, taken) in zip(range(number, calls, CALLERS), transports, strict=False):
                    a, b = pair(turn, (1, (256, 2048)[turn // CALLERS % 2]))
                    model = MODELS[turn // CALLERS % 3]
                    if turn // CALLERS % 10 == 7:
                        with pytest.raises(InferenceServerException) as caught:
                            ask(client, model, a, b[:, :-1], regions, given)
                        assert "INVALID_ARGUMENT" in str(caught.value), caught.value
                        ended["refused"] += 1
                    elif turn // CALLERS % 12 == 5:
                        try:
                            ask(client, model, a, b, timeout=0.003)
                            ended["in time"] += 1
                        except InferenceServerException as error:
                            assert "Deadline Exceeded" in str(error), error
                            ended["given up"] += 1
                    else:
                        total, rest = ask(client, model, a, b, regions, given, taken)
                        assert (total == a + b).all() and (rest == a - b).all(), (model, given, taken, turn)
                        ended["answered"] += 1
            finally:
                regions.close()
        return ended

    with ThreadPoolExecutor(CALLERS) as pool:
        return sum(pool.map(caller, range(CALLERS)), collections.Counter())


def held(server):
    """Return the bytes that the server's processes and its regions of shared memory take."""
    processes = [server.pid, *watchdog.stubs(server.pid)]
    resident = sum(psutil.Process(pid).memory_info().rss for pid in processes)
    return resident, sum(os.stat(region).st_size for region in keeper.regions(server.prefix))


@pytest.mark.long
def test_thousands_of_calls_end_each_with_its_own_answer(start, repository):
    server = start(repositories=[repository], probes={})
    everybody(server, 1200)
    stubs, (resident, shared) = set(watchdog.stubs(server.pid)), held(server)
    ended = everybody(server, 6000)
    assert sum(ended.values()) == 6000
    assert ended["refused"] == 600 and ended["answered"] > 4500 and ended["given up"], ended
    assert set(watchdog.stubs(server.pid)) == stubs, "a Python process has ended"
    now, now_shared = held(server)
    assert now - resident < 64 << 20 and now_shared == shared, (resident, now, shared, now_shared)
    assert "Traceback" not in server.read_log()
    with server.client() as client:
        statistics = client.get_inference_statistics("merged").model_stats[0]
    assert statistics.execution_count < statistics.inference_count, "no two requests shared an execution"


def asking(server, model, stop):
    """Start callers of one model that run until `stop` is set.

    Returns a function that gives [(seconds, error, or None if it was answered), ...].
    """

    def caller(number):
        calls = []
        with server.client() as client:
            for turn in itertools.count():
                if stop.is_set():
                    return calls
                a, b = pair(number + CALLERS * turn)
                begun, failed = time.monotonic(), None
                try:
                    total, rest = ask(client, model, a, b)
                    assert (total == a + b).all() and (rest == a - b).all()
                except InferenceServerException as error:
                    failed = str(error)
                    time.sleep(0.02)
                calls.append((time.monotonic() - begun, failed))
        return calls

    pool = ThreadPoolExecutor(CALLERS)
    callers = [pool.submit(caller, number) for number in range(CALLERS)]

    def finished():
        stop.set()
        with pool:
            return [call for each in callers for call in each.result()]

    return finished


@pytest.mark.long
@pytest.mark.parametrize("model", ["network", "merged"])
def test_a_model_is_loaded_again_while_its_answers_leave(start, repository, model):
    server = start(repositories=[repository], models=[model], probes={})
    finished = asking(server, model, threading.Event())
    with server.client() as client:
        for _ in range(8):
            time.sleep(0.3)
            client.unload_model(model, headers=server.admin_headers)
            client.load_model(model, headers=server.admin_headers)
        time.sleep(0.3)
        calls = finished()
        failures = [error for _, error in calls if error]
        assert all("no available versions" in error or "not ready" in error for error in failures), set(failures)
        assert len(calls) - len(failures) > 8 * CALLERS
        a, b = pair(0)
        assert (ask(client, model, a, b)[0] == a + b).all()
    assert server.running()


@pytest.mark.long
@pytest.mark.parametrize("model", ["network", "merged"])
def test_nobody_waits_for_ever_when_a_process_is_killed(start, repository, model):
    """Check that each call ends: with its answer, with an error, or with the server itself."""
    for _ in range(6):
        server = start(repositories=[repository], models=[model], probes={})
        finished = asking(server, model, threading.Event())
        time.sleep(0.5)
        for pid in watchdog.stubs(server.pid):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        calls = finished()
        assert any(error for _, error in calls)
        slowest, error = max(calls, key=lambda call: call[0])
        assert slowest < ENDS / 2, error
        server.kill()


@pytest.mark.long
@pytest.mark.parametrize("model", ["network", "merged"])
def test_a_stop_lets_the_answers_out(start, repository, model):
    server = start(repositories=[repository], models=[model], probes={})
    finished = asking(server, model, threading.Event())
    time.sleep(0.5)
    assert server.stop() == 0
    calls = finished()
    assert len([call for call in calls if call[1] is None]) > CALLERS
    slowest, error = max(calls, key=lambda call: call[0])
    assert slowest < ENDS / 2, error


@pytest.mark.parametrize("model", ["network", "merged"])
def test_an_answer_that_shared_memory_cannot_hold_is_an_error_at_once(start, repository, model):
    """Reproduce a small --shm-size. Sent by a response sender, such an answer and its error would be lost (2.51)."""
    server = start(repositories=[repository], models=[model], probes={})
    with server.client() as client:
        a, b = pair(1, (1, 1000))
        ask(client, model, a, b)
        for pid in watchdog.stubs(server.pid):  # from here on these processes cannot enlarge their regions
            limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        large = np.ones((1, 3 << 20), np.int32)
        with pytest.raises(InferenceServerException, match="Failed to increase the shared memory pool size"):
            ask(client, model, large, large, timeout=30)
        total, _ = ask(client, model, a, b)
        assert (total == a + b).all()
