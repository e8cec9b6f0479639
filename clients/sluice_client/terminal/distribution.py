"""Names the distribution that this client is installed from, since its name differs from that of the package."""

from importlib import metadata

__all__ = ["NAME", "version"]

NAME = "sluice-perception"


def version() -> str:
    """Return the version of the distribution, or 'unknown' if the client runs from a folder and was never installed."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown"
