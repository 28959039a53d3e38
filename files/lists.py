"""Lists of videos: CSV files with the header `path,label` or `path,label,frames`, each line checked as it is read."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from files.labels import classes_of

N_NAMED = 5  # how many of many bad rows an error names


class Row(NamedTuple):
    where: str  # "list.csv, line 7"
    path: str
    label: str
    classes: tuple[str, ...]  # of anomaly; none = normal
    n_frames: int | None


def read_list(path: str | Path, data_set: str | None, normal_label: str | None = None) -> list[Row]:
    """The rows of a list, with labels as `classes_of` reads them. Raises FileNotFoundError or ValueError.

    No feature file is touched.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such list; make it with list/make_list.py, or name yours (--train-list, --test-list)"
        )
    rows = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            header = [cell.strip() for cell in next(lines, [])]
            if header not in (["path", "label"], ["path", "label", "frames"]):
                raise ValueError(
                    f"{path}, line 1: expected the header path,label or path,label,frames, found {','.join(header)[:80]!r}"
                )
            for cells in lines:
                if cells:
                    how = f"{path}, line {lines.line_num}", len(header), data_set, normal_label
                    rows.append(read_row([cell.strip() for cell in cells], *how))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error}); make it again with list/make_list.py") from error
    if not rows:
        raise ValueError(f"{path}: no videos under the header; make it again with list/make_list.py")
    return rows


def read_row(cells: list[str], where: str, n_columns: int, data_set: str | None, normal_label: str | None) -> Row:
    """One line of a list. Raises ValueError that begins with `where`."""
    if len(cells) != n_columns:
        raise ValueError(f"{where}: expected {n_columns} values as in the header, found {len(cells)}: {','.join(cells)[:80]!r}")
    if not cells[0] or "\0" in cells[0]:
        raise ValueError(f"{where}: expected the path of a feature file, found {cells[0]!r}")
    if n_columns == 3 and not re.fullmatch(r"[1-9][0-9]{0,9}", cells[2]):
        raise ValueError(f"{where}: expected the video's number of frames, found {cells[2]!r}")
    try:
        classes = classes_of(cells[1], data_set, normal_label)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return Row(where, cells[0], cells[1], classes, int(cells[2]) if n_columns == 3 else None)


def refuse(bad: Sequence[str], summary: str) -> None:
    """Raise ValueError where anything is bad: with the one line, or with the summary and the first few."""
    if bad:
        raise ValueError(bad[0] if len(bad) == 1 else several(summary, bad))


def few(words: Iterable[str]) -> str:
    """The words in a line, or the first twenty: of what may be many by mistake."""
    words = list(words)
    return ", ".join([*words[:20], *(["..."] if len(words) > 20 else [])])


def several(summary: str, lines: Iterable[str]) -> str:
    """A summary and the first few of its lines."""
    lines = list(lines)
    more = [f"... and {len(lines) - N_NAMED} more"] if len(lines) > N_NAMED else []
    return "\n  ".join([summary + ":", *lines[:N_NAMED], *more])
