"""Check the settings, the client, the server, its models and the gallery, and try every verb.

examples:
  sluice doctor
  sluice doctor --server 10.0.0.5:8001 --json
  sluice doctor --write        stores a frame, finds it, and deletes it again

A line that is not ok says what to do, and makes the exit code 1. The lines about settings say where each comes from: an
option, a variable of the environment, the file of --config, or sluice.toml in the user's configuration folder.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import os
import platform
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..client import Sluice
from ..errors import InvalidRequest, SluiceError
from ..query import Query
from ..terminal import distribution
from ..terminal.console import OK, SOME_FAILED, Console
from ..terminal.settings import FILES, Settings, users_file

PLACE = 80
LOCAL = False


class Finding(NamedTuple):
    """One line of the report. remedy: what to do if the line is not ok."""

    check: str
    ok: bool
    text: str
    remedy: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options to its parser."""
    parser.add_argument("--write", action="store_true", help="also store a frame of noise, find it, and delete it")
    parser.set_defaults(timeout=10.0)


def run(args: argparse.Namespace, console: Console, client: Sluice) -> int:
    """Run the command and return its exit code."""
    well = True
    findings = examine(client, write=args.write, timeout=args.timeout)
    for finding in itertools.chain(_settings(args), findings):
        well &= finding.ok
        if console.json:
            console.data(finding._replace(remedy="" if finding.ok else finding.remedy)._asdict())
        else:
            console.text(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check:<20} {finding.text}")
            if not finding.ok:
                console.text(f"      {'':<20} -> {finding.remedy}")
    return OK if well else SOME_FAILED


def examine(client: Sluice, *, write: bool = False, timeout: float = 10.0) -> Iterator[Finding]:
    """Yield all findings in order; the last says so if no server answers.

    write:   True to store a frame, find it and delete it again.
    timeout: seconds per call.
    """
    yield from _here()
    try:
        health = client.health(timeout=timeout)
    except SluiceError as error:
        yield Finding("server", False, f"{client.server}: {error.message}", error.remedy)
        return
    way = "" if client.connection is None else ", over TLS" if client.connection.tls else ", without TLS"
    yield Finding("server", health.live, f"{client.server} {health.server}{way}", "Restart it: `sluice serve`.")
    if health.weights:
        yield Finding("server's weights", True, health.weights)
    if health.precision:
        yield Finding("server's precision", True, f"{health.precision['told']}, profile {health.precision['profile']}")
        for name, why in health.precision["kept"].items():
            yield Finding(f"precision {name}", True, f"fp32: {why}")
    for name, ready in health.models.items():
        text = "ready" if ready else "not ready"
        yield Finding(
            f"model {name}", ready, text, "See the log of the server; was the network exported (`sluice export`)?"
        )
    picture = _noise()
    query = Query(picture, rois=[(40, 32, 56, 48)])
    yield _try("verb embed", lambda: _embed(client, picture, timeout))
    yield _try("verb match", lambda: _match(client, query, picture, timeout))
    yield _try("verb retrieve", lambda: _retrieve(client, query, timeout))
    yield _try("verb ingest", lambda: _refusal(client, timeout))
    yield _try("verb detect", lambda: _detect(client, picture, timeout))
    yield _try("verb select", lambda: _select(client, timeout))
    yield _try("verb segment", lambda: _segment(client, picture, timeout))
    yield _try("verb compare", lambda: _compare(client, picture, timeout))
    yield _try("verb sample", lambda: _sample(client, timeout))
    yield _try("verb enhance", lambda: _enhance(client, picture, timeout))
    if write:
        yield _try("store and find", lambda: _round_trip(client, query, picture, timeout))
    yield _try("gallery", lambda: _gallery(client, timeout))
    yield from _blas(client, timeout)


def _settings(args: argparse.Namespace) -> Iterator[Finding]:
    """Yield which files were read, and where each setting comes from; not the values of headers, which may be keys."""
    said: Settings = args.settings
    files = ", ".join(map(str, said.files)) or f"no file; {users_file() or 'sluice.toml'} would be read"
    others = stat.S_IRGRP | stat.S_IROTH
    shown = [
        path
        for path, layer in zip(said.files, said.layers[-len(said.files) :], strict=False)
        if "headers" in layer and os.name == "posix" and path.stat().st_mode & others
    ]
    remedy = f"Others can read the headers in it, which may be keys. Run: chmod go-rw {' '.join(map(str, shown))}"
    yield Finding("settings", not shown, files, remedy)
    told = {name: said.get(name) for name in ("server", *FILES, "server_name")} | {"tls": said.tls()}
    for name, setting in told.items():
        if setting is not None:
            value = str(setting.value).lower() if name == "tls" else setting.value
            yield Finding(f"setting {name}", True, f"{value}, from {setting.origin}")
    for name, setting in said.headers().items():
        yield Finding(f"header {name}", True, f"from {setting.origin}")
    for sentence in said.kept_back():
        yield Finding("headers", True, sentence)
    timeout = said.get("timeout")
    # True if the default was used, and not an equal number of --timeout.
    if timeout is not None and args.timeout is timeout.value:
        yield Finding("setting timeout", True, f"{args.timeout:g} s, from {timeout.origin}")


def _here() -> Iterator[Finding]:
    """Yield the findings about this machine's Python and packages."""
    python = sys.version_info >= (3, 11)
    yield Finding("python", python, platform.python_version(), "The client needs Python 3.11 or later.")
    numpy = tuple(int(part) for part in np.__version__.split(".")[:2]) >= (1, 26)
    yield Finding("numpy", numpy, np.__version__, "pip install 'numpy>=1.26'")
    yield Finding(distribution.NAME, True, distribution.version())  # always ok, even if the client is not installed
    for name in ("tritonclient", "grpcio", "pillow"):
        try:
            yield Finding(name, True, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, False, "not installed", "pip install sluice-perception")


def _noise() -> bytes:
    """Return a small image that no gallery has: smooth noise, 96 x 80 pixels, PNG."""
    coarse = np.random.default_rng(uuid.uuid4().int).integers(0, 256, (10, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


class _Wrong(Exception):
    """A verb answered, but wrongly."""


def _try(check: str, ask: Callable[[], str]) -> Finding:
    """Return the finding of a check. ask: runs the check and returns what it found, or raises."""
    begin = time.monotonic()
    try:
        text = ask()
    except SluiceError as error:
        return Finding(check, False, error.message, error.remedy or "See the log of the server.")
    except _Wrong as wrong:
        return Finding(check, False, str(wrong), "See the log of the server; restart it with `sluice serve`.")
    return Finding(check, True, f"{text} ({(time.monotonic() - begin) * 1000:.0f} ms)")


def _embed(client: Sluice, picture: bytes, timeout: float) -> str:
    answer = client.embed(picture, timeout=timeout)
    lengths = np.linalg.norm(answer.features.astype(np.float32), axis=-1)
    if not np.allclose(lengths, 1, atol=0.01):
        raise _Wrong(f"features should have length 1 in every cell; got {lengths.min():.3f} to {lengths.max():.3f}")
    height, width, channels = answer.features.shape
    return f"{height} x {width} cells of {channels} channels"


def _match(client: Sluice, query: Query, picture: bytes, timeout: float) -> str:
    scores = client.match(query, [picture, b"not an image"], timeout=timeout)
    itself, broken = scores.matches
    if itself.error or not itself.score > 0.99:
        raise _Wrong(f"an image should match itself with 1; got {itself.error or itself.score}")
    if not broken.error:
        raise _Wrong("what is no image should get an error; got a score")
    return f"an image matches itself with {itself.score:.4f}; {scores.model}"


def _retrieve(client: Sluice, query: Query, timeout: float) -> str:
    found = client.retrieve(query, k=1, heatmaps=False, timeout=timeout)
    return f"searched {found.searched} frames, {found.seconds * 1000:.1f} ms of them searching"


def _refusal(client: Sluice, timeout: float) -> str:
    receipt = client.add(b"not an image", timeout=timeout)
    if receipt.ok:
        raise _Wrong("what is no image should be refused; it was stored")
    return "refuses what is no image" + ("" if receipt.error is None else f": {receipt.error}")


def _detect(client: Sluice, picture: bytes, timeout: float) -> str:
    found = client.detect([picture, b"not an image"], timeout=timeout)
    whole, broken = found.images
    if whole.error or whole.summary is None:
        raise _Wrong(f"an image should be answered with a summary; got {whole.error}")
    if not broken.error:
        raise _Wrong("what is no image should get an error; got a summary")
    return f"{len(whole)} objects in noise, classes {', '.join(found.labels)}; {found.model}"


def _select(client: Sluice, timeout: float) -> str:
    selection = client.select(n=1, listed=0, timeout=timeout)
    return f"{selection.told()}; {selection.statistics.get('n', 0):,} objects in the pool"


def _words(client: Sluice, timeout: float) -> list[str]:
    """Return two words that this server's text encoder has learned, since `segment` and `compare` refuse others."""
    usual = ["street", "sky"]
    asked = client.words(usual, timeout=timeout)
    if not any(asked.words.unknown):
        return usual
    if len(asked.known) < 2:
        raise _Wrong(f"a text encoder should have learned two words at least; this one has {len(asked.known)}")
    return list(asked.known[-2:])


def _segment(client: Sluice, picture: bytes, timeout: float) -> str:
    found = client.segment([picture, b"not an image"], classes=_words(client, timeout), timeout=timeout)
    whole, broken = found.images
    if whole.error or not math.isclose(sum(whole.areas), 1, abs_tol=1e-3):
        raise _Wrong(f"every pixel of an image should get one of two classes; got {whole.error or whole.areas}")
    if not broken.error:
        raise _Wrong("what is no image should get an error; got a mask")
    shares = ", ".join(f"{name} {100 * area:.0f} %" for name, area in zip(found.classes, whole.areas, strict=True))
    return f"{shares} of an image of noise; {found.model}"


def _compare(client: Sluice, picture: bytes, timeout: float) -> str:
    word = _words(client, timeout)[0]
    found = client.compare([picture], [word, word], timeout=timeout)
    shares = found.probabilities[0]
    if found.errors[0] or not np.allclose(shares, 0.5, atol=1e-3):
        raise _Wrong(f"a text given twice should get a half each; got {found.errors[0] or shares.tolist()}")
    return f"the cosine of noise and {word!r} is {found.similarity[0, 0]:.3f}; {found.model}"


def _sample(client: Sluice, timeout: float) -> str:
    asked: dict[str, Any] = {"seeds": [7, 7, 8], "steps": 2, "timeout": timeout}
    try:
        samples = client.sample(**asked)
    except InvalidRequest:  # the first network has classes and wants one of them
        samples = client.sample(**asked, labels=0)
    one, same, other = samples.images
    if any(samples.errors) or one != same or one == other:
        raise _Wrong("the same seed should give the same picture, and another seed another; they did not")
    picture = samples.pil()[0]
    assert picture is not None  # no image has an error
    width, height = picture.size
    return f"3 pictures of {width} x {height} pixels by {samples.end.model}, the same for the same seed"


def _enhance(client: Sluice, picture: bytes, timeout: float) -> str:
    one, other = client.enhance([picture, picture], do="both", timeout=timeout)
    if one.error or one.image != other.image or (one.width, one.height) != (192, 160):
        raise _Wrong(f"96 x 80 pixels should become 192 x 160, twice the same; got {one.error or one}")
    return f"96 x 80 pixels became 192 x 160 by {' and '.join(one.done)}, in {1000 * other.seconds:.0f} ms"


def _round_trip(client: Sluice, query: Query, picture: bytes, timeout: float) -> str:
    receipt = client.add(picture, drive="sluice-doctor", timeout=timeout)
    if receipt.status != "stored":
        raise _Wrong(f"a new frame should be stored; got {receipt.status}: {receipt.error}")
    try:
        found = client.retrieve(query, k=1, drives=["sluice-doctor"], timeout=timeout)
        if [match.id for match in found] != [receipt.id] or found.matches[0].score < 0.99:
            raise _Wrong("the frame just stored should be found with the score 1; it was not")
        if receipt.embedded:
            found = client.retrieve(texts=_words(client, timeout)[:1], k=1, drives=["sluice-doctor"], timeout=timeout)
            if [match.id for match in found] != [receipt.id]:
                raise _Wrong("the frame just stored has an embedding, but words did not find it")
    finally:
        deleted = client.delete([receipt.id], timeout=timeout)
    if deleted != [receipt.id]:
        raise _Wrong(f"the frame of the test should be deleted; got {deleted}")
    return f"stored, found{' (by words, too)' if receipt.embedded else ''} and deleted a frame"


def _blas(client: Sluice, timeout: float) -> Iterator[Finding]:
    """Yield which BLAS kernel the server's Python processes use. An old kernel costs speed, so it is not ok."""
    try:
        told = client.describe(timeout=timeout).get("blas")
    except SluiceError:
        return  # the line about the gallery reports it
    if told is None:
        return  # an older server, which does not tell its kernel
    text = f"{told['kernel'] or 'unknown kernel'} ({told['reason']})"
    remedy = f"Start it by `sluice serve`, which tries better ones, or with OPENBLAS_CORETYPE={told['better']}."
    yield Finding("server's BLAS", not told["better"], text, remedy)


def _gallery(client: Sluice, timeout: float) -> str:
    told = client.describe(timeout=timeout)
    if told.get("writable") is False:
        raise _Wrong(f"{told.get('frames')} frames, but the folder cannot be written, so nothing can be added")
    old = {version: n for version, n in (told.get("versions") or {}).items() if version != told.get("model")}
    if old:
        raise _Wrong(f"frames of other networks than {told.get('model')} are stored: {old}; add their images again")
    size = f", {told['bytes'] / 1e6:.1f} MB" if "bytes" in told else ""
    left = f", {told['unscored']} not scored (`sluice score`)" if told.get("unscored") else ""
    if told.get("unembedded"):
        left += f", {told['unembedded']} that words do not find (`sluice compare --unembedded`)"
    return f"{told.get('frames')} frames, {len(told.get('drives') or ())} drives{size}, {told.get('model')}{left}"
