"""The report of a run, or of any method's scores: one HTML page with everything in it; its figures and two tables beside it.

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

import smoothing
from evaluation import events, figures, tables
from evaluation.comparison import kind_of
from evaluation.evaluate import errors_of, frames_of
from evaluation.figures import clock
from evaluation.source import Ours, Source, read_run
from files import atomic
from files.features import FRAMES_PER_SNIPPET

OUTPUTS = ("report.html", "videos.csv", "snippets.csv", "figures")
TEMPLATE = Path(__file__).with_name("report.html")
LAYERS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")  # exit layers, first to last, told apart in grey too


def write(folder: Path, evaluations: Mapping[str, dict]) -> Path:
    """Write the report of a run that has just been evaluated, by smoothing, to its folder; returns the page's path."""
    return write_report(folder, read_run(folder), evaluations)


def write_report(
    out_dir: Path,
    source: Source,
    evaluations: Mapping[str, dict],
    *,
    format: str = "png",
    width: float = figures.WIDTH,
    shown: Sequence[int] = (),
) -> Path:
    """Write `report.html`, `videos.csv`, `snippets.csv` and the figures, so many inches wide, of a source and its evaluations.

    The figures are in `figures/`: PNG files, which the page holds too, and where another format is asked for, in that one as
    well. shown: the videos of the figure `timelines`, if there are any. Returns the page's path.
    """
    first = next(iter(evaluations.values()))
    threshold = first["events"]["threshold"] if first["events"] else first["far_threshold"]
    folder = out_dir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for ending in dict.fromkeys((format, "png")):
        pictures = draw(folder, ending, source, first, threshold, width, shown)
    fps, record = source.terms.fps, source.ours and source.ours.record
    tables.write_csv(out_dir / "videos.csv", tables.of_videos(source.scores, source.truth, fps, threshold))
    tables.write_csv(out_dir / "snippets.csv", tables.of_snippets(source.scores, source.truth, fps, record))
    path = out_dir / "report.html"
    atomic.write_text(path, page(source, evaluations, threshold, pictures))
    return path


def draw(
    folder: Path, ending: str, source: Source, first: dict, threshold: float, width: float, shown: Sequence[int]
) -> dict[Path, str]:
    """Draw the figures; returns their paths, and what each shows."""
    scores, truth, drawn = source.scores, source.truth, {}
    frames = frames_of(scores, truth)

    def path(name: str, text: str) -> Path:
        drawn[folder / f"{name}.{ending}"] = text
        return folder / f"{name}.{ending}"

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


def page(source: Source, evaluations: Mapping[str, dict], threshold: float, pictures: Mapping[Path, str]) -> str:
    """The whole page."""
    cards = worst_first(source, threshold)
    head, *body = ([html.escape(cell) for cell in row] for row in tables.rows_of(evaluations))
    what = f"{len(cards)} videos"
    if source.ours:
        what = f"variant {source.ours.options['variant']}, data set {source.ours.options['data_set']}, {what}"
    return Template(TEMPLATE.read_text()).substitute(
        name=html.escape(source.name),
        what=html.escape(what),
        head="".join(f"<th>{cell}</th>" for cell in head),
        body="".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body),
        remark=html.escape(tables.remark(next(iter(evaluations.values())))),
        pictures="".join(embedded(path, text) for path, text in pictures.items()),
        legend=legend(source, threshold),
        links="".join(f'<a href="#{card.id}">{html.escape(card.name)}</a>' for card in cards),
        cards="".join(card.content for card in cards),
    )


def embedded(path: Path, text: str) -> str:
    """A picture as part of the page."""
    return f'<figure><img alt="{text}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"></figure>'


def legend(source: Source, threshold: float) -> str:
    """What the timelines' colours mean."""
    entries, ticks = [("#0072B2", "score"), ("#E69F0059", "anomalous in the ground truth")], ""
    if source.ours:
        n = source.ours.options["visual_layers"]
        layers = ((colour_of(layer, source.ours), f"stopped at layer {layer}") for layer in range(min(1, n), n + 1))
        entries, ticks = [*entries, ("#999", "the model's score, not smoothed"), *layers], " Ticks: key clips."
    swatches = " ".join(f'<span><i class="swatch" style="background:{colour}"></i>{text}</span>' for colour, text in entries)
    return (
        f"{swatches}<br>Dashed: the threshold, {threshold:.3f}.{ticks} Times in minutes:seconds at {source.terms.fps:g} frames "
        "a second. The error is the mean distance of a frame's score from its truth."
    )


class Card(NamedTuple):
    """One video's timeline."""

    id: str
    name: str
    error: float
    content: str


def worst_first(source: Source, threshold: float) -> list[Card]:
    """A timeline of every video, the one whose scores are farthest from its ground truth first."""
    n_snippets, n_frames = source.scores.n_snippets, source.scores.n_frames
    errors = errors_of(source.scores, source.truth)
    ends, frame_ends = np.cumsum(n_snippets), np.cumsum(n_frames)
    cards = []
    for i, video in enumerate(source.scores.videos):
        here = slice(ends[i] - n_snippets[i], ends[i])
        scores = source.scores.scores[here]
        error = float(errors[i])
        truth = source.truth[frame_ends[i] - n_frames[i] : frame_ends[i]]
        kind = kind_of(video.classes, truth)
        seconds = n_frames[i] / source.terms.fps
        text = html.escape(f"{video.name} {kind}".lower(), quote=True)
        times = "".join(f"<span>{clock(seconds * share)}</span>" for share in (0, 0.25, 0.5, 0.75, 1))
        name = html.escape(video.name)
        raw = smoothing.sigmoid(source.ours.record.logits[here]) if source.ours else None
        content = (
            f'<article id="v{i}" data-text="{text}" data-error="{error:.4f}" data-length="{n_snippets[i]}" '
            f'data-highest="{scores.max():.4f}"><header><b title="{name}">{name}</b>'
            f"<span>{html.escape(kind)}, error {error:.2f}</span></header>{timeline(raw, scores, truth, threshold)}"
            f'{bands(source.ours, here, n_frames[i]) if source.ours else ""}<div class="time">{times}</div></article>'
        )
        cards.append(Card(f"v{i}", video.name, error, content))
    return sorted(cards, key=lambda card: -card.error)


def timeline(raw: np.ndarray | None, scores: np.ndarray, truth: np.ndarray, threshold: float) -> str:
    """The drawing of one video's scores: a frame is 1 wide, a score of 1 is 100 high."""
    length = len(truth)
    spans = events.runs(truth, np.array([length]))
    shaded = "".join(
        f'<rect class="truth" x="{start}" y="0" width="{end - start}" height="100"/>'
        for start, end in zip(spans.start, spans.end, strict=True)
    )
    level = f"{100 - 100 * threshold:.1f}"
    behind = "" if raw is None else f'<path class="raw" d="{steps(raw, length)}"/>'
    return (
        '<div class="plot"><div class="scale"><span>1</span><span>score</span><span>0</span></div>'
        f'<svg viewBox="0 0 {length} 100" preserveAspectRatio="none">{shaded}<path class="threshold" d="M0 {level}H{length}"/>'
        f'{behind}<path class="smooth" d="{steps(scores, length)}"/></svg></div>'
    )


def steps(scores: np.ndarray, n_frames: int) -> str:
    """A curve that stays level for a snippet, as the commands of an SVG path: only where it changes is there a command."""
    heights = np.round(100 - 100 * scores).astype(int)
    changes = np.flatnonzero(np.diff(heights)) + 1
    return f"M0 {heights[0]}" + "".join(f"H{FRAMES_PER_SNIPPET * at}V{heights[at]}" for at in changes) + f"H{n_frames}"


def bands(ours: Ours, here: slice, n_frames: int) -> str:
    """The drawing below a timeline: a tick at each key clip, and the layer at which each clip stopped."""
    key, exit_layer = ours.record.key[here], ours.record.exit_layer[here]
    starts = FRAMES_PER_SNIPPET * np.arange(len(key))
    ticks = "".join(f"M{starts[at]} 0V5" for at in range(0, len(key), ours.options["attn_window"]) if key[at])
    changes = [0, *(np.flatnonzero(np.diff(exit_layer)) + 1)]
    layers = "".join(
        f'<rect x="{start}" y="7" width="{end - start}" height="7" style="fill:{colour_of(layer, ours)}"/>'
        for start, end, layer in zip(starts[changes], [*starts[changes[1:]], n_frames], exit_layer[changes], strict=True)
    )
    return (
        f'<div class="plot"><div class="scale" style="height:14px"></div><svg class="bands" viewBox="0 0 {n_frames} 14" '
        f'preserveAspectRatio="none"><path class="key" d="{ticks}"/>{layers}</svg></div>'
    )


def colour_of(layer: int, ours: Ours) -> str:
    """The colour of an exit layer, the model's layers spread over the scale."""
    n_layers = max(2, ours.options["visual_layers"])
    return LAYERS[round(max(0, layer - 1) * (len(LAYERS) - 1) / (n_layers - 1))]
