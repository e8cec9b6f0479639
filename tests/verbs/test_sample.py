"""The verb `sample` in process, over a network whose answers are known in closed form."""

import asyncio
import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from sluice.errors import Cancelled, InvalidArgument, NotFound, Unavailable
from sluice.methods import genie
from sluice.methods.genie import pictures as sampling_pictures
from sluice.methods.genie import schedule
from sluice.methods.genie.solvers import SOLVERS
from sluice.models.score_network import Rounds, cuts
from sluice.verbs.sample import Config, Sampler
from sluice.wire.calls import strings

CONFIG = Config(models="digits=1x4x4:4:3 streets=3x4x4 flat=3x4x4", without_curvature="flat")


class Gaussian:
    """Networks of p_0 = N(mean of the class, 0.3^2), exact, with curvature; counts its calls and their rows."""

    spread = 0.3

    def __init__(self, fail: int = -1):
        self.rows, self.models, self.labels, self.times, self.fail = [], [], [], [], fail

    async def __call__(self, model, inputs, outputs):
        if len(self.rows) == self.fail:
            raise Unavailable(f"{model} is busy; try again")
        await asyncio.sleep(0.001)  # another process does the work: the loop goes on meanwhile
        self.rows.append(len(inputs["SAMPLE"]))
        self.models.append(model)
        self.times += inputs["TIME"][:, 0].tolist()
        g = schedule.gamma(inputs["TIME"].astype(np.float64))[:, :, None, None]
        mean = 0.0
        if "LABEL" in inputs:
            self.labels += inputs["LABEL"][:, 0].tolist()
            mean = (inputs["LABEL"] * 0.2 - 0.3)[:, :, None, None]
        xbar = inputs["SAMPLE"].astype(np.float64) * np.sqrt(1 + g * g)
        v = self.spread**2 + g * g
        eps = g * (xbar - mean) / v
        # d/dgamma along the trajectory, where d xbar / d gamma = eps
        slope = (xbar - mean) / v + g * eps / v - 2 * g * g * (xbar - mean) / v**2
        found = {"EPSILON": eps.astype(np.float32), "DERIVATIVE": slope.astype(np.float32)}
        return {name: found[name] for name in outputs}


def given(**options):
    tensors = {name: options.pop(name) for name in ("SEEDS", "LABELS", "IMAGES", "TENSORS") if name in options}
    kinds = {"SEEDS": np.uint64, "LABELS": np.int64, "TENSORS": np.float32}
    made = {n: strings(v) if n == "IMAGES" else np.asarray(v, kinds[n]) for n, v in tensors.items()}
    return {**made, "OPTIONS": strings([json.dumps(options)])}


async def stream(sampler, inputs, check=lambda: None):
    return [answer async for answer in sampler.sample(inputs, check)]


def ask(network=None, config=CONFIG, **options):
    """Return the events of one request: (facts, tensors) each."""
    answers = asyncio.run(stream(Sampler(network or Gaussian(), config), given(**options)))
    return [(json.loads(answer["EVENT"][0]), answer) for answer in answers]


def tensors(events):
    """Return the result tensors of a request by index."""
    rows = {}
    for facts, answer in events:
        if facts["kind"] == "result":
            rows.update(zip(answer["INDEX"].tolist(), answer["TENSORS"], strict=True))
    return np.stack([rows[i] for i in sorted(rows)])


def png(value, size=(4, 4), mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, size, value).save(buffer, "PNG")
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------ true answers


@pytest.mark.parametrize("solver", ["ddim", "genie", "ab2", "dpmpp_2m", "unipc"])
@pytest.mark.parametrize("flags", [{}, {"analytic_first": True, "denoise": True}, {"guidance": 0.7}])
def test_a_request_gets_what_the_maths_alone_gives(solver, flags):
    labels = [0, 1, 2, 0, 1]
    events = ask(model="digits", seed=7, count=5, LABELS=labels, format="tensor", solver=solver, steps=6, **flags)

    async def whole():
        options = genie.Options(solver=solver, steps=6, grid=SOLVERS[solver].grid, **flags)
        trajectory = genie.Trajectory(genie.noise(range(7, 12), (1, 4, 4)), options)
        calls = 0
        while (call := trajectory.call) is not None:
            own = np.where(call.null, 3, np.resize(labels, len(call.x)))
            rows = {"SAMPLE": call.x, "TIME": call.t[:, None].astype(np.float32), "LABEL": own[:, None]}
            answer = await Gaussian()("", rows, ("EPSILON", "DERIVATIVE"))
            trajectory.answer(answer["EPSILON"], answer["DERIVATIVE"])
            calls += 1
        return trajectory.result, calls, options.nfe

    images, calls, nfe = asyncio.run(whole())
    np.testing.assert_array_equal(tensors(events), images)
    end = events[-1][0]
    assert (end["kind"], end["calls"], end["nfe"], end["images"], end["failed"]) == ("end", calls, nfe, 5, 0)
    assert sum(facts["kind"] == "end" for facts, _ in events) == 1


def test_from_seeds_a_solver_has_its_own_grid_and_latents_of_pictures_the_quadratic_one():
    def asked(**options):
        network = Gaussian()
        return network, ask(network, model="streets", steps=4, **options)[-1][0]["grid"]

    made = {"task": "encode", "IMAGES": [png((200, 30, 30))]}
    latents = {"TENSORS": np.zeros((1, 3, 4, 4))}
    assert [asked(solver=name)[1] for name in ("genie", "ddim", "ab2")] == ["linear"] * 3
    assert [asked(solver=name)[1] for name in ("dpmpp_2m", "unipc")] == ["quadratic"] * 2
    assert asked(SEEDS=[3])[1] == asked(task="interpolate", count=2)[1] == "linear"
    assert asked(**made)[1] == asked(**latents)[1] == "quadratic"
    network, grid = asked(solver="unipc", grid="linear")
    assert grid == "linear"
    np.testing.assert_allclose(network.times, schedule.grid("linear", 4)[:-1], atol=1e-6)
    assert asked(grid="quadratic")[1] == "quadratic" and asked(**made, grid="linear")[1] == "linear"


def test_the_trajectories_end_in_the_distribution():
    images = tensors(ask(model="digits", LABELS=[2], count=400, format="tensor", steps=25))
    assert images.mean() == pytest.approx(0.1, abs=0.02) and images.std() == pytest.approx(0.3, abs=0.02)


def test_the_head_is_asked_by_the_solver_that_needs_it_only():
    for solver, expected in (("genie", "streets_curvature"), ("unipc", "streets_score")):
        network = Gaussian()
        events = ask(network, model="streets", solver=solver, steps=3)
        assert set(network.models) == {expected} and events[-1][0]["networks"] == [expected]
    network = Gaussian()
    ask(network, model="streets", solver="genie", steps=3, denoise=True)
    assert network.models == ["streets_curvature"] * 3 + ["streets_score"]


@pytest.mark.parametrize(("model", "options"), [("flat", {}), ("streets", {"curvature": False})])
def test_without_a_head_genie_takes_its_derivative_by_difference_and_says_so(model, options):
    network = Gaussian()
    events = ask(network, model=model, solver="genie", steps=3, denoise=True, format="tensor", **options)
    end = events[-1][0]
    assert set(network.models) == {f"{model}_score"} and len(network.models) == 7
    assert (end["calls"], end["nfe"], end["derivative"]) == (7, 7, "difference")
    own = ask(model="streets", solver="genie", steps=3, denoise=True, format="tensor")
    assert (own[-1][0]["nfe"], own[-1][0]["derivative"]) == (4, "head")
    # By a tenth of each of three long steps: near to the exact derivative, and far from none.
    exact, without = tensors(own), tensors(ask(model="streets", solver="ddim", steps=3, denoise=True, format="tensor"))
    assert np.abs(tensors(events) - exact).max() < 0.3 * np.abs(without - exact).max()
    assert ask(model=model, solver="unipc", steps=3)[-1][0]["derivative"] is None


def test_a_network_whose_noise_ends_early_is_never_asked_beyond_it():
    config = Config(models="early=3x4x4@0.73 late=3x4x4")
    for task in ({"count": 2}, {"task": "encode", "IMAGES": [png((200, 30, 30))]},
                 {"task": "interpolate", "IMAGES": [png((200, 30, 30)), png((0, 90, 30))]}):  # fmt: skip
        for model, latest in (("early", 0.73), ("late", 1.0)):
            network = Gaussian()
            ask(network, config, model=model, solver="genie", steps=10, grid="linear", **task)
            first = 0.001 if "IMAGES" in task else latest  # pictures are encoded first, from the image on
            assert max(network.times) <= np.float32(latest) and network.times[0] == np.float32(first)
    picture = np.linspace(-0.5, 0.5, 48, dtype=np.float32).reshape(1, 3, 4, 4)
    back = tensors(ask(config=config, model="early", task="encode", TENSORS=picture, solver="genie", steps=100))
    again = tensors(ask(config=config, model="early", TENSORS=back, solver="genie", steps=100, format="tensor"))
    np.testing.assert_allclose(again, picture, atol=2e-3)


def test_under_guidance_half_of_the_rows_have_the_null_label():
    network = Gaussian()
    ask(network, model="digits", LABELS=[1], solver="ddim", steps=1, count=3, guidance=1.0)
    assert network.labels == [1, 1, 1, 3, 3, 3]


def test_png_is_the_nearest_grey_level_of_the_tensor():
    options = {"model": "streets", "seed": 3, "count": 2, "steps": 4}
    (facts, answer), _ = [event for event in ask(**options) if event[0]["kind"] in ("result", "end")]
    exact = tensors(ask(**options, format="tensor"))
    assert facts["kind"] == "result" and "TENSORS" not in answer
    for encoded, picture in zip(answer["IMAGES"], exact, strict=True):
        found = np.asarray(Image.open(io.BytesIO(encoded))).transpose(2, 0, 1).astype(float)
        assert np.abs(found - (np.clip(picture, -1, 1) + 1) * 127.5).max() <= 0.5 + 1e-4


# ------------------------------------------------------------------------------------------------ reproducible


def test_a_seed_means_the_same_picture_whatever_the_batch_and_the_neighbours():
    alone = tensors(ask(model="streets", SEEDS=[41], format="tensor", steps=5))[0]
    config = Config(models="streets=3x4x4", part=3, batch=4, in_flight=2, least=1)
    many = tensors(ask(config=config, model="streets", SEEDS=[3, 2**64 - 1, 41, 5, 41], format="tensor", steps=5))
    np.testing.assert_array_equal(many[2], alone)
    np.testing.assert_array_equal(many[4], alone)

    async def crowd():
        sampler = Sampler(Gaussian(), config)
        requests = [given(model="streets", SEEDS=[seed], format="tensor", steps=5, solver=s)
                    for seed, s in ((1, "genie"), (41, "genie"), (2, "ddim"))]  # fmt: skip
        return await asyncio.gather(*(stream(sampler, request) for request in requests))

    _, middle, _ = asyncio.run(crowd())
    np.testing.assert_array_equal(middle[-2]["TENSORS"][0], alone)


def test_requests_share_network_batches_though_they_begin_apart():
    network = Gaussian()

    async def crowd():
        sampler = Sampler(network, Config(models="streets=3x4x4", in_flight=1))

        async def late(delay, seed):
            await asyncio.sleep(delay)
            return await stream(sampler, given(model="streets", SEEDS=[seed], steps=20, solver="ddim"))

        return await asyncio.gather(*(late(0.004 * i, i) for i in range(4)))

    answers = asyncio.run(crowd())
    assert sum(network.rows) == 80, "every image was asked for once a step"
    assert len(network.rows) < 50 and max(network.rows) == 4
    facts = [json.loads(answer[-1]["EVENT"][0]) for answer in answers]
    assert all(1 < end["rows_a_call"] <= 4 for end in facts)


def test_a_small_request_is_not_kept_waiting_by_a_large_one():
    network = Gaussian()
    order = []

    async def crowd():
        sampler = Sampler(network, Config(models="streets=3x4x4", part=8))

        async def one(name, count):
            await stream(sampler, given(model="streets", count=count, steps=5, solver="ddim"))
            order.append(name)

        await asyncio.gather(one("large", 80), one("small", 1))

    asyncio.run(crowd())
    assert order == ["small", "large"] and len(network.rows) < 120


# ------------------------------------------------------------------------------------------------ the stream


def test_previews_come_every_n_steps_and_close_in_on_the_result():
    events = ask(model="streets", count=2, steps=9, preview=3)
    shown = [(facts["step"], answer) for facts, answer in events if facts["kind"] == "preview"]
    assert [step for step, _ in shown] == [3, 6, 9]
    for _, answer in shown:
        assert answer["INDEX"].tolist() == [0, 1]
        assert all(Image.open(io.BytesIO(picture)).format == "JPEG" for picture in answer["IMAGES"])
    done = [facts["done"] for facts, _ in events]
    assert done == sorted(done) and done[-1] == 1


def test_a_long_request_tells_of_its_progress_a_hundred_times_at_most():
    events = ask(config=Config(models="streets=3x4x4", part=4), model="streets", count=24, steps=100, solver="ddim")
    kinds = [facts["kind"] for facts, _ in events]
    assert 50 < kinds.count("progress") <= 100 and kinds.count("result") == 6 and kinds[-1] == "end"
    index = np.concatenate([answer["INDEX"] for facts, answer in events if facts["kind"] == "result"])
    assert index.tolist() == list(range(24))


def test_a_caller_who_has_gone_stops_the_loop_within_a_step():
    network, seen = Gaussian(), []

    def check():
        if len(network.rows) >= 4:
            raise Cancelled("the request was cancelled")

    async def run():
        sampler = Sampler(network, CONFIG)
        async for answer in sampler.sample(given(model="streets", steps=1000, preview=1), check):
            seen.append(answer)

    with pytest.raises(Cancelled):
        asyncio.run(run())
    assert len(network.rows) == 4 and len(seen) == 4


def test_a_network_that_fails_fails_those_of_its_round_and_the_next_request_goes_on():
    async def run():
        sampler = Sampler(Gaussian(fail=2), CONFIG)
        with pytest.raises(Unavailable):
            await stream(sampler, given(model="streets", steps=5))
        sampler.call.fail = -1
        return await stream(sampler, given(model="streets", steps=5))

    assert json.loads(asyncio.run(run())[-1]["EVENT"][0])["images"] == 1


# ------------------------------------------------------------------------------------------------ pictures


def test_what_was_encoded_is_decoded_again():
    pictures = np.random.default_rng(0).uniform(-1, 1, (3, 3, 4, 4)).astype(np.float32)
    latents = tensors(ask(model="streets", task="encode", TENSORS=pictures, steps=80))
    back = tensors(ask(model="streets", TENSORS=latents, steps=80, format="tensor"))
    assert np.abs(back - pictures).max() < 2e-3


def test_a_picture_that_is_none_does_not_harm_its_neighbours():
    events = ask(model="streets", task="encode", IMAGES=[png((255, 0, 0)), b"nothing", png((0, 0, 9), (5, 4))])
    _, answer = next(event for event in events if event[0]["kind"] == "result")
    assert [bool(error) for error in answer["ERRORS"]] == [False, True, True]
    assert b"not an image" in answer["ERRORS"][1] and b"5 x 4 pixels, the network takes 4 x 4" in answer["ERRORS"][2]
    assert np.isfinite(answer["TENSORS"][0]).all() and np.isnan(answer["TENSORS"][1:]).all()
    assert (events[-1][0]["images"], events[-1][0]["failed"]) == (1, 2)


def test_pictures_are_fitted_when_asked_and_made_grey_for_grey_networks():
    shape, limits = (1, 4, 4), sampling_pictures.images.Limits()
    found = sampling_pictures.read(png((255, 255, 255), (40, 30)), shape, True, limits)
    assert found.shape == shape and np.all(found == 1)
    assert np.all(sampling_pictures.read(png(0, mode="L"), shape, False, limits) == -1)


@pytest.mark.parametrize("source", ["seeds", "tensors", "pictures"])
def test_interpolation_ends_where_its_ends_are(source):
    pictures = [png((200, 40, 90)), png((20, 140, 190))]
    sources = {
        "seeds": {"SEEDS": [5, 9, 9, 5]},
        "tensors": {"TENSORS": genie.noise([5, 9, 9, 5], (3, 4, 4))},
        "pictures": {"IMAGES": [*pictures, *pictures[::-1]]},
    }[source]
    way = tensors(ask(model="streets", task="interpolate", between=5, format="tensor", steps=60, **sources))
    assert way.shape == (10, 3, 4, 4)
    # The way back is the way there, backwards; slerp's weights are rounded.
    np.testing.assert_allclose(way[:5], way[:4:-1], atol=2e-5)
    if source == "pictures":
        limits = sampling_pictures.images.Limits()
        ends = [sampling_pictures.read(picture, (3, 4, 4), False, limits) for picture in pictures]
    else:
        ends = tensors(ask(model="streets", SEEDS=[5, 9], format="tensor", steps=60))
    np.testing.assert_allclose(way[[0, 4]], ends, atol=5e-3)


def test_an_end_that_is_no_picture_fails_its_own_pair():
    pictures = [png((1, 2, 3)), b"nothing", png((1, 2, 3)), png((9, 9, 200))]
    events = ask(model="streets", task="interpolate", between=3, IMAGES=pictures, steps=2)
    _, answer = next(event for event in events if event[0]["kind"] == "result")
    assert [bool(error) for error in answer["ERRORS"]] == [True] * 3 + [False] * 3
    assert [len(picture) > 0 for picture in answer["IMAGES"]] == [False] * 3 + [True] * 3


# ------------------------------------------------------------------------------------------------ refusals

LATENT = np.zeros((1, 3, 4, 4), np.float32)
WRONG = [
    ({"steps": 0}, "steps is a whole number from 1 to 1000; got 0"),
    ({"steps": -3}, "from 1 to 1000"),
    ({"steps": 10_000}, "from 1 to 1000; got 10000"),
    ({"steps": "5"}, "whole number"),
    ({"solver": "euler"}, "solver is one of ddim, genie"),
    ({"solver": ["genie"]}, "solver is one of"),
    ({"grid": "cosine"}, "grid is one of"),
    ({"guidance": 1.0}, "it is unconditional"),
    ({"guidance": float("nan")}, "guidance is a number"),
    ({"LABELS": [1]}, "unconditional; leave LABELS out"),
    ({"model": "digits"}, "give LABELS, 0 to 2"),
    ({"model": "digits", "LABELS": [3]}, "labels of digits are 0 to 2, got 3"),
    ({"model": "digits", "LABELS": [-1]}, "got -1"),
    ({"model": "digits", "LABELS": [0, 1], "count": 3}, "one label for all or 3"),
    ({"task": "dream"}, "task is one of"),
    ({"format": "gif"}, "format is one of"),
    ({"seed": -1}, "seed is a whole number"),
    ({"seed": 2**64}, "seed is a whole number from 0 to 18446744073709551615"),
    ({"seed": 2**64 - 1, "count": 2}, "seeds go up to"),
    ({"count": 100_000}, "count is a whole number from 1 to 4096"),
    ({"SEEDS": np.arange(5000)}, "1 to 4,096 images, got 5,000"),
    ({"SEEDS": []}, "got 0"),
    ({"SEEDS": [1], "count": 3}, "give one of SEEDS"),
    ({"SEEDS": [1], "TENSORS": LATENT}, "give one of SEEDS"),
    ({"TENSORS": LATENT[:, :1]}, r"TENSORS of streets are \[n, 3, 4, 4\]"),
    ({"TENSORS": LATENT + np.nan}, "must be finite; number 0"),
    ({"TENSORS": LATENT + np.inf, "task": "encode"}, "must be finite"),
    ({"IMAGES": [b""]}, "for the tasks encode and interpolate"),
    ({"task": "encode"}, "to encode, give pictures"),
    ({"task": "encode", "SEEDS": [1]}, "to encode, give pictures"),
    ({"task": "encode", "TENSORS": LATENT, "preview": 1}, "nothing to preview"),
    ({"task": "encode", "TENSORS": LATENT, "denoise": True}, "leave them out to encode"),
    ({"task": "interpolate", "count": 3}, "odd count of 3"),
    ({"task": "interpolate", "count": 2, "between": 1}, "between is a whole number from 2 to 256"),
    ({"task": "interpolate", "count": 64, "between": 256}, "at most 4,096 images, this one 8,192"),
    ({"model": "flat", "curvature": True}, "curvature is true, and flat has no curvature head"),
    ({"model": "flat", "curvature": 1}, "curvature is true or false"),
    ({"curvature": False, "guidance": 1.0, "guidance_rule": "given"}, "leave guidance_rule at difference"),
    ({"preview": -1}, "preview is a whole number"),
    ({"preview": 1, "steps": 1000, "count": 21}, "at most 20,000 previews, this one 21,000"),
    ({"fit": 1}, "fit is true or false"),
    ({"step": 5}, "'step'; known are: model, task"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "sentence"), WRONG, ids=[sentence[:40] for _, sentence in WRONG])
def test_what_cannot_be_is_refused_before_a_network_runs(options, sentence):
    network = Gaussian()
    with pytest.raises(InvalidArgument, match=sentence):
        ask(network, **{"model": "streets", **options})
    assert not network.rows


def test_an_unknown_model_is_answered_with_the_known_ones():
    with pytest.raises(NotFound, match="there are: digits, streets, flat"):
        ask(model="cats")
    with pytest.raises(NotFound):
        ask(model=["streets"])


@pytest.mark.parametrize(("text", "told"), [("{", "not JSON"), ("[]", "a JSON object"), ("3", "a JSON object"),
                                            (b"\xff", "must be UTF-8")])  # fmt: skip
def test_options_that_are_no_json_object_are_refused(text, told):
    with pytest.raises(InvalidArgument, match=told):
        asyncio.run(stream(Sampler(Gaussian(), CONFIG), {"OPTIONS": strings([text])}))


@pytest.mark.parametrize("models", ["", "digits", "digits=1x4", "a=2x4x4", "a=1x4x4:3:3", "a=1x4x4:x", "=1x4x4"])
def test_models_that_are_written_wrong_are_named(models):
    with pytest.raises(ValueError, match="models: expected"):
        _ = Config(models=models).networks


# ------------------------------------------------------------------------------------------------ rounds


@pytest.mark.parametrize(("count", "expected"), [(1, [1]), (64, [64]), (65, [32, 33]), (130, [43, 44, 43])])
def test_a_question_of_more_than_a_batch_is_cut(count, expected):
    parts = cuts(count, batch=64)
    assert [part.stop - part.start for part in parts] == expected and parts[0].start == 0 and parts[-1].stop == count
    assert all(a.stop == b.start for a, b in itertools.pairwise(parts))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([64], [64]),
        ([1] * 3, [3]),  # fewer than `least` a call
        ([1] * 8, [4, 4]),
        ([16] * 8, [64, 64]),
        ([16] * 12, [64, 64, 32, 32]),
        ([48, 48, 48], [48, 48, 48]),  # a question is not torn apart where it need not be
        ([130], [43, 44, 43]),
    ],
)
def test_who_waits_is_spread_over_the_calls_at_a_time(counts, expected):
    async def run():
        sizes, running, most = [], 0, 0

        async def call(model, inputs, outputs):
            nonlocal running, most
            running += 1
            most = max(most, running)
            sizes.append(len(inputs["TIME"]))
            for _ in range(8):  # turns of the loop, not a time: the order must not depend on the machine's load
                await asyncio.sleep(0)
            running -= 1
            return {"EPSILON": inputs["TIME"]}

        rounds = Rounds(call, "streets_score", ("EPSILON",), 64, 2, 4)
        asked = [rounds.ask({"TIME": np.full((count, 1), i)}) for i, count in enumerate(counts)]
        for i, (answer, _) in enumerate(await asyncio.gather(*asked)):
            assert (answer["EPSILON"] == i).all() and len(answer["EPSILON"]) == counts[i]
        return sizes, most

    sizes, most = asyncio.run(run())
    assert sizes == expected and most <= 2


def test_a_new_question_need_not_wait_for_those_under_way():
    async def run():
        begun, gates = [], [asyncio.Event(), asyncio.Event()]

        async def call(model, inputs, outputs):
            number = len(begun)
            begun.append(len(inputs["TIME"]))
            await gates[number].wait()
            return {"EPSILON": inputs["TIME"]}

        rounds = Rounds(call, "streets_score", ("EPSILON",), 64, 2, 4)
        first = asyncio.ensure_future(rounds.ask({"TIME": np.zeros((64, 1))}))
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(rounds.ask({"TIME": np.zeros((1, 1))}))
        await asyncio.sleep(0.01)
        gates[1].set()
        await asyncio.wait_for(second, 10)
        assert not first.done()
        gates[0].set()
        await first
        return begun

    assert asyncio.run(run()) == [64, 1]


def test_a_question_that_was_given_up_harms_no_other():
    async def run():
        network = Gaussian()
        rounds = Rounds(network, "streets_score", ("EPSILON",), 64, 1, 1)
        rows = {"SAMPLE": np.ones((1, 3, 4, 4), np.float32), "TIME": np.ones((1, 1), np.float32)}
        first, second = asyncio.ensure_future(rounds.ask(rows)), asyncio.ensure_future(rounds.ask(rows))
        await asyncio.sleep(0)
        first.cancel()
        answer, together = await second
        return answer["EPSILON"].shape, together, network.rows

    assert asyncio.run(run()) == ((1, 3, 4, 4), 1, [1])
