"""Areas under ROC and precision-recall curves: for many weightings of the videos at once, which is what a bootstrap over
videos asks for, of which the frames as they are is one; and the curves themselves, by scikit-learn.

A snippet's frames share its score, so a curve takes (S,) scores and how many anomalous and normal frames each stands for.

Shapes: V videos, S snippets, R resamples, G distinct scores of snippets with anomalous frames.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

CHUNK = 128  # distinct scores looked at together, so that the intermediate results stay in cache
TINY = 1e-30  # it makes 1 of 0 / 0, and changes nothing that is added to 1 or more
EXACT = 2**22  # float32 has whole and half numbers below this exactly, and is counted in twice as fast


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
    above are summed per video, and one product with the weights gives the counts of every resample. Few videos have frames at
    one threshold, so those counts are sparse.
    """
    present, video = np.unique(video, return_inverse=True)
    steps = -np.unique(-scores[anomalous > 0])  # (G,) descending
    at = np.searchsorted(-steps, -scores)  # the first step that is not above a score: there its frames are counted
    after = at + (np.append(steps, -np.inf)[at] == scores)  # the first step below it: there they count as above
    times = np.ascontiguousarray(weights.T[present])  # (V, R)
    n_anomalous, n_normal = (np.bincount(video, frames, len(times)) @ times for frames in (anomalous, normal))  # (R,)
    kind = np.float32 if (n_anomalous + n_normal).max(initial=0) < EXACT else np.float64
    times, shape = times.astype(kind), (len(steps) + 1, len(times))
    hits_at, tied_at = (counts_of(frames * (at < after), at, video, shape).astype(kind) for frames in (anomalous, normal))
    above_at = counts_of(normal, after, video, shape).astype(kind)
    up_to = np.tri(CHUNK, dtype=kind)  # sums up to each row: NumPy's own are slower down columns
    tp = np.zeros(len(weights), kind)  # true positives so far
    above = np.zeros((1, len(times)), kind)  # (1, V) false ones
    below, precision, before = np.zeros((3, len(weights)))  # sums over the hits
    for start in range(0, len(steps), CHUNK):
        here = slice(start, min(start + CHUNK, len(steps)))
        hits = hits_at[here] @ times  # (G', R), as all below
        tps = tp + up_to[: len(hits), : len(hits)] @ hits
        above = above[-1:] + above_at[here].toarray().cumsum(0)  # (G', V)
        fps_above = above @ times
        fps = fps_above + tied_at[here] @ times
        below += np.einsum("gr,gr->r", hits, n_normal - (fps + fps_above) / 2)
        precision += np.einsum("gr,gr->r", hits, precision_of(tps, fps))
        before += np.einsum("gr,gr->r", hits, precision_of(tps - hits, fps_above))
        tp = tps[-1]
    whole = np.where((n_anomalous > 0) & (n_normal > 0), n_anomalous, np.nan)
    return Areas(below / whole / np.maximum(n_normal, 1), precision / whole, (precision + before) / 2 / whole)


def counts_of(amounts: np.ndarray, at: np.ndarray, video: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """The sum of the amounts that lie at each step in each video: (S,) amounts, their steps and videos -> (steps, V)."""
    some = amounts != 0
    return csr_array((amounts[some].astype(float), (at[some], video[some])), shape=shape)


def precision_of(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Precision of so many true and false positives, whole numbers, as float64; of none it is 1."""
    return (true + TINY).astype(float) / (true + false + TINY)
