"""What people annotate: which frames of which video are anomalous, and how many frames it has. As tables, a row per video."""

import csv
import io
import re
import sys
from pathlib import Path

import pandas as pd

from files.labels import UCF_ANOMALIES
from files.lists import several
from files.names import composed, video_name


def read_text(path: Path, flag: str) -> str:
    """The text of a file that a flag names. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"{flag} {path}: no such file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{flag} {path}: expected text in UTF-8 ({error})") from error


NUMBER = re.compile(r"-?[0-9]{1,9}")
LINES = {
    "ucf": "name class start1 end1 start2 end2",
    "own": "name [class] [start end ...]",
    **dict.fromkeys(("xd", "longterm"), "name start end [start end ...]"),
}


def read_annotations(path: Path, data_set: str, normal: str) -> pd.DataFrame:
    """The columns name, class (None = not said), intervals ([start, end) in frames) and where, in the file's order.

    A line is as `LINES` has it, with -1 -1 for no interval; a name with spaces stands in quotes; the bare name of an own set's
    video says the class `normal`. Where every line of UCF-Crime's has one number more, the number of frames, as some projects
    write it, that number is left out, and this is said; the class may then stand in the name's folder. Raises FileNotFoundError
    or ValueError.
    """
    lines = [(f"{path}, line {n}", line) for n, line in enumerate(read_text(path, "--annotations").splitlines(), 1)]
    lines = [(where, words) for where, line in lines if (words := words_of(line))]
    ucf = data_set == "ucf"
    numbers = [[int(word) for word in words[1:] if NUMBER.fullmatch(word)] for _, words in lines]
    intervals = slice(None)
    if ucf and all(len(values) % 2 and len(values) > 2 for values in numbers):
        ends = slice(1, None), slice(None, -1)  # the count stands before the intervals, or behind them
        intervals = next((end for end in ends if all(map(are_intervals, (v[end] for v in numbers)))), intervals)
    rows, empty = [], []
    for (where, words), values in zip(lines, numbers, strict=True):
        row = read_line(where, words, values[intervals], n_numbers=len(values), data_set=data_set, normal=normal)
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


def words_of(line: str) -> list[str]:
    """The words of a line; a first one in quotes may hold spaces."""
    quoted, rest = re.fullmatch(r'\s*(?:"([^"]+)"(?=\s|$))?(.*)', line).groups()
    return [*([quoted] if quoted else []), *rest.split()]


def read_line(where: str, words: list[str], values: list[int], *, n_numbers: int, data_set: str, normal: str) -> dict:
    """The row of a line with these values, of so many numbers in all. Raises ValueError that begins with `where`."""
    ucf, own = data_set == "ucf", data_set == "own"
    folder = Path(words[0]).parent.name
    n_classes = len(words) - 1 - n_numbers
    unsaid = normal if own and not values else None
    if ucf and folder:
        unsaid = folder if folder in UCF_ANOMALIES else "Normal"
    label = composed(words[1]) if n_classes == 1 else unsaid
    misplaced = n_classes > (ucf or own) or (n_classes == 1 and NUMBER.fullmatch(label))
    if len(values) % 2 or misplaced or (ucf and (not values or label is None)):
        commas = any("," in word for word in words[1:]) or words[0].endswith(",")
        remedy = "write spaces for commas" if commas else "a name with spaces stands in quotes"
        raise ValueError(f"{where}: expected {LINES[data_set]!r}, found {' '.join(words)[:80]!r}; {remedy}")
    pairs = list(zip(values[::2], values[1::2], strict=True))
    for pair in pairs:
        if not are_intervals(list(pair)):
            raise ValueError(f"{where}: expected an interval from start to end, found {pair}")
    intervals = [pair for pair in pairs if pair != (-1, -1)]
    return {"name": video_name(words[0]), "class": label if ucf or own else None, "intervals": intervals, "where": where}


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
