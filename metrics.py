"""What scores are worth: the field's figures and a live system's, each with how sure it is.

    python metrics.py SCORES.npz --gt-path GT.npy [--test-list LIST.csv]

SCORES.npz is of any method: `video` (names) and `n_snippets` per video, `scores` in [0, 1] per snippet of 16 frames; scores.py
says what else it may hold. Prints a table and writes SCORES.json. Numpy and scikit-learn only.

Shapes: V videos, S snippets, F frames, R resamples.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import atomic
import events
from curves import areas, resampled_areas
from option import Parser, check_terms, term_flags
from scores import Scores, read_scores
from videos import FRAMES_PER_SNIPPET, classes_of, read_ground_truth

N_RESAMPLES = 1000
INTERVAL = (0.025, 0.975)  # quantiles of the resamples: a 95 % interval
FALSE_ALARM = 0.5  # the score above which a normal frame counts as a false alarm
IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)


class Terms(NamedTuple):
    """What the figures of a live system depend on."""

    fps: float  # frames per second
    false_alarms: float  # allowed an hour of normal footage


class Bootstrap:
    """Figures with their 95 % intervals: the videos are drawn again and again, 1,000 times, always the same for the same V."""

    def __init__(self, n_videos: int):
        draw = np.random.default_rng(0).multinomial
        self.weights = draw(n_videos, np.full(n_videos, 1 / n_videos), N_RESAMPLES).astype(float)  # (R, V) times drawn

    def figure(self, value: float, resampled: np.ndarray) -> dict[str, Any] | None:
        """{"value", "interval"} of a value and the (R,) resampled ones; those that are not defined (NaN) do not count."""
        if np.isnan(value):
            return None
        defined = resampled[~np.isnan(resampled)]
        return {"value": float(value), "interval": [float(x) for x in np.quantile(defined, INTERVAL)] if len(defined) else None}

    def ratio(self, part: np.ndarray, whole: np.ndarray) -> dict[str, Any] | None:
        """A sum over videos by another: (V,) each."""
        with np.errstate(invalid="ignore"):
            return self.figure(share(part.sum(), whole.sum()), (self.weights @ part) / (self.weights @ whole))

    def areas(self, scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray, video: np.ndarray) -> dict[str, dict | None]:
        """`auc`, `ap` and `ap_trapezoid` as in curves.py: (S,) each, the frames that a score stands for and its video."""
        again = resampled_areas(scores, anomalous, normal, video, self.weights)._asdict()
        return {name: self.figure(value, again[name]) for name, value in areas(scores, anomalous, normal)._asdict().items()}

    def quantile(self, values: np.ndarray, video: np.ndarray, q: float) -> dict[str, Any] | None:
        """The least of (E,) values that a share q of them does not exceed; video (E,) says whose they are."""
        if not len(values):
            return None
        order = np.argsort(values)
        below = self.weights[:, video[order]].cumsum(1)  # (R, E) how many are drawn up to each value
        at = np.minimum((below < q * below[:, -1:]).sum(1), len(values) - 1)
        again = np.where(below[:, -1] > 0, values[order][at], np.nan)
        return self.figure(np.quantile(values, q, method="inverted_cdf"), again)


def share(part: float, whole: float) -> float:
    """part / whole, NaN of nothing."""
    return part / whole if whole else np.nan


def evaluate(found: Scores, truth: np.ndarray, terms: Terms, f1_threshold: float | None = None) -> dict[str, Any]:
    """All figures of scores against the (F,) ground truth, each {"value", "interval"}, None where it is not defined.

    A video is normal where no frame of it is anomalous. `f1_threshold` comes from other videos than these; None leaves F1 out.
    """
    videos, scores = found.videos, found.scores
    n_snippets, n_frames = counts_of(found)
    video = np.repeat(np.arange(len(videos)), n_snippets)  # (S,)
    anomalous, normal = frames_of(found, truth)
    is_normal = np.bincount(video, anomalous) == 0  # (V,)
    bootstrap = Bootstrap(len(videos))

    def areas_of(chosen: np.ndarray) -> dict[str, dict | None]:
        at = chosen[video]
        return bootstrap.areas(scores[at], anomalous[at], normal[at], video[at])

    def frames_above(threshold: float, of: np.ndarray) -> np.ndarray:
        return np.bincount(video, of * (scores > threshold))

    results: dict[str, Any] = {
        "look_ahead": found.look_ahead,
        "fps": terms.fps,
        "n_videos": len(videos),
        "n_normal_videos": int(is_normal.sum()),
        **areas_of(np.ones(len(videos), bool)),
        **{f"{name}_anomalous": figure for name, figure in areas_of(~is_normal).items()},
        "far": bootstrap.ratio(frames_above(FALSE_ALARM, normal) * is_normal, n_frames * is_normal),
        "video_auc": bootstrap.areas(*by_video(found, anomalous), np.arange(len(videos)))["auc"],
    }
    if f1_threshold is not None:
        true, false = frames_above(f1_threshold, anomalous), frames_above(f1_threshold, normal)
        results["f1"] = bootstrap.ratio(2 * true, true + false + np.bincount(video, anomalous))  # TP + FP + (TP + FN)
        results["f1_threshold"] = f1_threshold
    results["classes"] = {}
    for name in sorted({name for v in videos for name in classes_of(v.label)}):
        of_class = np.array([name in classes_of(v.label) for v in videos]) & ~is_normal
        if of_class.any():
            results["classes"][name] = areas_of(of_class | is_normal) | {"n_videos": int(of_class.sum())}
    results["events"] = event_figures(found, truth, terms, bootstrap, is_normal) if is_normal.any() else None
    return results


def event_figures(
    found: Scores, truth: np.ndarray, terms: Terms, bootstrap: Bootstrap, is_normal: np.ndarray
) -> dict[str, Any]:
    """The figures of a live system, its threshold set on the normal videos, is_normal (V,)."""
    n_snippets, n_frames = counts_of(found)
    hours = n_frames / terms.fps / 3600 * is_normal  # (V,) of normal footage
    of_normal = found.scores[np.repeat(is_normal, n_snippets)]
    threshold = events.threshold_for(of_normal, n_snippets[is_normal], terms.false_alarms * hours.sum())
    alarmed = found.scores > threshold
    alarms, happened = events.runs(alarmed, n_snippets), events.runs(truth, n_frames)
    delay = events.delays(happened, alarmed, n_snippets, found.seen, n_frames) / terms.fps  # (E,) seconds
    caught = np.isfinite(delay)
    n_events, n_caught, n_alarms = (
        np.bincount(video, minlength=len(hours)) for video in (happened.video, happened.video[caught], alarms.video)
    )
    detections = events.detect(found.scores, n_snippets, n_frames)
    return {
        "allowed_per_hour": terms.false_alarms,
        "threshold": threshold,
        "n_events": len(delay),
        "detected": bootstrap.ratio(n_caught, n_events),
        "delay_median": bootstrap.quantile(delay[caught], happened.video[caught], 0.5),
        "delay_p90": bootstrap.quantile(delay[caught], happened.video[caught], 0.9),
        "false_alarms_per_hour": bootstrap.ratio(n_alarms * is_normal, hours),
        "ap_iou": {str(least): interval_ap(detections, happened, least, n_events, bootstrap) for least in IOUS},
    }


def interval_ap(
    detections: events.Detections, happened: events.Runs, least: float, n_events: np.ndarray, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Average precision of detected intervals at this overlap: recall counts all events, n_events (V,) of each video."""
    right, video = events.matched(detections, happened, least), detections.intervals.video
    weights = bootstrap.weights
    if not right.any():
        return bootstrap.figure(0.0, np.zeros(len(weights)))
    counts = detections.confidence, right.astype(float), (~right).astype(float)
    n_right = np.bincount(video[right], minlength=len(n_events))
    with np.errstate(invalid="ignore"):
        recall = (weights @ n_right) / (weights @ n_events)
    precision = np.nan_to_num(resampled_areas(*counts, video, weights).ap, nan=1.0)  # NaN: none of them is wrong, or right
    ap = areas(*counts).ap if (~right).any() else 1.0
    return bootstrap.figure(ap * n_right.sum() / n_events.sum(), recall * precision)


def counts_of(found: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Snippets and frames of each video: 2 x (V,) int64."""
    return np.array([video.n_snippets for video in found.videos]), np.array([video.n_frames for video in found.videos])


def frames_of(found: Scores, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many anomalous and how many normal frames each snippet has: (F,) -> 2 x (S,) float64. A video's last may be short."""
    n_snippets, n_frames = counts_of(found)
    counts = np.full(n_snippets.sum(), FRAMES_PER_SNIPPET)
    counts[np.cumsum(n_snippets) - 1] = n_frames - FRAMES_PER_SNIPPET * (n_snippets - 1)
    anomalous = np.add.reduceat(truth.astype(float), np.cumsum(counts) - counts)
    return anomalous, counts - anomalous


def by_video(found: Scores, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each video's largest score, and whether it is anomalous, and normal: anomalous (S,) > 0 anywhere -> 3 x (V,)."""
    n_snippets, _ = counts_of(found)
    starts = np.cumsum(n_snippets) - n_snippets
    is_anomalous = (np.add.reduceat(anomalous.astype(float), starts) > 0).astype(float)
    return np.maximum.reduceat(found.scores, starts), is_anomalous, 1 - is_anomalous


def best_f1_threshold(scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray) -> float:
    """The threshold with the highest F1 of "score > threshold": (S,) scores, and the frames (or videos) they stand for."""
    levels = np.unique(scores)[::-1]  # descending: a threshold just below each
    at = np.searchsorted(-levels, -scores)
    true, false = (np.bincount(at, of, len(levels)).cumsum() for of in (anomalous, normal))
    best = int((2 * true / (true + false + anomalous.sum())).argmax())
    return float((levels[best] + levels[best + 1]) / 2 if best + 1 < len(levels) else np.nextafter(levels[best], -1))


def table(columns: Mapping[str, dict[str, Any]]) -> str:
    """The figures of one or more evaluations of the same videos side by side, as text."""
    rows = rows_of(columns)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, remark(next(iter(columns.values())))])


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
    row(f"false alarms at {FALSE_ALARM}, of normal videos' frames", lambda r: r["far"])
    row("AUC of videos, by their maximum", lambda r: r["video_auc"])
    if "f1" in first:
        row(f"F1 at {first['f1_threshold']:.3f}, chosen on other videos", lambda r: r["f1"])
    for name, of_class in first["classes"].items():
        row(f"AUC, {name} ({of_class['n_videos']})", lambda r, n=name: r["classes"][n]["auc"])
    if first["events"]:
        row(f"events detected, of {first['events']['n_events']}", lambda r: r["events"]["detected"])
        row("  delay, median (s)", lambda r: r["events"]["delay_median"], 1)
        row("  delay, 90th percentile (s)", lambda r: r["events"]["delay_p90"], 1)
        row("  false alarms an hour", lambda r: r["events"]["false_alarms_per_hour"], 1)
        for least in map(str, IOUS):
            row(f"AP of intervals, IoU {least}", lambda r, n=least: r["events"]["ap_iou"][n])
    return rows


def cell(found: dict | None, scale: float) -> str:
    """`72.87 [69.10, 76.21]`"""
    if found is None:
        return "-"
    low, high = (scale * x for x in found["interval"])
    return f"{scale * found['value']:.2f} [{low:.2f}, {high:.2f}]"


def look_ahead(results: dict[str, Any]) -> str:
    """`7 snippets (112 frames, 3.7 s)`"""
    n, frames = results["look_ahead"], FRAMES_PER_SNIPPET * results["look_ahead"]
    return f"{n} snippets ({frames} frames, {frames / results['fps']:.1f} s)" if n else "none"


def remark(results: dict[str, Any]) -> str:
    """What the table's numbers mean."""
    n_videos = f"{results['n_videos']} videos, {results['n_normal_videos']} normal"
    found = results["events"]
    alarms = (
        f"Events: the threshold is the lowest at which these normal videos raise {found['allowed_per_hour']:g} or fewer false "
        f"alarms an\nhour, at {results['fps']:g} frames a second; delays are of the events detected, until the score exists."
        if found
        else "No normal videos: no false alarms, and no threshold to detect events with."
    )
    return f"{n_videos}. In brackets: 95 % intervals, by a bootstrap over videos.\n{alarms}"


parser = Parser(description=__doc__)
parser.add_argument("scores", help="scores.npz of a test, or of another method")
parser.add_argument("--gt-path", required=True, help="ground truth of the frames, 0 or 1 (.npy)")
parser.add_argument("--test-list", help="CSV path,label or path,label,frames: the videos' labels and true frames")
parser.add_argument("--val-scores", help="scores of other videos, on which the threshold of the best F1 is chosen")
parser.add_argument("--val-gt-path", help="their ground truth")
parser.add_argument("--out", help="where the figures go as JSON (default: beside the scores, with the ending .json)")
term_flags(parser.add_argument)


def main() -> None:
    args = parser.parse_args()
    if (args.val_scores is None) != (args.val_gt_path is None):
        parser.error("--val-scores and --val-gt-path belong together")
    out = Path(args.out) if args.out else Path(args.scores).with_suffix(".json")
    try:
        check_terms(args)
        found = read_scores(args.scores, args.test_list)
        truth = read_ground_truth(args.gt_path, found.videos, args.test_list or args.scores)
        threshold = None
        if args.val_scores:
            validation = read_scores(args.val_scores)
            frames = frames_of(validation, read_ground_truth(args.val_gt_path, validation.videos, args.val_scores))
            threshold = best_f1_threshold(validation.scores, *frames)
        results = evaluate(found, truth, Terms(args.fps, args.false_alarms), threshold)
        atomic.write_text(out, json.dumps(results, indent=2) + "\n")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(table({Path(args.scores).name: results}))
    print(f"figures in {out}")


if __name__ == "__main__":
    main()
