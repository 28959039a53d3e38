"""`scores.npz`: a method's scores of a list of videos, written by our tests and read from anyone's.

Per video `video` (its name) and `n_snippets`, per snippet `scores` in [0, 1]. Optional: per video `label` (empty = unknown) and
`n_frames`; `seen` per snippet, how many snippets of the video must have come before the score exists; `look_ahead`, one number,
how many snippets of the future a score waits for. Where one of the last two is missing it follows from the other. Ours hold
more: see `Record`.

Shapes: V videos, S snippets (of all videos).
"""

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import smoothing
from files.videos import (
    FRAMES_PER_SNIPPET,
    UCF_ANOMALIES,
    Video,
    fit,
    is_anomalous,
    read_list,
    require_distinct,
    several,
    video_name,
)

NOT_NPZ = (  # what numpy raises on files that are none, or damaged
    *(zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, TypeError, AttributeError),
    *(NotImplementedError, RuntimeError, MemoryError, OSError),
)


class Scores(NamedTuple):
    """A method's scores of a list of videos."""

    videos: list[Video]
    scores: np.ndarray  # (S,) float64 in [0, 1]
    seen: np.ndarray  # (S,) int64, snippets of the video that must have come before the score exists
    look_ahead: int | None  # snippets of the future in a score, at most, its own clip aside; None = not stated

    @property
    def n_snippets(self) -> np.ndarray:
        """(V,) int64"""
        return np.array([video.n_snippets for video in self.videos])

    @property
    def n_frames(self) -> np.ndarray:
        """(V,) int64"""
        return np.array([video.n_frames for video in self.videos])

    @property
    def video(self) -> np.ndarray:
        """(S,) int64, the index of each snippet's video."""
        return np.repeat(np.arange(len(self.videos)), self.n_snippets)


def from_logits(videos: list[Video], logits: np.ndarray, options: Mapping[str, Any], smooth: str | None = None) -> Scores:
    """The scores of (S,) logits of a run with these options, smoothed as they say, or in this way."""
    smooth, width = smooth or options["smooth"], options["smooth_width"]
    pad, window = options["smooth_pad"], options["attn_window"]
    of_videos = np.split(logits, np.cumsum([video.n_snippets for video in videos])[:-1])
    smoothed = np.concatenate([smoothing.smooth(of_video, smooth, width, pad) for of_video in of_videos])
    seen = np.concatenate([smoothing.seen(len(of_video), smooth, width, window) for of_video in of_videos])
    return Scores(videos, smoothing.sigmoid(smoothed), seen, smoothing.look_ahead(smooth, width))


def columns_of(videos: list[Video], logits: np.ndarray, options: Mapping[str, Any]) -> dict[str, Scores]:
    """What a test reports, by name: the scores of (S,) logits smoothed as the options say, causally, and not at all."""
    kinds = dict.fromkeys((options["smooth"], "causal", "none"))
    return {smoothing.name_of(kind, options["smooth_width"]): from_logits(videos, logits, options, kind) for kind in kinds}


class Record(NamedTuple):
    """What a test of ours writes: the scores, and what the report shows of them."""

    found: Scores
    logits: np.ndarray  # (S,) float32, not smoothed
    exit_layer: np.ndarray  # (S,) int64
    key: np.ndarray  # (S,) bool, whether the snippet's clip is key
    truth: np.ndarray  # (F,) uint8


def read_record(path: str | Path) -> Record:
    """Read what a test of ours wrote. Raises FileNotFoundError, or ValueError where it is damaged, or another method's."""
    arrays = read_arrays(path)
    found = checked(arrays, path)
    n_snippets, n_frames = len(found.scores), int(found.n_frames.sum())
    kinds = {"logits": ("f", n_snippets), "exit_layer": ("i", n_snippets), "key": ("b", n_snippets), "truth": ("u", n_frames)}
    for name, (kind, length) in kinds.items():
        array = arrays.get(name, np.zeros(0))
        if array.shape != (length,) or array.dtype.kind != kind or not np.isfinite(array).all():
            raise ValueError(f"{path}: its {name} are not those of a test of ours; run the test again")
    record = Record(found, *(arrays[name] for name in kinds))
    if record.truth.max() > 1 or record.exit_layer.min() < 0:
        raise ValueError(f"{path}: damaged; run the test again")
    return record


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a .npz file. Raises FileNotFoundError, or ValueError where it is none."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file of scores; a test writes scores.npz to its folder")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise ValueError("it holds other files than arrays")
        return found
    except NOT_NPZ as error:
        raise ValueError(
            f"{path}: not a whole .npz file of plain arrays; write it with numpy.savez, or copy it again"
        ) from error


def read_scores(path: str | Path, list_path: str | None = None) -> Scores:
    """The scores of a file, of the videos of a list if one is given. Raises FileNotFoundError, or ValueError as below."""
    return checked(read_arrays(path), path, list_path)


def checked(content: dict[str, np.ndarray], path: str | Path, list_path: str | None = None) -> Scores:
    """The scores in the arrays of a file; with a list of its videos, labels and frames are the list's.

    Raises ValueError that names what is wrong, and where.
    """
    missing = [name for name in ("video", "n_snippets", "scores") if name not in content]
    if missing:
        raise ValueError(f"{path}: no array named {' or '.join(missing)}; it holds {', '.join(content) or 'nothing'}")
    names, n_snippets, scores = (content[name] for name in ("video", "n_snippets", "scores"))
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) == 0:
        raise ValueError(f"{path}: expected the videos' names in video, found {names.dtype} of shape {names.shape}")
    if n_snippets.shape != names.shape or n_snippets.dtype.kind not in "iu" or n_snippets.min() < 1:
        raise ValueError(f"{path}: expected {len(names)} whole numbers of at least 1 in n_snippets, one per video")
    total = sum(n_snippets.tolist())  # of Python's numbers, which do not overflow
    if scores.shape != (total,) or scores.dtype.kind != "f":
        raise ValueError(
            f"{path}: n_snippets adds up to {total}, so scores must be as many floating-point numbers, "
            f"found {scores.dtype} of shape {scores.shape}"
        )
    n_snippets = n_snippets.astype(np.int64)
    require_scores(path, names, n_snippets, scores)
    seen, look_ahead = timing_of(content, path, n_snippets)
    names = [str(name) for name in names]
    if list_path is None:
        labels, frames = described(content, path, names, n_snippets)
    else:
        labels, frames = listed(list_path, path, names, n_snippets)
    videos = [
        Video(name, Path(path), label, kind_of(label, f"{path}, {name}") if label else None, int(n), n_frames, 0)
        for name, label, n, n_frames in zip(names, labels, n_snippets, frames, strict=True)
    ]
    require_distinct(path, videos)
    return Scores(videos, scores.astype(np.float64), seen, look_ahead)


def timing_of(content: dict[str, np.ndarray], path: str | Path, n_snippets: np.ndarray) -> tuple[np.ndarray, int | None]:
    """`seen` and `look_ahead` of a file; the one that is missing follows from the other. Raises ValueError."""
    length = np.repeat(n_snippets, n_snippets)  # (S,) of each snippet's video
    own = np.arange(len(length)) - np.repeat(np.cumsum(n_snippets) - n_snippets, n_snippets) + 1
    look_ahead, seen = content.get("look_ahead"), content.get("seen")
    if look_ahead is not None:
        if look_ahead.dtype.kind not in "iu" or look_ahead.shape != () or look_ahead < 0:
            raise ValueError(f"{path}: look_ahead must be one number of snippets, found {look_ahead}")
        look_ahead = int(look_ahead)
    if seen is None:
        return np.minimum(own + min(look_ahead or 0, len(own)), length), look_ahead
    if seen.dtype.kind not in "iu" or seen.shape != own.shape or (seen < own).any() or (seen > length).any():
        raise ValueError(f"{path}: seen must count, for each snippet, at least those up to its own and at most its video's")
    seen = seen.astype(np.int64)
    if (np.diff(seen)[np.diff(own) > 0] < 0).any():
        raise ValueError(f"{path}: seen must not fall within a video: a score waits at least as long as the one before")
    return seen, int((seen - own).max()) if look_ahead is None else look_ahead


def require_scores(path: str | Path, names: np.ndarray, n_snippets: np.ndarray, scores: np.ndarray) -> None:
    """Raise ValueError where a score is not in [0, 1]."""
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        starts = np.cumsum(n_snippets) - n_snippets
        first, video = scores[wrong[0]], int(np.searchsorted(starts, wrong[0], "right")) - 1
        remedy = "write scores, not logits (the sigmoid of a logit is a score)"
        if np.isnan(first):
            remedy = "every snippet needs a score"
        elif 1 < first < 1.001:
            remedy = "clip them, if rounding did this"
        raise ValueError(
            f"{path}: {len(wrong)} scores are not in [0, 1]; the first is {first}, of {names[video]}, snippet "
            f"{wrong[0] - starts[video]}; {remedy}"
        )


def described(content: dict, path: str | Path, names: list[str], n_snippets: np.ndarray) -> tuple[list[str], list[int]]:
    """Labels and frames of the videos as their own file has them, or as their names and snippets say."""
    labels = content.get("label", np.array([label_of(name) for name in names]))
    frames = content.get("n_frames", FRAMES_PER_SNIPPET * n_snippets)
    if labels.shape != n_snippets.shape or labels.dtype.kind != "U":
        raise ValueError(f"{path}: label must hold a text for each of {len(names)} videos")
    if frames.shape != n_snippets.shape or frames.dtype.kind not in "iu" or not fit(frames.astype(np.int64), n_snippets).all():
        raise ValueError(f"{path}: n_frames must hold a number for each of {len(names)} videos that fits its snippets of 16")
    return [str(label) for label in labels], [int(n) for n in frames]


def listed(list_path: str, path: str | Path, names: list[str], n_snippets: np.ndarray) -> tuple[list[str], list[int]]:
    """Labels and frames of the videos as a list has them. Raises ValueError where it is not a list of these videos."""
    rows = read_list(list_path, None)
    of_list = [video_name(row.path) for row in rows]
    scored, known = set(names), set(of_list)
    first: dict[str, object] = {}
    twice = [f"{row.where}: {name}" for row, name in zip(rows, of_list, strict=True) if first.setdefault(name, row) is not row]
    if twice:
        raise ValueError(several(f"{list_path} has {len(twice)} videos again; list one crop of each video", twice))
    if not scored & known:
        raise ValueError(
            f"{path} has none of the videos of {list_path}: it calls its first {names[0]!r}, the list {of_list[0]!r}, a file's "
            "name without folder, ending and crop; name the list the scores are of, or call the videos as it does"
        )
    lacking = [f"{row.where}: {name}" for row, name in zip(rows, of_list, strict=True) if name not in scored]
    if lacking:
        what = f"{path} lacks {len(lacking)} of the {len(rows)} videos of {list_path}; score them too, or name its own list"
        raise ValueError(several(what, lacking))
    more = [name for name in names if name not in known]
    if more:
        raise ValueError(several(f"{path} has {len(more)} videos that are not in {list_path}; name the list they are of", more))
    for row, expected, name in zip(rows, of_list, names, strict=False):
        if expected != name:
            raise ValueError(f"{row.where}: {expected}, but {path} has {name} there; write the scores in the list's order")
    if len(rows) != len(names):
        raise ValueError(f"{path}: {len(names)} videos, but {list_path} has {len(rows)} rows; each video must be there once")
    for row, n in zip(rows, n_snippets, strict=True):
        if row.n_frames is not None and not fit(row.n_frames, n):
            raise ValueError(f"{row.where}: {row.n_frames} frames, but {path} has {n} snippets of 16 for it")
    frames = [row.n_frames or FRAMES_PER_SNIPPET * int(n) for row, n in zip(rows, n_snippets, strict=True)]
    return [row.label for row in rows], frames


def kind_of(label: str, where: str) -> bool:
    """Whether a label says anomalous. Raises ValueError that begins with `where`."""
    try:
        return is_anomalous(label, None)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def label_of(name: str) -> str:
    """The label in a video's name, as UCF-Crime's and XD-Violence's names have it, else none."""
    xd = re.search(r"_label_([ABG][\w-]*)$", video_name(name))
    ucf = re.match("|".join(("Normal", *UCF_ANOMALIES)), name)
    return xd[1] if xd else ucf[0] if ucf else ""
