"""Logits averaged over time, and how far into the future that looks (METHOD, section 9); scores over crops. No torch.

Shapes: L snippets of one video, C crops.
"""

import numpy as np
from scipy.special import expit, log_expit, logsumexp


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


def look_ahead(kind: str, width: int) -> int:
    """How many snippets into the future a smoothed logit sees, at most."""
    return width - 1 if kind in ("slide", "fixed") else 0


def seen(length: int, kind: str, width: int, window: int) -> np.ndarray:
    """How many snippets of a video must have come before each one's smoothed score exists, whole clips: (L,) int64."""
    n = np.arange(length)
    if kind == "fixed":
        n = n // width * width
    needed = n + look_ahead(kind, width) + 1
    return np.minimum(-(-needed // window) * window, length)


def name_of(kind: str, width: int) -> str:
    """`slide 8`, or `unsmoothed`."""
    return "unsmoothed" if kind == "none" else f"{kind} {width}"


def over_crops(logits: np.ndarray) -> np.ndarray:
    """The logits of the mean of several crops' scores: (C, L) -> (L,) float64."""
    logits = np.asarray(logits, np.float64)
    return logsumexp(log_expit(logits), 0) - logsumexp(log_expit(-logits), 0)  # log p / (1 - p); both lack the same log C


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Scores of logits, in float64, so that small and large ones keep their order."""
    return expit(np.asarray(logits, np.float64))
