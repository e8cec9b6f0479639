"""H.264 packets as frames of a stream: the server's decoder gives what PyAV gives, in order, with its times."""

import asyncio
import itertools

import av
import numpy as np
import pytest

from sluice.errors import InvalidArgument, Unavailable
from sluice.methods.video.packets import coded_alone
from sluice.verbs.enhance import Config, Enhancer
from tests.made.enhance_in_process import facts, given, kinds, stream
from tests.made.packets import coded, decoded
from tests.made.video_networks import NETWORKS, Networks, removed

CONFIG = Config(networks=NETWORKS)


def ask(requests, networks=None, config=CONFIG):
    async def run():
        enhancer = Enhancer(networks or Networks(), config)
        return [event for one in requests for event in await stream(enhancer, one)], enhancer

    return asyncio.run(run())


def requests(packets, size=5, **options):
    cuts = range(0, len(packets), size)
    for begin in cuts:
        some = packets[begin : begin + size]
        times = [one.pts * 10 for one in some]
        yield given(PACKETS=[bytes(one) for one in some], stream="a", first=begin, times=times,
                    last=begin == cuts[-1], **options)  # fmt: skip


def test_frames_come_out_in_order_whatever_the_packets_order_is():
    packets = coded()
    assert [one.pts for one in packets] != sorted(one.pts for one in packets), "B-frames"
    events, enhancer = ask(requests(packets, mode="weak"))
    frames = [(said, answer) for said, answer in events if said["kind"] == "frame"]
    assert [said["number"] for said, _ in frames] == list(range(12))
    assert [said["time"] for said, _ in frames] == list(range(0, 120, 10))
    for (said, answer), frame in zip(frames, decoded(packets), strict=True):
        np.testing.assert_array_equal(answer["PLANES"][: 32 * 16].reshape(16, 32), removed(frame[:16, :, None])[..., 0])
        assert (said["width"], said["height"], said["matrix"], said["range"]) == (32, 16, "bt709", "limited")
    assert enhancer.held == 0 and len(enhancer.streams) == 0


def chosen(requests):
    """Return (done, switched) per frame."""
    events, _ = ask(requests)
    return [(said["done"], said["switched"]) for said, _ in events if said["kind"] == "frame"]


def joined(*parts):
    """Yield the packets of several encoders as requests of one stream, one packet per request."""
    packets = [bytes(one) for part in parts for one in part]
    for i, packet in enumerate(packets):
        yield given(PACKETS=[packet], stream="a", first=i, last=i == len(packets) - 1)


COARSE = {"crf": "51", "g": "60", "sc_threshold": "0"}
FINE = {"qp": "1", "g": "60", "sc_threshold": "0"}


@pytest.mark.parametrize(("options", "expected"), [(COARSE, ["artifact_remover_weak"]), (FINE, [])])
def test_the_mode_follows_from_the_bits_of_whole_groups(options, expected):
    done = chosen(joined(coded(80, (160, 96), options=options)))
    assert len(done) == 80
    # The first frame alone decides nothing; there is one change at most, and it is announced.
    assert done[0] == (["artifact_remover_weak"], False) and done[-1] == (expected, False)
    at = [i for i, (_, switched) in enumerate(done) if switched]
    assert len(at) == (options is FINE) and all(one == expected for one, _ in done[(at or [0])[0] :])
    assert all(one == ["artifact_remover_weak"] for one, _ in done[: (at or [80])[0]])


def test_how_the_packets_are_spread_over_requests_changes_nothing():
    packets = coded(80, (160, 96), options=COARSE)
    one = chosen(joined(packets))
    for size in (7, 32):
        assert chosen(requests(packets, size)) == one


def test_a_change_of_bitrate_at_the_same_size_is_followed_and_announced():
    done = chosen(joined(coded(80, (160, 96), options=COARSE), coded(140, (160, 96), options=FINE)))
    names = [one for one, _ in done]
    assert names[79] == ["artifact_remover_weak"] and names[-1] == []
    assert [switched for _, switched in done] == [False, *(a != b for a, b in itertools.pairwise(names))]


def test_what_mode_auto_goes_by_is_told():
    packets = coded(70, (160, 96), options=COARSE)
    events, _ = ask(requests(packets))
    frames = [said for said, _ in events if said["kind"] == "frame"]
    assert [said["provisional"] for said in frames][:49] == [True] * 49 and not frames[-1]["provisional"]
    sizes = [8 * one.size for one in packets]
    assert frames[0]["bits"] == sizes[0]
    (last,) = (i for i, one in enumerate(packets) if one.pts == 69)
    assert frames[-1]["bits"] == round(sum(sizes[last - 59 : last + 1]) / 60)
    other, _ = ask(requests(packets, mode="weak"))
    assert all("bits" not in said and not said["switched"] for said, _ in other if said["kind"] == "frame")


def test_a_smaller_size_in_the_same_stream_begins_anew():
    done = chosen(joined(coded(60, (160, 96), options=FINE), coded(3, (96, 64), options=FINE)))
    assert done[59][0] == []
    assert done[60] == (["artifact_remover_weak"], True)


def test_frames_that_are_coded_alone_are_known_by_their_slices():
    for options in ({"g": "7"}, {"x264-params": "keyint=9:open-gop=1:bframes=2:b-adapt=0"}, {"g": "5", "slices": "3"}):
        packets = coded(30, (64, 48), options=options)
        context = av.CodecContext.create("h264", "r")
        shown = [f for one in [*packets, None] for f in context.decode(one and av.Packet(bytes(one)))]
        intra = [int(frame.pict_type) == 1 for frame in shown]
        by_time = sorted(packets, key=lambda one: one.pts)
        assert [coded_alone(bytes(one)) for one in by_time] == intra and 1 < sum(intra) < 30
    for data in (
        b"",
        b"\0\0\1",
        b"\0\0\1\x01",
        b"\0\0\1\x09\xf0",
        b"junk" * 9,
        *(bytes(packets[1])[:n] for n in range(40)),
    ):
        assert not coded_alone(data)


def test_requests_at_the_same_time_are_decoded_in_their_order():
    async def run():
        enhancer = Enhancer(Networks(), CONFIG)
        answers = await asyncio.gather(*(stream(enhancer, one) for one in requests(coded(), 3, matrix="bt601")))
        return [said for events in answers for said, _ in events if said["kind"] == "frame"]

    found = asyncio.run(run())
    assert [said["number"] for said in found] == list(range(12)) and {said["matrix"] for said in found} == {"bt601"}


def test_a_packet_out_of_order_is_refused_and_the_stream_goes_on():
    first, second, third = requests(coded(9), 3)

    async def run():
        enhancer = Enhancer(Networks(), CONFIG)
        told = await stream(enhancer, first)
        with pytest.raises(InvalidArgument, match="wants packet 3, got 6; send packets in their order"):
            await stream(enhancer, third)
        told += await stream(enhancer, second) + await stream(enhancer, third)
        return [said["number"] for said, _ in told if said["kind"] == "frame"]

    assert asyncio.run(run()) == list(range(9))


@pytest.mark.parametrize(
    ("packets", "sentence"),
    [
        ([b"junk" * 50], "packet 0 cannot be decoded"),
        (coded(3, pixels="yuv422p"), "4:2:0 with 8 bits, got yuv422p"),
        (coded(3, pixels="yuv420p10le"), "got yuv420p10le"),
        (coded(3, options={"x264-params": "interlaced=1"}), "progressive"),
        (coded(3, matrix=9), "BT.2020"),
    ],
)
def test_other_video_is_refused(packets, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        ask([given(PACKETS=[bytes(one) for one in packets])])


def test_a_frame_that_is_too_large_is_refused_by_the_decoder(monkeypatch):
    monkeypatch.setattr("sluice.methods.video.packets.MOST_PIXELS", 500)
    with pytest.raises(InvalidArgument, match="cannot be decoded"):
        ask([given(PACKETS=[bytes(one) for one in coded(2)])])


def test_too_many_bytes_are_refused():
    with pytest.raises(InvalidArgument, match="at most 100 bytes, got 200"):
        ask([given(PACKETS=[bytes(200)])], config=Config(networks=NETWORKS, max_bytes=100))


def test_without_room_nothing_is_decoded():
    async def run():
        enhancer = Enhancer(Networks(), Config(networks=NETWORKS, max_waiting=2))
        (one,) = requests(coded(9), 9)
        with pytest.raises(Unavailable, match="wait"):
            await stream(enhancer, one)
        return kinds(await stream(enhancer, given(PACKETS=[bytes(p) for p in coded(3)], stream="a", first=0)))

    assert asyncio.run(run())[0] == "begun"


def test_an_empty_packet_gives_no_frame():
    events, _ = ask([given(PACKETS=[b""])])
    assert kinds(events) == ["begun", "end"] and facts(events[0][1])["new"]
