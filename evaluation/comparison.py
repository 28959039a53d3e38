"""Methods side by side: their figures, the differences to the first with intervals of their own, and where they differ most.

All are judged on the videos that they share, each drawn equally often for all of them: what makes a video hard for all does
not widen the interval of a difference. A method of several seeds is their mean within each resample.

Shapes: V videos, F frames, R resamples, N seeds.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation import tables
from evaluation.bootstrap import figure_of, nested, unthreaded
from evaluation.evaluate import Terms, errors_of, resampled
from evaluation.scores import Scores
from files.lists import several


class Judged(NamedTuple):
    """A run's scores, and the ground truth they are judged by."""

    scores: Scores
    truth: np.ndarray  # (F,)


class Method(NamedTuple):
    """A row of a comparison."""

    name: str
    runs: list[Judged]  # a seed each


class Comparison(NamedTuple):
    """What came of it; the first method is what the others are compared with."""

    figures: dict[str, dict[str, Any]]  # by method, as `evaluate.evaluate` has them; of several seeds with "std"
    differences: dict[str, dict[str, Any]]  # to the first, by method
    videos: list[tuple[str, str]]  # (V,) name and class, those that differ most first
    errors: dict[str, np.ndarray]  # by method: (V,) in their order
    n_seeds: dict[str, int]  # by method


@unthreaded
def compare(methods: Sequence[Method], terms: Terms) -> Comparison:
    """Compare methods that were judged on the same videos, as `shared` leaves them."""
    trees = {method.name: nested(stacked, *(resampled(*run, terms) for run in method.runs)) for method in methods}
    (_, ours), *others = trees.items()
    errors = np.stack([np.mean([errors_of(*run) for run in method.runs], 0) for method in methods])  # (methods, V)
    order = np.argsort(-np.abs(errors - errors[0]).max(0), kind="stable")
    scores, truth = methods[0].runs[0]
    of_videos = np.split(truth, np.cumsum(scores.n_frames)[:-1])
    videos = [(video.name, kind_of(video.classes, part)) for video, part in zip(scores.videos, of_videos, strict=True)]
    return Comparison(
        {name: nested(summary, tree) for name, tree in trees.items()},
        {name: nested(difference, tree, ours) for name, tree in others},
        [videos[i] for i in order],
        {method.name: of_method[order] for method, of_method in zip(methods, errors, strict=True)},
        {method.name: len(method.runs) for method in methods},
    )


def stacked(*seeds: np.ndarray) -> np.ndarray:
    """The values of all seeds: N x (1 + R,) -> (N, 1 + R)."""
    return np.stack(seeds)


def summary(seeds: np.ndarray) -> dict[str, Any] | None:
    """The mean over seeds with its interval, and of several the standard deviation: (N, 1 + R)."""
    figure = figure_of(seeds.mean(0))
    return figure and figure | ({"std": float(seeds[:, 0].std(ddof=1))} if len(seeds) > 1 else {})


def difference(seeds: np.ndarray, first: np.ndarray) -> dict[str, Any] | None:
    """The difference of the means over seeds, within each resample: (N, 1 + R) each."""
    return figure_of(seeds.mean(0) - first.mean(0))


def kind_of(classes: tuple[str, ...] | None, truth: np.ndarray) -> str:
    """A video's classes in words."""
    return (" and ".join(classes or ()) or "anomalous") if truth.any() else "normal"


def headlines(results: dict[str, Any]) -> dict[str, dict[str, Any] | None]:
    """The figures that are shares of something and better when higher, by their names."""
    areas = {"AUC": "auc", "AP, step-wise": "ap", "AP, trapezoidal": "ap_trapezoid", "AUC, anomalous videos": "auc_anomalous"}
    figures = {name: results[key] for name, key in (areas | {"AUC of videos": "video_auc"}).items()}
    if results["events"]:
        figures["events detected"] = results["events"]["detected"]
        figures |= {f"AP of intervals, IoU {least}": results["events"]["ap_iou"][least] for least in ("0.1", "0.5")}
    return figures


def signed(cell: str) -> str:
    """A difference with its sign."""
    return cell if cell.startswith("-") else f"+{cell}"


def rows_of(compared: Comparison) -> tuple[list[list[str]], list[list[str]]]:
    """Two tables of text: the methods' figures, and their differences."""
    figures, (_, _, *body) = tables.rows_of(compared.figures), tables.rows_of(compared.differences)  # without look-aheads
    head = [f"less {figures[0][1]}", *compared.differences]
    return figures, [head, *([name, *map(signed, cells)] for name, *cells in body)]


def video_rows(compared: Comparison) -> list[list[str]]:
    """The table of videos: the mean distance of a frame's score from its truth, by method."""
    of_videos = zip(*compared.errors.values(), strict=True)
    body = [[*video, *(f"{error:.4f}" for error in errors)] for video, errors in zip(compared.videos, of_videos, strict=True)]
    return [["video", "class", *(f"error, {name}" for name in compared.errors)], *body]


def shared(methods: Sequence[Method]) -> tuple[list[Method], list[str]]:
    """The methods with the videos that all of them have, in one order; and what to say of those that are left out.

    Raises ValueError where there is none, or where two methods' frames or ground truth of a video are not the same.
    """
    of_methods = [[video.name for run in method.runs for video in run.scores.videos] for method in methods]
    runs = [run for method in methods for run in method.runs]
    common = set.intersection(*({video.name for video in run.scores.videos} for run in runs))
    if not common:
        each = "; ".join(f"{method.name} has {names[0]}, ..." for method, names in zip(methods, of_methods, strict=True))
        raise ValueError(f"no video is in all of them, by its name ({each}); compare scores of one test set")
    notes = []
    for method, names in zip(methods, of_methods, strict=True):
        if out := dict.fromkeys(name for name in names if name not in common):
            notes.append(several(f"note: {len(out)} videos of {method.name} are not in all others, and left out", out))
    videos = {video.name: video for run in reversed(runs) for video in run.scores.videos if video.classes is not None}
    kept = [video.name for video in runs[0].scores.videos if video.name in common]
    restricted = [method._replace(runs=[restrict(run, kept, videos) for run in method.runs]) for method in methods]
    for method in restricted:
        for run in method.runs:
            require_same(method.name, run, restricted[0].name, restricted[0].runs[0])
    return restricted, notes


def restrict(run: Judged, names: Sequence[str], described: dict[str, Any]) -> Judged:
    """A run's share of these videos, in this order, with the classes of these descriptions."""
    place = {video.name: i for i, video in enumerate(run.scores.videos)}
    order = [place[name] for name in names]

    def taken(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        parts = np.split(values, np.cumsum(lengths)[:-1])
        return np.concatenate([parts[i] for i in order])

    scores, videos = run.scores, [run.scores.videos[i] for i in order]
    videos = [video._replace(classes=described.get(video.name, video).classes) for video in videos]
    of_snippets = (taken(values, scores.n_snippets) for values in (scores.scores, scores.seen))
    return Judged(Scores(videos, *of_snippets, scores.look_ahead), taken(run.truth, scores.n_frames))


def require_same(name: str, run: Judged, first: str, other: Judged) -> None:
    """Raise ValueError that names a video with other frames, or another ground truth."""
    for video, there in zip(run.scores.videos, other.scores.videos, strict=True):
        if video.n_frames != there.n_frames:
            raise ValueError(
                f"{video.name} has {video.n_frames} frames in {name} ({video.path}) and {there.n_frames} in {first} "
                f"({there.path}); give the true counts, by the test list's column frames or the array n_frames of scores"
            )
    wrong = np.flatnonzero(run.truth != other.truth)
    if len(wrong):
        ends = np.cumsum(run.scores.n_frames)
        video = run.scores.videos[np.searchsorted(ends, wrong[0], "right")]
        raise ValueError(
            f"the ground truth of {video.name} is not the same in {name} ({video.path}) and {first} (nor that of {len(wrong)} "
            "frames in all); judge both by one ground truth"
        )
