"""The engine of watch.py: what all cameras bring is encoded together, ready clips take one step of the model, alarms follow.

Whatever cameras are beside it and in whatever order snippets come, a file's scores are those of the same file extracted and
tested with `--smooth causal`. All that a turn brings is written in one transaction before it is announced; killed at any
moment, a watch goes on from the last state that was written.

Shapes: n snippets of a camera, N pictures, D width.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from files.interrupt import SIGNALS
from lshma import Scored
from video.encoders import threads
from watching.brought import Begins, Happened, Passed, Taken
from watching.cameras import Camera
from watching.journal import Journal
from watching.keeping import SAVED_EVERY, Setting
from watching.roster import Roster
from watching.watched import Watched, encoded

PICTURES_AT_ONCE = 256  # of all cameras together, if that is a snippet of each
DROPS_TOLD_EVERY = 30.0  # seconds
CLIPS = 5.0  # seconds that clips on their way have when a watch is stopped
OF_A_FILE = 4  # clips on their way, at which no more of it is taken
STOPPING = 3.0  # seconds that readers have to end; one that waits for a silent source ends when that has failed


class Watch(Roster):
    """All cameras, until files have ended or somebody stops it."""

    def __init__(self, made: Setting, cameras: Sequence[Camera], journal: Journal, pictures: Path, **how: Any):
        """how: as Roster."""
        super().__init__(made, journal, pictures, **how)
        self.watched = {camera.name: Watched(camera) for camera in cameras}
        self.encoder = made.encoder

    def run(self) -> None:
        """Watch until all files have ended, or `stopped` is set. Raises OSError where the journal cannot be written."""
        n_threads = torch.get_num_threads()
        threads()  # the encoder's are as many
        torch.set_num_threads(1)  # a step's, which wait for each other, would be five times slower where decoders share cores
        try:
            self.begin_to_tell()
            while (self.start_readers() or self.stays) and not self.stopped.is_set():
                with self.changed:
                    brought = self.brought()
                    if not brought:
                        self.changed.wait(0.2)
                        brought = self.brought()
                if brought:
                    self.turn(brought)
                self.tell_drops(self.watched.values(), DROPS_TOLD_EVERY)
                self.tell_sinks()
                self.take_up()
                self.alive_at = time.monotonic()
        finally:
            torch.set_num_threads(n_threads)
            with SIGNALS.delayed():
                self.close()

    def close(self) -> None:
        """Save all that is not over, and end all threads."""
        running = [watched for watched in self.watched.values() if watched.reader]
        readers = [watched.reader for watched in running]
        for reader in readers:
            reader.stopped.set()
        try:
            if self.whole:
                self.tell_drops(running, 0.0)
                with self.writing():
                    for watched in running:
                        self.end(watched) if watched.ended else self.keep(watched, 0.0)
                self.end_clips(running)
        finally:
            patience = time.monotonic() + STOPPING
            for reader in readers:
                reader.join(max(0.0, patience - time.monotonic()))
            self.raising.writer.shutdown(cancel_futures=True)
            self.left_unsent = self.outbox.close(STOPPING)

    def end_clips(self, running: Sequence[Watched]) -> None:
        """Wait a while for the clips on their way. Those that are not begun by then are given up; a file makes its own again.

        All else is written before: whoever stops a watch may not wait as long.
        """
        late = [watched for watched in (*self.leaving, *running) if watched.clips]
        wait([written for watched in late for written, _ in watched.clips], CLIPS)
        for watched in late:
            if watched.camera.live or watched in self.leaving:
                for written, _ in watched.clips:
                    written.cancel()
        wait([written for watched in late for written, _ in watched.clips if written.running()])
        if late:
            with self.writing():
                for watched in late:
                    if watched not in running:
                        self.clips_written(watched)
                    elif watched.ended:
                        self.end(watched)
                    else:
                        self.keep(watched, 0.0)

    def brought(self) -> list[tuple[Watched, list]]:
        """What the readers have brought, the cameras' turns alike. The condition must be held."""
        running = [watched for watched in self.watched.values() if watched.reader]
        running = [watched for watched in running if watched.camera.live or watched.n_unwritten() < OF_A_FILE]
        most = max(1, PICTURES_AT_ONCE // len(self.how.places) // max(1, len(running)))
        brought = [(watched, watched.reader.take(most)) for watched in running]
        return [(watched, what) for watched, what in brought if what or (watched.brings_no_more() and watched.may_end())]

    def turn(self, brought: Sequence[tuple[Watched, list]]) -> None:
        """Score what was brought, write what follows, then announce it."""
        self.spent.n_turns += 1
        brought = [(watched, [] if watched.failed else items) for watched, items in brought]
        with self.spent.on("encoder"):
            features = encoded(self.encoder, [taken for _, items in brought for taken in items if isinstance(taken, Taken)])
        with self.writing():
            new: dict[str, np.ndarray] = {}
            for watched, items in brought:
                new |= self.take(watched, items, features)
            with self.spent.on("model"):
                scored = self.push(new)
            for name, known in scored.items():
                self.record(self.watched[name], known)
            for watched, _ in brought:
                if watched.brings_no_more():
                    self.end(watched)
                else:
                    self.keep(watched, SAVED_EVERY[watched.camera.live])

    def take(self, watched: Watched, items: Sequence, features: Iterator[np.ndarray]) -> Mapping[str, np.ndarray]:
        """Note what a camera has brought; returns its new (n, D) features, if there are any."""
        new = []
        for what in items:
            if isinstance(what, Begins):
                self.begin(watched, what)
            elif isinstance(what, Taken):
                new.append(next(features))
                watched.note(what)
            elif isinstance(what, Passed):
                watched.show(what.pictures)
            elif what.kind == "failed":
                self.fail(watched, what.text)
            else:
                if what.kind == "lost":
                    self.lose(watched)
                self.happened(watched, what)
        return {watched.camera.name: np.stack(new)} if new else {}

    def push(self, new: Mapping[str, np.ndarray]) -> dict[str, Scored]:
        """The scores that are known now; a camera that the model cannot score does the others no harm."""
        try:
            return self.streams.push(new)
        except ValueError as error:
            if len(new) > 1:
                return dict(pair for name, of in new.items() for pair in self.push({name: of}).items())
            (name,) = new
            self.unscorable(self.watched[name], str(error))
            return {}

    def unscorable(self, watched: Watched, why: str) -> None:
        """A file fails; a live camera begins anew."""
        if not watched.camera.live:
            return self.fail(watched, why)
        self.happened(watched, Happened("anew", why))
        self.told += self.raising.finish(watched)
        watched.timings.clear()
        self.streams.reset(watched.camera.name)

    def begin(self, watched: Watched, what: Begins) -> None:
        """A source is open, or goes on after a gap."""
        name = watched.camera.name
        self.happened(watched, Happened("opened" if what.facts else "gap", what.text))
        if what.anew and watched.camera.live:
            self.start_anew(watched)
            watched.ring = self.raising.ring()
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(what.wall))
            watched.stream = f"{name} {moment}.{int(what.wall % 1 * 1000):03}Z"
        began = what.wall if watched.camera.live else None
        self.journal.stream(watched.stream, name, began=began, **(what.facts or {}))

    def lose(self, watched: Watched) -> None:
        """A live camera is lost: opened again it begins anew, so that what it had is over now.

        What goes on from an earlier watch, and was not open in this one, is over only when it has been away for too long.
        """
        away = math.inf if watched.known_until is None else time.time() - watched.known_until
        waits = 0 <= away <= self.how.forget_after  # by a clock that was set back, nobody knows for how long
        if watched.state == "live" or (watched.position and not waits):
            self.start_anew(watched)

    def start_anew(self, watched: Watched) -> None:
        """What comes next of a live camera is another stream's."""
        name = watched.camera.name
        try:
            self.finish(watched)
            self.streams.add(name)
        except ValueError as error:
            self.unscorable(watched, str(error))
        watched.timings.clear()
        watched.position, watched.known_until = 0, None

    def record(self, watched: Watched, known: Scored) -> None:
        """Scores that are known now, and the alarms that follow."""
        rows = []
        for seen, row in watched.seen(known):
            rows.append(row)
            self.told += self.raising.advance(watched, seen)
        self.journal.score_rows(watched.camera.name, watched.stream, rows)

    def finish(self, watched: Watched) -> None:
        """A stream is over: the scores of its last snippets, and an alarm that lasts ends. Raises ValueError."""
        if known := self.streams.finish(watched.camera.name):
            self.record(watched, known)
        self.told += self.raising.finish(watched)

    def end(self, watched: Watched) -> None:
        """No more comes: the last snippets, an alarm that lasts, and, once its clips are written, the end."""
        if not watched.position and not watched.camera.live and not watched.failed:
            self.fail(watched, f"{watched.camera.shown}: no frame of it can be decoded")
        if not watched.ended and not watched.failed:
            try:
                self.finish(watched)
            except ValueError as error:
                self.fail(watched, str(error))
        if watched.failed:
            self.told += self.raising.finish(watched)
        watched.ended = True
        self.clips_written(watched)
        if watched.failed and watched.camera.name in self.streams.cameras:
            self.streams.drop(watched.camera.name)
        if not watched.clips:
            if not watched.failed:
                self.journal.finished(watched.stream)
                self.finished.add(watched.stream)
            watched.close()
