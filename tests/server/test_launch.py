"""The launcher without a server: what it finds, what it refuses, how it reads Triton's log and cleans shared memory."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.server import cli, keeper, layout, passing, ports, processes, triton_log
from sluice.server import cli as serve
from sluice.server import launch as server
from sluice.server.layout import StartError
from tests.made import tiny_repository


def models_of(*repositories: Path, config_name: str | None = None, auto_complete: bool = False):
    return layout.find_models(repositories, config_name, auto_complete)


# Repositories.


def test_an_ensemble_brings_its_members(tmp_path):
    first = tiny_repository.make(tmp_path / "a")
    second = tiny_repository.make(tmp_path / "b", "verb", tiny_repository.ENSEMBLE)
    assert layout.choose(models_of(first, second), ["verb"]) == ["verb", "adder"]
    assert set(layout.choose(models_of(first, second), None)) == {"verb", "adder"}


def test_an_ensemble_whose_member_is_nowhere_is_refused(tmp_path):
    with pytest.raises(StartError, match=r"no model adder \(a member of verb\); there are: verb"):
        layout.choose(models_of(tiny_repository.make(tmp_path, "verb", tiny_repository.ENSEMBLE)), None)


def test_a_name_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(StartError, match="adder stands twice"):
        models_of(tiny_repository.make(tmp_path / "a"), tiny_repository.make(tmp_path / "b"))


def test_a_folder_without_config_is_refused_unless_the_server_completes_it(tmp_path):
    repository = tiny_repository.make(tmp_path, config="")
    with pytest.raises(StartError, match=r"model_repository/adder has no config\.pbtxt; .*--auto-complete-config"):
        models_of(repository)
    assert set(models_of(repository, auto_complete=True)) == {"adder"}


def test_a_config_with_a_typing_error_is_refused_with_line_and_word(tmp_path):
    with pytest.raises(StartError, match=r"adder/config\.pbtxt cannot be read: .*instance_grop"):
        models_of(tiny_repository.make(tmp_path, config=tiny_repository.CONFIG + "instance_grop [{}]\n"))


def test_a_profile_takes_its_own_config_where_a_model_has_one(tmp_path):
    repository = tiny_repository.make(tmp_path)
    configs = repository / "adder/configs"
    configs.mkdir()
    (configs / "tensorrt.pbtxt").write_text('backend: "tensorrt"\n')
    assert models_of(repository)["adder"].backend == "python"
    models = models_of(repository, config_name="tensorrt")
    with pytest.raises(StartError, match=r"adder/1/model\.plan is missing; run: sluice export adder --format plan"):
        layout.choose(models, None)


NET = 'backend: "onnxruntime" max_batch_size: 1 '


def _network(root: Path, more: str, *files: str) -> dict[str, layout.Model]:
    """Write the models of a repository of one network, given the rest of its config and the files in its folder."""
    folder = root / "model_repository" / "net"
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    (folder / "config.pbtxt").write_text(NET + more)
    return models_of(root / "model_repository")


@pytest.mark.parametrize(
    ("more", "files"),
    [
        ('default_model_filename: "net.onnx"', ["1/net.onnx"]),
        ("", ["1/notes", "2/model.onnx"]),  # Triton loads the newest
        ("", ["9/notes", "10/model.onnx"]),  # by number, not by name
        ("version_policy { all {} }", ["1/model.onnx", "2/model.onnx"]),
        ("version_policy { specific { versions: [ 1 ] } }", ["1/model.onnx", "2/notes"]),
        ("version_policy { latest { num_versions: 2 } }", ["1/notes", "2/model.onnx", "3/model.onnx"]),
        ("", ["1/model.onnx/model.onnx", "1/model.onnx/weights"]),
        ('platform: "onnxruntime_onnx" default_model_filename: "a.onnx"', ["1/a.onnx/model.onnx"]),
    ],
)
def test_a_network_is_looked_for_where_triton_will_look(tmp_path, more, files):
    assert layout.choose(_network(tmp_path, more, *files), None) == ["net"]


@pytest.mark.parametrize(
    ("more", "files", "missing"),
    [
        ('default_model_filename: "net.onnx"', ["1/model.onnx"], "1/net.onnx"),
        ("", ["1/model.onnx", "2/notes"], "2/model.onnx"),
        ("version_policy { all {} }", ["1/notes", "2/model.onnx"], "1/model.onnx"),
        ("version_policy { specific { versions: [ 3 ] } }", ["1/model.onnx"], "3/model.onnx"),
        ("", ["1/model.onnx/weights"], "1/model.onnx"),
    ],
)
def test_a_network_that_triton_would_not_find_is_named(tmp_path, more, files, missing):
    with pytest.raises(StartError, match=rf"net/{missing} is missing; run: sluice export; or put a network"):
        layout.choose(_network(tmp_path, more, *files), None)


def test_an_unknown_model_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(StartError, match="no model adde; there are: adder"):
        layout.choose(models_of(tiny_repository.make(tmp_path)), ["adde"])


def test_an_empty_repository_and_a_missing_one_are_refused(tmp_path):
    with pytest.raises(StartError, match="no models in"):
        models_of(tmp_path)
    with pytest.raises(StartError, match=r"there is no folder .*nowhere"):
        models_of(tmp_path / "nowhere")


def test_the_repositories_are_found_beside_the_package_or_where_root_says(tmp_path):
    assert (layout.find_root()[0] / "sluice/server/launch.py").exists()
    assert layout.find_root(tiny_repository.make(tmp_path / "root").parent) == (tmp_path / "root", [])
    with pytest.raises(StartError, match=r"no model_repository and no ensembles in .* --root"):
        layout.find_root(tmp_path)


# What is installed.


def test_without_the_wheel_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StartError, match=r"pip install 'sluice-perception\[serve\]'"):
        layout.wheel_engine()


def test_a_python_that_triton_has_no_part_for_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "version_info", type("V", (), {"major": 3, "minor": 99})())
    with pytest.raises(StartError, match=r"no part for Python 3\.99, only for .*3\.11.*; use Python 3\.11"):
        layout.wheel_engine()


def test_a_missing_libpython_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setattr(layout, "find_library", lambda name: None)
    monkeypatch.setattr(layout.sysconfig, "get_config_var", lambda name: str(tmp_path))
    with pytest.raises(StartError, match="apt-get install libpython3"):
        layout.wheel_engine()


@pytest.mark.skipif(layout.IMAGE_TRITON.exists(), reason="inside NVIDIA's image the profile gpu is there")
def test_the_profile_gpu_needs_the_image():
    with pytest.raises(StartError, match="docker build"):
        layout.find_engine("gpu")


def test_the_backend_folder_holds_tritons_parts_and_ours(tmp_path):
    engine = layout.wheel_engine()
    ours = tmp_path / "ours/onnxruntime"
    ours.mkdir(parents=True)
    (ours / "model.py").touch()
    made = layout.make_backends(engine, ours.parent, tmp_path / "made")
    assert {path.name for path in (made / "python").iterdir()} == {
        "libtriton_python.so",
        "triton_python_backend_utils.py",
        "triton_python_backend_stub",
    }
    assert (made / "onnxruntime/model.py").exists()


def test_the_environment_puts_this_python_first_and_one_thread_a_process(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    chosen = layout.environment(layout.wheel_engine(), tmp_path)
    assert chosen["PATH"].startswith(str(Path(sys.executable).parent) + os.pathsep)
    assert "nvidia_pytriton.libs" in chosen["LD_LIBRARY_PATH"]
    assert "PYTHONPATH" not in chosen
    assert (chosen["PYTHONDONTWRITEBYTECODE"], chosen["OMP_NUM_THREADS"]) == ("1", "1")
    assert chosen["SLUICE_GALLERY"] == str(tmp_path)


def test_processes_keep_the_memory_of_an_image_unless_the_user_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")
    chosen = layout.environment(layout.wheel_engine(), tmp_path)
    assert int(chosen["MALLOC_TRIM_THRESHOLD_"]) >= 16 << 20
    assert chosen["MALLOC_MMAP_THRESHOLD_"] == "131072"


# Arguments of `start`.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"profile": "tpu"}, "no profile tpu; choose one of auto, cpu, cpu-fast, gpu"),
        ({"host": "0.0.0.0"}, "must not listen on 0.0.0.0; serve from the Dockerfile's image, or say --expose"),
        ({"host": "192.0.2.1", "expose": True}, r"cannot listen on 192\.0\.2\.1 .* --host"),
        ({"admin_key": "two words"}, "the admin key may hold"),
        ({"ports": {"grpc": 99999}}, "grpc port 99999 is no port number"),
        ({"ports": {"grpc": 18001, "http": 18001}, "http": True}, "need ports that differ"),
        ({"ports": {"http": 18001}}, "with --http"),
        ({"ports": {"rest": 1}}, "a mapping of grpc, http, metrics"),
        ({"gallery": "/proc/gallery"}, "cannot write to the folder /proc/gallery .* --gallery"),
        ({"models": ["none"]}, "no model none"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_starts(given, message, tmp_path):
    with pytest.raises(StartError, match=message):
        server.start(**{"repositories": [tiny_repository.make(tmp_path)], "ports": "free", **given})


def test_the_command_refuses_with_exit_code_2_and_one_line(capsys, tmp_path):
    assert cli.command(["--root", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1 and err.startswith("sluice serve: there is no model_repository")


def test_settings_are_passed_on_in_their_order():
    given = serve.arguments().parse_args(
        [
            "--backend-config",
            "onnxruntime,default-max-batch-size=8",
            "--backend-config",
            "default-max-batch-size=5",
            "--rate-limit",
            "execution_count",
            "--rate-limit-resource",
            "gpu:2:0",
            "--rate-limit-resource",
            "bus:1",
            "--trace-config",
            "opentelemetry,url=127.0.0.1:4318/v1/traces",
            "--trace-config",
            "level=TIMESTAMPS",
        ]
    )
    made = passing.flags({name: getattr(given, name.replace("-", "_")) for name in passing.PASSED})
    assert made == [
        "--backend-config=onnxruntime,default-max-batch-size=8",
        "--backend-config=default-max-batch-size=5",
        "--rate-limit=execution_count",
        "--rate-limit-resource=gpu:2:0",
        "--rate-limit-resource=bus:1",
        "--trace-config=opentelemetry,url=127.0.0.1:4318/v1/traces",
        "--trace-config=level=TIMESTAMPS",
    ]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("backend-config", "onnxruntime", r"takes \[BACKEND,\]KEY=VALUE, got 'onnxruntime'"),
        ("backend-config", "a,b=c\n--x", "takes"),
        ("backend-config", "python,shm-region-prefix-name=x", "shm-region-prefix-name is set by the server itself"),
        ("rate-limit", "on", r"takes off\|execution_count, got 'on'"),
        ("rate-limit-resource", "gpu", "takes NAME:COUNT"),
        ("trace-config", "rate", "takes"),
        ("model-control-mode", "poll", "is not passed on to Triton; what is: --backend-config, --rate-limit"),
    ],
)
def test_a_setting_that_triton_would_not_read_is_refused(option, value, message):
    with pytest.raises(StartError, match=message):
        passing.flags({option: [value]})


def test_every_flag_has_help():
    assert all(action.help for action in serve.arguments()._actions)


# Ports.


def test_free_ports_differ_and_can_be_listened_on():
    chosen = ports.free("127.0.0.1", 3)
    assert len(set(chosen)) == 3
    assert [ports.trouble("127.0.0.1", port) for port in chosen] == [None] * 3


def test_the_holder_of_a_port_is_found():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert ports.listens(os.getpid(), port)
        assert not ports.listens(1, port)
        assert f"process {os.getpid()} " in ports.trouble("127.0.0.1", port)


# Triton's log.


# Lines as 2.51 writes them.
E = "E1121 01:26:04.416143 9281 model_lifecycle.cc:642] "


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            E + "\"failed to load 'net' version 1: Invalid argument: output Y has dims [4], the graph has [5]\"\n",
            "net: output Y has dims [4], the graph has [5]",
        ),
        (
            E
            + "\"failed to load 'net' version 1: Internal: ValueError: no weights"
            + '\\n\\nAt:\\n  /x/model.py(3): run\\n"\n',
            "net: ValueError: no weights",
        ),
        (
            E + "\"failed to load 'a' version 1: Internal: one\"\n" + E + "\"failed to load 'b' version 1: two\"\n",
            "a: one; b: two",
        ),
        (
            "".join(f"{E}\"failed to load '{name}' version 1: cannot load '{name}': no GPU\"\n" for name in "ab")
            + E
            + "\"failed to load 'c' version 1: cannot load 'c': no file\"\n",
            "a, b: cannot load: no GPU; c: cannot load 'c': no file",
        ),
        (
            E
            + "\"Poll failed for model directory 'm': model must specify 'max_batch_size'\"\n"
            + "error: creating server: x\n",
            "m: model must specify 'max_batch_size'",
        ),
        (
            "terminate called after throwing an instance of 'boost::interprocess::lock_exception'\n  what():  x\n",
            "a lock inside Triton waited in vain, the machine is too busy; start it again",
        ),
        (
            "error: creating server: Internal - failed to load all models\n",
            "creating server: Internal - failed to load all models",
        ),
        ('I1121 01:26:04.416143 9281 server.cc:631] "fine"\n', ""),
    ],
)
def test_the_reason_of_a_failed_start_is_one_line(log, reason):
    assert triton_log.reason(log) == reason


# Shared memory.


@pytest.fixture
def region():
    """Yield a function that makes shared-memory regions by name, and remove what is left of them."""
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(keeper.SHARED_MEMORY / name)
        made[-1].touch()
        return made[-1]

    yield make
    keeper.remove(made)


def test_regions_of_dead_owners_are_stale_and_of_living_ones_and_other_namespaces_are_not(region):
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead = region(f"sluice_{ended.pid}_77_{keeper.pid_namespace()}_x")
    successor = region(f"sluice_{os.getpid()}_77_{keeper.pid_namespace()}_x")  # our number, another start
    living = region(keeper.own_prefix() + "x")
    container = region(f"sluice_{ended.pid}_77_1_x")
    foreign = region(f"sluice_notes_{ended.pid}")
    stale = set(keeper.stale_regions())
    assert {dead, successor} <= stale
    assert not {living, container, foreign} & stale


def test_a_prefix_finds_its_own_regions_only(region):
    own = region("sluice_0_1_1_x")
    region("sluice_0_1_11_x")
    assert keeper.regions("sluice_0_1_1_") == [own]


# Folders.


def test_folders_of_dead_runs_are_stale_but_for_the_newest_logs_that_were_left_to_be_read(tmp_path):
    dead, here = f"sluice_{os.getpid()}_77_{keeper.pid_namespace()}_", keeper.own_prefix()

    def run(name: str, files: dict[str, str], age: int = 0) -> Path:
        folder = tmp_path / name
        (folder / "backends").mkdir(parents=True) if "backends" in files else folder.mkdir()
        for file, text in files.items():
            if file != "backends":
                (folder / file).write_text(text)
        os.utime(folder, (1e9 - age, 1e9 - age))
        return folder

    killed = run(dead + "killed", {"backends": "", "triton.log": "", keeper.KEEPER: dead})
    before_the_keeper = run(dead + "early", {"backends": ""})
    ending = run(dead + "ending", {"backends": "", "triton.log": "", keeper.KEEPER: here})
    living = run(here + "x", {"backends": "", "triton.log": "", keeper.KEEPER: here})
    foreign = [run("sluice_demo_x", {"triton.log": ""}), run(f"sluice_{os.getpid()}_77_1_x", {"backends": ""})]
    logs = [run(f"{dead}log{age}", {"triton.log": ""}, age) for age in range(keeper.KEPT_LOGS + 2)]
    stale = keeper.stale_folders(tmp_path)
    assert set(stale) == {killed, before_the_keeper, *logs[keeper.KEPT_LOGS :]}
    assert not {ending, living, *foreign} & set(stale)


def test_an_environment_folder_without_a_living_maker_is_removed_and_one_in_use_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "ENVIRONMENTS", tmp_path / "tmp")
    monkeypatch.setattr(keeper, "SHARED_MEMORY", tmp_path / "shm")
    old, full, other = (tmp_path / "tmp" / name for name in ("python_env_a", "python_env_b", "something"))
    for folder in (old, full, other):
        folder.mkdir(parents=True)
    (full / "unpacked").touch()
    for folder in (old, full, other):
        os.utime(folder, (1e9, 1e9))
    keeper.tidy(tmp_path / "runs")
    assert not old.exists() and full.exists() and other.exists()


# The watchdog's reading of names.


def test_an_instance_belongs_to_the_longest_model_name_that_fits():
    names = {"frame": "", "frame_gallery": ""}
    assert processes.model_of("frame_gallery_0_1", names) == "frame_gallery"
    assert processes.model_of("frame_0_0", names) == "frame"
    assert processes.model_of("other_0_0", names) is None


def test_a_misspelt_flag_gets_a_hint(capsys):
    with pytest.raises(SystemExit) as stop:
        serve.main(["--galery", "frames"])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and said.startswith("usage: sluice serve ") and "did you mean --gallery?" in said
