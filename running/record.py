"""How far a training is, and what it writes of that: checkpoints, log, results, a figure, and events for TensorBoard."""

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from evaluation import figures
from files import atomic, checkpoint, folder
from files.videos import Video
from model import LSHMA
from running.processes import Processes
from running.resume import Paths


class Data(NamedTuple):
    """What a run trains, selects and reports on."""

    train: list[Video]
    validation: list[Video]  # empty without --val-share
    n_left_out: int  # other crops of the validation videos, and videos with their content
    test: list[Video]
    truth: np.ndarray  # (F,) uint8 of the test videos' frames
    digests: dict[str, str]  # of the lists and the ground truth, to notice a change before a resumption


@dataclass
class Progress:
    """How far a run is. A checkpoint holds it."""

    epoch: int = 0  # epochs done
    batch: int = 0  # batches done of the next one
    step: int = 0  # in all
    losses: list[float] = field(default_factory=list)  # of each video since the last evaluation
    noted: int = 0  # how many of them the log has
    seconds: float = 0.0  # of training since the last evaluation
    lr: float = 0.0  # of the last step
    due: bool = False  # an evaluation comes before the next step
    log: list[dict] = field(default_factory=list)  # losses, and evaluations: the entries with an AUC
    best: dict | None = None  # the evaluation that is selected, with all its results
    last: dict | None = None  # the last one

    @property
    def history(self) -> list[dict]:
        return [entry for entry in self.log if "auc" in entry]


@dataclass
class Run:
    """A training, with all it works on."""

    model: LSHMA
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    options: Namespace
    data: Data
    paths: Paths
    device: torch.device
    averaged: AveragedModel | None = None  # the running mean of the weights, with --weight-average
    progress: Progress = field(default_factory=Progress)
    board: Any = None  # TensorBoard's SummaryWriter, with --tensorboard
    processes: Processes = field(default_factory=Processes)  # which train it together

    @property
    def kept(self) -> LSHMA:
        """The model that is evaluated, and whose weights are kept."""
        return self.averaged.module if self.averaged else self.model

    @property
    def selected_by(self) -> str:
        """The name of the metric by which the best weights are chosen."""
        return ("val_" if self.data.validation else "") + self.options.select_by


def entry_of(progress: Progress, losses: list[float]) -> dict:
    """An entry of the log: where the run is, and the mean of these losses."""
    return {
        "epoch": progress.epoch + (progress.batch > 0),
        "step": progress.step,
        "loss": float(np.mean(losses)),
        "lr": progress.lr,
        "videos_per_second": len(progress.losses) / progress.seconds,
    }


def note_loss(run: Run) -> None:
    """Write down the loss since the last entry of the log."""
    progress = run.progress
    progress.log.append(entry_of(progress, progress.losses[progress.noted :]))
    progress.noted = len(progress.losses)
    write_log(run, progress)


def weights_of(run: Run, evaluation: dict) -> dict:
    """What `best.pt` holds: all that a test needs."""
    options = vars(run.options) | {"given": sorted(run.options.given)}
    return {"model": run.kept.state_dict(), "options": options, "video_threshold": evaluation.get("val_threshold")}


def content_of(run: Run, progress: Progress) -> dict:
    """What `last.pt` holds: everything that the run needs to go on as if it had not stopped."""
    cuda = [torch.cuda.get_rng_state(run.device)] if run.device.type == "cuda" else []
    return weights_of(run, progress.last or {}) | {
        "trained": run.model.state_dict() if run.averaged else None,  # None: they are those that are kept
        "digests": run.data.digests,
        "optimizer": run.optimizer.state_dict(),
        "scheduler": run.scheduler.state_dict(),
        "random": [torch.get_rng_state(), *cuda],
        "progress": asdict(progress),
    }


def restore(run: Run, content: dict, path: str) -> None:
    """Go on from a checkpoint of ours; what it keeps is in the model already. Raises ValueError where it is not sound."""
    try:
        run.progress = Progress(**content["progress"])
        if run.averaged:
            run.model.load_state_dict(content["trained"])
            run.averaged.n_averaged.fill_(run.progress.step)
        run.optimizer.load_state_dict(content["optimizer"])
        run.scheduler.load_state_dict(content["scheduler"])
        cpu, *cuda = content["random"]
        torch.set_rng_state(cpu)
        if cuda and run.device.type == "cuda":
            torch.cuda.set_rng_state(cuda[0], run.device)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: of another version: no run can go on from it ({error})") from error


def save(run: Run) -> None:
    """Replace the checkpoint that --use-checkpoint goes on from."""
    checkpoint.save(run.paths.last, content_of(run, run.progress))


def choices(run: Run, progress: Progress) -> dict[str, dict]:
    """The evaluations to report, by the way they are chosen; best on test is what the literature reports."""
    metric = run.options.select_by
    validated = {f"selected by {run.selected_by}": progress.best} if run.data.validation else {}
    best_on_test = max(progress.history, key=lambda entry: entry[metric])
    return validated | {f"best on test by {metric}": best_on_test, "last": progress.last}


def stopped_early(run: Run, progress: Progress) -> dict[str, Any] | None:
    """What ended a run before its last epoch: --patience evaluations in a row without a better validation value; or None.

    The log alone decides, so a resumed run stops where one that was not killed does.
    """
    values = [entry[run.selected_by] for entry in progress.history]
    best = int(np.argmax(values)) if values else 0  # of equals the first, as `best.pt` is
    n_evaluations = len(values) - 1 - best
    if not 0 < run.options.patience <= n_evaluations or progress.epoch >= run.options.max_epoch:
        return None
    best_step = progress.history[best]["step"]
    metric = run.options.select_by.upper()
    evaluations = f"{n_evaluations} evaluation{'s' * (n_evaluations > 1)}"
    why = f"no better validation {metric} for {evaluations}; best at step {best_step}"
    return {"step": progress.step, "best_step": best_step, "evaluations": n_evaluations, "why": why}


def is_over(run: Run) -> bool:
    """Whether nothing is left to do."""
    progress = run.progress
    at_end = progress.epoch >= run.options.max_epoch or stopped_early(run, progress) is not None
    return at_end and not progress.due


def write_log(run: Run, progress: Progress) -> None:
    """`log.jsonl`, an entry a line; TensorBoard has all but the last already."""
    lines = "".join(json.dumps(entry) + "\n" for entry in progress.log)
    atomic.write_text(run.paths.out_dir / "log.jsonl", lines)
    if run.board:
        show(run.board, progress.log[-1:])


def summary_writer() -> type:
    """TensorBoard's SummaryWriter. Raises ValueError where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        remedy = "pip install -r requirements-tensorboard.txt, or pass --no-tensorboard"
        raise ValueError(f"--tensorboard needs a package that is not there ({error}): {remedy}") from error
    return SummaryWriter


@contextmanager
def open_board(run: Run) -> Iterator[Any]:
    """Begin TensorBoard's file with all that the log has, in the place of the one from before the run was stopped.

    So no step is there twice and none is missing; a TensorBoard that is open begins its curves anew.
    """
    room = run.paths.out_dir / "tensorboard"
    for earlier in room.glob("events.out.tfevents.*"):
        earlier.unlink()
    board = summary_writer()(room, purge_step=0)
    show(board, run.progress.log)
    try:
        yield board
    finally:
        with suppress(OSError):  # of a full disk: the run has stopped and said so
            board.close()


def show(board: Any, entries: Sequence[dict]) -> None:
    """Give TensorBoard the numbers of these entries: `train/loss`, `test/auc`, `test_causal_8/auc`, `validation/auc`, ..."""
    for entry in entries:
        groups = {"train": {name: entry[name] for name in ("epoch", "loss", "lr", "videos_per_second")}}
        groups["test"] = {name: entry[name] for name in ("auc", "ap", "ap_trapezoid") if name in entry}
        groups["validation"] = {name[4:]: value for name, value in entry.items() if name.startswith("val_")}
        groups |= {f"test_{how.replace(' ', '_')}": areas for how, areas in entry.get("smoothings", {}).items()}
        for group, numbers in groups.items():
            for name, value in numbers.items():
                board.add_scalar(f"{group}/{name}", value, entry["step"])
    board.flush()


def write_results(run: Run, progress: Progress) -> None:
    """`results.json` and `training.png`, as far as the run is."""
    results = {
        "selected_by": run.selected_by,
        "best": progress.best,
        "best_on_test": choices(run, progress)[f"best on test by {run.options.select_by}"],
        "last": progress.last,
        "stopped_early": stopped_early(run, progress),
        "checkpoint": str(run.paths.best),
    }
    atomic.write_text(run.paths.out_dir / "results.json", folder.to_json(results))
    figures.training_curves(run.paths.out_dir / "training.png", progress.history)
