"""How a server is reached: its address, TLS, and what every call carries. The same for both transports.

What is given wins over the environment: SLUICE_TLS (1 or 0), SLUICE_CA, SLUICE_CERT, SLUICE_KEY, SLUICE_SERVER_NAME,
and SLUICE_HEADERS (NAME=VALUE, one a line).
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
    """How the client knows the server, and what it shows of itself. All files are PEM, read when the client is made.

    Tls(ca="company-ca.pem")
    Tls(ca="company-ca.pem", cert="vehicle.pem", key="vehicle.key")   # mutual TLS

    ca:          the authority that signed the server's certificate; None: the public ones that gRPC carries.
    cert, key:   the client's own certificate, with those between it and the authority, and its key, without a password.
    server_name: the name in the server's certificate where that is not the host of the address.
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
        """What the environment says, but for what is given and not None."""
        names = [one.name for one in fields(cls)]
        found = {name: os.environ.get(f"SLUICE_{name.upper()}") or None for name in names}
        return cls(**{**found, **{name: value for name, value in given.items() if value is not None}})  # type: ignore[arg-type]  # the fields check

    def credentials(self) -> grpc.ChannelCredentials:
        """The files as gRPC wants them. Raises InvalidRequest for one that is missing or is not what it should be."""
        import grpc  # takes a third of a second, and help needs none

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
    """address: host:port. tls: None for plaintext. headers: of every call; not shown, since keys travel in them."""

    address: str
    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, server: str, tls: Tls | bool | None = None, headers: Mapping[str, str] | None = None) -> Connection:
        """server: host:port, as the environment says; grpc://host:port, plaintext; grpcs://host:port, TLS.
        tls:     True and False decide where the address does not; True takes the files from the environment.
        headers: are added to those of the environment."""
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
        """All options of the channel: what is given to tritonclient replaces its own."""
        options: list[tuple[str, int | str]] = list(CHANNEL)
        if self.tls is not None and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options


def header(text: str, where: str = "--header") -> tuple[str, str]:
    """NAME=VALUE as its two parts. The text is not repeated in the error: it may hold a key."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest(f"{where} wants NAME=VALUE, such as authorization='Bearer ...'; got a text without =.")
    return name.strip(), value


def checked_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The same, names in small letters. Raises InvalidRequest for what gRPC would not send; no value is repeated."""
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
    """What SLUICE_TLS says; None: nothing."""
    said = os.environ.get("SLUICE_TLS", "").strip().lower()
    if said in ("1", "true", "yes", "on"):
        return True
    if said in ("0", "false", "no", "off"):
        return False
    if said:
        raise InvalidRequest(f"SLUICE_TLS is 1 or 0; got {said!r}.")
    return None


def _wanted() -> bool:
    """Whether the environment asks for TLS: SLUICE_TLS says so, or a file for it is named."""
    said = tls_said()
    return said if said is not None else bool(os.environ.get("SLUICE_CA") or os.environ.get("SLUICE_CERT"))


def _read(path: str | os.PathLike, name: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest(
            f"The file {path} cannot be read ({why}); check {name} (--{name}, SLUICE_{name.upper()})."
        ) from None


def _no_password() -> str:
    raise InvalidRequest(
        "The key has a password, and gRPC cannot ask for it. Give a file without: openssl pkey -in KEY -out NEW."
    )
