"""Nothing acknowledged is ever lost: killed servers, two servers over one gallery, another network, a full disk."""

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image
from sluice_client import InvalidRequest, NewFrame, Query, Retry, Sluice, SluiceError, Unavailable

from sluice.gallery.frames import Frame
from sluice.gallery.store import Gallery
from sluice.images import Geometry

STORE = ["ingest", "frame_gallery", "feature_extractor"]
KILLS = 20


def picture(seed, size=(64, 48)):
    """A JPEG of its own for every seed, small to send and to store."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def test_a_server_that_is_killed_loses_nothing_that_it_acknowledged(start, tmp_path):
    gallery = tmp_path / "gallery"
    random.seed(0)
    acknowledged: dict[str, bytes] = {}
    sent: list[int] = []
    seeds = iter(range(1_000_000))

    for _ in range(KILLS):
        server = start(gallery=gallery, models=STORE)
        first = threading.Event()

        def add(server=server, first=first):
            with Sluice(server.grpc, timeout=20, retry=Retry(attempts=1)) as client:
                while True:
                    batch = [next(seeds) for _ in range(2)]
                    sent.extend(batch)
                    data = [picture(seed) for seed in batch]
                    frames = [NewFrame(one, id=f"seed {seed}") for one, seed in zip(data, batch, strict=True)]
                    try:
                        receipts = list(client.ingest(frames))
                    except SluiceError:
                        return
                    for one, receipt in zip(data, receipts, strict=True):
                        if receipt.status == "stored":
                            acknowledged[receipt.id] = one
                    if any(receipt.status == "refused" for receipt in receipts):
                        return
                    first.set()

        threads = [threading.Thread(target=add) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert first.wait(30)
        time.sleep(random.uniform(0, 0.6))  # the moment of the kill is not that of an answer
        os.kill(server.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()

    assert len(acknowledged) >= 2 * KILLS
    verified = subprocess.run(
        [sys.executable, "-m", "sluice.gallery", "verify", str(gallery)], capture_output=True, text=True
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    server = start(gallery=gallery, models=STORE)
    with Sluice(server.grpc, timeout=60) as client:
        stored = {frame.id: frame.sha256 for frame in client.frames()}
        for id_, data in acknowledged.items():
            assert stored[id_] == hashlib.sha256(data).hexdigest()
            assert client.image(id_) == data
        # What was stored without an acknowledgement is recognised when it is sent again, and stands there once.
        again = client.ingest([NewFrame(picture(seed), id=f"seed {seed}") for seed in sent])
        expected = {True: "known", False: "stored"}
        assert [r.status for r in again] == [expected[f"seed {seed}" in stored] for seed in sent]
        assert client.describe()["frames"] == len(set(sent))


def test_two_servers_share_a_gallery(start, tmp_path):
    one, two = (start(gallery=tmp_path / "gallery") for _ in range(2))
    data = picture(1, (320, 240))
    with Sluice(one.grpc, timeout=60) as first, Sluice(two.grpc, timeout=60) as second:
        assert first.add(data, id="shared").status == "stored"
        assert second.add(data, id="again").id == "shared"
        query = Query(data, rois=[[40, 40, 200, 200]])
        assert [match.id for match in second.retrieve(query, k=3)] == ["shared"]
        second.delete(["shared"])
        assert [match.id for match in first.retrieve(query, k=3)] == []


def test_frames_of_another_network_are_not_mixed(start, tmp_path):
    channels = 64
    with Gallery(tmp_path, model="feature_extractor/1/0123456789ab", channels=channels) as other:
        features = np.zeros((60, 80, channels), np.float16)
        features[..., 0] = 1
        other.add([Frame(id="old")], [picture(1)], [features], [Geometry(640, 480, 1, 1, 0, 0).as_array()])
    server = start(gallery=tmp_path)
    with Sluice(server.grpc, timeout=60) as client:
        with pytest.raises(InvalidRequest, match="version") as caught:
            client.retrieve(Query(picture(2), rois=[[8, 8, 40, 40]]))
        assert "0123456789ab" in str(caught.value)
        receipt = client.add(picture(3))
        assert receipt.status == "refused" and "version" in receipt.error
        assert client.get(["old"])[0].id == "old"


def test_a_full_disk_refuses_and_goes_on(start, tmp_path):
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)], capture_output=True
    ).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        server = start(gallery=tmp_path / "gallery")
        with Sluice(server.grpc, timeout=60, retry=Retry(attempts=1)) as client:
            stored = []
            with pytest.raises(Unavailable, match="space"):
                for seed in range(20):
                    assert client.add(picture(seed, (640, 480)), id=f"frame {seed}").status == "stored"
                    stored.append(f"frame {seed}")
            assert stored
            assert {frame.id for frame in client.frames()} == set(stored)
            found = client.retrieve(Query(picture(0, (640, 480)), rois=[[100, 100, 300, 300]]), k=1)
            assert found.matches[0].id == stored[0]
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
