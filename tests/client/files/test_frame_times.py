"""Times in the names that cameras, phones and data sets give to frames: read as they are meant, or refused."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice_client import InvalidRequest
from sluice_client.files.frame_times import BURST, DAY, FrameTimes

NOW = datetime(2024, 6, 1, tzinfo=UTC).timestamp()


def named(name: str, fps: float | None = None) -> float | None:
    return FrameTimes("name", fps, now=NOW).of({5: Path(f"{name}.jpg")})[5]


def at(*moment: int, micro: int = 0, zone: float = 0) -> float:
    return (datetime(*moment, microsecond=micro, tzinfo=UTC) - timedelta(hours=zone)).timestamp()


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        # phones
        ("20230115143215", at(2023, 1, 15, 14, 32, 15)),
        ("20230115_143215", at(2023, 1, 15, 14, 32, 15)),
        ("20230115_143215(0)", at(2023, 1, 15, 14, 32, 15)),
        ("IMG_20230115_143215_123", at(2023, 1, 15, 14, 32, 15, micro=123_000)),
        ("PXL_20230115_143215123", at(2023, 1, 15, 14, 32, 15, micro=123_000)),
        ("20230115143215123", at(2023, 1, 15, 14, 32, 15, micro=123_000)),
        ("2023-01-15 14.32.15", at(2023, 1, 15, 14, 32, 15)),
        ("WhatsApp Image 2023-01-15 at 14.32.15", at(2023, 1, 15, 14, 32, 15)),
        ("Screenshot 2023-01-15 at 2.32.15\u202fPM", at(2023, 1, 15, 14, 32, 15)),
        ("Screenshot 2023-01-15 at 12.32.15 AM", at(2023, 1, 15, 0, 32, 15)),
        ("signal-2023-01-15-14-32-15-123", at(2023, 1, 15, 14, 32, 15, micro=123_000)),
        # dashboard cameras and drones; what follows numbers their files
        ("NO20230115-143215-000123F", at(2023, 1, 15, 14, 32, 15)),
        ("2023_0115_143215_0001F", at(2023, 1, 15, 14, 32, 15)),
        ("REC_2023_01_15_14_32_15_F", at(2023, 1, 15, 14, 32, 15)),
        ("2023-01-15_14-32-15-front", at(2023, 1, 15, 14, 32, 15)),
        ("DJI_20230115143215_0001_D", at(2023, 1, 15, 14, 32, 15)),
        ("2018-08-01--15-57-32--3", at(2018, 8, 1, 15, 57, 32)),
        # with a zone
        ("2023-01-15T14:32:15+01:00", at(2023, 1, 15, 14, 32, 15, zone=1)),
        ("2023-01-15T14:32:15-05:00", at(2023, 1, 15, 14, 32, 15, zone=-5)),
        ("2023-01-15T14-32-15.250-0330", at(2023, 1, 15, 14, 32, 15, micro=250_000, zone=-3.5)),
        ("20230115T143215Z", at(2023, 1, 15, 14, 32, 15)),
        ("20230115T143215.5+0530", at(2023, 1, 15, 14, 32, 15, micro=500_000, zone=5.5)),
        ("2018-07-24-11-22-45+0800", at(2018, 7, 24, 11, 22, 45, zone=8)),
        ("2018-08-01-15-16-36-0400", at(2018, 8, 1, 15, 16, 36, zone=-4)),
        ("000000_quebec_2022-02-15T12:39:33.250000Z", at(2022, 2, 15, 12, 39, 33, micro=250_000)),
        # digits since 1970, of data sets; with a date the date is the drive's
        ("n015-2018-07-24-11-22-45+0800__CAM_FRONT__1532402927612460", 1532402927.612460),
        ("n008-2018-08-01-15-16-36-0400__CAM_FRONT__1533151603512404", 1533151603.512404),
        ("1507678826876435", 1507678826.876435),
        ("1553629304740114_FRONT", 1553629304.740114),
        ("1403636579763555584", 1403636579.763555584),
        ("1305031102.175304", 1305031102.175304),
        ("1305031102_175304000", 1305031102.175304),
        ("ring_front_center_315966265259918864", 315966265.259918864),
        ("host-a101_cam0_1241893239199111666", 1241893239.199111666),
        ("1700000000", 1_700_000_000.0),
        ("cam_1700000000.25", 1_700_000_000.25),
        ("cam2_1700000000250", 1_700_000_000.25),
    ],
)
def test_the_time_that_is_meant(name, seconds):
    assert named(name) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("000390", 13.0),
        ("0000000390", 13.0),  # KITTI: ten digits, and a count
        ("0016E5_00390", 13.0),
        ("Seq05VD_f00390", 13.0),
        ("frame390", 13.0),
        ("390_left", 13.0),
        ("aachen_000000_000390_leftImg8bit", 13.0),
        ("2011_09_26_drive_0001_sync_0000000390", 13.0),
        ("segment-1024360143612057520_3580_000_3600_000_with_camera_labels_0390", 13.0),  # a hash, no nanoseconds
        ("frame-7.5", 0.25),
        ("20230115_143215_000390", at(2023, 1, 15, 14, 32, 28)),
        ("2023-01-15_14-32-15-front_0390", at(2023, 1, 15, 14, 32, 28)),
        ("2023-01-15-14-32-15-0030", at(2023, 1, 15, 14, 32, 16)),
        ("20180807145028_camera_frontcenter_000000390", at(2018, 8, 7, 14, 50, 41)),
    ],
)
def test_a_count_needs_a_rate_and_adds_to_a_date(name, seconds):
    assert named(name, fps=30) == pytest.approx(seconds, abs=1e-6)
    if seconds < 1e6:
        with pytest.raises(InvalidRequest, match="looks like a count of frames; give their rate with --fps"):
            named(name)


@pytest.mark.parametrize("fps", [None, 30])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x+01:00", "no number that is a time or a count of frames"),
        ("frame", "no number"),
        ("b1c66a42-6f7d68ca", "no number"),  # BDD100K: hexadecimal
        ("3f2504e0-4f89-11d3-9a0c-0305e82c3301", "no number"),
        ("segment-1024360143612057520_3580_000_3600_000_with_camera_labels", "no number"),
        ("10023947602400723454", "no number"),  # 20 digits
        ("9999999999", "no number"),  # 2286
        ("20230115143215123456789012", "no number"),
        ("202301151432151234", "no number"),
        ("9" * 240, "no number"),
        ("20991231_235959", "yet to come"),
        ("20240603000000", "yet to come"),
        ("1700000000000_1700000000500", "several times"),
        ("2023-01-15_14-30-00_to_2023-01-15_14-32-15", "several times"),
        ("20230115_143215_1532402927612460", "more than a day apart"),
    ],
)
def test_what_tells_no_time_or_two_is_refused(name, why, fps):
    with pytest.raises(InvalidRequest, match=why):
        named(name, fps)


@given(st.text("0123456789abTZ_-+.: ", min_size=1, max_size=40), st.sampled_from([None, 0.5, 30.0]))
def test_no_name_is_of_a_time_to_come(name, fps):
    try:
        seconds = named(name.replace("/", "_") + "_1", fps)
    except InvalidRequest:
        return
    assert seconds is not None and 0 <= seconds <= NOW + DAY


@given(st.floats(1e9, NOW - 1), st.integers(1, 3600), st.sampled_from([0, 3, 6, 9]))
def test_two_frames_are_as_far_apart_as_their_digits_say(first, apart, places):
    names = [str(int(first + more)) + "0" * places for more in (0, apart)]
    if int(first + apart) <= NOW:
        a, b = (named(name) for name in names)
        assert b - a == pytest.approx(apart, abs=1e-6)


def test_a_burst_is_told_and_a_clip_whose_frames_have_one_date_is_refused():
    told: list[str] = []
    times = FrameTimes("name", now=NOW)
    for form in ("20230115_143215({})", "20180807145028_cam_{:09d}"):
        files = {i: Path(form.format(i) + ".jpg") for i in range(BURST)}
        assert len(set(times.of(files, told.append).values())) == 1
        assert "59 files have the time of another" in told.pop() and not told
        with pytest.raises(InvalidRequest, match=r"61 names such as .* give their rate with --fps"):
            times.of({i: Path(form.format(i) + ".jpg") for i in range(BURST + 1)})
    # A counter that looks like parts of a second.
    with pytest.raises(InvalidRequest, match="give their rate with --fps"):
        times.of({i: Path(f"20230115_143215_{i:06d}.jpg") for i in range(100)})
    fps = FrameTimes("name", fps=30, now=NOW)
    clip = fps.of({i: Path(f"20230115_143215_{i:06d}.jpg") for i in range(100)}, told.append)
    assert clip[99] - clip[0] == pytest.approx(3.3) and not told
    # Cameras beside each other share their times, and that is meant.
    files = {i: Path(f"2023-01-15_14-32-15-{name}.jpg") for i, name in enumerate(("front", "back", "left"))}
    assert len(set(times.of(files, told.append).values())) == 1 and not told
    # 30 a second with milliseconds, three seconds long.
    stamps = [f"PXL_20230115_1432{15 + i // 30}{i % 30 * 33:03d}" for i in range(90)]
    found = times.of({i: Path(name + ".jpg") for i, name in enumerate(stamps)}, told.append)
    assert len(set(found.values())) == 90 and not told


def test_a_folder_of_dates_and_counts_is_refused():
    files = {0: Path("a/20230115_000312.jpg"), 1: Path("a/20230115_000390.jpg")}  # 00:03:12, and no time of day
    with pytest.raises(
        InvalidRequest, match=r"20230115_000312.jpg has a time in its name and 20230115_000390.jpg beside"
    ):
        FrameTimes("name", fps=30, now=NOW).of(files)
    apart = {0: Path("a/20230115_000312.jpg"), 1: Path("b/000390.jpg")}
    assert FrameTimes("name", fps=30, now=NOW).of(apart)[1] == 13
    zones = {i: Path(f"a/2023-01-15-14-32-15-{n}.jpg") for i, n in enumerate(("0399", "0400"))}
    with pytest.raises(InvalidRequest, match="seems to have a zone"):
        FrameTimes("name", now=NOW).of(zones)


def test_the_order_of_the_files_changes_nothing():
    files = {i: Path(f"{1_700_000_000 + i}.jpg") for i in range(20)}
    shuffled = list(files.items())
    random.Random(3).shuffle(shuffled)
    times = FrameTimes("name", now=NOW)
    assert times.of(dict(shuffled)) == times.of(files)


def test_other_sources_of_time(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    os.utime(tmp_path / "a.jpg", (7.5, 7.5))
    files = {3: tmp_path / "a.jpg"}
    assert FrameTimes("mtime").of(files) == {3: 7.5}
    assert FrameTimes("none").of(files) == {3: None}
    assert FrameTimes("none", fps=2).of(files) == {3: 1.5}
    with pytest.raises(InvalidRequest, match="cannot be read"):
        FrameTimes("mtime").of({0: tmp_path / "none.jpg"})
    for fps in (0, -1, float("inf"), float("nan")):
        with pytest.raises(InvalidRequest, match="--fps must be"):
            FrameTimes("name", fps=fps)
    with pytest.raises(InvalidRequest, match="--fps has no meaning"):
        FrameTimes("mtime", fps=1)


def test_the_clock_counts_where_none_is_given():
    today = datetime.now(UTC)
    assert FrameTimes("name").of({0: Path(f"{today:%Y%m%d_%H%M%S}.jpg")})[0] == int(today.timestamp())
    with pytest.raises(InvalidRequest, match="yet to come"):
        FrameTimes("name").of({0: Path(f"{today + timedelta(days=3):%Y%m%d_%H%M%S}.jpg")})
