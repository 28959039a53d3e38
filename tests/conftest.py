"""A toy data set on disk, and the scripts as functions."""

import contextlib
import copy
import csv
import io
import os
import runpy
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import settings

from change import Change
from evaluation import figures
from model import LSHMA

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 128
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:  # under nohup, or in the background of a script: runs would inherit that
        signal.signal(number, handler)
torch.set_num_threads(1)  # toys are too small to share between cores: more threads would wait for each other, and spin
os.environ.setdefault("OMP_NUM_THREADS", "1")  # and so in the processes that tests start
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")
SMALL = ["--visual-width", str(WIDTH), "--workers", "0", "--device", "cpu"]


def make_model(**changed):
    """A small model with weights that make memory and exits matter."""
    seed = changed.pop("seed", 0)
    shift, sharp = changed.pop("shift", 0.5), changed.pop("sharp", 4.0)
    sizes = dict(width=WIDTH, layers=3, window=4, cache_keep_max_len=4, p=0.5, forgetting="ebbinghaus", attn_merge="token")
    torch.manual_seed(seed)
    model = LSHMA(**sizes | changed).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm1.bias" in name:
                parameter.add_(shift * torch.randn_like(parameter))
            elif "norm1.weight" in name:
                parameter.add_(3 * shift * torch.randn_like(parameter))
            elif "compress" in name:
                parameter.mul_(sharp)
            elif name == "classifier.weight":
                parameter.mul_(6.0 if changed.get("forgetting") == "salience" else 0.3)  # odds that differ enough to matter
    return model


def make_change(motion=1.0, novelty=1.0, channels=True):
    """With channels that matter."""
    made = Change(WIDTH, motion=motion, novelty=novelty, channels=channels)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.1)
    return made


def walk(length, width=WIDTH, seed=0):
    """(length, width) float32 features: scenes that drift, with cuts."""
    rng = np.random.default_rng([seed, length])
    x, now = np.zeros((length, width), np.float32), rng.standard_normal(width)
    for i in range(length):
        now = rng.standard_normal(width) if rng.random() < 0.1 else 0.97 * now + 0.24 * rng.standard_normal(width)
        x[i] = now
    return x


def write_list(path, rows, header=("path", "label")):
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def call(script, *arguments):
    """call("ucf_test.py", "--flag", ...) -> its exit code, output and errors."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    before = sys.argv
    sys.argv = [str(ROOT / script), *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = before
    return SimpleNamespace(code=code or 0, out=out.getvalue(), err=err.getvalue())


@pytest.fixture
def run():
    return call


def toy_in(path):
    """Sixteen short training and eight test videos with lists and ground truth; `flags` points the UCF scripts at them."""
    rows, truth = [], []
    for i in range(24):
        label = "Normal" if i % 2 == 0 else "Abuse"
        x = walk(9 + 3 * (i % 16), seed=i)
        anomalous = np.zeros(len(x), np.uint8)
        if label != "Normal":
            anomalous[2:7] = 1
            x[2:7, :16] += 3
        file = path / "features" / label / f"{label}{i:03}_x264__5.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, x.astype(np.float16 if i % 3 else np.float32))
        rows.append((f"{label}/{file.name}", label))
        truth.append(anomalous.repeat(16))
    write_list(path / "train.csv", rows[:16])
    write_list(path / "test.csv", rows[16:])
    np.save(path / "gt.npy", np.concatenate(truth[16:]))
    flags = [*SMALL, "--feature-root", path / "features", "--train-list", path / "train.csv"]
    flags += ["--test-list", path / "test.csv", "--gt-path", path / "gt.npy", "--visual-layers", "2"]
    return SimpleNamespace(path=path, flags=flags, rows=rows[:16], test_rows=rows[16:], test_truth=truth[16:], out=path / "out")


@pytest.fixture
def toy(tmp_path):
    """The toy data set in a folder of the test's own."""
    return toy_in(tmp_path)


def refused(done, *words):
    """Exit code 2, one error that says all of these, and no traceback."""
    assert done.code == 2 and "Traceback" not in done.err and "error: " in done.err, done
    for word in words:
        assert str(word) in done.err, f"{word!r} is not in: {done.err}"


@pytest.fixture(scope="session")
def first_training(tmp_path_factory):
    """The toy data set with a training on it, made once, and a copy of its folder that no test touches."""
    toy = toy_in(tmp_path_factory.mktemp("trained"))
    done = call("ucf_train.py", *toy.flags, "--max-epoch", 1, "--batch-size", 4, "--out-dir", toy.path / "run")
    assert done.code == 0, done.err
    return toy, shutil.copytree(toy.path, tmp_path_factory.mktemp("kept") / "trained")


@pytest.fixture
def trained(first_training):
    """The toy data set with a checkpoint, `best`, anew for each test in the same place: a run names the files it began with."""
    toy, kept = first_training
    shutil.rmtree(toy.path)
    shutil.copytree(kept, toy.path)
    best = toy.path / "run" / "best.pt"
    test_flags = [*toy.flags[:-2], "--model-path", best, "--out-dir", toy.out]
    return SimpleNamespace(**copy.deepcopy(vars(toy)), best=best, test_flags=test_flags)


@pytest.fixture
def undrawn(monkeypatch):
    """Runs without their figures, which take longer than the rest, where a test is about something else."""
    for name in ("timelines", "training_curves"):
        monkeypatch.setattr(figures, name, lambda *_, **__: None)
