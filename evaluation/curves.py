"""Areas under ROC and precision-recall curves: for many weightings of the videos at once, which is what a bootstrap over
videos asks for, of which the frames as they are is one; and the curves themselves, by scikit-learn.

A snippet's frames share its score, so a curve takes (S,) scores and how many anomalous and normal frames each stands for.

Shapes: V videos, S snippets, R resamples, G distinct scores of snippets with anomalous frames.
"""

from typing import NamedTuple

import numpy as np

CHUNK = 1024  # distinct scores looked at together, so that the intermediate results stay small


class Areas(NamedTuple):
    """Three areas, of the frames together, or (R,) of each resample."""

    auc: float | np.ndarray
    ap: float | np.ndarray  # step-wise (`average_precision_score`), as VadCLIP and LSHMA report
    ap_trapezoid: float | np.ndarray  # the trapezoidal area under precision-recall, as many others report


def areas(scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray) -> Areas:
    """The areas of (S,) scores that stand for so many anomalous and normal frames; NaN where there are none of a kind."""
    once = resampled_areas(scores, anomalous, normal, np.zeros(len(scores), int), np.ones((1, 1)))
    return Areas(*(float(values[0]) for values in once))


def curves_of(
    scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], Areas]:
    """The ROC (false, true positive rate) and precision-recall (recall, precision) curves of `areas`, and the areas.

    scikit-learn is imported only here: it takes as long as torch, and only drawings need it.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    fpr, tpr, _ = roc_curve(**weighted(scores, anomalous, normal))
    precision, recall, _ = precision_recall_curve(**weighted(scores, anomalous, normal))
    return (fpr, tpr), (recall, precision), areas(scores, anomalous, normal)


def weighted(scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray) -> dict[str, np.ndarray]:
    """The arguments of scikit-learn's functions: each snippet once as anomalous and once as normal, weighing its frames."""
    frames = np.concatenate((anomalous, normal))
    there = frames > 0
    truth = np.arange(len(frames)) < len(scores)
    return {"y_true": truth[there], "y_score": np.tile(scores, 2)[there], "sample_weight": frames[there]}


def resampled_areas(
    scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray, video: np.ndarray, weights: np.ndarray
) -> Areas:
    """The areas where video v counts weights[r, v] times: (S,) as in `areas`, video (S,) indices, weights (R, V) -> (R,) each.

    All scores are sorted once. A threshold matters only where anomalous frames are at it: for each such score the frames
    above are summed per video, and one product with the weights gives the counts of every resample.
    """
    steps = -np.unique(-scores[anomalous > 0])  # (G,) descending
    at = np.searchsorted(-steps, -scores)  # the first step that is not above a score: there its frames are counted
    after = np.searchsorted(-steps, -scores, "right")  # the first step below it: there they count as above
    n_anomalous, n_normal = (weights @ np.bincount(video, frames, weights.shape[1]) for frames in (anomalous, normal))  # (R,)
    tp = fp = above = np.zeros((len(weights), 1))  # (R, 1) true and false positives so far, and false ones strictly above
    sums = np.zeros((3, len(weights)))
    for start in range(0, len(steps), CHUNK):
        here = range(start, min(start + CHUNK, len(steps)))
        hits = resampled_counts(anomalous, at, here, video, weights)
        tps = tp + hits.cumsum(1)
        fps = fp + resampled_counts(normal, at, here, video, weights).cumsum(1)
        aboves = above + resampled_counts(normal, after, here, video, weights).cumsum(1)
        precision, before = precision_of(tps, fps), precision_of(tps - hits, aboves)
        sums[0] += (hits * (n_normal[:, None] - (fps + aboves) / 2)).sum(1)
        sums[1] += (hits * precision).sum(1)
        sums[2] += (hits * (precision + before) / 2).sum(1)
        tp, fp, above = tps[:, -1:], fps[:, -1:], aboves[:, -1:]
    whole = np.where((n_anomalous > 0) & (n_normal > 0), n_anomalous, np.nan)
    return Areas(sums[0] / whole / np.maximum(n_normal, 1), sums[1] / whole, sums[2] / whole)


def resampled_counts(amounts: np.ndarray, at: np.ndarray, steps: range, video: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sum of the amounts that lie at each step, in each resample: (S,) amounts, at (S,) their steps, -> (R, len(steps))."""
    here = (at >= steps.start) & (at < steps.stop) & (amounts != 0)
    cell = video[here] * len(steps) + at[here] - steps.start
    return weights @ np.bincount(cell, amounts[here], weights.shape[1] * len(steps)).reshape(-1, len(steps))


def precision_of(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Precision of so many true and false positives; of none it is 1."""
    return np.divide(true, true + false, out=np.ones_like(true), where=true + false > 0)
