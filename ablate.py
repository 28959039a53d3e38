"""Experiments: rows of options x seeds, each cell a run of a script; then one table and one figure of them all.

    python ablate.py ucf_train --rows paper fifo "no memory" --jobs 2 --out-dir runs/rules -- --feature-root FEATURES
    python ablate.py ucf_train --vary cache-keep-max-len=1,2,4,8 --out-dir runs/cache -- --feature-root FEATURES
    python ablate.py ucf_test --vary drop-snippets=0,0.5,0.9 --out-dir runs/robust -- --model-path runs/{seed}/best.pt

What follows `--` is given to every run. A finished cell is not run again, a killed one goes on where it was.
"""

import argparse
import csv
import fcntl
import io
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

import numpy as np
from tqdm import tqdm

import atomic
import figures
import metrics
import option
import ucf_option
import xd_option
from curves import areas, resampled_areas
from scores import from_logits, read_arrays, read_scores

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


class Cell(NamedTuple):
    """One run: a training, or a test."""

    row: "Row"
    tuning: dict[str, str]
    seed: int
    flags: list[str]
    folder: Path

    def results(self) -> dict:
        """What it wrote, and its `wall_seconds`."""
        return json.loads((self.folder / "results.json").read_text()) | json.loads((self.folder / "cell.json").read_text())


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
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits for a process that outlived a killed experiment: it holds the lock
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

    def stop(self) -> None:
        """End all trainings; they save first."""
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


class Row(NamedTuple):
    """One line of the table: a row of ROWS with each varied option at one of its values."""

    base: str
    changes: dict[str, str]

    @property
    def name(self) -> str:
        return ", ".join([self.base, *named(self.changes)])


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
        """The training of a row with these tuned values and this seed."""
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


class Line(NamedTuple):
    """A row's results: per seed, and the (R,) resampled AUC of each seed's selected weights."""

    row: Row
    tuned: str
    cells: list[dict]
    resampled: np.ndarray  # (seeds, R)

    def values(self, name: str) -> np.ndarray:
        return np.array([100 * cell[name] for cell in self.cells])


def read_cell(cell: Cell) -> tuple[dict, np.ndarray]:
    """What a cell says, in one line of the CSV file, and its resampled AUC. Raises ValueError where its files are damaged."""
    results, found = cell.results(), read_scores(cell.folder / "scores.npz")
    arrays = read_arrays(cell.folder / "scores.npz")
    options = json.loads((cell.folder / "options.json").read_text())
    frames = metrics.frames_of(found, arrays["truth"])
    video = np.repeat(np.arange(len(found.videos)), metrics.counts_of(found)[0])
    how = {"width": options["smooth_width"], "pad": options["smooth_pad"], "window": options["attn_window"]}
    causal, unsmoothed = (from_logits(found.videos, arrays["logits"], smooth=kind, **how) for kind in ("causal", "none"))
    best = results.get("best", results)
    line = {
        "row": cell.row.base,
        **cell.row.changes,
        **cell.tuning,
        "seed": cell.seed,
        **({"selected_by": results["selected_by"], "step": best["step"]} if "best" in results else {}),
        "auc": best["auc"],
        "auc_causal": areas(causal.scores, *frames).auc,
        "auc_unsmoothed": areas(unsmoothed.scores, *frames).auc,
        "ap": best["ap"],
        "video_auc": areas(*metrics.by_video(found, frames[0])).auc,
        **{f"auc_{name}": results[name]["auc"] for name in ("last", "best_on_test") if name in results},
        "wall_seconds": results["wall_seconds"],
    }
    return line, resampled_areas(found.scores, *frames, video, metrics.resamples(len(found.videos))).auc


def lines_of(grid: Grid) -> list[Line]:
    """The results of every row."""
    lines = []
    for row in grid.rows:
        cells = grid.chosen(row)
        found, resampled = zip(*map(read_cell, cells), strict=True)
        lines.append(Line(row, ", ".join(named(cells[0].tuning)), list(found), np.stack(resampled)))
    return lines


def to_csv(grid: Grid) -> str:
    """Every cell, those that were only run to tune included, a line each."""
    cells = {cell.folder: cell for row in grid.rows for cell in [*grid.first(row), *grid.chosen(row)]}
    rows = [read_cell(cell)[0] for cell in cells.values()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


COLUMNS = {  # of the Markdown table: name -> key of a cell
    "AUC": "auc",
    "causal": "auc_causal",
    "unsmoothed": "auc_unsmoothed",
    "AP": "ap",
    "last epoch": "auc_last",
    "best on test": "auc_best_on_test",
}


def to_markdown(lines: list[Line]) -> str:
    """The table: mean ± standard deviation over the seeds, 95 % intervals over the videos, the difference to the first row."""
    tuned = bool(lines[0].tuned)
    columns = {name: key for name, key in COLUMNS.items() if key in lines[0].cells[0]}
    head = ["", *(["tuned"] if tuned else []), "n", *columns, "AUC, interval", f"AUC less {lines[0].row.name}'s, interval"]
    rows = [head, ["---"] * len(head)]
    for line in lines:
        spread = [mean_and_std(line.values(key)) for key in columns.values()]
        own, other = line.resampled.mean(0), lines[0].resampled.mean(0)
        difference = line.values("auc").mean() - lines[0].values("auc").mean()
        paired = f"{difference:+.2f} {interval(own - other)}" if line is not lines[0] and own.shape == other.shape else ""
        cells = [line.row.name, *([line.tuned] if tuned else []), str(len(line.cells)), *spread, interval(own), paired]
        rows.append(cells)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def mean_and_std(values: np.ndarray) -> str:
    """`72.87 ± 0.31`; of one value there is no deviation."""
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" if len(values) > 1 else f"{values.mean():.2f}"


def interval(resampled: np.ndarray) -> str:
    """`[69.10, 76.21]`"""
    low, high = 100 * np.nanquantile(resampled, metrics.INTERVAL)
    return f"[{low:.2f}, {high:.2f}]"


def draw(grid: Grid, lines: list[Line], path: Path) -> None:
    """The figure: against the first --vary if its values are numbers, a curve for the rest of each row; else a dot a row."""
    metric = grid.args.metric
    x = grid.args.vary[0][0] if grid.args.vary else None
    curves: dict[str, list[tuple[float, np.ndarray]]] = {}
    for line in lines:
        changes = dict(line.row.changes)
        at = changes.pop(x, None)
        curves.setdefault(Row(line.row.base, changes).name, []).append((at, line.values(metric)))
    try:
        series = {name: [(float(at), values) for at, values in points] for name, points in curves.items()}
    except (TypeError, ValueError):  # nothing is varied, or not in numbers
        figures.dots(path, {line.row.name: line.values(metric) for line in lines}, METRICS[metric])
    else:
        figures.curves_over(path, series, x, METRICS[metric])


METRICS = {"auc": "AUC (%)", "ap": "AP (%)", "video_auc": "AUC of videos (%)", "auc_causal": "AUC, causal smoothing (%)"}


def assignment(text: str) -> tuple[str, list[str]]:
    """`lr=2e-5,5e-5` -> ("lr", ["2e-5", "5e-5"])."""
    name, equals, values = text.partition("=")
    if not equals or not all(values.split(",")):
        raise argparse.ArgumentTypeError(f"expected an option and its values, as in lr=2e-5,5e-5, not {text!r}")
    return name.removeprefix("--").replace("_", "-"), values.split(",")


parser = option.Parser(description=__doc__)
flag = parser.add_argument
flag("script", choices=tuple(PARSERS), help="what is run")
flag("--rows", nargs="+", choices=tuple(ROWS), default=["paper"], metavar="ROW", help=f"of {', '.join(ROWS)}")
flag("--vary", action="append", type=assignment, default=[], metavar="OPTION=A,B", help="a row for each value; where what "
     "follows -- has {OPTION}, the value is put there")  # fmt: skip
flag("--tune", action="append", type=assignment, default=[], metavar="OPTION=A,B", help="choose for each row the value that "
     "validates best with the first seed")  # fmt: skip
flag("--seeds", nargs="+", type=int, default=[1, 2, 3], help="each row is run with each; {seed} after -- is replaced too")
flag("--jobs", type=int, default=1, help="runs at a time; each has its share of the processor's cores")
flag("--dry-run", default=False, action=option.SWITCH, help="check the flags and print the commands, run nothing")
flag("--metric", choices=tuple(METRICS), default="auc", help="what the figure shows")
flag("--out-dir", required=True, type=Path, help="folder for all runs, and for table.md, cells.csv and figure.png")


def main() -> None:
    given = sys.argv[1:]
    cut = given.index("--") if "--" in given else len(given)
    args, flags = parser.parse_args(given[:cut]), given[cut + 1 :]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        grid = Grid(args, flags)
        grid.check()
        if args.dry_run:
            print("\n".join(shlex.join(command_of(args.script, cell)) for row in grid.rows for cell in grid.first(row)))
            return
        grid.run()
        lines = lines_of(grid)
        atomic.write_text(args.out_dir / "cells.csv", to_csv(grid))
        table = to_markdown(lines)
        atomic.write_text(args.out_dir / "table.md", table)
        draw(grid, lines, args.out_dir / "figure.png")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)
    print(f"{table}table, cells, figure and all runs in {args.out_dir}")


if __name__ == "__main__":
    main()
