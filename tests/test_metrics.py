"""Every metric against the plainest way to write it."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from evaluation import bootstrap, curves, evaluate, events, smoothing, tables
from evaluation.bootstrap import Bootstrap
from evaluation.scores import Scores, from_logits
from files.videos import Video


def labelled(anomalous):
    """A video's label and classes."""
    return ("Abuse", ("Abuse",)) if anomalous else ("Normal", ())


class Case:
    """A small random test set: few distinct scores, so that ties abound."""

    def __init__(self, seed, n_videos=5, n_levels=6):
        rng = np.random.default_rng(seed)
        self.n_snippets = rng.integers(1, 7, n_videos)
        self.n_frames = 16 * self.n_snippets + rng.integers(-15, 17, n_videos)  # the last is not full, or holds to the end
        self.truths = [np.zeros(n, np.uint8) for n in self.n_frames]
        for truth in self.truths[: 1 + seed % n_videos]:
            for _ in range(rng.integers(1, 3)):
                start = int(rng.integers(len(truth)))
                truth[start : start + int(rng.integers(1, 30))] = 1
        self.scores = [rng.integers(0, n_levels, n) / (n_levels - 1) for n in self.n_snippets]
        self.truth = np.concatenate(self.truths)
        self.videos = [
            Video(f"v{i}", None, *labelled(t.any()), int(n), len(t), 0)
            for i, (t, n) in enumerate(zip(self.truths, self.n_snippets, strict=True))
        ]
        seen = np.concatenate([np.arange(n) + 1 for n in self.n_snippets])
        self.method = Scores(self.videos, np.concatenate(self.scores), seen, 0)

    def snippet(self, v, frame):
        return min(frame // 16, self.n_snippets[v] - 1)

    def frames(self, chosen):
        """Scores and truth of every frame of these videos, one by one."""
        scores = [self.scores[v][self.snippet(v, f)] for v in chosen for f in range(self.n_frames[v])]
        return np.array(scores), np.concatenate([self.truths[v] for v in chosen]) if len(chosen) else np.zeros(0)


def plain_areas(scores, truth):
    """AUC by counting pairs, both areas under precision-recall by going down the thresholds."""
    wins = (scores[truth == 1][:, None] > scores[truth == 0]) + 0.5 * (scores[truth == 1][:, None] == scores[truth == 0])
    ap, trapezoid, recall_before, precision_before = 0.0, 0.0, 0.0, 1.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        recall, precision = truth[chosen].sum() / truth.sum(), truth[chosen].mean()
        ap += (recall - recall_before) * precision
        trapezoid += (recall - recall_before) * (precision + precision_before) / 2
        recall_before, precision_before = recall, precision
    return [wins.mean(), ap, trapezoid]


SEEDS = st.integers(0, 10**6)


@given(SEEDS)
def test_areas_and_resampled_areas_against_their_definitions_ties_included(seed):
    case = Case(seed)
    rng = np.random.default_rng(seed)
    counts = [np.ones(5, int), rng.integers(0, 3, 5)]
    frames = evaluate.frames_of(case.method, case.truth)
    video = np.repeat(np.arange(5), case.n_snippets)
    again, often = (  # (3, 2)
        np.array(curves.resampled_areas(case.method.scores, *frames, video, np.array(counts, float) * times))
        for times in (1, 1_000_003)  # more frames than float32 counts
    )
    np.testing.assert_allclose(often, again, rtol=1e-12)
    for r, times in enumerate(counts):
        scores, truth = case.frames(np.repeat(np.arange(5), times))
        if not 0 < truth.sum() < len(truth):
            assert np.isnan(again[0, r])
            continue
        assert again[:, r].tolist() == pytest.approx(plain_areas(scores, truth))
        if r == 0:
            assert list(curves.areas(case.method.scores, *frames)) == pytest.approx(plain_areas(scores, truth))


def value(figure):
    return None if figure is None else pytest.approx(figure["value"])


@given(SEEDS)
@settings(max_examples=40)
def test_the_figures_of_frames_and_videos_against_their_definitions(seed):
    case = Case(seed)
    threshold = 0.5
    results = evaluate.evaluate(case.method, case.truth, evaluate.Terms(30.0, 1.0), evaluate.Thresholds(threshold, threshold))
    anomalous = [v for v in range(5) if case.truths[v].any()]
    normal = [v for v in range(5) if v not in anomalous]
    for chosen, suffix in ((range(5), ""), (anomalous, "_anomalous")):
        scores, truth = case.frames(chosen)
        names = ("auc", "ap", "ap_trapezoid")
        expected = plain_areas(scores, truth) if 0 < truth.sum() < len(truth) else [None] * 3
        assert expected == [value(results[name + suffix]) for name in names]
    scores, truth = case.frames(range(5))
    hits, chosen = (truth[scores > threshold]).sum(), (scores > threshold).sum()
    assert 2 * hits / (chosen + truth.sum()) == value(results["f1_frames"])
    largest, kind = np.array([max(s) for s in case.scores]), np.array([v in anomalous for v in range(5)], float)
    hits, chosen = kind[largest > threshold].sum(), (largest > threshold).sum()
    assert 2 * hits / (chosen + kind.sum()) == value(results["f1_videos"])
    assert results["n_normal_videos"] == len(normal)
    if normal:
        scores, _ = case.frames(normal)
        assert np.mean(scores > 0.5) == value(results["far"])
        assert plain_areas(largest, kind)[0] == value(results["video_auc"])
        assert results["classes"]["Abuse"]["n_videos"] == len(anomalous)
        of_class = results["classes"]["Abuse"]["auc"]
        assert of_class == (results["auc"] if len(anomalous) > 1 else results["auc"] | {"interval": None})
    else:
        assert results["far"] is None and results["events"] is None


def test_smoothings_are_judged_side_by_side_the_first_with_the_thresholds_and_no_products_in_threads(monkeypatch):
    case, terms = Case(3), evaluate.Terms(30.0, 1.0)
    columns = {"slide": case.method, "none": case.method._replace(scores=case.method.scores[::-1].copy())}
    alone = {name: evaluate.evaluate(scores, case.truth, terms) for name, scores in columns.items()}
    alone["slide"] = evaluate.evaluate(case.method, case.truth, terms, evaluate.Thresholds(videos=0.5))
    judge, threads = evaluate.evaluate, []

    def judged(*what):
        threads.extend(of["num_threads"] for of in threadpool_info() if of["user_api"] == "blas")
        return judge(*what)

    monkeypatch.setattr(evaluate, "evaluate", judged)
    with threadpool_limits(2, "blas"):
        assert evaluate.evaluate_all(columns, case.truth, terms, evaluate.Thresholds(videos=0.5)) == alone
    assert {*threads} == {1} and "f1_videos" in alone["slide"] and "f1_videos" not in alone["none"]


@given(SEEDS, st.sampled_from((0.0, 1.0, 2.0, 5.0)))
@settings(max_examples=60)
def test_events_against_a_frame_by_frame_watch(seed, allowed):
    case = Case(seed)
    normal = [v for v in range(5) if not case.truths[v].any()]
    assume(normal)
    hours = sum(int(case.n_frames[v]) for v in normal) / 30 / 3600
    results = evaluate.evaluate(case.method, case.truth, evaluate.Terms(30.0, allowed / hours))["events"]

    def n_alarms(threshold):
        return sum(
            s > threshold and (i == 0 or case.scores[v][i - 1] <= threshold)
            for v in normal
            for i, s in enumerate(case.scores[v])
        )

    levels = sorted({0.0, *(float(s) for v in normal for s in case.scores[v])}, reverse=True)
    quiet = [level for i, level in enumerate(levels) if all(n_alarms(x) <= allowed for x in levels[: i + 1])]
    assert results["threshold"] == quiet[-1]
    assert value(results["false_alarms_per_hour"]) == n_alarms(quiet[-1]) / hours
    in_alarm = [
        scores[case.snippet(v, f)] > quiet[-1]
        for v, scores in enumerate(case.scores)
        for f in range(case.n_frames[v])
        if v not in normal and not case.truths[v][f]
    ]
    if in_alarm:
        assert value(results["alarmed_outside"]) == np.mean(in_alarm)
    delays, n_events = [], 0
    for v, (truth, scores) in enumerate(zip(case.truths, case.scores, strict=True)):
        f = 0
        while f < len(truth):
            if truth[f] and (f == 0 or not truth[f - 1]):
                n_events += 1
                end = f + 1
                while end < len(truth) and truth[end]:
                    end += 1
                alarms = [g for g in range(f, end) if scores[case.snippet(v, g)] > quiet[-1]]
                if alarms:
                    delays.append(max(0, min(16 * (case.snippet(v, alarms[0]) + 1), len(truth)) - f) / 30)
            f += 1
    assert results["n_events"] == n_events and value(results["detected"]) == len(delays) / n_events
    if delays:
        delays.sort()
        assert value(results["delay_median"]) == delays[(len(delays) + 1) // 2 - 1]
        assert value(results["delay_p90"]) == delays[int(np.ceil(0.9 * len(delays) - 1e-9)) - 1]
    else:
        assert results["delay_median"] is None


@given(SEEDS)
@settings(max_examples=40)
def test_detected_intervals_against_a_plain_search(seed):
    case = Case(seed, n_levels=30)
    n = len(case.method.scores)
    candidates = []  # video, start, end, confidence
    for threshold in {float(np.quantile(case.method.scores, share)) for share in events.SHARES}:
        for v, scores in enumerate(case.scores):
            marked = [i for i in range(len(scores)) if scores[i] > threshold]
            for i in marked:
                if i - 1 not in marked:
                    j = next(j for j in range(i, n) if j + 1 not in marked) + 1
                    end = 16 * j if j < len(scores) else int(case.n_frames[v])
                    candidates.append((v, 16 * i, end, float(np.mean(scores[i:j]))))

    def iou(a, b):
        common = max(0, min(a[2], b[2]) - max(a[1], b[1])) * (a[0] == b[0])
        return common / (a[2] - a[1] + b[2] - b[1] - common)

    kept = []
    for one in sorted(set(candidates), key=lambda c: (c[0], -round(c[3], 9), c[1], c[2])):
        if all(iou(one, other) <= 0.5 for other in kept):
            kept.append(one)
    detections = events.detect(case.method.scores, case.n_snippets, case.n_frames)
    there = zip(*detections.intervals, detections.confidence, strict=True)
    assert sorted((v, s, e, round(c, 9)) for v, s, e, c in there) == sorted((v, s, e, round(c, 9)) for v, s, e, c in kept)

    happened = events.runs(case.truth, case.n_frames)
    left = list(zip(*(x.tolist() for x in happened), strict=True))
    right = []
    for one in sorted(kept, key=lambda c: (-round(c[3], 9), c[0])):
        best = max(left, key=lambda event: iou(one, event), default=None)
        hit = best is not None and iou(one, best) >= 0.3
        right.append(hit)
        if hit:
            left.remove(best)
    assert int(events.matched(detections, happened, 0.3).sum()) == sum(right)


def test_the_ap_of_intervals_counts_missed_events_and_ranks_by_confidence():
    intervals = events.Runs(np.array([0, 0, 1]), np.array([0, 64, 0]), np.array([32, 96, 16]))
    detections = events.Detections(intervals, np.array([0.9, 0.8, 0.7]))
    happened = events.Runs(np.array([0, 0, 1]), np.array([0, 200, 0]), np.array([32, 232, 16]))
    sure = Bootstrap(2)
    sure.weights = np.ones((3, 2))
    values = evaluate.interval_ap(detections, happened, 0.5, sure)
    assert values == pytest.approx([(1 + 2 / 3) / 3] * 3)  # right, wrong, right; one of three events is missed


def test_a_95_percent_interval_covers_the_truth_about_95_percent_of_the_time(monkeypatch):
    """Videos are drawn from a population whose figures are known; each has a level of its own, so frames would mislead.

    The threshold for events is set on the same draw: an interval that took it as given would cover 65 %.
    """
    rng = np.random.default_rng(5)

    def draw(n):
        n_snippets = np.full(n, 12)
        level = np.repeat(rng.normal(0, 1, n), 12)
        truth = np.zeros((n, 12))
        truth[: n // 2, 4:8] = 1
        scores = level + 1.2 * truth.ravel() + rng.normal(0, 1, 12 * n)
        videos = [Video(f"v{i}", None, *labelled(i < n // 2), 12, 192, 0) for i in range(n)]
        method = Scores(videos, smoothing.sigmoid(scores), np.tile(np.arange(12) + 1, n), 0)
        return method, truth.ravel().repeat(16).astype(np.uint8), n_snippets

    terms = evaluate.Terms(30.0, 20.0)

    def figures(n):
        method, truth, n_snippets = draw(n)
        sure, is_normal = Bootstrap(n), np.arange(n) >= n // 2
        areas = sure.areas(method.scores, *evaluate.frames_of(method, truth), np.repeat(np.arange(n), n_snippets))
        detected = evaluate.event_figures(method, truth, terms, sure, is_normal)["detected"]
        return bootstrap.figure_of(areas["auc"]), bootstrap.figure_of(detected)

    monkeypatch.setattr(bootstrap, "N_RESAMPLES", 1)
    expected = [figure["value"] for figure in figures(6_000)]
    monkeypatch.setattr(bootstrap, "N_RESAMPLES", 200)
    covered = np.zeros(2)
    for _ in range(60):
        intervals = [figure["interval"] for figure in figures(80)]
        covered += [low <= value <= high for (low, high), value in zip(intervals, expected, strict=True)]
    assert (covered >= 0.85 * 60).all() and covered[0] < 60, covered


def test_resamples_without_a_normal_video_say_nothing_of_events():
    """There is no threshold then: to take it for 0 would detect everything."""
    videos = [Video(f"v{i}", None, *labelled(i > 0), 4, 64, 0) for i in range(4)]  # a third of all draws lack v0
    method = Scores(videos, np.full(16, 0.5), np.tile(np.arange(4) + 1, 4), 0)
    truth = np.r_[np.zeros(64), np.ones(192)].astype(np.uint8)
    happened = evaluate.evaluate(method, truth, evaluate.Terms(30.0, 0.0))["events"]
    assert happened["threshold"] == 0.5
    without = Scores(videos[1:], np.full(12, 0.5), np.tile(np.arange(4) + 1, 3), 0)
    assert evaluate.evaluate(without, truth[64:], evaluate.Terms(30.0, 0.0))["classes"] == {}, "against no normal video"
    assert happened["detected"] == {"value": 0, "interval": [0, 0]}


def test_of_a_class_of_one_video_nothing_says_how_sure_its_figures_are():
    videos = [Video(f"v{i}", None, label, (label,) if i else (), 4, 64, 0) for i, label in enumerate(("Normal", "A", "B", "B"))]
    method = Scores(videos, np.linspace(0, 1, 16), np.tile(np.arange(4) + 1, 4), 0)
    truth = np.r_[np.zeros(64), np.ones(192)].astype(np.uint8)
    classes = evaluate.evaluate(method, truth, evaluate.Terms(30.0, 0.0))["classes"]
    assert classes["A"]["auc"] == {"value": 1, "interval": None} and classes["B"]["auc"] == {"value": 1, "interval": [1, 1]}


def test_normal_videos_alone_have_false_alarms_and_nothing_else():
    """The delays of no events were an IndexError."""
    videos = [Video(f"v{i}", None, "Normal", (), 4, 64, 0) for i in range(3)]
    method = Scores(videos, np.linspace(0, 1, 12), np.tile(np.arange(4) + 1, 3), 0)
    results = evaluate.evaluate(method, np.zeros(192, np.uint8), evaluate.Terms(30.0, 1.0))
    happened = results["events"]
    assert results["far"]["value"] == 0.5 and happened["false_alarms_per_hour"]["value"] == 0
    nothing = [results["auc"], happened["detected"], happened["delay_median"], *happened["ap_iou"].values()]
    assert nothing == [None] * len(nothing)


def test_one_video_has_no_interval():
    method = Scores([Video("v", None, "Abuse", ("Abuse",), 4, 64, 0)], np.r_[0.1, 0.9, 0.8, 0.2], np.arange(4) + 1, 0)
    results = evaluate.evaluate(method, np.repeat([0, 1, 0, 0], 16).astype(np.uint8), evaluate.Terms(30.0, 1.0))
    assert results["auc"] == {"value": 1.0, "interval": None}
    assert "100.00 [-]" in tables.text({"": results})


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=20))
def test_the_threshold_of_the_best_f1_has_the_best_f1(rows):
    scores, anomalous, normal = (np.array(column, float) for column in zip(*rows, strict=True))
    scores /= 6
    assume(anomalous.any())

    def f1(threshold):
        chosen = scores > threshold
        return 2 * anomalous[chosen].sum() / max(1, anomalous[chosen].sum() + normal[chosen].sum() + anomalous.sum())

    chosen = evaluate.best_f1_threshold(scores, anomalous, normal)
    assert f1(chosen) == pytest.approx(max(f1(t) for t in [-0.1, *(scores + 1e-6), *(scores - 1e-6)]))


def test_a_videos_score_as_in_training_is_the_mean_of_its_largest():
    videos = [Video("a", None, "Abuse", ("Abuse",), 20, 320, 0), Video("b", None, "Normal", (), 4, 64, 0)]
    method = Scores(videos, np.r_[np.arange(20) / 20, 0.1, 0.4, 0.2, 0.3], np.ones(24, int), 0)
    assert evaluate.top_k_means(method).tolist() == pytest.approx([(0.95 + 0.9) / 2, 0.4])


def test_the_ap_of_intervals_does_not_depend_on_the_videos_order():
    rng = np.random.default_rng(0)
    rows = [rng.choice((0.1, 0.9), 9) for _ in range(12)]
    truths = [np.repeat(rng.integers(0, 2, 9), 16) * (i % 3 > 0) for i in range(12)]
    figures = set()
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(12)
        n = np.full(12, 9)
        scores, truth = np.concatenate([rows[i] for i in order]), np.concatenate([truths[i] for i in order])
        detections, happened = events.detect(scores, n, 16 * n), events.runs(truth, 16 * n)
        figures.add(round(evaluate.interval_ap(detections, happened, 0.5, Bootstrap(12))[0], 12))
    assert len(figures) == 1


def test_scores_of_the_future_say_so_and_raise_alarms_late():
    videos = [Video("a", None, "Abuse", ("Abuse",), 20, 320, 0), Video("n", None, "Normal", (), 20, 320, 0)]
    logits = np.full(40, -4.0)
    logits[8:12] = 8.0
    truth = np.zeros(640, np.uint8)
    truth[128:192] = 1
    options = {"smooth": "slide", "smooth_width": 8, "smooth_pad": "edge", "attn_window": 4}
    slide, causal = (from_logits(videos, logits, options, smooth) for smooth in (None, "causal"))
    terms = evaluate.Terms(16.0, 1.0)
    late, honest = (evaluate.evaluate(scores, truth, terms) for scores in (slide, causal))
    assert (late["look_ahead"], honest["look_ahead"]) == (7, 0)
    assert "7 snippets (112 frames, 7.0 s)" in tables.text({"slide 8": late, "causal 8": honest})
    unstated = {"slide 8": late, "theirs": honest | {"look_ahead": None}}
    assert "\nThe look-ahead of theirs is not stated" in tables.text(unstated) and "stated" not in tables.text(
        {"slide 8": late}
    )
    # slide: snippet 8 is above at once, and known once snippet 15's clip is complete: 16 snippets, 8 after the start
    assert late["events"]["delay_median"]["value"] == 8.0 and honest["events"]["delay_median"]["value"] <= 4.0
