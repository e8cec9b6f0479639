"""A CLIP of a user's own: both graphs against transformers and against OpenCLIP written out, and what is refused."""

import asyncio
import functools
import gzip
import json
import re
import shutil
import unicodedata

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from safetensors.torch import load_file, save_file  # noqa: E402

from export import __main__ as cli  # noqa: E402
from export.check import session  # noqa: E402
from export.entry import ROOT, ExportError  # noqa: E402
from export.grouping import clip, clip_files, clip_vocabulary, own_clip  # noqa: E402
from export.registry import at, find  # noqa: E402
from export.tensorrt import profiles  # noqa: E402
from sluice import contracts  # noqa: E402
from sluice.errors import InvalidArgument  # noqa: E402
from sluice.methods.grouping import pairs, tokens  # noqa: E402
from sluice.methods.grouping.pairs import Pairs  # noqa: E402
from sluice.methods.grouping.vocabulary import Vocabulary  # noqa: E402
from sluice.models.image_grouper import Grouper  # noqa: E402
from sluice.models.text_embedder import TextEmbeddings  # noqa: E402
from sluice.server import root as roots  # noqa: E402
from tests.made import clip_folders  # noqa: E402
from tests.made.clip_folders import LENGTH, SIDE, TEXTS, WIDTH  # noqa: E402

TOLERANCE = 2e-5
PIECES = ["a", "red", "car", "sky", "abc", "é", "éé", " ", "'s", "'LL", "7", "!!", "ß", "日本", "👍🏽", "\n", "Ab", "-"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a transformers folder and return it with its network."""
    place = tmp_path_factory.mktemp("hf")
    return place, clip_folders.transformers_folder(place)


def export(source, root, **options):
    own_clip.export(source, roots.prepare(root)[0], say=lambda line: None, **options)
    return root / "model_repository"


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("root") / "mine"
    return export(folder[0], root, data="our own frames", licence="MIT")


def run(repository, model, **inputs):
    graph = session(repository / model / "1" / "model.onnx")
    names = [output.name for output in graph.get_outputs()]
    return dict(zip(names, graph.run(names, inputs), strict=True))


def pictures(height, width, count=2):
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3), np.uint8)


def normalised(images, mean, deviation):
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean[:, None, None]) / deviation[:, None, None]


# ------------------------------------------------------------------------------------------------ transformers


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=30).map("".join)))
def test_the_tokens_are_those_of_transformers(text):
    own, clean = _ours(), tokens.clean(text)
    # The libraries `regex` and `tokenizers` know different versions of Unicode: a new letter is none to one of them.
    assume("Cn" not in map(unicodedata.category, clean) and "Cs" not in map(unicodedata.category, clean))
    wanted = _theirs()(clean, truncation=True, max_length=LENGTH)["input_ids"]
    ids = own.read([clean]).ids[0].tolist()
    assert ids[: len(wanted)] == wanted and not any(ids[len(wanted) :]) and len(ids) == LENGTH


@functools.cache
def _theirs():
    return clip_folders.tokenizer()


@functools.cache
def _ours():
    return tokens.Tokenizer(_made())


def _made():
    said = clip_folders.numbers()
    symbols = (*pairs.SINGLE, *(left + right for left, right in clip_folders.MERGES))
    ends = said[clip_folders.START], said[clip_folders.END]
    merges = tuple(clip_folders.MERGES)
    return Pairs(merges, tuple(said[symbol] for symbol in symbols), *ends, LENGTH, len(said))


def test_the_vectors_are_those_of_transformers(folder, exported):
    _, network = folder
    mean, deviation = torch.tensor(clip_files.MEAN), torch.tensor(clip_files.DEVIATION)
    own = Pairs.of(exported, "text_encoder")
    assert own == _made()
    said = tokens.Tokenizer(own)([text.strip() for text in TEXTS])
    assert said.truncated.tolist() == [False, False, True, True]
    square = pictures(SIDE, SIDE)
    wide = pictures(64, 96)
    with torch.no_grad():
        texts = network.get_text_features(torch.from_numpy(said.ids)).pooler_output.numpy()
        images = network.get_image_features(normalised(square, mean, deviation)).pooler_output
        middle = torch.from_numpy(wide[:, :, 16:80]).permute(0, 3, 1, 2).float()
        scaled = torch.nn.functional.interpolate(middle, (SIDE, SIDE), mode="bilinear").permute(0, 2, 3, 1).numpy()
        cut = network.get_image_features(normalised(scaled, mean, deviation)).pooler_output
    found = run(exported, "text_encoder", TOKENS=said.ids)
    np.testing.assert_allclose(found["EMBEDDING"], texts, atol=TOLERANCE)
    np.testing.assert_allclose(found["SCALE"], network.logit_scale.exp().item(), rtol=1e-6)
    for given_, wanted in ((square, images), (wide, cut)):
        one = run(exported, "image_grouper", IMAGE=given_)
        np.testing.assert_allclose(one["EMBEDDING"], torch.nn.functional.normalize(wanted, dim=-1), atol=TOLERANCE)
        np.testing.assert_array_equal(one["GROUPS"][:, 0], one["EMBEDDING"])
        assert one["ASSIGNMENT"].shape == (2, 1, *(-(-side // 16) for side in given_.shape[1:3]))


def test_sentences_that_are_cut_have_the_same_vectors(exported):
    async def call(model, inputs, outputs):
        return run(exported, model, **inputs)

    given_ = tokens.cleaned(TEXTS)
    known = Vocabulary.of(exported, "text_encoder")
    own = TextEmbeddings(call, known=known)
    found = asyncio.run(own.embedded(given_, "identity"))
    padded = TextEmbeddings(call, known=known, length=LENGTH)
    wanted = run(exported, "text_encoder", TOKENS=tokens.Tokenizer(_made()).read(given_).ids)["EMBEDDING"]
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found.vectors, wanted, atol=TOLERANCE)
    assert found.truncated.tolist() == [False, False, True, True]
    np.testing.assert_allclose(asyncio.run(padded.embedded(given_, "identity")).vectors, wanted, atol=TOLERANCE)


def test_the_files_say_what_they_hold(folder, exported):
    models = contracts.models(exported.parent)
    outputs = contracts.tensors(models["image_grouper"].output)
    assert outputs["GROUPS"][1] == [1, WIDTH] and outputs["EMBEDDING"][1] == [WIDTH]
    assert contracts.tensors(models["text_encoder"].output)["EMBEDDING"][1] == [WIDTH]
    fixed = (exported / "text_encoder" / "configs" / "tensorrt.pbtxt").read_text()
    assert re.search(rf'"TOKENS"[^}}]*dims: \[ {LENGTH} \]', fixed)
    (text,) = at([find("text_encoder")], exported.parent)
    assert {shape[1] for shape in profiles.fitted(text).profile["TOKENS"]} == {LENGTH}
    assert '"bf16"' not in (exported / "image_grouper" / "configs" / "cpu-fast.pbtxt").read_text()
    for verb, (canvases, size) in own_clip.SIZES.items():
        assert models[verb].parameters[canvases].string_value == ""
        assert models[verb].parameters[size].string_value == "64"  # 56 is no multiple of 16
    card = (exported.parent / "weights" / "grouping.md").read_text()
    assert "Data: our own frames." in card and "Licence: MIT." in card and "sluice export texts" in card
    found = clip_files.read(folder[0])
    assert own_clip.configs(clip.rows(found, {}), found, exported.parent, force=False)  # it may overwrite its own


def test_the_two_files_of_a_tokenizer(tmp_path):
    clip_folders.transformers_folder(tmp_path, parts=True)
    assert clip_files.read(tmp_path).pairs == _made()


def test_the_published_pairs_are_those_of_their_file(exported, tmp_path):
    repository = tmp_path / "model_repository"
    (repository / "text_encoder" / "1").mkdir(parents=True)
    shutil.copy(exported / "image_grouper" / "1" / "model.onnx", repository / "text_encoder" / "1")
    assert Pairs.of(repository, "text_encoder") is None  # another graph names none
    own = clip_vocabulary.read(pairs.MERGES, pairs.VOCABULARY, 32)
    assert own.merges == pairs.published().merges and own.length == 32


# ------------------------------------------------------------------------------------------------ OpenCLIP


@pytest.mark.parametrize(("quick", "prefix"), [(True, "text."), pytest.param(False, "", marks=pytest.mark.long)])
def test_the_vectors_are_those_of_open_clip(tmp_path, quick, prefix):
    state = clip_folders.open_clip(tmp_path / "theirs", quick, prefix)
    packed = tmp_path / "bpe.txt.gz"
    packed.write_bytes(gzip.compress((tmp_path / "theirs" / "bpe.txt").read_bytes()))
    weights = tmp_path / "theirs" / "open_clip_pytorch_model.bin"
    repository = export(weights, tmp_path / "mine", vocabulary=packed)
    own = tokens.Tokenizer(Pairs.of(repository, "text_encoder"))
    ids = own(TEXTS).ids
    assert ids[0, 0] == 512 + len(clip_folders.CERTAIN) and ids.max() == ids[0, 0] + 1
    images = pictures(SIDE, SIDE)
    wanted = clip_folders.open_texts(state, torch.from_numpy(ids), quick).numpy()
    found = run(repository, "text_encoder", TOKENS=ids)
    np.testing.assert_allclose(found["EMBEDDING"], wanted, atol=TOLERANCE)
    np.testing.assert_allclose(found["SCALE"], np.exp(3.5), rtol=1e-6)
    mean, deviation = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
    seen = clip_folders.open_images(state, normalised(images, mean, deviation), quick)
    found = run(repository, "image_grouper", IMAGE=images)["EMBEDDING"]
    np.testing.assert_allclose(found, torch.nn.functional.normalize(seen, dim=-1), atol=TOLERANCE)


def test_open_clip_without_files_has_the_published_vocabulary(tmp_path):
    clip_folders.open_clip(tmp_path, size=pairs.VOCABULARY)
    assert clip_files.read(tmp_path).pairs.merges == pairs.published().merges


# ------------------------------------------------------------------------------------------------ refusals


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def edit_weights(folder, edit):
    state = load_file(folder / "model.safetensors")
    edit(state)
    save_file(state, folder / "model.safetensors")


def fewer_tokens(folder):
    found = json.loads((folder / "tokenizer.json").read_text())
    found["model"]["vocab"].pop("red</w>")
    (folder / "tokenizer.json").write_text(json.dumps(found))


def capitals(folder):
    change(folder / "tokenizer.json", normalizer=None)


def wrong_end(folder):
    said = json.loads((folder / "config.json").read_text())
    said["text_config"]["eos_token_id"] = 7
    (folder / "config.json").write_text(json.dumps(said))


WRONG = {
    "no folder": (shutil.rmtree, "is missing; give a folder or a file"),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        "holds no CLIP in one piece: expected config.json",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no vocab.json and no merges.txt; put"),
    "web page": (lambda f: (f / "model.safetensors").write_text("<!DOCTYPE html>"), "is a web page"),
    "pointer": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "is a Git LFS pointer",
    ),
    "tokenizer pointer": (
        lambda f: (f / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "is a Git LFS pointer",
    ),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
    "another network": (lambda f: change(f / "config.json", model_type="siglip"), "describes a siglip, not a CLIP"),
    "a tensor less": (
        lambda f: edit_weights(f, lambda state: state.pop("visual_projection.weight")),
        "missing: visual_projection.weight",
    ),
    "another shape": (
        lambda f: edit_weights(f, lambda s: s.update({"text_projection.weight": torch.zeros(8, 32)})),
        r"text_projection.weight \[8, 32\], not \[24, 32\]",
    ),
    "fewer tokens": (fewer_tokens, "has 524 tokens, the network's table 525"),
    "capitals": (capitals, "capitals are kept"),
    "another end": (wrong_end, "names 7 as end token, the vocabulary"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_clip_is_refused_and_nothing_is_written(folder, tmp_path, case):
    source, root = tmp_path / "source", tmp_path / "mine"
    shutil.copytree(folder[0], source)
    spoil, said = WRONG[case]
    spoil(source)
    roots.prepare(root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(ExportError, match=said) as refused:
        own_clip.export(source, root, say=lambda line: None)
    assert "\n" not in str(refused.value)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"init_logit_bias": -10}, "asks for init_logit_bias -10"),
        ({"multimodal_cfg": {}}, "asks for multimodal_cfg"),
        ({"vision_cfg": {"layers": [3, 4, 6, 3], "width": 64}}, "describes a ResNet"),
        ({"vision_cfg": {"timm_model_name": "vit"}}, "asks for timm_model_name 'vit'"),
    ],
)
def test_designs_of_open_clip_that_this_is_not(tmp_path, settings, said):
    clip_folders.open_clip(tmp_path)
    path = tmp_path / "open_clip_config.json"
    found = json.loads(path.read_text())
    found["model_cfg"] |= settings
    path.write_text(json.dumps(found))
    with pytest.raises(ExportError, match=said):
        clip_files.read(tmp_path, tmp_path / "bpe.txt")
    path.unlink()
    with pytest.raises(ExportError, match=r"no open_clip_config.json beside"):
        clip_files.read(tmp_path / "open_clip_pytorch_model.bin")


def test_a_file_of_pairs_of_another_size(tmp_path):
    clip_folders.open_clip(tmp_path, size=600)
    with pytest.raises(ExportError, match=r"bpe.txt cannot be read: expected .* 86 lines of two symbols"):
        clip_files.read(tmp_path, tmp_path / "bpe.txt")
    with pytest.raises(ExportError, match=r"no vocab.json and no merges.txt"):
        clip_files.read(tmp_path)
    with pytest.raises(ValueError, match="two of its pairs make one symbol"):
        pairs.listed("version\n" + "\n".join(map(" ".join, clip_folders.MERGES)), 526, 77)


def test_the_clone_and_configs_of_ones_own_stay(folder, tmp_path, capsys):
    assert cli.main(["texts", "--from", str(folder[0]), "--root", str(ROOT)]) == 1
    assert "name another folder with --root" in capsys.readouterr().err
    root = tmp_path / "mine"
    roots.prepare(root)
    config = root / "model_repository" / "text_encoder" / "config.pbtxt"
    config.write_text(config.read_text() + "# mine\n")
    with pytest.raises(ExportError, match="was changed by hand; --force"):
        own_clip.export(folder[0], root, say=lambda line: None)


def test_no_mask_is_made_without_groups(exported):
    async def call(model, inputs, outputs):
        return run(exported, model, **inputs)

    with pytest.raises(InvalidArgument, match=r"no groups but the whole image.*ask `compare`"):
        asyncio.run(Grouper(call, 1).groups(pictures(64, 64)[:, None][0]))


def test_pairs_that_cannot_be_meant():
    good = _made()
    for change_, said in (
        ({"merges": (("zz", "q"),)}, "no earlier pair makes"),
        ({"numbers": good.numbers[1:]}, "not 512 more"),
        ({"end": 9_999}, "beyond the 525"),
        ({"length": 2}, "no room for a word"),
    ):
        with pytest.raises(ValueError, match=said):
            Pairs(**{**vars(good), **change_})
