"""Explains a failed connection when TLS is the cause.

gRPC describes most TLS errors in its own words. In two cases it only says "socket closed": the server speaks TLS and
the client does not, or the server does not accept the client's certificate. To tell these apart the client makes a
handshake of its own, which verifies nothing and sends no request.
"""

from __future__ import annotations

import re
import socket
import ssl

from ..errors import SluiceError, Unavailable, Untrusted, from_status
from .connection import Connection

__all__ = ["failure"]

_PATIENCE = 5.0  # seconds; the server has just closed a connection, so it is present, but may be busy
_CLOSED = re.compile(r"socket closed|connection reset|broken pipe|endpoint closing|recvmsg", re.IGNORECASE)
_CONNECTING = re.compile(r"failed to connect", re.IGNORECASE)
_NOT_ACCEPTED = re.compile(r"CERTIFICATE_VERIFY_FAILED(?:: (?P<why>[^:]+))?")
_OTHER_NAME = re.compile(r"hostname verification|peer name .* is not in", re.IGNORECASE)
_PLAIN = re.compile(r"WRONG_VERSION_NUMBER|HTTP_REQUEST|UNEXPECTED_MESSAGE")


def failure(connection: Connection, status: str, message: str | None) -> SluiceError:
    """Return the exception for a failed call. Makes a handshake with the server if TLS may be the cause."""
    error = from_status(status, message, connection.address)
    if not isinstance(error, Unavailable):
        return error
    return _reason(connection, message or "") or error


def _reason(connection: Connection, message: str) -> SluiceError | None:
    """Return the exception if TLS is the cause of gRPC's message, else None."""
    if connection.tls is not None:
        if found := _NOT_ACCEPTED.search(message):
            return _not_accepted(connection, found["why"] or "no reason given")
        if _OTHER_NAME.search(message):
            return _other_name(connection)
        if _PLAIN.search(message):
            return _no_tls(connection)
    if not (_CONNECTING.search(message) and _CLOSED.search(message)):
        return None  # a connection that was established may break for other reasons
    answer = _look(connection)
    if connection.tls is None:
        return _tls(connection) if answer in ("tls", "closed") else None
    return _no_tls(connection) if answer == "plain" else _hung_up(connection) if answer == "closed" else None


def _look(connection: Connection) -> str | None:
    """Make a handshake and return what the server does: "tls", it goes on; "closed", it hangs up after the handshake;
    "plain", it does not speak TLS; None, it cannot be reached or fails in another way."""
    context = _context(connection)
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(_place(connection), _PATIENCE) as raw:
            try:
                with context.wrap_socket(raw, server_hostname=_host(connection)) as secure:
                    # A gRPC server speaks first. A server that does not accept the client's certificate hangs up.
                    return "tls" if secure.recv(1) else "closed"
            except ssl.SSLError as error:
                alert = "ALERT" in (error.reason or "")
                return "closed" if alert else "plain" if error.reason == "WRONG_VERSION_NUMBER" else None
    except (OSError, ValueError):
        return None


def _names(connection: Connection) -> str:
    """Return the names in the server's certificate, such as "a, b"; empty if the handshake fails."""
    context = _context(connection)
    try:
        if connection.tls is not None and connection.tls.ca is not None:
            context.load_verify_locations(connection.tls.ca)
        else:
            context.load_default_certs()
        with (
            socket.create_connection(_place(connection), _PATIENCE) as raw,
            context.wrap_socket(raw, server_hostname=_host(connection)) as secure,
        ):
            shown = secure.getpeercert() or {}
    except (OSError, ValueError):
        return ""
    return ", ".join(str(pair[1]) for pair in shown.get("subjectAltName", ()))


def _context(connection: Connection) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as gRPC does: a certificate may be trusted by itself
    context.set_alpn_protocols(["h2"])
    if connection.tls is not None and connection.tls.cert is not None:
        context.load_cert_chain(connection.tls.cert, connection.tls.key)
    return context


def _place(connection: Connection) -> tuple[str, int]:
    """Return host and port. Raises ValueError for an address of another kind, such as unix:."""
    host, _, port = connection.address.rpartition(":")
    return host.strip("[]"), int(port)


def _host(connection: Connection) -> str:
    """Return the name that the server's certificate should have."""
    named = connection.tls and connection.tls.server_name
    return named or connection.address.rpartition(":")[0].strip("[]")


# The sentences ------------------------------------------------------------------------------------------------------


def _not_accepted(connection: Connection, why: str) -> Untrusted:
    why = why.strip().rstrip(".")
    if "expired" in why or "not yet valid" in why:
        what = "has expired" if "expired" in why else "is not valid yet"
        return Untrusted(
            f"The certificate of the server at {connection.address} {what}.",
            remedy="Let its operator renew it and start the server again, or set the clock of this machine right.",
        )
    ca = connection.tls and connection.tls.ca
    by = f"by the authority in {ca}" if ca else "by a public authority"
    return Untrusted(
        f"The certificate of the server at {connection.address} was not signed {by} ({why}).",
        remedy="Give the file of the authority that signed it: ca= (--ca, SLUICE_CA).",
    )


def _other_name(connection: Connection) -> Untrusted:
    names = _names(connection)
    return Untrusted(
        f"The certificate of the server at {connection.address} is not for {_host(connection)}"
        + (f" but for {names}." if names else "."),
        remedy="Use its name in the address, or say it: server_name= (--server-name, SLUICE_SERVER_NAME).",
    )


def _no_tls(connection: Connection) -> Untrusted:
    return Untrusted(
        f"The server at {connection.address} does not speak TLS, and this client wants it.",
        remedy="Start it with `sluice serve --tls-cert FILE --tls-key FILE`, or ask without TLS: "
        f"grpc://{connection.address}",
    )


def _tls(connection: Connection) -> Untrusted:
    return Untrusted(
        f"The server at {connection.address} speaks TLS, and this client does not.",
        remedy=f"Write grpcs://{connection.address} or give tls=True (--tls), and the authority that signed its "
        "certificate: ca= (--ca, SLUICE_CA).",
    )


def _hung_up(connection: Connection) -> Unavailable:
    """Return an exception that lets the call be tried again: a gateway whose server is away for a while behaves like a
    server that wants another certificate."""
    begin = f"The server at {connection.address} ends the connection right after the TLS handshake: "
    if connection.tls is None or connection.tls.cert is None:
        return Unavailable(
            f"{begin}it wants a certificate of the client, or it is a gateway whose server is away.",
            remedy="Give a certificate with its key: cert= and key= (--cert, --key, SLUICE_CERT, SLUICE_KEY).",
        )
    return Unavailable(
        f"{begin}it does not accept the certificate {connection.tls.cert} of this client, or it is a gateway whose "
        "server is away.",
        remedy="The certificate must be signed by the authority that the server was given (`sluice serve "
        "--tls-client-ca`), be for clients, and not have expired.",
    )
