"""Passes settings on to Triton. Each is checked first, since Triton ignores a wrong one or ends with usage."""

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
    "backend-config": (
        "python,shm-region-prefix-name",
        "backend-directory",
        *(
            f"onnxruntime,{key}"
            for key in ("outcomes-metric", "precision-metric", "bf16-reason", "fp32-reason", "not-accelerated")
        ),
    ),
}


def flags(given: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the command line of settings that are passed on. passed: option without dashes -> its values, in their
    order.

    Raises StartError for an option that is not passed on, for a value not of the option's form, and for a setting that
    the launcher itself makes.
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
