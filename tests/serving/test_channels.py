"""The real server over feature networks of other channels and strides than the shipped one's: the answers' bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sluice_client import InvalidRequest, NewFrame, Query, Sluice

from sluice import images
from sluice.gallery.store import Frame, Gallery, Search
from sluice.methods import matching
from sluice.models.feature_extractor import served_channels, served_version
from sluice.server import launch as launcher
from sluice.server import root as roots
from tests.made.command_line import run
from tests.made.encoded_pictures import jpeg
from tests.made.served import STORE, link_engines

pytestmark = pytest.mark.long
ROI = [200.0, 180.0, 290.0, 250.0]
MODELS = [*STORE, "retrieve", "match", "embed"]


def network(path: Path, channels: int, stride: int) -> None:
    """Write IMAGE uint8 [b, H, W, 3] -> FEATURES float16 [b, H/stride, W/stride, channels], cells of length 1."""
    weights = np.random.default_rng(channels).standard_normal((channels, 3, stride, stride)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["IMAGE"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["wide", "grey"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weights"], ["map"], strides=[stride, stride]),
        helper.make_node("Transpose", ["map"], ["cells"], perm=[0, 2, 3, 1]),
        helper.make_node("ReduceL2", ["cells"], ["length"], axes=[-1], keepdims=1),
        helper.make_node("Max", ["length", "least"], ["divisor"]),
        helper.make_node("Div", ["cells", "divisor"], ["unit"]),
        helper.make_node("Cast", ["unit"], ["FEATURES"], to=TensorProto.FLOAT16),
    ]
    constants = {"grey": np.float32(111.3), "least": np.float32(1e-6), "weights": weights}
    graph = helper.make_graph(
        nodes,
        "features",
        [helper.make_tensor_value_info("IMAGE", TensorProto.UINT8, ["b", "H", "W", 3])],
        [helper.make_tensor_value_info("FEATURES", TensorProto.FLOAT16, ["b", "rows", "columns", channels])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def laid_out(root: Path, channels: int, stride: int, canvases: str) -> Path:
    """Lay out a root whose feature network has these channels; return its model_repository."""
    roots.lay_out(root)
    link_engines(root)
    own = root / "model_repository" / "feature_extractor"
    (own / "1" / "model.onnx").unlink()
    network(own / "1" / "model.onnx", channels, stride)
    text = (own / "config.pbtxt").read_text()
    assert text.count("dims: [ -1, -1, 64 ]") == 1
    values = {"canvases": canvases, "multiple": str(stride)}
    entries = ", ".join(f'{{ key: "{key}" value {{ string_value: "{value}" }} }}' for key, value in values.items())
    text = text.replace("dims: [ -1, -1, 64 ]", f"dims: [ -1, -1, {channels} ]")
    (own / "config.pbtxt").write_text(f"{text}parameters [ {entries} ]\n")
    return root / "model_repository"


def seen(repository: Path, data: bytes) -> tuple[np.ndarray, images.Geometry]:
    """Return the features of an image and its geometry, as the network of the repository gives them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = repository / "feature_extractor" / "1" / "model.onnx"
    graph = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    canvas, geometry = images.read(data, images.Config().for_network(repository))
    return graph.run(["FEATURES"], {"IMAGE": canvas[None]})[0][0], geometry


@pytest.mark.parametrize(
    ("channels", "stride", "canvases"),
    [(384, 14, "448x336 336x448"), (16, 32, "512x384 384x512"), (1024, 16, "512x384 384x512")],
)
def test_frames_are_added_and_found_with_the_bits_that_they_have_in_process(
    tmp_path, start, monkeypatch, capsys, channels, stride, canvases
):
    repository = laid_out(tmp_path / "root", channels, stride, canvases)
    assert served_channels(repository, "feature_extractor") == channels
    server = start(root=tmp_path / "root", gallery=tmp_path / "gallery", models=MODELS, profile="cpu", http=True)
    pictures = {f"frame {i}": jpeg(900 + i) for i in range(5)}
    maps = {id_: seen(repository, data) for id_, data in pictures.items()}
    asked, geometry = maps["frame 2"]
    grid = asked.shape[:2]
    assert asked.shape[2] == channels and matching.stride_of(geometry, grid) == stride
    cells = matching.roi_cells(ROI, geometry, grid)
    shape = [(cells[1] - cells[0], cells[3] - cells[2])]
    rows = matching.stack([matching.template(asked, cells)], cells=[grid[0] * grid[1]], shape=shape)

    version = served_version(repository, "feature_extractor")
    with Gallery(tmp_path / "own", version, channels, threads=1) as own:
        columns = zip(*((Frame(i), pictures[i], *maps[i]) for i in pictures), strict=True)
        assert {one.status for one in own.add(*map(list, columns))} == {"stored"}
        wanted = own.search(rows, Search(k=5))
    with Sluice(server.grpc, timeout=120) as client:
        for id_, data in pictures.items():
            assert np.array_equal(client.embed(data).features, maps[id_][0])
        receipts = client.ingest([*(NewFrame(data, id=id_) for id_, data in pictures.items()), NewFrame(b"none")])
        assert [one.status for one in receipts] == ["stored"] * 5 + ["refused"]
        found = client.retrieve(Query(pictures["frame 2"], rois=[ROI]), k=5)
        again = client.retrieve(Query(id="frame 2", rois=[ROI]), k=5)
        scored = client.match(Query(id="frame 2", rois=[ROI]), list(pictures.values()))
    assert [one.id for one in found] == [one.id for one in again] == list(wanted.ids)
    assert [one.score for one in found] == [one.score for one in again] == [float(score) for score in wanted.scores]
    place = {id_: score for id_, score in zip(wanted.ids, wanted.scores, strict=True)}
    np.testing.assert_allclose([one.score for one in scored], [place[id_] for id_ in pictures], atol=1e-5)
    travelled = images.Geometry.from_array(geometry.as_array())  # float32, as it crosses the server
    box = matching.found_again(asked, travelled, rows)[0]
    np.testing.assert_array_equal(found.matches[0].boxes[0], box)
    assert np.abs(box - ROI).max() <= 2 * stride / min(geometry.scale_x, geometry.scale_y)

    # The command line, from a file.
    monkeypatch.setenv("SLUICE_URL", server.grpc)
    (tmp_path / "query.jpg").write_bytes(pictures["frame 2"])
    code, told, said = run(capsys, "retrieve", str(tmp_path / "query.jpg"), "--roi", "200,180,290,250", "-k", "5")
    assert code == 0 and [one["id"] for one in told] == list(wanted.ids), said


def test_a_gallery_of_other_channels_is_refused_with_both_numbers(tmp_path, start):
    laid_out(tmp_path / "root", 80, 16, "512x384 384x512")
    with Gallery(tmp_path / "gallery", "feature_extractor/1/0123456789ab", 64) as other:
        map_ = np.zeros((6, 8, 64), np.float16)
        map_[..., 0] = 1
        other.add([Frame("old")], [jpeg(1)], [map_], [images.Geometry(64, 48, 1, 1, 0, 0)])
    server = start(root=tmp_path / "root", gallery=tmp_path / "gallery", models=MODELS, profile="cpu")
    with Sluice(server.grpc, timeout=60) as client:
        with pytest.raises(InvalidRequest, match=r"64 channels.*80 channels.*new gallery folder"):
            client.retrieve(Query(jpeg(2), rois=[ROI]))
        (receipt,) = client.ingest([NewFrame(jpeg(3))])
        assert receipt.status == "refused" and "64 channels" in receipt.error and "80 channels" in receipt.error
        assert client.embed(jpeg(3)).features.shape[2] == 80


def test_channels_that_no_gallery_holds_end_the_start_with_the_remedy(tmp_path, start):
    laid_out(tmp_path / "root", 100, 16, "512x384 384x512")
    with pytest.raises(launcher.StartError, match=r"100 channels.*multiple of 16 channels up to 1,024.*PCA"):
        start(root=tmp_path / "root", gallery=tmp_path / "gallery", models=MODELS, profile="cpu")
