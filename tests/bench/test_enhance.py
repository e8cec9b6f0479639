"""Tests the benchmark of `enhance`: contenders are what they are called, figures by hand, short runs on tiny
networks."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("av")

from sluice_client import Planes  # noqa: E402

import scenes  # noqa: E402
from bench import report  # noqa: E402
from bench.enhance import __main__ as enhance  # noqa: E402
from bench.enhance import (  # noqa: E402
    films,
    ladder,
    precision,
    quality,
    realesr,
    speed,
    stream,
)
from bench.enhance import marks as enhance_marks  # noqa: E402
from bench.enhance import networks as enhance_networks  # noqa: E402
from bench.enhance import worth as enhance_worth  # noqa: E402
from export.video import network  # noqa: E402
from export.video.codec import to_picture  # noqa: E402
from export.video.rrdb import bicubic  # noqa: E402
from sluice import contracts  # noqa: E402
from sluice.methods.video.planes import Picture  # noqa: E402

TINY = {
    "artifact_remover": network.Design("usnet", {"width": 4, "hidden": [4]}),
    "frame_upscaler": network.Design("rrrdb", {"width": 4, "fine": 4, "growth": [[[4]]]}),
}
CONFIG = """name: "enhance" backend: "python"
parameters [ { key: "networks" value { string_value: "%s" } } ]"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Write a folder of tiny networks with random weights: two upscalers of one design, two removers of another."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for model in enhance_networks.SHIPPED:
        design = TINY[model.rpartition("_")[0]]
        network.save(network.Enhancer(design, design.build()), folder / f"{model}.pt")
    return folder


@pytest.fixture(scope="module")
def ours(weights, tmp_path_factory):
    return enhance_networks.shipped(weights, tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write generated scenes in place of the photographs and of the drive, and no film."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("restoration/live1", "restoration/set5", "camvid/images", "camvid/labels"):
        (folder / name).mkdir(parents=True)
    for i in range(3):
        scene = scenes.render(i, (480, 360))
        for name in ("live1", "set5"):
            Image.fromarray(scene.image).save(folder / "restoration" / name / f"{i}.webp", lossless=True)
        Image.fromarray(scene.image).save(folder / "camvid" / "images" / f"0006R0_{i:05d}.webp", lossless=True)
        Image.fromarray(scene.labels).save(folder / "camvid" / "labels" / f"0006R0_{i:05d}.png")
    return folder


@pytest.fixture
def lines(capsys):
    report.as_json(True)
    yield lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    report.as_json(False)


def test_multiply_adds_are_those_of_the_papers():
    on_luma = enhance_networks.OnLuma
    assert enhance_networks.multiplications(on_luma(enhance_networks.dncnn(), 1, True)) == 18 * 64 * 64 * 9 + 2 * 64 * 9
    arcnn = 64 * 81 + 64 * 32 * 49 + 32 * 16 + 16 * 25
    assert enhance_networks.multiplications(on_luma(enhance_networks.arcnn(), 1)) == arcnn
    fsrcnn = enhance_networks.multiplications(on_luma(enhance_networks.fsrcnn(), 2))
    # Two chroma planes of a quarter of the pixels: two phases of five taps, then the same at twice the height.
    assert fsrcnn == pytest.approx(12464 + 2 / 4 * (10 + 20), rel=0.01)


def test_the_peers_bicubic_is_ours():
    x = torch.rand(2, 3, 7, 10)
    torch.testing.assert_close(enhance_networks.doubled(x), bicubic(x))
    luma, chroma = torch.randint(0, 256, (1, 8, 6), dtype=torch.uint8), torch.zeros(1, 4, 3, 2, dtype=torch.uint8)
    large, small = enhance_networks.OnLuma(None, 2)(luma, chroma)
    assert large.shape == (1, 16, 12) and small.shape == (1, 8, 6, 2) and small.max() == 0
    expected = bicubic((luma[:, None].float() / 255).expand(-1, 3, -1, -1))[:, 0]
    assert (large.float() - expected.clamp(0, 1) * 255).abs().max() <= 0.5 + 1e-3


def test_graphs_answer_as_served_and_designs_of_one_kind_are_timed_once(ours, weights):
    image = scenes.render(1, (64, 48)).image
    found = ours["frame_upscaler_clean"].session(1).rgb(image)
    expected = quality.judge.enhancing(network.Served(network.load(weights / "frame_upscaler_clean.pt")))
    assert found.shape == (96, 128, 3) and np.abs(found.astype(int) - expected(image)).max() <= 1
    first, second = speed.merged(ours)
    assert first.models == enhance_networks.REMOVERS and second.models == enhance_networks.UPSCALERS


def test_contenders_take_turns_until_each_has_had_its_time(ours, monkeypatch):
    monkeypatch.setattr(speed, "frame", lambda h, w: enhance_networks.frame(32, 48))
    two = speed.merged(ours)
    times = speed.race(two, (32, 48), speed.Limits(least=3, most=4, seconds=1e9))
    assert [len(values) for values in times.values()] == [4, 4] and min(map(min, times.values())) > 0
    times = speed.race(two, (32, 48), speed.Limits(least=3, most=9, seconds=0))
    assert [len(values) for values in times.values()] == [3, 3]


def test_the_speed_table_has_a_row_a_design(ours, lines, monkeypatch):
    monkeypatch.setitem(speed.SIZES, "360p", (32, 48))
    found = speed.measure(speed.merged(ours), ["360p"], speed.Limits(2, 2, 0))
    *rows, claim = lines()
    assert [row["scale"] for row in rows] == ["x1", "x2"] and all(row["frames"] == 2 for row in rows)
    for row, times in zip(rows, found["360p"].values(), strict=True):
        assert row["least"] == min(times) and row["ms per frame"] == pytest.approx(sum(times) / 2)
        assert row["30-fps streams"] == pytest.approx(1000 / row["ms per frame"] / 30) and row["processor ms"] > 0
    assert claim["value"] is None and "DnCNN" in claim["claim"]  # it was not among them


def test_scores_are_those_of_the_reference():
    reference = pytest.importorskip("pytorch_msssim")
    rng = np.random.default_rng(0)
    wanted = rng.uniform(16, 235, (180, 200))
    found = (wanted + rng.normal(0, 4, wanted.shape)).clip(0, 255)
    got = quality.scores(found, wanted, 2)
    a, b = (torch.from_numpy(x[2:-2, 2:-2].astype(np.float32))[None, None] for x in (found, wanted))
    assert got.psnr == pytest.approx(10 * np.log10(255**2 / ((found - wanted)[2:-2, 2:-2] ** 2).mean()))
    assert got.ssim == pytest.approx(float(reference.ssim(a, b, data_range=255)), abs=1e-4)
    assert got.ms_ssim == pytest.approx(float(reference.ms_ssim(a, b, data_range=255)), abs=1e-4)
    assert quality.scores(wanted, wanted).ssim == pytest.approx(1)


def test_an_interval_of_equal_gains_is_a_point_and_decibels_have_two_digits():
    assert quality.bootstrap([0.5] * 6) == pytest.approx((0.5, 0.5))
    low, high = quality.bootstrap([0.0, 1.0] * 20)
    assert 0.2 < low < 0.5 < high < 0.8
    assert f"{quality.Decibels(27.773):.3g}" == "27.77" and json.dumps(quality.Decibels(0.5)) == "0.5"


def test_a_higher_rung_spends_fewer_bits_and_is_farther_from_the_original():
    clip = list(films.pan(scenes.render(3, (480, 360)).image, (320, 448), 8, np.random.default_rng(0)))
    clean = [to_picture(image) for image in clip]
    fine, coarse = (films.x264(clean, crf) for crf in (18, 38))
    assert len(fine.frames) == len(coarse.frames) == 8 and fine.bits > 2 * coarse.bits
    for i, wanted in enumerate(clean):
        near, far = (quality.scores(one.frames[i].luma, wanted.luma).psnr for one in (fine, coarse))
        assert near > far > 20 and near > 35


def test_a_clip_is_one_group_and_a_pan_never_rests():
    image = scenes.render(3, (480, 360)).image
    frames = list(films.pan(image, (64, 96), 300, np.random.default_rng(1)))
    assert len(frames) == 300 and {frame.shape for frame in frames} == {(64, 96, 3)}
    assert all((one != other).any() for one, other in itertools.pairwise(frames))
    whole = list(films.pan(image, (360, 480), 3, np.random.default_rng(1)))  # there is nowhere to go
    assert {frame.shape for frame in whole} == {(360, 480, 3)}
    with pytest.raises(ValueError, match="at least 96 x 400"):
        next(films.pan(image, (400, 96), 3, np.random.default_rng(1)))
    # A cut in the middle begins no second group.
    cut = [to_picture(one) for one in [*frames[:10], *(255 - frame for frame in frames[:10])]]
    sizes = []
    whole_group = films.x264(cut, 30)
    for frame in (cut[:10], cut[10:]):
        sizes.append(films.x264(frame, 30).bits * 10)
    assert len(whole_group.frames) == 20 and whole_group.bits * 20 > 0.5 * sum(sizes)


def test_a_mark_lies_where_the_ways_cross_and_costs_what_it_loses():
    rungs = [
        enhance_marks.Rung("f", kind, 180, 180, 0, spent, {("weak",): [30.0 + gain, 30.0 + gain], (): [30.0]})
        for kind, cross in (("drive", 1.0), ("pan", 2.0))
        for spent in (0.25, 0.5, 1.5, 4.0)
        for gain in [0.5 if spent < cross else -0.5]
    ]
    args = rungs, ("weak",), ()
    assert enhance_marks.cost(*args, mark=0.1) == pytest.approx((2 * 0.5 / 4 + 3 * 0.5 / 4) / 2)
    # Between the crossings one clip of one kind loses, whichever side it is put on.
    least, low, high = enhance_marks.cheapest(*args)
    assert least == pytest.approx(0.5 / 4 / 2) and 0.5 < low < 0.6 and 3.7 < high <= 4.0


def test_a_quick_run_of_the_marks_prints_every_table(weights, data, lines):
    given = ["--json", "--quick", "--weights", str(weights), "--data", str(data), "--parts", "marks"]
    assert enhance.main(given) == 0
    rows = lines()
    marks = [row for row in rows if "mark" in row]
    assert {row["mark"] for row in marks} == {one.title for one in enhance_marks.MARKS}
    assert {row["clips"] for row in marks} == {"drive and pan", "still"}
    removed = [row for row in rows if row["table"].startswith("artefacts removed")]
    assert {row["clips"] for row in removed} >= {"drive", "pan", "still"} and all(
        row["nothing"] == 0 for row in removed
    )


def test_quality_per_millisecond_is_gain_over_the_median_time(lines, tmp_path):
    times = {"frame_upscaler_clean": [100, 90, 400], "FSRCNN(56,12,4)": [50, 60, 50], "SRVGG": [200]}
    times["artifact_remover_weak"] = [10]
    gains = {"artifact_remover_weak": 1.0}, {"frame_upscaler_clean": 2.5, "FSRCNN(56,12,4)": 3.0}
    enhance_worth.measure(times, "720p", gains, ((), ("SRVGG",)), tmp_path / "docs" / "enhance.png")
    rows = lines()
    (needed,) = (row for row in rows if row.get("") == "SRVGG")
    assert needed["gain, dB"] == pytest.approx(25 * 200 / 1000) and needed["quality"] == "needed to equal ours"
    worth = {row[""]: row["dB per second"] for row in rows if "dB per second" in row}
    assert worth == pytest.approx({
        "artifact_remover_weak": 100, "frame_upscaler_clean": 25, "FSRCNN(56,12,4)": 60, "SRVGG": 25
    })  # fmt: skip
    (claim,) = (row for row in rows if "claim" in row)
    assert claim["value"] == pytest.approx(25 / 60) and not claim["holds"] and "FSRCNN" in claim["claim"]
    with Image.open(tmp_path / "docs" / "enhance.png") as drawn:
        assert drawn.width == 1120


def test_a_quick_run_prints_every_table_and_claim(weights, data, lines):
    given = ["--json", "--quick", "--weights", str(weights), "--data", str(data)]
    assert enhance.main([*given, "--parts", "quality"]) == 0
    rows = lines()
    claims = [row["claim"] for row in rows if "claim" in row]
    assert len(claims) == 3 and all(row["unit"] == "dB" for row in rows if "claim" in row)
    live = [row for row in rows if row.get("table", "").startswith("LIVE1")]
    assert {row["quality"] for row in live} == {10, 20, 30, 40}
    for row in live:
        if row[""] == "decoded":
            assert row["gain, dB"] == 0 and 15 < row["PSNR, dB"] < 50 and row["SSIM"] <= 1
    assert any("published" in row[""] for row in live)


def test_missing_photographs_are_told_aloud_and_their_claims_are_short(weights, tmp_path, capsys):
    try:
        given = ["--json", "--quick", "--weights", str(weights), "--data", str(tmp_path), "--parts", "quality"]
        assert enhance.main(given) == 0
    finally:
        report.as_json(False)
    captured = capsys.readouterr()
    assert "skipped: no live1 in" in captured.err and "skipped: no set5 in" in captured.err
    claims = [json.loads(line) for line in captured.out.splitlines()]
    assert len(claims) == 3 and not any(row["holds"] or row["value"] is not None for row in claims)


def test_the_ladder_tells_what_is_missing_and_judges_mode_auto_clip_by_clip(ours, data, lines):
    bicubic_of = enhance_networks.Contender("b", 2, ours["frame_upscaler_clean"].content, 0, 0).session(1)
    missing = ladder.measure(ours, data, bicubic_of, 1, True)
    assert missing == [f"video/{ladder.PARK}"]
    rows = lines()
    assert {row["CRF"] for row in rows if "CRF" in row} == set(ladder.CRFS)
    for encoder in ladder.ENCODERS:
        tables = [row for row in rows if row.get("table", "").startswith(encoder)]
        decoded = [row for row in tables if row.get("") == "decoded"]
        assert len(decoded) == len(ladder.CRFS) and decoded[0]["PSNR, dB"] > decoded[-1]["PSNR, dB"]
        each = [row for row in tables if "clip" in row]
        assert len(each) == 3 * len(ladder.CRFS), "the drive, a generated drive and a photograph"
        gains = [row["as mode auto chooses, P and B frames"] for row in each]
        claims = {row["claim"]: row for row in rows if encoder in row.get("claim", "")}
        assert len(claims) == 3
        (least,) = (row for name, row in claims.items() if name.startswith("least"))
        assert least["value"] == min(gains) and least["holds"] == (min(gains) >= ladder.LOST)


def test_realesr_runs_in_ncnn_as_in_our_graph_and_is_judged_beside_ours(ours, tmp_path):
    if reason := realesr.missing():
        pytest.skip(reason)
    peer = realesr.peer(tmp_path)
    image = scenes.render(5, (48, 32)).image
    theirs, graph = peer.session(1), enhance_networks.Session(peer.content, 1)
    assert np.abs(theirs.rgb(image).astype(int) - graph.rgb(image)).max() <= 2 and peer.parameters > 6e5
    given = enhance_networks.frame(32, 48)
    picture = Picture(given["LUMA"][0], given["CHROMA"][0], enhance_networks.COLOUR)
    for one, other in zip(*(side.planes(picture.luma, picture.chroma) for side in (theirs, graph)), strict=True):
        assert one.shape == other.shape and np.abs(one.astype(int) - other).mean() < 2
    found = speed.race([peer], (32, 48), speed.Limits(1, 1, 0))
    assert found[realesr.name()][0] > 0 and speed.trained(peer).startswith("published, ncnn")
    with pytest.raises(ValueError, match="at strength 1, got"):
        theirs.planes(picture.luma, picture.chroma, strength=0.5)
    assert list(quality.doubling([image], {realesr.name(): theirs})) == ["bicubic", realesr.name()]


def test_without_ncnn_the_reason_is_told():
    assert realesr.missing("no_such_package").startswith("not installed: ")
    assert "no_such_package; install them with pip" in realesr.missing("no_such_package")


def test_a_short_film_is_played_to_and_fro():
    frames = [np.full((8, 8, 3), i, np.uint8) for i in range(4)]
    found = [int(one[0, 0, 0]) for one in ladder.to_and_fro(frames, 9, None)]
    assert found == [0, 1, 2, 3, 2, 1, 0, 1, 2]


def test_int8_is_nearly_the_same_picture(ours, monkeypatch):
    monkeypatch.setattr(precision, "CALIBRATED", 2)
    whole = ours["artifact_remover_strong"]
    small = enhance_networks.Session(precision.quantized(whole.content), 1)
    image = scenes.render(5, (64, 48)).image
    found, expected = small.rgb(image).astype(int), whole.session(1).rgb(image)
    assert np.abs(found - image).max() > 0 and np.abs(found - expected).mean() < 1


def test_openvino_gives_the_same_picture_and_bf16_nearly(ours):
    pytest.importorskip("openvino")
    for whole in ours.values():
        image = scenes.render(5, (64, 48)).image
        expected = whole.session(1).rgb(image).astype(int)
        fp32 = precision.OpenVino(**vars(whole)).session(1).rgb(image)
        assert np.abs(fp32 - expected).max() <= 1
        for one in precision.variants(whole):
            assert np.abs(one.session(1).rgb(image) - expected).mean() < 1.5, one.name


def test_bf16_is_not_said_to_hold_where_nobody_knows_what_it_loses(ours, lines, tmp_path):
    pytest.importorskip("openvino")
    precision.measure(ours, tmp_path, quick=True)
    claims = [row for row in lines() if "claim" in row]
    assert len(claims) == 2 and not any(row["holds"] for row in claims)


@pytest.fixture
def here(ours, tmp_path):
    """Return the verb over the tiny networks."""
    for model in enhance_networks.SHIPPED:
        folder = tmp_path / "model_repository" / model / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(ours[model].content)
    (tmp_path / "ensembles" / "enhance").mkdir(parents=True)
    networks = " ".join(f"{model}=40" for model in enhance_networks.SHIPPED)
    (tmp_path / "ensembles" / "enhance" / "config.pbtxt").write_text(CONFIG % networks)
    return stream.InProcess(tmp_path)


class Answering:
    """A client whose server is the process itself; it counts the frames of each stream."""

    def __init__(self, here, change=0):
        self.here, self.change, self.streams = here, change, []

    def enhance_stream(self, frames, *, batch, timeout, **options):
        self.streams.append(len(frames))
        for planes in self.here.enhance(frames, options):
            yield Answer(planes + np.uint8(self.change))


class Answer:
    error = None

    def __init__(self, planes):
        self.planes = planes


def test_both_sides_of_the_stream_take_turns(here, lines, monkeypatch):
    monkeypatch.setattr(stream, "FRAMES", 4)
    client = Answering(here)
    stream.compare(client, here, 2, (32, 48))
    rows = lines()
    tasks = [row for row in rows if "network ms" in row]
    assert [row["network"] for row in tasks] == ["artifact_remover_weak", "frame_upscaler_clean"]
    for row in tasks:
        assert row["least"] <= row["share"] <= row["most"] and row["network ms"] > 0
    assert len([row for row in rows if "claim" in row]) == 4
    assert client.streams.count(4) == 2 * 2 and client.streams.count(1) == 2 * 2 * stream.ALONE


def test_another_network_behind_the_server_is_noticed(here):
    with pytest.raises(SystemExit, match="make export"):
        stream.same(Answering(here, change=5), here, {"do": "artefacts", "mode": "weak"})


def test_frames_of_the_stream_are_planes_of_their_size():
    (one,) = stream.pictures(48, 64, 1)
    assert isinstance(one, Planes) and (one.width, one.height) == (64, 48)


@pytest.mark.serving
def test_a_quick_run_against_the_real_server(lines):
    missing = [
        model
        for model in enhance_networks.SHIPPED
        if not contracts.ROOT.joinpath("model_repository", model, "1", "model.onnx").is_file()
    ]
    if missing:
        pytest.fail(f"{', '.join(missing)} not exported; run: make export", pytrace=False)
    assert enhance.main(["--quick", "--json", "--parts", "stream"]) == 0
    claims = [row for row in lines() if "claim" in row]
    assert len(claims) == 4 and all(row["value"] > 0 for row in claims if "through the server" in row["claim"])
