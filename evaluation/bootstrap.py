"""How sure a figure is: 95 % intervals by a bootstrap over videos, since the frames of a video are no independent samples.

A figure is (1 + R,) values, the first of the videos as they are, until `figure_of` sums them up: so figures of the same videos
can be averaged and subtracted, and the interval is that of the mean or of the difference.

Shapes: V videos, S snippets, R resamples, E events.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from evaluation.curves import resampled_areas

N_RESAMPLES = 1000
INTERVAL = (0.025, 0.975)  # quantiles of the resamples
# around all resampling: the threads of such small products wait for each other, for seconds where other work is on the cores
unthreaded = threadpool_limits.wrap(limits=1, user_api="blas")


class Bootstrap:
    """The videos once each, then drawn 1,000 times, always the same for the same V; of a single video nothing is drawn."""

    def __init__(self, n_videos: int):
        n_resamples = N_RESAMPLES if n_videos > 1 else 0
        drawn = np.random.default_rng(0).multinomial(n_videos, np.full(n_videos, 1 / n_videos), n_resamples)
        self.weights = np.vstack((np.ones(n_videos), drawn))  # (1 + R, V) how often each video counts

    def ratio(self, part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """A sum over videos by another: (V,) each -> (1 + R,)."""
        with np.errstate(invalid="ignore"):
            return (self.weights @ part) / (self.weights @ whole)

    def areas(self, scores: np.ndarray, anomalous: np.ndarray, normal: np.ndarray, video: np.ndarray) -> dict[str, np.ndarray]:
        """`auc`, `ap` and `ap_trapezoid` as in curves.py: (S,) each, frames a score stands for, its video -> (1 + R,) each."""
        return resampled_areas(scores, anomalous, normal, video, self.weights)._asdict()


def figure_of(values: np.ndarray) -> dict[str, Any] | None:
    """{"value", "interval"} of (1 + R,) values, one for each row of the weights; those not defined (NaN) do not count.

    None where the value is not defined; the interval is None where nothing is.
    """
    if np.isnan(values[0]):
        return None
    defined = values[1:][~np.isnan(values[1:])]
    return {"value": float(values[0]), "interval": np.quantile(defined, INTERVAL).tolist() if len(defined) else None}


def nested(of: Callable[..., Any], *trees: Any) -> Any:
    """Nested figures with `of` those of all trees in the place of each; what is no figure is the first's."""
    if isinstance(trees[0], dict):
        return {name: nested(of, *(tree[name] for tree in trees)) for name in trees[0]}
    return of(*trees) if isinstance(trees[0], np.ndarray) else trees[0]


def share_of_finite(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share of each row's values that are finite: (R, E), weights how often each counts -> (R,), NaN of nothing."""
    with np.errstate(invalid="ignore"):
        return (weights * np.isfinite(values)).sum(1) / weights.sum(1)


def weighted_quantile(values: np.ndarray, weights: np.ndarray, q: float) -> np.ndarray:
    """The least finite value of each row that a share q does not exceed: (R, E) -> (R,); weights: how often each counts."""
    weights = weights * np.isfinite(values)
    some, quantiles = weights.any(1), np.full(len(values), np.nan)
    if some.any():
        quantiles[some] = np.quantile(values[some], q, axis=1, weights=weights[some], method="inverted_cdf")
    return quantiles
