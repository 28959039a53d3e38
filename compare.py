"""Methods side by side, on the videos they share: their figures, the differences to the first, and where they differ most.

    python compare.py A B [C ...]

Each is a scores.npz of ours or of another method, the folder of a run, or a folder of runs that differ by seed alone; NAME=PATH
names it. Writes figures.csv, differences.csv, videos.csv and a figure to --out-dir.
"""

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation import comparison, methods, side_by_side, source, tables
from evaluation.comparison import Comparison, Method
from evaluation.evaluate import Terms
from evaluation.methods import Given
from experiments import rows
from files import folder
from files.interrupt import SIGNALS
from option import FIGURE_FORMAT, FLAGS, HOLD_LAST, NORMAL_LABEL, Parser, add_flags, check, flag_of
from running.command import exit_codes

N_VIDEOS = 10  # of those that differ most, shown

parser = Parser("Methods side by side, on the videos they share, with paired differences to the first.")
add = parser.add_argument
add("methods", nargs="+", metavar="[NAME=]PATH", help="scores.npz of any method, a run's folder, or a folder of seeds")
add("--gt-path", help="ground truth of the frames, 0 or 1 (.npy), for scores that do not hold it as the array truth")
add("--test-list", help="their CSV path,label or path,label,frames: the videos' labels and true frames")
add("--out-dir", type=Path, default=Path("runs/comparison"), help="folder for the tables and the figure, which are replaced")
add_flags(add, [FIGURE_FORMAT, NORMAL_LABEL, HOLD_LAST, *source.LIVE])


def main() -> None:
    args = parser.parse_args()
    with exit_codes():
        check(args, ["live"])
        if len(args.methods) < 2:
            raise ValueError(f"{args.methods[0]} alone is nothing to compare; name two or more")
        folder.require_free(args.out_dir, replaceable=False)
        paths = [args.out_dir / name for name in ("figures.csv", "differences.csv", "videos.csv", f"comparison.{args.format}")]
        folder.require_ours(paths, paths[1], b"less ", "a comparison")
        folder.require_writable(paths)
        found = [methods.given_as(text) for text in args.methods]
        options = [[rows.options_of(path) for path in one.folders] for one in found]
        names = names_of(found, options)
        terms = terms_of(args, [of_run for of_one in options for of_run in of_one])
        read = methods.read(found, args)
        shared, notes = comparison.shared([Method(*method) for method in zip(names, read, strict=True)])
        print("\n".join([*notes, ""]), end="")
        args.out_dir.mkdir(parents=True, exist_ok=True)
        write(comparison.compare(shared, terms), paths)


def names_of(found: Sequence[Given], options: Sequence[list[dict[str, Any]]]) -> list[str]:
    """What each is called: as given, else by what it is; where that is the same, also by its folder. Raises ValueError."""
    by_options = iter(rows.names_of([of_one[0] for of_one in options if of_one]))
    names = [next(by_options) if one.folders else folder_of(one) for one in found]
    names = [one.name or name for one, name in zip(found, names, strict=True)]
    for one, of_one in zip(found, options, strict=True):
        if differing := rows.differing(of_one) if of_one else []:
            print(f"note: the runs in {one.path} differ in more than their seed: {', '.join(differing)}")
    several = Counter(names)
    names = [
        name if one.name or several[name] == 1 or folder_of(one) == name else f"{name}, {folder_of(one)}"
        for one, name in zip(found, names, strict=True)
    ]
    (name, n), *_ = Counter(names).most_common()
    if n > 1:
        raise ValueError(f"{n} of these are called {name}; name them, as in A={found[names.index(name)].path}")
    return names


def folder_of(one: Given) -> str:
    """The name of a file without its ending, of its folder where every file is called so, of a folder."""
    path = one.path.resolve()
    return path.name if path.is_dir() else path.parent.name if path.stem == "scores" else path.stem


def terms_of(args: Namespace, options: Sequence[dict[str, Any]]) -> Terms:
    """As the flags say, else as all runs were tested, else the usual. Raises ValueError where runs differ."""
    terms = []
    for flag in FLAGS["live"]:
        said = getattr(args, flag.name)
        if said is None and (lacking := [run for run in options if run.get(flag.name) is None]):
            path = Path(lacking[0].get("out_dir", "a run"), "options.json")
            source.require_rate(lacking[0], path)
            raise ValueError(f"{path}: without {flag_of(flag.name)}: damaged; copy it, or run it, again")
        values = [said] if said is not None else list({run[flag.name]: None for run in options}) or [flag.default]
        if len(values) > 1:
            raise ValueError(
                f"the runs were tested with different {flag_of(flag.name)}: {', '.join(map(str, values))}; give it"
            )
        terms += values
    return Terms(*terms)


def write(compared: Comparison, paths: Sequence[Path]) -> None:
    """Write the tables and the figure, all at the end, and print the tables."""
    of_figures, of_videos = comparison.rows_of(compared), comparison.video_rows(compared)
    headlines = {name: comparison.headlines(results) for name, results in compared.differences.items()}
    labels = [f"{name} ({kind})" for name, kind in compared.videos[:N_VIDEOS]]
    errors = {name: of_videos[:N_VIDEOS] for name, of_videos in compared.errors.items()}
    with SIGNALS, folder.staged(paths[0].parent, name=folder.REPORT) as new:
        for path, table in zip(paths, (*of_figures, of_videos), strict=False):
            tables.write(new / path.name, table)
        side_by_side.comparison(new / paths[-1].name, headlines, labels, errors)
    print("\n\n".join(map(tables.aligned, of_figures)))
    print(tables.remark(compared.figures))
    if seeds := [f"{n} seeds of {name}" for name, n in compared.n_seeds.items() if n > 1]:
        print(f"After ±: the standard deviation over {', '.join(seeds)}, which the intervals do not hold.")
    print(f"\n{tables.aligned(of_videos[: N_VIDEOS + 1])}")
    print(f"tables of all figures and videos, and a figure, in {paths[-1].parent}")


if __name__ == "__main__":
    main()
