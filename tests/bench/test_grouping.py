"""Tests the benchmark of grouping: all sides do the same work, ratios are of paired rounds, shares sum to the whole."""

import io
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from sluice_client.answers.segment import Segmentation, Segmented

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")

from bench import (  # noqa: E402
    class_names,
    report,
    segment_process,
)
from bench.callers import pictures  # noqa: E402
from bench.grouping import (  # noqa: E402
    equality,
    networks,
    official,
    serving,
    shares,
)
from bench.grouping.rivals import Transformers  # noqa: E402
from sluice import contracts  # noqa: E402
from tests.made.grouping_designs import TINY  # noqa: E402

NAMES = class_names.CAMVID


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """Return a tiny random network in a repository of its own, in place of the published design."""
    return networks.subject("base", tmp_path_factory.mktemp("networks"), TINY)


@pytest.fixture(scope="module")
def here(subject):
    return segment_process.InProcess(subject.root)


@pytest.fixture(scope="module")
def encoded():
    return pictures(3, (224, 224))


@pytest.fixture
def rows(capsys):
    report.as_json(True)
    yield lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    report.as_json(False)


def opened(answer):
    return [np.asarray(Image.open(io.BytesIO(mask))) for mask in answer["MASKS"]]


class Answering:
    """A client whose server is the process itself, a little later."""

    def __init__(self, here, wait=0.0):
        self.here, self.wait, self.asked = here, wait, []

    def segment(self, images, *, classes, batch=4, **options):
        self.asked.append((len(images), len(classes), batch))
        answer = self.here.segment(images, classes, **options)
        time.sleep(self.wait)
        return Segmented(tuple(Segmentation(str(i), tuple(classes), data=m) for i, m in enumerate(answer["MASKS"])))


def test_the_repository_of_a_network_serves_it_at_224_and_says_its_sizes(subject, here):
    assert here.config.size == 224 and here.config.templates == "subset"
    dims = {o.name: list(o.dims) for o in contracts.models(subject.root)["image_grouper"].output}
    assert dims["GROUPS"] == [4, 16]
    assert here.run("image_grouper", np.zeros((1, 224, 224, 3), np.uint8))["GROUPS"].shape == (1, 4, 16)


def test_the_authors_way_with_two_encoder_runs_gives_our_masks(subject, here, encoded):
    rival = Transformers(subject.network, NAMES)
    ours = opened(here.segment(encoded, NAMES, templates="simple", rule="official"))
    for mine, theirs in zip(ours, rival.official(encoded), strict=True):
        assert (mine == theirs).mean() >= 0.999


def test_keeping_the_texts_changes_nothing_of_what_transformers_gives(subject, encoded):
    rival = Transformers(subject.network, NAMES)
    asked, kept = rival.asked(encoded), rival.kept(encoded)
    assert asked.shape == (3, 224, 224) and (asked == kept).mean() >= 0.999


def test_equality_is_measured_and_a_network_of_other_weights_is_noticed(subject, here, rows):
    equality.measure(subject, 2)
    table, masks, vectors = rows()
    assert masks["holds"] and vectors["holds"] and table["classes a mask"] >= 1
    other = official.drawn(TINY, NAMES, np.zeros((2, 32, 32, 3), np.uint8), seed=8)
    changed = networks.Subject("base", "other", other, subject.root)
    assert max(equality.vectors(changed, here, [1, 2])) > 1e-3


def test_ratios_are_of_paired_rounds_and_each_set_of_names_has_its_rival(subject, here, encoded, rows, monkeypatch):
    monkeypatch.setattr(serving, "SERVED", ((1, 2), (2, 1)))
    monkeypatch.setattr(serving, "COUNTS", (2,))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})  # torch's threads wait busily on a machine at work
    client = Answering(here)
    serving.measure(subject, client, encoded, ("CamVid", "VOC"), 2, 0.3)
    found = rows()
    table, claims = [row for row in found if "table" in row], [row for row in found if "claim" in row]
    assert len(table) == 8 and len(claims) == 4
    rivals = [row for row in table if row[""].startswith("transformers, ")]
    assert {row["class names"] for row in rivals} == {"11 (CamVid)", "20 (VOC)"}
    assert all(row["times"] == 1 and row["images/s"] > 0 for row in rivals)
    assert all(row["least"] <= row["times"] <= row["most"] and row["processor ms per image"] > 0 for row in table)
    assert all(claim["holds"] == (claim["value"] >= 2) for claim in claims)
    assert {classes for _, classes, _ in client.asked} == {11, 20}
    assert all(count == batch for count, _, batch in client.asked)


def test_the_best_layout_is_the_one_with_the_most_images():
    sides = {(1, 1): (lambda i: time.sleep(0.01), 1, 1), (1, 8): (lambda i: time.sleep(0.02), 1, 8)}
    assert serving.best(sides, 0.05) == (1, 8)


def test_processor_time_is_that_of_this_process_and_of_the_servers_tree():
    waits = subprocess.Popen([sys.executable, "-c", "import time\nfor _ in range(10**7): pass\ntime.sleep(60)"])
    try:
        stop = time.monotonic() + 60
        while serving.processor(waits.pid) - serving.processor(None) < 0.05:
            assert time.monotonic() < stop
            time.sleep(0.05)
    finally:
        waits.kill()
        waits.wait()


def test_shares_sum_to_what_the_caller_waits_and_new_names_cost_more(here, encoded, rows):
    shares.measure(here, Answering(here, 0.05), encoded, "tiny", 4)
    ms, share = rows()
    assert share["whole"] == 1 and ms["server and the rest"] > 30
    assert all(ms[step] > 0 for step in shares.STEPS)
    assert ms["text, new names"] > ms["text"]


class Counting:
    """Stands in for Triton's statistics, with the counts of this process."""

    def __init__(self, here, of):
        self.here, self.of = here, of

    def __call__(self, address):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def get_inference_statistics(self, model):
        from types import SimpleNamespace as Of

        count = self.of(self.here.calls[model])
        return Of(model_stats=[Of(inference_stats=Of(success=Of(count=count)))])


def test_known_names_ask_no_text_encoder_and_a_dead_counter_is_noticed(here, encoded, rows, monkeypatch):
    monkeypatch.setattr(shares.triton, "InferenceServerClient", Counting(here, lambda count: count))
    shares.counted(Answering(here), "address", encoded)
    table, claim = rows()
    assert table["new names, one image"] >= 1 and claim["value"] == 0 and claim["holds"]
    monkeypatch.setattr(shares.triton, "InferenceServerClient", Counting(here, lambda count: 0))
    with pytest.raises(SystemExit, match="count cannot be trusted"):
        shares.counted(Answering(here), "address", encoded)


def test_a_graph_that_was_not_exported_is_told(subject, tmp_path):
    import shutil

    root = tmp_path / "root"
    shutil.copytree(subject.root, root, ignore=shutil.ignore_patterns("model.onnx"))
    with pytest.raises(SystemExit, match="image_grouper is missing; run: make export"):
        segment_process.InProcess(root)
