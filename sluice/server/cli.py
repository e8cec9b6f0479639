"""Runs `sluice serve`: starts the server, prints its addresses, passes signals on, watches it, returns its exit code.

stdout carries the addresses (one JSON object with --json), stderr the progress. Exit codes: the server's own (0 after
SIGTERM or Ctrl-C), 2 if it could not be started, 1 if the watchdog gave it up.
"""

import argparse
import difflib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from sluice.process import weights
from sluice.server import health, launch, passing, ports, profile
from sluice.server.running import Server
from sluice.server.tls import Files
from sluice.server.watchdog import Watchdog

__all__ = ["command"]


class _Stopped(BaseException):
    """A signal came before the server was up. Carries the signal's number."""


def arguments() -> argparse.ArgumentParser:
    """Return the parser of `sluice serve`."""
    parser = argparse.ArgumentParser(prog="sluice serve", description="Start Triton over Sluice's model repositories.")
    parser.add_argument(
        "--profile",
        choices=list(profile.CONFIGS),
        default="auto",
        help="auto: cpu-fast where the processor has bf16 and OpenVINO is installed, else cpu, but a network stays in "
        "fp32 if a gallery holds its work in fp32; cpu: ONNX Runtime in fp32, anywhere; cpu-fast: OpenVINO in bf16; "
        "gpu: TensorRT, inside NVIDIA's image; rtx: TensorRT for RTX, on an NVIDIA GPU without that image "
        "(default: auto)",
    )
    parser.add_argument(
        "--gallery",
        metavar="DIR",
        default=os.environ.get("SLUICE_GALLERY", "gallery"),
        help="folder of the frame gallery, made if missing (default: SLUICE_GALLERY, else ./gallery)",
    )
    for more in (_add_listeners, _add_certificates, _add_models, _add_upkeep):
        more(parser.add_argument)
    return parser


def _add_listeners(add: Callable[..., Any]) -> None:
    """Add the options that say where the server listens."""
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    for name, port in ports.PORTS.items():
        add(f"--{name}-port", metavar="N", type=int, help=f"0: any free one (default: {port})")
    add(
        "--health-port",
        metavar="N",
        type=int,
        default=health.PORT,
        help="port of grpc.health.v1, for probes: service '' is everything, or a verb's name; plaintext, 0: any free "
        f"one (default: {health.PORT})",
    )
    add(
        "--http",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="offer HTTP as well; on this machine only where Triton is older than 25.07, which any caller can end "
        "through it (default: with 25.07 or newer)",
    )


def _add_certificates(add: Callable[..., Any]) -> None:
    """Add the options of TLS, and the address of the metrics, which depends on them."""
    add(
        "--tls-cert",
        metavar="FILE",
        help="TLS on the gRPC port, with this certificate (PEM); HTTP then stays on this "
        "machine and answers health only, since Triton has no TLS for it",
    )
    add("--tls-key", metavar="FILE", help="the key of that certificate, without a password")
    add("--tls-client-ca", metavar="FILE", help="mutual TLS: clients must show a certificate of this authority")
    add(
        "--tls-probe-cert",
        metavar="FILE",
        help="with --tls-client-ca, a client's certificate for our own questions (default: the server's)",
    )
    add("--tls-probe-key", metavar="FILE", help="the key of that certificate")
    add(
        "--metrics-host",
        metavar="ADDRESS",
        help="address of the metrics (default: as --host; with TLS this machine only)",
    )


def _add_models(add: Callable[..., Any]) -> None:
    """Add the options that say what is served."""
    add("--models", metavar="A,B", help="serve only these, with the models that they need (default: all)")
    add("--expose", action="store_true", help="let an old Triton with known flaws be reached from elsewhere")
    add(
        "--root",
        metavar="DIR",
        help="folder with model_repository/ and ensembles/ (default: the clone, or else the "
        "folder that `sluice export` makes in the user's data folder)",
    )
    add(
        "--weights",
        choices=weights.SETS,
        help="set of weights: research, which are better, or free, which are for commercial use too; see "
        "docs/commercial.md (default: SLUICE_WEIGHTS, else research)",
    )
    add("--model-repository", metavar="DIR", action="append", default=[], help="serve this repository too; repeatable")
    add("--auto-complete-config", action="store_true", help="fill in what configs leave out; for foreign repositories")
    for name, (form, what) in passing.PASSED.items():
        add(f"--{name}", metavar=form, action="append", default=[], help=f"passed on to Triton: {what}; repeatable")


def _add_upkeep(add: Callable[..., Any]) -> None:
    """Add the options of administration, watching and logs."""
    add("--admin-key", metavar="KEY", help="key of load, unload, shared memory, trace and log (default: a random one)")
    add(
        "--watch",
        metavar="S",
        type=float,
        default=30.0,
        help="seconds between true requests to every model; 0 watches the processes only (default: 30)",
    )
    add("--timeout", metavar="S", type=float, default=300.0, help="seconds to be ready within (default: 300)")
    add("--log", metavar="FILE", help="keep Triton's log here (default: a temporary file, kept after a crash only)")
    add("--show-log", action="store_true", help="copy Triton's log to stderr")
    add("--log-verbose", action="store_true", help="let Triton log every request, and copy the log to stderr")
    add("--json", action="store_true", help="print one JSON object instead of text")


def main(argv: Sequence[str]) -> int:
    """Run `sluice serve` with `argv` until the server ends. Returns the exit code."""
    parser = arguments()
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [text for action in parser._actions for text in action.option_strings]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1, cutoff=0.7)
        hint = f"; did you mean {near[0]}?" if near else ""
        parser.error(f"`sluice serve` does not know: {' '.join(unknown)}{hint}")
    running: list[Server] = []
    asked: list[int] = []
    probed: list[health.Health] = []

    def on_signal(number: int, _frame: object) -> None:
        asked.append(number)
        if not running:
            raise _Stopped(number)
        probed[0].stopping()
        running[0].ask_to_stop()  # twice: kill

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        probed.append(health.Health(given.host, given.health_port))
        up = launch.start(
            gallery=given.gallery,
            models=given.models.split(",") if given.models else None,
            profile=given.profile,
            ports={name: port for name in ports.PORTS if (port := getattr(given, f"{name}_port")) is not None},
            host=given.host,
            root=given.root,
            weights=given.weights,
            http=given.http,
            extra_repositories=given.model_repository,
            admin_key=given.admin_key,
            auto_complete=given.auto_complete_config,
            log=given.log,
            log_verbose=given.log_verbose,
            expose=given.expose,
            timeout=given.timeout,
            quiet=given.json,
            tls=_files(given),
            metrics_host=given.metrics_host,
            passed={name: getattr(given, name.replace("-", "_")) for name in passing.PASSED},
        )
        running.append(up)
        if asked:  # in the moment between
            up.ask_to_stop()
        return _attend(up, given, asked, probed[0])
    except launch.StartError as error:
        print(f"sluice serve: {error}", file=sys.stderr)
        return 2
    except _Stopped as stopped:
        return 128 + stopped.args[0]
    finally:
        for service in probed:
            service.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _files(given: argparse.Namespace) -> Files | None:
    """Return the files of TLS, or None for plaintext. Raises StartError if a part is missing."""
    rest = (given.tls_client_ca, given.tls_probe_cert, given.tls_probe_key)
    if given.tls_cert and given.tls_key:
        return Files(given.tls_cert, given.tls_key, *rest)
    if given.tls_cert or given.tls_key or any(rest):
        raise launch.StartError("TLS needs a certificate and its key; give both --tls-cert and --tls-key")
    return None


def _attend(up: Server, given: argparse.Namespace, asked: list[int], service: health.Health) -> int:
    """Print the addresses, watch the server, and clean up at its end. Returns the exit code."""
    print(json.dumps({**up.describe(), "health": service.at}) if given.json else _text(up, service.at), flush=True)
    if given.show_log or given.log_verbose:
        threading.Thread(target=_copy_log, args=(up,), daemon=True).start()
    watchdog = Watchdog(up, every=given.watch, tell=service.tell)
    watchdog.start()
    code = up.wait()
    watchdog.close()
    if watchdog.gave_up:
        code = 1
    if asked or watchdog.gave_up:
        up.remove_folder()
    else:
        died = f"killed by signal {code - 128}" if code > 128 else f"exit code {code}"
        print(f"sluice serve: tritonserver ended by itself ({died}); its log: {up.log}", file=sys.stderr)
    return code


def _text(up: Server, health_at: str) -> str:
    rows = [
        ("gRPC", up.grpc if up.tls is None else f"grpcs://{up.grpc}"),
        ("HTTP", up.http or "off (--http)"),
        ("metrics", f"http://{up.metrics}/metrics"),
        ("health", health_at),
        ("gallery", up.gallery),
        ("log", up.log),
        ("admin key", up.admin_key),
        ("BLAS", str(up.blas)),
        ("weights", up.precision.weights or "no network"),
        ("precision", str(up.precision)),
        ("answered", f"{up.seconds['answer']:.1f} s after start, {len(up.models)} models"),
    ]
    return "\n".join(f"{name:<10}{value}" for name, value in rows)


def _copy_log(up: Server) -> None:
    """Copy Triton's log to stderr as it grows, until the server ends."""
    with open(up.log, errors="replace") as log:
        while True:
            alive = up.running()
            text = log.read()
            if text:
                sys.stderr.write(text)
                sys.stderr.flush()
            elif not alive:
                return
            else:
                time.sleep(0.2)


def command(argv: Sequence[str] | None = None) -> int:
    """Run `sluice serve`. argv: its arguments; None takes those of this process. Returns the exit code."""
    return main(sys.argv[1:] if argv is None else argv)
