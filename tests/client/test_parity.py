"""The two clients are the same in names, signatures and answers; and the package shows what it means to show."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import sluice_client
from sluice_client import AsyncSluice, InvalidRequest, NewFrame, NotFound, Query, Retry, Sluice, Unavailable
from sluice_client.transport.protocol import AsyncFunction, Function

from tests.made.fake_server import FakeServer, png

PACKAGE = Path(sluice_client.__file__).parent
ROI = (8, 8, 24, 24)


def public(kind: type) -> dict[str, inspect.Signature]:
    return {name: inspect.signature(f) for name, f in inspect.getmembers(kind, callable) if not name.startswith("_")}


def test_both_clients_have_the_same_methods_with_the_same_arguments():
    one, other = public(Sluice), public(AsyncSluice)
    assert set(one) == set(other)
    for name, signature in one.items():
        assert list(signature.parameters.values()) == list(other[name].parameters.values()), name
    ours, theirs = inspect.signature(Sluice.__init__), inspect.signature(AsyncSluice.__init__)
    assert list(ours.parameters) == list(theirs.parameters)


VERBS = [
    lambda s: s.embed(png(1)),
    lambda s: s.ingest([NewFrame(png(i), id=f"f{i}", drive="A") for i in range(5)], batch=2),
    lambda s: s.add(png(7), id="f7"),
    lambda s: s.retrieve(Query(png(1), rois=[ROI]), k=3),
    lambda s: s.retrieve(Query(id="f1", rois=[ROI]), k=3, drives=["A"], heatmaps=False),
    lambda s: s.match(Query(png(1), rois=[ROI]), [png(1), png(2), png(3)], batch=2),
    lambda s: s.retrieve([Query(id="f1", rois=[ROI]), Query(id="f2", rois=[ROI, ROI])], combine="mean", heatmaps="all"),
    lambda s: s.match([Query(png(1), rois=[ROI]), Query(png(2), rois=[ROI])], [png(1), b"junk"], heatmaps="all"),
    lambda s: s.detect([png(1), b"junk", png(2)], batch=2),
    lambda s: s.detect(ids=["f1", "nobody"], keep_scores=True),
    lambda s: s.detect(ids=["f2"], min_score=0.1),
    lambda s: s.select(n=2),
    lambda s: s.objects(["f1", "f2"]),
    lambda s: s.sample(labels=7, seeds=range(6), steps=3, preview=2),
    lambda s: s.sample("streets", count=3, format="tensor", steps=1),
    lambda s: s.encode([png(1), b"junk", "missing.png"], model="streets", steps=2, fit=True),
    lambda s: s.interpolate("streets", images=[png(1), png(2)], between=3, steps=1, fit=True),
    lambda s: s.segment([png(1), b"junk", "missing.png", png(2)], classes=["road", "car"], batch=2, groups=True),
    lambda s: s.segment(ids=["f1", "nobody"], classes=["road"], format="rle", background=0.5),
    lambda s: s.compare([png(1), b"junk", png(2)], ["a road", "a dog"], batch=1, embeddings=True),
    lambda s: s.compare(ids=["f1", "f3"], keep_embeddings=True),
    lambda s: s.retrieve(texts=["a road"], k=2),
    lambda s: s.retrieve(Query(png(1), rois=[ROI]), texts=["a road"], fuse=0.25),
    lambda s: s.segment([png(1)], classes=["a giraffe", "car"], allow_unknown=True),
    lambda s: s.retrieve(texts=["car near road", "car park"], allow_unknown=True),
    lambda s: s.words(),
    lambda s: s.words(["a giraffe", "car", "a park"], templates="simple"),
    lambda s: s.get(["f1", "f0"]),
    lambda s: s.image("f1"),
    lambda s: s.delete(["f1"]),
    lambda s: s.describe(),
    lambda s: s.health(),
    lambda s: s.retrieve(Query(id="f1", rois=[ROI])),
    lambda s: s.retrieve(Query(png(1), rois=[ROI]), k=0),
    lambda s: s.match(Query(png(1), rois=[ROI]), []),
    lambda s: s.detect(),
    lambda s: s.segment(classes=["road"]),
    lambda s: s.segment([png(1)], classes=[]),
    lambda s: s.compare([png(1)]),
    lambda s: s.compare([png(1)], ["car park"]),
    lambda s: s.words("car"),
    lambda s: s.words(["car"], templates="many"),
    lambda s: s.retrieve(),
    lambda s: s.sample("unknown"),
    lambda s: s.sample(),
    lambda s: s.sample(steps=0),
    lambda s: s.encode(),
    lambda s: s.interpolate(seeds=[1, 2, 3]),
]


def _result(do):
    try:
        return do()
    except sluice_client.SluiceError as error:
        return type(error), str(error)


def test_both_clients_give_the_same_answers_and_errors():
    fake = FakeServer([Unavailable("full")] * 2)
    sync = Sluice(transport=Function(fake.answer, events=fake.events), retry=Retry(first=0.001))
    synchronous = [_result(lambda verb=verb: verb(sync)) for verb in VERBS]
    frames = [frame.id for frame in sync.frames(page=2)], list(sync.unscored(page=2)), list(sync.unembedded())
    events = list(sync.sample_stream(labels=[1, 2], count=2, steps=2, preview=1))

    async def asynchronous():
        server = FakeServer([Unavailable("full")] * 2)
        async with AsyncSluice(
            transport=AsyncFunction(server.answer, events=server.events), retry=Retry(first=0.001)
        ) as client:
            results = []
            for verb in VERBS:
                try:
                    results.append(await verb(client))
                except sluice_client.SluiceError as error:
                    results.append((type(error), str(error)))
            frames = [frame.id async for frame in client.frames(page=2)]
            events = [event async for event in client.sample_stream(labels=[1, 2], count=2, steps=2, preview=1)]
            unscored = [id async for id in client.unscored(page=2)]
            return results, (frames, unscored, [id async for id in client.unembedded()]), events

    others, their_frames, their_events = asyncio.run(asynchronous())
    # Several batches are under way at once, so the fake server, which lists in order of arrival, may have any order.
    assert [sorted(one) for one in frames] == [sorted(one) for one in their_frames]
    assert [len(one) for one in frames] == [5, 5, 4]
    assert repr(synchronous) == repr(others)  # repr, because NaN and arrays do not compare
    assert [r[0] for r in synchronous if isinstance(r, tuple)] == [
        *(NotFound, *[InvalidRequest] * 3, *[InvalidRequest] * 7),
        *(NotFound, *[InvalidRequest] * 4),
    ]
    assert events == their_events and [type(one).__name__ for one in events] == [
        *["Progress", "Preview"] * 2,
        *("Result", "End"),
    ]


def test_the_asyncio_client_has_several_calls_under_way_and_keeps_their_order():
    server = FakeServer()
    state = {"now": 0, "most": 0}

    class Slow(AsyncFunction):
        async def infer(self, call, timeout):
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
            await asyncio.sleep(0.01)
            state["now"] -= 1
            return server.answer(call, timeout)

    async def run():
        async with AsyncSluice(transport=Slow(server.answer)) as client:
            return await client.ingest([NewFrame(png(i), id=f"f{i}") for i in range(9)], batch=1, in_flight=3)

    assert [receipt.id for receipt in asyncio.run(run())] == [f"f{i}" for i in range(9)]
    assert 2 <= state["most"] <= 3


def test_the_package_exports_a_sorted_list_of_what_it_has():
    assert sluice_client.__all__ == sorted(sluice_client.__all__)
    for name in sluice_client.__all__:
        assert getattr(sluice_client, name).__doc__ or issubclass(getattr(sluice_client, name), Exception), name


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for_and_exports_what_it_has(path: Path):
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    module = __import__(name, fromlist=["_"])
    assert module.__doc__
    assert all(hasattr(module, one) for one in getattr(module, "__all__", ()))  # ruff keeps the lists sorted


def test_the_client_needs_neither_the_server_nor_what_makes_networks():
    code = (
        "import sys, sluice_client.cli, sluice_client.pages.retrieve\n"
        "import sluice_client.transport.grpc_sync, sluice_client.transport.grpc_aio\n"
        "bad = {'sluice', 'export', 'bench', 'scenes', 'demo', 'torch', 'onnx', 'onnxruntime', 'pytriton'}\n"
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_nothing_is_used_that_numpy_2_does_not_have():
    subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "NPY201", PACKAGE], check=True, timeout=60
    )
