"""Ground truth: 0 or 1 for every frame of a list's videos, in its order, checked against the list."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from files import npy
from files.features import FRAMES_PER_SNIPPET
from files.lists import few, several
from files.videos import Video

EXPECTED = "a one-dimensional array of 0 and 1 per frame"


def read_ground_truth(path: str | Path, videos: Sequence[Video], list_path: str | Path) -> np.ndarray:
    """The (F,) uint8 ground truth of the videos' frames in list order: 0 normal, 1 anomalous.

    Raises FileNotFoundError, or ValueError where it is no such array or belongs to another list.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such ground truth; make it with list/make_list.py, or name yours (--gt-path)")
    return checked_truth(npy.open_array(Path(path), EXPECTED), path, videos, list_path)


def checked_truth(truth: np.ndarray, path: str | Path, videos: Sequence[Video], list_path: str | Path) -> np.ndarray:
    """An array of ground truth, from its own file or one of scores, as `read_ground_truth` gives it. Raises ValueError."""
    if truth.ndim != 1 or truth.dtype.kind not in "buif":
        raise ValueError(f"{path}: expected {EXPECTED}, found {truth.dtype} of shape {truth.shape}")
    truth = np.array(truth.view(np.uint8) if truth.dtype == bool else truth)  # a byte that is neither 0 nor 1 is noticed
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
            if off <= FRAMES_PER_SNIPPET * len(videos)
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


def warn_of_mismatch(truth: np.ndarray, videos: Sequence[Video], path: str | Path) -> None:
    """Say so where labels and anomalous frames disagree: the list may be in another order than the ground truth."""
    found = have_anomalies(truth, videos)
    kinds = {False: "has anomalous frames in {} videos called normal", True: "has none in {} videos called anomalous"}
    for anomalous, what in kinds.items():
        names = [v.name for v, has in zip(videos, found, strict=True) if v.anomalous == anomalous != has]
        if names:
            ask = "do labels and ground truth belong together, in the same order?"
            print(several(f"warning: {path} {what.format(len(names))}; {ask}", names), file=sys.stderr)


def have_anomalies(truth: np.ndarray, videos: Sequence[Video]) -> list[bool]:
    """Whether each video has anomalous frames: (F,) -> V of them."""
    return [bool(frames.any()) for frames in np.split(truth, np.cumsum([video.n_frames for video in videos])[:-1])]


def require_normal(truth: np.ndarray, videos: Sequence[Video], list_path: str | Path) -> None:
    """Raise ValueError where all videos are anomalous by their labels, and not by their (F,) ground truth."""
    n_without = have_anomalies(truth, videos).count(False)
    if n_without and all(video.anomalous for video in videos):
        what = f"all {len(videos)} videos are anomalous (labels: {few(sorted({video.label for video in videos}))})"
        raise ValueError(
            f"{list_path}: {what}, and {n_without} have no anomalous frames; --normal-label says which label is the normal one"
        )
