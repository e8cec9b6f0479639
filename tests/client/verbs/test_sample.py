"""`sample`, `encode` and `interpolate`: what is asked, what is answered, and what is refused before it is sent. No
network."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice_client import InvalidRequest, Latents, Sluice, UnexpectedAnswer, Unsupported
from sluice_client.answers.sample import Collector
from sluice_client.answers.sample_events import End, Result
from sluice_client.transport.protocol import Function
from sluice_client.verbs import sample as sample_verb
from sluice_client.verbs.encode import Encoding
from sluice_client.verbs.interpolate import request as interpolation

from tests.made.fake_server import FakeServer, png
from tests.made.fake_server.sampler import encoded, picture, value_of


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def sluice(server: FakeServer) -> Sluice:
    return Sluice(transport=Function(server.answer, events=server.events))


def options(call) -> dict:
    return json.loads(call.inputs["OPTIONS"][0])


def sent(server: FakeServer) -> dict:
    return options(server.calls[-1][0])


# What is asked --------------------------------------------------------------------------------------------------------


def test_what_is_left_at_none_is_not_sent():
    call = sample_verb.request()
    assert options(call) == {} and set(call.inputs) == {"OPTIONS"} and call.model == "sample"
    call = sample_verb.request(None, seeds=None, labels=None, steps=None, guidance=None, preview=None, format=None)
    assert options(call) == {} and set(call.inputs) == {"OPTIONS"}


def test_every_option_is_sent():
    given = {"solver": "ab2", "steps": 5, "grid": "linear", "analytic_first": False, "denoise": True, "guidance": 1.5}
    given |= {"guidance_rule": "first_order", "difference": 0.5, "preview": 2, "format": "tensor"}
    call = sample_verb.request("digits", seeds=[3, 2**64 - 1], labels=[7, 8], **given)
    assert options(call) == {"model": "digits", **given}
    assert call.inputs["SEEDS"].dtype == np.uint64 and call.inputs["SEEDS"].tolist() == [3, 2**64 - 1]
    assert call.inputs["LABELS"].dtype == np.int64 and call.inputs["LABELS"].tolist() == [7, 8]
    assert options(sample_verb.request(seed=5, count=3)) == {"seed": 5, "count": 3}
    call, pairs = interpolation("streets", seeds=[(3, 9), (4, 5)], labels=1, between=5, fit=True, preview=1)
    assert pairs == 2 and call.inputs["SEEDS"].tolist() == [3, 9, 4, 5] and call.inputs["LABELS"].tolist() == [1]
    assert options(call) == {"model": "streets", "task": "interpolate", "between": 5, "fit": True, "preview": 1}
    call = Encoding([png(1)]).request("streets", None, steps=4, fit=True)
    assert options(call) == {"model": "streets", "task": "encode", "steps": 4, "fit": True}


def test_numpys_numbers_ranges_and_doubles_are_taken():
    call = sample_verb.request(seeds=np.arange(3), labels=np.int64(7), steps=np.int32(4))
    assert call.inputs["SEEDS"].tolist() == [0, 1, 2] and options(call) == {"steps": 4}
    latents = np.zeros((2, 1, 8, 8))
    assert sample_verb.request(latents=latents).inputs["TENSORS"].dtype == np.float32
    assert interpolation(latents=latents[None])[0].inputs["TENSORS"].shape == (2, 1, 8, 8)
    assert interpolation(seeds=np.array([[1, 2], [3, 4]]))[0].inputs["SEEDS"].tolist() == [1, 2, 3, 4]


LATENTS = np.zeros((2, 1, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: sample_verb.request(steps=0), r"steps must be a whole number 1\.\.1000; got 0"),
        (lambda: sample_verb.request(steps=10_000), "got 10000"),
        (lambda: sample_verb.request(steps=2.5), r"got 2\.5"),
        (lambda: sample_verb.request(steps=True), "got True"),
        (lambda: sample_verb.request(solver="euler"), "ddim, genie, ab2, dpmpp_2m, unipc; got 'euler'"),
        (lambda: sample_verb.request(grid="cubic"), "quadratic, linear; got 'cubic'"),
        (lambda: sample_verb.request(format="jpeg"), "png, tensor; got 'jpeg'"),
        (lambda: sample_verb.request(guidance_rule="x"), "guidance_rule must be one of"),
        (lambda: sample_verb.request(guidance=-1), r"guidance must lie in 0\.\.100; got -1"),
        (lambda: sample_verb.request(guidance=math.nan), "guidance must lie"),
        (lambda: sample_verb.request(guidance="1"), "guidance must lie"),
        (lambda: sample_verb.request(difference=0), "difference must lie"),
        (lambda: sample_verb.request(preview=-1), "preview must be a whole number of at least 0"),
        (lambda: sample_verb.request(denoise=1.5), "denoise must be True or False"),
        (lambda: sample_verb.request(between=3), "`sample` knows solver, .*; got 'between'"),
        (lambda: sample_verb.request(size=3), "got 'size'"),
        (lambda: sample_verb.request(""), "model must be the name of a network"),
        (lambda: sample_verb.request(seeds=[1], seed=1), "seeds, or seed and count, not both"),
        (lambda: sample_verb.request(seeds=[1], latents=LATENTS), "seeds or latents .* not both"),
        (lambda: sample_verb.request(count=1, latents=LATENTS), "not both"),
        (lambda: sample_verb.request(seeds=[]), "at least one seed"),
        (lambda: sample_verb.request(seeds=3), r"such as range\(64\); got 3"),
        (lambda: sample_verb.request(seeds="0:3"), "seeds must be a list"),
        (lambda: sample_verb.request(seeds=[2**64]), "A seed must be a whole number"),
        (lambda: sample_verb.request(seed=-1), "seed must be a whole number"),
        (lambda: sample_verb.request(count=0), "count must be a whole number of at least 1"),
        (lambda: sample_verb.request(labels=-1), "A label must be"),
        (lambda: sample_verb.request(labels="7"), "labels must be a whole number"),
        (lambda: sample_verb.request(labels=True), "labels must be"),
        (lambda: sample_verb.request(labels=[]), "labels must be one for all|at least one label"),
        (lambda: sample_verb.request(labels=[1, 2, 3], seeds=range(2)), "one for each of 2; got 3"),
        (lambda: sample_verb.request(labels=[1, 2]), "one for each of 1; got 2"),
        (lambda: sample_verb.request(latents=LATENTS[0]), r"shape \[n, C, S, S\]; got float32 \[1, 8, 8\]"),
        (lambda: sample_verb.request(latents=LATENTS + np.nan), "finite numbers; those of number 0"),
        (lambda: sample_verb.request(latents=[[1], [2, 3]]), "latents must be numbers"),
        (lambda: Encoding(), "got neither"),
        (lambda: Encoding([png(1)], LATENTS), "got both"),
        (lambda: Encoding([]), "at least one image"),
        (lambda: Encoding(["missing.png"]), r"missing\.png cannot be read"),
        (lambda: Encoding(tensors=LATENTS[0]), "tensors must be numbers"),
        (lambda: Encoding([png(1)]).request(None, None, denoise=True), "`encode` knows .*; got 'denoise'"),
        (lambda: Encoding([png(1), png(2)]).request(None, [1, 2, 3]), "one for each of 2; got 3"),
        (lambda: interpolation(), "got none of them"),
        (lambda: interpolation(seeds=[1, 2], latents=LATENTS), "got seeds and latents"),
        (lambda: interpolation(seeds=[1, 2, 3]), "seeds must be pairs, so of an even number; got 3"),
        (lambda: interpolation(seeds=[(1, 2, 3)]), "must be pairs; got one of 3"),
        (lambda: interpolation(seeds=(1, 2), labels=[1, 2]), "one for each of 1; got 2"),
        (lambda: interpolation(images=[png(1), "missing.png"]), r"missing\.png cannot be read"),
        (lambda: interpolation(images="a.png"), "images must be a list of pairs"),
        (lambda: interpolation(latents=LATENTS[:1]), "even number; got 1"),
        (lambda: interpolation(seeds=(1, 2), between=1), r"between must be a whole number 2\.\.256"),
    ],
)
def test_a_wrong_request_is_refused_before_it_is_sent(ask, message):
    with pytest.raises(InvalidRequest, match=message) as caught:
        ask()
    assert caught.value.status == "LOCAL"


def test_both_kinds_of_asking_refuse_at_once_not_at_the_first_event(sluice: Sluice):
    with pytest.raises(InvalidRequest):
        sluice.sample_stream(steps=0)


# What is answered -----------------------------------------------------------------------------------------------------


def test_samples_come_in_the_order_of_their_seeds(sluice: Sluice):
    samples = sluice.sample("digits", labels=3, seeds=[9, 2, 5, 7, 1], steps=2)
    assert len(samples) == 5 and samples.errors == (None,) * 5 and samples.rows == 1
    array = samples.array()
    assert array.shape == (5, 8, 8) and array.dtype == np.uint8
    expected = [round((value_of(seed, 3) + 1) * 127.5) for seed in (9, 2, 5, 7, 1)]
    assert array[:, 4, 4].tolist() == expected
    assert [image.size for image in samples] == [(8, 8)] * 5
    assert (samples.end.model, samples.end.solver, samples.end.nfe) == ("digits", "genie", 2)
    assert sluice.sample("digits", labels=3, seeds=[5]).images[0] == samples.images[2]


def test_results_that_come_out_of_order_are_put_in_order():
    collected = Collector()
    for index in ((2, 0), (3, 1)):
        images = tuple(bytes([place]) for place in index)
        collected.add(Result(1.0, 1, 1, index, images, None, tuple(f"e{place}" for place in index)))
    collected.add(End(4, 0, 1, 1, 0.1, "m", "sample", "genie"))
    samples = collected.samples()
    assert samples.images == (b"\0", b"\1", b"\2", b"\3") and samples.errors == ("e0", "e1", "e2", "e3")


@pytest.mark.parametrize("index", [(0, 1, 1), (0, 2), (1, 2), (-1, 0), ()])
def test_an_image_that_is_missing_or_came_twice_is_an_unexpected_answer(index):
    collected = Collector()
    collected.add(Result(1.0, 1, 1, index, (b"",) * len(index), None, (None,) * len(index)))
    collected.add(End(3, 0, 1, 1, 0.1, "m", "sample", "genie"))
    with pytest.raises(UnexpectedAnswer, match="every image once"):
        collected.samples()


@given(st.permutations(range(9)), st.integers(1, 9))
def test_any_order_of_parts_gives_the_same(order, size):
    collected = Collector()
    for begin in range(0, 9, size):
        part = tuple(order[begin : begin + size])
        tensors = np.array(part, np.float32).reshape(-1, 1, 1, 1)
        collected.add(Result(1.0, 1, 1, part, (), tensors, (None,) * len(part)))
    collected.add(End(9, 0, 1, 1, 0.1, "m", "sample", "genie"))
    assert collected.samples().tensors.ravel().tolist() == list(range(9))


def test_tensors_are_the_images_before_they_are_rounded(sluice: Sluice):
    asked = {"model": "streets", "seeds": range(5), "steps": 1}
    tensors, images = sluice.sample(**asked, format="tensor"), sluice.sample(**asked)
    assert tensors.tensors.shape == (5, 3, 8, 8) and tensors.images == () and images.tensors is None
    assert np.array_equal(tensors.array(), images.array()) and images.array().shape == (5, 8, 8, 3)


def test_the_one_who_asks_is_told_of_every_event(sluice: Sluice):
    told: list[str] = []
    sluice.sample(labels=1, steps=2, preview=2, on_event=lambda event: told.append(type(event).__name__))
    assert told == ["Progress", "Progress", "Preview", "Result", "End"]


def test_encoding_keeps_the_order_and_names_what_cannot_be_read(sluice: Sluice, server, tmp_path):
    good, missing = tmp_path / "good.png", tmp_path / "missing.png"
    good.write_bytes(encoded(picture(0.5)))
    told: list[tuple[int, ...]] = []
    given = [b"junk", good, missing, encoded(picture(-0.5))]
    latents = sluice.encode(
        given, model="streets", on_event=lambda e: told.append(e.index) if isinstance(e, Result) else None
    )
    assert latents.names == ("0", str(good), str(missing), "3") and told == [(0, 1, 3)]
    assert [error is None for error in latents.errors] == [False, True, False, True]
    assert "cannot be read" in latents.errors[2] and "not an image" in latents.errors[0]
    assert np.isnan(latents.tensors[[0, 2]]).all() and latents.tensors.shape == (4, 3, 8, 8)
    assert latents.tensors[1, 0, 4, 4] == pytest.approx(0.5, abs=0.01)
    assert len(server.calls[-1][0].inputs["IMAGES"]) == 3
    kept = latents.good()
    assert len(kept) == 2 and kept.names == (str(good), "3")
    again = sluice.sample("streets", latents=kept)
    assert again.array()[:, 4, 4, 0].tolist() == [191, 64]
    with pytest.raises(InvalidRequest, match=r"2 of these latents .*`\.good\(\)`"):
        sluice.sample("streets", latents=latents)


def test_labels_of_pictures_that_are_not_sent_are_not_sent_either(sluice: Sluice, server, tmp_path):
    sluice.encode([encoded(picture(0)), tmp_path / "missing", encoded(picture(1))], model="digits", labels=[4, 5, 6])
    assert server.calls[-1][0].inputs["LABELS"].tolist() == [4, 6]
    sluice.encode([encoded(picture(0)), tmp_path / "missing"], model="digits", labels=4)
    assert server.calls[-1][0].inputs["LABELS"].tolist() == [4]


def test_tensors_can_be_encoded_in_place_of_pictures(sluice: Sluice):
    given = np.random.default_rng(1).uniform(-1, 1, (5, 3, 8, 8))
    latents = sluice.encode(tensors=given, model="streets")
    assert isinstance(latents, Latents) and latents.names == ("0", "1", "2", "3", "4")
    assert np.array_equal(latents.tensors, given.astype(np.float32))


def test_pairs_are_rows_with_both_ends(sluice: Sluice):
    samples = sluice.interpolate("streets", seeds=[(3, 9), (4, 5)], between=3, steps=1)
    assert len(samples) == 6 and samples.rows == 2
    ends = sluice.sample("streets", seeds=[3, 9, 4, 5]).array()
    assert np.array_equal(samples.array()[[0, 2, 3, 5]], ends)


def test_a_pair_that_cannot_be_read_has_no_pictures_and_the_other_has(sluice: Sluice):
    images = [(encoded(picture(0.5)), b"junk"), (encoded(picture(0)), encoded(picture(1)))]
    samples = sluice.interpolate("streets", images=images, between=2)
    assert [error is None for error in samples.errors] == [False, False, True, True] and samples.end.failed == 2
    assert [image is None for image in samples.pil()] == [True, True, False, False]
    array = samples.array()
    assert array.shape == (4, 8, 8, 3) and not array[:2].any() and array[3, 4, 4, 0] == 255


def test_a_function_without_events_says_what_it_lacks():
    with pytest.raises(Unsupported, match="events"):
        Sluice(transport=Function(FakeServer().answer)).sample()
