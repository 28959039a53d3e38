"""What came of a grid of runs: every cell in a CSV file, tables of its rows and of their differences, and a figure."""

import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import option
from evaluation import evaluate, side_by_side, tables
from evaluation.bootstrap import Bootstrap, unthreaded
from evaluation.comparison import difference, signed, summary
from evaluation.scores import from_logits
from evaluation.scores_file import read_record
from experiments.cell import checkpoint_in
from experiments.grid import Cell, Grid, Row, combinations, named
from experiments.rows import ROWS, changes_of, options_of, what_it_is

METRICS = {  # what the figure can show
    "auc": "AUC (%)",
    "ap": "AP (%)",
    "auc_causal": "AUC, causal smoothing (%)",
    "video_auc": "AUC of videos, by their maximum (%)",
    "video_auc_topk": "AUC of videos, top-k mean, last epoch (%)",
}
COLUMNS = {  # of the tables: name -> key of a metric
    "AUC": "auc",
    "causal": "auc_causal",
    "unsmoothed": "auc_unsmoothed",
    "AP": "ap",
    "last epoch": "auc_last",
    "best on test": "auc_best_on_test",
}
TABLES, ENDINGS = ("table", "differences"), ("md", "csv", "tex")
OUTPUTS = ("cells.csv", *(f"{name}.{ending}" for name in TABLES for ending in ENDINGS), "figure.png")


class Outcome(NamedTuple):
    """What a cell says."""

    line: dict  # of the CSV file
    metrics: dict[str, np.ndarray]  # (1 + R,) as `Bootstrap` resamples; (1,) of weights whose scores are not kept
    options: dict[str, Any]
    test_set: tuple[Any, ...]  # what says whether two are of the same: videos' names, snippets and frames, ground truth


class Line(NamedTuple):
    """A row's results."""

    called: str  # what its options make it
    name: str  # that, and what was varied
    row: Row
    tuned: str
    selected_by: str
    metrics: dict[str, np.ndarray]  # (N, 1 + R) a seed each, or (N, 1)
    test_set: tuple[Any, ...]

    @property
    def n_seeds(self) -> int:
        return len(self.metrics["auc"])

    def values(self, name: str) -> np.ndarray:
        """(N,) in percent; NaN where it is not defined."""
        return 100 * self.metrics[name][:, 0]


def read_cell(cell: Cell) -> Outcome:
    """What a cell says. Raises ValueError or FileNotFoundError where one of its files is damaged or missing."""
    results, options = cell.read("results.json"), options_of(cell.folder)
    last = results.get("last", results)
    scores, logits, *_, truth = read_record(cell.folder / "scores.npz")
    (anomalous, normal), bootstrap = evaluate.frames_of(scores, truth), Bootstrap(len(scores.videos))
    ways = [from_logits(scores.videos, logits, options, kind).scores for kind in ("causal", "none")]
    smoothed, causal, unsmoothed = (bootstrap.areas(of, anomalous, normal, scores.video) for of in (scores.scores, *ways))
    metrics = {
        "auc": smoothed["auc"],
        "auc_causal": causal["auc"],
        "auc_unsmoothed": unsmoothed["auc"],
        "ap": smoothed["ap"],
        "video_auc": bootstrap.areas(*evaluate.by_video(scores, anomalous), np.arange(len(scores.videos)))["auc"],
        **{f"auc_{name}": np.array([results[name]["auc"]]) for name in ("last", "best_on_test") if name in results},
        "video_auc_topk": np.array([last["video_auc_topk"]], float),
    }
    line = {
        "row": cell.row.base,
        **cell.row.changes,
        **cell.tuning,
        "seed": cell.seed,
        **({"selected_by": results["selected_by"], "step": results["best"]["step"]} if "best" in results else {}),
        **{name: results["best"][name] for name in ("val_auc", "val_ap") if name in results.get("best", {})},
        **{name: float(values[0]) for name, values in metrics.items()},
        "wall_seconds": cell.read("cell.json")["wall_seconds"],
    }
    test_set = (*((video.name, video.n_snippets, video.n_frames) for video in scores.videos), zlib.crc32(truth.tobytes()))
    return Outcome(line, metrics, options, test_set)


@unthreaded
def read_cells(grid: Grid) -> dict[Path, Outcome]:
    """What every cell says, those that were only run to tune included, by its folder."""
    return {cell.folder: read_cell(cell) for cell in grid.cells}


def others(out_dir: Path, outcomes: Mapping[Path, Outcome]) -> list[str]:
    """The finished runs in this folder that are none of these."""
    found = sorted(path.parent for path in out_dir.rglob("cell.json") if path.parent not in outcomes)
    return [str(path.relative_to(out_dir)) for path in found]


def lines_of(grid: Grid, outcomes: Mapping[Path, Outcome]) -> list[Line]:
    """The results of every row."""
    lines = []
    for row in grid.rows:
        cells = grid.chosen(row)
        seeds = [outcomes[cell.folder] for cell in cells]
        metrics = {name: np.stack([seed.metrics[name] for seed in seeds]) for name in seeds[0].metrics}
        selected_by, tuned = seeds[0].line.get("selected_by", ""), ", ".join(named(cells[0].tuning))
        called = what_a_row_is(grid, cells[0], seeds[0].options)
        name = ", ".join([called, *named(without_checkpoint(row.changes, grid.flags))])
        lines.append(Line(called, name, row, tuned, selected_by, metrics, seeds[0].test_set))
    times = Counter(line.name for line in lines)
    whole = [", ".join([line.called, *named(line.row.changes)]) for line in lines]
    return [line if times[line.name] == 1 else line._replace(name=name) for line, name in zip(lines, whole, strict=True)]


def what_a_row_is(grid: Grid, cell: Cell, options: Mapping[str, Any]) -> str:
    """What a row's options make it. Those that are varied or tuned are said beside it, those of all rows only of a variant."""
    same = {option.dashed(flag).partition("=")[0].removeprefix("--").removeprefix("no-") for flag in grid.flags}
    same = {name.replace("-", "_") for name in same}
    own = changes_of(ROWS[cell.row.base])  # what the row sets it is called by, varied or not
    same -= option.PAPER.keys() | own.keys()
    elsewhere = same | {name.replace("-", "_") for name in (*cell.row.changes, *cell.tuning)}
    return what_it_is({name: value for name, value in options.items() if name not in elsewhere} | own)[0]


def without_checkpoint(changes: Mapping[str, str], flags: Sequence[str]) -> dict[str, str]:
    """What was varied, but for what names the checkpoint to test: that a row is called by what it is says it."""
    path = checkpoint_in(flags)
    return {name: value for name, value in changes.items() if name != "model-path" and f"{{{name}}}" not in path}


def to_csv(grid: Grid, outcomes: Mapping[Path, Outcome]) -> str:
    """Every cell, a line each, and whether its tuned values are those that were chosen."""
    chosen = {cell.folder for row in grid.rows for cell in grid.chosen(row)}
    return pd.DataFrame([of.line | {"chosen": folder in chosen} for folder, of in outcomes.items()]).to_csv(index=False)


def tables_of(lines: Sequence[Line], metric: str) -> tuple[list[list[str]], list[list[str]]]:
    """The table of the rows' figures, the metric first, and that of their differences to the first row.

    AUC, its smoothings and AP are of the weights that were selected.
    """
    head = lines[0]
    first = next((name for name, key in COLUMNS.items() if key == metric), METRICS[metric])
    columns = {name: key for name, key in ({first: metric} | COLUMNS).items() if key in head.metrics}
    about = {"tuned": [line.tuned for line in lines], "selected by": [line.selected_by for line in lines]}
    about = {name: cells for name, cells in about.items() if any(cells)} | {"n": [str(line.n_seeds) for line in lines]}
    figures = [["", *about, *columns]]
    differences = [[f"less {head.name}", *columns]]
    for line, *said in zip(lines, *about.values(), strict=True):
        figures.append([line.name, *said, *(text_of(summary(line.metrics[key])) for key in columns.values())])
        if line is not head and line.test_set == head.test_set:
            paired = (difference(line.metrics[key], head.metrics[key]) for key in columns.values())
            differences.append([line.name, *(signed(text_of(figure)) for figure in paired)])
    return figures, differences


def on_others(lines: Sequence[Line]) -> list[str]:
    """The rows without a difference to the first."""
    return [line.name for line in lines if line.test_set != lines[0].test_set]


def text_of(figure: dict[str, Any] | None) -> str:
    """`72.87 ± 0.31 [69.10, 76.21]` in percent; without the interval where there is none."""
    return tables.cell(figure, 100).removesuffix(" [-]")


def draw(grid: Grid, lines: list[Line], path: Path) -> None:
    """The figure: curves of the rows against the first --vary, a panel for each value of the others; a single row has a curve
    for each. A row that chooses a varied option itself is level, or in all panels. Without numbers to draw against: dots.
    """
    metric, ((x, values), *others) = grid.args.metric, grid.args.vary or [("", [])]
    if not values or not all(map(is_number, values)):
        return side_by_side.dots(path, {line.name: line.values(metric) for line in lines}, METRICS[metric])
    panels: dict[str, dict[str, list[tuple[float, np.ndarray]]]] = {}
    for panel in combinations(others):
        for line in lines:
            changes = line.row.changes
            if all(changes.get(name, value) == value for name, value in panel.items()):
                points = [(float(at), line.values(metric)) for at in ([changes[x]] if x in changes else values)]
                panels.setdefault(", ".join(named(panel)), {}).setdefault(line.called, []).extend(points)
    if len(grid.args.rows) == 1:
        curves = [(title, called, points) for title, of_panel in panels.items() for called, points in of_panel.items()]
        apart = len({called for _, called, _ in curves}) == len(curves)
        panels = {"": {called if apart else title: points for title, called, points in curves}}
    side_by_side.curves_over(path, panels, x, METRICS[metric])


def is_number(text: str) -> bool:
    """Whether an option's value has a place on an axis."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
