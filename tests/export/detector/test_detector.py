"""`sluice export detector`: detectors with random weights serve the boxes that their framework gives; what cannot be
served is refused with a sentence and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from export.detector import bf16, command  # noqa: E402
from export.detector.checking import picture, session  # noqa: E402
from export.detector.mapping import Mapping  # noqa: E402
from sluice import contracts  # noqa: E402
from sluice.methods.mixtures.summaries import TYPES  # noqa: E402
from sluice.models import object_detector  # noqa: E402
from sluice.models.uncertainty_aggregator import Aggregator, Defaults  # noqa: E402
from sluice.server import profile  # noqa: E402
from tests.made import plain_detectors as made  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = (192, 160)
SHAPE = (2, 3, 160, 192)
LABELS = ("Car", "Pedestrian", "Sign")
LEAST = 0.2
OPEN = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
ANCHORS = json.dumps([[list(map(float, one)) for one in level] for level in made.YOLO_ANCHORS])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    return tmp_path


def run(capsys, *words):
    """Run the command; return its exit status and all that it printed."""
    status = command.main([str(word) for word in words])
    told = capsys.readouterr()
    return status, told.out + told.err


def edit(path, **values):
    """Set lines of a mapping file."""
    text = path.read_text()
    for name, value in values.items():
        text = re.sub(rf"^{name} = .*\n", "", text, flags=re.M) + f"{name} = {value}\n"
    path.write_text(text)
    return path


def grids(path, seed=0, drop=False):
    module = made.YoloGrids(3, seed).eval()
    module.trunk.drop.train(drop)
    return made.write(path, module, "images", ["p4", "p5"], SHAPE, **(OPEN if drop else {}))


def yolo_mapping(here, capsys):
    """Propose the mapping of the raw heads and fill in the anchors."""
    status, told = run(capsys, "--from", grids(here / "grids.onnx"), "--labels", "labels.txt", "--size", "192x160")
    assert status == 0 and "3 anchors" in told
    return edit(here / "grids.toml", anchors=ANCHORS)


def served(root, canvas, **options):
    """Answer as the server's `object_detector` does: the exported graph, then the aggregator."""
    repository = root / "model_repository"
    graph = session(onnx.load(repository / "box_detector" / "1" / "model.onnx"))
    found = graph.run(None, {"IMAGE": canvas})
    defaults = contracts.configured(Defaults, repository, "uncertainty_aggregator")
    assert defaults.detector == "box_detector"
    inputs = dict(zip(("MEMBER_BOXES", "MEMBER_SCORES", "MEMBERS"), found, strict=True))
    asked = {"min_score": LEAST, "object_score": LEAST, "candidates": 5000, "keep": 5000, **options}
    return Aggregator.serving(repository, defaults).run({**inputs, "OPTIONS": np.array([json.dumps(asked)], object)})


def same(answer, expected):
    """Check boxes, classes and scores of an answer against (class, score, box), best first."""
    assert len(expected) > 3, "a test of nothing"
    order = sorted(range(len(expected)), key=lambda i: (-round(expected[i][1], 5), expected[i][0]))
    got = sorted(
        range(len(answer["SCORES"])), key=lambda i: (-round(float(answer["SCORES"][i]), 5), answer["CLASSES"][i])
    )
    assert answer["CLASSES"][got].tolist() == [expected[i][0] for i in order]
    np.testing.assert_allclose(answer["SCORES"][got], [expected[i][1] for i in order], atol=2e-5)
    np.testing.assert_allclose(answer["BOXES"][got], [expected[i][2] for i in order], atol=2e-2)


def torchs(canvas):
    return torch.from_numpy(canvas.astype(np.float32) / 255).permute(0, 3, 1, 2)


def test_raw_yolo_heads_serve_the_boxes_of_the_published_formula_and_say_that_they_give_no_uncertainties(here, capsys):
    mapping = yolo_mapping(here, capsys)
    status, told = run(capsys, "--from", "grids.onnx", "--root", here / "root", "--mapping", mapping)
    assert status == 0 and "no uncertainties" in told
    canvas = picture(SIZE)
    with torch.no_grad():
        raw = [one[0].numpy() for one in made.YoloGrids(3).eval()(torchs(canvas))]
    answer = served(here / "root", canvas)
    same(answer, made.suppressed(*made.yolo_boxes(raw), LEAST, 0.45))
    assert np.isnan(answer["BOX_UNCERTAINTIES"]).all() and np.isnan(answer["CLASS_UNCERTAINTIES"]).all()
    summary = json.loads(answer["SUMMARIES"][0])
    assert summary["uncertainties"] == [] and set(summary["maxima"]) == {"score_entropy"}
    known = object_detector.served(here / "root" / "model_repository", "box_detector")
    assert known is not None and known.labels == LABELS and known.version.startswith("box_detector/1/")


@pytest.mark.long
@pytest.mark.parametrize(
    ("module", "outputs", "values"),
    [
        (made.YoloGrids, ["p4", "p5"], {"anchors": ANCHORS}),
        (made.YoloDecoded, ["output0"], {}),
        (made.YoloBins, ["p4", "p5"], {}),
        (made.RetinaLevels, ["l4", "l5", "o4", "o5"], {"anchor_sizes": json.dumps(made.SIZES)}),
        (made.RetinaNet, ["l", "o"], {"strides": json.dumps(made.STRIDES), "anchor_sizes": json.dumps(made.SIZES)}),
    ],
)
def test_a_network_of_free_size_is_served_on_several_canvases(here, capsys, module, outputs, values):
    made.write(here / "free.onnx", module(3).eval(), "images", outputs, SHAPE)
    assert run(capsys, "--from", "free.onnx", "--labels", "labels.txt", "--size", "192x160")[0] == 0
    mapping = edit(here / "free.toml", canvases='"192x160 128x256"', multiple=32, **values)
    status, told = run(capsys, "--from", "free.onnx", "--root", here / "root", "--mapping", mapping)
    assert status == 0, told  # both were compared with the network
    repository = here / "root" / "model_repository"
    detect = contracts.configured(object_detector.Config, repository, "detect")
    assert detect.sizes == [(192, 160), (128, 256)] and detect.multiple == 32
    counts = [len(served(here / "root", picture(size))["SCORES"]) for size in detect.sizes]
    assert all(counts) and counts[0] != counts[1]


def test_decoded_yolo_heads_are_recognised_without_a_question_but_pixels_and_sizes(here, capsys):
    module = made.YoloDecoded(3).eval()
    made.write(here / "v8.onnx", module, "images", ["output0"], SHAPE)
    status, told = run(capsys, "--from", "v8.onnx", "--labels", "labels.txt", "--size", "192x160")
    assert status == 0 and set(re.findall("to be checked: (\\w+)", told)) == {"canvases", "mean"}
    assert run(capsys, "--from", "v8.onnx", "--root", here / "root", "--mapping", "v8.toml")[0] == 0
    canvas = picture(SIZE)
    with torch.no_grad():
        found = module(torchs(canvas))[0].T.numpy()
    boxes = np.concatenate([found[:, :2] - found[:, 2:4] / 2, found[:, :2] + found[:, 2:4] / 2], 1)
    scores = np.where(found[:, 4:] == found[:, 4:].max(1, keepdims=True), found[:, 4:], 0)
    same(served(here / "root", canvas), made.suppressed(boxes, scores, LEAST, 0.45))


def test_retinanets_offsets_serve_the_boxes_of_its_paper(here, capsys):
    module = made.RetinaNet(3).eval()
    made.write(here / "retina.onnx", module, "images", ["logits", "offsets"], SHAPE)
    assert run(capsys, "--from", "retina.onnx", "--labels", "labels.txt", "--size", "192x160")[0] == 0
    mapping = edit(here / "retina.toml", strides=json.dumps(made.STRIDES), anchor_sizes=json.dumps(made.SIZES))
    assert run(capsys, "--from", "retina.onnx", "--root", here / "root", "--mapping", mapping)[0] == 0
    canvas = picture(SIZE)
    with torch.no_grad():
        logits, offsets = (one[0].numpy() for one in module(torchs(canvas)))
    boxes, scores = made.retina_boxes(logits, offsets, 160, 192)
    least = float(np.quantile(scores, 0.97))
    same(served(here / "root", canvas, min_score=least), made.suppressed(boxes, scores, np.float32(least), 0.5))
    edit(mapping, anchor_ratios="[1.0, 2.0]")
    status, told = run(capsys, "--from", "retina.onnx", "--root", here / "root", "--mapping", mapping)
    assert status == 1 and "make 600 anchors on a canvas of 192x160, the network has 900" in told


@pytest.mark.long
def test_heads_per_level_serve_the_same_boxes_as_their_long_hand(here, capsys):
    canvas = picture(SIZE)
    levels, bins = made.RetinaLevels(3).eval(), made.YoloBins(3).eval()
    made.write(here / "levels.onnx", levels, "images", ["l4", "l5", "o4", "o5"], SHAPE)
    made.write(here / "bins.onnx", bins, "images", ["p4", "p5"], SHAPE)
    for name in ("levels", "bins"):
        assert run(capsys, "--from", f"{name}.onnx", "--labels", "labels.txt", "--size", "192x160")[0] == 0
    edit(here / "levels.toml", anchor_sizes=json.dumps(made.SIZES))
    for name in ("levels", "bins"):
        assert run(capsys, "--from", f"{name}.onnx", "--root", here / name, "--mapping", f"{name}.toml")[0] == 0
    with torch.no_grad():
        logits, offsets = (one[0].numpy() for one in made.RetinaNet(3).eval()(torchs(canvas)))
        raw = [one[0].numpy() for one in bins(torchs(canvas))]
    boxes, scores = made.retina_boxes(logits, offsets, 160, 192)
    least = float(np.quantile(scores, 0.97))
    same(served(here / "levels", canvas, min_score=least), made.suppressed(boxes, scores, np.float32(least), 0.5))
    same(served(here / "bins", canvas), made.suppressed(*made.bins_boxes(raw), LEAST, 0.7))


@pytest.mark.long
def test_detr_serves_the_boxes_of_its_own_post_processing(here, capsys):
    model = made.detr()
    made.write(here / "detr.onnx", made.DetrOutputs(model).eval(), "pixel_values", ["logits", "pred_boxes"], SHAPE)
    status, told = run(capsys, "--from", "detr.onnx", "--labels", "labels.txt", "--size", "192x160")
    assert status == 0 and "DETR's queries" in told
    mapping = edit(here / "detr.toml", mean="[0.485, 0.456, 0.406]", std="[0.229, 0.224, 0.225]")
    assert run(capsys, "--from", "detr.onnx", "--root", here / "root", "--mapping", mapping)[0] == 0
    from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

    canvas = picture(SIZE)
    mean, std = (torch.tensor(one)[:, None, None] for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        outputs = model((torchs(canvas) - mean) / std)
    post = DetrImageProcessorPil().post_process_object_detection(outputs, LEAST, torch.tensor([[160, 192]]))[0]
    rows = zip(post["labels"].tolist(), post["scores"].tolist(), post["boxes"].tolist(), strict=True)
    same(served(here / "root", canvas), list(rows))


def test_a_graph_of_one_image_with_its_own_suppression_is_served_as_it_is(here, capsys):
    module = made.Finished().eval()
    made.write(here / "own.onnx", module, "image", ["boxes", "labels", "scores"], (3, 128, 192), free=False)
    (here / "two.txt").write_text("Car\nSign\n")
    assert run(capsys, "--from", "own.onnx", "--labels", "two.txt")[0] == 0
    edit(here / "own.toml", first_class=1)
    assert run(capsys, "--from", "own.onnx", "--root", here / "root", "--mapping", "own.toml")[0] == 0
    config = contracts.read(here / "root" / "model_repository" / "box_detector" / "config.pbtxt")
    assert config.max_batch_size == 1 and list(config.input[0].dims) == [128, 192, 3]
    canvas = picture((192, 128))
    with torch.no_grad():
        boxes, numbers, scores = (one.numpy() for one in module(torchs(canvas)[0]))
    rows = [
        (int(n) - 1, float(s), box.tolist()) for box, n, s in zip(boxes, numbers, scores, strict=True) if s >= LEAST
    ]
    same(served(here / "root", canvas), sorted(rows, key=lambda row: -row[1]))


def test_a_card_says_what_the_detector_is_and_its_config_serves_bf16_only_where_that_costs_little(here, capsys):
    mapping = yolo_mapping(here, capsys)
    status, told = run(capsys, "--from", "grids.onnx", "--root", here / "root", "--mapping", mapping)
    assert status == 0 and "bf16: " in told
    card = (here / "root/weights/box_detector.md").read_text()
    graph = (here / "root/model_repository/box_detector/1/model.onnx").read_bytes()
    for text in (
        hashlib.sha256(graph).hexdigest(),
        "grids.onnx",
        "Car, Pedestrian, Sign",
        "192x160",
        "it gives no unc",
    ):
        assert text in card
    assert re.search(r"boxes differ by [\d.e-]+ pixels at most", card)
    folder = here / "root/model_repository/box_detector"
    plain, fast = ((folder / name).read_text() for name in ("config.pbtxt", "configs/cpu-fast.pbtxt"))
    assert fast.startswith(plain) and contracts.read(folder / "configs/cpu-fast.pbtxt").name == "box_detector"
    assert ('"bf16"' in fast) == ("serve bf16, so they serve bf16" in card)


@pytest.mark.parametrize(
    ("pixels", "scores", "boxes", "small"),
    [(0.5, 0.005, 9, True), (0.51, 0.0, 9, False), (0.0, 0.0051, 9, False), (0.0, 0.0, 0, False)],
)
def test_bf16_is_served_up_to_its_marks(pixels, scores, boxes, small):
    cost = bf16.Cost((pixels, 9.0), (scores, 0.9), boxes, reason="" if boxes else "not measured")
    assert cost.small == small and cost.told().endswith("bf16" if small else "fp32")


def test_bf16_is_not_measured_where_the_processor_has_none(monkeypatch):
    monkeypatch.setattr(profile, "bf16_here", lambda: ("", "this processor has neither"))
    told = bf16.cost(onnx.ModelProto(), Mapping("boxes", ("any",), "64x64", boxes=("b",), scores=("s",)))
    assert not told.small and "not measured, because this processor has neither" in told.told()


@pytest.mark.long
def test_an_ensemble_gives_the_epistemic_uncertainties_alone_and_equal_members_agree_fully(here, capsys):
    mapping = yolo_mapping(here, capsys)
    for seed in (1, 2):
        grids(here / f"grids{seed}.onnx", seed)
    canvas = picture(SIZE)
    files = ["grids.onnx", "grids1.onnx", "grids2.onnx"]
    status, told = run(capsys, "--from", *files, "--root", here / "root", "--mapping", mapping)
    assert status == 0 and "an ensemble of 3" in told
    answer = served(here / "root", canvas)
    box, kind = answer["BOX_UNCERTAINTIES"], answer["CLASS_UNCERTAINTIES"]
    assert len(box) > 3 and np.isnan(box[:, :4]).all() and np.isnan(kind[:, 0]).all()
    assert (box[:, 4:].max(1) > 0).all() and (kind[:, 1] > 0).all() and (kind[:, 1] <= 0.25).all()
    summary = json.loads(answer["SUMMARIES"][0])
    assert summary["uncertainties"] == [TYPES[1], TYPES[3]] and summary["maxima"][TYPES[0]] is None
    alone = run(capsys, "--from", "grids.onnx", "--root", here / "alone", "--mapping", mapping)
    twice = run(capsys, "--from", "grids.onnx", "grids.onnx", "--root", here / "twice", "--mapping", mapping)
    assert alone[0] == twice[0] == 0
    one, two = served(here / "alone", canvas), served(here / "twice", canvas)
    assert two["CLASS_UNCERTAINTIES"][:, 1].max() < 1e-9 and two["BOX_UNCERTAINTIES"][:, 4:].max() < 1e-9
    assert set(map(tuple, np.round(two["BOXES"], 1))) <= set(map(tuple, np.round(one["BOXES"], 1)))


@pytest.mark.long
def test_dropout_kept_active_gives_the_same_spread_in_every_request_and_in_every_batch(here, capsys):
    mapping = yolo_mapping(here, capsys)
    grids(here / "drop.onnx", drop=True)
    status, told = run(capsys, "--from", "drop.onnx", "--root", here / "root", "--mapping", mapping, "--passes", 5)
    assert status == 0 and "5 passes of dropout" in told
    canvas = picture(SIZE, 2)
    first, again, both = (served(here / "root", some) for some in (canvas[:1], canvas[:1], canvas))
    for name in ("BOXES", "SCORES", "BOX_UNCERTAINTIES", "CLASS_UNCERTAINTIES"):
        np.testing.assert_array_equal(first[name], again[name])
        np.testing.assert_allclose(first[name], both[name][both["IMAGE"] == 0], atol=1e-3)
    assert (first["CLASS_UNCERTAINTIES"][:, 1] > 0).any()
    graph = session(onnx.load(here / "root" / "model_repository" / "box_detector" / "1" / "model.onnx"))
    _, scores, members = graph.run(None, {"IMAGE": canvas[:1]})
    passes = [scores[0][members[0] == i] for i in range(5)]
    assert all(not np.array_equal(passes[0], one) for one in passes[1:])
    plain = session(onnx.load(here / "grids.onnx")).run(None, {"images": torchs(canvas[:1]).numpy()})
    assert np.isfinite(plain[0]).all()


def test_passes_and_active_dropout_go_together(here, capsys):
    mapping = yolo_mapping(here, capsys)
    grids(here / "drop.onnx", drop=True)
    status, told = run(capsys, "--from", "drop.onnx", "--root", here / "other", "--mapping", mapping)
    assert status == 1 and "give --passes 10" in told
    status, told = run(capsys, "--from", "grids.onnx", "--root", here / "other", "--mapping", mapping, "--passes", 5)
    assert status == 1 and "no active dropout" in told and "TrainingMode.PRESERVE" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": '["Car", "Sign"]'}, "the mapping names 2 classes"),
        ({"labels": '["Car", "Car", "Sign"]'}, "names each class once"),
        ({"predictions": '["p4", "p6"]'}, "no output p6.*its outputs are: p4, p5"),
        ({"kind": '"ssd"'}, "kind is one of yolo, yolo_grids, anchors, boxes"),
        ({"colour": "1"}, "colour, which no mapping has"),
        ({"scale": '"much"'}, "scale is 'much', which is not of its kind"),
        ({"canvases": '"192"'}, "WIDTHxHEIGHT"),
        ({"anchors": "[]"}, "needs anchors"),
        ({"canvases": '"192x160"', "strides": "[160000, 320000]"}, "outside the canvas"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_and_nothing_is_written(here, capsys, change, told):
    mapping = edit(yolo_mapping(here, capsys), **change)
    status, said = run(capsys, "--from", "grids.onnx", "--root", here / "root", "--mapping", mapping)
    assert status == 1 and re.search(told, said), said
    assert len(said.strip().splitlines()) == 1 + ("laid out" in said)
    assert not (here / "root" / "model_repository" / "box_detector").exists()


def test_values_that_a_format_does_not_fit_name_the_line_to_change(here, capsys):
    module = made.YoloDecoded(3).eval()
    made.write(here / "v8.onnx", module, "images", ["output0"], SHAPE)
    assert run(capsys, "--from", "v8.onnx", "--labels", "labels.txt", "--size", "192x160")[0] == 0
    mapping = edit(here / "v8.toml", unit='"normalised"')
    status, told = run(capsys, "--from", "v8.onnx", "--root", here / "root", "--mapping", mapping)
    assert status == 1 and "far larger than the canvas of 192x160" in told
    edit(mapping, unit='"pixels"', objectness="true")
    status, told = run(capsys, "--from", "v8.onnx", "--root", here / "root", "--mapping", mapping)
    assert status == 1 and "no axis of 5 + 3" in told


def test_graphs_that_no_server_here_can_execute_are_refused(here, capsys):
    mapping = yolo_mapping(here, capsys)

    def refused(path):
        status, told = run(capsys, "--from", path, "--root", here / "root", "--mapping", mapping)
        assert status == 1 and not (here / "root" / "model_repository" / "box_detector").exists()
        return told

    made.write(here / "fixed.onnx", made.YoloGrids(3).eval(), "images", ["p4", "p5"], SHAPE, free=False)
    assert "fixed batch of 2" in refused("fixed.onnx") and "dynamic_axes" in refused("fixed.onnx")
    model = onnx.load(here / "grids.onnx")
    model.graph.node[0].domain = "my.kernels"
    onnx.save(model, here / "custom.onnx")
    assert "custom operators" in refused("custom.onnx")
    onnx.save(
        onnx.load(here / "grids.onnx"), here / "apart.onnx", save_as_external_data=True, location="apart.bin",
        size_threshold=0,
    )  # fmt: skip
    (here / "apart.bin").unlink()
    assert "apart.bin, which is not beside it" in refused("apart.onnx")
    (here / "text.onnx").write_text("no graph")
    assert "is no ONNX file" in refused("text.onnx")
    status, told = run(capsys, "--from", "grids.onnx", "--mapping", mapping)
    assert status == 1 and "--root DIR" in told
    status, told = run(capsys, "--from", "grids.onnx")
    assert status == 1 and "is there already" in told
