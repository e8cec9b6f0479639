"""The errors of the gallery.

* GalleryError
  + NotAGallery       the folder holds something else, or a format newer than this program
  + UnknownId         an id that is not stored (also NotFound)
  + VersionMismatch   features of another version of the feature model lie there (also InvalidArgument)
  + Damaged           stored bytes are not those that were written
  + Unavailable       nothing was stored or deleted; the same call may succeed later
    x Full            no space is left on the disk
    x ReadOnly        the folder cannot be written
    x Busy            another process kept the gallery locked for longer than the time-out
    x Moved           the files that are open are no longer those at the gallery's path
      + LogLost       only the log beside the catalogue was taken

A wrong argument raises InvalidArgument, which is a ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence

from sluice import errors


class GalleryError(errors.Refusal):
    """Anything that the gallery refuses."""


class NotAGallery(GalleryError):
    """The folder is not a gallery that this program can read."""


class UnknownId(GalleryError, errors.NotFound):
    """An id that is not stored."""

    @classmethod
    def of(cls, ids: Sequence[str]) -> UnknownId:
        """Return the error for some ids, the first five of which are named."""
        some = ", ".join(repr(id_)[:60] for id_ in ids[:5])
        more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
        return cls(f"no frame with the id {some}{more} is stored; `sluice list` shows those that are")


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
    """Only SQLite's log beside the catalogue was removed or replaced. A program that opened the gallery again would
    begin a second log beside the one that other programs still write.
    """
