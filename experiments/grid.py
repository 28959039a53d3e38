"""A grid of runs: rows of options x varied values x seeds, each cell a process of its own, finished once or gone on with."""

import argparse
import fcntl
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import mean
from typing import NamedTuple, TextIO

from tqdm import tqdm

import option
import own_option
import ucf_option
import xd_option
from experiments.rows import ROWS
from files import atomic
from files.folder import read_json

PARSERS = {
    **dict.fromkeys(("ucf_train", "ucf_test", "longterm_test"), ucf_option.parser),
    **dict.fromkeys(("xd_train", "xd_test"), xd_option.parser),
    **dict.fromkeys(("own_train", "own_test"), own_option.parser),
}
OWN = ("seed", "out-dir", "use-checkpoint", "checkpoint-path", "overwrite")  # what a grid gives each run itself
HERE = Path(__file__).resolve().parents[1]


class Row(NamedTuple):
    """One line of the table: a row of ROWS with each varied option at one of its values."""

    base: str
    changes: dict[str, str]


class Cell(NamedTuple):
    """One run: a training, or a test."""

    name: str
    script: str
    row: Row
    tuning: dict[str, str]
    seed: int
    flags: list[str]
    folder: Path

    def read(self, name: str) -> dict:
        """A JSON file of its folder. Raises ValueError where it is missing or damaged."""
        return read_json(self.folder / name)

    def is_done(self) -> bool:
        """Whether it has been run to its end. Raises ValueError where its folder holds another run."""
        if not (self.folder / "cell.json").exists():
            return False
        before = self.read("cell.json")
        if [before["script"], before["flags"]] != [self.script, self.flags]:
            raise ValueError(
                f"{self.folder} holds a run of {before['script']}.py with other flags ({before['flags']}), not "
                f"{self.script}.py {shlex.join(self.flags)}; choose another --out-dir"
            )
        return True

    def command(self) -> list[str]:
        """What runs it, or goes on with it."""
        last = self.folder / "last.pt"
        going_on = ["--use-checkpoint", "--checkpoint-path", str(last)] if last.exists() else []
        return [sys.executable, str(HERE / f"{self.script}.py"), *self.flags, "--out-dir", str(self.folder), *going_on]

    def clear(self) -> None:
        """Remove what a killed run left that cannot go on, so that the next one can claim the folder."""
        if (self.folder / "output.txt").exists() and not (self.folder / "last.pt").exists():
            for path in self.folder.iterdir():
                if path.is_file() and path.name not in ("lock", "output.txt"):
                    path.unlink()

    def selected(self) -> float:
        """The metric that its weights were selected by."""
        results = self.read("results.json")
        return results["best"][results["selected_by"]]

    def summary(self) -> str:
        """`paper, lr 1e-4, seed 1: AUC 71.35, 153 s`, without the time where nobody knows it."""
        results, seconds = self.read("results.json"), self.read("cell.json")["wall_seconds"]
        auc = f"{self.name}: AUC {100 * results.get('best', results)['auc']:.2f}"
        return auc if seconds is None else f"{auc}, {seconds:.0f} s"


class Grid:
    """The rows, each with its cells; of the values of --tune a row goes on with the one that validates best."""

    def __init__(self, args: argparse.Namespace, flags: list[str]):
        self.args, self.flags = args, flags
        self.rows = [Row(base, changes) for base in args.rows for changes in combinations(args.vary, ROWS[base])]

    def tunings(self, row: Row) -> list[dict[str, str]]:
        """The values to try for a row."""
        return combinations(self.args.tune, ROWS[row.base])

    def cell(self, row: Row, tuning: dict[str, str], seed: int) -> Cell:
        """The run of a row with these tuned values and this seed."""
        flags = [*self.flags, *ROWS[row.base].split()]
        for name, value in (row.changes | tuning | {"seed": str(seed)}).items():
            filled = [flag.replace("{" + name + "}", value) for flag in flags]
            flags = [*filled, f"--{name}", value] if filled == flags or name == "seed" else filled
        names = [row.base, *named(row.changes), *named(tuning), f"seed {seed}"]
        folder = Path(self.args.out_dir, *(re.sub(r"[^\w.-]+", "-", name) for name in names))
        return Cell(", ".join(names), self.args.script, row, tuning, seed, flags, folder)

    def planned(self, row: Row) -> list[Cell]:
        """All runs of a row: every seed with every tuned value."""
        return [self.cell(row, tuning, seed) for tuning in self.tunings(row) for seed in self.args.seeds]

    def chosen(self, row: Row) -> list[Cell]:
        """All seeds of a row with the tuned values that validated best, in the mean of the seeds: one seed chooses badly."""
        tried = [[self.cell(row, tuning, seed) for seed in self.args.seeds] for tuning in self.tunings(row)]
        return max(tried, key=lambda cells: mean(map(Cell.selected, cells))) if len(tried) > 1 else tried[0]

    def check(self) -> None:
        """Raise ValueError where something cannot be, before anything is run."""
        args, known = self.args, {action.dest.replace("_", "-") for action in PARSERS[self.args.script]._actions} - {"help"}
        if args.jobs < 1:
            raise ValueError(f"--jobs must be at least 1, not {args.jobs}")
        if args.out_dir.exists() and not args.out_dir.is_dir():
            raise ValueError(f"--out-dir {args.out_dir} is a file; name a folder")
        changed = [*args.vary, *args.tune]
        names = [name for name, _ in changed]
        for what, values in (("--rows", args.rows), ("--seeds", args.seeds), ("--vary and --tune", names), *changed):
            if len(set(values)) < len(values):
                raise ValueError(f"{what}: {', '.join(map(str, values))} has one of them twice")
        for name, _ in changed:
            if name not in known and not any("{" + name + "}" in flag for flag in self.flags):
                raise ValueError(f"{name}: {args.script}.py has no such option, and nothing after -- holds {{{name}}}")
        flags = [option.dashed(flag).partition("=")[0].removeprefix("--") for flag in self.flags]
        if own := set(OWN) & {*names, *flags}:
            raise ValueError(f"--{min(own)} is given to each run by the grid; leave it out")
        if args.tune and not args.script.endswith("train"):
            raise ValueError("--tune needs trainings, to validate; leave it out")
        cells = [cell for row in self.rows for cell in self.planned(row)]
        if len({cell.folder for cell in cells}) < len(cells):
            raise ValueError("two runs would have folders of one name: their values differ in signs like / and - alone")
        for cell in cells:
            options = option.parse(PARSERS[args.script], cell.flags)
            if len(self.tunings(cell.row)) > 1 and not options.val_share:
                raise ValueError("--tune needs validation videos: give --val-share 0.1 after --, or leave --tune out")
            cell.is_done()

    def run(self) -> None:
        """Run all cells that are not done, in --jobs processes, and print a line for each at its end.

        When one fails, or the user stops them, the others save what they need to go on.
        """
        jobs, n_done, stopped = self.args.jobs, 0, threading.Event()
        environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}
        cells = [cell for row in self.rows for cell in self.planned(row)]
        with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(cells), unit="run", disable=None) as bar:
            try:
                for future in as_completed([pool.submit(run, cell, environment, stopped) for cell in cells]):
                    cell = future.result()
                    n_done += 1
                    bar.update()
                    bar.write(f"{n_done} of {len(cells)}: {cell.summary()}")
                    sys.stdout.flush()
            finally:
                stopped.set()
                pool.shutdown(cancel_futures=True)


def run(cell: Cell, environment: Mapping[str, str], stopped: threading.Event) -> Cell:
    """Run a cell unless it is done; a training that is stopped saves. Raises ValueError with the last line of its output."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    with open(cell.folder / "lock", "w") as lock:
        acquire(lock, stopped)
        if cell.is_done():
            return cell
        cell.clear()
        command = cell.command()
        began = time.monotonic()
        with open(cell.folder / "output.txt", "a") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, env=environment, pass_fds=[lock.fileno()], start_new_session=True
            )
            while process.poll() is None:
                if stopped.wait(0.1):
                    process.terminate()
                    process.wait()
        if stopped.is_set():
            raise KeyboardInterrupt
        if process.returncode:
            words = " ".join((cell.folder / "output.txt").read_text().strip().splitlines()[-1:])
            raise ValueError(f"{shlex.join(command)}\nended with {process.returncode}: {words} (all in {output.name})")
        seconds = None if "--use-checkpoint" in command else time.monotonic() - began  # gone on with, nobody knows in all
        done = {"script": cell.script, "flags": cell.flags, "wall_seconds": seconds}
        atomic.write_text(cell.folder / "cell.json", json.dumps(done, indent=2) + "\n")
        (cell.folder / "last.pt").unlink(missing_ok=True)  # only needed to go on; the selected weights stay
    return cell


def acquire(lock: TextIO, stopped: threading.Event) -> None:
    """Wait for a process that outlived a killed experiment: it holds the cell's lock until it ends."""
    while not stopped.is_set():
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stopped.wait(0.5)
    raise KeyboardInterrupt


def combinations(options: list[tuple[str, list[str]]], flags: str = "") -> list[dict[str, str]]:
    """The options, each at one of its values, in every way; without those that these flags set."""
    choices = [[(name, value) for value in values] for name, values in options if f"--{name}" not in flags.split()]
    return [dict(combination) for combination in itertools.product(*choices)]


def named(values: dict[str, str]) -> list[str]:
    """`lr 2e-5` for each option."""
    return [f"{name} {value}" for name, value in values.items()]
