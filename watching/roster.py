"""Which cameras are watched: their readers are started, others come, and some go, while the watch goes on."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from files.interrupt import SIGNALS
from watching.brought import Happened
from watching.cameras import Camera
from watching.journal import Journal
from watching.keeping import Keeping, Setting
from watching.readers import Reader
from watching.watched import Spent, Watched

FILES_AT_ONCE = 8  # that are decoded at a time
LIVE_WAITING = 256  # snippets of all live cameras, some 7 MB each
EDITED_EVERY = 2.0  # seconds between two looks at what is to be watched
GONE = Happened("gone", "no longer on the list")


class Roster(Keeping):
    """The cameras of a watch, by name. Whoever reads it from another thread sees the cameras of one moment."""

    def __init__(
        self,
        made: Setting,
        journal: Journal,
        pictures: Path,
        *,
        edited: Callable[[], Sequence[Camera] | None] = lambda: None,
        stays: bool = False,
        **how: Any,
    ):
        """edited: the cameras that are to be watched from now on, asked for again and again, None = as before. stays: even if
        nothing is left to be watched. how: as Keeping.
        """
        super().__init__(made, journal, pictures, **how)
        self.watched: dict[str, Watched] = {}
        self.edited, self.stays = edited, stays
        self.leaving: list[Watched] = []  # no longer watched, but their clips are still being written
        self.stopped, self.spent, self.left_unsent = threading.Event(), Spent(), []
        self.journal.gives_up = lambda: SIGNALS.asked or self.stopped.is_set()
        self.alive_at = time.monotonic()  # when it last went round
        self.changed = threading.Condition()  # something has been brought, or taken
        self.asked_at = 0.0  # on the monotonic clock

    def start_readers(self) -> bool:
        """Start what may run now; whether anything is left to be watched."""
        left = [watched for watched in self.watched.values() if not watched.over]
        room = FILES_AT_ONCE - sum(1 for watched in left if watched.reader and not watched.camera.live)
        due = [watched for watched in left if not watched.reader and (watched.camera.live or room > 0)]
        if due:
            with self.writing():
                for watched in due:
                    if (watched.camera.live or room > 0) and self.resume(watched):
                        shown = self.raising.shown_from(watched)
                        known = {"first": watched.position, "shown": shown, "known_until": watched.known_until}
                        known |= {"known_time": watched.known_time, "crowded": self.crowded}
                        watched.start(Reader(watched.camera, self.how, self.changed, **known))
                        room -= not watched.camera.live
        return any(not watched.over for watched in left)

    def crowded(self) -> bool:
        """Whether more snippets of live cameras wait than there is memory for; asked from their threads."""
        readers = (watched.reader for watched in self.watched.values() if watched.camera.live)
        return sum(reader.n_waiting for reader in readers if reader) > LIVE_WAITING

    def begin_to_tell(self) -> None:
        """Others are told from now on; and that cameras are gone which an earlier watch here has had, and this one has not."""
        self.outbox.start(self.watched)
        absent = self.absent() if self.outbox.senders else []
        left = [name for name in self.lasted if name not in self.watched]
        if absent or left:
            with self.writing():
                for name in dict.fromkeys([*left, *absent]):
                    self.end_gone(name)

    def absent(self) -> list[str]:
        """Cameras that are not watched any more, and of which nobody has said that they are gone."""
        own = "camera = name AND kind NOT IN ('clip', 'picture')"  # these may come after
        last = f"SELECT kind FROM happenings WHERE {own} ORDER BY wall DESC LIMIT 1"
        there = self.journal.read(f"SELECT name FROM cameras WHERE coalesce(({last}), '') != 'gone' ORDER BY rowid")
        return [name for (name,) in there if name not in self.watched]

    def end_gone(self, name: str) -> None:
        """A camera is gone, and nobody is at work on it."""
        self.end_lasting(name)
        self.note(name, GONE)

    def picture_of(self, watched: Watched) -> bytes | None:
        """The last picture of a camera, a JPEG; asked for from other threads."""
        last = watched.last_picture()
        return last and last.jpeg

    def take_up(self) -> None:
        """Ask, now and then, which cameras are to be watched: others come, and some go."""
        now = time.monotonic()
        if now - self.asked_at < EDITED_EVERY:
            return
        self.asked_at = now
        self.forget_old()
        if self.leaving:
            with self.writing():
                for watched in self.leaving:
                    self.clips_written(watched)
            self.leaving = [watched for watched in self.leaving if watched.clips]
        try:
            cameras = self.edited()
        except (ValueError, OSError) as error:
            with self.writing():
                self.note("list", Happened("not read", f"{error}; the cameras of before are watched"))
            return
        if cameras is None:
            return
        before, named = self.watched, {camera.name: camera for camera in cameras}
        stay = {name for name, camera in named.items() if name in before and before[name].camera == camera}
        with self.writing():
            for name in before.keys() - stay:
                self.let_go(before[name])
            self.watched = {name: before[name] if name in stay else Watched(camera) for name, camera in named.items()}

    def let_go(self, watched: Watched) -> None:
        """It is watched no more; what it needs to go on is kept, should it come again."""
        if watched.reader:
            watched.reader.stopped.set()
            if not (watched.failed or watched.ended):
                self.told += self.raising.finish(watched)
            self.keep(watched, 0.0, leaves=True)
            self.leaving += [watched] * bool(watched.clips)
        else:
            self.end_lasting(watched.camera.name)
        if watched.camera.name in self.streams.cameras:
            self.streams.drop(watched.camera.name)
        self.happened(watched, GONE)
