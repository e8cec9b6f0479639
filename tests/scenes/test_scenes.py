"""Tests that equal seeds give equal scenes, and that labels, boxes, masks and captions are true of the picture."""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import scenes
from scenes import camera, captions, driving, labels, shapes
from sluice.contracts import ROOT

SMALL = (128, 96)
few = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def digest(scene: scenes.Scene) -> str:
    parts = (scene.image, scene.labels, scene.instance_map)
    return hashlib.sha256(b"".join(p.tobytes() for p in parts) + scene.caption.encode()).hexdigest()


@pytest.fixture(scope="module")
def some() -> list[scenes.Scene]:
    return [scenes.render(seed, SMALL) for seed in range(24)]


def test_the_same_seed_gives_the_same_bytes_in_this_process_and_in_another():
    here = digest(scenes.render(11, SMALL))
    scenes.render(12, SMALL)
    np.random.seed(0)
    assert digest(scenes.render(11, SMALL)) == here
    code = (
        "import hashlib, scenes; s = scenes.render(11, (128, 96));"
        "parts = b''.join(p.tobytes() for p in (s.image, s.labels, s.instance_map));"
        "print(hashlib.sha256(parts + s.caption.encode()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert there.stdout.strip() == here


def test_rendering_leaves_the_global_random_state_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    scenes.render(1, SMALL)
    assert (np.random.get_state()[1] == before).all()


def test_different_seeds_give_different_pictures(some):
    assert len({digest(scene) for scene in some}) == len(some)


@few
@given(seed=st.integers(0, 2**63 - 1), width=st.integers(32, 160), height=st.integers(32, 120))
def test_any_seed_and_size_gives_arrays_of_the_promised_form(seed, width, height):
    scene = scenes.render(seed, (width, height))
    assert scene.image.shape == (height, width, 3) and scene.image.dtype == np.uint8
    assert scene.labels.shape == (height, width) and scene.labels.dtype == np.uint8 and scene.labels.max() < 12
    assert scene.instance_map.shape == (height, width) and scene.instance_map.dtype == np.uint16
    assert scene.image.std() > 2
    assert scene.seed == seed and scene.time_of_day in scenes.TIMES


def test_labels_agree_with_instances(some):
    for scene in some:
        for instance in scene.instances:
            assert (scene.labels[scene.mask(instance)] == labels.LABEL[instance.kind]).all()
        countable = np.isin(scene.labels, (labels.CAR, labels.PEDESTRIAN, labels.BICYCLIST, labels.SIGN))
        assert (countable == (scene.instance_map > 0)).all(), "every such pixel belongs to an instance"


def test_boxes_are_tight_around_masks_and_areas_are_counts(some):
    for scene in some:
        assert [i.number for i in scene.instances] == list(range(1, len(scene.instances) + 1))
        for instance in scene.instances:
            rows, columns = np.nonzero(scene.mask(instance))
            assert instance.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert instance.area == len(rows) and 0 < instance.visible <= 1


def test_instances_come_nearest_first(some):
    for scene in some:
        assert all(a.distance <= b.distance + 1.5 for a, b in zip(scene.instances, scene.instances[1:], strict=False))


def test_the_caption_counts_what_can_be_made_out(some):
    for scene in some:
        clear = [i.kind for i in scene.instances if i.clear]
        for kind in scenes.KINDS:
            n = clear.count(kind)
            assert (kind in scene.nouns) == (n > 0)
            assert (captions.counted(kind, n) in scene.caption) if n else (f" {kind}" not in scene.caption)
        for noun, label in (("building", labels.BUILDING), ("tree", labels.TREE), ("fence", labels.FENCE)):
            if noun in scene.nouns:
                assert captions.PLURAL[noun] in scene.caption.lower() and (scene.labels == label).any()
        assert captions.WHEN[scene.time_of_day] in scene.caption


def test_a_caption_reads_as_a_sentence():
    text, nouns = captions.caption(["car", "motorcycle", "car", "pedestrian"], ["tree", "building"], "day", "overcast")
    assert text == (
        "A street by day under an overcast sky with two cars, a motorcycle with its rider and a pedestrian. "
        "Buildings and trees line the road."
    )
    assert nouns == ("street", "car", "motorcycle", "pedestrian", "building", "tree")
    assert captions.caption([], [], "night", "clear")[0] == "A street at night, empty of traffic."
    assert "many cars" in captions.caption(["car"] * 13, [], "dusk", "clear")[0]


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_a_required_kind_is_clearly_visible(kind):
    for seed in range(3):
        scene = scenes.render(seed, SMALL, require={kind})
        assert any(i.kind == kind and i.clear for i in scene.instances)
        assert kind in scene.caption


def test_several_kinds_can_be_required_at_once():
    scene = scenes.render(5, SMALL, require={"motorcycle", "pedestrian", "car"})
    assert {"motorcycle", "pedestrian", "car"} <= set(scene.nouns)


def test_an_excluded_kind_never_appears():
    gone = {"motorcycle", "bicycle", "pedestrian", "sign", "traffic light", "fence"}
    for seed in range(8):
        scene = scenes.render(seed, SMALL, exclude=gone)
        assert not gone & {i.kind for i in scene.instances}
        assert not np.isin(scene.labels, (labels.BICYCLIST, labels.PEDESTRIAN, labels.SIGN, labels.FENCE)).any()


def test_time_of_day_is_honoured_and_night_is_darker_than_day():
    light = {}
    for time in scenes.TIMES:
        made = [scenes.render(seed, SMALL, time_of_day=time) for seed in range(8)]
        assert all(scene.time_of_day == time for scene in made)
        light[time] = np.mean([scene.image.mean() for scene in made])
    assert light["night"] < 0.75 * light["day"] and light["dusk"] < light["day"]


def test_streets_hold_what_streets_hold():
    classes = np.concatenate([scenes.render(seed, SMALL).labels.ravel() for seed in range(40)])
    share = np.bincount(classes, minlength=12) / classes.size
    assert share[labels.ROAD] > 0.15 and share[labels.SKY] > 0.05 and share[labels.BUILDING] > 0.08
    assert (share[: labels.UNLABELLED] > 0.0001).all(), dict(zip(scenes.CLASSES, share.round(4), strict=True))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 0, "size": (10, 10)}, "size"),
        ({"seed": 0, "time_of_day": "noon"}, "time_of_day"),
        ({"seed": 0, "require": {"tram"}}, "tram"),
        ({"seed": 0, "exclude": "horse"}, "horse"),
        ({"seed": 0, "require": {"car"}, "exclude": {"car"}}, "both"),
    ],
)
def test_a_mistake_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        scenes.render(**arguments)


def test_a_polygon_that_reaches_behind_the_camera_is_cut_at_the_near_plane():
    square = np.array([(-1, 0, -2), (1, 0, -2), (1, 0, 2), (-1, 0, 2)], np.float32)
    cut = camera.cut(square)
    assert len(cut) == 4 and np.isclose(cut[:, 2].min(), camera.NEAR) and cut[:, 2].max() == 2
    assert len(camera.cut(square - (0, 0, 9))) == 0


def test_a_camera_places_a_point_as_the_pinhole_formula_says():
    eye = camera.Camera(x=1.0, height=1.5, z=10.0, yaw=0.0, focal=400.0, middle=240.0, horizon=150.0)
    seen = eye.turned(np.array([(0.5, 0.0, 0.0)], np.float32), (2.0, 0.0, 30.0), 0.0)
    assert np.allclose(seen, [(1.5, -1.5, 20.0)])
    assert np.allclose(eye.pixels(seen), [(240 + 400 * 1.5 / 20, 150 + 400 * 1.5 / 20)])
    x, z, ahead = eye.ground(480, 360)
    assert np.isclose(ahead[179, 0], 400 * 1.5 / 29.5) and np.isclose(z[179, 0], 10 + ahead[179, 0])
    assert np.isclose(x[179, 269], 1 + (269.5 - 240) / 400 * ahead[179, 269])


def test_faces_of_a_box_look_outwards():
    build = shapes.Builder()
    build.box((-1, 0, -1), (1, 2, 1), (0.5, 0.5, 0.5))
    model = build.freeze()
    middles = np.add.reduceat(model.points, model.starts, axis=0) / model.counts[:, None]
    assert np.allclose(((middles - (0, 1, 0)) * model.normals).sum(1), 1.0)


def test_a_drive_is_repeatable_and_its_frames_differ_slowly():
    first = list(scenes.drive(3, 5, SMALL, name="north"))
    again = list(scenes.drive(3, 5, SMALL, name="north"))
    assert [digest(f.scene) for f in first] == [digest(f.scene) for f in again]
    assert [f.id for f in first] == [f"north_{i:05d}" for i in range(5)]
    assert [f.time for f in first] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert len({f.scene.time_of_day for f in first}) == 1 and len({digest(f.scene) for f in first}) == 5


def test_a_longer_drive_begins_as_the_shorter_one_in_its_street():
    short, long = list(scenes.drive(4, 2, SMALL)), next(iter(scenes.drive(4, 2, SMALL)))
    assert digest(short[0].scene) == digest(long.scene)


def test_one_frame_in_eight_of_a_drive_has_a_motorcycle():
    frames = list(scenes.drive(6, 32, SMALL))
    assert sum("motorcycle" in f.scene.nouns for f in frames) in (3, 4)
    assert all("motorcycle" not in tag for f in frames for tag in f.tags)
    rng = np.random.default_rng(0)
    assert [len(driving.rare_frames(rng, n)) for n in (1, 3, 4, 8, 60, 64)] == [0, 0, 1, 1, 8, 8]


def test_a_film_is_taken_by_one_camera_and_its_noise_alone_is_new():
    still = [frame.astype(float) for frame in scenes.film(3, 3, SMALL, fps=1e6)]
    for one, other in itertools.pairwise(still):
        change = other - one
        assert 0.5 < change.std() < 10 and np.abs(change.mean(axis=(0, 1))).max() < 0.1 * change.std()
        means = change[: SMALL[1] // 8 * 8, : SMALL[0] // 8 * 8].reshape(SMALL[1] // 8, 8, SMALL[0] // 8, 8, 3)
        assert np.abs(means.mean(axis=(1, 3))).max() < change.std()  # the frames differ by noise alone, everywhere
    first, again = (list(scenes.film(3, 3, SMALL)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.diff(np.array(first, float), axis=0)).mean() > np.abs(np.diff(still, axis=0)).mean()
    for frames, fps in ((0, 25), (2, 0)):
        with pytest.raises(ValueError, match="frames must be 1 or more and fps greater than 0"):
            scenes.film(3, frames, SMALL, fps=fps)


def test_the_command_line_writes_pictures_and_what_is_in_them(tmp_path, capsys):
    from scenes.__main__ import main

    assert main(["--out", str(tmp_path), "--frames", "3", "--seed", "2", "--size", "128x96", "--drive", "d"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "frames.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["d_00000", "d_00001", "d_00002"]
    for row in rows:
        assert set(row) == {"id", "drive", "camera", "time", "tags", "file", "width", "height", "boxes", "caption"}
        assert Image.open(tmp_path / row["file"]).size == (128, 96)
    assert "3/3" in capsys.readouterr().err
    assert main(["--out", str(tmp_path), "--size", "8x8"]) == 1
    assert "size must be" in capsys.readouterr().err


def test_scenes_need_only_numpy_and_pillow():
    allowed = {"numpy", "PIL", "scenes", *sys.stdlib_module_names}
    for file in (ROOT / "scenes").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, file.name
            elif isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] in allowed, file.name
