"""Score networks and their curvature head: the process, diffusers folders, predictions, and both exported graphs."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

import diffusers  # noqa: E402
from diffusers import DDPMScheduler, UNet2DModel  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from export import graph  # noqa: E402
from export.check import compare, session  # noqa: E402
from export.genie import (  # noqa: E402
    diffusers_folder,
    files,
    process,
)
from export.genie import network as genie_network  # noqa: E402
from export.genie.network import Design, ScoreNetwork, Served, light, with_head  # noqa: E402
from export.genie.rows import row, states  # noqa: E402

LINEAR = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


pytestmark = pytest.mark.usefixtures("one_thread")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny(classes=0, patch=2, **changes):
    """Return a score network small enough for tests, with random weights."""
    torch.manual_seed(1)
    design = light((8, 16), 3, classes, size=16, patch=patch)
    return ScoreNetwork(dataclasses.replace(design, **changes)).eval()


def bent(network):
    """Return the network with a curvature head whose weights are not zero, as after training."""
    torch.manual_seed(2)
    network = with_head(network, 8)
    torch.nn.init.normal_(network.head.leave.weight, std=0.1)
    return network


def unet(**changes):
    torch.manual_seed(3)
    settings = {
        "sample_size": 16,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 8,
    }
    return UNet2DModel(**{**settings, **changes}).eval()


def flat(folder, network, **scheduler):
    """Write a folder with U-Net and scheduler side by side, as diffusers writes them."""
    network.save_pretrained(folder)
    DDPMScheduler(**{**LINEAR, **scheduler}).save_pretrained(folder)
    return folder


# ------------------------------------------------------------------------------------------------ the process


def test_gamma_has_the_published_values_at_both_ends():
    ends = process.gamma(torch.tensor([1.0, 1e-3], dtype=torch.float64))
    assert ends[0].item() == pytest.approx(152.167, abs=1e-3)
    assert ends[1].item() == pytest.approx(0.0104860, abs=1e-7)


def test_alpha_and_sigma_are_the_sides_of_a_right_triangle_whose_tangent_is_gamma():
    t = torch.linspace(1e-3, 1, 50, dtype=torch.float64)
    assert torch.allclose(process.alpha(t) ** 2 + process.sigma(t) ** 2, torch.ones_like(t), atol=1e-14)
    assert torch.allclose(process.sigma(t) / process.alpha(t), process.gamma(t), rtol=1e-12)


def test_a_time_is_found_again_from_its_noise_level():
    t = torch.linspace(1e-3, 1, 50, dtype=torch.float64)
    assert torch.allclose(process.time_at(torch.log1p(process.gamma(t) ** 2)), t, atol=1e-12)


def test_the_slope_of_time_is_one_over_the_slope_of_gamma():
    t = torch.linspace(1e-3, 1, 50, dtype=torch.float64)
    _, slope = torch.func.jvp(process.gamma, (t,), (torch.ones_like(t),))
    assert torch.allclose(process.time_slope(t) * slope, torch.ones_like(t), atol=1e-12)


def test_gamma_keeps_its_digits_in_float32_down_to_the_earliest_time():
    t = torch.tensor([1e-3, 1e-2, 0.5, 1.0], dtype=torch.float64)
    assert torch.allclose(process.gamma(t.float()).double(), process.gamma(t), rtol=2e-6)


# ------------------------------------------------------------------------------------------------ diffusers folders


@pytest.mark.parametrize("form", ["flat", "pipeline", "bin"])
def test_a_folder_of_diffusers_gives_the_same_numbers_at_its_own_timesteps(tmp_path, form):
    model = unet()
    if form == "pipeline":
        model.save_pretrained(tmp_path / "unet")
        DDPMScheduler(**LINEAR).save_pretrained(tmp_path / "scheduler")
    else:
        flat(tmp_path, model)
    if form == "bin":
        (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
        torch.save(model.state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    network = files.load(tmp_path)
    steps = torch.tensor([0, 10, 400, 700, 999])
    x = noise(5, 3, 16, 16)
    with torch.no_grad():
        wanted = model(x, steps).sample
        found = network(x, genie_network.times(network.design.noise)[steps].float())
    assert torch.allclose(found, wanted, atol=2e-4)


def test_the_times_of_a_checkpoint_have_its_own_noise_levels():
    known = genie_network.times(LINEAR)
    assert torch.allclose(process.alpha(known) ** 2, DDPMScheduler(**LINEAR).alphas_cumprod.double(), rtol=1e-6)
    assert bool((known.diff() > 0).all())


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_the_table_from_times_to_timesteps_gives_each_timestep_back(schedule):
    network = tiny(noise={**LINEAR, "beta_schedule": schedule})
    known = genie_network.times(network.design.noise)
    inside = (known > 0) & (known < 1)
    wanted = torch.arange(len(known))[inside]
    assert (network.timestep(known[inside].float()) - wanted).abs().max() < 1e-3


def test_the_table_has_a_slope_for_the_derivative_by_time():
    network = tiny(noise=LINEAR)
    t = torch.tensor([0.1, 0.5, 0.9])
    _, slope = torch.func.jvp(network.timestep, (t,), (torch.ones_like(t),))
    assert torch.allclose(slope, (network.timestep(t + 1e-3) - network.timestep(t - 1e-3)) / 2e-3, rtol=1e-3)


def test_a_schedule_that_keeps_some_signal_ends_before_the_last_time():
    earliest, latest = genie_network.span(tiny(noise={**LINEAR, "beta_schedule": "scaled_linear"}).design)
    assert earliest < 1e-3 and 0.6 < latest < 0.9
    assert genie_network.span(tiny().design) == (1e-3, 1.0)
    assert genie_network.span(tiny(noise=LINEAR).design)[1] == 1.0


def test_timesteps_without_any_signal_are_left_out():
    rescaled = {**LINEAR, "rescale_betas_zero_snr": True}
    assert bool(torch.isfinite(genie_network.times(rescaled)).all()) and len(genie_network.times(rescaled)) == 999


def test_the_prediction_of_the_scheduler_is_taken_unless_another_is_named(tmp_path):
    flat(tmp_path, unet(), prediction_type="v_prediction")
    assert diffusers_folder.read(tmp_path).design.prediction == "v_prediction"
    assert diffusers_folder.read(tmp_path, prediction="epsilon").design.prediction == "epsilon"


def test_a_learned_variance_behind_the_mean_is_left_aside(tmp_path):
    model = unet(out_channels=6)
    network = files.load(flat(tmp_path, model))
    x, t = noise(2, 3, 16, 16), genie_network.times(LINEAR)[torch.tensor([100, 500])].float()
    with torch.no_grad():
        assert torch.allclose(network(x, t), model(x, torch.tensor([100, 500])).sample[:, :3], atol=2e-4)


def test_a_conditional_folder_has_guidance_only_where_its_null_label_is_named(tmp_path):
    flat(tmp_path, unet(num_class_embeds=11))
    plain, guided = diffusers_folder.read(tmp_path).design, diffusers_folder.read(tmp_path, null=10).design
    assert (plain.classes, plain.null) == (11, None)
    assert (guided.classes, guided.null) == (10, 10)
    with pytest.raises(ValueError, match="null label from 0 to 10, got 11"):
        diffusers_folder.read(tmp_path, null=11)


def test_a_folder_without_a_network_is_answered_with_what_it_should_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match="save_pretrained"):
        files.load(tmp_path)
    flat(tmp_path, unet())
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected diffusion_pytorch_model.safetensors or"):
        files.load(tmp_path)


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("config.json", {"_class_name": "UNet2DConditionModel"}, "expected a UNet2DModel .* got UNet2DConditionModel"),
        ("config.json", {"time_embedding_type": "fourier"}, "positional time embedding, got 'fourier'"),
        ("config.json", {"class_embed_type": "timestep"}, "class_embed_type null, got 'timestep'"),
        ("config.json", {"sample_size": [16, 32]}, "square images"),
        ("config.json", {"sample_size": 15}, "multiple of 2, got 15"),
        ("config.json", {"num_class_embeds": 4}, r"missing: class_embedding\.weight"),
        ("scheduler_config.json", {"prediction_type": "sample"}, "epsilon or v_prediction, .* says 'sample'"),
    ],
)
def test_a_checkpoint_that_is_no_score_network_of_this_process_is_refused(tmp_path, file, change, message):
    flat(tmp_path, unet())
    settings = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps({**settings, **change}))
    with pytest.raises(ValueError, match=message):
        files.load(tmp_path)


def older(state):
    """Return the state of a U-Net under the names that diffusers gave its attention before 0.17."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, old in names.items():
        state = {key.replace(f".{new}.", f".{old}."): value for key, value in state.items()}
    return state


def rewritten(folder, form):
    """Rewrite the folder's network into one of the forms that users of diffusers have on their disks."""
    path = folder / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    if form == "old attention":
        save_file(older(state), path)
        assert any(".proj_attn." in key for key in load_file(path))
    elif form == "EMA":
        config = json.loads((folder / "config.json").read_text())
        ema = {"decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 500, "power": 0.75,
               "update_after_step": 0, "use_ema_warmup": True}  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config | ema))
    elif form == "fp16":
        save_file({key: value.half() for key, value in state.items()}, path.with_suffix(".fp16.safetensors"))
        path.unlink()
    elif form == "bin of DataParallel":
        torch.save({f"module.{key}": value for key, value in state.items()}, path.with_suffix(".bin"))
        path.unlink()
    elif form == "pieces":
        keys = sorted(state)
        parts = {f"part-{i}.safetensors": keys[i::2] for i in range(2)}
        for name, own in parts.items():
            save_file({key: state[key] for key in own}, folder / name)
        index = {"metadata": {}, "weight_map": {key: name for name, own in parts.items() for key in own}}
        path.with_suffix(".safetensors.index.json").write_text(json.dumps(index))
        path.unlink()


@pytest.mark.parametrize("form", ["old attention", "EMA", "fp16", "bin of DataParallel", "pieces"])
def test_folders_as_people_have_them_load_as_in_diffusers(tmp_path, form):
    flat(tmp_path, unet())
    rewritten(tmp_path, form)
    said = []
    found = diffusers_folder.read(tmp_path, say=said.append)
    if form == "bin of DataParallel":  # diffusers itself loads no such file
        flat(tmp_path, unet())
    theirs = UNet2DModel.from_pretrained(tmp_path, variant="fp16" if form == "fp16" else None, low_cpu_mem_usage=False)
    theirs = theirs.float().eval()
    x, steps = noise(2, 3, 16, 16), torch.tensor([7, 803])
    with torch.no_grad():
        wanted = theirs(x, steps).sample
        ours = found(x, genie_network.times(found.design.noise)[steps].float())
    torch.testing.assert_close(ours, wanted, atol=2e-4, rtol=1e-4)
    assert len(said) == (form == "EMA") and all("ignored decay, inv_gamma" in line for line in said)


@pytest.mark.parametrize(
    "name",
    ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler", "ScoreSdeVeScheduler", "ScoreSdeVpScheduler",
     "KarrasVeScheduler", "CMStochasticIterativeScheduler", "LCMScheduler", "IPNDMScheduler"],
)  # fmt: skip
def test_a_scheduler_of_another_process_is_refused_by_its_name(tmp_path, name):
    flat(tmp_path, unet())
    (tmp_path / "scheduler_config.json").write_text(json.dumps({"_class_name": name, "num_train_timesteps": 1000}))
    with pytest.raises(ValueError, match=f"variance-preserving process with betas, such as DDPMScheduler, got {name}:"):
        diffusers_folder.read(tmp_path)


def test_betas_that_a_scheduler_does_not_name_are_those_of_its_class(tmp_path):
    flat(tmp_path, unet())
    for name in diffusers_folder.BETAS:
        made = getattr(diffusers, name, None)
        own = inspect.signature(made.__init__).parameters if made else {}
        if "beta_start" in own:  # some need packages that are not here
            assert diffusers_folder.BETAS[name] == (own["beta_start"].default, own["beta_end"].default), name
            assert own["beta_schedule"].default == "linear"
        (tmp_path / "scheduler_config.json").write_text(json.dumps({"_class_name": name}))
        noise = diffusers_folder.read(tmp_path).design.noise
        assert (noise["beta_start"], noise["beta_end"]) == diffusers_folder.BETAS[name]
    flow = {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}
    (tmp_path / "scheduler_config.json").write_text(json.dumps(flow))
    with pytest.raises(ValueError, match="UniPCMultistepScheduler with use_flow_sigmas: its networks are of flow"):
        diffusers_folder.read(tmp_path)


def test_a_folder_without_a_scheduler_says_what_it_is_taken_for(tmp_path):
    flat(tmp_path, unet())
    (tmp_path / "scheduler_config.json").unlink()
    said = []
    diffusers_folder.read(tmp_path, say=said.append)
    assert said == [
        "found no scheduler_config.json: taken for a network that predicts epsilon, trained with the 1,000 linear "
        "betas from 0.0001 to 0.02 of Ho et al. (2020)"
    ]


@pytest.mark.parametrize(("name", "kind"), [("vqvae", "VQModel"), ("vae", "AutoencoderKL")])
def test_a_network_that_draws_latents_is_refused_by_its_decoder(tmp_path, name, kind):
    (tmp_path / "unet").mkdir()
    flat(tmp_path / "unet", unet())
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(json.dumps({"_class_name": kind}))
    for given in (tmp_path, tmp_path / "unet"):
        with pytest.raises(ValueError, match=f"has {name}/, a {kind}, beside it: what its U-Net draws are latents"):
            diffusers_folder.read(given)


def test_of_several_weights_none_is_guessed(tmp_path):
    flat(tmp_path, unet())
    rewritten(tmp_path, "fp16")
    shutil.copy(
        tmp_path / "diffusion_pytorch_model.fp16.safetensors", tmp_path / "diffusion_pytorch_model.non_ema.safetensors"
    )
    with pytest.raises(ValueError, match=r"several weights: .*fp16\.safetensors, .*non_ema\.safetensors; rename"):
        diffusers_folder.read(tmp_path)


def test_a_configuration_that_is_not_json_is_named(tmp_path):
    flat(tmp_path, unet())
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is not JSON"):
        files.load(tmp_path)


# ------------------------------------------------------------------------------------------------ what a network gives


def test_a_network_that_predicts_v_gives_eps_by_the_published_identity():
    raw, network = tiny(prediction="epsilon"), tiny(prediction="v_prediction")
    x, t = noise(4, 3, 16, 16), torch.tensor([1e-3, 0.2, 0.6, 1.0])
    with torch.no_grad():
        v, eps = raw(x, t), network(x, t)
    a, s = (f(t).view(-1, 1, 1, 1) for f in (process.alpha, process.sigma))
    assert torch.allclose(eps, a * v + s * x, atol=1e-6)
    x0 = (x - s * eps) / a
    assert torch.allclose((a * eps - s * x0)[1:3], v[1:3], atol=1e-4)  # v = alpha eps - sigma x_0


def test_squares_of_pixels_become_channels_and_pixels_again():
    network = tiny(prediction="epsilon")
    x, t = noise(2, 3, 16, 16), torch.tensor([0.3, 0.8])
    with torch.no_grad():
        inside = x.view(2, 3, 8, 2, 8, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 12, 8, 8)
        out = network.unet(inside, 2 * process.gamma(t).log()).sample
        wanted = out.view(2, 3, 2, 2, 8, 8).permute(0, 1, 4, 2, 5, 3).reshape(2, 3, 16, 16)
        assert torch.equal(network(x, t), wanted)


def test_a_new_head_gives_no_curvature_at_all_and_leaves_eps_as_it_was():
    network = tiny(classes=4)
    x, t, labels = noise(3, 3, 16, 16), torch.tensor([1e-3, 0.5, 1.0]), torch.tensor([0, 3, 4])
    with torch.no_grad():
        eps, derivative = with_head(network, 8)(x, t, labels), with_head(network, 8).both(x, t, labels)[1]
        assert torch.equal(eps, network(x, t, labels))
        assert derivative.shape == x.shape and bool((derivative == 0).all())


def test_the_head_sees_the_map_before_the_last_norm_and_the_embedding_of_time_and_class():
    network = tiny(classes=4)
    x, t, labels = noise(2, 3, 16, 16), torch.tensor([0.2, 0.7]), torch.tensor([1, 4])
    with torch.no_grad():
        _, features, embedding = network.parts(x, t, labels)
        u = network.unet
        last = u.conv_out(F.silu(u.conv_norm_out(features)))
        raw = dataclasses.replace(network.design, prediction="epsilon")
        wanted = tiny(classes=4, prediction=raw.prediction)(x, t, labels)
        assert torch.allclose(F.pixel_shuffle(last, 2), wanted, atol=1e-6)
        time = u.time_embedding(u.time_proj(2 * process.gamma(t).log()))
        assert torch.allclose(embedding, time + u.class_embedding(labels), atol=1e-6)


def test_nothing_of_a_call_is_kept_in_the_network():
    network = tiny()
    network(noise(1, 3, 16, 16), torch.tensor([0.5]))
    assert not network._seen


def test_the_mixed_form_is_the_published_sum():
    k = [noise(2, 1, 4, 4, seed=i).double() for i in range(3)]
    t = torch.tensor([0.01, 0.9], dtype=torch.float64)
    for i in range(2):
        g = process.gamma(t[i])
        wanted = -k[0][i] / g + k[1][i] * g / (1 + g**2) + k[2][i] / (g * (1 + g**2))
        assert torch.allclose(genie_network.mixed(*k, t)[i], wanted, rtol=1e-12)


def test_the_null_label_is_a_class_of_its_own():
    network = tiny(classes=4)
    assert network.design.null == 4 and network.design.labels == 5
    x, t = noise(1, 3, 16, 16).expand(2, -1, -1, -1), torch.tensor([0.5, 0.5])
    with torch.no_grad():
        one, none = network(x, t, torch.tensor([0, 4]))
    assert not torch.allclose(one, none)


def test_labels_are_asked_for_where_there_are_classes_and_refused_where_there_are_none():
    x, t = noise(2, 3, 16, 16), torch.tensor([0.5, 0.5])
    with pytest.raises(ValueError, match="expected labels for each of 2 images"):
        tiny(classes=4)(x, t)
    with pytest.raises(ValueError, match="this network is unconditional"):
        tiny()(x, t, torch.tensor([0, 1]))


def test_a_network_without_a_head_says_how_to_train_one():
    with pytest.raises(ValueError, match=r"python -m export\.genie\.train_head"):
        tiny().both(noise(1, 3, 16, 16), torch.tensor([0.5]))
    with pytest.raises(ValueError, match=r"python -m export\.genie\.train_head"):
        Served(tiny(), head=True)


# ------------------------------------------------------------------------------------------------ storing


def test_stored_weights_give_the_same_network_to_float16(tmp_path):
    network = bent(tiny(classes=4))
    files.save(network, tmp_path / "w.pt")
    again = files.load(tmp_path / "w.pt")
    assert again.design == network.design and not again.training
    x, t, labels = noise(2, 3, 16, 16), torch.tensor([0.1, 0.9]), torch.tensor([2, 4])
    with torch.no_grad():
        for found, wanted in zip(again.both(x, t, labels), network.both(x, t, labels), strict=True):
            assert torch.allclose(found, wanted, atol=0.02)


def test_weights_of_something_else_are_refused(tmp_path):
    torch.save({"state": {}}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"expected weights of a score network in w\.pt"):
        files.load(tmp_path / "w.pt")
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt not found"):
        files.load(tmp_path / "nothing.pt")


def test_the_shipped_sizes_stay_below_the_limits():
    from export.genie.train_score import WIDTHS

    for model, channels, classes, most in (("digits", 1, 10, 3e6), ("streets", 3, 0, 6e6)):
        with torch.device("meta"):
            network = with_head(ScoreNetwork(light(WIDTHS[model], channels, classes)), 32)
        count = sum(p.numel() for p in network.parameters())
        assert count < most and 2 * count < 12e6


@pytest.mark.parametrize(
    "change, message",
    [
        ({"prediction": "sample"}, "expected prediction epsilon or v_prediction"),
        ({"channels": 1}, "expected a U-Net of 4 input channels, got 12"),
        ({"size": 18}, "multiple of 4, got 18"),
        ({"null": 0}, "null label"),
    ],
)
def test_a_design_that_does_not_fit_together_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        tiny(**change)


# ------------------------------------------------------------------------------------------------ the graphs


@pytest.fixture(scope="module", params=["unconditional", "conditional", "folder"])
def exported(request, tmp_path_factory):
    """Write weights to the disk and return both entries of the export table for them."""
    home = tmp_path_factory.mktemp(request.param)
    if request.param == "folder":
        own = files.load(flat(home, unet(num_class_embeds=3), prediction_type="v_prediction"))
        files.save(bent(own), home / "w.pt")
        labels = 3
    else:
        labels = 5 if request.param == "conditional" else 0
        files.save(bent(tiny(classes=labels - 1 if labels else 0)), home / "w.pt")
    entries = {
        head: row("tiny", channels=3, size=16, labels=labels, head=head, root=home / str(head))
        for head in (True, False)
    }
    for network in entries.values():
        graph.write(network, graph.export(network, home / "w.pt"))
    return home / "w.pt", entries


@pytest.mark.parametrize("head", [True, False])
def test_the_graph_equals_torch_at_batches_that_tracing_did_not_see(exported, head):
    weights, entries = exported
    report = compare(entries[head], weights, entries[head].onnx, lambda line: None)
    assert {row.shapes["SAMPLE"][0] for row in report.rows} == {1, 3, 8, 32}
    assert report.greatest < (2e-3 if head else 1e-4)


def test_names_types_and_shapes_of_the_graphs_are_those_of_the_contract(exported):
    _, entries = exported
    for head, network in entries.items():
        run = session(network.onnx)
        inputs = {i.name: (i.type, i.shape) for i in run.get_inputs()}
        assert inputs.pop("LABEL", ("tensor(int64)", ["batch", 1])) == ("tensor(int64)", ["batch", 1])
        assert inputs == {
            "SAMPLE": ("tensor(float)", ["batch", 3, 16, 16]),
            "TIME": ("tensor(float)", ["batch", 1]),
        }
        outputs = {o.name: (o.type, o.shape) for o in run.get_outputs()}
        names = ["EPSILON", "DERIVATIVE"] if head else ["EPSILON"]
        assert outputs == {name: ("tensor(float)", ["batch", 3, 16, 16]) for name in names}


def test_both_graphs_give_the_same_eps_and_the_one_without_the_head_does_less(exported):
    _, entries = exported
    inputs = states({k: (4, *s[1:]) for k, s in entries[True].example.items()}, 3, 7)
    one, other = (session(entries[head].onnx).run(["EPSILON"], inputs)[0] for head in (True, False))
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert graph.facts(entries[False].onnx)["parameters"] < graph.facts(entries[True].onnx)["parameters"]


def test_neighbours_in_a_batch_do_not_change_an_image(exported):
    _, entries = exported
    run = session(entries[True].onnx)
    inputs = states({k: (6, *s[1:]) for k, s in entries[True].example.items()}, 3, 9)
    together = run.run(["EPSILON", "DERIVATIVE"], inputs)
    alone = run.run(["EPSILON", "DERIVATIVE"], {k: v[4:5] for k, v in inputs.items()})
    for a, b in zip(together, alone, strict=True):
        scale = max(1.0, float(np.abs(b).max()))
        assert float(np.abs(a[4:5] - b).max()) < 1e-4 * scale


def test_states_for_checking_are_those_of_a_solver():
    made = states({"SAMPLE": (500, 1, 4, 4), "TIME": (500, 1), "LABEL": (500, 1)}, 11, 0)
    assert abs(float(made["SAMPLE"].std()) - 1) < 0.05
    assert 1e-3 <= made["TIME"].min() < 0.02 and 0.98 < made["TIME"].max() <= 1
    assert set(made["LABEL"].ravel()) == set(range(11)) and made["LABEL"].dtype == np.int64


def test_groups_of_a_norm_divide_its_width():
    for width in (4, 8, 12, 20, 30, 32, 100, 128):
        assert width % genie_network.groups(width) == 0 and genie_network.groups(width) <= max(1, min(32, width // 4))
    assert math.isclose(genie_network.groups(128), 32)


def test_a_design_is_stored_as_plain_values():
    json.dumps(dataclasses.asdict(light((8, 16), 1, 10)))
    assert Design() == Design()
