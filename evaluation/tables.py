"""Tables: the figures of `evaluate.evaluate` as text, for the terminal, the report and papers; and what each video got.

pandas is imported only where a file is written: a test prints its table without.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation import curves, events
from evaluation.evaluate import errors_of, frames_of
from evaluation.scores import Record, Scores
from files import atomic, folder
from files.features import FRAMES_PER_SNIPPET

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".csv", ".md", ".tex")
LATEX = str.maketrans({char: f"\\{char}" for char in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^":
                       r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"})  # fmt: skip


def text(columns: Mapping[str, dict[str, Any]]) -> str:
    """The figures of one or more evaluations of the same videos side by side, as text."""
    return f"{aligned(rows_of(columns))}\n{remark(columns)}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table of text with its columns one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def rows_of(columns: Mapping[str, dict[str, Any]]) -> list[list[str]]:
    """The cells of that table, a row for each figure, in percent unless it says what; first the columns' names."""
    first = next(iter(columns.values()))
    rows = [["%", *columns], ["look-ahead", *(look_ahead(results) for results in columns.values())]]

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
        row(f"AUC, {name} ({of_class['n_videos']}) against all normal", lambda r, n=name: r["classes"][n]["auc"])
    if first["events"]:
        row(f"events detected, of {first['events']['n_events']}", lambda r: r["events"]["detected"])
        row("  delay, median (s)", lambda r: r["events"]["delay_median"], 1)
        row("  delay, 90th percentile (s)", lambda r: r["events"]["delay_p90"], 1)
        row("  false alarms an hour of normal videos", lambda r: r["events"]["false_alarms_per_hour"], 1)
        row("  in alarm, of anomalous videos' normal frames", lambda r: r["events"]["alarmed_outside"])
        for least in first["events"]["ap_iou"]:
            row(f"AP of intervals, IoU {least}", lambda r, n=least: r["events"]["ap_iou"][n])
    return rows


def output(path: str | Path, endings: Sequence[str], inputs: Iterable[str | Path | None], flag: str) -> Path:
    """A file that is to be written. Raises ValueError or OSError where it has another ending, is an input, or cannot be."""
    path = Path(path)
    if path.resolve() in [Path(other).resolve() for other in inputs if other]:
        raise ValueError(f"{path}: it would replace an input, or another output; name another file with {flag}")
    if path.suffix.lower() not in endings:
        raise ValueError(f"{path}: expected a file that ends in {' or '.join(endings)}; name another with {flag}")
    folder.require_writable([path], flag)
    return path


def write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write a table of text, its first row the head, as its ending says: one of ENDINGS."""
    import pandas as pd

    path.parent.mkdir(parents=True, exist_ok=True)
    head, *body = rows
    ending = path.suffix.lower()
    if ending == ".csv":
        write_csv(path, pd.DataFrame(body, columns=head))
    else:
        atomic.write_text(path, (markdown if ending == ".md" else latex)(rows))


def write_csv(path: Path, frame: "pd.DataFrame") -> None:
    """Write a table of numbers."""
    atomic.write_text(path, frame.to_csv(index=False, lineterminator="\n", float_format="%.8g"))


def latex(rows: Sequence[Sequence[str]]) -> str:
    """A table of text, its first row the head, in LaTeX with the package booktabs."""
    lines = [" & ".join(latex_cell(cell) for cell in row) + r" \\" for row in rows]
    lines = [rf"\begin{{tabular}}{{{'l' * len(rows[0])}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}", ""])


def latex_cell(cell: str) -> str:
    """`  F1 [%]` -> `\\quad F1 [\\%]`; one that begins with a bracket is kept from the line break before it."""
    text = cell.strip().translate(LATEX)
    return (r"\quad " if cell.startswith(" ") else "") + ("{}" if text.startswith("[") else "") + text


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


def remark(columns: Mapping[str, dict[str, Any]]) -> str:
    """What the numbers of a table mean, of one set of videos."""
    results = next(iter(columns.values()))
    n_videos = f"{results['n_videos']} videos, {results['n_normal_videos']} normal"
    if results["events"] is None:
        alarms = "No normal videos: no false alarms, and no threshold to detect events with."
    else:
        alarms = (
            "Events: the threshold is the lowest at which these normal videos raise "
            f"{results['events']['allowed_per_hour']:g} or fewer false alarms an\nhour, at {results['fps']:g} frames a second; "
            "delays are of the events detected, until the score exists."
        )
        if unstated := [name for name, of in columns.items() if of["look_ahead"] is None]:
            alarms += f"\nThe look-ahead of {', '.join(unstated)} is not stated: its delays are as if there was none."
    return f"{n_videos}. In brackets: 95 % intervals, by a bootstrap over videos.\n{alarms}"


def of_videos(scores: Scores, truth: np.ndarray | None, fps: float, threshold: float | None) -> "pd.DataFrame":
    """A row for each video: what it is, its scores, and where there is a truth, its events above a threshold.

    Means are over frames, times in seconds; `auc` is that within the video, none where all its frames are of a kind;
    `first_delay` is of the first event that is detected.
    """
    import pandas as pd

    anomalous, normal = frames_of(scores, np.zeros(scores.n_frames.sum()) if truth is None else truth)
    n_videos, ends = len(scores.videos), np.cumsum(scores.n_snippets)[:-1]
    columns = {
        "video": [video.name for video in scores.videos],
        "label": [video.label for video in scores.videos],
        "classes": ["; ".join(video.classes or ()) for video in scores.videos],
        "snippets": scores.n_snippets,
        "frames": scores.n_frames,
        "seconds": scores.n_frames / fps,
        "anomalous_frames": np.bincount(scores.video, anomalous).astype(int),
        "largest_score": [of_video.max() for of_video in np.split(scores.scores, ends)],
        "mean_score": np.bincount(scores.video, (anomalous + normal) * scores.scores) / scores.n_frames,
    }
    if truth is None:
        del columns["anomalous_frames"]
        return pd.DataFrame(columns)
    per_video = zip(*(np.split(of, ends) for of in (scores.scores, anomalous, normal)), strict=True)
    happened = events.runs(truth, scores.n_frames)
    delays = events.delays(happened, scores.scores > threshold, scores.n_snippets, scores.seen, scores.n_frames) / fps
    found = np.isfinite(delays)
    first = pd.Series(delays[found]).groupby(happened.video[found]).first()
    return pd.DataFrame(columns | {
        "error": errors_of(scores, truth),
        "auc": [curves.areas(*of_video).auc for of_video in per_video],
        "events": np.bincount(happened.video, minlength=n_videos),
        "events_detected": np.bincount(happened.video[found], minlength=n_videos),
        "first_delay": first.reindex(range(n_videos)),
    })  # fmt: skip


def of_snippets(scores: Scores, truth: np.ndarray | None, fps: float | np.ndarray, record: Record | None) -> "pd.DataFrame":
    """A row for each snippet: its video, where it lies in seconds, its score, the share of its frames that are anomalous where
    there is a truth, and what a test of ours says beside. fps: frames a second, of all, or (V,) of each video.
    """
    import pandas as pd

    n_snippets = scores.n_snippets
    fps = np.broadcast_to(fps, len(scores.videos))[scores.video]
    anomalous, normal = frames_of(scores, np.zeros(scores.n_frames.sum()) if truth is None else truth)
    snippet = np.concatenate([np.arange(n) for n in n_snippets])
    start = FRAMES_PER_SNIPPET * snippet
    columns = {
        "video": np.array([video.name for video in scores.videos])[scores.video],
        "snippet": snippet,
        "start": start / fps,
        "end": (start + anomalous + normal) / fps,
        "score": scores.scores,
    }
    if truth is not None:
        columns["anomalous"] = anomalous / (anomalous + normal)
    if record:
        columns |= {"logit": record.logits, "exit_layer": record.exit_layer, "key": record.key.astype(int)}
    return pd.DataFrame(columns)
