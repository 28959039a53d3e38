"""Training: one optimiser step per batch of whole videos, evaluations on the way, and a checkpoint to go on from at any time.

A run that was killed and resumed ends with the same weights, bit for bit, as one that was not (CPU, fp32): the order of the
videos is a function of seed and epoch, and a checkpoint holds everything else.

Shapes: V videos, N clips (packed over videos), T snippets per clip, L snippets of one video.
"""

import json
import shlex
import sys
import time
from argparse import Namespace
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import engine
import scoring
from dataset import Batch, hold_out, load, real_snippets, training_batches
from evaluation import figures
from files import atomic, checkpoint
from files.videos import Video, require_both_classes
from model import LSHMA
from option import resolve_variant
from running import resume
from running.interrupt import Signals
from running.resume import Paths


class Data(NamedTuple):
    """What a run trains, selects and reports on."""

    train: list[Video]
    validation: list[Video]  # empty without --val-share
    test: list[Video]
    truth: np.ndarray  # (F,) uint8 of the test videos' frames
    digests: dict[str, str]  # of the lists and the ground truth, to notice a change before a resumption


def video_scores(logits: Tensor, batch: Batch) -> Tensor:
    """Each video's score, the mean of its k = floor(L / 16) + 1 largest snippet scores: (N, T) logits -> (V,)."""
    real = logits[real_snippets(batch, logits.shape[1])].float().sigmoid()  # (N, T) -> (sum of L,)
    of_videos = real.split(batch.n_snippets.tolist())
    return torch.stack([scores.topk(len(scores) // 16 + 1).values.mean() for scores in of_videos])


class Training:
    """A run: the model, the optimiser, and how far it is; `content` is what a checkpoint holds of it."""

    PROGRESS = ("epoch", "batch", "step", "losses", "seconds", "lr", "due", "history", "best", "last")

    def __init__(self, model: LSHMA, options: Namespace, data: Data, paths: Paths):
        self.model, self.options, self.data, self.paths = model, options, data, paths
        self.device = model.position.device
        self.optimizer = make_optimizer(model, options)
        milestones, rate = options.scheduler_milestones, options.scheduler_rate
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, milestones, rate)
        self.signals = Signals()
        self.epoch = self.batch = self.step = 0  # epochs done, batches done of the next one, steps in all
        self.losses: list[float] = []  # of each video since the last evaluation
        self.seconds = 0.0  # of training since then
        self.lr = options.lr  # of the last step
        self.due = False  # an evaluation comes before the next step
        self.history: list[dict] = []  # one entry per evaluation
        self.best: dict | None = None  # the evaluation that is selected, with all its results
        self.last: dict | None = None  # the last one

    def content(self) -> dict:
        """Everything that a run needs to go on as if it had not stopped."""
        return {
            "model": self.model.state_dict(),
            "options": vars(self.options) | {"given": sorted(self.options.given)},
            "digests": self.data.digests,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.device)] if self.on_gpu else [])],
            "progress": {name: getattr(self, name) for name in self.PROGRESS},
        }

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def restore(self, content: dict, path: str) -> None:
        """Go on from a checkpoint of ours; its weights are in the model already. Raises ValueError where it is not sound."""
        try:
            for name in self.PROGRESS:
                value, here = content["progress"][name], getattr(self, name)
                if type(value) is not type(here) and None not in (value, here):
                    raise TypeError(f"{name} is {value!r}")
                setattr(self, name, value)
            if not (0 <= self.batch < max(1, len(self.batches())) and self.epoch >= 0 and self.step >= 0):
                raise ValueError(f"it is at batch {self.batch} of epoch {self.epoch}")
            shapes = [parameter.shape for parameter in self.model.parameters()]
            for i, state in content["optimizer"]["state"].items():
                if any(state[name].shape != shapes[i] for name in ("exp_avg", "exp_avg_sq")):
                    raise ValueError(f"the optimiser's state {i} has another shape than its weight")
            self.optimizer.load_state_dict(content["optimizer"])
            self.scheduler.load_state_dict(content["scheduler"])
            cpu, *cuda = content["random"]
            torch.set_rng_state(cpu)
            if cuda and self.on_gpu:
                torch.cuda.set_rng_state(cuda[0], self.device)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path}: damaged: no run can go on from it ({error}); use another checkpoint") from error

    def save(self) -> None:
        """Replace the checkpoint that --use-checkpoint goes on from."""
        with self.signals.held():
            checkpoint.save(self.paths.last, self.content())

    def run(self) -> None:
        """Train to the last epoch. Stopped by Ctrl-C, SIGTERM or bad input, save and say how to go on."""
        with self.signals:
            try:
                if not self.paths.last.exists():
                    self.save()
                while self.due or self.epoch < self.options.max_epoch:
                    self.evaluate() if self.due else self.train_epoch()
            except (KeyboardInterrupt, ValueError, OSError) as stop:
                self.signals.ignore()
                with suppress(OSError):  # a full disk: the checkpoint from before stands
                    checkpoint.save(self.paths.last, self.content())
                command = ["python", sys.argv[0], "--use-checkpoint", "--checkpoint-path", str(self.paths.last)]
                remedy = f"go on with\n  {shlex.join(command)}"
                if isinstance(stop, KeyboardInterrupt):
                    raise KeyboardInterrupt(f"stopped after {self.step} steps and saved; {remedy}") from None
                raise type(stop)(f"{stop}\nmend it and {remedy}") from stop

    def batches(self) -> list[list[int]]:
        """The rows of each batch of the current epoch."""
        options = self.options
        return training_batches(
            self.data.train, options.data_set, batch_size=options.batch_size, seed=options.seed, epoch=self.epoch
        )

    def train_epoch(self) -> None:
        """Train until the epoch ends or an evaluation is due."""
        options, began = self.options, time.monotonic()
        batches = self.batches()
        data = load(scoring.packed(self.data.train, options), batches[self.batch :], options.workers, self.device)
        bar = tqdm(
            data, f"epoch {self.epoch + 1}/{options.max_epoch}", len(batches), initial=self.batch, leave=False, disable=None
        )
        for batch in bar:
            with self.signals.held():
                bar.set_postfix(loss=f"{self.train_batch(batch):.3f}")
                self.due = self.batch == len(batches) or passes(options.eval_every, self.batch, size=options.batch_size)
                if self.batch == len(batches):
                    self.epoch, self.batch = self.epoch + 1, 0
                    self.scheduler.step()
            if self.due:
                break
            if time.monotonic() - began > 60 * options.save_minutes:
                self.save()
                began = time.monotonic()

    def train_batch(self, batch: Batch) -> float:
        """One optimiser step; returns its loss. Raises ValueError where that is not finite, before the weights change."""
        began = time.perf_counter()
        with scoring.autocast(self.options, self.device):
            out = self.model(batch.clips, batch.starts, key_clips=self.options.keyclip_train, exit_threshold=None)
        scores = video_scores(out.logits, batch)  # (V,)
        for name, score in zip(batch.names, scores.tolist(), strict=True):
            if not np.isfinite(score):
                raise ValueError(
                    f"the loss of {name} is not finite (epoch {self.epoch + 1}, step {self.step + 1}): lower --lr or look "
                    f"at its features; the weights before this step are kept"
                )
        losses = F.binary_cross_entropy(scores, batch.anomalous, reduction="none")

        self.optimizer.zero_grad()
        losses.mean().backward()

        self.lr = self.scheduler.get_last_lr()[0]
        self.optimizer.step()

        self.batch, self.step = self.batch + 1, self.step + 1
        values = losses.tolist()
        self.losses += values
        self.seconds += time.perf_counter() - began
        return sum(values) / len(values)

    def evaluate(self) -> None:
        """Score the test set, and the validation videos if there are any; log it, keep the best weights, save."""
        data, options = self.data, self.options
        tested = scoring.score(self.model, data.test, data.truth, options, self.device)
        results = tested.results
        entry = {
            "epoch": self.epoch + (self.batch > 0),
            "step": self.step,
            "loss": float(np.mean(self.losses)),
            "auc": results["auc"],
            "ap": results["ap"],
            "ap_trapezoid": results["ap_trapezoid"],
            "lr": self.lr,
            "videos_per_second": len(self.losses) / self.seconds,
        }
        if data.validation:
            entry |= scoring.validate(self.model, data.validation, options, self.device)
        with self.signals.held():
            before = {name: getattr(self, name) for name in self.PROGRESS}
            try:
                self.record(entry, tested)
            except OSError:  # as if it had not been made: it will be, after a resumption
                vars(self).update(before)
                raise
        tqdm.write(
            f"epoch {entry['epoch']}, step {self.step}: {scoring.summary_of(self.last)}{' (best)' * (self.best is self.last)}"
        )

    def record(self, entry: dict, tested: scoring.Tested) -> None:
        """Write down an evaluation: log, results and figure; its scores and weights if they are the best; the checkpoint."""
        self.history = [*self.history, entry]
        self.losses, self.seconds, self.due = [], 0.0, False
        self.last = entry | tested.results
        if self.best is None or entry[self.selected_by] > self.best[self.selected_by]:
            self.best = self.last
            scoring.write_scores(self.paths.out_dir / "scores.npz", tested)
            checkpoint.save(self.paths.best, self.content())
        self.write_results()
        checkpoint.save(self.paths.last, self.content())

    @property
    def selected_by(self) -> str:
        """The name of the metric that the best weights have the highest of."""
        return ("val_" if self.data.validation else "") + self.options.select_by

    @property
    def best_on_test(self) -> dict:
        """The evaluation that a selection on the test set chooses, as the literature does."""
        return max(self.history, key=lambda entry: entry[self.options.select_by])

    def choices(self) -> dict[str, dict]:
        """The evaluations to report, by the way they are chosen."""
        validated = {f"selected by {self.selected_by}": self.best} if self.data.validation else {}
        return validated | {f"best on test by {self.options.select_by}": self.best_on_test, "last": self.last}

    def write_results(self) -> None:
        """`log.jsonl`, `results.json` and `training.png`, as far as the run is."""
        results = {
            "selected_by": self.selected_by,
            "best": self.best,
            "best_on_test": self.best_on_test,
            "last": self.last,
            "checkpoint": str(self.paths.best),
        }
        atomic.write_text(self.paths.out_dir / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in self.history))
        atomic.write_text(self.paths.out_dir / "results.json", engine.to_json(results))
        figures.training_curves(self.paths.out_dir / "training.png", self.history)


def make_optimizer(model: LSHMA, options: Namespace) -> torch.optim.AdamW:
    """AdamW as the options say."""
    return torch.optim.AdamW(model.parameters(), options.lr, weight_decay=options.weight_decay, fused=True)


def passes(every: int, n_batches: int, *, size: int) -> bool:
    """Whether the last of these batches of `size` videos passed a multiple of `every` videos; 0 = never."""
    return every > 0 and n_batches * size // every > (n_batches - 1) * size // every


def read_data(options: Namespace) -> Data:
    """Everything that the options name, checked."""
    videos = engine.videos_of(options.train_list, options)
    require_both_classes(options.train_list, videos)
    train, validation = hold_out(videos, options.val_share, options.seed) if options.val_share else (videos, [])
    test, truth = engine.read_test_set(options)
    return Data(train, validation, test, truth, resume.digests(videos, test, truth))


def train(options: Namespace) -> None:
    """Train on --train-list, or go on from --checkpoint-path; write checkpoints, results and figures to --out-dir."""
    device = engine.choose_device(options.device)
    weights, content = resume.begin(options)
    resolve_variant(options)
    torch.manual_seed(options.seed)
    model = engine.build_model(options)
    if weights is not None:
        checkpoint.load_weights(model, weights, options, options.checkpoint_path)
    data = read_data(options)
    if content is None:
        out_dir = engine.out_dir_of(options)
    else:
        resume.require_same(options, data.digests, content)
        out_dir = resume.out_dir_of(options, content)
    options.out_dir = str(out_dir)
    paths = resume.paths_of(options, content, out_dir)
    training = Training(model.to(device), options, data, paths)
    if content is not None:
        training.restore(content, options.checkpoint_path)
    outputs = ("options.json", "results.json", "log.jsonl", "scores.npz", "training.png")
    engine.require_writable([*(out_dir / name for name in outputs), paths.last, paths.best])
    atomic.write_text(out_dir / "options.json", engine.to_json(vars(options)))
    n_videos = f"{len(data.train):,} training videos, {len(data.validation)} validation, {len(data.test)} test"
    print(f"{n_videos}; {len(training.batches()):,} steps an epoch on {device}; writing to {out_dir}", flush=True)
    training.run()
    for name, entry in training.choices().items():
        print(f"{name}, step {entry['step']}: {scoring.summary_of(entry)}")
    print(f"checkpoints, log, results and figures in {out_dir}")
