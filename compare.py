"""What a grid of runs found: every cell in a CSV file, a Markdown table of its rows, and a figure."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

import figures
import metrics
from bootstrap import INTERVAL, Bootstrap
from curves import areas, resampled_areas
from grid import Cell, Grid, Row, named
from scores import checked, from_logits, read_arrays

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


class Found(NamedTuple):
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
        return np.array([100 * cell[name] for cell in self.cells])


def read_cell(cell: Cell) -> Found:
    """What a cell says. Raises ValueError where its files are damaged."""
    results, options = cell.read("results.json"), cell.read("options.json")
    arrays = read_arrays(cell.folder / "scores.npz")
    found = checked(arrays, cell.folder / "scores.npz")
    best, last = results.get("best", results), results.get("last", results)
    try:
        frames = metrics.frames_of(found, arrays["truth"])
        causal, unsmoothed = (from_logits(found.videos, arrays["logits"], options, kind) for kind in ("causal", "none"))
        line = {
            "row": cell.row.base,
            **cell.row.changes,
            **cell.tuning,
            "seed": cell.seed,
            **({"selected_by": results["selected_by"], "step": best["step"]} if "best" in results else {}),
            "auc": float(best["auc"]),
            "auc_causal": areas(causal.scores, *frames).auc,
            "auc_unsmoothed": areas(unsmoothed.scores, *frames).auc,
            "ap": float(best["ap"]),
            "video_auc": areas(*metrics.by_video(found, frames[0])).auc,
            **{f"auc_{name}": float(results[name]["auc"]) for name in ("last", "best_on_test") if name in results},
            "video_auc_topk": float(last["video_auc_topk"]),
            "wall_seconds": cell.read("cell.json").get("wall_seconds"),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{cell.folder}: damaged ({error!r}); delete it to run it again") from None
    resampled = resampled_areas(found.scores, *frames, found.video, Bootstrap(len(found.videos)).weights).auc
    return Found(line, resampled, [(video.name, video.n_snippets) for video in found.videos])


def read_cells(grid: Grid) -> dict[Path, Found]:
    """What every cell says, those that were only run to tune included, by its folder."""
    cells = {cell.folder: cell for row in grid.rows for cell in [*grid.first(row), *grid.chosen(row)]}
    return {folder: read_cell(cell) for folder, cell in cells.items()}


def lines_of(grid: Grid, of_cells: Mapping[Path, Found]) -> list[Line]:
    """The results of every row."""
    lines = []
    for row in grid.rows:
        cells = grid.chosen(row)
        found = [of_cells[cell.folder] for cell in cells]
        tuned, resampled = ", ".join(named(cells[0].tuning)), np.mean([cell.resampled for cell in found], 0)
        lines.append(Line(row, tuned, [cell.figures for cell in found], resampled, found[0].test_set))
    return lines


def to_csv(of_cells: Mapping[Path, Found]) -> str:
    """Every cell, a line each."""
    rows = [found.figures for found in of_cells.values()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_markdown(lines: list[Line], metric: str) -> str:
    """The table, the metric first: mean ± standard deviation over the seeds, 95 % intervals of the AUC over the videos."""
    tuned = bool(lines[0].tuned)
    columns = COLUMNS if metric in COLUMNS.values() else {METRICS[metric]: metric} | COLUMNS
    columns = {name: key for name, key in columns.items() if key in lines[0].cells[0]}
    head = ["", *(["tuned"] if tuned else []), "n", *columns, "AUC, interval", f"AUC less {lines[0].row.name}'s, interval"]
    rows = [head, ["---"] * len(head)]
    for line in lines:
        spread = [mean_and_std(line.values(key)) for key in columns.values()]
        difference = line.values("auc").mean() - lines[0].values("auc").mean()
        paired = f"{difference:+.2f} {interval(line.resampled - lines[0].resampled)}"
        comparable = line is not lines[0] and line.test_set == lines[0].test_set
        tuning = [line.tuned] if tuned else []
        of_auc = [interval(line.resampled), paired if comparable else ""]
        rows.append([line.row.name, *tuning, str(len(line.cells)), *spread, *of_auc])
    chosen = lines[0].cells[0].get("selected_by")
    note = f"\nAUC, its interval and AP are of the weights selected by {chosen}.\n" if chosen else ""
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n" + note


def mean_and_std(values: np.ndarray) -> str:
    """`72.87 ± 0.31`; of one value there is no deviation."""
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}" if len(values) > 1 else f"{values.mean():.2f}"


def interval(resampled: np.ndarray) -> str:
    """`[69.10, 76.21]`"""
    low, high = 100 * np.nanquantile(resampled, INTERVAL)
    return f"[{low:.2f}, {high:.2f}]"


def draw(grid: Grid, lines: list[Line], path: Path) -> None:
    """The figure: curves of the rows against the first --vary, a panel for each value of the others; a single row has a curve
    for each. Where the first has no numbers, or there is none: a dot for every run.
    """
    metric = grid.args.metric
    x = grid.args.vary[0][0] if grid.args.vary else None
    panels: dict[str, dict[str, list[tuple[float, np.ndarray]]]] = {}
    for line in lines:
        changes = dict(line.row.changes)
        at = changes.pop(x, None)
        try:
            point = float(at), line.values(metric)
        except (TypeError, ValueError):  # nothing is varied, or not in numbers
            figures.dots(path, {line.row.name: line.values(metric) for line in lines}, METRICS[metric])
            return
        panel, curve = ", ".join(named(changes)), line.row.base
        if len(grid.args.rows) == 1:
            panel, curve = "", panel or curve
        panels.setdefault(panel, {}).setdefault(curve, []).append(point)
    everywhere = panels.pop("", {}) if len(panels) > 1 else {}  # rows that choose the other options themselves
    figures.curves_over(path, {name: curves | everywhere for name, curves in panels.items()}, x, METRICS[metric])
