"""The distribution that this client is installed from: its name on the index is not that of its imports."""

from importlib import metadata

__all__ = ["NAME", "version"]

NAME = "sluice-perception"


def version() -> str:
    """Its version, or 'unknown' where the client runs from a folder and was never installed."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown"
