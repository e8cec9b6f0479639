"""The weights for commercial use through the real server: every verb works with them, and their gallery is theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sluice_client import NewFrame, Query, Sluice, SluiceError
from sluice_client.commands import doctor

pytest.importorskip("torch")

from export.__main__ import main
from export.entry import ROOT
from sluice.server import launch
from tests.made.encoded_pictures import jpeg
from tests.made.served import STORE

FREE = ROOT / "weights" / "free"
ROI = [200.0, 180.0, 290.0, 250.0]

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Make the engines of the set in a root of their own."""
    root = tmp_path_factory.mktemp("root")
    assert main(["--all", "--weights", "free", "--root", str(root)]) == 0
    return root


@pytest.fixture(scope="module")
def gallery(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("gallery")


@pytest.fixture(scope="module")
def free(root, gallery) -> Iterator[launch.Server]:
    server = launch.start(root=root, weights="free", gallery=gallery, profile="cpu")
    yield server
    server.kill()


def test_every_verb_works_and_the_server_says_which_weights_it_has(free):
    assert free.describe()["weights"] == "free"
    with Sluice(free.grpc, timeout=120) as client:
        assert client.health().weights == "free"
        findings = list(doctor.examine(client, write=True, timeout=60))
    assert [finding for finding in findings if not finding.ok] == []
    told = {finding.check: finding.text for finding in findings}
    assert told["server's weights"] == "free"
    assert {f"verb {name}" for name in ("embed", "retrieve", "detect", "select", "segment", "sample")} <= set(told)


def test_a_gallery_of_the_free_set_refuses_the_other(free, gallery, start):
    with Sluice(free.grpc, timeout=120) as client:
        assert [one.status for one in client.ingest([NewFrame(jpeg(1), id="a")])] == ["stored"]
        assert [match.id for match in client.retrieve(Query(jpeg(1), rois=[ROI]), k=1)] == ["a"]
    free.stop()
    other = start(gallery=gallery, models=[*STORE, "retrieve"])
    assert other.describe()["weights"] == "research"
    with Sluice(other.grpc, timeout=120) as client, pytest.raises(SluiceError, match="feature_extractor/1/"):
        client.retrieve(Query(jpeg(1), rois=[ROI]), k=1)
