"""What others are told of a watch: messages wait in events.db until their receiver has taken them, whatever happens meanwhile.

A message is written in the transaction that writes what it is about, and sent by a thread of its receiver's own, oldest first,
again and again until it is taken. Killed in between, it is sent twice: its `id` and `news` are the same.
"""

import hashlib
import json
import math
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Protocol

from watching.alarms import Alarm
from watching.brought import Happened
from watching.journal import Journal, reader, waiting
from watching.telling import message_of
from watching.watched import COMES_UP, GOES_DOWN, Told

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a message is sent again; it doubles, and is jittered
HANGING = 60.0  # seconds that a message is on its way, after which that is said
AT_ONCE = 100  # messages read from the journal


class Later(OSError):
    """A receiver says when it may be asked again."""

    def __init__(self, text: str, seconds: float):
        super().__init__(text)
        self.seconds = seconds


class Sink(Protocol):
    """A receiver of messages."""

    name: str  # as it is told, and as its messages are kept under

    def begin(self, lasting: Iterable[Alarm], cameras: Iterable[str]) -> None:
        """The cameras that are watched, by name, and their alarms that an earlier watch has seen begin, and nobody end."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Raises OSError where it is to be tried again, Later where not before a while, and ValueError where this message will
        never be taken.
        """

    def close(self) -> None: ...


class Sender(threading.Thread):
    """The thread of one sink."""

    def __init__(self, sink: Sink, journal: Journal):
        super().__init__(name=f"sender to {sink.name}", daemon=True)
        self.sink, self.path = sink, journal.path
        self.taken = 0  # the number of the last message that it has taken
        self.last = journal.last_message(sink.name)  # and of the last one that it is to get
        self.said: deque[Happened] = deque()
        self.since, self.hangs = math.inf, False  # when a message went on its way, on the monotonic clock; that it is said
        self.woken, self.stopped = threading.Event(), threading.Event()

    def run(self) -> None:
        with closing(reader(self.path)) as db:
            while not self.stopped.is_set():
                self.woken.clear()
                try:
                    left = waiting(db, self.sink.name, after=self.taken, most=AT_ONCE)
                except sqlite3.Error as error:
                    self.said.append(Happened("unreachable", f"{self.path}: {error}"))
                    self.stopped.wait(LONGEST_PAUSE)
                    continue
                for number, body in left:
                    if not self.sent(json.loads(body)):
                        break
                    self.taken = number
                if not left:
                    self.woken.wait()
        self.sink.close()

    def sent(self, message: Mapping[str, Any]) -> bool:
        """Send until it is taken; False where somebody asked to stop before."""
        pause = FIRST_PAUSE
        while not self.stopped.is_set():
            try:
                self.hand_over(message)
            except ValueError as error:
                self.said.append(Happened("refused", f"{error}; left out: {json.dumps(message, ensure_ascii=False)}"))
                return True
            except Exception as error:  # whatever else it is, nothing is lost; a library's text may hold a password
                why = str(error) if isinstance(error, OSError) else f"unexpected {type(error).__name__}"
                if pause == FIRST_PAUSE:
                    self.said.append(Happened("unreachable", f"{why}; what it is to get waits in {self.path.name}"))
                self.stopped.wait(max(pause * random.uniform(0.5, 1), getattr(error, "seconds", 0.0)))
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            if pause > FIRST_PAUSE or self.hangs:
                self.hangs = False
                self.said.append(Happened("reached", "what waited is being sent"))
            return True
        return False

    def hand_over(self, message: Mapping[str, Any]) -> None:
        self.since = time.monotonic()
        try:
            self.sink.send(message)
        finally:
            self.since = math.inf


class Outbox:
    """The messages of a watch to all its sinks."""

    def __init__(self, journal: Journal, sinks: Sequence[Sink]):
        self.journal = journal
        self.senders = [Sender(sink, journal) for sink in sinks]
        self.forgotten = dict.fromkeys(self.senders, 0)
        self.down: dict[str, bool] = {}  # cameras of which it is known

    def start(self, cameras: Collection[str]) -> None:
        """Begin to send; cameras: the names of those that are watched."""
        lasting = [alarm for alarm in self.journal.lasting() if alarm.camera in cameras] if self.senders else []
        for sender in self.senders:
            sender.sink.begin(lasting, cameras)
            sender.start()

    def post(self, told: Sequence[Told]) -> None:
        """Write what is news to others, in a turn of the journal, and forget what they have taken."""
        if not self.senders:
            return
        bodies = [json.dumps(message, ensure_ascii=False) for one in told if (message := self.news(one))]
        for sender in self.senders:
            if bodies:
                sender.last = self.journal.messages(sender.sink.name, bodies)
            if sender.taken > self.forgotten[sender]:
                self.journal.forget_messages(sender.sink.name, sender.taken)
                self.forgotten[sender] = sender.taken

    def news(self, told: Told) -> dict[str, Any] | None:
        """The message: an alarm that begins or ends, a camera that is up, down or gone; None of all else."""
        if isinstance(told.what, Alarm):
            return message_of(told) if told.news in ("begins", "ends") else None
        if told.what.kind == "gone":
            self.down.pop(told.camera, None)
            return self.identified(message_of(told))
        if told.what.kind not in (*COMES_UP, *GOES_DOWN):
            return None
        down = told.what.kind in GOES_DOWN
        if self.down.get(told.camera) == down:
            return None
        self.down[told.camera] = down
        return self.identified(message_of(told) | {"kind": "down" if down else "up"})

    @staticmethod
    def identified(message: Mapping[str, Any]) -> dict[str, Any]:
        """The message with an identifier of its own."""
        about = json.dumps([message["camera"], message["wall"], message["kind"]])
        return {"id": hashlib.sha256(about.encode()).hexdigest()[:16]} | dict(message)

    def wake(self) -> None:
        """What was posted is written."""
        for sender in self.senders:
            sender.woken.set()

    def said(self) -> Iterator[tuple[str, Happened]]:
        """What is to be said of sinks since the last call, each under its name."""
        for sender in self.senders:
            if not sender.hangs and time.monotonic() - sender.since > HANGING:
                sender.hangs = True
                what = f"no whole answer in {HANGING:.0f} s, and still waiting; what it is to get waits in {sender.path.name}"
                yield sender.sink.name, Happened("unreachable", what)
            while sender.said:
                yield sender.sink.name, sender.said.popleft()

    def close(self, patience: float) -> list[str]:
        """Give the senders so many seconds to send what waits, and end them; returns what still waits, in words."""
        until = time.monotonic() + patience
        while any(sender.taken < sender.last for sender in self.senders) and time.monotonic() < until:
            time.sleep(0.05)
        for sender in self.senders:
            sender.stopped.set()
            sender.woken.set()
        for sender in self.senders:
            sender.join(max(0.0, until + 1 - time.monotonic()))
        with self.journal.turn():
            self.post(())
        counts = self.journal.n_messages().items()
        return [f"{n} messages wait for {name}" for name, n in counts]
