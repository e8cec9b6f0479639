"""The rate that mode auto follows: a rolling mean over whole groups of pictures, and a choice that is held."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.methods.video.modes import BEGINNING, COARSE, DO, GOOD, MENDED, Auto, choose, level
from sluice.methods.video.rate import LONGEST, SHORTEST, Rate, Spent, Stills

SIZE = (640, 360)
PIXELS = (SIZE[0] * SIZE[1]) ** 0.75
MARKS = (COARSE, MENDED, GOOD)


def frames(group, key, other):
    """Yield (bits, coded alone) without end: every `group`th frame costs `key` bits, the others `other`."""
    return ((key, True) if i % group == 0 else (other, False) for i in itertools.count())


def followed(stream, count, auto=None, rate=None):
    """Return the levels for the first `count` frames of a stream."""
    auto, rate = auto or Auto(), rate or Rate()
    return [auto.follow(*SIZE, rate.add(bits, key)) for bits, key in itertools.islice(stream, count)]


def changes(levels, do):
    """Return the networks that are chosen after each change."""
    ways = [choose("auto", do, at) for at in levels]
    return [after for before, after in itertools.pairwise(ways) if before != after]


def ordered(levels):
    """Return whether the levels only grow, or only fall."""
    steps = [after - before for before, after in itertools.pairwise(levels)]
    return min(steps) >= -1e-9 or max(steps) <= 1e-9


groups = st.integers(1, LONGEST)
spent = st.floats(0.1, 20)  # bits over pixels^(3/4), on average
heavy = st.floats(1, 60)  # bits of the frame that is coded alone over those of another


def periodic(group, mean, weight):
    """Return a stream of `mean` bits per frame whose key frames have `weight` times the bits of other frames."""
    other = mean * group / (weight + group - 1)
    return frames(group, weight * other, other)


@given(group=st.integers(2, 120), weight=heavy, cuts=st.lists(st.integers(1, 400), max_size=6))
def test_groups_that_a_cut_begins_early_do_not_count_for_better_video(group, weight, cuts):
    rate, since = Rate(), 0
    for i in range(600):
        alone = since == 0 or i in cuts
        known = rate.add(weight if alone else 1.0, alone)
        since = 1 if alone and group > 1 else (since + 1) % group
        if i > 5 * group + SHORTEST and i > 410 + 5 * group:
            assert known == Spent.of(pytest.approx((weight + group - 1) / group))
        assert known.high <= max(weight, 1.0) * (1 + 1e-9)


@given(group=groups, weight=heavy)
def test_the_mean_is_that_of_whole_groups_wherever_the_window_ends(group, weight):
    rate = Rate()
    for i, (bits, key) in enumerate(itertools.islice(periodic(group, 1000.0, weight), 2 * LONGEST + 50), 1):
        known = rate.add(bits, key)
        assert known.low <= 1000 * (1 + 1e-9) and known.high >= 1000 * (1 - 1e-9)
        # The second group has begun, or what counts as one is over.
        assert known.whole == (i >= min(max(SHORTEST, group + 1), LONGEST))
        if known.whole:
            assert known.mean == known.low == known.high == pytest.approx(1000)
            assert known.still == (group == 1)


def test_by_hand():
    rate = Rate()
    assert rate.add(900, True) == Spent(900, 900 / 300, 900, whole=False)
    assert rate.add(100, False) == Spent(500, (900 + 299 * 100) / 300, 500, whole=False)
    for i in range(2, 75):
        known = rate.add(900 if i % 25 == 0 else 100, i % 25 == 0)
    assert known == Spent.of((900 + 24 * 100) / 25)
    for _ in range(400):  # no key frame comes any more: the last 300 count
        known = rate.add(100, False)
    assert known == Spent.of(100)


def test_two_frames_coded_alone_at_the_start_are_not_taken_for_a_group():
    start = [(40 * PIXELS, True), (40 * PIXELS, True)]
    levels = followed(itertools.chain(start, itertools.repeat((0.05 * PIXELS, False))), 350)
    assert max(levels) < GOOD and levels[-1] < COARSE


@given(group=groups, mean=spent, weight=heavy)
def test_a_constant_stream_gets_what_its_mean_says_and_is_led_there_straight(group, mean, weight):
    levels = followed(periodic(group, mean * PIXELS, weight), LONGEST + 2 * SHORTEST)
    assert levels[-1] == pytest.approx(level(*SIZE, mean * PIXELS, still=group == 1))
    # It is led there from where every stream begins; all frames coded alone are seen to be stills at the end only.
    assert ordered([BEGINNING, *levels]) or group == 1


@given(group=st.integers(2, 250), mean=spent, weight=heavy)
def test_the_first_frame_decides_nothing(group, mean, weight):
    """Send one packet per request: the first is a key frame, whose bits alone are those of a far better stream."""
    (first,) = followed(periodic(group, mean * PIXELS, weight), 1)
    assert min(BEGINNING, mean) <= first * (1 + 1e-9) and first <= max(BEGINNING, mean) * (1 + 1e-9)


@given(group=st.integers(2, 250), before=spent, after=spent, weight=heavy, at=st.integers(350, 700))
def test_a_change_of_bitrate_is_followed_without_going_to_and_fro(group, before, after, weight, at):
    auto, rate = Auto(), Rate()
    first = followed(periodic(group, before * PIXELS, weight), at, auto, rate)
    # It changes at a key frame, as encoders do.
    then = followed(periodic(group, after * PIXELS, weight), 2 * LONGEST, auto, rate)
    assert after / 1.2001 <= then[-1] <= after * 1.2001 and ordered([first[-1], *then])
    for do in DO:
        ways = {choose("auto", do, after * factor) for factor in (1 / 1.21, 1.21)}
        if len(ways) == 1:  # it lies well between two marks
            assert choose("auto", do, then[-1]) in ways


@given(
    mark=st.sampled_from(MARKS), group=st.integers(2, 60),
    factors=st.lists(st.floats(1 / 1.15, 1.15), min_size=8, max_size=20), weight=heavy,
)  # fmt: skip
def test_a_rate_that_goes_up_and_down_about_a_mark_makes_nothing_flap(mark, group, factors, weight):
    auto, rate = Auto(), Rate()
    followed(periodic(group, mark * PIXELS, weight), LONGEST, auto, rate)
    levels = []
    for factor in factors:
        levels += followed(periodic(group, mark * factor * PIXELS, weight), 2 * group, auto, rate)
    assert all(changes(levels, do) == [] for do in DO)


def test_another_size_begins_anew_and_so_does_what_is_not_known():
    auto = Auto()
    low = Spent.of(0.1 * PIXELS)
    assert auto.follow(*SIZE, low) == pytest.approx(0.1)
    assert auto.follow(320, 180, Spent(1e9, 1, 1e9, whole=False)) == BEGINNING
    assert auto.follow(*SIZE, low) == pytest.approx(0.1)
    assert auto.follow(*SIZE, None) is None
    assert auto.follow(*SIZE, Spent(1e9, 1, 1e9, whole=False)) == BEGINNING


@pytest.mark.parametrize("mark", MARKS)
def test_a_told_rate_decides_at_once_and_then_holds_to_a_fifth(mark):
    auto = Auto()
    for factor, above in ((0.99, False), (1.17, False), (1.21, True), (0.86, True), (0.82, False)):
        at = auto.follow(*SIZE, Spent.of(mark * factor * PIXELS))
        assert (at >= mark) == above


def test_pictures_without_a_rate_lie_between_those_with_one():
    stills = Stills()
    assert stills.add(None) is None
    assert stills.add(800.0) == Spent.of(800, still=True)
    assert stills.add(None) == Spent.of(800, still=True) and stills.add(400.0) == Spent.of(600, still=True)
    for _ in range(SHORTEST):
        known = stills.add(None)
    assert known is None
