"""What an alarm looked like: a JPEG of its peak, and a short MP4 from before its start to its end.

    ring = Ring(before=5.0, late=10.0)
    ring.keep(time, rgb)  # a few pictures per snippet, as they come
    ring.begin(alarm.start)  # when an alarm is raised: from now on it keeps its pictures
    ring.picture(alarm.peak, folder / f"{stem_of(alarm)}.jpg")
    clip = ring.end(alarm.end)
    note = clip.write(folder / f"{stem_of(alarm)}.mp4")  # takes a second: in a thread, where others wait

Pictures are kept as JPEGs, at most `WIDTH` wide. Memory is bounded: of an alarm that lasts, ever fewer pictures a second.
"""

import io
import re
import unicodedata
from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from files.atomic import replacing
from files.extra import needed
from watching.alarms import Alarm

WIDTH, HEIGHT = 640, 1280  # pixels, at most
MOST = 300  # pictures of an alarm, and of a ring
CODECS = ("libx264", "mpeg4")  # the first that is there
CLOCK = Fraction(1, 1000)  # seconds


class Jpeg(NamedTuple):
    time: float  # stream seconds
    jpeg: bytes

    @classmethod
    def of(cls, time: float, rgb: np.ndarray) -> "Jpeg":
        """(height, width, 3) uint8, upright."""
        image, file = Image.fromarray(rgb), io.BytesIO()
        image.thumbnail((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        image.save(file, "JPEG", quality=85)
        return cls(time, file.getvalue())


def stem_of(alarm: Alarm) -> str:
    """The name of an alarm's files, without ending: what is harmless in the camera's, and the identifier."""
    letters = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", alarm.camera)).strip("_-")
    return f"{letters[:40] or 'camera'}-{alarm.id}"


class Clip(NamedTuple):
    """The pictures of an alarm that has ended."""

    pictures: list[Jpeg]
    share: int  # it has one of so many

    def write(self, path: Path) -> str | None:
        """Write an MP4; returns what is to be said of it, or None where all is usual.

        Raises OSError, and ValueError where PyAV is not installed.
        """
        if not self.pictures:
            return f"{path.name}: not made, for no picture of its time was kept"
        codec = write_pictures(self.pictures, path)
        notes = [f"one of {self.share} pictures, for the alarm was long"] if self.share > 1 else []
        notes += [f"coded as {codec}, for {CODECS[0]} is missing; browsers may not play it"] if codec != CODECS[0] else []
        return f"{path.name}: {'; '.join(notes)}" if notes else None


class Ring:
    """The last pictures of one camera's stream, and those of its alarm that lasts. A new stream needs a new one."""

    def __init__(self, before: float, late: float):
        self.before = before  # seconds that a clip shows of what came before
        self.late = late  # seconds from an alarm's start till it is raised, at most
        self.last: deque[Jpeg] = deque()
        self.share, self.n_seen = 1, 0  # it keeps one of so many: what a late alarm needs may be more than MOST
        self.clip: Clip | None = None  # of the alarm that lasts
        self.since = 0.0  # the time of its first picture, at least
        self.n_passed = 0  # since one was kept for the clip

    def keep(self, time: float, rgb: np.ndarray) -> None:
        """The next picture: (height, width, 3) uint8, upright."""
        self.n_seen += 1
        if self.n_seen % self.share:
            return
        self.last.append(Jpeg.of(time, rgb))
        while self.last[0].time < time - self.before - self.late:
            self.last.popleft()
        if len(self.last) > MOST:
            self.last, self.share = deque([*self.last][::-2][::-1]), 2 * self.share  # the latest stays
        self.n_passed += 1
        if self.clip and time >= self.since and self.n_passed >= self.clip.share:
            self.clip.pictures.append(self.last[-1])
            self.n_passed = 0
            if len(self.clip.pictures) > MOST:
                self.clip = Clip(self.clip.pictures[::2], self.clip.share * 2)

    def begin(self, start: float) -> None:
        """An alarm is raised that began at this stream time; of one that goes on, its pictures may be yet to come."""
        self.since = start - self.before
        self.clip = Clip([picture for picture in self.last if picture.time >= self.since], 1)

    def picture(self, peak: float, path: Path) -> bool:
        """Write the first picture from this stream time on, or the last; False where there is none. Raises OSError."""
        known = {picture.time: picture.jpeg for picture in [*(self.clip.pictures if self.clip else []), *self.last]}
        if not known:
            return False
        with replacing(path) as file:
            file.write(known[min((time for time in known if time >= peak), default=max(known))])
        return True

    def end(self, end: float) -> Clip:
        """The alarm has ended at this stream time: its clip, which the ring lets go."""
        clip, self.clip = self.clip or Clip([], 1), None
        return clip._replace(pictures=[picture for picture in clip.pictures if picture.time <= end])


def write_pictures(pictures: list[Jpeg], path: Path) -> str:
    """An MP4 of these at their times, as large as the first, of even sides; returns the codec's name. Raises OSError."""
    av = needed("av")
    codec = next(name for name in CODECS if is_encoder(name))
    times = [picture.time - pictures[0].time for picture in pictures]
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    with replacing(path) as file, av.open(file, "w", format="mp4") as container:
        size = [max(2, side // 2 * 2) for side in Image.open(io.BytesIO(pictures[0].jpeg)).size]
        stream = container.add_stream(codec, rate=max(1, round(1 / max(usual, 0.01))))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base, stream.codec_context.thread_count = CLOCK, 1
        stream.options = {"preset": "veryfast"} if codec == "libx264" else {"q:v": "4"}
        shown = -1
        for time, picture in [*zip(times, pictures, strict=True), (times[-1] + usual, pictures[-1])]:
            frame = av.VideoFrame.from_image(Image.open(io.BytesIO(picture.jpeg)).resize(size))
            shown = max(shown + 1, round(time / CLOCK))  # times that stand still would not play
            frame.pts, frame.time_base = shown, CLOCK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return codec


def is_encoder(name: str) -> bool:
    """Whether videos can be written so."""
    try:
        return needed("av").Codec(name, "w").is_encoder
    except ValueError:  # PyAV's error of an unknown codec
        return False
