"""A camera that is watched: what is known of it beside the model's memory, and what a person is told of it."""

import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lshma import Scored
from video.encoders import Encoder
from video.finding import BEGINNING
from video.pictures import crops_of
from video.snippets import vectors_of
from watching.alarms import Alarm, Seen, State
from watching.brought import Happened, Picture, Taken
from watching.cameras import Camera
from watching.evidence import Jpeg, Ring
from watching.journal import Row, Saved
from watching.readers import Reader

RECENT = 1200  # scores: of a quarter of a second each, five minutes
# what a camera is after it has happened; whatever else happens to it, it stays what it was
STATES = {"opened": "live", "gap": "live", "lost": "down", "failed": "failed", "ended": "ended"}
DOWN = ("down", "failed")  # states in which nothing comes of it
COMES_UP, GOES_DOWN = (tuple(kind for kind, state in STATES.items() if state in of) for of in (("live",), DOWN))


class Timing(NamedTuple):
    """When a snippet was."""

    number: int
    start: float
    end: float
    wall: float  # NaN = of a file


class Figures(NamedTuple):
    """What is known of a camera only where it is watched; None = not, or no more."""

    n_frames: int | None = None  # decoded
    n_dropped: int | None = None  # snippets
    n_opened: int | None = None  # times
    n_waiting: int | None = None  # snippets that are decoded, and not taken yet
    seen_at: float | None = None  # wall time of its last frame
    dropped_at: float | None = None  # and of the last snippet that was dropped
    alarm: str | None = None  # the identifier of one that lasts
    pictured: float | None = None  # stream time of its last picture


class Told(NamedTuple):
    """What a person is told, after it is written."""

    camera: str
    what: Alarm | Happened
    news: str = ""  # of an alarm: begins, rises or ends; lasts, where a watch goes on with it


@dataclass(eq=False)
class Watched:
    """A camera that is watched."""

    camera: Camera
    stream: str = ""  # what its scores and alarms are of: a file, or a live camera since its memory is new
    position: int = 0  # the number of its next snippet
    timings: deque[Timing] = field(default_factory=deque)  # of snippets whose scores are not known yet
    alarm: State = field(default_factory=State)
    ring: Ring | None = None  # pictures for its alarms; None = no alarms are raised
    clips: list[tuple[Future, Alarm]] = field(default_factory=list)  # that are being written
    known_until: float | None = None  # wall time, of a live camera that goes on
    known_time: float = 0.0  # and the stream's
    saved_at: float = -math.inf  # on the monotonic clock
    reader: Reader | None = None
    n_drops_told: int = 0
    drops_told: float = 0.0
    failed: str = ""  # why there will be no more of it; started again, it is tried again
    ended: bool = False  # all of it is scored
    over: bool = False  # and its clips are written
    state: str = "waiting"  # or live, down, failed, ended
    since: float | None = None  # wall time of that
    text: str = ""  # what was said of it last
    n_scored: int = 0
    # the last scores, each after when it was
    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=RECENT))
    picture: Jpeg | None = None  # the last one where there is no ring
    delay: float | None = None  # seconds from the end of a live camera's snippet till its score was known
    elsewhere: Figures | None = None  # of a camera that is watched by another process

    def note(self, what: Taken) -> None:
        """A snippet has come, and goes to the model."""
        wall = math.nan if what.wall is None else what.wall
        self.timings.append(Timing(self.position, what.snippet.start, what.end, wall))
        self.position += 1
        self.known_until = None if what.wall is None else what.wall + what.end - what.snippet.start
        self.known_time = what.end
        self.show(what.pictures)

    def show(self, pictures: Sequence[Picture]) -> None:
        for picture in pictures if self.ring else ():
            self.ring.keep(picture.time, picture.rgb)
        if pictures and not self.ring:
            self.picture = Jpeg.of(*pictures[-1])

    def last_picture(self) -> Jpeg | None:
        """The last picture of it that was kept, if one was."""
        ring = self.ring  # whoever asks from another thread may see it go
        return ring.last[-1] if ring and ring.last else self.picture

    def figures(self) -> Figures:
        """As they are now, for others to see."""
        if self.elsewhere:
            return self.elsewhere
        reader, last, alarm = self.reader, self.last_picture(), self.alarm
        counted = (getattr(reader, name, None) for name in Figures._fields[:-2])
        return Figures(*counted, alarm.alarm.id if alarm.raised else None, last.time if last else None)

    def has(self, what: Happened) -> None:
        """What has happened to it, as far as it changes how it is."""
        state = STATES.get(what.kind, self.state)
        if state != self.state:
            self.state, self.since = state, time.time()
        self.text = what.text

    def seen(self, known: Scored) -> Iterator[tuple[Seen, Row]]:
        """The snippets whose scores are known now."""
        for score, logit, layer, key in zip(known.scores, known.logits, known.exit_layer, known.key, strict=True):
            number, start, end, wall = self.timings.popleft()
            wall = None if math.isnan(wall) else wall
            self.has_score(start, wall, float(score), end - start)
            yield (
                Seen(number, start, end, wall, float(score), int(layer)),
                Row(number, start, wall, float(score), float(logit), int(layer), bool(key)),
            )

    def recall(self, known: Row) -> None:
        """The last scores, as arrays, of what goes on or is over."""
        self.recent.extend(zip((known.wall if self.camera.live else known.time).tolist(), known.score.tolist(), strict=True))

    def has_score(self, start: float, wall: float | None, score: float, seconds: float) -> None:
        """A snippet's score is known, of so many seconds."""
        self.recent.append((start if wall is None else wall, score))
        self.n_scored += 1  # after it: who counts from another thread has it in `recent`
        self.delay = None if wall is None else time.time() - (wall + seconds)

    def values(self) -> dict[str, Any]:
        """What it needs to go on, beside the model's memory; `go_on` takes it."""
        timings = np.array(self.timings, np.float64).reshape(-1, 4)
        values = {"timings": timings, "alarm": self.alarm.to_json()}
        return values if self.known_until is None else values | {"until": [self.known_until, self.known_time]}

    def go_on(self, saved: Saved) -> None:
        self.stream, self.position, self.alarm = saved.stream, int(saved.position), State.from_json(saved.values["alarm"])
        if self.ring and self.alarm.raised:
            self.ring.begin(self.alarm.alarm.start)
        self.timings.extend(Timing(int(number), *rest) for number, *rest in saved.values["timings"].tolist())
        self.known_until, self.known_time = saved.values.get("until", (None, 0.0))

    def start(self, reader: Reader) -> None:
        self.reader, self.saved_at = reader, time.monotonic()
        reader.start()

    def brings_no_more(self) -> bool:
        return self.reader.done and not self.reader.ready

    def may_end(self) -> bool:
        """Whether its end is not waiting for a clip."""
        return not (self.ended and self.n_unwritten())

    def n_unwritten(self) -> int:
        """How many of its clips are on their way."""
        return sum(not written.done() for written, _ in self.clips)

    def close(self) -> None:
        """It is over: what it holds in memory goes."""
        self.picture = self.last_picture()
        self.over, self.ring, self.reader = True, None, None
        self.timings.clear()
        self.has(Happened("failed" if self.failed else "ended", self.failed))


class Spent:
    """What a watch has worked: turns, and seconds by what they went to."""

    def __init__(self):
        self.n_turns, self.seconds = 0, {"encoder": 0.0, "model": 0.0}

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - began

    def add(self, now: "Spent", before: "Spent") -> None:
        """What another has worked since it had worked so much."""
        self.n_turns += now.n_turns - before.n_turns
        for what in self.seconds:
            self.seconds[what] += now.seconds[what] - before.seconds[what]


OWN = ("timings", "alarm", "until")  # of a saved state; the others are the model's


def memory_of(saved: Saved) -> Mapping[str, Any]:
    return {name: value for name, value in saved.values.items() if name not in OWN}


def file_id(camera: Camera, *what: Any) -> str:
    """The same for the same file and what else its scores and alarms depend on, wherever it lies. Raises OSError."""
    facts = Path(camera.source).stat()
    with open(camera.source, "rb") as file:
        begins = hashlib.sha256(file.read(BEGINNING)).hexdigest()
    text = json.dumps([camera.name, facts.st_size, facts.st_mtime_ns, begins, *what])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def encoded(encoder: Encoder, taken: Sequence[Taken]) -> Iterator[np.ndarray]:
    """The (D,) features of these snippets, one after another, as extract.py would write them."""
    if not taken:
        return iter(())
    crops = [crops_of(what.snippet.pictures, 1)[:, 0] for what in taken]  # (n, 224, 224, 3) each
    encoded = np.split(encoder.encode(np.concatenate(crops)), np.cumsum([len(of) for of in crops])[:-1])
    return iter([vectors_of(of_snippet) for of_snippet in encoded])
