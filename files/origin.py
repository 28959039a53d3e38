"""How features were made: `extract.json`, which extract.py writes beside them, and a checkpoint remembers of its training.

Features made in another way are other numbers: a model that never saw such is silently wrong on them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from files.folder import read_json

NAME, FORMAT = "extract.json", "lshma features 1"
# what two sets of features must share for a model of the one to be right on the other; crops and versions may differ
SAME = ("encoder", "weights", "rule", "frames_per_snippet", "by", "fps", "resize", "crop")
Origin = dict[str, Any]


def read(path: Path) -> Origin:
    """The content of an extract.json. Raises ValueError where it is damaged or none of this version."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT or not set(SAME) <= content.keys():
        raise ValueError(f"{path}: not of extract.py of this version ({FORMAT}); extract the features again")
    return content


def origin_of(files: Iterable[Path]) -> Origin | None:
    """How these feature files were made, by the extract.json in the nearest folder above each; None where there is none.

    Raises ValueError where some were made in another way than others, or only some have one.
    """
    folders: dict[Path, Path | None] = {}
    for file in files:
        parent = file.absolute().parent
        if parent not in folders:
            folders[parent] = next((p / NAME for p in (parent, *parent.parents) if (p / NAME).is_file()), None)
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


def differences(one: Mapping | None, other: Mapping | None) -> str:
    """`encoder clip, not efficientnet-lite0; rule mean, not first`; empty where they are alike, or one is not known."""
    if one is None or other is None:
        return ""
    return "; ".join(f"{name} {told(one[name])}, not {told(other[name])}" for name in SAME if one[name] != other[name])


def told(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text  # of a digest its beginning


def require_alike(trained: Mapping | None, here: Origin | None, *, checkpoint: str, what: str, allowed: bool) -> None:
    """Raise ValueError, or say so where it is allowed, where a model was trained on features made in another way."""
    if wrong := differences(here, trained):
        message = f"{what} were made in another way than those that {checkpoint} was trained on: {wrong}"
        if not allowed:
            raise ValueError(f"{message}; use a model trained on such features, or pass --allow-other-features")
        print(f"warning: {message}")
    elif here is not None and trained is None:
        print(f"note: {checkpoint} does not say what features it was trained on; these are of {here['encoder']}, by extract.py")
