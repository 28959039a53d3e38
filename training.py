"""Training: one optimiser step per batch of whole videos, evaluations on the way, and a checkpoint to go on from at any time.

A run that was killed and resumed ends with the same weights, bit for bit, as one that was not (CPU, fp32): the order of the
videos is a function of seed and epoch, and a checkpoint holds everything else.

Shapes: V videos, N clips (packed over videos), T snippets per clip, L snippets of one video.
"""

import hashlib
import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import atomic
import checkpoint
import engine
import figures
import metrics
import scoring
from dataset import Batch, hold_out, load, training_batches
from interrupt import Signals
from model import LSHMA
from option import adopt, resolve_variant
from videos import Video, require_both_classes

# what may differ between a run and its resumption; lists and ground truth may move, their content may not change
FREE = {"max_epoch", "workers", "device", "out_dir", "model_path", "checkpoint_path", "use_checkpoint", "save_minutes", "given"}
FREE |= {"feature_root", "train_list", "test_list", "gt_path"}


class Data(NamedTuple):
    """What a run trains, selects and reports on."""

    train: list[Video]
    validation: list[Video]  # empty without --val-share
    test: list[Video]
    truth: np.ndarray  # (F,) uint8 of the test videos' frames
    digests: dict[str, str]  # of the lists and the ground truth, to notice a change before a resumption


def video_scores(logits: Tensor, batch: Batch) -> Tensor:
    """Each video's score, the mean of its k = floor(L / 16) + 1 largest snippet scores: (N, T) logits -> (V,)."""
    scores = logits.float().sigmoid()
    starts, lengths = batch.starts.tolist(), batch.n_snippets.tolist()
    of_videos = [scores[i:].flatten()[:length] for i, length in zip(starts, lengths, strict=True)]  # (L,) each
    return torch.stack([s.topk(len(s) // 16 + 1).values.mean() for s in of_videos])


class Training:
    """A run: the model, the optimiser, and how far it is; `content` is what a checkpoint holds of it."""

    PROGRESS = ("epoch", "batch", "step", "losses", "seconds", "lr", "due", "history", "best", "last")

    def __init__(self, model: LSHMA, options: Namespace, data: Data, last_path: Path):
        self.model, self.options, self.data = model, options, data
        self.device = model.position.device
        self.out_dir = Path(options.out_dir)
        self.last_path, self.best_path = last_path, Path(options.model_path or self.out_dir / "best.pt")
        self.optimizer = torch.optim.AdamW(model.parameters(), options.lr, weight_decay=0.01, fused=True)
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
            "random": [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [])],
            "progress": {name: getattr(self, name) for name in self.PROGRESS},
        }

    def restore(self, content: dict) -> None:
        """Go on from a checkpoint of ours; its weights are in the model already."""
        self.optimizer.load_state_dict(content["optimizer"])
        self.scheduler.load_state_dict(content["scheduler"])
        for name in self.PROGRESS:
            setattr(self, name, content["progress"][name])
        cpu, *cuda = content["random"]
        torch.set_rng_state(cpu)
        if cuda and self.device.type == "cuda":
            torch.cuda.set_rng_state_all(cuda)

    def save(self) -> None:
        """Replace the checkpoint that --use-checkpoint goes on from."""
        with self.signals.held():
            checkpoint.save(self.last_path, self.content())

    def run(self) -> None:
        """Train to the last epoch. Stopped by Ctrl-C or SIGTERM, save and raise KeyboardInterrupt that says how to go on."""
        with self.signals:
            try:
                if not self.last_path.exists():
                    self.save()
                while self.due or self.epoch < self.options.max_epoch:
                    self.evaluate() if self.due else self.train_epoch()
            except KeyboardInterrupt:
                self.signals.holding = True  # asked again or not, this is saved
                checkpoint.save(self.last_path, self.content())
                command = f"python {Path(sys.argv[0]).name} --use-checkpoint --checkpoint-path {self.last_path}"
                raise KeyboardInterrupt(f"stopped after {self.step} steps and saved; go on with\n  {command}") from None

    def train_epoch(self) -> None:
        """Train until the epoch ends or an evaluation is due."""
        options, began = self.options, time.monotonic()
        batches = training_batches(
            self.data.train, options.data_set, batch_size=options.batch_size, seed=options.seed, epoch=self.epoch
        )
        data = load(scoring.packed(self.data.train, options), batches[self.batch :], options.workers, self.device)
        bar = tqdm(
            data, f"epoch {self.epoch + 1}/{options.max_epoch}", len(batches), initial=self.batch, leave=False, disable=None
        )
        for batch in bar:
            with self.signals.held():
                bar.set_postfix(loss=f"{self.train_batch(batch):.3f}")
                self.due = self.batch == len(batches) or passes(options.eval_every, self.batch, options.batch_size)
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
                    f"at its features; {self.last_path} holds weights from before"
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
        prediction, scores, results = scoring.score(self.model, data.test, data.truth, options, self.device)
        entry = {
            "epoch": self.epoch + (self.batch > 0),
            "step": self.step,
            "loss": float(np.mean(self.losses)),
            "auc": results["auc"],
            "ap": results["ap"],
            "lr": self.lr,
            "videos_per_second": len(self.losses) / self.seconds,
        }
        if data.validation:
            entry |= validate(self.model, data.validation, options, self.device)
        with self.signals.held():
            self.history.append(entry)
            self.losses, self.seconds, self.due = [], 0.0, False
            self.last = entry | results
            if self.best is None or entry[self.selected_by] > self.best[self.selected_by]:
                self.best = self.last
                scoring.write_scores(self.out_dir / "scores.npz", prediction, scores, data.test)
                checkpoint.save(self.best_path, self.content())
            self.write_results()
            checkpoint.save(self.last_path, self.content())
        mark = " (best)" if self.best is self.last else ""
        tqdm.write(f"epoch {entry['epoch']}, step {self.step}: loss {entry['loss']:.4f}, {scoring.figures_of(results)}{mark}")

    @property
    def selected_by(self) -> str:
        """The name of the metric that the best weights have the highest of."""
        return ("val_" if self.data.validation else "") + self.options.select_by

    def write_results(self) -> None:
        """`log.jsonl`, `results.json` and `training.png`, as far as the run is."""
        results = {
            "selected_by": self.selected_by,
            "best": self.best,
            "best_on_test": max(self.history, key=lambda entry: entry[self.options.select_by]),
            "last": self.last,
            "checkpoint": str(self.best_path),
        }
        atomic.write_text(self.out_dir / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in self.history))
        atomic.write_text(self.out_dir / "results.json", engine.to_json(results))
        figures.training_curves(self.out_dir / "training.png", self.history)


def passes(every: int, n_batches: int, batch_size: int) -> bool:
    """Whether the last of these batches passed a multiple of `every` videos; 0 = never."""
    return every > 0 and n_batches * batch_size // every > (n_batches - 1) * batch_size // every


def validate(model: LSHMA, videos: list[Video], options: Namespace, device: torch.device) -> dict[str, float]:
    """AUC and AP of whole videos' largest scores against their labels: `val_auc`, `val_ap`."""
    prediction = scoring.predict(model, videos, options, device)
    ends = np.cumsum([video.n_snippets for video in videos])[:-1]
    largest = [scores.max() for scores in np.split(scoring.scores_of(prediction, videos, options), ends)]
    found = metrics.binary_metrics(np.array(largest), np.array([video.anomalous for video in videos]))
    return {"val_auc": found["auc"], "val_ap": found["ap"]}


def read_data(options: Namespace) -> Data:
    """Everything that the options name, checked."""
    videos = engine.videos_of(options.train_list, options)
    require_both_classes(options.train_list, videos)
    train, validation = hold_out(videos, options.val_share, options.seed) if options.val_share else (videos, [])
    test, truth = engine.read_test_set(options)
    digests = {"--train-list": digest(videos), "--test-list": digest(test)}
    digests["--gt-path"] = hashlib.sha256(truth.tobytes()).hexdigest()
    return Data(train, validation, test, truth, digests)


def digest(videos: list[Video]) -> str:
    """A checksum of what a list says; where its files lie does not count."""
    rows = [(video.path.name, video.label, video.n_snippets, video.n_frames) for video in videos]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def require_same_run(options: Namespace, data: Data, content: dict) -> None:
    """Raise ValueError where options or data are not those that the run was begun with."""
    path = options.checkpoint_path
    for name, value in content["options"].items():
        if name not in FREE and getattr(options, name) != value:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{path}: the run was begun with {flag} {value}, not {getattr(options, name)}; leave {flag} out")
    for flag, value in content["digests"].items():
        if data.digests[flag] != value:
            changed = getattr(options, flag[2:].replace("-", "_"))
            raise ValueError(f"{flag} {changed} has changed since {path} was saved; restore it, or begin a new run")


def train(options: Namespace) -> None:
    """Train on --train-list, or go on from --checkpoint-path; write checkpoints, results and figures to --out-dir."""
    device = engine.choose_device(options.device)
    content = weights = None
    if options.use_checkpoint:
        if options.checkpoint_path is None:
            raise ValueError("--use-checkpoint needs --checkpoint-path: the last.pt of the run to go on with")
        content = checkpoint.load(options.checkpoint_path)
        weights, trained = checkpoint.weights_of(content, options.checkpoint_path)
        adopt(options, trained, (trained or {}).keys() - {"given", "use_checkpoint", "checkpoint_path", "out_dir"})
    resolve_variant(options)
    resumes = content is not None and checkpoint.is_ours(content)
    torch.manual_seed(options.seed)
    model = engine.build_model(options)
    if weights:
        checkpoint.load_weights(model, weights, options, options.checkpoint_path)
    data = read_data(options)
    if resumes:
        require_same_run(options, data, content)
        options.out_dir = options.out_dir or str(Path(options.checkpoint_path).parent)
    out_dir = engine.make_out_dir(options)
    options.out_dir = str(out_dir)
    last_path = out_dir / "last.pt"
    if options.checkpoint_path is not None and (resumes or not options.use_checkpoint):
        last_path = Path(options.checkpoint_path)
    if last_path.exists() and not resumes:
        raise ValueError(
            f"{last_path} holds an earlier run: go on with it (--use-checkpoint --checkpoint-path {last_path}), "
            "or choose another --out-dir"
        )
    if options.model_path is not None and Path(options.model_path).exists() and not resumes:
        raise ValueError(f"--model-path {options.model_path} exists, and training would replace it; name a new file")
    training = Training(model.to(device), options, data, last_path)
    if resumes:
        training.restore(content)
    training.run()
    print(f"best by {training.selected_by}, step {training.best['step']}: {scoring.figures_of(training.best)}")
    print(f"last, step {training.last['step']}: {scoring.figures_of(training.last)}")
    print(f"checkpoints, log, results and figures in {out_dir}")
