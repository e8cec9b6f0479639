"""Trainings without `--data`: nothing is opened but scenes and what the trainings wrote, and the record says so."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from export.genie import train_head, train_score
from export.training import GENERATED_LICENCE, camvid
from export.video import train as video
from scenes import render

DATA = (".webp", ".png", ".jpg", ".npz", ".y4m", ".pt")  # what a training could learn from
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
    return {"images": np.stack([s.image for s in made]), "labels": np.stack([s.labels for s in made])}


def place(out: Path, scenes: dict[str, np.ndarray]) -> Path:
    """Put the scenes where a training keeps them, so that none is drawn, and return the weights' path."""
    np.savez(out.with_suffix(".scenes.npz"), **scenes)
    return out


def check(out: Path, opened: list[str], command: str) -> dict:
    """Check what was opened and what the record says, and return the record."""
    assert opened and all(Path(path).is_relative_to(out.parent) for path in opened)
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["licence"] == GENERATED_LICENCE and "camvid" not in json.dumps(record).lower()
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
    shipped = Path(video.__file__).parents[2] / "weights"
    for more in (["--start", str(shipped / "artifact_remover_weak.pt")], ["--set", "feature=0.1"]):
        with pytest.raises(SystemExit):
            video.main(["--model", "artifact_remover_weak", "--out", str(tmp_path / "out.pt"), *more])
        assert "may have seen other pictures; leave that out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        video.main(["--model", "artifact_remover_weak", "--out", str(tmp_path / "out.pt"), "--set", "scenes=0"])
    assert "expected CamVid's folder or generated scenes to learn from" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


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
