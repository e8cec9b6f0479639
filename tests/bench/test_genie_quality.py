"""Tests the benchmark of the solvers on networks: distances by hand, claims, and a short run on random networks."""

import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from bench import report  # noqa: E402
from bench.genie_quality import __main__ as genie_quality  # noqa: E402
from bench.genie_quality import data as genie_quality_data  # noqa: E402
from bench.genie_quality import tables  # noqa: E402
from bench.genie_quality.networks import Model, pixels  # noqa: E402
from bench.genie_quality.samples import Plan, make  # noqa: E402
from bench.genie_quality.statistics import STUDENT, Gaussian, frechet, jackknife  # noqa: E402
from export.genie.files import load, save  # noqa: E402
from export.genie.network import ScoreNetwork, light, with_head  # noqa: E402
from export.training.camvid import Frame  # noqa: E402
from sluice.methods.genie.solvers import SOLVERS  # noqa: E402
from sluice.methods.genie.trajectory import Call, Options, noise, sample  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Write small networks with random weights under the names of the shipped ones."""
    folder = tmp_path_factory.mktemp("weights")
    for name, channels, classes in (("digits", 1, 10), ("streets", 3, 0)):
        torch.manual_seed(0)
        network = with_head(ScoreNetwork(light((8, 8), channels, classes, patch=4)), 8)
        torch.nn.init.normal_(network.head.leave.weight, std=0.05)
        save(network, folder / f"{name}.pt")
    save(ScoreNetwork(light((8, 8), 1, 10, patch=4)), folder / "flat.pt")
    return folder


@pytest.fixture(scope="module")
def digits(weights):
    return Model.read("digits", weights / "digits.pt")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write noise in the form of MNIST and of CamVid."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (folder / "generation").mkdir()
    arrays = {}
    for part, count in (("train", 60), ("test", 400)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"y_{part}"] = (np.arange(count) % 10).astype(np.uint8)
    np.savez(folder / "generation" / "mnist.npz", **arrays)
    for sub in ("images", "labels"):
        (folder / "camvid" / sub).mkdir(parents=True)
    for drive, count in (("0016E5", 2), ("0001TP", 28)):
        for i in range(count):
            image = Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8))
            image.save(folder / "camvid" / "images" / f"{drive}_{i:05d}.webp", lossless=True)
            labels = Image.fromarray(rng.integers(0, 12, (40, 50), np.uint8))
            labels.save(folder / "camvid" / "labels" / f"{drive}_{i:05d}.png")
    return folder


# ------------------------------------------------------------------------------------------------ statistics


def test_the_frechet_distance_of_two_gaussians_has_a_closed_form():
    mean, other = np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 0.5])
    one, two = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.25])
    expected = np.square(mean - other).sum() + np.square(np.sqrt(one) - np.sqrt(two)).sum()
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    pair = [Gaussian(turn @ m, turn @ np.diag(c) @ turn.T) for m, c in ((mean, one), (other, two))]
    assert frechet(*pair) == pytest.approx(expected, rel=1e-12)
    assert frechet(*pair[::-1]) == pytest.approx(expected, rel=1e-12)
    assert frechet(pair[0], pair[0]) == pytest.approx(0, abs=1e-12)


def test_the_frechet_distance_of_covariances_that_do_not_commute():
    rng = np.random.default_rng(1)
    one, two = (a @ a.T for a in rng.standard_normal((2, 4, 4)))
    values, vectors = np.linalg.eig(one @ two)  # tr (one two)^1/2, without the symmetric form
    expected = np.trace(one) + np.trace(two) - 2 * np.sqrt(values.real).sum()
    assert frechet(Gaussian(np.zeros(4), one), Gaussian(np.zeros(4), two)) == pytest.approx(expected, rel=1e-9)
    assert vectors.shape == (4, 4)


def test_the_frechet_distance_bears_features_that_never_change():
    features = np.random.default_rng(2).standard_normal((9, 12))
    features[:, 3] = 0
    gaussian = Gaussian.of(features)
    assert frechet(gaussian, gaussian) == pytest.approx(0, abs=1e-6)
    assert frechet(gaussian, Gaussian.of(features + 1)) == pytest.approx(12, rel=1e-6)


def test_the_jackknife_of_a_mean_is_students_interval_of_the_means_of_the_groups():
    values = np.random.default_rng(3).standard_normal(40)
    found = jackknife(lambda rows: float(rows.mean()), values, 8)
    means = values.reshape(8, 5).mean(axis=1)
    assert found.value == pytest.approx(values.mean())
    assert found.half == pytest.approx(STUDENT[7] * means.std(ddof=1) / np.sqrt(8))
    assert jackknife(lambda rows: float(rows.max()), np.ones((8, 2)), 4).half == 0


# ------------------------------------------------------------------------------------------------ images


def test_the_graphs_answer_as_the_network_does_and_null_rows_have_no_class(digits, weights):
    network, labels = load(weights / "digits.pt"), np.array([3, 8])
    x = noise(range(4), digits.shape)
    call = Call(x, np.full(4, 0.3), np.array([False, False, True, True]), True)
    eps, slope = digits.network(labels)(call)
    with torch.no_grad():
        wanted = network.both(torch.from_numpy(x), torch.full((4,), 0.3), torch.tensor([3, 8, 10, 10]))
    np.testing.assert_allclose(eps, wanted[0], atol=1e-4)
    np.testing.assert_allclose(slope, wanted[1], atol=1e-3)
    alone, nothing = digits.network(labels)(Call(x[:2], call.t[:2], call.null[:2], False))
    np.testing.assert_allclose(alone, eps[:2], atol=1e-5)
    assert nothing is None


def test_all_solvers_get_the_same_latents_and_classes(digits, monkeypatch):
    monkeypatch.setattr("bench.genie_quality.samples.BATCH", 8)  # three batches, the last one smaller
    plan = Plan(20, (2, 3), (2,), fine=Options("unipc", 6), finer=Options("ab2", 8))
    made = make(digits, plan, processors=2)
    assert set(made) == {*plan.options(), plan.finer} and len(plan.options()) == 1 + 4 * len(SOLVERS)
    assert {options.nfe for options in plan.options()} == {2, 3, 6}
    assert len(made.pop(plan.finer)) == 8 and {len(images) for images in made.values()} == {20}
    for solver in SOLVERS:
        expected = sample(digits.network(np.arange(20) % 10), noise(range(20), digits.shape), plan.plain(solver, 2))
        np.testing.assert_allclose(made[plan.plain(solver, 2)], expected, atol=1e-3)


def test_the_exact_derivative_is_the_difference_along_the_trajectory(digits, weights):
    from bench.genie_quality.networks import exact
    from sluice.methods.genie import schedule

    labels, x, t = np.array([3, 8]), noise(range(2), digits.shape), np.full(2, 0.3)
    here = float(schedule.gamma(0.3))
    h = 0.003 * here
    ask = exact(weights / "digits.pt", labels)
    eps, slope = ask(Call(x, t, np.zeros(2, bool), True))
    xbar, ends = x / schedule.alpha(0.3), []
    for gamma in (here - h, here + h):
        moved = ((xbar + (gamma - here) * eps) / np.sqrt(1 + gamma**2)).astype(np.float32)
        ends.append(ask(Call(moved, np.full(2, schedule.time_at(gamma)), np.zeros(2, bool), True))[0])
    np.testing.assert_allclose(slope, (ends[1] - ends[0]) / (2 * h), atol=0.02 * np.abs(slope).max())
    np.testing.assert_allclose(eps, digits.network(labels)(Call(x, t, np.zeros(2, bool), False))[0], atol=1e-4)


def test_pixels_are_those_that_callers_get():
    from sluice.methods.genie.pictures import bytes_of

    image = np.random.default_rng(0).normal(0, 0.8, (3, 5, 5)).astype(np.float32)
    assert np.array_equal(pixels(image).transpose(1, 2, 0), bytes_of(image))


def test_the_shares_of_a_crop_are_those_of_what_is_labelled():
    labels = np.full((40, 60), 11, np.uint8)
    labels[:, ::2], labels[:, 1::4] = 3, 5
    frame = Frame("f", "d", np.zeros((40, 60, 3), np.uint8), labels)
    images, shares = genie_quality_data.crops([frame], [], 30, np.random.default_rng(0))
    assert images.shape == (30, 3, 32, 32) and images.dtype == np.uint8
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert shares[:, [3, 5]].sum() == pytest.approx(30) and shares[:, 3].mean() == pytest.approx(2 / 3, abs=0.05)


# ------------------------------------------------------------------------------------------------ claims


def claimed(capsys, **errors):
    """Return the claims when each solver has the error given for it, varied by one per cent from picture to picture."""
    plan, rng = Plan(16, (5, 10), ()), np.random.default_rng(0)
    truth = rng.standard_normal((16, 1, 4, 4))
    made = {plan.fine: truth}
    for nfe in plan.nfes:
        for solver in SOLVERS:
            off = errors.get(f"{solver}_{nfe}", errors.get(solver, 2.0)) * (
                1 + 0.01 * rng.standard_normal((16, 1, 1, 1))
            )
            made[plan.plain(solver, nfe)] = truth + off
    for solver in SOLVERS:
        made[plan.grids(solver, 5)[1]] = truth + errors.get(f"{solver}_linear", 3.0)
    model = Model("toy", (1, 4, 4), 0, None, None, None)
    report.as_json(True)
    try:
        tables.claims(model, plan, tables.Distances(made, plan))
    finally:
        report.as_json(False)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_claims_hold_where_genie_is_nearest(capsys):
    first, equal, better, second = claimed(capsys, genie=1.0, unipc=1.5, unipc_10=0.5, genie_linear=0.5, ab2_linear=0.6)
    assert first["holds"] and first["value"] == pytest.approx(1.5, abs=0.05) and "unipc" in first["reason"]
    assert second["holds"] and second["value"] == pytest.approx(2, abs=0.05)
    assert equal["holds"] and equal["value"] == first["value"] and "genie in 5 steps" in equal["claim"]
    assert first["spread"][0] < first["value"] < first["spread"][1]
    assert better["holds"] and better["value"] == pytest.approx(1.2)
    assert "genie on the linear grid" in better["reason"] and "ab2, linear" in better["reason"]


@pytest.mark.parametrize(("head", "steps"), [(0.0, 5), (0.02, 4), (0.25, 4), (0.26, 3), (9.0, 1)])
def test_at_equal_cost_genie_has_the_steps_that_its_head_leaves(head, steps):
    plan = Plan(16, (5, 10), (), head=head)
    assert plan.affordable(5).steps == steps and plan.affordable(5) in plan.options()
    assert steps == 1 or steps * (1 + head) <= 5 < (steps + 1) * (1 + head)
    assert len(plan.options()) == len(set(plan.options()))


def test_the_claims_fall_short_where_chance_would_do(capsys):
    first, equal, better, second = claimed(capsys, genie=1.0, ab2=1.001, ddim_10=0.9, ab2_linear=0.7)
    assert not better["holds"] and better["value"] == pytest.approx(0.7, abs=0.02)
    assert not first["holds"] and not equal["holds"] and "ab2" in first["reason"]
    assert not second["holds"] and second["value"] == pytest.approx(0.9, abs=0.02) and "NFE 10" in second["reason"]


# ------------------------------------------------------------------------------------------------ all of it


def test_a_quick_run_prints_its_tables_and_claims_and_draws_its_picture(weights, data, tmp_path, capsys):
    line = ["--quick", "--head", "0.3", "--json", "--weights", str(weights), "--data", str(data)]
    line += ["--cache", str(tmp_path / "cache")]
    try:
        assert genie_quality.main([*line, "--picture", str(tmp_path / "grid.png")]) == 0
        rows = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
        kept = sorted(path.name.split("_")[0] for path in (tmp_path / "cache").glob("*.pt"))
        assert kept == ["digits", "streets"]
        assert genie_quality.main([*line, "--models", "digits"]) == 0
        again = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    finally:
        report.as_json(False)
    assert again == [row for row in rows if "digits" in row.get("claim", row.get("table"))], "kept and repeatable"
    assert len([row for row in rows if "claim" in row]) == 10
    table = [row for row in rows if "NFE" in row and "times genie's" in row]
    equal = [row for row in rows if "cost used" in row]
    assert len(equal) == 2 * 2 * len(SOLVERS) and all(row["cost used"] <= row["cost"] for row in equal)
    assert {row["steps"] for row in equal if row["solver"] == "genie"} == {3, 7}
    assert all("adds 30" in row["table"] for row in equal)
    assert len(table) == 2 * 2 * len(SOLVERS)
    assert all(row["distance"] > 0 and row["Fréchet"] > 0 for row in table)
    assert [row["times genie's"] is None for row in table] == [row["solver"] == "genie" for row in table]
    spaced = [row for row in rows if "default" in row]
    assert [row["NFE"] for row in spaced] == 2 * ([5] * len(SOLVERS) + [10] * len(SOLVERS))
    assert all(row["linear"] != row["quadratic"] and row["default"] == SOLVERS[row["solver"]].grid for row in spaced)
    grids = [row for row in rows if "linear grid" in row]
    assert len(grids) == 2 * (1 + len(SOLVERS)) and all(row["linear grid"] > 0 for row in grids)
    assert all(row["linear grid"] != row["quadratic grid"] for row in grids)
    assert sum("class as asked" in row for row in table) == 2 * len(SOLVERS), "of the digits alone"
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.height > picture.width / 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--models", "flat"], "unknown flat"),
        (["--images", "12"], "a multiple of 8"),
        (["--images", "8"], "16 or more"),
    ],
)
def test_wrong_arguments_are_refused(given, told, capsys):
    with pytest.raises(SystemExit):
        genie_quality.main(given)
    assert told in capsys.readouterr().err


def test_weights_without_a_head_and_missing_data_are_told(weights, data, tmp_path, capsys):
    (tmp_path / "digits.pt").write_bytes((weights / "flat.pt").read_bytes())
    line = ["--quick", "--models", "digits", "--cache", str(tmp_path)]
    assert genie_quality.main([*line, "--weights", str(tmp_path), "--data", str(data)]) == 2
    assert "no curvature head" in capsys.readouterr().err
    assert genie_quality.main([*line, "--weights", str(weights), "--data", str(tmp_path)]) == 2
    assert "mnist.npz" in capsys.readouterr().err
