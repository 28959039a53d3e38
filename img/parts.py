"""Draw what parts are worth, of grids that ablate.py ran: `python img/parts.py runs/i3d runs/hockey` writes img/parts.png."""

import os
import sys
from pathlib import Path

os.environ.pop("MPLBACKEND", None)  # that of a notebook may not be installed here
import pandas as pd
from matplotlib.figure import Figure

BLUE, ORANGE = "#0072B2", "#D55E00"


def panel(axis, folder: Path, rows: list[str]) -> None:
    """One set: every seed of each row, and the row's mean."""
    cells = pd.read_csv(folder / "cells.csv").query("chosen")
    for i, row in enumerate(rows):
        values = 100 * cells.auc_unsmoothed[cells.row == row]
        axis.plot(values, [i] * len(values), "o", color=BLUE, markersize=6, fillstyle="none")
        axis.plot(values.mean(), i, "|", color=ORANGE, markersize=18, markeredgewidth=2.5)
        if len(values):
            axis.annotate(
                f"{values.mean():.1f}", (values.mean(), i), (0, 11), textcoords="offset points", ha="center", fontsize=9
            )
    axis.set(title=folder.name, xlabel="AUC of frames, unsmoothed (%)", ylim=(len(rows) - 0.5, -0.7))
    axis.set_yticks(range(len(rows)), rows)
    axis.grid(axis="y", linewidth=0.4)
    axis.spines[["top", "right"]].set_visible(False)


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]]
    lacking = [str(folder) for folder in folders if not (folder / "cells.csv").is_file()]
    if lacking or not folders:
        sys.exit(f"error: expected folders with the cells.csv that ablate.py writes, found {', '.join(lacking) or 'none'}")
    rows = list(dict.fromkeys(row for folder in folders for row in pd.read_csv(folder / "cells.csv").row))
    figure = Figure(figsize=(1.5 + 3.4 * len(folders), 1.3 + 0.5 * len(rows)))
    for axis, folder in zip(figure.subplots(1, len(folders), sharey=True, squeeze=False)[0], folders, strict=True):
        panel(axis, folder, rows)
    figure.text(0.995, 0.99, "circles: seeds; bars: their mean", ha="right", va="top", fontsize=9, color="#333333")
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    figure.savefig(Path(__file__).with_name("parts.png"), dpi=110)


if __name__ == "__main__":
    main()
