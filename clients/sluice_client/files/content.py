"""Tells pictures and videos by their first bytes, because the ending of a name may be wrong."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PICTURE", "VIDEO", "kind"]

PICTURE, VIDEO = "picture", "video"

# Brands of ISO media files (the four bytes after "ftyp") that are pictures. Source: ISO/IEC 23008-12; AVIF 1.1.
_STILLS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"MiHE", b"MiPr", b"crx ")
_BEGINNINGS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"0&\xb2u\x8ef\xcf\x11",  # ASF: .wmv, .asf
    b"GIF87a",
    b"GIF89a",
    b"YUV4MPEG2 ",
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG-1 and 2 without a program stream
    b"\x00\x00\x01\x67",  # bare H.264
    b"\x00\x00\x00\x01\x67",
    b"\x00\x00\x00\x01\x09",
    b"\x00\x00\x00\x01\x40\x01",  # bare HEVC
    b"\x00\x00\x00\x01\x46\x01",
    b"DKIF",  # IVF
    b"OggS",
)
_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # an old QuickTime file begins with one of these
# First byte of each packet of an MPEG transport stream. Packets have 188 bytes; those of .m2ts and .MTS have four more
# bytes in front.
_SYNC = 0x47


def kind(path: Path) -> str:
    """Return `PICTURE` (JPEG, PNG or WebP), `VIDEO`, or "".

    "" stands for other files, for formats that have no mark of their own at the beginning, and for files that cannot be
    read.
    """
    try:
        if not path.is_file():
            return ""
        with open(path, "rb") as file:
            head = file.read(800)
    except OSError:
        return ""
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return PICTURE
    return VIDEO if _video(head) else ""


def _video(head: bytes) -> bool:
    """Tell whether a file that begins with these bytes is a video."""
    if head.startswith(_BEGINNINGS) or (head[:4] == b"RIFF" and head[8:11] == b"AVI"):
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] not in _STILLS
    if head[4:8] in _ATOMS:
        return True
    return any(
        len(head) > first + 2 * apart and all(head[first + i * apart] == _SYNC for i in range(3))
        for first, apart in ((0, 188), (4, 192))
    )
