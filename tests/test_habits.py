"""What people expect of a training: that it says what it is about to do, stops when no more is gained, and replaces what it is
told to replace and nothing else."""

import copy
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, refused, write_list

from files import folder
from files.videos import Video
from running import forecast, record, testing, training

TRAIN, TEST = "ucf_train.py", "ucf_test.py"


def log_of(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def results_of(out):
    return json.loads((out / "results.json").read_text())


def weights(out):
    return torch.load(out / "last.pt", weights_only=True)["model"]


def same_weights(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def contents(out):
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".lock"}


def test_patience_counts_evaluations_since_the_best_and_equal_is_not_better():
    run = SimpleNamespace(selected_by="val_auc", options=SimpleNamespace(patience=2, max_epoch=5, select_by="auc"))

    def over(*values, epoch=2):
        log = [{"auc": 0, "val_auc": value, "step": 10 * n} for n, value in enumerate(values, 1)]
        log.insert(1, {"loss": 1.0, "step": 12})  # not an evaluation
        return record.stopped_early(run, record.Progress(epoch=epoch, step=99, log=log))

    assert not over(0.5) and not over(0.5, 0.5) and not over(0.5, 0.4, 0.6, 0.5)
    assert over(0.5, 0.5, 0.5)["best_step"] == 10 and over(0.5, 0.6, 0.4, 0.5)["why"].endswith("best at step 20")
    assert not over(0.5, 0.4, 0.3, epoch=5)  # the last epoch is done: nothing was cut off
    run.options.patience = 0
    assert not over(0.5, 0.4, 0.3, 0.2)


def test_patience_stops_at_the_same_evaluation_after_a_resumption_and_a_larger_one_goes_on(toy, run, undrawn):
    """A learning rate of next to nothing: no evaluation is better than the first."""
    flags = [*toy.flags, "--batch-size", 4, "--val-share", 0.4, "--lr", 1e-12, "--patience", 2]
    whole, parts = toy.path / "whole", toy.path / "parts"
    done = run(TRAIN, *flags, "--max-epoch", 9, "--out-dir", whole)
    assert done.code == 0, done.err
    assert "stopped early after step 9: no better validation AUC for 2 evaluations; best at step 3" in done.out
    assert results_of(whole)["stopped_early"]["step"] == 9 and len(log_of(whole)) == 3
    done = run(TRAIN, *flags, "--max-epoch", 1, "--out-dir", parts)
    assert "stopped early" not in done.out and results_of(parts)["stopped_early"] is None
    resume = ["--use-checkpoint", "--checkpoint-path", parts / "last.pt", "--max-epoch", 9]
    for more, n, early in (
        (["--max-epoch", 3], 3, False),  # the last epoch is done
        ([], 3, True),  # of nine it is not
        (["--patience", 3], 4, True),
        (["--patience", 0, "--max-epoch", 5], 5, False),
    ):
        done = run(TRAIN, *resume, *more)
        assert done.code == 0 and len(log_of(parts)) == n, done.err
        assert ("stopped early" in done.out) == (results_of(parts)["stopped_early"] is not None) == early
        assert n > 3 or same_weights(whole, parts)


def test_patience_without_validation_is_refused_before_any_work(toy, run):
    refused(run(TRAIN, *toy.flags, "--patience", 3, "--out-dir", toy.out), "--patience 3 needs", "--val-share 0.1", "peeking")
    assert not toy.out.exists()


def events_of(out):
    """{tag: [(step, value), ...]} as TensorBoard reads them, and the steps of one tag as they lie in the files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    accumulator = EventAccumulator(str(out / "tensorboard"))
    accumulator.Reload()
    found = {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}
    files = (out / "tensorboard").iterdir()
    raw = [event for file in files for event in EventFileLoader(str(file)).Load() if event.HasField("summary")]
    return found, [event.step for event in raw for value in event.summary.value if value.tag == "test/auc"]


def test_tensorboard_has_each_entry_of_the_log_once_also_after_a_kill(toy, run, undrawn):
    flags = [*toy.flags, "--batch-size", 4, "--eval-every", 8, "--val-share", 0.4, "--tensorboard", "--out-dir", toy.out]
    assert run(TRAIN, *flags, "--max-epoch", 1).code == 0
    earlier = (toy.out / "last.pt").read_bytes()
    resume = ["--use-checkpoint", "--checkpoint-path", toy.out / "last.pt", "--max-epoch", 3]
    assert run(TRAIN, *resume).code == 0
    (toy.out / "last.pt").write_bytes(earlier)  # as if killed before the later checkpoints, with their events written
    assert run(TRAIN, *resume).code == 0
    log, (events, raw) = log_of(toy.out), events_of(toy.out)
    assert len(log) == 6 and raw == [entry["step"] for entry in log]
    for tag, name in {"train/loss": "loss", "train/lr": "lr", "test/ap": "ap", "validation/auc": "val_auc"}.items():
        assert events[tag] == [(entry["step"], pytest.approx(entry[name])) for entry in log]
    assert events["test_causal_8/auc"][-1][1] == pytest.approx(log[-1]["smoothings"]["causal 8"]["auc"])


def test_tensorboard_that_is_not_installed_is_said_before_any_work_and_else_not_missed(toy, run, undrawn, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard" or "utils.tensorboard" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    flags = [*toy.flags, "--max-epoch", 1, "--batch-size", 8, "--out-dir", toy.out]
    refused(run(TRAIN, *flags, "--tensorboard"), "pip install -r requirements-tensorboard.txt")
    assert not toy.out.exists() and run(TRAIN, *flags).code == 0


def test_a_training_replaces_an_earlier_one_and_leaves_what_no_run_wrote(trained, run):
    out, flags = trained.path / "run", [*trained.flags, "--batch-size", 8, "--max-epoch", 1, "--out-dir", trained.path / "run"]
    assert run("report.py", out).code == 0
    for name in ("notes.txt", "figures/mine.txt", "figures/thesis.svg"):
        (out / name).write_text("mine")
    before = contents(out)
    refused(run(TRAIN, *flags), "--overwrite")
    refused(run(TRAIN, *flags, "--overwrite", "--test-list", trained.path / "none.csv"), "none.csv")
    refused(
        run(TRAIN, *flags, "--overwrite", "--use-checkpoint", "--checkpoint-path", out / "last.pt"), "leave one of them out"
    )
    elsewhere = trained.path / "x.pt"
    elsewhere.write_text("another's")
    refused(run(TRAIN, *flags, "--overwrite", "--model-path", elsewhere), "is there already")
    assert contents(out) == before
    done = run(TRAIN, *flags, "--overwrite")
    assert done.code == 0, done.err
    assert "replaced in" in done.out and "left as it was: figures, notes.txt" in done.out and "report.html" in done.out
    left = {str(path.relative_to(out)) for path in contents(out)}
    expected = {"options.json", "results.json", "log.jsonl", "scores.npz", "training.png", "last.pt", "best.pt"}
    assert left == expected | {"notes.txt", "figures/mine.txt", "figures/thesis.svg"}
    assert [entry["step"] for entry in log_of(out)] == [2] and results_of(out)["last"]["step"] == 2


def test_names_in_scores_lead_nowhere_else(tmp_path):
    names = ["a", "../../precious", "/etc/hosts", "x" * 300, "b.c"]
    np.savez(tmp_path / "scores.npz", video=np.array(names))
    assert folder.names_in(tmp_path / "scores.npz") == ["a", "b.c"]
    assert folder.names_in(tmp_path / "none.npz") == []


def test_a_folder_that_is_no_runs_or_in_use_is_not_replaced(trained, run):
    out = trained.path / "run"
    flags = [*trained.flags, "--overwrite", "--batch-size", 8, "--max-epoch", 1, "--out-dir", out]
    hold = "import sys; from argparse import Namespace; from files import folder\n"
    hold += (
        "with folder.reserved(Namespace(out_dir=sys.argv[1], overwrite=True)) as replaced: print(replaced, flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    other = subprocess.Popen([sys.executable, "-c", hold, out], cwd=ROOT, **pipes)
    assert other.stdout.readline() == b"True\n"
    before = contents(out)
    refused(run(TRAIN, *flags), "another process is going on with this run")
    other.kill()
    other.wait()
    options = (out / "options.json").read_text()
    for text in ("", "{}", '{"compilerOptions": 1}'):
        (out / "options.json").write_text(text)
        refused(run(TRAIN, *flags), "options.json is none's", "choose another")
    (out / "options.json").write_text(options)
    assert contents(out) == before
    (out / "options.json").unlink()  # then it is nobody's, and the weights in it are not ours to remove
    refused(run(TRAIN, *flags), "is there already")


def test_a_test_replaces_a_test_at_its_end_and_never_a_training(trained, run, monkeypatch):
    flags = [*trained.test_flags, "--overwrite"]
    refused(run(TEST, *flags[:-2], trained.path / "run", "--overwrite"), "is a training's")
    done = run(TEST, *flags, "--report")  # nothing to replace yet
    assert done.code == 0 and "replaced" not in done.out, done.err
    (trained.out / "notes.txt").write_text("mine")
    before = contents(trained.out)

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(testing.figures, "timelines", full)
    refused(run(TEST, *flags), "disk full")
    assert contents(trained.out) == before
    monkeypatch.undo()
    done = run(TEST, *flags, "--exit-threshold", 1)
    assert done.code == 0 and "left as it was: notes.txt\n" in done.out and str(trained.out) in done.out, done.err
    names = {"options.json", "results.json", "scores.npz", "timelines.png"}
    assert {path.name for path in contents(trained.out)} == names | {"notes.txt"}
    assert json.loads((trained.out / "options.json").read_text())["exit_threshold"] == 1
    assert contents(trained.out)[trained.out / "scores.npz"] != before[trained.out / "scores.npz"]
    assert folder.read_options(trained.out)["out_dir"] == str(trained.out)


def test_what_a_link_leads_to_and_what_no_run_wrote_is_never_replaced(trained, run):
    """--overwrite removed what figures/ was a link to; a test replaced another method's scores.npz."""
    mine = trained.path / "pictures"
    mine.mkdir()
    for name in ("cat.png", "events.out.tfevents.1"):
        (mine / name).write_text("mine")
    before = contents(mine)
    assert run(TEST, *trained.test_flags).code == 0
    (trained.out / "figures").symlink_to(mine)
    (trained.out / ".draft.tmp").write_text("mine")
    done = run(TEST, *trained.test_flags, "--overwrite")
    assert done.code == 0 and "left as it was: .draft.tmp, figures\n" in done.out and contents(mine) == before, done
    new = trained.path / "new"
    train = [*trained.flags, "--batch-size", 8, "--max-epoch", 1, "--out-dir", new]
    test = [TEST, *trained.test_flags[:-1], new]
    for name, flags in (("scores.npz", test), ("report.html", [*test, "--report"]), ("results.json", [TRAIN, *train])):
        new.mkdir()
        (new / name).write_text("mine")
        refused(run(*flags), f"{name} is there already")
        assert [*contents(new).values()] == [b"mine"]
        (new / name).unlink()
        new.rmdir()
    new.mkdir()
    (new / "tensorboard").symlink_to(mine)
    refused(run(TRAIN, *train, "--tensorboard"), "tensorboard is a link")
    (new / "tensorboard").unlink()
    mine.rename(new / "tensorboard")
    refused(run(TRAIN, *train, "--tensorboard"), "events.out.tfevents.1 is there already")


def test_a_training_says_what_it_is_about_to_do(toy, run, undrawn):
    write_list(toy.path / "train.csv", [(path, "Arson" if i == 3 else label) for i, (path, label) in enumerate(toy.rows)])
    flags = [*toy.flags, "--batch-size", 4, "--eval-every", 8, "--out-dir", toy.out]
    done = run(TRAIN, *flags, "--max-epoch", 2)
    n_clips = sum(-(-(9 + 3 * i) // 4) for i in range(16))
    assert "labels: Normal 8, Abuse 7, Arson 1\n" in done.out
    assert f"in 4 steps, {n_clips} clips, on cpu" in done.out
    n_weights = sum(tensor.numel() for tensor in weights(toy.out).values())
    sizes = [f"{name} {(toy.out / name).stat().st_size / 1e6:.1f} MB" for name in ("best.pt", "last.pt")]
    assert f"{n_weights:,} parameters, {sizes[0]}, {sizes[1]}" in done.out
    assert re.search(r"^about \d+ s for 2 epochs, of which \d+ s for 4 evaluations$", done.out, re.M)
    resume = ["--use-checkpoint", "--checkpoint-path", toy.out / "last.pt"]
    assert "for the rest of 3 epochs, of which 1 s for 2 evaluations" in run(TRAIN, *resume, "--max-epoch", 3).out
    assert "about " not in run(TRAIN, *resume).out  # nothing is left to do


def test_a_forecast_adds_up_what_is_left():
    videos = [Video(str(i), None, "", ("x",) * (i % 2), 4 * (i + 1), 0, i) for i in range(12)]  # 1 to 12 clips
    options = SimpleNamespace(batch_size=5, seed=0, data_set="xd", eval_every=5, max_epoch=4, attn_window=4)
    progress = record.Progress()
    run = SimpleNamespace(
        data=SimpleNamespace(train=videos, test=videos[:2], validation=[]), progress=progress, options=options
    )
    pace = forecast.Pace(training=10.0, testing=1000.0)
    text = forecast.forecast(run, pace)
    assert text == f"about {forecast.spoken(4 * 780 + 12 * 3000)} for 4 epochs, of which 10 h 0 min for 12 evaluations"
    progress.epoch, progress.batch, progress.step = 3, 2, 11
    (left,) = forecast.batches_of(run)[2:]
    training = 10 * sum(row + 1 for row in left)
    assert forecast.forecast(run, pace).startswith(
        f"about {forecast.spoken(training + 3000)} for the rest of 4 epochs, of which"
    )
    assert [forecast.spoken(s) for s in (0, 40, 160, 700, 7800)] == ["1 s", "40 s", "2 min 40 s", "12 min", "2 h 10 min"]


def test_measuring_the_pace_leaves_the_run_as_it_was(toy, run, undrawn, monkeypatch):
    measure, called = training.pace_of, []

    def watched(run):
        before, random = (
            copy.deepcopy([run.model.state_dict(), run.optimizer.state_dict(), run.progress]),
            torch.get_rng_state(),
        )
        called.append(measure(run))
        model, optimizer, progress = before
        assert all(torch.equal(model[name], tensor) for name, tensor in run.model.state_dict().items())
        assert all(parameter.grad is None for parameter in run.model.parameters()) and run.model.training
        assert (optimizer, progress) == (run.optimizer.state_dict(), run.progress)
        assert torch.equal(random, torch.get_rng_state())
        return called[0]

    monkeypatch.setattr(training, "pace_of", watched)
    done = run(TRAIN, *toy.flags, "--batch-size", 4, "--max-epoch", 1, "--drop-rate", 0.1, "--out-dir", toy.out)
    assert done.code == 0 and called[0].training > 0 and called[0].testing > 0, done.err
