"""The data sets' folders as a table, a row for each feature file: whose crop it is, its label, whether it is for testing."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from files.labels import UCF_ANOMALIES, classes_of
from files.names import composed, is_hidden, name_and_crop

NO_CROP = -1
HIDDEN = "hidden files, no features"
OTHERS = "files of other kinds, no features"
NOT_MEANT = (HIDDEN, OTHERS)  # reasons that are no mistake
BESIDE = ("extract.json", "frames.csv", "remarks.json", "sources.json", ".lock")  # what extract.py writes beside features
ENDINGS = (".npy", ".npz", ".pt", ".pth")  # what features are kept in; only the first is read
UCF_FOLDERS = {
    **{name: name for name in UCF_ANOMALIES},
    "Training_Normal_Videos_Anomaly": "Normal",
    "Testing_Normal_Videos_Anomaly": "Normal",
}
XD_TRAIN, XD_TEST = "XDTrainClipFeatures", "XDTestClipFeatures"


def read_files(root: Path, data_set: str, *, class_folders: bool = False, test_folder: str | None = None) -> pd.DataFrame:
    """The columns path (below root), name, crop (NO_CROP = none), label, test, and reason: why a file is left out, or "".

    In the order of the paths; folders that are links are followed. Of an own set's folders `test_folder` says that all below
    it is for testing, and with `class_folders` the one that a file lies in, `test_folder` aside, is its label. Raises
    FileNotFoundError, or ValueError where a file's place or name says nothing.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"--feature-root {root}: no such folder")
    rows, test_folder = [], test_folder and composed(test_folder)
    for path in sorted(files_below(root)):
        inside = path.relative_to(root).parts
        if is_features(path) and any(part != part.strip() or not part.isprintable() for part in inside):  # a list's are read so
            what = "expected names of printable characters that neither begin nor end with a space"
            raise ValueError(f"{str(path)!a}: {what}; rename file or folder")
        name, crop = name_and_crop(path)
        reason, label, test = "", "", False
        if path.name in BESIDE:
            continue
        if is_hidden(path):
            reason = HIDDEN
        elif not path.is_file():
            reason = "links to nothing"
        elif not is_features(path):
            reason = OTHERS
        elif path.suffix.lower() != ".npy":
            reason = "not .npy files: list/split_crops.py turns them into ours"
        elif data_set == "own":
            folders = [composed(folder) for folder in inside[:-1]]
            test, classes = test_folder in folders, [folder for folder in folders if folder != test_folder]
            label = classes[-1] if class_folders and classes else ""
        else:
            label, test = LAYOUTS[data_set](path, name)
        shown = path.relative_to(root).as_posix()
        shown = shown if shown.isprintable() else ascii(shown)
        rows.append((shown, name, NO_CROP if crop is None else crop, label, test, reason))
    table = pd.DataFrame(rows, columns=["path", "name", "crop", "label", "test", "reason"])
    if not (table["reason"] == "").any():
        left = f" that can be read ({len(table)} others)" if len(table) else ""
        raise FileNotFoundError(f"--feature-root {root}: no .npy files{left} in it")
    return table


def feature_files(root: Path) -> list[Path]:
    """All files below a folder with an ending of features, and all links to nothing, as `files_below` finds them.

    Raises OSError where a folder cannot be read, ValueError where a name cannot be printed.
    """
    paths = [path for path in files_below(root) if is_features(path) or not path.exists()]
    require_printable(paths)
    return paths


def is_features(path: Path) -> bool:
    """Whether a file has an ending of features."""
    return path.name.lower().endswith(ENDINGS)


def files_below(root: Path) -> list[Path]:
    """All files below a folder; links to folders are followed, but not into themselves. Raises OSError of an unreadable one."""
    paths, above = [], {root: {os.path.realpath(root)}}
    for folder, folders, names in os.walk(root, followlinks=True, onerror=unreadable):
        real = above.pop(Path(folder))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(folder, name)) not in real]
        for name in folders:
            above[Path(folder, name)] = real | {os.path.realpath(os.path.join(folder, name))}
        paths += [Path(folder, name) for name in names]
    return paths


def require_printable(paths: Iterable[Path]) -> None:
    """Raise ValueError that names the first file whose name cannot be printed."""
    for path in paths:
        if not path.name.isprintable():
            raise ValueError(f"{str(path)!a}: expected a name of printable characters in UTF-8; rename the file")


def unreadable(error: OSError) -> None:
    raise OSError(f"{error.filename}: this folder cannot be read ({error.strerror}); mend that, or move it away") from error


def ucf_layout(path: Path, name: str) -> tuple[str, bool]:
    """Label and split from the folder; of anomalous videos only the annotations say which are for testing."""
    folder = path.parent.name
    if folder not in UCF_FOLDERS:
        raise ValueError(f"{path}: expected a folder named after a class or {', '.join(list(UCF_FOLDERS)[-2:])}")
    return UCF_FOLDERS[folder], folder == "Testing_Normal_Videos_Anomaly"


def xd_layout(path: Path, name: str) -> tuple[str, bool]:
    """Label from the name, split from the folder."""
    split = [part for part in path.parts if part in (XD_TRAIN, XD_TEST)]
    label = re.search(r"_label_([A-Z0-9-]+)$", name)
    if not split or label is None:
        raise ValueError(f"{path}: expected {XD_TRAIN}/ or {XD_TEST}/ and a name like <title>_label_B2-0-0__0.npy")
    text = "-".join(part for part in label[1].split("-") if part != "0")
    try:
        classes_of(text, "xd")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return text, split[-1] == XD_TEST


def longterm_layout(path: Path, name: str) -> tuple[str, bool]:
    """Any folders; every video is for testing, and its label follows from the annotations."""
    return "", True


LAYOUTS = {"ucf": ucf_layout, "xd": xd_layout, "longterm": longterm_layout}
