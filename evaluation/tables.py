"""The figures of `evaluate.evaluate` as a table of text: for the terminal, and for the report."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from files import atomic
from files.features import FRAMES_PER_SNIPPET


def text(columns: Mapping[str, dict[str, Any]]) -> str:
    """The figures of one or more evaluations of the same videos side by side, as text."""
    return f"{aligned(rows_of(columns))}\n{remark(next(iter(columns.values())))}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table of text with its columns one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def rows_of(columns: Mapping[str, dict[str, Any]]) -> list[list[str]]:
    """The cells of that table, a row for each figure, in percent unless its name says what; first the columns' names."""
    first = next(iter(columns.values()))
    rows = [["", *columns], ["look-ahead", *(look_ahead(results) for results in columns.values())]]

    def row(name: str, of: Callable[[dict], dict | None], scale: float = 100.0) -> None:
        rows.append([name, *(cell(of(results), scale) for results in columns.values())])

    for suffix, where in (("", ""), ("_anomalous", ", anomalous videos")):
        row(f"AUC{where}", lambda r, s=suffix: r["auc" + s])
        row(f"AP, step-wise{where}", lambda r, s=suffix: r["ap" + s])
        row(f"AP, trapezoidal{where}", lambda r, s=suffix: r["ap_trapezoid" + s])
    row(f"false alarms at {first['far_threshold']}, of normal videos' frames", lambda r: r["far"])
    row("AUC of videos, by their maximum", lambda r: r["video_auc"])
    for name in (name for name in first if name.startswith("f1_")):
        what = f"F1 of {name.removeprefix('f1_')} at {first[name]['threshold']:.3f}, best on other videos"
        row(what, lambda r, n=name: r.get(n))
    for name, of_class in first["classes"].items():
        row(f"AUC, {name} ({of_class['n_videos']})", lambda r, n=name: r["classes"][n]["auc"])
    if first["events"]:
        row(f"events detected, of {first['events']['n_events']}", lambda r: r["events"]["detected"])
        row("  delay, median (s)", lambda r: r["events"]["delay_median"], 1)
        row("  delay, 90th percentile (s)", lambda r: r["events"]["delay_p90"], 1)
        row("  false alarms an hour of normal videos", lambda r: r["events"]["false_alarms_per_hour"], 1)
        row("  in alarm, of anomalous videos' normal frames", lambda r: r["events"]["alarmed_outside"])
        for least in first["events"]["ap_iou"]:
            row(f"AP of intervals, IoU {least}", lambda r, n=least: r["events"]["ap_iou"][n])
    return rows


def write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write a table of text, its first row the head, as its ending says: .csv, .md or .tex. Raises ValueError for another."""
    head, *body = rows
    frame = pd.DataFrame(body, columns=head)
    if path.suffix == ".csv":
        text = frame.to_csv(index=False, lineterminator="\n")
    elif path.suffix == ".md":
        text = markdown(rows)
    elif path.suffix == ".tex":
        text = frame.style.hide(axis="index").format_index(escape="latex", axis=1).format(escape="latex").to_latex(hrules=True)
    else:
        raise ValueError(f"{path}: a table ends in .csv, .md or .tex")
    atomic.write_text(path, text)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of text, its first row the head, in Markdown."""
    head, *body = ([cell.replace("|", "&#124;") for cell in row] for row in rows)
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *body))


def cell(figure: dict | None, scale: float) -> str:
    """`72.87 [69.10, 76.21]`, the mean of several seeds with its standard deviation: `72.87 ± 0.31 [69.10, 76.21]`."""
    if figure is None:
        return "-"
    interval = ", ".join(f"{scale * end:.2f}" for end in figure["interval"] or ()) or "-"
    deviation = f" ± {scale * figure['std']:.2f}" if "std" in figure else ""
    return f"{scale * figure['value']:.2f}{deviation} [{interval}]"


def look_ahead(results: dict[str, Any]) -> str:
    """`7 snippets (112 frames, 3.7 s)`"""
    n = results["look_ahead"]
    if n is None:
        return "not stated"
    frames = FRAMES_PER_SNIPPET * n
    return f"{n} snippets ({frames} frames, {frames / results['fps']:.1f} s)" if n else "none"


def remark(results: dict[str, Any]) -> str:
    """What the table's numbers mean."""
    n_videos = f"{results['n_videos']} videos, {results['n_normal_videos']} normal"
    if results["events"] is None:
        alarms = "No normal videos: no false alarms, and no threshold to detect events with."
    else:
        alarms = (
            "Events: the threshold is the lowest at which these normal videos raise "
            f"{results['events']['allowed_per_hour']:g} or fewer false alarms an\nhour, at {results['fps']:g} frames a second; "
            "delays are of the events detected, until the score exists."
        )
        if results["look_ahead"] is None:
            alarms += "\nThe scores do not state their look-ahead: delays are as if there was none."
    return f"{n_videos}. In brackets: 95 % intervals, by a bootstrap over videos.\n{alarms}"
