"""What was once silently wrong, or refused without need: each test tells its case."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import ROOT, WIDTH, make_model, refused, walk, write_list
from warm import ran, started

import dataset
import option
import ucf_option
from dataset import pack
from evaluation.scores_file import read_scores
from files import checkpoint, folder
from files.features import checksum, unusable
from files.interrupt import STOPS, Signals
from files.labels import label_of
from model import FUSE
from running import beginning, resume, training
from running.loading import load_model
from running.testing import warn_of_smoothing

TRAIN, TEST = "ucf_train.py", "ucf_test.py"


@pytest.mark.parametrize("same", ["name", "content"])
def test_a_test_video_in_the_training_list_stops_the_run(toy, run, same, undrawn):
    path, label = toy.test_rows[3]
    if same == "content":
        original = toy.path / "features" / path
        path = path.replace("Abuse019", "Renamed")
        np.save(toy.path / "features" / path, np.load(original))
    write_list(toy.path / "train.csv", [*toy.rows, (path, label)])
    flags = [*toy.flags, "--max-epoch", 1, "--batch-size", 16]
    refused(run(TRAIN, *flags, "--out-dir", toy.out), "1 videos of the test list are in it", "Abuse019_x264", "--allow-test")
    assert not toy.out.exists() or not any(toy.out.iterdir())
    done = run(TRAIN, *flags, "--out-dir", toy.out, "--allow-test-in-training")
    assert done.code == 0 and "warning" in done.err and "Abuse019_x264" in done.err


def test_a_dot_in_a_videos_name_is_no_ending(tmp_path):
    """102 of 104 shooting videos of XD-Violence lost their class: `Bad.Boys.1995__#…_label_B2-0-0` became `Bad.Boys`."""
    name = "Bad.Boys.1995__#01-33-51_01-34-37_label_B2-0-0"
    assert label_of(name) == label_of(f"{name}__0.npy") == "B2-0-0"
    np.savez(tmp_path / "s.npz", video=np.array([name, "v=x__#1_label_A"]), n_snippets=[2, 1], scores=np.ones(3) / 2)
    assert [video.label for video in read_scores(tmp_path / "s.npz").videos] == ["B2-0-0", "A"]


def test_with_a_root_only_the_root_counts(toy, run):
    """A list of absolute paths and a new root that lacked one file: the old file outside the root was taken."""
    (toy.path / "features").rename(toy.path / "old")
    rows = [(str(toy.path / "old" / path), label) for path, label in toy.rows]
    write_list(toy.path / "train.csv", rows)
    (toy.path / "features").mkdir()
    for path, _ in [*toy.rows[1:], *toy.test_rows]:
        (toy.path / "features" / path).parent.mkdir(exist_ok=True)
        (toy.path / "old" / path).rename(toy.path / "features" / path)
    flags = [*toy.flags, "--max-epoch", 1, "--batch-size", 16, "--out-dir", toy.out]
    refused(run(TRAIN, *flags), "1 of 16 feature files are not under --feature-root", "train.csv, line 2")
    write_list(toy.path / "train.csv", [(f"../old/{toy.rows[0][0]}", "Normal"), *rows[1:]])
    refused(run(TRAIN, *flags), "1 of 16 feature files are not under --feature-root")
    (toy.path / "features").rename(toy.path / "elsewhere")
    refused(run(TRAIN, *flags), f"--feature-root {toy.path / 'features'}: no such folder")


def test_a_folder_belongs_to_one_run(tmp_path, monkeypatch):
    """Runs of a job array that began in one second shared a folder, and all results but one were gone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101-000000")
    with ThreadPoolExecutor(16) as pool:
        own = list(pool.map(lambda _: folder.claim(Namespace(out_dir=None, data_set="ucf")), range(16)))
        shared = list(pool.map(lambda _: folder.take(tmp_path / "shared"), range(16)))
    assert len(set(own)) == 16 and all(json.loads((out / "options.json").read_text())["out_dir"] == str(out) for out in own)
    assert sum(shared) == 1
    with pytest.raises(ValueError, match="the folder of another run"):
        folder.claim(Namespace(out_dir="shared", data_set="ucf"))
    with pytest.raises(ZeroDivisionError), folder.claimed(Namespace(out_dir="failed", data_set="ucf")):
        raise ZeroDivisionError
    assert not (tmp_path / "failed").exists()


def test_a_training_without_out_dir_is_kept_off_by_no_other_run(tmp_path, monkeypatch):
    """It was by a prediction in runs/new, where README puts one."""
    monkeypatch.chdir(tmp_path)
    folder.claim(Namespace(out_dir="runs/new", data_set="predict"))
    resume.check_paths(option.parse(ucf_option.parser, []), None)


def test_two_processes_do_not_go_on_with_one_run(trained, run, undrawn):
    script = "import sys, time; from pathlib import Path; from files import folder\nwith folder.held(Path(sys.argv[1])): "
    script += "print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", script, trained.path / "run"], cwd=ROOT, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    resume = ["--use-checkpoint", "--checkpoint-path", trained.path / "run/last.pt", "--max-epoch", 2]
    refused(run(TRAIN, *resume), "another process is going on with this run")
    other.kill()
    other.wait()
    assert run(TRAIN, *resume).code == 0


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model."])
def test_wrapped_weights_are_the_same_weights(tmp_path, prefix):
    model = make_model(layers=2)
    ours = model.state_dict()
    released = {released_name(name): value for name, value in ours.items()}
    for weights, content in ((ours, lambda w: {"state_dict": w}), (released, lambda w: {"model_state_dict": w}), (ours, dict)):
        torch.save(content({prefix + name: value for name, value in weights.items()}), tmp_path / "x.pth")
        loaded = checkpoint.load(tmp_path / "x.pth")
        assert loaded.weights.keys() == ours.keys() and all(torch.equal(loaded.weights[name], ours[name]) for name in ours)
        assert loaded.released is (weights is released)


def released_name(name):
    """The authors' name of one of our weights."""
    if name == "position":
        return "frame_position_embeddings.weight"
    name = re.sub(r"^layers\.(\d+)\.", r"blocks.\1.resblock.", re.sub(r"^mlp\.", "mlp2.", name))
    ours = {
        "norm": "ln_",
        "fc": "c_fc",
        ".proj": ".c_proj",
        "compress_memory": "compress_k",
        "compress_current": "compress_cur",
    }
    for new, old in (ours | {".up.": ".attenproj."}).items():
        name = name.replace(new, old)
    return name


def test_best_weights_come_without_the_optimiser(trained, run):
    """best.pt was three times the size it needs."""
    run_folder = trained.path / "run"
    assert (run_folder / "best.pt").stat().st_size < 0.4 * (run_folder / "last.pt").stat().st_size
    model, options, _ = load_model(str(trained.best))
    assert not model.training and options.visual_layers == 2 and options.visual_width == WIDTH


def test_a_short_clip_is_refused_with_the_remedy():
    model = make_model()
    short = torch.zeros(1, 3, WIDTH)
    for call in (
        lambda: model.step(short, model.empty_memory(1), key_clips=False, scales=FUSE),
        lambda: model(short, torch.tensor([0]), key_clips=False, scales=FUSE),
    ):
        with pytest.raises(ValueError, match=r"clips of 4 snippets of width 128.*found \(1, 3, 128\).*dataset.pack"):
            call()
    clips, starts = pack([walk(7)], 4)
    assert model(clips, starts, key_clips=False, scales=FUSE).logits.shape == (2, 4)


def test_a_wrong_width_names_who_sets_it(trained, run):
    for path, _ in trained.test_rows:
        np.save(trained.path / "features" / path, walk(9, 64))
    done = run(TEST, *trained.test_flags)
    refused(done, f"{trained.best} was trained on this width")
    assert "--visual-width" not in done.err
    for path, _ in trained.rows:
        np.save(trained.path / "features" / path, walk(9, 64))
    refused(run(TRAIN, *trained.flags, "--out-dir", trained.out), "--visual-width says the width")


def test_a_run_says_how_many_videos_an_epoch_takes(toy, run, undrawn):
    """ "200 training videos … 22 steps" at batch 8 did not say that 172 were used, balanced."""
    write_list(toy.path / "train.csv", [*toy.rows[::2], *toy.rows[1:8:2]])
    done = run(TRAIN, *toy.flags, "--max-epoch", 1, "--batch-size", 3, "--out-dir", toy.out)
    assert done.code == 0 and "12 training videos, 4 anomalous; 8 test videos" in done.out
    assert "an epoch takes 8 of the training videos, 4 of each kind, in turn, in 3 steps" in done.out


def test_short_events_that_smoothing_hides_are_said(capsys):
    def results(smoothed, plain):
        return {"smoothings": {"slide 8": dict(auc=smoothed, ap=0.5), "causal 8": {}, "unsmoothed": dict(auc=plain, ap=0.5)}}

    warn_of_smoothing(results(0.80, 0.985))
    assert "slide 8 averages short events away (AUC 80.00 and 98.50" in capsys.readouterr().err
    warn_of_smoothing(results(0.80, 0.81))
    assert capsys.readouterr().err == ""


def test_rounded_down_features_test_and_score_with_a_flag(trained, run):
    rows = [(path, label, len(truth) + 9) for (path, label), truth in zip(trained.test_rows, trained.test_truth, strict=True)]
    write_list(trained.path / "test.csv", rows, ("path", "label", "frames"))
    truth = np.concatenate([np.pad(truth, (0, 9), "edge") for truth in trained.test_truth])
    np.save(trained.path / "gt.npy", truth)
    refused(run(TEST, *trained.test_flags), "8 of 8", "Normal016_x264", "--hold-last")
    done = run(TEST, *trained.test_flags, "--hold-last", "--report")
    assert done.code == 0, done.err
    assert "the last score of 8 videos holds for a snippet that they lack" in done.out
    assert json.loads((trained.out / "results.json").read_text())["n_frames"] == len(truth)
    scores = ["metrics.py", trained.out / "scores.npz", "--gt-path", trained.path / "gt.npy"]
    refused(run(*scores), "Normal016_x264", "--hold-last")
    assert run(*scores, "--hold-last", "--out", trained.path / "m.json").code == 0
    figures = json.loads((trained.path / "m.json").read_text())
    assert figures["auc"]["value"] == pytest.approx(json.loads((trained.out / "results.json").read_text())["auc"], abs=1e-12)


def processes(toy, out, *more):
    """A training with loading processes, in a process group of its own."""
    flags = [*toy.flags, "--max-epoch", 1000, "--batch-size", 1, "--eval-every", 10, "--save-minutes", 0, "--workers", 2]
    command = [ROOT / TRAIN, *flags, "--out-dir", out, *more]
    return started(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_process_group_loses_nothing(toy, number):
    """Loader processes died of the SIGTERM that `timeout`, Slurm and a closing terminal send: up to five minutes were gone."""
    process = processes(toy, toy.out)
    while not (toy.out / "log.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.3 * int(number) % 1)
    began = time.monotonic()
    os.killpg(process.pid, number)
    time.sleep(0.02)
    os.killpg(process.pid, number)  # as a person at a keyboard does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors and "saved; go on with" in errors, errors
    assert time.monotonic() - began < 20
    content = torch.load(toy.out / "last.pt", weights_only=True)
    assert f"stopped after {content['progress']['step']} steps" in errors and content["progress"]["step"] >= 10


class Dies:
    """Features whose reader is killed, as for want of memory."""

    def __getitem__(self, rows):
        os._exit(1)


class CannotBeHandedOver:
    """Batches for which there is no room in shared memory: a run hung for ever."""

    def __getitem__(self, rows):
        return lambda: None


@pytest.mark.parametrize("features", [Dies(), CannotBeHandedOver()])
def test_a_reader_that_dies_is_told(features, capfd):
    with pytest.raises(OSError, match=r"a process that reads features has died .*--workers 0"):
        list(dataset.load(features, [[0]], 1, torch.device("cpu")))
    assert "Traceback" not in capfd.readouterr().err


def test_batches_that_are_left_since_a_run_is_stopped_raise_nothing_more(monkeypatch):
    """Where the collector closed them, "Exception ignored" and a traceback were printed."""

    class Ready:
        def __getitem__(self, rows):
            return dataset.Batch(*[torch.zeros(1)] * 4, ["one"])

    loaded = dataset.load(Ready(), [[0], [1]], 0, torch.device("cpu"))
    next(loaded)
    monkeypatch.setattr(dataset.SIGNALS, "asked", True)
    loaded.close()
    with pytest.raises(KeyboardInterrupt):  # of those that are whole the end hears it
        list(dataset.load(Ready(), [], 0, torch.device("cpu")))


def test_a_reader_that_dies_during_a_step_does_not_end_it():
    handed_over = multiprocessing.get_context("fork").Event()

    class Later:
        def __getitem__(self, rows):
            if rows[0]:
                handed_over.wait()
                os._exit(1)
            return dataset.Batch(*[torch.zeros(1)] * 4, ["the first"])

    loaded = dataset.load(Later(), [[0], [1]], 1, torch.device("cpu"))
    assert next(loaded).names == ["the first"]
    handed_over.set()
    time.sleep(0.8)  # the loader's own handler raised here
    loaded.close()


def test_a_device_that_is_full_is_told(toy, run, monkeypatch):

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nMore of it")

    monkeypatch.setattr(training, "train_batch", full)
    done = run(TRAIN, *toy.flags, "--max-epoch", 1, "--out-dir", toy.out)
    refused(done, "cpu has no room for a step (CUDA out of memory.)", "smaller --batch-size")


def test_a_training_whose_output_nobody_reads_any_more_says_how_it_goes_on():
    code = "from running.command import exit_codes\nwith exit_codes(): raise BrokenPipeError('saved; go on with')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: saved; go on with\n")


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as _:
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_waits_for_what_is_held_and_comes_once():
    signals, done, before = Signals(), [], {number: signal.getsignal(number) for number in STOPS}
    with signals, pytest.raises(KeyboardInterrupt):
        with signals.held():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("held")
        done.append("never")
    assert done == ["held"]
    with pytest.raises(KeyboardInterrupt), signals:
        os.kill(os.getpid(), signal.SIGTERM)  # asked already: the run is being saved
        raise KeyboardInterrupt
    os.kill(os.getpid(), signal.SIGTERM)  # and ends: nothing disturbs that
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_log_file_gets_a_line_every_half_minute(toy, monkeypatch):
    """Piped to a file, a training printed one line and then nothing for minutes."""
    code = (
        "import runpy, sys; from files import progress; from running import training; "
        "progress.SECONDS = training.SECONDS = 0.05; "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    flags = [*toy.flags, "--max-epoch", 3, "--batch-size", 1, "--eval-every", 0, "--out-dir", toy.out]
    done = ran(["-c", code, ROOT / TRAIN, *flags], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("epoch ")]
    assert lines and all("of 16, step " in line and "loss " in line and "left" in line for line in lines), done.stderr
    log = [json.loads(line) for line in (toy.out / "log.jsonl").read_text().splitlines()]
    losses = [entry for entry in log if "auc" not in entry]
    assert losses and all(entry["loss"] > 0 and entry["videos_per_second"] > 0 for entry in losses)
    assert len(log) - len(losses) == 3 and "\r" not in done.stderr


def test_two_runs_never_share_a_checkpoint(tmp_path):
    """Both would have said that the file is theirs; the first one's weights were gone."""

    def claim(out):
        where = dict(out_dir=str(tmp_path / out), model_path=str(tmp_path / "best.pt"), checkpoint_path=None)
        return resume.claim(Namespace(**where, use_checkpoint=False, data_set="ucf"))

    assert claim("a").best == tmp_path / "best.pt" and (tmp_path / "best.pt").exists()
    with pytest.raises(ValueError, match=r"best.pt is there already"):
        claim("b")


def test_a_run_that_others_went_on_with_is_not_rolled_back(trained, monkeypatch, run, undrawn):
    """One process had read the checkpoint, and waited while another went on with the run to its end."""
    last, read = trained.path / "run/last.pt", beginning.read_data

    def slow(options):
        os.utime(last, ns=(1, 1))
        return read(options)

    monkeypatch.setattr(beginning, "read_data", slow)
    resume = ["--use-checkpoint", "--checkpoint-path", last, "--max-epoch", 2]
    refused(run(TRAIN, *resume), "another process has gone on with this run")
    monkeypatch.undo()
    assert run(TRAIN, *resume).code == 0


def test_a_run_that_is_stopped_before_its_first_step_can_go_on(toy):
    process = processes(toy, toy.out)
    while not (toy.out / "options.json").exists() and process.poll() is None:
        time.sleep(0.005)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "saved; go on with" in errors and (toy.out / "last.pt").exists(), errors


def test_a_test_that_is_stopped_leaves_its_folder_free(trained):
    command = [ROOT / TEST, *trained.test_flags, "--workers", 2]
    process = started(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (trained.out / "options.json").exists() and process.poll() is None:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 130), errors
    assert process.returncode == 0 or not (trained.out / "options.json").exists()


def test_two_models_in_one_file_are_refused(tmp_path):
    weights = make_model(layers=1).state_dict()
    torch.save({f"{p}.{name}": value for p in ("model", "module") for name, value in weights.items()}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="twice"):
        checkpoint.load(tmp_path / "x.pth")


def test_a_copy_in_another_precision_is_the_same_content():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(unusable(every), ~np.isfinite(every))
    for x in (walk(9).astype(np.float16), every[~unusable(every)]):
        assert checksum(x) == checksum(x.astype(np.float32)) != checksum(x.astype(np.float32) + np.float32(1e-6))


def test_a_run_that_is_not_there_is_named_before_anything_else(toy, run):
    refused(run(TRAIN, "--use-checkpoint", "--checkpoint-path", toy.path / "last.pt"), "no such checkpoint file")
