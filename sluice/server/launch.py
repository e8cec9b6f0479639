"""Starts the real Triton Inference Server over both repositories and waits until it truly answers.

    with sluice.server.start(gallery="gallery") as server:
        ...  # server.grpc == "127.0.0.1:41237"

`sluice serve` is the same on the command line. The server listens on loopback unless told otherwise, loads an explicit
list of models, and keeps its administration calls (load, unload, shared memory, trace, log) behind a key. Whatever ends
it, and whoever dies first, no process and no region of shared memory is left behind: see `sluice.server.keeper`.
"""

import contextlib
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from sluice.gallery import belonging
from sluice.gallery.catalogue import FILE, writable
from sluice.process import blas
from sluice.server import keeper, layout, passing, probe, triton_log
from sluice.server import ports as tcp
from sluice.server import root as roots
from sluice.server.layout import StartError
from sluice.server.running import EXIT_TIMEOUT, Server, spawn
from sluice.server.tls import Files, Tls, tried

__all__ = ["Server", "StartError", "start"]

ADMIN = "model-repository,shared-memory,trace,logging"  # the calls that change a server, on both protocols
REST = "metadata,inference,model-config,statistics"  # what else HTTP offers, but for health
PORTS = {"grpc": 8001, "http": 8000, "metrics": 8002}  # Triton's own
OUTCOMES = "sluice_requests_total"  # the counter of `sluice.triton`
ASKERS = 4  # models that are asked at a time, when all are loaded
TRIES = 4  # a free port may be taken by somebody else in between, a starved start may abort


def start(
    gallery: str | os.PathLike | None = None,
    models: Sequence[str] | None = None,
    profile: str = "cpu",
    ports: str | Mapping[str, int] = "free",
    host: str = "127.0.0.1",
    root: str | os.PathLike | None = None,
    repositories: Sequence[str | os.PathLike] | None = None,
    extra_repositories: Sequence[str | os.PathLike] = (),
    admin_key: str | None = None,
    auto_complete: bool = False,
    log: str | os.PathLike | None = None,
    log_verbose: bool = False,
    probes: Mapping[str, probe.Probe] | None = None,
    expose: bool = False,
    timeout: float = 300.0,
    quiet: bool = True,
    tls: Files | None = None,
    metrics_host: str | None = None,
    passed: Mapping[str, Sequence[str]] | None = None,
    http: bool | None = None,
) -> Server:
    """Start a server and return once every model answers; raises `StartError` with one line otherwise.

    gallery:      folder of the frame gallery, made if missing; None: one in the run's temporary folder, gone with it.
    models:       load list, to which comes what they need; None loads all that the repositories hold.
    profile:      "cpu", "cpu-fast" (OpenVINO, bf16) or "gpu" (TensorRT, in NVIDIA's image).
    ports:        "free" lets the machine choose; {"grpc": n, "http": n, "metrics": n} sets them, missing ones are
                  Triton's own 8001, 8000, 8002.
    host:         IPv4 address to listen on. Beyond this machine only Triton 25.07 or newer may, or with `expose`.
    root:         folder with model_repository/, ensembles/ and, unless the package's do, backends/; None: the clone,
                  or what `sluice export` made of an installed package, see `sluice.server.root`.
    repositories: instead of the two of `root`; extra_repositories: besides them.
    admin_key:    key of the administration calls; random unless given.
    auto_complete: let the server fill in what configs leave out (slower; for repositories made elsewhere).
    log:          file for Triton's log; None: in the run's temporary folder, gone with it.
    log_verbose:  let Triton log every request.
    probes:       questions by model, instead of `sluice.server.probe.PROBES`.
    expose:       let an older Triton listen beyond this machine all the same.
    timeout:      seconds until every model must have answered.
    quiet:        False tells on stderr what is waited for.
    tls:          files of the gRPC listener, see `sluice.server.tls`; None: plaintext. Triton has no TLS for
                  HTTP and metrics: then both listen on this machine only, and HTTP answers nothing but health without
                  the admin key.
    metrics_host: IPv4 address for the metrics; None: as `host`, with `tls` 127.0.0.1.
    passed:       settings of Triton to pass on, {"rate-limit": ["execution_count"]}; see `sluice.server.passing`.
    http:         whether to offer HTTP as well; None: where no caller can end the server through it, which is from
                  Triton 25.07 on. An older one offers it on this machine only, whatever `host` is.
    """
    if profile not in layout.PROFILES:
        raise StartError(f"there is no profile {profile}; choose one of {', '.join(layout.PROFILES)}")
    engine = layout.find_engine(profile)
    plain = host if tls is None else "127.0.0.1"
    hosts = {"grpc": host, "http": plain if engine.exposable else "127.0.0.1", "metrics": metrics_host or plain}
    if not (engine.exposable if http is None else http):
        del hosts["http"]
    for each in hosts.values():
        if not (engine.exposable or expose or each == "localhost" or each.startswith("127.")):
            raise StartError(
                "this Triton is older than 25.07, has known remote-code flaws and must not listen on "
                f"{each}; serve from the Dockerfile's image, or say --expose where nobody hostile can "
                "reach it"
            )
    if admin_key is not None and not re.fullmatch(r"[\w.-]+", admin_key):
        raise StartError("the admin key may hold letters, digits, and . _ - only; choose another with --admin-key")
    place, notes = layout.find_root(root)
    folders = [place / "model_repository", place / "ensembles"] if repositories is None else list(repositories)
    folders = [Path(each).resolve() for each in [*folders, *extra_repositories]]
    found = layout.find_models(folders, layout.PROFILES[profile], auto_complete)
    names = layout.choose(found, models, roots.command(place))
    for line in [*notes, *layout.lacking(found, names)]:
        print(f"sluice: {line}", file=sys.stderr, flush=True)
    more = passing.flags(passed or {})
    secured = None if tls is None else tried(tls)
    key = admin_key or secrets.token_hex(16)
    multiplier = blas.choose(os.environ)
    for attempt in range(TRIES):
        chosen = _choose_ports(ports, hosts)
        with _removed_on_failure(Path(tempfile.mkdtemp(prefix=keeper.own_prefix()))) as folder:
            frames = _gallery(Path(gallery) if gallery else folder / "gallery", quiet)
            log_file = _writable(Path(log).parent, "--log") / Path(log).name if log else folder / "triton.log"
            backends = layout.make_backends(engine, roots.backends(place), folder / "backends")
            flags = (
                _flags(
                    folders,
                    backends,
                    engine,
                    names,
                    layout.PROFILES[profile],
                    hosts,
                    chosen,
                    key,
                    auto_complete,
                    log_verbose,
                    secured,
                )
                + more
            )
            environment = {**layout.environment(engine, frames), **multiplier.environment}
            begun, log_begins = time.monotonic(), log_file.stat().st_size if log_file.exists() else 0
            process, pid, prefix = spawn(
                [str(engine.binary), *flags], environment, folder, log_file, keep_log=bool(log)
            )
        at = {
            name: f"{'127.0.0.1' if hosts[name] == '0.0.0.0' else hosts[name]}:{port}" for name, port in chosen.items()
        }
        server = Server(
            grpc=at["grpc"],
            http=at.get("http"),
            metrics=at["metrics"],
            admin_key=key,
            pid=pid,
            prefix=prefix,
            log=str(log_file),
            gallery=str(frames),
            folder=folder,
            process=process,
            log_begins=log_begins,
            tls=secured,
            blas=multiplier,
            members={name: found[name].members for name in names},
            calls={name: found[name].calls for name in names},
            pulsing=frozenset(name for name in names if found[name].glued),
        )
        try:
            _wait(server, names, probes, begun, timeout, quiet)
            if not quiet:
                print(f"sluice: NumPy multiplies with {multiplier}", file=sys.stderr, flush=True)
            return server
        except NoAnswer as error:
            server.kill(keep_log=True)
            raise StartError(f"{error}; its log: {server.log}") from None
        except StartError as error:
            said = server.read_log()
            again = (ports == "free" and triton_log.in_use(said)) or triton_log.starved(said)
            server.kill()
            if not again or attempt + 1 == TRIES:
                raise error from None
        except BaseException:
            server.kill()
            raise
    raise AssertionError("the last try returned or raised")


@contextlib.contextmanager
def _removed_on_failure(folder: Path) -> Iterator[Path]:
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


class NoAnswer(StartError):
    """A model that was loaded does not answer; only the log can tell why."""


def _choose_ports(wanted: str | Mapping[str, int], hosts: Mapping[str, str]) -> dict[str, int]:
    host = hosts["grpc"]
    for each, flag in ((host, "--host"), (hosts["metrics"], "--metrics-host")):
        try:
            tcp.free(each, 1)
        except OSError as error:
            raise StartError(
                f"cannot listen on {each} ({error.strerror}); give an IPv4 address of this machine with {flag}"
            ) from None
    if wanted == "free":
        return dict(zip(hosts, tcp.free(host, len(hosts)), strict=True))
    if isinstance(wanted, str) or set(wanted) - set(PORTS):
        raise StartError(f"ports must be 'free' or a mapping of {', '.join(PORTS)} to numbers, got {wanted!r}")
    if "http" in wanted and "http" not in hosts:
        raise StartError(
            "a port for HTTP is given but HTTP is not offered: a Triton older than 25.07 can be ended "
            "through it by any caller; ask for it on this machine with --http"
        )
    chosen = {name: port for name, port in {**PORTS, **wanted}.items() if name in hosts}
    for name, port in chosen.items():
        if not 0 <= port <= 65535:
            raise StartError(f"{name} port {port} is no port number; give one of 1 to 65535 with --{name}-port, 0: any")
    unset = [name for name, port in chosen.items() if port == 0]
    chosen.update(zip(unset, tcp.free(host, len(unset)), strict=True))
    if len(set(chosen.values())) < len(chosen):
        raise StartError(f"{', '.join(chosen)} need ports that differ, got {sorted(chosen.values())}")
    for name, port in chosen.items():
        why = tcp.trouble(hosts[name], port)
        if why:
            raise StartError(
                f"{name} port {port} on {hosts[name]} {why}; choose another with --{name}-port, or stop what runs there"
            )
    return chosen


def _gallery(folder: Path, quiet: bool) -> Path:
    """The folder of the gallery, made if missing. One that cannot be written is served as it is; beside one that is
    refused the verbs that need no gallery are served, and the others say what is wrong."""
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
    triton_log = belonging.trouble(folder) if there else None
    if triton_log and not quiet:
        print(
            f"sluice: the gallery is refused, all that needs none is served: {triton_log}", file=sys.stderr, flush=True
        )
    return folder


def _writable(folder: Path, flag: str) -> Path:
    """`folder`, made if missing; StartError when nothing can be written there."""
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


def _flags(
    repositories: Sequence[Path],
    backends: Path,
    engine: layout.Engine,
    names: Sequence[str],
    config_name: str | None,
    hosts: Mapping[str, str],
    chosen: Mapping[str, int],
    key: str,
    auto_complete: bool,
    log_verbose: bool,
    tls: Tls | None,
) -> list[str]:
    """The command line of tritonserver, without the program."""
    flags = [f"--model-repository={folder}" for folder in repositories]
    flags += [f"--load-model={name}" for name in names]
    flags += [f"--{name}-address={hosts[name]}" for name in hosts] + [f"--{name}-port={chosen[name]}" for name in hosts]
    flags += [
        f"--backend-directory={backends}",
        f"--cache-directory={engine.caches}",
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
    if engine.backends is None:  # our stand-in counts its outcomes with those of the Python models
        flags.append(f"--backend-config=onnxruntime,outcomes-metric={OUTCOMES}")
    if "http" in hosts:
        flags.append(f"--http-restricted-api={ADMIN if tls is None else f'{ADMIN},{REST}'}:admin-key={key}")
    else:
        flags.append("--allow-http=false")
    if not auto_complete:
        flags.append("--disable-auto-complete-config")
    if config_name != layout.PROFILES["gpu"]:  # nothing to look for, and three alarming lines less in the log
        flags += ["--pinned-memory-pool-byte-size=0", "--allow-gpu-metrics=false"]
    if config_name:
        flags.append(f"--model-config-name={config_name}")
    if tls is not None:
        flags += tls.flags()
    if log_verbose:
        flags.append("--log-verbose=1")
    return flags


def _wait(
    server: Server,
    names: Sequence[str],
    probes: Mapping[str, probe.Probe] | None,
    begun: float,
    timeout: float,
    quiet: bool,
) -> None:
    """Wait until the server is ready and each of `names` has answered; fills in server.models and server.seconds."""
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
