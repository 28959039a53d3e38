"""Training by several processes, as torchrun starts them: the run of one. Most are forked here, which starts them at once."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
import torch
from conftest import ROOT, call, refused, walk, write_list
from warm import started

import dataset
from dataset import shares
from running import training
from running.loading import choose_device

TRAIN, TEST = "ucf_train.py", "ucf_test.py"
FORK = multiprocessing.get_context("fork")


def environment(rank, n=2, port=0):
    """What torchrun says to a process that it starts."""
    names = {"RANK": rank, "WORLD_SIZE": n, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": n, "MASTER_PORT": port}
    return {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}


class Forked:
    """A script in n processes."""

    def __init__(self, n, script, *flags):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.pipes, self.processes = [], []
        for rank in range(n):
            here, there = FORK.Pipe(duplex=False)
            self.processes.append(FORK.Process(target=self.work, args=(there, environment(rank, n, port), script, *flags)))
            self.processes[-1].start()
            there.close()
            self.pipes.append(here)

    @staticmethod
    def work(pipe, environment, script, *flags):
        os.environ.update(environment)
        pipe.send(call(script, *flags))

    def done(self):
        """What came of each; None where it was killed."""
        found = []
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            assert pipe.poll(120), "a process hangs"
            try:
                found.append(pipe.recv())
            except EOFError:
                found.append(None)
            process.join()
        return found


def end_of(out):
    """The weights, all entries of the log but for its times, and how far a run is."""
    content = torch.load(out / "last.pt", weights_only=True)
    log = [{k: v for k, v in entry.items() if k != "videos_per_second"} for entry in content["progress"]["log"]]
    assert len((out / "log.jsonl").read_text().splitlines()) == len(log)
    return content["model"], log, content["progress"]["step"]


def assert_same(out, whole):
    weights, log, step = end_of(out)
    expected, log_of_whole, step_of_whole = end_of(whole)
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-5)
    assert step == step_of_whole and len(log) == len(log_of_whole)
    for entry, of_whole in zip(log, log_of_whole, strict=True):
        assert {name: entry[name] for name in ("epoch", "step", "lr")} == {n: of_whole[n] for n in ("epoch", "step", "lr")}
        assert entry["loss"] == pytest.approx(of_whole["loss"], abs=1e-6)


def going_on(out, n):
    return ["--use-checkpoint", "--checkpoint-path", out / "last.pt", "--max-epoch", n]


def test_two_processes_are_the_run_of_one_and_go_on_with_it(toy, run, undrawn):
    """Batches of 3, the last of 1: shares differ in size, and one is empty. Short videos give some weights no gradient, in a
    share or in a whole batch: the decay of weights would show if they had one of zeros."""
    for i, (path, _) in enumerate(toy.rows):
        if i % 4:
            np.save(toy.path / "features" / path, walk(4, seed=i))
    flags = [*toy.flags, "--batch-size", 3, "--eval-every", 6, "--weight-decay", 100, "--val-share", 0.4]
    flags += ["--weight-average", 0.9]
    whole, one, two = (toy.path / name for name in ("whole", "one", "two"))
    assert run(TRAIN, *flags, "--max-epoch", 2, "--out-dir", whole).code == 0
    assert run(TRAIN, *flags, "--max-epoch", 1, "--out-dir", one).code == 0
    first, second = Forked(2, TRAIN, *flags, "--max-epoch", 1, "--out-dir", two).done()
    assert (first.code, second.code, second.out, second.err) == (0, 0, "", ""), (first, second)
    assert first.out.count("(best)") == 1 and "for 1 epochs" not in first.out and "about " in first.out
    assert_same(two, one)
    first, second = Forked(2, TRAIN, *going_on(one, 2)).done()
    assert (first.code, second.code) == (0, 0), (first, second)
    assert run(TRAIN, *going_on(two, 2)).code == 0
    assert_same(one, whole)
    assert_same(two, whole)
    assert not list(toy.path.rglob(".*.tmp"))
    results = [json.loads((out / "results.json").read_text())["best"]["step"] for out in (one, two, whole)]
    assert len({*results}) == 1


def test_asked_to_stop_torchrun_leaves_a_checkpoint_that_one_process_goes_on_from(toy, run, undrawn):
    flags = [*toy.flags, "--batch-size", 2, "--eval-every", 8, "--save-minutes", 0, "--out-dir"]
    torchrun = ["-c", "from torch.distributed.run import main; main()", "--nproc-per-node", 2]
    process = started([*torchrun, ROOT / TRAIN, *flags, toy.out, "--max-epoch", 1000], stderr=subprocess.PIPE, text=True)
    while not (toy.out / "log.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    step = end_of(toy.out)[2]
    assert errors.count(f"stopped after {step} steps and saved; go on with\n  torchrun --nproc-per-node 2 ") == 1, errors
    n = step // 8 + 1
    assert run(TRAIN, *going_on(toy.out, n)).code == run(TRAIN, *flags, toy.path / "whole", "--max-epoch", n).code == 0
    assert_same(toy.out, toy.path / "whole")


def test_a_killed_process_ends_the_others_and_nothing_is_lost(toy, run, undrawn):
    flags = [*toy.flags, "--batch-size", 2, "--eval-every", 8, "--out-dir"]
    forked = Forked(3, TRAIN, *flags, toy.out, "--max-epoch", 1000)
    while not (toy.out / "log.jsonl").exists():
        time.sleep(0.05)
    os.kill(forked.processes[1].pid, signal.SIGKILL)
    first, killed, third = forked.done()
    refused(
        first, "another process of this training has ended", "go on with\n  torchrun --nproc-per-node 3 ", "--use-checkpoint"
    )
    assert killed is None and (third.code, third.out, third.err) == (0, "", "")
    n = end_of(toy.out)[2] // 8 + 1
    assert run(TRAIN, *going_on(toy.out, n)).code == run(TRAIN, *flags, toy.path / "whole", "--max-epoch", n).code == 0
    assert_same(toy.out, toy.path / "whole")


def test_what_one_process_finds_wrong_all_end_by_and_the_first_one_says(toy, monkeypatch, undrawn):
    def broken(work):
        def in_second(*arguments, **how):
            if os.environ["RANK"] == "1":
                raise ValueError("broken here")
            return work(*arguments, **how)

        return in_second

    flags = [*toy.flags, "--batch-size", 4, "--max-epoch", 1, "--out-dir"]
    for room, name in ((training, "loss_of"), (dataset, "load_features")):  # in a step, and as the next batch is read
        monkeypatch.setattr(room, name, broken(getattr(room, name)))
        first, second = Forked(2, TRAIN, *flags, toy.path / name).done()
        refused(first, "broken here\nmend it and go on with")
        assert first.err.count("error: ") == 1 and (second.code, second.out, second.err) == (0, "", "")
        monkeypatch.undo()
    write_list(toy.path / "train.csv", [*toy.rows, ("none.npy", "Normal")])
    first, second = Forked(2, TRAIN, *flags, toy.path / "none").done()
    refused(first, "train.csv, line 18: none.npy")
    assert (second.code, second.out, second.err) == (0, "", "") and not (toy.path / "none").exists()


def test_dropout_goes_on_as_it_would_have_with_as_many_processes(toy, undrawn):
    flags = [*toy.flags, "--batch-size", 4, "--drop-rate", 0.3, "--out-dir"]
    for out, n in (("whole", 2), ("parts", 1)):
        assert Forked(2, TRAIN, *flags, toy.path / out, "--max-epoch", n).done()[0].code == 0
    once = shutil.copytree(toy.path / "parts", toy.path / "once")
    assert Forked(2, TRAIN, *going_on(toy.path / "parts", 2)).done()[0].code == 0
    parts, whole, before = (end_of(path)[0] for path in (toy.path / "parts", toy.path / "whole", once))
    assert all(torch.equal(parts[name], whole[name]) for name in whole) and not torch.equal(
        whole["position"], before["position"]
    )


def test_a_batch_is_divided_by_clips_and_every_video_is_in_one_share():
    assert shares([9, 1, 1, 8, 2, 1], 1) == [[0, 1, 2, 3, 4, 5]]
    assert shares([9, 1, 1, 8, 2, 1], 2) == [[0, 1, 2], [3, 4, 5]]
    assert shares([5, 5], 3) == [[0], [1], []]


def test_what_is_no_training_is_refused_once_under_torchrun(trained, run, monkeypatch):
    for rank in (0, 1):
        for name, value in environment(rank).items():
            monkeypatch.setenv(name, value)
        for script, flags in ((TEST, trained.test_flags), ("ablate.py", ["ucf_train", "--out-dir", trained.out])):
            done = run(script, *flags)
            if rank:
                assert (done.code, done.out, done.err) == (0, "", "")
            else:
                refused(done, "torchrun started 2 processes", "use python")
        done = run(TRAIN, "--no-such-flag")
        assert (done.code, done.out, done.err) == (0, "", "") if rank else done.code == 2 and "--no-such-flag" in done.err
    assert not trained.out.exists()


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    for name, value in environment(1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:1") and choose_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="cuda:0: torchrun's processes take a device each; use --device cuda"):
        choose_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="2 processes, and PyTorch sees 1 CUDA devices here"):
        choose_device("auto")
