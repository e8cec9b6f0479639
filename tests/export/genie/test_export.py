"""The shipped score networks as models: two graphs of one file, against torch and config, the same in any batch."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from export import check, graph  # noqa: E402
from export.__main__ import main  # noqa: E402
from export.entry import ExportError  # noqa: E402
from export.files import digest  # noqa: E402
from export.genie import files  # noqa: E402
from export.genie import network as genie_network  # noqa: E402
from export.genie.rows import states  # noqa: E402
from export.genie.train_score import WIDTHS  # noqa: E402
from export.registry import NETWORKS, families, together  # noqa: E402
from sluice import contracts  # noqa: E402

SHIPPED = ("digits", "streets")
RECORD = {"data": "none", "licence": "any", "parameters": 7, "reach": [{"from t": 0.0, "to t": 0.1, "missed": 0.25}]}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Export both networks as they are shipped, except for what training put into them, with their cards."""
    root = tmp_path_factory.mktemp("shipped")
    (root / "weights").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in SHIPPED:
            torch.manual_seed(4)
            channels, classes = (1, 10) if name == "digits" else (3, 0)
            network = genie_network.ScoreNetwork(genie_network.light(WIDTHS[name], channels, classes))
            network = genie_network.with_head(network, 32)
            torch.nn.init.normal_(network.head.leave.weight, std=0.05)
            files.save(network, root / "weights" / f"{name}.pt")
            (root / "weights" / f"{name}.json").write_text(json.dumps(RECORD))
            for entry in families()[name]:
                patch.setitem(NETWORKS, entry.name, replace(entry, root=root))
        yield root


@pytest.fixture(scope="module")
def exported(home):
    for name in SHIPPED:
        assert main([name, "--check"]) == 0
    return home


def graphs(name):
    """Return the registry's entries of a network's two graphs."""
    return {"curvature" if len(entry.outputs) > 1 else "score": entry for entry in families()[name]}


@pytest.mark.parametrize("name", SHIPPED)
def test_one_file_of_weights_gives_two_models_and_one_card(exported, name):
    both = graphs(name)
    assert {entry.name for entry in both.values()} == {f"{name}_score", f"{name}_curvature"}
    assert {entry.weights for entry in both.values()} == {exported / "weights" / f"{name}.pt"}
    assert sorted(path.name for path in (exported / "weights").glob(f"{name}*.md")) == [f"{name}.md"]
    text = (exported / "weights" / f"{name}.md").read_text()
    for entry in both.values():
        assert graph.current(entry, entry.weights)
        assert f"| sha256 of model.onnx of {entry.name} | `{digest(entry.onnx)}` |" in text
        assert f"`{entry.name}`: ONNX Runtime" in text and f"operators of {entry.name}" in text
        assert all(f"| {check.sizes(shapes)} |" in text for shapes in entry.check)
    for words in (f"# {name}\n", "Data: none.", "Licence: any.", "| from t | to t | missed |", "| 0 | 0.1 | 0.25 |"):
        assert words in text, words
    assert "OpenVINO" not in text  # the profile cpu-fast does not serve it


def test_the_command_has_nothing_to_do_twice_and_only_what_is_old_the_second_time(exported, capsys):
    both = graphs("digits")
    assert main(["digits", "--check"]) == 0
    told = capsys.readouterr().err
    assert told.count("is up to date") == 2 and "wrote" not in told
    both["score"].onnx.unlink()
    assert main(["--list"]) == 0
    assert "to be exported: sluice export digits" in capsys.readouterr().out
    assert main(["digits_score"]) == 0  # any of its names will do
    told = capsys.readouterr().err
    assert "digits_score: wrote model.onnx" in told and "digits_curvature: model.onnx is up to date" in told
    assert main(["digits", "--check"]) == 0 and "wrote" not in capsys.readouterr().err  # the same bytes again


def test_a_name_that_is_none_is_answered_with_those_of_the_weights():
    with pytest.raises(ExportError, match=r"'cats'; there are: .*digits, .*streets; .* sluice export genie --unet"):
        together("cats")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_configs_say_what_the_graphs_are(exported, name):
    for entry in graphs(name).values():
        config = contracts.models()[entry.name]
        model = onnx.load(entry.onnx)
        for declared, found in ((config.input, model.graph.input), (config.output, model.graph.output)):
            seen = {
                value.name: (
                    onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).replace("FLOAT", "FP32"),
                    [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:],
                )
                for value in found
            }
            assert contracts.tensors(declared) == seen
        assert config.max_batch_size == 64 and not config.HasField("dynamic_batching")
        threads = {key: value.string_value for key, value in config.parameters.items()}
        assert threads == {"intra_op_thread_count": "2", "inter_op_thread_count": "1"}
        assert [group.count for group in config.instance_group] == [1]


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("kind", ["score", "curvature"])
def test_an_image_is_the_same_to_the_last_bit_in_any_batch_and_beside_any_neighbours(exported, name, kind):
    entry = graphs(name)[kind]
    run, names = check.session(entry.onnx), [tensor.name for tensor in entry.outputs]
    given = states({tensor: (64, *shape[1:]) for tensor, shape in entry.example.items()}, 11, 5)
    given["SAMPLE"][1::2] *= np.float32(1e4)
    given["SAMPLE"][3] = np.nan
    whole = run.run(names, given)
    rng = np.random.default_rng(6)
    for count in (1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 15, 17, 23, 31, 33, 47, 63):
        rows = rng.permutation(64)[:count]
        part = run.run(names, {tensor: np.ascontiguousarray(array[rows]) for tensor, array in given.items()})
        for together_, alone in zip(whole, part, strict=True):
            np.testing.assert_array_equal(together_[rows], alone, err_msg=f"a batch of {count}")


@pytest.mark.parametrize("name", SHIPPED)
def test_both_graphs_see_the_same_noise(exported, name):
    both = graphs(name)
    given = states({tensor: (5, *shape[1:]) for tensor, shape in both["score"].example.items()}, 11, 8)
    one, other = (check.session(entry.onnx).run(["EPSILON"], given)[0] for entry in both.values())
    np.testing.assert_allclose(one, other, atol=2e-5)


def test_a_network_without_a_head_is_named_and_nothing_is_served_of_it(tmp_path, monkeypatch, capsys):
    for entry in families()["digits"]:
        monkeypatch.setitem(NETWORKS, entry.name, replace(entry, root=tmp_path))
    files.save(genie_network.ScoreNetwork(genie_network.light((8, 16), 1, 10)), tmp_path / "digits.pt")
    assert main(["digits", "--weights", str(tmp_path / "digits.pt")]) == 1
    told = capsys.readouterr().err
    assert "no curvature head; train one with: python -m export.genie.train_head" in told and "Traceback" not in told
    assert not (tmp_path / "model_repository" / "digits_curvature").exists()
