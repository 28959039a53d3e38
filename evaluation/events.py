"""What a live system is judged by: alarms, the events they find and how late, and detected intervals.

An event is a run of anomalous frames of one video, an alarm a run of snippets whose score is above the threshold.

Shapes: V videos, S snippets, E events, D detections.
"""

from typing import NamedTuple

import numpy as np

from evaluation.curves import CHUNK, counts_of
from files.features import FRAMES_PER_SNIPPET

SHARES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)  # of the snippets that lie below an interval's threshold
OVERLAP = 0.5  # of two detected intervals that overlap more, only the more confident is kept


class Runs(NamedTuple):
    """Runs of what is marked, as [start, end) counted in their video."""

    video: np.ndarray
    start: np.ndarray
    end: np.ndarray


def runs(marked: np.ndarray, lengths: np.ndarray) -> Runs:
    """The runs of a mask over videos one after another: (sum of lengths,) bool, (V,) lengths."""
    lengths = np.asarray(lengths)
    begins = np.cumsum(lengths) - lengths
    first, last = marked.astype(bool), marked.astype(bool)
    first[1:] &= ~marked[:-1].astype(bool)
    last[:-1] &= ~marked[1:].astype(bool)
    first[begins] = marked[begins]
    last[begins + lengths - 1] = marked[begins + lengths - 1]
    start, end = np.flatnonzero(first), np.flatnonzero(last) + 1
    video = np.searchsorted(begins, start, "right") - 1
    return Runs(video, start - begins[video], end - begins[video])


def thresholds_for(scores: np.ndarray, video: np.ndarray, weights: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The lowest threshold at which, and above which, these videos raise no more alarms than allowed: (R,).

    Alarms are counted for every score as a threshold: snippets above it, less the neighbours that both are. Thresholds are
    tried from the highest down, until too many alarms are raised.

    Args:
        scores: (S,). video: (S,) indices, ascending. weights: (R, V) how often each video counts. allowed: (R,).
    """
    thresholds = -np.unique(-np.append(scores, 0.0))  # descending
    together = video[1:] == video[:-1]
    counted = np.concatenate((scores, np.minimum(scores[:-1], scores[1:])[together]))
    sign = np.repeat((1, -1), (len(scores), together.sum()))
    of_video = np.concatenate((video, video[1:][together]))
    step = np.searchsorted(-thresholds, -counted, "right")  # the first threshold that is below the score
    times = np.ascontiguousarray(weights.T)  # (V, R)
    counts = counts_of(sign, step, of_video, (len(thresholds) + 1, len(times)))
    lowest, open_, alarms = np.zeros(len(weights)), np.ones(len(weights), bool), np.zeros(len(weights))
    allowed = allowed + 1e-9  # a rate times hours may miss a whole number by rounding
    for start in range(0, len(thresholds), CHUNK):
        here = thresholds[start : start + CHUNK]
        raised = alarms + (counts[start : start + len(here)] @ times).cumsum(0)  # (here, R)
        quiet = np.logical_and.accumulate(raised <= allowed) & open_
        n_quiet = quiet.sum(0)
        lowest = np.where(n_quiet > 0, here[np.maximum(n_quiet, 1) - 1], lowest)
        open_ &= n_quiet == len(here)
        alarms = raised[-1]
        if not open_.any():
            break
    return lowest


def delays(events: Runs, alarmed: np.ndarray, n_snippets: np.ndarray, seen: np.ndarray, n_frames: np.ndarray) -> np.ndarray:
    """Frames from each event's start to its first alarm, infinite where none comes: (E,).

    Frames after the last whole snippet have its score: an event there is found at once, or not.

    Args:
        alarmed: (S,) bool. seen: (S,) snippets that had to come before a snippet's score exists: an alarm is raised then.
    """
    length, begins = n_snippets[events.video], (np.cumsum(n_snippets) - n_snippets)[events.video]  # (E,)
    first = begins + np.minimum(events.start // FRAMES_PER_SNIPPET, length - 1)
    last = begins + np.minimum((events.end - 1) // FRAMES_PER_SNIPPET, length - 1)
    following = np.append(np.flatnonzero(alarmed), len(alarmed))
    alarm = following[np.searchsorted(following, first)]  # the first alarmed snippet from the event's start on
    raised = np.minimum(FRAMES_PER_SNIPPET * np.append(seen, 0)[alarm], n_frames[events.video])
    return np.where(alarm <= last, np.maximum(0, raised - events.start), np.inf)


class Detections(NamedTuple):
    """Detected intervals, in frames."""

    intervals: Runs
    confidence: np.ndarray  # (D,) the mean score inside


def detect(scores: np.ndarray, n_snippets: np.ndarray, n_frames: np.ndarray) -> Detections:
    """Intervals above any of ten thresholds (quantiles of all scores), the most confident of those that overlap."""
    begins = np.cumsum(n_snippets) - n_snippets
    of_levels = [runs(scores > threshold, n_snippets) for threshold in np.unique(np.quantile(scores, SHARES))]
    video, first, after = (np.concatenate(parts) for parts in zip(*of_levels, strict=True))  # (C,) candidates, in snippets
    edges = np.stack((begins[video] + first, begins[video] + after), 1).ravel()
    sums = np.add.reduceat(np.append(scores, 0.0), edges)[::2] if len(edges) else np.zeros(0)
    confidence = np.round(sums / (after - first), 9)  # equal means stay equal, whatever they were summed from
    start = FRAMES_PER_SNIPPET * first
    end = np.where(after < n_snippets[video], FRAMES_PER_SNIPPET * after, n_frames[video])
    order = np.lexsort((end, start, -confidence, video))
    # an interval lies within one of the lowest threshold, and those apart: all of these are gone through at once
    within = np.searchsorted(edges[: 2 * len(of_levels[0].video) : 2], edges[::2], "right")
    left, kept = order[np.argsort(within[order], kind="stable")], np.zeros(len(order), bool)
    while len(left):
        heads, of = np.unique(within[left], return_index=True, return_inverse=True)[1:]
        best = left[heads]
        kept[best] = True
        left = left[overlap(start[best[of]], end[best[of]], start[left], end[left]) <= OVERLAP]
    order = order[kept[order]]
    return Detections(Runs(video[order], start[order], end[order]), confidence[order])


def overlap(start: np.ndarray, end: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Intersection over union of intervals, pair by pair."""
    common = np.maximum(0, np.minimum(end, ends) - np.maximum(start, starts))
    return common / (end - start + ends - starts - common)


def matched(detections: Detections, events: Runs, least: float) -> np.ndarray:
    """Which detections are right, at an overlap of at least so much: (D,) bool.

    In the order of their confidence each takes the event of its video that it overlaps most of those not yet taken.
    """
    (video, start, end), confidence = detections
    first, after = (np.searchsorted(events.video, video, side) for side in ("left", "right"))  # the events of its video
    n = after - first
    d = np.repeat(np.arange(len(n)), n)  # (P,) pairs of a detection and an event
    e = np.arange(len(d)) - np.repeat(n.cumsum() - n - first, n)
    shared = overlap(start[d], end[d], events.start[e], events.end[e])
    rank = np.argsort(np.argsort(-confidence, kind="stable"))
    right, taken = np.zeros(len(confidence), bool), np.zeros(len(events.video), bool)
    some = np.flatnonzero(shared >= least)
    for pair in some[np.lexsort((e[some], -shared[some], rank[d[some]]))]:
        if not (right[d[pair]] or taken[e[pair]]):
            right[d[pair]] = taken[e[pair]] = True
    return right
