"""Finds what a server is started from: the Triton that is installed, the repositories, and the models in them.

Nothing here starts anything. Every mistake that can be seen before the start raises `StartError` with its remedy.
"""

import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import model_config_pb2

from sluice import contracts
from sluice.process import weights
from sluice.server import root, sidecar

IMAGE_TRITON = Path("/opt/tritonserver")  # where NVIDIA's image keeps it
FIXED = (2, 59)  # release 25.07; what is older has known remote-code flaws
ONNX_FILE = "model.onnx"
RTX_FILE = "model.rtx.onnx"
# Backend of a network -> its file unless a config says otherwise, and what makes it of a model of ours.
NETWORKS = {"onnxruntime": (ONNX_FILE, "{export}"), "tensorrt": ("model.plan", "{export} {model} --format plan")}


class StartError(RuntimeError):
    """The server cannot start. The message is one line that says what is wrong and what to do."""


@dataclass(frozen=True)
class Engine:
    """An installed Triton.

    binary:    the program tritonserver.
    backends:  folder of all backends (NVIDIA's image). None if the folder is put together from the wheel's parts.
    parts:     files of the Python backend, for the wheel.
    libraries: folders for LD_LIBRARY_PATH.
    caches:    folder of the response cache's implementations.
    exposable: whether this Triton is new enough to listen beyond this machine.
    """

    binary: Path
    backends: Path | None
    parts: tuple[Path, ...]
    libraries: tuple[Path, ...]
    caches: Path
    exposable: bool


@dataclass(frozen=True)
class Model:
    """One model of a repository, as far as its start is concerned.

    members:  models that an ensemble is wired from; () for other models.
    calls:    models that the model asks, from the parameter `calls` of its config.
    files:    names of its network's files, one of which every version holds; () if the model is no network.
    versions: folders that Triton will load. The first of them need not exist.
    glued:    whether its Python is written on our glue, `sluice.triton`.
    bf16:     whether its config asks our backend for bf16.
    optional: whether it is left out, with the network, where the file of a member's network is missing.
    """

    name: str
    folder: Path
    backend: str
    members: tuple[str, ...]
    calls: tuple[str, ...]
    files: tuple[str, ...]
    versions: tuple[Path, ...]
    glued: bool
    bf16: bool
    optional: bool = False


def find_engine(profile: str) -> Engine:
    """Find the Triton to use: NVIDIA's image if this process runs inside it, else that of the wheel nvidia-pytriton."""
    if (IMAGE_TRITON / "bin/tritonserver").exists():
        if profile == "rtx":
            raise StartError("profile rtx is for servers without NVIDIA's image, and this is one; use --profile gpu")
        return Engine(
            IMAGE_TRITON / "bin/tritonserver",
            IMAGE_TRITON / "backends",
            (),
            (),
            IMAGE_TRITON / "caches",
            exposable=_version(IMAGE_TRITON / "TRITON_VERSION") >= FIXED,
        )
    if profile == "gpu":
        raise StartError(
            "profile gpu needs NVIDIA's Triton image, the wheel's server has no GPU backends; "
            "run: docker build -t sluice . (see Dockerfile), or use --profile cpu"
        )
    return wheel_engine()


def _version(file: Path) -> tuple[int, ...]:
    """Read NVIDIA's file TRITON_VERSION. Returns a version such as (2, 59, 0), or () if the file cannot be read."""
    try:
        return tuple(int(part) for part in re.findall(r"\d+", file.read_text()))
    except OSError:
        return ()


def wheel_engine() -> Engine:
    """Find the Triton inside the wheel nvidia-pytriton, with the Python backend for this interpreter's version."""
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise StartError("Triton is not installed in this environment; run: pip install 'sluice-perception[serve]'")
    triton = Path(spec.submodule_search_locations[0]) / "tritonserver"
    libraries = triton.parent.parent / "nvidia_pytriton.libs"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = triton / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        have = sorted(path.name for path in stub.parent.parent.glob("*"))
        raise StartError(
            f"Triton's Python backend has no part for Python {version}, only for {', '.join(have)}; use Python 3.11"
        )
    library_folder = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    if not any(library_folder.glob(f"libpython{version}.so*")) and not find_library(f"python{version}"):
        raise StartError(
            f"libpython{version}.so is missing, which Triton's Python backend needs; "
            f"run: sudo apt-get install libpython{version}"
        )
    python = triton / "backends/python"
    parts = (python / "libtriton_python.so", python / "triton_python_backend_utils.py", stub)
    return Engine(
        triton / "bin/tritonserver", None, parts, (libraries, library_folder), triton / "caches", exposable=False
    )


def find_root(given: str | os.PathLike | None = None, weights: str | None = None) -> tuple[Path, list[str]]:
    """Return the root to serve and a line per thing that an operator should look at (`sluice.server.root.find`)."""
    try:
        return root.find(given, weights)
    except root.RootError as error:
        raise StartError(str(error)) from None


def make_backends(engine: Engine, ours: Path, folder: Path) -> Path:
    """Lay out a backend directory under `folder`, made of copies and links. Returns the directory.

    engine: if it has backends of its own, they are taken and our stand-ins left out, because the C++ backends serve.
    ours:   folder of our Python-based backends, one folder each.
    """
    if engine.backends:
        return engine.backends
    (folder / "python").mkdir(parents=True)
    for part in engine.parts:
        # Copies: Triton refuses a library whose real path lies outside the backend directory.
        shutil.copy2(part, folder / "python" / part.name)
    for backend in sorted(ours.iterdir()) if ours.is_dir() else []:
        if (backend / "model.py").is_file():
            (folder / backend.name).symlink_to(backend, target_is_directory=True)
    return folder


def find_models(repositories: Sequence[Path], config_name: str | None, auto_complete: bool) -> dict[str, Model]:
    """Return every model of `repositories` by name.

    config_name:   configs/NAME.pbtxt of the models that have one is served (--model-config-name). None: config.pbtxt.
    auto_complete: True allows a model without a config, which the server completes.
    Raises StartError for a folder without a config, a config that cannot be read, and a name that stands twice.
    """
    found: dict[str, Model] = {}
    for repository in repositories:
        if not repository.is_dir():
            raise StartError(f"there is no folder {repository} to serve models from; check --model-repository")
        for folder in sorted(repository.iterdir()):
            if not folder.is_dir() or folder.name[0] in "._":
                continue
            model = _read_model(folder, config_name, auto_complete)
            if model.name in found:
                raise StartError(
                    f"the model name {model.name} stands twice, in {found[model.name].folder.parent.name} "
                    f"and in {repository.name}; rename one"
                )
            found[model.name] = model
    if not found:
        raise StartError(f"no models in {' or '.join(map(str, repositories))}; give a folder with --model-repository")
    return found


def _read_model(folder: Path, config_name: str | None, auto_complete: bool) -> Model:
    path = folder / "configs" / f"{config_name}.pbtxt"
    if config_name is None or not path.exists():
        path = folder / "config.pbtxt"
    config = model_config_pb2.ModelConfig()
    if path.exists():
        try:
            config = contracts.read(path)
        except ValueError as error:
            what = str(error).removeprefix(f"{path}: ").rstrip(".")
            raise StartError(f"{_short(path)} cannot be read: {what}; correct it there") from None
    elif not auto_complete:
        raise StartError(
            f"{_short(folder)} has no config.pbtxt; write one, let the server fill it in with "
            "--auto-complete-config, or move the folder out of the repository"
        )
    if config.name and config.name != folder.name:
        raise StartError(f'{_short(path)} says name: "{config.name}", but its folder is {folder.name}; make them equal')
    backend = config.backend or {"onnxruntime_onnx": "onnxruntime", "tensorrt_plan": "tensorrt"}.get(
        config.platform, config.platform
    )
    if not backend and list(folder.glob(f"[0-9]*/{ONNX_FILE}")):
        backend = "onnxruntime"
    members = tuple(step.model_name for step in config.ensemble_scheduling.step)
    calls = config.parameters[contracts.CALLS].string_value.split() if contracts.CALLS in config.parameters else ()
    files: tuple[str, ...] = ()
    if backend in NETWORKS:
        files = (config.default_model_filename or NETWORKS[backend][0], *config.cc_model_filenames.values())
    versions = _versions(folder, config.version_policy)
    fast, optional = asks_for_bf16(config), config.parameters[contracts.OPTIONAL].string_value == "true"
    return Model(folder.name, folder, backend, members, tuple(calls), files, versions, _glued(versions), fast, optional)


def asks_for_bf16(config: model_config_pb2.ModelConfig) -> bool:
    """Return whether a config asks the stand-in backend for bf16."""
    accelerators = config.optimization.execution_accelerators.cpu_execution_accelerator
    return any(one.name == "openvino" and one.parameters["precision"].lower() == "bf16" for one in accelerators)


def _glued(versions: Sequence[Path]) -> bool:
    try:
        return bool(versions) and all("sluice.triton" in (each / "model.py").read_text() for each in versions)
    except (OSError, UnicodeDecodeError):
        return False


def _versions(folder: Path, policy: model_config_pb2.ModelVersionPolicy) -> tuple[Path, ...]:
    """Return the version folders that Triton loads by a config's policy, which is the newest one unless the config says
    more.
    """
    numbered = sorted(
        (path for path in folder.iterdir() if path.is_dir() and path.name.isdigit()), key=lambda path: int(path.name)
    )
    if policy.HasField("specific"):
        numbered = [folder / str(version) for version in policy.specific.versions]
    elif not policy.HasField("all"):
        numbered = numbered[-max(policy.latest.num_versions, 1) :]
    return tuple(numbered) or (folder / "1",)


def _short(path: Path) -> str:
    """Return the last parts of a path, beginning with the repository's name."""
    parts = path.parts
    for name in ("model_repository", "ensembles"):
        if name in parts:
            return "/".join(parts[parts.index(name) :])
    return str(path)


def choose(models: dict[str, Model], names: Iterable[str] | None, export: str = "sluice export") -> list[str]:
    """Return the names of the models to load.

    names:  models that are asked for. None: all.
    export: command that makes our networks, for the error about a missing one.

    The members of an ensemble come with it: Triton loads them, and as they are listed they are checked and waited for.
                                             The
    models that a model asks come with it as well if they stand in a repository; for the others see `lacking`. Optional
    ensembles without a network are left out.
    Raises StartError for an unknown name or a missing network file.
    """
    wanted = list(models) if names is None else list(dict.fromkeys(names))
    for name in wanted:
        if name not in models:
            users = [each for each in wanted if each in models and name in models[each].members]
            user = f" (a member of {users[0]})" if users else ""
            raise StartError(f"there is no model {name}{user}; there are: {', '.join(sorted(models))}")
        wanted += [member for member in models[name].members if member not in wanted]
        wanted += [called for called in models[name].calls if called in models and called not in wanted]
    for ensemble in [models[name] for name in wanted if models[name].optional]:
        if gone := [name for name in ensemble.members if _absent(models[name])]:
            wanted = [name for name in wanted if name not in (ensemble.name, *gone)]
    check_present([models[name] for name in wanted], export)
    for name in wanted:
        check_engines(models[name])
    return wanted


def lacking(models: dict[str, Model], names: Iterable[str]) -> list[str]:
    """Return a sentence per model among `names` that asks models which stand in no repository."""
    missing = {name: [called for called in models[name].calls if called not in models] for name in names}
    return [
        f"{name} asks {', '.join(called)}, which no repository has; what needs it will be refused"
        for name, called in missing.items()
        if called
    ]


def check_present(models: Sequence[Model], export: str) -> None:
    """Raise StartError if some version that Triton will load has no network: neither a file nor a folder of that name.

    The sentence names all that are missing. export: command that makes our networks.
    """
    absent: dict[tuple[str, str], list[str]] = {}  # (file, remedy) -> the models that lack the file
    places = []
    for model in models:
        for version in _absent(model):
            places.append(_short(version / model.files[0]))
            absent.setdefault((model.files[0], _remedy(model)), []).append(model.name)
    if len(places) == 1:
        [((_, remedy), [name])] = absent.items()
        run = remedy.format(export=export, model=name)
        raise StartError(f"{places[0]} is missing; run: {run}; or put a network of your own there")
    if absent:
        told = "; ".join(
            f"of {', '.join(dict.fromkeys(names))} the file {file} is missing; run: "
            + " ".join(remedy.format(export=export, model="").split())
            for (file, remedy), names in absent.items()
        )
        raise StartError(f"{told}; or put networks of your own there")


def _absent(model: Model) -> list[Path]:
    """Return the versions of a network that Triton will load and that hold neither a file nor a folder of it."""
    each = [(version, [version / file for file in model.files]) for version in model.versions if model.files]
    return [
        version
        for version, places in each
        if not any(place.is_file() or (place / ONNX_FILE).is_file() for place in places)
    ]


def _remedy(model: Model) -> str:
    """Return the command that makes the file of a network; with an empty `model` it makes those of all networks."""
    return "{export} {model} --format rtx" if model.files[0] == RTX_FILE else NETWORKS[model.backend][1]


def check_engines(model: Model) -> None:
    """Raise StartError for an engine whose sidecar says that it is of another network, graph, TensorRT or GPU."""
    for version in model.versions if model.files else ():
        for engine in (version / file for file in model.files if sidecar.place(version / file).is_file()):
            library = sidecar.library_version(find_library("nvinfer") or "") if model.backend == "tensorrt" else ""
            wrong = sidecar.misfits(
                engine, model.name, gpus=sidecar.gpus(), tensorrt=library, graph=version / ONNX_FILE
            )
            if wrong:
                raise StartError("; ".join(wrong))


def weights_of(models: Iterable[Model], place: Path) -> str:
    """Return which set of weights the networks among `models` have, in words (`sluice.process.weights`).

    Raises StartError if the place is a set's own and a network there is of another set, which may forbid what the set
    allows.
    """
    name = weights.parts(place)[1]
    networks = weights.named(model.folder for model in models if model.files)
    for model, label in networks.items() if name != weights.RESEARCH else ():
        if label not in (name, weights.OWN):
            raise StartError(
                f"{model} in {place} has the weights {label}, and {name} are to be served; run: {root.command(place)} "
                f"{model} --force"
            )
    return weights.told(networks)


def environment(engine: Engine, gallery: Path) -> dict[str, str]:
    """Return the environment of tritonserver and of the Python processes that it starts."""
    chosen = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    # The stub behaves like the python3 that is first on PATH; without this it does not find the environment's NumPy.
    chosen["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), chosen.get("PATH", "/usr/bin:/bin")])
    libraries = [str(folder) for folder in engine.libraries] + chosen.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    chosen["LD_LIBRARY_PATH"] = os.pathsep.join(dict.fromkeys(filter(None, libraries)))
    chosen["PYTHONDONTWRITEBYTECODE"] = "1"  # __pycache__ in a version folder looks like a changed model
    for library in ("OMP", "OPENBLAS", "MKL"):
        chosen[f"{library}_NUM_THREADS"] = "1"  # parallel work comes from instances, never from two pools at once
    # Pictures and tensors of some MB come and go with every request. By default glibc gives such memory back to the
    # system each time, and getting it again costs more than the copy: 1,000 page faults, 3 ms, an image of `detect`.
    chosen.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 << 20))
    chosen.setdefault("MALLOC_TRIM_THRESHOLD_", str(32 << 20))
    chosen["SLUICE_GALLERY"] = str(gallery)
    return chosen
