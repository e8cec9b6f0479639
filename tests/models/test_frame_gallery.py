"""The commands of the gallery: scores, embeddings and searches, whose they are, and which frames lack them."""

import json

import numpy as np
import onnx
import pytest

from sluice import contracts
from sluice.errors import Cancelled, InvalidArgument, Refusal, Unavailable
from sluice.frames import Search
from sluice.gallery import admission
from sluice.gallery.scores import Detector
from sluice.gallery.store import Gallery
from sluice.methods import matching
from sluice.methods.matching.templates import Templates, stack
from sluice.methods.mixtures.members import Members
from sluice.methods.mixtures.summaries import Detections, Summary
from sluice.models import frame_gallery, image_grouper
from sluice.models.gallery_search import Commands, Config
from sluice.process import callers, slots
from sluice.wire import stored_frames
from tests.made.gallery_frames import (
    CHANNELS,
    EMBEDDER,
    MODEL,
    TALL,
    WIDE,
    batch,
    embedding,
    features,
    picture,
    template,
)

SERVED = Detector("mixture_detector/1/aaaaaaaaaaaa", ("Car", "Pedestrian"))


@pytest.fixture
def store(tmp_path):
    with Gallery(tmp_path / "gallery", MODEL, CHANNELS, threads=1) as opened:
        yield opened


@pytest.fixture
def run(store):
    """Return a function that runs a command on a server whose detector is SERVED."""
    return asker(Commands(store, Config(max_ids=5), SERVED))


def asker(commands_):
    def run(op, tensors=None, **fields):
        command = np.array([json.dumps({"op": op, **fields}).encode()], object)
        answer = commands_.run({"COMMAND": command, **(tensors or {})})
        return json.loads(answer["ANSWER"][0]) if "ANSWER" in answer else answer

    return run


def add(run, names, counts=None, tensors=None, time=None, **fields):
    given = {
        "ENCODED": np.array([picture(name) for name in names], object),
        "FEATURES": np.stack([features(name) for name in names]),
        "GEOMETRY": np.stack([WIDE.as_array() for _ in names]),
        **({} if counts is None else found(*counts)),
        **(tensors or {}),
    }
    return run("add", given, frames=[{"id": name, "time": time} for name in names], **fields)


def found(*counts):
    rows = np.full((sum(max(count, 0) for count in counts), 16), 0.5, np.float32)
    rows[:, 0] = 1
    return {"DETECTIONS": rows, "COUNTS": np.array(counts, np.int32)}


def test_counts_share_the_rows_out(run):
    receipts = add(run, "abcd", (2, 0, -1, 1))
    assert [receipt["scored"] for receipt in receipts] == [True, True, False, True]
    told = run("get", ids=list("abcd"), objects=True)
    assert [frame["objects"] and len(frame["objects"]) for frame in told] == [2, [], None, 1]
    assert [frame["detector"] for frame in told] == [SERVED.version] * 2 + [None, SERVED.version]
    assert {one["label"] for frame in told for one in frame["objects"] or ()} == {"Pedestrian"}


def test_frames_without_counts_are_stored_unscored(run):
    assert not add(run, "a")[0]["scored"]
    assert run("unscored") == {"ids": ["a"], "next": None, "unscored": 1}
    assert run("describe")["unscored"] == 1 and run("describe")["detector"] == SERVED.version
    assert run("score", found(1), ids=["a"]) == {"scored": ["a"], "unknown": []}
    assert run("describe")["unscored"] == 0 and run("describe")["detectors"] == {SERVED.version: 1}


def test_frames_that_are_gone_are_named(run):
    add(run, "ab")
    assert run("score", found(1, 1, -1), ids=["a", "gone", "b"]) == {"scored": ["a"], "unknown": ["gone"]}
    assert run("unscored")["ids"] == ["b"]


def test_another_detector_brings_its_classes(run):
    add(run, "a", (1,))
    assert run("score", found(1), ids=["a"], detector="theirs/1/ff", labels=["tree", "bush"])["scored"] == ["a"]
    (told,) = run("get", ids=["a"], objects=True)
    assert told["detector"] == "theirs/1/ff" and told["objects"][0]["label"] == "bush"
    assert run("unscored")["ids"] == ["a"] and run("unscored", detector="theirs/1/ff")["ids"] == []


@pytest.mark.parametrize(
    ("fields", "tensors", "words"),
    [
        ({"ids": ["a"], "detector": "theirs/1/ff"}, found(1), "say whose objects these are"),
        ({"ids": ["a"], "labels": ["x"]}, found(1), "say whose"),
        ({"ids": ["a"], "detector": "theirs/1/ff", "labels": ["x", "x"]}, found(1), "all different"),
        ({"ids": ["a"], "detector": "theirs/1/ff", "labels": ["x"]}, found(1), "from 0 to 0"),
        ({"ids": ["a", "b"]}, found(1), "a number per frame, 2"),
        ({"ids": ["a"]}, {"COUNTS": np.array([1], np.int32)}, "the 0 rows of DETECTIONS"),
        ({"ids": list("abcdef")}, found(1), "1 to 5 ids"),
        ({"ids": []}, found(), "1 to 5 ids"),
        ({"ids": ["a"], "color": "red"}, found(1), "color"),
    ],
)
def test_scores_that_do_not_fit_are_refused(run, fields, tensors, words):
    add(run, "ab")
    with pytest.raises(InvalidArgument, match=words):
        run("score", tensors, **fields)
    assert run("unscored")["unscored"] == 2


def test_no_frames_at_all_are_no_mistake(run):
    assert run("add", {**found(), **dict.fromkeys(("ENCODED", "FEATURES", "GEOMETRY"), ())}, frames=[]) == []


def test_a_command_nested_beyond_measure_is_refused(store):
    with pytest.raises(InvalidArgument, match="COMMAND is not JSON"):
        Commands(store, Config()).run({"COMMAND": np.array([b"[" * 100_000], object)})


def test_a_server_without_a_detector_asks_whose_scores_are_meant(store, run):
    bare = asker(Commands(store, Config()))
    add(bare, "ab")
    with pytest.raises(InvalidArgument, match=r"no detector is served.*score some first"):
        bare("select")
    with pytest.raises(InvalidArgument, match="say whose"):
        bare("score", found(1), ids=["a"])
    assert bare("describe")["detector"] is None and bare("describe")["unscored"] == 2
    run("score", found(1), ids=["a"])
    assert bare("unscored")["ids"] == ["b"]  # there is only one that can be meant
    run("score", found(1), ids=["b"], detector="theirs/1/ff", labels=["x", "y"])
    with pytest.raises(InvalidArgument, match="mixture_detector/1/aaaaaaaaaaaa, theirs/1/ff"):
        bare("select")
    chosen = bare("select", detector="theirs/1/ff")
    assert chosen["IDS"].tolist() == [b"b"] and chosen["UNSCORED"].tolist() == [b"a"]


def test_rows_of_the_same_network_with_other_settings_are_not_mixed_but_listed_with_the_remedy(run):
    add(run, "ab")
    old = "mixture_detector/1/aaaaaaaaaaaa/00000000"
    run("score", found(1), ids=["a"], detector=old, labels=list(SERVED.labels))
    run("score", found(1), ids=["b"])
    answer = run("select")
    assert answer["IDS"].tolist() == [b"b"] and answer["UNSCORED"].tolist() == [b"a"]
    assert "`sluice score`" in json.loads(answer["SEARCHED"][0])["remedy"]
    assert run("unscored")["ids"] == ["a"]


def test_objects_that_the_rows_do_not_keep_are_not_asked_for_in_vain(store):
    strict = asker(Commands(store, Config(), Detector("d/1/a/b", ("Car", "Pedestrian"), min_score=0.7)))
    add(strict, "a")
    strict("score", found(1), ids=["a"])
    assert json.loads(strict("select")["STATISTICS"][0])["object_score"] == 0.7
    assert json.loads(strict("select", object_score=0.9)["STATISTICS"][0])["object_score"] == 0.9
    with pytest.raises(InvalidArgument, match=r"score of 0\.7 on: ask for that or more, or set min_score"):
        strict("select", object_score=0.6)


def a_graph(name, **says):
    """Write an ONNX file that holds nothing but its metadata."""
    model = onnx.helper.make_model(onnx.helper.make_graph([], name, [], []))
    onnx.helper.set_model_props(model, {"sluice.edition": "1", **says})
    return model.SerializeToString()


def test_the_served_detector_is_known_by_its_file_and_its_classes(tmp_path):
    assert frame_gallery.served_detector(tmp_path, "") is None
    assert (
        frame_gallery.served_detector(tmp_path, "mixture_detector") is None
    )  # not exported: the gallery serves without
    folder = tmp_path / "mixture_detector"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(a_graph("a network"))
    (folder / "labels.txt").write_text("Car\nTram\n")
    served = frame_gallery.served_detector(tmp_path, "mixture_detector")
    assert served.labels == ("Car", "Tram") and served.version.startswith("mixture_detector/1/")
    (folder / "1" / "model.onnx").write_bytes(a_graph("another network"))
    assert frame_gallery.served_detector(tmp_path, "mixture_detector").version != served.version


@pytest.mark.parametrize("members", [Members(), Members("ensemble", 3)])
def test_a_frame_without_objects_says_which_uncertainties_the_served_detector_gives(store, tmp_path, members):
    folder = tmp_path / "boxes"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(a_graph("boxes", **members.as_record()))
    (folder / "labels.txt").write_text("Car\n")
    served = frame_gallery.served_detector(tmp_path, "boxes")
    ask = asker(Commands(store, Config(), served))
    store.add(*batch("a"))
    ask("score", {"COUNTS": np.array([0])}, ids=["a"])
    (frame,) = ask("get", ids=["a"])
    assert frame["summary"]["uncertainties"] == list(members.given) and frame["summary"]["objects"] == 0
    # As `detect` itself says of an image in which nothing was found.
    same = Summary.of(Detections.none(), ("Car",), model=served.version, given=members.given)
    assert frame["summary"] == json.loads(same.to_json())


def test_what_select_and_score_take_stands_in_the_contract():
    """Compare both sides of `select`: the gallery answers with the verb's tensors, and the verb asks for all."""
    from sluice.wire import picks

    models = contracts.models()
    gallery, verb = (contracts.tensors(models[name].output) for name in ("gallery_search", "select"))
    assert set(picks.OUTPUTS) == set(verb)
    for name, contract in verb.items():
        assert gallery[name] == contract
    assert contracts.tensors(models["frame_gallery"].input)["DETECTIONS"] == ("FP32", [-1, 16])


# ------------------------------------------------------------------------------------------------ embeddings and words


@pytest.fixture
def worded(store):
    """Return a function that runs a command on a server whose network of embeddings is EMBEDDER."""
    return asker(Commands(store, Config(max_ids=5), SERVED, EMBEDDER))


def vectors(names):
    return {"EMBEDDINGS": np.stack([embedding(name) for name in names]).astype(np.float32)}


@pytest.mark.parametrize("precision", ["", "/bf16", "/fp16"])
def test_words_name_the_network_and_mean_the_way_in_which_this_server_shows_frames(store, precision):
    named = f"image_grouper/1/aaaaaaaaaaaa{precision}"
    served = Commands(store, Config(), SERVED, f"{named}/0d80abd3")
    assert served.network(named) == served.network(None) == served.network(f"{named}/0d80abd3") == f"{named}/0d80abd3"
    other = "image_grouper/1/aaaaaaaaaaaa" + ("/bf16" if precision != "/bf16" else "")
    assert served.network(other) == other  # another precision is another network


def test_embeddings_come_with_frames_or_later(worded):
    tensors = {**vectors("ac"), **found(0, -1, 1)}
    receipts = add(worded, "abc", tensors=tensors, embedded=[0, 2])
    assert [(one["scored"], one["embedded"]) for one in receipts] == [(True, True), (False, False), (True, True)]
    assert worded("describe")["embedder"] == EMBEDDER and worded("describe")["unembedded"] == 1
    assert worded("unembedded") == {"ids": ["b"], "next": None, "unembedded": 1}
    assert worded("embed", vectors("bx"), ids=["b", "gone"]) == {"embedded": ["b"], "unknown": ["gone"]}
    assert worded("describe")["embedders"] == {EMBEDDER: 3} and worded("describe")["unembedded"] == 0


def test_words_alone_and_with_templates(worded):
    add(worded, "abc", tensors=vectors("ab"), embedded=[0, 1])
    words = {"WORDS": embedding("b").astype(np.float32)[None]}
    answer = worded("search", words, k=2)
    assert answer["IDS"].tolist() == [b"b", b"a"] and answer["TEXT_SCORES"].shape == (2, 1)
    assert answer["ROI_SCORES"].shape == (2, 0) and answer["LOCATIONS"].shape == (2, 0, 4)
    assert answer["HEATMAPS"].tolist() == [b"", b""] and json.loads(answer["FRAMES"][0])["id"] == "b"
    searched = json.loads(answer["SEARCHED"][0])
    assert (searched["frames"], searched["lacking"], searched["embedder"]) == (2, 1, EMBEDDER)
    assert "keep_embeddings" in searched["remedy"]
    query = template("a")
    parts = (query.rows, query.roi, query.query, query.cells, np.array([[1, 2]], np.int32))
    both = {**words, **dict(zip(stored_frames.TEMPLATES, parts, strict=True))}
    answer = worded("search", both, fuse=0.1)
    assert answer["IDS"].tolist() == [b"a", b"b"] and answer["LOCATIONS"].shape == (2, 1, 4)
    assert answer["HEATMAPS"][0].startswith(b"\x89PNG")
    del both["WORDS"]
    answer = worded("search", both)
    assert len(answer["IDS"]) == 3 and answer["TEXT_SCORES"].shape == (3, 0)
    assert set(json.loads(answer["SEARCHED"][0])) == {"frames", "rescored", "seconds"}
    asked = {"drives": ["", "nowhere"], "tags": ["day"], "exclude": ["a", "x", "y", "x"], "after": 1, "combine": "max"}
    vain = json.loads(worded("search", both, **asked)["SEARCHED"][0])["no_effect"]
    assert [(one["option"], one["values"], one["count"]) for one in vain] == [
        ("drives", ["nowhere"], 1),
        ("tags", ["day"], 1),
        ("exclude", ["x", "y"], 2),
        ("after", [], 0),
        ("combine", [], 0),
    ]
    assert "3 stored frames have no time" in vain[3]["why"]
    vain = json.loads(worded("search", words, score="mean", heatmaps="all")["SEARCHED"][0])["no_effect"]
    assert [one["option"] for one in vain] == ["score", "heatmaps"]
    with pytest.raises(InvalidArgument, match="give words"):
        worded("search", both, fuse=0.5)
    with pytest.raises(InvalidArgument, match="search needs TEMPLATES"):
        worded("search")


@pytest.mark.parametrize("combine", ["max", "mean", "query"])
def test_a_heat_map_is_of_the_query_that_scored_and_all_come_by_themselves_on_request(run, combine):
    add(run, "ab")
    query = stack([template("a").rows, template("b").rows], [0, 1], [6, 6], [(1, 2), (1, 2)])
    parts = (query.rows, query.roi, query.query, query.cells, query.shape)
    tensors = dict(zip(stored_frames.TEMPLATES, parts, strict=True))
    answer = run("search", tensors, combine=combine, heatmaps="all")
    alone = {}
    for name in "ab":
        one = (template(name).rows, template(name).roi, template(name).query, np.array([6]), np.array([[1, 2]]))
        shown = run("search", dict(zip(stored_frames.TEMPLATES, one, strict=True)), heatmaps=True)
        alone |= {(name, id_): png for id_, png in zip(shown["IDS"], shown["HEATMAPS"], strict=True)}
        assert shown["HEATMAP_QUERY"].tolist() == [0, 0] and shown["QUERY_HEATMAPS"].shape == (2, 0)
    assert len(set(alone.values())) == 4
    for id_, png, of, each in zip(
        answer["IDS"], answer["HEATMAPS"], answer["HEATMAP_QUERY"], answer["QUERY_HEATMAPS"], strict=True
    ):
        assert each.tolist() == [alone["a", id_], alone["b", id_]] and png == each[of]
        if combine != "query":
            assert "ab"[of] == id_.decode()
    if combine == "query":
        assert answer["HEATMAP_QUERY"].tolist() == answer["QUERY"].tolist() == [0, 0, 1, 1]
    none = run("search", tensors, combine=combine, heatmaps=False)
    assert set(none["HEATMAPS"]) == {b""} and set(none["HEATMAP_QUERY"]) == {-1}
    assert none["QUERY_HEATMAPS"].shape == (len(none["IDS"]), 0)


def test_words_are_compared_with_embeddings_of_their_version(worded):
    add(worded, "a", tensors=vectors("a"), embedder="theirs/1/ff")
    words = {"WORDS": embedding("a").astype(np.float32)[None]}
    answer = worded("search", words)
    assert len(answer["IDS"]) == 0 and json.loads(answer["SEARCHED"][0])["lacking"] == 1
    assert worded("search", words, embedder="theirs/1/ff")["IDS"].tolist() == [b"a"]


def test_a_server_without_a_network_of_embeddings_asks_whose_are_meant(run, worded):
    add(run, "ab")
    for op, fields in (("unembedded", {}), ("embed", {"ids": ["a"], **vectors("a")}), ("search", {})):
        tensors = {key: fields.pop(key) for key in list(fields) if key == "EMBEDDINGS"}
        tensors |= {"WORDS": np.eye(4, dtype=np.float32)[:1]} if op == "search" else {}
        with pytest.raises(InvalidArgument, match="name one as `embedder`"):
            run(op, tensors, **fields)
    worded("embed", vectors("a"), ids=["a"])
    assert run("unembedded")["ids"] == ["b"]  # there is only one that can be meant
    assert run("describe")["embedder"] is None and run("describe")["embedders"] == {EMBEDDER: 1}


@pytest.mark.parametrize(
    ("fields", "change", "words"),
    [
        ({}, lambda rows: rows[:1], "1 rows for"),
        ({"embedded": [0, 0]}, lambda rows: rows, "all different"),
        ({"embedded": [0, 2]}, lambda rows: rows, "from 0 to 1"),
        ({"embedded": [True, 0]}, lambda rows: rows, "all different"),
        ({"embedded": "ab"}, lambda rows: rows, "all different"),
        ({}, lambda rows: rows * np.nan, "length 1"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused_and_lose_no_frame(worded, fields, change, words):
    tensors = {"EMBEDDINGS": change(vectors("ab")["EMBEDDINGS"])}
    receipts = add(worded, "ab", tensors=tensors, **fields)
    assert [receipt["status"] for receipt in receipts] == ["stored"] * 2
    assert not any(receipt["embedded"] for receipt in receipts)
    assert all(words in receipt["unembedded"] for receipt in receipts)
    with pytest.raises(InvalidArgument, match=words):
        worded("embed", tensors, ids=["a", "b"], **fields)


def test_the_served_network_of_embeddings_is_known_by_its_file(tmp_path):
    assert image_grouper.served_version(tmp_path, "") is None
    assert image_grouper.served_version(tmp_path, "image_grouper") is None  # not exported: frames are stored without
    folder = tmp_path / "image_grouper" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"a graph")
    assert image_grouper.served_version(tmp_path, "image_grouper").startswith("image_grouper/1/")


def test_a_page_says_once_which_filters_name_what_no_frame_has(run):
    add(run, "abc")
    page = run("list", limit=2, drives=["", "0042"], exclude=["gone"], before=5)
    assert [(one["option"], one["values"]) for one in page["no_effect"]] == [
        ("drives", ["0042"]),
        ("exclude", ["gone"]),
        ("before", []),
    ]
    page = run("list", limit=2, drives=["", "0042"])
    assert page["next"] and "no_effect" in page
    assert "no_effect" not in run("list", limit=2, drives=["", "0042"], cursor=page["next"])
    assert "no_effect" not in run("list", limit=2, drives=[""])
    run("delete", ids=["a", "b", "c"])
    assert run("list", drives=[""])["no_effect"][0]["values"] == [""]  # the drive of frames that are gone


def test_a_page_takes_a_time_as_after_and_the_page_before_as_cursor(run):
    add(run, "abcd", time=5.0)
    add(run, "xy", time=9.0)
    page = run("list", limit=2, after=6, before="1970-01-01T00:00:10Z")
    assert [frame["id"] for frame in page["frames"]] == ["x", "y"] and page["next"] is None
    page = run("list", limit=3, after=None)
    assert [frame["id"] for frame in run("list", cursor=page["next"])["frames"]] == ["d", "x", "y"]
    assert run("unscored", cursor=run("unscored", limit=4)["next"])["ids"] == ["x", "y"]


@pytest.mark.parametrize(
    "op, fields, remedy",
    [
        ("list", {"after": "3"}, "'3' is a cursor; say cursor"),
        ("list", {"time_after": 3}, "no time_after; say after"),
        ("list", {"time_before": 3}, "no time_before; say before"),
        ("unscored", {"after": "3"}, "no after; say cursor"),
        ("unembedded", {"after": "3"}, "no after; say cursor"),
    ],
)
def test_an_old_word_of_a_page_is_refused_with_the_new_one(run, op, fields, remedy):
    with pytest.raises(InvalidArgument, match=remedy):
        run(op, **fields)


def test_get_tells_the_format_by_the_bytes(run):
    heads = {"j": b"\xff\xd8\xff\xe0", "p": b"\x89PNG\r\n\x1a\n", "w": b"RIFF\0\0\0\0WEBPVP8 ", "x": b"other"}
    add(run, "jpwx", tensors={"ENCODED": np.array(list(heads.values()), object)})
    told = run("get", ids=["w", "x", "j", "p"])
    assert [frame["format"] for frame in told] == ["webp", None, "jpeg", "png"]


# ------------------------------------------------------------------------------------------------ what a search costs


def whole(names, regions):
    """Return the tensors of a search for all cells of these frames."""
    rows = stack(
        [matching.template(features(name), (0, 3, 0, 4)) for name in names[:regions]],
        cells=[12] * regions,
        shape=[(3, 4)] * regions,
    )
    return {
        "TEMPLATES": rows.rows,
        "TEMPLATE_ROI": rows.roi,
        "ROI_QUERY": rows.query,
        "ROI_CELLS": rows.cells,
        "ROI_SHAPE": rows.shape,
    }


def test_the_cost_of_a_search_is_every_cell_with_every_cell_and_what_is_shown(store):
    names = [f"costly {i}" for i in range(6)]
    store.add(*batch(names))
    costs = []

    def note(products):
        costs.append(products)

    for regions, k in ((1, 1), (2, 1), (2, 6)):
        tensors = whole(names, regions)
        templates = Templates(*(tensors[name] for name in stored_frames.TEMPLATES))
        store.search(templates, Search(k=k), note)
        frames = store.describe()["frames"]
        scanned = frames * 12 * (12 * regions) * CHANNELS
        shown = min(k, frames) * 12 * (12 * regions) * (1 + admission.SLOW) * CHANNELS
        assert costs[-1] == scanned + shown
    assert costs == sorted(costs)


def test_a_search_that_costs_too_much_is_refused_and_one_of_two_large_ones_waits(store):
    names = [f"costly {i}" for i in range(6)]
    store.add(*batch(names))
    tensors = whole(names, 2)
    small = asker(Commands(store, Config(most_products=1000.0)))
    with pytest.raises(InvalidArgument, match=r"more than the limit of 1.0e\+03.*fewer or smaller regions"):
        small(op="search", tensors=tensors)
    large = asker(Commands(store, Config(large_products=1000.0)))
    assert len(large(op="search", k=3, tensors=tensors)["IDS"]) == 3
    with slots.take("large search", 1):
        with pytest.raises(Unavailable, match=r"large as this one is under way.*try again"):
            large(op="search", tensors=tensors)
        assert asker(Commands(store, Config()))(op="search", k=1, tensors=tensors)["IDS"].size == 1
    assert large(op="search", k=1, tensors=tensors)["IDS"].size == 1


@pytest.mark.parametrize("form", ["roi", "image"])
def test_a_search_ends_when_its_caller_goes(store, form):
    names = [f"costly {i}" for i in range(6)]
    store.add(*batch(names))

    class Gone:
        def check_cancelled(self):
            raise Cancelled("the request was cancelled")

    ask = asker(Commands(store, Config()))
    with callers.working_for(Gone()), pytest.raises(Cancelled):
        ask(op="search", score=form, tensors=whole(names, 2))
    assert ask(op="search", score=form, k=2, tensors=whole(names, 2))["IDS"].size == 2


def test_a_model_knows_the_commands_that_its_config_names(store):
    ask = asker(Commands(store, Config(commands="search select")))
    with pytest.raises(InvalidArgument, match="one of search, select"):
        ask(op="describe")
    with pytest.raises(ValueError, match="commands: there is no burn"):
        Commands(store, Config(commands="burn"))
    models = contracts.models()
    named = [models[name].parameters["commands"].string_value.split() for name in ("frame_gallery", "gallery_search")]
    assert sorted(named[0] + named[1]) == sorted(Commands(store, Config()).known)


@pytest.mark.parametrize(
    ("op", "fields", "said"),
    [
        ("describe", {"colour": "red"}, "`describe` has no colour; its fields are: none"),
        ("get", {}, "`get` needs ids; its fields are: ids, images, objects"),
        (
            "get",
            {"ids": ["a"], "colour": 1, "size": 2},
            "`get` has no colour, size; its fields are: ids, images, objects",
        ),
        ("known", {"sha256": []}, "`known` needs frames"),
        ("features", {"id": "a", "inputs": {}}, "`features` has no inputs; its fields are: id"),
        ("list", {"inputs": {}, "limit": 5}, "`list` has no inputs$"),
        ("list", {"colour": "red"}, "\"list\" has 'colour'; known are: cursor, limit, drives"),
        ("search", {"inputs": {}}, "`search` has no inputs"),
    ],
)
def test_fields_that_a_command_lacks_or_does_not_have_are_the_callers_mistake(run, op, fields, said):
    with pytest.raises(InvalidArgument, match=f"COMMAND: {said}"):
        run(op, **fields)


def test_a_type_error_of_our_own_is_not_taken_for_the_callers_mistake(store):
    """Let the glue answer INTERNAL to whatever is no Refusal, also where Python's words are about arguments."""

    class Broken(Commands):
        def do_describe(self, inputs):
            return self.do_features(inputs, "a", colour="red")  # a call that cannot be right

        def do_get(self, inputs, ids):
            raise TypeError("one argument too many")

    ask = asker(Broken(store, Config()))
    for op, fields in (("describe", {}), ("get", {"ids": ["a"]})):
        with pytest.raises(TypeError, match="argument") as raised:
            ask(op, **fields)
        assert not isinstance(raised.value, Refusal)


def test_a_search_says_which_frames_are_set_aside(store):
    store.add(*batch("ab"))
    store.add(*batch("cd", TALL))
    query = "SELECT name FROM frames JOIN shards USING(shard) WHERE id = 'a'"
    (name,) = store._reader.execute(query).fetchone()
    with open(store.folder / f"{name}.codes", "r+b") as file:
        file.truncate(5)
    asked = template("c", TALL)
    tensors = {"TEMPLATES": asked.rows, "TEMPLATE_ROI": asked.roi, "ROI_QUERY": asked.query}
    tensors |= {"ROI_CELLS": asked.cells, "ROI_SHAPE": np.array([[1, 2]], np.int32)}
    answer = asker(Commands(store, Config(max_ids=5)))("search", tensors)
    told = json.loads(answer["SEARCHED"][0])
    damaged = told["damaged"]
    assert damaged["frames"] == 2 and damaged["ids"] == ["a", "b"] and f"{name}.codes" in damaged["shards"][name]
    assert "set aside" in damaged["remedy"] and "a, b" in told["notes"][0]
    assert {text.decode() for text in answer["IDS"]} == {"c", "d"}
