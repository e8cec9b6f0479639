"""What can be wrong with a request, as exceptions. The glue turns each into one gRPC status; everything else
that a model raises is a fault of ours and reaches the caller as INTERNAL, without its text.

* Refusal
  + InvalidArgument  the caller's mistake: the message says what was expected, what came and what to do
  + NotFound         an id that the server does not know
  + Unavailable      try the same again later: a full queue, a model that is being loaded, a full disk
    x Late           it waited in a queue for longer than its time limit
  + Cancelled        the caller went away; nobody reads the answer
"""


class Refusal(Exception):
    """A request that is answered with a status and a sentence instead of a result."""


class InvalidArgument(Refusal, ValueError):
    """The caller's mistake (INVALID_ARGUMENT)."""


class NotFound(Refusal, LookupError):
    """The caller named something that is not there (NOT_FOUND)."""


class Unavailable(Refusal):
    """Not now; the same request may succeed later (UNAVAILABLE)."""


class Late(Unavailable):
    """It waited in a queue for longer than its time limit (UNAVAILABLE)."""


class Cancelled(Refusal):
    """The caller has cancelled the request (CANCELLED)."""
