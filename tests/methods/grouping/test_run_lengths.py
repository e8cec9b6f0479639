"""Run lengths against COCO's own tool."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from sluice.methods.grouping.run_lengths import compress, runs


def check(labels):
    found = runs(labels)
    assert list(found) == sorted(set(labels.ravel().tolist()))
    for label, one in found.items():
        own = np.asfortranarray((labels == label).astype(np.uint8))
        assert one == {"size": list(labels.shape), "counts": mask.encode(own)["counts"].decode()}
        assert (mask.decode(one) == own).all()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.integers(1, 8))
def test_as_coco_writes_them(seed, height, width, labels, block):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, labels, (height, width)).astype(np.uint8)
    check(np.kron(coarse, np.ones((block, block), np.uint8))[:height, :width])


def test_small_pictures():
    check(np.zeros((1, 1), np.uint8))
    check(np.full((3, 5), 999, np.uint16))
    check(np.eye(7, dtype=np.uint8))


def test_a_large_picture():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 300, (9, 16)).astype(np.uint16), np.ones((120, 120), np.uint16))
    labels[500:503] = rng.integers(0, 300, (3, 1920))
    check(labels)


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=12))
def test_long_runs(counts):
    # The reader of COCO's tool takes text of any lengths; back to lengths by the rule of the format.
    text, lengths, at = compress(np.array(counts, np.int64)), [], 0
    while at < len(text):
        value = shift = 0
        more = True
        while more:
            digit = ord(text[at]) - 48
            value |= (digit & 31) << shift
            more, at, shift = bool(digit & 32), at + 1, shift + 5
            if not more and digit & 16:
                value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
    assert lengths == counts
