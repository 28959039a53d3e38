"""A video's crops: in files of their own beside each other, `name__0.npy` to `name__9.npy`, or together in one file.

Shapes: C crops, L snippets of one video, D width.
"""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from files.features import Place, open_features
from files.lists import several
from files.names import is_hidden, name_and_crop

COUNTS = (10, 5, 1)  # crops that a file may hold


class Layout(NamedTuple):
    """Where the crops of a file are: (C, L, D) on axis 0, (L, C, D) on axis 1."""

    axis: int
    n: int

    @property
    def places(self) -> list[Place]:
        return [Place(self.axis, number) for number in range(self.n)]


def layout_of(shapes: Mapping[Path, tuple[int, ...]]) -> Layout | None:
    """The one layout that files of these shapes have; None where they hold one crop each, (L, D).

    Raises ValueError that names a file where they have none in common, or more than one.
    """
    possible: dict[Path, set[Layout | None]] = {}
    for path, shape in shapes.items():
        crops = {Layout(axis, n) for axis, n in enumerate(shape[:2]) if n in COUNTS}
        possible[path] = crops if len(shape) == 3 else {None}
    common = set.intersection(*possible.values())
    if len(common) == 1:
        return common.pop()
    first = next(iter(shapes))
    other = next((path for path in shapes if not possible[path] & possible[first]), first)
    kinds = " or ".join(map(str, dict.fromkeys((shapes[first], shapes[other]))))
    what = f"which axis of {kinds} are the crops?" if common else f"no one layout of crops has {kinds}"
    raise ValueError(
        f"{other}: {what} Expected (L, D) in all files, or as many crops, {', '.join(map(str, COUNTS))}, on the same axis of "
        "(C, L, D) or (L, C, D); of ten crops list/split_crops.py writes a file each"
    )


def copies_of(files: Sequence[Path], crops: str, path: str | Path) -> list[list[tuple[Path, Place | None]]]:
    """The crops of each video that count, its own first, as `videos.read_videos` is told; says what may surprise.

    Raises ValueError where the crops in files of several cannot be told.
    """
    layout, beside = crops_in(files), Beside()
    if layout is None:
        copies = [[(other, None) for other in (file, *(beside.others(file) if crops == "mean" else ()))] for file in files]
    else:
        copies = [[(file, place) for place in layout.places] for file in files]
    if layout and crops == "one":
        print(f"note: {path}: its files hold {layout.n} crops each, of which the first counts; --crops mean tests all")
        return [own[:1] for own in copies]
    numbers = [len(own) for own in copies]
    if crops == "mean" and len(set(numbers)) > 1:
        most = max(numbers)
        fewer = [f"{n}: {file}" for n, file in zip(numbers, files, strict=True) if n < most]
        print(several(f"warning: {path}: {len(fewer)} videos have fewer than {most} crops", fewer), file=sys.stderr)
    elif crops == "mean":
        print(f"{path}: the mean over {numbers[0]} crops of each video")
    return copies


def crops_in(files: Sequence[Path]) -> Layout | None:
    """How the files hold their crops; None = one a file, or nobody knows since the first is damaged, which others will say.

    Raises ValueError where that cannot be told.
    """
    shapes = {}
    for file in files:
        with contextlib.suppress(ValueError, OSError):
            shapes[file] = open_features(file, None).shape
        if len(shapes) < 2 and 3 not in map(len, shapes.values()):
            return None
    return layout_of(shapes)


def require_one_each(name: str, crops: Sequence[tuple[int | None, Path]]) -> None:
    """Raise ValueError where a crop of a video has two files, or one file says no crop and others do; in the crops' order."""
    for (number, path), (other, there) in pairwise(crops):
        if number == other or None in (number, other):
            raise ValueError(
                f"{there}: another file of {name} is {path}; a video is one file, or one for each crop, __0 to __9"
            )


class Beside:
    """Finds the other crops of videos in the folders where one lies, each folder read once."""

    def __init__(self):
        self.folders: dict[Path, dict[str, list[tuple[int, Path]]]] = {}

    def others(self, path: Path) -> list[Path]:
        """The files of a file's other crops, by number; none where its name says none. Raises ValueError where one has two."""
        name, crop = name_and_crop(path)
        if crop is None:
            return []
        if path.parent not in self.folders:
            found: dict[str, list[tuple[int, Path]]] = {}
            for file in sorted(path.parent.iterdir()):
                other, number = name_and_crop(file)
                if number is not None and file.suffix.lower() == ".npy" and not is_hidden(file):
                    found.setdefault(other, []).append((number, file))
            self.folders[path.parent] = found
        crops = sorted(self.folders[path.parent].get(name, []))  # none of a file that has another ending
        require_one_each(name, crops)
        return [file for number, file in crops if number != crop]
