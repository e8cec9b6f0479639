"""`sluice enhance` on the command line: videos and pictures in and out, over the server's own code in memory."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from sluice_client import Sluice, cli
from sluice_client.errors import ServerFailed
from sluice_client.tensors import strings
from sluice_client.transport.protocol import Function
from sluice_client.video import writer

from tests.made import videos
from tests.made.broken_files import broken_exif
from tests.made.fake_server import png
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


def options(fake):
    return json.loads(fake.calls[-1].inputs["OPTIONS"][0])


# ------------------------------------------------------------------------------------------------------------- videos


def test_a_video_keeps_its_frames_times_audio_and_colours(fake, tmp_path, capsys):
    given = videos.write(tmp_path / "in.mp4", count=20, matrix=6, range_=2, pixels="yuvj420p")
    assert enhance("in.mp4", "--to", "2x", "--out", "out.mp4", "--json", "--crf", 1) == 0
    made = tmp_path / "out.mp4"
    assert videos.seconds(made) == videos.seconds(given) and len(videos.seconds(made)) == 20
    assert videos.sound(made) == videos.sound(given) != []
    assert videos.meaning(made) == (6, 2)
    # The networks here repeat every sample, and the encoder is told to lose hardly anything.
    for one, other in zip(videos.frames(made), videos.frames(given), strict=True):
        assert np.abs(one[::2, ::2].astype(int) - other).mean() < 4
    assert json.loads(capsys.readouterr().out) == {
        "out": "out.mp4", "frames": 20, "width": 96, "height": 64, "trouble": None,
        "mode": "auto", "done": ["frame_upscaler_clean"], "switched": [],
    }  # fmt: skip
    sent = options(fake)
    assert (sent["do"], sent["matrix"], sent["range"], sent["size"]) == ("both", "bt601", "full", [96, 64])
    assert sent["bitrate"] > 1000 and sent["fps"] == 30 and not list(tmp_path.glob(".*"))


def test_a_variable_frame_rate_stays(fake, tmp_path):
    stamps = [0, 3000, 9000, 10001, 27000, 30000]
    videos.write(tmp_path / "in.mp4", count=6, stamps=stamps, audio=False)
    assert enhance("in.mp4", "--out", "out.mp4") == 0
    assert videos.seconds(tmp_path / "out.mp4") == [Fraction(stamp, 90000) for stamp in stamps]
    assert options(fake)["do"] == "artefacts"


def test_a_video_that_is_coded_too_well_to_gain_is_said_to_be_left_alone(fake, tmp_path, capsys):
    videos.write(tmp_path / "in.mp4", count=4, audio=False, options={"crf": "0"})
    for mode, told in ((), True), (("--mode", "weak"), False):
        assert enhance("in.mp4", "--out", f"{told}.mp4", *mode) == 0
        assert ("no artefacts were removed" in capsys.readouterr().err) == told


def test_where_mode_auto_takes_other_networks_is_told(fake, tmp_path, capsys, monkeypatch):
    videos.write(tmp_path / "in.mp4", count=24, audio=False)
    enhanced = fake.enhancer.enhance

    def better_from_frame_8_on(inputs, check):
        options = json.loads(inputs["OPTIONS"][0])
        options["bitrate"] = 1e9 if options.get("first", 0) >= 8 else 1e2
        return enhanced(inputs | {"OPTIONS": strings([json.dumps(options)])}, check)

    monkeypatch.setattr(fake.enhancer, "enhance", better_from_frame_8_on)
    assert enhance("in.mp4", "--out", "out.mp4", "--json") == 0
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert facts["switched"] == [{"frame": 8, "done": []}] and facts["mode"] == "auto"
    assert facts["done"] == ["artifact_remover_strong"]
    assert "from frame 0 on: artifact_remover_strong (mode auto, by 0 kbit per frame)" in told.err
    assert "from frame 8 on: left as it is (mode auto, by 33,333 kbit per frame)" in told.err


def test_a_mode_that_was_named_is_no_choice_of_auto(fake, tmp_path, capsys):
    videos.write(tmp_path / "in.mp4", count=4, audio=False)
    assert enhance("in.mp4", "--out", "out.mp4", "--mode", "weak", "--json") == 0
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert (facts["mode"], facts["done"]) == ("weak", ["artifact_remover_weak"]) and "mode auto" not in told.err


def test_what_mode_auto_chose_for_each_picture_is_told(fake, tmp_path, capsys):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    (tmp_path / "in").mkdir()
    noise.save(tmp_path / "in" / "good.jpg", quality=100)
    for name in ("coarse", "rough"):
        Image.new("RGB", (64, 64)).save(tmp_path / "in" / f"{name}.jpg", quality=5)
    assert enhance("in", "--out", "better", "--json") == 0
    told = capsys.readouterr()
    facts, bad = json.loads(told.out), ["artifact_remover_weak"]
    assert facts["mode"] == "auto"
    assert facts["done"] == {"in/coarse.jpg": bad, "in/good.jpg": [], "in/rough.jpg": bad}
    assert "mode auto: artifact_remover_weak (2 of 3), left as it is (1 of 3)" in told.err
    assert enhance("in/good.jpg", "--out", "better") == 0
    assert "mode auto: left as it is\n" in capsys.readouterr().err


def test_pictures_that_are_coded_too_well_to_gain_are_counted(fake, tmp_path, capsys):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    noise.save(tmp_path / "good.jpg", quality=100)
    Image.new("RGB", (64, 64)).save(tmp_path / "coarse.jpg", quality=5)
    assert enhance("good.jpg", "coarse.jpg", "--out", "better") == 0
    assert "no artefacts were removed from 1 of them" in capsys.readouterr().err
    assert enhance("good.jpg", "--mode", "weak", "--out", "better") == 0
    assert "no artefacts" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("to", "size"),
    [("36p", (54, 36)), ("1.5x", (72, 48)), ("1.33x", (64, 42)), ("80x50", (80, 50)), (None, (48, 32))],
)
def test_sizes(fake, tmp_path, to, size):
    videos.write(tmp_path / "in.mp4", count=2, audio=False)
    assert enhance("in.mp4", *(("--to", to) if to else ()), "--out", "out.mkv") == 0
    assert videos.frames(tmp_path / "out.mkv")[0].shape == (size[1], size[0], 3)


def test_an_interrupted_video_goes_on_where_it_was(fake, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(writer, "PART", 4)
    given = videos.write(tmp_path / "in.mp4", count=30)
    words = ("in.mp4", "--to", "2x", "--out", "out.mp4")
    fake.fail_at = 19, ServerFailed("broken")
    assert enhance(*words) == 1
    assert not (tmp_path / "out.mp4").exists() and (tmp_path / ".out.mp4.journal").exists()
    with open(tmp_path / ".out.mp4.journal", "ab") as journal:
        journal.write(b"half a record")
    fake.fail_at, before = None, len(fake.calls)
    assert enhance(*words) == 0
    assert "going on after 16 finished frames" in capsys.readouterr().err  # whole requests of 8
    sent = [json.loads(call.inputs["OPTIONS"][0]) for call in fake.calls[before:]]
    assert sent[0]["first"] == 16
    made = tmp_path / "out.mp4"
    assert videos.seconds(made) == videos.seconds(given) and videos.sound(made) == videos.sound(given)
    for one, other in zip(videos.frames(made), videos.frames(given), strict=True):
        assert np.abs(one[::2, ::2].astype(int) - other).mean() < 12
    assert not list(tmp_path.glob(".*"))


def test_other_work_is_not_gone_on_with(fake, tmp_path, capsys):
    videos.write(tmp_path / "in.mp4", count=20, audio=False)
    fake.fail_at = 10, ServerFailed("broken")
    assert enhance("in.mp4", "--out", "out.mp4") == 1
    fake.fail_at = None
    assert enhance("in.mp4", "--out", "out.mp4", "--strength", 0.5) == 2
    assert "the unfinished part of other work" in capsys.readouterr().err
    assert enhance("in.mp4", "--out", "out.mp4", "--strength", 0.5, "--restart") == 0
    assert len(videos.seconds(tmp_path / "out.mp4")) == 20


def test_a_truncated_video_gives_what_there_is_and_says_so(fake, tmp_path, capsys):
    whole = videos.write(tmp_path / "whole.ts", count=60, audio=False)
    data = whole.read_bytes()
    (tmp_path / "in.ts").write_bytes(data[: len(data) // 2])
    assert enhance("in.ts", "--out", "out.mp4") in (0, 1)
    assert 10 < len(videos.seconds(tmp_path / "out.mp4")) < 60
    # With its index in front, a file tells how much of it there should be.
    mp4 = videos.write(tmp_path / "front.mp4", count=60, audio=False, container={"movflags": "faststart"}).read_bytes()
    (tmp_path / "in.mp4").write_bytes(mp4[: len(mp4) * 2 // 3])
    assert enhance("in.mp4", "--out", "out.mp4") == 1
    assert "in.mp4 ends early:" in capsys.readouterr().err
    # Without it, as a recorder that lost power leaves a file, there is nothing to begin with.
    mp4 = videos.write(tmp_path / "whole.mp4", count=20, audio=False).read_bytes()
    (tmp_path / "in.mp4").write_bytes(mp4[: len(mp4) * 2 // 3])
    assert enhance("in.mp4", "--out", "out.mp4") == 2
    assert "in.mp4 holds no video, or was cut off before its index" in capsys.readouterr().err


def test_interlaced_video_is_refused_with_the_remedy(fake, tmp_path, capsys):
    videos.write(tmp_path / "in.mp4", count=4, audio=False, options={"x264-params": "interlaced=1"})
    assert enhance("in.mp4", "--out", "out.mp4") == 2
    assert "is interlaced (frame 0); deinterlace it first" in capsys.readouterr().err


def test_ten_bits_become_eight_and_it_is_said(fake, tmp_path, capsys):
    videos.write(tmp_path / "in.mp4", count=3, audio=False, pixels="yuv420p10le")
    assert enhance("in.mp4", "--out", "out.mp4") == 0
    assert "its pixels are yuv420p10le; they become 4:2:0 with 8 bits" in capsys.readouterr().err
    made, given = videos.frames(tmp_path / "out.mp4"), videos.frames(tmp_path / "in.mp4")
    assert np.abs(made[1].astype(int) - given[1]).mean() < 6


def test_a_size_that_changes_in_mid_stream_becomes_one_size(fake, tmp_path):
    parts = [videos.write(tmp_path / f"{i}.h264", 5, size, audio=False) for i, size in enumerate([(48, 32), (64, 48)])]
    (tmp_path / "in.ts").write_bytes(b"")
    with av.open(str(tmp_path / "in.ts"), "w") as out:
        stream = out.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        out.start_encoding()
        for i, path in enumerate(parts):
            with av.open(str(path)) as given:
                for j, packet in enumerate(one for one in given.demux(video=0) if one.size):
                    fresh = av.Packet(bytes(packet))
                    fresh.pts = fresh.dts = (i * 5 + j) * 3000
                    fresh.time_base, fresh.stream, fresh.is_keyframe = Fraction(1, 90000), stream, j == 0
                    out.mux(fresh)
    assert enhance("in.ts", "--to", "2x", "--out", "out.mp4") == 0
    frames = videos.frames(tmp_path / "out.mp4")
    assert {frame.shape for frame in frames} == {(64, 96, 3)} and 9 <= len(frames) <= 10


def test_a_page_compares_frames(fake, tmp_path):
    videos.write(tmp_path / "in.mp4", count=12, audio=False)
    assert enhance("in.mp4", "--to", "2x", "--out", "out.mp4", "--compare", "page.html") == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count('class="compared"') == 8 and "48 x 32 before, 96 x 64 after" in page
    assert "http" not in page.replace("http-equiv", "")  # it needs nothing from elsewhere


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["in.mp4", "x.jpg", "--out", "out.mp4"], "One video at a time"),
        (["in.mp4", "--out", "out.png"], "--out of a video ends with .mp4"),
        (["in.mp4", "--out", "in.mp4"], "--out must be another file"),
        (["in.mp4", "--out", "no/out.mp4"], "there is no folder no"),
        (["in.mp4", "--out", "out.mp4", "--crf", "99"], "--crf must lie in 0..51"),
        (["in.mp4", "--out", "out.mp4", "--to", "81x50"], "A video has even sides"),
        (["in.mp4", "--out", "out.mp4", "--to", "4000p"], "at most 4 times as large"),
        (["in.mp4", "--out", "out.mp4", "--strength", "7"], "strength must lie in 0..1"),
        (["missing.mp4", "--out", "out.mp4"], "missing.mp4 cannot be read as a video: No such file"),
        (["junk.mp4", "--out", "out.mp4"], "junk.mp4 cannot be read as a video"),
        (["sound.mp4", "--out", "out.mp4"], "holds no video"),
    ],
)
def test_wrong_words_get_a_sentence(fake, tmp_path, capsys, words, sentence):
    videos.write(tmp_path / "in.mp4", count=2)
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 100)
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        out.mux([*stream.encode(frame), *stream.encode(None)])
    assert enhance(*words) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "out.mp4").exists()


# ------------------------------------------------------------------------------------------------------------- images


def test_a_folder_of_pictures_becomes_another(fake, tmp_path, capsys):
    (tmp_path / "frames").mkdir()
    for i, size in enumerate([(20, 10), (9, 30)]):
        (tmp_path / "frames" / f"{i}.png").write_bytes(png(i, size))
    (tmp_path / "frames" / "bad.jpg").write_bytes(b"junk")
    assert enhance("frames", "--to", "15p", "--out", "better/", "--json", "--compare", "page.html") == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["images"] == 2 and "bad.jpg: not an image" in said.err
    assert {path.name: Image.open(path).size for path in (tmp_path / "better").iterdir()} == {
        "0.png": (30, 15),
        "1.png": (15, 50),
    }
    assert (tmp_path / "page.html").read_text().count('class="compared"') == 2


def test_pictures_as_jpeg_at_their_own_size(fake, tmp_path):
    (tmp_path / "a.png").write_bytes(png(1, (7, 5)))
    assert enhance("a.png", "--out", "b", "--format", "jpeg") == 0
    with Image.open(tmp_path / "b" / "a.jpg") as image:
        assert (image.size, image.format) == ((7, 5), "JPEG")


def test_three_pictures_of_two_folders_get_three_names(fake, tmp_path, capsys):
    for i, name in enumerate(("a/1.jpg", "b/1.jpg", "b/1-2.jpg")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (i * 80, 0, 0)).save(tmp_path / name, quality=95)
    for words in (["a", "b"], ["a/1.jpg", "b/1.jpg", "b/1-2.jpg"]):
        assert enhance(*words, "--out", "o/", "--mode", "weak") == 0
        made = {path.name: np.asarray(Image.open(path))[..., 0].mean() / 80 for path in (tmp_path / "o").iterdir()}
        assert "b/1.jpg becomes o/1-3.png, since another image has its name" in capsys.readouterr().err
        assert {name: round(red) for name, red in made.items()} == {"1.png": 0, "1-2.png": 2, "1-3.png": 1}


def test_an_output_never_takes_the_place_of_an_input(fake, tmp_path, capsys):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.png").write_bytes(png(1, (7, 5)))
    before = (tmp_path / "d" / "a.png").read_bytes()
    for given, out in (("d", "d"), ("d", "d/"), ("d/a.png", "d"), ("d/a.png", "d/a.png")):
        assert enhance(given, "--out", out) == 2
        assert "would take the place of" in capsys.readouterr().err
    assert (tmp_path / "d" / "a.png").read_bytes() == before and len(list((tmp_path / "d").iterdir())) == 1
    assert enhance("d/a.png", "--out", "d/b.png") == 0 and (tmp_path / "d" / "b.png").is_file()
    assert not fake.calls[1:], "refused before the work"


def test_the_size_is_that_of_the_upright_picture(fake, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 40)).save(tmp_path / "side.jpg", exif=exif)
    assert enhance("side.jpg", "--to", "45p", "--out", "o/") == 0
    assert Image.open(tmp_path / "o" / "side.png").size == (60, 45)


def test_metadata_that_cannot_be_read_cost_a_note_and_no_picture(fake, tmp_path, capsys):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "bad.png").write_bytes(broken_exif((40, 30), "PNG"))
    (tmp_path / "d" / "good.png").write_bytes(png(1, (40, 30)))
    assert enhance("d", "--to", "45p", "--out", "o") == 0
    said = capsys.readouterr().err
    assert said.count("d/bad.png: its EXIF data cannot be read and was ignored") == 1
    assert {path.name: Image.open(path).size for path in (tmp_path / "o").iterdir()} == {
        "bad.png": (60, 45), "good.png": (60, 45),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("o.mp4", "images become .png or .jpg, or a folder of them, written o.mp4/"),
        ("o.mkv", "images become"),
        ("o.png", "2 images need a folder; write o.png/"),
    ],
)
def test_a_folder_is_never_made_of_a_file_name(fake, tmp_path, capsys, out, sentence):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png(1, (7, 5)))
    assert enhance("a.png", "b.png", "--out", out) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / out).exists()


def test_one_picture_becomes_a_file_as_its_name_ends(fake, tmp_path):
    (tmp_path / "a.png").write_bytes(png(1, (7, 5)))
    for name, form in (("b.png", "PNG"), ("b.jpg", "JPEG")):
        assert enhance("a.png", "--out", name) == 0
        assert Image.open(tmp_path / name).format == form
    assert enhance("a.png", "--out", "b.png", "--format", "jpeg") == 2


def test_long_names_are_written(fake, tmp_path):
    name = "x" * 240
    (tmp_path / f"{name}.png").write_bytes(png(1, (7, 5)))
    assert enhance(f"{name}.png", "--out", "o/") == 0 and (tmp_path / "o" / f"{name}.png").is_file()
    videos.write(tmp_path / "in.mp4", count=4, audio=False)
    long = "y" * 251 + ".mp4"  # its journal's name would be too long for the file system
    assert enhance("in.mp4", "--out", long) == 0 and (tmp_path / long).is_file()
    assert not list(tmp_path.glob(".*"))
