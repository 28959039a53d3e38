"""One frame of a video: upright, in square pixels and in its right colours, whatever the codec gave."""

import threading
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from files.extra import needed

if TYPE_CHECKING:
    import av

# matrices from YUV to RGB that swscale knows, by their numbers in ITU-T H.273
MATRICES = {0, 1, 2, 4, 5, 6, 7, 9}
UNSPECIFIED, CONSTANT_LUMINANCE, BT2020 = 2, 10, 9
NAMES = {
    8: "YCgCo",
    CONSTANT_LUMINANCE: "BT.2020 with constant luminance",
    11: "SMPTE 2085",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}  # of others that are in use
_of_thread = threading.local()  # a scaler keeps its tables from frame to frame, and serves one thread


def readable(raw: "av.VideoFrame") -> "av.VideoFrame":
    """The frame itself, with a matrix that swscale knows; it refuses a frame of any other."""
    if raw.colorspace not in MATRICES:
        raw.colorspace = BT2020 if raw.colorspace == CONSTANT_LUMINANCE else UNSPECIFIED
    return raw


class Frame(NamedTuple):
    number: int  # in presentation order, from 0
    time: float  # stream time in seconds, finite
    raw: "av.VideoFrame"
    aspect: float = 1.0  # width of a pixel by its height, before the turn

    def size(self) -> tuple[int, int]:
        """(height, width) in square pixels, upright: as a person sees it."""
        height, width = self.raw.height, max(1, round(self.raw.width * self.aspect))
        return (width, height) if turn(self.raw)[0] else (height, width)

    def rgb(self, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8, upright, the aspect not kept. Raises ValueError of a frame that is in no known format."""
        swapped, rows, columns = turn(self.raw)
        if swapped:
            height, width = width, height
        try:
            picture = scaled(self.raw, height=height, width=width)
        except needed("av").FFmpegError as error:
            raise ValueError(f"frame {self.number}, {self.raw.format.name}: no picture ({error.strerror})") from None
        pixels = picture.to_ndarray()  # (H, W, 3)
        pixels = pixels.swapaxes(0, 1) if swapped else pixels
        return np.ascontiguousarray(pixels[::rows, ::columns])


def scaled(raw: "av.VideoFrame", *, height: int, width: int) -> "av.VideoFrame":
    """The frame as RGB of this size, not turned; raises FFmpegError of a frame that cannot be.

    YUV is scaled as YUV 4:2:2 and then converted: swscale's fast path from there to RGB is twice as fast as its scaling to
    RGB, and nearer to what it gives when told to be accurate.
    """
    if not hasattr(_of_thread, "scalers"):
        _of_thread.scalers = [needed("av.video.reformatter").VideoReformatter() for _ in range(2)]
    scaler, converter = _of_thread.scalers
    how = dict(height=height, width=width, interpolation="BILINEAR", threads=1)
    if len(raw.format.components) >= 3 and not raw.format.is_rgb:
        raw = scaler.reformat(raw, format="yuv422p", **how)
    return converter.reformat(raw, format="rgb24", **how)


def turn(raw: "av.VideoFrame") -> tuple[bool, int, int]:
    """How to set a frame upright: whether rows and columns change places, then the steps (1 or -1) along rows and columns.

    Of the display matrix's eight right-angled cases; another angle is rounded to the next, and a matrix of zeros turns nothing.
    """
    matrix = raw.side_data.get("DISPLAYMATRIX") if raw.side_data else None
    if matrix is None or matrix.buffer_size < 36:
        return False, 1, 1
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()  # a pixel at (x, y) is shown at (ax + cy, bx + dy)
    swapped = abs(b) + abs(c) > abs(a) + abs(d)
    down, right = (b, c) if swapped else (d, a)
    return swapped, -1 if down < 0 else 1, -1 if right < 0 else 1
