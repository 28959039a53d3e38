"""A thread for each camera: it opens the source, decodes, cuts snippets, and hands them over. Scoring never waits for it.

A file is read to its end, and waits where it is not asked for more. A live source is read for ever, by its time, whatever its
rate: what nobody takes in time is dropped, the oldest first, and counted; a source that fails is opened again.
"""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby, islice

from files.features import FRAMES_PER_SNIPPET
from video.decode import Forward, Frame, Video, by_time, opened
from video.snippets import cut
from watching.brought import Begins, Happened, How, Passed, Picture, Taken
from watching.cameras import Camera
from watching.clock import Clock
from watching.evidence import WIDTH

WAITING = 8  # snippets of a camera that nobody has taken yet, at most
AT_LEAST = 2  # of a live camera, however many wait of all
MOST = 64  # of a live source: what nobody has taken yet, snippets and what happened, about
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a source is opened again; it doubles, and is jittered
LIVED = 30.0  # seconds that a source gave frames, after which the pauses begin anew
SILENT = 10.0  # seconds without a frame, after which a live source is opened again
OPENING = {"timeout": SILENT, "options": {"rtsp_transport": "tcp"}}  # lost packets of UDP would be damaged pictures
SHOWN_EVERY = 4  # frames


class Reader(threading.Thread):
    """The thread of one camera; `take` what it has brought, in order."""

    def __init__(
        self,
        camera: Camera,
        how: How,
        changed: threading.Condition,
        *,
        first: int,
        shown: int = 0,
        known_until: float | None,
        known_time: float = 0.0,
        crowded: Callable[[], bool] = lambda: False,
    ):
        """first: a file's first snippet without a known score. shown: the first whose pictures are needed. known_until and
        known_time: the wall's and the stream's time up to which a live camera is known. crowded: whether of all live cameras
        too many snippets wait.
        """
        super().__init__(name=f"reader of {camera.name}", daemon=True)
        self.camera, self.how, self.changed, self.crowded = camera, how, changed, crowded
        self.first, self.shown, self.known_until, self.known_time = first, shown, known_until, known_time
        self.ready: deque[Taken | Passed | Begins | Happened] = deque()
        self.n_waiting = self.n_dropped = self.n_frames = self.n_opened = 0
        self.seen_at = self.dropped_at = -math.inf  # when it last had a frame, and had to drop a snippet: wall time
        self.stopped = threading.Event()
        self.done = False  # all that there will be is in `ready`, or taken

    def take(self, most: int) -> list[Taken | Passed | Begins | Happened]:
        """What has come since, in order: at most so many snippets, and a stream's beginning or end only as the first.

        Hold the condition.
        """
        taken: list[Taken | Passed | Begins | Happened] = []
        while self.ready and not (taken and bounds(self.ready[0])):
            if isinstance(self.ready[0], Taken | Passed):
                if not most:
                    break
                most, self.n_waiting = most - 1, self.n_waiting - 1
            taken.append(self.ready.popleft())
        if taken:
            self.changed.notify_all()
        return taken

    def put(self, what: Taken | Passed | Begins | Happened) -> None:
        """Hand over; of a file wait for room, of a live source drop the oldest snippet."""
        with self.changed:
            if isinstance(what, Taken | Passed):
                while not self.camera.live and self.n_waiting >= WAITING and not self.stopped.is_set():
                    self.changed.wait(0.5)
                if self.camera.live and (self.n_waiting >= WAITING or (self.n_waiting >= AT_LEAST and self.crowded())):
                    self.drop_oldest(Taken)
                self.n_waiting += 1
            elif self.camera.live and len(self.ready) >= MOST:
                what = self.shortened(what)
            self.ready.append(what)
            self.changed.notify_all()

    def drop_oldest(self, kind: type) -> None:
        """Drop the oldest of this kind, if there is one."""
        for i, there in enumerate(self.ready):
            if isinstance(there, kind):
                del self.ready[i]
                if kind is Taken:
                    self.n_waiting, self.n_dropped, self.dropped_at = self.n_waiting - 1, self.n_dropped + 1, time.time()
                return

    def shortened(self, what: Begins | Happened) -> Begins | Happened:
        """Make room where nobody takes: of what happened the oldest goes, at a beginning all that came before it."""
        if isinstance(what, Happened):
            self.drop_oldest(Happened)
            return what
        anew = what.anew or any(isinstance(there, Begins) and there.anew for there in self.ready)
        self.n_waiting, self.n_dropped, self.dropped_at = 0, self.n_dropped + self.n_waiting, time.time()
        self.ready.clear()
        return what._replace(anew=anew)

    def run(self) -> None:
        try:
            self.watch() if self.camera.live else self.read()
        except Exception as error:  # not expected, but whoever watches is told
            self.put(Happened("failed", f"{type(error).__name__}: {error}"))
        finally:
            with self.changed:
                self.done = True
                self.changed.notify_all()

    def read(self) -> None:
        """A whole file, but the snippets that are known."""
        try:
            with opened(self.camera.source) as video:
                self.put(Begins(told(video), self.first == 0, time.time(), facts_of(video)))
                of_time = self.how.by == "time"
                frames = by_time(video.frames(), self.how.fps) if of_time else Forward(video.frames(), video.fps)
                looked = Looked(islice(self.until_stopped(frames), FRAMES_PER_SNIPPET * self.shown, None))
                coming = iter(looked)
                for _ in range(self.first - self.shown):
                    deque(islice(coming, FRAMES_PER_SNIPPET), maxlen=0)
                    self.put(Passed(looked.pictures()))
                for snippet in cut(coming, self.how.places, self.first):
                    self.put(Taken(snippet, looked.time, None, looked.pictures()))
                bad = f"{video.n_bad} damaged packets are skipped" if video.n_bad else ""
                jumps = f"its clock jumps {frames.n_jumps} times, which is bridged" if frames.n_jumps else ""
                if said := "; ".join(filter(None, [bad, jumps, video.broken])):
                    self.put(Happened("damaged", said))
        except (ValueError, OSError) as error:
            self.put(Happened("failed", str(error)))

    def watch(self) -> None:
        """A live source, for ever: opened again after every failure, after pauses that grow."""
        pause = FIRST_PAUSE / 2
        while not self.stopped.is_set():
            began = math.inf
            try:
                with opened(self.camera.source, **OPENING) as video:
                    began, self.n_opened = time.monotonic(), self.n_opened + 1
                    self.follow(video)
                    why = video.broken or "the stream ended"
            except (ValueError, OSError) as error:
                why = self.camera.explained(str(error))
            except Exception as error:  # whatever it is, a camera is watched for ever; its text may hold a password
                why = f"unexpected {type(error).__name__}"
            pause = FIRST_PAUSE if time.monotonic() - began > LIVED else min(2 * pause, LONGEST_PAUSE)
            wait = pause * random.uniform(0.5, 1)
            if not self.stopped.is_set():
                self.put(Happened("lost", f"{why}; next try in {wait:.1f} s"))
                self.stopped.wait(wait)

    def follow(self, video: Video) -> None:
        """The snippets of a live source while it lives: after a gap of more than a snippet, a new one begins."""
        how, number, facts = self.how, self.first, facts_of(video)
        clock = Clock(how.snippet_seconds, how.forget_after, timed=video.timed, wait=self.stopped.wait)
        if self.known_until is not None:
            away = time.time() - self.known_until
            clock.after(away if away >= 0 else math.inf, self.known_time)  # by a clock that was set back, nobody knows
            self.known_until = None
        frames = clock.steady(self.until_stopped(video.frames()))
        for _, stretch in groupby(frames, key=lambda _: clock.n_gaps):
            first, anew = next(stretch), clock.gap > how.forget_after
            number = 0 if anew else number
            self.put(Begins(told(video) if facts else f"goes on after a gap of {clock.gap:.1f} s", anew, time.time(), facts))
            facts, together = None, chain([first], stretch)  # noqa: B031
            looked = Looked(by_time(together, FRAMES_PER_SNIPPET / how.snippet_seconds))
            for snippet in cut(looked, how.places, number):
                pictures = looked.pictures()
                if snippet.n_frames == FRAMES_PER_SNIPPET:  # what a gap cuts short is no snippet
                    number = snippet.number + 1
                    self.put(Taken(snippet, snippet.start + how.snippet_seconds, time.time() - how.snippet_seconds, pictures))

    def until_stopped(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if self.stopped.is_set():
                return
            self.n_frames, self.seen_at = self.n_frames + 1, time.time()
            yield frame


class Looked:
    """Frames on their way, and what a person is shown of those that have passed."""

    def __init__(self, frames: Iterable[Frame]):
        self.frames, self.time, self.shown = iter(frames), 0.0, []

    def __iter__(self) -> Iterator[Frame]:
        for n, frame in enumerate(self.frames):
            self.time = frame.time
            if n % SHOWN_EVERY == 0:
                height, width = frame.size()
                scale = min(1.0, WIDTH / width)
                self.shown.append(Picture(frame.time, frame.rgb(max(1, round(scale * height)), max(1, round(scale * width)))))
            yield frame

    def pictures(self) -> list[Picture]:
        """Those since the last call."""
        shown, self.shown = self.shown, []
        return shown


def bounds(what: Taken | Passed | Begins | Happened) -> bool:
    """Whether a stream begins or ends with it."""
    return isinstance(what, Begins) or (isinstance(what, Happened) and what.kind == "lost")


def facts_of(video: Video) -> dict:
    """What the journal knows of a stream."""
    return {"fps": video.fps, "width": video.width, "height": video.height, "frames": video.n_header}


def told(video: Video) -> str:
    """`h264, 320x240, 30 frames/s`, and what of it is not seen as it was."""
    said = f"{video.codec}, {video.width}x{video.height}, {video.fps:.4g} frames/s" + ", interlaced" * bool(video.n_interlaced)
    return said + (f", colours in {video.matrix}, which are read wrongly" if video.matrix else "")
