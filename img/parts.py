"""Draw what parts are worth, of grids that ablate.py ran, a panel for each set, of one or more of its grids:

    python img/parts.py I3D=runs/ours,runs/parts hockey=runs/hockey

writes img/parts.png.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from evaluation import figures, side_by_side
from experiments.rows import ROWS


def main() -> None:
    panels = {name: list(map(Path, paths.split(","))) for name, _, paths in (given.partition("=") for given in sys.argv[1:])}
    lacking = [str(path) for paths in panels.values() for path in paths if not (path / "cells.csv").is_file()]
    if lacking or not panels:
        what = "expected PANEL=FOLDER,... of folders with the cells.csv that ablate.py writes"
        sys.exit(f"error: {what}, found {', '.join(lacking) or 'none'}")
    cells = [pd.concat([pd.read_csv(path / "cells.csv") for path in paths]).query("chosen") for paths in panels.values()]
    for name, of_panel in zip(panels, cells, strict=True):
        if (twice := of_panel[of_panel.duplicated(["row", "seed"])]).size:
            sys.exit(f"error: {name} has seed {twice.seed.iloc[0]} of {twice.row.iloc[0]} twice; name grids that share no run")
    found = {row for of_grid in cells for row in of_grid.row}
    names = [row for row in ROWS if row in found] + sorted(found - ROWS.keys())
    size = 1.5 + 3.4 * len(panels), 1.3 + 0.5 * len(names)
    with figures.drawing(Path(__file__).with_name("parts.png"), size) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, title, of_grid in zip(axes, panels, cells, strict=True):
            of_rows = {name: 100 * of_grid.auc_unsmoothed[of_grid.row == name].to_numpy() for name in names}
            rows = {name: values if len(values) else np.array([np.nan]) for name, values in of_rows.items()}
            side_by_side.seeds_on(axis, rows, "AUC of frames, unsmoothed (%)")
            for i, values in enumerate(rows.values()):
                if np.isfinite(values).all():
                    at = values.mean(), i
                    axis.annotate(f"{at[0]:.1f}", at, (0, 10), textcoords="offset points", ha="center", fontsize=9)
            axis.set(title=title, ylim=(len(rows) - 0.5, -0.7))
        axes[-1].legend(*(part[:2] for part in axes[-1].get_legend_handles_labels()), frameon=False, fontsize=8,
                        loc="center left", bbox_to_anchor=(1, 0.5))  # fmt: skip


if __name__ == "__main__":
    main()
