"""`segment`, `compare` and the models of words through the real server."""

import asyncio
import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image
from pycocotools import mask as coco
from tritonclient.utils import np_to_triton_dtype

import scenes
from sluice import contracts
from sluice.verbs import compare, segment
from sluice.wire.calls import strings
from tests.made.encoded_pictures import jpeg
from tests.made.served import calls
from tests.made.words_server import Request, Server, opened, words

CLASSES = ["road", "sky", "car", "tree", "building"]
# Words that the shipped text encoder has learned, for many names that are all different to it.
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
THINGS = ("cars", "roads", "houses", "trees", "signs", "poles", "fences", "trucks", "lights", "posts")


@pytest.fixture(scope="module")
def pictures():
    return [jpeg(50), jpeg(51, (640, 360)), jpeg(52, (300, 400))]


@pytest.fixture(scope="module")
def client(server):
    return triton.InferenceServerClient(server.grpc)


@pytest.fixture(scope="module")
def ask(client):
    def ask(model, options=None, **inputs):
        if options is not None:
            inputs["OPTIONS"] = [json.dumps(options)]
        given = []
        for name, value in inputs.items():
            array = value if isinstance(value, np.ndarray) else strings(value)
            tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            given.append(tensor)
        result = client.infer(model, given, client_timeout=300)
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}

    return ask


@pytest.fixture(scope="module")
def alone():
    """Run the verbs in this process, over the graphs that are served."""
    import onnxruntime

    def network(model, given):
        graph = contracts.ROOT / "model_repository" / model / "1" / "model.onnx"
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda array: dict(zip(names, session.run(names, {given: array}), strict=True))

    return Server(see=network("image_grouper", "IMAGE"), read=network("text_encoder", "TOKENS"))


def parameters(verb, kind):
    texts = {key: value.string_value for key, value in contracts.models()[verb].parameters.items()}
    return contracts.parameters(kind, texts)


# ------------------------------------------------------------------------------------------------ true answers


@pytest.mark.parametrize("options", [{}, {"window": "slide", "rule": "plain", "templates": "simple"}])
def test_segment_gives_what_graphs_and_maths_give_in_one_process(ask, alone, pictures, options):
    answer = ask("segment", options, IMAGES=pictures, CLASSES=CLASSES)
    request, config = Request(options, IMAGES=pictures, CLASSES=CLASSES), parameters("segment", segment.Config)
    expected = asyncio.run(segment.segment(alone.call, request, config))
    assert words(answer["ERRORS"]) == [""] * 3
    found, wanted = ([opened(mask) for mask in one["MASKS"]] for one in (answer, expected))
    assert [mask.shape for mask in found] == [(360, 480), (360, 640), (400, 300)]
    assert all((a == b).mean() >= 0.999 for a, b in zip(found, wanted, strict=True))
    np.testing.assert_allclose(answer["SCORES"], expected["SCORES"], atol=1e-4)
    np.testing.assert_allclose(answer["AREAS"], expected["AREAS"], atol=1e-3)
    np.testing.assert_allclose(answer["SCORES"].sum(axis=1), 1, atol=1e-5)
    assert words(answer["MODEL"])[0].startswith("image_grouper/1/")
    notes = json.loads(answer["NOTES"][0])
    assert notes["text_encoder"].startswith("text_encoder/1/") and notes["truncated"] == []


def test_compare_gives_what_graphs_and_maths_give_in_one_process(ask, alone, pictures):
    texts = ["a street with cars", "the sky above trees", "🚲 دراجة"]
    options = {"embeddings": True, "allow_unknown": True}
    answer = ask("compare", options, IMAGES=pictures, TEXTS=texts)
    request = Request(options, IMAGES=pictures, TEXTS=texts)
    expected = asyncio.run(compare.compare(alone.call, request, parameters("compare", compare.Config)))
    for name in ("SIMILARITY", "PROBABILITIES", "IMAGE_EMBEDDINGS", "TEXT_EMBEDDINGS"):
        assert answer[name].shape == expected[name].shape
        np.testing.assert_allclose(answer[name], expected[name], atol=1e-3 if name == "PROBABILITIES" else 1e-5)
    np.testing.assert_allclose(np.linalg.norm(answer["IMAGE_EMBEDDINGS"], axis=1), 1, atol=1e-5)
    plain = ask("compare", {"allow_unknown": True}, IMAGES=pictures, TEXTS=texts)
    assert len(plain["IMAGE_EMBEDDINGS"]) == len(plain["TEXT_EMBEDDINGS"]) == 0
    np.testing.assert_allclose(plain["SIMILARITY"], answer["SIMILARITY"], atol=1e-5)


def test_the_second_request_with_the_same_names_runs_no_text_encoder(ask, client, pictures):
    names = ["lorry", "lamp column", "pavement"]
    first = ask("segment", IMAGES=pictures, CLASSES=names)
    before = calls(client, "text_encoder")
    with ThreadPoolExecutor(6) as pool:  # whichever instance answers
        answers = list(pool.map(lambda _: ask("segment", IMAGES=pictures, CLASSES=names), range(6)))
    assert calls(client, "text_encoder") == before
    for answer in answers:
        assert answer["MASKS"].tolist() == first["MASKS"].tolist()
    ask("compare", {"templates": "subset"}, IMAGES=pictures[:1], TEXTS=names[::-1])  # the verbs share what is known
    assert calls(client, "text_encoder") == before
    ask("segment", IMAGES=pictures[:1], CLASSES=[*names, "roadway"])
    assert calls(client, "text_encoder") == before + 1


def test_callers_who_bring_the_same_names_at_once_run_them_once(ask, client, pictures):
    names = [f"{number} {thing}" for number in NUMBERS for thing in ("riders", "poles", "houses", "fences")]
    before = calls(client, "text_encoder")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: ask("segment", {"templates": "simple"}, IMAGES=pictures[:1], CLASSES=names), range(6)))
    assert calls(client, "text_encoder") == before + 1


def test_names_of_any_script_work_and_one_too_long_to_be_read_whole_is_told(ask, pictures):
    names = ["🚲", "سيارة حمراء", "自転車", "мост", "x 1 " * 60]
    answer = ask("segment", {"allow_unknown": True}, IMAGES=pictures[:1], CLASSES=names)
    assert words(answer["ERRORS"]) == [""] and np.isfinite(answer["SCORES"]).all()
    assert opened(answer["MASKS"][0]).max() < 5 and json.loads(answer["NOTES"][0])["truncated"] == [4]


def test_a_thousand_names_work(ask, pictures):
    names = [f"{a} {b} {thing}" for a in NUMBERS for b in NUMBERS for thing in THINGS]
    answer = ask("segment", {"templates": "simple"}, IMAGES=pictures[:1], CLASSES=names)
    mask = Image.open(io.BytesIO(answer["MASKS"][0]))
    assert mask.mode == "I;16" and np.asarray(mask).max() < 1000 and answer["SCORES"].shape == (1, 1000)


def test_a_picture_has_the_same_mask_alone_and_beside_others(ask, pictures):
    together = ask("segment", IMAGES=pictures, CLASSES=CLASSES)
    for i, data in enumerate(pictures):
        single = ask("segment", IMAGES=[data], CLASSES=CLASSES)
        assert single["MASKS"][0] == together["MASKS"][i]
        np.testing.assert_array_equal(single["SCORES"][0], together["SCORES"][i])


def test_run_lengths_groups_and_confidence(ask, pictures):
    wanted = {"format": "rle", "groups": True, "confidence": True, "background": 0.3}
    answer = ask("segment", wanted, IMAGES=pictures[:1], CLASSES=CLASSES)
    pixels = opened(ask("segment", {"background": 0.3}, IMAGES=pictures[:1], CLASSES=CLASSES)["MASKS"][0])
    masks = json.loads(answer["MASKS"][0])
    assert {one["class"] for one in masks} == set(np.unique(pixels).tolist()) - {255}
    assert json.loads(answer["NOTES"][0])["sizes"] == [[360, 480]]
    for one in masks:
        np.testing.assert_array_equal(coco.decode(one), pixels == one["class"])
    groups, confidence = opened(answer["GROUPS"][0]), opened(answer["CONFIDENCE"][0])
    assert groups.shape == confidence.shape == pixels.shape
    about = json.loads(answer["NOTES"][0])["groups"][0]
    assert groups.max() < len(about["classes"]) == about["windows"] * about["groups"]


# ------------------------------------------------------------------------------------------------ bad next to good


def test_a_bad_image_fails_alone(ask, pictures):
    batch = [pictures[0], b"", b"GIF89a", pictures[1][:2000], pictures[1]]
    answer = ask("segment", IMAGES=batch, CLASSES=CLASSES)
    errors = words(answer["ERRORS"])
    assert [bool(error) for error in errors] == [False, True, True, True, False]
    assert [bool(mask) for mask in answer["MASKS"]] == [True, False, False, False, True]
    assert np.isnan(answer["SCORES"][1:4]).all() and np.isfinite(answer["SCORES"][[0, 4]]).all()
    answer = ask("compare", IMAGES=batch, TEXTS=["a street"])
    assert [bool(error) for error in answer["ERRORS"]] == [False, True, True, True, False]
    assert np.isnan(answer["SIMILARITY"][1:4]).all() and np.isfinite(answer["SIMILARITY"][[0, 4]]).all()


def test_small_odd_and_turned_pictures_have_masks_of_their_own_size(ask):
    exif = Image.Exif()
    exif[0x0112] = 6
    tiny, grey, deep, clear, few, dot = (io.BytesIO() for _ in range(6))
    Image.fromarray(scenes.render(1, (64, 48)).image).resize((9, 7)).save(tiny, "PNG")
    Image.fromarray(scenes.render(3, (64, 48)).image).convert("L").save(grey, "PNG")
    Image.fromarray(np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)).save(deep, "PNG")
    Image.fromarray(scenes.render(3, (64, 48)).image).convert("RGBA").save(clear, "PNG")
    Image.fromarray(scenes.render(3, (64, 48)).image).convert("P", palette=Image.Palette.ADAPTIVE).save(few, "PNG")
    Image.new("RGB", (1, 1), (90, 90, 90)).save(dot, "PNG")
    batch = [one.getvalue() for one in (tiny, grey, deep, clear, few, dot)]
    batch.insert(1, jpeg(2, (64, 48), exif=exif.tobytes()))
    answer = ask("segment", IMAGES=batch, CLASSES=CLASSES)
    assert words(answer["ERRORS"]) == [""] * 7
    shapes = [(7, 9), (64, 48), *[(48, 64)] * 4, (1, 1)]
    assert [opened(mask).shape for mask in answer["MASKS"]] == shapes
    assert np.isfinite(ask("compare", IMAGES=batch, TEXTS=CLASSES)["SIMILARITY"]).all()


@pytest.mark.parametrize(
    "model, inputs, options, sentence",
    [
        ("segment", {"CLASSES": ["a"]}, {}, "neither"),
        ("segment", {"IMAGES": [b"x"], "IDS": ["y"], "CLASSES": ["a"]}, {}, "exactly one"),
        ("segment", {"IMAGES": [b"x"], "CLASSES": []}, {}, "1 to 1,000 class names"),
        ("segment", {"IMAGES": [b"x"], "CLASSES": ["a", ""]}, {}, "class name 1 is empty"),
        ("segment", {"IMAGES": [b"x"], "CLASSES": ["a"] * 10_000}, {}, "10,000"),
        ("segment", {"IMAGES": [b"x"], "CLASSES": ["a" * 5_000]}, {}, "5,000 characters"),
        ("segment", {"IMAGES": [b"x"], "CLASSES": ["car", "Car"]}, {}, "are one to the network"),
        ("segment", {"IMAGES": [b"x"], "CLASSES": ["a"]}, {"rule": "soft"}, "rule is one of"),
        ("segment", {"IMAGES": [b"x"], "CLASSES": ["a"]}, {"threshold": 1}, "threshold"),
        ("compare", {"IMAGES": [b"x"]}, {}, "give TEXTS"),
        ("compare", {"IMAGES": [b"x"], "TEXTS": [" "]}, {}, "text 0 is empty"),
        ("compare", {"IMAGES": [b"x"], "TEXTS": ["a"]}, {"templates": "many"}, "templates"),
        ("compare", {"IMAGES": [b"x"], "TEXTS": ["a"]}, {"keep_embeddings": True}, "stored frames"),
        ("text_embedder", {"TEXTS": ["a", " "]}, {}, "text 1 is empty"),
        ("text_embedder", {"TEXTS": ["a"]}, {"templates": "many"}, "templates"),
    ],
)
def test_a_wrong_request_gets_a_sentence(ask, model, inputs, options, sentence):
    with pytest.raises(triton.InferenceServerException) as caught:
        ask(model, options, **inputs)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    message = caught.value.message()
    assert sentence in message
    assert "Traceback" not in message and " /" not in message and "sluice:" not in message


def test_an_unknown_id_fails_alone(ask):
    assert "nobody" in words(ask("segment", IDS=["nobody"], CLASSES=CLASSES)["ERRORS"])[0]
    assert "nobody" in words(ask("compare", IDS=["nobody"], TEXTS=CLASSES)["ERRORS"])[0]


def test_the_model_of_words_tells_versions_without_texts(ask):
    answer = ask("text_embedder", {})
    assert [one.split("/")[0] for one in words(answer["MODEL"])] == ["image_grouper", "text_encoder"]
    assert 0 < answer["SCALE"][0] <= 100 and len(answer["EMBEDDINGS"]) == 0
