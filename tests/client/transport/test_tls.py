"""TLS and headers: what arrives, what is refused with which remedy; how address, arguments, environment agree."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

import pytest
from sluice_client import AsyncSluice, InvalidRequest, Query, Retry, Sluice, Tls, Unavailable, Untrusted, cli
from sluice_client.transport.connection import Connection, header

from tests.made.certificates import Authority
from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.grpc import serving

ROI = (8, 8, 24, 24)
VARIABLES = ("URL", "TLS", "CA", "CERT", "KEY", "SERVER_NAME", "HEADERS")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(f"SLUICE_{name}", raising=False)


class Files:
    """The certificates of a fleet: one authority, another one, and certificates of every kind."""

    def __init__(self, folder):
        self.folder = folder
        ours, theirs = Authority(folder, "ours"), Authority(folder, "theirs")
        self.ca, self.other_ca = ours.file, theirs.file
        self.server = ours.issue("server", purposes=("server",))
        self.expired = ours.issue("expired", days=-1)
        self.elsewhere = ours.issue("elsewhere", hosts=("fleet.example", "*.fleet.example"))
        self.vehicle = ours.issue("vehicle", hosts=(), purposes=("client",))
        self.stranger = theirs.issue("stranger", hosts=(), purposes=("client",))
        self.locked = ours.issue("locked", password=b"secret")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("certificates"))


def describe(asynchronous: bool, where: str, **options) -> dict:
    """Return the answer of `describe`, asked with the synchronous or the asynchronous client."""

    async def run():
        async with AsyncSluice(where, **options) as sluice:
            return await sluice.describe()

    if asynchronous:
        return asyncio.run(run())
    with Sluice(where, **options) as sluice:
        return sluice.describe()


both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "asyncio"])


# What works.


@both
def test_a_server_whose_authority_is_known_answers(asynchronous, files):
    with serving(FakeServer().answer, pair=files.server) as where:
        assert describe(asynchronous, f"grpcs://{where}", tls=Tls(ca=files.ca))["frames"] == 0
        assert describe(asynchronous, where, tls=Tls(ca=str(files.ca)))["frames"] == 0


@both
def test_a_certificate_may_be_trusted_by_itself_and_under_its_own_name(asynchronous, files):
    with serving(FakeServer().answer, pair=files.elsewhere) as where:
        tls = Tls(ca=files.elsewhere.cert, server_name="eu.fleet.example")
        assert describe(asynchronous, where, tls=tls)["frames"] == 0


@both
def test_mutual_tls_lets_those_in_whom_the_servers_authority_signed(asynchronous, files):
    with serving(FakeServer().answer, pair=files.server, client_ca=files.ca) as where:
        tls = Tls(files.ca, files.vehicle.cert, files.vehicle.key)
        assert describe(asynchronous, where, tls=tls)["frames"] == 0


def test_messages_beyond_grpcs_usual_four_megabytes_go_both_ways_over_tls(files):
    large = png(1) + bytes(6 << 20)  # decoders stop at the end of the picture
    with serving(FakeServer().answer, pair=files.server) as where, Sluice(where, tls=Tls(ca=files.ca)) as sluice:
        sluice.add(large, id="large")
        assert sluice.image("large") == large
        assert sluice.retrieve(Query(id="large", rois=[ROI]), k=1).matches[0].id == "large"


@both
def test_headers_go_with_every_call(asynchronous, monkeypatch):
    monkeypatch.setenv("SLUICE_HEADERS", "x-fleet=blue\nauthorization=Bearer old\n")
    seen: list[dict] = []
    with serving(FakeServer().answer, headers=seen) as where:
        describe(asynchronous, where, headers={"Authorization": "Bearer a=b, c"})
        if asynchronous:
            asyncio.run(_health(where))
        else:
            Sluice(where, headers={"authorization": "Bearer a=b, c"}).health()
    assert len(seen) == 3  # describe; health, and the gallery's precision for it
    assert all((one["authorization"], one["x-fleet"]) == ("Bearer a=b, c", "blue") for one in seen)


async def _health(where: str) -> None:
    async with AsyncSluice(where, headers={"authorization": "Bearer a=b, c"}) as sluice:
        assert (await sluice.health()).live


# What is refused, at once and with the remedy.

REFUSALS: dict[str, tuple[Callable[[Files], dict], Callable[[Files], dict], str, str]] = {
    "another authority": (
        lambda f: {"pair": f.server}, lambda f: {"tls": Tls(ca=f.other_ca)},
        r"was not signed by the authority in .*theirs\.pem", "--ca, SLUICE_CA",
    ),
    "public authorities": (
        lambda f: {"pair": f.server}, lambda f: {"tls": True},
        "was not signed by a public authority", "--ca, SLUICE_CA",
    ),
    "expired": (
        lambda f: {"pair": f.expired}, lambda f: {"tls": Tls(ca=f.ca)},
        "has expired", "renew it",
    ),
    "another host": (
        lambda f: {"pair": f.elsewhere}, lambda f: {"tls": Tls(ca=f.ca)},
        r"is not for 127\.0\.0\.1 but for fleet\.example, \*\.fleet\.example", "--server-name",
    ),
    "plaintext against TLS": (
        lambda f: {"pair": f.server}, lambda f: {},
        "speaks TLS, and this client does not", "Write grpcs://127",
    ),
    "plaintext against mutual TLS": (
        lambda f: {"pair": f.server, "client_ca": f.ca}, lambda f: {},
        "speaks TLS, and this client does not", "--ca",
    ),
    "TLS against plaintext": (
        lambda f: {}, lambda f: {"tls": Tls(ca=f.ca)},
        "does not speak TLS, and this client wants it", "sluice serve --tls-cert FILE --tls-key FILE",
    ),
}  # fmt: skip


@both
@pytest.mark.parametrize("case", REFUSALS)
def test_who_is_not_trusted_is_told_why_and_what_to_do_without_a_second_try(case, asynchronous, files):
    server, client, message, remedy = REFUSALS[case]
    tries: list[Unavailable] = []
    with serving(FakeServer().answer, **server(files)) as where:
        with pytest.raises(Untrusted, match=message) as refusal:
            describe(asynchronous, where, on_retry=lambda error, wait: tries.append(error), **client(files))
        assert not tries
    assert where in refusal.value.message and remedy in refusal.value.remedy


SHOWN: dict[str, tuple[Callable[[Files], Tls], str, str]] = {
    "none": (lambda f: Tls(f.ca), "it wants a certificate of the client, or", "--cert, --key"),
    "a stranger's": (
        lambda f: Tls(f.ca, f.stranger.cert, f.stranger.key),
        r"not accept the certificate .*stranger\.crt", "signed by",
    ),
    "a server's": (lambda f: Tls(f.ca, f.server.cert, f.server.key), "not accept the certificate", "be for clients"),
    "expired": (lambda f: Tls(f.ca, f.expired.cert, f.expired.key), "not accept the certificate", "not have expired"),
}  # fmt: skip


@both
@pytest.mark.parametrize("case", SHOWN)
def test_who_shows_no_fitting_certificate_is_told_at_the_first_try_that_this_may_be_why(case, asynchronous, files):
    tls, message, remedy = SHOWN[case]
    told: list[Unavailable] = []
    with serving(FakeServer().answer, pair=files.server, client_ca=files.ca) as where:
        with pytest.raises(Unavailable, match=message) as refusal:
            describe(asynchronous, where, tls=tls(files), retry=Retry(attempts=1))
        # A gateway whose server is away looks the same from here, so it is tried again.
        with pytest.raises(Unavailable, match=r"Tried 2 times"):
            retry = Retry(first=0.01, most=0.01, attempts=2)
            describe(asynchronous, where, tls=tls(files), retry=retry, on_retry=lambda error, wait: told.append(error))
    assert where in refusal.value.message and remedy in refusal.value.remedy
    assert [error.message for error in told] == [refusal.value.message]


def test_health_is_told_the_same(files):
    with serving(FakeServer().answer, pair=files.server) as where, pytest.raises(Untrusted, match="speaks TLS"):
        Sluice(where).health()


@both
def test_a_server_that_is_only_away_is_waited_for_with_tls_too(asynchronous, files):
    with serving(FakeServer().answer, pair=files.server) as where:
        pass
    with pytest.raises(Unavailable, match=r"No server answers at .*Tried \d+ times"):
        describe(asynchronous, where, tls=Tls(ca=files.ca), timeout=0.5, retry=Retry(first=0.02, most=0.1))


# Files.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: Tls(cert=f.vehicle.cert), "cert and key; got cert only"),
        (lambda f: Tls(key=f.vehicle.key), "cert and key; got key only"),
        (lambda f: Tls(ca=f.folder / "none.pem"), r"none\.pem cannot be read .*--ca, SLUICE_CA"),
        (lambda f: Tls(ca=f.folder), "cannot be read"),
        (lambda f: Tls(ca=f.vehicle.key), r"vehicle\.key holds no certificate"),
        (lambda f: Tls(f.ca, f.folder / "none.crt", f.vehicle.key), r"none\.crt cannot be read .*--cert"),
        (lambda f: Tls(f.ca, f.vehicle.cert, f.folder / "none.key"), r"none\.key cannot be read .*--key"),
        (lambda f: Tls(f.ca, f.vehicle.cert, f.server.key), r"server\.key does not belong to .*vehicle\.crt"),
        (lambda f: Tls(f.ca, f.vehicle.key, f.vehicle.cert), "should be a certificate and its key, in PEM form"),
        (lambda f: Tls(f.ca, f.locked.cert, f.locked.key), "has a password.*openssl pkey"),
    ],
)
def test_a_wrong_file_is_named_before_anything_is_sent(make, message, files):
    for kind in (Sluice, AsyncSluice):
        with pytest.raises(InvalidRequest, match=message) as refusal:
            kind("127.0.0.1:9", tls=make(files))
        assert refusal.value.status == "LOCAL"


# Address, arguments, environment.


@pytest.mark.parametrize(
    ("server", "tls", "environment", "want"),
    [
        ("h:1", None, {}, None),
        ("h:1", True, {}, Tls()),
        ("h:1", False, {"CA": "a"}, None),
        ("h:1", None, {"CA": "a"}, Tls("a")),
        ("h:1", None, {"CERT": "c", "KEY": "k"}, Tls(None, "c", "k")),
        ("h:1", None, {"TLS": "1"}, Tls()),
        ("h:1", None, {"TLS": "0", "CA": "a"}, None),
        ("h:1", None, {"SERVER_NAME": "n"}, None),
        ("h:1", True, {"CA": "a", "SERVER_NAME": "n"}, Tls("a", server_name="n")),
        ("h:1", Tls("b"), {"CA": "a", "SERVER_NAME": "n"}, Tls("b")),
        ("grpcs://h:1", None, {}, Tls()),
        ("grpcs://h:1/", None, {"CA": "a"}, Tls("a")),
        ("grpcs://h:1", Tls("b"), {"CA": "a"}, Tls("b")),
        ("grpc://h:1", None, {"CA": "a", "TLS": "1"}, None),
        ("grpc://h:1", False, {}, None),
    ],
)
def test_what_is_given_wins_over_the_address_and_that_over_the_environment(server, tls, environment, want, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(f"SLUICE_{name}", value)
    connection = Connection.of(server, tls)
    assert (connection.address, connection.tls) == ("h:1", want)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Connection.of("grpcs://h:1", False), "asks for TLS, and tls is False"),
        (lambda: Connection.of("grpc://h:1", True), "Write grpcs://"),
        (lambda: Connection.of("grpc://h:1", Tls("a")), "Write grpcs://"),
        (lambda: Connection.of("https://h:1"), "write grpcs:// for TLS"),
        (lambda: Connection.of("h:1", headers={"two words": "x"}), "letters, digits.*'two words'"),
        (lambda: Connection.of("h:1", headers={"key-bin": "x"}), "ends with -bin"),
        (lambda: Connection.of("h:1", headers={"grpc-timeout": "x"}), "begins with grpc-"),
        (lambda: Connection.of("h:1", headers={"key": "line\nbreak"}), "header key may hold printable ASCII"),
        (lambda: Connection.of("h:1", headers={"key": 3}), "as text"),
        (lambda: header("my-secret"), "wants NAME=VALUE"),
    ],
)
def test_what_contradicts_itself_is_refused(make, message):
    with pytest.raises(InvalidRequest, match=message):
        make()


def test_a_wrong_variable_is_named(monkeypatch):
    monkeypatch.setenv("SLUICE_TLS", "perhaps")
    with pytest.raises(InvalidRequest, match="SLUICE_TLS is 1 or 0; got 'perhaps'"):
        Connection.of("h:1")
    monkeypatch.setenv("SLUICE_TLS", "0")
    monkeypatch.setenv("SLUICE_HEADERS", "sesame")
    with pytest.raises(InvalidRequest, match="SLUICE_HEADERS wants NAME=VALUE") as refusal:
        Connection.of("h:1")
    assert "sesame" not in str(refusal.value)


def test_keys_in_headers_are_not_shown():
    assert "sesame" not in repr(Connection.of("h:1", headers={"key": "sesame"}))
    with pytest.raises(InvalidRequest) as refusal:
        Connection.of("h:1", headers={"key": "sesame\n"})
    assert "sesame" not in str(refusal.value)


# The command line.


def test_every_command_takes_the_options(files, capsys):
    seen: list[dict] = []
    with serving(FakeServer().answer, pair=files.server, client_ca=files.ca, headers=seen) as where:
        words = ["--server", where, "--ca", str(files.ca), "--cert", str(files.vehicle.cert)]
        words += ["--key", str(files.vehicle.key), "--header", "x-fleet=blue", "--header", "x-key=a=b"]
        assert cli.main(["list", "-q", *words]) == 0
        assert cli.main(["doctor", *words]) == 0
    assert f"{where} triton 2.51.0, over TLS" in capsys.readouterr().out
    assert all((one["x-fleet"], one["x-key"]) == ("blue", "a=b") for one in seen) and len(seen) > 5


def test_an_option_goes_together_with_what_the_environment_has(files, monkeypatch):
    monkeypatch.setenv("SLUICE_CERT", str(files.vehicle.cert))
    monkeypatch.setenv("SLUICE_KEY", str(files.vehicle.key))
    with serving(FakeServer().answer, pair=files.elsewhere, client_ca=files.ca) as where:
        words = ["--server", f"grpcs://{where}", "--ca", str(files.ca), "--server-name", "fleet.example"]
        assert cli.main(["list", "-q", *words]) == 0


def test_a_file_of_settings_says_how_a_server_is_reached(files, tmp_path, capsys):
    seen: list[dict] = []
    with serving(FakeServer().answer, pair=files.elsewhere, client_ca=files.ca, headers=seen) as where:
        config = tmp_path / "sluice.toml"
        config.write_text(
            f'server = "{where}"\nca = "ca.pem"\ncert = "{files.vehicle.cert}"\nkey = "{files.vehicle.key}"\n'
            'server_name = "fleet.example"\n[headers]\nx-fleet = "blue"\n'
        )
        config.chmod(0o600)
        (tmp_path / "ca.pem").write_bytes(files.ca.read_bytes())
        assert cli.main(["list", "-q", "--config", str(config)]) == 0
        assert cli.main(["list", "-q", "--config", str(config), "--header", "X-Fleet=red"]) == 0
        assert cli.main(["doctor", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'ca.pem'}, from {config}" in said and ", over TLS" in said
    assert {one["x-fleet"] for one in seen} == {"blue", "red"}


def test_a_refusal_is_one_line_and_2_and_grpc_keeps_silent(files):
    with serving(FakeServer().answer, pair=files.server) as where:
        for words, message in ((["--ca", str(files.other_ca)], "was not signed"), ([], "speaks TLS")):
            command = [sys.executable, "-m", "sluice_client.cli", "list", "--server", where, *words]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
            assert message in done.stderr


def test_the_doctor_names_what_is_wrong_with_tls(files, capsys):
    with serving(FakeServer().answer, pair=files.server) as where:
        assert cli.main(["doctor", "--server", where, "--ca", str(files.other_ca)]) == 1
    said = capsys.readouterr().out
    assert "FAIL  server" in said and "-> Give the file of the authority" in said
