"""The search of a gallery by brute force over what was stored, in plain loops."""

import numpy as np

from sluice.images import valid_cells
from sluice.methods import matching
from tests.made.gallery_frames import CHANNELS, grid


def brute_force(stored, templates, search):
    """Score the frames [(frame, features, geometry)] that pass the filters one by one, and sort them by hand."""
    lists = range(templates.queries) if search.combine == "query" else [0]
    passed = []
    for frame, map_, geometry in stored.values():
        if search.drives is not None and frame.drive not in search.drives:
            continue
        if search.cameras is not None and frame.camera not in search.cameras:
            continue
        if search.after is not None and not (frame.time is not None and frame.time >= search.after):
            continue
        if search.before is not None and not (frame.time is not None and frame.time < search.before):
            continue
        if not set(search.tags or ()) <= set(frame.tags) or frame.id in (search.exclude or ()):
            continue
        valid = valid_cells(geometry, grid(geometry), 8)
        scores = matching.scores(map_, templates, search.score, valid)
        combined = matching.combine(scores[None], search.combine, templates.query, search.score).reshape(-1)
        passed.append((frame, combined))
    answer = []
    for j in lists:
        taken, count = [], {}
        for frame, scores in sorted(passed, key=lambda one: (-one[1][j], one[0].id)):
            if search.threshold is not None and scores[j] < search.threshold:
                continue
            count[frame.drive] = count.get(frame.drive, 0) + 1
            if search.per_drive is None or count[frame.drive] <= search.per_drive:
                taken.append((frame.id, scores[j]))
        answer += taken[: search.k]
    return answer, len(passed)


def compare(store, stored, templates, search):
    """Check that a search finds the frames, scores, features and geometries that brute force finds."""
    found = store.search(templates, search)
    expected, searched = brute_force(stored, templates, search)
    assert list(found.ids) == [id_ for id_, _ in expected]
    np.testing.assert_allclose(found.scores, [score for _, score in expected], atol=2e-6)
    assert found.searched == searched and found.rescored <= searched
    assert found.roi_scores.shape == (len(expected), len(templates.query))
    for id_, frame, map_, geometry in zip(found.ids, found.frames, found.features, found.geometries, strict=True):
        assert frame["id"] == id_ and frame["drive"] == stored[id_][0].drive
        np.testing.assert_array_equal(geometry, stored[id_][2].as_array())
        assert map_.shape == (*grid(stored[id_][2]), CHANNELS)
