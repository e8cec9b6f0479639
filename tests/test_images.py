"""Encoded images become canvases, and coordinates find their way back."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sluice import images
from sluice.errors import InvalidArgument
from sluice.images import Config, Geometry
from tests.made.broken_files import bomb, broken_exif

SIZES = Config().sizes


def encoded(array, format="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(buffer, format, **options)
    return buffer.getvalue()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(st.integers(1, 8000), st.integers(1, 8000))
def test_every_image_lies_inside_its_canvas_with_its_aspect_kept(width, height):
    (canvas_width, canvas_height), geometry = images.place(width, height, SIZES)
    (left, top), (right, bottom) = geometry.to_canvas([[0, 0], [width, height]])
    assert 0 <= left < right <= canvas_width + 1e-6 and 0 <= top < bottom <= canvas_height + 1e-6
    assert np.isclose(right - left, canvas_width) or np.isclose(bottom - top, canvas_height)
    scale = min(canvas_width / width, canvas_height / height)
    assert abs(right - left - width * scale) <= 1 and abs(bottom - top - height * scale) <= 1


@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(0, 1), st.floats(0, 1))
def test_a_point_finds_its_way_back(width, height, across, down):
    _, geometry = images.place(width, height, SIZES)
    point = np.array([across * width, down * height])
    back = Geometry.from_array(geometry.as_array()).to_image(geometry.to_canvas(point))
    assert np.allclose(back, point, atol=1e-2, rtol=1e-4)


@given(st.integers(8, 4000), st.integers(8, 4000), st.floats(0, 1), st.floats(0, 1))
def test_a_stretched_image_fills_its_canvas_and_a_point_finds_its_way_back(width, height, across, down):
    _, geometry = images.place(width, height, [(300, 300)], keep_aspect=False)
    assert np.allclose(geometry.to_canvas([[0, 0], [width, height]]), [[0, 0], [300, 300]])
    point = np.array([across * width, down * height])
    assert np.allclose(geometry.to_image(geometry.to_canvas(point)), point, atol=1e-6)


def test_a_network_may_want_other_sizes():
    config = Config(canvases="300x300", multiple=1, keep_aspect=False)
    canvas, geometry = images.read(encoded(noise(90, 200)), config)
    assert canvas.shape == (300, 300, 3) and (geometry.scale_x, geometry.scale_y) == (1.5, 300 / 90)
    with pytest.raises(ValueError, match="multiples of 32, got '300x300'"):
        _ = Config(canvases="300x300").sizes
    with pytest.raises(ValueError, match="WIDTHxHEIGHT"):
        _ = Config(canvases="0x0", multiple=1).sizes


def test_an_image_of_the_canvas_size_is_not_touched():
    width, height = SIZES[0]
    pixels = noise(height, width)
    canvas, geometry = images.read(encoded(pixels))
    assert np.array_equal(canvas, pixels)
    assert geometry == Geometry(width, height, 1.0, 1.0, 0, 0)


def test_the_padding_is_grey_and_its_cells_are_not_valid():
    canvas, geometry = images.read(encoded(noise(300, 900)))
    outside = images.valid_cells(geometry, (canvas.shape[0] // 8, canvas.shape[1] // 8), 8)
    assert (canvas[: int(geometry.top)] == images.GREY).all()
    first, last = np.flatnonzero(outside.any(1))[[0, -1]]
    assert abs(first * 8 - geometry.top) <= 8 and abs((last + 1) * 8 - (geometry.top + 300 * geometry.scale_y)) <= 8


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_every_image_has_a_valid_cell(width, height):
    canvas, geometry = images.place(width, height, SIZES)
    assert images.valid_cells(geometry, (canvas[1] // 8, canvas[0] // 8), 8).any()


def test_a_rotated_photograph_is_shown_upright():
    pixels = noise(60, 80)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    canvas, geometry = images.read(encoded(pixels, "JPEG", exif=exif, quality=95))
    assert (geometry.width, geometry.height) == (60, 80)
    upright, _ = images.read(encoded(np.rot90(pixels, -1), "JPEG", quality=95))
    # Two JPEGs of the same pixels, one turned: equal but for the blocks' rounding.
    assert np.abs(canvas.astype(int) - upright).mean() < 6


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("L", (64, 48), 200), (200, 200, 200)),
        (Image.new("RGBA", (64, 48), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("RGBA", (64, 48), (255, 0, 0, 0)), (images.GREY,) * 3),
        (Image.new("P", (64, 48), 0), None),
        (Image.new("1", (64, 48), 1), (255, 255, 255)),
        (Image.fromarray(np.full((48, 64), 0x8000, np.uint16)), (128, 128, 128)),
    ],
)
def test_every_kind_of_pixel_becomes_rgb(image, colour):
    canvas, _ = images.read(encoded(image))
    assert canvas.dtype == np.uint8 and canvas.shape[2] == 3
    if colour:
        assert tuple(canvas[canvas.shape[0] // 2, canvas.shape[1] // 2]) == colour


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "0 bytes"),
        (b"not a picture at all", "not an image"),
        (encoded(noise(200, 300), "JPEG")[:4000], "damaged or truncated"),
        (encoded(noise(200, 300), "PNG")[:4000], "damaged or truncated"),
        (encoded(noise(20, 30), "BMP"), "not an image"),
        (bomb(30_000, 30_000), "more than the limit"),
        (bomb(9_000, 9_000), "more than the limit"),
        (encoded(noise(1, 300)), "1:100"),
    ],
)
def test_what_is_not_an_image_gets_a_sentence(data, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        images.read(data)


def test_the_limit_of_bytes_is_checked_first():
    with pytest.raises(InvalidArgument, match="more than the limit of 10"):
        images.read(b"x" * 11, Config(max_bytes=10))


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_decoder(data):
    with pytest.raises(InvalidArgument):
        images.read(b"\xff\xd8\xff\xe0" + data)


def test_a_canvas_that_the_network_cannot_take_is_refused():
    with pytest.raises(ValueError, match="multiples of 32"):
        _ = Config(canvases="640x470").sizes


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_metadata_that_cannot_be_read_count_for_nothing(form):
    data = broken_exif((640, 480), form)
    assert images.original_size(data) == (640, 480)
    plain = Image.open(io.BytesIO(data))
    assert np.array_equal(images.decode(data), np.asarray(plain.convert("RGB"))) or form == "JPEG"
    assert images.orientation(Image.open(io.BytesIO(data))) is None
    assert images.read(data)[1].width == 640


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_none(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert images.original_size(encoded(np.zeros((4, 6, 3), np.uint8), "PNG", exif=exif)) == (6, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3)
    data = encoded(pixels, "PNG", exif=exif)
    shown = [
        *(pixels, pixels[:, ::-1], pixels[::-1, ::-1], pixels[::-1]),
        *(p.swapaxes(0, 1) for p in (pixels, pixels[::-1], pixels[::-1, ::-1], pixels[:, ::-1])),
    ][orientation - 1]
    assert np.array_equal(images.decode(data), shown) and images.original_size(data) == shown.shape[1::-1]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "P transparent", "CMYK", "1", "I;16", "I"])
def test_a_large_picture_becomes_rgb_in_strips_as_it_would_whole(monkeypatch, mode):
    values = np.random.default_rng(1).integers(0, 256, (37, 23, 4), np.uint8)
    colour = Image.fromarray(values)
    if mode.startswith("I"):
        image = Image.fromarray(values[..., 0].astype(np.uint16 if mode == "I;16" else np.int32) * 250)
    else:
        image = colour.convert("RGB").convert(mode.split()[0]) if mode != "RGBA" else colour
        image = colour.convert("LA") if mode == "LA" else image
    if mode == "P transparent":
        image.info["transparency"] = 7
    whole = images.rgb(image)
    monkeypatch.setattr(images, "STRIP", 100)
    strips = images.rgb(image)
    assert strips.mode == "RGB" and strips.tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    ("longest", "size"), [(None, (1600, 1200)), (800, (1600, 1200)), (300, (800, 600)), (100, (400, 300))]
)
def test_a_jpeg_keeps_its_full_size_unless_the_caller_wants_less(longest, size):
    data = encoded(noise(1200, 1600), "JPEG")
    assert images.decode(data, longest=longest).size == size
    assert images.decode(encoded(noise(1200, 1600), "PNG"), longest=longest).size == (1600, 1200)


def test_limits_hold_without_any_canvas():
    data = encoded(noise(30, 40))
    assert images.decode(data, images.Limits(max_bytes=len(data), max_pixels=1200)).size == (40, 30)
    with pytest.raises(InvalidArgument, match="more than the limit of 1,199"):
        images.decode(data, images.Limits(max_pixels=1199))
    with pytest.raises(InvalidArgument, match="more than the limit of 10;"):
        images.decode(data, images.Limits(max_bytes=10))
