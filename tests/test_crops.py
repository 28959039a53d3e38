"""Several crops of a video: beside each other or in one file, one of them tested or the mean of all, all of them trained on."""

import numpy as np
import pytest
import torch
from conftest import call, refused, walk, write_list
from scipy.special import expit

from evaluation import smoothing
from evaluation.scores_file import read_record
from files.crops import Layout, copies_of, layout_of
from files.sources import one_crop_each
from files.videos import Video
from running.forecast import clips_of

N_CROPS = 5


@pytest.mark.parametrize(
    ("shapes", "layout"),
    [
        ([(7, 512), (10, 512)], None),
        ([(10, 7, 512), (10, 9, 512)], Layout(0, 10)),
        ([(7, 10, 512), (10, 10, 512)], Layout(1, 10)),  # the second alone would not tell
        ([(10, 5, 512), (7, 5, 512)], Layout(1, 5)),
        ([(1, 32, 512)], Layout(0, 1)),
    ],
)
def test_the_layout_is_the_one_that_all_files_have(shapes, layout):
    assert layout_of({f"{i}.npy": shape for i, shape in enumerate(shapes)}) == layout


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([(10, 10, 512)], "which axis"),
        ([(10, 7, 512), (7, 10, 512)], "no one layout"),
        ([(10, 7, 512), (7, 512)], "no one layout"),
        ([(7, 9, 512)], "no one layout"),
    ],
)
def test_a_layout_that_cannot_be_told_is_refused(shapes, words):
    with pytest.raises(ValueError, match=words) as error:
        layout_of({f"{i}.npy": shape for i, shape in enumerate(shapes)})
    assert ".npy" in str(error.value) and "split_crops.py" in str(error.value)


def test_the_mean_is_of_scores_also_of_those_that_saturate():
    logits = np.array([[0.3, 60.0, -800.0], [-2.0, 70.0, -800.0], [4.0, 80.0, -700.0]])
    mean = smoothing.over_crops(logits)
    np.testing.assert_allclose(expit(mean[0]), expit(logits[:, 0]).mean())
    np.testing.assert_allclose(mean[1:], [-np.log(np.exp(-logits[:, 1]).mean()), -700 - np.log(3)])


@pytest.fixture
def crops(trained):
    """The toy's test videos in five crops each, and `crops.scores(how)`: what `ucf_test.py` gives with --crops one or mean."""
    kinds = {"beside": lambda x: None, "first axis": np.stack, "second axis": lambda x: np.stack(x, 1)}
    for row, (path, _) in enumerate(trained.test_rows):
        views = [walk(9 + 3 * ((16 + row) % 16), seed=100 * row + i) for i in range(N_CROPS)]
        for i, view in enumerate(views):
            np.save(trained.path / "features" / path.replace("__5", f"__{i}"), view)
        for kind, together in list(kinds.items())[1:]:
            file = trained.path / kind / path.replace("__5", "")
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, together(views))
        (trained.path / "features" / path).unlink()
    rows = {"beside": [(path.replace("__5", "__2"), label) for path, label in trained.test_rows]}
    in_files = [(path.replace("__5", ""), label) for path, label in trained.test_rows]
    rows |= {"first axis": in_files, "second axis": in_files}

    def test(kind, how, crop=2):
        listed = [(path.replace("__2", f"__{crop}"), label) for path, label in rows[kind]]
        write_list(trained.path / "crops.csv", listed)
        root = trained.path / ("features" if kind == "beside" else kind)
        out = trained.path / f"{kind} {how} {crop}"
        flags = [*trained.test_flags, "--feature-root", root, "--test-list", trained.path / "crops.csv", "--smooth", "none"]
        return call("ucf_test.py", *flags, "--crops", how, "--out-dir", out), out / "scores.npz"

    trained.test = test
    return trained


def test_the_mean_over_crops_is_that_of_the_crops_one_by_one(crops, undrawn):
    ones = []
    for crop in range(N_CROPS):
        done, path = crops.test("beside", "one", crop)
        assert done.code == 0, done.err
        ones.append(read_record(path))
    for kind in ("beside", "first axis", "second axis"):
        done, path = crops.test(kind, "mean")
        assert done.code == 0 and f"the mean over {N_CROPS} crops" in done.out, done
        mean = read_record(path)
        np.testing.assert_allclose(mean.scores.scores, np.mean([one.scores.scores for one in ones], 0), rtol=0, atol=1e-6)
        assert np.array_equal(mean.exit_layer, ones[2 if kind == "beside" else 0].exit_layer)
    done, path = crops.test("second axis", "one")
    assert done.code == 0 and f"hold {N_CROPS} crops each, of which the first counts" in done.out
    np.testing.assert_allclose(read_record(path).logits, ones[0].logits, rtol=0, atol=1e-6)


def test_what_is_odd_among_crops_is_said(crops, undrawn):
    (path, _), *_ = crops.test_rows
    file = crops.path / "features" / path.replace("__5", "__4")
    features = np.load(file)
    np.save(file, features[1:])
    refused(crops.test("beside", "mean")[0], file.name, "snippets, but another crop")
    file.unlink()
    done, _ = crops.test("beside", "mean")
    assert done.code == 0 and "1 videos have fewer than 5 crops" in done.err and path.replace("__5", "__2") in done.err
    other, _ = crops.test_rows[1]
    np.save(crops.path / "first axis" / other.replace("__5", ""), features)
    refused(crops.test("first axis", "mean")[0], other.replace("__5", ""), "no one layout")


@pytest.mark.parametrize("name", ["v__0", ".v__0.npy"])
def test_a_file_without_our_ending_has_no_crops_beside_it(tmp_path, name):
    """It ended in a KeyError, since only .npy files are looked for beside it."""
    (tmp_path / name).write_text("")
    assert copies_of([tmp_path / name], "mean", "list.csv") == [[(tmp_path / name, None)]]


@pytest.mark.parametrize(
    "names", [("v__0.npy", "v__1.npy", "v.mp4__1.npy"), ("v__0.npy", "v.mp4__0.npy"), ("v.npy", "v__1.npy")]
)
def test_a_crop_with_two_files_is_refused(tmp_path, names):
    """One of the two was taken, without a word; where one said no crop, the mean of all was that of one."""
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match="another file of v is"):
        one_crop_each(tmp_path)
    if names[0] == "v__0.npy":
        with pytest.raises(ValueError, match="another file of v is"):
            copies_of([tmp_path / "v__0.npy"], "mean", "list.csv")


def test_all_crops_of_a_file_are_trained_on(toy, undrawn):
    apart, together = [], []
    for path, label in toy.rows:
        views = np.stack([np.load(toy.path / "features" / path).astype(np.float32) + i for i in range(N_CROPS)])
        together.append((path.replace("__5", "_all"), label))
        np.save(toy.path / "features" / together[-1][0], views)
        for i, view in enumerate(views):
            apart.append((path.replace("__5", f"_all__{i}"), label))
            np.save(toy.path / "features" / apart[-1][0], view)
    weights = []
    for name, rows in (("apart", apart), ("together", together)):
        write_list(toy.path / "train.csv", rows)
        done = call(
            "ucf_train.py", *toy.flags, "--max-epoch", 1, "--batch-size", 8, "--eval-every", 0, "--out-dir", toy.path / name
        )
        assert done.code == 0 and "80 crops of 16 training videos, 40 of the crops anomalous; 8 test videos" in done.out, done
        assert "an epoch takes 80 of the crops, in" in done.out
        weights.append(torch.load(toy.path / name / "best.pt", weights_only=True)["model"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_lists_are_made_of_files_of_several_crops(tmp_path):
    for i, length in enumerate((7, 10, 12)):
        np.save(tmp_path / f"v{i}.npy", np.stack([walk(length, seed=i)] * 10, 1))
    (tmp_path / "a.txt").write_text("v0 16 40\nv1\nv2 0 20\n")
    flags = ["--feature-root", tmp_path, "--annotations", tmp_path / "a.txt", "--out", tmp_path / "list"]
    done = call("list/make_list.py", "longterm", *flags)
    assert done.code == 0 and "10 crops in each file" in done.out, done
    assert len(np.load(tmp_path / "list/gt_lt.npy")) == 16 * (7 + 10 + 12)


def test_a_forecast_counts_the_crops_that_are_scored():
    one = Video("v", None, "Normal", (), 9, 144, 0)
    assert [clips_of([one, one._replace(others=(one,) * n)], 4) for n in (0, 4)] == [6, 18]
