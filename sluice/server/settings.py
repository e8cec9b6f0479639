"""Settings of a server's start, and the plan that follows from them before anything is started."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

from sluice.server import layout, passing, profile, questions
from sluice.server import root as roots
from sluice.server.layout import StartError
from sluice.server.tls import Files, Tls, tried
from sluice.versions import Served


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a caller may say about a server's start.

    gallery:      folder of the frame gallery, made if missing. None: a folder that is removed with the server.
    models:       names of models to load, to which the models that they need are added. None: all of the repositories.
    profile:      "auto" (bf16 where processor and OpenVINO give it, else fp32), "cpu" (ONNX Runtime, fp32), "cpu-fast"
                  (OpenVINO, bf16), "gpu" (TensorRT, in NVIDIA's image) or "rtx" (TensorRT for RTX, without that
                  image); see `sluice.server.profile`.
    ports:        "free" lets the machine choose; {"grpc": n, "http": n, "metrics": n} sets them, and those that are
                  missing are Triton's own 8001, 8000, 8002.
    host:         IPv4 address to listen on. Other machines may reach only Triton 25.07 or newer, unless `expose`.
    root:         folder with model_repository/, ensembles/ and, unless the package's are meant, backends/. None: the
                  clone, or the folder that `sluice export` made of an installed package (`sluice.server.root`).
    weights:      set of weights to serve, "research" or "free". None: SLUICE_WEIGHTS, else "research".
    repositories: folders of models in place of the two of `root`.
    extra_repositories: folders of models besides.
    admin_key:    key of the administration calls. None: a random one.
    auto_complete: True lets Triton fill in what configs leave out, which is slower and for repositories made elsewhere.
    log:          file for Triton's log. None: a file that is removed with the server.
    log_verbose:  True lets Triton log every request.
    probes:       question per model, in place of `sluice.server.questions.PROBES`. None: those.
    expose:       True lets an older Triton listen beyond this machine all the same.
    timeout:      seconds until every model must have answered.
    quiet:        False prints on stderr what is waited for.
    tls:          files of the gRPC listener (`sluice.server.tls`). None: plaintext. Triton has no TLS for HTTP and
                  metrics, so with TLS both listen on this machine only, and HTTP without the admin key answers health.
    metrics_host: IPv4 address for the metrics. None: `host`, or 127.0.0.1 with `tls`.
    passed:       settings that are passed on to Triton, {"rate-limit": ["execution_count"]} (`sluice.server.passing`).
    http:         whether HTTP is offered. None: if no caller can end the server through it, which is so from Triton
                  25.07 on. An older Triton offers it on this machine only, whatever `host` is.
    """

    gallery: str | PathLike | None = None
    models: Sequence[str] | None = None
    profile: str = "auto"
    ports: str | Mapping[str, int] = "free"
    host: str = "127.0.0.1"
    root: str | PathLike | None = None
    weights: str | None = None
    repositories: Sequence[str | PathLike] | None = None
    extra_repositories: Sequence[str | PathLike] = ()
    admin_key: str | None = None
    auto_complete: bool = False
    log: str | PathLike | None = None
    log_verbose: bool = False
    probes: Mapping[str, questions.Probe] | None = None
    expose: bool = False
    timeout: float = 300.0
    quiet: bool = True
    tls: Files | None = None
    metrics_host: str | None = None
    passed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    http: bool | None = None


@dataclass(frozen=True)
class Plan:
    """The parts that a server is started from, which stay the same however often the start is tried.

    engine:    the Triton that is installed.
    root:      folder of the repositories and backends.
    folders:   the repositories.
    found:     models of the repositories by name.
    names:     names of the models to load, in the order of loading.
    config:    name of the configs of the profile; None for the plain config.pbtxt.
    hosts:     address per listener; a listener that is not offered is missing.
    tls:       certificates that were tried; None for plaintext.
    more:      flags of tritonserver that are passed on.
    served:    set of weights, precision of each network, and why.
    notes:     lines for the operator.
    """

    engine: layout.Engine
    root: Path
    folders: tuple[Path, ...]
    found: Mapping[str, layout.Model]
    names: tuple[str, ...]
    config: str | None
    hosts: Mapping[str, str]
    tls: Tls | None
    more: tuple[str, ...]
    served: Served
    notes: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings) -> "Plan":
        """Check settings and find what they name. Raises StartError with one line."""
        engine = layout.find_engine(settings.profile)
        choice = profile.chosen(settings.profile, engine)
        hosts = _hosts(settings, engine)
        if settings.admin_key is not None and not re.fullmatch(r"[\w.-]+", settings.admin_key):
            raise StartError("the admin key may hold letters, digits, and . _ - only; choose another with --admin-key")
        root, notes = layout.find_root(settings.root, settings.weights)
        ours = [root / "model_repository", root / "ensembles"]
        given = ours if settings.repositories is None else settings.repositories
        folders = tuple(Path(each).resolve() for each in [*given, *settings.extra_repositories])
        found = layout.find_models(folders, choice.config, settings.auto_complete)
        names = layout.choose(found, settings.models, roots.command(root))
        more = passing.flags(settings.passed)
        tls = None if settings.tls is None else tried(settings.tls)
        models, gallery = [found[name] for name in names], Path(settings.gallery) if settings.gallery else None
        served = profile.served(settings.profile, choice, models, gallery)
        served = replace(served, weights=layout.weights_of(models, root))
        told = (
            *notes,
            *layout.lacking(found, names),
            *profile.notes(served, models, choice.config, gallery),
        )
        return cls(engine, root, folders, found, tuple(names), choice.config, hosts, tls, tuple(more), served, told)


def _hosts(settings: Settings, engine: layout.Engine) -> dict[str, str]:
    """Return the address of each listener. Raises StartError if an old Triton would be reached from elsewhere."""
    plain = settings.host if settings.tls is None else "127.0.0.1"
    hosts = {
        "grpc": settings.host,
        "http": plain if engine.exposable else "127.0.0.1",
        "metrics": settings.metrics_host or plain,
    }
    if not (engine.exposable if settings.http is None else settings.http):
        del hosts["http"]
    for each in hosts.values():
        if not (engine.exposable or settings.expose or each == "localhost" or each.startswith("127.")):
            raise StartError(
                "this Triton is older than 25.07, has known remote-code flaws and must not listen on "
                f"{each}; serve from the Dockerfile's image, or say --expose where nobody hostile can "
                "reach it"
            )
    return hosts
