"""A diffusion network of one's own, from diffusers' folder to pictures out of the real server."""

import json
import queue
import re
import shutil

import numpy as np
import pytest
import tritonclient.grpc as triton

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from export.genie import own_network  # noqa: E402
from sluice import contracts  # noqa: E402
from sluice.methods import genie  # noqa: E402
from sluice.wire.calls import strings  # noqa: E402

LATEST = 0.72954


@pytest.fixture
def root(tmp_path):
    """Write repositories with the verb `sample` and one untrained network."""
    torch.manual_seed(5)
    network = diffusers.UNet2DModel(
        sample_size=16,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
    )
    network.save_pretrained(tmp_path / "mine")
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}  # noise that ends at t = 0.73
    diffusers.DDPMScheduler(prediction_type="epsilon", **betas).save_pretrained(tmp_path / "mine")
    (tmp_path / "model_repository").mkdir()
    name, design = own_network.export(tmp_path / "mine", root=tmp_path, say=lambda line: None)
    told = own_network.left_to_do(name, design, tmp_path / "mine")
    (word,) = re.findall(r"mine=\S+", told)
    assert word == f"mine=3x16x16@{LATEST}"
    shutil.copytree(contracts.ROOT / "ensembles" / "sample", tmp_path / "ensembles" / "sample")
    config = tmp_path / "ensembles" / "sample" / "config.pbtxt"
    before = 'string_value: "digits=1x32x32:11:10 streets=3x32x32"'
    own = '{ key: "without_curvature" value { string_value: "mine" } },\n  '
    text = config.read_text().replace(before, f'string_value: "{word}"')
    shipped = "digits_score digits_curvature streets_score streets_curvature"
    assert shipped in text and "mine_score to the parameter `calls`" in told
    text = text.replace(shipped, "mine_score")
    config.write_text(text.replace('{ key: "models"', own + '{ key: "models"'))
    (tmp_path / "backends").symlink_to(contracts.ROOT / "backends")
    return tmp_path


def test_a_users_own_network_draws(root, start):
    server = start(root=root)  # its probe draws the first picture
    client, come = triton.InferenceServerClient(server.grpc), queue.Queue()
    client.start_stream(lambda result, error: come.put((result, error)))

    def ask(**options):
        text = triton.InferInput("OPTIONS", [1], "BYTES")
        text.set_data_from_numpy(strings([json.dumps(options)]))
        client.async_stream_infer("sample", [text])
        while True:
            result, error = come.get(timeout=60)
            if error:
                raise error
            if json.loads(result.as_numpy("EVENT")[0])["kind"] == "result":
                found = result.as_numpy("TENSORS")
            if (facts := json.loads(result.as_numpy("EVENT")[0]))["kind"] == "end":
                return found, facts

    try:
        from export.genie.files import load

        network = load(root / "mine")

        def torchs(call):
            with torch.no_grad():
                return network(torch.from_numpy(call.x), torch.from_numpy(call.t).float()).numpy(), None

        # Without a head the second-order solver takes its derivative by difference.
        for options, nfe in (({"solver": "unipc"}, 4), ({"solver": "genie", "curvature": False}, 8)):
            served = {} if "curvature" in options else options  # genie is what is taken when nothing is said
            found, facts = ask(seed=3, count=2, steps=4, format="tensor", **served)
            latents, plan = genie.noise([3, 4], (3, 16, 16)), genie.Options(steps=4, grid=facts["grid"], **options)
            np.testing.assert_allclose(found, genie.sample(torchs, latents, plan, latest=LATEST), atol=1e-3)
            assert (facts["nfe"], facts["derivative"]) == (nfe, plan.derivative)
    finally:
        client.stop_stream()
