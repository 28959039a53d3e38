"""Cameras in groups on the machines of a Ray cluster; one that is lost costs its cameras some seconds.

    with cluster.connected(args.ray) as ray:
        watching = Spread(ray, args, made, cameras, journal, pictures, n_groups=2, announce=print_words)
        watching.run()

A group's cameras are watched by a Watcher on one of the machines, with an events.db of its own in groups/NNN. It is asked again
and again what has come, which is written into the journal of all, and told. One that does not answer is given up, and its
cameras go on elsewhere, from what it has saved. Nothing here waits for a machine.
"""

import json
import math
import os
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from files import atomic
from files.interrupt import SIGNALS
from running import cluster
from watching.brought import Happened
from watching.cameras import Camera
from watching.engine import STOPPING
from watching.flags import SECRETS
from watching.gathering import AT_ONCE, Call, gathered
from watching.group import Group, assigned, needs, require_shared, room
from watching.journal import Journal, Row
from watching.keeping import Setting
from watching.roster import Roster
from watching.telling import counted
from watching.watched import RECENT, Told, Watched
from watching.watcher import Over, Watcher

EVERY = 0.5  # seconds between two requests of news
SILENT, STARTING = 10.0, 60.0  # seconds without an answer after which a watcher is given up; and till its first one
SETTLING = 2.0  # seconds till a lost group is placed: machines that are lost together are known by then
AVOIDED = 120.0  # seconds that a machine is the last choice after a watcher there was given up
SAVING = 60.0  # seconds that watchers have to save
PICTURE = 2.0  # seconds that a watcher has to send one


class Spread(Roster):
    """All cameras, until files have ended or somebody stops it."""

    def __init__(
        self,
        ray: ModuleType,
        args: Namespace,
        made: Setting,
        cameras: Sequence[Camera],
        journal: Journal,
        pictures: Path,
        *,
        n_groups: int,
        edited: Callable[[], Sequence[Camera] | None] = lambda: None,
        **how: Any,
    ):
        """args: of watch.py, as each group gets them; how: as Watch takes it. Raises ValueError."""
        super().__init__(made, journal, pictures, edited=lambda: require_shared(edited()), **how)
        self.watched = {camera.name: Watched(camera) for camera in require_shared(cameras)}
        self.ray, self.n_groups = ray, n_groups
        self.args = Namespace(**vars(args) | dict.fromkeys(SECRETS))  # no group needs them
        self.settings = made.kept()
        self.lives = {stream.camera: stream.id for stream in journal.streams() if stream.began is not None}
        self.numbers: dict[str, int] = json.loads(journal.settings().get("groups", "{}"))  # of all cameras' groups, ever
        self.groups: dict[int, Group] = {}
        self.shown: dict[str, tuple[str, int]] = {}  # of each camera the last score that is: its stream and number
        self.avoided: dict[str, float] = {}  # machines, and since when, on the monotonic clock

    def run(self) -> None:
        """Watch until all files have ended, or `stopped` is set.

        Raises OSError where the journal cannot be written, ValueError where a group cannot begin.
        """
        try:
            self.begin_to_tell()
            self.assign()
            self.tell_lasting()
            while not self.stopped.is_set() and (self.stays or any(not watched.over for watched in self.watched.values())):
                for group in self.groups.values():
                    self.place(group)
                self.hear_all()
                self.tell_sinks()
                self.take_up()
                self.alive_at = time.monotonic()
                self.stopped.wait(EVERY)
        finally:
            with SIGNALS.delayed():
                self.close()

    def close(self) -> None:
        """Let all watchers save, take their last news, and end them."""
        self.stopped.set()
        try:
            for group in self.at_work():
                if group.heard:
                    group.watcher.stop.remote()
                else:  # it waits for a machine
                    self.lose(group, "")
            patience = time.monotonic() + SAVING
            while self.at_work() and time.monotonic() < patience:
                self.hear_all()
                time.sleep(EVERY / 5)
            unsaved = [group.name for group in self.groups.values() if group.begun and not group.ended and self.left(group)]
            self.left_unsent = [f"{name} goes on from what it saved before" for name in unsaved]
            if not self.at_work():  # else they may be writing there
                atomic.sweep(self.raising.folder)
        finally:
            self.raising.writer.shutdown()
            self.left_unsent += self.outbox.close(STOPPING)

    def at_work(self) -> list[Group]:
        return [group for group in self.groups.values() if group.watcher and not group.ended]

    def take_up(self) -> None:
        """As Roster; the groups are told."""
        before = self.watched
        super().take_up()
        if self.watched is not before:
            self.assign()

    def let_go(self, watched: Watched) -> None:
        """Its group says that it is gone, where one is at work on it."""
        if not any(group.watcher and watched.camera in group.cameras for group in self.groups.values()):
            self.end_gone(watched.camera.name)

    def end_gone(self, name: str) -> None:
        """As Roster; its alarms of this watch end too."""
        self.lasted[name] = [alarm for alarm in self.journal.lasting() if alarm.camera == name]
        super().end_gone(name)

    def assign(self) -> None:
        """Give each camera its group, and each group that is watched its cameras."""
        with self.writing():
            for name, watched in self.watched.items():
                if not (watched.stream or watched.over) and self.known(watched) and watched.camera.live:
                    watched.stream = self.lives.get(name, "")
                    watched.recall(self.journal.scores(name, watched.stream, last=RECENT))
            self.numbers |= assigned(self.watched, self.numbers, self.n_groups)
            self.journal.set({"groups": json.dumps(self.numbers)})
        for number in {self.numbers[name] for name in self.watched} - self.groups.keys():
            self.groups[number] = Group(number)
            self.folder_of(number).mkdir(parents=True, exist_ok=True)
        for group in self.at_work():
            cameras = [one.camera for one in self.members(group) if not one.over or one.camera in group.cameras]
            if cameras != group.cameras:
                group.cameras = cameras
                group.watcher.watch.remote(cameras)

    def tell_lasting(self) -> None:
        """The alarms that an earlier watch has begun here; their groups go on with them."""
        with self.writing():
            for alarm in self.journal.lasting() if self.raising.rule else ():
                watched = self.watched.get(alarm.camera)
                if watched and alarm.stream == watched.stream and not watched.over:
                    self.told.append(Told(alarm.camera, alarm, "lasts"))

    def members(self, group: Group) -> list[Watched]:
        return [watched for name, watched in self.watched.items() if self.numbers[name] == group.number]

    def left(self, group: Group) -> list[Watched]:
        return [watched for watched in self.members(group) if not watched.over]

    def folder_of(self, number: int) -> Path:
        return self.journal.path.parent / "groups" / f"{number:03}"

    def place(self, group: Group) -> None:
        """Let a group that has no watcher be watched on the machine with most room, if there is one now."""
        now = time.monotonic()
        if group.watcher or now - self.avoided.get(group.machine, -math.inf) < SETTLING or not (left := self.left(group)):
            return
        there = {machine["NodeID"]: machine for machine in cluster.machines(self.ray) if room(machine, self.args)}
        if not there:
            return
        taken = Counter(other.machine for other in self.groups.values() if other.watcher)
        free = {machine: room(there[machine], self.args) - taken[machine] for machine in there}
        machine = max(free, key=lambda one: (now - self.avoided.get(one, -math.inf) > AVOIDED, free[one]))
        asked = needs(self.args, machine, reserved=free[machine] > 0 and not group.n_placed)
        how = {"here": os.getcwd(), "settings": self.settings}
        group.cameras = [watched.camera for watched in left]
        what = (self.args, group.cameras, self.folder_of(group.number), self.raising.folder)
        group.watcher = self.ray.remote(Watcher).options(**asked).remote(*what, **how)
        group.machine, group.address = machine, there[machine]["NodeManagerAddress"]
        group.heard_at, group.n_placed = now, group.n_placed + 1

    def hear_all(self) -> None:
        """Take the news that have come, ask for more, and give up who does not answer."""
        for group in self.at_work():
            group.request = group.request or group.watcher.news.remote(group.taken)
        requests = {group.request: group for group in self.at_work()}
        come, _ = self.ray.wait([*requests], num_returns=len(requests), timeout=0) if requests else ([], [])
        for request in come:
            self.hear(requests.pop(request))
        for group in requests.values():
            silent = time.monotonic() - group.heard_at
            if silent > (SILENT if group.heard else STARTING):
                self.lose(group, f"no answer from {group.address} for {silent:.0f} s")

    def hear(self, group: Group) -> None:
        """Write the news of a group, and tell them."""
        try:
            news = self.ray.get(group.request)
        except self.ray.exceptions.RayError as error:
            return self.fail_group(group, error)
        group.request, group.heard, group.heard_at, group.n_placed = None, True, time.monotonic(), 0
        with self.writing():
            for number, call in news.calls:
                new = list(gathered(self.journal, call))
                self.told += new
                self.follow(call, new)
                group.taken = number
            if news.watching and group.lost_at:
                seconds = time.monotonic() - group.lost_at
                self.note(group.name, Happened("watched again", f"on {group.address}, after {seconds:.0f} s"))
                group.lost_at = None
        for name in news.figures.keys() & self.watched.keys():
            self.watched[name].elsewhere = news.figures[name]
        self.spent.add(news.spent, group.spent)
        group.spent, group.begun = news.spent, group.begun or news.watching
        if len(news.calls) < AT_ONCE:  # all that came before what is over is written
            self.end(news.over)
        if news.ended and self.stopped.is_set():
            group.ended = True
        elif news.ended:
            self.lose(group, f"{group.address} was not asked for news in time, and has ended it")

    def follow(self, call: Call, new: Sequence[Told]) -> None:
        """What a group has written, and what of it is new, as far as it changes how its cameras are."""
        for told in new:
            if isinstance(told.what, Happened) and (watched := self.watched.get(told.camera)):
                watched.has(told.what)
        if call.name == "stream" and (watched := self.watched.get(call.what[1])) and watched.camera.live:
            watched.stream = call.what[0]
        elif call.name == "score_rows" and (watched := self.watched.get(call.what[0])):
            name, stream, rows = call.what
            for row in (Row(*row) for row in rows):
                before, number = self.shown.get(name, ("", -1))
                if before != stream or number < row.number:  # else it is told again
                    self.shown[name] = stream, row.number
                    watched.has_score(row.time, row.wall, row.score, self.how.snippet_seconds)

    def picture_of(self, watched: Watched) -> bytes | None:
        """As Roster, from where it is watched; None where that does not answer."""
        group = self.groups.get(self.numbers.get(watched.camera.name))
        watcher = group and not self.stopped.is_set() and group.watcher  # which another thread may take away
        try:
            return self.ray.get(watcher.picture.remote(watched.camera.name), timeout=PICTURE) if watcher else None
        except self.ray.exceptions.RayError:
            return None

    def end(self, over: Sequence[Over]) -> None:
        """Note cameras of which nothing more will come."""
        for camera, stream, failed in over:
            watched = self.watched.get(camera.name)
            if watched and watched.camera == camera and not watched.over:
                watched.stream, watched.failed = stream, failed
                watched.close()
                self.finished |= set() if failed or camera.live else {stream}

    def fail_group(self, group: Group, error: Exception) -> None:
        """No news but an error of Ray's. Raises ValueError where it is the watcher's own, and the group was never watched."""
        of_watcher = isinstance(error, self.ray.exceptions.RayTaskError) or getattr(error, "actor_init_failed", False)
        why = getattr(error, "cause", None) or str(error).strip().splitlines()[-1]
        if of_watcher and not (group.begun or self.stopped.is_set()):
            raise ValueError(f"{group.name}, on {group.address}: {why}") from error
        self.lose(group, f"{group.address}: {why}" if of_watcher else f"{group.address} is lost ({type(error).__name__})")

    def lose(self, group: Group, why: str) -> None:
        """A watcher is given up; its cameras are to be watched elsewhere."""
        self.ray.kill(group.watcher)
        self.avoided[group.machine] = time.monotonic()
        group.drop()
        if gone := [name for name in self.absent() if self.numbers.get(name) == group.number]:
            with self.writing():
                for name in gone:  # it left the list, which its group had no time to tell
                    self.end_gone(name)
        if not (group.lost_at or self.stopped.is_set()):
            group.lost_at = group.heard_at
            left = self.left(group)
            with self.writing():
                self.note(group.name, Happened("unwatched", f"{why}; {counted(len(left), 'camera')} to be watched elsewhere"))
                for watched in left:
                    watched.elsewhere = None
                    if watched.camera.live:  # as it is told of one that does not answer
                        self.happened(watched, Happened("lost", f"{group.name} is unwatched"))
