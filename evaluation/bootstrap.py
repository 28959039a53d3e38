"""How sure a figure is: 95 % intervals by a bootstrap over videos, since the frames of a video are no independent samples.

Shapes: V videos, S snippets, R resamples, E events. The first of 1 + R rows is the videos as they are.
"""

from typing import Any

import numpy as np

from evaluation.curves import resampled_areas

N_RESAMPLES = 1000
INTERVAL = (0.025, 0.975)  # quantiles of the resamples


class Bootstrap:
    """Figures with their 95 % intervals: the videos once each, then drawn 1,000 times, always the same for the same V."""

    def __init__(self, n_videos: int):
        drawn = np.random.default_rng(0).multinomial(n_videos, np.full(n_videos, 1 / n_videos), N_RESAMPLES)
        self.weights = np.vstack((np.ones(n_videos), drawn))  # (1 + R, V) how often each video counts

    @property
    def resamples(self) -> np.ndarray:
        """The weights without the first row: (R, V)."""
        return self.weights[1:]

    def figure(self, values: np.ndarray) -> dict[str, Any] | None:
        """{"value", "interval"} of (1 + R,) values, one for each row of the weights; those not defined (NaN) do not count.

        None where the value is not defined; the interval is None where nothing is, or where there is but one video to draw.
        """
        if np.isnan(values[0]):
            return None
        defined = values[1:][~np.isnan(values[1:])]
        sure = len(defined) and self.weights.shape[1] > 1
        return {"value": float(values[0]), "interval": np.quantile(defined, INTERVAL).tolist() if sure else None}

    def ratio(self, part: np.ndarray, whole: np.ndarray) -> dict[str, Any] | None:
        """A sum over videos by another: (V,) each."""
        with np.errstate(invalid="ignore"):
            return self.figure((self.weights @ part) / (self.weights @ whole))

    def areas(self, scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray, video: np.ndarray) -> dict[str, dict | None]:
        """`auc`, `ap` and `ap_trapezoid` as in curves.py: (S,) each, the frames that a score stands for and its video."""
        areas = resampled_areas(scores, anomalous, normal, video, self.weights)
        return {name: self.figure(values) for name, values in areas._asdict().items()}


def share_of_finite(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share of each row's values that are finite: (R, E), counted so often, -> (R,), NaN of nothing."""
    with np.errstate(invalid="ignore"):
        return (weights * np.isfinite(values)).sum(1) / weights.sum(1)


def weighted_quantile(values: np.ndarray, weights: np.ndarray, q: float) -> np.ndarray:
    """The least finite value of each row that a share q of them does not exceed: (R, E), counted so often, -> (R,)."""
    weights = weights * np.isfinite(values)
    some, quantiles = weights.any(1), np.full(len(values), np.nan)
    if some.any():
        quantiles[some] = np.quantile(values[some], q, axis=1, weights=weights[some], method="inverted_cdf")
    return quantiles
