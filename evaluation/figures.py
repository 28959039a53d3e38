"""The figures of a run: training curves, the test videos' scores over time, and those of the report.

The ending of a figure's path decides its format: .png, .pdf, .svg and what else matplotlib writes.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from evaluation import curves, fonts
from files import atomic
from files.features import FRAMES_PER_SNIPPET
from files.videos import Video

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"  # told apart by colour-blind readers, and in print
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "black")
N_TIMELINES = 12
WIDTH, POINTS = 7.0, 8  # of a figure on a page of a paper, in inches, and of its text
STEPS = (1, 2, 5, 10, 15, 30, *(60 * n for n in (1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1440)))  # seconds between marks


@contextmanager
def drawing(path: Path, size: tuple[float, float], points: float = 10.0) -> Iterator:
    """An empty figure, (width, height) in inches and text of so many points, that is written when the block ends, whole or
    not at all. Text stays text in .pdf and .svg files.

    Raises ValueError where the path ends in no format. matplotlib is imported only here, and never asked for a window: the
    user's backend does not matter, installed or not.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
        from matplotlib.figure import Figure
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    how = {"text.parse_math": False, "pdf.fonttype": 42, "svg.fonttype": "none"}  # a video's name may hold dollar signs
    with matplotlib.rc_context(how | {"font.size": points, "font.family": fonts.families()}):
        figure = Figure(size, layout="constrained")
        formats, ending = figure.canvas.get_supported_filetypes(), path.suffix[1:].lower()
        if ending not in formats:
            raise ValueError(
                f"{path}: no figure ends in {path.suffix or 'nothing'}; choose one of .{', .'.join(sorted(formats))}"
            )
        yield figure
        with atomic.replacing(path) as file, fonts.lacking_told(figure):
            figure.savefig(file, format=ending, dpi=150)


@contextmanager
def two_panels(path: Path, width: float) -> Iterator[tuple]:
    """A figure of two panels: the one beside the other, or above it where there is no room."""
    beside = width >= 6
    with drawing(path, (width, 0.42 * width if beside else min(6, 1.5 * width)), POINTS) as figure:
        yield tuple(figure.subplots(*((1, 2) if beside else (2, 1))))


def training_curves(path: Path, history: Sequence[dict], width: float = WIDTH) -> None:
    """Draw loss and metrics of each evaluation over the optimiser steps."""
    with two_panels(path, width) as (left, right):
        steps = [entry["step"] for entry in history]
        left.plot(steps, [entry["loss"] for entry in history], "o-", color=BLUE, markersize=4)
        left.set(title="Training loss", xlabel="optimiser steps", ylabel="binary cross entropy")
        looks = {"auc": ("test AUC", BLUE, "o-"), "ap": ("test AP", ORANGE, "s-")}
        looks |= {"val_auc": ("validation AUC (videos)", BLUE, "^:"), "val_ap": ("validation AP (videos)", ORANGE, "v:")}
        for name, (label, colour, style) in looks.items():
            if name in history[0]:
                right.plot(steps, [100 * entry[name] for entry in history], style, color=colour, label=label, markersize=4)
        right.set(title="Evaluations", xlabel="optimiser steps", ylabel="%")
        right.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.25))
        for axis in (left, right):
            axis.xaxis.get_major_locator().set_params(integer=True)


def timelines(
    path: Path,
    videos: Sequence[Video],
    scores: np.ndarray,
    truth: np.ndarray | None,
    *,
    shown: Sequence[int] | None = None,
    threshold: float | None = None,
    fps: float | None = None,
    width: float = 11.0,
) -> None:
    """Draw the scores of videos over time, in columns of about 3.5 inches: those at the indices `shown`, or up to twelve, half
    of them with anomalies if there are.

    scores: (S,) per snippet, truth: (F,) per frame, both in the order of the videos; anomalous frames are shaded, without truth
    none. fps: frames per second; without, time is in frames.
    """
    n_snippets, n_frames = ([getattr(video, name) for video in videos] for name in ("n_snippets", "n_frames"))
    by_snippet = np.split(scores, np.cumsum(n_snippets)[:-1])
    by_frame = np.split(np.zeros(sum(n_frames)) if truth is None else truth, np.cumsum(n_frames)[:-1])
    few = varied([frames.any() for frames in by_frame]) if shown is None else shown
    n_columns = min(max(1, round(width / 3.5)), len(few))
    n_rows, inches = -(-len(few) // n_columns), width / n_columns
    with drawing(path, (width, 1.35 * n_rows + 0.6), POINTS) as figure:
        axes = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
        figure.get_layout_engine().set(wspace=0.05)
        for axis, i in zip(axes.flat, few, strict=False):
            timeline(axis, by_snippet[i], by_frame[i], threshold, fps, int(1.4 * inches))
            name = videos[i].name
            n = int(6.5 * inches)  # letters of half a title
            axis.set_title(name if len(name) <= 2 * n else f"{name[:n]}…{name[1 - n :]}", fontsize=POINTS)
        for axis in axes.flat[len(few) :]:
            axis.set_axis_off()
        figure.supxlabel("time (minutes:seconds)" if fps else "frame", fontsize=POINTS)
        figure.supylabel("score", fontsize=POINTS)
        handles = {label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        how = {"loc": "outside upper center", "ncols": 3, "columnspacing": 1.2, "frameon": False}
        if shown is None and len(few) < len(videos):
            how["title"] = f"Scores of {len(few)} of {len(videos)} videos"
        figure.legend(handles.values(), handles, **how)


def timeline(axis, scores: np.ndarray, truth: np.ndarray, threshold: float | None, fps: float | None, n_marks: int) -> None:
    """Draw the scores of one video as a step for each snippet, its last one to the end; about n_marks times stand below."""
    edges = np.append(FRAMES_PER_SNIPPET * np.arange(len(scores)), len(truth)) / (fps or 1)
    axis.stairs(scores, edges, color=BLUE, baseline=None, label="score")
    for start, end in np.flatnonzero(np.diff(truth, prepend=0, append=0)).reshape(-1, 2) / (fps or 1):
        axis.axvspan(start, end, color=ORANGE, alpha=0.3, linewidth=0, zorder=0, label="ground truth")
    if threshold is not None:
        axis.axhline(threshold, color="black", linestyle="--", linewidth=0.8, label=f"threshold {threshold:.3f}")
    axis.set(ylim=(-0.03, 1.03), xlim=(0, edges[-1]), yticks=(0, 0.5, 1))
    if fps:
        step = next((step for step in STEPS if edges[-1] <= step * n_marks), STEPS[-1])
        marks = range(0, int(edges[-1]) + 1, step)
        axis.set_xticks(marks, [clock(seconds) for seconds in marks])
    else:
        axis.locator_params(axis="x", nbins=n_marks)


def varied(anomalous: Sequence[bool]) -> list[int]:
    """Up to twelve videos, half of them anomalous if there are, as indices."""
    kinds = [[i for i, is_anomalous in enumerate(anomalous) if is_anomalous == kind] for kind in (True, False)]
    n_normal = min(len(kinds[1]), max(N_TIMELINES // 2, N_TIMELINES - len(kinds[0])))
    return kinds[0][: N_TIMELINES - n_normal] + kinds[1][:n_normal]


def clock(seconds: float) -> str:
    """`2:05`"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def roc_and_pr(path: Path, columns: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], width: float = WIDTH) -> None:
    """Draw ROC and precision-recall curves of frames: for each name (S,) scores, and the frames of each kind they stand for."""
    with two_panels(path, width) as (left, right):
        styles = zip((BLUE, ORANGE, GREEN), ("-", "--", ":"), strict=True)
        for (name, counts), (colour, line) in zip(columns.items(), styles, strict=False):
            roc, pr, areas = curves.curves_of(*counts)
            left.plot(100 * roc[0], 100 * roc[1], line, color=colour, label=f"{name}: AUC {100 * areas.auc:.1f}")
            right.plot(100 * pr[0], 100 * pr[1], line, color=colour, label=f"{name}: AP {100 * areas.ap:.1f}")
        share = 100 * counts[1].sum() / (counts[1].sum() + counts[2].sum())
        left.plot([0, 100], [0, 100], "-", color=GREY, linewidth=0.8)
        right.axhline(share, color=GREY, linewidth=0.8)
        left.set(title="ROC, frames", xlabel="false positive rate (%)", ylabel="true positive rate (%)")
        right.set(title="Precision and recall, frames", xlabel="recall (%)", ylabel="precision (%)", ylim=(0, 102))
        for axis in (left, right):
            axis.legend(frameon=False, title="grey: chance")


def class_bars(path: Path, results: Mapping, width: float = WIDTH) -> None:
    """Draw the AUC of each class of anomaly against all normal videos, with its interval; the grey line is chance."""
    rows = [(of_class["auc"], f"{name} ({of_class['n_videos']})") for name, of_class in results["classes"].items()]
    rows = sorted((row for row in rows if row[0]), key=lambda row: row[0]["value"])
    at, values = np.arange(len(rows)), 100 * np.array([auc["value"] for auc, _ in rows])
    low, high = 100 * np.array([auc["interval"] or [auc["value"]] * 2 for auc, _ in rows]).reshape(-1, 2).T
    with drawing(path, (width, 0.8 + 0.22 * len(rows)), POINTS) as figure:
        axis = figure.subplots()
        axis.barh(at, values, color=BLUE, height=0.65)
        errors = np.maximum(0, (values - low, high - values))
        axis.errorbar(values, at, xerr=errors, fmt="none", ecolor="black", capsize=2, linewidth=1)
        axis.axvline(50, color=GREY, linewidth=0.8)
        axis.set_yticks(at, [name for _, name in rows])
        axis.set(xlabel="AUC (%), with 95 % intervals", xlim=(0, 102))
        figure.suptitle("AUC by class (videos), against all normal videos", fontsize=POINTS)


def score_distributions(
    path: Path, scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray, width: float = WIDTH
) -> None:
    """Draw how the scores of anomalous and of normal frames are distributed: (S,) scores and their frames of each kind."""
    with drawing(path, (width, 1.2 + 0.2 * width), POINTS) as figure:
        axis = figure.subplots()
        bins = np.linspace(0, 1, 41)
        for frames, colour, name, style in ((normal, BLUE, "normal", {"alpha": 0.35}), (anomalous, ORANGE, "anomalous", {})):
            if frames.any():
                share = 100 * np.histogram(scores, bins, weights=frames)[0] / frames.sum()
                axis.stairs(share, bins, color=colour, label=f"{name} frames", fill=bool(style), linewidth=1.6, **style)
        axis.set(title="Scores of frames", xlabel="score", ylabel="% of the frames of a kind")
        axis.set(yscale="symlog", xlim=(0, 1), ylim=0)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.legend(frameon=False)
