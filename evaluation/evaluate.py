"""What scores are worth: the field's figures and a live system's, each with how sure it is.

Shapes: V videos, S snippets, F frames, R resamples, E events.
"""

from collections.abc import Mapping
from multiprocessing.pool import ThreadPool
from typing import Any, NamedTuple

import numpy as np

from evaluation import events
from evaluation.bootstrap import Bootstrap, figure_of, nested, share_of_finite, unthreaded, weighted_quantile
from evaluation.curves import resampled_areas
from evaluation.scores import Scores
from files.features import FRAMES_PER_SNIPPET

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


def evaluate(scores: Scores, truth: np.ndarray, terms: Terms, thresholds: Thresholds = UNKNOWN) -> dict[str, Any]:
    """All figures of scores against the (F,) ground truth, each {"value", "interval"}, None where it is not defined.

    A video is normal where no frame of it is anomalous.
    """
    results = nested(figure_of, resampled(scores, truth, terms))
    frames, n_videos = frames_of(scores, truth), len(scores.videos)
    counts = (scores.scores, *frames, scores.video), (*by_video(scores, frames[0]), np.arange(n_videos))
    for name, threshold, of in zip(Thresholds._fields, thresholds, counts, strict=True):
        if threshold is not None:
            results[f"f1_{name}"] = {"threshold": threshold} | figure_of(f1(threshold, *of, Bootstrap(n_videos)))
    return results


def resampled(scores: Scores, truth: np.ndarray, terms: Terms) -> dict[str, Any]:
    """All figures but those of given thresholds, each as (1 + R,) values."""
    videos, video = scores.videos, scores.video
    anomalous, normal = frames_of(scores, truth)
    is_normal = np.bincount(video, anomalous) == 0  # (V,)
    bootstrap = Bootstrap(len(videos))
    per_snippet = scores.scores, anomalous, normal, video

    def areas_of(chosen: np.ndarray) -> dict[str, np.ndarray]:
        return bootstrap.areas(*(column[chosen[video]] for column in per_snippet))

    false_alarms = np.bincount(video, normal * (scores.scores > FALSE_ALARM)) * is_normal  # (V,) frames
    classes = {}
    for name in sorted({name for v in videos for name in v.classes or ()}):
        of_class = np.array([name in (v.classes or ()) for v in videos]) & ~is_normal
        if of_class.any() and is_normal.any():
            n = int(of_class.sum())
            areas = areas_of(of_class | is_normal)
            if n == 1:  # how another video of the class would do is not known: no interval
                areas = {of: np.where(np.arange(len(values)) > 0, np.nan, values) for of, values in areas.items()}
            classes[name] = areas | {"n_videos": n}
    return {
        "look_ahead": scores.look_ahead,
        "fps": terms.fps,
        "n_videos": len(videos),
        "n_normal_videos": int(is_normal.sum()),
        **areas_of(np.ones(len(videos), bool)),
        **{f"{name}_anomalous": values for name, values in areas_of(~is_normal).items()},
        "far_threshold": FALSE_ALARM,
        "far": bootstrap.ratio(false_alarms, scores.n_frames * is_normal),
        "video_auc": bootstrap.areas(*by_video(scores, anomalous), np.arange(len(videos)))["auc"],
        "classes": classes,
        "events": event_figures(scores, truth, terms, bootstrap, is_normal) if is_normal.any() else None,
    }


@unthreaded
def evaluate_all(
    columns: Mapping[str, Scores], truth: np.ndarray, terms: Terms, thresholds: Thresholds = UNKNOWN
) -> dict[str, dict[str, Any]]:
    """`evaluate` of scores smoothed in several ways, side by side; the thresholds are of the first."""
    known = [thresholds, *[UNKNOWN] * (len(columns) - 1)]
    with ThreadPool(len(columns)) as pool:  # one that does not wait for its threads: Ctrl-C ends it
        each = pool.starmap(lambda scores, of: evaluate(scores, truth, terms, of), zip(columns.values(), known, strict=True))
    return dict(zip(columns, each, strict=True))


def f1(
    threshold: float, scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray, video: np.ndarray, bootstrap: Bootstrap
) -> np.ndarray:
    """F1 of "score > threshold", counting as `curves.areas` does: (1 + R,)."""
    true, false = (np.bincount(video, of * (scores > threshold)) for of in (anomalous, normal))
    return bootstrap.ratio(2 * true, true + false + np.bincount(video, anomalous))  # 2 TP / (TP + FP + TP + FN)


def event_figures(
    scores: Scores, truth: np.ndarray, terms: Terms, bootstrap: Bootstrap, is_normal: np.ndarray
) -> dict[str, Any]:
    """The figures of a live system, each as (1 + R,) values, its threshold set on the normal videos, is_normal (V,).

    Each resample sets a threshold of its own for what is detected and how late; the rates of false alarms are those of the
    one threshold that is reported.
    """
    video, n_snippets, n_frames, weights = scores.video, scores.n_snippets, scores.n_frames, bootstrap.weights
    hours = n_frames / terms.fps / 3600 * is_normal  # (V,) of normal footage
    happened, at = events.runs(truth, n_frames), is_normal[video]
    thresholds = events.thresholds_for(scores.scores[at], video[at], weights, terms.false_alarms * (weights @ hours))
    levels, which = np.unique(thresholds, return_inverse=True)  # of (1 + R,)
    of_levels = [events.delays(happened, scores.scores > level, n_snippets, scores.seen, n_frames) for level in levels]
    delays = np.stack(of_levels)[which]  # (1 + R, E) frames, infinite where an event is missed
    times = weights[:, happened.video] * (weights @ hours > 0)[:, None]  # without a normal video there is no threshold
    alarmed, (_, normal) = scores.scores > thresholds[0], frames_of(scores, truth)
    n_alarms = np.bincount(events.runs(alarmed, n_snippets).video, minlength=len(hours))
    outside = normal * ~at  # (S,) normal frames of anomalous videos
    detections = events.detect(scores.scores, n_snippets, n_frames)
    return {
        "allowed_per_hour": terms.false_alarms,
        "threshold": float(thresholds[0]),
        "n_events": len(happened.video),
        "detected": share_of_finite(delays, times),
        "delay_median": weighted_quantile(delays, times, 0.5) / terms.fps,
        "delay_p90": weighted_quantile(delays, times, 0.9) / terms.fps,
        "false_alarms_per_hour": bootstrap.ratio(n_alarms * is_normal, hours),
        "alarmed_outside": bootstrap.ratio(np.bincount(video, outside * alarmed), np.bincount(video, outside)),
        "ap_iou": {str(least): interval_ap(detections, happened, least, bootstrap) for least in IOUS},
    }


def interval_ap(detections: events.Detections, happened: events.Runs, least: float, bootstrap: Bootstrap) -> np.ndarray:
    """Average precision of detected intervals at this overlap, (1 + R,); recall counts all events."""
    right, video, weights = events.matched(detections, happened, least), detections.intervals.video, bootstrap.weights
    n_right, n_events = (np.bincount(of, minlength=weights.shape[1]) for of in (video[right], happened.video))
    counts = detections.confidence, right.astype(float), (~right).astype(float), video
    precision = np.nan_to_num(resampled_areas(*counts, weights).ap, nan=1.0)  # NaN: none of them is wrong, or right
    return bootstrap.ratio(n_right, n_events) * precision


def frames_of(scores: Scores, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many anomalous and how many normal frames each snippet has: (F,) -> 2 x (S,) float64.

    A video's last snippet may be short, or hold to the video's end.
    """
    n_snippets = scores.n_snippets
    counts = np.full(n_snippets.sum(), FRAMES_PER_SNIPPET)
    counts[np.cumsum(n_snippets) - 1] = scores.n_frames - FRAMES_PER_SNIPPET * (n_snippets - 1)
    anomalous = np.add.reduceat(truth.astype(float), np.cumsum(counts) - counts)
    return anomalous, counts - anomalous


def by_video(scores: Scores, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each video's largest score, and whether it is anomalous, and normal: anomalous (S,) > 0 anywhere -> 3 x (V,)."""
    starts = np.cumsum(scores.n_snippets) - scores.n_snippets
    is_anomalous = (np.add.reduceat(anomalous.astype(float), starts) > 0).astype(float)
    return np.maximum.reduceat(scores.scores, starts), is_anomalous, 1 - is_anomalous


def errors_of(scores: Scores, truth: np.ndarray) -> np.ndarray:
    """The mean distance of each video's frames' scores from their truth: (V,) in [0, 1]."""
    anomalous, normal = frames_of(scores, truth)
    return np.bincount(scores.video, anomalous * (1 - scores.scores) + normal * scores.scores) / scores.n_frames


def top_k_means(scores: Scores) -> np.ndarray:
    """Each video's score as training takes it, the mean of its k = floor(L / 16) + 1 largest: (V,)."""
    of_videos = np.split(scores.scores, np.cumsum(scores.n_snippets)[:-1])
    return np.array([np.sort(of_video)[-(len(of_video) // 16 + 1) :].mean() for of_video in of_videos])


def best_f1_threshold(scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray) -> float:
    """The threshold with the highest F1 of "score > threshold": (S,) scores, and the frames (or videos) they stand for."""
    levels = np.unique(scores)[::-1]  # descending; the next one below is a threshold that a level exceeds
    at = np.searchsorted(-levels, -scores)
    true, false = (np.bincount(at, of, len(levels)).cumsum() for of in (anomalous, normal))
    best = int((2 * true / (true + false + anomalous.sum())).argmax())
    return float(levels[best + 1] if best + 1 < len(levels) else np.nextafter(levels[best], -1))
