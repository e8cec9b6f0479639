"""Reads every `config.pbtxt`, the one contract against which graphs, glue, client and documents are tested."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
REPOSITORIES = ("model_repository", "ensembles")

# Parameters that Triton's Python backend reads itself; they need no field in a model's dataclass.
TRITONS_OWN = {"EXECUTION_ENV_PATH", "FORCE_CPU_ONLY_INPUT_TENSORS"}
# Read by the glue: the TYPE_STRING tensors of the model that hold bytes and not text (`sluice.wire.plain_json`).
BINARY = "binary"
# Read by glue and launcher: the models that the model calls, as the steps of an ensemble name its members.
CALLS = "calls"
# Read by the launcher: "true" for an ensemble that is left out where the file of a member's network is missing.
OPTIONAL = "optional"

C = TypeVar("C")


@dataclasses.dataclass(frozen=True)
class NoParameters:
    """The configuration of a model without parameters."""


def parameters(kind: type[C], given: Mapping[str, Any]) -> C:
    """Read the `parameters {}` of a config into a frozen dataclass.

    kind: a dataclass whose fields are int, float, bool or str, with defaults.
    given: name -> {"string_value": text}, as Triton hands parameters over, or name -> text.

    Raises ValueError for a name that the dataclass does not have, because a typo must not pass silently, and for a text
    that is not of the type of its field.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # a dataclass
    values = {}
    for name, value in given.items():
        if name in TRITONS_OWN or name in (BINARY, CALLS):
            continue
        if name not in fields:
            raise ValueError(f"unknown parameter {name!r}; known are: {', '.join(sorted(fields)) or 'none'}")
        text = value["string_value"] if isinstance(value, Mapping) else str(value)
        values[name] = _typed(name, text, getattr(fields[name].type, "__name__", str(fields[name].type)))
    return kind(**values)


def _typed(name: str, text: str, kind: str) -> Any:
    """Read the text of a parameter as a value of the type named `kind`. Raises ValueError naming the parameter."""
    try:
        if kind == "bool":
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        return {"int": int, "float": float, "str": str}[kind](text)
    except (KeyError, ValueError):
        raise ValueError(f"parameter {name!r} must be of type {kind}, got {text!r}") from None


def read(path: Path) -> Any:
    """Read a `config.pbtxt` as Triton's ModelConfig message. Raises ValueError naming a file that does not parse."""
    # The message comes with tritonclient, which is imported here, because Triton's stubs use `parameters` alone.
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(f"{path}: {error}") from None


def configured(kind: type[C], repository: Path, model: str) -> C:
    """Read the parameters of another model of this server from its config.pbtxt, or the defaults if there is none.

    repository: a folder of models. The model may also lie in a folder beside it that is named in REPOSITORIES.
    """
    path = config_of(repository, model)
    return parameters(kind, _texts(path)) if path else kind()


def parameters_among(names: Iterable[str], repository: Path, model: str) -> dict[str, str]:
    """Return those of the named parameters that the config.pbtxt of another model of this server gives, name -> text.

    Other parameters of that model, such as those of its backend, are passed over. repository: as for `configured`.
    """
    path = config_of(repository, model)
    # A model that names none of them, as most do, spares Triton's stubs the import that `read` needs.
    if path is None or not any(f'"{name}"' in path.read_text() for name in names):
        return {}
    given = _texts(path)
    return {name: given[name] for name in names if name in given}


def config_of(repository: Path, model: str) -> Path | None:
    """Return the path of a model's config.pbtxt, or None if there is none. repository: as for `configured`."""
    folders = (repository, *(repository.parent / name for name in REPOSITORIES))
    paths = (folder / model / "config.pbtxt" for folder in folders)
    return next((path for path in paths if path.exists()), None)


def _texts(path: Path) -> dict[str, str]:
    """Return the parameters of a config.pbtxt, name -> text."""
    return {name: entry.string_value for name, entry in read(path).parameters.items()}


def served(repository: Path, model: str, name: str | None) -> Any:
    """Read the config of a model as the server serves it: configs/NAME.pbtxt if there is one, else config.pbtxt.

    name: of `config_name`. Returns None if there is neither. Raises ValueError as `read` does.
    """
    path = served_path(repository, model, name)
    return None if path is None else read(path)


def served_path(repository: Path, model: str, name: str | None) -> Path | None:
    """Return the path of the config that `served` reads, or None if there is none."""
    paths = (repository / model / "configs" / f"{name}.pbtxt", repository / model / "config.pbtxt")
    return next((path for path in paths if path.exists()), None)


def config_name() -> str | None:
    """Return the `--model-config-name` of the server that started this process; None if it has none or none is seen.

    Triton tells a Python model nothing about the configs of other models, but the model's process is a child of the
    server's.
    """
    try:
        words = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    flag = "--model-config-name"
    found = [word.removeprefix(f"{flag}=") for word in words if word.startswith(f"{flag}=")]
    found += [after for word, after in itertools.pairwise(words) if word == flag]
    return found[-1] if found else None


def models(root: Path = ROOT) -> dict[str, Any]:
    """Read every model and ensemble of the two repositories: name -> ModelConfig.

    Raises ValueError for a name that is used twice or differs from its folder's.
    """
    found: dict[str, Any] = {}
    for repository in REPOSITORIES:
        for path in sorted((root / repository).glob("*/config.pbtxt")):
            config = read(path)
            name = path.parent.name
            if config.name != name:
                raise ValueError(f"{path}: name is {config.name!r}, the folder says {name!r}")
            if name in found:
                raise ValueError(f"{path}: the name {name!r} stands in both repositories")
            found[name] = config
    return found


def tensors(entries: Any) -> dict[str, tuple[str, list[int]]]:
    """Return the inputs or outputs of a config as name -> (type without TYPE_, dims)."""
    from tritonclient.grpc import model_config_pb2

    names = model_config_pb2.DataType
    return {entry.name: (names.Name(entry.data_type).removeprefix("TYPE_"), list(entry.dims)) for entry in entries}
