"""What came of a grid of runs: every cell in a CSV file, a Markdown table of its rows, and a figure."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from evaluation import evaluate, figures
from evaluation.bootstrap import INTERVAL, Bootstrap
from evaluation.curves import areas, resampled_areas
from evaluation.scores import from_logits, read_record
from experiments.grid import Cell, Grid, Row, combinations, named

METRICS = {  # what the figure can show
    "auc": "AUC (%)",
    "ap": "AP (%)",
    "auc_causal": "AUC, causal smoothing (%)",
    "video_auc": "AUC of videos, by their maximum (%)",
    "video_auc_topk": "AUC of videos, top-k mean, last epoch (%)",
}
COLUMNS = {  # of the Markdown table: name -> key of a cell
    "AUC": "auc",
    "causal": "auc_causal",
    "unsmoothed": "auc_unsmoothed",
    "AP": "ap",
    "last epoch": "auc_last",
    "best on test": "auc_best_on_test",
}


class Outcome(NamedTuple):
    """What a cell says."""

    figures: dict  # its line of the CSV file
    resampled: np.ndarray  # (R,) AUC of its selected weights, as the videos are drawn again and again
    test_set: list[tuple[str, int]]  # the videos' names and snippets


class Line(NamedTuple):
    """A row's results, per seed."""

    row: Row
    tuned: str
    cells: list[dict]
    resampled: np.ndarray  # (R,) mean over the seeds
    test_set: list[tuple[str, int]]

    def values(self, name: str) -> np.ndarray:
        """(seeds,) in percent; NaN where it is not defined."""
        return 100 * np.array([cell[name] for cell in self.cells], float)


def read_cell(cell: Cell) -> Outcome:
    """What a cell says. Raises ValueError or FileNotFoundError where one of its files is damaged or missing."""
    results, options = cell.read("results.json"), cell.read("options.json")
    best, last = results.get("best", results), results.get("last", results)
    scores, logits, *_, truth = read_record(cell.folder / "scores.npz")
    frames = evaluate.frames_of(scores, truth)
    causal, unsmoothed = (from_logits(scores.videos, logits, options, kind) for kind in ("causal", "none"))
    line = {
        "row": cell.row.base,
        **cell.row.changes,
        **cell.tuning,
        "seed": cell.seed,
        **({"selected_by": results["selected_by"], "step": best["step"]} if "best" in results else {}),
        "auc": best["auc"],
        "auc_causal": areas(causal.scores, *frames).auc,
        "auc_unsmoothed": areas(unsmoothed.scores, *frames).auc,
        "ap": best["ap"],
        "video_auc": areas(*evaluate.by_video(scores, frames[0])).auc,
        **{f"auc_{name}": results[name]["auc"] for name in ("last", "best_on_test") if name in results},
        "video_auc_topk": last["video_auc_topk"],
        "wall_seconds": cell.read("cell.json")["wall_seconds"],
    }
    resampled = resampled_areas(scores.scores, *frames, scores.video, Bootstrap(len(scores.videos)).resamples).auc
    return Outcome(line, resampled, [(video.name, video.n_snippets) for video in scores.videos])


def read_cells(grid: Grid) -> dict[Path, Outcome]:
    """What every cell says, those that were only run to tune included, by its folder."""
    cells = {cell.folder: cell for row in grid.rows for cell in [*grid.planned(row), *grid.chosen(row)]}
    return {folder: read_cell(cell) for folder, cell in cells.items()}


def lines_of(grid: Grid, outcomes: Mapping[Path, Outcome]) -> list[Line]:
    """The results of every row."""
    lines = []
    for row in grid.rows:
        cells = grid.chosen(row)
        seeds = [outcomes[cell.folder] for cell in cells]
        tuned, resampled = ", ".join(named(cells[0].tuning)), np.mean([seed.resampled for seed in seeds], 0)
        lines.append(Line(row, tuned, [seed.figures for seed in seeds], resampled, seeds[0].test_set))
    return lines


def to_csv(outcomes: Mapping[Path, Outcome]) -> str:
    """Every cell, a line each."""
    return pd.DataFrame([outcome.figures for outcome in outcomes.values()]).to_csv(index=False)


def to_markdown(lines: list[Line], metric: str) -> str:
    """The table, the metric first: mean ± standard deviation over the seeds, 95 % intervals of the AUC over the videos.

    AUC, its interval and AP are of the weights that were selected.
    """
    head = lines[0]
    first = next((name for name, key in COLUMNS.items() if key == metric), METRICS[metric])
    columns = {name: key for name, key in ({first: metric} | COLUMNS).items() if key in head.cells[0]}
    rows = []
    for line in lines:
        row = {"": line.row.name, "tuned": line.tuned, "selected by": line.cells[0].get("selected_by", "")}
        row |= {"n": str(len(line.cells))} | {name: mean_and_std(line.values(key)) for name, key in columns.items()}
        difference = line.values("auc").mean() - head.values("auc").mean()
        paired = f"{difference:+.2f} {interval(line.resampled - head.resampled)}"
        comparable = line is not head and line.test_set == head.test_set
        row |= {"AUC, interval": interval(line.resampled)}
        rows.append(row | {f"AUC less {head.row.name}'s, interval": paired if comparable else ""})
    table = pd.DataFrame(rows)
    table = table.drop(columns=[name for name in ("tuned", "selected by") if (table[name] == "").all()])
    rows = [table.columns, ["---"] * table.shape[1], *table.values]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def mean_and_std(values: np.ndarray) -> str:
    """`72.87 ± 0.31`; of one value there is no deviation, and of what is not defined there is nothing."""
    if np.isnan(values).any():
        return "-"
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" if len(values) > 1 else f"{values.mean():.2f}"


def interval(resampled: np.ndarray) -> str:
    """`[69.10, 76.21]`"""
    low, high = 100 * np.nanquantile(resampled, INTERVAL)
    return f"[{low:.2f}, {high:.2f}]"


def draw(grid: Grid, lines: list[Line], path: Path) -> None:
    """The figure: curves of the rows against the first --vary, a panel for each value of the others; a single row has a curve
    for each. A row that chooses a varied option itself is level, or in all panels. Without numbers to draw against: dots.
    """
    metric, ((x, values), *others) = grid.args.metric, grid.args.vary or [("", [])]
    if not values or not all(map(is_number, values)):
        return figures.dots(path, {line.row.name: line.values(metric) for line in lines}, METRICS[metric])
    panels: dict[str, dict[str, list[tuple[float, np.ndarray]]]] = {}
    for panel in combinations(others):
        for line in lines:
            changes = line.row.changes
            if all(changes.get(name, value) == value for name, value in panel.items()):
                points = [(float(at), line.values(metric)) for at in ([changes[x]] if x in changes else values)]
                panels.setdefault(", ".join(named(panel)), {}).setdefault(line.row.base, []).extend(points)
    if len(grid.args.rows) == 1:
        (base,) = grid.args.rows
        panels = {"": {name or base: curves[base] for name, curves in panels.items()}}
    figures.curves_over(path, panels, x, METRICS[metric])


def is_number(text: str) -> bool:
    """Whether an option's value has a place on an axis."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
