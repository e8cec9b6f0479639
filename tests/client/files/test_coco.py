"""Detections in other people's tools: pycocotools loads and evaluates them, Label Studio's form is its guide's."""

from __future__ import annotations

import json
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sluice_client import Box, Detections, Frame, InvalidRequest, Object, Pick, Uncertainties
from sluice_client.answers.detect import TYPES
from sluice_client.files import coco, labelstudio

LABELS = ("Car", "Pedestrian")


def thing(label: str, box: tuple[float, ...], score: float = 0.9, aleatoric: float = 0.3) -> Object:
    places = (aleatoric, 0.1, 0.2, 0.25)
    return Object(label, LABELS.index(label), score, Box(*box), places, (0.01, 0.04, 0.02, 0.03), 0.4, 0.05)


IMAGES = (
    Detections(
        "drive/a.jpg",
        (thing("Car", (10, 20, 110, 70)), thing("Pedestrian", (5, 5, 25, 65), 0.6)),
        {"objects": 2, "maxima": dict(zip(TYPES, (0.3, 0.04, 0.4, 0.05), strict=True))},
        "mixture_detector/1/x",
        200,
        100,
        Frame("drive/a.jpg", "A"),
    ),
    Detections("drive/b.jpg", (), {"objects": 0, "maxima": None}, "mixture_detector/1/x", 200, 100),
    Detections("drive/c.jpg", (thing("Car", (0, 0, 50, 50), 0.8),), None, "mixture_detector/1/x", 100, 100),
    Detections("drive/broken.jpg", error="not an image"),
)


def written(folder, name: str, value: object) -> str:
    (folder / name).write_text(json.dumps(value, allow_nan=False))
    return str(folder / name)


def test_pycocotools_loads_the_results_beside_the_images_that_belong_to_them(tmp_path, capsys):
    ids = coco.Ids.of(IMAGES, LABELS)
    truth = COCO(written(tmp_path, "images.json", coco.dataset(IMAGES, ids)))
    loaded = truth.loadRes(written(tmp_path, "results.json", coco.results(IMAGES, ids)))
    assert [image["file_name"] for image in truth.loadImgs(truth.getImgIds())] == [one.id for one in IMAGES[:3]]
    assert [one["name"] for one in truth.loadCats(truth.getCatIds())] == list(LABELS)
    first = loaded.loadAnns(loaded.getAnnIds(imgIds=[1], catIds=[1]))[0]
    assert first["bbox"] == [10, 20, 100, 50] and first["area"] == 5000 and first["score"] == 0.9
    assert [first[name] for name in TYPES] == [0.3, 0.04, 0.4, 0.05]
    assert first["box_aleatoric"] == [0.3, 0.1, 0.2, 0.25] and first["box_epistemic"] == [0.01, 0.04, 0.02, 0.03]
    assert loaded.getAnnIds(imgIds=[2]) == [], "an image in which nothing was found is an image all the same"


def test_pycocotools_finds_detections_that_are_the_labels_perfect_under_the_numbers_of_the_labels(tmp_path, capsys):
    numbers = {"drive/a.jpg": 390, "drive/b.jpg": 420, "drive/c.jpg": 7}
    kinds = {"Car": 3, "Pedestrian": 1, "Bus": 6}
    true = [(one, found) for one in IMAGES for found in one]
    labels = {
        "images": [{"id": id, "file_name": name, "width": 200, "height": 100} for name, id in numbers.items()],
        "categories": [{"id": id, "name": name} for name, id in kinds.items()],
        "annotations": [
            {
                "id": place,
                "image_id": numbers[one.id],
                "category_id": kinds[found.label],
                "bbox": [found.box.x0, found.box.y0, found.box.x1 - found.box.x0, found.box.y1 - found.box.y0],
                "area": 1000,
                "iscrowd": 0,
            }
            for place, (one, found) in enumerate(true, 1)
        ],
    }
    path = written(tmp_path, "instances.json", labels)
    ids = coco.Ids.load(path)
    truth = COCO(path)
    evaluation = COCOeval(truth, truth.loadRes(coco.results(IMAGES, ids)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1) and evaluation.stats[1] == pytest.approx(1)


def test_an_image_is_known_by_what_both_paths_end_with(tmp_path):
    files = ["x/a.jpg", "y/a.jpg", "y/b.png", "front\\c.jpg"]
    value = {"images": [{"id": i, "file_name": name} for i, name in enumerate(files)], "categories": []}
    ids = coco.Ids.load(written(tmp_path, "i.json", value))
    for name, number in {"x/a.jpg": 0, "/rig/y/a.jpg": 1, "b": 2, "/rig/y/b.png": 2, "b.jpg": 2, "front/c": 3}.items():
        assert ids.numbers([name]) == {name: number}
    for name in ("a.jpg", "a"):
        with pytest.raises(InvalidRequest, match=r"may be any of several in the COCO file: 'x/a\.jpg' and"):
            ids.numbers([name])
    for name in ("z/b.png", "/elsewhere/b.png"):
        with pytest.raises(InvalidRequest, match=f"no picture '{name}'; 'y/b.png' lies in another folder"):
            ids.numbers([name])
    with pytest.raises(InvalidRequest, match=r"The COCO file has no picture 'd'\. Let"):
        ids.numbers(["d"])
    with pytest.raises(InvalidRequest, match="leave the class out with --labels"):
        ids.category("Car")


@pytest.mark.parametrize("known", ["000066.jpg", "front/000066.jpg", "rear/000066.jpg"])
def test_two_cameras_pictures_of_one_name_never_get_one_number(known):
    """Label one of two pictures of the same name: which one is meant cannot be told, and neither gets the number."""
    ids = coco.Ids({known: 7}, {"Car": 3})
    both = [Detections(f"{camera}/000066.jpg", (thing("Car", (0, 0, 9, 9)),)) for camera in ("front", "rear")]
    for make in (coco.results, coco.dataset):
        with pytest.raises(InvalidRequest, match=r"front/000066\.jpg.*rear/000066\.jpg|rear/.*front/") as refused:
            make(both, ids)
        assert "\n" not in str(refused.value)
    own = coco.Ids.of(both, LABELS)
    assert [row["image_id"] for row in coco.results(both, own)] == [1, 2]


def test_a_coco_file_that_has_a_name_twice_is_refused(tmp_path):
    twice = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}]
    for value in (
        {"images": twice, "categories": []},
        {"images": [], "categories": [{"id": i, "name": "Car"} for i in (1, 2)]},
    ):
        with pytest.raises(InvalidRequest, match=r"has 2 .*name '(a\.jpg|Car)'"):
            coco.Ids.load(written(tmp_path, "i.json", value))


@pytest.mark.parametrize("text", ["1", "[]", '{"images": []}', '{"images": [{}], "categories": []}'])
def test_what_is_no_coco_file_is_refused(text, tmp_path):
    (tmp_path / "i.json").write_text(text)
    with pytest.raises(InvalidRequest, match="should be a COCO file"):
        coco.Ids.load(str(tmp_path / "i.json"))
    with pytest.raises(InvalidRequest, match="cannot be read"):
        coco.Ids.load(str(tmp_path / "none.json"))
    (tmp_path / "i.json").write_text("")
    with pytest.raises(InvalidRequest, match="is not JSON"):
        coco.Ids.load(str(tmp_path / "i.json"))


def test_a_size_that_is_not_known_is_asked_for_where_it_is_needed():
    unsized = Detections("a", (thing("Car", (0, 0, 9, 9)),))
    for ask in (lambda: coco.dataset([unsized], coco.Ids.of([unsized], LABELS)), lambda: labelstudio.tasks([unsized])):
        with pytest.raises(InvalidRequest, match="The size of a is not known"):
            ask()
    assert len(coco.results([unsized], coco.Ids.of([unsized], LABELS))) == 1


# Label Studio ---------------------------------------------------------------------------------------------------------


def test_a_box_is_in_percent_of_its_image_with_label_score_and_uncertainties():
    tasks = labelstudio.tasks(IMAGES, "s3://bucket/{id}")
    assert [task["data"]["image"] for task in tasks] == [f"s3://bucket/drive/{name}.jpg" for name in "abc"]
    assert tasks[0]["data"]["drive"] == "A" and tasks[0]["data"]["class_aleatoric"] == 0.4
    (prediction,) = tasks[0]["predictions"]
    assert prediction["model_version"] == "mixture_detector/1/x" and prediction["score"] == pytest.approx(0.75)
    first = prediction["result"][0]
    assert first["value"] == {
        "x": 5,
        "y": 20,
        "width": 50,
        "height": 50,
        "rotation": 0,
        "rectanglelabels": ["Car"],
    }
    assert (first["type"], first["original_width"], first["original_height"]) == ("rectanglelabels", 200, 100)
    assert first["score"] == 0.9 and first["meta"]["location_aleatoric"] == 0.3
    assert "location aleatoric 0.3" in first["meta"]["text"]
    regions = [one["id"] for one in prediction["result"]]
    assert len(set(regions)) == 2
    assert tasks[1]["predictions"][0]["result"] == [] and "score" not in tasks[1]["predictions"][0]


def test_picks_tell_their_place_score_and_reason():
    four = Uncertainties(1, 2, 3, 4)
    picks = {id: Pick(id, 4 - i, four, four, f"because {id}") for i, id in enumerate(("drive/c.jpg", "drive/a.jpg"))}
    tasks = labelstudio.tasks([IMAGES[2], IMAGES[0]], picks=picks)
    told = [(task["data"]["id"], task["data"]["rank"], task["data"]["uncertainty"]) for task in tasks]
    assert told == [("drive/c.jpg", 1, 4), ("drive/a.jpg", 2, 3)]
    assert tasks[0]["data"]["reason"] == "because drive/c.jpg" and tasks[0]["data"]["image"] == "drive/c.jpg"


def test_the_labelling_configuration_names_what_the_tasks_name():
    tree = ElementTree.fromstring(labelstudio.configuration(["Car", 'a "<b>"']))
    labels, image = tree.find("RectangleLabels"), tree.find("Image")
    assert labels is not None and image is not None
    region = labelstudio.tasks(IMAGES)[0]["predictions"][0]["result"][0]
    assert (labels.get("name"), labels.get("toName")) == (region["from_name"], region["to_name"])
    assert image.get("name") == region["to_name"] and image.get("value") == "$image"
    assert [one.get("value") for one in labels] == ["Car", 'a "<b>"']


def test_an_address_without_a_place_for_the_id_is_refused():
    with pytest.raises(InvalidRequest, match="in the place of its id"):
        labelstudio.tasks(IMAGES, "s3://bucket")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://h/{id}", "http://h/a/100%25%231%3F%C3%A9%20.jpg"),
        ("http://h/", "http://h/a/100%25%231%3F%C3%A9%20.jpg"),
        ("https://h/{id}?size=2", "https://h/a/100%25%231%3F%C3%A9%20.jpg?size=2"),
        ("/data/local-files/?d={id}", "/data/local-files/?d=a/100%25%231%3F%C3%A9%20.jpg"),
        ("s3://bucket/{id}", "s3://bucket/a/100%#1?é .jpg"),
        ("gs://bucket/{id}", "gs://bucket/a/100%#1?é .jpg"),
        ("{id}", "a/100%#1?é .jpg"),
    ],
)
def test_a_name_is_percent_encoded_where_a_browser_reads_it(address, told):
    one = Detections("a/100%#1?é .jpg", width=9, height=9)
    data = labelstudio.tasks([one], address)[0]["data"]
    assert data["image"] == told and data["id"] == one.id
    if told.startswith("http"):
        assert unquote(urlsplit(told).path) == f"/{one.id}"
