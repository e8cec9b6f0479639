"""The exceptions of the client, as one tree.

* SluiceError             any failure of a call; has `.status`, `.message`, `.remedy`
  x InvalidRequest        the request is wrong: found here before it is sent, or by the server (also a ValueError)
  x NotFound              this server does not know the id, or the verb (also a LookupError)
  x Conflict              a frame with other bytes has this id already
  x Unsupported           this server does not offer what was asked
  x TooLarge              one message is larger than client or server allow
  x Refused               this server wants a key for the call
  x Untrusted             client and server do not agree on TLS, or one does not accept the other's certificate
  x Unavailable           no server answers, or the server is full, stopping, or loading the verb; the call was tried
                          again until its deadline (also a ConnectionError)
  x DeadlineExceeded      the server took the call but did not answer in time (also a TimeoutError)
  x CannotWrite           the answer cannot be written, for example because the disk is full
  x Cancelled             the call was cancelled, by the caller or by the server
  x ServerFailed          the server failed; its log says more
  x UnexpectedAnswer      the answer does not have the form that this client knows

The client itself tries a call again only after `Unavailable`. That is safe even if the server had begun, because every
verb can be repeated without harm (the same bytes added twice are stored once, and the receipt says "known").
"""

from __future__ import annotations

import errno
import os
import re

__all__ = [
    "Cancelled",
    "CannotWrite",
    "Conflict",
    "DeadlineExceeded",
    "InvalidRequest",
    "MetadataIgnored",
    "NotFound",
    "Refused",
    "RequestIgnored",
    "ServerFailed",
    "SluiceError",
    "TooLarge",
    "Unavailable",
    "UnexpectedAnswer",
    "Unsupported",
    "Untrusted",
    "from_status",
    "unwritten",
]


class MetadataIgnored(UserWarning):
    """Warns that the metadata of an image cannot be read. The image is sent all the same, with whole pixels; an
    orientation that the metadata may have held is lost."""


class RequestIgnored(UserWarning):
    """Warns that a filter of `frames` names something that no stored frame has. Other answers say so in `no_effect`."""


class SluiceError(Exception):
    """A failed call.

    status:  the gRPC status in capitals, such as "NOT_FOUND"; "LOCAL" when the request was never sent.
    message: what was expected and what came, in one or two sentences.
    remedy:  what to do about it, in one sentence.
    """

    status = "UNKNOWN"
    remedy = "See the log of the server."

    def __init__(self, message: str, *, status: str | None = None, remedy: str | None = None):
        super().__init__(message)
        self.message = message
        self.status = self.status if status is None else status
        self.remedy = self.remedy if remedy is None else remedy

    def __str__(self) -> str:
        return self.message if self.remedy in self.message else f"{self.message} {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword arguments do not pickle by themselves, and worker processes hand them over by pickle.
        return _restore, (type(self), self.message, self.status, self.remedy)


def _restore(kind: type[SluiceError], message: str, status: str, remedy: str) -> SluiceError:
    return kind(message, status=status, remedy=remedy)


class InvalidRequest(SluiceError, ValueError):
    """A wrong request. The client refused it before sending if the status is LOCAL; otherwise the server refused it."""

    status = "LOCAL"
    remedy = ""  # the message says what was expected


class CannotWrite(SluiceError):
    status = "LOCAL"
    remedy = ""


class NotFound(SluiceError, LookupError):
    status = "NOT_FOUND"
    remedy = "See `sluice list` for the ids, and `sluice doctor` for the verbs."


class Conflict(SluiceError):
    status = "ALREADY_EXISTS"
    remedy = "Choose another id, or delete the frame that has it."


class Unsupported(SluiceError):
    status = "UNIMPLEMENTED"
    remedy = "Compare the versions of client and server with `sluice doctor`."


class TooLarge(SluiceError):
    status = "RESOURCE_EXHAUSTED"
    remedy = "Send fewer or smaller images in one call."


class Refused(SluiceError):
    status = "PERMISSION_DENIED"
    remedy = "Ask the operator of the server for the key, and send it: headers= (--header NAME=VALUE)."


class Untrusted(SluiceError):
    status = "UNAVAILABLE"
    remedy = "Check ca, cert, key and server_name of the client, and the certificate of the server."


class Unavailable(SluiceError, ConnectionError):
    """No server answers, or the server cannot take the call now.

    left: seconds until the deadline of a call that is about to be tried again, for `on_retry`; None in other places.
    """

    left: float | None = None
    status = "UNAVAILABLE"
    remedy = "Start a server with `sluice serve`, or check --server and SLUICE_URL; then try again."


class DeadlineExceeded(SluiceError, TimeoutError):
    status = "DEADLINE_EXCEEDED"
    remedy = "Allow more time, or send less in one call."


class Cancelled(SluiceError):
    status = "CANCELLED"
    remedy = ""


class ServerFailed(SluiceError):
    status = "INTERNAL"
    remedy = "See the log of the server; `sluice doctor` tries every verb."


class UnexpectedAnswer(SluiceError):
    status = "LOCAL"
    remedy = "Compare the versions of client and server with `sluice doctor`."


_BY_STATUS: dict[str, type[SluiceError]] = {
    "ABORTED": Unavailable,
    "ALREADY_EXISTS": Conflict,
    "CANCELLED": Cancelled,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "FAILED_PRECONDITION": InvalidRequest,
    "INTERNAL": ServerFailed,
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": NotFound,
    "OUT_OF_RANGE": InvalidRequest,
    "PERMISSION_DENIED": Refused,
    "RESOURCE_EXHAUSTED": TooLarge,
    "UNAUTHENTICATED": Refused,
    "UNAVAILABLE": Unavailable,
    "UNIMPLEMENTED": Unsupported,
}

# The words that Triton puts before the sentence of a Python model. They name a process, which means nothing to callers.
_WRAPPING = re.compile(
    r"^(\[request id: [^\]]*\] )?(in ensemble '[^']*', )?"
    r"(Failed to process the request\(s\) for model (instance )?'[^']*', message: )?"
    r"((TritonModelException|TritonError): )?"
)


def from_status(status: str, message: str | None, server: str = "the server") -> SluiceError:
    """Return the exception for a gRPC status.

    status:  "NOT_FOUND", or "StatusCode.NOT_FOUND" as tritonclient writes it.
    message: the details of the status; may be None or empty.
    server:  the server's address, for the message if nothing answers there.
    """
    status = (status or "UNKNOWN").rpartition(".")[2]
    text = _WRAPPING.sub("", (message or "").strip(), count=1).strip()
    kind = _BY_STATUS.get(status, ServerFailed)
    if unknown := _NO_VERB.search(text):
        name = unknown[1]
        return NotFound(
            f"{server[:1].upper()}{server[1:]} has no verb `{name}` ({text}).",
            remedy="Start a server of this version, or see with `sluice doctor` which verbs this one has.",
        )
    if away := _AWAY.search(text):
        name = f"`{away[1]}`" if away[1] else "what was asked"
        return Unavailable(
            f"{server[:1].upper()}{server[1:]} is starting or stopping, or loading {name} again ({text.rstrip('.')}).",
            remedy="Try again in some seconds; if that does not help, see the log of the server.",
        )
    if _BROKEN.search(text):
        kind, status = Unavailable, "UNAVAILABLE"
    if kind is Unavailable and "protocol is restricted" in text.lower():
        kind = Refused  # Triton 2.51 answers a missing key with UNAVAILABLE; trying again would never help
    if kind is Unavailable:
        if _NO_CONNECTION.search(text):
            reason = _REASON.search(text)
            why = "" if reason is None else _PLAINLY.get(reason[0].lower(), reason[0].lower())
            return Unavailable(f"No server answers at {server}{f' ({why})' if why else ''}.")
        if text:
            return Unavailable(_sentence(text), status=status, remedy="The server is there but busy; try again later.")
    # Sluice's models write "what was expected and what came; what to do", so the remedy stands behind the last "; ".
    remedy = text.rpartition("; ")[2] if kind in (InvalidRequest, NotFound, Conflict) and "; " in text else None
    return kind(_sentence(text or f"The call ended with {status}."), status=status, remedy=remedy)


# The words of Triton 2.51 for a model that it does not have.
_NO_VERB = re.compile(r"^Request for unknown model: '([^']*)' is not found")

# The words of Triton for a model that is not there just now, with NOT_FOUND, UNAVAILABLE, INTERNAL or no status: Triton
# has unloaded the model (as it unloads all before it ends), is ending, or has found the model's process dead, which
# `sluice serve` then replaces.
_AWAY = re.compile(
    r"^Request for unknown model: '([^']*)' has no available versions|^Server exiting|^Server is stopping|"
    r"^Stub process '(?:[^']*)' is not healthy|^Request for model '(?:[^']*)' .*not ready"
)

# A connection that breaks during a call gives UNAVAILABLE most of the time; gRPC also has these words for it.
_BROKEN = re.compile(r"^(stream removed|received rst_stream|connection closed)", re.IGNORECASE)

# The words of gRPC 1.85 when nothing is at the other end, or no longer.
_REASON = re.compile(
    r"connection refused|socket closed|connection reset|name resolution|domain name not found|no route to host|"
    r"network is unreachable|broken pipe|goaway|timeout occurred|connection attempt timed out|"
    r"tcp handshaker shutdown|connect\(\) timed out",
    re.IGNORECASE,
)
# gRPC says one of these if nobody takes the call, depending on which of its clocks runs out first.
_PLAINLY = dict.fromkeys(("tcp handshaker shutdown", "connect() timed out"), "connection attempt timed out")
_NO_CONNECTION = re.compile(
    _REASON.pattern
    + r"|stream removed|rst_stream|connection closed|failed to connect|dns resolution|endpoint closing|recvmsg",
    re.IGNORECASE,
)


def _sentence(text: str) -> str:
    """Return the text with a full stop at its end, unless it ends a sentence already."""
    return text if text.endswith((".", "!", "?")) else text + "."


# The disk takes no more, or is broken.
_LOST = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def unwritten(path: str | os.PathLike[str], error: OSError | ValueError) -> SluiceError:
    """Return the exception for a file that cannot be written.

    Returns CannotWrite if the disk takes no more bytes; otherwise InvalidRequest, because the path is wrong.
    """
    why = getattr(error, "strerror", None) or error
    kind = CannotWrite if getattr(error, "errno", None) in _LOST else InvalidRequest
    return kind(f"{os.fspath(path)} cannot be written: {why}.", status="LOCAL")
