"""Scores without ground truth: of a file, a folder, a list with or without labels."""

import csv
import json
import os
import shutil
import sys

import golden
import numpy as np
import pytest
import torch
from conftest import WIDTH, refused, walk, write_list
from test_house import EXTRA

import lshma
from evaluation import figures, scores_file
from evaluation.scores_file import read_record, read_scores
from files import origin


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_a_list_and_a_file_score_as_the_detector_does(trained, run):
    paths = [trained.path / "features" / path for path, _ in trained.test_rows]
    folder = trained.path / "new" / "of today"
    folder.mkdir(parents=True)
    for path in paths[:3]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "notes.txt.npz").write_text("")
    listed = [(path, 16 * len(np.load(file)) - 5) for (path, _), file in zip(trained.test_rows[3:5], paths[3:5], strict=True)]
    write_list(trained.path / "new.csv", listed, ("path", "frames"))
    flags = ["--feature-root", trained.path / "features", "--model-path", trained.best, "--workers", 0, "--smooth", "causal"]
    done = run("predict.py", folder, trained.path / "new.csv", paths[5], *flags, "--fps", 10, "--out-dir", trained.out)
    assert done.code == 0 and "6 videos" in done.out and "causal 8" in done.out and "notes.txt.npz" in done.err, done
    detector = lshma.load(trained.best, device="cpu", smooth="causal")
    scored = read_scores(trained.out / "scores.npz")
    assert [video.classes for video in scored.videos] == [None] * 6 and read_record(trained.out / "scores.npz").truth is None
    for path in paths[:6]:
        name, expected = path.name.removesuffix("__5.npy"), detector.score(np.load(path))
        rows = read(trained.out / "videos" / f"{name}.csv")
        np.testing.assert_allclose([float(row["score"]) for row in rows], expected, rtol=0, atol=1e-5)
        cut = 0.5 if path in paths[3:5] else 0
        assert float(rows[0]["start"]) == 0 and abs(float(rows[-1]["end"]) - (1.6 * len(rows) - cut)) < 1e-6
        assert (trained.out / "videos" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"{name}: {expected.max():.2f} at " in done.out


def test_features_of_extract_py_are_timed_as_it_says_and_others_as_is_told(trained, run, undrawn):
    new = trained.path / "new"
    new.mkdir()
    for name, (path, _) in zip("ab", trained.test_rows, strict=False):
        (new / f"{name}__0.npy").write_bytes((trained.path / "features" / path).read_bytes())
    flags = ["--model-path", trained.best, "--workers", 0]
    done = run("predict.py", new, *flags, "--out-dir", trained.path / "told")
    assert "nothing says the frame rate of a, b; times are at 30 frames/s" in done.out, done
    made = dict.fromkeys(origin.SAME, "x") | {"format": origin.FORMAT, "frames_per_snippet": 16, "by": "frames", "fps": None}
    (new / "extract.json").write_text(json.dumps(made | {"resize": [1], "crop": 1}))
    rows = [(name, 100, 25.0, 4.0, 64, 48) for name in "ab"]
    write_list(new / "frames.csv", rows, origin.COLUMNS)
    done = run("predict.py", new, *flags, "--out-dir", trained.out)
    assert done.code == 0 and "frame rate" not in done.out, done
    assert [float(row["end"]) for row in read(trained.out / "videos" / "a.csv")][:2] == [0.64, 1.28]
    assert json.loads((trained.out / "options.json").read_text())["fps"] == 25.0, "as report.py takes it"
    shutil.copytree(new, trained.path / "other")  # where the same names stand for other videos
    write_list(trained.path / "other" / "frames.csv", [(name, 100, 50.0, 2.0, 64, 48) for name in "ab"], origin.COLUMNS)
    both = trained.path / "both"
    done = run("predict.py", new / "a__0.npy", trained.path / "other" / "b__0.npy", *flags, "--out-dir", both)
    assert done.code == 0, done
    assert [float(read(both / "videos" / f"{name}.csv")[0]["end"]) for name in "ab"] == [0.64, 0.32]
    for source in (both, both / "scores.npz"):
        refused(run("report.py", source), "several frame rates", "--fps puts all at one")
    assert run("report.py", both, "--fps", 25).code == 0
    for rate in ("", "25fps", "0", "nan"):
        write_list(new / "frames.csv", [(name, 100, rate, 4.0, 64, 48) for name in "ab"], origin.COLUMNS)
        refused(run("predict.py", new, *flags, "--out-dir", trained.path / "no"), new / "frames.csv", f"a has {rate!r}")


def test_of_several_crops_the_first_or_all_count(trained, run):
    for crop in (3, 7):
        for path, _ in trained.test_rows[:2]:
            file = trained.path / "features" / path
            (trained.path / "crops").mkdir(exist_ok=True)
            np.save(trained.path / "crops" / file.name.replace("__5", f"__{crop}"), np.load(file) + (crop == 7))
    flags = ["--model-path", trained.best, "--workers", 0, "--smooth", "none", "--format", "svg"]
    records = []
    for how in ("one", "mean"):
        done = run("predict.py", trained.path / "crops", *flags, "--crops", how, "--out-dir", trained.path / how)
        assert done.code == 0 and "2 videos" in done.out and "up to 2 crops" in done.out, done
        records.append(read_record(trained.path / how / "scores.npz"))
    assert "the mean over 2 crops" in done.out and len(list((trained.path / "one").glob("videos/*.svg"))) == 2
    assert not np.allclose(records[0].scores.scores, records[1].scores.scores)
    alone = run("predict.py", *sorted((trained.path / "crops").glob("*__3.npy")), *flags, "--out-dir", trained.path / "alone")
    assert alone.code == 0
    assert np.array_equal(read_record(trained.path / "alone" / "scores.npz").logits, records[0].logits)


def test_what_cannot_be_scored_is_named_and_nothing_written(trained, run):
    good = trained.path / "features" / trained.test_rows[0][0]
    (trained.path / "empty").mkdir()
    np.save(trained.path / "narrow.npy", np.zeros((3, 64), np.float32))
    where = ["--model-path", trained.best, "--workers", 0, "--out-dir", trained.out]
    for sources, words in (
        (["nowhere"], ["nowhere", "no such file or folder"]),
        ([trained.path / "empty"], ["no .npy files"]),
        ([trained.path / "narrow.npy"], ["narrow.npy", "(3, 64)", "best.pt was trained on this width"]),
        ([good, good], ["already video 1"]),
    ):
        refused(run("predict.py", *sources, *where), *words)
    refused(run("predict.py", good), "--model-path is missing")
    refused(run("predict.py", good, *where, "--exit-threshold", 3), "--exit-threshold must be")
    refused(run("predict.py", good, "--model-path", trained.best, "--out-dir", trained.path / "run"), "folder of another run")
    assert not trained.out.exists()


def test_nothing_is_written_over_or_half(trained, run, monkeypatch):
    """Files of other programs were replaced by those of videos of their names; a video that failed left those before it."""
    files = [trained.path / "features" / path for path, _ in trained.test_rows[:2]]
    names = [f"videos/{file.name.removesuffix('__5.npy')}" for file in files]
    where = ["--model-path", trained.best, "--workers", 0, "--out-dir", trained.out]

    def there():
        return {path.relative_to(trained.out).as_posix() for path in trained.out.rglob("*") if path.is_file()}

    (trained.out / "videos").mkdir(parents=True)
    for name in (f"{names[1]}.csv", f"{names[0]}.png", "scores.npz"):
        (trained.out / name).write_text("mine")
        refused(run("predict.py", *files, *where), f"{name} is there already")
        assert there() == {name} and (trained.out / name).read_text() == "mine"
        (trained.out / name).unlink()
    (trained.out / f"{names[1]}.png").mkdir()
    refused(run("predict.py", *files, *where), f"{names[1]}.png is a folder")
    (trained.out / f"{names[1]}.png").rmdir()
    (trained.out / ".draft.tmp").write_text("mine")

    def full(path, *_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(scores_file, "write_record", full)
        refused(run("predict.py", *files, *where), "disk full")
    assert there() == {".draft.tmp"}
    done = run("predict.py", *files, *where)
    expected = {f"{name}.{ending}" for name in names for ending in ("csv", "png")} | {"scores.npz", "options.json"}
    assert done.code == 0 and f"in {trained.out}\n" in done.out, done
    assert there() == expected | {".draft.tmp", ".lock"}


@pytest.mark.parametrize("name", ["two\nlines", os.fsdecode(b"latin\xe9"), "long" * 60])
def test_a_name_that_no_file_can_have_is_said_before_any_work(trained, run, name):
    np.save(trained.path / f"{name}.npy", walk(9))
    where = ["--model-path", trained.best, "--workers", 0, "--out-dir", trained.out]
    refused(run("predict.py", trained.path / f"{name}.npy", *where), "expected a name of printable characters", "rename")
    assert not trained.out.exists()


def test_a_model_whose_training_dropped_snippets_is_given_all_of_them(toy, run):
    """Its training's evaluations zeroed a share of the test snippets; what is predicted is not a test."""
    options = ["--max-epoch", 1, "--batch-size", 8, "--drop-snippets", 0.5, "--out-dir", toy.path / "run"]
    assert run("ucf_train.py", *toy.flags, *options).code == 0
    best, file = toy.path / "run" / "best.pt", toy.path / "features" / toy.test_rows[0][0]
    done = run("predict.py", file, "--model-path", best, "--workers", 0, "--out-dir", toy.out)
    assert done.code == 0, done.err
    expected = lshma.load(best, device="cpu").score(np.load(file))
    np.testing.assert_allclose(read_record(toy.out / "scores.npz").scores.scores, expected, rtol=0, atol=1e-6)


def test_an_earlier_prediction_is_replaced_with_all_its_files_and_a_training_never(tmp_path, run, monkeypatch):
    """A used folder was refused with the advice to pass --overwrite, which there was not."""
    config = {"seed": 1, "visual_layers": 1, "attn_window": 4, "classifier_bias": 0.0}
    torch.save({"model_state_dict": golden.released_state(config, WIDTH)}, tmp_path / "model.pth")
    for i, name in enumerate("ab"):
        np.save(tmp_path / f"{name}.npy", walk(9, seed=i))
    out, flags = tmp_path / "out", ["--model-path", tmp_path / "model.pth", "--workers", 0]

    def predict(name, *more, where=out):
        return run("predict.py", tmp_path / f"{name}.npy", *flags, "--out-dir", where, *more)

    def there():
        return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() and path.name != ".lock"}

    done = predict("a", "--overwrite")  # nothing to replace yet
    assert done.code == 0 and f"in {out / 'videos'}; scores.npz of all in {out}" in done.out, done
    (out / "videos/mine.txt").write_text("mine")
    before = there()
    refused(predict("b"), "replace it with --overwrite")

    def full(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(figures, "timelines", full)
        refused(predict("b", "--overwrite"), "disk full")
    assert there() == before == {"options.json", "scores.npz", "videos/a.csv", "videos/a.png", "videos/mine.txt"}
    done = predict("b", "--overwrite", "--format", "svg")
    assert done.code == 0 and "videos/a.csv, videos/a.png" in done.out and "left as it was: videos\n" in done.out, done
    assert there() == {"options.json", "scores.npz", "videos/b.csv", "videos/b.svg", "videos/mine.txt"}
    assert [video.name for video in read_scores(out / "scores.npz").videos] == ["b"]
    (out / "videos").rename(tmp_path / "elsewhere")
    (out / "videos").symlink_to(tmp_path / "elsewhere")
    refused(predict("b", "--overwrite", "--format", "svg"), "is there already, and of no run")  # a link leads to it
    (out / "videos").unlink()
    (tmp_path / "elsewhere").rename(out / "videos")
    (out / "best.pt").write_text("of a training")
    refused(predict("a", "--overwrite"), "best.pt is a training's")
    (tmp_path / "file").mkdir()
    (tmp_path / "file/videos").write_text("mine")
    refused(predict("a", where=tmp_path / "file"), "videos cannot be written")
    assert there() >= {"videos/b.csv"} and len(list((tmp_path / "file").iterdir())) == 1


def test_without_the_extra_features_are_scored_and_a_video_says_what_it_needs(trained, run, monkeypatch):
    for name in EXTRA:
        monkeypatch.setitem(sys.modules, name, None)
    path, flags = trained.path / "features" / trained.test_rows[0][0], ("--model-path", trained.best, "--workers", 0)
    assert run("predict.py", path, *flags, "--out-dir", trained.out).code == 0
    (trained.path / "cam.mp4").write_bytes(b"")
    for script, *more in (
        ("predict.py", *flags, "--out-dir", trained.path / "other"),
        ("extract.py", "--out", trained.path / "f"),
    ):
        refused(run(script, trained.path / "cam.mp4", *more), "is not installed", "pip install -r requirements-video.txt")
    assert not (trained.path / "other").exists() and not (trained.path / "f").exists()
    assert run("extract.py", "--help").code == run("watch.py", "--help").code == 0
