"""What people annotate: which frames of which video are anomalous, and how many frames it has. As tables, a row per video."""

import csv
import io
import re
import sys
from pathlib import Path

import pandas as pd

from files.labels import UCF_ANOMALIES
from files.lists import several
from files.names import video_name


def read_text(path: Path, flag: str) -> str:
    """The text of a file that a flag names. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"{flag} {path}: no such file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{flag} {path}: expected text in UTF-8 ({error})") from error


def read_annotations(path: Path, data_set: str) -> pd.DataFrame:
    """The columns name, class (None = not said), intervals ([start, end) in frames) and where, in the file's order.

    UCF-Crime: `name class start1 end1 start2 end2` with -1 for none; else `name start end [start end ...]`. Where every line of
    UCF-Crime's has one number more, the number of frames, as some projects write it, that number is left out, and this is said;
    the class may then stand in the name's folder. Raises FileNotFoundError or ValueError.
    """
    lines = [(f"{path}, line {n}", line) for n, line in enumerate(read_text(path, "--annotations").splitlines(), 1)]
    lines = [(where, line.split()) for where, line in lines if line.split()]
    ucf = data_set == "ucf"
    numbers = [[int(word) for word in words[1:] if re.fullmatch(r"-?[0-9]{1,9}", word)] for _, words in lines]
    intervals = slice(None)
    if ucf and all(len(values) % 2 and len(values) > 2 for values in numbers):
        ends = slice(1, None), slice(None, -1)  # the count stands before the intervals, or behind them
        intervals = next((end for end in ends if all(map(are_intervals, (v[end] for v in numbers)))), intervals)
    rows, empty = [], []
    for (where, words), values in zip(lines, numbers, strict=True):
        row = read_line(where, words, values[intervals], n_numbers=len(values), ucf=ucf)
        empty += [f"{where}: {row['name']}, {start} to {end}" for start, end in row["intervals"] if start == end]
        rows.append(row | {"intervals": [pair for pair in row["intervals"] if pair[0] < pair[1]]})
    if not rows:
        raise ValueError(f"{path}: no videos in it")
    if intervals != slice(None):
        print(f"{path}: a number more on each line, taken for a count of frames and left out; --frames takes counts")
    if empty:
        print(several(f"warning: {len(empty)} intervals hold no frame and are left out", empty), file=sys.stderr)
    table = pd.DataFrame(rows)
    twice = table[table["name"].duplicated()]
    if len(twice):
        raise ValueError(f"{twice['where'].iloc[0]}: {twice['name'].iloc[0]} is there twice")
    return table


def are_intervals(values: list[int]) -> bool:
    """Whether these are pairs of a start and an end, or of -1 for none."""
    return len(values) % 2 == 0 and all(
        0 <= a <= b or (a, b) == (-1, -1) for a, b in zip(values[::2], values[1::2], strict=True)
    )


def read_line(where: str, words: list[str], values: list[int], *, n_numbers: int, ucf: bool) -> dict:
    """The row of a line with these values, of so many numbers in all. Raises ValueError that begins with `where`."""
    folder = Path(words[0]).parent.name
    n_classes = len(words) - 1 - n_numbers
    label = words[1] if n_classes == 1 else folder if folder in UCF_ANOMALIES else "Normal" if folder else None
    expected = "name class start1 end1 start2 end2" if ucf else "name start end [start end ...]"
    if len(values) % 2 or (ucf and (not values or label is None)) or n_classes > ucf:
        raise ValueError(f"{where}: expected {expected!r}, found {' '.join(words)[:80]!r}")
    pairs = list(zip(values[::2], values[1::2], strict=True))
    for pair in pairs:
        if not are_intervals(list(pair)):
            raise ValueError(f"{where}: expected an interval from start to end, found {pair}")
    intervals = [pair for pair in pairs if pair != (-1, -1)]
    return {"name": video_name(words[0]), "class": label if ucf else None, "intervals": intervals, "where": where}


def read_frames(path: Path) -> pd.DataFrame:
    """The columns name and n_frames, of a CSV file with the columns video,frames. Raises FileNotFoundError or ValueError."""
    counts: dict[str, int] = {}
    try:
        rows = csv.DictReader(io.StringIO(read_text(path, "--frames")))
        if not {"video", "frames"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path}, line 1: expected a header with video and frames, found {rows.fieldnames}")
        for row in rows:
            name, text = video_name(row["video"]), (row["frames"] or "").strip()
            if not re.fullmatch(r"[1-9][0-9]{0,9}", text) or counts.setdefault(name, int(text)) != int(text):
                raise ValueError(
                    f"{path}, line {rows.line_num}: expected one number of frames for each video, found {text[:20]!r}"
                )
    except csv.Error as error:
        raise ValueError(f"{path}: not a CSV file with the header video,frames ({error})") from error
    if not counts:
        raise ValueError(f"{path}: no videos under the header")
    return pd.DataFrame({"name": list(counts), "n_frames": list(counts.values())})
