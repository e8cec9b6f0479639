"""Starts the real Triton Inference Server over both repositories and waits until every model answers truly.

    with sluice.server.start(gallery="gallery") as server:
        ...  # server.grpc == "127.0.0.1:41237"

`sluice serve` is the same on the command line. The server listens on loopback unless told otherwise, loads an explicit
list of models, and keeps its administration calls (load, unload, shared memory, trace, log) behind a key. Whatever ends
it, and whoever dies first, no process and no region of shared memory is left behind: see `sluice.server.keeper`.
"""

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from sluice import versions
from sluice.gallery import ownership
from sluice.gallery.catalogue import FILE, writable
from sluice.process import blas
from sluice.server import keeper, layout, probe, questions, triton_log
from sluice.server import ports as tcp
from sluice.server import root as roots
from sluice.server.layout import StartError
from sluice.server.running import EXIT_TIMEOUT, Server, spawn
from sluice.server.settings import Plan, Settings

__all__ = ["Server", "Settings", "StartError", "start"]

ADMIN = "model-repository,shared-memory,trace,logging"  # the calls that change a server, on both protocols
REST = "metadata,inference,model-config,statistics"  # what else HTTP offers, but for health
OUTCOMES = "sluice_requests_total"  # the counter of `sluice.triton`
PRECISION = "sluice_network_precision"  # 1 for each network with its precision and the reason as labels
ASKERS = 4  # models that are asked at a time, when all are loaded
TRIES = 4  # a free port may be taken by somebody else in between, a starved start may abort


def start(settings: Settings | None = None, /, **given: Any) -> Server:
    """Start a server and return it once every model answers.

    settings: how to start. None: `Settings(**given)`, so that `start(gallery="frames")` says it all.
    Raises StartError with one line, and TypeError for a setting that there is not.
    """
    settings = Settings(**given) if settings is None else replace(settings, **given)
    plan = Plan.of(settings)
    for line in plan.notes:
        print(f"sluice: {line}", file=sys.stderr, flush=True)
    multiplier = blas.choose(os.environ)
    for attempt in range(TRIES):
        begun = time.monotonic()
        server = _spawned(settings, plan, multiplier)
        try:
            _wait(server, plan.names, settings.probes, begun, settings.timeout, settings.quiet)
            if not settings.quiet:
                print(f"sluice: NumPy multiplies with {multiplier}", file=sys.stderr, flush=True)
                print(f"sluice: weights: {plan.served.weights or 'no network'}", file=sys.stderr, flush=True)
                print(f"sluice: precision: {plan.served}", file=sys.stderr, flush=True)
            return server
        except NoAnswer as error:
            server.kill(keep_log=True)
            raise StartError(f"{error}; its log: {server.log}") from None
        except StartError as error:
            said = server.read_log()
            again = (settings.ports == "free" and triton_log.in_use(said)) or triton_log.starved(said)
            server.kill()
            if not again or attempt + 1 == TRIES:
                raise error from None
        except BaseException:
            server.kill()
            raise
    raise AssertionError("the last try returned or raised")


def _spawned(settings: Settings, plan: Plan, multiplier: blas.Choice) -> Server:
    """Start the process of a server. Returns the server, of which nothing answers yet."""
    ports = tcp.choose(settings.ports, plan.hosts)
    key = settings.admin_key or secrets.token_hex(16)
    with _removed_on_failure(Path(tempfile.mkdtemp(prefix=keeper.own_prefix()))) as folder:
        frames = _gallery(Path(settings.gallery) if settings.gallery else folder / "gallery", settings.quiet)
        log = folder / "triton.log"
        if settings.log:
            log = _writable(Path(settings.log).parent, "--log") / Path(settings.log).name
        backends = layout.make_backends(plan.engine, roots.backends(plan.root), folder / "backends")
        flags = [*_flags(settings, plan, backends, ports, key), *plan.more]
        environment = layout.environment(plan.engine, frames)
        environment |= {**multiplier.environment, **plan.served.environment}
        environment[versions.METRIC] = PRECISION if plan.engine.backends else ""  # NVIDIA's backends tell none
        log_begins = log.stat().st_size if log.exists() else 0
        command = [str(plan.engine.binary), *flags]
        process, pid, prefix = spawn(command, environment, folder, log, keep_log=bool(settings.log))
    at = {
        name: f"{'127.0.0.1' if plan.hosts[name] == '0.0.0.0' else plan.hosts[name]}:{port}"
        for name, port in ports.items()
    }
    return Server(
        grpc=at["grpc"],
        http=at.get("http"),
        metrics=at["metrics"],
        admin_key=key,
        pid=pid,
        prefix=prefix,
        log=str(log),
        gallery=str(frames),
        folder=folder,
        process=process,
        log_begins=log_begins,
        tls=plan.tls,
        blas=multiplier,
        precision=plan.served,
        members={name: plan.found[name].members for name in plan.names},
        calls={name: plan.found[name].calls for name in plan.names},
        pulsing=frozenset(name for name in plan.names if plan.found[name].glued),
    )


@contextlib.contextmanager
def _removed_on_failure(folder: Path) -> Iterator[Path]:
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class NoAnswer(StartError):
    """A model was loaded but does not answer. Only the log can tell why."""


def _gallery(folder: Path, quiet: bool) -> Path:
    """Return the gallery's folder, made if missing.

    A gallery that cannot be written is served for searches. With a gallery that is refused, the verbs that need none
    are served, and the others say what is wrong. Unless `quiet`, both are told on stderr.
    """
    there = (folder / FILE).exists() or (folder / "shards").is_dir()
    if there and not writable(folder):
        if not quiet:
            print(
                f"sluice: the gallery {folder} cannot be written: searches are answered, additions refused",
                file=sys.stderr,
                flush=True,
            )
        folder = folder.resolve()
    else:
        folder = _writable(folder, "--gallery")
    trouble = ownership.trouble(folder) if there else None
    if trouble and not quiet:
        print(f"sluice: the gallery is refused, all that needs none is served: {trouble}", file=sys.stderr, flush=True)
    return folder


def _writable(folder: Path, flag: str) -> Path:
    """Return `folder`, made if missing. Raises StartError if nothing can be written there. flag: the option that names
    it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StartError(
            f"cannot write to the folder {folder} ({error.strerror}); "
            f"give another with {flag}, or change its permissions"
        ) from None
    return folder.resolve()


def _flags(settings: Settings, plan: Plan, backends: Path, ports: Mapping[str, int], key: str) -> list[str]:
    """Return the command line of tritonserver, without the program. ports: per listener. key: of administration."""
    hosts = plan.hosts
    flags = [f"--model-repository={folder}" for folder in plan.folders]
    flags += [f"--load-model={name}" for name in plan.names]
    flags += [f"--{name}-address={hosts[name]}" for name in hosts] + [f"--{name}-port={ports[name]}" for name in hosts]
    flags += [
        f"--backend-directory={backends}",
        f"--cache-directory={plan.engine.caches}",
        "--model-control-mode=explicit",
        "--exit-on-error=true",
        "--strict-readiness=true",
        f"--exit-timeout-secs={EXIT_TIMEOUT}",
        f"--grpc-restricted-protocol={ADMIN}:admin-key={key}",
        "--metrics-config=summary_latencies=true",
        "--cache-config=local,size=67108864",  # for models whose config asks for it
        "--backend-config=python,shm-region-prefix-name={prefix}",  # the keeper puts its own in
        "--backend-config=python,shm-default-byte-size=8388608",
    ]
    if plan.engine.backends is None:  # our stand-in counts its outcomes with those of the Python models
        flags.append(f"--backend-config=onnxruntime,outcomes-metric={OUTCOMES}")
        flags.append(f"--backend-config=onnxruntime,precision-metric={PRECISION}")
        flags += [f"--backend-config=onnxruntime,{key}-reason={why}" for key, why in plan.served.reasons.items()]
        if plan.served.kept:
            flags.append(f"--backend-config=onnxruntime,not-accelerated={':'.join(plan.served.kept)}")
    if "http" in hosts:
        flags.append(f"--http-restricted-api={ADMIN if plan.tls is None else f'{ADMIN},{REST}'}:admin-key={key}")
    else:
        flags.append("--allow-http=false")
    if not settings.auto_complete:
        flags.append("--disable-auto-complete-config")
    if settings.profile != "gpu":  # nothing to look for, and three alarming lines less in the log
        flags += ["--pinned-memory-pool-byte-size=0", "--allow-gpu-metrics=false"]
    if plan.config:
        flags.append(f"--model-config-name={plan.config}")
    if plan.tls is not None:
        flags += plan.tls.flags()
    if settings.log_verbose:
        flags.append("--log-verbose=1")
    return flags


def _wait(
    server: Server,
    names: Sequence[str],
    probes: Mapping[str, questions.Probe] | None,
    begun: float,
    timeout: float,
    quiet: bool,
) -> None:
    """Wait until the server is ready and each of `names` has answered. Fills in server.models and server.seconds."""
    deadline = begun + timeout
    listeners = [int(at.rpartition(":")[2]) for at in (server.grpc, server.http, server.metrics) if at]
    with server.client() as client:
        # Only our own process's listeners count: on a port that was taken somebody else would answer. They are looked
        # for first, also because a gRPC channel that was refused once waits a second before it tries again.
        while not (all(tcp.listens(server.pid, port) for port in listeners) and _ready(client)):
            if not server.running():
                raise StartError(
                    triton_log.reason(server.read_log())
                    or f"tritonserver ended with exit code {server.wait()} and did not say why"
                )
            if time.monotonic() > deadline:
                raise StartError(
                    f"the models were not ready within {timeout:g} s; give more with --timeout, "
                    "or load fewer with --models"
                )
            time.sleep(0.02)
    server.seconds["ready"] = round(time.monotonic() - begun, 3)

    def asked(name: str) -> str:
        with server.client() as own:  # a client has one stream at a time
            return probe.check(own, name, max(deadline - time.monotonic(), 1.0), probes)

    pool = ThreadPoolExecutor(ASKERS)
    try:
        for name, state in zip(names, pool.map(asked, names), strict=True):
            server.models[name] = state
            if not quiet:
                print(f"sluice: {name}: {state}", file=sys.stderr, flush=True)
    except probe.ProbeError as error:
        raise NoAnswer(str(error)) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # who fails or is interrupted kills the server: nobody waits
    server.seconds["answer"] = round(time.monotonic() - begun, 3)


def _ready(client: grpcclient.InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_ready(client_timeout=1.0))
    except InferenceServerException:
        return False
