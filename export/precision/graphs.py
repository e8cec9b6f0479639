"""Writes graphs of less precision into a root, and lets its config serve int8.

`model.onnx` stays: everything is compared with it. int8 lies beside it as `model.int8.onnx`, and one line of the root's
config.pbtxt and configs/cpu-fast.pbtxt, default_model_filename, has it served; features and scores then carry the
version of that file. fp16 lies beside it as `model.fp16.onnx` for builders of engines; ONNX Runtime on a CPU would
compute it in fp32.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from export.entry import ROOT, ExportError, Network
from export.files import digest, replace
from export.precision import agreement, inputs, record
from export.precision.half import half
from export.precision.int8 import quantized
from export.precision.rounding import rounded
from sluice import contracts
from sluice.server import root
from sluice.server.layout import asks_for_bf16

if TYPE_CHECKING:
    import onnx

PRECISIONS = ("fp32", "fp16", "int8")
OF = "sluice.of_sha256"  # metadata: digest of the model.onnx that a graph was made of
LINE = re.compile(r'^default_model_filename: "[^"]*\.onnx"\n', re.MULTILINE)

Say = Callable[[str], None]


def file(network: Network, precision: str) -> Path:
    """Return the path of a network's graph in a precision."""
    return network.onnx if precision == "fp32" else network.onnx.with_name(f"model.{precision}.onnx")


def write(network: Network, precision: str, frames: Path | None, say: Say) -> None:
    """Write the graph of a network in a precision beside its model.onnx, and have the root's config serve it.

    fp32 takes the config back to model.onnx. fp16 leaves the config as it is. frames: folder of pictures that int8 is
    calibrated on and compared on; None takes generated inputs. say: is given a line per thing done.
    Raises ExportError in the tree that this code came with, whose graphs everything is compared with; without a
    model.onnx; and where int8 loses more of the network's task metric than `record.MOST`.
    """
    if precision == "fp32":
        if _serve(network, None):
            say(f"{network.name}: its config.pbtxt serves model.onnx again")
        return
    if network.root == ROOT:
        raise ExportError(
            f"{precision} is written into a folder of your own, because everything in {ROOT} is compared with fp32; "
            f"add --root DIR"
        )
    import onnx

    whole = onnx.load(network.onnx)
    if precision == "fp16":
        made = half(whole, network)
        compared, given = rounded(made), list(inputs.generated(network, 4))
        say(f"{network.name}: fp16 against fp32 on generated inputs, every result rounded to fp16:")
    else:
        say(allowed(network))
        given = list(inputs.of_frames(network, frames) if frames else inputs.generated(network))
        told = (
            f"{len(given)} pictures of {frames}" if frames else f"{len(given)} generated inputs, for want of --frames"
        )
        made = compared = quantized(whole, network, given)
        say(f"{network.name}: int8, calibrated on {told}; there, against fp32:")
    for sentence in agreement.sentences(network, whole, compared, given):
        say(f"  {sentence}")
    path = file(network, precision)
    replace(path, _marked(made, network).SerializeToString(deterministic=True))
    say(f"{network.name}: wrote {path.name}, {path.stat().st_size / 1e6:.1f} MB (fp32: {whole.ByteSize() / 1e6:.1f})")
    if precision == "int8":
        _serve(network, path.name)
        back = f"{root.command(network.root)} {network.name} --precision fp32"
        say(f"{network.name}: its config.pbtxt serves it; to take it back: {back}")


def outdated(network: Network) -> str:
    """Take a config back to model.onnx where it serves a graph that was made of another one.

    Returns a sentence that says so, empty where nothing was done.
    """
    config = _config(network)
    served = LINE.search(config.read_text(encoding="utf-8")) if config.is_file() else None
    if not served:
        return ""
    path = network.onnx.with_name(served.group().split('"')[1])
    if fresh(path, network):
        return ""
    _serve(network, None)
    return f"{network.name}: {path.name} was made of another model.onnx, so config.pbtxt serves model.onnx again"


def fresh(path: Path, network: Network) -> bool:
    """Return whether a graph of less precision was made of the model.onnx that lies beside it."""
    from export.graph import record as metadata

    return metadata(path).get(OF) == digest(network.onnx)


def allowed(network: Network) -> str:
    """Return what the record says of int8, as a sentence. Raises ExportError, with the figures, where it loses much."""
    known = record.known(network).get("int8")
    if known is None:
        return f"{network.name}: no task metric of int8 is recorded; the agreement with fp32 is all that is known of it"
    figures = (
        f"{known.metric} {known.whole:.4g} in fp32, {known.value:.4g} in int8: {_share(known.loss)}, difference "
        f"{known.difference:+.2g} ({known.low:+.2g} to {known.high:+.2g}) on {known.data}"
    )
    if known.sha256 != digest(network.onnx):
        return (
            f"{network.name}: the record of int8 is of another graph ({figures}); nothing is known of this one but its "
            f"agreement with fp32. {record.COMMAND} measures the shipped graphs anew"
        )
    if known.loss > record.MOST:
        raise ExportError(
            f"{network.name} is not made int8, because more than {record.MOST:.0%} of its task metric is lost: "
            f"{figures}. {_instead(network)}"
        )
    return f"{network.name}: int8 keeps its task metric: {figures}"


def _instead(network: Network) -> str:
    """Return what a network is served in where int8 is refused. Its configs know whether bf16 is among that."""
    fast = network.onnx.parent.parent / "configs" / "cpu-fast.pbtxt"
    if fast.is_file() and asks_for_bf16(contracts.read(fast)):
        return "Serve it in bf16 (sluice serve, where the processor has it) or fp32, on a GPU in fp16"
    return "It is served in fp32, for bf16 gains it nothing or costs it too much either; on a GPU also in fp16"


def _share(loss: float) -> str:
    """Return a lost share in words."""
    return f"{loss:.1%} lost" if loss > 0 else f"{-loss:.1%} gained"


def _marked(model: onnx.ModelProto, network: Network) -> onnx.ModelProto:
    """Return the graph with the digest of the model.onnx that it was made of."""
    import onnx

    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, known | {OF: digest(network.onnx)})
    return model


def _config(network: Network) -> Path:
    return network.onnx.parent.parent / "config.pbtxt"


def _serve(network: Network, name: str | None) -> bool:
    """Write into the root's configs for processors which file is served; None for model.onnx.

    Both config.pbtxt and configs/cpu-fast.pbtxt name it, since the version of the answers is that of the file in
    config.pbtxt. Returns whether a config changed.
    """
    fast = network.onnx.parent.parent / "configs" / "cpu-fast.pbtxt"
    changed = {}
    for config in (_config(network), *([fast] if fast.is_file() else [])):
        text = config.read_text(encoding="utf-8")
        new = plain = LINE.sub("", text)
        if name:
            line = rf'\1default_model_filename: "{name}"\n'
            new = re.sub(r"^(backend: .*\n)", line, plain, count=1, flags=re.MULTILINE)
            if new == plain:
                raise ExportError(f'{config} has no line backend: "onnxruntime"; add it, so that the file can be named')
        if new != text:
            changed[config] = new
    for config, text in changed.items():
        replace(config, text.encode())
    return bool(changed)
