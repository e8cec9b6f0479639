"""Writes detections and masks as COCO: results for pycocotools' `loadRes`, and the file of images that they refer to.

    ids = coco.Ids.of(found.images, found.labels)
    json.dump(coco.dataset(found.images, ids), open("images.json", "w"))
    json.dump(coco.results(found.images, ids), open("results.json", "w"))

To compare with labels of your own, take the ids from their file with `Ids.load("instances_val.json")`, so that both
number images and classes alike. Each result has its uncertainties under further keys, which COCO's tools keep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..answers.detect import Detections, number
from ..answers.segment import Segmentation
from ..errors import InvalidRequest
from ..frames import Frame
from . import naming, text_files
from .listing import Listed

__all__ = ["Ids", "dataset", "results", "segments"]


@dataclass(frozen=True)
class Ids:
    """The numbers that COCO gives to images and classes.

    images:     name of an image -> its number.
    categories: label -> its number.
    files:      number of an image -> name of its file, for images whose file has another name than the image.
    """

    images: Mapping[str, int]
    categories: Mapping[str, int]
    files: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, images: Iterable[Detections | Segmentation], labels: Sequence[str], frames: Iterable[Frame] = ()
    ) -> Ids:
        """Number images and labels from 1, in their order.

        frames: what the gallery knows about those images that are stored frames. Their files get the names that
                `sluice get -o FOLDER` gives them; the file of any other image is named by its path.
        """
        numbers = {name: i for i, name in enumerate(dict.fromkeys(one.id for one in images), 1)}
        stored = naming.stored({frame.id: frame.more.get("format") for frame in frames if frame.id in numbers})
        files = {numbers[id]: name for id, name in stored.items()}
        return cls(numbers, {label: i for i, label in enumerate(labels, 1)}, files)

    @classmethod
    def load(cls, path: str) -> Ids:
        """Read the numbers from a COCO file with images (named by `file_name`) and categories.

        Raises InvalidRequest when the file is something else, or lists a name twice.
        """
        value = text_files.from_json(text_files.read(path), path)
        try:
            categories = [(str(one["name"]), one["id"]) for one in value["categories"]]
            images = [(str(one["file_name"]), one["id"]) for one in value["images"]]
        except (KeyError, TypeError) as error:
            raise InvalidRequest(
                f"{path} should be a COCO file with images (id, file_name) and categories (id, name); "
                f"{type(error).__name__} {error}.",
            ) from None
        for what, entries in (("images with the file_name", images), ("categories with the name", categories)):
            name, times = Counter(name for name, _ in entries).most_common(1)[0] if entries else ("", 0)
            if times > 1:
                raise InvalidRequest(f"{path} has {times} {what} {name!r}; leave one of them.")
        return cls(dict(images), dict(categories), {number: name for name, number in images})

    def numbers(self, names: Iterable[str]) -> dict[str, int]:
        """Return the number of each image, found by its `file_name` or by the end that both paths share.

        Raises InvalidRequest for an image that the file does not list, and for two images that would get one number.
        """
        numbers = {}
        for name, meant in Listed(self.images, "the COCO file").each(names).items():
            if isinstance(meant, InvalidRequest):
                raise meant
            numbers[name] = self.images[meant]
        return numbers

    def category(self, label: str) -> int:
        """Return the number of a label. Raises InvalidRequest when it has none."""
        if label not in self.categories:
            raise InvalidRequest(
                f"The COCO file has the categories {', '.join(self.categories)}, not {label!r}; "
                "rename it there, or leave the class out with --labels.",
            )
        return self.categories[label]


def results(images: Iterable[Detections], ids: Ids) -> list[dict[str, Any]]:
    """Return one entry per object: image_id, category_id, bbox, score, and the uncertainties.

    bbox is (x, y, width, height) in pixels. Images that failed are left out.
    """
    good = [one for one in images if one.error is None]
    numbers = ids.numbers(one.id for one in good)
    return [
        {
            "image_id": numbers[one.id],
            "category_id": ids.category(found.label),
            "bbox": [
                round(value, 3)
                for value in (found.box.x0, found.box.y0, found.box.x1 - found.box.x0, found.box.y1 - found.box.y0)
            ],
            "score": found.score,
            **found.uncertainties.as_json(),
            "box_aleatoric": [number(value) for value in found.box_aleatoric],
            "box_epistemic": [number(value) for value in found.box_epistemic],
        }
        for one in good
        for found in one.objects
    ]


def segments(images: Iterable[Segmentation], ids: Ids) -> list[dict[str, Any]]:
    """Return one entry per image and class in it: image_id, category_id, segmentation, area and score.

    The segmentation is written as run lengths, the area is in pixels, and the score tells how much the image as a whole
    looks like the class, 0..1. Images that failed are left out.
    """
    good = [one for one in images if one.error is None]
    numbers = ids.numbers(one.id for one in good)
    return [
        {
            "image_id": numbers[one.id],
            "category_id": ids.category(one.classes[place]),
            "segmentation": run,
            "area": round(one.areas[place] * run["size"][0] * run["size"][1]),
            "score": number(one.scores[place]),
        }
        for one in good
        for place, run in one.rle().items()
    ]


def dataset(images: Iterable[Detections | Segmentation], ids: Ids) -> dict[str, Any]:
    """Return images and categories without labels, for `COCO(file).loadRes(results)`. Images that failed are left out.

    Raises InvalidRequest when the size of an image is not known.
    """
    rows: dict[int, dict[str, Any]] = {}
    model = ""
    good = [one for one in images if one.error is None]
    numbers = ids.numbers(one.id for one in good)
    for one in good:
        if one.width is None or one.height is None:
            raise InvalidRequest(f"The size of {one.id} is not known; give width and height.")
        id = numbers[one.id]
        rows[id] = {"id": id, "file_name": ids.files.get(id, one.id), "width": one.width, "height": one.height}
        model = one.model or model
    return {
        "info": {"description": f"Detected by {model}" if model else "Detected by Sluice"},
        "licenses": [],
        "images": list(rows.values()),
        "annotations": [],
        "categories": [{"id": id, "name": label} for label, id in ids.categories.items()],
    }
