"""What scores are worth: the field's figures and a live system's, each with how sure it is.

    python metrics.py SCORES.npz --gt-path GT.npy [--test-list LIST.csv]

SCORES.npz is of any method: `video` (names) and `n_snippets` per video, `scores` in [0, 1] per snippet of 16 frames; scores.py
says what else it may hold. Prints a table and writes SCORES.json. Needs no torch.

Shapes: V videos, S snippets, F frames, R resamples.
"""

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import atomic
import events
import tables
from bootstrap import Bootstrap, share_of_finite, weighted_quantile
from curves import resampled_areas
from option import Parser, check_terms, exit_codes, term_flags
from scores import Scores, read_scores
from videos import FRAMES_PER_SNIPPET, classes_of, read_ground_truth

FALSE_ALARM = 0.5  # the score above which a normal frame counts as a false alarm
IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)


class Terms(NamedTuple):
    """What the figures of a live system depend on."""

    fps: float  # frames per second
    false_alarms: float  # allowed an hour of normal footage


class Thresholds(NamedTuple):
    """Those of the best F1 on other videos than the ones that are evaluated; None = not known."""

    frames: float | None = None
    videos: float | None = None  # of a video's largest score


UNKNOWN = Thresholds()


def evaluate(found: Scores, truth: np.ndarray, terms: Terms, thresholds: Thresholds = UNKNOWN) -> dict[str, Any]:
    """All figures of scores against the (F,) ground truth, each {"value", "interval"}, None where it is not defined.

    A video is normal where no frame of it is anomalous.
    """
    videos, scores = found.videos, found.scores
    video, n_frames = found.video, found.n_frames
    anomalous, normal = frames_of(found, truth)
    is_normal = np.bincount(video, anomalous) == 0  # (V,)
    bootstrap = Bootstrap(len(videos))
    per_snippet, per_video = (scores, anomalous, normal, video), (*by_video(found, anomalous), np.arange(len(videos)))

    def areas_of(chosen: np.ndarray) -> dict[str, dict | None]:
        at = chosen[video]
        return bootstrap.areas(scores[at], anomalous[at], normal[at], video[at])

    false_alarms = np.bincount(video, normal * (scores > FALSE_ALARM)) * is_normal  # (V,) frames
    results: dict[str, Any] = {
        "look_ahead": found.look_ahead,
        "fps": terms.fps,
        "n_videos": len(videos),
        "n_normal_videos": int(is_normal.sum()),
        **areas_of(np.ones(len(videos), bool)),
        **{f"{name}_anomalous": figure for name, figure in areas_of(~is_normal).items()},
        "far_threshold": FALSE_ALARM,
        "far": bootstrap.ratio(false_alarms, n_frames * is_normal),
        "video_auc": bootstrap.areas(*per_video)["auc"],
    }
    for name, threshold, counts in zip(Thresholds._fields, thresholds, (per_snippet, per_video), strict=True):
        if threshold is not None:
            results[f"f1_{name}"] = {"threshold": threshold} | f1(threshold, *counts, bootstrap)
    results["classes"] = {}
    for name in sorted({name for v in videos for name in classes_of(v.label)}):
        of_class = np.array([name in classes_of(v.label) for v in videos]) & ~is_normal
        if of_class.any():
            results["classes"][name] = areas_of(of_class | is_normal) | {"n_videos": int(of_class.sum())}
    results["events"] = event_figures(found, truth, terms, bootstrap, is_normal) if is_normal.any() else None
    return results


def evaluate_all(
    columns: Mapping[str, Scores], truth: np.ndarray, terms: Terms, thresholds: Thresholds = UNKNOWN
) -> dict[str, dict[str, Any]]:
    """`evaluate` of scores smoothed in several ways; the thresholds are of the first."""
    first = next(iter(columns))
    return {name: evaluate(found, truth, terms, thresholds if name == first else UNKNOWN) for name, found in columns.items()}


def f1(
    threshold: float, scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray, video: np.ndarray, bootstrap: Bootstrap
) -> dict[str, Any]:
    """F1 of "score > threshold", counting as `curves.areas` does."""
    true, false = (np.bincount(video, of * (scores > threshold)) for of in (anomalous, normal))
    return bootstrap.ratio(2 * true, true + false + np.bincount(video, anomalous))  # 2 TP / (TP + FP + TP + FN)


def event_figures(
    found: Scores, truth: np.ndarray, terms: Terms, bootstrap: Bootstrap, is_normal: np.ndarray
) -> dict[str, Any]:
    """The figures of a live system, its threshold set on the normal videos, is_normal (V,).

    Each resample sets a threshold of its own for what is detected and how late; the rates of false alarms are those of the
    one threshold that is reported.
    """
    video, n_snippets, n_frames, weights = found.video, found.n_snippets, found.n_frames, bootstrap.weights
    hours = n_frames / terms.fps / 3600 * is_normal  # (V,) of normal footage
    happened, at = events.runs(truth, n_frames), is_normal[video]
    thresholds = events.thresholds_for(found.scores[at], video[at], weights, terms.false_alarms * (weights @ hours))  # (1 + R,)
    levels, which = np.unique(thresholds, return_inverse=True)
    of_levels = [events.delays(happened, found.scores > level, n_snippets, found.seen, n_frames) for level in levels]
    delays = np.stack(of_levels)[which]  # (1 + R, E) frames, infinite where an event is missed
    times = weights[:, happened.video] * (weights @ hours > 0)[:, None]  # without a normal video there is no threshold
    alarmed, (_, normal) = found.scores > thresholds[0], frames_of(found, truth)
    outside = normal * ~at  # (S,) normal frames of anomalous videos
    n_events, n_alarms = (
        np.bincount(runs.video, minlength=len(hours)) for runs in (happened, events.runs(alarmed, n_snippets))
    )
    detections = events.detect(found.scores, n_snippets, n_frames)
    return {
        "allowed_per_hour": terms.false_alarms,
        "threshold": float(thresholds[0]),
        "n_events": len(happened.video),
        "detected": bootstrap.figure(share_of_finite(delays, times)),
        "delay_median": bootstrap.figure(weighted_quantile(delays, times, 0.5) / terms.fps),
        "delay_p90": bootstrap.figure(weighted_quantile(delays, times, 0.9) / terms.fps),
        "false_alarms_per_hour": bootstrap.ratio(n_alarms * is_normal, hours),
        "alarmed_outside": bootstrap.ratio(np.bincount(video, outside * alarmed), np.bincount(video, outside)),
        "ap_iou": {str(least): interval_ap(detections, happened, least, n_events, bootstrap) for least in IOUS},
    }


def interval_ap(
    detections: events.Detections, happened: events.Runs, least: float, n_events: np.ndarray, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Average precision of detected intervals at this overlap: recall counts all events, n_events (V,) of each video."""
    right, video = events.matched(detections, happened, least), detections.intervals.video
    n_right = np.bincount(video[right], minlength=len(n_events))
    counts = detections.confidence, right.astype(float), (~right).astype(float), video
    precision = np.nan_to_num(resampled_areas(*counts, bootstrap.weights).ap, nan=1.0)  # NaN: none of them is wrong, or right
    with np.errstate(invalid="ignore"):
        return bootstrap.figure((bootstrap.weights @ n_right) / (bootstrap.weights @ n_events) * precision)


def frames_of(found: Scores, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many anomalous and how many normal frames each snippet has: (F,) -> 2 x (S,) float64. A video's last may be short."""
    n_snippets, n_frames = found.n_snippets, found.n_frames
    counts = np.full(n_snippets.sum(), FRAMES_PER_SNIPPET)
    counts[np.cumsum(n_snippets) - 1] = n_frames - FRAMES_PER_SNIPPET * (n_snippets - 1)
    anomalous = np.add.reduceat(truth.astype(float), np.cumsum(counts) - counts)
    return anomalous, counts - anomalous


def by_video(found: Scores, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each video's largest score, and whether it is anomalous, and normal: anomalous (S,) > 0 anywhere -> 3 x (V,)."""
    starts = np.cumsum(found.n_snippets) - found.n_snippets
    is_anomalous = (np.add.reduceat(anomalous.astype(float), starts) > 0).astype(float)
    return np.maximum.reduceat(found.scores, starts), is_anomalous, 1 - is_anomalous


def top_k_means(found: Scores) -> np.ndarray:
    """Each video's score as training takes it, the mean of its k = floor(L / 16) + 1 largest: (V,)."""
    of_videos = np.split(found.scores, np.cumsum(found.n_snippets)[:-1])
    return np.array([np.sort(scores)[-(len(scores) // 16 + 1) :].mean() for scores in of_videos])


def best_f1_threshold(scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray) -> float:
    """The threshold with the highest F1 of "score > threshold": (S,) scores, and the frames (or videos) they stand for."""
    levels = np.unique(scores)[::-1]  # descending; the next one below is a threshold that a level exceeds
    at = np.searchsorted(-levels, -scores)
    true, false = (np.bincount(at, of, len(levels)).cumsum() for of in (anomalous, normal))
    best = int((2 * true / (true + false + anomalous.sum())).argmax())
    return float(levels[best + 1] if best + 1 < len(levels) else np.nextafter(levels[best], -1))


parser = Parser(description=__doc__.splitlines()[0])
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
    with exit_codes():
        check_terms(args)
        found = read_scores(args.scores, args.test_list)
        truth = read_ground_truth(args.gt_path, found.videos, args.test_list or args.scores)
        out = out_of(args)
        results = evaluate(found, truth, Terms(args.fps, args.false_alarms), thresholds_of(args, found))
        atomic.write_text(out, json.dumps(results, indent=2) + "\n")
    print(tables.text({Path(args.scores).name: results}))
    print(f"figures in {out}")


def out_of(args: Namespace) -> Path:
    """Where the figures go. Raises ValueError where that is an input, or cannot be a file."""
    out = Path(args.out) if args.out else Path(args.scores).with_suffix(".json")
    inputs = [path for path in (args.scores, args.gt_path, args.test_list, args.val_scores, args.val_gt_path) if path]
    if out.resolve() in [Path(path).resolve() for path in inputs]:
        raise ValueError(f"{out}: the figures would replace an input; name another file with --out")
    if out.is_dir() or not out.resolve().parent.is_dir():
        raise ValueError(f"{out}: not a file in a folder that exists; name another with --out")
    return out


def thresholds_of(args: Namespace, found: Scores) -> Thresholds:
    """The threshold of the best F1 on the validation scores, if there are any. Raises ValueError where videos are in both."""
    if args.val_scores is None:
        return UNKNOWN
    validation = read_scores(args.val_scores)
    both = {video.name for video in validation.videos} & {video.name for video in found.videos}
    if both:
        raise ValueError(f"{args.val_scores}: {len(both)} videos are in the test too, {min(both)} among them; use other videos")
    frames = frames_of(validation, read_ground_truth(args.val_gt_path, validation.videos, args.val_scores))
    return Thresholds(frames=best_f1_threshold(validation.scores, *frames))


if __name__ == "__main__":
    main()
