"""The verb `segment` on networks in closed form: what is asked, what comes back, and what is refused."""

import asyncio
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sluice import contracts
from sluice.errors import Cancelled, InvalidArgument, Unavailable
from sluice.methods.grouping.pairs import VOCABULARY
from sluice.methods.grouping.vocabulary import Vocabulary
from sluice.verbs import segment
from sluice.verbs.segment import Config
from tests.made.words_server import COLOURS, ENCODER, GROUPER, Request, Server, grouper, opened, picture, words

NAMES = ["red", "green", "blue"]


def ask(server=None, config=None, options=None, **inputs):
    inputs.setdefault("CLASSES", NAMES)
    server = server or Server()
    return asyncio.run(segment.segment(server.call, Request(options, **inputs), config or Config()))


def saved(image, kind="PNG", **how):
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def stripes(mask, *expected):
    """Check that a mask shows these values in stripes of equal width, up to a few columns at the borders."""
    width = mask.shape[1] / len(expected)
    for i, value in enumerate(expected):
        middle = mask[:, round((i + 0.2) * width) : round((i + 0.8) * width)]
        assert (middle == value).all(), f"stripe {i}: {np.unique(middle)}, expected {value}"


# ------------------------------------------------------------------------------------------------ answers


def test_every_pixel_shows_the_class_of_its_colour():
    answer = ask(IMAGES=[picture("red", "blue", width=320, height=200), picture("green", width=64, height=64)])
    first, second = map(opened, answer["MASKS"])
    assert first.shape == (200, 320) and first.dtype == np.uint8
    stripes(first, 0, 2)
    assert (second == 1).all() and second.shape == (64, 64)
    assert answer["AREAS"].shape == answer["SCORES"].shape == (2, 3)
    np.testing.assert_allclose(answer["AREAS"], [[0.5, 0, 0.5], [0, 1, 0]], atol=0.01)
    np.testing.assert_allclose(answer["SCORES"].sum(axis=1), 1, atol=1e-5)
    assert answer["SCORES"].argmax(axis=1).tolist()[1] == 1 and answer["SCORES"][0, 1] < 0.01
    assert words(answer["ERRORS"]) == ["", ""] and words(answer["MODEL"]) == [GROUPER]
    assert answer["GROUPS"].tolist() == answer["CONFIDENCE"].tolist() == [b"", b""]
    notes = json.loads(answer["NOTES"][0])
    assert notes == {
        "templates": "subset", "rule": "official", "top": 5, "background": None, "window": "whole", "truncated": [],
        "unknown": [[], [], []], "ignored": [[], [], []], "same": [],
        "text_encoder": ENCODER, "sizes": [[200, 320], [64, 64]],
    }  # fmt: skip


@pytest.mark.parametrize("rule", ["official", "plain", "guided"])
@pytest.mark.parametrize("window", ["whole", "slide"])
@pytest.mark.parametrize("templates", ["identity", "simple", "subset", "full"])
def test_every_way_finds_the_same_stripes(rule, window, templates):
    options = {"rule": rule, "window": window, "templates": templates}
    answer = ask(IMAGES=[picture("green", "red", "blue", width=480, height=200)], options=options)
    stripes(opened(answer["MASKS"][0]), 1, 0, 2)
    notes = json.loads(answer["NOTES"][0])
    assert {name: notes[name] for name in options} == options


def test_what_no_class_fits_is_background_where_a_threshold_is_given():
    given = {"IMAGES": [picture("red", "yellow", width=320, height=160)], "CLASSES": ["red", "road", "tree"]}
    stripes(opened(ask(**given, options={"background": 0.9})["MASKS"][0]), 0, 255)
    answer = ask(**given, options={"background": 0.9, "format": "rle"})
    (run,) = json.loads(answer["MASKS"][0])
    assert run["class"] == 0 and answer["AREAS"][0].sum() == pytest.approx(0.5, abs=0.01)


def test_run_lengths_are_those_that_coco_reads():
    data = picture("green", "red", "blue", width=211, height=97)
    pixels = opened(ask(IMAGES=[data])["MASKS"][0])
    masks = json.loads(ask(IMAGES=[data], options={"format": "rle"})["MASKS"][0])
    assert [one["class"] for one in masks] == [0, 1, 2]
    for one in masks:
        np.testing.assert_array_equal(coco.decode(one), pixels == one["class"])


def test_groups_say_where_they_are_and_what():
    answer = ask(IMAGES=[picture("red", "blue", width=320, height=160), b""], options={"groups": True})
    numbers = opened(answer["GROUPS"][0])
    about, none = json.loads(answer["NOTES"][0])["groups"]
    assert none is None and answer["GROUPS"][1] == b""
    assert (about["windows"], about["groups"], len(about["classes"])) == (1, 4, 4)
    assert about["classes"][:3] == [0, 1, 2] and all(0 <= score <= 1 for score in about["scores"])
    stripes(numbers, 0, 2)
    np.testing.assert_array_equal(np.array(about["classes"])[numbers], opened(answer["MASKS"][0]))
    wide = ask(IMAGES=[picture("red", width=1600, height=400)], options={"groups": True, "window": "slide"})
    about = json.loads(wide["NOTES"][0])["groups"][0]
    assert about["windows"] == 7 and len(about["classes"]) == 28 and opened(wide["GROUPS"][0]).max() > 20


def test_more_groups_than_a_byte_counts_are_a_16_bit_picture():
    def many(image):
        answer = grouper(image)
        shares = np.repeat(answer["ASSIGNMENT"], 25, axis=1) / 25
        return {**answer, "GROUPS": np.repeat(answer["GROUPS"], 25, axis=1), "ASSIGNMENT": shares}

    answer = ask(Server(see=many), IMAGES=[picture("red", "blue", width=700, height=160)],
                 options={"groups": True, "window": "slide"})  # fmt: skip
    numbers = opened(answer["GROUPS"][0])
    assert numbers.max() > 255 and Image.open(io.BytesIO(answer["GROUPS"][0])).mode.startswith("I")


def test_confidence_is_high_inside_and_low_where_nothing_fits():
    answer = ask(IMAGES=[picture("red", "yellow", width=320, height=160)], options={"confidence": True})
    confidence = opened(answer["CONFIDENCE"][0])
    assert confidence.dtype == np.uint8 and confidence.shape == (160, 320)
    assert confidence[:, 60:100].min() > 240 and confidence[:, 220:260].max() < 200


@pytest.mark.parametrize("count, mode, ground", [(254, "L", 255), (255, "I;16", 65535), (1000, "I;16", 65535)])
def test_many_classes_make_a_picture_of_16_bits(count, mode, ground):
    names = [f"thing {i}" for i in range(count - 1)] + ["red"]
    answer = ask(IMAGES=[picture("red", "yellow", width=320, height=160)], CLASSES=names, options={"background": 0.9})
    assert Image.open(io.BytesIO(answer["MASKS"][0])).mode == mode
    stripes(opened(answer["MASKS"][0]), count - 1, ground)
    assert answer["SCORES"].shape == (1, count)


def test_indices_leave_no_class_out():
    for classes in (1, 254, 255, 65_000):
        labels = np.array([[0, 1, classes]], np.uint8 if classes < 256 else np.uint16)
        found = segment.indices(labels, classes)
        assert found.tolist() == [[255 if classes <= 254 else 65535, 0, classes - 1]]


# ------------------------------------------------------------------------------------------------ words


def test_the_second_request_with_the_same_names_runs_no_text_encoder():
    server = Server()
    first = ask(server, IMAGES=[picture("red")], options={"templates": "full"})
    calls = server.count("text_encoder")
    assert calls > 0
    second = ask(server, IMAGES=[picture("red")], options={"templates": "full"})
    assert server.count("text_encoder") == calls
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_a_thousand_names_work():
    names = [f"thing {i}" for i in range(997)] + NAMES
    answer = ask(IMAGES=[picture("red", "blue", width=320, height=200)], CLASSES=names)
    stripes(opened(answer["MASKS"][0]), 997, 999)


def test_one_name_takes_everything():
    answer = ask(IMAGES=[picture("red", "blue")], CLASSES=["tree"])
    assert not opened(answer["MASKS"][0]).any() and answer["AREAS"].tolist() == [[1]]
    assert answer["SCORES"].tolist() == [[1]]


def test_any_script_is_a_name():
    names = ["سيارة حمراء", "🚲", "自転車", "мост", "red"]
    answer = ask(IMAGES=[picture("red")], CLASSES=names)
    assert (opened(answer["MASKS"][0]) == 4).all()


def test_a_name_whose_end_is_not_read_is_told():
    answer = ask(IMAGES=[picture("red")], CLASSES=["red", "x 1 " * 60, "tree"])
    assert json.loads(answer["NOTES"][0])["truncated"] == [1]


@pytest.mark.parametrize(
    "names, sentence",
    [
        ([], "1 to 1,000 class names, got 0"),
        (["x"] * 10_000, "1 to 1,000 class names, got 10,000"),
        (["red", ""], "class name 1 is empty"),
        (["red", " \n"], "class name 1 is empty"),
        (["x" * 5000], "class name 0 has 5,000 characters, more than the limit of 256"),
        (["red", "tree", "RED"], "class names 0 and 2, 'red' and 'RED', are one to the network"),
        (["red", "red"], "are one to the network"),
        (["traffic light", "traffic  light "], "are one to the network"),
        ([b"\xff\xfe"], "UTF-8"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_asked(names, sentence):
    server = Server()
    with pytest.raises(InvalidArgument, match=sentence):
        ask(server, IMAGES=[picture("red")], CLASSES=names)
    assert not server.asked


# ------------------------------------------------------------------------------------------------ pictures


def array(*colours, width=320, height=160):
    return opened(picture(*colours, width=width, height=height))


KINDS = {
    "grey": (Image.fromarray(array("red", "blue")).convert("L"), "PNG"),
    "palette": (Image.fromarray(array("red", "blue")).convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
    "RGBA": (Image.fromarray(array("red", "blue")).convert("RGBA"), "PNG"),
    "16 bits": (Image.fromarray((np.arange(320 * 160).reshape(160, 320) % 65536).astype(np.uint16)), "PNG"),
    "1 bit": (Image.fromarray(array("red", "blue")).convert("1"), "PNG"),
    "CMYK": (Image.fromarray(array("red", "blue")).convert("CMYK"), "JPEG"),
    "WebP": (Image.fromarray(array("red", "blue")), "WEBP"),
    "grey and alpha": (Image.fromarray(array("red", "blue")).convert("LA"), "PNG"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_is_answered(kind):
    answer = ask(IMAGES=[saved(*KINDS[kind])])
    assert words(answer["ERRORS"]) == [""]
    mask = opened(answer["MASKS"][0])
    assert mask.shape == (160, 320) and mask.max() < 3
    if kind in ("palette", "RGBA", "WebP", "CMYK"):
        stripes(mask, 0, 2)


def test_what_is_transparent_is_grey():
    image = Image.fromarray(array("red", "blue")).convert("RGBA")
    image.putalpha(0)
    seen = []
    ask(Server(see=lambda window: seen.append(window) or grouper(window)), IMAGES=[saved(image)])
    assert (seen[0] == 114).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_and_so_is_its_mask(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = picture("red", "green", "blue", width=330, height=180, kind="JPEG", quality=95, exif=exif.tobytes())
    mask = opened(ask(IMAGES=[data])["MASKS"][0])
    assert mask.shape == ((180, 330) if orientation <= 4 else (330, 180))
    upright = mask if orientation <= 4 else mask.T
    stripes(upright, *((0, 1, 2) if orientation in (1, 4, 5, 6) else (2, 1, 0)))


@pytest.mark.parametrize("width, height", [(1, 1), (15, 15), (3, 40), (16, 16), (17, 33), (500, 5), (97, 211)])
@pytest.mark.parametrize("window", ["whole", "slide"])
def test_small_and_odd_pictures_have_masks_of_their_own_size(width, height, window):
    server = Server()
    answer = ask(server, IMAGES=[picture("green", width=width, height=height)], options={"window": window})
    assert words(answer["ERRORS"]) == [""]
    mask = opened(answer["MASKS"][0])
    assert mask.shape == (height, width) and (mask == 1).all()


def test_the_network_sees_a_picture_whole_or_through_windows():
    config = Config(size=96, short=160, crop=160, stride=80)
    server = Server()
    ask(server, config, IMAGES=[picture("red", width=300, height=150)])
    assert [shape for shape in server.shapes if len(shape) == 4] == [(1, 96, 192, 3)]
    server = Server()
    ask(server, config, options={"window": "slide"}, IMAGES=[picture("red", width=300, height=150)])
    assert [shape for shape in server.shapes if len(shape) == 4] == [(1, 160, 160, 3)] * 3
    server = Server()
    ask(server, Config(auto="slide", crop=320, short=320), IMAGES=[picture("red")])
    assert (1, 320, 320, 3) in server.shapes


def test_a_picture_that_cannot_be_read_fails_alone():
    batch = [
        picture("red"), b"", b"GIF89a", picture("blue")[:60], picture("green", width=990, height=9), picture("blue"),
    ]  # fmt: skip
    answer = ask(IMAGES=batch, options={"confidence": True, "groups": True})
    errors = words(answer["ERRORS"])
    assert [bool(error) for error in errors] == [False, True, True, True, True, False]
    assert "0 bytes" in errors[1] and "not an image" in errors[2] and "truncated" in errors[3] and "1:100" in errors[4]
    assert [bool(mask) for mask in answer["MASKS"]] == [not error for error in errors]
    assert np.isnan(answer["SCORES"][1:5]).all() and np.isnan(answer["AREAS"][1:5]).all()
    assert (opened(answer["MASKS"][0]) == 0).all() and (opened(answer["MASKS"][5]) == 2).all()
    assert not any(answer["CONFIDENCE"][1:5]) and not any(answer["GROUPS"][1:5])
    assert json.loads(answer["NOTES"][0])["sizes"] == [[64, 96], *[None] * 4, [64, 96]]


def test_numbers_that_are_none_fail_their_picture_alone():
    def see(image):
        answer = grouper(image)
        if image[0, 0, 0, 0] < 100:
            answer["GROUPS"] = answer["GROUPS"] * np.nan
        return answer

    answer = ask(Server(see=see), IMAGES=[picture("red"), picture("blue")])
    errors = words(answer["ERRORS"])
    assert errors[0] == "" and "GROUPS holds NaN" in errors[1]


def test_stored_frames_are_fetched_and_an_unknown_one_fails_alone():
    server = Server(stored={"a": picture("red"), "c": picture("blue")})
    answer = ask(server, IDS=["a", "b", "c"])
    assert "'b'" in words(answer["ERRORS"])[1]
    assert [opened(answer["MASKS"][i]).max() for i in (0, 2)] == [0, 2]


# ------------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    "inputs, options, sentence",
    [
        ({}, {}, "neither"),
        ({"IMAGES": [b"x"], "IDS": ["a"]}, {}, "IMAGES and IDS"),
        ({"IMAGES": []}, {}, "1 to 64"),
        ({"IMAGES": [b"x"] * 65}, {}, "65"),
        ({"IMAGES": [b"x"]}, [], "JSON object"),
        ({"IMAGES": [b"x"]}, {"nms": 1}, "nms"),
        ({"IMAGES": [b"x"]}, {"short": 100}, "short"),
        ({"IMAGES": [b"x"]}, {"templates": "many"}, "templates is one of"),
        ({"IMAGES": [b"x"]}, {"templates": None}, "templates is one of"),
        ({"IMAGES": [b"x"]}, {"rule": "soft"}, "rule is one of"),
        ({"IMAGES": [b"x"]}, {"top": 0}, "top is a whole number"),
        ({"IMAGES": [b"x"]}, {"background": 1.5}, "background is a number from 0 to 1, or null"),
        ({"IMAGES": [b"x"]}, {"background": "auto"}, "background is a number"),
        ({"IMAGES": [b"x"]}, {"window": "crop"}, "window is one of auto, whole, slide"),
        ({"IMAGES": [b"x"]}, {"window": []}, "window is one of"),
        ({"IMAGES": [b"x"]}, {"format": "jpeg"}, "format is one of"),
        ({"IMAGES": [b"x"]}, {"groups": 1}, "groups is true or false"),
        ({"IMAGES": [b"x"]}, {"confidence": "yes"}, "confidence is true or false"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_asked(inputs, options, sentence):
    server = Server()
    with pytest.raises(InvalidArgument, match=sentence):
        ask(server, options=options, **inputs)
    assert not server.asked


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"auto": "auto"}, "whole or slide"),
        ({"crop": 100}, "multiple of 16"),
        ({"stride": 999}, "stride"),
        ({"size": 1}, "short"),
        ({"templates": "none"}, "templates"),
    ],
)
def test_parameters_that_cannot_be_are_refused_at_the_start(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        Config(**change)


def test_a_busy_server_is_nobodys_mistake():
    def busy(image):
        raise Unavailable("image_grouper is busy; try again")

    with pytest.raises(Unavailable):
        ask(Server(see=busy), IMAGES=[picture("red")] * 3)


def test_only_so_many_windows_wait_for_the_network_at_once():
    server = Server()
    ask(server, Config(in_flight=3), IMAGES=[picture("red", width=900, height=200)] * 5, options={"window": "slide"})
    assert server.count("image_grouper") > 15 and server.most == 3


def test_a_cancelled_request_asks_for_no_more_windows():
    server = Server()

    class Gone(Request):
        def check_cancelled(self):
            if server.count("image_grouper") >= 4:
                raise Cancelled("gone")

    request = Gone(IMAGES=[picture("red")] * 60, CLASSES=NAMES)
    with pytest.raises(Cancelled):
        asyncio.run(segment.segment(server.call, request, Config(in_flight=2)))
    assert server.count("image_grouper") < 8


def test_every_colour_of_these_tests_is_another_class():
    answer = ask(IMAGES=[picture(*COLOURS, width=480, height=96)], CLASSES=list(COLOURS))
    stripes(opened(answer["MASKS"][0]), 0, 1, 2, 3)


# ------------------------------------------------------------------------------------------------ the way of a name


def mentions(value, name):
    """Return whether an argument holds a name: as text, in a list of texts or in tensors of strings."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, np.ndarray):
        value = value.reshape(-1).tolist() if value.dtype == object else []
    if isinstance(value, bytes):
        value = value.decode(errors="replace") if len(value) < 1000 else ""
    if isinstance(value, str):
        return name in value.lower()
    return isinstance(value, list | tuple) and any(mentions(one, name) for one in value)


def test_a_class_name_is_cleaned_once_and_stops_at_most_ten_times():
    """Count stops: functions that are given the name, each in another file than the one before.

    Functions that take all tensors of the request but read others, or only decode them, do not count.
    """
    ours, way, cleanings, seen = str(contracts.ROOT / "sluice") + "/", [], 0, []

    def look(frame, event, _):
        nonlocal cleanings
        code = frame.f_code
        inside = code.co_filename.startswith(ours) and not code.co_name.startswith("<")
        if event != "call" or not inside or any(frame is one for one in seen):  # a coroutine is called at each step
            return
        arguments = [frame.f_locals[name] for name in code.co_varnames[: code.co_argcount]]
        if not any(mentions(value, "green") for value in arguments):
            return
        seen.append(frame)
        where = code.co_filename.removeprefix(ours)
        cleanings += (where, code.co_name) == ("methods/grouping/tokens.py", "clean")
        if where not in ("wire/calls.py", "wire/pictures.py", "options.py") and (not way or way[-1][0] != where):
            way.append((where, code.co_name))

    everything = Vocabulary(np.ones(VOCABULARY, bool))  # learned word by word, so that each is looked up
    server = Server(known=everything)
    sys.setprofile(look)
    try:
        ask(server, IMAGES=[picture("red", "green")], CLASSES=["  Green ", "red"])
    finally:
        sys.setprofile(None)
    assert cleanings == 1
    assert way[0] == ("verbs/segment.py", "segment") and ("methods/grouping/tokens.py", "read") in way
    assert len(way[1:]) <= 10, way
