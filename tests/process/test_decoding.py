"""Pictures that are made to cost: told from others by their headers, refused, or decoded where that does no harm."""

import asyncio
import io
import os
import signal
import struct
import time

import numpy as np
import pytest
from PIL import Image

from sluice import image_headers, images
from sluice.errors import Cancelled, InvalidArgument, Unavailable
from sluice.process import callers, decoding, decoding_process
from sluice.wire import video_frames
from tests.made.broken_files import many_scans

# Work for a process apart, which knows nothing of this file: expressions, for `eval`.
DYING = b"[__import__('os').kill(__import__('os').getpid(), %d), __import__('time').sleep(60)]"
SLEEPING = b"[open('%s', 'w').write(str(__import__('os').getpid())), __import__('time').sleep(60)]"
RANDOM = np.random.default_rng(5)


def encoded(size, form, mode="RGB", **options):
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    file = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 256, (size[1], size[0], *channels), np.uint8)).save(file, form, **options)
    return file.getvalue()


def exif(entries, orientation=6):
    tiff = b"II*\0" + struct.pack("<IH", 8, entries)
    return b"Exif\0\0" + tiff + struct.pack("<HHII", 0x0112, 3, 1, orientation) * entries + b"\0\0\0\0"


@pytest.fixture
def decoders():
    """Start one decoding process whose limits the test sets."""
    made = []

    def make(**limits):
        made.append(decoding.Decoders(1, **limits))
        return made[-1]

    yield make
    for one in made:
        one.close()


def run(decoders, work, data, *args):
    return asyncio.run(decoders.run(work, data, args, {}))


# ------------------------------------------------------------------------------------------------ what headers say


@pytest.mark.parametrize(
    "form, mode",
    [(form, mode) for form in ("JPEG", "PNG", "WEBP") for mode in ("L", "RGB")] + [("PNG", "RGBA"), ("WEBP", "RGBA")],
)
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"lossless": True}, {"exif": exif(1)}], ids=str)
def test_the_header_of_a_usual_picture_says_its_size_and_that_it_is_light(form, options, mode):
    data = encoded((331, 170), form, mode, **options)
    header = image_headers.read(data)
    assert header.form == form and header.plain and header.light
    assert header.size == ((170, 331) if "exif" in options else (331, 170)) == images.original_size(data)
    grey = mode == "L"  # what libjpeg's own script writes
    assert header.scans == ((6 if grey else 10) if form == "JPEG" and "progressive" in options else 1)


def test_scans_are_counted_as_the_decoder_meets_them():
    data = many_scans((64, 64), 20)
    assert image_headers.read(data).scans == 20
    behind = data + b"\xff\xda\0\2" * 100  # as of a film that a telephone appends: nothing reads it
    assert image_headers.read(behind).scans == 20 and image_headers.read(behind).light
    comment = b"\xff\xda" * 100
    inside = data[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(comment)) + comment + data[2:]
    assert image_headers.read(inside).scans == 20
    assert images.read(behind)[0].tobytes() == images.read(inside)[0].tobytes() == images.read(data)[0].tobytes()


@pytest.mark.parametrize(
    "data",
    [
        many_scans((8000, 8000), 6),  # of many pixels
        many_scans((3000, 3000), 30),  # of many pixels times scans
        encoded((2000, 1500), "PNG"),
        encoded((64, 48), "JPEG", exif=exif(2000)),  # each entry of a directory may name all bytes of the file
        encoded((64, 48), "JPEG")[:500],
        encoded((64, 48), "JPEG")[:2] + b"\xff\xfe\0\2" * 5000 + encoded((64, 48), "JPEG")[2:],  # of many parts
    ],
    ids=["pixels", "scans", "png", "exif", "cut", "parts"],
)
def test_what_may_cost_more_is_not_light(data):
    assert not image_headers.read(data).light


def test_an_animation_is_not_light():
    file = io.BytesIO()
    frames = [Image.fromarray(RANDOM.integers(0, 256, (48, 64, 3), np.uint8)) for _ in range(3)]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    assert not image_headers.read(file.getvalue()).light


def test_headers_of_anything_are_read_in_no_time():
    begun = time.process_time()
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"):
        for filling in (
            b"\0",
            b"\xff",
            b"\xff\xe0\0\2",
            b"\0\0\0\0IDAT\0\0\0\0",
            b"\xff\xda\0\2",
            RANDOM.bytes(1 << 16),
        ):
            header = image_headers.read(start + filling * ((8 << 20) // len(filling)))
            assert header.scans > image_headers.MOST_SCANS or not header.light
    assert time.process_time() - begun < 5
    assert image_headers.read(b"") is None and image_headers.read(b"GIF89a") is None


def test_a_jpeg_of_too_many_scans_is_refused_before_it_costs_anything():
    bomb = many_scans((8000, 8000), 2500)
    assert len(bomb) < 500_000
    begun = time.process_time()
    for work in (images.read, video_frames.decode):
        limits = images.Config() if work is images.read else images.Limits(1 << 25, 64_000_000)
        with pytest.raises(InvalidArgument, match=r"more than 64 scans.*save it anew"):
            asyncio.run(decoding.run(work, bomb, limits))
    assert time.process_time() - begun < 1


# ------------------------------------------------------------------------------------------------ a process apart


def test_a_process_gives_what_the_function_gives(decoders):
    data, broken = encoded((300, 200), "PNG", "RGBA"), encoded((300, 200), "PNG")[:3000]
    apart = decoders()
    (canvas, geometry), (expected, place) = run(apart, images.read, data), images.read(data)
    assert geometry == place and canvas.tobytes() == expected.tobytes()
    picture = run(apart, video_frames.decode, data, images.Limits(1 << 25, 64_000_000))
    assert picture.beside.alpha is not None and picture.luma.shape == (200, 300)
    with pytest.raises(InvalidArgument) as apart_error:
        run(apart, images.read, broken)
    with pytest.raises(InvalidArgument) as here:
        images.read(broken)
    assert str(apart_error.value) == str(here.value)


def test_time_and_memory_are_limited_and_the_next_picture_is_decoded(decoders):
    apart = decoders(memory=50 << 20, seconds=1.0)
    with pytest.raises(InvalidArgument, match=r"9,000,000 pixels, takes more than 50 MiB of memory.*smaller"):
        run(apart, images.read, encoded((3000, 3000), "PNG", "L", compress_level=1))
    with pytest.raises(InvalidArgument, match="takes more than 1 s of computing"):
        run(apart, eval, b"sum(iter(int, 1))")
    assert run(apart, images.read, encoded((30, 20), "PNG"))[1].width == 30


def test_a_process_that_breaks_refuses_one_picture_and_one_that_is_killed_asks_for_another_try(decoders):
    apart = decoders()
    with pytest.raises(InvalidArgument, match="signal 11"):
        run(apart, eval, DYING % signal.SIGSEGV)
    with pytest.raises(Unavailable, match="try again"):
        run(apart, eval, DYING % signal.SIGKILL)
    assert run(apart, images.read, encoded((30, 20), "PNG"))[1].width == 30


def test_the_process_is_killed_when_the_caller_goes(decoders, tmp_path):
    class Gone:
        def check_cancelled(self):
            if os.path.exists(name) and os.path.getsize(name):
                raise Cancelled("the request was cancelled")

    async def abandoned():
        with callers.working_for(Gone()):
            await apart.run(eval, SLEEPING % name.encode(), (), {})

    apart, name = decoders(), str(tmp_path / "begun")
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        asyncio.run(abandoned())
    assert run(apart, images.read, encoded((30, 20), "PNG"))[1].width == 30
    assert time.monotonic() - begun < 10  # and not the minute for which it would have slept
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "begun").read_text()), 0)


def test_a_line_tells_who_works_whether_somebody_waits():
    line = callers.Line()
    assert not any(callers.gone(line.name) for _ in range(300))
    line.close()
    assert callers.gone(line.name) and callers.gone("0" * 32)


def test_the_process_knows_its_limits():
    assert decoding.MEMORY > 1 << 30 and decoding_process.IDLE > 1  # the largest picture with transparency takes 1.1e9
