"""Holds the class names of three data sets that segmentation is measured on."""

from __future__ import annotations


def listed(text: str) -> list[str]:
    """Split a list of names at the commas."""
    return text.split(", ")


CAMVID = listed("sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist")

VOC = listed(
    "aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, horse, motorbike, person, "
    "potted plant, sheep, sofa, train, tv monitor"
)

COCO = listed(
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, "
    "mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush"
)

SETS = {"CamVid": CAMVID, "VOC": VOC, "COCO": COCO}
