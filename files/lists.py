"""Lists of videos: CSV files with the header `path,label` or `path,label,frames`, each line checked as it is read."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from files.labels import classes_of
from files.names import composed

HEADERS = ("path,label", "path,label,frames", "path", "path,frames")  # the first two have labels
N_NAMED = 5  # how many of many bad rows an error names


class Row(NamedTuple):
    where: str  # "list.csv, line 7"
    path: str
    label: str = ""
    classes: tuple[str, ...] | None = None  # of anomaly; none = normal, None = there is no label
    n_frames: int | None = None


def read_list(path: str | Path, data_set: str | None, normal_label: str | None = None, *, labelled: bool = True) -> list[Row]:
    """The rows of a list, with labels as `classes_of` reads them, or perhaps without where `labelled` is false.

    Raises FileNotFoundError or ValueError. No feature file is touched.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such list; make it with list/make_list.py, or name yours (--train-list, --test-list)"
        )
    rows, headers = [], HEADERS[: 2 if labelled else None]
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            header = ",".join(cell.strip() for cell in next(lines, []))
            if header not in headers:
                raise ValueError(f"{path}, line 1: expected the header {' or '.join(headers)}, found {header[:80]!r}")
            for cells in lines:
                if cells:
                    where = f"{path}, line {lines.line_num}"
                    rows.append(read_row([cell.strip() for cell in cells], where, header.split(","), data_set, normal_label))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error}); make it again with list/make_list.py") from error
    if not rows:
        raise ValueError(f"{path}: no videos under the header; make it again with list/make_list.py")
    return rows


def read_row(cells: list[str], where: str, header: list[str], data_set: str | None, normal_label: str | None) -> Row:
    """One line of a list. Raises ValueError that begins with `where`."""
    if len(cells) != len(header):
        raise ValueError(
            f"{where}: expected {len(header)} values as in the header, found {len(cells)}: {','.join(cells)[:80]!r}"
        )
    row = dict(zip(header, cells, strict=True))
    label, frames, classes = row.get("label"), row.get("frames"), None
    if not row["path"] or "\0" in row["path"]:
        raise ValueError(f"{where}: expected the path of a feature file, found {row['path']!r}")
    for text in (PurePath(row["path"]).name, label or ""):
        if not text.isprintable():  # results name it in a line
            raise ValueError(f"{where}: expected printable characters in names and labels, found {text!r}; rename it")
    if frames is not None and not re.fullmatch(r"[1-9][0-9]{0,9}", frames):
        raise ValueError(f"{where}: expected the video's number of frames, found {frames!r}")
    if label is not None:
        try:
            label = composed(label)
            classes = classes_of(label, data_set, normal_label)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return Row(where, row["path"], label or "", classes, None if frames is None else int(frames))


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
