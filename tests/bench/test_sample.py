"""Tests the benchmark of `sample`: both sides do the same work, take turns, and shares are those of the times."""

import io
import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from bench import (  # noqa: E402
    report,
    score_graphs,
)
from bench.genie_quality.networks import Model  # noqa: E402
from bench.sample import __main__ as sample  # noqa: E402
from bench.sample import (  # noqa: E402
    head,
    serving,
)
from export.genie.files import save  # noqa: E402
from export.genie.network import ScoreNetwork, light, with_head  # noqa: E402
from sluice import contracts  # noqa: E402
from sluice.methods import genie  # noqa: E402
from sluice.methods.genie.pictures import bytes_of  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return a small class-conditional network with random weights."""
    path = tmp_path_factory.mktemp("weights") / "digits.pt"
    torch.manual_seed(0)
    network = with_head(ScoreNetwork(light((8, 8), 1, 10, patch=4)), 8)
    torch.nn.init.normal_(network.head.leave.weight, std=0.05)
    save(network, path)
    return Model.read("digits", path)


@pytest.fixture
def shipped(model, monkeypatch):
    """Put that network in the place of the shipped ones."""
    for module in (head, serving):
        monkeypatch.setattr(module, "shipped", lambda name: model.curvature if "curv" in name else model.score)


def lines(capsys):
    report.as_json(False)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_the_process_makes_is_the_loop_of_the_verb_and_of_any_batch(shipped, model):
    here = serving.InProcess()
    found = here.sample(7, 5)
    again = here.sample(7, 2) + here.sample(9, 3)
    seeds = range(7, 12)
    labels = np.array([seed % 10 for seed in seeds])
    expected = genie.sample(model.network(labels), genie.noise(seeds, (1, 32, 32)), serving.OPTIONS)
    for one, other, values in zip(found, again, expected, strict=True):
        levels = np.asarray(Image.open(io.BytesIO(one))).astype(int)
        assert levels.shape == (32, 32) and np.abs(levels - bytes_of(values)).max() <= 1
        assert np.abs(levels - np.asarray(Image.open(io.BytesIO(other)))).max() <= 1


class Answering:
    """A client whose server is the process itself; it counts its requests."""

    def __init__(self, here, change=0):
        self.here, self.change, self.asked = here, change, []

    def sample(self, model, *, seeds, labels, solver, steps):
        assert (model, solver, steps) == ("digits", "genie", 10) and labels == [seed % 10 for seed in seeds]
        self.asked.append(len(seeds))
        levels = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in self.here.sample(seeds[0], len(seeds))])
        return Answer(levels + np.uint8(self.change))


class Answer:
    def __init__(self, levels):
        self.levels, self.end = levels, self
        self.more = {"rows_a_call": 2.5}

    def array(self):
        return self.levels


def test_another_network_behind_the_server_is_noticed(shipped):
    here = serving.InProcess()
    serving.same(Answering(here), here)
    with pytest.raises(SystemExit, match="make export"):
        serving.same(Answering(here, change=3), here)


def test_both_sides_take_turns_and_the_claims_are_of_paired_rounds(shipped, capsys, monkeypatch):
    monkeypatch.setattr(serving, "CASES", ((2, 4), (1, 8)))
    monkeypatch.setattr(serving, "CLAIMED", ((1, 8),))
    monkeypatch.setattr(serving, "SINGLE", (1, 2))
    client = Answering(serving.InProcess())
    report.as_json(True)
    try:
        serving.measure(client, 2, 0.02)
        assert {4, 8} <= set(client.asked)
        serving.together(client, 2, 0.02)
    finally:
        rows = lines(capsys)
    two, one, claim, *single = rows
    assert (two["callers"], two["images per request"], one["callers"], one["images per request"]) == (2, 4, 1, 8)
    assert all(
        row["server"] > 0 and row["in process"] > 0 and row["least"] <= row["share"] <= row["most"]
        for row in (two, one)
    )
    assert claim["value"] == one["share"] and claim["holds"] == (one["share"] >= 0.9)
    assert [row["callers"] for row in single] == [1, 2] and single[0]["times one after the other"] == 1
    assert all(row["rows per network call"] == 2.5 for row in single)


def test_a_rate_is_that_of_its_own_side():
    import time

    sides = {"slow": (lambda i: time.sleep(0.02), 1), "two": (lambda i: time.sleep(0.02), 2)}
    rates = serving.races(sides, 3, 0.2)
    assert len(rates["slow"]) == 3 and max(rates["slow"]) <= 50 and np.median(rates["two"]) > np.median(rates["slow"])


def test_the_heads_share_is_of_processor_time_by_batch(shipped, capsys, monkeypatch):
    def seconds(pair, batch, rounds):
        assert len(pair) == 2 and [i.name for i in pair[0].get_inputs()] == ["SAMPLE", "TIME", "LABEL"]
        score = np.linspace(1, 2, rounds)
        return np.stack([score, score * (1.3 if batch == 16 else 1.1)])

    real = score_graphs.seconds([head.shipped("score"), head.shipped("curvature")], 3, 4)
    assert real.shape == (2, 4) and (real > 0).all()
    monkeypatch.setattr(head, "seconds", seconds)
    report.as_json(True)
    try:
        head.measure(4, ("digits",))
    finally:
        claim, *rows = lines(capsys)
    assert claim["value"] == pytest.approx(0.3) and not claim["holds"] and "batch 16" in claim["reason"]
    assert [row["batch"] for row in rows] == [1, 16, 64] and rows[0]["head's share"] == pytest.approx(0.1)


def test_feeds_fit_the_graph(model):
    given = score_graphs.feeds(model.curvature, 5)
    eps, derivative = model.curvature.run(["EPSILON", "DERIVATIVE"], given)
    assert eps.shape == derivative.shape == (5, 1, 32, 32)
    assert given["TIME"].min() >= 1e-3 and given["TIME"].max() <= 1


def test_a_graph_that_was_not_exported_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(contracts, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="digits_score is missing; run: make export"):
        score_graphs.shipped("digits_score")


@pytest.mark.serving
def test_a_quick_run_against_the_real_server(capsys):
    missing = [
        n for n in serving.MODELS[1:] if not contracts.ROOT.joinpath("model_repository", n, "1", "model.onnx").is_file()
    ]
    if missing:
        pytest.fail(f"{', '.join(missing)} not exported; run: make export", pytrace=False)
    try:
        assert sample.main(["--quick", "--json", "--parts", "server", "batching"]) == 0
    finally:
        rows = lines(capsys)
    assert len([row for row in rows if "claim" in row]) == 2
    single = [row for row in rows if "rows per network call" in row]
    assert single[0]["rows per network call"] == 1 and single[-1]["rows per network call"] > 1.5, "callers share calls"
