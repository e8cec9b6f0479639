"""`sluice enhance` of the files that real cameras, phones and recorders write: what is right about each kind."""

from __future__ import annotations

import itertools
import json
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from sluice_client import Sluice, cli
from sluice_client.errors import InvalidRequest
from sluice_client.transport.protocol import Function
from sluice_client.video import writer
from sluice_client.video.planes import Meaning, Turn, planes
from sluice_client.video.reader import Video
from sluice_client.video.writer import Writer

from tests.made import videos
from tests.made.fake_server.enhancer import FakeEnhancer


@pytest.fixture
def fake(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    fake = FakeEnhancer()
    transport = Function(fake.answer, events=fake.events)
    monkeypatch.setattr(cli.server_options, "client", lambda args, on_retry: Sluice(transport=transport))
    return fake


def enhance(*words):
    return cli.main(["enhance", *map(str, words)])


def rising(path):
    """Return the number of packets per stream, after checking that decoding times rise within each stream."""
    found = {}
    with av.open(str(path)) as given:
        for packet in given.demux():
            if packet.size:
                found.setdefault(packet.stream.type, []).append(packet.dts and packet.dts * packet.time_base)
    for every in found.values():
        times = [at for at in every if at is not None]  # Matroska does not hold them, and FFmpeg guesses from the third
        assert all(after > before for before, after in itertools.pairwise(times))
    return {kind: len(times) for kind, times in found.items()}


def away(one, other):
    """Return the mean distance between two pictures."""
    return np.abs(one.astype(int) - other.astype(int)).mean()


# -------------------------------------------------------------------------------------------------------- upright


MATRICES = {  # a, b, c, d of the display matrix, and what is shown of the picture [H, W, 3]
    "as it is": ((1, 0, 0, 1), lambda x: x),
    "mirrored": ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda x: x[::-1]),
    "half a turn": ((-1, 0, 0, -1), lambda x: x[::-1, ::-1]),
    "a quarter": ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
    "three quarters": ((0, -1, 1, 0), lambda x: np.rot90(x)),
    "transposed": ((0, 1, 1, 0), lambda x: x.swapaxes(0, 1)),
    "transversed": ((0, -1, -1, 0), lambda x: x[::-1, ::-1].swapaxes(0, 1)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_the_display_matrix_counts_with_its_determinant(fake, tmp_path, name):
    (a, b, c, d), shown = MATRICES[name]
    matrix = [a, b, 0, c, d, 0, 0, 0, 1]
    videos.write(tmp_path / "in.mp4", count=4, audio=False, display=matrix)
    assert enhance("in.mp4", "--out", "out.mp4", "--crf", 1) == 0
    for made, given in zip(videos.frames(tmp_path / "out.mp4"), videos.frames(tmp_path / "in.mp4"), strict=True):
        assert made.shape == shown(given).shape and away(made, shown(given)) < 6
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert next(out.decode(video=0)).rotation == 0


def test_a_turn_by_another_angle_is_said_to_stay(fake, tmp_path, capsys):
    videos.write(tmp_path / "in.mp4", count=2, audio=False, display=[0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1])
    assert enhance("in.mp4", "--out", "out.mp4") == 0
    assert "turns it by no multiple of 90 degrees" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("aspect", "to", "made"),
    [
        (Fraction(4, 3), "256x144", Fraction(1)),  # 96 x 72 of 4:3 is shown as 16:9
        (Fraction(4, 3), "2x", Fraction(4, 3)),
        (Fraction(4, 3), None, Fraction(4, 3)),
        (Fraction(16, 11), "48x96", Fraction(16, 11) * Fraction(96 * 96, 48 * 72)),
        (None, "192x72", Fraction(1, 2)),  # pixels of no word are square
        (None, "1.33x", None),
    ],
)
def test_the_aspect_that_is_shown_stays(fake, tmp_path, aspect, to, made):
    videos.write(tmp_path / "in.mp4", count=2, size=(96, 72), audio=False, aspect=aspect)
    assert enhance("in.mp4", *(("--to", to) if to else ()), "--out", "out.mp4") == 0
    with av.open(str(tmp_path / "out.mp4")) as out:
        found = out.streams.video[0].sample_aspect_ratio
    assert (found or 1) == pytest.approx(made or 1, rel=1e-3)


# ----------------------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_a_gap_at_the_join_of_two_parts_keeps_all_times(fake, tmp_path, monkeypatch, ending):
    monkeypatch.setattr(writer, "PART", 8)
    # Pictures of the second part are far apart: its encoder would decode the first of them before the part before ends.
    stamps = [3000 * i for i in range(8)] + [24000 + 45000 * i for i in range(8)] + [500000 + 900 * i for i in range(8)]
    given = videos.write(tmp_path / "in.mp4", count=24, stamps=stamps)
    assert enhance("in.mp4", "--mode", "weak", "--out", f"out.{ending}") == 0
    made = tmp_path / f"out.{ending}"
    assert np.abs(np.array(videos.seconds(made)) - videos.seconds(given)).max() <= (0.0005 if ending == "mkv" else 0)
    assert rising(made) == {"video": 24, "audio": len(videos.sound(given)) - (ending == "mkv")}


def test_frames_closer_than_the_container_can_say_keep_their_order_and_it_is_said(fake, tmp_path, capsys):
    stamps = [0, 3000, 3010, 3020, 3030, 9000, 12000]  # 90 kHz: three of them within the same millisecond
    videos.write(tmp_path / "in.mp4", count=7, stamps=stamps, audio=False)
    assert enhance("in.mp4", "--out", "out.mkv") == 1
    assert "3 frames follow the one before by less than .mkv can say" in capsys.readouterr().err
    assert rising(tmp_path / "out.mkv") == {"video": 7}
    assert enhance("in.mp4", "--out", "out.mp4") == 0
    assert videos.seconds(tmp_path / "out.mp4") == [Fraction(stamp, 90000) for stamp in stamps]


def test_recordings_that_were_joined_go_on_in_time_and_sound_stays_with_them(fake, tmp_path):
    videos.joined(tmp_path / "in.ts", [20, 20, 20])
    assert enhance("in.ts", "--out", "out.mp4") == 0
    made = videos.seconds(tmp_path / "out.mp4")
    assert len(made) == 60 and {b - a for a, b in itertools.pairwise(made)} == {Fraction(1, 30)}
    assert rising(tmp_path / "out.mp4")["video"] == 60
    # In each recording the sound began with the pictures, and does so still, within a packet of it.
    sound = videos.sound(tmp_path / "out.mp4")
    beginnings = [at for data, at in sound if data == sound[0][0]]
    first = made[0] - beginnings[0]
    for i, at in enumerate(beginnings):
        assert abs(made[20 * i] - at - first) <= Fraction(1024, 8000)


@pytest.mark.parametrize("ending", ["avi", "mkv", "h264"])
def test_pictures_that_are_coded_out_of_their_order_keep_theirs(fake, tmp_path, ending):
    """Enhance AVI and bare H.264, which do not say when a picture is shown."""
    videos.write(tmp_path / f"in.{ending}", count=30, audio=False, options={"bf": "3", "preset": "medium"})
    assert enhance(f"in.{ending}", "--out", "out.mp4", "--crf", 5) == 0
    times = videos.seconds(tmp_path / "out.mp4")
    steps = {round(float(after - before), 2) for before, after in itertools.pairwise(times)}
    assert len(times) == 30 and steps == {0.04} if ending == "h264" else {0.03}
    for made, given in zip(videos.frames(tmp_path / "out.mp4"), videos.frames(tmp_path / f"in.{ending}"), strict=True):
        assert away(made, given) < 6


def test_a_stamp_that_stands_alone_moves_no_other():
    from sluice_client.video.reader import _Rising

    times = _Rising(10)
    assert [times(stamp) for stamp in (0, 10, 5, 30, 40, 40, 60)] == [0, 10, 20, 30, 40, 50, 60]
    assert [_Rising(10)(None), *map(_Rising(10), [7])] == [0, 7]
    times = _Rising(10)
    assert [times(stamp) for stamp in (100, 113, 5, 12, 30)] == [100, 113, 123, 130, 148], "spacings stay behind a jump"


@pytest.mark.parametrize("rate", [Fraction(1, 1250), Fraction(20000)])
def test_very_slow_and_very_fast_videos(fake, tmp_path, capsys, rate):
    videos.write(tmp_path / "in.mp4", count=5, rate=rate, time_base=1 / rate, audio=False)
    assert enhance("in.mp4", "--out", "out.mp4") == 0
    assert videos.seconds(tmp_path / "out.mp4") == videos.seconds(tmp_path / "in.mp4")
    assert enhance("in.mp4", "--out", "out.mkv") == (0 if rate < 1 else 2)
    if rate > 1:
        assert "holds times in whole milliseconds" in capsys.readouterr().err
        assert len(fake.calls) == 1, "it is said before the first frame"


def test_a_video_that_begins_before_zero_keeps_its_distances(fake, tmp_path):
    stamps = [-6000, -3000, 0, 3000, 6000]
    videos.write(tmp_path / "in.ts", count=5, stamps=stamps, audio=False)
    assert enhance("in.ts", "--out", "out.mp4") == 0
    made = videos.seconds(tmp_path / "out.mp4")
    assert [at - made[0] for at in made] == [Fraction(i, 30) for i in range(5)]


# ----------------------------------------------------------------------------------------------------------- sound


@pytest.mark.parametrize(
    ("codec", "source", "out", "becomes"),
    [
        ("pcm_alaw", "in.mov", "out.mp4", "aac"),
        ("pcm_mulaw", "in.mov", "out.mkv", "aac"),
        ("pcm_alaw", "in.mov", "out.mov", "pcm_alaw"),
        ("adpcm_ms", "in.avi", "out.mov", "aac"),
        ("mp2", "in.ts", "out.mp4", "mp3float"),
        ("aac", "in.ts", "out.mkv", "aac"),
        ("flac", "in.mkv", "out.mov", "aac"),  # refused by the container only when its head is written
        ("flac", "in.mkv", "out.mp4", "flac"),
    ],
)
def test_sound_that_the_container_cannot_hold_becomes_aac(fake, tmp_path, capsys, codec, source, out, becomes):
    videos.write(tmp_path / source, count=30, sound=codec)
    assert enhance(source, "--out", out) == 0
    assert (f"its sound ({codec}) has no place" in capsys.readouterr().err) == (becomes == "aac" != codec)
    with av.open(str(tmp_path / out)) as made, av.open(str(tmp_path / source)) as given:
        assert made.streams.audio[0].codec_context.name == becomes
        heard, meant = (videos.samples(one) for one in (made, given))
    count = min(len(heard), len(meant)) - 2048
    assert count > 3000 and np.corrcoef(heard[:count], meant[:count])[0, 1] > 0.95, "the same tone at the same time"


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_what_a_file_says_of_itself_and_of_its_sound_is_kept(fake, tmp_path, ending):
    videos.write(tmp_path / "plain.mp4", count=5)
    told = {"creation_time": "2023-01-15T14:32:15.000000Z", "title": "drive 7"}
    with av.open(str(tmp_path / "plain.mp4")) as given, av.open(str(tmp_path / "in.mp4"), "w") as out:
        out.metadata.update(told)
        streams = [out.add_stream_from_template(one) for one in given.streams]
        streams[1].metadata["language"] = "deu"
        for packet in given.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    assert enhance("in.mp4", "--out", f"out.{ending}") == 0
    with av.open(str(tmp_path / f"out.{ending}")) as made:
        assert {key: made.metadata[key] for key in told} == told
        assert made.streams.audio[0].metadata["language"] in ("deu", "ger")


def test_pictures_are_not_given_up_because_of_the_sound(fake, tmp_path, capsys, monkeypatch):
    videos.write(tmp_path / "in.mp4", count=6)
    whole = Writer._mux

    def fails(self, out, sounds, jumps):
        if sounds:
            raise ValueError("no")
        return whole(self, out, sounds, jumps)

    monkeypatch.setattr(Writer, "_mux", fails)
    assert enhance("in.mp4", "--out", "out.mp4") == 1
    assert "the sound could not be written, and is left out" in capsys.readouterr().err
    assert rising(tmp_path / "out.mp4") == {"video": 6}


# ---------------------------------------------------------------------------------------------------------- colours


@pytest.mark.parametrize("pixels", ["bgr0", "bgra", "gbrp16le"])
def test_rgb_of_full_range_becomes_what_the_label_says(fake, tmp_path, pixels):
    (tmp_path / "in.mkv").write_bytes(b"")
    videos.lossless(tmp_path / "in.mkv", (200, 30, 30), pixels)
    assert enhance("in.mkv", "--mode", "weak", "--out", "out.mp4", "--crf", 1) == 0
    assert videos.meaning(tmp_path / "out.mp4") == (6, 1)  # BT.601, limited
    shown = videos.frames(tmp_path / "out.mp4")[1]
    assert np.abs(shown.reshape(-1, 3).mean(0) - (200, 30, 30)).max() < 3


@pytest.mark.parametrize("matrix", [4, 7])
def test_matrices_that_no_network_knows_are_converted_not_relabelled(fake, tmp_path, matrix):
    red, blue = {4: (0.30, 0.11), 7: (0.212, 0.087)}[matrix]
    colour = np.array([180, 60, 90]) / 255
    luma = red * colour[0] + (1 - red - blue) * colour[1] + blue * colour[2]
    levels = (
        16 + 219 * luma,
        128 + 224 * (colour[2] - luma) / (2 * (1 - blue)),
        128 + 224 * (colour[0] - luma) / (2 * (1 - red)),
    )
    frame = av.VideoFrame(32, 32, "yuv420p")
    for plane, level in zip(frame.planes, levels, strict=True):
        plane.update(np.full(plane.buffer_size, round(level), np.uint8))
    frame.colorspace, frame.color_range = matrix, 1
    meaning = Meaning.of(frame, frame_context(matrix))
    assert meaning.matrix == "bt601" and meaning.own == matrix
    made = planes(frame, Turn(), meaning, (32, 32)).data
    y, cb, cr = (made[i].astype(float) for i in (0, 32 * 32, -1))
    r = (y - 16) / 219 + 1.402 * (cr - 128) / 224
    b = (y - 16) / 219 + 1.772 * (cb - 128) / 224
    assert np.abs(np.array([r, b]) - colour[[0, 2]]).max() < 0.02


def frame_context(matrix):
    context = av.CodecContext.create("libx264", "w")
    context.colorspace = matrix
    return context


def test_colours_that_are_not_known_are_refused_by_name(fake, tmp_path, capsys):
    videos.write(tmp_path / "in.mp4", count=2, audio=False, matrix=9)
    assert enhance("in.mp4", "--out", "out.mp4") == 2
    assert "in.mp4: It has the colours of BT.2020" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------------- tracks


def test_a_cover_picture_is_no_video(fake, tmp_path, capsys):
    videos.several(tmp_path / "in.mkv", [("mjpeg", (32, 24), 1), ("libx264", (96, 64), 12)])
    assert enhance("in.mkv", "--out", "out.mp4") == 0
    assert [frame.shape for frame in videos.frames(tmp_path / "out.mp4")] == [(64, 96, 3)] * 12
    assert "--track" not in capsys.readouterr().err
    videos.several(tmp_path / "cover.mp4", [("mjpeg", (32, 24), 1)], attached=True)
    assert enhance("cover.mp4", "--out", "o.mp4") == 2
    assert "cover.mp4 holds no video" in capsys.readouterr().err


def test_of_several_videos_one_is_taken_and_it_is_said_which(fake, tmp_path, capsys):
    videos.several(tmp_path / "in.mkv", [("libx264", (48, 32), 8), ("libx264", (96, 64), 8)])
    assert enhance("in.mkv", "--out", "out.mp4") == 0
    said = capsys.readouterr().err
    assert "it has 2 videos (--track 0 (h264, 48 x 32), --track 1 (h264, 96 x 64)); --track 1 is taken" in said
    assert videos.frames(tmp_path / "out.mp4")[0].shape == (64, 96, 3)
    assert enhance("in.mkv", "--track", 0, "--out", "out.mp4") == 0
    assert videos.frames(tmp_path / "out.mp4")[0].shape == (32, 48, 3)
    assert "it has 2 videos" not in capsys.readouterr().err
    assert enhance("in.mkv", "--track", 7, "--out", "out.mp4") == 2
    assert "has no video of --track 7; there are: --track 0" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- what is not whole


def test_a_file_whose_head_knows_its_length_says_that_it_ends_early(fake, tmp_path, capsys):
    for ending in ("mkv", "avi", "flv"):
        whole = videos.write(tmp_path / f"whole.{ending}", count=90, audio=False, options={"g": "10", "bf": "0"})
        data = whole.read_bytes()
        (tmp_path / f"in.{ending}").write_bytes(data[: len(data) // 4])
        assert enhance(f"in.{ending}", "--out", "out.mp4", "--restart") == 1
        assert f"in.{ending} ends early: there are" in capsys.readouterr().err
        assert 5 < len(videos.seconds(tmp_path / "out.mp4")) < 80
        assert enhance(f"whole.{ending}", "--out", "out.mp4", "--restart") == 0


def test_sound_that_is_longer_than_the_pictures_is_no_early_end(fake, tmp_path):
    for ending, codec in (("mkv", "aac"), ("mp4", "aac"), ("flv", "aac"), ("avi", "aac"), ("avi", "libmp3lame")):
        # In AVI the pictures then begin late, by what the sound's encoder runs ahead.
        videos.write(tmp_path / f"in.{ending}", count=10, heard=120, sound=codec)
        assert enhance(f"in.{ending}", "--out", "out.mp4") == 0


def test_subtitles_that_are_longer_than_the_pictures_are_no_early_end_and_are_said_to_be_left_out(
    fake, tmp_path, capsys
):
    videos.subtitled(tmp_path / "in.mkv", frames=6, length=4)
    assert enhance("in.mkv", "--out", "out.mp4") == 0
    assert "tracks that are left out: 1 of subtitle" in capsys.readouterr().err


def test_frames_that_become_interlaced_are_kept_and_counted(fake, tmp_path, capsys):
    """Enhance a broadcast that changes from film to sport: frames computed before the change must not be lost."""
    for name, options in (("a", {}), ("b", {"x264-params": "interlaced=1"})):
        videos.write(tmp_path / f"{name}.ts", count=12, audio=False, options={"bf": "0"} | options)
    (tmp_path / "in.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    assert enhance("in.ts", "--out", "out.mp4") == 1
    said = capsys.readouterr().err
    assert "12 frames, the first of them frame 12, are interlaced and were enhanced as they are; deinterlace" in said
    assert len(videos.seconds(tmp_path / "out.mp4")) == 24


def test_a_journal_without_a_finished_frame_stands_in_nobodys_way(fake, tmp_path):
    videos.write(tmp_path / "in.mp4", count=4, audio=False)
    assert enhance("in.mp4", "--out", "out.mp4", "--strength", 7) == 2
    assert not list(tmp_path.glob(".*"))
    (tmp_path / ".out.mp4.journal").write_bytes(b'sluice-journal-2\n{"of": "other work"}\n' + bytes(10))
    assert enhance("in.mp4", "--out", "out.mp4") == 0


def test_an_edit_list_that_cuts_the_end_off_is_no_early_end(fake, tmp_path):
    """Trim as phones do: all samples stay in the file, and the edit list says which of them are shown."""
    data = bytearray(videos.write(tmp_path / "whole.mp4", count=90, audio=False).read_bytes())
    at = data.index(b"elst")
    count, length = struct.unpack_from(">II", data, at + 8)[0], struct.unpack_from(">I", data, at + 12)[0]
    assert count == 1 and length == 3000  # of 1/1000 s
    struct.pack_into(">I", data, at + 12, 1000)
    (tmp_path / "in.mp4").write_bytes(data)
    shown = len(videos.seconds(tmp_path / "in.mp4"))
    assert 28 <= shown <= 40
    assert enhance("in.mp4", "--out", "out.mp4") == 0
    assert len(videos.seconds(tmp_path / "out.mp4")) == shown


def test_after_a_packet_that_is_broken_it_goes_on_and_says_so(fake, tmp_path, capsys):
    given = videos.write(tmp_path / "whole.mp4", count=60, audio=False, options={"g": "15", "bf": "0"})
    with av.open(str(given)) as container:
        packets = [(one.pos, one.size) for one in container.demux(video=0) if one.size]
    data = bytearray(given.read_bytes())
    at, size = packets[20]
    data[at + 4 : at + size] = bytes((0xFF,)) * (size - 4)
    (tmp_path / "in.mp4").write_bytes(data)
    assert enhance("in.mp4", "--out", "out.mp4") == 1
    said = capsys.readouterr().err
    assert "packets could not be decoded; their frames are lost" in said and "ends early" not in said
    made = videos.seconds(tmp_path / "out.mp4")
    assert 50 <= len(made) < 60 and made[-1] == Fraction(59, 30)


def test_frames_that_a_recorder_left_out_are_no_early_end(fake, tmp_path):
    stamps = [0, 1, 2, 3, 9, 10, 20, 21, 40, 41]
    videos.motion_jpeg(tmp_path / "in.avi", [(48, 32)] * 10, stamps)
    assert enhance("in.avi", "--out", "out.mp4") == 0
    assert videos.seconds(tmp_path / "out.mp4") == [Fraction(stamp, 30) for stamp in stamps]


def test_samples_of_no_bytes_do_not_end_a_video(fake, tmp_path):
    """Read on after a sample without bytes: to a decoder an empty packet is the end, in a file it is a missed frame."""
    videos.write(tmp_path / "whole.mp4", count=10, audio=False, options={"bf": "0"})
    videos.emptied(tmp_path / "whole.mp4", tmp_path / "in.mov", empty={4, 5})
    assert enhance("in.mov", "--out", "out.mp4") in (0, 1)
    assert videos.seconds(tmp_path / "out.mp4")[-1] == Fraction(9, 30)


@pytest.mark.parametrize("size", [(32, 24), (64, 48), (8, 6)])
def test_a_smaller_size_in_mid_file_is_scaled_on_with_a_word(fake, tmp_path, capsys, size):
    videos.motion_jpeg(tmp_path / "in.avi", [(96, 64)] * 4 + [size] * 4, list(range(8)))
    assert enhance("in.avi", "--to", "x2", "--out", "out.mp4") == 0
    assert f"from frame 4 on, 4 frames of another size ({size[0]} x {size[1]})" in capsys.readouterr().err
    assert [frame.shape for frame in videos.frames(tmp_path / "out.mp4")] == [(128, 192, 3)] * 8


def test_a_frame_that_the_server_refuses_is_left_out_and_counted(fake, tmp_path, capsys, monkeypatch):
    videos.write(tmp_path / "in.mp4", count=10, audio=False)
    whole = fake.events

    def refuses(call, timeout):
        for tensors in whole(call, timeout):
            said = json.loads(tensors["EVENT"][0])
            if said["kind"] == "frame" and said["number"] == 5:
                failed = {"kind": "failed", "number": 5, "time": said["time"], "error": "no"}
                tensors = {"EVENT": np.array([json.dumps(failed).encode()], object)}
            yield tensors

    transport = Function(fake.answer, events=refuses)
    monkeypatch.setattr(cli.server_options, "client", lambda args, on_retry: Sluice(transport=transport))
    assert enhance("in.mp4", "--out", "out.mp4", "--json") == 1
    said = capsys.readouterr()
    assert "1 frames could not be enhanced and are left out; frame 5: no" in said.err
    assert json.loads(said.out)["frames"] == 9
    assert videos.seconds(tmp_path / "out.mp4") == [Fraction(i, 30) for i in range(10) if i != 5]


# ---------------------------------------------------------------------------------------------------------- content


@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [
        *(("in.m2ts", "mpegts", "libx264"), ("in.MTS", "mpegts", "libx264"), ("in.3gp", "3gp", "libx264")),
        *(("in.wmv", "asf", "msmpeg4"), ("in.flv", "flv", "libx264"), ("in.mpeg", "mpeg", "mpeg1video")),
        *(("in.h264", "h264", "libx264"), ("in.hevc", "hevc", "libx265"), ("in.gif", "gif", "gif")),
        *(("in.insv", "mp4", "libx264"), ("noending", "matroska", "libx264"), ("in.jpg", "mp4", "libx264")),
    ],
)
def test_a_video_is_known_by_its_content(fake, tmp_path, name, form, codec):
    try:
        av.codec.Codec(codec, "w")
    except av.error.FFmpegError:
        pytest.skip(f"this FFmpeg has no {codec}")
    videos.plain(tmp_path / name, form, codec, count=6)
    assert enhance(name, "--out", "o.mp4") == 0
    assert (tmp_path / "o.mp4").is_file() and len(videos.seconds(tmp_path / "o.mp4")) >= 5


def test_a_picture_is_known_by_its_content_and_other_pictures_are_refused_by_a_sentence(fake, tmp_path, capsys):
    Image.new("RGB", (20, 10)).save(tmp_path / "x.mp4", "PNG")
    assert enhance("x.mp4", "--out", "better/") == 0 and (tmp_path / "better" / "x.png").is_file()
    for form in ("TIFF", "BMP"):
        Image.new("RGB", (20, 10)).save(tmp_path / f"x.{form.lower()}", form)
        assert enhance(f"x.{form.lower()}", "--out", "o.mp4") == 2
        assert "is a picture in a format that is not read here" in capsys.readouterr().err


def test_a_video_says_what_it_has_besides(fake, tmp_path, capsys):
    videos.write(tmp_path / "in.mp4", count=3, audio=False)
    with Video(tmp_path / "in.mp4") as video:
        assert video.facts.others == () and video.track == 0
    with pytest.raises(InvalidRequest, match="no video of --track 3"):
        Video(tmp_path / "in.mp4", track=3)
