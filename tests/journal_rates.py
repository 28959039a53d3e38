"""What a watch's events.db takes: scores that are written, and what groups of cameras have written, gathered in another one.

    PYTHONPATH=. python tests/journal_rates.py --cameras 256 --turns 200

Each turn writes a clip of four scores for each camera, and its state every 30 seconds of its own time. By the wall's clock all
turns are two days, so that from the middle on as many old scores go. Prints scores written a second, bytes for each that stays
and for a state, and calls gathered a second, of four scores each.
"""

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

import numpy as np

import ucf_option
from files.features import FRAMES_PER_SNIPPET
from model import build, of_each
from option import parse, resolve_variant
from watching import journal
from watching.blob import packed
from watching.gathering import AT_ONCE, Recorded, calls_after, gathered
from watching.journal import DAY, Row
from watching.keeping import SAVED_EVERY

FPS = 30


def state_of_camera() -> dict[str, np.ndarray]:
    """The memory of a camera of UCF-Crime's model."""
    options, values = parse(ucf_option.parser, []), []
    resolve_variant(options)
    of_each(lambda field: values.append(field.numpy()), build(options).empty_memory(1))
    return {f"field {n}": value for n, value in enumerate(values)}


def write(db: journal.Journal, cameras: list[str], turns: int) -> float:
    """The seconds that all turns took."""
    stream_of = {name: hashlib.sha256(name.encode()).hexdigest()[:16] for name in cameras}
    for name in cameras:
        db.camera(name, name)
    state, each = state_of_camera(), round(SAVED_EVERY[True] * FPS / (4 * FRAMES_PER_SNIPPET))
    began = time.perf_counter()
    for first in range(0, 4 * turns, 4):
        with db.turn():
            walls = [(n, 1e9 + 2 * DAY * n / (4 * turns)) for n in range(first, first + 4)]
            for name in cameras:
                db.score_rows(name, stream_of[name], [Row(n, wall - 1e9, wall, 0.3, -0.8, 4, True) for n, wall in walls])
            for name in cameras[first // 4 % each :: each]:
                db.state(name, stream_of[name], first + 4, state)
    return time.perf_counter() - began


def gather(db: journal.Journal, path: Path) -> tuple[int, float]:
    """How many calls waited there, and the seconds until all were written here."""
    began, n, number = time.perf_counter(), 0, 0
    while calls := calls_after(path, number):
        with db.turn():
            for _, call in calls:
                list(gathered(db, call))
        number, n = calls[-1][0], n + len(calls)
    return n, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cameras", type=int, default=256)
    parser.add_argument("--turns", type=int, default=200)
    args = parser.parse_args()
    cameras = [f"camera {n}" for n in range(args.cameras)]
    n_scores = 4 * args.cameras * args.turns
    with tempfile.TemporaryDirectory() as folder:
        plain, group, all_of = (Path(folder) / name for name in ("events.db", "group.db", "all.db"))
        with journal.opened(plain) as db:
            seconds = write(db, cameras, args.turns)
        state = len(packed(state_of_camera()))
        each = (plain.stat().st_size - state * args.cameras) / (n_scores / 2)
        print(f"written: {n_scores / seconds:,.0f} scores a second, {each:.0f} bytes each; a camera's state {state:,} bytes")
        with journal.opened(group) as db:
            seconds = write(Recorded(db.db, db.path), cameras, args.turns)
        print(f"written to be gathered: {n_scores / seconds:,.0f} scores a second")
        with journal.opened(all_of) as db:
            n, seconds = gather(db, group)
        print(f"gathered: {n / seconds:,.0f} calls a second, {AT_ONCE} at a time")


if __name__ == "__main__":
    main()
