"""Methods side by side: paired differences on the videos they share, and rows called by what they are."""

import csv
import shutil
from argparse import Namespace

import numpy as np
import pytest
from conftest import refused, write_list

import option
import ucf_option
from evaluation import comparison, evaluate, methods
from evaluation.bootstrap import figure_of
from evaluation.comparison import Judged, Method
from evaluation.scores import Record, from_logits
from evaluation.scores_file import write_record
from experiments import outcome, rows
from experiments.grid import Cell, Row
from files import folder
from files.videos import Video

N, LENGTH = 12, 10
TERMS = evaluate.Terms(30.0, 1.0)


def judged(seed=0, noise=1.0, order=range(N), n_frames=160):
    """Scores of twelve videos, every other one with an event, in this order; the same seed gives the same scores."""
    videos, logits, truth = [], [], []
    for i in order:
        marks = np.zeros(LENGTH)
        marks[4:7] = i % 2
        classes = ("Abuse",) if i % 2 else ()
        videos.append(Video(f"v{i}", None, classes[0] if classes else "Normal", classes, LENGTH, n_frames, 0))
        logits.append(2 * marks + noise * np.random.default_rng([seed, i]).standard_normal(LENGTH))
        truth.append(np.resize(marks.repeat(16), n_frames))
    options = {"smooth": "none", "smooth_width": 8, "smooth_pad": "edge", "attn_window": 4}
    return Judged(from_logits(videos, np.concatenate(logits), options), np.concatenate(truth).astype(np.uint8))


def options_of(*flags):
    options = option.parse(ucf_option.parser, flags)
    option.resolve_variant(options)
    return options


def write_run(path, run, *flags, training=True):
    """The folder of a run with these scores and flags."""
    path.mkdir(parents=True)
    folder.write_options(path, options_of(*flags, "--out-dir", str(path)))
    if training:
        (path / "log.jsonl").touch()
    n = np.zeros(len(run.scores.scores))
    write_record(path / "scores.npz", Record(run.scores, n.astype(np.float32), n.astype(int), n.astype(bool), run.truth))
    return path


def write_scores(path, run):
    """The same as another method's file: names, snippets and scores alone."""
    names = np.array([video.name for video in run.scores.videos])
    np.savez(path, video=names, n_snippets=run.scores.n_snippets, scores=run.scores.scores)
    return path


def test_another_methods_file_may_hold_its_truth_and_is_judged_in_its_own_order(tmp_path):
    expected = []
    for name, order in (("a", range(N)), ("b", range(N)[::-1])):
        one = judged(order=order)
        write_scores(tmp_path / f"{name}.npz", one)
        np.savez(tmp_path / f"{name}.npz", **np.load(tmp_path / f"{name}.npz"), truth=one.truth)
        expected.append(one)
    given = [methods.given_as(str(tmp_path / f"{name}.npz")) for name in "ab"]
    found = methods.read(given, Namespace(gt_path=None, test_list=None, hold_last=False, normal_label=None))
    for (one,), as_written in zip(found, expected, strict=True):
        assert (one.truth == as_written.truth).all() and (one.scores.scores == as_written.scores.scores).all()


def read(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_a_difference_is_of_the_same_resampled_videos():
    first, other = judged(), judged(noise=1.3)
    compared = comparison.compare([Method("a", [first]), Method("b", [other])], TERMS)
    assert compared.figures["b"] == evaluate.evaluate(*other, TERMS)
    ours, theirs = (evaluate.resampled(*run, TERMS) for run in (first, other))
    difference = compared.differences["b"]["auc"]
    assert difference == figure_of(theirs["auc"] - ours["auc"])
    width = np.ptp(difference["interval"])
    assert width < 0.8 * np.ptp(compared.figures["b"]["auc"]["interval"])
    same = comparison.compare([Method("a", [first]), Method("b", [first])], TERMS).differences["b"]
    assert same["auc"] == same["events"]["delay_median"] == {"value": 0, "interval": [0, 0]}


def test_seeds_are_averaged_within_each_resample():
    seeds = [judged(seed) for seed in range(3)]
    compared = comparison.compare([Method("a", seeds), Method("b", seeds[:1])], TERMS)
    resampled = np.stack([evaluate.resampled(*run, TERMS)["auc"] for run in seeds])
    assert compared.figures["a"]["auc"] == figure_of(resampled.mean(0)) | {"std": resampled[:, 0].std(ddof=1)}
    assert compared.differences["b"]["auc"] == figure_of(resampled[0] - resampled.mean(0))


def test_videos_are_paired_by_name_and_those_left_out_are_named():
    whole, part = judged(), judged(order=[7, 2, 5, 0, 1, 8])
    methods, notes = comparison.shared([Method("a", [whole]), Method("b", [part])])
    assert [video.name for video in methods[1].runs[0].scores.videos] == ["v0", "v1", "v2", "v5", "v7", "v8"]
    assert (methods[0].runs[0].scores.scores == methods[1].runs[0].scores.scores).all()
    assert (methods[0].runs[0].truth == methods[1].runs[0].truth).all()
    (note,) = notes
    assert "6 videos of a " in note and "v3" in note and "v10" in note
    compared = comparison.compare(methods, TERMS)
    assert not any(compared.errors["a"] - compared.errors["b"])


def test_the_videos_that_differ_most_come_first():
    run = judged()
    worse = run.scores.scores.copy()
    worse[3 * LENGTH : 4 * LENGTH] = 1 - run.truth[3 * 160 : 4 * 160 : 16]
    worse[:LENGTH] += 0.1 * (1 - worse[:LENGTH])
    other = run._replace(scores=run.scores._replace(scores=worse))
    compared = comparison.compare([Method("a", [run]), Method("b", [other])], TERMS)
    assert compared.videos[:2] == [("v3", "Abuse"), ("v0", "normal")]
    assert compared.errors["b"][0] == 1
    assert (compared.errors["a"] != compared.errors["b"]).sum() == 2
    assert comparison.compare([Method("b", [other]), Method("a", [run])], TERMS).videos == compared.videos


def test_a_comparison_of_runs_seeds_and_another_methods_file(tmp_path, run):
    for seed in (1, 2):
        write_run(tmp_path / f"x/seed-{seed}", judged(seed), "--seed", str(seed), "--lr", "1e-4")
    write_run(tmp_path / "y", judged(3), "--variant", "released", "--lr", "2e-4")
    (tmp_path / "x/notes").mkdir()
    write_scores(tmp_path / "other.npz", judged(4, order=range(N)[::-1]))
    write_list(tmp_path / "list.csv", [(f"v{i}", "Abuse" if i % 2 else "Normal") for i in range(N)])
    np.save(tmp_path / "gt.npy", judged().truth)
    out = tmp_path / "out"
    how = ["--gt-path", tmp_path / "gt.npy", "--test-list", tmp_path / "list.csv", "--out-dir", out, "--format", "svg"]
    done = run("compare.py", tmp_path / "x", tmp_path / "y", tmp_path / "other.npz", *how)
    assert done.code == 0, done.err
    assert "no runs, and left out:\n  notes" in done.out and "2 seeds of paper, lr 1e-4" in done.out
    figures, differences, videos = (read(out / f"{name}.csv") for name in ("figures", "differences", "videos"))
    assert figures[0][1:] == ["paper, lr 1e-4", "released, lr 2e-4", "other"]
    assert differences[0] == ["less paper, lr 1e-4", "released, lr 2e-4", "other"]
    assert [row[0] for row in differences[1:]] == [row[0] for row in figures[2:]] and len(videos) == 1 + N
    assert "±" in figures[2][1] and figures[2][3] == tables_cell(judged(4))
    assert (out / "comparison.svg").read_bytes().startswith(b"<?xml")

    done = run("compare.py", f"mine={tmp_path}/x/seed-1/scores.npz", tmp_path / "x/seed-2", "--out-dir", out)
    assert done.code == 0 and read(out / "figures.csv")[0][1:] == ["mine", "paper"], done
    assert not (out / ".new-report").exists()


def tables_cell(one):
    auc = evaluate.evaluate(*one, TERMS)["auc"]
    low, high = auc["interval"]
    return f"{100 * auc['value']:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def test_seeds_that_differ_in_more_say_so_and_equal_names_take_their_folders(tmp_path, run):
    for seed in (1, 2):
        write_run(tmp_path / f"x/seed-{seed}", judged(seed), "--seed", str(seed), "--batch-size", str(seed))
    done = run("compare.py", tmp_path / "x", tmp_path / "x/seed-1", "--out-dir", tmp_path / "out")
    assert done.code == 0 and "differ in more than their seed: --batch-size" in done.out, done
    assert read(tmp_path / "out/figures.csv")[0][1:] == ["paper, x", "paper, seed-1"]
    (tmp_path / "x/seed-1/cell.json").touch()
    shutil.copytree(tmp_path / "x/seed-2", tmp_path / "x/seed-2-copy")
    done = run("compare.py", tmp_path / "x", tmp_path / "x/seed-1", "--out-dir", tmp_path / "out")
    refused(done, "seed-2-copy", "a copy is no seed")
    assert "have not ended, and count all the same:\n  seed-2" in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a"], "alone is nothing to compare"),
        (["a", "nowhere.npz"], "nowhere.npz: no such file"),
        (["a", "empty"], "neither a run's folder"),
        (["a", "logits.npz"], "not logits"),
        (["a", "other.npz"], "give --gt-path"),
        (["a", "set.npz", "--gt-path", "gt.npy"], "no video is in all of them"),
        (["a", "short"], "v0 has 159 frames in"),
        (["a", "truth"], "the ground truth of v3 is not the same"),
        (["other.npz", "turned.npz", "--gt-path", "gt.npy"], "nothing says which of them the ground truth follows"),
        (["a", "a"], "of these are called paper"),
        (["x=a", "x=truth"], "of these are called x"),
        (["a", "truth", "--out-dir", "a"], "(its options.json is there); choose another one\n"),
        (["a", "truth", "--gt-path", "gt.npy"], "--gt-path would be ignored"),
        (["a", "truth", "--out-dir", "empty"], "videos.csv is there already, and not of a comparison"),
        (["a", "truth", "--out-dir", "drawn"], "comparison.png is there already, and not of a comparison"),
        (["a", "fast"], "different --fps: 30.0, 24.0; give it"),
        (["a", "truth", "--false-alarms", "-1"], "--false-alarms must be at least 0"),
    ],
)
def test_what_cannot_be_compared_is_named(tmp_path, run, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    one = judged()
    write_run(tmp_path / "a", one)
    write_run(tmp_path / "short", judged(n_frames=159))
    write_run(tmp_path / "truth", one._replace(truth=np.where(np.arange(len(one.truth)) == 3 * 160 + 70, 0, one.truth)))
    write_run(tmp_path / "fast", one, "--fps", "24")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/videos.csv").touch()  # as a report's
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn/comparison.png").touch()
    np.save("gt.npy", one.truth)
    write_scores("other.npz", one)
    write_scores("turned.npz", judged(order=range(N)[::-1]))
    write_scores("logits.npz", one._replace(scores=one.scores._replace(scores=one.scores.scores + 2)))
    strangers = [video._replace(name=f"w{i}") for i, video in enumerate(one.scores.videos)]
    write_scores("set.npz", one._replace(scores=one.scores._replace(videos=strangers)))
    gt = ["--gt-path", "gt.npy"] if "logits.npz" in arguments else []
    refused(run("compare.py", *arguments, *gt), words)
    assert not (tmp_path / "runs").exists()


def test_a_run_is_called_by_what_its_options_make_it():
    for row, flags in rows.ROWS.items():
        assert rows.what_it_is(vars(options_of(*flags.split())))[0] == row
    both = vars(options_of("--variant", "released", "--cache-keep-max-len", "1"))
    assert rows.what_it_is(both)[0] == "released, no memory"
    assert rows.what_it_is(vars(options_of("--variant", "released", "--smooth-pad", "edge")))[0] == (
        "released rule, interleaved merge"
    )
    rules = next(flag.values for flag in option.FLAGS["model"] if flag.name == "forgetting")
    assert sum("--forgetting" in flags for flags in rows.ROWS.values()) == len(rules) - 1


def test_only_options_that_tell_runs_apart_are_said():
    runs = [
        vars(options_of(*flags.split()))
        for flags in ("--lr 1e-4 --seed 1", "--lr 2e-5 --seed 2 --no-keyclip-train", "--lr 1e-4 --cache-keep-max-len 1 --p 0.5")
    ]
    assert rows.names_of(runs) == ["paper, p 0, lr 1e-4", "no KCG, p 0, lr 2e-5", "no memory, p 0.5, lr 1e-4"]
    assert rows.names_of(runs[:1]) == ["paper"]


def test_a_test_is_called_by_its_trainings_options_where_they_are_known(tmp_path):
    trained = write_run(tmp_path / "trained", judged(), "--no-keyclip-train")
    tested = write_run(tmp_path / "tested", judged(), "--model-path", str(trained / "best.pt"), training=False)
    unknown = write_run(tmp_path / "unknown", judged(), "--model-path", "elsewhere.pt", "--lr", "1", training=False)
    of_runs = [rows.options_of(path) for path in (trained, tested, unknown)]
    assert rows.names_of(of_runs) == ["no KCG", "no KCG", "paper"]


def test_a_row_of_an_experiment_is_called_by_what_it_is():
    """A test of released weights was called `paper, model-path ...`."""

    def called(changes, *flags, row="paper", common=()):
        cell = Cell("", "ucf_test", Row(row, changes), {}, 1, [], None)
        return outcome.what_a_row_is(Namespace(flags=common), cell, vars(options_of(*flags)))

    assert called({"model-path": "x.pth"}, "--variant", "released") == "released"
    assert outcome.without_checkpoint({"model-path": "x.pth", "p": "1"}, []) == {"p": "1"}
    path = ["--model-path", "runs/{model}/{seed}.pt"]
    assert outcome.without_checkpoint({"model": "x", "drop-snippets": "0"}, path) == {"drop-snippets": "0"}
    assert called({"cache-keep-max-len": "1"}, "--cache-keep-max-len", "1") == "paper"  # it is said beside it
    common = ["--no-keyclip-train", "--forgetting=fifo"]
    assert called({}, *common, common=common) == "fifo"  # a switch of all rows is not repeated in each
    cache = ["--cache-keep-max-len", "1"]
    assert called({}, *cache, row="no memory", common=["--cache-keep-max-len", "8"]) == "no memory"
