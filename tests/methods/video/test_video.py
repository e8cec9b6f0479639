"""The maths of `enhance`: colours in closed form, areas, exact tiles, the choice of networks."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.methods.video.modes import (
    CLEAN,
    COARSE_STILL,
    DO,
    FULL,
    GOOD,
    LOSSY,
    SLOPE,
    STRONG,
    WEAK,
    choose,
    level,
    share,
)
from sluice.methods.video.planes import MATRICES, RANGES, RGB, Colour, Picture, doubled, halved, planes_size, usual
from sluice.methods.video.scaling import SCALES, area, resized, scaled, shares
from sluice.methods.video.tiles import ALIGN, tiles
from sluice.methods.video.tiles import halved as halved_part

SIZES = [(1, 1), (1, 2), (2, 1), (5, 7), (7, 5), (16, 16), (17, 30)]
RANDOM = np.random.default_rng(5)


def noise(*shape):
    return RANDOM.integers(0, 256, shape, np.uint8)


def picture(height, width, colour=RGB):
    if colour == RGB:
        return Picture.of_rgb(noise(height, width, 3))
    return Picture.of_planes(noise(planes_size(height, width)), height, width, colour)


# ------------------------------------------------------------------------------------------------ colours

# Studio colours of the standards: RGB and their Y'CbCr of 8 bits, limited range.
BARS = {
    "bt601": {(255, 0, 0): (81, 90, 240), (0, 255, 0): (145, 54, 34), (0, 0, 255): (41, 240, 110)},
    "bt709": {(255, 0, 0): (63, 102, 240), (0, 255, 0): (173, 42, 26), (0, 0, 255): (32, 240, 118)},
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_primaries_have_the_codes_of_the_standard(matrix):
    colour = Colour(matrix, "limited")
    for rgb, codes in BARS[matrix].items():
        found = colour.from_rgb @ (*(level / 255 for level in rgb), 1)
        assert np.rint(found).tolist() == list(codes)
        np.testing.assert_allclose(colour.to_rgb @ (*codes, 1) * 255, rgb, atol=1.5)


@pytest.mark.parametrize(("matrix", "range_"), list(itertools.product(MATRICES, RANGES)))
def test_grey_is_grey_and_the_map_has_an_inverse(matrix, range_):
    colour = Colour(matrix, range_)
    black, white = (16, 235) if range_ == "limited" else (0, 255)
    np.testing.assert_allclose(colour.to_rgb @ (black, 128, 128, 1), 0, atol=1e-12)
    np.testing.assert_allclose(colour.to_rgb @ (white, 128, 128, 1), 1, atol=1e-12)
    both = colour.from_rgb[:, :3] @ colour.to_rgb[:, :3]
    np.testing.assert_allclose(both, np.eye(3), atol=1e-12)


def test_jpeg_s_conversion_is_full_range_bt601():
    from PIL import Image

    pixels = np.repeat(np.repeat(noise(9, 13, 3), 2, axis=0), 2, axis=1)  # 2 x 2 alike: chroma loses nothing
    theirs = np.asarray(Image.fromarray(pixels).convert("YCbCr"))
    flat = Picture.of_rgb(pixels).planes(Colour("bt601", "full"))
    ours = Picture.of_planes(flat, *pixels.shape[:2], Colour("bt601", "full"))
    assert np.abs(ours.luma.astype(int) - theirs[..., 0]).max() <= 1
    assert np.abs(ours.chroma.astype(int) - theirs[::2, ::2, 1:]).max() <= 1


@pytest.mark.parametrize(("size", "matrix", "range_"), list(itertools.product(SIZES, MATRICES, RANGES)))
def test_planes_go_to_pixels_and_back_to_one_level(size, matrix, range_):
    # Smooth, and inside of what RGB can show, so that neither 4:2:0 nor clipping takes anything away.
    colour = Colour(matrix, range_)
    grey = np.broadcast_to(noise(3) // 4 + 90, (*size, 3))
    flat = Picture.of_rgb(grey).planes(colour)
    assert flat.dtype == np.uint8 and flat.shape == (planes_size(*size),)
    again = Picture.of_planes(flat, *size, colour)
    assert np.abs(again.rgb().astype(int) - grey).max() <= 2
    np.testing.assert_array_equal(again.planes(colour), flat)


@pytest.mark.parametrize("size", SIZES)
def test_planes_of_a_picture_are_its_bytes_in_order(size):
    flat = noise(planes_size(*size))
    made = Picture.of_planes(flat, *size, Colour("bt709", "limited"))
    assert made.chroma.shape == (-(-size[0] // 2), -(-size[1] // 2), 2)
    np.testing.assert_array_equal(made.planes(made.colour), flat)


def test_pixels_stay_as_they_are():
    pixels = noise(5, 7, 3)
    np.testing.assert_array_equal(Picture.of_rgb(pixels).rgb(), pixels)


def test_a_ramp_of_chroma_is_interpolated_where_its_samples_lie():
    small = np.arange(6, dtype=np.float32)[None, :, None] * 4
    # A sample lies between two pixels: its neighbours are a quarter of a step away. The ends are repeated.
    large = doubled(small)[0, :, 0]
    assert large.tolist() == [0, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 20]
    assert halved(doubled(small))[0, 1:-1, 0].tolist() == [4, 8, 12, 16]


def test_a_video_without_a_word_is_taken_as_players_do():
    assert [usual(height) for height in (480, 576, 719, 720, 1080)] == ["bt601"] * 3 + ["bt709"] * 2


# ------------------------------------------------------------------------------------------------ areas


def by_hand(line, parts):
    """Return means over the parts of a line, computed with fractions."""
    n, means = len(line), []
    for i in range(parts):
        low, high = Fraction(i * n, parts), Fraction((i + 1) * n, parts)
        means.append(sum(max(0, min(high, j + 1) - max(low, j)) * int(line[j]) for j in range(n)) * Fraction(parts, n))
    return [float(mean) for mean in means]


@pytest.mark.parametrize(("length", "parts"), [(1, 1), (6, 4), (8, 6), (7, 5), (16, 3), (9, 9), (10, 1), (1280, 853)])
def test_a_part_is_the_mean_of_what_it_covers(length, parts):
    line = noise(length)
    places, weights = shares(length, parts)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose((line[places] * weights).sum(axis=1), by_hand(line, parts), atol=1e-3)
    found = area(np.ascontiguousarray(line[None]), 1, parts)[0]
    assert np.abs(found - np.array(by_hand(line, parts))).max() <= 0.5 + 1e-3


def test_areas_are_taken_along_both_sides():
    plane = noise(12, 9, 2)
    expected = plane.reshape(4, 3, 3, 3, 2).mean(axis=(1, 3))
    assert np.abs(area(plane, 4, 3) - expected).max() <= 0.5 + 1e-4
    assert np.all(area(np.full((10, 10), 7, np.uint8), 7, 3) == 7)


def test_nothing_is_scaled_up_by_area():
    with pytest.raises(ValueError, match=r"to 1\.\.4 by area, not to 5"):
        area(noise(4, 4), 4, 5)


def test_scales_reach_the_sizes_that_people_mean():
    assert [scaled(1080, SCALES[name]) for name in ("1", "4/3", "3/2", "2")] == [1080, 1440, 1620, 2160]
    assert (scaled(1920, SCALES["4/3"]), scaled(720, SCALES["3/2"]), scaled(1, SCALES["4/3"])) == (2560, 1080, 1)


@pytest.mark.parametrize("colour", [RGB, Colour("bt709", "limited")])
def test_a_resized_picture_has_planes_that_fit(colour):
    small = resized(picture(14, 10, colour), 9, 7)
    assert small.luma.shape == (9, 7) and small.chroma.shape == ((5, 4, 2) if small.halved else (9, 7, 2))
    assert small.colour == colour


# ------------------------------------------------------------------------------------------------ tiles


@pytest.mark.parametrize(
    ("height", "width", "most", "radius"),
    [(1, 1, 64, 9), (64, 64, 4096, 9), (100, 140, 4096, 8), (101, 75, 2500, 5), (720, 33, 4000, 17),
     (6000, 8000, 1 << 20, 70), (3, 9000, 4096, 20)],
)  # fmt: skip
def test_tiles_cover_the_picture_once_and_see_the_radius_around(height, width, most, radius):
    found = tiles(height, width, most, radius)
    count = np.zeros((height, width), np.uint8)
    for tile in found:
        (rows, columns), (seen_rows, seen_columns) = tile.kept, tile.seen
        count[rows, columns] += 1
        for kept, seen, length in ((rows, seen_rows, height), (columns, seen_columns, width)):
            assert kept.start - seen.start >= radius or seen.start == 0
            assert seen.stop - kept.stop >= radius or seen.stop == length
            assert seen.start % ALIGN == kept.start % ALIGN == 0
            assert all(end % ALIGN == 0 or end == length for end in (kept.stop, seen.stop))
        assert (seen_rows.stop - seen_rows.start) * (seen_columns.stop - seen_columns.start) <= most
    assert np.all(count == 1)


def test_a_picture_that_fits_is_one_tile():
    assert len(tiles(720, 1280, 1 << 20, 200)) == 1


def test_a_tile_smaller_than_its_margins_is_refused():
    with pytest.raises(ValueError, match="too few for a receptive radius of 100"):
        tiles(1000, 1000, 4096, 100)


def blurred(plane, radius):
    """Run a network of exactly this receptive radius: a box filter with zeros around, wrapping grey levels."""
    wide = np.pad(plane.astype(np.int64), ((radius, radius), (radius, radius), (0, 0)))
    total = sum(
        wide[i : i + plane.shape[0], j : j + plane.shape[1]] * (1 + i + 3 * j)
        for i in range(2 * radius + 1)
        for j in range(2 * radius + 1)
    )
    return (total % 256).astype(np.uint8)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("size", [(61, 45), (40, 64)])
def test_tiled_equals_whole(scale, size):
    plane, radius = noise(*size, 1), 3
    whole = blurred(plane, radius).repeat(scale, axis=0).repeat(scale, axis=1)
    out = np.zeros_like(whole)
    found = tiles(*size, 1200, radius)
    for tile in found:
        made = blurred(plane[tile.seen], radius).repeat(scale, axis=0).repeat(scale, axis=1)
        out[tile.outer(scale)] = made[tile.inner(scale)]
    assert len(found) > 2
    np.testing.assert_array_equal(out, whole)


def test_the_planes_of_half_size_are_cut_where_the_whole_ones_are():
    luma, small = noise(45, 61), noise(23, 31)
    for tile in tiles(45, 61, 1200, 3):
        seen = luma[tile.seen]
        assert small[halved_part(tile.seen)].shape == tuple(-(-side // 2) for side in seen.shape)


# ------------------------------------------------------------------------------------------------ modes


@pytest.mark.parametrize(
    ("size", "mbit", "artefacts", "upscale", "both"),
    [
        ((1280, 720), 0.07, (STRONG,), LOSSY, (STRONG, LOSSY)),
        ((1280, 720), 0.2, (WEAK,), LOSSY, (WEAK, LOSSY)),
        ((1280, 720), 0.5, (WEAK,), LOSSY, (LOSSY,)),
        ((1280, 720), 1.2, (WEAK,), LOSSY, (LOSSY,)),
        ((1280, 720), 2, (), CLEAN, (CLEAN,)),
        ((1920, 1080), 2.5, (WEAK,), LOSSY, (LOSSY,)),  # plenty for 720p, not for 1080p
        ((1920, 1080), 4, (), CLEAN, (CLEAN,)),
    ],
)
def test_the_networks_follow_from_resolution_and_bitrate(size, mbit, artefacts, upscale, both):
    at = level(*size, mbit * 1e6 / 30)
    assert choose("auto", "artefacts", at) == artefacts
    # What becomes more than twice as large goes through an upscaler again, always that for lossy input.
    assert choose("auto", "upscale", at) == (upscale, LOSSY)
    assert choose("auto", "both", at) == (*both, LOSSY)


def test_a_still_needs_more_bits_than_a_frame():
    bits = 1e6 / 30
    assert choose("auto", "artefacts", level(1280, 720, bits)) == (WEAK,)
    assert choose("auto", "artefacts", level(1280, 720, bits, still=True), still=True) == (STRONG,)


@given(do=st.sampled_from(DO), at=st.floats(0, 100), still=st.booleans())
def test_more_bits_never_lead_to_a_stronger_network(do, at, still):
    order = [(STRONG,), (WEAK,), (LOSSY,), (CLEAN,), ()]
    before, after = choose("auto", do, at, still), choose("auto", do, 1.3 * at, still)
    assert order.index(before[:1]) <= order.index(after[:1])
    assert 0 < share(1.3 * at, still) <= share(at, still) <= 1


def test_a_remover_changes_coarse_video_and_stills_in_full_and_good_video_little():
    for at, still in ((None, False), (FULL, False), (0.0, False), (GOOD, True)):
        assert share(at, still) == 1
    assert share(2 * FULL) == pytest.approx(0.5**SLOPE) and share(GOOD) < 0.6
    assert share(GOOD) == pytest.approx((FULL / GOOD) ** SLOPE)
    assert choose("auto", "artefacts", 0.9 * COARSE_STILL, still=True) == (STRONG,)
    assert choose("auto", "artefacts", 0.9 * COARSE_STILL) == (WEAK,)


def test_a_caller_s_word_counts_and_without_bits_nothing_strong_is_done():
    for mode in ("strong", "lossy"):
        assert [choose(mode, do, 1e9) for do in DO] == [(STRONG,), (LOSSY, LOSSY), (STRONG, LOSSY, LOSSY)]
    for mode, at in (("weak", 0.0), ("clean", 0.0), ("auto", None)):
        assert [choose(mode, do, at) for do in DO] == [(WEAK,), (CLEAN, CLEAN), (WEAK, CLEAN, CLEAN)]
