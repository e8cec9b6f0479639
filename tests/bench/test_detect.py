"""The figures of `bench detect` are right: its rivals are what they are called, and no moment is lost."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bench import clock  # noqa: E402
from bench.detect import (  # noqa: E402
    forms,
    limits,
    moments,
    networks,
    passes,
)
from export.mixtures.network import Design, MixtureSSD  # noqa: E402
from sluice.methods import mixtures  # noqa: E402
from sluice.methods.mixtures import objects  # noqa: E402
from sluice.methods.mixtures.summaries import Detections, Moments  # noqa: E402
from tests.made.uncertain_objects import long_hand, pictures  # noqa: E402

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network() -> MixtureSSD:
    torch.manual_seed(0)
    return MixtureSSD(Design()).eval()


@pytest.fixture(scope="module")
def sessions(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rivals")
    plain = networks.plain_of(network)
    return {
        "plain": networks.session(networks.export(plain, folder / "plain.onnx")),
        "dropout": networks.session(networks.export(plain, folder / "dropout.onnx", dropout=True)),
    }


def logits(session, times=1):
    return [session.run(["CLASS_MEAN"], {"IMAGE": IMAGE})[0] for _ in range(times)]


def test_the_plain_detector_has_no_mixture_outputs(sessions):
    for session in sessions.values():
        assert [output.name for output in session.get_outputs()] == ["PRIORS", "LOCATION_MEAN", "CLASS_MEAN"]
    assert logits(sessions["plain"])[0].shape[2] == 1  # K


def test_the_plain_detector_is_one_component_of_the_shipped_one(network):
    whole = dict(zip(("PRIORS", *network.design.depths()), network(torch.from_numpy(IMAGE)), strict=True))
    for component in (0, 3):
        priors, location, class_ = networks.plain_of(network, component)(torch.from_numpy(IMAGE))
        torch.testing.assert_close(priors, whole["PRIORS"])
        torch.testing.assert_close(location[:, :, 0], whole["LOCATION_MEAN"][:, :, component], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(class_[:, :, 0], whole["CLASS_MEAN"][:, :, component], atol=1e-4, rtol=1e-4)


def test_dropout_differs_between_passes_and_between_images_of_a_batch(sessions):
    one, other = logits(sessions["dropout"], 2)
    assert np.abs(one - other).max() > 0.01
    same = np.stack([IMAGE[0], IMAGE[0]])
    first, second = sessions["dropout"].run(["CLASS_MEAN"], {"IMAGE": same})[0]
    assert np.abs(first - second).max() > 0.01
    assert np.array_equal(*logits(sessions["plain"], 2))


def test_dropout_reaches_every_source(sessions):
    priors = sessions["dropout"].run(["PRIORS"], {"IMAGE": IMAGE})[0][0]
    changed = np.abs(np.subtract(*logits(sessions["dropout"], 2))).max(axis=(0, 2, 3)) > 0
    steps = np.unique(priors[:, 2] * priors[:, 3])
    assert len(steps) >= 4
    for area in steps:
        assert changed[priors[:, 2] * priors[:, 3] == area].all()


def test_dropout_drops_whole_channels_and_keeps_the_mean():
    torch.manual_seed(0)
    x = networks.ChannelDropout(0.25).eval()(torch.ones(50, 200, 2, 3))
    assert sorted(x.unique().tolist()) == pytest.approx([0.0, 1 / 0.75])
    assert (x == x[:, :, :1, :1]).all()
    assert x.mean().item() == pytest.approx(1, abs=0.02)


def test_without_a_rate_dropout_changes_nothing(network):
    plain, image = networks.plain_of(network), torch.from_numpy(IMAGE)
    before = plain(image)
    for expected, got in zip(before, networks.with_dropout(plain, 0.0)(image), strict=True):
        assert torch.equal(expected, got)


def test_passes_become_their_mean_and_variance():
    rng = np.random.default_rng(1)
    passes = [
        {
            "PRIORS": np.full((2, 7, 4), 32, np.float32),
            "LOCATION_MEAN": rng.standard_normal((2, 7, 1, 4), np.float32),
            "CLASS_MEAN": rng.standard_normal((2, 7, 1, 5), np.float32),
        }
        for _ in range(6)
    ]
    heads = networks.as_mixture(passes)
    location = mixtures.mix_location(heads.location_mean, heads.location_variance, heads.location_weight)
    class_ = mixtures.mix_class(heads.class_mean, heads.class_variance, heads.class_weight)
    offsets = np.stack([p["LOCATION_MEAN"][:, :, 0] for p in passes])
    odds = np.exp(np.stack([p["CLASS_MEAN"][:, :, 0] for p in passes]))
    probability = odds / odds.sum(axis=-1, keepdims=True)
    for mixture, samples in ((location, offsets), (class_, probability)):
        np.testing.assert_allclose(mixture.mean, samples.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(mixture.epistemic, samples.var(axis=0), atol=1e-6)


class Recorder:
    """A contender that records its inputs."""

    passes = 1

    def __init__(self, name, log):
        self.name, self.log = name, log

    def network(self, canvases):
        self.log.append((self.name, canvases[:, 0].tolist()))
        return canvases

    def after(self, outputs):
        return [Detections.none()] * len(outputs)


def test_contenders_get_the_same_images_and_take_turns_at_beginning():
    log: list = []
    names = ("a", "b", "c")
    times = passes.race([Recorder(n, log) for n in names], np.arange(4)[:, None], batch=2, rounds=5)
    rounds = [log[i : i + 3] for i in range(0, len(log), 3)]
    assert len(rounds) == 6 and all(len(t.network) == len(t.after) == 5 for t in times.values())
    for i, turns in enumerate(rounds):
        assert [name for name, _ in turns] == [names[(i + j) % 3] for j in range(3)]
        assert all(images == turns[0][1] for _, images in turns)


def test_a_clock_leaves_no_trace():
    seconds = {"step": 0.0}
    original = objects.nms
    with pytest.raises(TypeError), clock.clocked(objects, "nms", seconds, "step"):
        objects.nms(None)
    assert objects.nms is original and seconds["step"] > 0


def test_merged_moments_are_those_of_all_and_a_lost_image_is_noticed():
    rng = np.random.default_rng(2)
    images = [image.types() for image in moments.pool(rng, 300)]
    whole = Moments.of(np.concatenate(images))
    parts = [Moments.of(values) for values in images]
    merged = moments.together(parts, rng)
    assert moments.difference(merged, whole) <= moments.MARK
    assert moments.difference(moments.together([*parts[1:], Moments()], rng), whole) > 1e-6
    assert moments.difference(moments.truth(np.concatenate(images)), whole) <= moments.MARK


def test_multiplications_are_counted_as_by_hand():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.second = torch.nn.Conv2d(8, 4, 1, groups=2)

        def forward(self, image):
            return self.second(self.first(image.permute(0, 3, 1, 2).float()))

    expected = 16 * 24 * 8 * 3 * 9 + 16 * 24 * 4 * 4
    assert limits.multiplications(Two(), (32, 48)) == expected


def test_the_two_forms_are_compared_by_the_order_that_select_gives():
    images = pictures(3, 20)
    places, decided = forms._ranked([one.detections() for one in images])
    assert places == [
        f"{images.index(next(i for i in images if i.id == id_)):06}"
        for _, id_, _ in long_hand(images, aggregate="max", over_objects="max")
    ]
    assert sum(decided) == len(places) and len(decided) == 4
    assert forms._spearman([0, 1, 2, 3]) == pytest.approx(1)
    assert forms._spearman([3, 2, 1, 0]) == pytest.approx(-1)
