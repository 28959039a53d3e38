"""A set of one's own: its lists by each way to split it, training and testing on it, and tests across data sets."""

import csv
import json
import re
import resource
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import refused, walk, write_list

from files.names import name_and_crop, video_name

MAKE = "list/make_list.py"


def save(root, name, length=10):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(root / name, walk(length, 8).astype(np.float16))


@pytest.fixture
def own(tmp_path, run):
    """`own.make(...)` makes the lists of what `own.save` wrote; `own.lists()` reads them: label by path, of each."""
    root, out = tmp_path / "F", tmp_path / "list"

    def make(*flags, annotations=None):
        if annotations is not None:
            (tmp_path / "a.txt").write_text(annotations)
            flags = (*flags, "--annotations", tmp_path / "a.txt")
        return run(MAKE, "own", "--feature-root", root, "--out", out, *flags)

    def lists():
        tables = []
        for name in ("own_train", "own_test", "own_left_out"):
            with open(out / f"{name}.csv", newline="") as file:
                tables.append(dict(list(csv.reader(file))[1:]))
        assert sorted(path for table in tables for path in table) == sorted(
            p.relative_to(root).as_posix() for p in root.rglob("*.npy")
        )
        return tables

    return SimpleNamespace(
        path=tmp_path, root=root, out=out, make=make, lists=lists, save=lambda name, *n: save(root, name, *n)
    )


def test_test_videos_below_a_folder(own):
    for name in ("test/a", "test/deep/b", "c", "d", "e"):
        own.save(f"{name}__0.npy")
        own.save(f"{name}__1.npy")
    lines = "a 10 20 30 35\nb\nc robbery\nd\ne fall 5 9\n"
    done = own.make("--test-folder", "test", annotations=lines)
    assert done.code == 0 and "own_train.csv: 6 rows, Normal 2, fall 2, robbery 2" in done.out, done
    train, test, left = own.lists()
    assert train == {f"{n}__{c}.npy": k for n, k in (("c", "robbery"), ("d", "Normal"), ("e", "fall")) for c in (0, 1)}
    assert test == {"test/a__0.npy": "Anomaly", "test/deep/b__0.npy": "Normal"} and len(left) == 2
    truth = np.load(own.out / "own_gt.npy")
    assert len(truth) == 320 and truth.sum() == 15 and truth[10:20].all() and truth[30:35].all()
    refused(own.make("--test-folder", "tset", annotations=lines), "--test-folder tset: no features below")
    done = own.make("--test-folder", "test", annotations=lines.replace("a 10 20 30 35", "a fight"))
    refused(done, "1 anomalous test videos without intervals:\n  a")
    own.save("f.npy")
    refused(own.make("--test-folder", "test", annotations=lines), "1 videos without a label:\n  f")
    assert own.make("--test-folder", "test", "--allow-missing", annotations=lines).code == 0
    assert own.lists()[2]["f.npy"] == "videos without a label"


def test_test_videos_by_name(own):
    for name in ("a", "b", "My film", "d"):
        own.save(f"{name}.npy")
    lines = '"My film" fight 5 9\na\nb fight\nd\n'
    (own.path / "names.txt").write_text("My film.mp4\n\nelsewhere/D.npy\nd\n")
    refused(
        own.make("--test-names", own.path / "names.txt", annotations=lines), "1 names of test videos without features:\n  D"
    )
    (own.path / "names.txt").write_text("My film.mp4\nd\n")
    done = own.make("--test-names", own.path / "names.txt", annotations=lines)
    assert done.code == 0, done.err
    assert own.lists() == [{"a.npy": "Normal", "b.npy": "fight"}, {"My film.npy": "fight", "d.npy": "Normal"}, {}]
    refused(own.make("--test-names", own.path / "nowhere.txt", annotations=lines), "nowhere.txt: no such file")


def test_a_share_of_each_class_is_drawn_by_names_alone(own):
    classes = {"ok": 10, "fight": 10, "fall": 2, "fire": 1}
    names = [f"{kind}{i}" for kind, n in classes.items() for i in range(n)]
    for name in names:
        own.save(f"{name}__0.npy")
        own.save(f"{name}__3.npy")
    lines = [f"{name}" if name.startswith("ok") else f"{name} {name[:-1]} 5 9" for name in names]
    drawn = []
    for seed, order in ((0, lines), (0, lines[::-1]), (1, lines)):
        done = own.make("--test-share", 0.3, "--seed", seed, "--normal-label", "ok", annotations="\n".join(order))
        assert done.code == 0, done.err
        train, test, _ = own.lists()
        tested = {video_name(path) for path in test}
        assert sorted(test.values()) == ["fall", "fight", "fight", "fight", "ok", "ok", "ok"]
        assert not tested & {video_name(path) for path in train} and {name_and_crop(path)[1] for path in test} == {0}
        drawn.append(tested)
    assert drawn[0] == drawn[1] != drawn[2]
    weak = [line.split(" 5")[0] if line[:5] in ("fight", "fire0") else line for line in lines]
    done = own.make("--test-share", 0.3, "--normal-label", "ok", annotations="\n".join(weak))
    assert done.code == 0 and "11 anomalous videos without intervals cannot be tested, and train:\n  fight0" in done.out
    assert "fight: 0 of the 3 wanted by --test-share" in done.out and done.out.count("wanted by --test-share") == 1
    train, test, _ = own.lists()
    assert "fight" not in test.values() and list(train.values()).count("fight") == 20
    some = [line.split(" 5")[0] if line[:6] != "fight7" and line.startswith("fight") else line for line in lines]
    done = own.make("--test-share", 0.3, "--normal-label", "ok", annotations="\n".join(some))
    assert done.code == 0 and "fight: 1 of the 3 wanted by --test-share" in done.out, done
    refused(own.make("--test-share", 1, annotations="\n".join(lines)), "--test-share must be above 0 and below 1, not 1")


def test_videos_that_may_be_copies_are_drawn_together(own):
    kin = {"Walk": "walk", "walk (1)": "walk", "walk_x264": "walk", "run_01": "run", "run-01": "run", "a": "a", "b": "b"}
    for name in kin:
        own.save(f"{name}.npy")
    lines = "".join(f'"{name}"{" x 5 9" * (len(name) == 1)}\n' for name in kin)
    tested = set()
    for seed in range(6):
        assert own.make("--test-share", 0.5, "--seed", seed, annotations=lines).code == 0
        train, test, _ = ({kin[path.removesuffix(".npy")] for path in table} for table in own.lists())
        assert not train & test and len(test) == 2
        tested |= test
    assert tested == set(kin.values())


def test_folders_may_name_the_classes(own):
    for name in ("fight/a", "fight/b", "ok/c", "ok/d", "test/fight/e", "ok/test/f"):
        own.save(f"{name}.npy")
    flags = ["--class-folders", "--normal-label", "ok", "--test-folder", "test"]
    refused(own.make(*flags), "--annotations is missing: 1 anomalous test videos need intervals:\n  e")
    assert own.make(*flags, annotations="e 5 9\na fight\n").code == 0
    train, test, left = own.lists()
    assert train == {"fight/a.npy": "fight", "fight/b.npy": "fight", "ok/c.npy": "ok", "ok/d.npy": "ok"} and not left
    assert test == {"test/fight/e.npy": "fight", "ok/test/f.npy": "ok"}
    for line, words in (
        ("a robbery", ["a is robbery here, but its features are in the folder of fight"]),
        ("a", ["a is ok here, but its features are in the folder of fight"]),
        ("c 5 9", ["c is ok, with 1 intervals; normal videos have none"]),
        ("z fight", ["1 annotated videos without features:\n  z"]),
    ):
        refused(own.make(*flags, annotations=f"e 5 9\n{line}\n"), *words)
    refused(
        own.make("--class-folders", "--test-folder", "test"), "no video is Normal; the labels are fight, ok", "--normal-label"
    )
    refused(own.make(*flags[:1], *flags[3:], "--normal-label", "OK"), "ok/c.npy: label 'ok': expected OK")
    done = own.make("--class-folders", "--normal-label", "ok", "--test-share", 0.5)
    assert done.code == 0 and "own_test.csv are all normal; AUC and AP need both kinds" in done.err
    own.save("Fight/g.npy")
    assert "labels Fight and fight differ so little" in own.make(*flags, annotations="e 5 9\n").err


def test_copies_of_a_test_video_never_train(own):
    for name in ("test/cam", "cam (1)", "CAM", "b", "c"):
        own.save(f"{name}.npy")
    lines = 'cam 5 9\n"cam (1)" x\nCAM x\nb\nc\n'
    refused(
        own.make("--test-folder", "test", annotations=lines), "2 training videos that may be test videos, written another way"
    )
    assert own.make("--test-folder", "test", "--allow-missing", annotations=lines).code == 0
    assert set(own.lists()[0]) == {"b.npy", "c.npy"}


def test_what_only_begins_as_a_test_video_is_another_and_files_of_other_kinds_are_named(own):
    for name in ("test/cam1", "test/b", "cam1_day2", "cam1-3", "c"):
        own.save(f"{name}.npy")
    (own.root / "x.h5").touch(), (own.root / "frames.csv").touch()
    done = own.make("--test-folder", "test", annotations="cam1 5 9\nb\ncam1_day2 x\ncam1-3 x\nc\n")
    assert done.code == 0 and "note: 2 training videos whose names begin as a test video's" in done.out, done
    assert "1 files of other kinds, no features, are left out: .h5" in done.out
    assert (
        "x.h5" in (own.out / "own_left_out.csv").read_text() and "frames.csv" not in (own.out / "own_left_out.csv").read_text()
    )


def test_labels_are_the_same_however_they_are_composed(own):
    apart = unicodedata.normalize("NFD", "müde")
    for name in (f"{apart}/a", f"{apart}/b", "müde/c", "fällt/d", "fällt/e"):
        own.save(f"{name}.npy")
    flags = ["--class-folders", "--normal-label", "müde", "--test-share", 0.4]
    done = own.make(*flags, annotations=f"d {unicodedata.normalize('NFD', 'fällt')} 5 9\ne 5 9\n")
    assert done.code == 0, done
    assert set(own.lists()[0].values()) | set(own.lists()[1].values()) == {"müde", "fällt"}


@pytest.mark.parametrize(
    ("flags", "lines", "words"),
    [
        ([], "a\n", ["give one of --test-folder, --test-names and --test-share"]),
        (["--test-share", 0.5], None, ["--annotations is missing"]),
        (["--test-share", 0.5], "a 5\n", ["line 1", "name [class] [start end ...]"]),
        (["--test-share", 0.5], "a b fight\n", ["line 1", "a name with spaces stands in quotes"]),
        (["--test-share", 0.5], "a 5 9 fight\n", ["line 1", "name [class] [start end ...]"]),
        (["--test-share", 0.5], "a fight 5 9\na fight 20 30\n", ["line 2", "a is there twice"]),
        (["--test-share", 0.5], "a Normal 5 9\n", ["a is Normal, with 1 intervals"]),
        (["--test-share", 0.5], "a normal\n", ["line 1: label 'normal': expected Normal"]),
    ],
)
def test_what_cannot_be_is_refused(own, flags, lines, words):
    own.save("a.npy")
    refused(own.make(*flags, annotations=lines), *words)
    assert not own.out.exists()


def test_flags_of_own_sets_are_refused_for_others(own, run):
    refused(run(MAKE, "xd", "--feature-root", own.path, "--test-share", 0.5), "--test-share is for own sets alone")
    refused(run(MAKE, "xd", "--feature-root", own.path), "--annotations is missing")
    assert own.make("--test-share", 0.5, "--test-folder", "x").code == 2
    refused(own.make("--test-folder", "x", "--seed", 3, annotations="a\n"), "--seed is of --test-share")


def relabelled(toy, **labels):
    """The toy lists with other labels in the place of its own."""
    for name, rows in (("train", toy.rows), ("test", toy.test_rows)):
        write_list(toy.path / f"{name}.csv", [(path, labels[label]) for path, label in rows])


def test_an_own_set_trains_and_tests(toy, run, undrawn):
    toy.rows = toy.rows[:13]
    relabelled(toy, Normal="ok", Abuse="fight")
    flags = [*toy.flags[:-1], 1, "--max-epoch", 1, "--batch-size", 8]
    done = run("own_train.py", *flags, "--out-dir", toy.out)
    refused(done, "all 13 videos are anomalous (labels: fight, ok)", "--normal-label says which label is the normal one")
    refused(run("own_train.py", *flags, "--normal-label", "OK", "--out-dir", toy.out), "line 2: label 'ok': expected OK")
    refused(run("ucf_train.py", *flags, "--out-dir", toy.out), "unknown label 'ok'", "own_train.py takes any classes")
    done = run("own_train.py", *flags, "--normal-label", "ok", "--out-dir", toy.path / "run")
    assert done.code == 0 and "13 training videos, 6 anomalous" in done.out and "6 of each kind, in turn" in done.out, done
    best = toy.path / "run/best.pt"
    test = ["--model-path", best, *toy.flags[:-2], "--out-dir"]
    done = run("own_test.py", *test, toy.out, "--normal-label", "ok", "--report")
    assert done.code == 0 and "note:" not in done.out and "warning: " + str(toy.path) not in done.err, done
    results = json.loads((toy.out / "results.json").read_text())
    assert set(results["evaluations"]["slide 8"]["classes"]) == {"fight"}
    assert "fight" in (toy.out / "report.html").read_text()
    there = ["--feature-root", toy.path / "features", "--workers", 0, "--out-dir", toy.path / "predicted"]
    predicted = run("predict.py", toy.path / "test.csv", "--model-path", best, *there)
    assert predicted.code == 0, predicted
    with np.load(toy.path / "predicted" / "scores.npz") as content:  # its lists are read as its training's were
        assert {*zip(content["label"].tolist(), content["classes"][:, 0].tolist(), strict=True)} == {
            ("ok", ""),
            ("fight", "fight"),
        }
    done = run("own_test.py", *test, toy.path / "unsaid")  # a set's normal label is the set's, never its model's
    assert "note: normal-label is Normal here, and was ok in the training" in done.out
    refused(done, "all 8 videos are anomalous (labels: fight, ok), and 4 have no", "--normal-label says which")
    relabelled(toy, Normal="Normal", Abuse="Anomaly")  # as make_list.py longterm labels them
    for data_set in ("own", "ucf"):
        assert run(f"{data_set}_train.py", *flags, "--out-dir", toy.path / data_set).code == 0


def test_a_model_is_tested_on_other_sets_than_its_own(toy, run, undrawn):
    """One model from UCF-Crime to XD-Violence, an own set and long videos, another the other ways, each by its own options."""
    labels = {"ucf": ("Normal", "Abuse"), "xd": ("A", "B5-0-0"), "own": ("ok", "fight"), "longterm": ("Normal", "Anomaly")}
    more = {name: ["--normal-label", "ok"] if name == "own" else [] for name in labels}
    short = ["--max-epoch", 1, "--batch-size", 8, "--out-dir"]
    models, there = {}, toy.flags[:-2]
    for trained in ("ucf", "xd", "own"):
        relabelled(toy, **dict(zip(("Normal", "Abuse"), labels[trained], strict=True)))
        models[trained] = toy.path / trained / "best.pt"
        assert run(f"{trained}_train.py", *there, *short, toy.path / trained, "--visual-layers", 1, *more[trained]).code == 0
    for trained, tested in (("ucf", "xd"), ("xd", "own"), ("own", "ucf"), ("xd", "longterm"), ("ucf", "longterm")):
        relabelled(toy, **dict(zip(("Normal", "Abuse"), labels[tested], strict=True)))
        out = toy.path / f"{trained}-{tested}"
        done = run(f"{tested}_test.py", *there, "--model-path", models[trained], "--out-dir", out, *more[tested])
        assert done.code == 0 and "videos called" not in done.err, done
        options = json.loads((out / "options.json").read_text())
        window = torch.load(models[trained], weights_only=True)["options"]["attn_window"]
        assert (options["data_set"], options["visual_layers"], options["attn_window"]) == (tested, 1, window)
        noted = re.findall(r"note: (data-set|normal-label) is (\w+) here, and was (\w+) in the training", done.out)
        assert noted == [("data-set", tested, trained)] * ((trained, tested) != ("ucf", "longterm"))


@pytest.mark.parametrize("name", [" calm/a", "calm /a", "calm\n/a"])
def test_a_name_that_a_list_would_change_is_refused(own, name):
    """The lists were written, and the training then did not find the files."""
    own.save(f"{name}.npy")
    own.save("fight/b.npy")
    refused(own.make("--class-folders", "--test-share", 0.5), "begin nor end with a space", ascii(name)[1:-1])
    assert not own.out.exists()


def test_a_full_disk_leaves_all_lists_as_they_were(own):
    """The ground truth was replaced, and the list that it belongs to was not."""
    for i in range(40):
        own.save(f"{'calm' if i % 2 else 'fight'}/{'long' * 30}{i}.npy", 1)
    flags = ["--class-folders", "--normal-label", "calm", "--test-share", 0.5]
    annotations = "".join(f"{'long' * 30}{i} 0 {1 + i % 15}\n" for i in range(0, 40, 2))
    assert own.make(*flags, annotations=annotations).code == 0
    before = {path: path.read_bytes() for path in own.out.iterdir()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))  # more than the ground truth takes, less than the lists do
    try:
        done = own.make(*flags, "--seed", 1, "--annotations", own.path / "a.txt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    refused(done, "not written")
    assert {path: path.read_bytes() for path in own.out.iterdir()} == before
