"""Trainings without `--data`: nothing is opened but scenes and what the trainings wrote, and the record says so."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from export.entry import ROOT
from export.genie import train_head, train_score
from export.grouping import scenes as drawing
from export.grouping import train as grouping
from export.matching import train as matching
from export.mixtures import train as mixtures
from export.training import GENERATED_LICENCE, camvid
from export.training.trunk import pretrained
from export.video import train as video
from scenes import render

WEIGHTS = ROOT / "weights"
DATA = (".webp", ".png", ".jpg", ".npz", ".y4m", ".pt", ".pth")  # what a training could learn from
_opened: list[str] | None = None


def _note(event: str, given: tuple) -> None:
    if _opened is not None and event == "open" and isinstance(given[0], str) and given[0].endswith(DATA):
        _opened.append(given[0])


sys.addaudithook(_note)  # hooks cannot be taken away again; without the fixture this one does nothing


@pytest.fixture
def opened(monkeypatch) -> Iterator[list[str]]:
    """Note every file of data that is opened, and let CamVid's reader fail."""
    global _opened
    _opened = []
    monkeypatch.setattr(camvid, "read", lambda *given: pytest.fail("CamVid was asked for"))
    yield _opened
    _opened = None


@pytest.fixture(scope="module")
def scenes() -> dict[str, np.ndarray]:
    made = [render(seed, size=(480, 360)) for seed in range(2)]
    return {
        "images": np.stack([s.image for s in made]),
        "labels": np.stack([s.labels for s in made]),
        "kinds": np.stack([drawing._kinds(s) for s in made]),
        "captions": np.array([s.caption for s in made]),
        "times": np.array([s.time_of_day for s in made]),
    }


def place(out: Path, scenes: dict[str, np.ndarray]) -> Path:
    """Put the scenes where a training keeps them, so that none is drawn, and return the weights' path."""
    np.savez(out.with_suffix(".scenes.npz"), **scenes)
    return out


def check(out: Path, opened: list[str], command: str) -> dict:
    """Check what was opened and what the record says, and return the record."""
    assert opened and all(Path(path).is_relative_to(out.parent) for path in opened)
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["licence"].startswith(GENERATED_LICENCE) and "camvid" not in json.dumps(record).lower()
    assert "scenes" in record["data"] and record["command"].startswith(command)
    return record


@pytest.mark.parametrize("model", ["artifact_remover_strong", "frame_upscaler_lossy"])
def test_the_networks_of_enhance_learn_from_generated_pictures_alone(tmp_path, scenes, opened, model):
    out = place(tmp_path / f"{model}.pt", scenes)
    few = ("steps=1", "batch=2", "clips=1", "leaves=1", "scenes=2")
    words = ["--model", model, "--out", str(out), *(word for one in few for word in ("--set", one))]
    assert video.main(words) == 0
    record = check(out, opened, f"python -m export.video.train --model {model}")
    assert record["data"].startswith("2 generated scenes (scenes); 1 generated pictures of dead leaves")
    again = place(tmp_path / "again.pt", scenes)
    assert video.main([*words[:3], str(again), *words[4:], "--start", str(out)]) == 0
    assert check(again, opened, "python -m export.video.train")["command"].count("python -m") == 2


def test_weights_that_may_have_seen_photographs_are_no_beginning(tmp_path, opened, capsys):
    words = ["--out", str(tmp_path / "out.pt")]
    enhance = (video, ["--model", "artifact_remover_weak", *words])
    for (command, given), more, said in (
        (enhance, ["--start", str(WEIGHTS / "artifact_remover_weak.pt")], "weak.pt may have seen others"),
        (enhance, ["--set", "feature=0.1"], "the extractor of the loss by features saw photographs"),
        (enhance, ["--set", "scenes=0"], "expected CamVid's folder or generated scenes to learn from"),
        ((matching, words), ["--begin", str(WEIGHTS / "feature_extractor.pt")], "or.pt may have seen"),
        ((matching, words), ["--set", "scene_count=0"], "expected CamVid's folder or generated scenes to learn from"),
        ((mixtures, words), ["--features", str(WEIGHTS / "feature_extractor.pt")], "or.pt may have seen"),
        ((grouping, words), ["--trunk", str(WEIGHTS / "trunk.pt")], "trunk.pt may have seen others"),
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            command.main([*given, *more])
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "few"),
    [
        (matching, ("steps=2", "batch=2", "scene_count=10", "frozen=16")),
        (mixtures, ("steps=4", "batch=2", "scene_count=10")),
        (grouping, ("steps=2", "batch=2", "scenes=10")),
    ],
)
def test_features_boxes_and_words_learn_from_scenes_on_the_pretrained_trunk(tmp_path, scenes, opened, command, few):
    out = place(tmp_path / "out.pt", {name: np.repeat(array, 5, axis=0) for name, array in scenes.items()})
    words = ["--out", str(out), "--set", "trunk=lite0", *(word for one in few for word in ("--set", one))]
    assert command.main(words) == 0
    opened[:] = [path for path in opened if not path.endswith(".pth")]
    record = check(out, opened, f"python -m {command.__spec__.name}")
    assert "EfficientNet-Lite0, trained on ImageNet, Apache-2.0" in record["licence"]
    if "reach" in record:
        assert [row["frames"] for row in record["reach"]] == ["generated scenes, unseen (1)"]
    own = torch.load(tmp_path / "trunk.pt", weights_only=True)
    wanted = {
        name: value.half() if value.is_floating_point() else value for name, value in pretrained().state_dict().items()
    }
    assert all(torch.equal(own[name], wanted[name] + 0) for name in wanted)


@pytest.mark.long
def test_streets_learn_from_scenes_alone(tmp_path, scenes, opened, monkeypatch):
    monkeypatch.setattr(train_score, "STREET_CROPS", 32)
    score, out = place(tmp_path / "score.pt", scenes), place(tmp_path / "streets.pt", scenes)
    few = ("--set", "steps=1", "--set", "batch=2")
    assert train_score.main(["--model", "streets", "--out", str(score), *few]) == 0
    check(score, opened, "python -m export.genie.train_score --model streets")
    words = ["--model", "streets", "--score", str(score), "--out", str(out), "--set", "targets=8", *few]
    assert train_head.main(words) == 0
    record = check(out, opened, "python -m export.genie.train_score --model streets")
    assert "&& python -m export.genie.train_head" in record["command"]


def test_digits_and_pictures_of_your_own_need_their_files(tmp_path, capsys):
    for command, words, said in (
        (train_score, ["--model", "digits"], "digits are read from MNIST; give its file with --data"),
        (train_head, ["--model", "folder", "--score", str(tmp_path)], "train_head: "),
    ):
        with pytest.raises(SystemExit):
            command.main([*words, "--out", str(tmp_path / "out.pt")])
        assert said in capsys.readouterr().err
