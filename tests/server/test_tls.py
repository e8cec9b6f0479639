"""The certificates of `sluice serve`, tried before anything starts; the flags that Triton gets for them."""

from __future__ import annotations

import pytest

from sluice.server import cli, launch
from sluice.server.layout import StartError
from sluice.server.tls import Files, tried
from tests.made import tiny_repository
from tests.made.certificates import Authority


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def ours(folder):
    return Authority(folder, "ours")


@pytest.fixture(scope="module")
def server(ours):
    return ours.issue("server", hosts=("10.0.0.5", "fleet.example"), purposes=("server",))


@pytest.fixture(scope="module")
def vehicle(ours):
    return ours.issue("vehicle", hosts=(), purposes=("client",))


def test_the_server_is_known_by_a_name_in_its_certificate(server, ours):
    assert tried(Files(server.cert, server.key)).name == "fleet.example"
    wild = ours.issue("wild", hosts=("*.fleet.example",))
    assert tried(Files(wild.cert, wild.key)).name == "any.fleet.example"
    address = ours.issue("address", hosts=("10.0.0.5",))
    assert tried(Files(str(address.cert), str(address.key))).name == "10.0.0.5"


def test_triton_gets_whole_paths_and_asks_for_certificates_only_where_told(server, ours, vehicle, folder, monkeypatch):
    monkeypatch.chdir(folder)
    flags = tried(Files("server.crt", "server.key")).flags()
    assert set(flags) == {"--grpc-use-ssl=true", f"--grpc-server-cert={server.cert}", f"--grpc-server-key={server.key}"}
    mutual = tried(Files(server.cert, server.key, ours.file, vehicle.cert, vehicle.key)).flags()
    assert set(mutual) - set(flags) == {"--grpc-use-ssl-mutual=true", f"--grpc-root-cert={ours.file}"}


def test_a_server_that_may_be_a_client_too_asks_itself_with_its_own_certificate(ours):
    both = ours.issue("both", purposes=("server", "client"))
    found = tried(Files(both.cert, both.key, ours.file))
    assert (found.probe_cert, found.probe_key) == (both.cert, both.key)


MISTAKES = {
    "no file": (lambda a, s, v: Files("none.crt", s.key), r"none\.crt cannot be read .*--tls-cert"),
    "no key": (lambda a, s, v: Files(s.cert, "none.key"), r"none\.key cannot be read .*--tls-key"),
    "no client CA": (lambda a, s, v: Files(s.cert, s.key, "none.pem"), r"none\.pem cannot be read .*--tls-client-ca"),
    "not PEM": (lambda a, s, v: Files(s.key, s.cert), "should be a certificate and its key in PEM form"),
    "another's key": (lambda a, s, v: Files(s.cert, v.key), r"vehicle\.key does not belong to .*server\.crt"),
    "a locked key": (lambda a, s, v: _files(a.issue("locked", password=b"x")), "has a password.*openssl pkey"),
    "expired": (lambda a, s, v: _files(a.issue("expired", days=-1)), "certificate has expired.*renew it"),
    "no name": (lambda a, s, v: _files(a.issue("nameless", hosts=())), "names no host"),
    "for clients": (lambda a, s, v: Files(v.cert, v.key), "no client can accept the server's certificate"),
    "CA without a certificate": (lambda a, s, v: Files(s.cert, s.key, s.key), "holds no certificate.*--tls-client-ca"),
    "own certificate is no client's": (
        lambda a, s, v: Files(s.cert, s.key, a.file),
        "server's own certificate is not one .*--tls-probe-cert",
    ),
    "a stranger's to ask with": (
        lambda a, s, v: Files(s.cert, s.key, a.file, *_stranger(a)),
        "certificate of --tls-probe-cert is not one",
    ),
    "half a pair to ask with": (lambda a, s, v: Files(s.cert, s.key, a.file, v.cert), "belong together"),
    "nobody to show it to": (lambda a, s, v: Files(s.cert, s.key, None, v.cert, v.key), "give --tls-client-ca too"),
}


def _files(pair):
    return Files(pair.cert, pair.key)


def _stranger(ours):
    pair = Authority(ours.folder, "theirs").issue("stranger", purposes=("client",))
    return pair.cert, pair.key


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_with_its_remedy(case, ours, server, vehicle):
    make, message = MISTAKES[case]
    with pytest.raises(StartError, match=message) as refusal:
        tried(make(ours, server, vehicle))
    assert "\n" not in str(refusal.value)


def test_nothing_is_started_with_a_wrong_certificate(tmp_path, server, vehicle):
    with pytest.raises(StartError, match="does not belong"):
        launch.start(repositories=[tiny_repository.make(tmp_path)], tls=Files(server.cert, vehicle.key))


@pytest.mark.parametrize("words", [["--tls-cert", "c"], ["--tls-key", "k"], ["--tls-client-ca", "a"]])
def test_the_command_wants_certificate_and_key_together(words, capsys):
    assert cli.command(words) == 2
    assert "give both --tls-cert and --tls-key" in capsys.readouterr().err


def test_an_old_triton_is_not_shown_to_others_because_of_tls_nor_are_its_metrics(tmp_path, server):
    repositories = [tiny_repository.make(tmp_path)]
    with pytest.raises(StartError, match=r"must not listen on 0\.0\.0\.0"):
        launch.start(repositories=repositories, tls=Files(server.cert, server.key), host="0.0.0.0")
    with pytest.raises(StartError, match=r"must not listen on 0\.0\.0\.0"):
        launch.start(repositories=repositories, metrics_host="0.0.0.0")
