"""Reads the settings of the command line from options, the environment, and files such as this `sluice.toml`:

    server = "grpcs://fleet.example:8001"
    ca = "company-ca.pem"               # and cert, key: relative to the file
    timeout = 120

    [headers]
    authorization = "Bearer ..."

An option wins, then the environment, then the file of --config, then sluice.toml in the user's configuration folder. A
file in the working directory is read only if --config names it: settings say which server is trusted, and the directory
may be another person's.
"""

from __future__ import annotations

import math
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InvalidRequest
from ..files import text_files
from ..transport.connection import checked_headers, header, tls_said
from ..transport.protocol import address
from .usage import meant

__all__ = ["DEFAULTS", "Setting", "Settings", "users_file"]

FILES = ("ca", "cert", "key")
DEFAULTS = ("timeout", "batch", "in_flight", "quiet")  # defaults of the options of these names, in every command
KEYS = ("server", "tls", *FILES, "server_name", "headers", *DEFAULTS)

_FILES = 2  # place of the first file among the layers
_LARGEST = 1 << 20  # the most bytes of a file


class Setting(NamedTuple):
    """A value, and where it comes from: an option, a variable of the environment, or a file."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """The settings of options, environment and files, the highest rank first.

    layers: settings by the names of `KEYS`, of the options, of the environment, then of each file.
    files:  the files that were read, in the order of their layers.
    """

    layers: tuple[Mapping[str, Setting], ...]
    files: tuple[Path, ...]

    @classmethod
    def of(cls, options: Mapping[str, Any], config: str | None) -> Settings:
        """Read all settings.

        options: values by the options' names; None for an option that is not given.
        config:  the file of --config; None if it is not given.
        Raises InvalidRequest for a file that is wrong, or that other users can write.
        """
        given = {
            name: Setting(value, f"--{name.replace('_', '-')}") for name, value in options.items() if value is not None
        }
        read = [] if config is None else [(Path(config).absolute(), _read(Path(config).absolute(), named=True))]
        if (users := users_file()) is not None:
            read.append((users, _read(users, named=False)))
        found = [(path, values) for path, values in read if values is not None]
        layers = [{name: Setting(value, str(path)) for name, value in values.items()} for path, values in found]
        return cls((given, _environment(), *layers), tuple(path for path, _ in found))

    def get(self, name: str) -> Setting | None:
        """Return the setting of the highest rank that has it; None if no rank has it. For headers see `headers`."""
        return next((layer[name] for layer in self.layers if name in layer), None)

    def tls(self) -> Setting | None:
        """Return whether TLS is wanted; None if nothing says so. The highest rank that names TLS or its files wins."""
        for rank, layer in enumerate(self.layers):
            if "tls" in layer:
                return layer["tls"]
            # A key or a name alone asks for TLS only as an option; elsewhere it may be kept for another server.
            for name in ("ca", "cert", *(("key", "server_name") if rank == 0 else ())):
                if name in layer:
                    return Setting(True, layer[name].origin)
        return None

    def headers(self) -> dict[str, Setting]:
        """Return the headers by their names in small letters, each of the highest rank that has it.

        If a file names a server, its headers are sent to that server only, because they may be keys.
        """
        found: dict[str, Setting] = {}
        for layer in self.layers:
            if "headers" in layer and not self._elsewhere(layer):
                for name, value in layer["headers"].value.items():
                    found.setdefault(name, Setting(value, layer["headers"].origin))
        return found

    def kept_back(self) -> list[str]:
        """Return a sentence for each file whose headers are not sent."""
        asked = self.get("server")
        return [
            f"the headers in {layer['headers'].origin} are for its server, {layer['server'].value}, and are not sent "
            f"to {asked.value}"
            for layer in self.layers
            if asked is not None and "headers" in layer and self._elsewhere(layer)
        ]

    def defaults(self) -> dict[str, Any]:
        """Return the values that the files give for `DEFAULTS`."""
        return {name: setting.value for name in DEFAULTS if (setting := self.get(name)) is not None}

    def _elsewhere(self, layer: Mapping[str, Setting]) -> bool:
        """Return whether the layer is a file that names another server than the one that is asked."""
        asked = self.get("server")
        if asked is None or "server" not in layer or layer not in self.layers[_FILES:]:
            return False
        own, other = (setting.value.strip().rstrip("/") for setting in (layer["server"], asked))
        # The same address without TLS counts as another server, so that keys are not sent unencrypted.
        return own != other


def users_file() -> Path | None:
    """Return $XDG_CONFIG_HOME/sluice/sluice.toml, or ~/.config/sluice/sluice.toml.

    Returns None if neither is an absolute path, because a relative path would mean the working directory.
    Source: XDG Base Directory Specification.
    """
    for folder in (Path(os.environ.get("XDG_CONFIG_HOME") or "."), Path(os.path.expanduser("~")) / ".config"):
        if folder.is_absolute():
            return folder / "sluice" / "sluice.toml"
    return None


def _environment() -> dict[str, Setting]:
    """Return the settings of the environment's variables."""
    variables = {"server": "SLUICE_URL"} | {name: f"SLUICE_{name.upper()}" for name in (*FILES, "server_name")}
    found = {name: Setting(os.environ[key], key) for name, key in variables.items() if os.environ.get(key)}
    if (said := tls_said()) is not None:
        found["tls"] = Setting(said, "SLUICE_TLS")
    if lines := [line for line in text_files.lines(os.environ.get("SLUICE_HEADERS", "")) if line]:
        pairs = checked_headers(header(line, "SLUICE_HEADERS") for line in lines)
        found["headers"] = Setting(pairs, "SLUICE_HEADERS")
    return found


def _read(path: Path, *, named: bool) -> dict[str, Any] | None:
    """Return the values of a file; None if it does not exist. named: True if --config names it, so that it must."""
    try:
        with open(path, "rb") as file:
            _trusted(path, os.fstat(file.fileno()))
            data = file.read(_LARGEST + 1)
    except InvalidRequest:
        raise  # InvalidRequest is a ValueError, which is caught below
    except (FileNotFoundError, NotADirectoryError):
        if not named:
            return None
        raise InvalidRequest(f"The file of --config, {path}, does not exist.") from None
    except (OSError, ValueError) as error:  # ValueError for a name that no file can have
        raise InvalidRequest(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if len(data) > _LARGEST:
        raise InvalidRequest(f"{path} is larger than {_LARGEST} bytes; settings are a few lines.")
    try:
        said = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not UTF-8, as TOML is.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path} is not TOML: {error}.") from None
    return {name: _checked(path, name, value) for name, value in said.items()}


def _trusted(path: Path, state: os.stat_result) -> None:
    """Raise InvalidRequest if another user could have written the file, as ssh does, since it says who is trusted."""
    if os.name != "posix":
        return
    if state.st_uid not in (0, os.getuid()):
        raise InvalidRequest(f"{path} belongs to another user, and it says who is trusted. Make it your own: chown.")
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISFIFO(state.st_mode):
        raise InvalidRequest(f"{path} can be written by others, and it says who is trusted. Run: chmod go-w '{path}'")
    folder = path.parent.stat().st_mode
    if folder & stat.S_IWOTH and not folder & stat.S_ISVTX:
        raise InvalidRequest(f"Anybody can put another file in the place of {path}. Run: chmod o-w '{path.parent}'")


def _checked(path: Path, name: str, value: Any) -> Any:
    """Return the value of a setting in a file. Raises InvalidRequest for an unknown name or a wrong value."""
    if name not in KEYS:
        near = meant(name.replace("-", "_"), KEYS)
        hint = f"did you mean `{near}`?" if near else f"it may hold {', '.join(KEYS)}."
        raise InvalidRequest(f"{path}: `{name:.80}` is no setting; {hint}")
    if name in ("tls", "quiet"):
        _expect(isinstance(value, bool), path, name, "true or false", value)
    elif name in ("batch", "in_flight"):
        whole = isinstance(value, int) and not isinstance(value, bool)
        _expect(whole and 1 <= value < 1 << 31, path, name, "a whole number of at least 1", value)
    elif name == "timeout":
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
        _expect(number and math.isfinite(value) and value > 0, path, name, "a number of seconds greater than 0", value)
        return float(value)
    elif name == "headers":
        # Values may be keys, so no error repeats one.
        table = 'a table: [headers], and NAME = "VALUE" below it'
        _expect(isinstance(value, dict), path, name, table, type(value).__name__)
        return _said(path, lambda: checked_headers(value.items()))
    else:
        _expect(isinstance(value, str) and value.strip() != "" and value.isprintable(), path, name, "a text", value)
        if name == "server":
            _said(path, lambda: address(value))
        if name in FILES:
            return str(path.parent / os.path.expanduser(value))
    return value


def _expect(holds: bool, path: Path, name: str, what: str, got: Any) -> None:
    """Raise InvalidRequest unless `holds`. what: the expected value in words."""
    if not holds:
        raise InvalidRequest(f"{path}: `{name}` should be {what}; got {got!r:.80}.")


def _said(path: Path, ask: Any) -> Any:
    """Return what `ask()` returns; the error that it raises gets the file's path in front."""
    try:
        return ask()
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error.message}") from None
