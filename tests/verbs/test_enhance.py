"""The verb `enhance` in process, over networks whose answers are known in closed form."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from sluice.errors import InvalidArgument
from sluice.methods.video.modes import share
from sluice.methods.video.planes import Colour, Picture, planes_size
from sluice.methods.video.scaling import area
from sluice.verbs.enhance import Config, Enhancer
from tests.made.broken_files import broken_exif
from tests.made.enhance_in_process import CONFIG, ask, given, kinds, noise, png, stream
from tests.made.video_networks import NETWORKS, Networks, doubled, enlarged, removed


def pictures(events, name="RGB"):
    return [answer[name] for said, answer in events if said["kind"] == "frame"]


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


IMPORTED = Config(networks=f"{NETWORKS} frame_upscaler_clean_x3=2 frame_upscaler_clean_x4=2 frame_upscaler_lossy_x2=2")


@pytest.mark.parametrize(
    ("asked", "done", "scale"),
    [({"scale": 3}, ["frame_upscaler_clean_x3"], 3), ({"scale": "4"}, ["frame_upscaler_clean_x4"], 4),
     ({"scale": 2}, ["frame_upscaler_clean"], 2), ({"scale": 1.5}, ["frame_upscaler_clean", "area"], 2),
     ({"size": [44, 28]}, ["frame_upscaler_clean_x3", "area"], 3),
     ({"size": [55, 30]}, ["frame_upscaler_clean_x4", "area"], 4)],
)  # fmt: skip
def test_an_imported_network_enlarges_where_it_is_the_least_that_suffices(asked, done, scale):
    frame = noise(11, 17, 3)  # odd sides, so that chroma is rounded up at three times the size
    events = ask(config=IMPORTED, RGB=frame[None], do="upscale", mode="clean", **asked)
    assert events[1][0]["done"] == done
    height, width = pictures(events)[0].shape[:2]
    np.testing.assert_array_equal(pictures(events)[0], area(enlarged(frame, scale), height, width))


def test_each_pass_takes_the_network_for_its_own_input():
    frame = noise(1, 6, 8, 3)
    assert ask(config=IMPORTED, RGB=frame, do="upscale", mode="lossy", scale=2)[1][0]["done"] == [
        "frame_upscaler_lossy_x2"
    ]
    assert ask(config=IMPORTED, RGB=frame, do="upscale", mode="lossy", scale=3)[1][0]["done"] == [
        *["frame_upscaler_lossy_x2"] * 2,
        "area",
    ]


@pytest.mark.parametrize("size", [(61, 45), (34, 57)])
def test_an_imported_network_in_tiles_gives_the_whole_frame(size):
    flat = noise(planes_size(*size))[None, None]
    tiled, small = Config(networks=IMPORTED.networks, tile=1024), Networks()
    how = {"PLANES": flat, "width": size[1], "height": size[0], "do": "upscale", "mode": "clean", "scale": 3}
    whole = ask(config=IMPORTED, **how)
    assert pictures(whole, "PLANES")[0].shape == (planes_size(3 * size[0], 3 * size[1]),)
    np.testing.assert_array_equal(pictures(ask(small, tiled, **how), "PLANES")[0], pictures(whole, "PLANES")[0])
    assert len(small.seen) > 1 and set(small.models) == {"frame_upscaler_clean_x3"}


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (7, 5), (16, 12)])
@pytest.mark.parametrize("do", ["artefacts", "both"])
def test_odd_sizes_keep_their_pixels(size, do):
    frame, flat = noise(*size, 3), noise(1, planes_size(*size))
    scale = 1 if do == "artefacts" else 2
    assert pictures(ask(RGB=frame[None], do=do))[0].shape == (scale * size[0], scale * size[1], 3)
    events = ask(PLANES=flat[:, None], do=do, width=size[1], height=size[0])
    assert pictures(events, "PLANES")[0].shape == (planes_size(scale * size[0], scale * size[1]),)


def test_a_frame_of_one_pixel_goes_in_twice():
    """OpenVINO in bf16 gives wrong numbers for one image of one pixel, and right ones for two."""
    networks = Networks()
    frame = noise(1, 1, 3)
    found = pictures(ask(networks, RGB=frame[None], do="artefacts"))[0]
    np.testing.assert_array_equal(found, removed(frame))
    ask(networks, RGB=noise(1, 1, 2, 3), do="artefacts")
    assert networks.seen == [(2, 1, 1), (1, 1, 2)]


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


def saved(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def answered(events):
    (data,) = pictures(events, "IMAGE")
    return Image.open(io.BytesIO(data[0]))


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_the_profile_of_a_picture_is_in_the_answer():
    image = Image.fromarray(noise(8, 6, 3))
    for form, answer in (("JPEG", "png"), ("PNG", "jpeg"), ("WEBP", "png")):
        events = ask(IMAGES=[saved(image, form, icc_profile=SRGB)], do="both", format=answer)
        assert answered(events).info["icc_profile"] == SRGB and "notes" not in events[1][0]
    events = ask(IMAGES=[saved(image, icc_profile=SRGB)], format="rgb")
    assert events[1][0]["notes"] == ["its colour profile is not in the answer: pixels alone cannot carry one"]
    grey = bytearray(SRGB)
    grey[16:20] = b"GRAY"
    events = ask(IMAGES=[saved(image.convert("L"), icc_profile=bytes(grey))])
    assert "icc_profile" not in answered(events).info
    assert events[1][0]["notes"] == ["its colour profile, of GRAY, does not fit RGB and was left out"]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_stays_so_and_colours_are_not_mixed_with_grey(mode):
    pixels = noise(6, 8, 4)
    pixels[..., 3] = np.arange(8) * 36
    image = Image.fromarray(pixels).convert("RGBA" if mode == "P" else mode)
    if mode == "P":
        image = image.quantize(16)
        image.info["transparency"] = bytes([0, 128] + [255] * 14)
    data = saved(image)
    straight = Image.open(io.BytesIO(data)).convert("RGBA")
    events = ask(IMAGES=[data], mode="weak")
    made = answered(events)
    assert made.mode == "RGBA" and "notes" not in events[1][0]
    assert np.array_equal(np.asarray(made)[..., 3], np.asarray(straight)[..., 3])
    (alone,) = pictures(ask(RGB=np.asarray(straight)[None, ..., :3], mode="weak"))
    assert np.array_equal(np.asarray(made)[..., :3], alone)
    made = answered(ask(IMAGES=[data], do="upscale", scale=2))
    assert made.mode == "RGBA" and made.size == (16, 12)
    events = ask(IMAGES=[data], format="jpeg")
    assert answered(events).mode == "RGB" and "laid over grey" in events[1][0]["notes"][0]


def test_metadata_that_cannot_be_read_are_ignored_with_a_note():
    data, good = broken_exif((6, 8), "PNG"), png(noise(8, 6, 3))
    events = ask(IMAGES=[good, data, good], mode="weak")
    assert kinds(events) == ["begun", "frame", "frame", "frame", "end"]
    assert [said.get("notes") for said, _ in events[1:-1]] == [
        None, ["its EXIF data cannot be read and was ignored"], None,
    ]  # fmt: skip
    assert events[2][0]["width"] == 6


def test_the_orientation_of_a_picture_counts_for_its_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    events = ask(IMAGES=[saved(Image.fromarray(noise(6, 8, 3)), exif=exif)], do="both", size=[12, 16])
    assert (events[1][0]["from"], events[1][0]["width"], events[1][0]["height"]) == ([6, 8], 12, 16)


def test_strength_reaches_the_networks():
    networks = Networks()
    ask(networks, RGB=noise(1, 4, 4, 3), strength=0.25, do="both")
    assert networks.strengths == [0.25, 0.25]


def test_mode_auto_weakens_a_remover_for_good_video_and_no_upscaler():
    def strengths(**options):
        networks = Networks()
        told = {"bitrate": 1.2 * 64**0.75 * 30, "fps": 30}  # of 8 x 8 pixels
        assert ask(networks, PLANES=noise(1, 12, 8), strength=0.8, **told, **options)[1][0]["done"]
        return networks.strengths

    assert strengths() == pytest.approx([0.8 * share(1.2)]) and share(1.2) < 1
    assert strengths(do="upscale") == strengths(mode="weak") == pytest.approx([0.8])


def test_the_mode_follows_from_what_was_coded():
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
    assert ask(PLANES=flat, bitrate=10, fps=30)[1][0]["done"] == ["artifact_remover_strong"]
    assert ask(PLANES=flat, bitrate=10, fps=30, mode="weak")[1][0]["done"] == ["artifact_remover_weak"]


def test_pictures_that_are_coded_better_from_some_frame_on_are_treated_so():
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (128, 256, 3))
    rough = ramp ^ noise(128, 256, 3) // 8
    low, high = jpeg(rough, 5), jpeg(rough, 100)
    frames = [low] * 20 + [b"junk"] + [high] * 60

    async def run():
        enhancer, told = Enhancer(Networks(), CONFIG), []
        for i, data in enumerate(frames):
            told += await stream(enhancer, given(IMAGES=[data], stream="a", first=i))
        return [said for said, _ in told if said["kind"] == "frame"]

    frames = asyncio.run(run())
    done = [said["done"] for said in frames]
    assert done[:20] == [["artifact_remover_strong"]] * 20 and done[-1] == []
    switched = [said["number"] for said in frames if said["switched"]]
    assert switched[0] >= 21 and len(switched) in (1, 2)  # perhaps by way of the weak one
    assert frames[19]["bits"] == 8 * len(low) and frames[-1]["bits"] == 8 * len(high) and not frames[0]["provisional"]


def test_a_told_bitrate_that_changes_is_followed():
    async def run():
        enhancer, told = Enhancer(Networks(), CONFIG), []
        for i, bitrate in enumerate((10, 10, 50_000, 50_000)):
            told += await stream(enhancer, given(PLANES=noise(1, 12, 8), stream="a", first=i, bitrate=bitrate, fps=30))
        return [(said["done"], said["switched"]) for said, _ in told if said["kind"] == "frame"]

    strong = ["artifact_remover_strong"]
    assert asyncio.run(run()) == [(strong, False), (strong, False), ([], True), ([], False)]


@pytest.mark.parametrize(
    ("at", "mended", "enlarged"),
    [
        (0.07, ["artifact_remover_strong"], ["artifact_remover_strong", "frame_upscaler_lossy"]),
        (0.2, ["artifact_remover_weak"], ["artifact_remover_weak", "frame_upscaler_lossy"]),
        (0.7, ["artifact_remover_weak"], ["frame_upscaler_lossy"]),
        (1.5, ["artifact_remover_weak"], ["frame_upscaler_lossy"]),
        (4.0, [], ["frame_upscaler_clean"]),
    ],
)
def test_both_goes_the_way_that_is_best_at_the_rate(at, mended, enlarged):
    def done(**options):
        told = {"bitrate": at * 64**0.75 * 30, "fps": 30}  # of 8 x 8 pixels
        return ask(PLANES=noise(1, 12, 8), **told, **options)[1][0]["done"]

    assert done(do="both") == enlarged
    assert done(do="both", size=[8, 8]) == mended == done(do="artefacts")  # nothing is enlarged, so no upscaler mends
    assert done(do="upscale") == enlarged[-1:]
    assert done(do="both", size=[32, 32]) == [*enlarged, "frame_upscaler_lossy"]
    assert done(do="both", size=[32, 32], mode="clean") == ["artifact_remover_weak", *["frame_upscaler_clean"] * 2]


def test_another_mode_or_deed_is_no_switch():
    async def run():
        enhancer, told = Enhancer(Networks(), CONFIG), []
        asked = ({}, {"mode": "strong"}, {"do": "both", "scale": 2}, {"do": "both", "scale": 2, "mode": "lossy"})
        for i, options in enumerate(asked):
            told += await stream(enhancer, given(RGB=noise(1, 4, 4, 3), stream="a", first=i, **options))
        return [said["switched"] for said, _ in told if said["kind"] == "frame"]

    assert asyncio.run(run()) == [False] * 4


def test_a_switch_is_announced_by_the_first_frame_that_is_answered():
    """Change networks at a frame that cannot be read or is dropped: the next frame announces the change."""
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (128, 256, 3))
    low, high = jpeg(ramp, 1), jpeg(ramp ^ noise(128, 256, 3) // 4, 100)
    events = ask(IMAGES=[low, *[high[:-2000]] * 3, high], stream="a")
    assert kinds(events) == ["begun", "frame", "failed", "failed", "failed", "frame", "end"]
    assert not events[1][0]["switched"] and events[5][0]["switched"]


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
    (
        {"RGB": FRAME, "scale": 5, "do": "upscale"},
        "scale is one of 1, 4/3, 3/2, 2, 3, 4 (for any other give size: [width, height])",
    ),
    ({"RGB": FRAME, "scale": 2, "size": [4, 4], "do": "upscale"}, "not both"),
    ({"RGB": FRAME, "size": [4], "do": "upscale"}, "size is"),
    ({"RGB": FRAME, "size": [4, 0.5], "do": "upscale"}, "a side of size is a whole number"),
    ({"RGB": FRAME, "do": "magic"}, "do is one of artefacts, upscale, both"),
    ({"RGB": FRAME, "mode": "best"}, "mode is one of"),
    ({"RGB": FRAME, "format": "gif"}, "format is one of png, jpeg, rgb, yuv420"),
    ({"RGB": FRAME, "policy": "hurry"}, "policy is one of wait, drop"),
    ({"RGB": FRAME, "matrix": "bt2020"}, "matrix is one of bt601, bt709"),
    ({"RGB": FRAME, "strength": 2}, "strength is a number from 0 to 1"),
    ({"RGB": FRAME, "strength": float("nan")}, "strength is a number from 0 to 1; got nan"),
    ({"RGB": FRAME, "strength": True}, "strength is a number"),
    ({"RGB": FRAME, "bitrate": 1e6}, "go together"),
    ({"RGB": FRAME, "quality": 0}, "quality is a whole number from 1 to 100"),
    ({"RGB": FRAME, "first": -1}, "first is a whole number from 0"),
    ({"RGB": FRAME, "first": 2**60}, "first is a whole number from 0"),
    ({"RGB": FRAME, "stream": ""}, "stream is a name"),
    ({"RGB": FRAME, "stream": "x" * 201}, "stream is a name"),
    ({"RGB": FRAME, "last": 1}, "last is true or false"),
    ({"RGB": FRAME, "times": [1, 2]}, "times is a list of one number or null per frame: 1, got 2"),
    ({"RGB": FRAME, "times": ["now"]}, "times is a list of finite numbers or null, one per frame"),
    ({"RGB": FRAME, "idle": 0}, "idle is a number from 1 to 3600"),
    ({"RGB": FRAME, "width": 6, "height": 4}, "width and height are for PLANES"),
    ({"RGB": FRAME, "colour": "red"}, "OPTIONS has 'colour'; known are"),
    ({"PLANES": noise(1, 7, 5)}, "PLANES of an odd size"),
    ({"PLANES": noise(1, 1, 20), "width": 4, "height": 4}, "4 x 4 pixels have 24 bytes per frame, got 20"),
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


@pytest.mark.parametrize(
    "networks",
    [
        "artifact_remover_weak=9",
        "x",
        "a=b",
        "",
        f"{NETWORKS} frame_upscaler_x4=9",
        f"{NETWORKS} frame_upscaler_clean_x5=9",
    ],
)
def test_a_config_names_all_networks(networks):
    with pytest.raises(ValueError, match="networks:"):
        Enhancer(Networks(), Config(networks=networks))
