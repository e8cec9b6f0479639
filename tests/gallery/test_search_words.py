"""Frames ranked by words, alone and fused with templates: the list is that of brute force, whatever is asked."""

import numpy as np
import pytest

from sluice.errors import InvalidArgument
from sluice.gallery import annotate, embeddings, search_words
from sluice.gallery.embeddings import Embedding
from sluice.gallery.search_words import Words
from sluice.gallery.store import Frame, Gallery, Search, VersionMismatch
from sluice.methods import matching
from tests.made.gallery_frames import (
    CHANNELS,
    EMBEDDER,
    FLAT,
    MODEL,
    TALL,
    WIDE,
    batch,
    embedded,
    embedding,
    features,
    picture,
)
from tests.made.gallery_frames import template as looks_for

NEWER = "image_grouper/1/bbbbbbbbbbbb"
NAMES = [f"{i:02}" for i in range(60)]
LACKING = NAMES[50:]
SHAPES = {name: (WIDE, FLAT, TALL)[i % 3] for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Store 60 frames of four drives; the last ten have no embedding; frames 7 and 8 look the same to the network."""
    root = tmp_path_factory.mktemp("words") / "gallery"
    with Gallery(root, MODEL, CHANNELS, threads=1, shard_bytes=6000) as opened:
        frames = [Frame(name, f"drive {i % 4}", "", float(i), ("even",) * (i % 2 == 0)) for i, name in enumerate(NAMES)]
        maps = [features(name, SHAPES[name]) for name in NAMES]
        vectors = [Embedding(EMBEDDER, vector(name)) if name not in LACKING else None for name in NAMES]
        geometries = [SHAPES[name] for name in NAMES]
        opened.add(frames, [picture(name) for name in NAMES], maps, geometries, embedded=vectors)
        yield opened


def vector(name):
    return embedding("07" if name == "08" else name)


def words(*texts, embedder=EMBEDDER):
    return Words(np.stack([matching.unit(embedding(text)) for text in texts]), embedder)


def passes(i, search):
    drive = search.drives is None or f"drive {i % 4}" in search.drives
    time = (search.after is None or i >= search.after) and (search.before is None or i < search.before)
    return drive and time and (not search.tags or i % 2 == 0) and NAMES[i] not in (search.exclude or ())


def brute(search, asked, template=None):
    """Return [(score, id)] of all frames that pass, best first, in float64 and in plain loops."""
    found = []
    for i, name in enumerate(NAMES):
        if name in LACKING or not passes(i, search):
            continue
        cosines = [float(np.dot(vector(name).astype(np.float64), text)) for text in asked.vectors.astype(np.float64)]
        score = max(cosines) if search.combine == "max" else sum(cosines) / len(cosines)
        if template is not None:
            rois = matching.image_scores(features(name, SHAPES[name]), template, SHAPES[name], search.score)
            fuse = 0.5 if search.fuse is None else search.fuse
            by_template = float(matching.combine(rois[None], search.combine, template.query, search.score)[0])
            score = (1 - fuse) * by_template + fuse * score
        found.append((score, name))
    found.sort(key=lambda pair: (-np.float32(pair[0]).round(6), pair[1]))
    if search.threshold is not None:
        found = [pair for pair in found if pair[0] >= search.threshold]
    if search.per_drive is not None:
        seen: dict[int, int] = {}
        kept = []
        for pair in found:
            drive = int(pair[1]) % 4
            seen[drive] = seen.get(drive, 0) + 1
            if seen[drive] <= search.per_drive:
                kept.append(pair)
        found = kept
    return found[: search.k]


SEARCHES = [
    Search(),
    Search(k=60),
    Search(k=60, combine="mean"),
    Search(k=5, drives=("drive 1", "drive 3")),
    Search(k=5, drives=()),
    Search(k=60, after=10.0, before=30.0, tags=("even",)),
    Search(k=60, per_drive=2),
    Search(k=60, threshold=0.05),
    Search(k=60, exclude=("07",), drives=("drive 0",)),
]


@pytest.mark.parametrize("search", SEARCHES, ids=str)
@pytest.mark.parametrize("texts", [("x",), ("x", "y", "08")], ids=len)
def test_words_alone_rank_as_brute_force(store, search, texts):
    found = search_words.search(store, words(*texts), search)
    expected = brute(search, words(*texts))
    assert list(found.ids) == [name for _, name in expected]
    np.testing.assert_allclose(found.scores, [score for score, _ in expected], atol=1e-6)
    passing = [name for i, name in enumerate(NAMES) if passes(i, search)]
    assert found.searched == len(set(passing) - set(LACKING)) and found.lacking == len(set(passing) & set(LACKING))
    assert found.roi_scores.shape == (len(found.ids), 0) and found.features == ()
    assert found.text_scores.shape == (len(found.ids), len(texts)) and found.text_scores.dtype == np.float32
    expected = found.text_scores.max(1) if search.combine == "max" else found.text_scores.mean(1, dtype=np.float64)
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)
    assert [frame["id"] for frame in found.frames] == list(found.ids)
    assert (found.query == -1).all()


@pytest.mark.parametrize("search", [*SEARCHES, Search(k=60, score="mean"), Search(k=60, score="image")], ids=str)
@pytest.mark.parametrize("fuse", [None, 0.0, 0.3, 1.0])
def test_fused_with_templates_the_list_is_that_of_brute_force(store, search, fuse):
    search = Search(**{**vars(search), "fuse": fuse})
    asked, template = words("x", "21"), looks_for("21")
    found = search_words.search(store, asked, search, template)
    expected = brute(search, asked, template)
    assert list(found.ids) == [name for _, name in expected]
    np.testing.assert_allclose(found.scores, [score for score, _ in expected], atol=2e-6)
    assert found.roi_scores.shape == (len(found.ids), 1) and len(found.features) == len(found.ids)
    if found.ids:
        share = 0.5 if fuse is None else fuse
        by_words = found.text_scores.max(1) if search.combine == "max" else found.text_scores.mean(1)
        np.testing.assert_allclose(found.scores, (1 - share) * found.roi_scores[:, 0] + share * by_words, atol=2e-6)


def test_frames_that_look_alike_tie_and_come_in_the_order_of_their_ids(store):
    found = search_words.search(store, words("07"), Search(k=3))
    assert found.ids[:2] == ("07", "08") and found.scores[0] == found.scores[1]
    assert abs(found.scores[0] - 1) < 1e-3


def test_a_cosine_depends_on_its_frame_and_its_text_alone():
    rows, texts = (np.stack([embedding(f"{kind} {i}") for i in range(300)]) for kind in ("frame", "text"))
    texts = texts[:5].astype(np.float32)
    together = np.einsum("me,te->mt", search_words.widened(rows), texts)
    for i in (0, 1, 7, 299):
        for t in range(5):
            alone = np.einsum("me,te->mt", search_words.widened(rows[i : i + 1]), texts[t : t + 1])
            assert alone[0, 0] == together[i, t]


def test_halves_are_widened_exactly():
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(-1, 2)
    np.testing.assert_array_equal(
        search_words.widened(halves).view(np.uint32), halves.astype(np.float32).view(np.uint32)
    )


def test_a_search_of_few_frames_reads_their_blocks_only(store, monkeypatch):
    read = []
    real = embeddings.stream
    monkeypatch.setattr(
        embeddings, "stream", lambda *arguments: (read.append(arguments[-1]), real(*arguments))[1], raising=True
    )
    search_words.search(store, words("x"), Search(drives=("drive 1",), after=30.0))
    search_words.search(store, words("x"), Search())
    assert read == [False, False, True, False]  # the second of each: the frames of the answer


# ------------------------------------------------------------------------------------------------ what is refused


def test_embeddings_of_another_version_are_lacking_and_never_compared(store):
    found = search_words.search(store, words("x", embedder=NEWER), Search())
    assert found.ids == () and (found.searched, found.lacking) == (0, 60)
    assert found.text_scores.shape == (0, 1)
    found = search_words.search(store, words("x", embedder=NEWER), Search(), looks_for("21"))
    assert found.ids == () and found.lacking == 60 and found.roi_scores.shape == (0, 1)


def test_a_frame_embedded_anew_leaves_the_old_version(tmp_path):
    with Gallery(tmp_path, MODEL, CHANNELS, threads=1) as store:
        store.add(*batch("abc"), embedded=embedded("abc"))
        annotate.EMBEDDINGS.keep(store, ["b"], [Embedding(NEWER, embedding("b"))])
        assert set(search_words.search(store, words("b"), Search()).ids) == {"a", "c"}
        assert search_words.search(store, words("b", embedder=NEWER), Search()).ids == ("b",)
        store.delete(["a"])
        assert search_words.search(store, words("b"), Search()).ids == ("c",)


@pytest.mark.parametrize(
    ("search", "template", "message"),
    [
        (Search(combine="query"), None, "max' or 'mean"),
        (Search(fuse=0.5), None, "beside templates"),
        (Search(score="area"), "21", "no cosine"),
    ],
)
def test_what_words_cannot_do_is_refused(store, search, template, message):
    with pytest.raises(InvalidArgument, match=message):
        search_words.search(store, words("x"), search, template and looks_for(template))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((0, 24)), "1 to 64 texts"),
        (np.zeros((65, 24)), "1 to 64 texts"),
        (np.zeros(24), "1 to 64 texts"),
        (np.full((1, 24), np.inf), "finite"),
    ],
)
def test_words_that_are_none_are_refused(vectors, message):
    with pytest.raises(InvalidArgument, match=message):
        Words(vectors, EMBEDDER)


def test_words_of_another_length_are_refused(store):
    with pytest.raises(InvalidArgument, match="24 numbers, those of the texts 8"):
        search_words.search(store, Words(np.eye(8)[:1], EMBEDDER), Search())


@pytest.mark.parametrize("fuse", [-0.1, 1.1, float("nan"), "half", True])
def test_a_share_is_from_0_to_1(fuse):
    with pytest.raises(InvalidArgument, match="fuse"):
        Search(fuse=fuse)


def test_words_alone_need_no_feature_model(store, tmp_path):
    with Gallery(store.root, threads=1) as looking:
        assert search_words.search(looking, words("07"), Search(k=1)).ids == ("07",)
        with pytest.raises(InvalidArgument, match="open it with model"):
            search_words.search(looking, words("07"), Search(), looks_for("21"))
    with Gallery(store.root, "feature_extractor/1/another", CHANNELS, threads=1) as other:
        assert search_words.search(other, words("07"), Search(k=1)).ids == ("07",)
        with pytest.raises(VersionMismatch):
            search_words.search(other, words("07"), Search(), looks_for("21"))


def test_an_empty_gallery_answers_with_nothing(tmp_path):
    with Gallery(tmp_path, MODEL, CHANNELS, threads=1) as store:
        for template in (None, looks_for("a")):
            found = search_words.search(store, words("x"), Search(), template)
            assert found.ids == () and (found.searched, found.lacking) == (0, 0)
