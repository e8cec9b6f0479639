"""README and tutorial are true: their commands run against the real server and print what the pages show.

A block of a page that begins with ```console holds commands behind `$ ` and the lines that each prints. Words and whole
numbers must be the same. Numbers with a point may differ by 0.01 or by a twentieth. Seconds, counts of attempts and of
frames that were scored twice (which depend on the processor), and bits per frame (on the encoder) are not compared.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import av
import pytest
from PIL import Image
from sluice_client import Sluice, cli

import scenes
from sluice import contracts

NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)")
FREE = re.compile(r"\d+\.\d+ s\b|\d+ scored twice|Tried \d+ times|\d+ kbit")


def blocks(page: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a page and the lines that it shows of each."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", (contracts.ROOT / page).read_text(), re.S | re.M):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line.rstrip())
    return found


def drive(folder: Path, frames: int) -> None:
    """Write the first frames of the demo's first drive as 000.jpg, 001.jpg and so on."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(scenes.drive(1, frames, (640, 480), time_of_day="day")):
        Image.fromarray(frame.scene.image).save(folder / f"{number:03d}.jpg", quality=90)


def query(path: Path) -> None:
    """Write the picture of the motorcycle that the demo and both pages ask for."""
    scene = scenes.render(77, (640, 480), time_of_day="day", require={"motorcycle"})
    Image.fromarray(scene.image).save(path, quality=90)


def clip(path: Path) -> None:
    """Write a second of a generated drive as H.264."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"crf": "28"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for image in scenes.film(1, 10, (160, 96), fps=10):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        out.mux(stream.encode(None))


def alike(shown: str, printed: str) -> bool:
    """Return whether a line of a page and a line of a command's output say the same."""
    ours, theirs = (NUMBER.split(FREE.sub("", line)) for line in (shown, printed))
    if len(ours) != len(theirs):
        return False
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if place % 2 == 0 or "." not in one:  # words, and whole numbers; columns may be wider or narrower
            same = one.split() == other.split()
        else:
            same = abs(float(one) - float(other)) <= max(0.01, abs(float(one)) / 20)
        if not same:
            return False
    return True


def test_lines_are_compared_as_the_pages_need_it():
    assert alike("4 of 32 frames in 0.530 s, 5 scored twice", "4 of 32 frames in 12.1 s, 7 scored twice")
    assert alike("   1  0.9327  009  front", "   1  0.933  009  front")
    for other in ("3 of 32 frames in 0.530 s, 5 scored twice", "4 of 32 images in 0.530 s, 5 scored twice", ""):
        assert not alike("4 of 32 frames in 0.530 s, 5 scored twice", other)
    assert not alike("   1  0.9327  009  front", "   1  0.9327  008  front")
    assert not alike("   1  0.9327  009  front", "   1  0.8327  009  front")


@pytest.fixture
def here(server, tmp_path, monkeypatch):
    """Give the test a folder with the pictures that the pages name, and an empty gallery."""
    with Sluice(server.grpc, timeout=60) as client:
        if ids := [frame.id for frame in client.frames()]:
            client.delete(ids)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def run(command: str) -> str:
    """Run a command and return what it prints on stdout and stderr, in the order in which it does."""
    if set(command) & set("|;<>*$"):  # for a shell; all others run here, which saves the start of a process
        return subprocess.run(
            ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ).stdout
    program, *words = shlex.split(command)
    assert program == "sluice"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), contextlib.suppress(SystemExit):
        cli.main(words)
    return printed.getvalue()


def follow(page: str) -> None:
    """Run the commands of a page one after the other. Each must print what the page shows."""
    for command, shown in blocks(page):
        printed = run(command)
        lines = [line.rstrip() for line in printed.splitlines()]
        fits = len(shown) == len(lines) and all(map(alike, shown, lines))
        assert fits, f"{page} shows of `{command}`:\n" + "\n".join(shown) + "\nIt prints:\n" + printed


def test_the_five_minutes_of_the_readme(here):
    drive(here / "demo" / "frames" / "drive1", 32)
    query(here / "demo" / "frames" / "query.jpg")
    follow("README.md")
    assert {path.name for path in here.iterdir()} >= {
        "found.html",
        "next.html",
        "mask.png",
        "overlay.jpg",
        "larger.png",
    }
    assert Image.open("larger.png").size == (1280, 960)


def test_the_python_of_the_readme(here, server, capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```$", (contracts.ROOT / "README.md").read_text(), re.S | re.M)
    drive(here / "frames", 2)
    for name in ("bike.jpg", "photo.jpg"):
        query(here / name)
    names = {"paths": sorted((here / "frames").iterdir())}
    exec(code.replace("127.0.0.1:8001", server.grpc), names)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:2]] == ["stored", "stored"] and len(printed) == 4
    assert names["mask"].shape == (480, 640)


def test_the_tutorial(here):
    drive(here / "pictures", 10)
    query(here / "bike.jpg")
    clip(here / "clip.mp4")
    follow("docs/tutorial.md")
    assert {path.name for path in (here / "masks").iterdir()} == {"000.png", "001.png"}
    assert (here / "crop.html").stat().st_size > 10_000 and (here / "larger.mp4").stat().st_size > 1_000
