"""Training: one optimiser step per batch of whole videos, evaluations on the way, and a checkpoint to go on from at any time.

A run that was killed and resumed ends with the same weights, bit for bit, as one that was not (CPU, fp32, as many threads): the
order of the videos is a function of seed and epoch, and a checkpoint holds everything else. Of several processes each trains on
its share of every batch: they are the run of one but for rounding, and for dropout, whose random numbers each draws for its own
share.

Shapes: V videos, N clips (packed over videos), T snippets per clip, L snippets of one video.
"""

import copy
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import model
from dataset import Batch, load, real_snippets, shares
from files import checkpoint
from files.interrupt import SIGNALS
from files.progress import SECONDS, bar
from running import record, testing
from running.beginning import begin, make_optimizer
from running.forecast import Pace, batches_of, clips_of, describe, forecast, passes, test_sample, typical_batches
from running.loading import autocast
from running.record import Progress, Run

PROBE_SECONDS = 2.0  # of training to measure its pace


class Diverged(ValueError):
    """A loss is not finite: what the weights are now is worth nothing."""


def loss_of(judges: Sequence[Tensor], batch: Batch, *, co_training: bool = True) -> Tensor:
    """Each video's loss: (N, T) logits of each judge -> (V,) binary cross entropies of its scores, summed over the judges.

    Raises Diverged, which names the video whose loss is not finite.
    """
    scores = video_scores(judges, batch, co_training=co_training)
    for name, finite in zip(batch.names, scores.isfinite().all(1).tolist(), strict=True):
        if not finite:
            raise Diverged(f"the loss of {name} is not finite: look at its features, or begin a new run with a lower --lr")
    return F.binary_cross_entropy(scores, batch.anomalous.unsqueeze(1).expand_as(scores), reduction="none").sum(1)


def video_scores(judges: Sequence[Tensor], batch: Batch, *, co_training: bool = True) -> Tensor:
    """Each video's scores: (N, T) logits of each of J judges -> (V, J) means over k = floor(L / 16) + 1 snippets.

    They are those that score the highest with the judge itself; with co_training, in anomalous videos, with the next judge, the
    first one after the last (METHOD, section 6): of a single judge the same.
    """
    real = real_snippets(batch, judges[0].shape[1])
    of_judges = [logits[real].float().sigmoid().split(batch.n_snippets.tolist()) for logits in judges]  # (N, T) -> (L,) each
    means = []
    for scores, anomalous in zip(zip(*of_judges, strict=True), batch.anomalous.tolist(), strict=True):
        highest = [of_judge.topk(len(of_judge) // 16 + 1).indices for of_judge in scores]
        if anomalous and co_training:
            highest = [*highest[1:], highest[0]]
        means += [of_judge[places].mean() for of_judge, places in zip(scores, highest, strict=True)]
    return torch.stack(means).view(-1, len(judges))


def places_of(run: Run, rows: Sequence[int]) -> list[int]:
    """The places, in a batch of these rows, of the videos that this process trains on."""
    n_clips = [clips_of([run.data.train[row]], run.options.attn_window) for row in rows]
    return shares(n_clips, run.processes.n)[run.processes.rank]


def load_shares(run: Run, batches: Sequence[list[int]], workers: int) -> Iterator[Batch]:
    """This process's share of each batch of rows, read ahead."""
    own = [[rows[place] for place in places_of(run, rows)] for rows in batches]
    return load(testing.packed(run.data.train, run.options), own, workers, run.device)


def train_epoch(run: Run) -> None:
    """Train until the epoch ends or an evaluation is due; between steps, save and write down the loss from time to time."""
    options, progress, first = run.options, run.progress, run.processes.rank == 0
    rows = batches_of(run)
    left = rows[progress.batch :]
    saved = noted = time.monotonic()
    what, how = f"epoch {progress.epoch + 1}/{options.max_epoch}", {"initial": progress.batch, "disable": not first}
    line = bar(None, what, len(rows), unit="step", **how)
    with closing(load_shares(run, left, options.workers)) as data, line:
        for of_batch, batch in zip(left, run.processes.each(data), strict=True):
            with SIGNALS.held():
                line.set_postfix_str(f"step {progress.step + 1}, loss {train_batch(run, batch, of_batch):.3f}", refresh=False)
                line.update()
                at_end = progress.batch == len(rows)
                progress.due = at_end or passes(options.eval_every, progress.batch, size=options.batch_size)
                if at_end:
                    progress.epoch, progress.batch = progress.epoch + 1, 0
                    run.scheduler.step()
                if progress.due:
                    break
                if first and time.monotonic() - noted > SECONDS:
                    record.note_loss(run)
                    noted = time.monotonic()
                if first and time.monotonic() - saved > 60 * options.save_minutes:
                    if not is_finite(run):
                        raise Diverged(f"after step {progress.step} weights are not finite; lower --lr")
                    record.save(run)
                    saved = time.monotonic()


def train_batch(run: Run, batch: Batch, rows: Sequence[int]) -> float:
    """One optimiser step; returns its loss. Raises Diverged where a loss is not finite, before the weights change.

    batch: this process's share of the batch of these rows, perhaps of no video.
    """
    began, progress, processes = time.perf_counter(), run.progress, run.processes
    losses = torch.zeros(len(rows), device=run.device)  # (V,) of all videos
    processes.reseed(run.options.seed, progress.step)
    run.optimizer.zero_grad()
    with processes.together():
        if batch.names:
            with autocast(run.options, run.device):
                out = run.model(batch.clips, batch.starts, key_clips=run.options.keyclip_train, scales=model.FUSE)
            own = loss_of(out.judges, batch, co_training=run.options.co_training)
            (own.sum() / len(rows)).backward()  # of the mean of the whole batch
            losses[places_of(run, rows)] = own.detach()
    losses = processes.add_up([*run.model.parameters()], losses)

    progress.lr = run.scheduler.get_last_lr()[0]
    run.optimizer.step()
    if run.averaged:
        run.averaged.update_parameters(run.model)

    progress.batch, progress.step = progress.batch + 1, progress.step + 1
    progress.losses += losses.tolist()
    progress.seconds += time.perf_counter() - began
    return float(losses.mean())


def pace_of(run: Run) -> Pace:
    """Measure how fast it goes: a few steps of a copy of the model, on real batches, and the scoring of a batch of test videos.

    The run is as before afterwards, its random state too. Raises ValueError or OSError as training itself does.
    """
    options, device = Namespace(**vars(run.options) | {"lr": 0.0, "workers": 0}), run.device
    twin = replace(run, model=copy.deepcopy(run.model), averaged=None, board=None)
    twin.optimizer = make_optimizer(twin.model, options)
    measured = []  # of each step the seconds of loading and of training, and the clips
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for rows in typical_batches(run)[:4]:
            twin.progress, began = Progress(), time.perf_counter()
            (batch,) = run.processes.each(load_shares(run, [rows], 0))
            loaded = time.perf_counter()
            train_batch(twin, batch, rows)
            n_clips = clips_of([run.data.train[row] for row in rows], options.attn_window)
            measured.append((loaded - began, twin.progress.seconds, n_clips))
            spent = sum(loading + training for loading, training, _ in measured)
            if run.processes.by_first(lambda spent=spent: spent > PROBE_SECONDS):
                break
    loading, training, n_clips = np.sum(measured[1:] or measured, 0)  # the first one warms up
    step = max(training, loading / run.options.workers) if run.options.workers else training + loading
    tested = run.processes.by_first(lambda: testing.predict(run.model, test_sample(run), options, device))
    return Pace(step / n_clips, tested.seconds / tested.n_clips)


def evaluate(run: Run) -> Progress:
    """Score the test set, and the validation videos if there are any; log it, keep the best weights, save; the progress then.

    If writing fails, the progress stays as it was, and the resumed run evaluates again.
    """
    data, options, progress = run.data, run.options, run.progress
    tested = testing.score(run.kept, data.test, data.truth, options, run.device)
    headline = {name: tested.results[name] for name in ("auc", "ap", "ap_trapezoid", "smoothings")}
    entry = record.entry_of(progress, progress.losses) | headline
    if data.validation:
        entry |= testing.validate(run.kept, data.validation, options, run.device)
    after = replace(progress, log=[*progress.log, entry], losses=[], noted=0, seconds=0.0, due=False)
    after.last = entry | tested.results
    is_best = progress.best is None or entry[run.selected_by] > progress.best[run.selected_by]
    with SIGNALS.held():
        if is_best:
            after.best = after.last
            testing.write_scores(run.paths.out_dir / "scores.npz", tested)
            checkpoint.save(run.paths.best, record.weights_of(run, after.last))
        record.write_log(run, after)
        record.write_results(run, after)
        checkpoint.save(run.paths.last, record.content_of(run, after))
        run.progress = after
        tqdm.write(f"epoch {entry['epoch']}, step {after.step}: {summary_of(after.last)}{' (best)' * is_best}")
    return after


def is_finite(run: Run) -> bool:
    """Whether the weights are worth saving."""
    return all(weight.isfinite().all() for weight in run.model.parameters())


def go_on(run: Run) -> None:
    """Train to the last epoch, or as --patience says. Stopped by a signal or bad input, save and say how to go on."""
    try:
        if not record.is_over(run):
            pace = pace_of(run)
            run.processes.by_first(lambda: print(forecast(run, pace)))
        while not record.is_over(run):
            if run.progress.due:
                run.progress = run.processes.by_first(lambda: evaluate(run))
            else:
                train_epoch(run)
    except torch.OutOfMemoryError as full:  # perhaps amid a step: what was saved before stands
        what = f"{run.device} has no room for a step ({str(full).splitlines()[0]})"
        raise ValueError(f"{what}; begin again with a smaller --batch-size") from full
    except (KeyboardInterrupt, ValueError, OSError) as stop:
        SIGNALS.ignore()
        if isinstance(stop, Diverged) or not is_finite(run):
            raise ValueError(f"{str(stop) or 'stopped'}; these weights are not saved, what was saved before stands") from stop
        with suppress(OSError):  # a full disk: the checkpoint from before stands
            record.save(run)
        command = [*run.processes.launcher, sys.argv[0], "--use-checkpoint", "--checkpoint-path", str(run.paths.last)]
        remedy = f"go on with\n  {shlex.join(command)}"
        if isinstance(stop, KeyboardInterrupt):
            raise KeyboardInterrupt(f"stopped after {run.progress.step} steps and saved; {remedy}") from None
        raise type(stop)(f"{stop}\nmend it and {remedy}") from stop


def summary_of(evaluation: dict) -> str:
    """The figures of an evaluation in a line; those of the test set, and what was selected by if that is another."""
    validation = ""
    if "val_auc" in evaluation:
        validation = f"; validation, of videos: AUC {100 * evaluation['val_auc']:.2f}, AP {100 * evaluation['val_ap']:.2f}"
    return f"loss {evaluation['loss']:.4f}; test, {testing.figures_of(evaluation)}{validation}"


def train(options: Namespace) -> None:
    """Train on --train-list, or go on from --checkpoint-path; write checkpoints, results and figures to --out-dir."""
    with ExitStack() as stack:
        run = begin(options, stack)
        run.processes.by_first(lambda: print(f"{describe(run)}; writing to {run.paths.out_dir}"))
        go_on(run)
        run.processes.by_first(lambda: tell_end(run))


def tell_end(run: Run) -> None:
    """Say what a run that is over has come to."""
    for name, evaluation in record.choices(run, run.progress).items():
        print(f"{name}, step {evaluation['step']}: {summary_of(evaluation)}")
    testing.warn_of_smoothing(run.progress.last)
    if run.options.patience:  # another one, or --max-epoch, may be why a run ends here that went on to no evaluation
        record.write_results(run, run.progress)
    if early := record.stopped_early(run, run.progress):
        print(f"stopped early after step {early['step']}: {early['why']}; a larger --patience goes on")
    print(f"checkpoints, log, results and figures in {run.paths.out_dir}")
