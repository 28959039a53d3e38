"""What the page shows: cameras as they are now, and what events.db knows of their alarms, scores and silences.

Everything here is asked for from the server's threads, while the watch goes on in its own: of the watch only single values are
read, and the file is read through connections of this module's own. Notes on alarms are the one thing that is written.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from watching.alarms import Alarm
from watching.journal import reader
from watching.roster import Roster
from watching.tables import told
from watching.watched import COMES_UP, GOES_DOWN, Watched

BEHIND = 30.0  # seconds after a snippet was dropped
PER_REQUEST = 50  # alarms
BARS = 1440  # of a stretch of time, at most
LONGEST_NOTE = 2000  # letters
OF_ALARM = ", ".join(f'alarms."{name}"' for name in Alarm._fields)
ALARMS = f"""SELECT {OF_ALARM}, alarms.id, alarms.rowid, raised_at, picture, clip, acknowledged, coalesce(note, '')
    FROM alarms LEFT JOIN notes ON notes.alarm = alarms.id"""
NAMES = (*Alarm._fields, "id", "number", "raised_at", "picture", "clip", "acknowledged", "note")
SHOWN = ("id", "number", "start", "peak", "end", "wall_start", "wall_peak", "wall_end", "score", "exit_layer", "raised_at",
         "acknowledged", "note")  # fmt: skip


@lru_cache(2**14)
def id_of(name: str) -> str:
    """A camera in addresses: 12 hexadecimal digits."""
    return hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()[:12]


class Board:
    """A watch, as others see it."""

    def __init__(self, watching: Roster):
        self.watching, self.path, self.pictures = watching, watching.journal.path, watching.raising.folder

    @contextmanager
    def reading(self, mode: str = "ro") -> Iterator[sqlite3.Connection]:
        """events.db. Raises OSError or ValueError where it cannot be read."""
        with told(self.path), closing(reader(self.path, mode)) as db, db:
            yield db

    def how(self) -> dict[str, float | None]:
        """The threshold of alarms, and the seconds of a snippet of a live camera."""
        rule = self.watching.raising.rule
        return {"threshold": rule and rule.on, "snippet": self.watching.how.snippet_seconds}

    def watched(self) -> dict[str, Watched]:
        """The cameras that are watched, by their ids."""
        return {id_of(name): watched for name, watched in self.watching.watched.items()}

    def picture(self, id: str) -> bytes | None:
        """A camera's last picture, a JPEG."""
        watched = self.watched().get(id)
        return watched and self.watching.picture_of(watched)

    def alarms(
        self,
        *,
        camera: str | None = None,
        since: float | None = None,
        until: float | None = None,
        before: int | None = None,
        open: bool = False,
        most: int = PER_REQUEST,
    ) -> list[dict[str, Any]]:
        """Alarms, newest first, at most so many; as the page's parameters say. An unknown camera has none."""
        when = "coalesce(wall_start, raised_at)"
        asked = {
            "alarms.camera = ?": camera and self.name_of(camera),
            f'coalesce(wall_end, iif("end" IS NULL, 1e99, {when})) >= ?': since,
            f"{when} <= ?": until,
            "alarms.rowid < ?": before,
        }
        where = [clause for clause, value in asked.items() if value is not None] + ["acknowledged IS NULL"] * open
        values = [value for value in asked.values() if value is not None]
        return self.found(f"{' AND '.join(where) or 'true'} ORDER BY alarms.rowid DESC LIMIT ?", *values, most)

    def news(self, after: int | None, others: Iterable[str]) -> list[dict[str, Any]]:
        """The newest alarms, those that last, all above this number, and these others."""
        newest = f"(SELECT max(rowid) FROM alarms) - {PER_REQUEST}"
        where = f"""alarms.rowid > min(coalesce(?, {newest}), {newest}) OR alarms."end" IS NULL
            OR alarms.id IN (SELECT value FROM json_each(?)) ORDER BY alarms.rowid DESC"""
        return self.found(where, after, json.dumps([*others]))

    def oldest(self) -> int:
        """The number of the oldest alarm that is kept; 0 = there is none."""
        with self.reading() as db:
            return db.execute("SELECT coalesce(min(rowid), 0) FROM alarms").fetchone()[0]

    def n_open(self) -> int:
        """How many alarms nobody has acknowledged."""
        with self.reading() as db:
            done = "SELECT alarm FROM notes WHERE acknowledged IS NOT NULL"
            return db.execute(f"SELECT count(*) FROM alarms WHERE id NOT IN ({done})").fetchone()[0]

    def alarm(self, id: str) -> dict[str, Any] | None:
        return next(iter(self.found("alarms.id = ?", id)), None)

    def found(self, where: str, *values: Any) -> list[dict[str, Any]]:
        with self.reading() as db:
            rows = [dict(zip(NAMES, row, strict=True)) for row in db.execute(f"{ALARMS} WHERE {where}", values)]
        return [shown(row) for row in rows]

    def file_of(self, id: str, column: str) -> Path | None:
        """The picture or the clip of an alarm, where there is one."""
        with self.reading() as db:
            found = db.execute(f"SELECT {column} FROM alarms WHERE id = ?", (id,)).fetchone()
        path = found and found[0] and self.pictures / Path(found[0]).name
        return path if path and path.is_file() else None

    def note(self, id: str, *, acknowledged: bool | None, note: str | None) -> dict[str, Any] | None:
        """Acknowledge an alarm, or not, and note something on it; None = as before. Returns it as it is then, if it exists."""
        if self.alarm(id) is None:
            return None
        with self.reading("rw") as db:  # each of the two by itself: they may be given at the same moment
            db.execute("INSERT OR IGNORE INTO notes VALUES (?, NULL, '')", (id,))
            if acknowledged is not None:
                since = "coalesce(acknowledged, ?)" if acknowledged else "?"
                when = time.time() if acknowledged else None
                db.execute(f"UPDATE notes SET acknowledged = {since} WHERE alarm = ?", (when, id))
            if note is not None:
                db.execute("UPDATE notes SET note = ? WHERE alarm = ?", (note, id))
        return self.alarm(id)

    def gone(self) -> list[dict[str, str]]:
        """The cameras that were watched here, and are not any more."""
        watched = self.watched()
        return [{"id": id, "name": name} for id, name in self.names().items() if id not in watched]

    def names(self) -> dict[str, str]:
        """The names of all cameras that are, or were, watched here, by their ids."""
        with self.reading() as db:
            return {id_of(name): name for (name,) in db.execute("SELECT name FROM cameras ORDER BY rowid")}

    def name_of(self, id: str) -> str:
        """The name of a camera that is, or was, watched; of no other one."""
        return self.names().get(id, "")

    def span(self, id: str, begin: float | None, until: float | None) -> dict[str, Any] | None:
        """A stretch of a camera: of a live one by wall time, of a file by its own; None = no such camera."""
        watched = self.watched().get(id)
        name = watched.camera.name if watched else self.name_of(id)
        with self.reading() as db:
            if watched:
                stream, live = watched.stream, watched.camera.live
            else:
                query = "SELECT id, began IS NOT NULL FROM streams WHERE camera = ? ORDER BY rowid DESC LIMIT 1"
                stream, live = db.execute(query, (name,)).fetchone() or (None, None)
            if stream is None:
                return None
            place, of = ("wall", "camera = ?") if live else ("time", "camera = ? AND stream = ?")
            key = (name,) if live else (name, stream)
            first, last = db.execute(f"SELECT min({place}), max({place}) FROM scores WHERE {of}", key).fetchone()
            begin = (first or 0.0) if begin is None else begin
            until = (last or 0.0) if until is None else until
            step = max(1.0, (until - begin) / BARS)
            query = f"SELECT CAST(({place} - ?) / ? AS INTEGER), max(score) FROM scores WHERE {of} AND {place} BETWEEN ? AND ?"
            bars = db.execute(f"{query} GROUP BY 1 ORDER BY 1", (begin, step, *key, begin, until)).fetchall()
            down = silences(db, name, begin, until) if live else []
        where = "alarms.camera = ? AND alarms.wall_start <= ? AND coalesce(alarms.wall_end, ?) >= ? ORDER BY alarms.rowid"
        alarms = self.found(where, name, until, until, begin) if live else self.found("alarms.stream = ?", stream)
        scores = [[begin + step * bar, score] for bar, score in bars]
        span = {"name": name, "from": begin, "until": until, "step": step}
        return span | {"scores": scores, "alarms": alarms, "down": down}


def camera_of(watched: Watched, now: float) -> dict[str, Any]:
    """A camera as it is now."""
    figures = watched.figures()
    at, score = watched.recent[-1] if watched.recent else (None, None)
    behind = watched.state == "live" and figures.dropped_at is not None and now - figures.dropped_at < BEHIND
    return {
        "id": id_of(watched.camera.name),
        "name": watched.camera.name,
        "source": watched.camera.shown,
        "live": watched.camera.live,
        "state": "behind" if behind else watched.state,
        "since": watched.since,
        "text": watched.text,
        "score": score,
        "at": at,
        "alarm": figures.alarm,
        "dropped": figures.n_dropped or 0,
        "delay": watched.delay,
        "picture": 0 if figures.pictured is None else round(1000 * figures.pictured) + 1,
    }


def recent(watched: Watched, after: int = 0) -> list[tuple[float, float]]:
    """The last scores of a camera: as many as there are after so many."""
    scores = list(watched.recent)
    return scores[max(0, len(scores) + after - watched.n_scored) :] if after else scores


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """An alarm as the page has it."""
    of_camera = {"camera": id_of(row["camera"]), "name": row["camera"], "live": row["wall_start"] is not None}
    files = {name: row[name] is not None for name in ("picture", "clip")}
    return of_camera | {name: row[name] for name in SHOWN} | files


def silences(db: sqlite3.Connection, camera: str, begin: float, until: float) -> list[list[float | None]]:
    """When a camera was down in this stretch of wall time: [from, until], the last without an end where it lasts."""
    kinds = (*COMES_UP, *GOES_DOWN, "gone")
    marks = ", ".join("?" * len(kinds))
    query = f"SELECT wall, kind FROM happenings WHERE camera = ? AND kind IN ({marks})"
    before = db.execute(f"{query} AND wall < ? ORDER BY wall DESC LIMIT 1", (camera, *kinds, begin)).fetchall()
    within = db.execute(f"{query} AND wall BETWEEN ? AND ? ORDER BY wall", (camera, *kinds, begin, until)).fetchall()
    return silent([(begin, kind) for _, kind in before] + within)


def silent(happened: Sequence[tuple[float, str]]) -> list[list[float | None]]:
    """From what happened, in its order, when it was down."""
    found: list[list[float | None]] = []
    for wall, kind in happened:
        lasts = bool(found) and found[-1][1] is None
        if kind in GOES_DOWN and not lasts:
            found.append([wall, None])
        elif kind not in GOES_DOWN and lasts:  # who is gone is not silent either
            found[-1][1] = wall
    return found
