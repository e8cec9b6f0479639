"""The client's `enhance`: requests, order, what comes back; over the server's own code in memory."""

from __future__ import annotations

import asyncio
import io
import json

import numpy as np
import pytest
from PIL import Image
from sluice_client import AsyncSluice, Enhanced, InvalidRequest, Packet, Planes, Sluice, UnexpectedAnswer
from sluice_client.answers.enhance import Reader
from sluice_client.errors import ServerFailed, Unavailable
from sluice_client.tensors import strings
from sluice_client.transport.protocol import AsyncFunction, Function
from sluice_client.transport.retry import Retry
from sluice_client.verbs.enhance import pieces

from tests.made.fake_server import png
from tests.made.fake_server.enhancer import FakeEnhancer
from tests.made.packets import coded, decoded

RANDOM = np.random.default_rng(4)


def pixels(count=1, size=(12, 16)):
    return list(RANDOM.integers(0, 256, (count, *size, 3), np.uint8))


def planes(width=7, height=5):
    size = width * height + 2 * -(-width // 2) * -(-height // 2)
    return Planes(width, height, RANDOM.integers(0, 256, size, np.uint8))


@pytest.fixture
def fake():
    return FakeEnhancer()


@pytest.fixture
def client(fake):
    with Sluice(transport=Function(fake.answer, events=fake.events), retry=Retry(first=0.001)) as client:
        yield client


def options(call):
    return json.loads(call.inputs["OPTIONS"][0])


def test_pictures_come_back_in_the_form_in_which_they_came(client):
    one = png(1)
    encoded, array = client.enhance([one], do="upscale")[0], pixels()[0]
    np.testing.assert_array_equal(
        encoded.array(), np.asarray(Image.open(io.BytesIO(one))).repeat(2, axis=0).repeat(2, axis=1)
    )
    assert encoded.pil().size == (128, 96) and encoded.done == ("frame_upscaler_clean",) and encoded
    np.testing.assert_array_equal(client.enhance([array])[0].array(), array)
    odd = planes()
    back = client.enhance([odd], matrix="bt709", range="full")[0]
    np.testing.assert_array_equal(back.planes, odd.data)
    assert (back.matrix, back.range, back.image) == ("bt709", "full", None)


def test_a_stream_keeps_order_numbers_and_times(client, fake):
    frames = pixels(11)
    found = list(client.enhance_stream(iter(frames), times=range(0, 1100, 100), first=5, batch=3, in_flight=3))
    assert [one.number for one in found] == list(range(5, 16)) and [one.time for one in found][-1] == 1000
    np.testing.assert_array_equal(np.stack([one.pixels for one in found]), frames)
    sent = [options(call) for call in fake.calls]
    assert [one["first"] for one in sent] == [5, 8, 11, 14] and [one["last"] for one in sent] == [False] * 3 + [True]
    assert len({one["stream"] for one in sent}) == 1 and len(fake.enhancer.streams) == 0


def test_a_change_of_size_or_kind_begins_a_request(client):
    frames = [*pixels(2), *pixels(2, (4, 4)), png(3), png(4), planes()]
    calls = list(pieces(frames, times=None, stream="a", first=0, batch=8))
    counts = [len(next(value for name, value in call.inputs.items() if name != "OPTIONS")) for call in calls]
    sent = list(zip([options(call).get("first", 0) for call in calls], counts, strict=True))
    assert sent == [(0, 2), (2, 2), (4, 2), (6, 1)]
    assert [one.width for one in client.enhance_stream(frames)] == [16, 16, 4, 4, 64, 64, 7]


def test_packets_of_h264_come_back_as_frames_in_the_order_of_showing(client, fake):
    packets = coded()
    times = [packet.pts for packet in packets]
    assert times != sorted(times), "there are B-frames"
    found = list(client.enhance_stream(map(Packet, map(bytes, packets)), times=times, batch=5, do="upscale"))
    assert [(one.number, one.time) for one in found] == [(i, i) for i in range(12)] and len(fake.calls) == 3
    shown = decoded(packets)
    for one, frame in zip(found, shown, strict=True):
        np.testing.assert_array_equal(one.planes[: 64 * 32].reshape(32, 64)[::2, ::2], frame[:16])


@pytest.mark.parametrize("data", [b"", "text", None])
def test_what_is_no_packet_is_refused(data):
    with pytest.raises(InvalidRequest, match="a packet is bytes, one at least"):
        Packet(data)


def test_an_endless_stream_is_drawn_as_it_is_used(client):
    drawn = []

    def endless():
        while True:
            drawn.append(len(drawn))
            yield pixels()[0]

    stream = client.enhance_stream(endless(), batch=2, in_flight=2)
    assert [next(stream).number for _ in range(4)] == [0, 1, 2, 3]
    stream.close()
    assert len(drawn) <= 11


def test_a_picture_that_cannot_be_read_has_an_error(client):
    told = []
    good, bad = client.enhance([png(1), b"junk"], progress=told.append)
    assert good and not bad and "not an image" in bad.error and told == [good, bad]
    with pytest.raises(ValueError, match="Frame 1 has no pixels: not an image"):
        bad.array()


def test_dropped_frames_are_told(client):
    found = client.enhance(pixels(8), batch=8, policy="drop", backlog=1)
    assert [one.number for one in found if one.dropped] == list(range(2, 7))
    assert [one.number for one in found if one] == [0, 1, 7]


def test_a_busy_server_is_asked_again_before_it_began_only(fake):
    fake.trouble = [Unavailable("full")] * 2
    with Sluice(transport=Function(fake.answer, events=fake.events), retry=Retry(first=0.001)) as client:
        assert len(client.enhance(pixels(4), batch=2)) == 4
        fake.fail_at = 1, Unavailable("gone")
        with pytest.raises(Unavailable, match="gone"):
            client.enhance(pixels(3), batch=3)


def test_what_mode_auto_goes_by_and_where_it_switches_is_told(client):
    packets = [Packet(bytes(one)) for one in coded(80, (160, 96), options={"qp": "1", "g": "60"})]
    frames = list(client.enhance_stream(packets, batch=1))
    assert len(frames) == 80 and [one.done for one in frames if one.switched] == [()]
    assert frames[0].provisional and not frames[-1].provisional and 0 < frames[-1].bits < frames[0].bits
    (frame,) = client.enhance(pixels())
    assert (frame.bits, frame.provisional, frame.switched) == (None, False, False)


def test_both_clients_are_alike(fake):
    frames = pixels(5)
    with Sluice(transport=Function(fake.answer, events=fake.events)) as sync:
        ours = sync.enhance(frames, do="both", batch=2)

    async def theirs():
        async with AsyncSluice(transport=AsyncFunction(fake.answer, events=fake.events)) as client:
            stream = client.enhance_stream(frames, do="both", batch=2)
            return [one async for one in stream], await client.enhance(frames, do="both", batch=2)

    streamed, listed = asyncio.run(theirs())
    for other in (streamed, listed):
        assert [(one.number, one.done) for one in other] == [(one.number, one.done) for one in ours]
        np.testing.assert_array_equal([one.pixels for one in other], [one.pixels for one in ours])


@pytest.mark.parametrize(
    ("frames", "asked", "sentence"),
    [
        ([np.zeros((4, 4), np.uint8)], {}, r"pixels are uint8 \[H, W, 3\]; got uint8 \[4, 4\]"),
        ([np.zeros((4, 4, 3))], {}, "got float64"),
        ([b""], {}, "zero bytes"),
        (["missing.png"], {}, "cannot be read"),
        ([3], {}, "encoded bytes"),
        (pixels(), {"do": "magic"}, "do must be one of artefacts, upscale, both"),
        (pixels(), {"strength": 2}, r"strength must lie in 0\.\.1"),
        (pixels(), {"scale": "5"}, "For any other scale give size"),
        (pixels(), {"scale": 2, "size": (1, 1)}, "not both"),
        (pixels(), {"fps": 30}, "go together"),
        (pixels(), {"sharp": 1}, "knows do, mode"),
        (pixels(), {"batch": 0}, "batch must be a whole number of at least 1; got 0"),
        (pixels(), {"in_flight": 0}, "in_flight must be a whole number of at least 1; got 0"),
        (pixels(), {"size": (1, 70)}, "becomes at most 4 times as large|ask for upscale"),
    ],
)
def test_wrong_arguments_get_a_sentence(client, frames, asked, sentence):
    with pytest.raises(InvalidRequest, match=sentence):
        client.enhance(frames, **asked)


def test_planes_of_another_size_are_refused():
    with pytest.raises(InvalidRequest, match=r"planes of 4 x 4 are uint8 \[24\]; got uint8 \[20\]"):
        Planes(4, 4, np.zeros(20, np.uint8))


@pytest.mark.parametrize(
    "event", ["junk", "[]", '{"kind": "news"}', '{"kind": "frame", "number": 1}', '{"kind": "end"}']
)
def test_what_is_no_event_is_an_unexpected_answer(event):
    with pytest.raises(UnexpectedAnswer):
        Reader().event({"EVENT": strings([event])})


def test_a_request_that_ends_without_its_end_is_the_server_s_fault():
    with pytest.raises(ServerFailed, match="ended before its frames were finished"):
        Reader().finish()


def test_a_frame_that_is_planes_says_so():
    with pytest.raises(ValueError, match="it is planes"):
        Enhanced(3, planes=np.zeros(6, np.uint8)).array()
