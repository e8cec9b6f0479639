"""The errors of the gallery."""

from __future__ import annotations

from sluice import errors


class GalleryError(errors.Refusal):
    """Anything that the gallery refuses."""


class NotAGallery(GalleryError):
    """The folder is not a gallery that this program can read."""


class UnknownId(GalleryError, errors.NotFound):
    """An id that is not stored."""


class VersionMismatch(GalleryError, errors.InvalidArgument):
    """The gallery holds features of another version of the feature model."""


class Damaged(GalleryError):
    """Stored bytes are not those that were written."""


class Unavailable(GalleryError, errors.Unavailable):
    """Nothing was stored or deleted; the same call may succeed later."""


class Full(Unavailable):
    """No space is left on the disk."""


class ReadOnly(Unavailable):
    """The folder cannot be written."""


class Busy(Unavailable):
    """Another process kept the gallery locked for too long."""


class Moved(Unavailable):
    """The files that are open are no longer those at the gallery's path: what is written there would be lost."""


class LogLost(Moved):
    """Only SQLite's log beside the catalogue was removed or replaced. Who opened the gallery again would begin another
    log beside the one that others still write."""
