"""H.264 packets made and decoded by PyAV alone."""

from fractions import Fraction

import av
import numpy as np


def coded(count=12, size=(32, 16), pixels="yuv420p", options=None, matrix=1):
    """Return the packets of a video with B-frames."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = *size, pixels
    context.time_base, context.framerate, context.colorspace = Fraction(1, 30), 30, matrix
    context.options = {"preset": "medium", "x264-params": "bframes=2:b-adapt=0", **(options or {})}
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    packets = []
    for i in range(count):
        rgb = np.stack([(x * 5 + i * 9) % 256, (y * 9) % 256, x * 0 + 60], axis=-1).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pixels)
        frame.pts, frame.time_base = i, Fraction(1, 30)
        packets += context.encode(frame)
    return packets + context.encode(None)


def decoded(packets):
    """Return the frames of packets as I420, uint8 [3 H / 2, W] each."""
    context = av.CodecContext.create("h264", "r")
    fresh = [av.Packet(bytes(one)) for one in packets]
    return [frame.to_ndarray() for one in [*fresh, None] for frame in context.decode(one)]
