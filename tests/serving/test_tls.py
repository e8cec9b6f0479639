"""TLS with the real Triton: who gets in, what stays in plaintext, and that launcher and watchdog use the same door."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request

import numpy as np
import psutil
import pytest
from sluice_client import AsyncSluice, Refused, Retry, Sluice, Tls, Unavailable, Untrusted, cli
from sluice_client.tensors import Call
from sluice_client.transport.connection import Connection
from sluice_client.transport.grpc_sync import Grpc

from sluice.server import launch, ports, probe, watchdog
from sluice.server.tls import Files
from tests.made import tiny_repository
from tests.made.certificates import Authority
from tests.made.tiny_server import ANY_PORTS, add_one, all_gone, eventually, up


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"), "ours")


@pytest.fixture(scope="module")
def vehicle(ours):
    return ours.issue("vehicle", hosts=(), purposes=("client",))


@pytest.fixture(scope="module")
def files(ours, vehicle):
    """Return files for mutual TLS; the server's name is not that of this machine, its certificate for servers only."""
    pair = ours.issue("server", hosts=("fleet.example",), purposes=("server",))
    return Files(pair.cert, pair.key, ours.file, vehicle.cert, vehicle.key)


@pytest.fixture(scope="module")
def secure(files, tmp_path_factory):
    """Serve the gallery alone, behind mutual TLS."""
    server = launch.start(gallery=tmp_path_factory.mktemp("gallery"), models=["frame_gallery"], tls=files, http=True)
    yield server
    server.kill()


@pytest.fixture(scope="module")
def trusted(ours, vehicle):
    return Tls(ours.file, vehicle.cert, vehicle.key, "fleet.example")


def test_the_launcher_asked_its_models_through_tls(secure):
    assert secure.models == {"frame_gallery": probe.ANSWERS}
    assert secure.describe()["tls"] is True


def test_both_clients_are_answered_and_health_is_told(secure, trusted):
    with Sluice(f"grpcs://{secure.grpc}", tls=trusted) as sluice:
        assert sluice.describe()["frames"] == 0
        health = sluice.health()
        assert health.live and health.ready and health.models["frame_gallery"]

    async def ask():
        async with AsyncSluice(f"grpcs://{secure.grpc}", tls=trusted) as sluice:
            return await asyncio.gather(*(sluice.describe() for _ in range(4)))

    assert [told["frames"] for told in asyncio.run(ask())] == [0] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ours, pair: None, "speaks TLS, and this client does not"),
        (lambda ours, pair: Tls(ours.file, server_name="fleet.example"), "wants a certificate of the client"),
        (lambda ours, pair: Tls(ours.file, pair.cert, pair.key), r"is not for 127\.0\.0\.1"),
        (lambda ours, pair: Tls(_other(ours).file, pair.cert, pair.key, "fleet.example"), "not signed by the auth"),
        (lambda ours, pair: Tls(ours.file, *_stranger(ours), "fleet.example"), "does not accept the certificate"),
    ],
    ids=["plaintext", "without a certificate", "another name", "another authority", "a stranger"],
)
def test_who_does_not_belong_is_kept_out_and_told_why(change, message, secure, ours, vehicle):
    tls = change(ours, vehicle)
    with Sluice(secure.grpc, tls=tls, retry=Retry(attempts=1)) as sluice:
        with pytest.raises((Untrusted, Unavailable), match=message):
            sluice.describe()
        with pytest.raises((Untrusted, Unavailable), match=message):
            sluice.health()


def _other(ours):
    return Authority(ours.folder, "theirs")


def _stranger(ours):
    pair = _other(ours).issue("stranger", hosts=(), purposes=("client",))
    return pair.cert, pair.key


def test_tls_against_a_server_without_it_names_both_ways_out(start, repository, ours):
    plain = start(repositories=[repository])
    with pytest.raises(Untrusted, match=r"does not speak TLS.*--tls-cert FILE.*grpc://"):
        Sluice(plain.grpc, tls=Tls(ours.file)).health()


def test_http_answers_health_and_nothing_else_without_the_key_on_this_machine(secure):
    def status(path: str, body: bytes | None = None, **headers: str) -> int:
        request = urllib.request.Request(f"http://{secure.http}{path}", body, headers)
        try:
            return urllib.request.urlopen(request, timeout=30).status
        except urllib.error.HTTPError as error:
            return error.code

    model = "/v2/models/frame_gallery"
    assert [status(path) for path in ("/v2/health/live", "/v2/health/ready", f"{model}/ready")] == [200] * 3
    asked = [
        ("/v2", None),
        (model, None),
        (f"{model}/config", None),
        (f"{model}/stats", None),
        (f"{model}/infer", b"{}"),
        (f"{model}/generate", b"{}"),
        (f"{model}/generate_stream", b"{}"),
        ("/v2/repository/index", b"{}"),
        ("/v2/systemsharedmemory/status", None),
        ("/v2/logging", None),
    ]
    assert {path: status(path, body) for path, body in asked} == {path: 403 for path, _ in asked}
    assert status(model, **{"admin-key": secure.admin_key}) == 200
    addresses = {each.laddr.ip for each in psutil.Process(secure.pid).net_connections() if each.status == "LISTEN"}
    assert {each.removeprefix("::ffff:") for each in addresses} == {"127.0.0.1"}


def test_only_grpc_leaves_this_machine_when_it_is_told_to(start, repository, files):
    server = start(repositories=[repository], tls=files, host="0.0.0.0", expose=True, http=True)
    listening = {
        each.laddr.port: each.laddr.ip.removeprefix("::ffff:")
        for each in psutil.Process(server.pid).net_connections()
        if each.status == "LISTEN"
    }
    at = {name: listening[int(getattr(server, name).rpartition(":")[2])] for name in ports.PORTS}
    assert at["grpc"] in ("0.0.0.0", "::") and (at["http"], at["metrics"]) == ("127.0.0.1", "127.0.0.1")
    assert add_one(server) == 0


def test_a_header_opens_what_the_server_keeps_behind_a_key(start, monkeypatch, ours):
    monkeypatch.setattr(launch, "ADMIN", f"{launch.ADMIN},inference")
    monkeypatch.setattr(launch, "REST", launch.REST.replace("inference,", ""))  # each name may stand once
    pair = ours.issue("here")
    server = start(models=["frame_gallery"], probes={}, tls=Files(pair.cert, pair.key))
    with Sluice(server.grpc, tls=Tls(ours.file)) as sluice, pytest.raises(Refused, match="--header NAME=VALUE"):
        sluice.describe()
    with Sluice(server.grpc, tls=Tls(ours.file), headers=server.admin_headers) as sluice:
        assert sluice.describe()["frames"] == 0

    async def ask():
        async with AsyncSluice(server.grpc, tls=Tls(ours.file), headers=server.admin_headers) as sluice:
            return await sluice.describe()

    assert asyncio.run(ask())["frames"] == 0


def test_the_watchdog_replaces_a_dead_process_through_tls(start, repository, files):
    questions = {"adder": tiny_repository.question}
    server = start(repositories=[repository], probes=questions, tls=files)
    lines: list[str] = []
    watcher = watchdog.Watchdog(server, every=0.3, patience=1.0, look=0.1, probes=questions, say=lines.append)
    watcher.start()
    [pid] = watchdog.stubs(server.pid)
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: watcher.reloads.get("adder"))
    watcher.close()
    assert add_one(server) == 0 and "loaded again in" in lines[0]


def test_sluice_serve_and_the_command_line_of_the_client_agree(serve, ours, monkeypatch, capsys):
    pair = ours.issue("both")
    process = serve(
        "--json",
        *ANY_PORTS,
        "--tls-cert",
        str(pair.cert),
        "--tls-key",
        str(pair.key),
        "--tls-client-ca",
        str(ours.file),
    )
    said = up(process)
    assert said["tls"] is True
    for name, value in (("URL", f"grpcs://{said['grpc']}"), ("CA", ours.file), ("CERT", pair.cert), ("KEY", pair.key)):
        monkeypatch.setenv(f"SLUICE_{name}", str(value))
    with Sluice() as sluice:
        assert sluice.health().live
    cli.main(["doctor", "--json", "--timeout", "2"])
    rows = {row["check"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["server"]["ok"] and rows["server"]["text"].endswith(", over TLS")
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0 and all_gone(said)


def test_messages_of_many_megabytes_pass_launcher_and_client(start, tmp_path, files, trusted):
    config = tiny_repository.CONFIG.replace("dims: [ 1 ]", "dims: [ -1 ]")
    server = start(repositories=[tiny_repository.make(tmp_path, config=config)], tls=files)
    many = np.full((1, 2 << 20), -1, np.float32)  # 8 MiB each way
    with server.client() as client:
        assert not probe.asker(client, 60.0)("adder", {"X": many})["Y"].any()
    channel = Grpc(Connection.of(server.grpc, trusted))
    assert not channel.infer(Call("adder", {"X": many}, ("Y",)), 60.0)["Y"].any()
    channel.close()
