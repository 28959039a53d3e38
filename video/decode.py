"""From a file, a device or an address to frames: all of them, in presentation order, upright and in their right colours.

A damaged file gives what can be decoded and says where it ends; it never hangs, and never raises once it is open.
"""

import math
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain
from typing import TYPE_CHECKING

from files.extra import needed
from video.address import masked, resolved
from video.frame import NAMES, Frame, readable

if TYPE_CHECKING:
    import av

MAX_PIXELS = 2**25  # of one frame, just above 8K: a damaged header asks for more, and would get the memory
MAX_ASPECT = 10.0  # of one pixel; beyond, the header is taken to be wrong and pixels to be square
DEFAULT_FPS = 25.0  # where neither header nor timestamps know
MAX_FPS = 1000.0  # above, a "rate" is the clock's
NO_TIMESTAMPS = 0x80  # FFmpeg's flag of a format that has none, as MJPEG by HTTP: times are made up from a rate that it guesses
MAX_GAP = 10.0  # seconds; a longer one between two frames is a jump of the clock
BACK = 1.0  # seconds; where a frame comes so much before the last one, another recording begins
TOLERANCE = 0.002  # seconds by which containers round timestamps


class Video:
    """An open source: what its header says, and what decoding has found so far."""

    def __init__(self, name: str, container: "av.container.InputContainer", timeout: float | None) -> None:
        """Decodes the first frame. Raises ValueError where there is no video stream or no frame, OSError where none comes."""
        self.name = name
        self.n_frames = 0  # given so far
        self.n_bad = 0  # packets that did not decode; skipped
        self.n_untimed = 0  # frames whose time the stream lacks; made up from the rate
        self.n_interlaced = 0  # frames of two moments in turn, line by line; they stay so
        self.matrix: str | None = None  # the colours' matrix, where frames are read as if it were another
        self.broken: str | None = None  # why decoding ended early
        self._container, self._timeout = container, timeout
        self._stream = self._choose()
        self.codec = self._stream.codec_context.codec.canonical_name
        self.timed = not container.format.flags & NO_TIMESTAMPS
        rates = (self._stream.average_rate, self._stream.base_rate, self._stream.codec_context.framerate)
        known = [float(rate) for rate in rates if rate and 0 < rate <= MAX_FPS]
        self.fps, self.fps_guessed = (known[0], False) if known else (DEFAULT_FPS, True)
        n_cut = sum(entry.is_discard for entry in self._stream.index_entries)  # stored, but not shown: by an edit list
        self.n_header: int | None = self._stream.frames - n_cut if self._stream.frames > n_cut else None  # frames promised
        aspect = float(self._stream.sample_aspect_ratio or 1)
        self._aspect = aspect if 1 / MAX_ASPECT <= aspect <= MAX_ASPECT else 1.0
        self._frames = self._decoded()
        first = next(self._frames, None)
        if first is None:
            bad = f"of its packets none decodes, {self.n_bad} tried" if self.n_bad else ""
            why = "; ".join(filter(None, (bad, self._too_large(), self.broken))) or "its video stream is empty"
            raise (OSError if timeout else ValueError)(f"{name}: no frames ({why})")
        self.height, self.width = first.size()
        self._frames = chain([first], self._frames)

    def frames(self) -> Iterator[Frame]:
        """The frames that have not been given yet, to the end. A damaged packet is skipped and counted."""
        return self._frames

    def _too_large(self) -> str:
        """That its pictures have more pixels than are read, or, where none decodes and nobody knows, may have; else nothing."""
        height, width = self._stream.height, self._stream.width
        most = f"the {MAX_PIXELS / 1e6:.1f} million pixels that are read; make them smaller"
        if height * width > MAX_PIXELS:
            return f"its pictures, {width}x{height}, are larger than {most}"
        if self.n_bad and not (height and width):
            return f"of its pictures no size is known: damaged, or larger than {most}"
        return ""

    def _choose(self) -> "av.VideoStream":
        av = needed("av")
        streams = self._container.streams
        pictures = av.stream.Disposition.attached_pic
        videos = [stream for stream in streams.video if not stream.disposition & pictures]
        if not videos:
            kinds = ", ".join(sorted({stream.type for stream in streams}))
            raise ValueError(f"{self.name}: no video stream in it" + (f", only {kinds}" if kinds else ", nor any other"))
        chosen = videos[0]
        if chosen.codec_context is None:
            raise ValueError(f"{self.name}: FFmpeg has no decoder for its video stream")
        # FFmpeg's own threads give other pixels each time where a file is damaged, lose the last frames of one that breaks
        # off, and delay a live source by a frame each
        chosen.codec_context.thread_count = 1
        chosen.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        for other in streams:
            if other.index != chosen.index:
                other.discard = av.stream.Discard.all
        return chosen

    def _decoded(self) -> Iterator[Frame]:
        """Number, time and give what the decoder gives; a source with a timeout ends when that passes without a frame."""
        av, step, now = needed("av"), 1 / self.fps, 0.0
        waiting = time.monotonic()
        with closing(self._packets()) as packets:
            for packet in packets:
                try:
                    raws = packet.decode()
                except av.EOFError:  # the decoder had been drained
                    raws = []
                except (av.FFmpegError, ValueError, MemoryError):
                    raws, self.n_bad = [], self.n_bad + 1
                for raw in raws:
                    untimed = raw.time is None or not math.isfinite(raw.time)
                    now = (now + step if self.n_frames else 0.0) if untimed else raw.time
                    self.n_untimed += untimed
                    self.n_interlaced += raw.interlaced_frame
                    self.matrix = NAMES.get(raw.colorspace, self.matrix)
                    self.n_frames += 1
                    yield Frame(self.n_frames - 1, now, readable(raw), self._aspect)
                    waiting = time.monotonic()
                if self._timeout and time.monotonic() - waiting > self._timeout:
                    self.broken = f"no frame within {self._timeout:g} s"
                    return

    def _packets(self) -> Iterator["av.Packet"]:
        """The stream's packets, and at the end, also an early one, an empty one that drains the decoder."""
        av, waiting, partial = needed("av"), time.monotonic(), False
        while not self.broken:
            try:
                for packet in self._container.demux():  # of all streams, so that one that goes on alone is noticed
                    if packet.stream_index == self._stream.index and packet.size:  # an empty one would drain the decoder
                        partial = packet.is_corrupt
                        silent = self._timeout and time.monotonic() - waiting >= self._timeout
                        yield packet
                        if silent:  # the rest of the data before, which FFmpeg gives when a read has timed out
                            break
                        waiting = time.monotonic()
                    elif self._timeout and time.monotonic() - waiting > self._timeout:
                        break
                else:
                    self.broken = "it breaks off within a frame" if partial else None
                    break
            except av.BlockingIOError:  # a device that has nothing yet
                time.sleep(0.01)
            except (av.FFmpegError, ValueError) as error:
                self.broken = reason(error, self._timeout, "its data is damaged")
            if not self.broken and self._timeout and time.monotonic() - waiting >= self._timeout:
                self.broken = f"nothing within {self._timeout:g} s"
        drain = av.Packet()
        drain.stream, drain.time_base = self._stream, self._stream.time_base  # the last frames take theirs from it
        yield drain


@contextmanager
def opened(source: str | os.PathLike, *, timeout: float | None = None, options: dict | None = None) -> Iterator[Video]:
    """Open a file, a device (`0`, `/dev/video0`) or an address, up to its first frame; closed at the end of the block.

    timeout: seconds without data, or without a frame, after which the source has failed; None waits. options: FFmpeg's, as
    `{"rtsp_transport": "tcp"}`. Raises ValueError or OSError, one line that says which source and what is wrong with it.
    """
    av, source = needed("av"), os.fspath(source)
    name, (address, kind) = masked(source), resolved(source)
    options, began = {"max_pixels": str(MAX_PIXELS)} | (options or {}), time.monotonic()
    try:
        container = av.open(address, format=kind, options=options, timeout=timeout, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:  # whose own text may hold a password
        failed = isinstance(error, OSError) or address != os.path.abspath(source)
        why = reason(error, timeout, "not a video, or its header is damaged")
        if timeout and time.monotonic() - began >= timeout:  # of a silent RTSP server FFmpeg says that its data is invalid
            why = f"nothing within {timeout:g} s"
        raise (OSError if failed else ValueError)(f"{name}: {why}") from None
    with container:
        yield Video(name, container, timeout)


def reason(error: Exception, timeout: float | None, invalid: str) -> str:
    """What went wrong, in words without the address; `invalid` where FFmpeg cannot make sense of the data."""
    av = needed("av")
    if isinstance(error, av.error.ExitError) and timeout:
        return f"nothing within {timeout:g} s"
    if isinstance(error, av.error.InvalidDataError):
        return invalid
    if isinstance(error, av.error.EOFError):
        return "it ends within its header"
    return getattr(error, "strerror", None) or type(error).__name__


class Resampled(Iterator[Frame]):
    """Frames by time, as `by_time` says; `n_jumps` counts the jumps of the clock that were bridged so far."""

    def __init__(self, frames: Iterator[Frame], fps: float) -> None:
        self.n_jumps = 0
        self._given = self._sampled(iter(frames), fps)

    def __next__(self) -> Frame:
        return next(self._given)

    def _sampled(self, frames: Iterator[Frame], fps: float) -> Iterator[Frame]:
        shown = next(frames, None)
        if shown is None:
            return
        start, begins, nominal, k = shown.time, 0.0, 1 / fps, 0  # `begins`: when `shown` comes on the screen, after `start`
        tolerance = min(TOLERANCE, 0.1 / fps)
        for frame in chain(frames, [None]):
            step = frame.time - shown.time if frame else nominal
            if frame and not 0 < step <= MAX_GAP:
                step, self.n_jumps = nominal, self.n_jumps + 1
            begins, nominal = begins + step, step
            while k / fps < begins - tolerance:
                yield shown._replace(number=k, time=start + k / fps)
                k += 1
            shown = frame


class Forward(Iterator[Frame]):
    """Frames whose time never goes back: a jump, as between two recordings in one file, is bridged by the step before it, and
    counted in `n_jumps`; a step of less than BACK, as where frames are out of order, is none.
    """

    def __init__(self, frames: Iterator[Frame], fps: float) -> None:
        self.n_jumps = 0
        self._given = self._bridged(frames, 1 / fps)

    def __next__(self) -> Frame:
        return next(self._given)

    def _bridged(self, frames: Iterator[Frame], nominal: float) -> Iterator[Frame]:
        before, shift = -math.inf, 0.0
        for frame in frames:
            at = frame.time + shift
            if at <= before - BACK:
                shift, self.n_jumps = shift + before + nominal - at, self.n_jumps + 1
                at = before + nominal
            elif at > before > -math.inf:
                nominal = at - before
            before = max(before, at)
            yield frame._replace(time=before)


def by_time(frames: Iterator[Frame], fps: float) -> Resampled:
    """The pictures on the screen at the times t0 + k / fps, numbered k, from the first frame's time t0 on.

    The last is held as long as the one before it. A step of the clock that is not forward, or longer than MAX_GAP, is bridged
    by one as long as the step before it, and counted.
    """
    return Resampled(frames, fps)
