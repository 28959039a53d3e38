"""Alarms of all cameras as they are raised: written as far as they are known, with pictures and clips."""

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from watching.alarms import Alarm, Rule, Seen, State, advance, finish
from watching.brought import Happened
from watching.evidence import Clip, Ring, stem_of
from watching.journal import Journal, Row
from watching.watched import Told, Watched

CLIPS_WAITING = 50  # of all cameras: of live ones that come then no clip is made
BEFORE, LATE = 5.0, 15.0  # seconds that a clip shows of before its alarm; and till an alarm is raised, where it need not last


class Raising:
    """What turns scored snippets into alarms, in a turn of the journal."""

    def __init__(self, journal: Journal, rule: Rule | None, folder: Path, seconds: float):
        """rule: None raises none. folder: of their pictures and clips. seconds: of a snippet."""
        self.journal, self.rule, self.folder, self.seconds = journal, rule, folder, seconds
        self.late = max(LATE, rule.least * seconds + BEFORE) if rule else LATE
        self.writer, self.writes = ThreadPoolExecutor(1, "clips"), list[Future]()

    def ring(self) -> Ring | None:
        return Ring(BEFORE, self.late) if self.rule else None

    def shown_from(self, watched: Watched) -> int:
        """The first snippet whose pictures its alarms may need when it goes on."""
        alarm = watched.alarm.alarm if watched.alarm.raised else None
        first, needed = (alarm.first, BEFORE) if alarm else (watched.position, BEFORE + self.late)
        return max(0, min(watched.position, first - math.ceil(needed / self.seconds))) if watched.ring else watched.position

    def advance(self, watched: Watched, seen: Seen) -> Iterator[Told]:
        """A snippet is scored."""
        if self.rule:
            before = watched.alarm
            watched.alarm, news = advance(before, seen, self.rule, watched.camera.name, watched.stream)
            yield from self.note(watched, news, before)

    def finish(self, watched: Watched) -> Iterator[Told]:
        """No more comes, or what comes is another stream's: an alarm that lasts ends."""
        before, watched.alarm = watched.alarm, State()
        yield from self.note(watched, finish(before), before)

    def recall(self, watched: Watched, known: Row) -> None:
        """An alarm that goes on lasted at least as far as the scores that are known, as arrays, say."""
        state = watched.alarm
        late = known.score >= self.rule.off if self.rule and state.raised else np.zeros(0, bool)
        if late.any() and (end := float(known.time[late].max()) + self.seconds) > state.end:
            watched.alarm = state._replace(end=end, wall_end=float(known.wall[late].max()) + self.seconds)

    def end_alone(self, alarm: Alarm) -> Told:
        """End an alarm of an earlier watch, of which nothing is left but what is written, with its last score that is kept."""
        known = self.journal.scores(alarm.camera, alarm.stream, last=1)
        end, wall = (known.time[0], known.wall[0]) if len(known.time) else (alarm.peak, alarm.wall_peak)
        wall = None if alarm.wall_start is None else float(wall) + self.seconds
        ended = alarm._replace(end=float(end) + self.seconds, wall_end=wall)
        self.journal.alarm(ended, raised_at=time.time())
        return Told(alarm.camera, ended, "ends")

    def note(self, watched: Watched, news: Sequence[Alarm], before: State) -> Iterator[Told]:
        """Write alarms as far as they are known; before: the state until then."""
        for alarm in news:
            picture, ends = None, alarm.end is not None
            if not ends:
                if not before.raised:
                    watched.ring.begin(alarm.start)
                file = self.folder / f"{stem_of(alarm)}.jpg"
                try:
                    self.folder.mkdir(exist_ok=True)  # it may have been moved away
                    picture = file.name if watched.ring.picture(alarm.peak, file) else None
                except OSError as error:  # scores and alarms come without pictures too
                    self.journal.happened(watched.camera.name, time.time(), "picture", str(error))
                    yield Told(watched.camera.name, Happened("picture", str(error)))
            else:
                if watched.ring:  # else no alarms are raised any more, and this one is of before
                    yield from self.write_clip(watched, alarm, watched.ring.end(alarm.end))
            self.journal.alarm(alarm, raised_at=time.time(), picture=picture)
            yield Told(watched.camera.name, alarm, "ends" if ends else "rises" if before.raised else "begins")

    def write_clip(self, watched: Watched, alarm: Alarm, clip: Clip) -> Iterator[Told]:
        """Let an alarm's clip be written, by a thread that takes a while."""
        self.writes = [written for written in self.writes if not written.done()]
        if watched.camera.live and len(self.writes) >= CLIPS_WAITING:
            what = Happened("clip", f"{self.clip_of(alarm).name}: not made, for {len(self.writes)} others wait to be written")
            self.journal.happened(watched.camera.name, time.time(), *what)
            yield Told(watched.camera.name, what)
            return
        self.writes.append(self.writer.submit(clip.write, self.clip_of(alarm)))
        watched.clips.append((self.writes[-1], alarm))

    def clip_of(self, alarm: Alarm) -> Path:
        return self.folder / f"{stem_of(alarm)}.mp4"

    def clips_written(self, watched: Watched) -> Iterator[Happened]:
        """Note the clips that are written by now, and what is to be said of them; those on their way stay in its list."""
        while watched.clips and watched.clips[0][0].done():
            written, alarm = watched.clips.pop(0)
            path = self.clip_of(alarm)
            if written.cancelled():
                error, said = None, f"{path.name}: not made, for the watch was stopped before"
            else:
                error = written.exception()
                said = f"{path.name}: not written ({type(error).__name__}: {error})" if error else written.result()
            if not error and path.exists():
                self.journal.alarm(alarm, raised_at=time.time(), clip=path.name)
            if said:
                yield Happened("clip", said)
