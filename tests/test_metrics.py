"""Smoothing, frames and metrics against the plainest way to write them."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import metrics

settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")
LOGITS = st.lists(st.floats(-20, 20), min_size=1, max_size=40).map(np.array)


def by_hand(x, kind, width, pad):
    behind = x[-1] if pad == "edge" else 0.0
    at = [*x, *[behind] * width]
    if kind == "slide":
        return [np.mean(at[i : i + width]) for i in range(len(x))]
    if kind == "fixed":
        return [np.mean(at[i // width * width : i // width * width + width]) for i in range(len(x))]
    if kind == "causal":
        return [np.mean(x[max(0, i - width + 1) : i + 1]) for i in range(len(x))]
    return list(x)


@given(LOGITS, st.sampled_from(("slide", "fixed", "causal", "none")), st.integers(1, 20), st.sampled_from(("zero", "edge")))
def test_smoothing(x, kind, width, pad):
    np.testing.assert_allclose(metrics.smooth(x, kind, width, pad), by_hand(x, kind, width, pad), atol=1e-12)


def test_causal_smoothing_never_looks_ahead():
    x = np.arange(30.0)
    assert np.array_equal(metrics.smooth(x, "causal", 8, "edge")[:10], metrics.smooth(x[:10], "causal", 8, "edge"))


@given(LOGITS)
def test_scores_are_the_sigmoid(x):
    np.testing.assert_allclose(metrics.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-9)
    assert (metrics.sigmoid(np.array([-1e9, 1e9])) == [0, 1]).all()


def test_a_videos_last_snippet_is_cut_to_its_frames():
    frames = metrics.to_frames(np.array([1.0, 2.0, 3.0]), [17, 16], [2, 1])
    assert frames.tolist() == [1.0] * 16 + [2.0] + [3.0] * 16


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_metrics_against_their_definitions_ties_included(pairs):
    scores, truth = np.array([s / 6 for s, _ in pairs]), np.array([t for _, t in pairs])
    assume(0 < truth.sum() < len(truth))
    found = metrics.binary_metrics(scores, truth)
    wins = [(p > n) + 0.5 * (p == n) for p in scores[truth] for n in scores[~truth]]
    assert found["auc"] == pytest.approx(np.mean(wins))
    ap, trapezoid, recall_before, precision_before = 0.0, 0.0, 0.0, 1.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        recall, precision = (truth & chosen).sum() / truth.sum(), (truth & chosen).sum() / chosen.sum()
        ap += (recall - recall_before) * precision
        trapezoid += (recall - recall_before) * (precision + precision_before) / 2
        recall_before, precision_before = recall, precision
    assert found["ap"] == pytest.approx(ap)
    assert found["ap_trapezoid"] == pytest.approx(trapezoid)
