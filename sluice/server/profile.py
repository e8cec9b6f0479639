"""Chooses which configs are served and in which precision, and says why.

`auto` serves bf16 where the processor multiplies bf16 itself and OpenVINO is installed, and fp32 elsewhere. A network
whose work a gallery keeps goes on in the precision in which that work was made, because numbers of two precisions are
not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sluice import contracts
from sluice.gallery import makers
from sluice.process import blas
from sluice.server.layout import Engine, Model, StartError
from sluice.versions import BF16, FP32, Served, is_engine, read_sidecar, remedy, sidecar_place

# profile -> --model-config-name
CONFIGS = {"auto": "cpu-fast", "cpu": None, "cpu-fast": "cpu-fast", "gpu": "tensorrt", "rtx": "rtx"}
# Instruction set as Linux names it -> its name; the first that the processor has is named.
INSTRUCTIONS = {"amx_bf16": "AMX-BF16", "avx512_bf16": "AVX512-BF16"}
INSTALL = "pip install 'sluice-perception[openvino]'"
AGAIN = "for bf16 add the images again into a new gallery folder"


@dataclass(frozen=True)
class Chosen:
    """The configs that a profile takes here. config: None for the plain config.pbtxt. reason: a clause that says why.
    fast: whether networks whose config asks for bf16 get it."""

    config: str | None
    reason: str
    fast: bool = False


def chosen(profile: str, engine: Engine) -> Chosen:
    """Choose the configs of a profile. Raises StartError for an unknown profile, and for `cpu-fast` without bf16."""
    if profile not in CONFIGS:
        raise StartError(f"there is no profile {profile}; choose one of {', '.join(CONFIGS)}")
    have, lack = _bf16(engine)
    if profile == "gpu":
        return Chosen(CONFIGS[profile], "TensorRT, as its plans were built")
    if profile == "rtx":
        return Chosen(CONFIGS[profile], "TensorRT for RTX, as its engines were compiled")
    if profile == "cpu":
        return Chosen(None, "--profile cpu", fast=not lack)
    if profile == "auto" and lack:
        return Chosen(None, lack)
    if lack and engine.backends is None:
        raise StartError(f"profile cpu-fast serves bf16, but {lack}; or use --profile auto, which serves fp32 here")
    return Chosen(CONFIGS[profile], lack or have, fast=not lack)


def _bf16(engine: Engine) -> tuple[str, str]:
    """Return (what gives bf16 here, what is missing for it); one of the two is empty."""
    if engine.backends is not None:
        return "", "NVIDIA's own backend is here, which does not take the precision from a config"
    return bf16_here()


def bf16_here() -> tuple[str, str]:
    """Return (what in processor and packages gives bf16, what of them is missing); one of the two is empty."""
    found = next((name for flag, name in INSTRUCTIONS.items() if flag in blas.instructions()), None)
    if found is None:
        return "", f"this processor has neither {' nor '.join(reversed(INSTRUCTIONS.values()))}"
    try:
        return f"the processor has {found}, and OpenVINO {metadata.version('openvino')} is installed", ""
    except metadata.PackageNotFoundError:
        return "", f"OpenVINO is not installed, although the processor has {found}; run: {INSTALL}"


def served(profile: str, choice: Chosen, models: Sequence[Model], gallery: Path | None) -> Served:
    """Return in which precision each network of `models` runs.

    gallery: folder of the frames; None for a new one. With the profile `auto` a network whose work the gallery keeps in
    fp32 is kept in fp32.
    """
    networks = {one.name: _precision(one, choice) for one in models if one.files}
    kept = {}
    for name, (work, made) in _made(gallery).items():
        if profile == "auto" and networks.get(name) == BF16 and made == FP32:
            networks[name] = FP32
            kept[name] = f"the gallery's {work} were made in fp32"
    return Served(profile, choice.reason, networks, kept)


def _precision(model: Model, choice: Chosen) -> str:
    """Return the precision that a network runs in; that of an engine stands in its sidecar (`sluice.versions`)."""
    engines = [engine for engine in _engines(model) if sidecar_place(engine).is_file()]
    record = read_sidecar(engines[0]) if engines else None
    if record is not None:
        return record.precision
    return BF16 if model.bf16 and choice.fast else FP32


def _engines(model: Model) -> list[Path]:
    """Return the engines among the files of a network's newest version."""
    places = [version / file for version in model.versions[-1:] for file in model.files]
    return [place for place in places if place.is_file() and is_engine(place)]


def notes(given: Served, models: Sequence[Model], config: str | None, gallery: Path | None) -> list[str]:
    """Return a line per network that an operator should look at: kept in fp32, at odds with the gallery, served by an
    engine of unknown precision, or with two configs that differ in more than the accelerator."""
    said = [f"{name} runs in fp32, because {why}; {AGAIN}" for name, why in given.kept.items()]
    for name, (work, made) in _made(gallery).items():
        runs = given.networks.get(name, made)
        if runs != made:
            effect = "searches and additions are refused" if work == "features" else f"no stored {work} count"
            said.append(
                f"the gallery's {work} were made in {made} and {name} runs in {runs}: {effect}; serve with "
                f"{remedy(made, runs)}, or add the images again into a new folder"
            )
    said += [
        f"{engine.name} of {one.name} has no record beside it and counts as fp32; build it again with sluice export"
        for one in models
        for engine in _engines(one)
        if not sidecar_place(engine).is_file()
    ]
    if config == CONFIGS["cpu-fast"]:
        said += [
            f"{one.name}: configs/cpu-fast.pbtxt is served and differs from config.pbtxt in more than its accelerator; "
            "make them alike, or use --profile cpu"
            for one in models
            if one.bf16 and not _alike(one.folder, "cpu-fast")
        ]
    return said


def _made(gallery: Path | None) -> Mapping[str, tuple[str, str]]:
    return {} if gallery is None else makers.precisions(gallery)


def _alike(folder: Path, config: str) -> bool:
    """Return whether the two configs of a model say the same but for `optimization`."""
    plain, fast = (contracts.read(folder / name) for name in ("config.pbtxt", f"configs/{config}.pbtxt"))
    for one in (plain, fast):
        one.ClearField("optimization")
    return bool(plain == fast)
