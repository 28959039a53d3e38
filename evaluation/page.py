"""The report of a run: one HTML page with everything in it, and its figures as PNG files beside it.

The page needs no network and no other file; report.html is its frame. A timeline is drawn in frames.

Shapes: S snippets and F frames of all videos.
"""

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np

import smoothing
from evaluation import events, figures, tables
from evaluation.evaluate import Terms, errors_of, evaluate_all, frames_of
from evaluation.scores import Scores, columns_of, read_record
from files import atomic
from files.features import FRAMES_PER_SNIPPET
from files.folder import read_options

TEMPLATE = Path(__file__).with_name("report.html")
LAYERS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")  # exit layers, first to last, told apart in grey too


class Run(NamedTuple):
    """What a report is made of."""

    name: str
    scores: Scores
    logits: np.ndarray  # (S,)
    exit_layer: np.ndarray  # (S,)
    key: np.ndarray  # (S,)
    truth: np.ndarray  # (F,)
    options: dict[str, Any]
    history: list[dict]  # the evaluations of a training


def read_run(folder: Path) -> Run:
    """Read the folder of a run. Raises FileNotFoundError or ValueError where it is none, or of another version."""
    options, log = read_options(folder), folder / "log.jsonl"
    entries = map(json.loads, log.read_text().splitlines() if log.exists() else [])
    history = [entry for entry in entries if "auc" in entry]
    return Run(str(folder), *read_record(folder / "scores.npz"), options, history)


def write(folder: Path, evaluations: Mapping[str, dict] | None = None) -> Path:
    """Write `report.html` and the PNG files in `figures/` of a run's folder; returns the page's path.

    `evaluations`, by smoothing, are made here unless the test that just ran has them.
    """
    run = read_run(folder)
    columns = columns_of(run.scores.videos, run.logits, run.options)
    evaluations = evaluations or evaluate_all(columns, run.truth, Terms(run.options["fps"], run.options["false_alarms"]))
    first = next(iter(evaluations.values()))
    pictures = folder / "figures"
    pictures.mkdir(exist_ok=True)
    frames = frames_of(run.scores, run.truth)
    figures.roc_and_pr(pictures / "curves.png", {name: (scores.scores, *frames) for name, scores in columns.items()})
    shown = {"curves": "ROC and precision-recall curves of the frames"}
    if first["classes"]:
        figures.class_bars(pictures / "classes.png", first)
        shown["classes"] = "AUC by class"
    figures.score_distributions(pictures / "scores.png", run.scores.scores, *frames)
    shown["scores"] = "Distributions of the scores"
    if run.history:
        figures.training_curves(pictures / "training.png", run.history)
        shown["training"] = "Training curves"
    path = folder / "report.html"
    atomic.write_text(path, page(run, evaluations, {pictures / f"{name}.png": text for name, text in shown.items()}))
    return path


def page(run: Run, evaluations: Mapping[str, dict], pictures: Mapping[Path, str]) -> str:
    """The whole page."""
    first = next(iter(evaluations.values()))
    threshold = first["events"]["threshold"] if first["events"] else first["far_threshold"]
    cards = worst_first(run, threshold)
    head, *body = ([html.escape(cell) for cell in row] for row in tables.rows_of(evaluations))
    what = f"variant {run.options['variant']}, data set {run.options['data_set']}, {len(cards)} videos"
    return Template(TEMPLATE.read_text()).substitute(
        name=html.escape(run.name),
        what=html.escape(what),
        head="".join(f"<th>{cell}</th>" for cell in head),
        body="".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body),
        remark=html.escape(tables.remark(first)),
        pictures="".join(embedded(path, text) for path, text in pictures.items()),
        legend=legend(run, threshold),
        links="".join(f'<a href="#{card.id}">{html.escape(card.name)}</a>' for card in cards),
        cards="".join(card.content for card in cards),
    )


def embedded(path: Path, text: str) -> str:
    """A picture as part of the page."""
    return f'<figure><img alt="{text}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"></figure>'


def legend(run: Run, threshold: float) -> str:
    """What the timelines' colours mean."""
    layers = range(min(1, run.options["visual_layers"]), run.options["visual_layers"] + 1)
    entries = [
        ("#0072B2", "smoothed score"),
        ("#999", "the model's score"),
        ("#E69F0059", "anomalous in the ground truth"),
        *((colour_of(n, run), f"stopped at layer {n}") for n in layers),
    ]
    swatches = " ".join(f'<span><i class="swatch" style="background:{colour}"></i>{text}</span>' for colour, text in entries)
    return (
        f"{swatches}<br>Dashed: the threshold, {threshold:.3f}. Ticks: key clips. Times in minutes:seconds at "
        f"{run.options['fps']:g} frames a second. The error is the mean distance of a frame's score from its truth."
    )


class Card(NamedTuple):
    """One video's timeline."""

    id: str
    name: str
    error: float
    content: str


def worst_first(run: Run, threshold: float) -> list[Card]:
    """A timeline of every video, the one whose scores are farthest from its ground truth first."""
    n_snippets, n_frames = run.scores.n_snippets, run.scores.n_frames
    errors = errors_of(run.scores, run.truth)
    ends, frame_ends = np.cumsum(n_snippets), np.cumsum(n_frames)
    raw = smoothing.sigmoid(run.logits)
    cards = []
    for i, video in enumerate(run.scores.videos):
        here = slice(ends[i] - n_snippets[i], ends[i])
        scores = run.scores.scores[here]
        error = float(errors[i])
        truth = run.truth[frame_ends[i] - n_frames[i] : frame_ends[i]]
        kind = (" and ".join(video.classes or ()) or "anomalous") if truth.any() else "normal"
        seconds = n_frames[i] / run.options["fps"]
        text = html.escape(f"{video.name} {kind}".lower(), quote=True)
        times = "".join(f"<span>{clock(seconds * share)}</span>" for share in (0, 0.25, 0.5, 0.75, 1))
        name = html.escape(video.name)
        content = (
            f'<article id="v{i}" data-text="{text}" data-error="{error:.4f}" data-length="{n_snippets[i]}" '
            f'data-highest="{scores.max():.4f}"><header><b title="{name}">{name}</b>'
            f"<span>{html.escape(kind)}, error {error:.2f}</span></header>{timeline(raw[here], scores, truth, threshold)}"
            f"{bands(run.key[here], run.exit_layer[here], n_frames[i], run)}"
            f'<div class="time">{times}</div></article>'
        )
        cards.append(Card(f"v{i}", video.name, error, content))
    return sorted(cards, key=lambda card: -card.error)


def timeline(raw: np.ndarray, scores: np.ndarray, truth: np.ndarray, threshold: float) -> str:
    """The drawing of one video's scores: a frame is 1 wide, a score of 1 is 100 high."""
    length = len(truth)
    spans = events.runs(truth, np.array([length]))
    shaded = "".join(
        f'<rect class="truth" x="{start}" y="0" width="{end - start}" height="100"/>'
        for start, end in zip(spans.start, spans.end, strict=True)
    )
    level = f"{100 - 100 * threshold:.1f}"
    return (
        '<div class="plot"><div class="scale"><span>1</span><span>score</span><span>0</span></div>'
        f'<svg viewBox="0 0 {length} 100" preserveAspectRatio="none">{shaded}<path class="threshold" d="M0 {level}H{length}"/>'
        f'<path class="raw" d="{steps(raw, length)}"/><path class="smooth" d="{steps(scores, length)}"/></svg></div>'
    )


def steps(scores: np.ndarray, n_frames: int) -> str:
    """A curve that stays level for a snippet, as the commands of an SVG path: only where it changes is there a command."""
    heights = np.round(100 - 100 * scores).astype(int)
    changes = np.flatnonzero(np.diff(heights)) + 1
    return f"M0 {heights[0]}" + "".join(f"H{FRAMES_PER_SNIPPET * at}V{heights[at]}" for at in changes) + f"H{n_frames}"


def bands(key: np.ndarray, exit_layer: np.ndarray, n_frames: int, run: Run) -> str:
    """The drawing below a timeline: a tick at each key clip, and the layer at which each clip stopped."""
    starts = FRAMES_PER_SNIPPET * np.arange(len(key))
    ticks = "".join(f"M{starts[at]} 0V5" for at in range(0, len(key), run.options["attn_window"]) if key[at])
    changes = [0, *(np.flatnonzero(np.diff(exit_layer)) + 1)]
    layers = "".join(
        f'<rect x="{start}" y="7" width="{end - start}" height="7" style="fill:{colour_of(layer, run)}"/>'
        for start, end, layer in zip(starts[changes], [*starts[changes[1:]], n_frames], exit_layer[changes], strict=True)
    )
    return (
        f'<div class="plot"><div class="scale" style="height:14px"></div><svg class="bands" viewBox="0 0 {n_frames} 14" '
        f'preserveAspectRatio="none"><path class="key" d="{ticks}"/>{layers}</svg></div>'
    )


def colour_of(layer: int, run: Run) -> str:
    """The colour of an exit layer, the model's layers spread over the scale."""
    n_layers = max(2, run.options["visual_layers"])
    return LAYERS[round(max(0, layer - 1) * (len(LAYERS) - 1) / (n_layers - 1))]


def clock(seconds: float) -> str:
    """`2:05`"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
