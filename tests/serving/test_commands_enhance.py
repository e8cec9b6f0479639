"""`sluice enhance` and the client against the real server: a video in, the same video out, stopped and gone on with."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image, ImageCms
from sluice_client import AsyncSluice, InvalidRequest, Sluice, cli

from tests.made import videos
from tests.made.broken_files import broken_exif


@pytest.fixture
def here(server, monkeypatch, tmp_path):
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_video_in_a_video_out(here, capsys):
    given = videos.write(here / "in.mp4", count=12)
    assert cli.main(["enhance", "in.mp4", "--to", "2x", "--out", "out.mp4", "--json", "--compare", "page.html"]) == 0
    made = here / "out.mp4"
    assert videos.seconds(made) == videos.seconds(given) and len(videos.seconds(made)) == 12
    assert videos.sound(made) == videos.sound(given) != [] and videos.meaning(made) == videos.meaning(given)
    assert json.loads(capsys.readouterr().out)["frames"] == 12
    assert (here / "page.html").read_text().count('class="compared"') == 8
    # Larger, but the same picture: its halves are near to what it was.
    for one, other in zip(videos.frames(made), videos.frames(given), strict=True):
        halved = one.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
        assert np.abs(halved - other).mean() < 16


def test_what_a_picture_holds_beside_its_colours_comes_back(here, capsys):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(here / "alpha.png", icc_profile=profile, exif=exif)
    (here / "bad.png").write_bytes(broken_exif((32, 24), "PNG"))
    assert cli.main(["enhance", "alpha.png", "bad.png", "--mode", "weak", "--out", "o/"]) == 0
    assert capsys.readouterr().err.count("bad.png: its EXIF data cannot be read and was ignored") == 1
    made = Image.open(here / "o" / "alpha.png")
    assert made.mode == "RGBA" and made.size == (24, 32) and made.info["icc_profile"] == profile
    assert np.array_equal(np.asarray(made)[..., 3], np.rot90(pixels[..., 3], -1))
    assert Image.open(here / "o" / "bad.png").size == (32, 24)


def test_a_stopped_command_goes_on_where_it_was(here, server):
    def calls():
        statistics = triton.InferenceServerClient(server.grpc).get_inference_statistics("artifact_remover_weak")
        return statistics.model_stats[0].inference_count

    given = videos.write(here / "in.mp4", count=60, size=(96, 64), audio=False)
    words = [sys.executable, "-m", "sluice_client.cli", "enhance", "in.mp4", "--mode", "weak", "--out", "out.mp4"]
    before, until = calls(), time.monotonic() + 120
    process = subprocess.Popen(words, cwd=here, stderr=subprocess.PIPE, text=True)
    while calls() < before + 24:  # of 8 a request and two requests at a time: the first one's are written
        assert process.poll() is None and time.monotonic() < until, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130 and "goes on from there" in process.stderr.read()
    assert not (here / "out.mp4").exists() and (here / ".out.mp4.journal").exists()
    again = subprocess.run(words, cwd=here, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and "going on after" in again.stderr, again.stderr
    assert videos.seconds(here / "out.mp4") == videos.seconds(given) and not (here / ".out.mp4.journal").exists()


def test_streams_of_both_clients_at_the_same_time_keep_their_order(server):
    frames = list(np.random.default_rng(2).integers(0, 256, (9, 24, 32, 3), np.uint8))

    async def several():
        async with AsyncSluice(server.grpc) as client:

            async def one(i):
                stream = client.enhance_stream(frames, times=range(9), do="both", batch=1 + i, in_flight=3)
                return [(frame.number, frame.time) async for frame in stream]

            return await asyncio.gather(*(one(i) for i in range(3)))

    assert asyncio.run(several()) == [[(i, i) for i in range(9)]] * 3
    with Sluice(server.grpc) as client:
        found = client.enhance(frames[:2], strength=0)
        np.testing.assert_array_equal(found[1].array(), frames[1])
        with pytest.raises(InvalidRequest, match="becomes at most 4 times as large"):
            client.enhance(frames[:1], do="upscale", size=(1000, 1000))


def test_leaving_a_stream_ends_its_work(server):
    def endless():
        while True:
            yield np.zeros((120, 160, 3), np.uint8)

    with Sluice(server.grpc) as client:
        stream = client.enhance_stream(endless(), do="upscale", batch=1, stream="left", idle=1)
        assert next(stream).number == 0
        stream.close()
        time.sleep(3)
        # Forgotten: its numbers begin anew.
        (again,) = client.enhance([np.zeros((4, 4, 3), np.uint8)], stream="left")
        assert again.number == 0
