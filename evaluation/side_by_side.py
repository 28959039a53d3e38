"""The figures of several runs: against a varied option, every seed of each row, and methods compared."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluation.figures import BLUE, COLOURS, GREY, ORANGE, drawing


def curves_over(path: Path, panels: Mapping[str, Mapping[str, Sequence[tuple[float, np.ndarray]]]], x: str, y: str) -> None:
    """Draw means over seeds, with their range, against a varied option: in each panel curves of points (value, (seeds,))."""
    n, names = len(panels), list(dict.fromkeys(name for lines in panels.values() for name in lines))
    size = 2.2 + (4.8 if n == 1 else 3.2 * n), max(4, 1 + 0.2 * len(names))
    with drawing(path, size) as figure:
        axes = figure.subplots(1, n, sharey=True, squeeze=False)
        looks = zip(*map(itertools.cycle, (COLOURS, "os^Dvx*", ("-", "--", ":", "-."))), strict=True)
        look = dict(zip(names, looks, strict=False))
        for axis, (title, lines) in zip(axes[0], panels.items(), strict=True):
            for name, points in lines.items():
                colour, marker, line = look[name]
                at, seeds = zip(*sorted(points, key=lambda point: point[0]), strict=True)
                how = {"color": colour, "marker": marker, "linestyle": line, "fillstyle": "none", "label": name}
                axis.plot(at, [values.mean() for values in seeds], **how)
                axis.fill_between(at, [v.min() for v in seeds], [v.max() for v in seeds], color=colour, alpha=0.12, linewidth=0)
            ticks = sorted({value for points in lines.values() for value, _ in points})
            if ticks[0] > 0 and ticks[-1] >= 8 * ticks[0]:
                axis.set_xscale("log", base=2)
            labels = [f"{tick:g}" for tick in ticks]
            axis.set_xticks(ticks, labels, rotation=45 if max(map(len, labels)) > 4 else 0)
            axis.minorticks_off()
            axis.set(xlabel=x, title=title.replace(", ", "\n"))
        axes[0, 0].set(ylabel=y)
        n_seeds = max(len(values) for lines in panels.values() for points in lines.values() for _, values in points)
        handles = {label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        axes[0, -1].legend(handles.values(), handles, frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5),
                           title=f"means of {n_seeds} seeds,\nshaded: their range" if n_seeds > 1 else "one seed",
                           title_fontsize=8)  # fmt: skip


def dots(path: Path, rows: Mapping[str, np.ndarray], x: str) -> None:
    """Draw every seed of each row, and the row's mean."""
    with drawing(path, (7, 1 + 0.32 * len(rows))) as figure:
        axis = figure.subplots()
        seeds_on(axis, rows, x)
        axis.invert_yaxis()
        axis.legend(*(part[:2] for part in axis.get_legend_handles_labels()), frameon=False, fontsize=8, loc="center left",
                    bbox_to_anchor=(1, 0.5))  # fmt: skip


def seeds_on(axis, rows: Mapping[str, np.ndarray], x: str) -> None:
    """Draw every seed of each row, and the row's mean; NaN draws nothing."""
    for i, values in enumerate(rows.values()):
        axis.plot(values, np.full(len(values), i), "o", color=BLUE, markersize=5, fillstyle="none", label="a seed")
        axis.plot(values.mean(), i, "|", color=ORANGE, markersize=14, markeredgewidth=2, label="mean")
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set(xlabel=x)
    axis.grid(axis="y", linewidth=0.4)


def comparison(path: Path, differences: Mapping[str, Mapping], videos: Sequence[str], errors: Mapping[str, np.ndarray]) -> None:
    """Draw differences to the first method with their intervals, and beside them the videos in which methods differ most.

    differences: for each other method its figures by their names, {"value", "interval"} or None. errors: for each method (V,).
    """
    looks = dict(zip(errors, itertools.cycle(zip(("black", *COLOURS[:-1]), "os^Dv<", strict=True)), strict=False))
    names = list(next(iter(differences.values())))
    n_others = len(differences)
    height = 1.4 + max(0.3 * len(videos), (0.25 + 0.15 * n_others) * len(names))
    with drawing(path, (12, height)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        for i, (of_method, (colour, marker)) in enumerate(zip(differences.values(), list(looks.values())[1:], strict=True)):
            for at, of in enumerate(of_method.values()):
                if of:
                    at += 0.6 * ((i + 0.5) / n_others - 0.5)
                    left.plot(100 * of["value"], at, marker, color=colour, markersize=6)
                    left.plot(100 * np.array(of["interval"] or [of["value"]] * 2), [at, at], color=colour, linewidth=1.4)
        left.axvline(0, color=GREY, linewidth=0.8, zorder=0)
        left.set_yticks(range(len(names)), names, fontsize=9)
        left.set(ylim=(len(names) - 0.5, -0.5), xlabel="percentage points (more is better), with 95 % intervals over videos")
        left.set_title(textwrap.fill(f"Difference to {next(iter(errors))}", 50, break_on_hyphens=False), fontsize=10)
        rows = np.arange(len(videos))
        right.hlines(rows, *(ends(list(errors.values()), 0) for ends in (np.min, np.max)), color=GREY, linewidth=1.2, zorder=0)
        for name, (colour, marker) in looks.items():
            right.plot(errors[name], rows, marker, color=colour, markersize=6, label=name)
        right.set_yticks(rows, videos, fontsize=8)
        right.set(
            ylim=(len(videos) - 0.5, -0.5), xlim=(-0.02, 1.02), xlabel="error: mean distance of a frame's score from its truth"
        )
        right.set_title(f"The {len(videos)} videos that differ most", fontsize=10)
        for axis in (left, right):
            axis.grid(axis="y", linewidth=0.3)
        n_columns = max(1, 130 // (12 + max(map(len, errors))))
        how = {"frameon": False, "fontsize": 9, "loc": "outside lower center", "ncols": n_columns}
        figure.legend(*right.get_legend_handles_labels(), **how)
