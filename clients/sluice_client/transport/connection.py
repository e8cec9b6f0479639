"""Settles how to reach a server, for both transports: its address, TLS, and the headers of every call.

Arguments win over the environment, which is SLUICE_URL, SLUICE_TLS (1 or 0), SLUICE_CA, SLUICE_CERT, SLUICE_KEY,
SLUICE_SERVER_NAME, and SLUICE_HEADERS (one NAME=VALUE per line).
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidRequest
from ..files import text_files
from .protocol import CHANNEL, address

if TYPE_CHECKING:
    import grpc

__all__ = ["Connection", "Tls", "checked_headers", "default_server", "header", "tls_said"]


def default_server() -> str:
    """Return the address in SLUICE_URL, or 127.0.0.1:8001 if that variable is missing or empty."""
    return os.environ.get("SLUICE_URL") or "127.0.0.1:8001"


@dataclass(frozen=True)
class Tls:
    """Certificates by which the client knows the server, and shows who it is. All files are PEM; they are read when the
    client is made.

    Tls(ca="company-ca.pem")
    Tls(ca="company-ca.pem", cert="vehicle.pem", key="vehicle.key")   # mutual TLS

    ca:          certificate of the authority that signed the server's certificate; None: the public authorities that
                 gRPC knows.
    cert, key:   certificate of the client itself, followed by any intermediate certificates, and its key, without a
                 password. None, for both: the client shows no certificate.
    server_name: the name in the server's certificate; None: the host of the address.
    """

    ca: str | os.PathLike | None = None
    cert: str | os.PathLike | None = None
    key: str | os.PathLike | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        for name in ("ca", "cert", "key", "server_name"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str | (str if name == "server_name" else os.PathLike)):
                what = "a text" if name == "server_name" else "the path of a file"
                raise InvalidRequest(f"{name} of Tls is {what}; got {type(value).__name__}.")
        if (self.cert is None) != (self.key is None):
            there, missing = ("cert", "key") if self.key is None else ("key", "cert")
            raise InvalidRequest(
                f"A certificate of the client is two files, cert and key; got {there} only. "
                f"Give {missing} too (--{missing}, SLUICE_{missing.upper()})."
            )

    @classmethod
    def from_environment(cls, **given: str | os.PathLike | None) -> Tls:
        """Make a Tls of the environment's values, replaced by those of `given` that are not None."""
        names = [one.name for one in fields(cls)]
        found = {name: os.environ.get(f"SLUICE_{name.upper()}") or None for name in names}
        return cls(**{**found, **{name: value for name, value in given.items() if value is not None}})  # type: ignore[arg-type]  # the fields check

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files for gRPC. Raises InvalidRequest for a file that is missing or does not hold what it should."""
        import grpc  # imported here because it takes a third of a second, which --help can do without

        ca = None if self.ca is None else _read(self.ca, "ca")
        if self.ca is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self.ca)
            except ssl.SSLError:
                raise InvalidRequest(
                    f"{self.ca} holds no certificate; ca (--ca, SLUICE_CA) is a file in PEM form."
                ) from None
        if self.cert is None or self.key is None:
            return grpc.ssl_channel_credentials(ca)
        cert, key = _read(self.cert, "cert"), _read(self.key, "key")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(self.cert, self.key, password=_no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise InvalidRequest(f"The key {self.key} does not belong to the certificate {self.cert}.") from None
            raise InvalidRequest(
                f"{self.cert} and {self.key} should be a certificate and its key, in PEM form."
            ) from None
        return grpc.ssl_channel_credentials(ca, key, cert)


@dataclass(frozen=True)
class Connection:
    """The way of one client to its server.

    address: host:port.
    tls:     None for plaintext.
    headers: sent with every call. repr leaves them out, because they may hold keys.
    """

    address: str
    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, server: str, tls: Tls | bool | None = None, headers: Mapping[str, str] | None = None) -> Connection:
        """Combine arguments and environment. Raises InvalidRequest where they are wrong or contradict each other.

        server:  grpcs://host:port for TLS, grpc://host:port for plaintext, host:port to leave that to `tls`.
        tls:     True takes the files of TLS from the environment, a `Tls` names them, False is plaintext; None leaves
                 the choice to the address, then to the environment.
        headers: added to those of the environment, which they override.
        """
        if not isinstance(server, str):
            raise InvalidRequest(f"The address of a server is a text, host:port; got {server!r:.80}.")
        if tls is not None and not isinstance(tls, Tls | bool):
            raise InvalidRequest(f"tls is True, False or Tls(ca=, cert=, key=, server_name=); got {tls!r:.80}.")
        if headers is not None and not isinstance(headers, Mapping):
            raise InvalidRequest("Headers are a mapping of names to values, as text.")  # not shown: they may hold a key
        scheme = server.strip().partition("://")[0]
        if scheme == "grpcs" and tls is False:
            raise InvalidRequest(f"The address {server} asks for TLS, and tls is False. Change one of them.")
        if scheme == "grpc" and tls:
            raise InvalidRequest(f"TLS is asked for, and the address {server} is without. Write grpcs:// in it.")
        wanted = tls if isinstance(tls, Tls) else None
        if wanted is None and (tls or scheme == "grpcs" or (tls is None and scheme != "grpc" and _wanted())):
            wanted = Tls.from_environment()
        ambient = text_files.lines(os.environ.get("SLUICE_HEADERS", ""))
        checked = checked_headers(header(line, "SLUICE_HEADERS") for line in ambient if line)
        return cls(address(server), wanted, {**checked, **checked_headers((headers or {}).items())})

    def credentials(self) -> grpc.ChannelCredentials | None:
        return None if self.tls is None else self.tls.credentials()

    def channel_args(self) -> list[tuple[str, int | str]]:
        """Return all options of the gRPC channel. tritonclient uses them in place of its own."""
        options: list[tuple[str, int | str]] = list(CHANNEL)
        if self.tls is not None and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options


def header(text: str, where: str = "--header") -> tuple[str, str]:
    """Split NAME=VALUE into its two parts. where: the option or variable that an error names.

    Raises InvalidRequest for a text without =. The error does not repeat the text, which may hold a key.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest(f"{where} wants NAME=VALUE, such as authorization='Bearer ...'; got a text without =.")
    return name.strip(), value


def checked_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers with names in lower case. Raises InvalidRequest for a header that gRPC would not send. The
    error does not repeat the value, which may hold a key."""
    checked = {}
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidRequest("Headers are names and values as text.")
        lower = name.lower()
        if not re.fullmatch(r"[a-z0-9_.-]+", lower) or lower.startswith("grpc-") or lower.endswith("-bin"):
            raise InvalidRequest(
                "The name of a header is made of letters, digits, and - _ . only, and neither begins with grpc- "
                f"nor ends with -bin; got {name!r}."
            )
        if not re.fullmatch(r"[\x20-\x7e]*", value):
            raise InvalidRequest(
                f"The value of the header {lower} may hold printable ASCII only; it holds something else."
            )
        checked[lower] = value
    return checked


def tls_said() -> bool | None:
    """Return whether SLUICE_TLS asks for TLS, None if it is empty or missing. Raises InvalidRequest for any other text
    than 1, true, yes, on, 0, false, no and off."""
    said = os.environ.get("SLUICE_TLS", "").strip().lower()
    if said in ("1", "true", "yes", "on"):
        return True
    if said in ("0", "false", "no", "off"):
        return False
    if said:
        raise InvalidRequest(f"SLUICE_TLS is 1 or 0; got {said!r}.")
    return None


def _wanted() -> bool:
    """Return whether the environment asks for TLS, by SLUICE_TLS or, without that, by SLUICE_CA or SLUICE_CERT."""
    said = tls_said()
    return said if said is not None else bool(os.environ.get("SLUICE_CA") or os.environ.get("SLUICE_CERT"))


def _read(path: str | os.PathLike, name: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError for a name that no file can have
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest(
            f"The file {path} cannot be read ({why}); check {name} (--{name}, SLUICE_{name.upper()})."
        ) from None


def _no_password() -> str:
    raise InvalidRequest(
        "The key has a password, and gRPC cannot ask for it. Give a file without: openssl pkey -in KEY -out NEW."
    )
