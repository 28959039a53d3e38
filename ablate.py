"""Experiments: rows of options x seeds, each cell a run of a script; then one table and one figure of them all.

    python ablate.py ucf_train --rows paper fifo "no memory" --jobs 2 --out-dir runs/rules -- --feature-root FEATURES
    python ablate.py ucf_train --vary cache-keep-max-len=1,2,4,8 --out-dir runs/cache -- --feature-root FEATURES
    python ablate.py ucf_test --vary drop-snippets=0,0.5,0.9 --out-dir runs/robust -- --model-path runs/{seed}/best.pt

What follows `--` is given to every run. A finished cell is not run again, a killed one goes on where it was.
"""

import argparse
import shlex
import sys
from pathlib import Path

import option
from evaluation import tables
from experiments import outcome
from experiments.grid import PARSERS, Grid
from experiments.rows import ROWS
from files import atomic, folder
from files.interrupt import SIGNALS
from files.lists import several
from running.cluster import OF_CLUSTER
from running.command import exit_codes


def assignment(text: str) -> tuple[str, list[str]]:
    """`lr=2e-5,5e-5` -> ("lr", ["2e-5", "5e-5"])."""
    name, equals, values = text.partition("=")
    if not equals or not all(values.split(",")):
        raise argparse.ArgumentTypeError(f"expected an option and its values, as in lr=2e-5,5e-5, not {text!r}")
    return name.removeprefix("--").replace("_", "-"), values.split(",")


parser = option.Parser("Rows of options x seeds, each a run; then one table and one figure of them all.")
add = parser.add_argument
add("script", choices=tuple(PARSERS), help="what is run")
add(
    "--rows",
    nargs="+",
    choices=tuple(ROWS),
    default=["paper"],
    metavar="ROW",
    help="of " + ", ".join(f'"{row}"' for row in ROWS),
)
add("--vary", action="append", type=assignment, default=[], metavar="OPTION=A,B", help="a row for each value; where what "
     "follows -- has {OPTION}, the value is put there")  # fmt: skip
add("--tune", action="append", type=assignment, default=[], metavar="OPTION=A,B", help="choose for each row the value that "
     "validates best, in the mean of the seeds")  # fmt: skip
add("--seeds", nargs="+", type=int, default=[1, 2, 3], help="each row is run with each; {seed} after -- is replaced too")
add("--jobs", type=int, help="runs at a time, 1 if nothing is said; each has its share of the cores, or OMP_NUM_THREADS")
option.add_flags(add, OF_CLUSTER)
add("--dry-run", default=False, action=option.SWITCH, help="check the flags and print the commands, run nothing")
add("--metric", choices=tuple(outcome.METRICS), default="auc", help="what the figure shows, and the table first")
add("--out-dir", required=True, type=Path, help="folder for all runs, and for their table, the differences to its first row, "
    "cells.csv and figure.png")  # fmt: skip


def main() -> None:
    given = sys.argv[1:]
    cut = given.index("--") if "--" in given else len(given)
    args, flags = parser.parse_args(given[:cut]), given[cut + 1 :]
    with exit_codes(), SIGNALS:
        grid = Grid(args, flags)
        grid.check()
        if args.dry_run:
            print("\n".join(shlex.join(cell.command()) for cell in grid.cells))
            return
        outputs = [args.out_dir / name for name in outcome.OUTPUTS]
        folder.require_ours(outputs, args.out_dir / "cells.csv", b"row,", "an experiment")
        folder.require_writable(outputs)
        grid.require_inputs()
        try:
            grid.run()
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; the same command goes on") from None
        cells = outcome.read_cells(grid)
        lines = outcome.lines_of(grid, cells)
        both = dict(zip(outcome.TABLES, outcome.tables_of(lines, args.metric), strict=True))
        with folder.staged(args.out_dir) as new:
            atomic.write_text(new / "cells.csv", outcome.to_csv(grid, cells))
            for name, rows in both.items():
                for ending in outcome.ENDINGS:
                    tables.write(new / f"{name}.{ending}", rows)
            outcome.draw(grid, lines, new / "figure.png")
        print("\n".join(tables.markdown(rows) for rows in both.values() if len(rows) > 1), end="")
        if apart := outcome.on_others(lines):
            print(several(f"note: {len(apart)} rows were tested on other videos, or another ground truth, than the first: they "
                          "have no difference", apart))  # fmt: skip
        if others := outcome.others(args.out_dir, cells):
            print(several(f"note: {len(others)} runs in {args.out_dir} are not among these rows", others))
        print(f"tables, cells, figure and all runs in {args.out_dir}")


if __name__ == "__main__":
    main()
