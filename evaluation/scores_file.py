"""`scores.npz`: a method's scores of a list of videos, written by our tests and read from anyone's.

Per video `video` (its name) and `n_snippets`, per snippet `scores` in [0, 1]. Optional: per video `label` (empty = unknown),
`classes`, (V, any number) names of the classes of anomaly that the label says, filled up with empty texts, and `n_frames`;
`seen` per snippet, how many snippets of the video must have come before the score exists; `look_ahead`, one number, how many
snippets of the future a score waits for; where one of these two is missing it follows from the other; and `truth`, the ground
truth, 0 or 1 per frame. Ours hold more: see `Record`.

Shapes: V videos, S snippets (of all videos).
"""

from itertools import zip_longest
from pathlib import Path

import numpy as np

from evaluation.scores import Record, Scores
from files import atomic
from files.features import FRAMES_PER_SNIPPET, misfit
from files.labels import classes_of, label_of
from files.lists import read_list
from files.names import video_name
from files.npy import NOT_NPZ
from files.truth import checked_truth
from files.videos import Video, require_distinct

FORMAT = "lshma scores 1"
Described = tuple[str, tuple[str, ...] | None, int | None]  # a video's label, its classes, its frames; None = not said


def write_record(path: str | Path, record: Record) -> None:
    """Write `scores.npz`, as `read_record` and `read_scores` read it."""
    scored = record.scores
    with atomic.replacing(path) as file:
        np.savez_compressed(
            file,
            format=FORMAT,
            video=np.array([video.name for video in scored.videos]),
            label=np.array([video.label for video in scored.videos]),
            classes=np.array(list(zip_longest(*(video.classes or ("",) for video in scored.videos), fillvalue=""))).T,
            n_snippets=scored.n_snippets,
            n_frames=scored.n_frames,
            scores=scored.scores,
            seen=scored.seen,
            look_ahead=scored.look_ahead,
            **{name: value for name, value in record._asdict().items() if name != "scores" and value is not None},
        )


def read_record(path: str | Path) -> Record:
    """Read what a test of ours wrote. Raises FileNotFoundError, or ValueError where it is another method's, or damaged."""
    return record_of(read_arrays(path), path)


def record_of(arrays: dict[str, np.ndarray], path: str | Path) -> Record:
    """What a test of ours wrote, in the arrays of its file. Raises ValueError where it is another method's, or damaged."""
    if str(arrays.get("format")) != FORMAT:
        raise ValueError(f"{path}: not written by a test of this version; run the test again")
    scores = checked(arrays, path, hold_last=True)
    for name, kind in {"logits": "f", "exit_layer": "i", "key": "b"}.items():
        values = arrays.get(name, np.empty(0))
        if values.shape != scores.scores.shape or values.dtype.kind != kind or not np.isfinite(values).all():
            raise ValueError(f"{path}: {name} must have a value for each of {len(scores.scores)} snippets; run the test again")
    truth = checked_truth(arrays["truth"], path, scores.videos, path) if "truth" in arrays else None
    return Record(scores, *(arrays[name] for name in ("logits", "exit_layer", "key")), truth)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a .npz file. Raises FileNotFoundError, or ValueError where it is none."""
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder; give the file of scores in it, as scores.npz")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file of scores; a test writes scores.npz to its folder")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("it holds other files than arrays")
        return arrays
    except NOT_NPZ as error:
        raise ValueError(
            f"{path}: not a whole .npz file of plain arrays; write it with numpy.savez, or copy it again"
        ) from error


def read_scores(
    path: str | Path, list_path: str | None = None, *, hold_last: bool = False, normal_label: str | None = None
) -> Scores:
    """The scores of a file, of the videos of a list if one is given. Raises FileNotFoundError, or ValueError as below."""
    return checked(read_arrays(path), path, list_path, hold_last=hold_last, normal_label=normal_label)


def checked(
    content: dict[str, np.ndarray],
    path: str | Path,
    list_path: str | None = None,
    *,
    hold_last: bool,
    normal_label: str | None = None,
) -> Scores:
    """The scores in the arrays of a file; with a list of its videos, labels and frames are the list's.

    With `hold_last` the scores may lack a video's last snippet.
    Raises ValueError that names what is wrong, and where.
    """
    missing = [name for name in ("video", "n_snippets", "scores") if name not in content]
    if missing:
        raise ValueError(f"{path}: no array named {' or '.join(missing)}; it holds {', '.join(content) or 'nothing'}")
    names, n_snippets, scores = (content[name] for name in ("video", "n_snippets", "scores"))
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) == 0:
        raise ValueError(f"{path}: expected the videos' names in video, found {names.dtype} of shape {names.shape}")
    labels = content.get("label", names[:0])
    for text in [*map(str, names), *(map(str, labels) if labels.ndim == 1 else ())]:
        if not text.isprintable():
            raise ValueError(f"{path}: expected names and labels of printable characters in a line, found {text!r}")
    if (names == "").any():
        raise ValueError(f"{path}: video {list(names).index('') + 1} of {len(names)} has no name; write its file's")
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
    names = [video_name(str(name)) for name in names]
    of_file = described_in(content, path, names, normal_label) if list_path is None else None
    described = of_file or listed(list_path, path, names, normal_label)
    videos = []
    for name, (label, classes, n_frames), n in zip(names, described, n_snippets.tolist(), strict=True):
        frames = FRAMES_PER_SNIPPET * n if n_frames is None else n_frames
        videos.append(Video(name, Path(path), label, classes, n, frames, 0))
    require_distinct(path, videos)
    for video in videos:
        wrong = misfit(video.n_frames, video.n_snippets, hold_last)
        if wrong:
            raise ValueError(f"{list_path or path}: {video.name}: {wrong}")
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


def described_in(content: dict, path: str | Path, names: list[str], normal_label: str | None) -> list[Described]:
    """The videos as their own file describes them, or as their names do."""
    labels = content.get("label", np.array([label_of(name) for name in names]))
    frames = content.get("n_frames")
    if labels.shape != (len(names),) or labels.dtype.kind != "U":
        raise ValueError(f"{path}: label must hold a text for each of {len(names)} videos")
    if frames is not None and (frames.shape != (len(names),) or frames.dtype.kind not in "iu"):
        raise ValueError(f"{path}: n_frames must hold a whole number for each of {len(names)} videos")
    counts = [None] * len(names) if frames is None else frames.tolist()
    classes = classes_in(content, path, names, labels.tolist(), normal_label)
    return list(zip(labels.tolist(), classes, counts, strict=True))


def classes_in(
    content: dict, path: str | Path, names: list[str], labels: list[str], normal_label: str | None
) -> list[tuple[str, ...] | None]:
    """The classes of each video, as their own file has them, or as its label says; None of one without label."""
    classes, labelled = content.get("classes"), zip(names, labels, strict=True)
    if classes is None or normal_label is not None:
        return [classes_said(label, normal_label, f"{path}, {name}") if label else None for name, label in labelled]
    if classes.ndim != 2 or len(classes) != len(names) or classes.dtype.kind != "U":
        raise ValueError(f"{path}: classes must hold a row of texts for each of {len(names)} videos")
    return [tuple(filter(None, row)) if label else None for row, label in zip(classes.tolist(), labels, strict=True)]


def listed(list_path: str, path: str | Path, names: list[str], normal_label: str | None) -> list[Described]:
    """The videos as a list describes them. Raises ValueError where it is not a list of these videos, in order."""
    rows = read_list(list_path, None, normal_label)
    for row, name in zip(rows, [*names, *[None] * len(rows)], strict=False):
        if video_name(row.path) != name:
            there = f"{name!r} in this place" if name else f"{len(names)} videos only"
            raise ValueError(
                f"{row.where}: {video_name(row.path)!r}, but {path} has {there}; score the list's videos, one crop of each, in "
                "its order, under their files' names without folder, ending and crop"
            )
    if len(rows) < len(names):
        raise ValueError(f"{path}: {names[len(rows)]!r} and what follows are not in {list_path}; name the list they are of")
    return [(row.label, row.classes, row.n_frames) for row in rows]


def classes_said(label: str, normal_label: str | None, where: str) -> tuple[str, ...]:
    """The classes in a label of any data set. Raises ValueError that begins with `where`."""
    try:
        return classes_of(label, None, normal_label)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
