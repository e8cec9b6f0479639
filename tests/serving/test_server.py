"""`sluice serve` with the real Triton: starting, refusing, surviving, and leaving nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from sluice.server import health, keeper, layout, ports, probe, processes, pulse, questions, watchdog
from sluice.server import launch as launcher
from tests.made import tiny_repository
from tests.made.tiny_server import ANY_PORTS, add_one, all_gone, eventually, up

# The repository's own models.


def test_every_entry_point_has_truly_answered(server):
    silent = {name for name, state in server.models.items() if state != probe.ANSWERS}
    assert silent <= {"feature_extractor"}  # asked through embed


def test_the_last_first_answer_came_within_ten_seconds_of_the_start(server, cost):
    """Ten seconds of two cores at most; and ten by the clock, where nothing else kept the machine busy."""
    assert server.seconds["ready"] <= server.seconds["answer"]
    assert 1 < cost.cpu <= 2 * 10
    assert server.seconds["answer"] <= 10 or cost.others > 0.2, cost


def test_a_second_server_over_the_same_gallery_stands_beside_the_first(server, start):
    other = start(gallery=server.gallery, models=["frame_gallery"])
    assert other.models == {"frame_gallery": probe.ANSWERS}
    assert other.prefix != server.prefix
    assert not {other.grpc, other.metrics} & {server.grpc, server.http, server.metrics}
    assert keeper.regions(server.prefix)


def test_it_listens_on_this_machine_only(server):
    addresses = {each.laddr.ip for each in psutil.Process(server.pid).net_connections() if each.status == "LISTEN"}
    assert {each.removeprefix("::ffff:") for each in addresses} == {"127.0.0.1"}


def test_administration_is_refused_without_the_key_and_allowed_with_it(server):
    with server.client() as client:
        for call in (
            client.get_model_repository_index,
            client.get_system_shared_memory_status,
            client.get_trace_settings,
            client.get_log_settings,
        ):
            with pytest.raises(InferenceServerException, match=r"restricted|expecting header"):
                call()
            with pytest.raises(InferenceServerException):
                call(headers={"triton-grpc-protocol-admin-key": "guess"})
        names = [each.name for each in client.get_model_repository_index(headers=server.admin_headers).models]
        assert set(names) >= set(server.models)
    request = urllib.request.Request(f"http://{server.http}/v2/repository/index", b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request)
    assert refusal.value.code == 403
    request.add_header("admin-key", server.admin_key)
    assert len(json.load(urllib.request.urlopen(request))) >= len(server.models)


def listening(server):
    found = [each for each in psutil.Process(server.pid).net_connections() if each.status == "LISTEN"]
    return {(each.laddr.ip.removeprefix("::ffff:"), each.laddr.port) for each in found}


def test_an_old_triton_offers_http_only_where_it_is_asked_for_and_on_this_machine_only(start, repository):
    """Keep HTTP closed, because one request of many small chunks ends Triton 2.51 (signal 11) and needs no key."""
    plain = start(repositories=[repository])
    assert plain.http is None and len(listening(plain)) == 2
    asked = start(repositories=[repository], http=True, host="0.0.0.0", expose=True)
    assert ("127.0.0.1", int(asked.http.rpartition(":")[2])) in listening(asked)


def test_many_small_chunks_do_not_end_a_server_through_its_metrics(start, repository):
    server = start(repositories=[repository])
    for method in (b"POST", b"GET"):
        host, port = server.metrics.split(":")
        with socket.create_connection((host, int(port)), timeout=30) as sent, contextlib.suppress(OSError):
            sent.sendall(method + b" /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(60):
                sent.sendall(b"1\r\nA\r\n" * 10_000)
            sent.sendall(b"0\r\n\r\n")
            sent.recv(100)
    assert add_one(server) == 0 and server.running()


def test_metrics_are_served(server):
    assert b"nv_inference_request_success" in urllib.request.urlopen(f"http://{server.metrics}/metrics").read()


def test_where_nvidias_triton_is_installed_its_own_backends_serve(start, repository, tmp_path, monkeypatch):
    image = tmp_path / "tritonserver"  # laid out as in NVIDIA's image, with the wheel's files
    wheel = layout.wheel_engine()
    backends = layout.make_backends(wheel, tmp_path / "none", image / "backends")
    (image / "bin").mkdir()
    (image / "bin/tritonserver").symlink_to(wheel.binary)
    (image / "caches").symlink_to(wheel.caches)
    (image / "TRITON_VERSION").write_text("2.51.0\n")
    monkeypatch.setattr(layout, "IMAGE_TRITON", image)
    monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join(map(str, wheel.libraries)))
    server = start(repositories=[repository], profile="gpu")
    assert add_one(server) == 0
    assert str(backends) in server.read_log()
    with pytest.raises(launcher.StartError, match=r"older than 25\.07"):
        start(repositories=[repository], host="0.0.0.0")


# Refusals, each one line with a remedy.


def test_a_busy_port_is_named_with_its_holder(start, repository):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(launcher.StartError) as refusal:
            start(repositories=[repository], ports={"grpc": 0, "http": port, "metrics": 0}, http=True)
    assert f"http port {port} on 127.0.0.1 is already in use by process {os.getpid()}" in str(refusal.value)
    assert "--http-port" in str(refusal.value)


def test_a_free_port_that_somebody_takes_in_between_is_chosen_anew(start, repository, monkeypatch):
    free = ports.free
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        offers = [[taken.getsockname()[1], *free("127.0.0.1", 1)]]
        monkeypatch.setattr(ports, "free", lambda host, n: offers.pop() if n == 2 and offers else free(host, n))
        server = start(repositories=[repository])
        assert not offers
        assert server.grpc != "{}:{}".format(*taken.getsockname())
        assert add_one(server) == 0


def test_a_missing_network_says_what_to_run(start, tmp_path):
    root = tiny_repository.make(tmp_path, "net", tiny_repository.CONFIG.replace('"python"', '"onnxruntime"'))
    with pytest.raises(launcher.StartError, match=r"model_repository/net/1/model\.onnx is missing; run: sluice export"):
        start(repositories=[root])


def test_a_model_that_fails_to_load_is_one_line_without_traceback(start, tmp_path):
    fault = "\n    def initialize(self, args):\n        raise ValueError('no \"weights\" here')\n"
    with pytest.raises(launcher.StartError) as refusal:
        start(repositories=[tiny_repository.make(tmp_path, model=tiny_repository.MODEL + fault)])
    assert str(refusal.value) == 'adder: ValueError: no "weights" here'


def test_a_model_that_is_ready_but_answers_wrongly_stops_the_start(start, tmp_path):
    wrong = tiny_repository.MODEL.replace("x + 1", "x + 2")
    with pytest.raises(launcher.StartError, match=r"adder is loaded but does not answer: -1 \+ 1 is 0, got 1"):
        start(
            repositories=[tiny_repository.make(tmp_path, model=wrong)],
            probes={"adder": tiny_repository.question},
            log=tmp_path / "log",
        )


def test_the_command_line_refuses_in_one_line_with_exit_code_2(serve):
    first = serve("--json", *ANY_PORTS)
    port = up(first)["grpc"].rpartition(":")[2]
    second = serve("--grpc-port", port, "--metrics-port", "0", "--health-port", "0")
    out, err = second.communicate(timeout=60)
    assert second.returncode == 2
    assert not out
    assert err.count("\n") == 1
    assert "already in use by process" in err and "--grpc-port" in err


# Ends.


def test_sigterm_stops_it_with_exit_code_0_and_nothing_is_left(serve, tmp_path):
    process = serve("--json", *ANY_PORTS)
    said = up(process)
    assert said["models"] == {"adder": probe.UNPROBED}
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert not out  # one line in all
    assert all_gone(said)
    assert not list(tmp_path.glob("sluice_*"))


def test_kill_9_of_tritonserver_is_noticed_and_cleaned_up(serve):
    process = serve("--json", *ANY_PORTS)
    said = up(process)
    os.kill(said["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert all_gone(said)
    assert "tritonserver ended by itself (killed by signal 9)" in err
    assert Path(said["log"]).exists()


def test_kill_9_of_serve_itself_stops_everything(serve):
    process = serve("--json", *ANY_PORTS)
    said = up(process)
    process.kill()
    assert eventually(lambda: all_gone(said))


def test_kill_9_of_the_keeper_ends_tritonserver_and_the_next_start_removes_stale_regions(serve, start, repository):
    process = serve("--json", *ANY_PORTS)
    said = up(process)
    stale = keeper.SHARED_MEMORY / f"{said['prefix']}_stale"
    stale.touch()
    os.kill(said["keeper"], signal.SIGKILL)
    process.communicate(timeout=60)
    assert eventually(lambda: not psutil.pid_exists(said["pid"]))
    start(repositories=[repository])
    assert all_gone(said) and not stale.exists()


def test_kill_9_of_the_whole_tree_leaves_nothing_after_the_next_start(serve, start, repository, tmp_path, monkeypatch):
    process = serve("--json", *ANY_PORTS)
    said = up(process)
    tree = [process.pid, *(each.pid for each in psutil.Process(process.pid).children(recursive=True))]
    made = {
        path
        for path in keeper.ENVIRONMENTS.glob("python_env_*")
        if path.stat().st_mtime >= psutil.Process(said["pid"]).create_time() - 1
    }
    assert said["pid"] in tree and made
    for pid in tree:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert eventually(lambda: not psutil.pid_exists(said["pid"]))
    left = list(tmp_path.glob("sluice_*"))
    assert left  # and regions, which any server's start may have removed by now
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server = start(repositories=[repository])
    assert not [path for path in left if path.exists()] and all_gone(said)
    # One stays while a server lives that began just before and so may have made it; nothing else does.
    assert not made & set(keeper.stale_environments())
    server.kill()
    assert not list(tmp_path.glob("sluice_*"))


def test_a_second_signal_kills_a_server_that_does_not_finish(serve):
    process = serve("--json", *ANY_PORTS)
    said = up(process)
    with grpcclient.InferenceServerClient(said["grpc"]) as client, contextlib.suppress(InferenceServerException):
        probe.asker(client, 1.0)("adder", {"X": np.array([[60.0]], np.float32)})
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert all_gone(said)


def test_a_signal_before_it_is_up_stops_it_too(serve, tmp_path):
    slow = tiny_repository.MODEL + "\n    def initialize(self, args):\n        time.sleep(60)\n"
    tiny_repository.make(tmp_path / "root", model=slow)
    process = serve(*ANY_PORTS)
    assert eventually(lambda: list(tmp_path.glob("sluice_*")))
    time.sleep(0.5)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert eventually(lambda: not list(tmp_path.glob("sluice_*")))


# The watchdog.


@pytest.fixture
def watched(start, repository) -> Iterator[tuple[launcher.Server, watchdog.Watchdog, list[str]]]:
    questions = {"adder": tiny_repository.question}
    server = start(repositories=[repository], probes=questions)
    lines: list[str] = []
    watcher = watchdog.Watchdog(server, every=0.3, patience=1.0, look=0.1, probes=questions, say=lines.append)
    watcher.start()
    yield server, watcher, lines
    watcher.close()


def test_a_dead_python_process_is_replaced(watched):
    server, watcher, lines = watched
    [(pid, instance)] = watchdog.stubs(server.pid).items()
    assert instance == "adder_0_0"
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: watcher.reloads.get("adder"))
    assert add_one(server) == 0
    assert len(lines) == 1 and f"its process {pid} has ended; loaded again in" in lines[0]


def test_a_stopped_python_process_is_replaced_without_a_question(start, repository):
    server = start(repositories=[repository])
    lines: list[str] = []
    watcher = watchdog.Watchdog(server, every=0, look=0.1, say=lines.append)
    watcher.start()
    [pid] = watchdog.stubs(server.pid)
    os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: watcher.reloads.get("adder"))
    watcher.close()
    assert add_one(server) == 0
    assert pid not in watchdog.stubs(server.pid)
    assert f"its process {pid} is stopped; loaded again in" in lines[0]


def test_a_process_that_stops_for_a_moment_only_is_left_alone(watched):
    server, _, _ = watched
    [pid] = watchdog.stubs(server.pid)
    looks = processes.Processes(server.pid, server.models)
    os.kill(pid, signal.SIGSTOP)
    assert not looks.lost()
    os.kill(pid, signal.SIGCONT)
    assert eventually(lambda: psutil.Process(pid).status() != "stopped", 5) and not looks.lost()


def test_a_hanging_python_process_is_replaced(watched):
    """Stop a process so that it neither computes nor answers, as in a deadlock."""
    server, watcher, lines = watched
    [pid] = watchdog.stubs(server.pid)
    with pytest.raises(InferenceServerException, match="Deadline"):
        add_one(server, 90.0, 1.0)
    assert eventually(lambda: watcher.reloads.get("adder"))
    assert add_one(server) == 0
    assert pid not in watchdog.stubs(server.pid)
    assert "no answer in time" in lines[0]


def test_a_dead_process_is_noticed_while_a_question_to_another_hangs(start, repository):
    """Look at processes and load models without waiting for any question."""
    tiny_repository.make(repository.parent, "other")
    hung = threading.Event()

    def hangs(ask: questions.Ask) -> None:
        if hung.is_set():
            time.sleep(20)

    questions = {"adder": tiny_repository.question, "other": hangs}
    server = start(repositories=[repository], probes=questions)
    watcher = watchdog.Watchdog(server, every=0.3, look=0.1, probes=questions, say=lambda line: None)
    hung.set()
    watcher.start()
    time.sleep(1)
    [pid] = [pid for pid, name in watchdog.stubs(server.pid).items() if name.startswith("adder")]
    begun = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: watcher.reloads.get("adder"), 15)
    assert time.monotonic() - begun < 15
    watcher.ended.set()
    assert add_one(server) == 0


def test_a_hanging_member_is_found_through_its_ensemble(start, repository):
    tiny_repository.make(repository.parent, "verb", tiny_repository.ENSEMBLE)
    questions = {"verb": lambda ask: tiny_repository.question(ask, "verb")}
    server = start(repositories=[repository], probes=questions)
    assert server.models == {"adder": probe.UNPROBED, "verb": probe.ANSWERS}
    watcher = watchdog.Watchdog(server, every=0.3, patience=1.0, probes=questions, say=lambda line: None)
    watcher.start()
    [pid] = watchdog.stubs(server.pid)
    os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: watcher.reloads.get("adder"))
    watcher.close()
    assert add_one(server) == 0


def test_readiness_follows_true_answers(start, repository):
    """Ask by grpc.health.v1 as Kubernetes does; the wrong answer of a member is its ensemble's, too."""
    tiny_repository.make(repository.parent, "verb", tiny_repository.ENSEMBLE)
    wrong = threading.Event()

    def question(ask: questions.Ask) -> None:
        tiny_repository.question(ask)
        if wrong.is_set():
            raise ValueError("a wrong answer")

    questions = {"adder": question}
    server = start(repositories=[repository], probes=questions)
    service = health.Health("127.0.0.1", 0)
    watcher = watchdog.Watchdog(server, every=0.3, look=0.1, probes=questions, say=print, tell=service.tell)
    try:
        assert health.serving(service.at) == "NOT_SERVING", "before the first answers"
        watcher.start()
        names = ("", "adder", "verb")
        assert [health.serving(service.at, name) for name in names] == ["SERVING"] * 3
        assert "no model" in health.serving(service.at, "nosuch")
        assert health.main([service.at]) == 0
        [pid] = watchdog.stubs(server.pid)
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: health.serving(service.at, "verb") == "NOT_SERVING", 10)
        assert eventually(lambda: health.serving(service.at) == "SERVING")
        assert add_one(server) == 0
        wrong.set()
        assert eventually(lambda: [health.serving(service.at, name) for name in names] == ["NOT_SERVING"] * 3, 10)
        assert health.main([service.at, "--model", "adder"]) == 1
        wrong.clear()
        assert eventually(lambda: health.serving(service.at) == "SERVING")
        service.stopping()
        assert health.serving(service.at) == "NOT_SERVING"
    finally:
        watcher.close()
        service.close()
    assert health.main([service.at]) == 1


def test_serve_answers_kubernetes_probe_until_it_is_asked_to_stop(serve):
    process = serve("--json", *ANY_PORTS)
    said = up(process)
    assert eventually(lambda: health.serving(said["health"]) == "SERVING", 10)
    assert health.serving(said["health"], "adder") == "SERVING"
    process.terminate()
    assert process.wait(60) == 0
    assert health.serving(said["health"]) not in ("SERVING", "NOT_SERVING")


def test_a_health_port_that_is_taken_is_named(serve):
    first = serve("--json", *ANY_PORTS)
    at = up(first)["health"]
    second = serve("--grpc-port", "0", "--metrics-port", "0", "--health-port", at.rpartition(":")[2])
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2 and f"already in use by process {first.pid}" in err and "--health-port" in err


def test_the_pulse_of_every_model_with_our_glue_comes(server):
    """Ask beside requests that take long, in a model of one event loop, too; the pulse is counted nowhere."""
    assert server.pulsing >= {"detect", "embed", "ingest", "retrieve", "sample", "segment", "enhance", "frame_gallery"}
    before = urllib.request.urlopen(f"http://{server.metrics}/metrics").read().decode()
    with server.client() as client:
        for model in sorted(server.pulsing):
            pulse.Pulse(client, model, 30).ask(client, 30)
        after = urllib.request.urlopen(f"http://{server.metrics}/metrics").read().decode()
        counted = [
            [line for line in text.splitlines() if line.startswith("sluice_requests_total")] for text in (before, after)
        ]
        assert counted[0] == counted[1]
        with pytest.raises(InferenceServerException, match="expects 'BYTES'"):
            probe.asker(client, 30)("embed", {"ENCODED": np.zeros((1, 1), np.float32)}, request_id=pulse.PING)


def test_a_model_that_gets_on_with_other_requests_is_left_alone(watched):
    server, watcher, lines = watched
    with ThreadPoolExecutor(10) as callers:  # a question waits for three seconds, but requests are being finished
        assert list(callers.map(lambda _: add_one(server, 0.25, 20), range(12))) == [1.25] * 12
    assert not lines and not watcher.reloads


def test_a_model_that_computes_for_long_is_left_alone(watched):
    server, watcher, lines = watched
    assert add_one(server, 100 + 3.0, 20) == 104
    assert not lines and not watcher.reloads


def test_a_model_that_was_unloaded_on_purpose_is_left_alone(watched):
    server, watcher, lines = watched
    with server.client() as client:
        client.unload_model("adder", headers=server.admin_headers)
    assert eventually(lambda: not watchdog.stubs(server.pid))
    time.sleep(1.5)
    assert not lines and not watcher.reloads


def test_a_model_that_cannot_be_revived_ends_the_server(watched, repository):
    server, watcher, lines = watched
    (repository / "adder/1/model.py").write_text("raise RuntimeError('gone for good')\n")
    [pid] = watchdog.stubs(server.pid)
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not server.running())
    assert watcher.gave_up
    assert "gone for good" in lines[0] and "(1 of 3)" in lines[0]
    assert lines[-1] == "adder: given up; stopping the server"
