"""Training: the loss, the order of the videos, and runs that stop and go on."""

import json
import random
import shutil
import signal
import subprocess
import time
import zlib
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, refused, walk, write_list
from warm import ran, started

import dataset
import model
from dataset import Batch, alternate, drop_snippets, hold_out, pack, shuffle, training_batches
from files import checkpoint
from files.videos import Video
from running import beginning, record, resume, testing, training
from running.forecast import passes
from running.loading import load_model
from running.training import video_scores

TRAIN = "ucf_train.py"


def same_weights(a, b):
    a, b = (torch.load(path, weights_only=True) for path in (a, b))
    return all(same(a.get(kind) or {}, b.get(kind) or {}) for kind in ("model", "trained"))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_videos_score_is_the_mean_of_its_largest_real_snippets():
    logits = torch.randn(20, 4)
    batch = Batch(None, torch.tensor([0, 12]), torch.tensor([46, 29]), torch.tensor([0.0, 1.0]), ["a", "b"])
    first, second = logits[:12].flatten()[:46].sigmoid(), logits[12:].flatten()[:29].sigmoid()
    expected = [first.sort(descending=True).values[:3].mean(), second.sort(descending=True).values[:2].mean()]
    torch.testing.assert_close(video_scores([logits], batch).flatten(), torch.stack(expected))


def test_padding_is_in_no_videos_score():
    logits = torch.full((3, 4), -2.0)
    logits[1, 1:] = 9.0  # the first video has 5 snippets: these three are padding
    batch = Batch(None, torch.tensor([0, 2]), torch.tensor([5, 4]), torch.tensor([0.0, 1.0]), ["a", "b"])
    torch.testing.assert_close(video_scores([logits], batch).flatten(), torch.full((2,), -2.0).sigmoid())


def test_ucf_alternates_normal_and_anomalous_videos():
    kinds = [i % 3 == 0 for i in range(30)]
    order = alternate(kinds, seed=1, epoch=0)
    assert [kinds[i] for i in order] == [False, True] * 10
    assert len(set(order)) == 20


def test_xd_takes_every_video_once():
    assert sorted(shuffle([True] * 30, seed=1, epoch=0)) == list(range(30))


@pytest.mark.parametrize("order", [alternate, shuffle])
def test_the_order_is_a_function_of_seed_and_epoch(order):
    kinds = [i % 2 == 0 for i in range(40)]
    one, same, epoch, seed = (order(kinds, seed=s, epoch=e) for s, e in ((1, 2), (1, 2), (1, 3), (2, 2)))
    assert one == same and one != epoch and one != seed


def fake_videos(n_crops=3):
    names = [f"v{i}" for i in range(20)]
    return [
        Video(n, None, "", ("x",) * (i % 2), 100 * i + 1, 0, 10 * i + c) for i, n in enumerate(names) for c in range(n_crops)
    ]


def test_batches_cover_the_videos():
    videos = fake_videos()
    batches = training_batches(videos, "xd", batch_size=7, seed=0, epoch=0)
    assert [len(b) for b in batches] == [7] * 8 + [4]
    packed = dataset.test_batches(videos, 4, torch.device("cpu"))
    assert [row for batch in packed for row in batch] == list(range(60))
    clips = [sum(-(-videos[row].n_snippets // 4) for row in batch) for batch in packed]
    assert all(n <= 512 for n, batch in zip(clips, packed, strict=True) if len(batch) > 1)


def test_held_out_videos_keep_their_crops_together():
    videos = fake_videos()
    train, validation = hold_out(videos, 0.3, 0)
    names = {v.name for v in validation}
    assert len(validation) == len(names) == 6 and sum(v.anomalous for v in validation) == 3
    assert not names & {v.name for v in train} and len(train) == 3 * 14


def test_videos_with_the_same_content_stay_on_one_side():
    videos = fake_videos()
    twins = {"v0": "v2", "v1": "v3", "v4": "v7"}  # the last are of different classes: never held out
    contents = {v.name: {"checksum": v.checksum, "n_snippets": v.n_snippets} for v in videos}
    videos = [v._replace(**contents[twins.get(v.name, v.name)]) for v in videos]
    for seed in range(20):
        train, validation = hold_out(videos, 0.4, seed)
        trained, held = {v.name for v in train}, {v.name for v in validation}
        assert not trained & held and not {"v4", "v7"} & held
        for one, other in list(twins.items())[:2]:
            assert (one in trained) == (other in trained) and not {one, other} <= held


def test_videos_are_padded_to_whole_clips_and_not_to_each_other():
    clips, starts = pack([np.ones((5, 8), np.float16), np.ones((4, 8), np.float32)], 4)
    assert clips.shape == (3, 4, 8) and starts.tolist() == [0, 2] and clips.dtype == torch.float32
    assert clips.sum((1, 2)).tolist() == [32, 8, 32]


def test_dropped_snippets_are_zero_and_the_same_every_time():
    one, two, other = (drop_snippets(walk(50), 0.3, 7, name) for name in ("a", "a", "b"))
    assert np.array_equal(one, two) and not np.array_equal(one, other)
    assert (one == 0).all(1).sum() == 15


def test_evaluations_come_when_their_number_of_videos_has_passed():
    assert [n for n in range(1, 11) if passes(10, n, size=4)] == [3, 5, 8, 10]
    assert not any(passes(0, n, size=4) for n in range(1, 11))


def test_a_run_writes_its_log_results_and_figure(toy, run):
    flags = ["--max-epoch", 3, "--batch-size", 2, "--eval-every", 6, "--scheduler-milestones", 2, "--out-dir", toy.out]
    done = run(TRAIN, *toy.flags, *flags)
    assert done.code == 0, done.err
    log = [json.loads(line) for line in (toy.out / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [3, 6, 8, 11, 14, 16, 19, 22, 24]
    assert [entry["epoch"] for entry in log] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [entry["lr"] for entry in log] == pytest.approx([2e-5] * 6 + [2e-6] * 3)
    assert set(log[0]) == {"epoch", "step", "loss", "auc", "ap", "ap_trapezoid", "smoothings", "lr", "videos_per_second"}
    assert list(log[0]["smoothings"]) == ["slide 8", "causal 8", "unsmoothed"]
    assert done.out.count("; unsmoothed: AUC ") == 9 + 2
    results = json.loads((toy.out / "results.json").read_text())
    assert results["best"]["auc"] == max(entry["auc"] for entry in log) and results["last"]["auc"] == log[-1]["auc"]
    assert (toy.out / "training.png").read_bytes().startswith(b"\x89PNG")
    tested = [*toy.flags[:-2], "--model-path", toy.out / "best.pt", "--out-dir", toy.path / "again"]
    assert run("ucf_test.py", *tested).code == 0
    again = json.loads((toy.path / "again" / "results.json").read_text())
    assert again["auc"] == results["best"]["auc"] and again["ap"] == results["best"]["ap"]


def test_training_learns(toy, run, undrawn):
    flags = [
        "--max-epoch",
        12,
        "--batch-size",
        4,
        "--lr",
        1e-3,
        "--scheduler-milestones",
        "--out-dir",
        toy.out,
        "--eval-every",
        0,
    ]
    assert run(TRAIN, *toy.flags, *flags).code == 0
    log = [json.loads(line) for line in (toy.out / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"] and log[-1]["auc"] > 0.6


def test_bf16_trains_and_tests(toy, run, undrawn):
    flags = [*toy.flags, "--precision", "bf16", "--keyclip-test"]
    assert run(TRAIN, *flags, "--max-epoch", 1, "--out-dir", toy.out).code == 0
    fp32, bf16 = (
        run("ucf_test.py", *toy.flags[:-2], "--model-path", toy.out / "best.pt", "--precision", p, "--out-dir", toy.path / p)
        for p in ("fp32", "bf16")
    )
    assert fp32.code == bf16.code == 0, bf16.err
    a, b = (np.load(toy.path / p / "scores.npz")["logits"] for p in ("fp32", "bf16"))
    assert 0 < np.abs(a - b).max() < 0.1


def test_worker_processes_change_nothing(toy, run, undrawn):
    for n in (0, 2):
        done = run(TRAIN, *toy.flags, "--max-epoch", 1, "--batch-size", 4, "--workers", n, "--out-dir", toy.path / str(n))
        assert done.code == 0, done.err
    assert same_weights(toy.path / "0" / "last.pt", toy.path / "2" / "last.pt")


def test_validation_videos_select_without_the_test_set(toy, run, undrawn):
    flags = ["--val-share", 0.4, "--max-epoch", 3, "--batch-size", 4, "--out-dir", toy.out, "--eval-every", 0]
    done = run(TRAIN, *toy.flags, *flags)
    assert done.code == 0 and "; validation, of videos: AUC " in done.out, done
    results = json.loads((toy.out / "results.json").read_text())
    log = [json.loads(line) for line in (toy.out / "log.jsonl").read_text().splitlines()]
    assert results["selected_by"] == "val_auc"
    assert results["best"]["val_auc"] == max(entry["val_auc"] for entry in log)
    assert results["best_on_test"]["auc"] == max(entry["auc"] for entry in log)


def test_released_weights_are_a_starting_point(toy, run, tmp_path):
    import golden

    config = {"seed": 1, "visual_layers": 2, "attn_window": 4, "classifier_bias": 0.0}
    state = golden.released_state(config)
    torch.save({"model_state_dict": state}, tmp_path / "released.pth")
    for path, _ in [*toy.rows, *toy.test_rows]:
        file = toy.path / "features" / path
        np.save(file, walk(len(np.load(file)), 512, seed=zlib.crc32(path.encode())))
    flags = [*toy.flags, "--visual-width", 512, "--use-checkpoint", "--checkpoint-path", tmp_path / "released.pth"]
    done = run(TRAIN, *flags, "--max-epoch", 1, "--batch-size", 16, "--lr", 1e-9, "--out-dir", toy.out)
    assert done.code == 0, done.err
    content = torch.load(toy.out / "last.pt", weights_only=True)
    assert content["options"]["variant"] == "released" and content["options"]["attn_merge"] == "interleave"
    torch.testing.assert_close(content["model"]["linear.weight"], state["linear.weight"], atol=1e-5, rtol=0)


def test_a_finished_run_can_be_continued_for_more_epochs(toy, run, undrawn):
    common = [*toy.flags, "--batch-size", 4, "--scheduler-milestones", 1, 3]
    assert run(TRAIN, *common, "--max-epoch", 4, "--out-dir", toy.path / "whole").code == 0
    assert run(TRAIN, *common, "--max-epoch", 2, "--out-dir", toy.path / "parts").code == 0
    last = toy.path / "parts" / "last.pt"
    done = run(TRAIN, "--use-checkpoint", "--checkpoint-path", last, "--max-epoch", 4)
    assert done.code == 0, done.err
    assert same_weights(last, toy.path / "whole" / "last.pt")
    assert len((toy.path / "parts" / "log.jsonl").read_text().splitlines()) == 4


def test_a_runs_folder_may_move_and_its_checkpoint_may_lie_elsewhere(toy, run, undrawn):
    common = [*toy.flags, "--batch-size", 8, "--max-epoch", 1]
    assert run(TRAIN, *common, "--out-dir", toy.path / "a").code == 0
    for n, name in ((2, "b"), (3, "c")):
        (toy.path / {"b": "a", "c": "b"}[name]).rename(toy.path / name)
        resume = ["--use-checkpoint", "--checkpoint-path", toy.path / name / "last.pt", "--max-epoch", n]
        assert run(TRAIN, *resume).code == 0
        assert len((toy.path / name / "log.jsonl").read_text().splitlines()) == n
    (toy.path / "elsewhere").mkdir()
    last = toy.path / "elsewhere" / "x.pt"
    assert run(TRAIN, *common, "--out-dir", toy.path / "d", "--checkpoint-path", last).code == 0
    assert run(TRAIN, "--use-checkpoint", "--checkpoint-path", last, "--max-epoch", 2).code == 0
    assert len((toy.path / "d" / "log.jsonl").read_text().splitlines()) == 2 and not (toy.path / "a").exists()


def test_resuming_with_other_options_or_lists_is_refused(trained, run, undrawn, monkeypatch):
    resume = ["--use-checkpoint", "--checkpoint-path", trained.path / "run" / "last.pt", "--max-epoch", 2]
    refused(run(TRAIN, *resume, "--lr", 1), "begun with --lr 2e-05, not 1.0")
    refused(run(TRAIN, *resume, "--visual-layers", 4), "trained with --visual-layers 2")
    refused(run(TRAIN, *resume, "--variant", "released"), "begun with --", "leave --variant out")
    write_list(trained.path / "train.csv", trained.rows[:-1])
    refused(run(TRAIN, *resume), "--train-list", "have changed since")
    write_list(trained.path / "train.csv", trained.rows)
    truth = np.load(trained.path / "gt.npy")
    np.save(trained.path / "gt.npy", 1 - truth)
    refused(run(TRAIN, *resume), "--gt-path", "have changed since")
    np.save(trained.path / "gt.npy", truth)
    asked, choose = [], beginning.choose_device
    monkeypatch.setattr(beginning, "choose_device", lambda name: asked.append(name) or choose(name))
    assert run(TRAIN, *resume).code == 0 and asked == ["cpu"], "it was begun with --device cpu, and says so itself"


def test_a_change_of_any_crop_that_counts_is_noticed():
    first, second = (Video("a", Path(f"a__{n}.npy"), "Abuse", ("Abuse",), 4, 64, n) for n in range(2))
    alone, both, other = first, first._replace(others=(second,)), first._replace(others=(second._replace(checksum=9),))
    of = [resume.digests([], [video], np.zeros(64))["--crops"] for video in (alone, both, other)]
    assert len({*of}) == 3


def test_a_checkpoint_in_another_runs_folder_goes_on_in_its_own(toy, run, undrawn):
    common = [*toy.flags, "--batch-size", 8, "--max-epoch", 1, "--visual-layers", 0]
    assert run(TRAIN, *common, "--seed", 1, "--out-dir", toy.path / "b").code == 0
    kept = (toy.path / "b" / "results.json").read_bytes()
    last = toy.path / "b" / "a.pt"
    assert run(TRAIN, *common, "--seed", 2, "--out-dir", toy.path / "a", "--checkpoint-path", last).code == 0
    assert run(TRAIN, "--use-checkpoint", "--checkpoint-path", last, "--max-epoch", 2).code == 0
    assert len((toy.path / "a" / "log.jsonl").read_text().splitlines()) == 2
    assert (toy.path / "b" / "results.json").read_bytes() == kept


def test_a_checkpoint_whose_folder_has_another_run_by_now_does_not_take_it(toy, run, undrawn):
    """A copy of last.pt went on in its old folder, where another run had begun since: that one's results were replaced."""
    common, out = (
        [*toy.flags, "--batch-size", 8, "--max-epoch", 1, "--visual-layers", 0, "--out-dir", toy.path / "a"],
        toy.path / "a",
    )
    assert run(TRAIN, *common, "--seed", 1).code == 0
    alone = toy.path / "alone"
    alone.mkdir()
    shutil.copy(out / "last.pt", alone / "last.pt")
    assert run(TRAIN, *common, "--seed", 2, "--overwrite").code == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    resume = ["--use-checkpoint", "--checkpoint-path", alone / "last.pt", "--max-epoch"]
    refused(run(TRAIN, *resume, 2), "holds another run", f"--out-dir {alone}")
    assert before == {path: path.read_bytes() for path in out.iterdir()}
    refused(run(TRAIN, *resume, 1, "--out-dir", alone), "best.pt, of step 2, is not there", "larger --max-epoch")
    done = run(TRAIN, *resume, 2, "--out-dir", alone)
    assert done.code == 0 and "the best of what follows is kept" in done.out and (alone / "best.pt").exists(), done
    shutil.rmtree(out)
    (alone / "best.pt").rename(toy.path / "kept.pt")
    moved = ["--use-checkpoint", "--checkpoint-path", alone / "last.pt", "--model-path", toy.path / "kept.pt", "--max-epoch", 2]
    assert run(TRAIN, *moved).code == 0
    shutil.copy(toy.path / "kept.pt", alone / "best.pt")
    another = [*moved[:-3], toy.path / "other.pt", *moved[-2:]]
    assert run(TRAIN, *another).code == 0 and (toy.path / "other.pt").read_bytes() == (toy.path / "kept.pt").read_bytes()


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_video(toy, run):
    done = run(TRAIN, *toy.flags, "--max-epoch", 1, "--lr", 1e30, "--out-dir", toy.out)
    refused(done, "the loss of", "_x264 is not finite", "--lr")
    assert "go on" not in done.err, "from weights that are worth nothing"


def test_weights_that_are_not_finite_between_two_evaluations_are_not_saved(toy, run, monkeypatch):
    step, saved = training.train_batch, []

    def diverges(of, *what):
        loss = step(of, *what)
        of.model.classifier.bias.data.fill_(torch.inf)
        return loss

    monkeypatch.setattr(training, "train_batch", diverges)
    monkeypatch.setattr(record, "save", lambda of: saved.append(of.progress.step))
    done = run(TRAIN, *toy.flags, "--max-epoch", 1, "--batch-size", 1, "--save-minutes", 0, "--out-dir", toy.out)
    refused(done, "after step 1 weights are not finite", "--lr", "what was saved before stands")
    assert saved == [0] and "go on" not in done.err


def test_a_run_that_cannot_save_at_its_beginning_leaves_its_folder_free(toy, run, undrawn, monkeypatch):
    flags = [*toy.flags, "--max-epoch", 1, "--batch-size", 8, "--out-dir", toy.out]

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(checkpoint, "save", full)
        refused(run(TRAIN, *flags), "No space left on device")
    assert run(TRAIN, *flags).code == 0


UNHEARD = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def command(toy, out, *more):
    flags = [*toy.flags, "--max-epoch", 1, "--batch-size", 1, "--drop-rate", 0.1, "--eval-every", 10, "--save-minutes", 0]
    flags += ["--weight-average", 0.9]
    return [ROOT / TRAIN, *flags, "--out-dir", out, *more]


def test_a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on(toy):
    process = started(command(toy, toy.out, "--max-epoch", 1000), stderr=subprocess.PIPE, text=True)
    while not (toy.out / "log.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert f"python {ROOT / TRAIN} --use-checkpoint --checkpoint-path {toy.out / 'last.pt'}" in errors
    n = torch.load(toy.out / "last.pt", weights_only=True)["progress"]["epoch"]
    resume = [ROOT / TRAIN, "--use-checkpoint", "--checkpoint-path", toy.out / "last.pt", "--max-epoch", n + 1]
    whole = command(toy, toy.path / "whole", "--max-epoch", n + 1)
    assert [process.wait() for process in [started(words, **UNHEARD) for words in (resume, whole)]] == [0, 0]
    assert same_weights(toy.out / "last.pt", toy.path / "whole" / "last.pt")


def test_the_weights_that_are_kept_are_a_running_mean(toy, run, undrawn, monkeypatch):
    trained, step = [], training.train_batch

    def seen(of, *what):
        loss = step(of, *what)
        if of.averaged:  # else it measures its pace
            trained.append(of.model.classifier.weight.detach().clone())
        return loss

    monkeypatch.setattr(training, "train_batch", seen)
    flags = ["--max-epoch", 1, "--batch-size", 4, "--lr", 0.01, "--weight-average", 0.3, "--out-dir", toy.out]
    assert run(TRAIN, *toy.flags, *flags).code == 0
    mean = trained[0]
    for share, weight in zip((2 / 11, 3 / 12, 0.3), trained[1:], strict=True):
        mean = share * mean + (1 - share) * weight
    last = torch.load(toy.out / "last.pt", weights_only=True)
    torch.testing.assert_close(last["model"]["classifier.weight"], mean)
    assert torch.equal(last["trained"]["classifier.weight"], trained[-1])


def test_killed_at_any_moment_and_resumed_ends_with_the_same_bits(toy):
    """Four runs, each killed at a random moment between its first checkpoint and its end, dropout and all."""
    whole = toy.path / "whole"
    process = started(command(toy, whole), **UNHEARD)
    while not (whole / "last.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    began = time.monotonic()
    assert process.wait() == 0
    seconds = time.monotonic() - began
    rng = random.Random(0)

    def killed_and_resumed(i):
        out = toy.path / str(i)
        process = started(command(toy, out), **UNHEARD)
        while not (out / "last.pt").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, seconds))
        process.kill()
        process.wait()
        resume = command(toy, out, "--use-checkpoint", "--checkpoint-path", out / "last.pt")
        done = ran(resume)
        assert done.returncode == 0, done.stderr
        assert not list(out.glob(".*.tmp"))
        return same_weights(out / "last.pt", whole / "last.pt"), process.returncode

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(killed_and_resumed, range(4)))
    assert all(same for same, _ in found)
    assert sum(code == -signal.SIGKILL for _, code in found) >= 2  # the others had just finished


def test_fused_scales_are_tested_as_they_are_trained(trained, run, undrawn):
    for scales in ("select", "fuse"):
        done = run("ucf_test.py", *trained.test_flags[:-1], trained.path / scales, "--scales", scales, "--exit-threshold", 1)
        assert done.code == 0, done.err
    select, fuse = (np.load(trained.path / scales / "scores.npz") for scales in ("select", "fuse"))
    assert not np.allclose(select["logits"], fuse["logits"]) and (fuse["exit_layer"] == 2).all()
    options = json.loads((trained.path / "fuse/options.json").read_text())
    videos = testing.videos_of(options["test_list"], Namespace(**options), "")
    lshma, *_ = load_model(trained.best)
    batch = testing.packed(videos, Namespace(**options))[range(len(videos))]
    with torch.no_grad():
        logits = lshma(batch.clips, batch.starts, key_clips=False, scales=model.FUSE).logits
    np.testing.assert_allclose(fuse["logits"], logits[dataset.real_snippets(batch, 4)], atol=1e-5)
