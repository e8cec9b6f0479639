"""Settings: an option over the environment, over the file of --config, over sluice.toml in the user's folder; never
from the working directory, and not from a file that others can write."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice_client import InvalidRequest, cli
from sluice_client.commands import COMMANDS
from sluice_client.terminal import server_options, settings
from sluice_client.terminal.settings import KEYS, Settings

from tests.made.fake_server import FakeServer
from tests.made.fake_server.grpc import serving


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give the test a user without settings, in a working directory that belongs to somebody else."""
    for name in [name for name in os.environ if name.startswith("SLUICE_")]:
        monkeypatch.delenv(name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def users(home: Path, text: str, mode: int = 0o600) -> Path:
    return write(home / "config" / "sluice" / "sluice.toml", text, mode)


class Seen:
    """The arguments of a command, and how its client was made."""

    def __init__(self, monkeypatch):
        self.args = self.server = self.tls = self.headers = None

        def made(server=None, *, tls=None, headers=None, timeout=None, on_retry=None):
            self.server, self.tls, self.headers, self.timeout = server, tls, headers, timeout

            class Closed:
                __enter__ = __exit__ = lambda *anything: None

            return Closed()

        def ran(args, console, client):
            self.args, self.console = args, console
            return 0

        monkeypatch.setattr(server_options, "Sluice", made)
        for name in ("list", "add", "doctor"):
            monkeypatch.setattr(COMMANDS[name], "run", ran)


@pytest.fixture
def seen(monkeypatch):
    return Seen(monkeypatch)


VALUES = {  # by key: what a user's file, a file of --config, the environment and an option say of it
    "server": ("user:1", "config:2", "environment:3", "option:4"),
    "ca": ("/u.pem", "/c.pem", "/e.pem", "/o.pem"),
    "server_name": ("u", "c", "e", "o"),
    "timeout": (1.0, 2.0, None, 4.0),
    "batch": (11, 12, None, 14),
    "in_flight": (21, 22, None, 24),
}


@pytest.mark.parametrize("key", VALUES)
@pytest.mark.parametrize("said", [bits for bits in range(16)])
def test_the_highest_rank_that_says_something_decides(key, said, home, monkeypatch, seen):
    ranks = VALUES[key]
    words, expected = ["add", "x"], None
    if said & 1:
        users(home, f"{key} = {json.dumps(ranks[0])}")
        expected = ranks[0]
    if said & 2:
        words += ["--config", str(write(home / "own.toml", f"{key} = {json.dumps(ranks[1])}"))]
        expected = ranks[1]
    if said & 4 and ranks[2] is not None:
        monkeypatch.setenv("SLUICE_URL" if key == "server" else f"SLUICE_{key.upper()}", str(ranks[2]))
        expected = ranks[2]
    if said & 8:
        words += [f"--{key.replace('_', '-')}", str(ranks[3])]
        expected = ranks[3]
    if key == "server_name":
        words += ["--tls"]
    assert cli.main(words) == 0
    found = {"server": seen.server, "timeout": seen.timeout, "batch": seen.args.batch, "in_flight": seen.args.in_flight}
    tls = {} if seen.tls is None else {name: getattr(seen.tls, name) for name in ("ca", "server_name")}
    defaults = {"timeout": 60.0, "batch": 16, "in_flight": 4}
    assert (found | tls).get(key) == (defaults.get(key) if expected is None else expected)


def test_an_option_that_equals_the_default_still_wins_over_a_file(home, seen):
    users(home, "timeout = 5\nin_flight = 7\n")
    assert cli.main(["add", "x", "--timeout", "60", "--in-flight", "4"]) == 0
    assert (seen.timeout, seen.args.in_flight) == (60.0, 4)


def test_headers_are_merged_by_their_names_in_the_order_of_the_ranks(home, monkeypatch, seen):
    users(home, '[headers]\nA = "u"\nb = "u"\nc = "u"\nd = "u"\n')
    own = write(home / "own.toml", '[headers]\na = "c"\nB = "c"\nc = "c"\n')
    monkeypatch.setenv("SLUICE_HEADERS", "a=e\nb=e\n")
    assert cli.main(["list", "--config", str(own), "--header", "A=o"]) == 0
    assert seen.headers == {"a": "o", "b": "e", "c": "c", "d": "u"}


@pytest.mark.parametrize(
    ("text", "environment", "words", "wanted"),
    [
        ("tls = true", {}, [], True),
        ("tls = true", {"SLUICE_TLS": "0"}, [], False),
        ("tls = false", {"SLUICE_TLS": "1"}, [], True),
        ("tls = false", {}, ["--tls"], True),
        ("tls = false\nca = 'x.pem'", {}, [], False),
        ("ca = 'x.pem'", {}, [], True),
        ("server_name = 'x'", {}, [], False),
        ("server = 'grpcs://h:1'", {}, [], True),
        ("tls = true\nserver = 'grpc://h:1'", {}, [], False),
        ("ca = 'x.pem'", {}, ["--server", "grpc://h:1"], False),  # how to ask a server without TLS meanwhile
        ("", {}, [], False),
    ],
)
def test_whether_tls_is_wanted(text, environment, words, wanted, home, monkeypatch, seen):
    users(home, text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["list", *words]) == 0
    assert (seen.tls is not None) == wanted


def test_files_of_keys_lie_beside_the_file_that_names_them(home, monkeypatch, seen):
    users(home, 'ca = "ca.pem"\ncert = "~/keys/own.pem"\nkey = "/etc/own.key"\n')
    assert cli.main(["list"]) == 0
    folder = home / "config" / "sluice"
    assert (seen.tls.ca, seen.tls.cert) == (str(folder / "ca.pem"), str(home / "home" / "keys" / "own.pem"))
    assert seen.tls.key == "/etc/own.key"
    write(home / "work" / "sub" / "own.toml", 'ca = "ca.pem"')
    assert cli.main(["list", "--config", "sub/own.toml"]) == 0
    assert seen.tls.ca == str(home / "work" / "sub" / "ca.pem")


@pytest.mark.parametrize("xdg", [None, "", ".", "work", "../work"])
def test_a_file_in_the_working_directory_is_never_read(xdg, home, monkeypatch, seen):
    for name in ("sluice.toml", ".sluice.toml", "sluice/sluice.toml", ".config/sluice/sluice.toml"):
        write(home / "work" / name, 'server = "evil:1"\n')
    write(home / "work" / "work" / "sluice" / "sluice.toml", 'server = "evil:1"\n')
    monkeypatch.delenv("XDG_CONFIG_HOME")
    if xdg is not None:
        monkeypatch.setenv("XDG_CONFIG_HOME", xdg)
    for user in (str(home / "home"), ".", ""):
        monkeypatch.setenv("HOME", user)
        assert cli.main(["list"]) == 0 and seen.server is None


def test_without_xdg_config_home_the_file_is_in_dot_config(home, monkeypatch, seen):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    write(home / "home" / ".config" / "sluice" / "sluice.toml", 'server = "user:1"')
    assert cli.main(["list"]) == 0 and seen.server == "user:1"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o664])
def test_a_file_that_others_can_write_is_refused(mode, home, capsys, seen):
    path = users(home, 'server = "user:1"', mode)
    assert cli.main(["list"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{path} can be written by others" in said and f"chmod go-w '{path}'" in said
    own = write(home / "own.toml", "", mode)
    path.unlink()
    assert cli.main(["list", "--config", str(own)]) == 2 and seen.args is None


def test_a_file_of_another_user_or_in_a_folder_of_everybody_is_refused(home, monkeypatch, seen, capsys):
    path = users(home, "")
    state = os.stat(path)
    other = os.stat_result((state.st_mode, *state[1:4], os.getuid() + 1, *state[5:10]))
    with monkeypatch.context() as changed:
        changed.setattr(settings.os, "fstat", lambda number: other)
        assert cli.main(["list"]) == 2
    assert "belongs to another user" in capsys.readouterr().err
    path.parent.chmod(0o777)
    assert cli.main(["list"]) == 2
    assert "Anybody can put another file in the place of" in capsys.readouterr().err
    path.parent.chmod(0o777 | stat.S_ISVTX)  # as /tmp
    assert cli.main(["list"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('sever = "h:1"', "`sever` is no setting; did you mean `server`?"),
        ("in-flight = 3", "`in-flight` is no setting; did you mean `in_flight`?"),
        ('colour = "red"', "`colour` is no setting; it may hold server, tls, ca, cert, key, server_name, headers"),
        ("[defaults]\ntimeout = 3", "`defaults` is no setting"),
        ('tls = "yes"', "`tls` should be true or false; got 'yes'"),
        ("timeout = 0", "`timeout` should be a number of seconds greater than 0; got 0"),
        ("timeout = nan", "`timeout` should be a number of seconds"),
        ("timeout = true", "`timeout` should be a number of seconds"),
        (f"timeout = 1{'0' * 400}", "`timeout` should be a number of seconds"),
        ("batch = 1.5", "`batch` should be a whole number of at least 1; got 1.5"),
        ("in_flight = 0", "`in_flight` should be a whole number"),
        ('server = "http://h:1"', "speaks gRPC"),
        ("server = 8001", "`server` should be a text; got 8001"),
        ('ca = ""', "`ca` should be a text"),
        ('ca = "a\\u0000b"', "`ca` should be a text"),
        ('headers = "secret"', "`headers` should be a table"),
        ('[headers]\n"a b" = "secret"', "letters, digits"),
        ('[headers]\na = "secret\\u00e9"', "printable ASCII"),
        ("[headers]\na = 5", "as text"),
        ("server = ", "is not TOML: Invalid value"),
        ("a = " + "[" * 5000, "is not TOML"),
        ("timeout = 1" + "0" * 5000, "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_name(text, message, home, capsys):
    path = users(home, text)
    assert cli.main(["list"]) == 2
    said = capsys.readouterr()
    assert message in said.err and str(path) in said.err and "secret" not in said.err
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith("sluice: ")


def test_a_file_that_is_no_text_or_not_there(home, capsys):
    path = users(home, "")
    path.write_bytes(b"\xff\xfes")
    assert cli.main(["list"]) == 2 and "not UTF-8" in capsys.readouterr().err
    path.write_bytes(b"\xef\xbb\xbftimeout = 0")  # a byte order mark is none of its faults
    assert cli.main(["list"]) == 2 and "`timeout` should be" in capsys.readouterr().err
    path.write_bytes(b"#" * ((1 << 20) + 1))
    assert cli.main(["list"]) == 2 and "larger than" in capsys.readouterr().err
    path.unlink()
    path.mkdir()
    assert cli.main(["list"]) == 2 and "cannot be read: Is a directory" in capsys.readouterr().err
    path.rmdir()
    for name, message in (("nowhere.toml", "does not exist"), ("a\0b", "cannot be read")):
        assert cli.main(["list", "--config", name]) == 2 and message in capsys.readouterr().err


@given(st.text(max_size=60))
def test_any_text_is_settings_or_refused_with_a_sentence(text):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.toml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        path.chmod(0o600)
        try:
            said = Settings.of({}, str(path))
        except InvalidRequest as error:
            assert str(path) in str(error)
        else:
            assert all(set(layer) <= set(KEYS) for layer in said.layers)


def test_headers_of_a_file_that_names_a_server_go_to_no_other(home, monkeypatch, seen, capsys):
    path = users(home, 'server = "grpcs://fleet:1"\n[headers]\nauthorization = "Bearer secret"\n')
    assert cli.main(["list"]) == 0 and seen.headers == {"authorization": "Bearer secret"}
    for other in ("h:2", "fleet:1", "grpc://fleet:1"):  # the last two without TLS
        assert cli.main(["list", "--server", other]) == 0
        assert seen.headers == {}
        said = capsys.readouterr().err
        assert f"the headers in {path} are for its server, grpcs://fleet:1, and are not sent to {other}" in said
        assert "secret" not in said
    path.write_text('[headers]\nauthorization = "Bearer secret"\n')
    assert cli.main(["list", "--server", "h:2"]) == 0 and seen.headers == {"authorization": "Bearer secret"}


def test_quiet_from_a_file(home, seen):
    users(home, "quiet = true")
    assert cli.main(["list"]) == 0 and seen.console.quiet


def test_doctor_says_which_file_was_read_and_where_each_value_is_from(home, monkeypatch, capsys):
    fake = FakeServer()
    with serving(fake.answer) as where:
        own = write(home / "own.toml", 'timeout = 7\n[headers]\nx-key = "secret"\n', 0o644)
        path = users(home, f'server = "{where}"\ntls = false\n')
        monkeypatch.setenv("SLUICE_HEADERS", "x-more=secret")
        cli.main(["doctor", "--json", "--config", str(own)])
    said = capsys.readouterr().out
    rows = {row["check"]: row for row in map(json.loads, said.splitlines())}
    assert rows["settings"]["text"] == f"{own}, {path}"
    # Others can read the keys in one of them.
    assert not rows["settings"]["ok"] and f"chmod go-rw {own}" in rows["settings"]["remedy"]
    assert rows["setting server"]["text"] == f"{where}, from {path}"
    assert rows["setting tls"]["text"] == f"false, from {path}"
    assert rows["setting timeout"]["text"] == f"7 s, from {own}"
    assert rows["header x-key"]["text"] == f"from {own}" and rows["header x-more"]["text"] == "from SLUICE_HEADERS"
    assert "secret" not in said


def test_doctor_says_which_file_would_be_read_and_what_an_option_says(home, capsys):
    assert cli.main(["doctor", "--server", "127.0.0.1:9", "--timeout", "0.3", "--tls"]) == 1
    said = capsys.readouterr().out
    assert f"no file; {home / 'config' / 'sluice' / 'sluice.toml'} would be read" in said
    assert "127.0.0.1:9, from --server" in said and "true, from --tls" in said


def test_a_command_without_a_server_reads_no_file(home, capsys):
    users(home, "nonsense")
    assert cli.main(["completion", "bash"]) == 0
