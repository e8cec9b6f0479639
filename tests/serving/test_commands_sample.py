"""`sluice sample`, `encode` and `interpolate` against the real server: from seeds to files, and back from pictures."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image
from sluice_client import (
    AsyncSluice,
    End,
    InvalidRequest,
    NotFound,
    Preview,
    Progress,
    Result,
    Sluice,
    cli,
)

from tests.made.command_line import run

LONG = {"model": "digits", "labels": 1, "seeds": range(64), "steps": 500, "solver": "ddim"}  # minutes, if it is let


@pytest.fixture
def here(server, monkeypatch, tmp_path):
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def cancelled(server) -> float:
    """Return the number of requests of `sample` that the server counts as cancelled."""
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    counted = [line for line in lines if line.startswith("sluice_requests_total{") and 'model="sample"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in counted if 'outcome="cancelled"' in line)


def until(true, seconds: float = 10) -> float:
    """Return the seconds until `true()` is true."""
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - begin


def test_the_grid_shows_what_the_seeds_give_alone(here, capsys):
    words = ["sample", "--model", "digits", "--label", "7", "--solver", "genie", "--steps", "5"]
    code, facts, said = run(capsys, *words, "--seeds", "0:9", "--out", "grid.png")
    assert code == 0, said
    assert (facts[0]["images"], facts[0]["nfe"], facts[0]["solver"], facts[0]["model"]) == (9, 5, "genie", "digits")
    assert run(capsys, *words, "--seeds", "4", "--out", "one/")[0] == 0
    grid, alone = pixels("grid.png"), pixels("one/4.png")
    assert grid.shape == (100, 100) and alone.shape == (32, 32)
    assert np.abs(grid[34:66, 34:66].astype(int) - alone).max() <= 1
    assert len({grid[34 * (i // 3) :][:32, 34 * (i % 3) :][:, :32].tobytes() for i in range(9)}) == 9


def test_events_come_step_by_step_with_previews_that_become_the_image(here, server):
    with Sluice(server.grpc) as sluice:
        events = list(sluice.sample_stream("streets", seeds=[3, 2**64 - 1], steps=6, preview=2, denoise=True))
        kinds = [type(event) for event in events]
        assert kinds[-2:] == [Result, End] and kinds.count(Preview) == 3 and set(kinds[:-2]) <= {Preview, Progress}
        done = [event.done for event in events[:-1]]
        assert done == sorted(done) and done[-1] == 1
        previews = [event.array().astype(float) for event in events if isinstance(event, Preview)]
        last = events[-2].array().astype(float)
        distances = [np.abs(preview - last).mean() for preview in previews]
        assert last.shape == (2, 32, 32, 3) and distances == sorted(distances, reverse=True)
        assert events[-1].nfe == 7 and events[-1].task == "sample"


def test_pictures_go_to_their_latents_and_back(here, capsys):
    assert run(capsys, "sample", "--model", "streets", "--seeds", "5,6", "--steps", "25", "--out", "made/")[0] == 0
    (here / "made" / "7.png").write_bytes(b"\x89PNG junk")
    words = ["--model", "streets", "--steps", "25", "--out", "latents.npz"]
    code, facts, _ = run(capsys, "encode", "made", *words)
    assert code == 1 and list(facts[0]["errors"]) == ["made/7.png"] and facts[0]["task"] == "encode"
    code, facts, said = run(capsys, "sample", "--latents", "latents.npz", "--out", "again/")
    assert code == 0 and facts[0]["nfe"] == 25, said
    made, again = ([pixels(f"{folder}/{seed}.png").astype(int) for seed in (5, 6)] for folder in ("made", "again"))
    lost = max(np.abs(a - b).mean() for a, b in zip(made, again, strict=True))
    assert lost < np.abs(made[0] - made[1]).mean() / 2, "each comes back as itself"
    assert run(capsys, "interpolate", "--latents", "latents.npz", "--between", "3", "--out", "way/")[0] == 0
    assert np.array_equal(pixels("way/000.png"), pixels("again/5.png"))


def test_images_that_were_not_rounded_come_back_the_better_the_more_steps_are_taken(server):
    def lost(steps: int) -> float:
        asked = {"model": "streets", "steps": steps}
        made = sluice.sample(**asked, seeds=[5, 6], format="tensor").tensors
        latents = sluice.encode(**asked, tensors=made)
        again = sluice.sample(**asked, latents=latents, format="tensor").tensors
        return float(np.abs(again - made).mean() / np.abs(made).mean())

    with Sluice(server.grpc) as sluice:
        assert lost(40) < 0.5 * lost(10)


def test_a_strip_has_the_two_seeds_at_its_ends(here, capsys):
    words = ["--model", "digits", "--label", "3", "--guidance", "1", "--steps", "4", "--solver", "ab2"]
    code, facts, said = run(capsys, "interpolate", "--seeds", "3,9", "--between", "4", *words, "--out", "strip.png")
    assert code == 0 and facts[0]["nfe"] == 8 and facts[0]["calls"] == 4, said
    assert run(capsys, "sample", "--seeds", "3,9", *words, "--out", "ends/")[0] == 0
    strip = pixels("strip.png").astype(int)
    assert strip.shape == (32, 134)
    assert np.abs(strip[:, :32] - pixels("ends/3.png")).max() <= 1
    assert np.abs(strip[:, 102:] - pixels("ends/9.png")).max() <= 1


def test_pictures_of_another_size_are_refused_unless_they_may_be_cut(here, capsys):
    noise = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC).save("photo.png")
    words = ["encode", "photo.png", "--model", "streets", "--steps", "2", "--out", "x.npz"]
    assert cli.main(words) == 1 and "64 x 48 pixels" in capsys.readouterr().err and not os.path.exists("x.npz")
    assert cli.main([*words, "--fit"]) == 0 and os.path.exists("x.npz")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "digits", "--label", "11"], "labels of digits are 0 to 9, got 11"),
        (["--model", "digits"], "digits is class-conditional"),
        (["--model", "streets", "--label", "1"], "streets is unconditional"),
        (["--model", "streets", "--guidance", "2"], "guidance needs a network with a null label"),
        (["--model", "faces"], "there is no model 'faces'"),
        (["--model", "streets", "--seeds", "0:5000"], "at most 4,096 images|1 to 4,096 images"),
    ],
)
def test_what_the_server_refuses_is_one_line_and_2(here, words, message, capsys):
    assert cli.main(["sample", *words, "--out", "x.png"]) == 2
    said = capsys.readouterr().err
    assert any(part in said for part in message.split("|")) and said.count("\n") == 1
    assert not os.path.exists("x.png")


def test_the_exceptions_are_those_of_other_verbs(server):
    with Sluice(server.grpc) as sluice:
        with pytest.raises(NotFound, match="'faces'"):
            sluice.sample("faces")
        with pytest.raises(InvalidRequest, match="number 0"):
            sluice.sample_stream("streets", latents=np.full((1, 3, 32, 32), np.nan))
        with pytest.raises(InvalidRequest, match="TENSORS of streets"):
            sluice.sample("streets", latents=np.zeros((1, 1, 32, 32)))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_leaving_the_iteration_ends_the_loop_at_the_server(server, asynchronous):
    async def leave():
        async with AsyncSluice(server.grpc) as sluice:
            async for _ in sluice.sample_stream(**LONG):
                break
            await asyncio.to_thread(until, lambda: cancelled(server) > before, 5)

    before = cancelled(server)
    if asynchronous:
        asyncio.run(leave())
    else:
        with Sluice(server.grpc) as sluice:
            for _ in sluice.sample_stream(**LONG):
                break
            until(lambda: cancelled(server) > before, 5)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_or_killed_command_ends_the_loop_at_the_server(here, server, how):
    before = cancelled(server)
    words = ["sample", "--model", "digits", "--label", "1", "--seeds", "0:32", "--steps", "500", "--previews", "p"]
    child = subprocess.Popen(
        [sys.executable, "-m", "sluice_client.cli", *words, "--out", "x.png"], stderr=subprocess.PIPE, text=True
    )
    until(lambda: os.path.isdir("p") and os.listdir("p"), 60)
    child.send_signal(how)
    said = child.communicate(timeout=10)[1]
    assert child.returncode == (130 if how == signal.SIGINT else -how) and "Traceback" not in said
    until(lambda: cancelled(server) > before, 5)
    assert not os.path.exists("x.png")


def test_the_asyncio_client_samples_several_requests_side_by_side(server):
    async def ask():
        async with AsyncSluice(server.grpc) as sluice:
            seen: list[int] = []
            together = await asyncio.gather(
                *(sluice.sample("digits", seeds=[i], labels=i, steps=3, format="tensor") for i in range(4))
            )
            async for event in sluice.sample_stream("digits", seeds=range(4), labels=range(4), steps=3, preview=1):
                if isinstance(event, Preview):
                    seen.append(event.step)
            whole = await sluice.sample("digits", seeds=range(4), labels=range(4), steps=3, format="tensor")
            return together, whole, seen

    together, whole, seen = asyncio.run(ask())
    assert seen == [1, 2, 3] and whole.tensors.shape == (4, 1, 32, 32)
    for one, row in zip(together, whole.tensors, strict=True):
        assert np.abs(one.tensors[0] - row).max() < 1e-4, "the same whoever asks beside it"


def test_the_facts_are_json(here, capsys):
    assert cli.main(["sample", "--label", "2", "--steps", "2", "--out", "x.png", "--json", "-q"]) == 0
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert said.err == "" and facts["networks"] == ["digits_curvature"] and facts["seconds"] > 0
