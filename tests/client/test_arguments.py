"""A value of another kind, in any argument of any method: an answer or a sentence, never an error from inside."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sluice_client import AsyncSluice, InvalidRequest, NewFrame, Packet, Planes, Query, Retry, Sluice, SluiceError, Tls
from sluice_client.transport.protocol import AsyncFunction, Function

from tests.made.fake_server import FakeServer, png
from tests.made.signatures import arguments, methods

QUERY = Query(png(1), rois=[(8, 8, 24, 24)])

# What each method needs, so that a wrong argument is the only thing that is wrong.
NEEDED = {
    "add": {"image": png(1)},
    "compare": {"images": [png(1)], "texts": ["road"]},
    "delete": {"ids": ["f1"]},
    "detect": {"images": [png(1)]},
    "embed": {"image": png(1)},
    "encode": {"images": [png(1)], "model": "streets", "fit": True},
    "enhance": {"images": [png(1)]},
    "enhance_stream": {"frames": [png(1)]},
    "get": {"ids": ["f1"]},
    "image": {"id": "f1"},
    "ingest": {"frames": [png(1)]},
    "interpolate": {"seeds": [1, 2], "model": "digits"},
    "match": {"query": QUERY, "images": [png(1)]},
    "objects": {"ids": ["f1"]},
    "retrieve": {"query": QUERY},
    "sample": {"model": "digits"},
    "sample_stream": {"model": "digits"},
    "segment": {"images": [png(1)], "classes": ["road"]},
}

# Functions of the caller's are called as they are, and what goes wrong in them is the caller's to see.
CALLED = ("progress", "on_event")

ODD = {
    "text": lambda: "a.jpg",
    "path": lambda: Path("a.jpg"),
    "bytes": lambda: b"a.jpg",
    "number": lambda: 7,
    "negative": lambda: -1,
    "fraction": lambda: 0.5,
    "huge": lambda: 10**400,
    "nan": lambda: float("nan"),
    "true": lambda: True,
    "list of numbers": lambda: [1, 2],
    "list of nothing": lambda: [None],
    "list of paths": lambda: [Path("a.jpg")],
    "empty list": list,
    "mapping": lambda: {"a": 1},
    "object": lambda: object(),
    "pixels": lambda: np.zeros((4, 4, 3), np.uint8),
    "numbers of NumPy": lambda: np.arange(3),
    "number of NumPy": lambda: np.float32(0.25),
    "picture": lambda: Image.new("RGB", (4, 4)),
    "frame": lambda: NewFrame(b"x"),
    "query": lambda: QUERY,
    "iterator": lambda: iter(["a.jpg"]),
    "surrogate": lambda: "\ud800",
}

CASES = [(name, one) for name, method in methods(Sluice).items() for one in arguments(method) if one not in CALLED]


def asked(name: str, argument: str, value: object) -> dict[str, object]:
    needed = dict(NEEDED.get(name, {}))
    if argument in ("tensors", "latents", "images", "ids") and name in ("encode", "interpolate", "detect", "segment"):
        needed.pop("images", None), needed.pop("seeds", None)  # one of them
    return needed | {argument: value}


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_a_value_of_another_kind_is_a_sentence(name, argument):
    server = FakeServer()
    client = Sluice(transport=Function(server.answer, events=server.events), timeout=5)
    client.add(png(1), id="f1")
    for kind, make in ODD.items():
        try:
            answer = getattr(client, name)(**asked(name, argument, make()))
            if isinstance(answer, Iterator):
                list(itertools.islice(answer, 10))
        except SluiceError as error:
            assert str(error).strip() and "Traceback" not in str(error)
        except Exception as error:
            raise AssertionError(f"{name}({argument}=<{kind}>) raised {error!r}") from error


@pytest.mark.parametrize("kind", [Query, NewFrame, Packet, Planes, Retry, Sluice, Tls], ids=lambda kind: kind.__name__)
def test_what_the_methods_take_is_checked_where_it_is_made(kind):
    needed = {Query: {"image": b"x", "rois": [(0, 0, 9, 9)]}, NewFrame: {"image": b"x"}, Packet: {"data": b"x"}}
    needed |= {Planes: {"width": 2, "height": 2, "data": np.zeros(6, np.uint8)}}
    kind(**needed.get(kind, {}))
    for argument in inspect.signature(kind).parameters:
        if argument in ("on_retry", "transport"):
            continue
        for what, make in ODD.items():
            given = dict(needed.get(kind, {})) | {argument: make()}
            if kind is Query and argument == "id":
                del given["image"]
            try:
                one = kind(**given)
                if isinstance(one, Tls):
                    one.credentials()  # where its files are read
            except SluiceError as error:
                assert str(error).strip()
            except Exception as error:
                raise AssertionError(f"{kind.__name__}({argument}=<{what}>) raised {error!r}") from error


def test_both_clients_refuse_the_same():
    """Pass a value of every kind to each argument: both clients accept and refuse the same, in the same words."""
    server = FakeServer()

    def ours(name: str, argument: str, value: object) -> None:
        with Sluice(transport=Function(server.answer, events=server.events), timeout=5) as client:
            answer = getattr(client, name)(**asked(name, argument, value))
            if isinstance(answer, Iterator):
                list(answer)

    async def awaited(name: str, argument: str, value: object) -> None:
        async with AsyncSluice(transport=AsyncFunction(server.answer, events=server.events), timeout=5) as client:
            answer = getattr(client, name)(**asked(name, argument, value))
            if isinstance(answer, AsyncIterator):
                [one async for one in answer]
            else:
                await answer

    def theirs(name: str, argument: str, value: object) -> None:
        asyncio.run(awaited(name, argument, value))

    refused = 0
    for name, argument in CASES[::7]:
        for kind in ("number", "object", "iterator", "mapping"):
            said = []
            for ask in (ours, theirs):
                try:
                    ask(name, argument, ODD[kind]())
                    said.append("")
                except InvalidRequest as error:
                    said.append(str(error).partition(" object at ")[0])
                except SluiceError as error:
                    said.append(type(error).__name__)
            assert said[0] == said[1], (name, argument, kind)
            refused += bool(said[0])
    assert refused > 20
