"""Experiments: rows of options x seeds, each cell a training of its own; then one table and one figure of them all.

    python ablate.py ucf --rows paper fifo "no memory" --seeds 1 2 3 --jobs 2 --out-dir runs/rules -- --feature-root FEATURES
    python ablate.py ucf --rows paper --vary cache-keep-max-len=1,2,4,8 --out-dir runs/cache -- --feature-root FEATURES

What follows `--` is given to every training. A finished cell is not run again, a killed one goes on where it was.
"""

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
from typing import NamedTuple

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
PARSERS = {"ucf": ucf_option.parser, "xd": xd_option.parser}
HERE = Path(__file__).resolve().parent


class Cell(NamedTuple):
    """One training."""

    row: str
    tuned: str  # "lr 2e-05", or nothing
    seed: int
    flags: list[str]
    folder: Path

    def results(self) -> dict:
        """What its training wrote, and `wall_seconds`."""
        return json.loads((self.folder / "results.json").read_text()) | json.loads((self.folder / "cell.json").read_text())


class Runner:
    """Runs cells as processes of their own; `stop` ends them, each saving what it needs to go on."""

    def __init__(self, script: str, jobs: int):
        self.script, self.running, self.stopped = script, set(), False
        self.lock = threading.Lock()
        self.environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}

    def run(self, cell: Cell) -> Cell:
        """Train the cell unless it is done. Raises ValueError with the training's own words where it fails."""
        cell.folder.mkdir(parents=True, exist_ok=True)
        with open(cell.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits for a training that outlived a killed run; its process holds the lock
            if is_done(cell):
                return cell
            command = [sys.executable, str(HERE / self.script), *cell.flags, "--out-dir", str(cell.folder)]
            if (cell.folder / "last.pt").exists():
                command += ["--use-checkpoint", "--checkpoint-path", str(cell.folder / "last.pt")]
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
            (cell.folder / "last.pt").unlink()  # only needed to go on; the selected weights stay
        return cell

    def stop(self) -> None:
        """End all trainings; they save first."""
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.send_signal(signal.SIGTERM)


def is_done(cell: Cell) -> bool:
    """Whether the cell has been run to its end. Raises ValueError where it was run with other flags."""
    path = cell.folder / "cell.json"
    if not path.exists():
        return False
    before = json.loads(path.read_text())["flags"]
    if before != cell.flags:
        raise ValueError(
            f"{cell.folder} holds a training with other flags ({shlex.join(before)}), not {shlex.join(cell.flags)}; "
            "choose another --out-dir"
        )
    return True


class Grid:
    """The rows, each with its cells; of the values of --tune a row goes on with the one that validates best."""

    def __init__(self, args: argparse.Namespace, flags: list[str]):
        self.args, self.flags = args, flags
        varied = [[(f"{name} {value}", [f"--{name}", value]) for value in values] for name, values in args.vary]
        self.rows: dict[str, list[str]] = {}
        for row, *changes in itertools.product(args.rows, *varied):
            name = ", ".join([row, *(change for change, _ in changes)])
            self.rows[name] = [*shlex.split(ROWS[row]), *itertools.chain(*(flags for _, flags in changes))]
        names, values = [name for name, _ in args.tune], [values for _, values in args.tune]
        self.tunings = [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values)]

    def cell(self, row: str, tuning: dict[str, str], seed: int) -> Cell:
        """The training of a row with these tuned values and this seed."""
        tuned = ", ".join(f"{name} {value}" for name, value in tuning.items())
        tuning_flags = itertools.chain(*([f"--{name}", value] for name, value in tuning.items()))
        flags = [*self.flags, *self.rows[row], *tuning_flags, "--seed", str(seed)]
        return Cell(row, tuned, seed, flags, Path(self.args.out_dir, *map(slug, filter(None, (row, tuned, f"seed {seed}")))))

    def first(self, row: str) -> list[Cell]:
        """What is run of a row to choose its tuned values: the first seed with each."""
        return [self.cell(row, tuning, self.args.seeds[0]) for tuning in self.tunings]

    def chosen(self, row: str) -> list[Cell]:
        """All seeds of a row with the tuned values whose first seed validated best."""
        if len(self.tunings) == 1:
            tuning = self.tunings[0]
        else:
            tuning = max(self.tunings, key=lambda tuning: selected(self.cell(row, tuning, self.args.seeds[0])))
        return [self.cell(row, tuning, seed) for seed in self.args.seeds]

    def run(self) -> None:
        """Run all cells that are not done, in --jobs processes. Stopped or failed, the others are saved to go on."""
        runner = Runner(f"{self.args.data_set}_train.py", self.args.jobs)
        total = len(self.rows) * (len(self.tunings) + len(self.args.seeds) - 1)
        with ThreadPoolExecutor(self.args.jobs) as pool, tqdm(total=total, unit="training", disable=None) as bar:
            waiting = {row: len(self.tunings) for row in self.rows}
            pending: set[Future] = {pool.submit(runner.run, cell) for row in self.rows for cell in self.first(row)}
            try:
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        row = future.result().row
                        bar.update()
                        waiting[row] -= 1
                        if waiting[row] == 0:
                            pending |= {pool.submit(runner.run, cell) for cell in self.chosen(row)[1:]}
            except BaseException:
                runner.stop()
                pool.shutdown(cancel_futures=True)
                raise


def selected(cell: Cell) -> float:
    """The metric that the cell's weights were selected by."""
    results = cell.results()
    return results["best"][results["selected_by"]]


def slug(name: str) -> str:
    """A name as that of a folder."""
    return re.sub(r"[^\w.-]+", "-", name)


def assignment(text: str) -> tuple[str, list[str]]:
    """`lr=2e-5,5e-5` -> ("lr", ["2e-5", "5e-5"])."""
    name, equals, values = text.partition("=")
    if not equals or not all(values.split(",")):
        raise argparse.ArgumentTypeError(f"expected an option and its values, as in lr=2e-5,5e-5, not {text!r}")
    return name.lstrip("-").replace("_", "-"), values.split(",")


parser = option.Parser(description=__doc__)
parser.add_argument("data_set", choices=tuple(PARSERS), help="whose training is run")
parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=["paper"], metavar="ROW", help=f"of {', '.join(ROWS)}")
parser.add_argument("--vary", action="append", type=assignment, default=[], metavar="OPTION=A,B", help="a row for each value")
parser.add_argument("--tune", action="append", type=assignment, default=[], metavar="OPTION=A,B", help="choose for each row "
                    "the value that validates best with the first seed")  # fmt: skip
parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="each row is trained with each")
parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
parser.add_argument("--out-dir", required=True, help="folder for all trainings, the table and the figure")


def main() -> None:
    given = sys.argv[1:]
    cut = given.index("--") if "--" in given else len(given)
    args, flags = parser.parse_args(given[:cut]), given[cut + 1 :]
    grid = Grid(args, flags)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    grid.run()


if __name__ == "__main__":
    main()
