"""Waiting for a server: a line every few seconds says why and until when, and a misspelt option gets a hint."""

from __future__ import annotations

import json
import re
import socket
import threading

import pytest
from sluice_client import Found, Frame, Match, Sluice, cli
from sluice_client.commands import COMMANDS
from sluice_client.errors import Unavailable
from sluice_client.files import saved_results
from sluice_client.terminal import console
from sluice_client.transport.protocol import Function
from sluice_client.transport.retry import Retry

from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.grpc import serving


@pytest.fixture
def clock(monkeypatch):
    """Replace `time.monotonic` by a clock that the test moves."""

    class Clock:
        now = 100.0

        def __call__(self) -> float:
            return self.now

    one = Clock()
    monkeypatch.setattr(console.time, "monotonic", one)
    return one


def refused(left: float | None = 60.0) -> Unavailable:
    error = Unavailable("No server answers at h:1 (connection refused).")
    error.left = left
    return error


def test_a_line_at_once_then_one_in_five_seconds_however_many_calls_wait(clock, capsys):
    patience = console.Patience(console.Console())
    for tenth in range(200):  # 20 s of ten calls that are tried ten times a second
        clock.now = 100 + tenth / 10
        for _ in range(10):
            patience(refused(left=60 - tenth / 10), 0.1)
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out == "" and len(lines) == 4
    for line, left in zip(lines, (60, 55, 50, 45), strict=True):
        assert line.startswith("No server answers at h:1 (connection refused). Trying again for up to ")
        assert re.search(rf"for up to {left} s, until \d\d:\d\d:\d\d; stop with Ctrl-C\.$", line)


def test_threads_that_wait_at_the_same_moment_say_it_once(capsys):
    patience = console.Patience(console.Console(json=True))
    threads = [threading.Thread(target=patience, args=(refused(), 0.1)) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.out == ""


def test_quiet_says_nothing_while_it_waits(capsys):
    console.Patience(console.Console(quiet=True))(refused(), 0.1)
    assert capsys.readouterr().err == ""


def test_on_retry_is_told_how_long_is_left_of_the_call():
    now = [0.0]
    seen = []

    def absent(call, timeout):
        raise Unavailable("away")

    client = Sluice(
        transport=Function(absent), timeout=8, retry=Retry(attempts=4), on_retry=lambda e, w: seen.append((e.left, w))
    )

    def sleep(seconds: float) -> None:
        now[0] += 2

    client._clock, client._sleep = lambda: now[0], sleep  # type: ignore[method-assign, assignment]
    with pytest.raises(Unavailable, match="Tried 4 times"):
        list(client.frames())
    assert [left for left, _ in seen] == [8, 6, 4]


def test_json_on_stdout_is_whole_while_the_server_is_busy(tmp_path, monkeypatch, capsys):
    fake, turns = FakeServer(), []

    def answer(call, timeout):
        turns.append(call)
        if len(turns) <= 3:
            raise Unavailable("the queue is full")
        return fake.answer(call, timeout)

    (tmp_path / "a.png").write_bytes(png(1))
    with serving(answer) as where:
        assert cli.main(["add", str(tmp_path / "a.png"), "--json", "--server", where, "--timeout", "30"]) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["status"] for line in said.out.splitlines()] == ["stored"]
    assert said.err.count("Trying again") == 1 and "queue is full" in said.err


def test_every_command_that_asks_a_server_says_that_it_waits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(png(1))
    one = Found((Match("f", 0.5, (), (), frame=Frame("f"), text_scores=(0.5,)),), "m", 1, 0, 0.1)
    saved_results.save("found.json", b"", (), one, ("a car",))
    words = {
        "retrieve": "--text x", "match": "a.png --roi 0,0,9,9 a.png", "add": "a.png", "detect": "a.png",
        "segment": "a.png --classes x", "compare": "a.png --texts x", "sample": "-o x.png", "encode": "a.png -o x.npz",
        "interpolate": "--seeds 1,2 -o x.png", "enhance": "a.png -o y.png", "page": "found.json -o x.html",
        "get": "x", "delete": "x",
    }  # fmt: skip
    asking = {name for name, one in cli.parsers()[1].items() if "--server" in one.options()} - {"doctor"}
    for name in sorted(asking):
        cli.main([name, *words.get(name, "").split(), "--server", "127.0.0.1:9", "--timeout", "0.3"])
        assert capsys.readouterr().err.count("(connection refused). Trying again") == 1, name


def test_a_host_that_takes_no_connection_is_told_of_with_the_reason(capsys):
    silent = [socket.socket() for _ in range(2)]
    silent[0].bind(("127.0.0.1", 0))
    silent[0].listen(0)
    where = silent[0].getsockname()
    silent[1].connect(where)  # the only place in its queue, so that the kernel drops what comes after
    assert cli.main(["list", "--server", f"127.0.0.1:{where[1]}", "--timeout", "2"]) == 75
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("(connection attempt timed out)" in line for line in lines)
    for one in silent:
        one.close()


@pytest.mark.parametrize(
    ("words", "command", "said"),
    [
        ("add --drvie 0042 x", "add", "`sluice add` does not know --drvie; did you mean --drive?"),
        ("sample --modle=digits", "sample", "does not know --modle; did you mean --model?"),  # -o is missing, too
        ("page f.json --ouptut x", "page", "does not know --ouptut; did you mean --output?"),
        ("match q.png --per-drive 5 a", "match", "--per-drive; it is an option of `sluice retrieve`, `sluice select`"),
        ("retrieve q.png --roi -1,2,3,4 --colour", "retrieve", "`sluice retrieve` does not know --colour"),
        ("list -x", "list", "`sluice list` does not know -x"),
        ("list word", "list", "`sluice list` does not know: word"),
        ("--json list", "list", "options stand behind the command: sluice list --json"),
        ("retrieve q.png --roi 1,2,3", "retrieve", "four numbers x0,y0,x1,y1 were expected"),
        ("add --time 5 x", "add", "ambiguous option: --time could match --timeout, --time-from"),
    ],
)
def test_a_misspelt_option_gets_a_hint_and_the_usage_of_its_command(words, command, said, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(words.split())
    told = capsys.readouterr()
    assert stop.value.code == 2 and told.out == ""
    assert told.err.startswith(f"usage: sluice {command} ") and said in told.err.splitlines()[-1]


@pytest.mark.parametrize(("word", "meant"), [("retreive", "retrieve"), ("doctro", "doctor"), ("serv", "serve")])
def test_a_misspelt_command_gets_a_hint(word, meant, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([word, "x"])
    assert stop.value.code == 2
    assert f"there is no command '{word}'; did you mean `sluice {meant}`?" in capsys.readouterr().err


def test_what_only_looks_like_an_option_goes_through(monkeypatch):
    seen = {}
    for name in ("get", "retrieve"):
        monkeypatch.setattr(COMMANDS[name], "run", lambda args, console, client: seen.update(vars(args)) or 0)
    assert cli.main(["get", "--", "--odd", "-x"]) == 0
    assert seen["ids"] == ["--odd", "-x"]
    words = ["retrieve", "q.png", "--roi", "-1,-2,3,4", "--after", "-1e9", "--text", "- at night", "-k3", "--thresh=-1"]
    assert cli.main(words) == 0
    assert (seen["k"], seen["after"], seen["threshold"], seen["text"]) == (3, -1e9, -1.0, ["- at night"])


@pytest.mark.parametrize("name", [None, *sorted(COMMANDS)])
def test_help_ends_its_sentences(name, capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"] if name is None else [name, "--help"])
    paragraphs = [" ".join(part.split()) for part in capsys.readouterr().out.split("\n\n")]
    if name is None:
        found = re.split(r" (?=(?:" + "|".join([*COMMANDS, "serve"]) + r") [A-Z])", paragraphs[2])[1:]
        assert len(found) >= len(COMMANDS)
        assert all(re.search(r"[.?)]$", one) for one in found), found
    else:
        assert re.search(r"[.?]$", paragraphs[1]), paragraphs[1]
