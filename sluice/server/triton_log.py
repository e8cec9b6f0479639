"""Reads Triton's log for the one line that says why Triton did not start."""

import re
from collections.abc import Mapping

_FAILED = re.compile(r"(?:failed to load|Poll failed for model directory) '([^']+)'(?: version \d+)?: (.*)", re.DOTALL)
_ENTRY = re.compile(r"^[EWIF]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] ?")
_LOCK = "boost::interprocess::lock_exception"
_KNOWN = (
    # what Triton says, what it means in the caller's words
    (re.compile(r"Socket '([^']+)' already in use"), "address {0} is already in use; choose another port"),
    (re.compile(_LOCK), "a lock inside Triton waited in vain, the machine is too busy; start it again"),
    (re.compile(r"failed to stat file (\S+)"), "the file {0} is missing"),
    (re.compile(r"Invalid model name.*?: '?([^'\s]+)"), "there is no model {0} in the repositories"),
)
_CODES = re.compile(r"^(Internal|Invalid argument|Not found|Unavailable|Unsupported|Unknown|Already exists): ")


def in_use(log: str) -> bool:
    """Tell whether Triton ended because a port was taken."""
    return "already in use" in log


def starved(log: str) -> bool:
    """Tell whether Triton aborted because a Python process died with a lock, as was seen with 17 busy processes on 2
    cores.
    """
    return _LOCK in log


def reason(log: str) -> str:
    """Return why Triton gave up, as one line in the words of the model or of Triton; empty if the log does not say.

    A Python model's exception arrives with its traceback behind it ("... At: file(line): ..."), which is left out.
    """
    failed: dict[str, str] = {}
    for text in _messages(log):
        match = _FAILED.search(text)
        if match:
            failed.setdefault(match[1], _one_line(match[2]))
    if failed:
        return "; ".join(_told_once(failed))
    for text in _messages(log):
        for pattern, meaning in _KNOWN:
            match = pattern.search(text)
            if match:
                return meaning.format(*match.groups())
    errors = [text for text in _messages(log) if text.startswith("error: ")]
    return _one_line(errors[-1].removeprefix("error: ")) if errors else ""


def _told_once(failed: Mapping[str, str]) -> list[str]:
    """Return a clause per reason, after the names of all models that have it. failed: the reason of each model.

    Reasons that differ in the quoted name of their model alone are the same, and several models lose it.
    """
    alike: dict[str, list[str]] = {}
    for model, why in failed.items():
        alike.setdefault(why.replace(f" '{model}'", ""), []).append(model)
    return [f"{', '.join(models)}: {failed[models[0]] if len(models) == 1 else why}" for why, models in alike.items()]


def _messages(log: str) -> list[str]:
    """Return the log's messages without prefix, quotes and escapes. Lines of one message are joined by newlines."""
    messages: list[str] = []
    for line in log.splitlines():
        start = _ENTRY.match(line)
        if start or line.startswith("error: ") or not messages:
            messages.append(line[start.end() :] if start else line)
        else:
            messages[-1] += "\n" + line
    return [text.strip().strip('"').replace("\\n", "\n").replace('\\"', '"').replace("\\'", "'") for text in messages]


def _one_line(text: str) -> str:
    text = _CODES.sub("", text.split("\n\nAt:")[0].split("\nAt:")[0].strip())
    return " ".join(_CODES.sub("", text).split())
