"""Smoothing and every metric against the plainest way to write them, and against another method's published figures."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, refused, write_list
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc as area
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from evaluation import bootstrap, curves, evaluate, events, smoothing, tables
from evaluation.bootstrap import Bootstrap
from evaluation.scores import Scores, from_logits
from evaluation.scores_file import read_scores
from files.videos import Video

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
        assert results["classes"]["Abuse"]["auc"] == results["auc"]
    else:
        assert results["far"] is None and results["events"] is None


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


def test_look_ahead_and_what_was_seen_follow_from_each_other(scored):
    command, content, path = scored
    own = np.r_[1:6, 1:5, 1:4, 1:7]
    later = np.minimum(own + 2, np.repeat(content["n_snippets"], content["n_snippets"]))
    for stated, seen, look_ahead in (({"look_ahead": 2}, later, 2), ({"seen": later}, later, 2), ({}, own, None)):
        command(**stated)
        method = read_scores(path / "s.npz")
        assert method.seen.tolist() == seen.tolist() and method.look_ahead == look_ahead
        results = evaluate.evaluate(method, np.load(path / "gt.npy"), evaluate.Terms(30.0, 1.0))
        assert ("is not stated: its" in tables.text({"": results})) == (not stated)


def test_a_list_made_on_windows_names_the_same_videos(scored, run):
    command, content, path = scored
    rows = [("D:\\features\\" + name + "__5.npy", "Normal" if name[0] == "N" else name[:5]) for name in content["video"]]
    write_list(path / "windows.csv", rows)
    done = run(*command("windows.csv"))
    assert done.code == 0, done.err


def test_labels_that_names_do_not_say_are_unknown(scored, run):
    command, _, path = scored
    done = run(*command(None, video=np.array(["01_0015", "01_0016", "film__#0_label_B2-0-0__0", "02 $x^$"])))
    assert done.code == 0 and "called" not in done.err, done
    assert [video.label for video in read_scores(path / "s.npz").videos] == ["", "", "B2-0-0", ""]
    assert "AUC, shooting (1)" in done.out


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


SLICE = ROOT / "tests" / "pel4vad_slice.npz"  # 18 of the 290 UCF-Crime test videos as PEL4VAD scores them


def test_another_methods_scores_give_what_scikit_learn_gives_of_their_frames(tmp_path, run):
    """On all 290 videos the same command gives AUC 0.8675801, AP 0.3391734 and 0.3399918, as published."""
    content = dict(np.load(SLICE))
    np.save(tmp_path / "gt.npy", content.pop("gt"))
    np.savez(tmp_path / "other.npz", **content)
    done = run("metrics.py", tmp_path / "other.npz", "--gt-path", tmp_path / "gt.npy")
    assert done.code == 0, done.err
    results = json.loads((tmp_path / "other.json").read_text())
    truth, frames = np.load(tmp_path / "gt.npy"), content["scores"].astype(float).repeat(16)
    of_video = np.repeat(np.arange(len(content["video"])), 16 * content["n_snippets"])
    anomalous = np.isin(of_video, of_video[truth == 1])
    precision, recall, _ = precision_recall_curve(truth, frames)
    expected = {
        "auc": roc_auc_score(truth, frames),
        "ap": average_precision_score(truth, frames),
        "ap_trapezoid": area(recall, precision),
        "auc_anomalous": roc_auc_score(truth[anomalous], frames[anomalous]),
        "far": (frames[~anomalous] > 0.5).mean(),
    }
    assert {name: results[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert all(results[n]["interval"][0] <= results[n]["value"] <= results[n]["interval"][1] for n in expected)
    assert "Shoplifting" in results["classes"] and "AUC, Shoplifting" in done.out


@pytest.fixture
def scored(tmp_path):
    """Scores of four videos with their ground truth and list."""
    names, n_snippets = ["Abuse001_x264", "Normal_Videos_003_x264", "Arson002_x264", "Normal_Videos_010_x264"], [5, 4, 3, 6]
    truth = np.zeros(16 * sum(n_snippets), np.uint8)
    truth[16:40] = truth[16 * 9 + 3 : 16 * 11] = 1
    np.save(tmp_path / "gt.npy", truth)
    write_list(tmp_path / "list.csv", [(f"{n}__5.npy", "Normal" if n[0] == "N" else n[:5]) for n in names])
    content = {"video": np.array(names), "n_snippets": np.array(n_snippets), "scores": np.linspace(0, 1, 18)}

    def command(list_file="list.csv", **changed):
        np.savez(tmp_path / "s.npz", **{k: v for k, v in (content | changed).items() if v is not None})
        lists = ["--test-list", tmp_path / list_file] if list_file else []
        return ["metrics.py", tmp_path / "s.npz", "--gt-path", tmp_path / "gt.npy", *lists]

    return command, content, tmp_path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scores": None}, "no array named scores"),
        ({"scores": np.linspace(0, 1, 17)}, "adds up to 18"),
        ({"scores": np.linspace(-1, 1, 18)}, "not in [0, 1]"),
        (
            {"scores": np.append(np.linspace(0, 1, 17), np.nan)},
            "Normal_Videos_010_x264, snippet 5; every snippet needs a score",
        ),
        ({"scores": np.append(np.linspace(0, 1, 17), 1.0000001)}, "clip them"),
        ({"scores": np.arange(18) // 18}, "floating-point"),
        ({"video": np.arange(4)}, "names in video"),
        ({"video": np.array(["Abuse001_x264"] * 4)}, "has 'Abuse001_x264' in this place"),
        ({"n_snippets": np.array([5, 4, 9, 0])}, "at least 1"),
        ({"seen": np.zeros(18, int)}, "seen must count"),
        ({"look_ahead": np.array(-1)}, "look_ahead must be"),
        ({"look_ahead": np.array(2**64 - 1, np.uint64)}, None),
        ({"seen": np.r_[5, 4, 3, 4, 5, 1:5, 1:4, 1:7]}, "must not fall"),
        ({"n_snippets": np.array([2**62, 2**62, 2**62, 2**62 + 18])}, "adds up to"),
        ({"label": np.array(["Abuse", "Normal", "B7", "A"])}, None),  # the list's labels count
        ({"n_snippets": np.array([4, 5, 3, 6])}, None),  # nothing can tell, without true frames in the list
    ],
)
def test_scores_that_cannot_be_are_named(scored, run, change, words):
    command, _, _ = scored
    done = run(*command(**change))
    assert (done.code, done.err) == (0, done.err) if words is None else done.code == 2 and words in done.err, done


def test_wrong_pairings_are_named(scored, run):
    command, content, path = scored
    names = content["video"]
    rows = [(f"{n}__5.npy", "Normal" if n[0] == "N" else n[:5]) for n in names]
    write_list(path / "other.csv", [(r[0].replace("0", "9"), r[1]) for r in rows])
    write_list(path / "more.csv", [*rows, ("Arson011_x264__5.npy", "Arson")])
    write_list(path / "order.csv", rows[::-1])
    write_list(path / "short.csv", rows[:3])
    write_list(path / "twice.csv", [*rows, rows[0]])
    write_list(
        path / "frames.csv",
        [(*r, 16 * n + 1) for r, n in zip(rows, content["n_snippets"], strict=True)],
        ("path", "label", "frames"),
    )
    for list_file, words in (
        ("other.csv", "other.csv, line 2: "),
        ("more.csv", "line 6: 'Arson011_x264', but"),
        ("order.csv", "line 2: 'Normal_Videos_010_x264', but"),
        ("short.csv", "'Normal_Videos_010_x264' and what follows are not in"),
        ("twice.csv", "has 4 videos only; score the list's videos, one crop of each"),
        ("frames.csv", "not 81"),
        ("nowhere.csv", "no such list"),
    ):
        done = run(*command(list_file))
        assert done.code == 2 and words in done.err, done
    done = run(*command(None, video=np.array([names[0], *names[:3]])))
    assert done.code == 2 and "is already video 1" in done.err
    np.save(path / "gt.npy", np.zeros(7))
    done = run(*command())
    assert done.code == 2 and "7 frames, but" in done.err
    for damage in (b"nothing", damaged(content, path)):
        (path / "s.npz").write_bytes(damage)
        done = run("metrics.py", path / "s.npz", "--gt-path", path / "gt.npy")
        assert done.code == 2 and "not a whole .npz" in done.err
    done = run("metrics.py", path, "--gt-path", path / "gt.npy")
    assert done.code == 2 and "no such file of scores" in done.err
    assert not (path / "s.json").exists()


def damaged(content, path):
    """A compressed file with a byte that is another."""
    np.savez_compressed(path / "whole.npz", **content)
    data = bytearray((path / "whole.npz").read_bytes())
    data[data.index(b"scores.npy") + 60] ^= 255
    return bytes(data)


def test_the_figures_never_replace_an_input(scored, run):
    command, _, path = scored
    words = command()
    for out in ("s.npz", "list.csv", "gt.npy"):
        before = (path / out).read_bytes()
        done = run(*words, "--out", path / out)
        assert done.code == 2 and "would replace an input" in done.err and (path / out).read_bytes() == before
    for out, problem in (("gt.npy/x.json", "gt.npy cannot be written"), ("x.csv", "ends in .json"), ("x", "ends in .json")):
        done = run(*words, "--out", path / out)
        assert done.code == 2 and problem in done.err and not (path / out).exists()
    (path / "s.json").write_text("{}")
    done = run(*words)
    assert (
        done.code == 2
        and "s.json is there already, and not of this script" in done.err
        and (path / "s.json").stat().st_size == 2
    )
    (path / "s.json").unlink()
    assert run(*words).code == run(*words).code == 0, "its own it replaces"
    done = run(*words, "--out", path / "new/x.json", "--table", path / "newer/still/t.md")
    assert done.code == 0 and (path / "new/x.json").exists() and (path / "newer/still/t.md").exists(), done


def test_the_ground_truth_may_lie_in_the_file_of_the_scores(scored, run):
    """metrics.py asked for --gt-path even where the file had it, as a test of ours writes it."""
    command, _, path = scored
    truth, expected = np.load(path / "gt.npy"), run(*command()).out

    def alone(**more):
        words = command(**more)
        return run(*words[:2], *words[4:])

    assert alone(truth=truth).out == expected
    refused(alone(gt=truth), "s.npz: no ground truth in it", "truth among video, n_snippets, scores, gt;", "--gt-path FILE")
    refused(alone(truth=truth[1:]), "s.npz: 287 frames, but", "list.csv has 288")
    refused(alone(truth=truth + 1), "s.npz: expected 0 or 1 per frame, found 2")


def test_python_without_docstrings_prints_the_same(scored, run):
    command, *_ = scored
    words = command()
    done = subprocess.run([sys.executable, "-OO", ROOT / words[0], *words[1:]], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == run(*words).out


def test_labels_that_the_ground_truth_contradicts_are_a_warning(scored, run):
    command, content, path = scored
    write_list(
        path / "swapped.csv", [(f"{n}__5.npy", "Normal" if i % 2 == 0 else "Abuse") for i, n in enumerate(content["video"])]
    )
    done = run(*command("swapped.csv"))
    assert done.code == 0
    assert "has anomalous frames in 2 videos called normal" in done.err and "has none in 2 videos called anomalous" in done.err


def test_what_is_normal_in_a_files_own_labels_can_be_said(scored, run):
    command, content, _ = scored
    labels = np.array(["calm" if name.startswith("N") else "fight" for name in content["video"]])
    words = command(label=labels)[:-2]  # without its list
    assert "called anomalous" in run(*words).err
    done = run(*words, "--normal-label", "calm")
    assert (done.code, done.err) == (0, "")
    classes = np.array([[label] for label in labels])  # which would otherwise win
    assert "called anomalous" in run(*command(label=labels, classes=classes)[:-2]).err
    assert run(*words, "--normal-label", "calm").err == ""


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


def test_the_f1_threshold_comes_from_other_videos(scored, run):
    command, content, path = scored
    base = command()
    np.save(path / "val_gt.npy", np.load(path / "gt.npy"))
    validation = ["--val-scores", path / "val.npz", "--val-gt-path", path / "val_gt.npy"]
    np.savez(path / "val.npz", **content)
    done = run(*base, *validation)
    assert done.code == 2 and "4 videos are in the test too" in done.err, done
    np.savez(path / "val.npz", **content | {"video": np.array(["a", "b", "Normal1", "Normal2"])})
    done = run(*base, *validation)
    assert done.code == 0 and "best on other videos" in done.out, done
    done = run(*base, "--val-scores", path / "val.npz")
    assert done.code == 2 and "val.npz: no ground truth in it" in done.err
    np.savez(
        path / "val.npz", **content | {"video": np.array(["a", "b", "Normal1", "Normal2"]), "truth": np.load(path / "gt.npy")}
    )
    inside = run(*base, "--val-scores", path / "val.npz")
    assert inside.code == 0 and "best on other videos" in inside.out
    done = run(*base, *validation[2:])
    assert done.code == 2 and "give them too" in done.err
    done = run(*base, "--fps", 0)
    assert done.code == 2 and "--fps must be" in done.err


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
