"""H.264 packets to pictures: a decoder that a stream keeps from request to request.

A decoder gives frames in the order in which they are shown, some packets later than it gets them. Packets are foreign
input of the kind that decoders have been broken with, so sizes are checked by the decoder itself, before it allocates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sluice.errors import InvalidArgument
from sluice.methods.video.planes import Colour, Picture, usual
from sluice.methods.video.rate import Rate, Spent

MOST_PIXELS = 4096 * 2304  # of a coded frame; a decoder holds up to 16 of them, and a request all of its own
_MATRICES = {1: "bt709", 5: "bt601", 6: "bt601"}  # AVCOL_SPC_*
_BT2020 = (9, 10)
_FULL = 2  # AVCOL_RANGE_JPEG


class Decoded(NamedTuple):
    """A frame that came out. time: of its packet; spent: what was known of the stream's rate when that came."""

    picture: Picture
    time: int | float | None
    spent: Spent | None


class Decoder:
    """first: number of the stream's first packet. Raises InvalidArgument where this server has no decoder."""

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
        self.next = first  # number of the packet that must come now
        self._rate, self._size = Rate(), (0, 0)
        # Time and rate of the packets whose frames have not come out.
        self._known: dict[int, tuple[int | float | None, Spent | None]] = {}

    @property
    def frame_bytes(self) -> int:
        """About so many bytes a decoded frame has; 0 until the first has come out."""
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
        """The frames that come out now. last: all that are left come out too.

        matrix, range_: what the planes mean, "": as the stream says. check: asked before every packet; what it raises
        ends the work, and the frames of these packets are lost.
        Raises InvalidArgument for a packet that is none, and for video that is interlaced, not 4:2:0 with 8 bits or of
        BT.2020.
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
        """What is known of the rate after this packet, which has been decoded."""
        size = self._context.width, self._context.height
        if size != self._size:
            self._rate, self._size = Rate(), size
        return self._rate.add(8 * len(data), coded_alone(data))

    def _picture(self, frame: Any, matrix: str, range_: str) -> Decoded:
        time, spent = self._known.pop(frame.pts, (None, None))
        for number in [one for one in self._known if one < self.next - 64]:
            del self._known[number]  # of packets that gave no frame
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
    """Whether the picture in a packet (Annex B) was coded without others: an IDR picture, or slices of type I.

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
    """The first number of a string of 0 and 1 in Exp-Golomb code, and what follows. Source: ITU-T H.264, 9.1."""
    zeros = len(bits) - len(bits.lstrip("0"))
    end = 2 * zeros + 1
    return int(bits[zeros:end] or "1", 2) - 1, bits[end:]
