"""The exception tree: complete, documented, and true to the statuses of gRPC."""

from __future__ import annotations

import pickle
import re

import pytest
from sluice_client import errors

TREE = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.SluiceError) and kind is not errors.SluiceError
]


def test_the_docstring_lists_exactly_the_exceptions_there_are():
    listed = re.findall(r"^  x (\w+)", errors.__doc__ or "", re.MULTILINE)
    assert listed and sorted(listed) == sorted(kind.__name__ for kind in TREE)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("INVALID_ARGUMENT", errors.InvalidRequest),
        ("NOT_FOUND", errors.NotFound),
        ("ALREADY_EXISTS", errors.Conflict),
        ("UNAVAILABLE", errors.Unavailable),
        ("DEADLINE_EXCEEDED", errors.DeadlineExceeded),
        ("CANCELLED", errors.Cancelled),
        ("INTERNAL", errors.ServerFailed),
        ("UNKNOWN", errors.ServerFailed),
        ("UNIMPLEMENTED", errors.Unsupported),
        ("RESOURCE_EXHAUSTED", errors.TooLarge),
        ("PERMISSION_DENIED", errors.Refused),
        ("DATA_LOSS", errors.ServerFailed),
    ],
)
def test_every_status_has_its_exception(status, kind):
    error = errors.from_status(f"StatusCode.{status}", "the weather is bad")
    assert type(error) is kind and error.status == status and error.message == "the weather is bad."


def test_the_exceptions_are_also_those_that_python_has_for_the_case():
    assert issubclass(errors.InvalidRequest, ValueError) and issubclass(errors.NotFound, LookupError)
    assert issubclass(errors.DeadlineExceeded, TimeoutError) and issubclass(errors.Unavailable, ConnectionError)


def test_a_missing_key_is_no_reason_to_try_again():
    text = "This protocol is restricted, expecting header 'triton-grpc-protocol-admin'"
    assert type(errors.from_status("UNAVAILABLE", text)) is errors.Refused


def test_a_busy_server_and_none_at_all_have_different_remedies():
    busy = errors.from_status("UNAVAILABLE", "Exceeds maximum queue size", "h:1")
    absent = errors.from_status(
        "UNAVAILABLE",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Connection refused",
        "h:1",
    )
    starved = errors.from_status(
        "UNAVAILABLE",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: connection attempt timed out "
        "before receiving SETTINGS frame",
        "h:1",
    )
    assert starved.message == "No server answers at h:1 (connection attempt timed out)."
    assert "busy" in busy.remedy and busy.message == "Exceeds maximum queue size."
    assert "sluice serve" in absent.remedy and absent.message == "No server answers at h:1 (connection refused)."


@pytest.mark.parametrize(
    ("status", "text"), [("UNKNOWN", "Stream removed"), ("INTERNAL", "Received RST_STREAM with error code 2")]
)
def test_a_connection_that_broke_is_unavailable_whatever_grpc_calls_it(status, text):
    error = errors.from_status(status, text, "h:1")
    assert type(error) is errors.Unavailable and error.status == "UNAVAILABLE" and "h:1" in error.message


def test_what_triton_puts_before_a_models_sentence_is_left_out():
    text = "in ensemble 'embed', Failed to process the request(s) for model instance 'decoder_0_0', message: zero bytes"
    assert errors.from_status("INVALID_ARGUMENT", text).message == "zero bytes."


def test_the_servers_own_remedy_is_taken_and_not_said_twice():
    error = errors.from_status("NOT_FOUND", "no frame 'x' is stored; `list` shows those that are")
    assert error.remedy == "`list` shows those that are"
    assert str(error) == "no frame 'x' is stored; `list` shows those that are."


def test_a_message_and_its_remedy_make_two_sentences():
    assert (
        str(errors.DeadlineExceeded("No answer in 3 s."))
        == "No answer in 3 s. Allow more time, or send less in one call."
    )


def test_an_empty_message_still_says_something():
    assert "INTERNAL" in errors.from_status("StatusCode.INTERNAL", None).message


@pytest.mark.parametrize("kind", TREE)
def test_exceptions_cross_processes_whole(kind):
    error = kind("Why.", status="S", remedy="Do.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and (again.message, again.status, again.remedy) == ("Why.", "S", "Do.")
