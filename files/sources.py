"""What a person points at to have it scored: feature files, folders of them, lists with or without labels."""

import sys
from collections.abc import Sequence
from pathlib import Path

from files.crops import require_one_each
from files.layouts import BESIDE, files_below, is_features, require_printable
from files.lists import Row, read_list, several
from files.names import is_hidden, name_and_crop
from files.videos import find_files


def rows_of(sources: Sequence[str], feature_root: str | None, normal_label: str | None) -> tuple[list[Row], list[Path]]:
    """The videos of all sources, a row each, and their feature files, one crop of each video. Says what is left out.

    Raises FileNotFoundError or ValueError where a source is nothing of the kind.
    """
    rows: list[Row] = []
    files: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            new = [Row(source, str(file)) for file in one_crop_each(path)]
            found = [Path(row.path) for row in new]
        elif path.suffix.lower() == ".csv":
            new = read_list(path, None, normal_label, labelled=False)
            found = find_files(new, feature_root)
        elif path.is_file():
            new, found = [Row("given", source)], [path]
        else:
            what = "give .npy files, videos, folders of them, or lists (.csv)"
            raise FileNotFoundError(f"{path}: no such file or folder; {what}")
        rows += new
        files += found
    return rows, files


def one_crop_each(folder: Path) -> list[Path]:
    """The .npy files below a folder, of several crops of a video the first; says which are left out.

    Raises FileNotFoundError where there are none, ValueError where a crop has two files.
    """
    crops: dict[tuple[Path, str], list[tuple[int | None, Path]]] = {}
    other = []
    paths = [path for path in sorted(files_below(folder)) if path.name not in BESIDE]
    require_printable(path for path in paths if is_features(path))
    for path in paths:
        name, crop = name_and_crop(path)
        if path.suffix.lower() != ".npy" or is_hidden(path) or not path.is_file():
            other.append(str(path))
        else:
            crops.setdefault((path.parent, name), []).append((crop, path))
    if other:
        print(several(f"{len(other)} files are left out, since they are no .npy files", other), file=sys.stderr)
    if not crops:
        raise FileNotFoundError(f"{folder}: no .npy files in it; list/split_crops.py turns other kinds of features into ours")
    for (_, name), of_video in crops.items():
        of_video.sort(key=lambda one: -1 if one[0] is None else one[0])
        require_one_each(name, of_video)
    most = max(map(len, crops.values()))
    if most > 1:
        print(f"note: {folder}: up to {most} crops of a video; the first counts, or, with --crops mean, all")
    return [of_video[0][1] for of_video in crops.values()]
