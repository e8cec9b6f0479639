"""A stranger's first day: the wheel in an environment of its own, outside any clone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scenes
from tests.made.wheel import build

pytestmark = pytest.mark.long

ANY_PORT = ("--grpc-port", "0", "--metrics-port", "0", "--health-port", "0")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stranger")


@pytest.fixture(scope="module")
def sluice(place) -> Run:
    """Return a function that runs the command `sluice` of a fresh environment with the wheel, in an empty folder.

    Its dependencies are those of this environment, at the end of the path; the packages of the clone are not there.
    """
    (place / "build").mkdir()
    wheel = build(place / "build")
    home = place / "environment"
    venv.create(home, with_pip=False)
    packages = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others))  # of such folders no .pth is read: no editable installation
    python = home / "bin" / "python"
    words = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *words], check=True, capture_output=True)
    (place / "empty").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SLUICE"))}
    environment |= {"XDG_DATA_HOME": str(place / "data"), "XDG_CONFIG_HOME": str(place / "settings")}

    def run(*words: str, start: bool = False, **more: str):
        options = {"cwd": place / "empty", "env": {**environment, **more}, "text": True}
        line = [str(home / "bin" / "sluice"), *words]
        if start:
            return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        return subprocess.run(line, capture_output=True, timeout=300, **options)

    found = subprocess.run(
        [str(python), "-c", "import sluice, sluice_client; print(sluice.__file__, sluice_client.__file__)"],
        capture_output=True, text=True, cwd=place / "empty", env=environment, check=True,
    )  # fmt: skip
    assert found.stdout.count(str(packages)) == 2, found.stdout
    return run


@pytest.fixture(scope="module")
def exported(sluice, place) -> Path:
    """Return the root that `sluice export` makes with one command."""
    assert sluice("serve").returncode == 2 and not (place / "data").exists()
    done = sluice("export")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(f"the engines are in {place}/data/sluice; serve them with: sluice serve\n")
    return place / "data" / "sluice"


@pytest.fixture(scope="module")
def served(sluice, exported) -> Iterator[Run]:
    """Yield the command `sluice` of the same environment while its `sluice serve` runs."""
    process = sluice("serve", *ANY_PORT, "--json", start=True)
    try:
        line = process.stdout.readline()
        assert line, process.communicate(timeout=60)[1]
        up = json.loads(line)
        yield lambda *words: sluice(*words, SLUICE_URL=up["grpc"])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            said = process.communicate(timeout=60)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    assert not said, "it stops without a word"


def test_without_engines_it_says_which_command_makes_them(sluice, place):
    done = sluice("serve", "--root", str(place / "nowhere"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.endswith(f"run: sluice export --root {place}/nowhere\n")


def test_the_export_makes_every_engine_once(sluice, exported):
    again = sluice("export")
    assert again.returncode == 0 and again.stderr.count("is up to date") == 13 and "tracing" not in again.stderr
    listed = sluice("export", "--list")
    assert listed.stdout.count("up to date") == 9 and "to be exported" not in listed.stdout


def test_one_missing_engine_is_named_with_its_command(sluice, exported):
    engine = exported / "model_repository/digits_score/1/model.onnx"
    engine.rename(engine.with_suffix(".away"))
    try:
        done = sluice("serve", *ANY_PORT)
        assert done.returncode == 2
        assert "digits_score/1/model.onnx is missing; run: sluice export;" in done.stderr
    finally:
        engine.with_suffix(".away").rename(engine)


def test_every_command_works(served, place):
    here = place / "empty"
    for number in range(3):
        Image.fromarray(scenes.render(number, (320, 240)).image).save(here / f"{number}.png")
    small = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(small).save(here / name)
        small = small[::-1]

    def run(*words: str) -> str:
        done = served(*words)
        assert done.returncode == 0, f"sluice {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout + done.stderr

    assert "3 stored" in run("add", "0.png", "1.png", "2.png")
    ids = [json.loads(line)["id"] for line in run("list", "--json", "-q").splitlines()]
    assert len(ids) == 3
    assert ids[0] in run("get", ids[0])
    found = run("retrieve", "0.png", "--roi", "100,100,200,200", "--save", "found.jsonl")
    assert "3 of 3 frames" in found
    run("crop", "0.png", "--no-open", "-o", "crop.html")
    run("completion", "bash")
    run("match", "0.png", "--roi", "100,100,200,200", "1.png")
    run("detect", "0.png", "--to", "jsonl", "-o", "detected.jsonl")
    run("page", "detected.jsonl", "-o", "page.html")
    run("score")
    run("select", "-n", "2")
    run("segment", "0.png", "--classes", "road,car,sky")
    run("compare", "0.png", "--texts", "a road")
    assert "car" in run("words").split()
    run("retrieve", "--text", "a car")
    run("sample", "--model", "digits", "--label", "7", "-o", "digits.png", "--columns", "2")
    run("encode", "--model", "streets", "a.png", "-o", "latents.npz")
    run("interpolate", "--model", "streets", "a.png", "b.png", "-o", "between.png")
    run("enhance", "0.png", "-o", "larger.png")
    report = run("doctor", "--write")
    assert "FAIL" not in report and "ok    sluice-perception" in report
    assert "1 deleted" in run("delete", ids[0])
    assert (here / "gallery").is_dir()
