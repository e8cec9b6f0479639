"""Exports a diffusion network of your own as a model that the verb `sample` draws with.

    sluice export genie --unet FOLDER                            diffusers' UNet2DModel -> NAME_score
    sluice export genie --unet FOLDER --weights weights/NAME.pt  and its trained head -> NAME_score, NAME_curvature

Graph and config.pbtxt are written into model_repository after the graph was compared with torch. The command prints the
steps that remain. Nothing is fetched, and the checkpoint stays where it is.
"""

from __future__ import annotations

import math
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from export import check, destination, own
from export.entry import ROOT, ExportError, Network
from export.files import replace as replace_file
from export.genie import rows
from export.own import Say

if TYPE_CHECKING:
    from export.genie.network import Design, ScoreNetwork

MARK = "# Written by `python -m export genie`"
NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
MOST_PARAMETERS = 500_000_000  # an ONNX file of float32 holds no more than 2 GB
MEMORY = 4 * 2**30  # bytes that the targets of a training may take
BATCHES = (1, 3)  # compared with torch; a large network takes long enough for these two
NEEDED = "give the folder of a diffusers UNet2DModel with --unet, or a trained head's file with --weights"


def export(
    unet: Path | None,
    name: str = "",
    *,
    weights: Path | None = None,
    prediction: str = "",
    null: int | None = None,
    root: Path = ROOT,
    say: Say = print,
) -> tuple[str, Design]:
    """Write the models of a checkpoint: NAME_score and, where it has a head, NAME_curvature. Returns NAME and design.

    unet: a diffusers folder. weights: a file of `export.genie.train_head`, the network with its head. At least one of
    the two is needed; given both, `weights` is exported and must be of the folder's network.
    name: of the models; empty for the name of the folder or file.
    prediction, null: as for `diffusers_folder.read`. root: folder whose model_repository is written to.
    Raises ExportError before anything was written.
    """
    given = unet or weights
    if given is None:
        raise ExportError(NEEDED)
    said = given.resolve().name if given.is_dir() else given.stem
    name = name or re.sub(r"[^a-z0-9]+", "_", said.lower()).strip("_")
    if not NAME.fullmatch(name):
        raise ExportError(f"a name is of a-z, 0-9 and _, and does not begin with _, got {name!r}; give one with --name")
    home = root / "model_repository"
    for folder in (home / f"{name}_score", home / f"{name}_curvature"):
        if folder.exists() and not destination.imported(folder, MARK):
            raise ExportError(f"{folder.name} is a model that is not of this command; give another name with --name")
    network, source = read(unet, weights, prediction, null, say)
    models = [model for model in entries(name, network, root) if network.head or model.name.endswith("_score")]
    made = []
    for model in models:
        say(f"{model.name}: tracing")
        made.append(check.checked(model, source, say)[0])
    own.lay_out(root, say)
    for model, content in zip(models, made, strict=True):
        folder = model.onnx.parents[1]
        replace_file(model.onnx, content)
        replace_file(folder / "config.pbtxt", config(model, network.design).encode())
        say(f"wrote model_repository/{model.name}, {len(content) / 1e6:.1f} MB")
    if len(models) == 1 and (old := home / f"{name}_curvature").exists():
        shutil.rmtree(old)
        say(f"removed model_repository/{old.name}: it was of another network")
    return name, network.design


def read(
    unet: Path | None, weights: Path | None, prediction: str = "", null: int | None = None, say: Say = print
) -> tuple[ScoreNetwork, Path]:
    """Return the network and the file that holds its weights. Arguments as for `export`.

    say: is given a line for each setting of the folder that was ignored or guessed.
    Raises ExportError with one sentence where there is no such network.
    """
    from export.genie import diffusers_folder, files

    network, source = None, weights
    try:
        if unet is not None:
            if not unet.is_dir():
                raise ExportError(f"--unet {unet} is no folder; give one as diffusers' save_pretrained writes it")
            network = diffusers_folder.read(unet, prediction=prediction, null=null, say=say)
            source = source or diffusers_folder.weights_file(unet)
        if weights is not None:
            trained = files.load(weights)
            if network is not None and not same(trained.design, network.design):
                raise ExportError(f"{weights} was not trained for the network in {unet}; leave one of the two out")
            network = trained
    except ExportError:
        raise
    except Exception as error:  # a damaged file can fail in torch's and safetensors' readers in any way
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise ExportError(f"{weights or unet} cannot be exported: {reason}") from error
    assert network is not None and source is not None
    if network.design.channels not in (1, 3):
        raise ExportError(f"the verb `sample` draws pictures of 1 or 3 channels, {unet} has {network.design.channels}")
    count = sum(p.numel() for p in network.parameters())
    if count > MOST_PARAMETERS:
        raise ExportError(f"the network has {count:,} parameters, an ONNX file holds {MOST_PARAMETERS:,} at most")
    return network, source


def same(one: Design, other: Design) -> bool:
    """Return whether two designs describe the same score network, whatever their heads."""
    return replace(one, head_width=0, head_blocks=1) == replace(other, head_width=0, head_blocks=1)


def entries(name: str, network: ScoreNetwork, root: Path) -> list[Network]:
    """Return the rows of NAME_score and NAME_curvature, whose `load` gives this network whatever the path."""
    from export.genie.network import Served

    def load(head: bool) -> Callable[[Path], Served]:
        return lambda _: Served(network, head).eval()

    design, found = network.design, []
    for model in rows.pair(name, channels=design.channels, size=design.size, labels=design.labels, root=root):
        few = tuple(shapes for shapes in model.check if shapes["TIME"][0] in BATCHES)
        found.append(replace(model, check=few, load=load(len(model.outputs) > 1)))
    return found


def config(model: Network, design: Design) -> str:
    """Return the text of a model's config.pbtxt, in the form of those that were written by hand."""
    image = f"data_type: TYPE_FP32 dims: [ {design.channels}, {design.size}, {design.size} ]"
    inputs = [
        f'  # x_t = alpha(t) x_0 + sigma(t) noise; x_0 from -1 to 1\n  {{ name: "SAMPLE" {image} }}',
        f"  # t from 0.001 (image) to {latest_time(design):g} (noise)\n"
        '  { name: "TIME" data_type: TYPE_FP32 dims: [ 1 ] }',
    ]
    if design.labels:
        none = "" if design.null is None else f"; {design.null} stands for none, which guidance needs"
        inputs.append(
            f'  # the class, 0 to {design.labels - 1}{none}\n  {{ name: "LABEL" data_type: TYPE_INT64 dims: [ 1 ] }}'
        )
    outputs = [f'  {{ name: "EPSILON" {image} }}']
    if len(model.outputs) > 1:
        outputs.append(f'  # d eps / d gamma, gamma = sigma / alpha\n  {{ name: "DERIVATIVE" {image} }}')
    return f"""{MARK}; it may be changed, but is written anew with the graph.
name: "{model.name}"
backend: "onnxruntime"
max_batch_size: 64
input [
{_joined(inputs)}
]
output [
{_joined(outputs)}
]
# One instance with a thread a core. No dynamic batching: `sample` puts the calls of its requests together.
instance_group [ {{ count: 1 }} ]
parameters [
  {{ key: "intra_op_thread_count" value {{ string_value: "2" }} }},
  {{ key: "inter_op_thread_count" value {{ string_value: "1" }} }}
]
"""


def _joined(entries: list[str]) -> str:
    """Return the entries of a list in config.pbtxt."""
    return ",\n".join(entries)


def latest_time(design: Design) -> float:
    """Return the greatest t that the network was trained at, rounded down to five digits."""
    from export.genie.network import span

    return math.floor(span(design)[1] * 1e5) / 1e5


def left_to_do(name: str, design: Design, source: Path, root: Path = ROOT) -> str:
    """Return the text that tells the user what remains to do. source: folder or file that was exported.

    root: folder that the models were written to.
    """
    config = Path("ensembles", "sample", "config.pbtxt")
    config = config if root == ROOT else root / config
    word = f"{name}={design.channels}x{design.size}x{design.size}"
    if design.labels:
        word += f":{design.labels}" + ("" if design.null is None else f":{design.null}")
    if (latest := latest_time(design)) < 1:
        word += f"@{latest:g}"
    asked = f"{name}_score {name}_curvature" if design.head_width else f"{name}_score"
    lines = [f"To draw with it, add this word to the parameter `models` in {config}:", f"  {word}"]
    lines.append(f"and {asked} to the parameter `calls` there,")
    if design.head_width:
        lines.append(f"and take {name} out of the parameter `without_curvature`, if it stands there.")
    else:
        kinds = ", a folder for each class" if design.labels else ""
        told = f" --prediction {design.prediction}" + ("" if design.null is None else f" --null {design.null}")
        lines += [
            f"and {name} to the parameter `without_curvature` there: it has no curvature head.",
            "Without a head `genie` takes its derivative by difference, with two evaluations a step. For one "
            f"evaluation train a head, on pictures like its own{kinds}:",
            f"  python -m export.genie.train_head --model folder --data PICTURES --score {shlex.quote(str(source))}"
            f"{told if source.is_dir() else ''} --out weights/{name}.pt{fewer_targets(design)}",
            f"  sluice export genie --weights weights/{name}.pt",
        ]
    if latest < 1:
        lines.append(f"Its noise ends at t = {latest:g} of the sampler's 1: @{latest:g} lets trajectories begin there.")
    if design.labels and design.null is None:
        lines.append("Guidance needs the label that stands for none: --null LABEL, if the network has one.")
    return "\n".join(lines)


def fewer_targets(design: Design) -> str:
    """Return ' --set targets=N' where MEMORY holds fewer targets than the recipe asks for, otherwise ''."""
    from export.genie.train_head import HeadRecipe

    side = design.size // design.patch
    features = 2 * design.unet.get("block_out_channels", (224,))[0] * side * side  # float16
    images = 4 * 3 * design.channels * design.size**2  # x, eps, their derivative
    most = MEMORY // (features + images)
    return f" --set targets={most}" if most < HeadRecipe().targets else ""


def main(arguments: list[str] | None = None) -> int:
    """Run `sluice export genie` and return its exit status."""
    parser = own.parser("genie", __doc__)
    parser.add_argument("--unet", type=Path, help="diffusers folder: a pipeline's, or the U-Net's own")
    parser.add_argument(
        "--weights", type=Path, help="file of export.genie.train_head: the network with its trained head"
    )
    parser.add_argument(
        "--name", default="", help="name of the models NAME_score and NAME_curvature (default: the folder's name)"
    )
    parser.add_argument("--prediction", default="", help="epsilon or v_prediction (default: as the scheduler says)")
    parser.add_argument("--null", type=int, help="the class label that the network was trained to take for no class")
    options = parser.parse_args(arguments)
    if not (options.unet or options.weights):
        parser.error(NEEDED)

    def work() -> None:
        place = own.place(options.root, clone=True)
        name, design = export(
            options.unet,
            options.name,
            weights=options.weights,
            prediction=options.prediction,
            null=options.null,
            root=place,
            say=own.say,
        )
        print(left_to_do(name, design, options.weights or options.unet, place))

    return own.run(parser.prog, work)
