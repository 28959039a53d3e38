"""Feature files, `(L, D)` float16 or float32 of a video or one crop of it, or of several crops: found, opened, read, checked.

Shapes: C crops, L snippets of one video, D width.
"""

import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from files import npy
from files.names import is_hidden

FRAMES_PER_SNIPPET = 16
LARGEST = 1e17  # of a value's size: the KCG and the norms sum squares, which float32 holds up to 3e38
UNUSABLE = f"NaN, infinite or beyond {LARGEST:.0e}"
CONVERT = "list/split_crops.py turns a folder of such files into ours"


class Place(NamedTuple):
    """Where one crop is in a file of several."""

    axis: int
    number: int


def find_file(path: str, feature_root: str | None) -> Path | None:
    """Where a list's feature file is: under `feature_root`, the longest tail of its path that exists there; else as it stands.

    `/somebody/UCFClipFeatures/Abuse/Abuse001_x264__0.npy` is found as ROOT/Abuse/Abuse001_x264__0.npy, or, if there is no such
    file, as ROOT/Abuse001_x264__0.npy. None where it is nowhere: with a root, nothing outside it counts.
    """
    if feature_root is None:
        return Path(path) if is_file(Path(path)) else None
    composed = (path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD")))
    for written in dict.fromkeys(form for text in composed for form in (text, text.replace("\\", "/"))):
        parts = [part for part in PurePosixPath(written).parts if part != "/"]
        for i in range(parts[::-1].index("..") if ".." in parts else len(parts), 0, -1):
            if is_file(Path(feature_root, *parts[-i:])):
                return Path(feature_root, *parts[-i:])
    return None


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name too long for the file system is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def open_features(path: Path, width: int | None, *, why: str = "") -> np.memmap:
    """The (L, width) features of a file, or (C, L, width) or (L, C, width) of several crops, not yet read; `why` says who sets
    the width.

    Raises ValueError where they are no whole float16 or float32 array of that width with L >= 1.
    """
    expected = f"a float16 or float32 array of shape (L, {width or 'D'})"
    if not path.is_file():  # a folder, or a pipe that would never end
        raise ValueError(f"{path}: expected {expected}, found no file")
    if is_hidden(path):
        raise ValueError(f"{path}: expected {expected}, found a hidden file, as macOS leaves beside a copy; take its row out")
    features = npy.open_array(path, expected)
    shape, remedy = features.shape, ""
    if len(shape) == 2 and width not in (None, shape[1]):
        remedy = f": the other way round, (D, L); {CONVERT}" if shape[0] == width else why and f"; {why}"
    elif len(shape) == 2 and features.dtype.kind == "f":
        remedy = f"; {CONVERT}"
    if features.dtype not in (np.float16, np.float32) or len(shape) not in (2, 3) or width not in (None, shape[-1]):
        raise ValueError(f"{path}: expected {expected}, found {features.dtype} of shape {shape}{remedy}")
    if 0 in shape:
        raise ValueError(
            f"{path}: expected {expected} with at least one snippet, found {shape}; leave the video out of the list"
        )
    return features


def load_features(
    path: Path,
    width: int,
    zero_non_finite: bool,
    *,
    place: Place | None = None,
    why: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> np.ndarray:
    """The (L, width) features of a file, or of the crop in that place of it, in its precision; `say` is told what is set to 0.

    Raises ValueError as `open_features`, where the file holds several crops and no place is said, or the reverse, and where
    values are not usable.
    """
    opened = open_features(path, width, why=why)
    if opened.ndim != (3 if place else 2):
        kinds = ("several crops", f"one crop, (L, {width})")
        expected, found = kinds if place else kinds[::-1]
        raise ValueError(
            f"{path}: expected {expected}, as in the first file of its list, found {opened.shape}: {found}; {CONVERT}"
        )
    features = np.array(opened.take(place.number, place.axis) if place else opened, order="C")
    broken = unusable(features)
    if broken.any():
        if not zero_non_finite:
            snippet, channel = (int(i[0]) for i in broken.nonzero())
            raise ValueError(
                f"{path}: {broken.sum()} values are {UNUSABLE}, the first in snippet {snippet}, channel {channel}; "
                "extract the features again, or set them to zero with --zero-non-finite"
            )
        features[broken] = 0
        say(f"{path}{f', crop {place.number}' if place else ''}: {broken.sum():,} of {broken.size:,} values")
    return features


def unusable(features: np.ndarray) -> np.ndarray:
    """Which values are NaN, infinite or too large. NumPy's own look at float16 takes seven times as long as one at the bits."""
    if features.dtype == np.float16:
        return (features.view(np.uint16) & 0x7C00) == 0x7C00
    return ~(np.abs(features) <= LARGEST)


def checksum(features: np.ndarray) -> int:
    """CRC-32 of the values: the same in float32 as in float16, where that has them exactly."""
    if features.dtype == np.float32 and not (features.view(np.uint32) & 0x1FFF).any():  # bits that float16 has not
        with np.errstate(over="ignore"):
            half = features.astype(np.float16)
        features = half if np.array_equal(half, features) else features
    return zlib.crc32(np.ascontiguousarray(features))


def fits(n_frames: int, n_snippets: int, hold_last: bool) -> bool:
    """Whether a video of so many frames has so many snippets: the last one perhaps not full, or, with `hold_last`, left out."""
    return -(-n_frames // FRAMES_PER_SNIPPET) - n_snippets in ((0, 1) if hold_last else (0,))


def misfit(n_frames: int, n_snippets: int, hold_last: bool) -> str | None:
    """What is wrong where they do not fit, and its remedy."""
    if fits(n_frames, n_snippets, hold_last):
        return None
    low, high = FRAMES_PER_SNIPPET * (n_snippets - 1) + 1, FRAMES_PER_SNIPPET * n_snippets
    remedy = ""
    if fits(n_frames, n_snippets, True):
        remedy = "; if the last snippet was dropped, --hold-last lets the last score hold to the video's end"
    return f"{n_snippets} snippets are {low} to {high} frames, not {n_frames}{remedy}"
