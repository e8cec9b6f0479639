"""Exceptions for the ways in which a request can fail.

The glue (`sluice.triton`) turns each of them into one gRPC status with its sentence. Every other exception that a model
raises is a fault of the server, and reaches the caller as INTERNAL without its text.

* Refusal
  + InvalidArgument  a mistake of the caller: the message says what was expected, what came and what to do
  + NotFound         the request names an id that the server does not know
  + Unavailable      the same request may succeed later: a full queue, a model that is being loaded, a full disk
    x Late           the request waited in a queue for longer than its time limit
  + Cancelled        the caller has left; nobody reads the answer
"""


class Refusal(Exception):
    """A request is answered with a status and a sentence instead of a result."""


class InvalidArgument(Refusal, ValueError):
    """The caller made a mistake (INVALID_ARGUMENT)."""


class NotFound(Refusal, LookupError):
    """The caller named something that the server does not have (NOT_FOUND)."""


class Unavailable(Refusal):
    """The request cannot be served now; the same request may succeed later (UNAVAILABLE)."""


class Late(Unavailable):
    """The request waited in a queue for longer than its time limit (UNAVAILABLE)."""


class Cancelled(Refusal):
    """The caller has cancelled the request (CANCELLED)."""
