"""The tables of events.db: made in an empty file, known in ours, and errors that name the file and the remedy."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

APPLICATION, VERSION = 0x4C53484D, 1  # "LSHM"; of the tables below
PATIENCE = 30.0  # seconds that another program may keep the file to itself
TABLES = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE cameras (name TEXT PRIMARY KEY, source TEXT NOT NULL);
CREATE TABLE streams (id TEXT PRIMARY KEY, camera TEXT NOT NULL, began REAL, fps REAL, width INTEGER, height INTEGER,
    frames INTEGER, finished INTEGER NOT NULL DEFAULT 0);
CREATE TABLE alarms (id TEXT PRIMARY KEY, camera TEXT NOT NULL, stream TEXT NOT NULL, first INTEGER NOT NULL,
    start REAL NOT NULL, peak REAL NOT NULL, "end" REAL, wall_start REAL, wall_peak REAL, wall_end REAL,
    score REAL NOT NULL, exit_layer INTEGER NOT NULL, raised_at REAL NOT NULL, picture TEXT, clip TEXT);
CREATE TABLE scores (camera TEXT NOT NULL, stream TEXT NOT NULL, number INTEGER NOT NULL, time REAL NOT NULL, wall REAL,
    score REAL NOT NULL, logit REAL NOT NULL, exit_layer INTEGER NOT NULL, key INTEGER NOT NULL,
    PRIMARY KEY (camera, stream, number)) WITHOUT ROWID;
CREATE INDEX scores_by_wall ON scores (wall) WHERE wall IS NOT NULL;
CREATE TABLE happenings (camera TEXT NOT NULL, wall REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (camera, wall, kind, text)) WITHOUT ROWID;
CREATE INDEX happenings_by_wall ON happenings (wall);
CREATE TABLE states (camera TEXT PRIMARY KEY, stream TEXT NOT NULL, position NUMERIC NOT NULL, state BLOB NOT NULL);
"""
LATER = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value);
CREATE TABLE IF NOT EXISTS outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, sink TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notes (alarm TEXT PRIMARY KEY, acknowledged REAL, note TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS alarms_by_raised ON alarms (raised_at);
CREATE INDEX IF NOT EXISTS alarms_by_stream ON alarms (camera, stream);
CREATE INDEX IF NOT EXISTS outbox_by_sink ON outbox (sink, number);
CREATE INDEX IF NOT EXISTS alarms_lasting ON alarms ("end") WHERE "end" IS NULL;
"""  # older files lack them
SMALL = ("cameras", "streams", "alarms", "happenings", "states")  # scores may be millions: damage shows when it is met
NOT_OURS = "no events.db of this program; name another file, or move this one away"
REPAIR = "move it away, and watching makes a new one; the sqlite3 program's .recover saves what it holds"


class Kept(OSError):
    """Another program keeps the file to itself."""


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Check the file, or fill it where it is empty. Raises ValueError."""

    def value_of(pragma: str) -> int:
        return db.execute(f"PRAGMA {pragma}").fetchone()[0]

    if db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,) and value_of("application_id") in (0, APPLICATION):
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT;")
    if value_of("application_id") != APPLICATION:
        raise ValueError(f"{path}: {NOT_OURS}")
    if (found := value_of("user_version")) != VERSION:
        raise ValueError(f"{path}: of version {found}, this program's is {VERSION}; name another file, or move it away")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing, a power cut the last turns, as a whole
    db.execute("PRAGMA journal_size_limit = 67108864")
    for table in SMALL:
        if (problem := db.execute(f"PRAGMA quick_check({table})").fetchone()[0]) != "ok":
            raise ValueError(f"{path}: damaged ({problem.splitlines()[-1]}); {REPAIR}")
    db.executescript(LATER)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Raise the database's errors in the block as ValueError where the file is at fault, else as OSError; both name it."""
    try:
        yield
    except UnicodeDecodeError as error:  # of a name in the file
        raise ValueError(f"{path}: damaged ({error}); {REPAIR}") from error
    except sqlite3.DatabaseError as error:  # SQLITE_ERROR: a table or a column is missing, for our commands are right
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without its finer part
        if code == sqlite3.SQLITE_NOTADB:
            raise ValueError(f"{path}: {NOT_OURS}") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR) or str(error).startswith("Could not decode"):
            raise ValueError(f"{path}: damaged ({error}); {REPAIR}") from error
        if code == sqlite3.SQLITE_BUSY:
            raise Kept(f"{path}: another program has kept it busy for {PATIENCE:.0f} seconds; close it there") from error
        if isinstance(error, sqlite3.OperationalError):
            raise OSError(f"{path}: not written ({error}); what was there before is as it was") from error
        raise
