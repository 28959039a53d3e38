"""The report of a run: one HTML page with everything in it, and its figures as PNG files beside it.

    python report.py RUN_DIR

RUN_DIR is the folder of a test or of a training. The page needs no network and no other file.
"""

import base64
import html
import json
from argparse import Namespace
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
import tables
from option import Parser, check_terms, exit_codes
from scores import Scores, columns_of, from_logits, read_record
from videos import FRAMES_PER_SNIPPET, classes_of

TEMPLATE = Path(__file__).with_name("report.html")
LAYERS = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")  # exit layers, first to last, told apart in grey too
OPTIONS = {  # of options.json, what a report needs and what it is
    **dict.fromkeys(("smooth", "smooth_pad", "variant", "data_set"), str),
    **dict.fromkeys(("smooth_width", "visual_layers", "attn_window"), int),
    **dict.fromkeys(("fps", "false_alarms"), float),
}
PER_EVALUATION = ("step", "loss", "auc", "ap")  # of log.jsonl


class Run(NamedTuple):
    """What a report is made of."""

    name: str
    found: Scores
    logits: np.ndarray  # (S,)
    exit_layer: np.ndarray  # (S,)
    key: np.ndarray  # (S,)
    truth: np.ndarray  # (F,)
    options: dict[str, Any]
    history: list[dict]  # of a training


def read_run(folder: Path) -> Run:
    """Read the folder of a run. Raises FileNotFoundError or ValueError where it is none, or damaged."""
    path = folder / "scores.npz"
    run = Run(str(folder), *read_record(path), read_options(folder / "options.json"), read_history(folder / "log.jsonl"))
    if run.exit_layer.max() > run.options["visual_layers"]:
        raise ValueError(f"{path}: damaged, or of another run than options.json; run the test again to make a report of it")
    if not np.allclose(from_logits(run.found.videos, run.logits, run.options).scores, run.found.scores, atol=1e-6):
        raise ValueError(f"{path} is not smoothed as options.json says; run the test again to make a report of it")
    return run


def read_options(path: Path) -> dict[str, Any]:
    """The options of a run. Raises FileNotFoundError or ValueError."""
    try:
        options = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: not there; give the folder of a test or of a training") from None
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); run the test again to make a report of it") from None
    for name, kind in OPTIONS.items():
        if not isinstance(options, dict) or type(options.get(name)) is not kind:
            raise ValueError(f"{path}: damaged, its {name} is no {kind.__name__}; run the test again to make a report of it")
    check_terms(Namespace(**options))
    return options


def read_history(path: Path) -> list[dict]:
    """The evaluations of a training; none where there is no log. Raises ValueError."""
    if not path.exists():
        return []
    try:
        history = [json.loads(line) for line in path.read_text().splitlines()]
        if not history or any(type(entry[name]) not in (int, float) for entry in history for name in PER_EVALUATION):
            raise ValueError("not numbers")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error!r}); delete it to have a report without training curves") from None
    return history


def write(folder: Path, evaluations: Mapping[str, dict] | None = None) -> Path:
    """Write `report.html` and the PNG files in `figures/` of a run's folder; returns the page's path.

    `evaluations`, by smoothing, are made here unless the test that just ran has them.
    """
    run = read_run(folder)
    columns = columns_of(run.found.videos, run.logits, run.options)
    if evaluations is None:
        terms = metrics.Terms(run.options["fps"], run.options["false_alarms"])
        evaluations = metrics.evaluate_all(columns, run.truth, terms)
    main = next(iter(evaluations.values()))
    pictures = folder / "figures"
    pictures.mkdir(exist_ok=True)
    frames = metrics.frames_of(run.found, run.truth)
    figures.roc_and_pr(pictures / "curves.png", {name: (found.scores, *frames) for name, found in columns.items()})
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
    atomic.write_text(path, page(run, evaluations, {pictures / f"{name}.png": text for name, text in shown.items()}))
    return path


def page(run: Run, evaluations: Mapping[str, dict], pictures: Mapping[Path, str]) -> str:
    """The whole page."""
    main = next(iter(evaluations.values()))
    threshold = main["events"]["threshold"] if main["events"] else main["far_threshold"]
    cards = worst_first(run, threshold)
    table = tables.rows_of(evaluations)
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table[1:])
    what = f"variant {run.options['variant']}, data set {run.options['data_set']}, {len(cards)} videos"
    links = "".join(f'<a href="#{card.id}">{html.escape(card.name)}</a>' for card in cards)
    return Template(TEMPLATE.read_text()).substitute(
        name=html.escape(run.name),
        what=html.escape(what),
        head=head,
        body=body,
        remark=html.escape(tables.remark(main)),
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
    n_snippets, n_frames = run.found.n_snippets, run.found.n_frames
    anomalous, normal = metrics.frames_of(run.found, run.truth)
    ends, frame_ends = np.cumsum(n_snippets), np.cumsum(n_frames)
    raw = smoothing.sigmoid(run.logits)
    cards = []
    for i, video in enumerate(run.found.videos):
        here = slice(ends[i] - n_snippets[i], ends[i])
        scores = run.found.scores[here]
        error = float((anomalous[here] * (1 - scores) + normal[here] * scores).sum() / n_frames[i])
        truth = run.truth[frame_ends[i] - n_frames[i] : frame_ends[i]]
        kind = (" and ".join(classes_of(video.label)) or "anomalous") if truth.any() else "normal"
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


parser = Parser(description=__doc__.splitlines()[0])
parser.add_argument("run_dir", type=Path, help="folder of a test or of a training")


def main() -> None:
    args = parser.parse_args()
    with exit_codes():
        path = write(args.run_dir)
    print(f"report in {path}, its figures in {args.run_dir / 'figures'}")


if __name__ == "__main__":
    main()
