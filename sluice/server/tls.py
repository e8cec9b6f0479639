"""Prepares TLS of the gRPC listener: the files that Triton needs, and what the launcher needs to ask its own server.

Triton reads the files once, at its start, and says little about a wrong one. So they are tried beforehand, by a
handshake in memory between the server that will be and the launcher as its client.
"""

import contextlib
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tritonclient.grpc as grpcclient

from sluice.server.layout import StartError

_LARGEST = 2**31 - 1  # bytes of one message


@dataclass(frozen=True)
class Files:
    """The files that `sluice serve` is given, all PEM.

    cert, key:             of the server. Behind the certificate stand those between it and its authority.
    client_ca:             authority of the clients' certificates. None: clients need no certificate.
    probe_cert, probe_key: certificate that the launcher shows to its own server. None: the server's own.
    """

    cert: str | os.PathLike
    key: str | os.PathLike
    client_ca: str | os.PathLike | None = None
    probe_cert: str | os.PathLike | None = None
    probe_key: str | os.PathLike | None = None


@dataclass(frozen=True)
class Tls:
    """Files that have been tried, as absolute paths. name: a name that the server's certificate is for."""

    cert: Path
    key: Path
    client_ca: Path | None
    probe_cert: Path
    probe_key: Path
    name: str

    def flags(self) -> list[str]:
        """Return the flags of tritonserver for TLS."""
        flags = [f"--grpc-server-cert={self.cert}", f"--grpc-server-key={self.key}", "--grpc-use-ssl=true"]
        if self.client_ca is not None:
            flags += ["--grpc-use-ssl-mutual=true", f"--grpc-root-cert={self.client_ca}"]
        return flags

    def client(self, address: str) -> grpcclient.InferenceServerClient:
        """Return the launcher's own client. It trusts this very certificate, under the name in it, at any address."""
        ours: dict[str, Any] = {}
        if self.client_ca is not None:
            ours = {"certificate_chain": str(self.probe_cert), "private_key": str(self.probe_key)}
        # channel_args replaces tritonclient's own options, so the message sizes are repeated.
        options = [
            ("grpc.ssl_target_name_override", self.name),
            ("grpc.max_send_message_length", _LARGEST),
            ("grpc.max_receive_message_length", _LARGEST),
        ]
        return grpcclient.InferenceServerClient(
            address, ssl=True, root_certificates=str(self.cert), channel_args=options, **ours
        )


def tried(files: Files) -> Tls:
    """Read the files, try them, and find the name in the certificate. Raises StartError with the remedy."""
    cert, key = _file(files.cert, "--tls-cert"), _file(files.key, "--tls-key")
    if (files.probe_cert is None) != (files.probe_key is None):
        raise StartError("--tls-probe-cert and --tls-probe-key belong together; give both, or neither")
    if files.client_ca is None and files.probe_cert is not None:
        raise StartError("--tls-probe-cert is for servers that ask clients for a certificate; give --tls-client-ca too")
    client_ca = None if files.client_ca is None else _file(files.client_ca, "--tls-client-ca")
    own = files.probe_cert is None
    probe_cert = cert if files.probe_cert is None else _file(files.probe_cert, "--tls-probe-cert")
    probe_key = key if files.probe_key is None else _file(files.probe_key, "--tls-probe-key")

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_pair(server, cert, key, "--tls-cert", "--tls-key")
    launcher = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    launcher.check_hostname = False
    launcher.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is trusted, as gRPC will
    launcher.load_verify_locations(cert)
    if client_ca is not None:
        try:
            server.load_verify_locations(client_ca)
        except ssl.SSLError:
            raise StartError(f"{client_ca} holds no certificate in PEM form; check --tls-client-ca") from None
        server.verify_mode = ssl.CERT_REQUIRED
        _load_pair(launcher, probe_cert, probe_key, "--tls-probe-cert", "--tls-probe-key")
    shown = _shake(server, launcher, own)
    names = [
        value for wanted in ("DNS", "IP Address") for kind, value in shown.get("subjectAltName", ()) if kind == wanted
    ]
    if not names:
        raise StartError(
            f"the certificate {cert} names no host (subjectAltName), so no client can accept it; "
            "give --tls-cert one made for the server's name or address"
        )
    return Tls(cert, key, client_ca, probe_cert, probe_key, names[0].replace("*", "any", 1))


def _file(path: str | os.PathLike, flag: str) -> Path:
    try:
        with open(path, "rb"):
            return Path(path).resolve()
    except OSError as error:
        raise StartError(f"the file {path} cannot be read ({error.strerror}); check {flag}") from None


def _load_pair(context: ssl.SSLContext, cert: Path, key: Path, cert_flag: str, key_flag: str) -> None:
    def asked() -> str:
        raise StartError(
            f"the key {key} has a password, and Triton cannot ask for it; give {key_flag} a file "
            "without: openssl pkey -in KEY -out NEW"
        )

    try:
        context.load_cert_chain(cert, key, password=asked)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise StartError(
                f"the key {key} does not belong to the certificate {cert}; check {cert_flag} and {key_flag}"
            ) from None
        raise StartError(
            f"{cert} and {key} should be a certificate and its key in PEM form; check {cert_flag} and {key_flag}"
        ) from None


def _shake(server: ssl.SSLContext, launcher: ssl.SSLContext, own: bool) -> dict[str, Any]:
    """Make one handshake in memory. Returns the server's certificate as the launcher read it. Raises StartError if a
    side refuses.
    """
    to_server, to_launcher = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = launcher.wrap_bio(to_launcher, to_server)
    theirs = server.wrap_bio(to_server, to_launcher, server_side=True)
    for _ in range(4):
        try:
            _step(ours.do_handshake)
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason
            raise StartError(f"no client can accept the server's certificate ({why}); renew it (--tls-cert)") from None
        try:
            _step(theirs.do_handshake)
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason
            whose = "the server's own certificate" if own else "the certificate of --tls-probe-cert"
            raise StartError(
                f"{whose} is not one that --tls-client-ca lets in ({why}), and `sluice serve` must show "
                "one to ask its own models; give a client's with --tls-probe-cert and --tls-probe-key"
            ) from None
    return dict(ours.getpeercert() or {})


def _step(handshake: Callable[[], None]) -> None:
    """Go on with a handshake as far as the bytes of the other side allow."""
    with contextlib.suppress(ssl.SSLWantReadError):
        handshake()
