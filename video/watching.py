"""The engine of watch.py: what all cameras bring is encoded together, ready clips take one step of the model, alarms follow.

Whatever cameras are beside it and in whatever order snippets come, a file's scores are those of the same file extracted and
tested with `--smooth causal`. All that a turn brings is written in one transaction before it is announced; killed at any
moment, a watch goes on from the last state that was written.

Shapes: n snippets of a camera, N pictures, D width.
"""

import hashlib
import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lshma import Detector, Scored
from video.alarms import Alarm, Rule, Seen, State, advance, finish
from video.cameras import Camera
from video.encoders import Encoder
from video.evidence import Ring, stem_of
from video.journal import Journal, Row
from video.pictures import crops_of
from video.readers import Begins, Happened, How, Reader, Taken
from video.snippets import vectors_of

SNIPPETS_AT_ONCE = 64  # of all cameras together
FILES_AT_ONCE = 8  # that are decoded at a time
SAVED_EVERY = {False: 5.0, True: 30.0}  # seconds between two states of a file, and of a live camera, in the journal
DROPS_TOLD_EVERY = 30.0  # seconds
STOPPING = 3.0  # seconds that readers have to end; one that waits for a silent source ends when that has failed
BEFORE, LATE = 5.0, 15.0  # seconds that a clip shows of before its alarm; and till an alarm is raised, at most


class Timing(NamedTuple):
    """When a snippet was."""

    number: int
    start: float
    end: float
    wall: float  # NaN = of a file


@dataclass
class Watched:
    """A camera that is watched: what is known of it beside the model's memory."""

    camera: Camera
    stream: str = ""  # what its scores and alarms are of: a file, or a live camera since its memory is new
    position: int = 0  # the number of its next snippet
    timings: deque[Timing] = field(default_factory=deque)  # of snippets whose scores are not known yet
    alarm: State = field(default_factory=State)
    ring: Ring | None = None  # pictures for its alarms; None = no alarms are raised
    clips: list[Future] = field(default_factory=list)  # that are being written
    known_until: float | None = None  # wall time, of a live camera that goes on
    known_time: float = 0.0  # and the stream's
    saved_at: float = 0.0
    reader: Reader | None = None
    n_dropped: int = 0  # that have been told
    drops_told: float = 0.0
    over: bool = False

    def seen(self, known: Scored) -> Iterator[tuple[Seen, Row]]:
        """The snippets whose scores are known now."""
        for score, logit, layer, key in zip(known.scores, known.logits, known.exit_layer, known.key, strict=True):
            number, start, end, wall = self.timings.popleft()
            wall = None if math.isnan(wall) else wall
            yield (
                Seen(number, start, end, wall, float(score), int(layer)),
                Row(number, start, wall, float(score), float(logit), int(layer), bool(key)),
            )


class Told(NamedTuple):
    """What a person is told, after it is written."""

    camera: str
    what: Alarm | Happened
    news: str = ""  # of an alarm: begins, rises or ends


class Watch:
    """All cameras, until files have ended or somebody stops it."""

    def __init__(
        self,
        detector: Detector,
        encoder: Encoder,
        cameras: Sequence[Camera],
        how: How,
        journal: Journal,
        rule: Rule | None,
        *,
        model: str,
        pictures: Path,
        announce: Callable[[Told], None],
    ):
        """rule: None raises no alarms. model: what scores depend on beside the video. pictures: the folder of alarms'."""
        self.detector, self.encoder, self.how, self.journal, self.rule = detector, encoder, how, journal, rule
        self.announce, self.model, self.pictures = announce, model, pictures
        self.writer = ThreadPoolExecutor(1, "clips")
        self.streams, self.changed = detector.stream(), threading.Condition()
        self.watched = {camera.name: Watched(camera) for camera in cameras}
        self.told: list[Told] = []
        self.stopped = threading.Event()
        with journal.turn():
            for watched in self.watched.values():
                watched.ring = self.new_ring()
                self.resume(watched)

    def resume(self, watched: Watched) -> None:
        """Go on where an earlier watch was, if there was one."""
        camera, name = watched.camera, watched.camera.name
        self.journal.camera(name, camera.shown)
        if not camera.live:
            watched.stream = self.file_id(camera)
            if any(stream.id == watched.stream and stream.finished for stream in self.journal.streams()):
                watched.over = True
                self.told.append(Told(name, Happened("known", "has been watched to its end already")))
                return
        saved = self.journal.saved(name)
        if saved is None or (not camera.live and saved.stream != watched.stream):
            self.streams.add(name)
            return
        values = dict(saved.values)
        timings, alarm = values.pop("timings"), values.pop("alarm")
        until = values.pop("until", (None, 0.0))
        try:
            self.streams.restore(name, values)
        except ValueError as error:
            self.told.append(Told(name, Happened("anew", str(error))))
            self.streams.add(name)
            return
        watched.known_until, watched.known_time = until
        watched.stream, watched.position, watched.alarm = saved.stream, int(saved.position), State.from_json(alarm)
        if watched.ring and watched.alarm.raised:
            watched.ring.begin(watched.alarm.alarm.start)
        watched.timings.extend(Timing(int(number), *rest) for number, *rest in timings.tolist())
        if camera.live:  # what came after the saved state is known, and keeps its numbers
            watched.position = max([watched.position, *(self.journal.scores(name, saved.stream).number + 1)])

    def file_id(self, camera: Camera) -> str:
        """The same for the same file, model and rule, wherever it lies."""
        facts = Path(camera.source).stat()
        what = [camera.name, facts.st_size, facts.st_mtime_ns, self.model, self.how[:3], self.rule]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]

    def run(self) -> None:
        """Watch until all files have ended, or `stopped` is set. Raises OSError where the journal cannot be written."""
        try:
            self.tell()
            while not self.stopped.is_set() and self.start_readers():
                with self.changed:
                    brought = self.brought()
                    if not brought:
                        self.changed.wait(0.2)
                        brought = self.brought()
                if brought:
                    self.turn(brought)
                self.tell_drops()
        finally:
            for watched in self.watched.values():
                if watched.reader:
                    watched.reader.stopped.set()
            patience = time.monotonic() + STOPPING
            for watched in self.watched.values():
                if watched.reader:
                    watched.reader.join(max(0.0, patience - time.monotonic()))
            self.writer.shutdown()

    def start_readers(self) -> bool:
        """Start what may run now; whether anything is left to be watched."""
        left = [watched for watched in self.watched.values() if not watched.over]
        n_files = sum(1 for watched in left if watched.reader and not watched.camera.live)
        for watched in left:
            if watched.reader is None and (watched.camera.live or n_files < FILES_AT_ONCE):
                known = {"first": watched.position, "known_until": watched.known_until, "known_time": watched.known_time}
                watched.reader = Reader(watched.camera, self.how, self.changed, **known)
                watched.reader.start()
                n_files += not watched.camera.live
        return bool(left)

    def brought(self) -> list[tuple[Watched, list]]:
        """What the readers have brought, the cameras' turns alike. The condition must be held."""
        running = [watched for watched in self.watched.values() if watched.reader and not watched.over]
        most = max(1, SNIPPETS_AT_ONCE // max(1, len(running)))
        brought = [(watched, watched.reader.take(most)) for watched in running]
        return [(watched, what) for watched, what in brought if what or (watched.reader.done and not watched.reader.ready)]

    def turn(self, brought: Sequence[tuple[Watched, list]]) -> None:
        """Score what was brought, write what follows, then announce it."""
        features = self.encode([taken for _, items in brought for taken in items if isinstance(taken, Taken)])
        with self.journal.turn():
            new: dict[str, np.ndarray] = {}
            for watched, items in brought:
                new |= self.take(watched, items, features)
            for name, known in self.streams.push(new).items():
                self.record(self.watched[name], known)
            for watched, _ in brought:
                if watched.reader.done and not watched.reader.ready:
                    self.end(watched)
                elif time.monotonic() - watched.saved_at > SAVED_EVERY[watched.camera.live] and self.clips_written(watched):
                    self.save(watched)
        self.tell()

    def encode(self, taken: Sequence[Taken]) -> Iterator[np.ndarray]:
        """The (D,) features of these snippets, one after another, as extract.py would write them."""
        if not taken:
            return iter(())
        pictures = [what.snippet.pictures for what in taken]
        crops = crops_of(np.concatenate(pictures), 1)[:, 0]  # (N, 224, 224, 3)
        encoded = np.split(self.encoder.encode(crops), np.cumsum([len(p) for p in pictures])[:-1])
        return iter([vectors_of(of_snippet) for of_snippet in encoded])

    def take(self, watched: Watched, items: Sequence, features: Iterator[np.ndarray]) -> Mapping[str, np.ndarray]:
        """Note what a camera has brought; returns its new (n, D) features, if there are any."""
        name, new = watched.camera.name, []
        for what in items:
            if isinstance(what, Begins):
                self.begin(watched, what)
            elif isinstance(what, Happened):
                self.happened(watched, what)
            else:
                new.append(next(features))
                wall = math.nan if what.wall is None else what.wall
                watched.timings.append(Timing(what.snippet.number, what.snippet.start, what.end, wall))
                watched.position = what.snippet.number + 1
                watched.known_time = what.end
                watched.known_until = None if what.wall is None else what.wall + what.end - what.snippet.start
                for picture in what.pictures if watched.ring else ():
                    watched.ring.keep(picture.time, picture.rgb)
        return {name: np.stack(new)} if new else {}

    def begin(self, watched: Watched, what: Begins) -> None:
        """A source is open, or goes on after a gap."""
        name = watched.camera.name
        self.happened(watched, Happened("opened" if what.facts else "gap", what.text))
        if what.anew and watched.camera.live:
            self.note(watched, finish(watched.alarm), State())
            watched.alarm, watched.position, watched.ring = State(), 0, self.new_ring()
            watched.timings.clear()
            self.streams.reset(name)
            watched.stream = f"{name} {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(what.wall))}"
        began = what.wall if watched.camera.live else None
        self.journal.stream(watched.stream, name, began=began, **(what.facts or {}))

    def record(self, watched: Watched, known: Scored) -> None:
        """Scores that are known now, and the alarms that follow."""
        name, rows = watched.camera.name, []
        for seen, row in watched.seen(known):
            rows.append(row)
            if self.rule:
                before = watched.alarm
                watched.alarm, news = advance(before, seen, self.rule, name, watched.stream)
                self.note(watched, news, before)
        self.journal.score_rows(name, watched.stream, rows)

    def note(self, watched: Watched, news: Sequence[Alarm], before: State) -> None:
        """Write alarms as far as they are known, with their pictures; before: the state until then."""
        for alarm in news:
            stem = stem_of(alarm)
            picture, clip = self.pictures / f"{stem}.jpg", None
            if alarm.end is None:
                if not before.raised:
                    watched.ring.begin(alarm.start)
                watched.ring.picture(alarm.peak, picture)
            else:
                clip = self.pictures / f"{stem}.mp4"
                watched.clips.append(self.writer.submit(watched.ring.end(alarm.end).write, clip))
            self.journal.alarm(alarm, raised_at=time.time(), picture=picture.name, clip=clip and clip.name)
            news = "ends" if alarm.end is not None else "rises" if before.raised else "begins"
            self.told.append(Told(watched.camera.name, alarm, news))

    def clips_written(self, watched: Watched) -> bool:
        """Whether none is on its way: till then no state is saved, so that a killed watch makes it again. Raises OSError."""
        while watched.clips and watched.clips[0].done():
            if said := watched.clips.pop(0).result():
                self.happened(watched, Happened("clip", said))
        return not watched.clips

    def new_ring(self) -> Ring | None:
        return Ring(BEFORE, LATE) if self.rule else None

    def end(self, watched: Watched) -> None:
        """A file has ended: its last snippets, and an alarm that lasts."""
        if known := self.streams.finish(watched.camera.name):
            self.record(watched, known)
        if self.rule:
            self.note(watched, finish(watched.alarm), watched.alarm)
        wait(watched.clips)
        self.clips_written(watched)
        watched.over = True
        self.journal.finished(watched.stream)

    def save(self, watched: Watched) -> None:
        """Write what a camera needs to go on."""
        name = watched.camera.name
        timings = np.array(watched.timings, np.float64).reshape(-1, 4)
        values = self.streams.state(name) | {"timings": timings, "alarm": watched.alarm.to_json()}
        if watched.known_until is not None:
            values["until"] = [watched.known_until, watched.known_time]
        self.journal.state(name, watched.stream, watched.position, values)
        watched.saved_at = time.monotonic()

    def happened(self, watched: Watched, what: Happened) -> None:
        self.journal.happened(watched.camera.name, time.time(), what.kind, what.text)
        self.told.append(Told(watched.camera.name, what))

    def tell_drops(self) -> None:
        """Say, from time to time, how many snippets of which cameras were dropped."""
        now = time.monotonic()
        for watched in self.watched.values():
            n = watched.reader.n_dropped - watched.n_dropped if watched.reader else 0
            if n and now - watched.drops_told > DROPS_TOLD_EVERY:
                watched.n_dropped, watched.drops_told = watched.n_dropped + n, now
                with self.journal.turn():
                    self.happened(watched, Happened("dropped", f"{n} snippets, since this machine cannot keep up"))
        self.tell()

    def tell(self) -> None:
        told, self.told = self.told, []
        for what in told:
            self.announce(what)
