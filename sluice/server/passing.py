"""Settings of Triton that are passed on as they are: each is looked at first, since Triton takes a wrong one in silence
or ends with a page of usage."""

import re
from collections.abc import Mapping, Sequence

from sluice.server.layout import StartError

# Option of `sluice serve` -> (the form of its values, what it is for). Every one may be repeated.
PASSED = {
    "backend-config": (
        "[BACKEND,]KEY=VALUE",
        "a backend's setting, such as onnxruntime,default-max-batch-size=8; without a name it is for every backend",
    ),
    "rate-limit": ("off|execution_count", "let models wait for the resources that their rate_limiter names"),
    "rate-limit-resource": ("NAME:COUNT[:DEVICE]", "how much there is of a resource, else as much as one model asks"),
    "trace-config": ("[MODE,]KEY=VALUE", "a setting of tracing, such as rate=1, or opentelemetry,url=ADDRESS"),
}
_SETTING = re.compile(r"(?:[\w-]+,)?[\w.-]+=[^\0\n]+")
_FORMS = {
    "backend-config": _SETTING,
    "rate-limit": re.compile(r"off|execution_count"),
    "rate-limit-resource": re.compile(r"[\w.-]+:\d+(?::\d+)?"),
    "trace-config": _SETTING,
}
# What a server could not be watched, cleaned up or found again without.
_OURS = {
    "backend-config": ("python,shm-region-prefix-name", "backend-directory", "onnxruntime,outcomes-metric"),
}


def flags(given: Mapping[str, Sequence[str]]) -> list[str]:
    """The command line of what is passed on: option without dashes -> its values, in their order.

    Raises StartError for an option that is not passed on, a value not of its form, or a setting that is the launcher's.
    """
    made = []
    for option, values in given.items():
        if option not in PASSED:
            raise StartError(f"--{option} is not passed on to Triton; what is: --{', --'.join(PASSED)}")
        for value in values:
            if not _FORMS[option].fullmatch(value):
                raise StartError(f"--{option} takes {PASSED[option][0]}, got {value!r}")
            key = value.partition("=")[0]
            if key in _OURS.get(option, ()):
                raise StartError(f"--{option} {key} is set by the server itself; leave it out")
            made.append(f"--{option}={value}")
    return made
