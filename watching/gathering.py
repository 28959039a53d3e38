"""What a group of cameras writes into its journal, gathered in another one, by whichever machine asks for it.

    journal = Recorded(journal.db, journal.path)  # of the group: what is written, is also kept as a call, in the same turn
    calls = calls_after(journal.path, taken)      # from another thread; what is taken goes with the group's next turn
    for number, call in calls:                    # where all is gathered, in a turn
        told += gathered(everything, call)

A call that comes twice is written once, and told once: keys say what it is about, and an alarm is known as far as it goes.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from watching.alarms import Alarm
from watching.brought import Happened
from watching.journal import Journal, Row, reader, storable, waiting
from watching.tables import told
from watching.watched import Told

GATHERER = "gatherer"  # whom the calls wait for, among the messages of a journal
AT_ONCE = 2000  # calls


class Call(NamedTuple):
    """What a method of a journal was given."""

    name: str
    what: list[Any]
    how: dict[str, Any]


def recorded(write: Callable[..., None]) -> Callable[..., None]:
    """A journal's method, which also keeps what it is given until that is gathered."""

    @wraps(write)
    def method(self: "Recorded", *what: Any, **how: Any) -> None:
        write(self, *what, **how)
        self.messages(GATHERER, [json.dumps([write.__name__, what, how], default=storable)])

    return method


class Recorded(Journal):
    """A journal whose contents are gathered elsewhere."""

    taken = forgotten = 0  # the number of the last call that is written where all is gathered

    camera, stream, watched = map(recorded, (Journal.camera, Journal.stream, Journal.watched))
    score_rows, alarm = map(recorded, (Journal.score_rows, Journal.alarm))
    happened, finished = map(recorded, (Journal.happened, Journal.finished))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """As Journal's; what has been taken goes."""
        with super().turn():
            if (taken := self.taken) > self.forgotten:
                self.forget_messages(GATHERER, taken)
                self.forgotten = taken
            yield


def calls_after(path: Path, number: int) -> list[tuple[int, Call]]:
    """The oldest calls that wait, with their numbers, of those after this one. Raises OSError or ValueError."""
    with told(path), closing(reader(path)) as db:
        rows = waiting(db, GATHERER, after=number, most=AT_ONCE)
    return [(number, Call(*json.loads(body))) for number, body in rows]


def gathered(journal: Journal, call: Call) -> Iterator[Told]:
    """Write a call in a turn of another journal; yields what is news there."""
    if call.name == "alarm":
        yield from raised(journal, Alarm(*call.what[0]), call.how)
    elif call.name == "happened":
        camera, wall, kind, text = call.what
        if not journal.read("SELECT 1 FROM happenings WHERE (camera, wall, kind, text) = (?, ?, ?, ?)", *call.what):
            journal.happened(camera, wall, kind, text)
            yield Told(camera, Happened(kind, text))
    elif call.name == "score_rows":
        camera, stream, rows = call.what
        journal.score_rows(camera, stream, [Row(*row) for row in rows])
    else:
        getattr(journal, call.name)(*call.what, **call.how)


def raised(journal: Journal, alarm: Alarm, how: dict[str, Any]) -> Iterator[Told]:
    """Write an alarm unless it is known further: a watch that goes on from what it has saved raises the last ones again."""
    known = journal.read('SELECT score, "end" FROM alarms WHERE id = ?', alarm.id)
    score, end = known[0] if known else (None, None)
    if end is not None and alarm.end is None:
        return
    journal.alarm(alarm, **how)
    if end is None and alarm.end is not None:
        yield Told(alarm.camera, alarm, "ends")
    elif not known:
        yield Told(alarm.camera, alarm, "begins")
    elif end is None and alarm.score > score:
        yield Told(alarm.camera, alarm, "rises")
