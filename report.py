"""The report of a run: one HTML page with everything in it, and its figures as PNG files beside it.

    python report.py RUN_DIR

RUN_DIR is the folder of a test or of a training. The page needs no network and no other file.
"""

import base64
import html
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np

import atomic
import events
import figures
import metrics
import smoothing
from option import Parser
from scores import Scores, from_logits, read_arrays, read_scores
from videos import FRAMES_PER_SNIPPET, classes_of

TEMPLATE = Path(__file__).with_name("report.html")
LAYERS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")  # exit layers, first to last, told apart in grey too


class Run(NamedTuple):
    """What a report is made of."""

    name: str
    found: Scores
    arrays: dict[str, np.ndarray]  # of scores.npz
    options: dict[str, Any]
    evaluations: dict[str, dict]  # by smoothing, the one tested with first
    history: list[dict]  # of a training


def read_run(folder: Path) -> Run:
    """Read the folder of a run. Raises FileNotFoundError or ValueError where it is none."""
    found, arrays = read_scores(folder / "scores.npz"), read_arrays(folder / "scores.npz")
    lacking = [name for name in ("logits", "exit_layer", "key", "truth") if name not in arrays]
    if lacking:
        raise ValueError(f"{folder / 'scores.npz'} has no {', '.join(lacking)}: run the test again to make a report of it")
    texts = {name: folder / f"{name}.json" for name in ("options", "results")}
    try:
        options, results = (json.loads(path.read_text()) for path in texts.values())
        log = folder / "log.jsonl"
        history = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error.filename}: not there; give the folder of a test or of a training") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{folder}: options.json, results.json or log.jsonl is damaged ({error}); run the test again"
        ) from None
    name = smoothing.name_of(options["smooth"], options["smooth_width"])
    terms = metrics.Terms(options["fps"], options["false_alarms"])
    evaluations = results.get("evaluations") or {name: metrics.evaluate(found, arrays["truth"], terms)}
    return Run(str(folder), found, arrays, options, evaluations, history)


def write(folder: Path) -> Path:
    """Write `report.html` and the PNG files in `figures/` of a run's folder; returns the page's path."""
    run = read_run(folder)
    main = next(iter(run.evaluations.values()))
    pictures = folder / "figures"
    pictures.mkdir(exist_ok=True)
    frames = metrics.frames_of(run.found, run.arrays["truth"])
    figures.roc_and_pr(pictures / "curves.png", {name: (scores, *frames) for name, scores in smoothed(run).items()})
    shown = {"curves": "ROC and precision-recall curves of the frames"}
    if main["classes"]:
        figures.class_bars(pictures / "classes.png", main)
        shown["classes"] = "AUC by class"
    figures.score_distributions(pictures / "scores.png", run.found.scores, *frames)
    shown["scores"] = "Distributions of the scores"
    if run.history:
        figures.training_curves(pictures / "training.png", run.history)
        shown["training"] = "Training curves"
    path = folder / "report.html"
    atomic.write_text(path, page(run, main, {pictures / f"{name}.png": text for name, text in shown.items()}))
    return path


def smoothed(run: Run) -> dict[str, np.ndarray]:
    """The (S,) scores of each smoothing that was evaluated."""
    how = {name: run.options[name] for name in ("smooth_width", "smooth_pad", "attn_window")}
    found = {}
    for name in run.evaluations:
        smooth = "none" if name == smoothing.name_of("none", 0) else name.split()[0]
        found[name] = from_logits(
            run.found.videos,
            run.arrays["logits"],
            smooth=smooth,
            width=how["smooth_width"],
            pad=how["smooth_pad"],
            window=how["attn_window"],
        ).scores
    return found


def page(run: Run, main: Mapping, pictures: Mapping[Path, str]) -> str:
    """The whole page."""
    threshold = main["events"]["threshold"] if main["events"] else metrics.FALSE_ALARM
    cards = worst_first(run, threshold)
    table = metrics.rows_of(run.evaluations)
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table[1:])
    what = f"variant {run.options['variant']}, data set {run.options['data_set']}, {len(cards)} videos"
    links = "".join(f'<a href="#{card.id}">{html.escape(card.name)}</a>' for card in cards)
    return Template(TEMPLATE.read_text()).substitute(
        name=html.escape(run.name),
        what=html.escape(what),
        head=head,
        body=body,
        remark=html.escape(metrics.remark(main)),
        pictures="".join(embedded(path, text) for path, text in pictures.items()),
        legend=legend(run, threshold),
        links=links,
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
    n_snippets, n_frames = metrics.counts_of(run.found)
    anomalous, normal = metrics.frames_of(run.found, run.arrays["truth"])
    ends, frame_ends = np.cumsum(n_snippets), np.cumsum(n_frames)
    raw = smoothing.sigmoid(run.arrays["logits"])
    cards = []
    for i, video in enumerate(run.found.videos):
        here = slice(ends[i] - n_snippets[i], ends[i])
        scores = run.found.scores[here]
        error = float((anomalous[here] * (1 - scores) + normal[here] * scores).sum() / n_frames[i])
        truth = run.arrays["truth"][frame_ends[i] - n_frames[i] : frame_ends[i]]
        kind = " and ".join(classes_of(video.label)) if truth.any() else "normal"
        seconds = n_frames[i] / run.options["fps"]
        text = html.escape(f"{video.name} {kind}".lower(), quote=True)
        times = "".join(f"<span>{clock(seconds * share)}</span>" for share in (0, 0.25, 0.5, 0.75, 1))
        name = html.escape(video.name)
        content = (
            f'<article id="v{i}" data-text="{text}" data-error="{error:.4f}" data-length="{n_snippets[i]}" '
            f'data-highest="{scores.max():.4f}"><header><b title="{name}">{name}</b>'
            f"<span>{html.escape(kind)}, error {error:.2f}</span></header>{timeline(raw[here], scores, truth, threshold)}"
            f"{bands(run.arrays['key'][here], run.arrays['exit_layer'][here], run)}"
            f'<div class="time">{times}</div></article>'
        )
        cards.append(Card(f"v{i}", video.name, error, content))
    return sorted(cards, key=lambda card: -card.error)


def timeline(raw: np.ndarray, scores: np.ndarray, truth: np.ndarray, threshold: float) -> str:
    """The drawing of one video's scores: a snippet is 1 wide, a score of 1 is 100 high."""
    length = len(scores)
    spans = events.runs(truth, np.array([len(truth)]))
    shaded = "".join(
        f'<rect class="truth" x="{start:g}" y="0" width="{end - start:g}" height="100"/>'
        for start, end in zip(spans.start / FRAMES_PER_SNIPPET, spans.end / FRAMES_PER_SNIPPET, strict=True)
    )
    level = f"{100 - 100 * threshold:.1f}"
    return (
        '<div class="plot"><div class="scale"><span>1</span><span>score</span><span>0</span></div>'
        f'<svg viewBox="0 0 {length} 100" preserveAspectRatio="none">{shaded}<path class="threshold" d="M0 {level}H{length}"/>'
        f'<path class="raw" d="{steps(raw)}"/><path class="smooth" d="{steps(scores)}"/></svg></div>'
    )


def steps(scores: np.ndarray) -> str:
    """A curve that stays level for a snippet, as the commands of an SVG path: only where it changes is there a command."""
    heights = np.round(100 - 100 * scores).astype(int)
    changes = np.flatnonzero(np.diff(heights)) + 1
    return f"M0 {heights[0]}" + "".join(f"H{at}V{heights[at]}" for at in changes) + f"H{len(scores)}"


def bands(key: np.ndarray, exit_layer: np.ndarray, run: Run) -> str:
    """The drawing below a timeline: a tick at each key clip, and the layer at which each clip stopped."""
    length, window = len(key), run.options["attn_window"]
    ticks = "".join(f"M{at} 0V5" for at in range(0, length, window) if key[at])
    changes = np.flatnonzero(np.diff(exit_layer)) + 1
    layers = "".join(
        f'<rect x="{start}" y="7" width="{end - start}" height="7" style="fill:{colour_of(int(exit_layer[start]), run)}"/>'
        for start, end in zip([0, *changes], [*changes, length], strict=True)
    )
    return (
        f'<div class="plot"><div class="scale" style="height:14px"></div><svg class="bands" viewBox="0 0 {length} 14" '
        f'preserveAspectRatio="none"><path class="key" d="{ticks}"/>{layers}</svg></div>'
    )


def colour_of(layer: int, run: Run) -> str:
    """The colour of an exit layer, the model's layers spread over the scale."""
    n_layers = max(2, run.options["visual_layers"])
    return LAYERS[round(max(0, layer - 1) * (len(LAYERS) - 1) / (n_layers - 1))]


def clock(seconds: float) -> str:
    """`2:05`"""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


parser = Parser(description=__doc__)
parser.add_argument("run_dir", type=Path, help="folder of a test or of a training")


def main() -> None:
    args = parser.parse_args()
    try:
        path = write(args.run_dir)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"report in {path}, its figures in {args.run_dir / 'figures'}")


if __name__ == "__main__":
    main()
