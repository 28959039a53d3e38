"""What people annotate: which frames of which video are anomalous, and how many frames it has. As tables, a row per video."""

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
    numbers = [[word for word in words[1:] if re.fullmatch(r"-?[0-9]+", word)] for _, words in lines]
    counted = ucf and all(len(found) % 2 == 1 and len(found) > 2 for found in numbers)
    rows, empty = [], []
    for (where, (file, *rest)), found in zip(lines, numbers, strict=True):
        row, nothing = read_line(where, file, rest, found, ucf=ucf, counted=counted)
        rows.append(row)
        empty += [f"{where}: {row['name']}, {start} to {end}" for start, end in nothing]
    if not rows:
        raise ValueError(f"{path}: no videos in it")
    if counted:
        print(f"{path}: a number more on each line, taken for a count of frames and left out; --frames takes counts")
    if empty:
        print(several(f"warning: {len(empty)} intervals hold no frame and are left out", empty), file=sys.stderr)
    table = pd.DataFrame(rows)
    twice = table[table["name"].duplicated()]
    if len(twice):
        raise ValueError(f"{twice['where'].iloc[0]}: {twice['name'].iloc[0]} is there twice")
    return table


def read_line(
    where: str, file: str, words: list[str], numbers: list[str], *, ucf: bool, counted: bool
) -> tuple[dict, list[tuple[int, int]]]:
    """The row of a line, and the intervals that hold no frame. Raises ValueError that begins with `where`."""
    classes = [word for word in words if word not in numbers]
    folder = Path(file).parent.name
    if ucf and not classes and (counted or folder):
        classes = [folder if folder in UCF_ANOMALIES else "Normal"]
    values = [int(number) for number in numbers]
    if counted:  # whichever end is no smaller than the rest is the count
        values = values[1:] if values[0] >= max(values) else values[:-1]
    expected = "name class start1 end1 start2 end2" if ucf else "name start end [start end ...]"
    wrong = len(values) % 2 or len(classes) != ucf or (ucf and not values) or any(not -1 <= v < 10**9 for v in values)
    if wrong:
        raise ValueError(f"{where}: expected {expected!r}, found {' '.join([file, *words])[:80]!r}")
    pairs = [pair for pair in zip(values[::2], values[1::2], strict=True) if pair != (-1, -1)]
    for start, end in pairs:
        if start < 0 or end < start:
            raise ValueError(f"{where}: expected an interval from start to end, found {(start, end)}")
    intervals = [(start, end) for start, end in pairs if start < end]
    row = {"name": video_name(file), "class": classes[0] if ucf else None, "intervals": intervals, "where": where}
    return row, [(start, end) for start, end in pairs if start == end]


def read_frames(path: Path) -> pd.DataFrame:
    """The columns name and n_frames, of a CSV file with the columns video,frames. Raises FileNotFoundError or ValueError."""
    try:
        table = pd.read_csv(io.StringIO(read_text(path, "--frames")), dtype=str, keep_default_na=False, skip_blank_lines=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path}: not a CSV file with the header video,frames ({error})") from error
    if not {"video", "frames"} <= set(table.columns):
        raise ValueError(f"{path}, line 1: expected a header with video and frames, found {list(table.columns)}")
    table = table[(table != "").any(axis=1)]
    if table.empty:
        raise ValueError(f"{path}: no videos under the header")
    counts: dict[str, int] = {}
    for line, video, frames in zip(table.index + 2, table["video"], table["frames"], strict=True):
        name, text = video_name(video), frames.strip()
        if not re.fullmatch(r"[1-9][0-9]{0,9}", text) or counts.setdefault(name, int(text)) != int(text):
            raise ValueError(f"{path}, line {line}: expected one number of frames for each video, found {text[:20]!r}")
    return pd.DataFrame({"name": list(counts), "n_frames": list(counts.values())})
