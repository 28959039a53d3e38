"""The HTML page of a report: figures, tables and timelines in one file; beside it the figures, and two tables.

The page needs no network and no other file; report.html is its frame. A timeline is drawn in frames.

Shapes: S snippets and F frames of all videos.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np

from evaluation import events, figures, smoothing, tables, timeline
from evaluation.comparison import kind_of
from evaluation.evaluate import errors_of, frames_of
from evaluation.figures import clock
from evaluation.source import NO_TRUTH, Source
from files import atomic, folder
from files.features import FRAMES_PER_SNIPPET
from files.interrupt import SIGNALS

OUTPUTS = tuple(dict.fromkeys(name.partition("/")[0] for name in folder.OF_REPORTS))
TEMPLATE, TITLE = Path(__file__).with_name("report.html"), b"<title>Report: "
ORDERS = {"highest": "highest score first", "length": "longest first", "text": "by name"}


def write_report(
    out_dir: Path,
    source: Source,
    evaluations: Mapping[str, dict],
    *,
    format: str = "png",
    width: float = figures.WIDTH,
    shown: Sequence[int] = (),
) -> Path:
    """Write `report.html`, `videos.csv`, `snippets.csv` and the figures, so many inches wide, of a source and its evaluations,
    which are none where there is no ground truth; they come into the folder together, at the end.

    The figures are in `figures/`: PNG files, which the page holds too, and where another format is asked for, in that one as
    well. shown: the videos of the figure `timelines`, if there are any. Returns the page's path.
    """
    first, threshold, pictures = next(iter(evaluations.values()), None), None, {}
    if first:
        threshold = first["events"]["threshold"] if first["events"] else first["far_threshold"]
    out_dir.mkdir(parents=True, exist_ok=True)
    fps, record = source.terms.fps, source.ours and source.ours.record
    with SIGNALS, folder.staged(out_dir, name=folder.REPORT) as new:
        if first or shown:
            (new / "figures").mkdir()
        for ending in dict.fromkeys((format, "png")):
            pictures = draw(new / "figures", ending, source, first, threshold, width, shown)
        tables.write_csv(new / "videos.csv", tables.of_videos(source.scores, source.truth, fps, threshold))
        tables.write_csv(new / "snippets.csv", tables.of_snippets(source.scores, source.truth, fps, record))
        atomic.write_text(new / "report.html", page(source, evaluations, threshold, pictures))
    return out_dir / "report.html"


def files_in(out_dir: Path) -> list[Path]:
    """What a report may write there."""
    return [out_dir / name for name in folder.OF_REPORTS]


def draw(
    into: Path,
    ending: str,
    source: Source,
    first: dict | None,
    threshold: float | None,
    width: float,
    shown: Sequence[int],
) -> dict[Path, str]:
    """Draw the figures, without a first evaluation those of scores alone; returns their paths, and what each shows."""
    scores, truth, drawn = source.scores, source.truth, {}

    def path(name: str, text: str) -> Path:
        drawn[into / f"{name}.{ending}"] = text
        return into / f"{name}.{ending}"

    if first:
        frames = frames_of(scores, truth)
        columns = {name: (column.scores, *frames) for name, column in source.columns.items()}
        figures.roc_and_pr(path("curves", "ROC and precision-recall curves of the frames"), columns, width)
        if first["classes"]:
            figures.class_bars(path("classes", "AUC by class"), first, width)
        figures.score_distributions(path("scores", "Distributions of the scores"), scores.scores, *frames, width)
    if source.ours and source.ours.history:
        figures.training_curves(path("training", "Training curves"), source.ours.history, width)
    if shown:
        how = {"shown": shown, "threshold": threshold, "fps": source.terms.fps, "width": width}
        figures.timelines(path("timelines", "Scores over time"), scores.videos, scores.scores, truth, **how)
    return drawn


def page(source: Source, evaluations: Mapping[str, dict], threshold: float | None, pictures: Mapping[Path, str]) -> str:
    """The whole page."""
    cards = worst_first(source, threshold)
    what = f"{len(cards)} videos"
    if source.ours and source.ours.options:
        what = f"variant {source.ours.options['variant']}, data set {source.ours.options['data_set']}, {what}"
    if source.truth is None:
        what = f"{what}; {NO_TRUTH}"
    order = "highest score first" if source.truth is None else "worst first"
    drawn = f'<div class="figures">{"".join(embedded(path, text) for path, text in pictures.items())}</div>'
    shown = f"{table_of(evaluations)}{drawn}" if evaluations else drawn if pictures else ""
    return framed(
        name=html.escape(source.name),
        what=html.escape(what),
        before=f'{shown}<h2>Videos, {order}</h2><p class="legend">{legend(source, threshold)}</p>',
        orders=ORDERS if source.truth is None else {"error": "worst first"} | ORDERS,
        links="".join(f'<a href="#{card.id}">{html.escape(card.name)}</a>' for card in cards),
        cards="".join(card.content for card in cards),
    )


def framed(
    *,
    orders: Mapping[str, str],
    unit: str = "videos",
    hint: str = "name or class",
    between: str = "",
    after: str = "",
    **parts: str,
) -> str:
    """A page of this kind: `before` the search, `between` that and the videos, `after` them; orders: of the videos, by key."""
    options = "".join(f'<option value="{key}">{text}</option>' for key, text in orders.items())
    frame = Template(TEMPLATE.read_text(encoding="utf-8"))
    return frame.substitute(orders=options, unit=unit, hint=hint, between=between, after=after, **parts)


def table_of(evaluations: Mapping[str, dict]) -> str:
    """The table of the figures."""
    head, *body = ([html.escape(cell) for cell in row] for row in tables.rows_of(evaluations))
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body)
    return (
        f'<h2>Figures (%, unless they say what)</h2><div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div><p>{html.escape(tables.remark(evaluations))}</p>"
    )


def embedded(path: Path, text: str) -> str:
    """A picture as part of the page."""
    return f'<figure><img alt="{text}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"></figure>'


def legend(source: Source, threshold: float | None) -> str:
    """What the timelines' colours mean."""
    entries, bars = [("var(--blue)", "score")], ""
    if source.truth is not None:
        entries.append(("#E69F0059", "anomalous in the ground truth"))
    if source.ours:
        entries.append(("#999", "the model's score, not smoothed"))
        bars = f" {timeline.of_bars(source.ours.n_layers)}"
    dashed = "" if threshold is None else f"Dashed: the threshold, {threshold:.3f}."
    error = "" if source.truth is None else " The error is the mean distance of a frame's score from its truth."
    return (
        f"{timeline.swatches(entries, source.ours and source.ours.n_layers)}<br>{dashed}{bars} Times in minutes:seconds at "
        f"{source.terms.fps:g} frames a second.{error}"
    )


class Card(NamedTuple):
    """One video's timeline."""

    id: str
    name: str
    rank: float  # its error; without ground truth its highest score
    content: str


def worst_first(source: Source, threshold: float | None) -> list[Card]:
    """A timeline of every video, the one whose scores are farthest from its ground truth first; without one, the highest."""
    n_snippets, n_frames = source.scores.n_snippets, source.scores.n_frames
    ends, frame_ends = np.cumsum(n_snippets), np.cumsum(n_frames)
    errors = None if source.truth is None else errors_of(source.scores, source.truth)
    cards = []
    for i, video in enumerate(source.scores.videos):
        here = slice(ends[i] - n_snippets[i], ends[i])
        highest = source.scores.scores[here].max()
        if errors is None:
            truth, kind, said = None, video.label, f"highest {highest:.2f}"
        else:
            truth = source.truth[frame_ends[i] - n_frames[i] : frame_ends[i]]
            kind, said = kind_of(video.classes, truth), f"error {errors[i]:.2f}"
        text = html.escape(f"{video.name} {kind}".strip().lower(), quote=True)
        name = html.escape(video.name)
        error = "" if errors is None else f' data-error="{errors[i]:.4f}"'
        content = (
            f'<article id="v{i}" data-text="{text}"{error} data-length="{n_snippets[i]}" data-highest="{highest:.4f}">'
            f'<header><b title="{name}">{name}</b><span>{html.escape(", ".join(filter(None, (kind, said))))}</span></header>'
            f"{drawing(source, here, n_frames[i], truth, threshold)}</article>"
        )
        cards.append(Card(f"v{i}", video.name, highest if errors is None else errors[i], content))
    return sorted(cards, key=lambda card: -card.rank)


def drawing(source: Source, here: slice, n_frames: int, truth: np.ndarray | None, threshold: float | None) -> str:
    """The drawing of one video, whose snippets are `here`: a frame is 1 wide."""
    scores, record = source.scores.scores[here], source.ours and source.ours.record
    starts = FRAMES_PER_SNIPPET * np.arange(len(scores))
    ends = np.append(starts[1:], n_frames)
    spans = () if truth is None else events.runs(truth, np.array([n_frames]))[1:]
    shaded = "".join(
        f'<rect class="truth" x="{start}" y="0" width="{end - start}" height="100"/>' for start, end in zip(*spans, strict=True)
    )
    curves = [("raw", timeline.steps(smoothing.sigmoid(record.logits[here]), starts, ends))] if record else []
    curves.append(("smooth", timeline.steps(scores, starts, ends)))
    below = (record.key[here], record.exit_layer[here], starts, ends) if record else ()
    seconds = n_frames / source.terms.fps
    return (
        timeline.plot(n_frames, curves, threshold, shaded)
        + (timeline.bands(*below, n_layers=source.ours.n_layers) if record else "")
        + timeline.times(clock(seconds * share) for share in (0, 0.25, 0.5, 0.75, 1))
    )
