"""A grid of runs: rows of options x varied values x seeds, each cell a process of its own, finished once or gone on with."""

import argparse
import itertools
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from statistics import mean

from tqdm import tqdm

import option
import own_option
import ucf_option
import xd_option
from experiments import cluster
from experiments.cell import Cell, Row, run
from experiments.rows import ROWS
from running.cluster import require_used

PARSERS = {
    **dict.fromkeys(("ucf_train", "ucf_test"), ucf_option.parser),
    "longterm_test": ucf_option.longterm,
    **dict.fromkeys(("xd_train", "xd_test"), xd_option.parser),
    **dict.fromkeys(("own_train", "own_test"), own_option.parser),
}
OWN = ("seed", "out-dir", "use-checkpoint", "checkpoint-path", "overwrite")  # what a grid gives each run itself


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
            flags = [*filled, *given_as(name, value)] if filled == flags or name == "seed" else filled
        names = [row.base, *named(row.changes), *named(tuning), f"seed {seed}"]
        folder = Path(self.args.out_dir, *(re.sub(r"[^\w.-]+", "-", name) for name in names))
        return Cell(", ".join(names), self.args.script, row, tuning, seed, flags, folder)

    def planned(self, row: Row) -> list[Cell]:
        """All runs of a row: every seed with every tuned value."""
        return [self.cell(row, tuning, seed) for tuning in self.tunings(row) for seed in self.args.seeds]

    @property
    def cells(self) -> list[Cell]:
        """All runs of all rows."""
        return [cell for row in self.rows for cell in self.planned(row)]

    def chosen(self, row: Row) -> list[Cell]:
        """All seeds of a row with the tuned values that validated best, in the mean of the seeds: one seed chooses badly."""
        tried = [[self.cell(row, tuning, seed) for seed in self.args.seeds] for tuning in self.tunings(row)]
        return max(tried, key=lambda cells: mean(map(Cell.selected, cells))) if len(tried) > 1 else tried[0]

    def check(self) -> None:
        """Raise ValueError where something cannot be, before anything is run."""
        args, known = self.args, {action.dest.replace("_", "-") for action in PARSERS[self.args.script]._actions} - {"help"}
        if args.jobs is not None and args.jobs < 1:
            raise ValueError(f"--jobs must be at least 1, not {args.jobs}")
        require_used(args)
        if args.ray and args.jobs is not None:
            raise ValueError("--jobs would be ignored with --ray; say by --cores and --gpus what each run needs")
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
        for name, values in changed:
            if is_switch(name) and (others := set(values) - {"true", "false"}):
                raise ValueError(f"{name} is true or false, not {min(others)}")
        flags = [option.dashed(flag).partition("=")[0].removeprefix("--") for flag in self.flags]
        tests = args.script.endswith("_test")
        if own := {*OWN, *(() if tests else ("model-path",))} & {*names, *flags}:
            raise ValueError(f"--{min(own)} is given to each run by the grid; leave it out")
        if args.tune and tests:
            raise ValueError("--tune needs trainings, to validate; leave it out")
        cells = self.cells
        if len({cell.folder for cell in cells}) < len(cells):
            raise ValueError("two runs would have folders of one name: their values differ in signs like / and - alone")
        for cell in cells:
            options = option.parse(PARSERS[args.script], cell.flags)
            if len(self.tunings(cell.row)) > 1 and not options.val_share:
                raise ValueError("--tune needs validation videos: give --val-share 0.1 after --, or leave --tune out")
            try:
                option.require_used(options, training=not tests)
            except ValueError as error:
                raise ValueError(f"{cell.name}: {error}, or the row") from None
            option.resolve_variant(options)
            cell.is_done()
            cell.require_alike(options)
        by_seed = any("{seed}" in flag for flag in self.flags) or "drop-snippets" in {*names, *flags}
        if tests and len(args.seeds) > 1 and not by_seed:
            raise ValueError("all seeds would be the same test: put {seed} into --model-path, or give --seeds a single one")

    def require_inputs(self) -> None:
        """Raise FileNotFoundError where what a cell reads is not there, before any is run."""
        read = ("train_list" if self.args.script.endswith("train") else "model_path", "test_list", "gt_path", "feature_root")
        for cell in self.cells:
            if cell.is_done():
                continue
            options = vars(option.parse(PARSERS[self.args.script], cell.flags))
            for name in read:
                if options[name] and not Path(options[name]).exists():
                    raise FileNotFoundError(
                        f"{cell.name}: {option.flag_of(name)} {options[name]}: not there; mend what is given"
                    )

    def run(self) -> None:
        """Run all cells that are not done, in --jobs processes or on a cluster, and print a line for each at its end.

        When one fails, or the user stops them, the others save what they need to go on.
        """
        cells = self.cells
        finished = cluster.finished(cells, self.args) if self.args.ray else finished_here(cells, self.args.jobs or 1)
        with closing(finished), tqdm(total=len(cells), unit="run", disable=None) as bar:
            for n_done, cell in enumerate(finished, 1):
                bar.update()
                bar.write(f"{n_done} of {len(cells)}: {cell.summary()}")
                sys.stdout.flush()


def finished_here(cells: Sequence[Cell], jobs: int) -> Iterator[Cell]:
    """Run all on this machine, so many at a time, and yield each at its end."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment = {"OMP_NUM_THREADS": str(max(1, n_cores // jobs))} | dict(os.environ)
    stopped = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for future in as_completed([pool.submit(run, cell, environment, stopped) for cell in cells]):
                yield future.result()
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


def is_switch(name: str) -> bool:
    """Whether an option is on or off."""
    flag = option.BY_NAME.get(name.replace("-", "_"))
    return flag is not None and flag.type is option.SWITCH


def given_as(name: str, value: str) -> list[str]:
    """The flag that gives an option this value; of one that is on or off, true or false."""
    if is_switch(name):
        return [f"--{name}" if value == "true" else f"--no-{name}"]
    return [f"--{name}", value]


def combinations(options: list[tuple[str, list[str]]], flags: str = "") -> list[dict[str, str]]:
    """The options, each at one of its values, in every way; without those that these flags set."""
    set_by = flags.split()
    free = [(name, values) for name, values in options if not {f"--{name}", f"--no-{name}"} & {*set_by}]
    choices = [[(name, value) for value in values] for name, values in free]
    return [dict(combination) for combination in itertools.product(*choices)]


def named(values: dict[str, str]) -> list[str]:
    """`lr 2e-5` for each option."""
    return [f"{name} {value}" for name, value in values.items()]
