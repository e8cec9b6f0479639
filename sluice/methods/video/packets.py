"""Decodes H.264 packets into pictures, with a decoder that a stream keeps from request to request.

The decoder gives frames in the order in which they are shown, some packets later than it takes them. Damaged or hostile
packets have broken decoders before, so the decoder itself checks the size of a frame before it allocates memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.video.planes import Colour, Picture, usual
from sluice.methods.video.rate import Rate, Spent

MOST_PIXELS = 4096 * 2304  # of a coded frame; a decoder holds up to 16 frames, and a request all of its own
_MATRICES = {1: "bt709", 5: "bt601", 6: "bt601"}  # AVCOL_SPC_*
_BT2020 = (9, 10)
_FULL = 2  # AVCOL_RANGE_JPEG


class Decoded(NamedTuple):
    """A decoded frame.

    time: as sent with its packet; None if no times were sent.
    spent: the rate of the stream that was known at its packet; None if its packet is not known.
    """

    picture: Picture
    time: int | float | None
    spent: Spent | None


class Decoder:
    """The decoder of one stream.

    first: number of the stream's first packet. next: number of the packet that must come next.
    Raises InvalidArgument if PyAV is not installed on this server.
    """

    def __init__(self, first: int):
        try:
            import av
        except ImportError:
            raise InvalidArgument(
                "this server cannot decode packets, because PyAV is not installed there; send PLANES instead"
            ) from None
        self._av = av
        self._context: Any = av.CodecContext.create("h264", "r")
        self._context.options = {"max_pixels": str(MOST_PIXELS)}
        self._context.thread_count = 1
        self.next = first
        self._rate, self._size = Rate(), (0, 0)
        # Time and rate of the packets whose frames are not decoded yet.
        self._known: dict[int, tuple[int | float | None, Spent | None]] = {}

    @property
    def frame_bytes(self) -> int:
        """Return the bytes of a decoded frame, about; 0 before the first frame is decoded."""
        return self._context.width * self._context.height * 3 // 2

    def decode(
        self,
        packets: Sequence[bytes],
        times: Sequence[int | float | None] | None,
        last: bool,
        matrix: str,
        range_: str,
        check: Callable[[], None],
    ) -> list[Decoded]:
        """Take packets, and return the frames that are complete now, in the order in which they are shown.

        packets: one access unit each (Annex B), in the order of decoding. times: one per packet, or None.
        last: True returns the frames that the decoder still holds as well.
        matrix, range_: names of `Colour` by which the planes are read; "" takes those that the stream declares.
        check: called before every packet; an exception of it ends the work, and the frames of these packets are lost.

        Raises InvalidArgument for a packet that cannot be decoded, and for video that is interlaced, of BT.2020 or not
        4:2:0 with 8 bits.
        """
        found: list[Any] = []
        for i, data in enumerate(packets):
            check()
            packet = self._av.Packet(data)
            number, self.next = self.next, self.next + 1
            packet.pts = number
            try:
                found += self._context.decode(packet) if data else []
            except self._av.error.FFmpegError as error:
                raise InvalidArgument(
                    f"packet {number} cannot be decoded ({error.strerror}); send whole access units in the order of "
                    "decoding, from a key frame on, or begin a stream of another name"
                ) from None
            self._known[number] = None if times is None else times[i], self._spent(data)
        if last:
            found += self._context.decode(None)
        return [self._picture(frame, matrix, range_) for frame in found]

    def _spent(self, data: bytes) -> Spent:
        """Return the rate that is known after this packet, which has been decoded."""
        size = self._context.width, self._context.height
        if size != self._size:
            self._rate, self._size = Rate(), size
        return self._rate.add(8 * len(data), coded_alone(data))

    def _picture(self, frame: Any, matrix: str, range_: str) -> Decoded:
        """Copy a frame of PyAV. Raises InvalidArgument for the kinds of video that `decode` refuses."""
        time, spent = self._known.pop(frame.pts, (None, None))
        for number in [one for one in self._known if one < self.next - 64]:
            del self._known[number]  # packets that gave no frame
        if frame.format.name not in ("yuv420p", "yuvj420p"):
            kind = frame.format.name
            raise InvalidArgument(f"packets must be 4:2:0 with 8 bits, got {kind}; convert the video first")
        if frame.interlaced_frame:
            raise InvalidArgument("packets must be progressive, got interlaced video; deinterlace it first")
        if int(frame.colorspace) in _BT2020:
            raise InvalidArgument("packets must be of BT.601 or BT.709, got BT.2020; convert the video first")
        height, width = frame.height, frame.width
        full = frame.format.name == "yuvj420p" or int(frame.color_range) == _FULL
        own = _MATRICES.get(int(frame.colorspace), usual(height)), "full" if full else "limited"
        luma, cb, cr = (
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:h, :w].copy()
            for plane, (h, w) in zip(
                frame.planes, [(height, width), *[(-(-height // 2), -(-width // 2))] * 2], strict=True
            )
        )
        picture = Picture(luma, np.stack([cb, cr], axis=-1), Colour(matrix or own[0], range_ or own[1]))
        return Decoded(picture, time, spent)


def coded_alone(packet: bytes) -> bool:
    """Tell whether the picture in a packet (Annex B) was coded without others: an IDR picture, or slices of type I.

    Source: ITU-T H.264, 7.3.1 (nal_unit), 7.3.3 (slice_header), 7.4.3 (slice_type: 2, 7 are I, 4, 9 are SI).
    """
    begin = packet.find(b"\0\0\1")
    while 0 <= begin < len(packet) - 4:
        kind = packet[begin + 3] & 31
        if kind == 5:
            return True
        if kind in (1, 2):  # a slice; its header, or that of its first partition
            bits = "".join(f"{byte:08b}" for byte in packet[begin + 4 : begin + 20])
            _, bits = _unsigned(bits)  # first_mb_in_slice
            return _unsigned(bits)[0] % 5 in (2, 4)
        begin = packet.find(b"\0\0\1", begin + 3)
    return False


def _unsigned(bits: str) -> tuple[int, str]:
    """Read a number in Exp-Golomb code from a string of 0 and 1; return it and the rest. Source: ITU-T H.264, 9.1."""
    zeros = len(bits) - len(bits.lstrip("0"))
    end = 2 * zeros + 1
    return int(bits[zeros:end] or "1", 2) - 1, bits[end:]
