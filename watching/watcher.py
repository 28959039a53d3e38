"""A group of cameras, watched on whatever machine this is, for one that gathers what comes of it: an actor's work, without Ray.

    watcher = Watcher(args, cameras, folder, pictures, here=os.getcwd(), settings=settings)
    news = watcher.news(taken)  # again and again: all up to call `taken` is written where it is gathered
    watcher.stop()              # then until `news.ended`

The group's events.db is written by one watcher at a time. One that nobody asks for its news ends by itself, for who gathered is
dead or cannot reach it, and its cameras may be watched elsewhere by now.
"""

import copy
import os
import threading
import time
from argparse import Namespace
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch

from files.extra import needed
from files.folder import Busy
from watching import setting
from watching.cameras import Camera
from watching.engine import Watch
from watching.gathering import GATHERER, Call, Recorded, calls_after
from watching.journal import Journal, opened
from watching.watched import Figures, Spent

UNASKED = 20.0  # seconds without being asked, after which a watcher saves and ends


class Over(NamedTuple):
    """A camera of which nothing more will come."""

    camera: Camera
    stream: str
    failed: str  # why; empty where it has been watched to its end


class News(NamedTuple):
    """What a watcher has to tell."""

    calls: list[tuple[int, Call]]  # of its journal, with their numbers
    over: list[Over]  # as far as it is written
    figures: dict[str, Figures]  # of its cameras, by name
    spent: Spent
    watching: bool  # its cameras are watched
    ended: bool  # and it has saved; nothing more will come


class Watcher:
    """A thread that watches; all else answers at once."""

    def __init__(
        self,
        args: Namespace,
        cameras: Sequence[Camera],
        folder: Path,
        pictures: Path,
        *,
        here: str,
        settings: Mapping[str, Any],
    ):
        """args: of watch.py. here: the folder that paths are relative to. settings: what Setting.kept must be here too."""
        self.args, self.cameras, self.folder, self.pictures = args, list(cameras), folder, pictures
        self.here, self.settings = here, settings
        self.edited: deque[list[Camera]] = deque(maxlen=1)  # which another thread takes
        self.journal: Recorded | None = None  # while it is open
        self.reading = threading.Lock()  # held while it is read, or closed
        self.watching: Watch | None = None
        self.ended = False
        self.error: BaseException | None = None
        self.stopped, self.asked_at = threading.Event(), time.monotonic()
        threading.Thread(target=self.run, name="watcher", daemon=True).start()

    def news(self, taken: int) -> News:
        """What has come, but the calls up to this number. Raises what the watch has failed with."""
        self.asked_at = time.monotonic()
        if self.error:
            raise self.error
        with self.reading:
            over, calls = self.over(), []
            if self.journal:
                self.journal.taken = taken
                calls = calls_after(self.journal.path, taken)
            watched = self.watching.watched if self.watching else {}
            figures = {name: one.figures() for name, one in watched.items()}
            spent = copy.deepcopy(self.watching.spent) if self.watching else Spent()
            return News(calls, over, figures, spent, self.watching is not None, self.ended)

    def picture(self, name: str) -> bytes | None:
        """The last picture of a camera, a JPEG."""
        watched = self.watching and self.watching.watched.get(name)
        return watched and self.watching.picture_of(watched)

    def over(self) -> list[Over]:
        """The cameras that are over, but none while a turn may be about to write that."""
        watched = self.watching.watched.values() if self.watching else ()
        over = [Over(one.camera, one.stream, one.failed) for one in watched if one.over]
        return over if over and self.watching.whole else []

    def watch(self, cameras: Sequence[Camera]) -> None:
        """Watch these from now on."""
        self.edited.append(list(cameras))

    def stop(self) -> None:
        """Save and end; what is left to be told waits for whoever asks."""
        self.stopped.set()

    def run(self) -> None:
        """Raises nothing: `news` does."""
        try:
            if not os.path.isdir(self.here):
                raise FileNotFoundError(f"{self.here}: not there; the machines of a cluster share it, under one path")
            os.chdir(self.here)
            needed("av")
            torch.set_num_threads(self.args.cores or 1)
            made = setting.prepare(self.args)
            if made.kept() != self.settings:
                raise ValueError(f"{self.args.model_path}, or this program, is not here as where --ray is given")
            with ExitStack() as stack:
                if db := self.open(stack):
                    how = {"announce": len, "edited": self.take_edited, "stays": True, "keep_days": self.args.keep_days}
                    watching = Watch(made, self.cameras, db, self.pictures, **how)
                    self.run_watch(watching, db)
        except BaseException as error:
            self.error = error
        finally:
            self.ended = True

    def open(self, stack: ExitStack) -> Recorded | None:
        """The group's journal; None where it was to end before the last watcher did."""
        while not self.is_over():
            try:
                db: Journal = stack.enter_context(opened(self.folder / "events.db"))
            except Busy:  # one that nobody hears is at its end, or a machine that is lost still holds it
                time.sleep(0.5)
                continue
            return Recorded(db.db, db.path)
        return None

    def run_watch(self, watching: Watch, db: Recorded) -> None:
        """Watch, and then wait until all of it is gathered, or nobody asks."""
        watching.stopped, db.gives_up = self.stopped, self.is_over
        self.journal, self.watching = db, watching
        try:
            watching.run()
            while db.last_message(GATHERER) > db.taken and not self.is_unasked():
                time.sleep(0.05)
            with db.turn():  # what is taken goes
                pass
        finally:
            with self.reading:
                self.journal = None

    def take_edited(self) -> list[Camera] | None:
        """The cameras that are to be watched from now on, once; ends the watch where nobody asks for its news."""
        if self.is_unasked():
            self.stopped.set()
        return self.edited.pop() if self.edited else None

    def is_unasked(self) -> bool:
        return time.monotonic() - self.asked_at > UNASKED

    def is_over(self) -> bool:
        return self.stopped.is_set() or self.is_unasked()
