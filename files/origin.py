"""How features were made: `extract.json`, which extract.py writes beside them, and a checkpoint remembers of its training.

Features made in another way are other numbers: a model that never saw such is silently wrong on them.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from files.names import video_name
from option import Range

NAME, FORMAT = "extract.json", "lshma features 1"
TABLE, COLUMNS = "frames.csv", ("video", "frames", "fps", "seconds", "width", "height")  # of the videos that are extracted
# what two sets of features must share for a model of the one to be right on the other; crops and versions may differ
SAME = ("encoder", "weights", "rule", "frames_per_snippet", "by", "fps", "resize", "crop")
TYPES = {
    **dict.fromkeys(("encoder", "weights", "rule", "by"), (str,)),
    "frames_per_snippet": (int,),
    "fps": (float, int, NoneType),
    "resize": (list,),
    "crop": (int,),
    "crops": (int, NoneType),
    "versions": (dict, NoneType),
}
LARGEST = 2**20  # bytes of an extract.json; ours have 500
Origin = dict[str, Any]


def read(path: Path) -> Origin:
    """The content of an extract.json. Raises OSError, or ValueError where it is damaged or none of this version."""
    remedy = "move it away if another program wrote it, else copy it, or extract the features, again"
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise ValueError(f"{size:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OSError(f"{path}: cannot be read ({error.strerror}); mend that") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, or not of extract.py ({error}); {remedy}") from None
    require_origin(content, path, remedy)
    return content


def require_origin(content: Any, where: str | Path, remedy: str) -> None:
    """Raise ValueError, which begins with `where`, where this does not say how features were made."""
    if not isinstance(content, dict) or content.get("format") != FORMAT or not set(SAME) <= content.keys():
        raise ValueError(f"{where}: not of extract.py of this version ({FORMAT}); {remedy}")
    wrong = [name for name, kinds in TYPES.items() if type(content.get(name)) not in kinds]
    if not wrong and (content["by"], content["fps"] in Range(0, open="(")) not in (("frames", False), ("time", True)):
        wrong = ["by", "fps"]
    if wrong:
        told_of = ", ".join(f"{name} {told(content.get(name))}" for name in wrong)
        raise ValueError(f"{where}: damaged, since this cannot be: {told_of}; {remedy}")


def origin_of(files: Iterable[Path]) -> Origin | None:
    """How these feature files were made, by the extract.json in the nearest folder above each; None where there is none.

    Raises ValueError where some were made in another way than others, or only some have one.
    """
    folders = nearest(files, NAME)
    known: dict[Path | None, Origin | None] = {path: path and read(path) for path in folders.values()}
    (first, origin), *others = known.items() or [(None, None)]
    for path, other in others:
        if (origin is None) != (other is None):
            made, unknown = (first, path) if origin else (path, first)
            without = next(folder for folder, found in folders.items() if found == unknown)
            raise ValueError(f"{made} says how some of the features were made, and nothing says it of those in {without}; "
                             "extract them all in one way")  # fmt: skip
        if wrong := differences(origin, other):
            raise ValueError(f"{path} and {first} say that features were made in different ways ({wrong}); extract one anew")
    return origin


def nearest(files: Iterable[Path], name: str) -> dict[Path, Path | None]:
    """Of each folder of these files the file of this name in it, or in the nearest folder above; None where there is none."""
    folders: dict[Path, Path | None] = {}
    for file in files:
        parent = file.absolute().parent
        if parent not in folders:
            folders[parent] = next((p / name for p in (parent, *parent.parents) if (p / name).is_file()), None)
    return folders


def rows_of(path: Path) -> dict[str, list[str]]:
    """The rows of a frames.csv by their videos' names. Raises OSError, or ValueError that names a line which is wrong."""
    rows, remedy = {}, "delete it to extract all videos again"
    try:
        lines = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        if tuple(header := next(lines, [])) != COLUMNS:
            raise ValueError(f"{path}, line 1: expected the header {','.join(COLUMNS)}, found {header}; {remedy}")
        for row in filter(None, lines):
            if len(row) != len(COLUMNS):
                what = f"expected {len(COLUMNS)} values as in the header, found {len(row)}"
                raise ValueError(f"{path}, line {lines.line_num}: {what}; {remedy}")
            rows[row[0]] = row
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error}); {remedy}") from error
    return rows


def rates_of(files: Sequence[Path]) -> dict[Path, float]:
    """The frames a second of the videos of these feature files, where extract.py wrote them into a frames.csv above.

    Raises OSError, or ValueError that names the table.
    """
    tables, rates = nearest(files, TABLE), {}
    rows = {path: rows_of(path) for path in {*tables.values()} if path and (path.parent / NAME).is_file()}
    for file in files:
        table = tables[file.absolute().parent]
        if row := rows.get(table, {}).get(video_name(file)):
            rates[file] = number(said := row[COLUMNS.index("fps")])
            if rates[file] not in Range(0, open="("):
                raise ValueError(f"{table}: {row[0]} has {said!r} frames a second; extract the videos again, or give --fps")
    return rates


def number(text: str) -> float:
    """NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def differences(one: Mapping | None, other: Mapping | None) -> str:
    """`encoder clip, not efficientnet-lite0; rule mean, not first`; empty where they are alike, or one is not known."""
    if one is None or other is None:
        return ""
    return "; ".join(f"{name} {told(one[name])}, not {told(other[name])}" for name in SAME if one[name] != other[name])


def told(value: object) -> str:
    text = str(value) if str(value).isprintable() else ascii(value)
    return text[:12] if len(text) == 64 else text[:80]  # of a digest its beginning


def require_alike(trained: Mapping | None, here: Origin | None, *, checkpoint: str, what: str, allowed: bool) -> None:
    """Raise ValueError, or say so where it is allowed, where a model was trained on features made in another way."""
    if wrong := differences(here, trained):
        message = f"{what} were made in another way than those that {checkpoint} was trained on: {wrong}"
        if not allowed:
            raise ValueError(f"{message}; use a model trained on such features, or pass --allow-other-features")
        print(f"warning: {message}")
    elif here is not None and trained is None:
        print(f"note: {checkpoint} does not say what features it was trained on; these are of {here['encoder']}, by extract.py")
