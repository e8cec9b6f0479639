"""The verb `enhance` in process, over networks whose answers are known in closed form."""

import asyncio
import io
import json

import numpy as np
import pytest
from PIL import Image
from video_networks import NETWORKS, Networks, doubled, removed

from sluice.calls import strings
from sluice.enhancement import Config, Enhancer
from sluice.errors import Cancelled, InvalidArgument, Unavailable
from sluice.video import Colour, Picture, planes_size
from sluice.video_scaling import area

CONFIG = Config(networks=NETWORKS)
RANDOM = np.random.default_rng(3)


def noise(*shape):
    return RANDOM.integers(0, 256, shape, np.uint8)


def given(**options):
    sources = {name: options.pop(name) for name in ("IMAGES", "RGB", "PLANES", "PACKETS") if name in options}
    made = {n: v if isinstance(v, np.ndarray) else strings(v) for n, v in sources.items()}
    return {**made, "OPTIONS": strings([json.dumps(options)])}


def facts(answer):
    return json.loads(answer["EVENT"][0])


async def stream(enhancer, inputs, check=lambda: None):
    async with asyncio.timeout(30):  # a request that hangs fails its test
        return [(facts(answer), answer) async for answer in enhancer.enhance(inputs, check)]


def ask(networks=None, config=CONFIG, **options):
    """Events of one request: (facts, tensors) each."""

    async def run():
        return await stream(Enhancer(networks or Networks(), config), given(**options))

    return asyncio.run(run())


def pictures(events, name="RGB"):
    return [answer[name] for said, answer in events if said["kind"] == "frame"]


def kinds(events):
    return [said["kind"] for said, _ in events]


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def jpeg(pixels, quality):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


# ------------------------------------------------------------------------------------------------ true answers


def test_artefacts_upscale_and_both_are_the_networks_one_after_the_other():
    frames = noise(2, 12, 16, 3)
    for do, made in (("artefacts", removed), ("upscale", doubled), ("both", lambda one: doubled(removed(one)))):
        events = ask(RGB=frames, do=do)
        assert kinds(events) == ["begun", "frame", "frame", "end"]
        for found, frame in zip(pictures(events), frames, strict=True):
            np.testing.assert_array_equal(found, made(frame))
    assert events[1][0]["done"] == ["artifact_remover_weak", "frame_upscaler_clean"]
    assert (events[1][0]["from"], events[1][0]["width"], events[1][0]["height"]) == ([16, 12], 32, 24)
    assert (events[-1][0]["frames"], events[-1][0]["dropped"], events[-1][0]["failed"]) == (2, [], 0)


@pytest.mark.parametrize(
    ("asked", "size", "passes"),
    [({"scale": "4/3"}, (24, 16), 1), ({"scale": 1.5}, (27, 18), 1), ({"scale": 2}, (36, 24), 1),
     ({"size": [20, 20]}, (20, 20), 1), ({"size": [72, 48]}, (72, 48), 2), ({"size": [50, 13]}, (50, 13), 2),
     ({"size": [9, 6]}, (9, 6), 0), ({"scale": 1}, (18, 12), 0)],
)  # fmt: skip
def test_any_size_is_the_doubled_picture_scaled_down_by_area(asked, size, passes):
    frame = noise(12, 18, 3)
    events = ask(RGB=frame[None], do="upscale", **asked)
    expected = frame
    for _ in range(passes):
        expected = doubled(expected)
    np.testing.assert_array_equal(pictures(events)[0], area(expected, size[1], size[0]))
    assert events[1][0]["done"] == ["frame_upscaler_clean"] * passes + ["area"] * (expected.shape[1::-1] != size)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (7, 5), (16, 12)])
@pytest.mark.parametrize("do", ["artefacts", "both"])
def test_odd_sizes_keep_their_pixels(size, do):
    frame, flat = noise(*size, 3), noise(1, planes_size(*size))
    scale = 1 if do == "artefacts" else 2
    assert pictures(ask(RGB=frame[None], do=do))[0].shape == (scale * size[0], scale * size[1], 3)
    events = ask(PLANES=flat[:, None], do=do, width=size[1], height=size[0])
    assert pictures(events, "PLANES")[0].shape == (planes_size(scale * size[0], scale * size[1]),)


@pytest.mark.parametrize("do", ["artefacts", "upscale"])
@pytest.mark.parametrize("size", [(45, 61), (64, 48)])
def test_tiled_equals_whole(do, size):
    frame, flat = noise(1, *size, 3), noise(1, 1, planes_size(*size))
    small, whole = Networks(), Networks()
    tiled = Config(networks=NETWORKS, tile=1024)
    np.testing.assert_array_equal(pictures(ask(small, tiled, RGB=frame, do=do))[0],
                                  pictures(ask(whole, RGB=frame, do=do))[0])  # fmt: skip
    options = {"PLANES": flat, "do": do, "width": size[1], "height": size[0]}
    np.testing.assert_array_equal(pictures(ask(small, tiled, **options), "PLANES")[0],
                                  pictures(ask(whole, **options), "PLANES")[0])  # fmt: skip
    assert len(small.seen) > 4 * len(whole.seen) and max(h * w for _, h, w in small.seen) <= 1024
    assert small.most <= 2


def test_planes_stay_planes_and_keep_their_meaning():
    flat = noise(2, 12, 10)  # 8 x 10: 3 / 2 of the rows
    networks = Networks()
    events = ask(networks, PLANES=flat, matrix="bt709", range="full")
    pictures_ = [Picture.of_planes(one.ravel(), 8, 10, Colour("bt709", "full")) for one in flat]
    for found, one in zip(pictures(events, "PLANES"), pictures_, strict=True):
        np.testing.assert_array_equal(found[:80], removed(one.luma[..., None]).ravel())
        np.testing.assert_array_equal(found[80:], removed(one.chroma).transpose(2, 0, 1).ravel())
    assert (events[1][0]["matrix"], events[1][0]["range"]) == ("bt709", "full")
    np.testing.assert_allclose(networks.colours[0], Colour("bt709", "full").to_rgb, rtol=1e-6)
    assert ask(PLANES=flat)[1][0]["matrix"] == "bt601"


def test_forms_of_the_answer():
    frame = np.broadcast_to(np.arange(0, 64, 4, dtype=np.uint8)[None, :, None] + 90, (12, 16, 3))
    data = png(frame)
    (said, answer) = ask(IMAGES=[data], do="upscale", size=[16, 12])[1]
    assert said["done"] == [] and set(answer) == {"EVENT", "IMAGE"}
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer["IMAGE"][0]))), frame)
    found = {form: ask(IMAGES=[data], do="upscale", scale=1, format=form)[1][1] for form in ("jpeg", "rgb", "yuv420")}
    assert np.abs(np.asarray(Image.open(io.BytesIO(found["jpeg"]["IMAGE"][0]))).astype(int) - frame).max() <= 6
    np.testing.assert_array_equal(found["rgb"]["RGB"], frame)
    planes = Picture.of_planes(found["yuv420"]["PLANES"], 12, 16, Colour("bt601", "limited"))
    assert np.abs(planes.rgb().astype(int) - frame).max() <= 3


def test_strength_reaches_the_networks():
    networks = Networks()
    ask(networks, RGB=noise(1, 4, 4, 3), strength=0.25, do="both")
    assert networks.strengths == [0.25, 0.25]


def test_the_mode_follows_from_what_was_coded_and_stays_for_the_stream():
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (128, 256, 3))
    rough = ramp ^ noise(128, 256, 3) // 8
    for data, expected in ((jpeg(rough, 5), "strong"), (png(rough), "weak")):
        assert ask(IMAGES=[data])[1][0]["done"] == [f"artifact_remover_{expected}"]
    good = jpeg(rough, 100)
    (said, answer) = ask(IMAGES=[good], format="rgb")[1]
    np.testing.assert_array_equal(answer["RGB"], np.asarray(Image.open(io.BytesIO(good))), "left alone")
    assert said["done"] == [] and ask(IMAGES=[good], do="both", scale=1)[1][0]["done"] == []
    events = ask(IMAGES=[jpeg(rough, 5), png(rough), png(rough[:64])])
    assert [said["done"] for said, _ in events[1:4]] == [
        *[["artifact_remover_strong"]] * 2,  # as the frame before
        ["artifact_remover_weak"],  # of another size
    ]
    flat = noise(1, 12, 8)
    assert ask(PLANES=flat, bitrate=500, fps=30)[1][0]["done"] == ["artifact_remover_strong"]
    assert ask(PLANES=flat, bitrate=500, fps=30, mode="weak")[1][0]["done"] == ["artifact_remover_weak"]


# ------------------------------------------------------------------------------------------------ order


def test_numbers_and_times_come_back_in_order():
    events = ask(RGB=noise(4, 4, 4, 3), stream="cam", first=7, times=[1001, 2002.5, None, 5005], last=True)
    assert [(said["number"], said["time"]) for said, _ in events[1:-1]] == [
        (7, 1001),
        (8, 2002.5),
        (9, None),
        (10, 5005),
    ]
    assert (events[0][0]["stream"], events[0][0]["new"], events[-1][0]["next"]) == ("cam", True, 11)


def test_answers_keep_the_order_over_requests_and_size_may_change():
    async def run():
        enhancer, told = Enhancer(Networks(), CONFIG), []

        async def one(first, size, count):
            inputs = given(RGB=noise(count, *size, 3), stream="a", first=first)
            async for answer in enhancer.enhance(inputs, lambda: None):
                if facts(answer)["kind"] == "frame":
                    told.append((facts(answer)["number"], facts(answer)["width"]))

        await asyncio.gather(one(0, (60, 60), 3), one(3, (2, 2), 4), one(7, (4, 6), 1))
        return told

    assert asyncio.run(run()) == [(0, 60), (1, 60), (2, 60), (3, 2), (4, 2), (5, 2), (6, 2), (7, 6)]


def test_a_frame_out_of_order_is_refused_and_a_gap_is_not():
    async def run():
        enhancer = Enhancer(Networks(), CONFIG)
        frame = noise(1, 4, 4, 3)
        for first in (0, 5):
            events = await stream(enhancer, given(RGB=frame, stream="a", first=first))
            assert events[1][0]["number"] == first
        for late in (5, 2):
            with pytest.raises(InvalidArgument, match=f"'a' is at frame 6, got {late}; send frames in the order"):
                await stream(enhancer, given(RGB=frame, stream="a", first=late))
        # It goes on as if nothing had happened.
        assert kinds(await stream(enhancer, given(RGB=frame, stream="a", first=6))) == ["begun", "frame", "end"]

    asyncio.run(run())


def test_a_picture_that_cannot_be_read_fails_alone():
    events = ask(IMAGES=[png(noise(4, 4, 3)), b"junk", png(noise(4, 4, 3))])
    assert kinds(events) == ["begun", "frame", "failed", "frame", "end"]
    assert "not an image" in events[2][0]["error"] and events[2][0]["number"] == 1
    assert (events[-1][0]["frames"], events[-1][0]["failed"]) == (2, 1)


# ------------------------------------------------------------------------------------------------ too fast, too long


def slow(policy, backlog=4, requests=6):
    """Events of many one-frame requests that come while the first is being worked on."""

    async def run():
        gate = asyncio.Event()
        networks = Networks(gate=gate)
        enhancer = Enhancer(networks, CONFIG)
        frame = noise(1, 4, 4, 3)
        options = {"stream": "a", "policy": policy, "backlog": backlog}
        tasks = [asyncio.ensure_future(stream(enhancer, given(RGB=frame, first=i, **options))) for i in range(requests)]
        await asyncio.sleep(0.05)
        gate.set()
        return [event for events in await asyncio.gather(*tasks) for event in events], networks

    return asyncio.run(run())


def test_with_wait_every_frame_is_enhanced_a_few_at_a_time():
    events, networks = slow("wait")
    assert [said["number"] for said, _ in events if said["kind"] == "frame"] == list(range(6))
    assert networks.most == 2


def test_with_drop_the_oldest_that_wait_are_dropped_and_told():
    events, networks = slow("drop", backlog=1)
    # Two are being worked on, the last one waits.
    assert [said["number"] for said, _ in events if said["kind"] == "frame"] == [0, 1, 5]
    assert [said["number"] for said, _ in events if said["kind"] == "dropped"] == [2, 3, 4]
    assert [said["dropped"] for said, _ in events if said["kind"] == "end"] == [[], [], [2], [3], [4], []]
    assert len(networks.models) == 3


def test_within_a_request_the_oldest_are_dropped_too():
    events = ask(RGB=noise(8, 4, 4, 3), stream="a", policy="drop", backlog=2)
    assert [(said["kind"], said["number"]) for said, _ in events[1:-1]] == [
        *[("frame", 0), ("frame", 1)],
        *[("dropped", i) for i in range(2, 6)],
        *[("frame", 6), ("frame", 7)],
    ]


def test_too_many_waiting_frames_are_refused():
    async def run():
        enhancer = Enhancer(Networks(gate=asyncio.Event()), Config(networks=NETWORKS, max_waiting=3))
        first = asyncio.ensure_future(stream(enhancer, given(RGB=noise(5, 4, 4, 3), stream="a")))
        await asyncio.sleep(0.02)
        with pytest.raises(Unavailable, match="3 frames of stream 'a' wait, and 3 may"):
            await stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream="a", first=5))
        first.cancel()

    with pytest.raises(Unavailable):  # of one request as well
        ask(config=Config(networks=NETWORKS, max_waiting=1), RGB=noise(4, 4, 4, 3), stream="a")
    config = Config(networks=NETWORKS, max_waiting=3)
    assert kinds(ask(config=config, RGB=noise(3, 4, 4, 3)))[-1] == "end"
    asyncio.run(run())


def test_streams_are_few_and_forgotten_when_idle():
    async def run():
        now = [0.0]
        enhancer = Enhancer(Networks(), Config(networks=NETWORKS, max_streams=2), lambda: now[0])

        async def one(name, first=0, **more):
            return (await stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream=name, first=first, **more)))[0][0]["new"]

        assert await one("a", idle=10) and await one("b", idle=20)
        with pytest.raises(Unavailable, match="2 streams are known, and no more may be"):
            await one("c")
        assert not await one("a", 1, idle=10)
        now[0] = 11
        assert await one("c")  # in place of a
        assert not await one("b", 5, last=True)
        assert len(enhancer.streams) == 1
        assert await one("a")  # it begins anew, at any number

    asyncio.run(run())


def test_an_abandoned_stream_is_forgotten_without_another_request():
    async def run():
        enhancer = Enhancer(Networks(), CONFIG)
        await stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream="a", idle=1))
        assert len(enhancer.streams) == 1
        await asyncio.sleep(1.3)
        assert len(enhancer.streams) == 0

    asyncio.run(run())


def test_requests_without_a_name_leave_nothing_behind():
    async def run():
        enhancer = Enhancer(Networks(), Config(networks=NETWORKS, max_streams=4))
        for _ in range(6):
            events = await stream(enhancer, given(RGB=noise(1, 4, 4, 3)))
            assert events[0][0]["stream"] is None
        assert len(enhancer.streams) == 0 and enhancer.held == 0

    asyncio.run(run())


def test_a_request_may_do_nothing_but_end_its_stream():
    async def run():
        enhancer = Enhancer(Networks(), CONFIG)
        await stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream="a"))
        assert kinds(await stream(enhancer, given(RGB=noise(0, 4, 4, 3), stream="a", first=1, last=True))) == [
            "begun",
            "end",
        ]
        assert len(enhancer.streams) == 0

    asyncio.run(run())


def test_memory_is_bounded_over_requests():
    async def run():
        enhancer = Enhancer(Networks(gate=asyncio.Event()), Config(networks=NETWORKS, max_memory=100))
        first = asyncio.ensure_future(stream(enhancer, given(RGB=noise(1, 8, 8, 3), stream="a")))  # one alone may
        await asyncio.sleep(0.02)
        with pytest.raises(Unavailable, match="frames of 192 bytes are under way already"):
            await stream(enhancer, given(RGB=noise(1, 4, 4, 3)))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert enhancer.held == 0

    asyncio.run(run())


def test_all_streams_together_have_so_many_frames_in_work():
    async def run():
        networks = Networks()
        enhancer = Enhancer(networks, Config(networks=NETWORKS, workers=3))
        requests = [given(RGB=noise(4, 4, 4, 3), stream=str(i)) for i in range(6)]
        await asyncio.gather(*(stream(enhancer, one) for one in requests))
        return networks.most

    assert asyncio.run(run()) == 3


# ------------------------------------------------------------------------------------------------ who goes away


def test_a_caller_that_goes_away_stops_its_frames_and_nobody_else_s():
    async def run():
        networks = Networks()
        enhancer = Enhancer(networks, CONFIG)
        gone = [False]

        def check():
            if gone[0]:
                raise Cancelled("the request was cancelled")

        async def leave():
            async for answer in enhancer.enhance(given(RGB=noise(20, 4, 4, 3), stream="a"), check):
                gone[0] = gone[0] or facts(answer)["kind"] == "frame"

        leaver = asyncio.ensure_future(leave())
        await asyncio.sleep(0)
        others = await stream(enhancer, given(RGB=noise(2, 4, 4, 3), stream="a", first=20))
        with pytest.raises(Cancelled):
            await leaver
        assert [said["number"] for said, _ in others if said["kind"] == "frame"] == [20, 21]
        return len(networks.models)

    assert asyncio.run(run()) < 8


def test_a_closed_answer_frees_the_places_of_its_frames():
    async def run():
        networks = Networks()
        enhancer = Enhancer(networks, CONFIG)
        answers = enhancer.enhance(given(RGB=noise(20, 4, 4, 3), stream="a"), lambda: None)
        assert facts(await anext(answers))["kind"] == "begun"
        await answers.aclose()
        events = await stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream="a", first=20))
        assert kinds(events) == ["begun", "frame", "end"]

    asyncio.run(run())


def test_a_network_that_fails_fails_the_request_and_the_stream_goes_on():
    async def run():
        enhancer = Enhancer(Networks(fail=1), CONFIG)
        one = asyncio.ensure_future(stream(enhancer, given(RGB=noise(4, 4, 4, 3), stream="a")))
        other = asyncio.ensure_future(stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream="a", first=4)))
        with pytest.raises(Unavailable, match="is busy"):
            await one
        return kinds(await other)

    assert asyncio.run(run()) == ["begun", "frame", "end"]


# ------------------------------------------------------------------------------------------------ bad input

FRAME = noise(1, 4, 6, 3)
BAD = [
    ({}, "give frames as one of IMAGES, RGB, PLANES, PACKETS; got none"),
    ({"RGB": FRAME, "IMAGES": [b""]}, "got IMAGES, RGB"),
    ({"RGB": noise(0, 4, 4, 3)}, "1 to 32 frames, got 0"),
    ({"RGB": noise(33, 1, 1, 3)}, "1 to 32 frames, got 33"),
    ({"RGB": noise(1, 0, 4, 3)}, "at least 1 x 1 pixels"),
    ({"RGB": np.broadcast_to(np.uint8(0), (1, 9000, 9000, 3))}, "at most 64,000,000 pixels, got 9000 x 9000"),
    ({"RGB": np.broadcast_to(np.uint8(0), (1, 6000, 8000, 3)), "do": "upscale"}, "would become 16000 x 12000"),
    ({"RGB": FRAME, "do": "upscale", "size": [30, 4]}, "at most 4 times as large"),
    ({"RGB": FRAME, "size": [12, 8]}, "ask for upscale or both"),
    ({"RGB": FRAME, "scale": 2}, "needs do upscale or both"),
    ({"RGB": FRAME, "scale": 3, "do": "upscale"}, "scale is one of 1, 4/3, 3/2, 2, got 3"),
    ({"RGB": FRAME, "scale": 2, "size": [4, 4], "do": "upscale"}, "not both"),
    ({"RGB": FRAME, "size": [4], "do": "upscale"}, "size is"),
    ({"RGB": FRAME, "size": [4, 0.5], "do": "upscale"}, "a side of size is a whole number"),
    ({"RGB": FRAME, "do": "magic"}, "do is one of artefacts, upscale, both"),
    ({"RGB": FRAME, "mode": "best"}, "mode is one of"),
    ({"RGB": FRAME, "format": "gif"}, "format is one of png, jpeg, rgb, yuv420"),
    ({"RGB": FRAME, "policy": "hurry"}, "policy is one of wait, drop"),
    ({"RGB": FRAME, "matrix": "bt2020"}, "matrix is one of bt601, bt709"),
    ({"RGB": FRAME, "strength": 2}, "strength is a number from 0 to 1"),
    ({"RGB": FRAME, "strength": float("nan")}, "strength is a number from 0 to 1, got nan"),
    ({"RGB": FRAME, "strength": True}, "strength is a number"),
    ({"RGB": FRAME, "bitrate": 1e6}, "go together"),
    ({"RGB": FRAME, "quality": 0}, "quality is a whole number from 1 to 100"),
    ({"RGB": FRAME, "first": -1}, "first is a whole number from 0"),
    ({"RGB": FRAME, "first": 2**60}, "first is a whole number from 0"),
    ({"RGB": FRAME, "stream": ""}, "stream is a name"),
    ({"RGB": FRAME, "stream": "x" * 201}, "stream is a name"),
    ({"RGB": FRAME, "last": 1}, "last is true or false"),
    ({"RGB": FRAME, "times": [1, 2]}, "times is a list of one number or null for each of 1 frames"),
    ({"RGB": FRAME, "times": ["now"]}, "times holds numbers or null"),
    ({"RGB": FRAME, "idle": 0}, "idle is a number from 1 to 3600"),
    ({"RGB": FRAME, "width": 6, "height": 4}, "width and height are for PLANES"),
    ({"RGB": FRAME, "colour": "red"}, "OPTIONS has 'colour'; known are"),
    ({"PLANES": noise(1, 7, 5)}, "PLANES of an odd size"),
    ({"PLANES": noise(1, 1, 20), "width": 4, "height": 4}, "4 x 4 pixels have 24 bytes a frame, got 20"),
    ({"PLANES": noise(1, 6, 4), "width": 4}, "give width and height, both"),
]


@pytest.mark.parametrize(("options", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_a_wrong_request_gets_a_sentence(options, sentence):
    networks = Networks()
    with pytest.raises(InvalidArgument) as caught:
        ask(networks, **options)
    assert sentence in str(caught.value) and not networks.models


def test_a_stream_of_another_caller_cannot_be_met_by_chance():
    # Requests without a stream have names that are longer than a caller's may be.
    assert ask(RGB=FRAME)[0][0]["new"] and ask(RGB=FRAME)[-1][0]["stream"] is None


@pytest.mark.parametrize("networks", ["artifact_remover_weak=9", "x", "a=b", ""])
def test_a_config_names_all_networks(networks):
    with pytest.raises(ValueError, match="networks:"):
        Enhancer(Networks(), Config(networks=networks))
