"""The stand-in for the C++ ONNX Runtime backend in the real server: published repositories, batches, refusals."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import onnxruntime as ort
import psutil
import pytest
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from sluice.server import launch as launcher
from tests.made import onnx_graphs

pytestmark = pytest.mark.serving

OPENVINO = importlib.util.find_spec("openvino") is not None

# As NVIDIA publishes them: platform instead of backend, no instance group, no threads.
SIMPLE = """
name: "{name}" platform: "onnxruntime_onnx" max_batch_size: 8
input [
  {{ name: "INPUT0" data_type: TYPE_INT32 dims: [ 16 ] }},
  {{ name: "INPUT1" data_type: TYPE_INT32 dims: [ 16 ] }}
]
output [
  {{ name: "OUTPUT0" data_type: TYPE_INT32 dims: [ 16 ] }},
  {{ name: "OUTPUT1" data_type: TYPE_INT32 dims: [ 16 ] }}
]
"""
DENSENET = """
name: "densenet_onnx" platform: "onnxruntime_onnx" max_batch_size: 1
input [ { name: "data_0" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 8, 8 ] } ]
output [ {
  name: "fc6_1" data_type: TYPE_FP32 dims: [ 5 ] reshape { shape: [ 5, 1, 1 ] } label_filename: "densenet_labels.txt"
} ]
"""
SEQUENCE = """
name: "simple_sequence" platform: "onnxruntime_onnx" max_batch_size: 8
sequence_batching { max_sequence_idle_microseconds: 60000000 control_input [
  { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
  { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY int32_false_true: [ 0, 1 ] } ] }
] }
input [ { name: "INPUT" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "OUTPUT" data_type: TYPE_INT32 dims: [ 1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
STATEFUL = """
name: "running_sum" backend: "onnxruntime" max_batch_size: 4
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 8 }
  state [ { input_name: "STATE_IN" output_name: "STATE_OUT" data_type: TYPE_INT32 dims: [ 1 ] } ]
}
input [ { name: "INPUT" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "TOTAL" data_type: TYPE_INT32 dims: [ -1 ] } ]
instance_group [ { count: 2 } ]
"""
NETWORK = """
name: "{name}" backend: "onnxruntime" max_batch_size: 8
input [ {{ name: "IMAGE" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] }} ]
output [ {{ name: "FEATURES" data_type: TYPE_FP16 dims: [ -1, -1, 16 ] }} ]
instance_group [ {{ count: {count} }} ]
parameters [ {{ key: "intra_op_thread_count" value {{ string_value: "{threads}" }} }} ]
dynamic_batching {{ max_queue_delay_microseconds: 2000 }}
"""
WARM = """
model_warmup [ { name: "one" batch_size: 1 inputs {
  key: "IMAGE" value { data_type: TYPE_UINT8 dims: [ 32, 32, 3 ] random_data: true }
} } ]
"""
ACCELERATED = """
optimization { execution_accelerators {
  cpu_execution_accelerator [ { name: "openvino" parameters { key: "precision" value: "bf16" } } ]
  gpu_execution_accelerator [ { name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } } ]
} }
"""
ONE_THREAD = """
parameters [ { key: "intra_op_thread_count" value { string_value: "1" } } ]
"""
PICKER = """
name: "picker" backend: "onnxruntime" max_batch_size: 8
input [ { name: "INDEX" data_type: TYPE_INT64 dims: [ 1 ] } ]
output [ { name: "PICKED" data_type: TYPE_FP32 dims: [ 1 ] } ]
instance_group [ { count: 1 } ]
dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 5000000 }
"""
VERSIONS = """
name: "versions" backend: "onnxruntime" max_batch_size: 2 version_policy { all { } }
input [ { name: "IMAGE" data_type: TYPE_UINT8 dims: [ -1, -1, 3 ] } ]
output [ { name: "FEATURES" data_type: TYPE_FP16 dims: [ -1, -1, 16 ] } ]
instance_group [ { count: 1 } ]
"""
STRING = """
name: "simple_string" platform: "onnxruntime_onnx" max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_STRING dims: [ -1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_STRING dims: [ -1 ] } ]
instance_group [ { count: 1 } ]
"""
HALVES = """
name: "halves" backend: "onnxruntime" max_batch_size: 4
input [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } ] output [ { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } ]
instance_group [ { count: 1 } ]
"""
CAST = """
name: "bfloat" backend: "onnxruntime" max_batch_size: 4
input [ { name: "X" data_type: TYPE_BF16 dims: [ -1 ] } ] output [ { name: "Y" data_type: TYPE_BF16 dims: [ -1 ] } ]
instance_group [ { count: 1 } ]
dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 5000000 }
"""
RAGGED = """
name: "ragged" backend: "onnxruntime" max_batch_size: 3
input [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]
batch_input [ {
  kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "ENDS" data_type: TYPE_FP32 source_input: "X"
} ]
output [
  { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "TOTAL" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }
]
batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Y" source_input: "X" } ]
instance_group [ { count: 1 } ]
dynamic_batching { preferred_batch_size: [ 3 ] max_queue_delay_microseconds: 5000000 }
"""


def repository(root: Path) -> list[str]:
    """Write the models that load and return their names."""

    def model(name: str, config: str, version: int = 1) -> Path:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.pbtxt").write_text(config)
        return folder / str(version) / "model.onnx"

    onnx_graphs.add_subtract(model("simple", SIMPLE.format(name="simple")))
    onnx_graphs.identity(model("simple_string", STRING))
    onnx_graphs.sequence(model("simple_sequence", SEQUENCE))
    onnx_graphs.running_sum(model("running_sum", STATEFUL + ONE_THREAD))
    folder = model("densenet_onnx", DENSENET)
    onnx_graphs.classifier(folder / "model.onnx", external=True)  # a folder with its weights in a file beside
    (root / "densenet_onnx" / "densenet_labels.txt").write_text("car\ntruck\nbicycle\nsign\ntree\n")
    onnx_graphs.network(model("network", NETWORK.format(name="network", count=2, threads=1)))
    onnx_graphs.network(model("three_threads", NETWORK.format(name="three_threads", count=1, threads=3) + WARM))
    onnx_graphs.picker(model("picker", PICKER + ONE_THREAD))
    onnx_graphs.halves(model("halves", HALVES + ONE_THREAD))
    onnx_graphs.add_one_bfloat(model("bfloat", CAST + ONE_THREAD))
    onnx_graphs.lengths(model("ragged", RAGGED + ONE_THREAD))
    for version in (1, 2):
        onnx_graphs.network(model("versions", VERSIONS + ONE_THREAD, version), seed=version)
    if OPENVINO:
        accelerated = NETWORK.format(name="accelerated", count=1, threads=1) + ACCELERATED
        onnx_graphs.network(model("accelerated", accelerated))
    return sorted(folder.name for folder in root.iterdir())


@contextlib.contextmanager
def served(**how):
    """Start a server that is killed in the end: stopping in order is tested elsewhere and takes seconds."""
    running = launcher.start(probes={}, timeout=300, **{"profile": "cpu", **how})
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("repository")


@pytest.fixture(scope="module")
def server(root):
    first, *others = repository(root)
    with served(repositories=[root], models=[first]) as running, running.client() as connection:
        for name in others:  # one after the other: on a busy machine many at once starve each other
            connection.load_model(name, headers=running.admin_headers)
        yield running


@pytest.fixture(scope="module")
def client(server):
    with server.client() as connection:
        yield connection


def ask(client, model, outputs=None, **arrays):
    """Return the answer's arrays by name."""
    inputs = []
    for name, array in arrays.items():
        tensor = grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    wanted = [grpc.InferRequestedOutput(name) for name in outputs] if outputs else None
    answer = client.infer(model, inputs, outputs=wanted, client_timeout=30)
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


def _processes(server, instance):
    """Return the processes of one instance; each version of a model has its own process of the same name."""
    found = []
    for child in psutil.Process(server.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if instance in child.cmdline() and "stub" in child.name():
                found.append(child)
    return found


def statistics(client, model):
    return client.get_inference_statistics(model).model_stats[0]


def executions(client, model, before, requests):
    """Return how often the model ran for `requests` requests after `before`; Triton counts after it has answered."""
    deadline = time.monotonic() + 20
    while True:
        now = statistics(client, model)
        if now.inference_stats.success.count - before.inference_stats.success.count >= requests:
            return now.execution_count - before.execution_count
        assert time.monotonic() < deadline, f"fewer than {requests} requests were counted"
        time.sleep(0.02)


def image(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


# Repositories made for the C++ backend


def test_the_simple_example_answers(client):
    a, b = np.arange(32, dtype=np.int32).reshape(2, 16), np.full((2, 16), 3, np.int32)
    answer = ask(client, "simple", INPUT0=a, INPUT1=b)
    np.testing.assert_array_equal(answer["OUTPUT0"], a + b)
    np.testing.assert_array_equal(answer["OUTPUT1"], a - b)


def test_only_the_outputs_that_were_asked_for_come_back(client):
    ones = np.ones((1, 16), np.int32)
    assert list(ask(client, "simple", ["OUTPUT1"], INPUT0=ones, INPUT1=ones)) == ["OUTPUT1"]


def test_strings_come_back_as_they_went(client):
    words = np.array([[b"plain", "Stra\u00dfe".encode(), b""]], object)
    np.testing.assert_array_equal(ask(client, "simple_string", INPUT0=words)["OUTPUT0"], words)


def sequences(server, model, output, steps):
    """Run six sequences at once, each twice over with the same id; return the totals by caller, in order."""

    def caller(number):
        got = []
        with server.client() as own:
            for place in [*range(steps), *range(steps)]:
                tensor = grpc.InferInput("INPUT", [1, 1], "INT32")
                tensor.set_data_from_numpy(np.array([[number]], np.int32))
                flags = {"sequence_start": place == 0, "sequence_end": place == steps - 1}
                answer = own.infer(model, [tensor], sequence_id=number, client_timeout=30, **flags)
                got.append(answer.as_numpy(output).item())
        return got

    numbers = range(1, 7)
    with ThreadPoolExecutor(len(numbers)) as pool:
        return dict(zip(numbers, pool.map(caller, numbers), strict=True))


def test_sequence_controls_reach_the_graph(server):
    got = sequences(server, "simple_sequence", "OUTPUT", steps=3)
    assert got == {number: [number + 1, number, number] * 2 for number in got}


def test_implicit_state_lasts_through_a_sequence_and_no_longer(server):
    got = sequences(server, "running_sum", "TOTAL", steps=4)
    assert got == {number: [number, 2 * number, 3 * number, 4 * number] * 2 for number in got}


def test_an_image_classifier_answers_with_its_labels(client, root):
    picture = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    tensor = grpc.InferInput("data_0", picture.shape, "FP32")
    tensor.set_data_from_numpy(picture)
    scores = client.infer("densenet_onnx", [tensor]).as_numpy("fc6_1")
    assert scores.shape == (1, 5)
    wanted = [grpc.InferRequestedOutput("fc6_1", class_count=1)]
    best = client.infer("densenet_onnx", [tensor], outputs=wanted).as_numpy("fc6_1").item().decode()
    labels = (root / "densenet_onnx" / "densenet_labels.txt").read_text().split()
    assert best.split(":")[2] == labels[int(scores.argmax())]


# What cannot be filled in: graph, config, what is said.
UNFILLED = {
    "custom": (
        onnx_graphs.network,
        'model_operations { op_library_filename: "/nowhere/ops.so" }',
        "op_library_filename 'ops.so' does not load",
    ),
    "controlled": (
        onnx_graphs.sequence,
        """sequence_batching { control_input [
          { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
          { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY int32_false_true: [ 0, 1 ] } ] }
        ] }""",
        "sequence_batching adds the inputs 'READY', 'START' itself",
    ),
    "classified": (onnx_graphs.zipmap, 'output { name: "label" data_type: TYPE_INT64 dims: [ 1 ] reshape {} }',
                   "expected a tensor, also where the config leaves the output out"),
}  # fmt: skip


def test_missing_configs_are_filled_in_from_the_graph(tmp_path):
    """Check inputs, outputs, batches, and the reshape that one number per item needs."""
    onnx_graphs.network(tmp_path / "bare" / "1" / "model.onnx")
    onnx_graphs.per_item_scalar(tmp_path / "bare_scalar" / "1" / "model.onnx")
    onnx_graphs.open_shape(tmp_path / "open" / "2" / "net.onnx")
    (tmp_path / "open" / "1").mkdir()  # an empty version beside a good one, and a file of another name
    (tmp_path / "open" / "config.pbtxt").write_text('backend: "onnxruntime" default_model_filename: "net.onnx"')
    settings = {"backend-config": ["default-max-batch-size=5"], "rate-limit": ["execution_count"],
                "trace-config": ["triton,file=trace.json"]}  # fmt: skip
    with (
        served(repositories=[tmp_path], auto_complete=True, passed=settings) as server,
        server.client() as client,
    ):
        assert list(client.get_model_config("open").config.output[0].dims) == [1]
        answer = ask(client, "open", X=np.arange(6, dtype=np.float32), SHAPE=np.array([2, 3]))
        assert answer["Y"].tolist() == [[0, 1, 2], [3, 4, 5]], "the shape of the graph, not the [1] of the config"
        assert client.get_trace_settings(headers=server.admin_headers).settings["trace_file"].value == ["trace.json"]

        config = client.get_model_config("bare").config
        assert config.max_batch_size == 5
        assert config.HasField("dynamic_batching")
        assert [(each.name, list(each.dims)) for each in config.input] == [("IMAGE", [-1, -1, 3])]
        assert [(each.name, list(each.dims)) for each in config.output] == [("FEATURES", [-1, -1, 16])]
        assert ask(client, "bare", IMAGE=image(0, 2, 32, 48, 3))["FEATURES"].shape == (2, 8, 12, 16)

        entry = client.get_model_config("bare_scalar").config.input[0]
        assert (list(entry.dims), entry.HasField("reshape")) == ([1], True)
        answer = ask(client, "bare_scalar", VALUE=np.array([[3], [4]], np.float32))
        assert answer["SQUARE"].tolist() == [[9], [16]]

        for name, (graph, config, said) in UNFILLED.items():
            graph(tmp_path / name / "1" / "model.onnx")
            (tmp_path / name / "config.pbtxt").write_text(f'backend: "onnxruntime" {config}')
            with pytest.raises(InferenceServerException) as caught:
                client.load_model(name, headers=server.admin_headers)
            assert said in str(caught.value)
            assert "/" not in str(caught.value).replace("onnxruntime/model.py", "").replace("and/or", "")


# Running


def test_eight_callers_with_mixed_batches_get_what_onnx_runtime_gives(client, server, root):
    session = ort.InferenceSession(str(root / "network" / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    before = statistics(client, "network")
    barrier = threading.Barrier(8)

    def caller(seed):
        rng = np.random.default_rng(seed)
        with server.client() as own:
            barrier.wait()
            for _ in range(12):
                height, width = [(32, 48), (48, 32), (64, 64)][rng.integers(3)]
                pictures = image(rng.integers(1 << 30), rng.integers(1, 4), height, width, 3)
                got = ask(own, "network", IMAGE=pictures)["FEATURES"]
                expected = session.run(None, {"IMAGE": pictures})[0]
                assert got.dtype == np.float16
                np.testing.assert_allclose(got.astype(np.float32), expected.astype(np.float32), atol=1e-3)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(caller, range(8)))
    assert executions(client, "network", before, 8 * 12) < 8 * 12, "no two requests ever shared a run"


def test_a_bad_request_fails_alone_in_its_batch(client, server):
    before = statistics(client, "picker")
    barrier = threading.Barrier(4)

    def caller(index):
        with server.client() as own:
            own.is_server_live()  # connected before the queue's delay begins to count
            barrier.wait()
            try:
                return ask(own, "picker", INDEX=np.array([[index]]))["PICKED"].item()
            except InferenceServerException as error:
                return error

    with ThreadPoolExecutor(4) as pool:
        answers = dict(zip((1, 99, 3, 4), pool.map(caller, (1, 99, 3, 4)), strict=True))
    assert [answers[index] for index in (1, 3, 4)] == [10, 30, 40]
    message = str(answers[99])
    assert "indices element out of data bounds, idx=99" in message
    assert "Traceback" not in message
    assert ".py" not in message
    assert "/" not in message
    assert executions(client, "picker", before, 4) == 1, "the four requests were to share one execution"


def test_both_versions_answer_each_with_its_own_graph_and_can_be_unloaded(client, server, root):
    pictures = image(5, 1, 32, 32, 3)
    tensor = grpc.InferInput("IMAGE", pictures.shape, "UINT8")
    tensor.set_data_from_numpy(pictures)
    for version in ("1", "2"):
        session = ort.InferenceSession(
            str(root / "versions" / version / "model.onnx"), providers=["CPUExecutionProvider"]
        )
        got = client.infer("versions", [tensor], model_version=version).as_numpy("FEATURES")
        np.testing.assert_allclose(got, session.run(None, {"IMAGE": pictures})[0], atol=1e-3)
    client.unload_model("versions", headers=server.admin_headers)
    deadline = time.monotonic() + 20
    while _processes(server, "versions_0_0"):
        assert time.monotonic() < deadline, "the model's processes outlived it"
        time.sleep(0.05)


def test_warm_up_ran_before_the_first_request(client):
    """Ask `three_threads` nothing in this file: Triton counts the warm-up as an execution."""
    assert statistics(client, "three_threads").execution_count == 1


def _threads(server, instance):
    stubs = _processes(server, instance)
    assert len(stubs) == 1, f"{instance} runs in {len(stubs)} processes"
    return stubs[0].num_threads()


def test_thread_counts_are_honoured(server):
    """Count threads by the kernel: three are the caller's and two more of ONNX Runtime's pool."""
    one, another = _threads(server, "network_0_0"), _threads(server, "network_0_1")
    assert one == another, "two instances, each with its own process"
    assert _threads(server, "three_threads_0_0") == one + 2
    assert "intra_op_thread_count=3" in server.read_log()


@pytest.mark.skipif(not OPENVINO, reason="the extra openvino is not installed")
def test_the_accelerated_model_agrees_within_bf16(client, server):
    assert "OpenVINO" in server.read_log()
    for seed, shape in enumerate([(1, 32, 48, 3), (3, 48, 32, 3), (1, 32, 48, 3)]):
        pictures = image(seed, *shape)
        exact, fast = (ask(client, name, IMAGE=pictures)["FEATURES"] for name in ("network", "accelerated"))
        cosine = (exact.astype(np.float32) * fast.astype(np.float32)).sum(-1)
        assert cosine.min() > 0.999


def together(server, model, *arrays):
    """Return the answers to callers who ask at the same moment, each over its own connection."""
    barrier = threading.Barrier(len(arrays))

    def caller(array):
        with server.client() as own:
            own.is_server_live()
            barrier.wait()
            return ask(own, model, X=array)

    with ThreadPoolExecutor(len(arrays)) as pool:
        return list(pool.map(caller, arrays))


def test_requests_of_unequal_lengths_share_a_run(client, server):
    before = statistics(client, "ragged")
    parts = [np.array([row], np.float32) for row in ([1, 2, 3], [4], [5, 6])]
    answers = together(server, "ragged", *parts)
    for part, answer in zip(parts, answers, strict=True):
        np.testing.assert_array_equal(answer["Y"], 2 * part)
        assert answer["TOTAL"].tolist() == [[6]]
    assert executions(client, "ragged", before, 3) == 1


def test_bfloat16_goes_through_merged_and_alone(client, server):
    before = statistics(client, "bfloat")
    parts = [np.array([[0.5 + number, -2]], ml_dtypes.bfloat16) for number in range(4)]
    for part, answer in zip(parts, together(server, "bfloat", *parts), strict=True):
        np.testing.assert_array_equal(answer["Y"].astype(np.float32), part.astype(np.float32) + 1)
    assert executions(client, "bfloat", before, 4) == 1


def counted(server, model):
    """Return outcome -> number of requests, from the server's metrics."""
    text = urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=10).read().decode()
    rows = re.findall(r"^sluice_requests_total{([^}]*)} (\d+)", text, re.MULTILINE)
    labels = [(dict(re.findall(r'(\w+)="([^"]*)"', row)), int(value)) for row, value in rows]
    return {row["outcome"]: value for row, value in labels if row["model"] == model}


def test_sizes_that_a_graph_refuses_are_the_callers_fault_and_counted_as_such(client, server):
    ask(client, "halves", X=np.ones((1, 6), np.float32))
    for _ in range(2):
        with pytest.raises(InferenceServerException) as caught:
            ask(client, "halves", X=np.ones((1, 5), np.float32))
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
        assert "the graph does not take these inputs (X [1,5])" in caught.value.message()
        assert "/" not in caught.value.message()
    assert counted(server, "halves") == {"ok": 1, "invalid": 2, "cancelled": 0, "failed": 0}


# Refusals at load


WRONG = {
    "type": (
        ("TYPE_UINT8", "TYPE_FP32"),
        "configuration expects datatype TYPE_FP32 for input 'IMAGE', model provides TYPE_UINT8",
    ),
    "shape": (("-1, -1, 16", "-1, -1, 32"), "the model expects 4 dimensions (shape [-1,-1,-1,16])"),
    "decoupled": (
        ("instance_group", "model_transaction_policy { decoupled: true } instance_group"),
        "a graph gives one answer a request, it cannot be decoupled",
    ),
    "accelerator": (("openvino", "openvina"), "unknown Execution Accelerator 'openvina' is requested"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_config_stops_the_load(client, server, root, name):
    (right, wrong), sentence = WRONG[name]
    folder = root / f"wrong_{name}"
    onnx_graphs.network(folder / "1" / "model.onnx")
    config = NETWORK.format(name=folder.name, count=1, threads=1) + (ACCELERATED if name == "accelerator" else "")
    (folder / "config.pbtxt").write_text(config.replace(right, wrong))
    with pytest.raises(InferenceServerException) as caught:
        client.load_model(folder.name, headers=server.admin_headers)
    assert f"unable to load model '{folder.name}': " in str(caught.value)
    assert sentence in str(caught.value)
    assert str(root) not in str(caught.value) and str(Path(__file__).parents[2]) not in str(caught.value)
    assert str(server.folder) not in str(caught.value)
    assert not client.is_model_ready(folder.name)


FAILING = """
from sluice.triton import PythonModel

class TritonPythonModel(PythonModel):
    def load(self):
        {0}
"""


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("unready", 'raise ValueError("no weights")', "ValueError: no weights"),
        ("unread", 'open("/nowhere/weights.npz")', "RuntimeError: weights.npz: No such file or directory"),
    ],
)
def test_a_python_model_that_cannot_load_names_no_path_either(client, server, root, name, line, said):
    folder = root / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(FAILING.format(line))
    (folder / "config.pbtxt").write_text(
        'backend: "python" input [{ name: "X" data_type: TYPE_FP32 dims: [ 1 ] }] '
        'output [{ name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }]'
    )
    with pytest.raises(InferenceServerException) as caught:
        client.load_model(name, headers=server.admin_headers)
    assert said in str(caught.value)
    for place in ("/nowhere", str(root), str(Path(__file__).parents[2]), str(server.folder)):
        assert place not in str(caught.value)
    assert "Traceback" in server.read_log(), "the log has it whole"


def test_a_fixed_batch_dimension_stops_the_load(client, server, root):
    folder = root / "wrong_batch"
    onnx_graphs.add_subtract(folder / "1" / "model.onnx", batch=1)
    (folder / "config.pbtxt").write_text(SIMPLE.format(name="wrong_batch"))
    with pytest.raises(InferenceServerException, match="first dimension must be -1"):
        client.load_model("wrong_batch", headers=server.admin_headers)
