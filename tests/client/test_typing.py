"""The client as type checkers see it: every method of both, every option, and what is wrong with a call.

The script that mypy reads is written from the classes: a method or an option without an example here fails the test.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import typing
import venv
import zipfile
from dataclasses import fields
from pathlib import Path

import pytest
from sluice_client import AsyncSluice, InvalidRequest, NewFrame, Sluice, filters
from sluice_client.answers.detect import TYPES
from sluice_client.transport.protocol import Function
from sluice_client.verbs import (
    compare,
    detect,
    encode,
    enhance,
    ingest,
    interpolate,
    match,
    retrieve,
    sample,
    segment,
    select,
)

from sluice.contracts import ROOT
from tests.made.fake_server import FakeServer
from tests.made.signatures import arguments, methods

HEADER = """\
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from sluice_client import *
from sluice_client.answers.sample_events import Event

pixels = np.zeros((2, 8, 8, 3), np.uint8)
query = Query("bike.jpg", rois=[(1, 2, 3, 4)])
"""

# What each method answers; of a generator, each of its values.
ANSWERS = {
    "add": "Receipt",
    "close": "None",
    "compare": "Compared",
    "delete": "list[str]",
    "describe": "dict[str, Any]",
    "detect": "Detected",
    "embed": "Features",
    "encode": "Latents",
    "enhance": "list[Enhanced]",
    "enhance_stream": "Enhanced",
    "frames": "Frame",
    "get": "list[Frame]",
    "health": "Health",
    "image": "bytes",
    "ingest": "list[Receipt]",
    "interpolate": "Samples",
    "match": "Scores",
    "objects": "list[Detections]",
    "retrieve": "Found",
    "sample": "Samples",
    "sample_stream": "Event",
    "segment": "Segmented",
    "select": "Selection",
    "unembedded": "str",
    "unscored": "str",
    "words": "Vocabulary",
}

# A value for every argument of the methods; where several methods mean different things by a name, "method.name".
EXAMPLES = {
    "after": '"2026-03-01T12:00Z"',
    "aggregate": '"mean"',
    "allow_unknown": "True",
    "analytic_first": "True",
    "backlog": "4",
    "batch": "4",
    "batch_bytes": "1 << 20",
    "before": "1.5e9",
    "between": "5",
    "bitrate": "2e6",
    "camera": '"front"',
    "cameras": '["front", "rear"]',
    "candidates": "200",
    "class_reduce": '"max"',
    "class_weights": '{"Car": 2.0}',
    "classes": '["road", "car"]',
    "combine": '"mean"',
    "confidence": "0.5",
    "count": "3",
    "curvature": "False",
    "denoise": "True",
    "detector": '"mixture_detector/1/0123456789ab"',
    "difference": "0.1",
    "diversity": "3",
    "do": '"both"',
    "drive": '"0042"',
    "drives": '["0042"]',
    "embeddings": "True",
    "exclude": '("a", "b")',
    "first": "8",
    "fit": "True",
    "format": '"png"',
    "fps": "29.97",
    "frames": "pixels",
    "frozen": "True",
    "fuse": "0.25",
    "grid": '"linear"',
    "groups": "True",
    "guidance": "2",
    "guidance_rule": '"given"',
    "heatmaps": '"all"',
    "id": '"f1"',
    "idle": "60",
    "ids": '["f1", "f2"]',
    "image": 'Path("a.jpg")',
    "images": '["a.jpg", Path("b.png"), b"..."]',
    "in_flight": "2",
    "iou": "0.45",
    "k": "5",
    "keep": "10",
    "keep_embeddings": "True",
    "keep_scores": "True",
    "labelled": '["f1"]',
    "labelled_tag": '"labelled"',
    "labels": "[7, 8]",
    "latents": "np.zeros((2, 1, 8, 8), np.float32)",
    "listed": "10",
    "location_sigmoid": '"variance"',
    "matrix": '"bt709"',
    "min_score": "0.1",
    "mode": '"auto"',
    "model": '"digits"',
    "n": "100",
    "object_score": "0.5",
    "on_event": "print",
    "over_objects": '"sum"',
    "page": "500",
    "per_drive": "2",
    "policy": '"drop"',
    "preview": "2",
    "progress": "print",
    "quality": "92",
    "query": "[query, query]",
    "range": '"full"',
    "rank_empty": "False",
    "rule": '"plain"',
    "scale": '"4/3"',
    "score": '"roi"',
    "seed": "0",
    "seeds": "range(64)",
    "size": "(640, 480)",
    "solver": '"unipc"',
    "statistics": "select_statistics",
    "steps": "10",
    "stream": '"front camera"',
    "strength": "0.8",
    "tags": '["night"]',
    "templates": '"simple"',
    "tensors": "np.zeros((2, 1, 8, 8), np.float32)",
    "texts": '["a bicycle"]',
    "threshold": "2.5",
    "time": "1.5",
    "times": "[0.0, None]",
    "timeout": "5",
    "top": "5",
    "types": '["class_epistemic"]',
    "window": '"slide"',
    "background": "0.5",
    "detect.labels": '["Car"]',
    "encode.labels": "np.array([7, 8])",
    "interpolate.labels": "7",
    "enhance.images": '["a.jpg", Path("b.png"), b"...", pixels[0], Packet(b"..."), Planes(2, 2, pixels.ravel()[:6])]',
    "ingest.frames": '["a.jpg", Path("b.jpg"), b"...", NewFrame("c.jpg", drive="0042")]',
    "interpolate.seeds": "[(3, 9), (4, 5)]",
    "interpolate.images": '[("a.png", b"..."), (Path("c.png"), "d.png")]',
    "segment.confidence": "True",
    "select.candidates": '[Detections("a"), {"id": "b", "summary": None}]',
}

# Calls that mypy must refuse: a misspelt option, or a value of another kind.
WRONG = {
    'client.retrieve(query, kk=5)': "misspelt",
    'client.retrieve(query, k="five")': "of another kind",
    'client.retrieve(query, score="rio")': "a word that is none",
    'client.match(query, ["a.jpg"], combine="query")': "a word of another verb",
    'client.detect(["a.jpg"], min_scores=0.1)': "misspelt",
    'client.detect(["a.jpg"], labels=3)': "of another kind",
    'client.select(per_drve=2)': "misspelt",
    'client.select(types=["location"])': "a word that is none",
    'client.segment(["a.jpg"], classes=["road"], templates="simpel")': "a word that is none",
    'client.segment(["a.jpg"], clases=["road"])': "misspelt",
    'client.compare(["a.jpg"], ["road"], keep_embedings=True)': "misspelt",
    'client.sample(step=10)': "misspelt",
    'client.sample_stream(seeds="0:3")': "of another kind",
    'client.encode(["a.png"], denoise=True)': "an option of another verb",
    'client.interpolate(seeds=[(1, 2)], btween=3)': "misspelt",
    'client.enhance(["a.jpg"], strenght=0.5)': "misspelt",
    'client.enhance_stream(["a.jpg"], mode="best")': "a word that is none",
    'client.frames(drive="0042")': "misspelt",
    'client.add("a.jpg", drve="0042")': "misspelt",
    'client.ingest(["a.jpg", 3])': "of another kind",
    'client.words(["car"], template="simple")': "misspelt",
    'client.health(timeuot=1)': "misspelt",
}  # fmt: skip

KEYWORDS = {
    retrieve.Options: retrieve.RetrieveKeywords,
    match.Options: match.MatchKeywords,
    detect.Options: detect.DetectKeywords,
    select.Options: select.SelectKeywords,
    segment.Options: segment.SegmentKeywords,
    compare.Options: compare.CompareKeywords,
    enhance.Options: enhance.EnhanceKeywords,
}


def script(kind: type) -> list[str]:
    """Return a script with one call per method, each with all of its arguments."""
    lines = [f"async def use(client: {kind.__name__}, select_statistics: dict[str, Any]) -> None:"]
    for name, method in methods(kind).items():
        examples = (f"{one}={EXAMPLES.get(f'{name}.{one}', EXAMPLES.get(one))}" for one in arguments(method))
        call, answer = f"client.{name}({', '.join(examples)})", ANSWERS[name]
        returned = str(inspect.signature(method).return_annotation)
        if "Generator" in returned:
            each = "async for" if returned.startswith("Async") else "for"
            lines += [f"    {each} one_{name} in {call}:", f"        assert_type(one_{name}, {answer})"]
        else:
            wait = "await " if inspect.iscoroutinefunction(method) else ""
            lines.append(f"    {wait}{call}" if answer == "None" else f"    assert_type({wait}{call}, {answer})")
    return lines


def installed(source: Path, place: Path, hook: str) -> Path:
    """Return the Python of a new environment in which the package is installed.

    hook: the hook of PEP 517 to install with, build_wheel for a wheel or build_editable for an editable install.
    """
    build = f"import setuptools.build_meta as backend; print('built ' + backend.{hook}({str(place)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, check=True, timeout=120, text=True, capture_output=True
    )
    venv.create(place / "venv", with_pip=False, symlinks=True)
    python = place / "venv" / "bin" / "python"
    (packages,) = (place / "venv" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(place / done.stdout.rpartition("built ")[2].strip()) as wheel:
        wheel.extractall(packages)
    # What the client needs, and mypy; a path in a .pth brings no .pth files of its own, so not this checkout's client.
    others = {path for path in sys.path if path.endswith("-packages")} | {sysconfig.get_path("purelib")}
    (packages / "others.pth").write_text("\n".join(sorted(others)))
    return python


@pytest.mark.parametrize("hook", ["build_editable", "build_wheel"])
def test_mypy_reads_every_method_and_refuses_what_is_wrong(hook, tmp_path):
    source = tmp_path / "source"
    for name in ("sluice", "clients"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in ("model_repository", "ensembles", "backends", "export", "scenes", "weights"):
        (source / name).mkdir()  # a wheel carries them; a type checker reads nothing there
    python = installed(source, tmp_path, hook)
    work = tmp_path / "work"
    work.mkdir()
    for kind in (Sluice, AsyncSluice):
        right = [HEADER, *script(kind)]
        (work / f"right_{kind.__name__}.py").write_text("\n".join(right) + "\n")
        wrong = [HEADER, f"async def use(client: {kind.__name__}) -> None:"]
        for call in WRONG:
            method = methods(kind)[call.removeprefix("client.").partition("(")[0]]
            wrong.append(f"    {'await ' if inspect.iscoroutinefunction(method) else ''}{call}  # WRONG")
        (work / f"wrong_{kind.__name__}.py").write_text("\n".join(wrong) + "\n")
    clean = {name: value for name, value in os.environ.items() if name not in ("MYPYPATH", "PYTHONPATH")}
    told = subprocess.run(
        [python, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--hide-error-context", "."],
        cwd=work, env=clean, text=True, capture_output=True, timeout=240,
    )  # fmt: skip
    errors: dict[str, dict[int, list[str]]] = {path.name: {} for path in work.glob("*.py")}
    for file, line, message in re.findall(r"^(\S+\.py):(\d+): error: (.*)$", told.stdout, re.MULTILINE):
        errors[file].setdefault(int(line), []).append(message)
    for kind in (Sluice, AsyncSluice):
        assert errors[f"right_{kind.__name__}.py"] == {}, told.stdout + told.stderr
        text = (work / f"wrong_{kind.__name__}.py").read_text().splitlines()
        calls = {number: line for number, line in enumerate(text, 1) if "# WRONG" in line}
        found = errors[f"wrong_{kind.__name__}.py"]
        assert len(calls) >= 10 and found.keys() == calls.keys(), told.stdout
        for number, line in calls.items():
            kinds = "call-arg|arg-type|list-item|typeddict|dict-item|misc"
            assert all(re.search(rf"\[({kinds})", message) for message in found[number]), (line, found[number])


def test_the_examples_are_of_methods_and_arguments_that_there_are():
    known = {(name, one) for name, method in methods(Sluice).items() for one in arguments(method)}
    assert ANSWERS.keys() == methods(Sluice).keys() == methods(AsyncSluice).keys()
    for name in EXAMPLES:
        verb, _, argument = name.rpartition(".")
        assert any(one == argument and verb in ("", method) for method, one in known), name


@pytest.mark.parametrize("options", KEYWORDS, ids=lambda kind: kind.__module__.rpartition(".")[2])
def test_what_a_type_checker_reads_is_what_the_options_are(options):
    assert typing.get_type_hints(KEYWORDS[options]) == {
        name: hint
        for name, hint in typing.get_type_hints(options).items()
        if name in {one.name for one in fields(options)}
    }


def test_the_keywords_of_the_sampler_are_its_options():
    hints = typing.get_type_hints(sample.Options)
    seen: dict[str, object] = {}
    for kind in (sample.Drawing, encode.EncodeKeywords, interpolate.Moving):
        seen |= typing.get_type_hints(kind)
    assert seen == hints
    assert typing.get_type_hints(filters.FilterKeywords).items() <= typing.get_type_hints(retrieve.Options).items()
    assert {"image", *typing.get_type_hints(ingest.AddKeywords)} == {field.name for field in fields(NewFrame)}
    frame = typing.get_type_hints(NewFrame)
    assert all(frame[name] == hint for name, hint in typing.get_type_hints(ingest.AddKeywords).items())
    assert typing.get_args(select.UncertaintyType) == TYPES


def test_a_misspelt_option_is_named_with_what_was_meant():
    """Drop the last letter but one of each argument, for every method that takes options."""
    client = Sluice(transport=Function(FakeServer().answer))
    needed = {
        "embed": (b"x",),
        "add": (b"x",),
        "match": ((), [b"x"]),
        "enhance": ([b"x"],),
        "enhance_stream": ([b"x"],),
    }
    needed |= {"encode": ([b"x"],)}
    more = {"segment": {"classes": ["road"]}}
    asked = 0
    for name, method in methods(Sluice).items():
        signature = inspect.signature(method)
        if not any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values()):
            continue
        for argument in arguments(method):
            misspelt = argument + "_" if len(argument) < 4 else argument[:-2] + argument[-1]
            if misspelt in arguments(method):
                continue
            with pytest.raises(InvalidRequest, match=f"got '{misspelt}'.*Did you mean '") as told:
                answer = getattr(client, name)(*needed.get(name, ()), **more.get(name, {}), **{misspelt: 1})
                list(answer)
            meant = re.search("Did you mean '(.*)'", str(told.value))
            assert meant and meant[1] in arguments(method), (name, misspelt)
            asked += meant[1] == argument
    assert asked > 100
