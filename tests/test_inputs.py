"""What users bring: lists, features, ground truth, checkpoints, options; and one clear error for each that is wrong."""

import io
import json
import os
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL, WIDTH, refused, walk, write_list
from warm import ran

import ucf_option
from dataset import PackedVideos
from evaluation import figures
from files import checkpoint
from files.features import find_file
from files.labels import classes_of
from files.names import video_name
from files.videos import read_videos
from option import note_unused, parse, resolve_variant

TRAIN, TEST = "ucf_train.py", "ucf_test.py"


def nothing_written(toy):
    assert not toy.out.exists() or not any(toy.out.iterdir())


def test_a_test_writes_all_its_results(trained, run):
    done = run(TEST, *trained.test_flags)
    assert done.code == 0, done.err
    results = json.loads((trained.out / "results.json").read_text())
    expected = "auc ap ap_trapezoid n_videos n_snippets n_frames n_anomalous_frames keyclip_share exit_share seconds"
    assert set(expected.split()) | {"snippets_per_second", "variant", "checkpoint", "video_auc_topk"} <= set(results)
    scores = np.load(trained.out / "scores.npz")
    assert results["n_snippets"] == scores["n_snippets"].sum() == len(scores["logits"]) == len(scores["exit_layer"])
    assert results["n_frames"] == 16 * results["n_snippets"] and abs(sum(results["exit_share"]) - 1) < 1e-9
    assert len(results["exit_share"]) == 2 and results["keyclip_share"] == 1
    assert scores["video"].tolist() == [video_name(path) for path, _ in trained.test_rows]
    assert list(results["evaluations"]) == ["slide 8", "causal 8", "unsmoothed"]
    assert results["evaluations"]["slide 8"]["auc"]["value"] == pytest.approx(results["auc"])
    assert re.search(rf"^AUC +{100 * results['auc']:.2f} \[", done.out, re.M) and "7 snippets (112 frames, 3.7 s)" in done.out
    assert (trained.out / "timelines.png").read_bytes().startswith(b"\x89PNG")
    gated = run(TEST, *trained.test_flags[:-1], trained.path / "gated", "--keyclip-test")
    assert gated.code == 0 and json.loads((trained.path / "gated/results.json").read_text())["keyclip_share"] < 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["no such list"]),
        ("", ["line 1", "path,label"]),
        ("path,label\n", ["no videos under the header"]),
        ("a.npy,Normal\n", ["line 1", "path,label", "a.npy,Normal"]),
        ("path,label\na.npy\n", ["line 2", "expected 2 values", "found 1"]),
        ("path,label\na.npy,Nice\n", ["line 2", "unknown label 'Nice'", "Abuse"]),
        ("path,label,frames\na.npy,Normal,ten\n", ["line 2", "number of frames", "'ten'"]),
        ("path,label\n,Normal\n", ["line 2", "expected the path"]),
        ("path,label\n" + "".join(f"{i}.npy,Normal\n" for i in range(9)), ["9 of 9", "0.npy", "4.npy", "and 4 more", "line 2"]),
        (b"path,label\n\xff\xfe,Normal\n", ["not a CSV file in UTF-8"]),
        ('path,label\n"a.npy,Normal\n', ["not a CSV file"]),
        ("path,label\na/b\u202fc.npy,Normal\n", ["line 2", "expected printable characters", "rename"]),
    ],
)
def test_a_bad_list_is_refused(toy, run, text, words):
    path = toy.path / "bad.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for flag in ("--train-list", "--test-list"):
        refused(run(TRAIN, *toy.flags, "--out-dir", toy.out, flag, path), path, *words)
    nothing_written(toy)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def broken(value, where):
    x = walk(9)
    x[where] = value
    return x


BAD_FEATURES = {
    "empty": (b"", ["no whole .npy header"]),
    "truncated header": (npy(walk(9))[:50], ["no whole .npy header"]),
    "truncated": (npy(walk(9))[:-7], ["truncated or damaged"]),
    "too long": (npy(walk(9)) + b"1234", ["damaged"]),
    "pickled": (npy(np.array([{}, 1], dtype=object)), ["pickled objects"]),
    "rank": (npy(walk(9)[None]), ["(L, 128)", "(1, 9, 128)"]),
    "width": (npy(walk(9, 64)), ["(L, 128)", "(9, 64)", "--visual-width"]),
    "integers": (npy(walk(9).astype(np.int32)), ["float16 or float32", "int32"]),
    "byte order": (npy(walk(9).astype(">f4")), ["float16 or float32", ">f4"]),
    "no snippets": (npy(walk(9)[:0]), ["at least one snippet"]),
    "nan": (npy(broken(np.nan, (4, 7))), ["1 values are NaN", "snippet 4, channel 7", "--zero-non-finite"]),
    "infinity": (npy(broken(np.inf, (8, 0))), ["snippet 8, channel 0"]),
    "not an array": (b"PK\x03\x04 something", ["zip archive", "split_crops.py"]),
    "crops": (npy(np.stack([walk(9)] * 10)), ["(10, 9, 128)", "several crops", "split_crops.py"]),
    "doubles": (npy(walk(9).astype(float)), ["float64", "split_crops.py"]),
    "transposed": (npy(np.ascontiguousarray(walk(9).T)), ["the other way round", "split_crops.py"]),
}


@pytest.mark.parametrize("kind", BAD_FEATURES)
def test_a_bad_feature_file_is_refused(toy, run, kind):
    content, words = BAD_FEATURES[kind]
    file = toy.path / "features" / toy.rows[6][0]
    file.write_bytes(content)
    refused(run(TRAIN, *toy.flags, "--out-dir", toy.out), "train.csv, line 8", file, *words)
    nothing_written(toy)


def test_several_bad_feature_files_are_counted(toy, run):
    for path, _ in toy.rows[:7]:
        (toy.path / "features" / path).write_bytes(b"")
    refused(run(TRAIN, *toy.flags, "--out-dir", toy.out), "7 of 16", "line 2", "line 6", "and 2 more")


def test_non_finite_features_can_be_zeroed(toy, run, undrawn):
    file = toy.path / "features" / toy.rows[6][0]
    features = np.load(file)
    features[4, 7] = np.nan
    np.save(file, features)
    flags = [*toy.flags, "--max-epoch", 1, "--out-dir", toy.out]
    refused(run(TRAIN, *flags), "snippet 4, channel 7")
    done = run(TRAIN, *flags, "--zero-non-finite")
    assert done.code == 0, done.err
    assert "in 1 crops values that are" in done.out and f"{file.name}: 1 of" in done.out


def test_a_training_list_with_one_class_is_refused(toy, run):
    write_list(toy.path / "one.csv", toy.rows[::2])
    refused(run(TRAIN, *toy.flags, "--train-list", toy.path / "one.csv", "--out-dir", toy.out), "all 8 videos are normal")


def test_a_file_twice_in_a_list_and_a_video_twice_in_the_test_list_are_refused(toy, run):
    """A training took both, each as often as any other."""
    write_list(toy.path / "twice.csv", [*toy.rows[:3], (toy.rows[1][0], "Normal")])
    for flag in ("--train-list", "--test-list"):
        refused(run(TRAIN, *toy.flags, flag, toy.path / "twice.csv"), "twice.csv, line 5", toy.rows[1][0], "twice.csv, line 3")
    other = toy.rows[1][0].replace("__5", "__6")
    (toy.path / "features" / other).write_bytes((toy.path / "features" / toy.rows[1][0]).read_bytes())
    write_list(toy.path / "twice.csv", [*toy.rows[:3], (other, "Abuse")])
    refused(run(TRAIN, *toy.flags, "--test-list", toy.path / "twice.csv"), "video 4", "already video 2")


BAD_TRUTH = {
    "missing": (None, ["no such ground truth", "--gt-path"]),
    "pickled": (npy(np.array([{}], dtype=object)), ["pickled objects"]),
    "rank": (lambda t: npy(t[None]), ["one-dimensional"]),
    "short": (lambda t: npy(t[:-16]), ["frames, but", "counted or rounded in another way"]),
    "of another set": (lambda t: npy(np.tile(t, 2)), ["another list or other features"]),
    "values": (lambda t: npy(np.where(np.arange(len(t)) == 5, 2, t)), ["found 2 at frame 5"]),
    "nan": (lambda t: npy(np.where(np.arange(len(t)) == 5, np.nan, t)), ["found nan at frame 5"]),
    "one class": (lambda t: npy(0 * t), ["are 0; AUC and AP need both"]),
    "truncated": (lambda t: npy(t)[:-3], ["truncated or damaged"]),
    "booleans": (lambda t: npy(t.astype(bool)).replace(b"\1\1\1", b"\1\2\1", 1), ["found 2 at frame"]),
    "trailing": (lambda t: npy(t) + b"x", ["damaged"]),
}


@pytest.mark.parametrize("kind", BAD_TRUTH)
def test_bad_ground_truth_is_refused(toy, run, kind):
    content, words = BAD_TRUTH[kind]
    path = toy.path / "bad.npy"
    if content is not None:
        path.write_bytes(content(np.load(toy.path / "gt.npy")) if callable(content) else content)
    refused(run(TRAIN, *toy.flags, "--out-dir", toy.out, "--gt-path", path), path, *words)
    nothing_written(toy)


def test_true_frame_counts_cut_the_last_snippet(trained, run, undrawn):
    truths = trained.test_truth
    rows = [(path, label, len(truth) - 5) for (path, label), truth in zip(trained.test_rows, truths, strict=True)]
    header = ("path", "label", "frames")
    write_list(trained.path / "frames.csv", rows, header)
    np.save(trained.path / "cut.npy", np.concatenate([truth[:-5] for truth in truths]))
    flags = [*trained.test_flags, "--test-list", trained.path / "frames.csv"]
    assert run(TEST, *flags, "--gt-path", trained.path / "cut.npy").code == 0
    flags[-3] = trained.path / "again"
    refused(run(TEST, *flags), "frames, but")
    rows[1] = (*rows[1][:2], 99999)
    write_list(trained.path / "frames.csv", rows, header)
    refused(run(TEST, *flags, "--gt-path", trained.path / "cut.npy"), "line 3", "snippets are", "not 99999")


def damaged(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    return bytes(content)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "truncated", "damaged", "code", "text", "pickle", "list", "foreign", "nan", "partial"]
)
def test_a_bad_checkpoint_is_refused(trained, run, kind, monkeypatch):
    monkeypatch.chdir(trained.path)
    path = trained.path / "bad.pt"
    content = torch.load(trained.best, weights_only=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        path.write_bytes(trained.best.read_bytes()[:-1000])
    elif kind == "damaged":
        path.write_bytes(damaged(trained.best))
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif kind == "nan":
        content["model"]["classifier.bias"].fill_(torch.nan)
    elif kind == "partial":
        del content["model"]["classifier.bias"]
    wrong = {
        "code": {"x": Evil()},
        "list": [1, 2],
        "foreign": {"conv1.weight": torch.zeros(3)},
        "nan": content,
        "partial": content,
    }
    if kind in wrong:
        torch.save(wrong[kind], path)
    words = {
        "missing": "no such checkpoint",
        "folder": "is a folder; give the checkpoint in it",
        "truncated": "truncated or damaged",
        "damaged": "damaged",
        "code": "carries code (posix.mkdir)",
        "text": "truncated or damaged",
        "pickle": "truncated or damaged",
        "list": "it holds a list",
        "foreign": "it holds 'conv1.weight'",
        "nan": "classifier.bias holds NaN",
        "partial": "classifier.bias (expected (1,), found nothing); leave flags of the model out; where an earlier version of "
        "this program wrote it, train again",
    }[kind]
    refused(run(TEST, *trained.test_flags, "--model-path", path), path, words)
    assert not (trained.path / "evil").exists()
    nothing_written(trained)


def test_a_checkpoint_of_another_shape_says_which_option_disagrees(trained, run):
    for flag, value, expected in (("--visual-layers", 3, 2), ("--attn-window", 8, 4), ("--visual-width", 256, 128)):
        done = run(TEST, *trained.test_flags, flag, value)
        refused(done, f"trained with {flag} {expected}", f"{flag} is {value}")


def test_a_test_rebuilds_the_model_from_its_checkpoint_unless_told_otherwise(toy, run, undrawn):
    flags = [*toy.flags, "--max-epoch", 1, "--attn-window", 2, "--variant", "released", "--p", 1, "--out-dir", toy.path / "run"]
    assert run(TRAIN, *flags).code == 0
    flags = [*SMALL, *toy.flags[len(SMALL) : -2], "--model-path", toy.path / "run" / "best.pt"]

    def options(*more):
        out = toy.path / str(len(more))
        assert run(TEST, *flags, *more, "--out-dir", out).code == 0
        found = json.loads((out / "options.json").read_text())
        return [found[name] for name in ("attn_window", "p", "variant", "forgetting", "attn_merge", "smooth_pad")]

    assert options() == [2, 1.0, "released", "released", "interleave", "zero"]
    assert options("--variant", "paper") == [2, 1.0, "paper", "ebbinghaus", "token", "edge"]
    assert options("--forgetting", "fifo", "--p", 0) == [2, 0.0, "released", "fifo", "interleave", "zero"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--attn-window", 3], "--attn-window must be a multiple of 2, at least 2"),
        (["--visual-width", 200], "--visual-width must be a multiple of 128"),
        (["--cache-keep-max-len", 0], "--cache-keep-max-len must be at least 1"),
        (["--lr", "nan"], "--lr must be above 0"),
        (["--exit-threshold", 1.5], "--exit-threshold must be at least 0 and at most 1"),
        (["--max-epoch", 0], "--max-epoch must be at least 1"),
        (["--forgetting", "never"], "invalid choice"),
        (["--batch-sise", 3], "unrecognized arguments"),
        (["--val-share", 0.01], "leaves one side with none"),
        (["--device", "tpu"], "expected auto, cpu, cuda"),
        (["--use-checkpoint"], "--use-checkpoint needs --checkpoint-path"),
    ],
)
def test_an_impossible_option_is_refused(toy, run, flags, words):
    refused(run(TRAIN, *toy.flags, "--out-dir", toy.out, *flags), words)
    nothing_written(toy)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here, so asking for one is no mistake")
def test_cuda_without_a_device_is_refused(toy, run):
    refused(run(TRAIN, *toy.flags, "--device", "cuda", "--out-dir", toy.out), "PyTorch sees 0 CUDA devices")


def test_flags_may_be_written_with_underscores(toy, run, undrawn):
    done = run(TRAIN, *toy.flags, "--max_epoch=1", "--batch_size", 4, "--no_keyclip_train", "--out_dir", toy.out)
    assert done.code == 0, done.err


def test_an_unwritable_folder_for_results_is_refused(trained, run):
    (trained.path / "file").write_text("in the way")
    refused(run(TEST, *trained.test_flags[:-1], trained.path / "file" / "out"), "cannot be written", "--out-dir")
    refused(run(TRAIN, *trained.flags, "--out-dir", trained.path / "file" / "out"), "cannot be written", "--out-dir")


def test_an_earlier_run_is_not_overwritten(trained, run):
    before = trained.best.read_bytes()
    refused(run(TRAIN, *trained.flags, "--out-dir", trained.path / "run"), "is there already", "--use-checkpoint")
    refused(run(TRAIN, *trained.flags, "--model-path", trained.best, "--out-dir", trained.out), "is there already")
    assert trained.best.read_bytes() == before


def test_no_run_replaces_what_it_goes_on_from_or_what_another_left(trained, run):
    best, before = trained.best, trained.best.read_bytes()
    options = (trained.path / "run" / "options.json").read_bytes()
    refused(
        run(TRAIN, "--use-checkpoint", "--checkpoint-path", best, "--max-epoch", 2),
        "best weights alone; go on from the last.pt",
    )
    refused(
        run(TRAIN, *trained.flags, "--out-dir", trained.path / "run", "--checkpoint-path", trained.path / "z.pt"), "is there"
    )
    resume = ["--use-checkpoint", "--checkpoint-path", trained.path / "run" / "last.pt", "--max-epoch", 2]
    refused(run(TRAIN, *resume, "--out-dir", trained.out), "goes on in its own folder")
    done = run(TEST, *trained.test_flags[:-1], trained.path / "run")
    refused(done, "is the folder of another run")
    assert "--overwrite" not in done.err, "it replaces no training"
    refused(run(TRAIN, *trained.flags, "--lr", 1, "--out-dir", trained.path / "run"), "is there already")
    assert best.read_bytes() == before and (trained.path / "run" / "options.json").read_bytes() == options
    nothing_written(trained)


def test_outputs_that_cannot_be_written_stop_a_run_before_it_begins(toy, run):
    (toy.out / "training.png").mkdir(parents=True)
    refused(run(TRAIN, *toy.flags, "--out-dir", toy.out), "training.png is a folder")
    refused(
        run(TRAIN, *toy.flags, "--out-dir", toy.path / "o", "--model-path", toy.path / "gt.npy" / "x.pt"), "cannot be written"
    )
    assert not (toy.path / "o" / "last.pt").exists()


def changed(content, *keys, value):
    *path, last = keys
    for key in path:
        content = content[key]
    if value is KeyError:
        del content[last]
    else:
        content[last] = value


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("model",), None),
        (("model",), {}),
        (("model", "position"), KeyError),
        (("model", "classifier.bias"), "text"),
        (("model", "classifier.bias"), torch.zeros(1, dtype=torch.int64)),
        (("model", 3), torch.zeros(1)),
        (("options",), []),
        (("options",), {}),
        (("options", "variant"), KeyError),
        (("options", "forgetting"), "typo"),
        (("options", "cache_keep_max_len"), 0),
        (("options", "cache_keep_max_len"), None),
        (("options", "lr"), "fast"),
        (("optimizer",), {}),
        (("scheduler",), None),
        (("random",), [torch.zeros(3)]),
        (("digests",), {}),
        (("progress",), KeyError),
        (("progress", "epochs"), 1),
    ],
)
def test_a_checkpoint_with_wrong_content_is_refused(trained, run, keys, value):
    path = trained.path / "run" / "wrong.pt"
    content = torch.load(path.with_name("last.pt"), weights_only=True)
    changed(content, *keys, value=value)
    torch.save(content, path)
    refused(run(TRAIN, "--use-checkpoint", "--checkpoint-path", path, "--max-epoch", 2))
    if keys[0] == "model":
        refused(run(TEST, *trained.test_flags, "--model-path", path), path)


def test_features_that_change_are_noticed(trained, run):
    file = trained.path / "features" / trained.rows[6][0]
    np.save(file, -np.load(file))
    resume = ["--use-checkpoint", "--checkpoint-path", trained.path / "run" / "last.pt", "--max-epoch", 2]
    refused(run(TRAIN, *resume), "--train-list", "have changed since")
    video = read_videos(trained.path / "train.csv", str(trained.path / "features"), "ucf", width=WIDTH, zero_non_finite=False)[
        6
    ]
    np.save(file, np.load(file) + 1)
    data = PackedVideos([video], window=4, width=WIDTH, zero_non_finite=False, drop=0.0, seed=0)
    assert "has changed since the run began" in str(data[[0]])


def test_a_list_in_another_order_than_its_ground_truth_is_warned_of(trained, run, undrawn):
    write_list(trained.path / "test.csv", trained.test_rows[::-1])
    done = run(TEST, *trained.test_flags)
    assert done.code == 0 and "warning" in done.err and "do labels and ground truth belong together" in done.err


def test_flags_that_a_script_would_ignore_are_refused(trained, run):
    refused(run(TEST, *trained.test_flags, "--no-keyclip-train", "--lr", 3), "--keyclip-train, --lr would be ignored by a test")
    refused(run(TEST, *trained.test_flags, "--save-minutes", 1), "--save-minutes would be ignored by a test")
    done = run(TRAIN, *trained.flags, "--report", "--out-dir", trained.path / "another")
    refused(done, "--report would be ignored by a training")


def test_a_flag_that_another_option_leaves_without_effect_is_named(trained, run, undrawn, capsys):
    idle = ["--scales", "fuse", "--exit-threshold", 0.3, "--smooth", "none", "--smooth-width", 4, "--precision", "bf16"]
    said = run(TEST, *trained.test_flags, *idle).out
    assert "note: --exit-threshold has no effect where scales is fuse" in said and said.count("has no effect") == 2
    assert "note: --smooth-width has no effect where smooth is none" in said
    options = parse(ucf_option.parser, ["--variant", "ours", "--p", "1", "--cache-keep-max-len", "1", "--forgetting", "fifo"])
    resolve_variant(options)
    note_unused(options)
    named = [(line.split()[1], line.split(" where ")[1]) for line in capsys.readouterr().out.splitlines()]
    none = "visual-layers is 0"
    last = ("--forgetting", "cache-keep-max-len is 1")
    assert named == [("--cache-keep-max-len", none), ("--forgetting", none), ("--p", none), last]


def test_a_test_says_where_it_differs_from_the_training(trained, run, undrawn):
    assert "note:" not in run(TEST, *trained.test_flags).out
    other = ["--smooth", "causal", "--variant", "released", "--fps", 25]
    done = run(TEST, *trained.test_flags[:-1], trained.path / "again", *other)
    for name, here, there in (("smooth", "causal", "slide"), ("variant", "released", "paper"), ("fps", 25.0, 30.0)):
        assert f"note: {name} is {here} here, and was {there} in the training" in done.out


def test_a_full_disk_leaves_the_earlier_checkpoint(trained, run, undrawn):
    """The limit on file size stands in for the disk: writing past it fails in the same place."""
    last = trained.path / "run" / "last.pt"
    before = last.read_bytes()
    script = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
        f"sys.argv = sys.argv[1:]; sys.path.insert(0, {str(ROOT)!r}); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    flags = ["--use-checkpoint", "--checkpoint-path", str(last), "--max-epoch", "3"]
    done = ran(["-c", script, ROOT / TRAIN, *flags])
    assert done.returncode == 2 and "not written (File too large)" in done.stderr and "Traceback" not in done.stderr, (
        done.stderr
    )
    assert last.read_bytes() == before
    assert not list(last.parent.glob(".*.tmp"))
    again = run(TRAIN, *flags)
    assert again.code == 0, again.err
    assert [json.loads(line)["epoch"] for line in (last.parent / "log.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_an_evaluation_that_could_not_be_written_is_made_again(trained, run, monkeypatch):
    """Else a run that met a full disk would go on without the weights it calls its best."""
    last, whole = trained.path / "run" / "last.pt", trained.path / "whole"
    assert run(TRAIN, *trained.flags, "--max-epoch", 2, "--batch-size", 4, "--out-dir", whole).code == 0
    write = figures.training_curves

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures, "training_curves", full)
    resume = ["--use-checkpoint", "--checkpoint-path", last, "--max-epoch", 2]
    refused(run(TRAIN, *resume), "No space left", "go on with")
    monkeypatch.setattr(figures, "training_curves", write)
    assert torch.load(last, weights_only=True)["progress"]["due"]
    assert run(TRAIN, *resume).code == 0
    for name in ("last.pt", "best.pt"):
        one, other = (torch.load(path / name, weights_only=True)["model"] for path in (last.parent, whole))
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_lists_made_elsewhere_are_found_by_the_longest_tail(tmp_path):
    for name in ("Abuse/a__0.npy", "b__0.npy", "UCFClipFeatures/Abuse/c__0.npy", "Abuse/c__0.npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    elsewhere = "/somebody/UCFClipFeatures/Abuse/"
    root = str(tmp_path)
    assert find_file(elsewhere + "a__0.npy", root) == tmp_path / "Abuse/a__0.npy"
    assert find_file(elsewhere + "b__0.npy", root) == tmp_path / "b__0.npy"
    assert find_file(elsewhere + "c__0.npy", root) == tmp_path / "UCFClipFeatures/Abuse/c__0.npy"
    assert find_file("D:\\UCFClipFeatures\\Abuse\\a__0.npy", root) == tmp_path / "Abuse/a__0.npy"
    assert find_file(elsewhere + "d__0.npy", root) is None
    (tmp_path / "Abuse\\b__0.npy").write_bytes(b"")
    assert find_file("Abuse\\b__0.npy", root) == tmp_path / "Abuse\\b__0.npy", "as it is written"
    assert find_file(str(tmp_path / "b__0.npy"), None) == tmp_path / "b__0.npy"


def test_a_list_made_elsewhere_trains(toy, run, undrawn):
    rows = [(f"/somebody/UCFClipFeatures/{path}", label) for path, label in toy.rows]
    write_list(toy.path / "elsewhere.csv", rows)
    done = run(TRAIN, *toy.flags, "--train-list", toy.path / "elsewhere.csv", "--max-epoch", 1, "--out-dir", toy.out)
    assert done.code == 0, done.err


def test_xd_labels_may_be_several():
    assert [len(classes_of(x, "xd")) for x in ("A", "B1-0-0", "B2-G-0", "B6", "A-0-0")] == [0, 1, 2, 1, 0]
    for label in ("B3", "0", "A-B1", "", "b1"):
        with pytest.raises(ValueError, match="unknown label"):
            classes_of(label, "xd")


def test_released_files_load_bare_or_with_numpy_numbers(tmp_path):
    state = {
        "linear.weight": torch.ones(2, 2),
        "classifier.weight": torch.ones(1, 2),
        "frame_position_embeddings.weight": torch.ones(4, 2),
    }
    for content in (state, {"model_state_dict": state, "ap": np.float64(0.3), "epoch": np.int64(3)}):
        torch.save(content, tmp_path / "x.pth")
        loaded = checkpoint.load(tmp_path / "x.pth")
        assert loaded.released and set(loaded.weights) == {"linear.weight", "classifier.weight", "position"}


def test_numpy_numbers_pickled_by_an_older_numpy_load(tmp_path):
    torch.save({"ap": np.float64(0.25)}, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"))
    assert checkpoint.read(tmp_path / "old.pth")["ap"] == 0.25
