"""The aggregator and the loop of `detect`, with a detector and a gallery made for the test in place of the server's."""

import asyncio
import io
import json

import numpy as np
import onnx
import pytest
from PIL import Image

from sluice import contracts
from sluice.errors import Cancelled, InvalidArgument, NotFound, Unavailable
from sluice.images import Geometry
from sluice.methods.mixtures.objects import detections
from sluice.methods.mixtures.options import Options, Reading
from sluice.methods.mixtures.summaries import FAINT, Detections, Summary
from sluice.models import object_detector, uncertainty_aggregator
from sluice.models.object_detector import Config
from sluice.models.uncertainty_aggregator import Aggregator, Defaults, detector_version
from sluice.verbs import detect
from sluice.versions import network_record, network_version
from sluice.wire import calls
from sluice.wire.calls import strings
from tests.made.planted_heads import planted, random_heads, tensors

LABELS = ("Car", "Pedestrian", "Bicyclist", "SignSymbol")
NETWORK = "mixture_detector/1/0123456789ab"
VERSION = detector_version(NETWORK, Options(shown=Config().shown))  # as `detect` answers without options
BOXES = [[64, 64, 128, 128], [256, 128, 320, 256]]  # on the canvas of 640 x 480


def picture(width=640, height=480, colour=(200, 30, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


class Server:
    """Answers `call` as the server's models do; keeps what it was asked."""

    def __init__(self, heads=None, stored=()):
        self.aggregator = Aggregator(Defaults(), LABELS, NETWORK)
        self.heads = heads or (lambda canvas: planted(BOXES, [0.9, 0.7], [1, 3]))
        self.stored = dict(stored)
        self.asked, self.kept, self.busy, self.most = [], [], 0, 0

    async def call(self, model, inputs, outputs):
        self.asked.append(model)
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(0)
        try:
            answer = getattr(self, model)(inputs)
        finally:
            self.busy -= 1
        return {name: np.asarray(answer[name]) for name in outputs if name in answer}

    def object_detector(self, inputs):
        assert inputs["IMAGE"].dtype == np.uint8 and inputs["IMAGE"].ndim == 4
        rest = {name: array for name, array in inputs.items() if name != "IMAGE"}
        return self.aggregator.run({**tensors(self.heads(inputs["IMAGE"])), **rest})

    def uncertainty_aggregator(self, inputs):
        return self.aggregator.run(inputs)

    def frame_gallery(self, inputs):
        command = json.loads(inputs["COMMAND"][0])
        if command["op"] == "get":
            (id_,) = command["ids"]
            if id_ not in self.stored:
                raise NotFound(f"no frame with the id {id_!r}")
            return {"ENCODED": strings([self.stored[id_]])}
        self.kept.append((command, inputs["DETECTIONS"], inputs["COUNTS"]))
        return {"ANSWER": strings(["null"])}


class Request(dict):
    def check_cancelled(self):
        pass


def ask(server, **inputs):
    request = Request({name: strings(values) for name, values in inputs.items()})
    return asyncio.run(detect.detect(server.call, request, Config()))


def words(array):
    return [value.decode() for value in array]


# ------------------------------------------------------------------------------------------------ aggregator


@pytest.fixture
def aggregator():
    return Aggregator(Defaults(), LABELS, NETWORK)


def test_objects_of_all_images_stand_one_after_the_other(aggregator):
    heads = random_heads(3, b=3)
    answer = aggregator.run(tensors(heads))
    expected = detections(heads)
    assert answer["IMAGE"].tolist() == [b for b, one in enumerate(expected) for _ in range(len(one))]
    whole = np.concatenate([one.as_array() for one in expected])
    for name, columns in (
        ("CLASSES", 0), ("SCORES", 1), ("BOXES", slice(2, 6)),
        ("BOX_UNCERTAINTIES", slice(6, 14)), ("CLASS_UNCERTAINTIES", slice(14, 16)),
    ):  # fmt: skip
        np.testing.assert_array_equal(answer[name], whole[:, columns])
    low = detections(heads, options=Options(min_score=FAINT))
    faint = [one.scores[one.scores < 0.5].sum() for one in low]
    np.testing.assert_allclose(answer["FAINT"], faint, rtol=1e-6)
    assert (
        min(faint) > 0 and [json.loads(one)["faint"] for one in words(answer["SUMMARIES"])] == answer["FAINT"].tolist()
    )
    version = detector_version(NETWORK, Options())
    assert words(answer["LABELS"]) == list(LABELS) and words(answer["MODEL"]) == [version]
    for text, one in zip(words(answer["SUMMARIES"]), expected, strict=True):
        assert text == Summary.of(one, LABELS, 0.5, version).to_json()


def test_the_summary_is_of_the_objects_whatever_else_is_returned(aggregator):
    heads = tensors(planted(np.arange(5)[:, None] * 50 + [0, 0, 40, 40], [0.9, 0.8, 0.6, 0.3, 0.1]))

    def run(**options):
        answer = aggregator.run({**heads, "OPTIONS": strings([json.dumps(options)])})
        return len(answer["SCORES"]), json.loads(answer["SUMMARIES"][0])["objects"]

    assert run() == (3, 3)
    assert run(min_score=0.05) == (5, 3)
    assert run(min_score=0.7) == (2, 3)
    assert run(object_score=0.2) == (3, 4)
    assert run(object_score=0.85, min_score=0.2) == (4, 1)
    assert run(labels=["Pedestrian"]) == (0, 0)


def test_boxes_are_in_pixels_of_the_image_where_the_geometry_is_given(aggregator):
    heads = tensors(planted([[64, 64, 128, 128]], [0.9]))
    assert aggregator.run(heads)["BOXES"].tolist() == [[64, 64, 128, 128]]
    geometry = Geometry(1024, 640, 0.5, 0.5, 0, 32).as_array()[None]
    assert aggregator.run({**heads, "GEOMETRY": geometry})["BOXES"].tolist() == [[128, 64, 256, 192]]


def test_without_heads_it_says_whose_classes_it_knows(aggregator):
    answer = aggregator.run({})
    assert words(answer["LABELS"]) == list(LABELS)
    assert words(answer["MODEL"]) == [detector_version(NETWORK, Options())]
    assert answer["BOXES"].shape == (0, 4) and answer["SUMMARIES"].shape == (0,)


def test_heads_of_another_detector_are_answered_under_its_own_name(aggregator):
    heads = {**tensors(random_heads(2, k=2, c=3)), "DETECTOR": strings(["frcnn/7"]), "LABELS": strings(["tram", "bus"])}
    answer = aggregator.run(heads)
    version = detector_version("frcnn/7", Options())
    assert words(answer["LABELS"]) == ["tram", "bus"] and words(answer["MODEL"]) == [version]
    summary = json.loads(answer["SUMMARIES"][0])
    assert summary["model"] == version and set(summary["classes"]) <= {"tram", "bus"}


def test_a_network_without_class_variance_is_answered_with_null(aggregator):
    heads = tensors(random_heads(2))
    del heads["CLASS_VARIANCE"]
    answer = aggregator.run(heads)
    assert np.isnan(answer["CLASS_UNCERTAINTIES"][:, 0]).all()
    assert json.loads(answer["SUMMARIES"][0])["maxima"]["class_aleatoric"] is None


def test_defaults_are_those_of_the_parameters():
    heads = tensors(planted([[0, 0, 9, 9], [50, 0, 59, 9]], [0.9, 0.6]))
    strict = Aggregator(Defaults(min_score=0.7, object_score=0.7), LABELS, NETWORK)
    assert len(strict.run(heads)["SCORES"]) == 1
    assert len(strict.run({**heads, "OPTIONS": strings(['{"min_score": 0.5}'])})["SCORES"]) == 1 + 1


@pytest.mark.parametrize(
    "option, value",
    [
        ("confidence", 0.02), ("candidates", 100), ("iou", 0.5), ("keep", 100), ("min_score", 0.4), ("labels", ["Car"]),
        ("class_reduce", "max"), ("location_sigmoid", "deviation"), ("centre_variance", 1), ("size_variance", 1),
        ("shown", "300x300"),
    ],
)  # fmt: skip
def test_whatever_shapes_rows_is_part_of_the_version(aggregator, option, value):
    def version(**options):
        answer = aggregator.run({**tensors(random_heads(3)), "OPTIONS": strings([json.dumps(options)])})
        (model,) = words(answer["MODEL"])
        assert all(json.loads(text)["model"] == model for text in words(answer["SUMMARIES"]))
        return model

    assert version(**{option: value}) != version()
    assert version(**{option: value}).startswith(NETWORK + "/")


def test_how_pictures_are_shown_is_for_detect_to_say():
    server = Server()
    with pytest.raises(InvalidArgument, match="OPTIONS has 'shown'; known are: confidence") as error:
        ask(server, IMAGES=[picture()], OPTIONS=['{"shown": "300x300"}'])
    assert "shown" not in str(error.value).split("known are")[1]


def test_every_option_is_part_of_the_version_or_a_field_of_the_summary(aggregator):
    assert set(Options().shaping()) == {*Options.__dataclass_fields__} - {"object_score"}
    answer = aggregator.run({**tensors(random_heads(3)), "OPTIONS": strings(['{"object_score": 0.7}'])})
    assert words(answer["MODEL"]) == [detector_version(NETWORK, Options())]
    assert json.loads(words(answer["SUMMARIES"])[0])["object_score"] == 0.7
    same = (Options(iou=1, labels=("b", "a")), Options(iou=1.0, labels=("a", "b", "a")))
    assert detector_version(NETWORK, same[0]) == detector_version(NETWORK, same[1])


def test_heads_are_read_as_their_network_was_trained_and_others_as_their_names_say():
    heads = tensors(random_heads(4))
    plain = detections(random_heads(4))[0].box_uncertainties
    own = Aggregator(Defaults(), LABELS, NETWORK, Reading("deviation"))
    np.testing.assert_allclose(own.run(heads)["BOX_UNCERTAINTIES"][:, 4:], plain[:, 4:])
    squared = detections(random_heads(4), options=Options(location_sigmoid="deviation"))[0].box_uncertainties
    np.testing.assert_array_equal(own.run(heads)["BOX_UNCERTAINTIES"], squared)
    assert (squared[:, :4] < plain[:, :4]).all()
    # The authors' form of the same network, by a caller's option and by the parameter; and the heads of somebody else.
    authors = {**heads, "OPTIONS": strings(['{"location_sigmoid": "variance"}'])}
    np.testing.assert_array_equal(own.run(authors)["BOX_UNCERTAINTIES"], plain)
    told = Aggregator(Defaults(location_sigmoid="variance"), LABELS, NETWORK, Reading("deviation"))
    np.testing.assert_array_equal(told.run(heads)["BOX_UNCERTAINTIES"], plain)
    assert words(told.run(heads)["MODEL"]) == words(own.run(authors)["MODEL"]) != words(own.run(heads)["MODEL"])
    others = {**heads, "DETECTOR": strings(["theirs/1"]), "LABELS": strings(LABELS)}
    np.testing.assert_array_equal(own.run(others)["BOX_UNCERTAINTIES"], plain)


def test_offsets_that_were_learned_without_scales_are_decoded_without():
    heads = tensors(random_heads(4))
    own = Aggregator(Defaults(), LABELS, NETWORK, Reading("variance", 1.0, 1.0)).run(heads)
    wanted = detections(random_heads(4), options=Options(centre_variance=1, size_variance=1))[0]
    np.testing.assert_array_equal(own["BOXES"], wanted.boxes)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"OPTIONS": strings(["{"])}, "JSON"),
        ({"OPTIONS": strings(['{"location_sigmoid": "network"}'])}, "deviation, variance"),
        ({"OPTIONS": strings(['{"shown": 3}'])}, "shown is a text"),
        ({"OPTIONS": strings(["[]"])}, "object"),
        ({"OPTIONS": strings(['{"nms": 0.5}'])}, "nms"),
        ({"OPTIONS": strings(['{"labels": ["Tram"]}'])}, "Tram"),
        ({"LABELS": strings(["a", "b", "c", "d"])}, "both or neither"),
        ({"DETECTOR": strings(["x"])}, "both or neither"),
        ({"DETECTOR": strings([""]), "LABELS": strings("abcd")}, "both or neither"),
        ({"DETECTOR": strings(["x"]), "LABELS": strings("aabc")}, "differ"),
        ({"DETECTOR": strings(["x"]), "LABELS": strings("abc")}, "4 LABELS, got 3"),
        ({"DETECTOR": strings(["x"]), "LABELS": strings([b"\xff", b"b", b"c", b"d"])}, "UTF-8"),
        ({"GEOMETRY": np.ones((2, 6), np.float32)}, "1 images, 2 rows"),
        ({"GEOMETRY": np.ones((1, 5), np.float32)}, "GEOMETRY"),
        ({"GEOMETRY": np.zeros((1, 6), np.float32)}, "GEOMETRY"),
        ({"GEOMETRY": np.full((1, 6), np.nan, np.float32)}, "GEOMETRY"),
        ({"CLASS_WEIGHT": np.zeros((1, 60, 4), np.float32)}, "CLASS_WEIGHT"),
        ({"LOCATION_VARIANCE": np.full((1, 60, 3, 4), np.nan, np.float32)}, "LOCATION_VARIANCE of image 0"),
        (tensors(random_heads(0, c=7)), "give LABELS, 6 names"),
    ],
)
def test_what_is_wrong_is_named(aggregator, change, sentence):
    with pytest.raises(InvalidArgument, match=sentence):
        aggregator.run({**tensors(random_heads(0)), **change})


def graph(folder, **says):
    """Write an ONNX file that holds nothing but these metadata."""
    model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []), producer_name="a test")
    onnx.helper.set_model_props(model, {name.replace("_", ".", 1): value for name, value in says.items()})
    (folder / "d" / "1").mkdir(parents=True, exist_ok=True)
    (folder / "d" / "1" / "model.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize("reading", [Reading(), Reading("deviation"), Reading("deviation", 1.0, 0.5)])
def test_the_graph_says_how_its_heads_are_read(tmp_path, reading):
    graph(tmp_path, sluice_edition="2", sluice_reading=reading.as_record()["sluice.reading"])
    assert network_record(tmp_path, "d")["sluice.edition"] == "2"
    assert uncertainty_aggregator.read_reading(tmp_path, "d", Defaults()) == reading


def test_a_graph_that_does_not_say_how_it_is_read_is_refused_unless_the_parameters_do(tmp_path):
    graph(tmp_path, sluice_edition="1")  # all that the first edition wrote were trained on a deviation
    assert uncertainty_aggregator.read_reading(tmp_path, "d", Defaults()) == Reading("deviation")
    graph(tmp_path)
    for some in ({}, {"location_sigmoid": "deviation"}, {"centre_variance": 0.1, "size_variance": 0.2}):
        with pytest.raises(ValueError, match=r"does not say what the sigmoid.*export it with.*set location_sigmoid"):
            uncertainty_aggregator.read_reading(tmp_path, "d", Defaults(**some))
    whole = Defaults(location_sigmoid="deviation", centre_variance=0.1, size_variance=0.2)
    assert whole.options(uncertainty_aggregator.read_reading(tmp_path, "d", whole)).location_sigmoid == "deviation"
    graph(tmp_path, sluice_reading='{"location_sigmoid": "logarithm"}')
    with pytest.raises(ValueError, match=r"not understood.*export it again"):
        uncertainty_aggregator.read_reading(tmp_path, "d", Defaults())
    (tmp_path / "d" / "1" / "model.onnx").write_bytes(b"\x3a\xff\xff\x03 no graph")
    with pytest.raises(ValueError, match=r"no ONNX graph.*sluice export"):
        network_record(tmp_path, "d")


def test_the_served_version_follows_the_parameters_and_the_canvases(tmp_path):
    """Require that the gallery's version of the served detector is that of `detect`, wherever both repositories are."""
    graph(tmp_path / "model_repository", sluice_reading=Reading("deviation").as_record()["sluice.reading"])
    repository = tmp_path / "model_repository"
    (repository / "d" / "labels.txt").write_text("Car\n")
    assert object_detector.served(repository, "e") is None

    def configure(folder, model, **parameters):
        (folder / model).mkdir(parents=True, exist_ok=True)
        lines = [f'parameters {{ key: "{k}" value {{ string_value: "{v}" }} }}' for k, v in parameters.items()]
        (folder / model / "config.pbtxt").write_text("\n".join(lines))

    plain = object_detector.served(repository, "d")
    network = network_version(repository, "d")
    assert plain.version == detector_version(network, Options(location_sigmoid="deviation", shown=Config().shown))
    assert (plain.labels, plain.min_score) == (("Car",), 0.5)
    versions = {plain.version}
    configure(repository, "uncertainty_aggregator", min_score="0.3", detector="d")
    served = object_detector.served(repository, "d")
    assert served.min_score == 0.3
    versions.add(served.version)
    configure(tmp_path / "ensembles", "detect", canvases="300x300", multiple="1", keep_aspect="false")
    versions.add(object_detector.served(repository, "d").version)
    configure(repository, "detect", canvases="300x300", multiple="1")  # as a release lays them out
    versions.add(object_detector.served(repository, "d").version)
    assert len(versions) == 4


def test_labels_are_the_lines_of_the_file(tmp_path):
    (tmp_path / "d").mkdir()
    with pytest.raises(FileNotFoundError, match=r"d/labels\.txt is missing"):
        uncertainty_aggregator.read_labels(tmp_path, "d")
    (tmp_path / "d" / "labels.txt").write_text("Car\nTraffic Light\n\n")
    assert uncertainty_aggregator.read_labels(tmp_path, "d") == ("Car", "Traffic Light")
    (tmp_path / "d" / "labels.txt").write_text("Car\nCar\n")
    with pytest.raises(ValueError, match="twice"):
        uncertainty_aggregator.read_labels(tmp_path, "d")


# ------------------------------------------------------------------------------------------------ detect


def test_boxes_come_back_in_pixels_of_each_image():
    server = Server()
    answer = ask(server, IMAGES=[picture(640, 480), picture(1280, 960)])
    assert answer["IMAGE"].tolist() == [0, 0, 1, 1]
    assert answer["CLASSES"].tolist() == [0, 2, 0, 2]
    np.testing.assert_allclose(answer["BOXES"][:2], np.array(BOXES), rtol=1e-6)
    np.testing.assert_allclose(answer["BOXES"][2:], np.array(BOXES) / 0.5, rtol=1e-6)
    assert answer["SCORES"].tolist() == pytest.approx([0.9, 0.7] * 2)
    assert [json.loads(text)["objects"] for text in answer["SUMMARIES"]] == [2, 2]
    assert words(answer["ERRORS"]) == ["", ""] and words(answer["MODEL"]) == [VERSION]


def test_an_image_falls_on_the_canvas_that_it_fills_best():
    seen = []
    server = Server(lambda canvas: seen.append(canvas.shape) or planted(BOXES, [0.9, 0.7]))
    ask(server, IMAGES=[picture(640, 480), picture(480, 640), picture(1600, 900), picture(50, 50)])
    assert sorted(seen) == sorted([(1, 480, 640, 3), (1, 640, 480, 3), (1, 416, 736, 3), (1, 544, 544, 3)])


def test_a_bad_image_fails_alone_and_its_neighbours_keep_their_numbers():
    answer = ask(Server(), IMAGES=[b"no image", picture(), b"", picture()])
    assert answer["IMAGE"].tolist() == [1, 1, 3, 3]
    errors = words(answer["ERRORS"])
    assert "not an image" in errors[0] and errors[1] == "" and "0 bytes" in errors[2] and errors[3] == ""
    assert [bool(text) for text in answer["SUMMARIES"]] == [False, True, False, True]


def test_where_no_image_can_be_read_the_answer_is_whole():
    answer = ask(Server(), IMAGES=[b"no image"])
    assert answer["BOXES"].shape == (0, 4) and answer["BOX_UNCERTAINTIES"].shape == (0, 8)
    assert words(answer["LABELS"]) == list(LABELS) and words(answer["MODEL"]) == [VERSION]


def test_a_picture_without_an_object_has_an_empty_summary():
    answer = ask(Server(lambda canvas: planted(BOXES, [1e-6, 1e-6])), IMAGES=[picture()])
    assert len(answer["IMAGE"]) == 0 and words(answer["ERRORS"]) == [""]
    summary = json.loads(answer["SUMMARIES"][0])
    assert (summary["objects"], summary["maxima"], summary["moments"]["n"]) == (0, None, 0)


def test_heads_that_are_no_numbers_fail_their_image_alone():
    def heads(canvas):
        whole = random_heads(0)
        bright = canvas[0, 200, 200, 0] > 100
        return whole if bright else Broken(whole)

    class Broken:
        def __init__(self, whole):
            self.__dict__.update(whole.__dict__)
            self.__dataclass_fields__ = whole.__dataclass_fields__
            self.class_mean = np.full_like(whole.class_mean, np.nan)

    answer = ask(Server(heads), IMAGES=[picture(), picture(colour=(0, 0, 0))])
    errors = words(answer["ERRORS"])
    assert errors[0] == "" and "CLASS_MEAN" in errors[1] and set(answer["IMAGE"]) == {0}


def test_stored_frames_are_fetched_and_an_unknown_one_fails_alone():
    server = Server(stored={"a": picture(), "c": picture(1280, 960)})
    answer = ask(server, IDS=["a", "b", "c"])
    assert answer["IMAGE"].tolist() == [0, 0, 2, 2]
    assert "'b'" in words(answer["ERRORS"])[1]
    assert not server.kept


def test_scores_are_kept_with_the_frames_that_could_be_read():
    server = Server(stored={"a": picture(), "b": b"damaged", "c": picture()})
    answer = ask(server, IDS=["a", "b", "nobody", "c"], OPTIONS=['{"keep_scores": true}'])
    ((command, rows, counts),) = server.kept
    assert command == {"op": "score", "ids": ["a", "c"], "detector": VERSION, "labels": list(LABELS)}
    assert counts.tolist() == [2, 2] and rows.shape == (4, 16)
    np.testing.assert_array_equal(Detections.from_array(rows).boxes, answer["BOXES"])


def test_nothing_is_kept_where_nothing_could_be_read():
    server = Server()
    answer = ask(server, IDS=["nobody"], OPTIONS=['{"keep_scores": true}'])
    assert not server.kept and words(answer["ERRORS"])[0]


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({}, "neither"),
        ({"IMAGES": [b"x"], "IDS": ["a"]}, "IMAGES and IDS"),
        ({"IMAGES": []}, "1 to 256"),
        ({"IMAGES": [b"x"] * 257}, "257"),
        ({"IMAGES": [b"x"], "OPTIONS": ["{"]}, "JSON"),
        ({"IMAGES": [b"x"], "OPTIONS": ['{"iou": 2}']}, "iou"),
        ({"IMAGES": [b"x"], "OPTIONS": ['{"labels": ["Tram"]}']}, "Tram"),
        ({"IMAGES": [b"x"], "OPTIONS": ['{"keep_scores": true}']}, "ingest"),
        ({"IDS": ["a"], "OPTIONS": ['{"keep_scores": 1}']}, "true or false"),
        ({"IDS": ["a"], "OPTIONS": ['{"keep_scores": true, "class_reduce": "max"}']}, "class_reduce"),
    ],
)
def test_a_wrong_request_is_refused_before_any_image_is_looked_at(inputs, sentence):
    server = Server()
    with pytest.raises(InvalidArgument, match=sentence):
        ask(server, **inputs)
    assert "object_detector" not in server.asked and "frame_gallery" not in server.asked


def test_a_busy_server_is_nobodys_mistake():
    def busy(canvas):
        raise Unavailable("mixture_detector is busy; try again")

    with pytest.raises(Unavailable):
        ask(Server(busy), IMAGES=[picture()] * 3)


def test_a_cancelled_request_asks_for_no_more_images():
    server = Server()

    class Gone(Request):
        def check_cancelled(self):
            if server.asked.count("object_detector") >= 9:
                raise Cancelled("gone")

    with pytest.raises(Cancelled):
        asyncio.run(detect.detect(server.call, Gone(IMAGES=strings([picture()] * 60)), Config()))
    assert server.asked.count("object_detector") < 20


def test_only_so_many_images_wait_for_the_network_at_once():
    server = Server()
    ask(server, IMAGES=[picture()] * 30)
    assert 1 < server.most <= Config().in_flight


def test_detect_one_is_the_same_for_a_single_image():
    server = Server()
    one = asyncio.run(object_detector.detect_one(server.call, picture(), Config(), {"min_score": 0.8}))
    assert len(one.detections) == 1 and one.labels == LABELS
    assert one.model == detector_version(NETWORK, Options(min_score=0.8, shown=Config().shown))
    assert json.loads(one.summary)["objects"] == 2
    with pytest.raises(InvalidArgument, match="not an image"):
        asyncio.run(object_detector.detect_one(server.call, b"none"))


# ------------------------------------------------------------------------------------------------ calls


def test_results_stand_in_the_order_of_the_items_whichever_ends_first():
    async def work(item):
        await asyncio.sleep(0.01 * (3 - item))
        return item * 10

    assert asyncio.run(calls.each([0, 1, 2, 3], work, 3, lambda: None)) == [0, 10, 20, 30]


def test_one_failure_ends_the_others():
    ended = []

    async def work(item):
        try:
            await asyncio.sleep(5 if item else 0)
        except asyncio.CancelledError:
            ended.append(item)
            raise
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        asyncio.run(calls.each([0, 1, 2], work, 3, lambda: None))
    assert ended == [1, 2]


def test_the_options_of_the_aggregator_are_the_published_ones():
    published = Options(confidence=0.01, candidates=200, iou=0.45, keep=200, object_score=0.5, class_reduce="detected")
    assert Defaults().options(Reading()) == published


# ------------------------------------------------------------------------------------------------ contracts


def test_the_parameters_of_the_aggregator_are_every_constant_at_its_published_value():
    parameters = contracts.models()["uncertainty_aggregator"].parameters
    given = {name: value.string_value for name, value in parameters.items()}
    assert contracts.parameters(Defaults, given) == Defaults()
    assert set(given) == {*Options.__dataclass_fields__, "detector"} - {"labels", "shown"}
    canvases = contracts.models()["detect"].parameters["canvases"].string_value
    assert Config(canvases=canvases).sizes == Config().sizes


def test_the_aggregator_takes_what_the_detector_gives_and_detect_answers_as_the_aggregator():
    models = contracts.models()
    heads = contracts.tensors(models["mixture_detector"].output)
    taken = contracts.tensors(models["uncertainty_aggregator"].input)
    assert set(heads) == set(uncertainty_aggregator.HEADS)
    for name, (kind, dims) in heads.items():
        assert taken[name] == (kind, [-1, *dims])
    answered = contracts.tensors(models["uncertainty_aggregator"].output)
    assert contracts.tensors(models["detect"].output) == {**answered, "ERRORS": ("STRING", [-1])}
