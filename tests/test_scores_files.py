"""Files of scores, anybody's: what `metrics.py` makes of them, what they may hold, and another method's published figures."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, refused, write_list
from sklearn.metrics import auc as area
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from evaluation import evaluate, tables
from evaluation.scores_file import read_scores


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
    assert done.code == 2 and f"{path} is a folder; give the file of scores in it" in done.err
    done = run("metrics.py", path / "no.npz", "--gt-path", path / "gt.npy")
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
