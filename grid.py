"""A grid of runs: rows of options x varied values x seeds, each cell a process of its own, finished once or gone on with."""

import argparse
import fcntl
import itertools
import json
import os
import re
import shlex
import signal
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

    row: Row
    tuning: dict[str, str]
    seed: int
    flags: list[str]
    folder: Path

    def results(self) -> dict:
        """What it wrote, and its `wall_seconds`."""
        return json.loads((self.folder / "results.json").read_text()) | json.loads((self.folder / "cell.json").read_text())


class Grid:
    """The rows, each with its cells; of the values of --tune a row goes on with the one that validates best."""

    def __init__(self, args: argparse.Namespace, flags: list[str]):
        self.args, self.flags = args, flags
        self.rows = []
        for base in args.rows:
            own = {word.removeprefix("--") for word in ROWS[base].split() if word.startswith("--")}
            varied = [(name, values) for name, values in args.vary if name not in own]  # else the row has chosen it already
            for values in itertools.product(*(values for _, values in varied)):
                self.rows.append(Row(base, dict(zip((name for name, _ in varied), values, strict=True))))
        names, values = [name for name, _ in args.tune], [values for _, values in args.tune]
        self.tunings = [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values)]

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
        return Cell(row, tuning, seed, flags, Path(self.args.out_dir, *map(slug, names)))

    def first(self, row: Row) -> list[Cell]:
        """What is run of a row to choose its tuned values: the first seed with each."""
        return [self.cell(row, tuning, self.args.seeds[0]) for tuning in self.tunings]

    def chosen(self, row: Row) -> list[Cell]:
        """All seeds of a row with the tuned values whose first seed validated best."""
        best = self.first(row)[0] if len(self.tunings) == 1 else max(self.first(row), key=selected)
        return [self.cell(row, best.tuning, seed) for seed in self.args.seeds]

    def check(self) -> None:
        """Raise ValueError where flags cannot be, before anything is run."""
        if self.args.jobs < 1:
            raise ValueError(f"--jobs must be at least 1, not {self.args.jobs}")
        for row in self.rows:
            for cell in self.first(row):
                options = option.parse(PARSERS[self.args.script], cell.flags)
                if len(self.tunings) > 1 and not options.val_share:
                    raise ValueError("--tune needs validation videos: give --val-share 0.1 after --, or leave --tune out")
                is_done(cell)

    def run(self) -> None:
        """Run all cells that are not done, in --jobs processes. Stopped or failed, the others are saved to go on."""
        runner = Runner(self.args.script, self.args.jobs)
        total = len(self.rows) * (len(self.tunings) + len(self.args.seeds) - 1)
        with ThreadPoolExecutor(self.args.jobs) as pool, tqdm(total=total, unit="run", disable=None) as bar:
            pending: set[Future] = {pool.submit(runner.run, cell) for row in self.rows for cell in self.first(row)}
            waiting = {row.name: len(self.tunings) for row in self.rows}
            try:
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        row = future.result().row
                        bar.update()
                        waiting[row.name] -= 1
                        if waiting[row.name] == 0:
                            pending |= {pool.submit(runner.run, cell) for cell in self.chosen(row)[1:]}
            except BaseException:
                runner.stop()
                pool.shutdown(cancel_futures=True)
                raise


class Runner:
    """Runs cells as processes of their own; `stop` ends them, trainings saving what they need to go on."""

    def __init__(self, script: str, jobs: int):
        self.script, self.running, self.stopped = script, set(), False
        self.lock = threading.Lock()
        self.environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}

    def run(self, cell: Cell) -> Cell:
        """Run the cell unless it is done. Raises ValueError with its own last words where it fails."""
        cell.folder.mkdir(parents=True, exist_ok=True)
        with open(cell.folder / "lock", "w") as lock:
            self.acquire(lock)
            if is_done(cell):
                return cell
            command = command_of(self.script, cell)
            began = time.monotonic()
            with open(cell.folder / "output.txt", "a") as output:
                with self.lock:
                    if self.stopped:
                        raise KeyboardInterrupt
                    process = subprocess.Popen(
                        command,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        env=self.environment,
                        pass_fds=(lock.fileno(),),
                        start_new_session=True,
                    )
                    self.running.add(process)
                code = process.wait()
                with self.lock:
                    self.running.discard(process)
            if self.stopped:
                raise KeyboardInterrupt
            if code:
                words = (cell.folder / "output.txt").read_text().strip().splitlines()[-1:]
                raise ValueError(f"{shlex.join(command)}\nended with {code}: {' '.join(words)} (all in {output.name})")
            done = {"flags": cell.flags, "wall_seconds": time.monotonic() - began}
            atomic.write_text(cell.folder / "cell.json", json.dumps(done, indent=2) + "\n")
            (cell.folder / "last.pt").unlink(missing_ok=True)  # only needed to go on; the selected weights stay
        return cell

    def acquire(self, lock: TextIO) -> None:
        """Wait for a process that outlived a killed experiment: it holds the cell's lock until it ends."""
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self.stopped:
                    raise KeyboardInterrupt from None
                time.sleep(0.5)

    def stop(self) -> None:
        """End all runs; trainings save first."""
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.send_signal(signal.SIGTERM)


def command_of(script: str, cell: Cell) -> list[str]:
    """The command that runs a cell, or goes on with it."""
    last = cell.folder / "last.pt"
    going_on = ["--use-checkpoint", "--checkpoint-path", str(last)] if last.exists() else []
    return [sys.executable, str(HERE / f"{script}.py"), *cell.flags, "--out-dir", str(cell.folder), *going_on]


def is_done(cell: Cell) -> bool:
    """Whether the cell has been run to its end. Raises ValueError where it was run with other flags."""
    path = cell.folder / "cell.json"
    if not path.exists():
        return False
    before = json.loads(path.read_text())["flags"]
    if before != cell.flags:
        raise ValueError(
            f"{cell.folder} holds a run with other flags ({shlex.join(before)}), not {shlex.join(cell.flags)}; "
            "choose another --out-dir"
        )
    return True


def selected(cell: Cell) -> float:
    """The metric that the cell's weights were selected by."""
    results = cell.results()
    return results["best"][results["selected_by"]]


def named(values: dict[str, str]) -> list[str]:
    """`lr 2e-5` for each option."""
    return [f"{name} {value}" for name, value in values.items()]


def slug(name: str) -> str:
    """A name as that of a folder."""
    return re.sub(r"[^\w.-]+", "-", name)
