"""Holds the repository together: configs, graphs, wiring, imports and documents agree."""

import ast
import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest

from sluice import contracts

ROOT = contracts.ROOT
MODELS = contracts.models()
ENSEMBLES = {name: config for name, config in MODELS.items() if config.platform == "ensemble"}
PYTHON = {name: config for name, config in MODELS.items() if config.backend == "python"}
ONNX = {name: config for name, config in MODELS.items() if config.backend == "onnxruntime"}
NUMPY_TO_ONNX = {"FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE", "BOOL": "BOOL"}


def folder(name: str) -> Path:
    return next(path for r in contracts.REPOSITORIES if (path := ROOT / r / name).exists())


def test_every_folder_of_a_repository_is_a_model():
    for repository in contracts.REPOSITORIES:
        for path in (ROOT / repository).iterdir():
            assert not path.is_dir() or (path / "config.pbtxt").exists(), f"{path} has no config.pbtxt"


@pytest.mark.parametrize("name", MODELS)
def test_a_config_loads_in_both_places(name):
    config = MODELS[name]
    assert config.input and config.output
    for group in config.instance_group:
        assert group.kind == 0 and not group.gpus, "a group without a kind loads on machines with and without a GPU"
    assert "runtime" not in {field.name for field, _ in config.ListFields()}
    for tensor in [*config.input, *config.output]:
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", tensor.name)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_every_edge_of_an_ensemble_meets(name):
    config = ENSEMBLES[name]
    known = contracts.tensors(config.input)
    for step in config.ensemble_scheduling.step:
        model = MODELS[step.model_name]
        assert not model.model_transaction_policy.decoupled, "a decoupled step can hang an ensemble"
        assert config.max_batch_size <= model.max_batch_size
        # Inside an ensemble without a batch axis of its own, that of a step is an axis like any other.
        batch = [-1] if model.max_batch_size and not config.max_batch_size else []
        inputs, outputs = (
            {name: (kind, batch + dims) for name, (kind, dims) in contracts.tensors(declared).items()}
            for declared in (model.input, model.output)
        )
        needed = {tensor.name for tensor in model.input if not tensor.optional}
        assert needed <= set(step.input_map) <= set(inputs), f"{step.model_name} needs {needed}"
        for inner, outer in step.input_map.items():
            assert known[outer] == inputs[inner], f"{outer} -> {step.model_name}.{inner}"
        known.update({outer: outputs[inner] for inner, outer in step.output_map.items()})
    for output, contract in contracts.tensors(config.output).items():
        assert known[output] == contract


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_has_the_folder_that_triton_wants(name):
    assert (folder(name) / "1" / ".gitkeep").exists()


@pytest.mark.parametrize("name", PYTHON)
def test_glue_is_short_and_names_known_parameters(name):
    source = (folder(name) / "1" / "model.py").read_text()
    assert len(source.splitlines()) <= 40
    tree = ast.parse(source)
    kind = next(x for x in tree.body if isinstance(x, ast.ClassDef) and x.name == "TritonPythonModel")
    named = [x.value for x in kind.body if isinstance(x, ast.Assign) and x.targets[0].id == "Config"]
    if named:  # Config = module.Class
        alias = named[0].value.id
        package = next(
            x.module for x in tree.body if isinstance(x, ast.ImportFrom) if alias in {y.name for y in x.names}
        )
        module = importlib.import_module(f"{package}.{alias}")
        texts = {key: value.string_value for key, value in PYTHON[name].parameters.items()}
        contracts.parameters(getattr(module, named[0].attr), texts)


@pytest.mark.parametrize("name", ONNX)
def test_the_graph_is_what_the_config_says(name):
    import onnx

    path = folder(name) / "1" / "model.onnx"
    if not path.exists():
        pytest.fail(f"{path.relative_to(ROOT)} is missing; run: make export")
    graph = onnx.load(path).graph

    def declared(values):
        rows = {}
        for value in values:
            tensor = value.type.tensor_type
            dims = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
            rows[value.name] = (onnx.TensorProto.DataType.Name(tensor.elem_type), dims)
        return rows

    for ours, theirs in ((ONNX[name].input, graph.input), (ONNX[name].output, graph.output)):
        batch = [-1] if ONNX[name].max_batch_size else []
        wanted = {
            tensor: (NUMPY_TO_ONNX.get(kind, kind), batch + dims)
            for tensor, (kind, dims) in contracts.tensors(ours).items()
        }
        assert declared(theirs) == wanted


def test_the_channels_are_said_once_so_that_any_network_fits():
    from sluice.models.feature_extractor import served_channels

    assert served_channels(ROOT / "model_repository", "feature_extractor") == 64
    gallery, searched = (contracts.tensors(MODELS[name].input) for name in ("frame_gallery", "gallery_search"))
    assert gallery["FEATURES"][1] == [-1, -1, -1, -1] and searched["TEMPLATES"][1] == [-1, -1]
    for name in ("embed", "frame_gallery"):
        assert contracts.tensors(MODELS[name].output)["FEATURES"][1] == [-1, -1, -1]


def test_retrieve_answers_with_what_the_gallery_gives():
    gallery = contracts.tensors(MODELS["gallery_search"].output)
    for name, contract in contracts.tensors(MODELS["retrieve"].output).items():
        assert gallery[name] == contract


@dataclasses.dataclass(frozen=True)
class Example:
    count: int = 1
    share: float = 0.5
    name: str = "a"
    on: bool = False


def test_parameters_are_read_into_their_types():
    texts = {"count": {"string_value": "3"}, "share": {"string_value": "0.25"}, "on": {"string_value": "true"}}
    assert contracts.parameters(Example, texts) == Example(3, 0.25, "a", True)


@pytest.mark.parametrize("texts", [{"cuont": "3"}, {"count": "three"}, {"on": "maybe"}])
def test_a_wrong_parameter_is_refused(texts):
    with pytest.raises(ValueError, match=next(iter(texts))):
        contracts.parameters(Example, texts)


# Who may import whom; what is not listed is a library. Arrows point down only.
ALLOWED = {
    "sluice": {"sluice"},
    "sluice_client": {"sluice_client"},
    "scenes": {"scenes"},
    "export": {"export", "sluice", "scenes"},
    "demo": {"demo", "sluice", "sluice_client", "scenes"},
    "bench": {"bench", "sluice", "sluice_client", "export", "scenes"},
}
PACKAGES = {name: ROOT / ("clients/" if name == "sluice_client" else "") / name for name in ALLOWED}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return {name.split(".")[0] for name in found}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_only_downwards(package):
    for path in PACKAGES[package].rglob("*.py"):
        wrong = imports(path) & set(ALLOWED) - ALLOWED[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_serving_is_light():
    for path in [*PACKAGES["sluice"].rglob("*.py"), *PACKAGES["sluice_client"].rglob("*.py")]:
        assert not imports(path) & {"torch", "torchvision", "transformers"}, path


def test_triton_is_met_in_one_place():
    users = {path.name for path in PACKAGES["sluice"].rglob("*.py") if "triton_python_backend_utils" in imports(path)}
    assert users == {"triton.py"}
    for name in PYTHON:
        assert "triton_python_backend_utils" not in imports(folder(name) / "1" / "model.py")


def test_the_backend_stands_alone():
    for path in (ROOT / "backends" / "onnxruntime").glob("*.py"):
        assert "sluice" not in imports(path)
    assert importlib.util.find_spec("sluice")
