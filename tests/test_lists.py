"""list/make_list.py and demo.py: lists and ground truth from folders and annotations."""

import csv
import filecmp
import shutil

import numpy as np
import pytest
from conftest import refused, walk

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
    done = run(MAKE, *flags)
    assert done.code == 0 and "warning" in done.err and "begins after the 160 frames" in done.err


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
