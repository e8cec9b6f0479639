"""Nothing acknowledged is ever lost: killed servers, two servers over one gallery, another network, a full disk."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from sluice_client import InvalidRequest, NewFrame, Query, Retry, Sluice, SluiceError, Unavailable

from sluice import contracts
from sluice.frames import Frame
from sluice.gallery.store import Gallery
from sluice.images import Geometry
from sluice.models import feature_extractor
from tests.made.encoded_pictures import noise_jpeg
from tests.made.served import STORE


@pytest.mark.parametrize(
    ("kills", "least"), [(3, 0), pytest.param(15, 5_000, marks=pytest.mark.long)], ids=["3 kills", "15 kills"]
)
def test_a_server_that_is_killed_loses_nothing_that_it_acknowledged(start, tmp_path, kills, least):
    """Kill the server `kills` times.

    least: total number of acknowledgements wanted; each round goes on until it has had its share of them.
    """
    gallery = tmp_path / "gallery"
    random.seed(0)
    acknowledged: dict[str, bytes] = {}
    sent: list[int] = []
    seeds = iter(range(1_000_000))

    for round in range(1, kills + 1):
        server = start(gallery=gallery, models=STORE)
        first = threading.Event()

        def add(server=server, first=first):
            with Sluice(server.grpc, timeout=20, retry=Retry(attempts=1)) as client:
                while True:
                    batch = [next(seeds) for _ in range(2)]
                    sent.extend(batch)
                    data = [noise_jpeg(seed) for seed in batch]
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
        while len(acknowledged) < least * round / kills and any(thread.is_alive() for thread in threads):
            time.sleep(0.05)
        time.sleep(random.uniform(0, 0.6))  # the moment of the kill is not that of an answer
        os.kill(server.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()

    assert len(acknowledged) >= max(2 * kills, least)
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
        again = client.ingest([NewFrame(noise_jpeg(seed), id=f"seed {seed}") for seed in sent])
        expected = {True: "known", False: "stored"}
        assert [r.status for r in again] == [expected[f"seed {seed}" in stored] for seed in sent]
        assert client.describe()["frames"] == len(set(sent))


def test_two_servers_share_a_gallery(start, tmp_path):
    one, two = (start(gallery=tmp_path / "gallery") for _ in range(2))
    data = noise_jpeg(1, (320, 240))
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
        other.add([Frame(id="old")], [noise_jpeg(1)], [features], [Geometry(640, 480, 1, 1, 0, 0).as_array()])
    server = start(gallery=tmp_path)
    with Sluice(server.grpc, timeout=60) as client:
        with pytest.raises(InvalidRequest, match="version") as caught:
            client.retrieve(Query(noise_jpeg(2), rois=[[8, 8, 40, 40]]))
        assert "0123456789ab" in str(caught.value)
        receipt = client.add(noise_jpeg(3))
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
                    assert client.add(noise_jpeg(seed, (640, 480)), id=f"frame {seed}").status == "stored"
                    stored.append(f"frame {seed}")
            assert stored
            assert {frame.id for frame in client.frames()} == set(stored)
            found = client.retrieve(Query(noise_jpeg(0, (640, 480)), rois=[[100, 100, 300, 300]]), k=1)
            assert found.matches[0].id == stored[0]
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


# ------------------------------------------------------------------------------- files that are taken while it serves

SEEN = [*STORE, "retrieve", "match"]
ROI = [[8.0, 8.0, 40.0, 40.0]]


def upkeep(verb, gallery):
    done = subprocess.run([sys.executable, "-m", "sluice.gallery", verb, str(gallery)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.long
def test_what_is_taken_from_a_gallery_is_told_and_the_other_verbs_go_on(start, tmp_path):
    gallery, away = tmp_path / "gallery", tmp_path / "away"
    data = {f"frame {seed}": noise_jpeg(seed) for seed in range(4)}
    server = start(gallery=gallery, models=SEEN)

    def matches(client):
        return client.match(Query(noise_jpeg(0), rois=ROI), [noise_jpeg(0)])

    def found(client):
        return {match.id for match in client.retrieve(Query(noise_jpeg(0), rois=ROI), k=9)}

    with Sluice(server.grpc, timeout=60, retry=Retry(attempts=1)) as client:
        assert client.add(data["frame 0"], id="frame 0").status == "stored"

        gallery.rename(away)  # an unmounted disk
        for _ in range(2):  # both processes that hold it
            with pytest.raises(SluiceError, match="removed while it was open"):
                client.add(data["frame 1"], id="frame 1")
        assert not gallery.exists() and matches(client)
        away.rename(gallery)
        assert client.add(data["frame 1"], id="frame 1").status == "stored"

        for file in gallery.glob("frames.sqlite*"):
            file.unlink()
        for _ in range(2):
            with pytest.raises(SluiceError, match="rebuild FOLDER"):
                client.add(data["frame 2"], id="frame 2")
    server.kill()
    server = start(gallery=gallery, models=SEEN)  # it starts, and says at every question what is wrong
    with Sluice(server.grpc, timeout=60, retry=Retry(attempts=1)) as client:
        for verb in ("verify", "compact"):
            assert upkeep(verb, gallery)[0] == 1
        with pytest.raises(SluiceError, match="rebuild FOLDER"):
            client.retrieve(Query(noise_jpeg(0), rois=ROI))
        assert matches(client)
        code, said = upkeep("rebuild", gallery)
        assert code == 0, said
        assert found(client) == {"frame 0", "frame 1"}
        assert client.add(data["frame 2"], id="frame 2").status == "stored"

        for file in (gallery / "shards").iterdir():
            with open(file, "r+b") as opened:
                opened.truncate(opened.seek(0, 2) // 2)
        assert found(client) == set()  # a frame's bytes are all behind the cut, or the shard is not whole
    server.kill()
    server = start(gallery=gallery, models=SEEN)
    with Sluice(server.grpc, timeout=60, retry=Retry(attempts=1)) as client:
        assert matches(client)
        assert client.add(data["frame 3"], id="frame 3").status == "stored"
        assert found(client) == {"frame 3"}
        damaged = client.describe()["damaged"]
        assert sum(entry["frames"] for entry in damaged.values()) == 3
        receipts = [client.add(one, id=id_) for id_, one in data.items()]
        assert {one.status for one in receipts} == {"stored", "known"} and receipts[3].status == "known"
        for id_, one in data.items():
            assert client.image(id_) == one
    assert upkeep("verify", gallery)[0] == 0


@pytest.mark.long
def test_a_gallery_on_a_read_only_disk_is_searched_and_refuses_additions_at_once(start, tmp_path):
    with Gallery(tmp_path / "gallery", model=served_features(), channels=64) as store:
        cells = np.zeros((60, 80, 64), np.float16)
        cells[..., 0] = 1
        store.add([Frame(id="old")], [noise_jpeg(1)], [cells], [Geometry(640, 480, 1, 1, 0, 0).as_array()])
    bind = f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path}"
    if subprocess.run(["sh", "-c", bind], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        server = start(gallery=tmp_path / "gallery", models=SEEN)
        with Sluice(server.grpc, timeout=60) as client:
            assert [match.id for match in client.retrieve(Query(noise_jpeg(1), rois=ROI))] == ["old"]
            began = time.monotonic()
            receipt = client.add(noise_jpeg(2))
            assert receipt.status == "refused" and "cannot be written" in receipt.error and "writable" in receipt.remedy
            assert time.monotonic() - began < 30  # and not after the deadline
            assert client.add(noise_jpeg(1)).status == "known"
            assert client.describe()["writable"] is False and client.image("old") == noise_jpeg(1)
            with pytest.raises(Unavailable, match="cannot be written"):
                client.delete(["old"])
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def served_features():
    return feature_extractor.served_version(contracts.ROOT / "model_repository", "feature_extractor")
