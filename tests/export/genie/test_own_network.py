"""`python -m export genie`: a user's diffusers folder becomes models, compared with torch; what is no such folder is
refused with a sentence and leaves nothing behind."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import DDPMScheduler, UNet2DModel  # noqa: E402
from PIL import Image  # noqa: E402

from export.__main__ import main  # noqa: E402
from export.check import session  # noqa: E402
from export.entry import ExportError  # noqa: E402
from export.genie import (  # noqa: E402
    files,
    own_network,
)
from export.genie import network as genie_network  # noqa: E402
from export.genie.rows import states  # noqa: E402
from sluice import contracts  # noqa: E402
from sluice.wire.sample import Config  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def checkpoint(folder, prediction="epsilon", schedule="linear", **changes):
    """Write a folder as diffusers writes it, with a network small enough for tests."""
    torch.manual_seed(3)
    settings = {
        "sample_size": 16,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 8,
    }
    UNet2DModel(**{**settings, **changes}).save_pretrained(folder)
    DDPMScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule=schedule, prediction_type=prediction
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def root(tmp_path):
    for name in ("model_repository", "ensembles"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def command(root, capsys):
    """Return the command line over a repository of its own: arguments -> (exit status, stdout, stderr)."""

    def run(*arguments):
        status = main(["genie", "--root", str(root), *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def models(root):
    return sorted(path.name for path in (root / "model_repository").iterdir())


def answer(root, name, inputs):
    found = session(root / "model_repository" / name / "1" / "model.onnx")
    return found.run([output.name for output in found.get_outputs()], inputs)


def torchs(network, inputs):
    labels = [torch.from_numpy(inputs["LABEL"]).reshape(-1)] if "LABEL" in inputs else [None]
    with torch.no_grad():
        t = torch.from_numpy(inputs["TIME"]).reshape(-1)
        answers = (network.both if network.head else network)(torch.from_numpy(inputs["SAMPLE"]), t, *labels)
    return [a.numpy() for a in (answers if isinstance(answers, tuple) else (answers,))]


def given(batch, channels=3, size=16, labels=0):
    shapes = {"SAMPLE": (batch, channels, size, size), "TIME": (batch, 1)}
    return states(shapes | ({"LABEL": (batch, 1)} if labels else {}), labels, 1)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("labels", [None, 5])
def test_a_folder_becomes_a_model_that_answers_as_torch_does(root, command, prediction, labels):
    folder = checkpoint(root / "My Own-Net", prediction, num_class_embeds=labels)
    null = ["--null", labels - 1] if labels else []
    status, printed, told = command("--unet", folder, *null)
    assert status == 0 and models(root) == ["my_own_net_score"]
    assert "greatest difference" in told
    inputs = given(6, labels=labels or 0)
    (wanted,) = torchs(files.load(folder), inputs)
    (found,) = answer(root, "my_own_net_score", inputs)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    word = re.search(r"my_own_net=\S+", printed).group()
    assert word == ("my_own_net=3x16x16:5:4" if labels else "my_own_net=3x16x16")
    network = Config(models=word).networks["my_own_net"]  # the verb reads it so
    assert (network.shape, network.labels, network.null) == ((3, 16, 16), labels or 0, 4 if labels else None)
    assert "without_curvature" in printed and "`genie` takes its derivative by difference" in printed


def test_the_config_that_is_written_is_that_of_a_shipped_model(root, command):
    torch.manual_seed(5)
    network = genie_network.with_head(genie_network.ScoreNetwork(genie_network.light((8, 16), 1, 10)), 8)
    files.save(network, root / "mine.pt")
    assert command("--weights", root / "mine.pt")[0] == 0
    for kind in ("score", "curvature"):
        found = contracts.read(root / "model_repository" / f"mine_{kind}" / "config.pbtxt")
        shipped = contracts.read(contracts.ROOT / "model_repository" / f"digits_{kind}" / "config.pbtxt")
        found.name = shipped.name
        assert found == shipped


def test_the_config_that_is_written_is_what_the_graph_is(root, command):
    checkpoint(root / "net", num_class_embeds=3, in_channels=1, out_channels=1)
    assert command("--unet", root / "net")[0] == 0
    model = onnx.load(root / "model_repository/net_score/1/model.onnx")
    config = contracts.read(root / "model_repository/net_score/config.pbtxt")
    for declared, found in ((config.input, model.graph.input), (config.output, model.graph.output)):
        seen = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:] for value in found}
        assert {name: dims for name, (_, dims) in contracts.tensors(declared).items()} == seen


def test_a_head_that_was_trained_as_the_command_says_is_served_beside_it(root, command, monkeypatch):
    from export.genie import train_head as training

    folder = checkpoint(root / "net", "v_prediction", num_class_embeds=3)
    _, printed, _ = command("--unet", folder, "--null", 2, "--prediction", "epsilon")
    (line,) = [line for line in printed.splitlines() if "export.genie.train_head" in line]
    for label in "ab":
        (root / "pictures" / label).mkdir(parents=True)
        Image.effect_noise((20, 20), 50).save(root / "pictures" / label / "one.png")
    monkeypatch.chdir(root)
    (root / "weights").mkdir()
    words = line.replace("PICTURES", "pictures").split()[3:]
    assert (
        training.main([*words, "--set", "steps=2", "--set", "batch=4", "--set", "width=8", "--set", "targets=8"]) == 0
    )
    status, printed, _ = command(
        "--unet", folder, "--prediction", "epsilon", "--null", 2, "--weights", "weights/net.pt"
    )
    assert status == 0 and models(root) == ["net_curvature", "net_score"]
    assert "net=3x16x16:3:2" in printed and "take net out of the parameter `without_curvature`" in printed
    inputs = given(4, labels=3)
    network = files.load("weights/net.pt")
    assert network.design.prediction == "epsilon" and network.design.null == 2
    for found, wanted in zip(answer(root, "net_curvature", inputs), torchs(network, inputs), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-3)
    checkpoint(root / "net", "v_prediction")
    assert command("--unet", folder)[0] == 0
    assert models(root) == ["net_score"], "a head of another network must not be served"


def test_an_image_of_a_folders_network_is_the_same_in_any_batch(root, command):
    checkpoint(root / "net")
    assert command("--unet", root / "net")[0] == 0
    inputs = given(17)
    (whole,) = answer(root, "net_score", inputs)
    for rows in ([4], [16, 0, 7], list(range(11)), [3, 3, 3, 9, 1]):
        (part,) = answer(root, "net_score", {name: np.ascontiguousarray(a[rows]) for name, a in inputs.items()})
        np.testing.assert_array_equal(part, whole[rows])


def test_noise_that_ends_early_and_a_label_that_is_not_named_are_told(root, command):
    checkpoint(root / "net", schedule="scaled_linear", num_class_embeds=3)
    _, printed, _ = command("--unet", root / "net")
    # scaled_linear, 0.0001 to 0.02: log(1 + gamma^2) of the last timestep, and the t that has it.
    kept = np.prod(1 - np.linspace(0.0001**0.5, 0.02**0.5, 1000) ** 2)
    latest = (np.sqrt(0.1**2 + 2 * 19.9 * -np.log(kept)) - 0.1) / 19.9
    told = float(re.search(r"net=3x16x16:3@(\S+)", printed)[1])
    assert 0 <= latest - told < 1.1e-5, "to five digits, and never beyond it"
    assert f"noise ends at t = {told:g} of the sampler's 1" in printed
    assert f"from 0.001 (image) to {told:g} (noise)" in (root / "model_repository/net_score/config.pbtxt").read_text()
    assert Config(models=f"net=3x16x16:3@{told:g}").networks["net"].latest == told
    assert "--null LABEL" in printed and "net=3x16x16:3@" in printed


def test_the_training_of_a_large_networks_head_is_told_with_targets_that_fit_into_memory():
    small = genie_network.light((8, 16), 3, 0)
    large = genie_network.light((128, 128), 3, 0, size=256, patch=1)
    assert "--set" not in own_network.left_to_do("net", small, contracts.ROOT)
    told = own_network.left_to_do("net", large, contracts.ROOT)
    targets = int(re.search(r"--set targets=(\d+)", told).group(1))
    assert 2**31 < targets * (2 * 128 + 4 * 9) * 256**2 <= 2**32


def test_a_shipped_model_is_not_written_over(root, command):
    checkpoint(root / "digits")
    shutil.copytree(
        contracts.ROOT / "model_repository" / "digits_curvature",
        root / "model_repository" / "digits_curvature",
        ignore=shutil.ignore_patterns("*.onnx"),
    )
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    status, _, told = command("--unet", root / "digits")
    assert status == 1 and "digits_curvature is a model that is not of this command; give another name" in told
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert command("--unet", root / "digits", "--name", "mine")[0] == 0 and "mine_score" in models(root)
    assert command("--unet", root / "digits", "--name", "mine")[0] == 0, "its own model it may write again"


def break_config(folder):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "_class_name": "UNet2DConditionModel"}))


def break_weights(folder):
    file = folder / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


@pytest.mark.parametrize(
    "harm, arguments, message",
    [
        (break_config, (), "expected a UNet2DModel .* got UNet2DConditionModel"),
        (break_weights, (), "net cannot be exported: "),
        (
            lambda f: (f / "config.json").unlink(),
            (),
            "found no config.json; pass a folder as diffusers' save_pretrained",
        ),
        (lambda f: (f / "diffusion_pytorch_model.safetensors").unlink(), (), "found neither"),
        (shutil.rmtree, (), "net is no folder; give one as diffusers' save_pretrained"),
        (lambda f: None, ("--name", "My Net"), "a name is of a-z, 0-9 and _.* got 'My Net'"),
        (lambda f: None, ("--name", "_"), "does not begin with _, got '_'"),
        (lambda f: None, ("--null", 3), "null label"),
        (lambda f: None, ("--prediction", "sample"), "epsilon or v_prediction"),
        (lambda f: checkpoint(f, in_channels=4, out_channels=4), (), "1 or 3 channels, .* has 4"),
        (lambda f: None, ("--weights", "none.pt"), r"none\.pt cannot be exported: weights none\.pt not found"),
    ],
)
def test_what_is_no_such_network_is_refused_in_one_line_and_leaves_nothing(root, command, harm, arguments, message):
    folder = checkpoint(root / "net")
    harm(folder)
    status, printed, told = command("--unet", folder, *arguments)
    assert status == 1 and not printed and "Traceback" not in told and told.count("\n") == 1
    assert re.search(message, told), told
    assert models(root) == []


def test_a_head_of_another_network_is_refused(root, command):
    folder = checkpoint(root / "net")
    files.save(genie_network.ScoreNetwork(genie_network.light((8, 16), 3, 0, size=16)), root / "other.pt")
    status, _, told = command("--unet", folder, "--weights", root / "other.pt")
    assert status == 1 and "other.pt was not trained for the network in" in told


def test_without_a_folder_the_command_says_what_it_needs(command, capsys):
    with pytest.raises(SystemExit, match="2"):
        command()
    assert "give the folder of a diffusers UNet2DModel with --unet" in capsys.readouterr().err


def test_a_graph_that_differs_from_torch_is_not_served(root, command, monkeypatch):
    checkpoint(root / "net")

    def differs(*_):
        raise ExportError("differs")

    monkeypatch.setattr(own_network.check, "compare", differs)
    assert command("--unet", root / "net")[0] == 1 and models(root) == []
