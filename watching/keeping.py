"""What a watch keeps and lets be told: all that a turn brings, in one transaction, and the states from which it goes on."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from files.features import FRAMES_PER_SNIPPET
from files.interrupt import SIGNALS
from lshma import Detector
from video.address import masked
from video.encoders import Encoder
from watching.alarms import Alarm, Rule
from watching.brought import Happened, How
from watching.journal import DAY, HOUR, Journal
from watching.outbox import Outbox, Sink
from watching.raising import Raising
from watching.watched import RECENT, Told, Watched, file_id, memory_of

SAVED_EVERY = {False: 2.0, True: 30.0}  # seconds between two states of a file, and of a live camera, in the journal


class Setting(NamedTuple):
    """All that a watch is made of, but its cameras."""

    detector: Detector
    encoder: Encoder
    how: How
    rule: Rule | None  # None raises no alarms
    model: str  # what scores depend on beside the video, as a digest

    def seconds_at(self, fps: float | None) -> float:
        """Of a snippet of a file at this rate; of what has none, and by time, as of a live source."""
        return FRAMES_PER_SNIPPET / fps if fps and self.how.by == "frames" else self.how.snippet_seconds

    def kept(self) -> dict[str, Any]:
        """What events.db says of how cameras were watched; the rule in snippets."""
        told = dict(zip(Rule._fields, self.rule or [None] * len(Rule._fields), strict=True))
        return {"threshold": told.pop("on")} | told | {"model": self.model, "snippets": json.dumps(self.how[:4])}


class Keeping:
    """The model's memory of all cameras, and what of it and of their alarms is in the journal."""

    def __init__(
        self,
        made: Setting,
        journal: Journal,
        pictures: Path,
        *,
        announce: Callable[[Told], None],
        sinks: Sequence[Sink] = (),
        keep_days: float | None = None,
    ):
        """pictures: the folder of alarms'. keep_days: how long alarms are kept that have ended; None = for ever."""
        self.detector, self.how, self.journal, self.announce = made.detector, made.how, journal, announce
        self.raising = Raising(journal, made.rule, pictures, made.how.snippet_seconds)
        self.streams = made.detector.stream()
        self.of_files = [made.model, made.how[:3], made.rule]  # what a file's scores and alarms depend on beside the file
        streams = journal.streams()
        self.finished = {stream.id for stream in streams if stream.finished}
        self.files = {(stream.camera, stream.id) for stream in streams if stream.began is None}
        self.before = self.note_settings(made.kept())
        self.keep_days, self.looked_at = keep_days, -math.inf  # on the monotonic clock, for what is old
        self.told: list[Told] = []
        self.lasted: dict[str, list[Alarm]] = {}  # by cameras: alarms of an earlier watch that nobody has seen end
        for alarm in journal.lasting():
            self.lasted.setdefault(alarm.camera, []).append(alarm)
        self.outbox = Outbox(journal, sinks)
        self.began = time.time()
        self.whole = True  # what is in memory is in the journal, or will be read again

    def note_settings(self, now: Mapping[str, Any]) -> dict[str, Any]:
        """Write what this watch is told; returns what the last one here was told otherwise, empty where there was none."""
        last = self.journal.settings()
        before = {name: last.get(name) for name in now if last and last.get(name) != now[name]}
        with self.journal.turn():
            if before.keys() & {"model", "snippets"}:  # a memory means nothing to another model
                self.journal.forget_live()
            self.journal.set(now)
        return before

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All that the block changes is written, and then told, however soon somebody asks to stop; or none of it."""
        with SIGNALS.held():
            self.whole = False
            with self.journal.turn():
                yield
                self.outbox.post(self.told)
            self.whole = True
            self.outbox.wake()
            told, self.told = self.told, []
            for what in told:
                self.announce(what)

    def resume(self, watched: Watched) -> bool:
        """Go on where an earlier watch was, if there was one; False where nothing is left to be done."""
        camera, name = watched.camera, watched.camera.name
        source = self.journal.source_of(name)
        if not self.known(watched):
            return False
        if camera.live and source and (before := masked(source)) != camera.shown:  # another scene, whose past is not this one's
            self.journal.forget(name)
            self.happened(watched, Happened("anew", f"its source was {before} before"))
        if not (camera.live or self.before or (name, watched.stream) in self.files) and name in {of for of, _ in self.files}:
            why = "another file of this name was watched before, by its size, time or first bytes, or with other settings"
            self.happened(watched, Happened("anew", why))
        watched.ring, saved = self.raising.ring(), None
        try:
            saved = self.journal.saved(name)
            if saved and not camera.live and saved.stream != watched.stream:
                saved = None
            if saved:
                self.streams.restore(name, memory_of(saved))
        except ValueError as error:
            saved = None
            self.happened(watched, Happened("anew", str(error)))
        if saved is None:
            self.end_lasting(name, but=watched)
            self.streams.add(name)
            return True
        watched.go_on(saved)
        if camera.live:  # what came after the saved state is known, and keeps its numbers
            known = self.journal.scores(name, saved.stream, last=RECENT)
            watched.position = max([watched.position, *(known.number + 1).tolist()])
            watched.recall(known)
            self.raising.recall(watched, known)
        self.end_lasting(name, but=watched)
        if watched.alarm.raised and not self.raising.rule:  # none are raised any more
            self.told += self.raising.finish(watched)
        elif watched.alarm.raised:  # killed, the earlier watch may have written that it begins, and not told it
            self.told.append(Told(name, watched.alarm.alarm, "lasts"))
        return True

    def end_lasting(self, name: str, but: Watched | None = None) -> None:
        """End a camera's alarms that lasted when the last watch here ended, and that nothing goes on with.

        but: a camera that is watched again. The alarm that it goes on with stays open; so do, of a file, those of its stream,
        which will be raised again.
        """
        lasted = self.lasted.pop(name, ())
        still = self.journal.lasting() if lasted else ()
        for alarm in (alarm for alarm in still if alarm in lasted):
            if but and but.alarm.raised and but.alarm.alarm.id == alarm.id:
                but.alarm = but.alarm._replace(alarm=alarm)  # its peak may have risen since the state was saved
            elif not but or but.camera.live or but.stream != alarm.stream:
                self.told.append(self.raising.end_alone(alarm))

    def known(self, watched: Watched) -> bool:
        """Note a camera, and of a file which stream it is; False where nothing is left to be done."""
        camera = watched.camera
        self.journal.camera(camera.name, camera.shown)
        if camera.live:
            return True
        try:
            watched.stream = file_id(camera, *self.of_files)
        except OSError as error:
            self.fail(watched, f"{camera.shown}: {error.strerror}")
            watched.close()
            return False
        self.journal.watched(watched.stream)
        if watched.stream in self.finished:
            watched.recall(self.journal.scores(camera.name, watched.stream, last=RECENT))
            self.end_lasting(camera.name)
            self.tell(watched, Happened("known", "has been watched to its end already"))
            watched.close()
            return False
        return True

    def keep(self, watched: Watched, every: float, leaves: bool = False) -> None:
        """Write what a camera needs to go on, if that was so many seconds ago.

        Not of a file whose clip is on its way, unless it leaves: killed, it makes it again. At once where a live camera's alarm
        began or ended.
        """
        self.clips_written(watched)
        name, now, urgent = watched.camera.name, time.monotonic(), watched.camera.live and self.news_of(watched)
        waits = watched.clips and not (watched.camera.live or leaves)
        if watched.failed or watched.ended or not watched.stream or waits:
            return
        if urgent or now - watched.saved_at >= every:
            self.journal.state(name, watched.stream, watched.position, self.streams.state(name) | watched.values())
            watched.saved_at = now

    def news_of(self, watched: Watched) -> bool:
        return any(told.camera == watched.camera.name and told.news in ("begins", "ends") for told in self.told)

    def clips_written(self, watched: Watched) -> None:
        for what in self.raising.clips_written(watched):
            self.happened(watched, what)

    def fail(self, watched: Watched, why: str) -> None:
        """There will be no more of it, now."""
        watched.failed = why
        if watched.reader:
            watched.reader.stopped.set()
        self.end_lasting(watched.camera.name)
        self.happened(watched, Happened("failed", why))

    def happened(self, watched: Watched, what: Happened) -> None:
        self.journal.happened(watched.camera.name, time.time(), what.kind, what.text)
        self.tell(watched, what)

    def note(self, name: str, what: Happened) -> None:
        """What has happened, to no camera but to what has this name."""
        self.journal.happened(name, time.time(), what.kind, what.text)
        self.told.append(Told(name, what))

    def tell(self, watched: Watched, what: Happened) -> None:
        watched.has(what)
        self.told.append(Told(watched.camera.name, what))

    def forget_old(self) -> None:
        """Remove the alarms that are older than they are to be kept, their files first, and streams of which nothing is kept;
        at most once an hour.
        """
        if time.monotonic() - self.looked_at < HOUR:
            return
        self.looked_at, now = time.monotonic(), time.time()
        with self.writing():
            gone = []
            old = () if self.keep_days is None else self.journal.old_alarms(now - self.keep_days * DAY, now)
            for id, camera, *names in old:
                try:
                    for name in filter(None, names):
                        (self.raising.folder / Path(name).name).unlink(missing_ok=True)
                    gone.append(id)
                except OSError as error:
                    self.note(camera, Happened("picture", f"{error}; it is kept"))
            self.journal.forget_alarms(gone)
            self.journal.forget_streams(now - DAY)

    def tell_sinks(self) -> None:
        """Say which sinks cannot be reached, or are again."""
        if said := list(self.outbox.said()):
            with self.writing():
                for name, what in said:
                    self.note(name, what)

    def tell_drops(self, cameras: Iterable[Watched], every: float) -> None:
        """Say, each so many seconds, how many snippets of which cameras were dropped."""
        now = time.monotonic()
        for watched in cameras:
            n = watched.reader.n_dropped - watched.n_drops_told if watched.reader else 0
            if n and now - watched.drops_told >= every:
                watched.n_drops_told, watched.drops_told = watched.n_drops_told + n, now
                with self.writing():
                    self.happened(watched, Happened("dropped", f"{n} snippets, since this machine cannot keep up"))
