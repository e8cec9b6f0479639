"""Writes the models of a user's detector into a root, so that the verb `detect` is served by it.

Written are the model `box_detector` and the ensemble `object_detector` over it; in the other models the parameters
that name the detector, its canvases and its suppression are set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from export.detector.mapping import Mapping
from export.entry import ExportError
from export.files import replace

NAME = "box_detector"
MARK = "# Written by `sluice export detector`"
# The models whose parameter `detector` names the network.
NAMING = ("uncertainty_aggregator", "frame_gallery", "gallery_search")

# Behind config.pbtxt, that which makes configs/cpu-fast.pbtxt of it.
ACCELERATOR = """# bf16 by OpenVINO, a program for each canvas and for the question of the start.
optimization {{
  execution_accelerators {{
    cpu_execution_accelerator [ {{
      name: "openvino"
      parameters {{ key: "precision" value: "bf16" }}
      parameters {{ key: "programs" value: "{programs}" }}
    }} ]
  }}
}}
"""


@dataclass(frozen=True)
class Written:
    """The files of an export: content by place in the root."""

    files: dict[Path, bytes]

    def write(self) -> None:
        """Write all files; each is replaced at once."""
        for path, content in self.files.items():
            replace(path, content)


def contents(
    root: Path, graph: bytes, mapping: Mapping, size: tuple[int, int] | None, batched: bool, told: str, fast: bool
) -> Written:
    """Return what is to be written for a detector.

    size: (width, height) where the network takes one alone. batched: whether it takes several images at a time. told:
    origin and members of the detector, in words, for the config's comment. fast: whether cpu-fast serves it in bf16.
    Raises ExportError where the root lacks a model that must be changed.
    """
    home = root / "model_repository"
    own = home / NAME
    sides = f"{size[1]}, {size[0]}, 3" if size else "-1, -1, 3"
    files = {
        own / "1" / "model.onnx": graph,
        own / "labels.txt": "".join(f"{label}\n" for label in mapping.labels).encode(),
    }
    plain = config(mapping, sides, batched, told)
    accelerator = ACCELERATOR.format(programs=len(mapping.sizes) + 1) if fast else ""
    files[own / "config.pbtxt"] = plain.encode()
    files[own / "configs" / "cpu-fast.pbtxt"] = (plain + accelerator).encode()
    ensemble = home / "object_detector" / "config.pbtxt"
    files[ensemble] = wired(_read(ensemble), sides).encode()
    for model in NAMING:
        path = home / model / "config.pbtxt"
        values = {"detector": NAME}
        if model == NAMING[0]:
            values |= {"iou": f"{mapping.iou:g}", "confidence": f"{mapping.confidence:g}"}
        files[path] = with_parameters(_read(path), values, path).encode()
    path = root / "ensembles" / "detect" / "config.pbtxt"
    shown = {"canvases": " ".join(mapping.canvases.split()), "multiple": str(mapping.multiple)}
    shown["keep_aspect"] = "true" if mapping.keep_aspect else "false"
    files[path] = with_parameters(_read(path), shown, path).encode()
    return Written(files)


def config(mapping: Mapping, sides: str, batched: bool, told: str) -> str:
    """Return config.pbtxt of `box_detector`. sides: height, width and channels of IMAGE."""
    return f"""{MARK}; it is written anew with the graph.
# {told}
# The boxes of a detector without mixtures, of all its members, decoded but not suppressed. Callers use `detect`.
# Normalisation of the pixels is inside the graph. The classes, without a background, are in labels.txt.
name: "{NAME}"
backend: "onnxruntime"
max_batch_size: {8 if batched else 1}
# RGB 0-255
input [ {{ name: "IMAGE" data_type: TYPE_UINT8 dims: [ {sides} ] }} ]
output [
  # N x 4: x0, y0, x1, y1 in pixels of IMAGE
  {{ name: "MEMBER_BOXES" data_type: TYPE_FP32 dims: [ -1, 4 ] }},
  # N x C probabilities
  {{ name: "MEMBER_SCORES" data_type: TYPE_FP32 dims: [ -1, {len(mapping.labels)} ] }},
  # N: which member gave the box
  {{ name: "MEMBERS" data_type: TYPE_INT32 dims: [ -1 ] }}
]
instance_group [ {{ count: 2 }} ]
parameters [
  {{ key: "intra_op_thread_count" value {{ string_value: "1" }} }},
  {{ key: "inter_op_thread_count" value {{ string_value: "1" }} }}
]
"""


def wired(text: str, sides: str) -> str:
    """Return the config of `object_detector` with its first step asking `box_detector`. sides: as of `config`."""
    head, _, steps = text.partition("ensemble_scheduling {")
    head = re.sub(r'(name: "IMAGE" data_type: TYPE_UINT8 dims: \[) -1, .*?\]', rf"\1 -1, {sides} ]", head)
    head = head if head.startswith(MARK) else f"{MARK}; the package's own returns when this file is removed.\n{head}"
    outputs = re.findall(r'output_map \{ key: "(\w+)" value: "(\w+)" \}', steps.rpartition("model_name")[2])
    first = [
        'input_map { key: "IMAGE" value: "IMAGE" }',
        *(f'output_map {{ key: "{name}" value: "{name}" }}' for name in ("MEMBER_BOXES", "MEMBER_SCORES", "MEMBERS")),
    ]
    second = [
        *(
            f'input_map {{ key: "{name}" value: "{name}" }}'
            for name in ("MEMBER_BOXES", "MEMBER_SCORES", "MEMBERS", "GEOMETRY", "OPTIONS")
        ),
        *(f'output_map {{ key: "{key}" value: "{value}" }}' for key, value in outputs),
    ]
    both = [_step(NAME, first), _step("uncertainty_aggregator", second)]
    steps = ",\n".join(both)
    return f"{head}ensemble_scheduling {{\n  step [\n{steps}\n  ]\n}}\n"


def _step(model: str, maps: list[str]) -> str:
    lines = "\n".join(f"      {one}" for one in maps)
    return f'    {{\n      model_name: "{model}"\n      model_version: -1\n{lines}\n    }}'


def with_parameters(text: str, values: dict[str, str], path: Path) -> str:
    """Return a config with these string parameters set, in place of those of the same name.

    Raises ExportError where the config has no list of parameters.
    """
    for name, value in values.items():
        entry = f'{{ key: "{name}" value {{ string_value: "{value}" }} }}'
        text, found = re.subn(rf'\{{ key: "{name}" value \{{ string_value: "[^"]*" \}} \}}', entry, text)
        if not found:
            text, found = re.subn(r"^parameters \[\n", f"parameters [\n  {entry},\n", text, count=1, flags=re.M)
        if not found:
            raise ExportError(
                f"{path} has no list of parameters to set {name} in; remove it and run `sluice export` again"
            )
    return text


def _read(path: Path) -> str:
    """Return the text of a config. Raises ExportError where it is missing."""
    if not path.is_file():
        raise ExportError(f"{path} is missing; name a root that `sluice export --root` laid out")
    return path.read_text(encoding="utf-8")
