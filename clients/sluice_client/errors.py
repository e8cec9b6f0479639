"""Everything that can go wrong, as one tree.

* SluiceError             any failure of a call; has `.status`, `.message`, `.remedy`
  x InvalidRequest        the request is wrong: found here before it is sent, or by the server (also a ValueError)
  x NotFound              the id, or the verb, is not known to this server (also a LookupError)
  x Conflict              the id is taken by other bytes
  x Unsupported           this server does not offer what was asked
  x TooLarge              one message is larger than client or server allow
  x Refused               this server wants a key for that call
  x Untrusted             client and server do not agree on TLS, or one does not accept the other's certificate
  x Unavailable           no server there, or it is full, stops or loads the verb; was tried again until the deadline
                          (also a ConnectionError)
  x DeadlineExceeded      the server took the call but did not answer in time (also a TimeoutError)
  x CannotWrite           what came cannot be written: the disk is full, say
  x Cancelled             the call was cancelled, here or by the server
  x ServerFailed          the server made a mistake; its log says more
  x UnexpectedAnswer      the answer does not have the form that this client knows

Only `Unavailable` is tried again by the client itself. That is safe even if the server had begun: every verb can be
repeated without harm (the same bytes added twice are stored once, and the receipt says "known").
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
    """A picture has metadata that cannot be read. Its pixels are whole and go on; an orientation that the metadata may
    have told is lost."""


class RequestIgnored(UserWarning):
    """A filter of `frames` names what no frame has. Other answers say it as `no_effect`."""


class SluiceError(Exception):
    """A failed call.

    status:  the gRPC status in capitals, such as "NOT_FOUND"; "LOCAL" when the request was never sent.
    message: what was expected and what came, one or two sentences.
    remedy:  what to do about it, one sentence.
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
        # Exceptions with keyword arguments do not pickle by themselves; worker processes need them to.
        return _restore, (type(self), self.message, self.status, self.remedy)


def _restore(kind: type[SluiceError], message: str, status: str, remedy: str) -> SluiceError:
    return kind(message, status=status, remedy=remedy)


class InvalidRequest(SluiceError, ValueError):
    """A wrong request. With status LOCAL the client refused it before sending, with any other the server did."""

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
    """left: seconds until the deadline of a call that is about to be tried again (`on_retry`); None elsewhere."""

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

# What Triton puts before the sentence of a Python model; it names a process, which means nothing to a caller.
_WRAPPING = re.compile(
    r"^(\[request id: [^\]]*\] )?(in ensemble '[^']*', )?"
    r"(Failed to process the request\(s\) for model (instance )?'[^']*', message: )?"
    r"((TritonModelException|TritonError): )?"
)


def from_status(status: str, message: str | None, server: str = "the server") -> SluiceError:
    """The exception for a gRPC status.

    status:  "NOT_FOUND", or "StatusCode.NOT_FOUND" as tritonclient writes it.
    message: the details of the status; may be None or empty.
    server:  its address, for the message when nothing answers there.
    """
    status = (status or "UNKNOWN").rpartition(".")[2]
    text = _WRAPPING.sub("", (message or "").strip(), count=1).strip()
    kind = _BY_STATUS.get(status, ServerFailed)
    if unknown := _NO_VERB.search(text):
        name = unknown[1]
        return NotFound(
            f"{server[:1].upper()}{server[1:]} has no verb `{name}` ({text}).",
            remedy="Start a server of this version, or see with `sluice doctor` what this one has.",
        )
    if away := _AWAY.search(text):
        name = f"`{away[1]}`" if away[1] else "what was asked"
        return Unavailable(
            f"{server[:1].upper()}{server[1:]} is starting or stopping, or loading {name} anew ({text.rstrip('.')}).",
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
    # Sluice's models write "what was expected and what came; what to do".
    remedy = text.rpartition("; ")[2] if kind in (InvalidRequest, NotFound, Conflict) and "; " in text else None
    return kind(_sentence(text or f"The call ended with {status}."), status=status, remedy=remedy)


# How Triton 2.51 says that it has no such model.
_NO_VERB = re.compile(r"^Request for unknown model: '([^']*)' is not found")

# How it says that a model is not there just now, with NOT_FOUND, UNAVAILABLE, INTERNAL or no status: it has unloaded it
# (as it does with all before it ends), is ending, or has found its process dead, which `sluice serve` then replaces.
_AWAY = re.compile(
    r"^Request for unknown model: '([^']*)' has no available versions|^Server exiting|^Server is stopping|"
    r"^Stub process '(?:[^']*)' is not healthy|^Request for model '(?:[^']*)' .*not ready"
)

# A connection that breaks in the middle of a call is UNAVAILABLE most of the time; gRPC also has these for it.
_BROKEN = re.compile(r"^(stream removed|received rst_stream|connection closed)", re.IGNORECASE)

# How gRPC 1.85 words it when there is nothing at the other end, or no longer.
_REASON = re.compile(
    r"connection refused|socket closed|connection reset|name resolution|domain name not found|no route to host|"
    r"network is unreachable|broken pipe|goaway|timeout occurred|connection attempt timed out|"
    r"tcp handshaker shutdown|connect\(\) timed out",
    re.IGNORECASE,
)
# What gRPC says where nobody takes the call, depending on which of its clocks runs out first.
_PLAINLY = dict.fromkeys(("tcp handshaker shutdown", "connect() timed out"), "connection attempt timed out")
_NO_CONNECTION = re.compile(
    _REASON.pattern
    + r"|stream removed|rst_stream|connection closed|failed to connect|dns resolution|endpoint closing|recvmsg",
    re.IGNORECASE,
)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


_LOST = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def unwritten(path: str | os.PathLike[str], error: OSError | ValueError) -> SluiceError:
    """Why a file cannot be written: `CannotWrite` where its disk takes no more, else the path is wrong."""
    why = getattr(error, "strerror", None) or error
    kind = CannotWrite if getattr(error, "errno", None) in _LOST else InvalidRequest
    return kind(f"{os.fspath(path)} cannot be written: {why}.", status="LOCAL")
