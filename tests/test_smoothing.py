"""Smoothing against the plainest way to write it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evaluation import smoothing

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
    np.testing.assert_allclose(smoothing.smooth(x, kind, width, pad), by_hand(x, kind, width, pad), atol=1e-12)


def test_causal_smoothing_never_looks_ahead():
    x = np.arange(30.0)
    assert np.array_equal(smoothing.smooth(x, "causal", 8, "edge")[:10], smoothing.smooth(x[:10], "causal", 8, "edge"))


@given(LOGITS)
def test_scores_are_the_sigmoid(x):
    np.testing.assert_allclose(smoothing.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-9)
    assert (smoothing.sigmoid(np.array([-1e9, 1e9])) == [0, 1]).all()


@given(LOGITS, st.sampled_from(("slide", "fixed", "causal", "none")), st.integers(1, 9), st.sampled_from((1, 4, 8)))
def test_a_score_is_known_once_the_last_clip_it_depends_on_is_complete(x, kind, width, window):
    """Change one snippet at a time: every score that moves waits for that snippet's clip."""
    seen = smoothing.seen(len(x), kind, width, window)
    before = smoothing.smooth(x, kind, width, "zero")
    waits = [0] * len(x)
    for j in range(len(x)):
        changed = x.copy()
        changed[j] += 1000.0
        for i in np.flatnonzero(smoothing.smooth(changed, kind, width, "zero") != before):
            waits[i] = min(-(-(j + 1) // window) * window, len(x))
    assert seen.tolist() == waits
    assert smoothing.look_ahead(kind, width) == (width - 1 if kind in ("slide", "fixed") else 0)
