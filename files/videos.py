"""Lists of videos, their labels, feature files and ground truth: everything a user brings, checked as it is read.

A list is a CSV file with the header `path,label` or `path,label,frames`. Every error names the file, the line, what was
expected and what was found, and what mends it.
"""

import csv
import re
import sys
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from files import npy

FRAMES_PER_SNIPPET = 16
UCF_ANOMALIES = (
    "Abuse",
    "Arrest",
    "Arson",
    "Assault",
    "Burglary",
    "Explosion",
    "Fighting",
    "RoadAccidents",
    "Robbery",
    "Shooting",
    "Shoplifting",
    "Stealing",
    "Vandalism",
)
XD_ANOMALIES = {"B1": "fighting", "B2": "shooting", "B4": "riot", "B5": "abuse", "B6": "car accident", "G": "explosion"}
# per data set: the label of normal videos, and those of anomalous ones
LABELS = {
    "ucf": ("Normal", UCF_ANOMALIES),
    "xd": ("A", tuple(XD_ANOMALIES)),
    "longterm": ("Normal", ("Anomaly", *UCF_ANOMALIES)),
}
N_NAMED = 5  # how many of many bad rows an error names


class Video(NamedTuple):
    """One row of a list: a video, or one crop of it."""

    name: str  # the file's, without folder, ending and crop
    path: Path
    label: str
    anomalous: bool | None  # None = nobody said, as of another method's scores
    n_snippets: int
    n_frames: int
    checksum: int  # of the features, to notice a change


class Row(NamedTuple):
    where: str  # "list.csv, line 7"
    path: str
    label: str
    anomalous: bool
    n_frames: int | None


def video_name(path: str | PurePosixPath) -> str:
    """`Abuse/Abuse001_x264__5.npy` -> `Abuse001_x264`: the name without its crop."""
    return re.sub(r"__\d+$", "", PurePosixPath(str(path).replace("\\", "/")).stem)


def is_anomalous(label: str, data_set: str | None) -> bool:
    """Whether a label says anomalous. XD labels may be several, joined by `-`, with zeros as in the files' names.

    Raises ValueError for a label that the data set, or with None any of them, does not have.
    """
    parts = [part for part in label.split("-") if part != "0"]
    for name in LABELS if data_set is None else [data_set]:
        normal, anomalies = LABELS[name]
        if parts == [normal] and (name == "xd" or label == normal):
            return False
        if parts and all(part in anomalies for part in parts) and (name == "xd" or label == parts[0]):
            return True
    known = [LABELS[data_set]] if data_set else [LABELS["longterm"], LABELS["xd"]]
    expected = "; or ".join(f"{normal} (normal) or one of {', '.join(anomalies)}" for normal, anomalies in known)
    raise ValueError(f"unknown label {label!r}; expected {expected}")


def classes_of(label: str) -> list[str]:
    """The classes of anomaly in a label, by name: `B2-G-0` -> ["shooting", "explosion"]; none in `A`, `Normal` or no label."""
    return [XD_ANOMALIES.get(part, part) for part in label.split("-") if part not in ("", "0", "A", "Normal")]


def read_list(path: str | Path, data_set: str | None) -> list[Row]:
    """The rows of a list, with labels of the data set (None: of any). Raises FileNotFoundError or ValueError.

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
                    rows.append(read_row(f"{path}, line {lines.line_num}", [c.strip() for c in cells], len(header), data_set))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error}); make it again with list/make_list.py") from error
    if not rows:
        raise ValueError(f"{path}: no videos under the header; make it again with list/make_list.py")
    return rows


def read_row(where: str, cells: list[str], n_columns: int, data_set: str | None) -> Row:
    """One line of a list. Raises ValueError that begins with `where`."""
    if len(cells) != n_columns:
        raise ValueError(f"{where}: expected {n_columns} values as in the header, found {len(cells)}: {','.join(cells)[:80]!r}")
    if not cells[0] or "\0" in cells[0]:
        raise ValueError(f"{where}: expected the path of a feature file, found {cells[0]!r}")
    if n_columns == 3 and not re.fullmatch(r"[1-9][0-9]{0,9}", cells[2]):
        raise ValueError(f"{where}: expected the video's number of frames, found {cells[2]!r}")
    try:
        anomalous = is_anomalous(cells[1], data_set)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return Row(where, cells[0], cells[1], anomalous, int(cells[2]) if n_columns == 3 else None)


def find_file(path: str, feature_root: str | None) -> Path | None:
    """Where a list's feature file is: under `feature_root`, the longest tail of its path that exists there; else as it stands.

    `/somebody/UCFClipFeatures/Abuse/Abuse001_x264__0.npy` is found as ROOT/Abuse/Abuse001_x264__0.npy, or, if there is no such
    file, as ROOT/Abuse001_x264__0.npy. None where it is nowhere.
    """
    if feature_root is not None:
        parts = PurePosixPath(path.replace("\\", "/")).parts
        for i in range(len(parts)):
            candidate = Path(feature_root, *parts[i:])
            if parts[i] != "/" and is_file(candidate):
                return candidate
    return Path(path) if is_file(Path(path)) else None


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name too long for the file system is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def open_features(path: Path, width: int | None) -> npy.Header:
    """The header of a feature file. Raises ValueError where it is not a whole (L, width) float16 or float32 array, L >= 1."""
    expected = f"a float16 or float32 array of shape (L, {width or 'D'})"
    if not path.is_file():  # a folder, or a pipe that would never end
        raise ValueError(f"{path}: expected {expected}, found no file")
    header = npy.read_header(path, expected)
    shape, dtype = header.shape, header.dtype
    if dtype not in (np.float16, np.float32) or len(shape) != 2 or (width is not None and shape[1] != width):
        remedy = " (--visual-width says the width)" if len(shape) == 2 and width not in (None, shape[1]) else ""
        raise ValueError(f"{path}: expected {expected}, found {dtype} of shape {shape}{remedy}")
    if shape[0] < 1:
        raise ValueError(
            f"{path}: expected {expected} with at least one snippet, found {shape}; leave the video out of the list"
        )
    return header


def load_features(path: Path, width: int, zero_non_finite: bool) -> np.ndarray:
    """The (L, width) features of a file, in its precision. Raises ValueError as `open_features`, and where not finite."""
    features = npy.read_data(path, open_features(path, width))
    broken = ~np.isfinite(features)
    if broken.any():
        if not zero_non_finite:
            snippet, channel = (int(i[0]) for i in broken.nonzero())
            raise ValueError(
                f"{path}: {broken.sum()} values are NaN or infinite, the first in snippet {snippet}, channel {channel}; "
                "extract the features again, or set them to zero with --zero-non-finite"
            )
        features[broken] = 0
    return features


def fit(n_frames: int | np.ndarray, n_snippets: int | np.ndarray) -> bool | np.ndarray:
    """Whether videos of so many frames have so many snippets, the last one perhaps not full."""
    return (n_frames + FRAMES_PER_SNIPPET - 1) // FRAMES_PER_SNIPPET == n_snippets


def checksum(features: np.ndarray) -> int:
    """CRC-32 of the values."""
    return zlib.crc32(np.ascontiguousarray(features))


def read_videos(path: str | Path, feature_root: str | None, data_set: str, *, width: int, zero_non_finite: bool) -> list[Video]:
    """The videos of a list, every feature file found, read and checked.

    Raises FileNotFoundError or ValueError that counts the bad rows and names the first five.
    """
    rows = read_list(path, data_set)
    files = [find_file(row.path, feature_root) for row in rows]
    missing = [f"{row.where}: {row.path}" for row, file in zip(rows, files, strict=True) if file is None]
    if missing:
        where = f"under --feature-root {feature_root}" if feature_root is not None else "here (is --feature-root missing?)"
        raise FileNotFoundError(several(f"{len(missing)} of {len(rows)} feature files are not {where}", missing))

    def check(row: Row, file: Path) -> Video | str:
        try:
            features = load_features(file, width, zero_non_finite)
            n_snippets = len(features)
            n_frames = row.n_frames or FRAMES_PER_SNIPPET * n_snippets
            if not fit(n_frames, n_snippets):
                low, high = FRAMES_PER_SNIPPET * (n_snippets - 1) + 1, FRAMES_PER_SNIPPET * n_snippets
                return f"{row.where}: {n_snippets} snippets are {low} to {high} frames, but the list says {n_frames}"
        except (ValueError, OSError) as error:
            return f"{row.where}: {error}"
        return Video(video_name(file), file, row.label, row.anomalous, n_snippets, n_frames, checksum(features))

    with ThreadPoolExecutor(8) as pool:
        checked = list(
            tqdm(pool.map(check, rows, files), f"checking {Path(path).name}", len(rows), unit="file", leave=False, disable=None)
        )
    bad = [found for found in checked if isinstance(found, str)]
    if len(bad) == 1:
        raise ValueError(bad[0])
    if bad:
        raise ValueError(several(f"{len(bad)} of {len(rows)} feature files cannot be used", bad))
    return checked


def several(summary: str, lines: Iterable[str]) -> str:
    """A summary and the first few of its lines."""
    lines = list(lines)
    more = [f"... and {len(lines) - N_NAMED} more"] if len(lines) > N_NAMED else []
    return "\n  ".join([summary + ":", *lines[:N_NAMED], *more])


def require_distinct(path: str | Path, videos: list[Video]) -> None:
    """Raise ValueError where a test list has a video twice."""
    seen: dict[str, int] = {}
    for row, video in enumerate(videos, 1):
        if video.name in seen:
            raise ValueError(
                f"{path}, video {row}: {video.name} is already video {seen[video.name]}; test one crop of each video"
            )
        seen[video.name] = row


def require_both_classes(path: str | Path, videos: list[Video]) -> None:
    """Raise ValueError where a training list has normal or anomalous videos only."""
    n_anomalous = sum(video.anomalous for video in videos)
    if n_anomalous in (0, len(videos)):
        kind = "anomalous" if n_anomalous else "normal"
        raise ValueError(f"{path}: all {len(videos)} videos are {kind}; training needs both normal and anomalous ones")


def read_ground_truth(path: str | Path, videos: list[Video], list_path: str | Path) -> np.ndarray:
    """The (F,) uint8 ground truth of the videos' frames in list order: 0 normal, 1 anomalous.

    Raises FileNotFoundError, or ValueError where it is no such array or belongs to another list.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such ground truth; make it with list/make_list.py, or name yours (--gt-path)")
    expected = "a one-dimensional array of 0 and 1 per frame"
    header = npy.read_header(Path(path), expected)
    if len(header.shape) != 1 or header.dtype.kind not in "buif":
        raise ValueError(f"{path}: expected {expected}, found {header.dtype} of shape {header.shape}")
    truth = npy.read_data(Path(path), header)
    truth = truth.view(np.uint8) if truth.dtype == bool else truth  # a byte that is neither 0 nor 1 is noticed
    wrong = np.flatnonzero((truth != 0) & (truth != 1))
    if len(wrong):
        raise ValueError(
            f"{path}: expected 0 or 1 per frame, found {truth[wrong[0]]} at frame {wrong[0]} ({len(wrong)} such frames)"
        )
    n_frames, n_snippets = sum(v.n_frames for v in videos), sum(v.n_snippets for v in videos)
    if len(truth) != n_frames:
        off = abs(len(truth) - n_frames)
        cause = (
            "the videos' frames were counted or rounded in another way (the list's column frames, or the array n_frames of "
            "scores, gives each video's true count)"
            if off < FRAMES_PER_SNIPPET * len(videos)
            else "it belongs to another list or other features"
        )
        raise ValueError(
            f"{path}: {len(truth)} frames, but {list_path} has {n_frames} ({len(videos)} videos, {n_snippets} snippets): "
            f"{cause}; make both with list/make_list.py"
        )
    if truth.min() == truth.max():
        raise ValueError(
            f"{path}: all {len(truth)} frames are {int(truth[0])}; AUC and AP need both normal and anomalous frames"
        )
    warn_of_mismatch(truth, videos, path)
    return truth.astype(np.uint8)


def warn_of_mismatch(truth: np.ndarray, videos: list[Video], path: str | Path) -> None:
    """Say so where labels and anomalous frames disagree: the list may be in another order than the ground truth."""
    of_videos = np.split(truth, np.cumsum([video.n_frames for video in videos])[:-1])
    kinds = {False: "has anomalous frames in {} videos called normal", True: "has none in {} videos called anomalous"}
    for anomalous, what in kinds.items():
        wrong = [v.name for v, frames in zip(videos, of_videos, strict=True) if v.anomalous == anomalous != frames.any()]
        if wrong:
            print(
                f"warning: {path} {what.format(len(wrong))} ({wrong[0]} first): do labels and ground truth belong together, in "
                "the same order?",
                file=sys.stderr,
            )
