"""list/make_list.py and demo.py: lists and ground truth from folders and annotations."""

import csv
import filecmp
import shutil
import tempfile
import unicodedata
from pathlib import Path

import made_up
import numpy as np
import pytest
import torch
from conftest import call, refused, walk
from hypothesis import given, settings
from hypothesis import strategies as st

from files.features import find_file
from files.names import video_name
from option import parse
from running import testing
from ucf_option import parser

MAKE, DEMO = "list/make_list.py", "demo.py"


def save(root, name, length=5, width=8):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(root / name, walk(length, width).astype(np.float16))


@pytest.fixture
def ucf(tmp_path):
    """Two training and three test videos in UCF-Crime's layout."""
    root = tmp_path / "UCFClipFeatures"
    for crop in range(10):
        save(root, f"Abuse/Abuse001_x264__{crop}.npy")
        save(root, f"Training_Normal_Videos_Anomaly/Normal_Videos001_x264__{crop}.npy")
        save(root, f"Abuse/Abuse028_x264__{crop}.npy", 20)
        save(root, f"Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264__{crop}.npy", 7)
    save(root, "Arrest/Arrest001_x264__5.npy", 10)
    (tmp_path / "annotations.txt").write_text(
        "Abuse028_x264.mp4  Abuse  16  48  300  400\n"
        "Arrest001_x264  Arrest  5  10  -1  -1  \n"
        "\nNormal_Videos_003_x264.mp4  Normal  -1  -1  -1  -1\n"
    )
    flags = ["ucf", "--feature-root", root, "--annotations", tmp_path / "annotations.txt", "--out", tmp_path / "list"]
    return root, tmp_path, flags


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_ucf_lists_and_ground_truth(ucf, run):
    _, path, flags = ucf
    done = run(MAKE, *flags)
    assert done.code == 0, done.err
    train, test = rows(path / "list/ucf_CLIP_rgb.csv"), rows(path / "list/ucf_CLIP_rgbtest.csv")
    assert train[0] == ["path", "label"] and len(train) == 21
    assert train[1:11] == [[f"Abuse/Abuse001_x264__{i}.npy", "Abuse"] for i in range(10)]
    assert test[1:] == [
        ["Abuse/Abuse028_x264__5.npy", "Abuse"],
        ["Arrest/Arrest001_x264__5.npy", "Arrest"],
        ["Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264__5.npy", "Normal"],
    ]
    truth = np.load(path / "list/gt_ucf.npy")
    assert len(truth) == 16 * 37 and set(truth[16:48]) == {1} and set(truth[300:320]) == {1}  # 400 is cut to 320
    assert truth.sum() == 32 + 20 + 5 and set(truth[325:330]) == {1}
    assert "592 frames, 57 of them anomalous" in done.out


def test_names_on_one_side_only_are_an_error_unless_allowed(ucf, run):
    root, path, flags = ucf
    (root / "Abuse/Abuse028_x264__5.npy").unlink()
    (root / "Arrest/Arrest001_x264__5.npy").unlink()
    (root / "Abuse/Abuse001_x264__3.npy").unlink()
    save(root, "Testing_Normal_Videos_Anomaly/Normal_Videos_999_x264__5.npy")
    done = run(MAKE, *flags)
    refused(done, "1 annotated videos without features:\n  Arrest001", "1 test videos without crop 5:\n  Abuse028")
    refused(
        done, "1 test videos without annotation:\n  Normal_Videos_999", "all of their 10 crops:\n  Abuse001", "--allow-missing"
    )
    assert not (path / "list").exists()
    done = run(MAKE, *flags, "--allow-missing")
    assert done.code == 0 and len(rows(path / "list/ucf_CLIP_rgbtest.csv")) == 2
    assert len(np.load(path / "list/gt_ucf.npy")) == 16 * 7


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Abuse028_x264 Abuse 5\n", ["line 1", "name class start1"]),
        ("Abuse028_x264 Abuse 5 x\n", ["line 1", "name class start1"]),
        ("Abuse028_x264 Abuse 9 5\n", ["line 1", "from start to end"]),
        ("Abuse028_x264 Abuse -1 5\n", ["line 1", "from start to end"]),
        ("a Abuse 1 2\na Abuse 1 2\n", ["line 2", "twice"]),
        ("a Abuse\n", ["line 1", "name class start1"]),
        ("a, Abuse, 5, 10\n", ["line 1", "write spaces for commas"]),
        ("\n", ["no videos in it"]),
    ],
)
def test_bad_annotations_are_refused(ucf, run, line, words):
    _, path, flags = ucf
    (path / "annotations.txt").write_text(line)
    refused(run(MAKE, *flags), path / "annotations.txt", *words)


def test_annotations_that_contradict_the_folders_are_refused(ucf, run):
    _, path, flags = ucf
    text = (path / "annotations.txt").read_text()
    for old, new, words in (
        ("Arrest001_x264  Arrest", "Arrest001_x264  Abuse", ["line 2", "in the folder of Arrest"]),
        ("Normal  -1  -1", "Normal  5  50", ["line 4", "normal videos have none"]),
        ("5  10", "-1  -1", ["line 2", "with 0 intervals"]),
    ):
        (path / "annotations.txt").write_text(text.replace(old, new))
        refused(run(MAKE, *flags), *words)
    (path / "annotations.txt").write_text(text.replace("5  10", "5000  6000"))
    refused(run(MAKE, *flags), "line 2", "none is anomalous of its 160 frames, by [(5000, 6000)]", "--allow-missing")
    done = run(MAKE, *flags, "--allow-missing")
    assert done.code == 0 and "none is anomalous of its 160 frames" in done.err, done.err
    assert not any("Arrest001" in row for row in listed(path, "ucf_CLIP_rgbtest.csv"))
    left = (path / "list" / "ucf_left_out.csv").read_text()
    assert "Arrest001_x264__5.npy,test videos that contradict their annotations" in left


def test_a_folder_of_test_videos_alone_is_warned_of(ucf, run):
    root, path, flags = ucf
    shutil.rmtree(root / "Training_Normal_Videos_Anomaly")
    for file in root.glob("Abuse/Abuse001*"):
        file.unlink()
    done = run(MAKE, *flags)
    assert done.code == 0 and "no training videos" in done.err
    assert rows(path / "list/ucf_CLIP_rgb.csv") == [["path", "label"]] and len(rows(path / "list/ucf_CLIP_rgbtest.csv")) == 4


def test_nothing_is_replaced_unless_all_can_be(ucf, run):
    _, path, flags = ucf
    (path / "list" / "gt_ucf.npy").mkdir(parents=True)
    refused(run(MAKE, *flags), "gt_ucf.npy")
    assert [p.name for p in (path / "list").iterdir()] == ["gt_ucf.npy"]


def test_bad_feature_folders_are_refused(ucf, run):
    root, path, flags = ucf
    refused(run(MAKE, *flags[:2], path / "nowhere", *flags[3:]), "no such folder")
    (path / "empty").mkdir()
    refused(run(MAKE, *flags[:2], path / "empty", *flags[3:]), "no .npy files")
    save(root, "Arson/Abuse001_x264__0.npy")
    refused(run(MAKE, *flags), "another file of Abuse001_x264")
    (root / "Arson/Abuse001_x264__0.npy").rename(root / "Arson/Arson001_x264.npy")
    refused(run(MAKE, *flags), "all of their 10 crops:\n  Arson001_x264")
    (root / "Arson/Arson001_x264.npy").unlink()
    save(root, "Other/Other001_x264__0.npy")
    refused(run(MAKE, *flags), "a folder named after a class")
    (root / "Other/Other001_x264__0.npy").unlink()
    (root / "Abuse/Abuse028_x264__5.npy").write_bytes(b"")
    refused(run(MAKE, *flags), "Abuse028_x264__5.npy", "no whole .npy header")


def test_xd_lists_take_labels_from_names_and_the_split_from_folders(tmp_path, run):
    root = tmp_path / "XD"
    for crop in range(10):
        save(root, f"XDTrainClipFeatures/A.Film.2001__#00-01-45_00-02-50_label_A__{crop}.npy")
        save(root, f"XDTrainClipFeatures/v=x__#1_label_B2-G-0__{crop}.npy")
    save(root, "XDTestClipFeatures/B.Film__#00-26-51_00-27-53_label_B1-0-0__0.npy", 10)
    save(root, "XDTestClipFeatures/C.Film__#1_label_A__0.npy", 4)
    (tmp_path / "annotations.txt").write_text("B.Film__#00-26-51_00-27-53_label_B1-0-0 10 20 30 35\n")
    flags = ["xd", "--feature-root", root, "--annotations", tmp_path / "annotations.txt", "--out", tmp_path / "list"]
    done = run(MAKE, *flags)
    assert done.code == 0, done.err
    assert {tuple(row[1:]) for row in rows(tmp_path / "list/xd_CLIP_rgb.csv")[1:]} == {("A",), ("B2-G",)}
    assert [row[1] for row in rows(tmp_path / "list/xd_CLIP_rgbtest.csv")] == ["label", "B1", "A"]
    truth = np.load(tmp_path / "list/gt.npy")
    assert len(truth) == 16 * 14 and truth.sum() == 15
    save(root, "XDTestClipFeatures/D.Film__#1_label_G-0-0__0.npy", 4)
    refused(run(MAKE, *flags), "1 test videos without annotation:\n  D.Film__#1_label_G-0-0")
    save(root, "XDTestClipFeatures/E.Film__#1_label_C__0.npy", 4)
    refused(run(MAKE, *flags), "E.Film", "unknown label 'C'")


def test_an_own_set_counts_true_frames(tmp_path, run):
    root = tmp_path / "own"
    save(root, "day1/a.npy", 10)
    save(root, "b.npy", 4)
    (tmp_path / "annotations.txt").write_text("b\na 10 20\n")
    (tmp_path / "frames.csv").write_text("video,frames\na,155\nb,64\n")
    flags = ["longterm", "--feature-root", root, "--annotations", tmp_path / "annotations.txt", "--out", tmp_path / "list"]
    done = run(MAKE, *flags, "--frames", tmp_path / "frames.csv")
    assert done.code == 0, done.err
    expected = [["path", "label", "frames"], ["b.npy", "Normal", "64"], ["day1/a.npy", "Anomaly", "155"]]
    assert rows(tmp_path / "list/lt_CLIP_test.csv") == expected
    assert len(np.load(tmp_path / "list/gt_lt.npy")) == 219
    (tmp_path / "frames.csv").write_text("video,frames\na,144\nb,64\n")
    refused(run(MAKE, *flags, "--frames", tmp_path / "frames.csv"), "a.npy", "10 snippets are 145 to 160 frames, not 144")
    (tmp_path / "frames.csv").write_text("video,frames\na,155\nb,64\nc,3\n")
    refused(run(MAKE, *flags, "--frames", tmp_path / "frames.csv"), "1 frame counts without a video:\n  c")
    (tmp_path / "frames.csv").write_text("video,frames\na,155\na,154\n")
    refused(run(MAKE, *flags, "--frames", tmp_path / "frames.csv"), "line 3", "one number of frames")
    (tmp_path / "frames.csv").write_text("name,frames\na,144\n")
    refused(run(MAKE, *flags, "--frames", tmp_path / "frames.csv"), "line 1", "video and frames")


def test_the_demo_set_is_the_same_for_the_same_seed(tmp_path, run):
    for name in ("one", "two"):
        done = run(DEMO, "--out", tmp_path / name, "--width", 16, "--n-videos", 16, "--length", 16)
        assert done.code == 0, done.err
    files = [str(p.relative_to(tmp_path / "one")) for p in (tmp_path / "one").rglob("*") if p.is_file()]
    same, *different = filecmp.cmpfiles(tmp_path / "one", tmp_path / "two", files, shallow=False)
    assert len(files) > 200 and len(same) == len(files) and not any(different)
    refused(run(DEMO, "--n-videos", 3), "at least 16")


def listed(path, name):
    return [row[0] for row in rows(path / "list" / name)[1:]]


def test_a_test_video_that_is_lost_never_trains(ucf, run):
    """An annotated video without a frame count once went, with its ten crops, into the training list."""
    root, path, flags = ucf
    (path / "frames.csv").write_text("video,frames\nArrest001_x264,160\nNormal_Videos_003_x264,112\n")
    done = run(MAKE, *flags, "--frames", path / "frames.csv", "--allow-missing")
    assert done.code == 0 and "1 test videos without a frame count:\n  Abuse028_x264" in done.err
    assert not [name for name in listed(path, "ucf_CLIP_rgb.csv") if "Abuse028" in name]
    text = (path / "annotations.txt").read_text()
    for other in ("Abuse028", "abuse028_x264", "Abuse_028_x264"):
        (path / "annotations.txt").write_text(text.replace("Abuse028_x264", other))
        refused(run(MAKE, *flags), "may be test videos, written another way:\n  Abuse028_x264")
        assert run(MAKE, *flags, "--allow-missing").code == 0
        assert not [name for name in listed(path, "ucf_CLIP_rgb.csv") if "Abuse028" in name]
    for crop in range(10):
        (root / f"Abuse/Abuse028_x264__{crop}.npy").rename(root / f"Abuse/._Abuse028_x264__{crop}.npy")
    (path / "annotations.txt").write_text(text)
    done = run(MAKE, *flags, "--allow-missing")
    assert done.code == 0 and "10 hidden files" in done.out and "1 annotated videos without features" in done.err


def test_features_on_another_disk_are_found_through_links(ucf, run):
    root, path, flags = ucf
    (root / "Abuse").rename(path / "disk")
    (root / "Abuse").symlink_to(path / "disk", target_is_directory=True)
    (root / "again").symlink_to(root, target_is_directory=True)  # into itself: not followed for ever
    (root / "Arrest" / "Arrest002_x264__5.npy").symlink_to(path / "nowhere.npy")
    refused(run(MAKE, *flags), "1 links to nothing:\n  Arrest/Arrest002_x264__5.npy")
    done = run(MAKE, *flags, "--allow-missing")
    assert done.code == 0 and "1 links to nothing:\n  Arrest/Arrest002_x264__5.npy" in done.out
    assert len(listed(path, "ucf_CLIP_rgb.csv")) == 20 and len(listed(path, "ucf_CLIP_rgbtest.csv")) == 3


def test_a_folder_that_leads_nowhere_is_no_empty_folder(ucf, run):
    root, path, flags = ucf
    (root / "Training_Normal_Videos_Anomaly").rename(path / "disk")
    (root / "Training_Normal_Videos_Anomaly").symlink_to(path / "nowhere")
    refused(run(MAKE, *flags), "1 links to nothing:\n  Training_Normal_Videos_Anomaly")


@pytest.mark.parametrize("copy", ["Abuse028_x264 (1)__0", "Abuse028_x264_rgb__0", "abuse028__0", "Abuse028_x264__10"])
def test_copies_of_a_test_video_never_train(ucf, run, copy):
    root, path, flags = ucf
    save(root, f"Abuse/{copy}.npy", 20)
    refused(run(MAKE, *flags), "1 training videos that may be test videos")
    assert run(MAKE, *flags, "--allow-missing").code == 0
    assert not [name for name in listed(path, "ucf_CLIP_rgb.csv") if "028" in name]


def test_one_width_the_right_way_round(ucf, run):
    root, _, flags = ucf
    save(root, "Abuse/Abuse001_x264__3.npy", 5, 9)
    refused(run(MAKE, *flags), "Abuse001_x264__3.npy: width 9")
    for file in root.rglob("*.npy"):
        np.save(file, np.zeros((8, len(np.load(file))), np.float16))
    refused(run(MAKE, *flags), "the other way round", "split_crops.py")


def test_normal_xd_videos_are_never_lost(tmp_path, run):
    root = tmp_path / "XD"
    save(root, "XDTestClipFeatures/B__#1_label_B1-0-0__0.npy", 10)
    save(root, "XDTestClipFeatures/C__#1_label_A__0.npy", 4)
    save(root, "XDTestClipFeatures/D__#1_label_A__1.npy", 4)
    save(root, "XDTestClipFeatures/D__#1_label_A__2.npy", 4)
    (tmp_path / "annotations.txt").write_text("B__#1_label_B1-0-0 10 20\n")
    (tmp_path / "frames.csv").write_text("video,frames\nB__#1_label_B1-0-0,160\nD__#1_label_A,64\n")
    flags = ["xd", "--feature-root", root, "--annotations", tmp_path / "annotations.txt", "--out", tmp_path / "list"]
    refused(run(MAKE, *flags), "1 test videos without crop 0:\n  D__#1_label_A")
    done = run(MAKE, *flags, "--frames", tmp_path / "frames.csv")
    refused(done, "1 test videos without a frame count:\n  C__#1_label_A", "without crop 0")
    done = run(MAKE, *flags, "--frames", tmp_path / "frames.csv", "--allow-missing")
    assert done.code == 0 and listed(tmp_path, "xd_CLIP_rgbtest.csv") == ["XDTestClipFeatures/B__#1_label_B1-0-0__0.npy"]
    assert "C__#1_label_A__0.npy" in done.out and "D__#1_label_A__1.npy" in done.out


def test_labels_that_contradict_the_annotations_are_refused(tmp_path, run):
    root = tmp_path / "XD"
    for name in ("B__#1_label_B1-0-0", "C__#1_label_A"):
        save(root, f"XDTestClipFeatures/{name}__0.npy", 10)
    flags = ["xd", "--feature-root", root, "--annotations", tmp_path / "annotations.txt", "--out", tmp_path / "list"]
    for text, words in (
        ("B__#1_label_B1-0-0 5 5\n", "none is anomalous of its 160 frames, by []"),
        ("B__#1_label_B1-0-0 500 600\n", "none is anomalous of its 160 frames, by [(500, 600)]"),
        ("B__#1_label_B1-0-0 5 9\nC__#1_label_A 5 9\n", "is A, but some are anomalous of its 160 frames"),
    ):
        (tmp_path / "annotations.txt").write_text(text)
        refused(run(MAKE, *flags), "line ", words)


def test_crops_are_complete_where_each_video_has_one_whatever_its_number(tmp_path, run):
    for name in ("a__0.npy", "b__0.npy", "c.npy", "calm/d__0.npy", "calm/e.npy", "calm/f.npy"):
        save(tmp_path / "own", name if "/" in name else f"riot/{name}")
    (tmp_path / "annotations.txt").write_text("c riot 0 9\n")
    (tmp_path / "names.txt").write_text("c\nf\n")
    flags = ["--class-folders", "--normal-label", "calm", "--test-names", tmp_path / "names.txt", "--out", tmp_path / "list"]
    done = run(MAKE, "own", "--feature-root", tmp_path / "own", "--annotations", tmp_path / "annotations.txt", *flags)
    assert done.code == 0 and len(rows(tmp_path / "list" / "own_train.csv")) == 5, done


def test_an_interval_without_frames_makes_no_anomaly(tmp_path, run):
    root = tmp_path / "own"
    save(root, "Normal_001.npy", 4)
    save(root, "b.npy", 4)
    save(root, "c.npy", 4)
    (tmp_path / "annotations.txt").write_text("Normal_001 0 0\nb 5 9 7 7\nc 30 900\n")
    flags = ["longterm", "--feature-root", root, "--annotations", tmp_path / "annotations.txt", "--out", tmp_path / "list"]
    done = run(MAKE, *flags)
    assert done.code == 0 and "2 intervals hold no frame" in done.err and "Normal_001, 0 to 0" in done.err
    assert "(30, 900) is cut to the 64 frames of c" in done.err
    labels = {row[0]: row[1] for row in rows(tmp_path / "list/lt_CLIP_test.csv")[1:]}
    assert labels == {"Normal_001.npy": "Normal", "b.npy": "Anomaly", "c.npy": "Anomaly"}


@pytest.mark.parametrize(
    ("file", "annotation"),
    [
        ("cam1.mp4.npy", "cam1.mp4"),
        ("cam1.npy", "cam1.MP4"),
        ("cam1__20240101.npy", "cam1__20240101.avi"),
        ("cam1__20240101__0.npy", "cam1__20240101"),
        ("cafe\u0301.npy", "caf\u00e9.mp4"),
        ("day.2/cam1.v2.npy", "day.2/cam1.v2.mp4"),
    ],
)
def test_names_meet_however_they_are_written(tmp_path, run, file, annotation):
    save(tmp_path / "own", file, 4)
    (tmp_path / "annotations.txt").write_text(f"{annotation} 5 9\n")
    (tmp_path / "frames.csv").write_text(f"video,frames\n{annotation},60\n")
    flags = ["longterm", "--feature-root", tmp_path / "own", "--annotations", tmp_path / "annotations.txt"]
    done = run(MAKE, *flags, "--out", tmp_path / "list", "--frames", tmp_path / "frames.csv")
    assert done.code == 0, done.err
    assert rows(tmp_path / "list/lt_CLIP_test.csv")[1] == [file, "Anomaly", "60"]
    (path,) = listed(tmp_path, "lt_CLIP_test.csv")
    assert find_file(unicodedata.normalize("NFC", f"/elsewhere/{path}"), str(tmp_path / "own")).is_file()


def test_annotations_with_a_folder_and_a_number_of_frames_are_read(ucf, run):
    _, path, flags = ucf
    assert run(MAKE, *flags).code == 0
    truth = np.load(path / "list/gt_ucf.npy")
    for first, second, third in (
        ("Abuse 320", "Arrest 160", "Normal 112"),
        ("320", "160", "112"),
    ):
        (path / "annotations.txt").write_text(
            f"Abuse/Abuse028_x264.mp4 {first} 16 48 300 320\nArrest/Arrest001_x264.mp4 {second} 5 10 -1 -1\n"
            f"Testing_Normal_Videos_Anomaly/Normal_Videos_003_x264.mp4 {third} -1 -1 -1 -1\n"
        )
        done = run(MAKE, *flags)
        assert done.code == 0, done.err
        assert "taken for a count of frames" in done.out
        np.testing.assert_array_equal(np.load(path / "list/gt_ucf.npy"), truth)
    (path / "annotations.txt").write_text("Abuse028_x264 Abuse 16 48 300\nArrest001_x264 Arrest 5 10 -1 -1\n")
    refused(run(MAKE, *flags), "line 1", "name class start1 end1 start2 end2")


@pytest.mark.parametrize("ending", ["", "__0", "__5"])
def test_one_crop_a_video_is_enough(ucf, run, ending):
    root, path, flags = ucf
    for file in list(root.rglob("*.npy")):
        if not file.stem.endswith("__5"):
            file.unlink()
    for file in list(root.rglob("*.npy")):
        file.rename(file.with_name(file.name.replace("__5", ending)))
    done = run(MAKE, *flags)
    assert done.code == 0, done.err
    assert "each video has one crop, which is tested" in done.out
    assert len(listed(path, "ucf_CLIP_rgb.csv")) == 2 and len(listed(path, "ucf_CLIP_rgbtest.csv")) == 3


def test_the_test_crop_can_be_chosen(ucf, run):
    _, path, flags = ucf
    refused(run(MAKE, *flags, "--test-crop", 3), "1 test videos without crop 3:\n  Arrest001_x264")
    assert run(MAKE, *flags, "--test-crop", 3, "--allow-missing").code == 0
    assert all(name.endswith("__3.npy") for name in listed(path, "ucf_CLIP_rgbtest.csv"))


def test_features_rounded_down_need_a_flag_and_are_named(ucf, run):
    _, path, flags = ucf
    (path / "frames.csv").write_text("video,frames\nAbuse028_x264,325\nArrest001_x264,160\nNormal_Videos_003_x264,127\n")
    flags += ["--frames", path / "frames.csv"]
    names = ("Abuse028_x264", "Normal_Videos_003_x264")
    refused(run(MAKE, *flags), "2 test videos that do not fit", *names, "not 325", "--hold-last")
    done = run(MAKE, *flags, "--hold-last")
    assert done.code == 0 and len(np.load(path / "list/gt_ucf.npy")) == 325 + 160 + 127
    (path / "frames.csv").write_text("video,frames\nAbuse028_x264,337\nArrest001_x264,160\nNormal_Videos_003_x264,127\n")
    refused(run(MAKE, *flags, "--hold-last"), "Abuse028_x264", "not 337")


ANNOTATED, COUNTED = "annotated", "counted"


@settings(max_examples=60)
@given(
    videos=st.lists(
        st.tuples(
            st.sampled_from(("Abuse", "Arrest", "Training_Normal_Videos_Anomaly", "Testing_Normal_Videos_Anomaly")),
            st.sets(st.sampled_from((None, 0, 3, 5)), min_size=1),
            st.sets(st.sampled_from((ANNOTATED, COUNTED, "hidden", "npz", "respelt"))),
        ),
        min_size=1,
        max_size=6,
    ),
    test_crop=st.sampled_from((None, 0, 5)),
    with_frames=st.booleans(),
    extra=st.booleans(),
)
def test_every_file_ends_in_one_list(videos, test_crop, with_frames, extra):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        annotations, frames, files, tested = [], ["video,frames"], set(), set()
        for i, (kind, crops, facts) in enumerate(videos):
            name, label = f"V{i:03}_x264", kind if kind in ("Abuse", "Arrest") else "Normal"
            for crop in crops - ({None} if len(crops) > 1 else set()):
                file = f"{kind}/{'._' if 'hidden' in facts and crop == 3 else ''}{name}{'' if crop is None else f'__{crop}'}"
                file += ".npz" if "npz" in facts and crop == 0 else ".npy"
                save(path / "F", file, 3, 4)
                if file.endswith("npz"):
                    (path / "F" / (file + ".npy")).rename(path / "F" / file)
                files.add(file)
            if ANNOTATED in facts:
                written = name.lower() if "respelt" in facts else name
                interval = "-1 -1 -1 -1" if label == "Normal" else "3 9 -1 -1"
                annotations.append(f"{written}.mp4 {label} {interval}")
            if ANNOTATED in facts or kind.startswith("Testing"):
                tested.add(name)
            if COUNTED in facts:
                frames.append(f"{name},40")
        annotations += ["Nowhere.mp4 Abuse 1 2 -1 -1"] if extra or not annotations else []
        (path / "a.txt").write_text("\n".join(annotations))
        (path / "f.csv").write_text("\n".join([*frames, "Nowhere,7"] if extra or len(frames) == 1 else frames))
        flags = [
            "ucf",
            "--feature-root",
            path / "F",
            "--annotations",
            path / "a.txt",
            "--out",
            path / "list",
            "--allow-missing",
        ]
        flags += ["--test-crop", test_crop] if test_crop is not None else []
        flags += ["--frames", path / "f.csv"] if with_frames else []
        done = call(MAKE, *flags)
        if done.code:
            assert "no test video" in done.err or "no .npy files" in done.err, done.err
            assert not (path / "list").exists()
            return
        train, test, left = (listed(path, name) for name in ("ucf_CLIP_rgb.csv", "ucf_CLIP_rgbtest.csv", "ucf_left_out.csv"))
        assert sorted([*train, *test, *left]) == sorted(files)
        assert all(row[1] for row in rows(path / "list/ucf_left_out.csv"))
        assert not {video_name(name) for name in train} & tested
        assert len({video_name(name) for name in test}) == len(test) and {video_name(name) for name in test} <= tested
        for reason in {row[1] for row in rows(path / "list/ucf_left_out.csv")[1:]}:
            assert reason in done.out


def test_crops_in_one_file_are_split(tmp_path, run):
    crops = np.stack([walk(7, 24, seed=i) for i in range(10)])
    (tmp_path / "in/Abuse").mkdir(parents=True)
    np.save(tmp_path / "in/Abuse/a_i3d.npy", crops)  # (10, L, D)
    np.save(tmp_path / "in/Abuse/b.npy", crops[:, :5].swapaxes(0, 1).astype(float))  # (L, 10, D)
    np.savez(tmp_path / "in/c.npz", crops[0, :3])
    torch.save(torch.nn.Parameter(torch.from_numpy(crops[1].T.copy()).half()), tmp_path / "in/d__5.pt")  # (D, L)
    (tmp_path / "in/._c.npz").write_bytes(b"x")
    done = run("list/split_crops.py", tmp_path / "in", "--out", tmp_path / "out")
    assert done.code == 0 and "._c.npz" in done.err and "22 files of width 24" in done.out, done
    for i in range(10):
        np.testing.assert_array_equal(np.load(tmp_path / f"out/Abuse/a__{i}.npy"), crops[i])
        np.testing.assert_array_equal(np.load(tmp_path / f"out/Abuse/b__{i}.npy"), crops[i, :5])
    np.testing.assert_array_equal(np.load(tmp_path / "out/c.npy"), crops[0, :3])
    np.testing.assert_array_equal(np.load(tmp_path / "out/d__5.npy"), crops[1].astype(np.float16))
    np.save(tmp_path / "out/c.npy", walk(70, 24))
    done = run("list/split_crops.py", tmp_path / "in", "--out", tmp_path / "out")
    refused(done, "out/c.npy, which holds other features", "another --out")
    np.save(tmp_path / "in/e.npy", np.zeros((2, 3, 4, 5)))
    np.save(tmp_path / "in/f.npy", np.array([{}], object))
    refused(run("list/split_crops.py", tmp_path / "in", "--out", tmp_path / "no"), "2 of 6 files", "e.npy", "f.npy")
    assert not (tmp_path / "no").exists()
    for name, shape in {"a": (7, 10, 24), "b": (10, 10, 24), "c": (7, 5, 24)}.items():
        (tmp_path / "short").mkdir(exist_ok=True)
        np.save(tmp_path / f"short/{name}.npy", np.zeros(shape))
    done = run("list/split_crops.py", tmp_path / "short", "--out", tmp_path / "of short")
    assert done.code == 0 and "25 files of width 24" in done.out, done  # b as the others
    (tmp_path / "short/a.npy").unlink(), (tmp_path / "short/c.npy").unlink()
    refused(run("list/split_crops.py", tmp_path / "short", "--out", tmp_path / "no"), "b.npy: shape (10, 10, 24): which axis")
    for name, shape in {"a": (5, 37, 24), "b": (5, 10, 24)}.items():
        (tmp_path / "five").mkdir(exist_ok=True)
        np.save(tmp_path / f"five/{name}.npy", np.zeros(shape))
    done = run("list/split_crops.py", tmp_path / "five", "--out", tmp_path / "of five")
    assert done.code == 0 and np.load(tmp_path / "of five/b__4.npy").shape == (10, 24), done
    (tmp_path / "one").mkdir()
    np.save(tmp_path / "one/a.npy", crops[0])
    refused(run("list/split_crops.py", tmp_path / "one", "--out", tmp_path / "no"), "[7, 24]", "--width")
    assert run("list/split_crops.py", tmp_path / "one", "--out", tmp_path / "yes", "--width", 24).code == 0


def test_the_made_up_set_has_the_size_that_it_says(tmp_path, monkeypatch):
    for name, value in {"TRAIN": 20, "TEST": 6, "N_TRAIN": 4000, "N_TEST": 3000, "N_ANOMALOUS": 700}.items():
        monkeypatch.setattr(made_up, name, value)
    monkeypatch.setattr("sys.argv", ["made_up.py", str(tmp_path), "--share", "0.2"])
    made_up.main()
    options = parse(parser, ["--feature-root", str(tmp_path / "features"), "--gt-path", str(tmp_path / "gt.npy")])
    options.test_list = str(tmp_path / "test.csv")
    videos, truth = testing.read_test_set(options)
    assert len(videos) == 6 and len(truth) == 3000 and truth.sum() == 700
    assert len((tmp_path / "train.csv").read_text().splitlines()) == 1 + 10 * 4
