"""What can be compared: a file of scores, ours or another method's, a run's folder, or a folder of runs that are seeds.

Ours hold the ground truth; another method's file is judged by the one that is given for it, or the array `truth` in it.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluation.comparison import Judged
from evaluation.scores_file import read_arrays, record_of
from evaluation.source import is_run, with_truth
from files.lists import read_list, several
from files.names import video_name
from option import flag_of


class Given(NamedTuple):
    """One method, as the command line names it."""

    name: str | None  # as given, `NAME=PATH`
    path: Path
    folders: list[Path]  # of the runs; none of another method's file


def given_as(text: str) -> Given:
    """`NAME=PATH` or `PATH`. Raises FileNotFoundError, or ValueError where a folder holds no run."""
    name, equals, rest = text.partition("=")
    named = equals and not Path(text).exists()
    path = Path(rest if named else text)
    name = name if named and name else None
    if name and not name.isprintable():
        raise ValueError(f"{name!r}: expected a name of printable characters; choose another, as in A={path}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; name a scores.npz, a run's folder, or a folder of seeds")
    if not path.is_dir():
        return Given(name, path, [path.parent] if is_run(path) else [])
    if (path / "options.json").exists():
        return Given(name, path, [path])
    inside = sorted(folder for folder in path.iterdir() if folder.is_dir())
    seeds = [folder for folder in inside if (folder / "options.json").exists()]
    if not seeds:
        raise ValueError(f"{path}: neither a run's folder (no options.json) nor one whose subfolders are runs")
    if len(seeds) < len(inside):
        print(several(f"note: in {path} these are no runs, and left out", [f.name for f in inside if f not in seeds]))
    unfinished = [folder.name for folder in seeds if not (folder / "cell.json").exists()]
    if len(unfinished) < len(seeds) and unfinished:
        print(several(f"warning: in {path} these runs of a grid have not ended, and count all the same", unfinished))
    return Given(name, path, seeds)


def read(given: Sequence[Given], args: Namespace) -> list[list[Judged]]:
    """The runs of each method. Raises FileNotFoundError, or ValueError that names what is wrong."""
    files = {path: read_arrays(path) for one in given for path in paths_of(one)}
    own = {path: read_own(arrays, path) for path, arrays in files.items() if "truth" in arrays and "format" in arrays}
    others = {path: arrays for path, arrays in files.items() if path not in own}
    told = [flag_of(name) for name in ("gt_path", "test_list", "normal_label", "hold_last") if getattr(args, name)]
    if told and not others:
        raise ValueError(f"all that is compared has its own labels and ground truth: {', '.join(told)} would be ignored")
    if args.gt_path and args.test_list is None:
        require_one_order(others)
    elif args.gt_path and others:
        names = [video_name(row.path) for row in read_list(args.test_list, None, args.normal_label)]
        others = {path: ordered(arrays, names) for path, arrays in others.items()}
    judged = own | {path: Judged(*with_truth(arrays, path, args)) for path, arrays in others.items()}
    for one in given:
        require_no_copy({path: judged[path] for path in paths_of(one)})
    return [[judged[path] for path in paths_of(one)] for one in given]


def require_no_copy(seeds: Mapping[Path, Judged]) -> None:
    """Raise ValueError where one seed would count twice."""
    first: dict[bytes, Path] = {}
    for path, judged in seeds.items():
        if (other := first.setdefault(judged.scores.scores.tobytes(), path)) != path:
            raise ValueError(f"{other} and {path} hold the same scores, and a copy is no seed; move one away")


def paths_of(one: Given) -> list[Path]:
    """The files of its scores."""
    return [folder / "scores.npz" for folder in one.folders] or [one.path]


def read_own(arrays: Mapping[str, np.ndarray], path: Path) -> Judged:
    """What a test of ours wrote."""
    record = record_of(arrays, path)
    return Judged(record.scores, record.truth)


def ordered(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> Mapping[str, np.ndarray]:
    """The arrays of another method's file with its videos in this order; as they are where they are not these videos."""
    there = names_in(arrays)
    n_snippets = arrays.get("n_snippets", np.zeros(0))
    if sorted(there) != sorted(names) or n_snippets.shape != (len(names),) or n_snippets.dtype.kind not in "iu":
        return arrays  # `checked` says what is wrong
    place = {name: i for i, name in enumerate(there)}
    order = np.array([place[name] for name in names])
    snippets = np.split(np.arange(n_snippets.sum()), np.cumsum(n_snippets)[:-1])
    orders = {len(names): order, n_snippets.sum(): np.concatenate([snippets[i] for i in order])}
    return {name: array[orders[len(array)]] if array.ndim and len(array) in orders else array for name, array in arrays.items()}


def names_in(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """The names of a file's videos."""
    return [video_name(str(name)) for name in arrays.get("video", np.zeros(0)).ravel()]


def require_one_order(files: Mapping[Path, Mapping[str, np.ndarray]]) -> None:
    """Raise ValueError where nothing says which file's order the ground truth has."""
    names = {path: names_in(arrays) for path, arrays in files.items()}
    for path, of_path in names.items():
        first = next(iter(names))
        if of_path != names[first]:
            raise ValueError(
                f"{first} and {path} do not have the same videos in the same order, and nothing says which of them the ground "
                "truth follows; give --test-list"
            )
