"""How sure a figure is: 95 % intervals by a bootstrap over videos, since the frames of a video are no independent samples.

Shapes: V videos, S snippets, R resamples, E events.
"""

from typing import Any

import numpy as np

from evaluation.curves import areas, resampled_areas

N_RESAMPLES = 1000
INTERVAL = (0.025, 0.975)  # quantiles of the resamples


class Bootstrap:
    """Figures with their 95 % intervals: the videos are drawn again and again, 1,000 times, always the same for the same V."""

    def __init__(self, n_videos: int):
        draw = np.random.default_rng(0).multinomial
        self.weights = draw(n_videos, np.full(n_videos, 1 / n_videos), N_RESAMPLES).astype(float)  # (R, V) times drawn

    def figure(self, value: float, resampled: np.ndarray) -> dict[str, Any] | None:
        """{"value", "interval"} of a value and the (R,) resampled ones; those that are not defined (NaN) do not count.

        The value is None where it is not defined, the interval where nothing is, or where there is but one video to draw.
        """
        if np.isnan(value):
            return None
        defined = resampled[~np.isnan(resampled)]
        sure = len(defined) and self.weights.shape[1] > 1
        return {"value": float(value), "interval": [float(x) for x in np.quantile(defined, INTERVAL)] if sure else None}

    def ratio(self, part: np.ndarray, whole: np.ndarray) -> dict[str, Any] | None:
        """A sum over videos by another: (V,) each."""
        with np.errstate(invalid="ignore"):
            return self.figure(share(part.sum(), whole.sum()), (self.weights @ part) / (self.weights @ whole))

    def areas(self, scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray, video: np.ndarray) -> dict[str, dict | None]:
        """`auc`, `ap` and `ap_trapezoid` as in curves.py: (S,) each, the frames that a score stands for and its video."""
        again = resampled_areas(scores, anomalous, normal, video, self.weights)._asdict()
        return {name: self.figure(value, again[name]) for name, value in areas(scores, anomalous, normal)._asdict().items()}


def share(part: float, whole: float) -> float:
    """part / whole, NaN of nothing."""
    return part / whole if whole else np.nan


def share_of_finite(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share of each row's values that are finite: (R, E), counted so often, -> (R,), NaN of nothing."""
    whole = weights.sum(1)
    return (weights * np.isfinite(values)).sum(1) / np.where(whole > 0, whole, np.nan)


def weighted_quantile(values: np.ndarray, weights: np.ndarray, q: float) -> np.ndarray:
    """The least finite value of each row that a share q of them does not exceed: (R, E), counted so often, -> (R,)."""
    order = np.argsort(values, 1)
    values = np.take_along_axis(values, order, 1)
    below = np.cumsum(np.take_along_axis(weights, order, 1) * np.isfinite(values), 1)  # (R, E) how many up to each value
    at = np.minimum((below < q * below[:, -1:]).sum(1), values.shape[1] - 1)
    return np.where(below[:, -1] > 0, values[np.arange(len(values)), at], np.nan)
