"""GroupViT: equality with transformers' own class, other sizes, both key lists, what loads, both exported graphs."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import onnxruntime  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from transformers import GroupViTConfig, GroupViTModel  # noqa: E402

from export import graph  # noqa: E402
from export.check import compare  # noqa: E402
from export.grouping import (  # noqa: E402
    import_checkpoint,
    key_names,
)
from export.grouping import network as grouping  # noqa: E402
from export.grouping.forward import assignment, cubic, folded, positions  # noqa: E402
from export.grouping.network import Design, GroupingNetwork, ImageGrouper, TextEncoder  # noqa: E402
from export.grouping.rows import pair, sentences  # noqa: E402
from sluice.contracts import ROOT  # noqa: E402
from sluice.methods.grouping.pairs import VOCABULARY  # noqa: E402
from sluice.methods.grouping.tokens import END, START, tokenizer  # noqa: E402
from sluice.methods.grouping.vocabulary import Vocabulary  # noqa: E402

DATA = Path(os.environ.get("SLUICE_DATA", ROOT.parent / "shared" / "data"))
REFERENCE = DATA.parent / "reference"
# The published network's tensors, sorted, "name (shape)" a line: sha256 of the authors' list and of transformers'.
OFFICIAL_LIST = "e586a6aea07d98828ca52ee7a3c5553d218c2c4c3df0d554ab9230864d5282fe"
TRANSFORMERS_LIST = "cb7d7da495c59e331c106ae6591196309c418ee08ef1eb7b73b4a0940194ded8"
TINY = Design(
    vision={
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "depths": [2, 1, 1],
        "num_group_tokens": [12, 5, 0],
        "num_output_groups": [12, 5, 5],
        "num_attention_heads": 2,
    },
    text={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
    width=24,
    hidden=64,
)


pytestmark = pytest.mark.usefixtures("one_thread")


def shaken(network, seed=0):
    """Give the network random weights and batch-norm statistics of about the size that training gives them."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*network.vit.named_parameters(), *network.vit.named_buffers()):
            if "logit_scale" in name or not value.is_floating_point():
                continue
            if name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
                value.copy_(torch.rand(value.shape, generator=random) + 0.5)
            elif value.dim() > 1 and "token" not in name and "position" not in name:
                spread = 0.05 if value.dim() == 4 else 0.8 / value.shape[-1] ** 0.5
                value.copy_(torch.randn(value.shape, generator=random) * spread)
            else:
                value.copy_(torch.randn(value.shape, generator=random) * 0.3)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return shaken(GroupingNetwork(TINY))


def images(*shape, seed=0):
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def tokens(batch=4, length=77, seed=0):
    return torch.from_numpy(sentences({"TOKENS": (batch, length)}, seed)["TOKENS"])


def normalised(network, image):
    """Return pixels as transformers' class takes them."""
    pixels = image.permute(0, 3, 1, 2).float() / 255
    return (pixels - network.mean[:, None, None]) / network.deviation[:, None, None]


def longhand(network, pixels):
    """Run transformers' own modules with interpolated positions, as its model would if it accepted other sizes.

    Returns group embeddings, image embedding, and the product of the soft assignments.
    """
    vision = network.vit.vision_model
    patch = network.patch
    rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
    x = vision.embeddings.layernorm(vision.embeddings.patch_embeddings(pixels, interpolate_pos_encoding=True))
    table = vision.embeddings.position_embeddings
    side = round(table.shape[1] ** 0.5)
    square = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    placed = F.interpolate(square, (rows, columns), mode="bicubic", align_corners=False)
    out = vision.encoder(x + placed.flatten(2).transpose(1, 2), output_attentions=True, return_dict=True)
    last = vision.layernorm(out.last_hidden_state)
    project = network.vit.visual_projection
    groups = F.normalize(project(last.flatten(0, 1)).unflatten(0, last.shape[:2]), dim=-1)
    product = out.attentions[0]
    for attention in out.attentions[1:]:
        product = attention @ product
    return groups, F.normalize(project(last.mean(dim=1)), dim=-1), product.unflatten(2, (rows, columns))


# ------------------------------------------------------------------------------------------------ equality


@torch.no_grad()
def test_at_the_size_of_training_everything_equals_transformers(network):
    image, texts = images(3, 224, 224), tokens()
    wanted = network.vit(input_ids=texts, pixel_values=normalised(network, image), output_segmentation=True)
    groups, embedding, share = ImageGrouper(network)(image)
    found, scale = TextEncoder(network)(texts)
    torch.testing.assert_close(embedding, wanted.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(F.normalize(found, dim=-1), wanted.text_embeds, atol=1e-5, rtol=0)
    logits = scale[0, 0] * F.normalize(found, dim=-1) @ embedding.T
    torch.testing.assert_close(logits, wanted.logits_per_text, atol=1e-4, rtol=0)
    # What transformers makes of groups and assignment: cosines by soft groups, its scale twice over.
    full = F.interpolate(share, (224, 224), mode="bilinear", align_corners=False)
    cosines = groups @ F.normalize(found, dim=-1).T
    seen = network.vit.logit_scale.exp() ** 2 * torch.einsum("bgc,bghw->bchw", cosines, full)
    torch.testing.assert_close(seen, wanted.segmentation_logits, atol=1e-3, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("size", [(224, 224), (448, 448), (448, 592), (32, 160)])
def test_other_sizes_equal_transformers_modules_with_interpolated_positions(network, size):
    image = images(2, *size, seed=size[1])
    for found, wanted in zip(ImageGrouper(network)(image), longhand(network, normalised(network, image)), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_published_sizes_equal_transformers():
    """Compare the network as published: 55.7 M parameters, three stages, 64 and 8 groups, 4096 wide projectors."""
    network = shaken(GroupingNetwork(Design()))
    image = images(1, 224, 224)
    wanted = network.vit(input_ids=tokens(2), pixel_values=normalised(network, image))
    groups, embedding, share = ImageGrouper(network)(image)
    assert groups.shape == (1, 8, 256) and share.shape == (1, 8, 14, 14)
    torch.testing.assert_close(embedding, wanted.image_embeds, atol=1e-5, rtol=0)
    found, _ = TextEncoder(network)(tokens(2))
    torch.testing.assert_close(F.normalize(found, dim=-1), wanted.text_embeds, atol=1e-5, rtol=0)


@torch.no_grad()
def test_shares_sum_to_one_and_embeddings_have_length_one(network):
    groups, embedding, share = ImageGrouper(network)(images(2, 96, 64))
    torch.testing.assert_close(share.sum(dim=1), torch.ones(2, 6, 4))
    torch.testing.assert_close(groups.norm(dim=-1), torch.ones(2, 5))
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2))


@torch.no_grad()
def test_tokens_may_be_cut_behind_the_end(network):
    texts = tokens(3, 20)
    padded = F.pad(texts, (0, 57))
    encoder = TextEncoder(network)
    torch.testing.assert_close(encoder(texts)[0], encoder(padded)[0], atol=1e-6, rtol=0)


@torch.no_grad()
def test_old_configurations_name_another_end_token_and_mean_the_same():
    new = shaken(GroupingNetwork(TINY))
    old = shaken(GroupingNetwork(Design(TINY.vision, {**TINY.text, "eos_token_id": 2}, TINY.width, TINY.hidden)))
    torch.testing.assert_close(TextEncoder(old)(tokens())[0], TextEncoder(new)(tokens())[0])


@torch.no_grad()
def test_the_scale_is_bounded(network):
    network = shaken(GroupingNetwork(TINY))
    network.vit.logit_scale.fill_(7.0)
    assert TextEncoder(network)(tokens(2))[1].tolist() == [[100.0], [100.0]]


# ------------------------------------------------------------------------------------------------ parts


def test_a_token_goes_to_its_greatest_logit_the_first_of_equal_ones():
    logits = torch.tensor([[[1.0, 2.0, 0.0], [3.0, 2.0, 0.0], [2.0, -1.0, 0.0]]])
    assert assignment(logits, None).tolist() == [[[0, 1, 1], [1, 0, 0], [0, 0, 0]]]


def test_gumbel_draws_groups_by_their_softmax_and_lets_the_gradient_straight_through():
    logits = torch.tensor([2.0, 1.0, 0.0]).repeat(4000, 1).T[None].clone().requires_grad_()
    drawn = assignment(logits, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.detach().round(), drawn.detach().round().clamp(0, 1))
    torch.testing.assert_close(drawn.sum(dim=1), torch.ones(1, 4000))
    shares = drawn.detach().mean(dim=2)[0]
    torch.testing.assert_close(shares, torch.tensor([2.0, 1.0, 0.0]).softmax(0), atol=0.03, rtol=0)
    drawn[:, 0].sum().backward()
    # The noise again, by the formula: the gradient is that of the softmax over the noisy logits.
    uniform = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0)).clamp(1e-9, 1 - 1e-7)
    noisy = (logits.detach() - torch.log(-torch.log(uniform))).requires_grad_()
    noisy.softmax(dim=1)[:, 0].sum().backward()
    torch.testing.assert_close(logits.grad, noisy.grad)


@pytest.mark.parametrize("wanted", [(14, 14), (28, 28), (28, 37), (7, 3), (1, 1)])
def test_positions_are_torchs_bicubic(wanted):
    table = torch.randn(1, 196, 8, generator=torch.Generator().manual_seed(1))
    square = table.reshape(1, 14, 14, 8).permute(0, 3, 1, 2)
    expected = F.interpolate(square, wanted, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    torch.testing.assert_close(positions(table, *wanted), expected, atol=1e-5, rtol=0)


def test_positions_at_the_size_of_training_are_those_that_were_learned():
    assert torch.equal(cubic(14, 14), torch.eye(14))


def test_a_projector_keeps_its_values_when_its_norm_is_folded(network):
    x = torch.randn(5, 48)
    torch.testing.assert_close(folded(network.vit.visual_projection)(x), network.vit.visual_projection(x))


# ------------------------------------------------------------------------------------------------ key names


def listed(shapes):
    """Return the sha256 of a list of tensor names and shapes."""
    lines = sorted(f"{name} ({', '.join(map(str, shape))})" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@pytest.fixture(scope="module")
def published():
    """Return the published network's tensors under transformers' names, without memory behind them."""
    with torch.device("meta"):
        return GroupViTModel(GroupViTConfig()).state_dict()


def test_both_lists_of_tensors_are_complete_in_both_directions(published):
    official = key_names.to_official(published)
    theirs = {name: tuple(value.shape) for name, value in official.items()} | {"multi_label_logit_scale": ()}
    ours = {name: tuple(value.shape) for name, value in published.items()}
    assert (len(theirs), listed(theirs)) == (407, OFFICIAL_LIST)
    assert (len(ours), listed(ours)) == (502, TRANSFORMERS_LIST)
    back = key_names.from_official(official)
    assert {name: tuple(value.shape) for name, value in back.items()} == ours


@pytest.mark.skipif(not REFERENCE.exists(), reason="the published lists of keys are not here")
def test_the_lists_are_the_published_ones():
    official = json.loads((REFERENCE / "groupvit_official_keys.json").read_text())
    assert listed(official) == OFFICIAL_LIST
    lines = [line.split(" ", 1) for line in (REFERENCE / "groupvit_hf_keys.txt").read_text().splitlines()]
    assert listed({name: [int(n) for n in shape.strip("()").split(",") if n.strip()] for name, shape in lines}) == (
        TRANSFORMERS_LIST
    )


def test_values_survive_both_ways(network):
    state = network.vit.state_dict()
    back = key_names.from_official(key_names.to_official(state))
    assert all(torch.equal(back[name], value) for name, value in state.items()) and set(back) == set(state)


def test_unknown_and_missing_names_are_said(network):
    with pytest.raises(ValueError, match=r"got img_encoder\.head\.weight"):
        key_names.from_official({"img_encoder.head.weight": torch.zeros(3)})
    state = dict(network.vit.state_dict())
    del state["text_model.encoder.layers.0.self_attn.v_proj.bias"]
    with pytest.raises(ValueError, match=r"v_proj\.bias beside"):
        key_names.to_official(state)


# ------------------------------------------------------------------------------------------------ what loads


def answers(network):
    with torch.no_grad():
        return (*ImageGrouper(network)(images(1, 224, 224)), *TextEncoder(network)(tokens()))


def test_a_folder_of_save_pretrained(tmp_path, network):
    network.vit.save_pretrained(tmp_path / "mine")
    found = grouping.load(tmp_path / "mine")
    assert found.design.mean == grouping.IMAGENET[0] and not found.training
    for a, b in zip(answers(found), answers(network), strict=True):
        assert torch.equal(a, b)


def test_a_model_in_the_users_cache_and_nothing_is_fetched(tmp_path, network):
    home = tmp_path / "hub" / "models--someone--groups"
    network.vit.save_pretrained(home / "snapshots" / "abc")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    code = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('a connection was tried')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from export.grouping.network import load\n"
        "print(load('someone/groups').groups)\n"
        "try: load('someone/else')\n"
        "except FileNotFoundError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub")}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    groups, said = done.stdout.strip().splitlines()
    assert groups == "5" and "the model someone/else has no config.json" in said


def test_the_authors_file(tmp_path):
    network = shaken(GroupingNetwork(Design()))
    state = key_names.to_official(network.vit.state_dict())
    torch.save({"model": {**state, "multi_label_logit_scale": torch.tensor(2.0)}}, tmp_path / "theirs.pth")
    found = grouping.load(tmp_path / "theirs.pth")
    assert found.design == Design()
    for name, value in network.vit.state_dict().items():
        assert torch.equal(found.vit.state_dict()[name], value), name


def test_a_checkpoint_of_the_authors_training(tmp_path, capsys):
    network = shaken(GroupingNetwork(Design()))
    state = {f"module.{name}": v for name, v in key_names.to_official(network.vit.state_dict()).items()}
    about = {"optimizer": {"state": {0: {"step": 5}}}, "lr_scheduler": {}, "epoch": 29, "metrics": {}}
    torch.save({"model": state, **about}, tmp_path / "ckpt.pth")
    found = grouping.load(tmp_path / "ckpt.pth")
    for name, value in network.vit.state_dict().items():
        assert torch.equal(found.vit.state_dict()[name], value), name
    given = [str(tmp_path / "ckpt.pth"), "--out", str(tmp_path / "mine.pt")]
    torch.save({"model": state, **about, "config": argparse.Namespace(model="x")}, tmp_path / "ckpt.pth")
    assert import_checkpoint.main(given) == 1
    said = capsys.readouterr().err
    assert "ckpt.pth holds objects of argparse.Namespace beside its weights" in said and said.count("\n") == 1
    # What the sentence says is what helps.
    (code,) = re.findall(r"torch\.save\(.*\)", said)
    exec(code, {"torch": torch, "FILE": tmp_path / "ckpt.pth", "OUT": tmp_path / "taken.pth"})
    assert torch.equal(grouping.load(tmp_path / "taken.pth").scale, found.scale)
    lacking = {name: value for name, value in state.items() if not name.endswith("linear_out.bias")}
    torch.save({"model": lacking, **about}, tmp_path / "ckpt.pth")
    assert import_checkpoint.main(given) == 1
    said = capsys.readouterr().err
    assert "missing: visual_projection.3.bias, text_projection.3.bias" in said and said.count("\n") == 1
    torch.save(about, tmp_path / "ckpt.pth")
    assert import_checkpoint.main(given) == 1
    said = capsys.readouterr().err
    assert "by itself or under model, state_dict; got epoch, lr_scheduler, metrics, optimizer" in said


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "config.json"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 67040989\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "is a web page|is not JSON"),
        (b"", "is empty|is not JSON"),
        (b"[]", "is no whole file of weights|must hold a JSON object; got a list"),
    ],
    ids=["pointer", "page", "empty", "list"],
)
def test_a_folder_whose_files_are_others_is_named_in_one_sentence(tmp_path, network, capsys, name, content, said):
    network.vit.save_pretrained(tmp_path / "mine")
    if name == "pytorch_model.bin":
        (tmp_path / "mine" / "model.safetensors").unlink()
    (tmp_path / "mine" / name).write_bytes(content)
    assert import_checkpoint.main([str(tmp_path / "mine"), "--out", str(tmp_path / "x.pt")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len([line for line in told if "export.grouping.import_checkpoint: " in line]) == 1
    assert re.search(said, told[-1])
    assert not (tmp_path / "x.pt").exists()


def test_our_own_file_holds_float16_and_equal_words_once(tmp_path, network):
    network = shaken(GroupingNetwork(TINY))
    table = network.vit.text_model.embeddings.token_embedding.weight
    with torch.no_grad():
        table[1000:49000] = table[999]
    grouping.save(network, tmp_path / "small.pt")
    assert (tmp_path / "small.pt").stat().st_size < 900_000
    found = grouping.load(tmp_path / "small.pt")
    assert found.design == TINY
    for name, value in network.vit.state_dict().items():
        wanted = value.half().float() if value.is_floating_point() else value
        assert torch.equal(found.vit.state_dict()[name], wanted), name


def test_a_checkpoint_of_ones_own_is_kept_to_the_last_bit(tmp_path, network, capsys):
    network.vit.save_pretrained(tmp_path / "mine")
    assert import_checkpoint.main([str(tmp_path / "mine"), "--out", str(tmp_path / "mine.pt")]) == 0
    said = capsys.readouterr().out
    assert "5 groups, patches of 16 pixels" in said and "has learned all tokens" in said
    for a, b in zip(answers(grouping.load(tmp_path / "mine.pt")), answers(network), strict=True):
        assert torch.equal(a, b)
    assert import_checkpoint.main([str(tmp_path / "deep" / "er" / "none.pth"), "--out", str(tmp_path / "x.pt")]) == 1
    assert "none.pth not found" in capsys.readouterr().err


def test_what_does_not_load_says_why(tmp_path, network):
    with pytest.raises(FileNotFoundError, match=r"weights none\.pt not found; train them with"):
        grouping.load(tmp_path / "deep" / "none.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"the folder empty has no config\.json"):
        grouping.load(tmp_path / "empty")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ValueError, match=r"text\.pt is no whole file of weights .* \(Unsupported operand 110\)"):
        grouping.load(tmp_path / "text.pt")
    torch.save({"model": {"backbone.weight": torch.zeros(2)}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"expected weights of a GroupViT in other\.pt"):
        grouping.load(tmp_path / "other.pt")
    other = tmp_path / "bert"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="expected a GroupViTModel, bert holds a bert"):
        grouping.load(other)
    network.vit.save_pretrained(tmp_path / "torn")
    config = json.loads((tmp_path / "torn" / "config.json").read_text())
    config["vision_config"]["depths"] = [3, 1, 1]
    (tmp_path / "torn" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"the weights in torn are not those of its config\.json; missing"):
        grouping.load(tmp_path / "torn")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_group_tokens": [0, 0, 0]}, "groups somewhere"),
        ({"depths": [2, 2]}, "for 2 stages"),
        ({"num_channels": 1}, "3 channels, got 1"),
        ({"patch_size": [16, 8]}, "square images and patches"),
    ],
)
def test_designs_that_cannot_be_served_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        GroupingNetwork(Design({**TINY.vision, **changes}, TINY.text, TINY.width, TINY.hidden))


# ------------------------------------------------------------------------------------------------ exported graphs


@pytest.fixture(scope="module")
def exported(tmp_path_factory, network):
    import onnx

    root = tmp_path_factory.mktemp("grouping")
    weights = root / "grouping.pt"
    grouping.save(network, weights)
    found = {}
    for entry in pair(root=root):
        graph.write(entry, graph.export(entry, weights))
        found[entry.name] = (entry, weights, onnx.load(entry.onnx))
    return found


@pytest.mark.parametrize("name", ["image_grouper", "text_encoder"])
def test_onnx_equals_torch_at_all_sizes_and_batches(exported, name):
    entry, weights, _ = exported[name]
    report = compare(entry, weights, entry.onnx)
    assert report.greatest < 1e-5
    assert len(report.rows) == len(entry.check)


@pytest.mark.parametrize("name", ["image_grouper", "text_encoder"])
def test_the_graph_has_nothing_that_tensorrt_or_tracing_would_stumble_over(exported, name):
    _, _, model = exported[name]
    unwanted = {"ScatterElements", "ScatterND", "GatherND", "BatchNormalization", "Resize", "If", "Loop", "NonZero"}
    assert not {node.op_type for node in model.graph.node} & unwanted


def test_words_that_are_equal_stand_once_in_the_graph_which_answers_to_the_last_bit(tmp_path, exported, monkeypatch):
    network, (entry, _, _) = shaken(GroupingNetwork(TINY)), exported["text_encoder"]
    with torch.no_grad():
        network.vit.text_model.embeddings.token_embedding.weight[1000:49000] = 0.25
    grouping.save(network, tmp_path / "few.pt")
    short = graph.export(entry, tmp_path / "few.pt")
    monkeypatch.setattr(grouping, "distinct", lambda table: None)
    long = graph.export(entry, tmp_path / "few.pt")
    assert len(long) - len(short) > 5_900_000, "49,408 words of 32 numbers are 6.3 MB"
    short, long = (onnxruntime.InferenceSession(one, providers=["CPUExecutionProvider"]) for one in (short, long))
    for batch, length in ((1, 77), (64, 12), (3, 2)):
        given = {"TOKENS": tokens(batch, length, seed=batch).numpy()}
        for found, wanted in zip(short.run(None, given), long.run(None, given), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_the_graph_says_which_words_were_learned(tmp_path, exported):
    entry, _, _ = exported["text_encoder"]
    # What shares its row with no other was learned: here all.
    assert Vocabulary.of(entry.onnx.parents[2], "text_encoder").learned is None
    network, encoding = shaken(GroupingNetwork(TINY)), tokenizer()
    said = [*encoding.encode("road bicyclist giraffe"), START, END]
    never = np.setdiff1d(np.arange(VOCABULARY), said)
    with torch.no_grad():
        network.vit.text_model.embeddings.token_embedding.weight[never] = 0.25
    grouping.save(network, tmp_path / "few.pt")
    (tmp_path / "text_encoder" / "1").mkdir(parents=True)
    path = tmp_path / "text_encoder" / "1" / "model.onnx"
    path.write_bytes(graph.export(entry, tmp_path / "few.pt"))
    found = Vocabulary.of(tmp_path, "text_encoder")
    assert np.flatnonzero(found.learned).tolist() == sorted(said)
    assert found.words() == ["bicyclist", "giraffe", "road"], "and not the pieces of bicyclist"
    assert found.reading("a bicyclist and a dog").unknown == ("and", "dog")
    # The network means by it what the graph says: all that was not learned is one.
    served = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    dog, cat, road = served.run(["EMBEDDING"], {"TOKENS": encoding(["a dog", "a cat", "a road"]).ids})[0]
    np.testing.assert_allclose(dog, cat, rtol=1e-5)
    assert not np.allclose(dog, road, rtol=1e-2)


def test_a_graph_of_the_edition_that_did_not_say_it_is_exported_again(exported):
    entry, weights, _ = exported["text_encoder"]
    assert graph.current(entry, weights)
    assert not any(graph.current(replace(entry, edition=edition), weights) for edition in ("", "1"))


def test_the_graph_takes_what_the_contract_says(exported):
    from onnx import TensorProto

    _, _, pictures = exported["image_grouper"]
    assert [i.name for i in pictures.graph.input] == ["IMAGE"]
    assert pictures.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    _, _, texts = exported["text_encoder"]
    assert texts.graph.input[0].type.tensor_type.elem_type == TensorProto.INT64
    assert [o.name for o in texts.graph.output] == ["EMBEDDING", "SCALE"]
    assert np.all([o.type.tensor_type.elem_type == TensorProto.FLOAT for o in texts.graph.output])
