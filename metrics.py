"""From logits to the figures the field reports (METHOD, section 8). Numpy and scikit-learn only.

Shapes: V videos, L snippets of one video, F frames.
"""

import numpy as np
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

FRAMES_PER_SNIPPET = 16


def smooth(logits: np.ndarray, kind: str, width: int, pad: str) -> np.ndarray:
    """Logits of one video averaged over time: (L,) -> (L,) float64.

    Args:
        kind: `slide`, the mean of a snippet and the width - 1 that follow (it looks ahead); `fixed`, the mean of each block
            of width snippets; `causal`, the mean of a snippet and the width - 1 before it, or what exists; `none`.
        pad: what stands behind the last snippet, `zero` (a score of 0.5, as released) or `edge` (its own logit).
    """
    logits = np.asarray(logits, np.float64)
    length = len(logits)
    if kind == "none":
        return logits
    if kind == "causal":
        total = np.concatenate(([0.0], logits.cumsum()))
        end = np.arange(1, length + 1)
        start = np.maximum(end - width, 0)
        return (total[end] - total[start]) / (end - start)
    behind = np.full(width - 1, logits[-1] if pad == "edge" else 0.0)
    padded = np.concatenate((logits, behind))
    if kind == "fixed":
        blocks = padded[: -(-length // width) * width].reshape(-1, width)
        return blocks.mean(1).repeat(width)[:length]
    return np.lib.stride_tricks.sliding_window_view(padded, width).mean(1)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Scores of logits, in float64, without overflow, and exact near 0 too, so that small scores keep their order."""
    return np.exp(-np.logaddexp(0, -np.asarray(logits, np.float64)))


def to_frames(scores: np.ndarray, n_frames: np.ndarray, n_snippets: np.ndarray) -> np.ndarray:
    """Each snippet's score for each of its 16 frames; a video's last snippet is cut to the video's frames.

    Args:
        scores: (sum of L,). n_frames, n_snippets: (V,), 16 (L - 1) < frames <= 16 L.
    Returns: (F,) in list order.
    """
    counts = np.full(len(scores), FRAMES_PER_SNIPPET)
    last = np.cumsum(n_snippets) - 1
    counts[last] = np.asarray(n_frames) - FRAMES_PER_SNIPPET * (np.asarray(n_snippets) - 1)
    return np.repeat(scores, counts)


def binary_metrics(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """AUC and both areas under precision-recall of scores against truth, 0 or 1: (F,) of frames, or (V,) of videos.

    `ap` is step-wise (`average_precision_score`), as VadCLIP and LSHMA report; `ap_trapezoid` is what many others report.
    """
    precision, recall, _ = precision_recall_curve(truth, scores)
    return {
        "auc": float(roc_auc_score(truth, scores)),
        "ap": float(average_precision_score(truth, scores)),
        "ap_trapezoid": float(auc(recall, precision)),
    }
