"""`retrieve` by words, and `ingest` that keeps what words find frames by; in one process, the networks made up."""

import asyncio
import json

import numpy as np
import pytest

from sluice.errors import Cancelled, InvalidArgument, Late, NotFound, Unavailable
from sluice.gallery.store import Gallery
from sluice.models import image_grouper
from sluice.models.gallery_search import Commands, Config
from sluice.verbs import ingest as ingest_verb
from sluice.verbs import retrieve as retrieve_verb
from sluice.wire import stored_frames
from sluice.wire.calls import json_strings, strings
from tests.made.gallery_frames import EMBEDDER
from tests.made.ingest_in_process import CHANNELS, LABELS, VERSION, Inputs, Server, jpeg, rows

E = 8
CANVASES = "64x64 96x64"
TEXTS = {"red": 0, "green": 1, "blue": 2}


def vector(window):
    """Return the made-up network's vector of a picture: how red, green and blue it is."""
    mean = np.zeros(E, np.float32)
    mean[:3] = window.reshape(-1, 3).mean(0) + 1e-3
    return mean / np.linalg.norm(mean)


class Worded(Server):
    """The other models, with a network of embeddings and one of texts. look: window -> float32 [E], or raises."""

    def __init__(self, store, look=vector, detect=lambda one: (rows(1), LABELS, VERSION)):
        super().__init__(store, detect)
        self.commands = Commands(store, Config(), None, EMBEDDER)
        self.look, self.grouper, self.cut = look, EMBEDDER, ()

    async def call(self, model, inputs, outputs):
        if model == "image_grouper":
            self.asked.append(model)
            await asyncio.sleep(0)
            assert inputs["IMAGE"].dtype == np.uint8 and set(outputs) == {"EMBEDDING"}
            return {"EMBEDDING": self.look(inputs["IMAGE"][0])[None]}
        if model == "text_embedder":
            self.asked.append(model)
            given = [one.decode() for one in inputs["TEXTS"]]
            self.templates = json.loads(inputs["OPTIONS"][0])["templates"]
            assert json.loads(inputs["OPTIONS"][0])["allow_unknown"] is False
            return {
                "WORDS": json_strings([{"key": one, "unknown": [], "ignored": []} for one in given]),
                "EMBEDDINGS": np.stack([np.eye(E, dtype=np.float32)[TEXTS[one]] for one in given]),
                "TRUNCATED": np.array([one in self.cut for one in given]),
                "SCALE": np.array([100], np.float32),
                "MODEL": strings([self.grouper, "text_encoder/1/cc"]),
            }
        return await super().call(model, inputs, outputs)


@pytest.fixture
def store(tmp_path):
    with Gallery(tmp_path / "gallery", "feature_extractor/1/0123456789ab", CHANNELS, threads=1) as opened:
        yield opened


def plain(colour, size=(64, 64)):
    """Return an encoded picture of one colour."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


COLOURS = {"red": plain((255, 0, 0)), "lime": plain((0, 255, 0), (96, 64)), "violet": plain((160, 0, 255))}


def ingest(server, data, embeddings=True, detector=""):
    inputs = Inputs(IMAGES=strings(data.values()), FRAMES=json_strings([{"id": name} for name in data]))
    config = ingest_verb.Config(canvases=CANVASES, detector=detector, embeddings=embeddings)
    answer = asyncio.run(ingest_verb.ingest(server.call, inputs, config))
    return [json.loads(receipt) for receipt in answer["RECEIPTS"]]


def retrieve(server, on=True, options=None, **inputs):
    given = Inputs({"OPTIONS": json_strings([options])} if options else {}, **inputs)
    config = retrieve_verb.Config(canvases=CANVASES, texts=on)
    answer = asyncio.run(retrieve_verb.retrieve(server.call, given, config))
    return {**answer, "IDS": [one.decode() for one in answer["IDS"]], "SEARCHED": json.loads(answer["SEARCHED"][0])}


# ------------------------------------------------------------------------------------------------ ingest


def test_new_frames_are_stored_with_their_embedding(store):
    server = Worded(store)
    receipts = ingest(server, COLOURS)
    assert [(one["status"], one["embedded"], one["unembedded"]) for one in receipts] == [("stored", True, None)] * 3
    assert not any(one["scored"] for one in receipts)
    assert store.describe()["embedders"] == {EMBEDDER: 3}
    server.asked.clear()
    (receipt,) = ingest(server, {"red": COLOURS["red"]})
    assert receipt["status"] == "known" and "embedded" not in receipt and set(server.asked) == {"frame_gallery"}


def test_without_embeddings_nothing_is_asked_and_nothing_kept(store):
    server = Worded(store, lambda window: 1 / 0)
    (receipt,) = ingest(server, {"red": COLOURS["red"]}, embeddings=False, detector="detect")
    assert (receipt["status"], receipt["scored"], receipt["embedded"]) == ("stored", True, False)
    assert receipt["unembedded"] is None and "image_grouper" not in server.asked


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unavailable("image_grouper is busy; try again"), "busy"),
        (Late("image_grouper did not start within its time limit; try again"), "time limit"),
        (Cancelled("the request was cancelled"), "cancelled"),
        (RuntimeError("/usr/lib/somewhere: broken"), "image_grouper failed; the server's log says why"),
        (None, "NaN"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_network_that_fails_loses_no_frame(store, error, words):
    def look(window):
        if window[..., 1].mean() > 128:
            if error is None:
                return np.full(E, np.nan, np.float32)
            raise error
        return vector(window)

    receipts = ingest(Worded(store, look), COLOURS, detector="detect")
    assert [(one["status"], one["scored"], one["embedded"]) for one in receipts] == [
        ("stored", True, True),
        ("stored", True, False),
        ("stored", True, True),
    ]
    assert words in receipts[1]["unembedded"] and "/usr" not in receipts[1]["unembedded"]
    assert all(store.image(name) == data for name, data in COLOURS.items())
    server = Worded(store)
    told = server.commands.run({"COMMAND": json_strings([{"op": "unembedded"}])})
    assert json.loads(told["ANSWER"][0])["ids"] == ["lime"]


def test_a_gallery_that_knows_no_network_keeps_frames_and_says_so(store):
    server = Worded(store)
    server.commands = Commands(store, Config())
    receipts = ingest(server, COLOURS)
    assert [(one["status"], one["embedded"]) for one in receipts] == [("stored", False)] * 3
    assert all("no network of embeddings is served" in one["unembedded"] for one in receipts)


def test_frames_that_are_stored_already_get_theirs_later(store):
    server = Worded(store)
    ingest(server, COLOURS, embeddings=False)

    async def fill():
        names = [*COLOURS, "gone"]
        vectors = [await image_grouper.embed(server.call, data) for data in COLOURS.values()]
        await stored_frames.keep_embeddings(server.call, names, np.stack([*vectors, vectors[0]]), EMBEDDER)

    asyncio.run(fill())
    assert store.describe()["embedders"] == {EMBEDDER: 3}
    assert retrieve(server, TEXTS=strings(["blue"]))["IDS"] == ["violet", "lime", "red"]


# ------------------------------------------------------------------------------------------------ retrieve


@pytest.fixture
def filled(store):
    server = Worded(store)
    ingest(server, COLOURS)
    ingest(server, {"unseen": plain((0, 0, 255))}, embeddings=False)
    server.asked.clear()
    return server


def test_words_rank_frames(filled):
    answer = retrieve(filled, TEXTS=strings(["green"]))
    assert answer["IDS"][0] == "lime" and len(answer["IDS"]) == 3
    assert set(filled.asked) == {"text_embedder", "gallery_search"} and filled.templates is None
    assert answer["TEXT_SCORES"].shape == (3, 1) and answer["ROI_SCORES"].shape == (3, 0)
    np.testing.assert_allclose(answer["SCORES"], answer["TEXT_SCORES"][:, 0])
    searched = answer["SEARCHED"]
    assert (searched["frames"], searched["lacking"], searched["embedder"]) == (3, 1, EMBEDDER)
    assert "keep_embeddings" in searched["remedy"] and searched["truncated"] == []


def test_of_several_texts_the_best_or_the_mean_counts(filled):
    texts = strings(["red", "blue"])
    for options in ({"combine": "mean", "k": 1}, {"k": 1}):  # the mean is the default
        assert retrieve(filled, TEXTS=texts, options=options)["IDS"] == ["violet"]
    filled.cut = ("blue",)
    answer = retrieve(filled, TEXTS=texts, options={"combine": "max", "k": 1, "templates": "simple"})
    assert answer["IDS"] == ["red"] and answer["TEXT_SCORES"].shape == (1, 2)
    assert filled.templates == "simple" and answer["SEARCHED"]["truncated"] == [1]


def test_words_fused_with_regions(filled):
    query = {"QUERY_IDS": strings(["violet"]), "ROIS": np.array([[8, 8, 40, 40]], np.float32)}
    alone = retrieve(filled, **query)
    assert alone["IDS"][0] == "violet" and len(alone["IDS"]) == 4  # also the frame without an embedding
    assert alone["TEXT_SCORES"].shape == (4, 0) and set(alone["SEARCHED"]) == {"frames", "rescored", "seconds"}
    texts = strings(["green"])
    scores = {}
    for fuse in (0, 0.5, 1):
        fused = retrieve(filled, TEXTS=texts, options={"fuse": fuse}, **query)
        assert fused["LOCATIONS"].shape == (3, 1, 4) and fused["SEARCHED"]["lacking"] == 1
        mixed = (1 - fuse) * fused["ROI_SCORES"][:, 0] + fuse * fused["TEXT_SCORES"][:, 0]
        np.testing.assert_allclose(fused["SCORES"], mixed, atol=1e-6)
        scores[fuse] = fused["IDS"][0]
    assert scores[0] == "violet" and scores[1] == "lime"


def test_a_network_that_was_replaced_is_not_compared(filled):
    filled.grouper = "image_grouper/1/new"
    answer = retrieve(filled, TEXTS=strings(["green"]))
    assert answer["IDS"] == [] and answer["SEARCHED"]["lacking"] == 4
    assert answer["SEARCHED"]["embedder"] == "image_grouper/1/new"


QUERY = {"QUERY_IDS": strings(["red"])}
ROI = {"ROIS": np.array([[8, 8, 40, 40]], np.float32)}


@pytest.mark.parametrize(
    ("options", "inputs", "words"),
    [
        ({}, {}, "give QUERY_IMAGES or QUERY_IDS"),
        ({}, QUERY, "give ROIS"),
        ({}, {"TEXTS": strings(["red"]), **QUERY}, "give ROIS"),
        ({}, {"TEXTS": strings(["red"]), **ROI}, "give QUERY_IMAGES or QUERY_IDS"),
        ({}, {"TEXTS": strings([])}, "1 to 16 texts"),
        ({}, {"TEXTS": strings(["red"] * 17)}, "1 to 16 texts"),
        ({}, {"TEXTS": strings([""])}, "text"),
        ({}, {"TEXTS": strings([b"\xff"])}, "UTF-8"),
        (
            {"templates": "many"},
            {"TEXTS": strings(["red"])},
            "templates is one of identity, simple",
        ),
        ({"templates": "simple"}, {**QUERY, **ROI}, "templates are sentences for TEXTS"),
        ({"fuse": 0.5}, {**QUERY, **ROI}, "give words"),
        ({"fuse": 0.5}, {"TEXTS": strings(["red"])}, "beside templates"),
        ({"fuse": 2}, {"TEXTS": strings(["red"]), **QUERY, **ROI}, "fuse"),
        ({"combine": "query"}, {"TEXTS": strings(["red"])}, "max' or 'mean"),
        ({"embedder": "theirs"}, {"TEXTS": strings(["red"])}, "OPTIONS has 'embedder'; known are"),
        ({"op": "delete"}, {"TEXTS": strings(["red"])}, "OPTIONS has 'op'; known are"),
    ],
)
def test_what_cannot_be_asked_is_refused(filled, options, inputs, words):
    with pytest.raises(InvalidArgument, match=words):
        retrieve(filled, options=options, **inputs)


def test_texts_are_refused_where_the_server_has_none(filled):
    with pytest.raises(InvalidArgument, match="does not rank by words"):
        retrieve(filled, on=False, TEXTS=strings(["red"]))
    assert retrieve(filled, on=False, **QUERY, **ROI)["IDS"][0] == "red"
    with pytest.raises(NotFound):
        retrieve(filled, TEXTS=strings(["red"]), QUERY_IDS=strings(["nobody"]), **ROI)


def test_a_picture_that_is_none_is_refused_alone(store):
    receipts = ingest(Worded(store), {"a": jpeg(1), "b": b"no image", "c": jpeg(2)})
    assert [one["status"] for one in receipts] == ["stored", "refused", "stored"]
    assert [one.get("embedded") for one in receipts] == [True, None, True]
