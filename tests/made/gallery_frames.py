"""Makes frames for the gallery's tests: the content of a frame follows from its name alone, in every process."""

import zlib

import numpy as np

from sluice.gallery.embeddings import Embedding
from sluice.gallery.store import Frame
from sluice.images import Geometry
from sluice.methods import matching

MODEL = "feature_extractor/1/0123456789ab"
CHANNELS = 16
WIDE = Geometry(64, 48, 0.5, 0.5, 0, 0)  # fills its canvas of 32 x 24: a grid of 3 x 4 cells of 8 pixels
FLAT = Geometry(64, 48, 0.5, 0.5, 0, 8)  # 5 x 4 cells with padding above and below: rows 1 to 3 show the picture
TALL = Geometry(48, 64, 0.5, 0.5, 0, 0)  # another canvas: 4 x 3 cells


def grid(geometry):
    """Return the cells (h, w) of one of the geometries above."""
    return {WIDE: (3, 4), FLAT: (5, 4), TALL: (4, 3)}[geometry]


def features(name, geometry=WIDE, channels=CHANNELS):
    """Return the features of a frame, float16 [h, w, C], of unit length per cell."""
    random = np.random.default_rng(zlib.crc32(str(name).encode()))
    return matching.unit(random.standard_normal((*grid(geometry), channels))).astype(np.float16)


def picture(name):
    """Return bytes that stand for an encoded picture; the gallery never decodes them."""
    return f"picture of {name} ".encode() * 20


def batch(names, geometry=WIDE, **fields):
    """Return the arguments of `Gallery.add` for frames of these names, each its own id."""
    names = list(names)
    return (
        [Frame(id=str(name), **fields) for name in names],
        [picture(name) for name in names],
        [features(name, geometry) for name in names],
        [geometry.as_array() for name in names],
    )


def template(name, geometry=WIDE):
    """Return the template that looks for the two cells in the middle of a frame."""
    return matching.stack([matching.template(features(name, geometry), (1, 2, 1, 3))], cells=[12])


EMBEDDER = "image_grouper/1/aaaaaaaaaaaa"
E = 24


def embedding(name):
    """Return a vector that a network may give for a frame or for a text, float16 [E], of unit length."""
    random = np.random.default_rng(zlib.crc32(f"embedding of {name}".encode()))
    return matching.unit(random.standard_normal(E)).astype(np.float16)


def embedded(names):
    """Return the embeddings of frames as `Gallery.add` takes them."""
    return [Embedding(EMBEDDER, embedding(name)) for name in names]
