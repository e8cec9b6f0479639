"""`sluice sample`, `encode` and `interpolate` on the command line, against a fake server over a real socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image
from sluice_client import Unavailable, cli
from sluice_client.files import latents
from sluice_client.terminal import sample_options

from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.grpc import serving
from tests.made.fake_server.sampler import encoded, picture, value_of
from tests.made.fake_server.streams import Streaming


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    fake = FakeServer()
    with serving(fake.answer) as where:
        monkeypatch.setenv("SLUICE_URL", where)
        yield fake


def asked(server: FakeServer) -> dict:
    return json.loads(server.calls[-1][0].inputs["OPTIONS"][0])


def grey(seed: int, label: int = 0) -> int:
    return round((value_of(seed, label) + 1) * 127.5)


def pixel(path, x: int, y: int) -> int | tuple[int, ...]:
    with Image.open(path) as image:
        return image.getpixel((x, y))


def test_a_grid_has_a_cell_a_seed_row_by_row(server, tmp_path, capsys):
    words = ["--model", "digits", "--label", "7", "--solver", "genie", "--steps", "5", "--seeds", "0:9"]
    assert cli.main(["sample", *words, "--out", "grid.png"]) == 0
    said = capsys.readouterr()
    with Image.open("grid.png") as image:
        assert image.size == (28, 28) and image.mode == "L" and image.format == "PNG"
        cells = [image.getpixel((10 * (i % 3) + 4, 10 * (i // 3) + 4)) for i in range(9)]
        assert image.getpixel((8, 4)) == 128
    assert cells == [grey(seed, 7) for seed in range(9)]
    assert asked(server) == {"model": "digits", "solver": "genie", "steps": 5}
    assert server.calls[-1][0].inputs["LABELS"].tolist() == [7]
    assert said.out == "9 images of digits with genie, 5 network evaluations each, 0.25 s\n"
    assert "wrote grid.png" in said.err and os.listdir(tmp_path) == ["grid.png"], "nothing is left beside it"


def test_every_option_is_sent_and_what_is_not_given_is_not(server, tmp_path):
    words = ["--solver", "ab2", "--grid", "linear", "--guidance", "2.5", "--guidance-rule", "first_order"]
    words += ["--no-curvature", "--difference", "0.5", "--analytic-first", "--denoise"]
    words += ["--previews", "p", "--preview-every", "3"]
    assert cli.main(["sample", "--labels", "3,1", *words, "--out", "a.webp", "--columns", "1"]) == 0
    sent = {"solver": "ab2", "grid": "linear", "guidance": 2.5, "guidance_rule": "first_order", "difference": 0.5}
    assert asked(server) == {**sent, "curvature": False, "analytic_first": True, "denoise": True, "preview": 3}
    assert server.calls[-1][0].inputs["SEEDS"].tolist() == [0, 1]
    with Image.open("a.webp") as image:
        assert image.size == (8, 18)
    assert cli.main(["sample", "--model", "streets", "--out", "b.jpg"]) == 0
    assert asked(server) == {"model": "streets"}


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_gets_one_png_a_seed(server, tmp_path, there):
    if there:
        (tmp_path / "out").mkdir()
    words = ["sample", "--model", "streets", "--seeds", "3,9,2:4", "--out", "out" if there else "out/"]
    assert cli.main(words) == 0
    assert sorted(os.listdir("out")) == ["2.png", "3-2.png", "3.png", "9.png"]
    assert pixel("out/9.png", 4, 4) == (grey(9),) * 3
    assert cli.main(["sample", "--labels", "0:3", "--out", "digits/"]) == 0
    assert sorted(os.listdir("digits")) == ["0-label0.png", "1-label1.png", "2-label2.png"]


def test_previews_are_written_step_by_step(server, capsys):
    assert cli.main(["sample", "--label", "1", "--seeds", "5,6", "--steps", "4", "--previews", "p", "--out", "g.png",
                     "--preview-every", "2"]) == 0  # fmt: skip
    assert sorted(os.listdir("p")) == [f"{seed}-step{step:03d}.jpg" for seed in (5, 6) for step in (2, 4)]
    with Image.open("p/5-step002.jpg") as image:
        assert image.format == "JPEG" and image.size == (8, 8)


def test_json_prints_the_facts(server, capsys):
    assert cli.main(["sample", "--label", "1", "--guidance", "1", "--out", "g.png", "--json", "-q"]) == 0
    said = capsys.readouterr()
    facts = {"model": "digits", "task": "sample", "solver": "genie", "images": 1, "failed": 0, "nfe": 20, "calls": 10}
    facts |= {"seconds": 0.25, "networks": ["digits_curvature"], "out": "g.png", "errors": {}}
    assert json.loads(said.out) == facts and said.err == ""


def test_pictures_are_encoded_to_a_file_and_decoded_to_the_same(server, tmp_path, capsys):
    for i, value in enumerate((0.5, -0.5)):
        (tmp_path / f"photo{i}.png").write_bytes(encoded(picture(value)))
    words = ["--model", "streets", "--steps", "3", "--solver", "ddim", "--out", "latents.npz"]
    assert cli.main(["encode", "photo0.png", "photo1.png", *words]) == 0
    assert asked(server) == {"model": "streets", "task": "encode", "steps": 3, "solver": "ddim"}
    with np.load("latents.npz") as file:
        assert file["latents"].shape == (2, 3, 8, 8) and file["names"].tolist() == ["photo0.png", "photo1.png"]
    assert cli.main(["sample", "--latents", "latents.npz", "--out", "again/"]) == 0
    assert asked(server) == {"model": "streets", "steps": 3, "solver": "ddim"}
    for name in ("photo0.png", "photo1.png"):
        assert np.array_equal(np.asarray(Image.open(name)), np.asarray(Image.open(f"again/{name}")))
    assert cli.main(["sample", "--latents", "latents.npz", "--steps", "7", "--out", "again.png"]) == 0
    assert asked(server)["steps"] == 7
    assert cli.main(["interpolate", "--latents", "latents.npz", "--between", "3", "--out", "strip.png"]) == 0
    assert pixel("strip.png", 4, 4) == (191,) * 3 and pixel("strip.png", 24, 4) == (64,) * 3


def test_the_classes_of_pictures_are_kept_with_their_latents(server, tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(encoded(picture(0.1 * i, 1)))
    (tmp_path / "1.png").write_bytes(b"junk")
    assert cli.main(["encode", "0.png", "1.png", "2.png", "--labels", "4,5,6", "--out", "l.npz"]) == 1
    assert latents.load(tmp_path / "l.npz").labels == (4, 6)
    assert cli.main(["sample", "--latents", "l.npz", "--out", "x.png"]) == 0
    assert server.calls[-1][0].inputs["LABELS"].tolist() == [4, 6]
    assert cli.main(["interpolate", "--latents", "l.npz", "--out", "x.png"]) == 2
    assert cli.main(["encode", "0.png", "2.png", "--label", "4", "--out", "l.npz"]) == 0
    assert cli.main(["interpolate", "--latents", "l.npz", "--out", "x.png"]) == 0
    assert server.calls[-1][0].inputs["LABELS"].tolist() == [4]


def test_a_picture_that_cannot_be_encoded_is_named_left_out_and_the_exit_code_is_1(server, tmp_path, capsys):
    (tmp_path / "good.png").write_bytes(encoded(picture(0.5)))
    (tmp_path / "large.png").write_bytes(png(1))
    assert cli.main(["encode", "good.png", "large.png", "--model", "streets", "--out", "l.npz"]) == 1
    assert "large.png: not an image of 8 x 8 pixels" in capsys.readouterr().err
    assert latents.load(tmp_path / "l.npz").names == ("good.png",)
    assert cli.main(["encode", "large.png", "--model", "streets", "--fit", "--out", "f.npz"]) == 0
    assert asked(server)["fit"] is True
    assert cli.main(["encode", "large.png", "--model", "streets", "--out", "none.npz", "--json"]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["out"] is None and not os.path.exists("none.npz")


def test_a_strip_has_a_row_a_pair_and_both_ends(server, tmp_path):
    assert cli.main(["interpolate", "--seeds", "3,9,4,5", "--model", "streets", "--between", "5", "-o", "s.png"]) == 0
    with Image.open("s.png") as image:
        assert image.size == (48, 18)
        ends = [image.getpixel(place)[0] for place in ((4, 4), (44, 4), (4, 14), (44, 14))]
    assert ends == [grey(seed) for seed in (3, 9, 4, 5)]
    for name, value in (("A.png", 0.5), ("B.png", -0.5)):
        (tmp_path / name).write_bytes(encoded(picture(value)))
    assert cli.main(["interpolate", "A.png", "B.png", "--model", "streets", "--between", "3", "--out", "way/"]) == 0
    assert sorted(os.listdir("way")) == ["000.png", "001.png", "002.png"] and pixel("way/002.png", 4, 4)[0] == 64
    assert asked(server) == {"model": "streets", "task": "interpolate", "between": 3}


def test_a_pair_that_cannot_be_read_leaves_its_row_empty(server, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(encoded(picture(1)))
    (tmp_path / "bad.png").write_bytes(b"junk")
    words = ["interpolate", "a.png", "bad.png", "a.png", "a.png", "--model", "streets", "--between", "2", "-o", "s.png"]
    assert cli.main(words) == 1
    assert "0-000: not an image" in capsys.readouterr().err
    assert pixel("s.png", 4, 4) == (128,) * 3 and pixel("s.png", 4, 14) == (255,) * 3


def test_progress_is_told_now_and_then_where_there_is_no_terminal_and_not_with_quiet(server, capsys, monkeypatch):
    monkeypatch.setattr(sample_options, "_NEWS", 0.0)
    assert cli.main(["sample", "--label", "1", "--steps", "4", "--out", "g.png"]) == 0
    assert "sampling: 50 %, step 2 of 4" in capsys.readouterr().err
    assert cli.main(["sample", "--label", "1", "--steps", "4", "--out", "g.png", "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_a_terminal_sees_a_bar(server, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli.main(["sample", "--label", "1", "--steps", "4", "--out", "g.png"]) == 0
    said = capsys.readouterr().err
    assert "sampling: 100%" in said and "step" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "--out", "x.gif"], "--out must end with one of .png"),
        (["sample", "--out", "no/where.png"], "there is no folder no; make it first"),
        (["sample", "--out", "file/"], "there is a file of that name"),
        (["sample", "--out", "x.png", "--steps", "0"], "steps must be a whole number 1..1000"),
        (["sample", "--out", "x.png", "--guidance", "-1"], "guidance must lie in 0..100"),
        (["sample", "--out", "x.png", "--labels", "1,2", "--seeds", "1,2,3"], "one for each of 3 seeds; got 2"),
        (["sample", "--out", "x.png", "--columns", "0"], "--columns must be at least 1"),
        (["sample", "--out", "x/", "--columns", "2"], "--columns is for a sheet"),
        (["sample", "--out", "x.png", "--preview-every", "2"], "belongs to --previews"),
        (["sample", "--out", "x.png", "--latents", "none.npz"], "none.npz cannot be read"),
        (["sample", "--out", "x.png", "--latents", "file"], "file is no file of `sluice encode`"),
        (["sample", "--out", "x.png", "--model", "nets"], "no network is called 'nets'"),
        (["sample", "--out", "x.png"], "digits needs it"),
        (["encode", "file", "--out", "x.npy"], "--out must end with .npz"),
        (["encode", "none.png", "--out", "x.npz"], "none.png does not exist"),
        (["encode", "file", "--out", "no/x.npz"], "there is no folder no"),
        (["interpolate", "--out", "x.png"], "one of the three"),
        (["interpolate", "a.png", "b.png", "--seeds", "1,2", "--out", "x.png"], "one of the three"),
        (["interpolate", "a.png", "--out", "x.png"], "A pair is two; got 1 of paths"),
        (["interpolate", "a.png", "b.png", "--out", "x.png"], "a.png cannot be read"),
        (["interpolate", "--seeds", "1,2", "--between", "1", "--out", "x.png"], "between must be a whole number"),
    ],
)
def test_bad_input_is_one_line_and_2(server, words, message, capsys, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    assert cli.main(words) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.startswith("sluice: ") and said.err.count("\n") == 1 and said.out == ""
    assert not os.path.exists("x.png") and not os.path.exists("x.npz")


@pytest.mark.parametrize("text", ["", "a", "3:", "5:5", "1,,2", "-1:", "0:99999999999", "1.5"])
def test_lists_of_numbers_that_are_none_are_wrong_usage(text, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["sample", f"--seeds={text}", "--out", "x.png"])
    assert stop.value.code == 2 and "numbers such as 3,9 or 0:64" in capsys.readouterr().err


def test_lists_of_numbers_may_have_runs():
    assert sample_options.numbers("3,9") == [3, 9] and sample_options.numbers("0:3,100,:2") == [0, 1, 2, 100, 0, 1]
    assert sample_options.numbers(str(2**64 - 1)) == [2**64 - 1]


def test_a_busy_server_is_75_and_what_was_there_stays(server, tmp_path, capsys):
    (tmp_path / "grid.png").write_bytes(b"before")
    server.trouble = [Unavailable("Exceeds maximum queue size")] * 999
    assert cli.main(["sample", "--label", "1", "--out", "grid.png", "--timeout", "0.3"]) == 75
    assert (tmp_path / "grid.png").read_bytes() == b"before" and "queue" in capsys.readouterr().err


def test_ctrl_c_ends_at_once_at_the_server_too_and_keeps_what_is_finished(tmp_path):
    fake = FakeServer()

    def slow(call, timeout):
        for tensors in fake.events(call, timeout):
            yield tensors
            time.sleep(0.1)

    streaming = Streaming(slow)
    with serving(fake.answer, streaming=streaming) as where:
        words = ["sample", "--label", "1", "--seeds", "0:64", "--steps", "3", "--out", "out/"]
        child = subprocess.Popen(
            [sys.executable, "-m", "sluice_client.cli", *words],
            env={**os.environ, "SLUICE_URL": where},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        finished = tmp_path / "out" / "3.png"
        end = time.monotonic() + 30
        while not finished.exists() and time.monotonic() < end:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        begin = time.monotonic()
        out, said = child.communicate(timeout=30)
        assert child.returncode == 130 and "stopped, also at the server" in said and "Traceback" not in said
        assert out == "" and time.monotonic() - begin < 2.5 and streaming.cancelled.wait(1)
    kept = os.listdir(tmp_path / "out")
    assert 4 <= len(kept) < 64 and all(name.endswith(".png") for name in kept)
    for name in kept:
        with Image.open(tmp_path / "out" / name) as image:
            image.load()


def test_a_killed_command_leaves_no_request_running(tmp_path):
    fake = FakeServer()

    def slow(call, timeout):
        for tensors in fake.events(call, timeout):
            yield tensors
            begun.set()
            time.sleep(0.1)

    begun = threading.Event()
    streaming = Streaming(slow)
    with serving(fake.answer, streaming=streaming) as where:
        child = subprocess.Popen(
            [sys.executable, "-m", "sluice_client.cli", "sample", "--label", "1", "--steps", "99", "--out", "x.png"],
            env={**os.environ, "SLUICE_URL": where},
            cwd=tmp_path,
        )
        assert begun.wait(30)
        child.kill()
        child.wait()
        assert streaming.cancelled.wait(2)
    assert os.listdir(tmp_path) == []
