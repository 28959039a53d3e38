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
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple, TextIO

from tqdm import tqdm

import atomic
import option
import ucf_option
import xd_option

ROWS = {  # the method, its alternatives, and what is left when a part of it is taken away
    "paper": "",
    "released": "--variant released",
    "fifo": "--forgetting fifo",
    "salience": "--forgetting salience",
    "released rule": "--forgetting released",
    "interleaved merge": "--attn-merge interleave",
    "no memory": "--cache-keep-max-len 1",
    "no KCG": "--no-keyclip-train",
    "no early exit": "--exit-threshold 1",
    "no HMA": "--visual-layers 0",
}
PARSERS = {
    "ucf_train": ucf_option.parser,
    "xd_train": xd_option.parser,
    "ucf_test": ucf_option.parser,
    "xd_test": xd_option.parser,
    "longterm_test": ucf_option.parser,
}
OWN = ("seed", "out-dir", "use-checkpoint", "checkpoint-path")  # what a grid gives each run itself
HERE = Path(__file__).resolve().parent


class Row(NamedTuple):
    """One line of the table: a row of ROWS with each varied option at one of its values."""

    base: str
    changes: dict[str, str]

    @property
    def name(self) -> str:
        return ", ".join([self.base, *named(self.changes)])


class Cell(NamedTuple):
    """One run: a training, or a test."""

    name: str
    row: Row
    tuning: dict[str, str]
    seed: int
    flags: list[str]
    folder: Path

    def read(self, name: str) -> dict:
        """A JSON file of its folder. Raises ValueError where it is missing or damaged."""
        path = self.folder / name
        try:
            return json.loads(path.read_text())
        except (ValueError, OSError) as error:
            raise ValueError(f"{path}: missing or damaged ({error}); delete {self.folder} to run it again") from None


class Grid:
    """The rows, each with its cells; of the values of --tune a row goes on with the one that validates best."""

    def __init__(self, args: argparse.Namespace, flags: list[str]):
        self.args, self.flags = args, flags
        self.rows = [Row(base, changes) for base in args.rows for changes in combinations(open_to(base, args.vary))]

    def tunings(self, row: Row) -> list[dict[str, str]]:
        """The values to try for a row."""
        return combinations(open_to(row.base, self.args.tune))

    def cell(self, row: Row, tuning: dict[str, str], seed: int) -> Cell:
        """The run of a row with these tuned values and this seed."""
        flags = [*self.flags, *ROWS[row.base].split()]
        for name, value in (row.changes | tuning | {"seed": str(seed)}).items():
            place = "{" + name + "}"
            there = any(place in flag for flag in flags)
            flags = [flag.replace(place, value) for flag in flags]
            if not there or name == "seed":
                flags += [f"--{name}", value]
        names = [row.base, *named(row.changes), *named(tuning), f"seed {seed}"]
        return Cell(", ".join(names), row, tuning, seed, flags, Path(self.args.out_dir, *map(slug, names)))

    def first(self, row: Row) -> list[Cell]:
        """What is run of a row to choose its tuned values: the first seed with each."""
        return [self.cell(row, tuning, self.args.seeds[0]) for tuning in self.tunings(row)]

    def chosen(self, row: Row) -> list[Cell]:
        """All seeds of a row with the tuned values whose first seed validated best."""
        first = self.first(row)
        best = first[0] if len(first) == 1 else max(first, key=selected)
        return [self.cell(row, best.tuning, seed) for seed in self.args.seeds]

    def planned(self, row: Row) -> list[Cell]:
        """What is certain to be run of a row: all seeds, or, while its values are to be chosen, the first seed with each."""
        return self.first(row) if len(self.tunings(row)) > 1 else self.chosen(row)

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
        own = set(OWN) & {*names, *flags}
        if own:
            raise ValueError(f"--{min(own)} is given to each run by the grid; leave it out")
        if args.tune and not args.script.endswith("train"):
            raise ValueError("--tune needs trainings, to validate; leave it out")
        cells = [self.cell(row, tuning, seed) for row in self.rows for tuning in self.tunings(row) for seed in args.seeds]
        if len({cell.folder for cell in cells}) < len(cells):
            raise ValueError("two runs would have folders of one name: their values differ in signs like / and - alone")
        for cell in cells:
            options = option.parse(PARSERS[args.script], cell.flags)
            if len(self.tunings(cell.row)) > 1 and not options.val_share:
                raise ValueError("--tune needs validation videos: give --val-share 0.1 after --, or leave --tune out")
            is_done(args.script, cell)

    def run(self) -> None:
        """Run all cells that are not done, in --jobs processes, and print a line for each at its end.

        When one fails, or the user stops them, the others save what they need to go on.
        """
        runner = Runner(self.args.script, self.args.jobs)
        total = sum(len(self.first(row)) + len(self.args.seeds) - 1 for row in self.rows)
        with ThreadPoolExecutor(self.args.jobs) as pool, tqdm(total=total, unit="run", disable=None) as bar:
            waiting = {row.name: len(self.first(row)) for row in self.rows}
            number = itertools.count(1)
            try:
                pending: set[Future] = {pool.submit(runner.run, cell) for row in self.rows for cell in self.first(row)}
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        cell = future.result()
                        bar.update()
                        bar.write(f"{next(number)} of {total}: {cell.name}: {summary(cell)}")
                        sys.stdout.flush()
                        waiting[cell.row.name] -= 1
                        if waiting[cell.row.name] == 0:
                            pending |= {pool.submit(runner.run, other) for other in self.chosen(cell.row)[1:]}
            except BaseException:
                runner.stopped.set()
                pool.shutdown(cancel_futures=True)
                raise


class Runner:
    """Runs cells as processes of their own, each until it ends or `stopped` is set: then trainings save what they need."""

    def __init__(self, script: str, jobs: int):
        self.script, self.stopped = script, threading.Event()
        self.environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}

    def run(self, cell: Cell) -> Cell:
        """Run the cell unless it is done. Raises ValueError with the last line of its output where it fails."""
        cell.folder.mkdir(parents=True, exist_ok=True)
        with open(cell.folder / "lock", "w") as lock:
            self.acquire(lock)
            if is_done(self.script, cell):
                return cell
            clear(cell.folder)
            command = command_of(self.script, cell)
            began = time.monotonic()
            with open(cell.folder / "output.txt", "a") as output:
                process = subprocess.Popen(
                    command,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self.environment,
                    pass_fds=(lock.fileno(),),
                    start_new_session=True,
                )
                while process.poll() is None:
                    if self.stopped.wait(0.1):
                        process.terminate()
                        process.wait()
            if self.stopped.is_set():
                raise KeyboardInterrupt
            if process.returncode:
                words = (cell.folder / "output.txt").read_text().strip().splitlines()[-1:]
                how = f"ended with {process.returncode}: {' '.join(words)} (all in {output.name})"
                raise ValueError(f"{shlex.join(command)}\n{how}")
            gone_on = "--use-checkpoint" in command  # then nobody knows how long it took in all
            done = {"script": self.script, "flags": cell.flags, "wall_seconds": None if gone_on else time.monotonic() - began}
            atomic.write_text(cell.folder / "cell.json", json.dumps(done, indent=2) + "\n")
            (cell.folder / "last.pt").unlink(missing_ok=True)  # only needed to go on; the selected weights stay
        return cell

    def acquire(self, lock: TextIO) -> None:
        """Wait for a process that outlived a killed experiment: it holds the cell's lock until it ends."""
        while not self.stopped.is_set():
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.stopped.wait(0.5)
        raise KeyboardInterrupt


def clear(folder: Path) -> None:
    """Remove what a killed run left that cannot go on, so that the next one can claim the folder."""
    if (folder / "output.txt").exists() and not (folder / "last.pt").exists():
        for path in folder.iterdir():
            if path.is_file() and path.name not in ("lock", "output.txt"):
                path.unlink()


def command_of(script: str, cell: Cell) -> list[str]:
    """The command that runs a cell, or goes on with it."""
    last = cell.folder / "last.pt"
    going_on = ["--use-checkpoint", "--checkpoint-path", str(last)] if last.exists() else []
    return [sys.executable, str(HERE / f"{script}.py"), *cell.flags, "--out-dir", str(cell.folder), *going_on]


def is_done(script: str, cell: Cell) -> bool:
    """Whether the cell has been run to its end. Raises ValueError where it is another run's."""
    if not (cell.folder / "cell.json").exists():
        return False
    before = cell.read("cell.json")
    if [before["script"], before["flags"]] != [script, cell.flags]:
        raise ValueError(
            f"{cell.folder} holds a run of {before['script']}.py with other flags ({before['flags']}), not "
            f"{script}.py {shlex.join(cell.flags)}; choose another --out-dir"
        )
    return True


def selected(cell: Cell) -> float:
    """The metric that the cell's weights were selected by."""
    results = cell.read("results.json")
    return results["best"][results["selected_by"]]


def summary(cell: Cell) -> str:
    """`AUC 71.35, 153 s`, without the time where nobody knows it."""
    results, seconds = cell.read("results.json"), cell.read("cell.json")["wall_seconds"]
    auc = f"AUC {100 * results.get('best', results)['auc']:.2f}"
    return auc if seconds is None else f"{auc}, {seconds:.0f} s"


def open_to(base: str, options: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """The options, each with its values, that a row of ROWS does not set itself."""
    return [(name, values) for name, values in options if f"--{name}" not in ROWS[base].split()]


def combinations(options: list[tuple[str, list[str]]]) -> list[dict[str, str]]:
    """Each option at one of its values, in every way."""
    names = [name for name, _ in options]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in options))]


def named(values: dict[str, str]) -> list[str]:
    """`lr 2e-5` for each option."""
    return [f"{name} {value}" for name, value in values.items()]


def slug(name: str) -> str:
    """A name as that of a folder."""
    return re.sub(r"[^\w.-]+", "-", name)
