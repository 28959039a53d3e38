"""The report of a run, or of any method's scores: one HTML page with everything in it; its figures and tables beside it.

    python report.py RUN_DIR
    python report.py SCORES.npz [--gt-path GT.npy] [--test-list LIST.csv]

RUN_DIR is the folder of a test, of a training or of a watch; SCORES.npz is of any method, as metrics.py takes it; without
ground truth, the report is of scores alone. For a paper:

    python report.py SOURCE ... --format pdf --width 3.4 --videos NAME NAME --table figures.tex
"""

import sys
from argparse import Namespace
from pathlib import Path

from evaluation import figures, page, source, tables
from evaluation.evaluate import evaluate_all
from files import folder
from option import FIGURE_FORMAT, HOLD_LAST, NORMAL_LABEL, Parser, Range, add_flags, check, flag_of
from running.command import exit_codes

WIDTHS = Range(3, 40)
parser = Parser("The report of a run, or of any method's scores: one HTML page with everything in it; its figures beside it.")
add = parser.add_argument
add("source", type=Path, help="folder of a test, a training or a watch; or scores.npz of any method")
add("--gt-path", help="scores: ground truth of the frames, 0 or 1 (.npy); ours have it inside, as the array truth")
add("--test-list", help="scores: CSV path,label or path,label,frames: the videos' labels and true frames")
add("--out-dir", type=Path, help="where the report goes (None = the run's folder; of scores.npz the folder scores-report)")
add("--width", type=float, default=figures.WIDTH, help=f"of the figures, in inches ({WIDTHS}); 3.4 = a column of a paper")
add("--videos", nargs="+", default=[], metavar="NAME", help="also draw these alone, as figures/timelines.<format>")
add("--table", help="also write the table of figures, to a .csv, .md or .tex file (LaTeX, with booktabs)")
add_flags(add, [FIGURE_FORMAT, NORMAL_LABEL, HOLD_LAST, *source.LIVE])


def main() -> None:
    args = parser.parse_args()
    with exit_codes():
        check(args, ["live"])
        if (args.source / "events.db").is_file() and not (args.source / "options.json").exists():
            return of_watch(args)
        if args.width not in WIDTHS:
            raise ValueError(f"--width must be {WIDTHS}, not {args.width:g}")
        out_dir = out_dir_of(args)
        others = (args.source, args.gt_path, args.test_list, *(out_dir / name for name in page.OUTPUTS))
        table = args.table and tables.output(args.table, tables.ENDINGS, others, "--table")
        read = source.read(args.source, args)
        shown = source.places_of(args.videos, read.scores.videos)
        for line in source.left_out(read):
            print(f"note: {line}", file=sys.stderr)
        if table and read.truth is None:
            raise ValueError(f"--table is of figures, and {args.source} has {source.NO_TRUTH}; give --gt-path, or leave it out")
        evaluations = {} if read.truth is None else evaluate_all(read.columns, read.truth, read.terms)
        how = {"format": args.format, "width": args.width, "shown": shown}
        path = page.write_report(out_dir, read, evaluations, **how)
        if table:
            tables.write(table, tables.rows_of(evaluations))
        drawn = f", its figures in {out_dir / 'figures'}" if evaluations or shown else f"; {source.NO_TRUTH}"
        print(f"report in {path}{drawn}" + (f", table in {table}" if table else ""))


def of_watch(args: Namespace) -> None:
    """Write the page of an earlier watch. Raises ValueError or OSError."""
    names = (*source.OF_FILES, "videos", "table", "fps", "false_alarms", "format", "width")
    asked = [flag_of(name) for name in names if getattr(args, name) != parser.get_default(name)]
    if asked:
        raise ValueError(f"{args.source} is the folder of a watch: {', '.join(asked)} would be ignored; leave that out")
    from watching import report as watched  # torch takes seconds to import, and only what was watched stands on it

    print(f"report in {watched.write_again(args.source, out_dir_of(args))}; {source.NO_TRUTH}")


def out_dir_of(args: Namespace) -> Path:
    """Where the report goes. Raises ValueError or OSError where that is another run's folder, or anybody's files lie there."""
    of_run = args.source.is_dir()
    out_dir = args.out_dir or (args.source if of_run else args.source.with_name(f"{args.source.stem}-report"))
    own = of_run and out_dir.resolve() == args.source.resolve()
    if not own:
        folder.require_free(out_dir, replaceable=False)
    folder.require_ours([out_dir / name for name in page.OUTPUTS], out_dir / "report.html", page.TITLE, "a report of ours")
    folder.require_writable([out_dir / "report.html", out_dir / "figures" / f"curves.{args.format}"])
    return out_dir


if __name__ == "__main__":
    main()
