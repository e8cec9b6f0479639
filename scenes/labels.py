"""Lists the classes of pixels and the kinds that can be counted. The classes are CamVid's, in its order."""

CLASSES = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian",
    "Bicyclist", "Unlabelled",
)  # fmt: skip
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST, UNLABELLED = range(12)
KINDS = ("car", "truck", "motorcycle", "bicycle", "pedestrian", "sign", "traffic light")
LABEL = {
    "car": CAR,
    "truck": CAR,
    "motorcycle": BICYCLIST,
    "bicycle": BICYCLIST,
    "pedestrian": PEDESTRIAN,
    "sign": SIGN,
    "traffic light": SIGN,
}
BACKGROUND = ("building", "tree", "fence", "lamp post")
