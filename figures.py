"""The figures of a run: training curves, and the test videos' scores over time beside their ground truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import atomic
from videos import FRAMES_PER_SNIPPET, Video

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"  # told apart by colour-blind readers, and in print
N_TIMELINES = 12


def training_curves(path: Path, history: Sequence[dict]) -> None:
    """Draw loss and metrics of each evaluation over the optimiser steps."""
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
    steps = [entry["step"] for entry in history]
    left.plot(steps, [entry["loss"] for entry in history], "o-", color=BLUE, markersize=4)
    left.set(title="Training loss", xlabel="optimiser steps", ylabel="binary cross entropy")
    curves = {"auc": ("test AUC", BLUE, "o-"), "ap": ("test AP", ORANGE, "s-")}
    curves |= {"val_auc": ("validation AUC (videos)", BLUE, "^:"), "val_ap": ("validation AP (videos)", ORANGE, "v:")}
    for name, (label, colour, style) in curves.items():
        if name in history[0]:
            right.plot(steps, [100 * entry[name] for entry in history], style, color=colour, label=label, markersize=4)
    right.set(title="Evaluations", xlabel="optimiser steps", ylabel="%")
    right.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
    write(figure, path)


def timelines(path: Path, videos: Sequence[Video], scores: np.ndarray, truth: np.ndarray) -> None:
    """Draw the scores of up to twelve videos, half of them with anomalies if there are; anomalous frames are shaded.

    scores: (S,) per snippet, truth: (F,) per frame, both in the order of the videos.
    """
    plt = pyplot()
    by_snippet = np.split(scores, np.cumsum([video.n_snippets for video in videos])[:-1])
    by_frame = np.split(truth, np.cumsum([video.n_frames for video in videos])[:-1])
    anomalous = [i for i in range(len(videos)) if by_frame[i].any()]
    normal = [i for i in range(len(videos)) if not by_frame[i].any()]
    n_normal = min(len(normal), max(N_TIMELINES // 2, N_TIMELINES - len(anomalous)))
    shown = anomalous[: N_TIMELINES - n_normal] + normal[:n_normal]
    n_rows = -(-len(shown) // 3)
    figure, axes = plt.subplots(n_rows, 3, figsize=(11, 1.7 * n_rows + 0.5), layout="constrained", sharey=True, squeeze=False)
    for axis, i in zip(axes.flat, shown, strict=False):
        frames = FRAMES_PER_SNIPPET * np.arange(len(by_snippet[i]) + 1)
        axis.stairs(by_snippet[i], frames, color=BLUE, baseline=None)
        edges = np.flatnonzero(np.diff(by_frame[i], prepend=0, append=0))
        for start, end in edges.reshape(-1, 2):
            axis.axvspan(start, end, color=ORANGE, alpha=0.3, linewidth=0, zorder=0)
        axis.set_title(videos[i].name, fontsize=8)
        axis.set(ylim=(-0.03, 1.03), xlim=(0, frames[-1]))
        axis.tick_params(labelsize=7)
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    figure.supxlabel("frame", fontsize=9)
    figure.supylabel("score", fontsize=9)
    title = f"Scores of {len(shown)} of {len(videos)} test videos; shaded: anomalous in the ground truth"
    figure.suptitle(title, fontsize=10)
    write(figure, path)


def pyplot():
    """matplotlib.pyplot, drawing to files; imported late, since only figures need it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def write(figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all, and close it."""
    with atomic.replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)
    pyplot().close(figure)
