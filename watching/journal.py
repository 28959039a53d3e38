"""events.db: what was watched, in SQLite: alarms, scores, what happened to cameras, and what they need to go on.

    with opened(path) as journal, journal.turn():  # all of a turn is written, or, killed at any moment, none of it
        journal.score_rows("door", stream, rows)
        journal.alarm(alarm, raised_at=time.time())
        journal.state("door", stream, position, streams.state("door") | {"alarms": state.to_json()})

Everything is written under a key that says what it is about: doing it twice is doing it once. Other programs
may read meanwhile.
"""

import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from files.folder import locked
from files.interrupt import SIGNALS
from watching import blob
from watching.alarms import Alarm
from watching.tables import PATIENCE, Kept, prepare, told

HOUR = 3600.0
DAY, MONTH = 86400.0, 30 * 86400.0  # for so long live cameras' scores and what happened are kept
FORGOTTEN_AT_ONCE = 500  # alarms


class Row(NamedTuple):
    """A scored snippet. Of several, arrays: no wall is NaN."""

    number: int  # in its stream
    time: float  # stream seconds of its start
    wall: float | None  # unix seconds of its start; None for files
    score: float
    logit: float
    exit_layer: int
    key: bool


class Raised(NamedTuple):
    """An alarm with what there is of it."""

    alarm: Alarm
    raised_at: float  # unix seconds
    picture: str | None
    clip: str | None


class Stream(NamedTuple):
    """A file, or one connection to a live source."""

    id: str
    camera: str
    began: float | None  # unix seconds of stream time 0; None for files
    fps: float | None
    width: int | None
    height: int | None
    frames: int | None
    finished: bool


class Saved(NamedTuple):
    """What a camera needs to go on."""

    stream: str
    position: float
    values: dict[str, Any]


@contextmanager
def opened(path: str | Path) -> Iterator["Journal"]:
    """The journal of this file, which is made where it is not there, for this process alone to write.

    Raises Busy where another process writes to it, ValueError where it is damaged or no journal of this version, and OSError
    where it cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder, and {path.name} is to be there")
    with locked(path.with_name(f".{path.name}.lock"), f"{path}: another process writes to it"):
        with told(path):
            db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        with closing(db):
            with told(path):
                prepare(db, path)
            yield Journal(db, path)


def reader(path: Path, mode: str = "ro") -> sqlite3.Connection:
    """A connection to a journal's file for another thread than its writer's; it only reads, unless `mode` is rw."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=PATIENCE)


def waiting(db: sqlite3.Connection, sink: str, *, after: int, most: int) -> list[tuple[int, str]]:
    """The oldest messages that wait for a sink, of those after this number: their numbers and bodies."""
    query = "SELECT number, body FROM outbox WHERE sink = ? AND number > ? ORDER BY number LIMIT ?"
    return db.execute(query, (sink, after, most)).fetchall()


def storable(value: Any) -> Any:
    """A value as SQLite takes it: numpy's numbers are Python's, and of a name what is no text, as of a file's, is escaped."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return value.item() if isinstance(value, np.generic) else value


class Journal:
    """An open events.db."""

    def __init__(self, db: sqlite3.Connection, path: Path):
        self.db, self.path = db, path
        self.gives_up: Callable[[], bool] = lambda: SIGNALS.asked  # whether who waits to write is to stop

    @contextmanager
    def turn(self) -> Iterator[None]:
        """All that is written in the block is written when it ends, or, where it fails, none of it. Raises OSError."""
        self.begin()
        try:
            yield
            self.read("COMMIT")
        except BaseException:
            if self.db.in_transaction:  # a full disk has ended it already
                self.read("ROLLBACK")
            raise

    def begin(self) -> None:
        """Begin to write, however long another program keeps the file, unless somebody asks to stop. Raises OSError."""
        said = False
        while True:
            try:
                self.read("BEGIN IMMEDIATE")
                return
            except Kept as error:
                if self.gives_up():
                    raise
                if not said:
                    print(f"{error}; until then nothing is scored", file=sys.stderr)
                said = True

    def write(self, command: str, rows: Iterable[Sequence[Any]]) -> None:
        with told(self.path):
            self.db.executemany(command, [[storable(value) for value in row] for row in rows])

    def read(self, query: str, *values: Any) -> list[tuple]:
        with told(self.path):
            return self.db.execute(query, [storable(value) for value in values]).fetchall()

    def camera(self, name: str, source: str) -> None:
        """A camera, and its source without a password."""
        self.write("INSERT OR REPLACE INTO cameras VALUES (?, ?)", [(name, source)])

    def source_of(self, name: str) -> str | None:
        """What `camera` was given last; None where it is not there."""
        rows = self.read("SELECT source FROM cameras WHERE name = ?", name)
        return rows[0][0] if rows else None

    def stream(
        self,
        id: str,
        camera: str,
        *,
        began: float | None = None,
        fps: float | None = None,
        width: int | None = None,
        height: int | None = None,
        frames: int | None = None,
    ) -> None:
        """A stream; of one that is known, what is given replaces what was, but when it began."""
        facts = ", ".join(f"{name} = coalesce(excluded.{name}, {name})" for name in ("fps", "width", "height", "frames"))
        command = f"INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT (id) DO UPDATE SET {facts}"
        self.write(command, [(id, camera, began, fps, width, height, frames)])

    def finished(self, stream: str) -> None:
        """The stream has ended: nothing of it goes on."""
        self.write("UPDATE streams SET finished = 1 WHERE id = ?", [(stream,)])
        self.write("DELETE FROM states WHERE stream = ?", [(stream,)])

    def watched(self, stream: str) -> None:
        """A stream that is known is watched again: it is the last of `streams`."""
        self.write("UPDATE streams SET rowid = (SELECT max(rowid) + 1 FROM streams) WHERE id = ?", [(stream,)])

    def score_rows(self, camera: str, stream: str, rows: Sequence[Row]) -> None:
        """Scores of a stream's snippets; as many that are a day older go, so that live cameras' stay as many as they are."""
        self.write("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [(camera, stream, *row) for row in rows])
        if walls := [row.wall for row in rows if row.wall is not None]:
            old = "SELECT camera, stream, number FROM scores WHERE wall < ? ORDER BY wall LIMIT ?"  # a clock's leap costs few
            self.write(f"DELETE FROM scores WHERE (camera, stream, number) IN ({old})", [(max(walls) - DAY, 2 * len(walls))])

    def alarm(self, alarm: Alarm, *, raised_at: float, picture: str | None = None, clip: str | None = None) -> None:
        """An alarm as far as it is known; when it was first raised stays, and its picture and clip till there are new ones."""
        places = ", ".join("?" * (len(alarm) + 4))
        latest = ", ".join(f'"{name}" = excluded."{name}"' for name in Alarm._fields)
        files = "picture = coalesce(excluded.picture, picture), clip = coalesce(excluded.clip, clip)"
        command = f"INSERT INTO alarms VALUES ({places}) ON CONFLICT (id) DO UPDATE SET {latest}, {files}"
        self.write(command, [(alarm.id, *alarm, raised_at, picture, clip)])

    def happened(self, camera: str, wall: float, kind: str, text: str = "") -> None:
        """Something to remember of a camera: for a month; that it is gone, till it is there again."""
        self.write("INSERT OR IGNORE INTO happenings VALUES (?, ?, ?, ?)", [(camera, wall, kind, text)])
        key = "camera, wall, kind, text"  # a few at a time: a clock's leap costs few
        later = "SELECT 1 FROM happenings WHERE camera = one.camera AND wall > one.wall AND kind NOT IN ('clip', 'picture')"
        passed = f"(kind != 'gone' OR EXISTS ({later}))"
        old = f"SELECT {key} FROM happenings AS one WHERE wall < ? AND {passed} ORDER BY wall LIMIT 2"
        self.write(f"DELETE FROM happenings WHERE ({key}) IN ({old})", [(wall - MONTH,)])

    def state(self, camera: str, stream: str, position: float, values: Mapping[str, Any]) -> None:
        """What a camera needs to go on: arrays and what JSON can say, by names."""
        row = (camera, stream, position, blob.packed(values))
        self.write("INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)", [row])

    def saved(self, camera: str) -> Saved | None:
        """What `state` was given last, unless its stream is finished. Raises ValueError where it is damaged."""
        rows = self.read("SELECT stream, position, state FROM states WHERE camera = ?", camera)
        if not rows:
            return None
        try:
            return Saved(*rows[0][:2], blob.unpacked(rows[0][2]))
        except ValueError as error:
            raise ValueError(f"{self.path}: the state of {camera!r} is damaged ({error})") from error

    def set(self, settings: Mapping[str, Any]) -> None:
        """What the watch that writes here is told: texts and numbers, by names."""
        self.write("INSERT OR REPLACE INTO settings VALUES (?, ?)", settings.items())

    def settings(self) -> dict[str, Any]:
        """What `set` was given last; empty where nothing was, or an older program watched."""
        return dict(self.read("SELECT * FROM settings"))

    def messages(self, sink: str, bodies: Sequence[str]) -> int:
        """Messages that wait for a sink; returns the number of the last."""
        self.write("INSERT INTO outbox (sink, body) VALUES (?, ?)", [(sink, body) for body in bodies])
        return self.last_message(sink)

    def last_message(self, sink: str) -> int:
        """The number of the last message that waits for a sink; 0 = none waits."""
        return self.read("SELECT coalesce(max(number), 0) FROM outbox WHERE sink = ?", sink)[0][0]

    def forget_messages(self, sink: str, number: int) -> None:
        """The sink has taken them as far as this number."""
        self.write("DELETE FROM outbox WHERE sink = ? AND number <= ?", [(sink, number)])

    def n_messages(self) -> dict[str, int]:
        """How many messages wait for each sink."""
        return dict(self.read("SELECT sink, count(*) FROM outbox GROUP BY sink"))

    def forget(self, camera: str) -> None:
        """The camera does not go on from its state."""
        self.write("DELETE FROM states WHERE camera = ?", [(camera,)])

    def forget_live(self) -> None:
        """No live camera goes on from its state."""
        self.write("DELETE FROM states WHERE stream IN (SELECT id FROM streams WHERE began IS NOT NULL)", [()])

    def streams(self) -> list[Stream]:
        """All streams in the order in which they were watched."""
        return [Stream(*row[:-1], bool(row[-1])) for row in self.read("SELECT * FROM streams ORDER BY rowid")]

    def alarms(self) -> list[Raised]:
        """All alarms in the order in which they were raised."""
        rows = self.read("SELECT * FROM alarms ORDER BY rowid")
        return [Raised(Alarm(*row[1:-3]), *row[-3:]) for row in rows]

    def old_alarms(self, before: float, now: float) -> list[tuple[str, str, str | None, str | None]]:
        """Id, camera, picture and clip of the oldest alarms that ended, or of files were raised, before this unix time.

        Asked once an hour: not all at once, for a clock may leap, but more than are raised; and never the last one, whose
        number would be given again.
        """
        ended = """ "end" IS NOT NULL AND coalesce(wall_end, raised_at) < ? AND rowid < (SELECT max(rowid) FROM alarms)
            ORDER BY coalesce(wall_end, raised_at) LIMIT ?"""
        ((n_new,),) = self.read("SELECT count(*) FROM alarms WHERE raised_at > ?", now - HOUR)
        most = max(FORGOTTEN_AT_ONCE, 2 * n_new)
        return self.read(f"SELECT id, camera, picture, clip FROM alarms WHERE {ended}", before, most)

    def forget_alarms(self, ids: Iterable[str]) -> None:
        """These alarms go, with what was noted on them."""
        ids = [(id,) for id in ids]
        self.write("DELETE FROM alarms WHERE id = ?", ids)
        self.write("DELETE FROM notes WHERE alarm = ?", ids)

    def forget_streams(self, before: float) -> None:
        """Live streams go that began before this unix time, and of which nothing is kept."""
        of = "camera = streams.camera AND stream = streams.id"  # as the scores' key begins
        kept = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {of})" for table in ("scores", "alarms", "states"))
        self.write(f"DELETE FROM streams WHERE began < ? AND NOT ({kept})", [(before,)])

    def lasting(self) -> list[Alarm]:
        """The alarms that have not ended."""
        return [Alarm(*row[1:-3]) for row in self.read('SELECT * FROM alarms WHERE "end" IS NULL ORDER BY rowid')]

    def happenings(self) -> list[tuple[str, float, str, str]]:
        """Camera, wall, kind and text of all that happened, in its order."""
        return self.read("SELECT * FROM happenings ORDER BY wall")

    def scores(self, camera: str, stream: str, last: int = -1) -> Row:
        """The scores of a stream that are kept, or the last so many, in its order, as arrays."""
        columns = ", ".join(Row._fields)
        query = f"SELECT {columns} FROM scores WHERE camera = ? AND stream = ? ORDER BY number DESC LIMIT ?"
        rows = self.read(query, camera, stream, last)[::-1]
        kinds = (np.int64, np.float64, np.float64, np.float64, np.float64, np.int64, bool)
        columns_of = zip(*rows, strict=True) if rows else [()] * len(kinds)
        return Row(*(np.array(column, kind) for column, kind in zip(columns_of, kinds, strict=True)))
