"""How a run begins: all that its options name is read and checked, its folder is taken, and its first checkpoint written."""

import io
from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

import model
from dataset import hold_out
from files import atomic, checkpoint, folder, origin
from files.interrupt import SIGNALS
from files.videos import require_both_classes, require_unseen
from model import LSHMA
from option import note_unused, require_used, resolve_variant
from running import record, resume, testing
from running.loading import choose_device, make_trainable
from running.processes import joined
from running.record import Data, Run
from running.resume import Paths


def make_optimizer(lshma: LSHMA, options: Namespace) -> torch.optim.AdamW:
    """AdamW as the options say."""
    return torch.optim.AdamW(lshma.parameters(), options.lr, weight_decay=options.weight_decay, fused=True)


def make_average(lshma: LSHMA, options: Namespace) -> AveragedModel | None:
    """The running mean of the weights, as the options say (METHOD, section 6); None without."""
    most = options.weight_average

    def mean(before: Tensor, now: Tensor, n: Tensor) -> Tensor:
        """After n + 1 steps; of a young run the first ones, far from all others, soon count little."""
        return now.lerp(before, min(most, (1 + int(n)) / (10 + int(n))))

    return AveragedModel(lshma, avg_fn=mean) if most else None


def read_data(options: Namespace) -> Data:
    """Everything that the options name, checked."""
    rows = testing.videos_of(options.train_list, options, "file")
    videos = [crop._replace(others=()) for row in rows for crop in row.crops]
    require_both_classes(options.train_list, videos)
    train, validation = hold_out(videos, options.val_share, options.seed) if options.val_share else (videos, [])
    test, truth = testing.read_test_set(options)
    require_unseen(options.train_list, videos, test, options.allow_test_in_training)
    return Data(train, validation, len(videos) - len(train) - len(validation), test, truth, resume.digests(videos, test, truth))


def check_needs(options: Namespace) -> None:
    """Raise ValueError where an option needs what is not there, or would be ignored."""
    require_used(options, training=True)
    if options.patience and not options.val_share:
        remedy = "give --val-share 0.1 too, since to stop by the test set would be peeking; or leave --patience out"
        raise ValueError(f"--patience {options.patience} needs validation videos: {remedy}")
    if options.tensorboard:
        record.summary_writer()


def save_first(run: Run, replaced: bool) -> None:
    """Save a run that has just begun. Raises OSError where that fails: its folder is nobody's again."""
    try:
        record.save(run)
    except OSError:
        if not replaced:
            for path in (run.paths.out_dir / "options.json", run.paths.last, run.paths.best):
                path.unlink(missing_ok=True)
        raise


def find_best(run: Run, known: Mapping[str, Any]) -> None:
    """See that the best weights are where they go, from where they went until now, as its options say; else the best of what
    follows is kept.

    Raises ValueError where nothing follows.
    """
    if not run.progress.best or run.paths.best.exists():
        return
    before = Path(known["model_path"] or Path(known["out_dir"], "best.pt"))
    if before.exists() and resume.are_alike(known, checkpoint.load(before).options or {}):  # else another run is there by now
        atomic.write_bytes(run.paths.best, before.read_bytes())
        return
    what = f"{run.paths.best}, of step {run.progress.best['step']}, is not there"
    if record.is_over(run):
        raise ValueError(f"{what}, and nothing is left to be trained; put it back, or give a larger --max-epoch")
    print(f"note: {what}: the best of what follows is kept")
    run.progress = replace(run.progress, best=None)


def begin(options: Namespace, stack: ExitStack) -> Run:
    """The run that the options describe, in each of its processes; its folder is its own until the stack ends."""
    processes = stack.enter_context(joined())
    begun: list[Run] = []

    def of_first() -> tuple:
        begun.append(open_run(options, stack))
        return told(begun[0]) if processes.n > 1 else ()

    known = processes.by_first(of_first)
    with processes.together():
        run = begun[0] if begun else join(*known)
    if (idle := processes.n - run.options.batch_size) > 0:
        what = f"of {processes.n} processes {idle} have no video in a batch of --batch-size {run.options.batch_size}"
        processes.by_first(lambda: print(f"note: {what}"))
    return replace(run, processes=processes)


def told(run: Run) -> tuple[Namespace, Data, Paths, bytes]:
    """All that the other processes need to know of a run that the first has begun; the last, as `last.pt` has it."""
    content = io.BytesIO()
    torch.save(record.content_of(run, run.progress), content)
    return run.options, run.data, run.paths, content.getvalue()


def join(options: Namespace, data: Data, paths: Paths, content: bytes) -> Run:
    """The run that another process has begun, as it was `told`."""
    known = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    lshma = model.build(options)
    lshma.load_state_dict(known["model"])
    run = assemble(lshma, options, data, paths, choose_device(options.device))
    record.restore(run, known, str(paths.last))
    return run


def assemble(lshma: LSHMA, options: Namespace, data: Data, paths: Paths, device: torch.device) -> Run:
    """A run at its beginning, with these weights."""
    make_trainable(lshma, options, device)
    optimizer = make_optimizer(lshma, options)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, options.scheduler_milestones, options.scheduler_rate)
    return Run(lshma, optimizer, scheduler, options, data, paths, device, make_average(lshma, options))


def open_run(options: Namespace, stack: ExitStack) -> Run:
    """The run, new or gone on with, its files opened."""
    loaded = resume.begin(options)
    device = choose_device(options.device)  # of a run that goes on, its own
    content = loaded.run if loaded else None  # None: a new run, from fresh weights or the authors'
    check_needs(options)
    replaced = stack.enter_context(folder.reserved(options))
    resume.check_paths(options, content, replaced)
    resolve_variant(options)
    note_unused(options)
    torch.manual_seed(options.seed)
    lshma = model.build(options)
    if loaded:
        checkpoint.load_weights(lshma, loaded, options)
    data = read_data(options)
    options.features = origin.origin_of(video.path for video in (*data.train, *data.validation, *data.test))
    if content:
        resume.require_same(options, data.digests, content)
    stack.enter_context(SIGNALS)
    with SIGNALS.delayed():  # from the claim of its folder to its first checkpoint nothing stops a run
        paths = resume.paths_of(options, content, Path(options.out_dir)) if content else resume.claim(options, replaced)
        if not replaced:
            stack.enter_context(folder.held(paths.out_dir))
        if content and loaded.saved_at != Path(loaded.path).stat().st_mtime_ns:
            raise ValueError(f"{loaded.path}: another process has gone on with this run meanwhile; begin again")
        folder.write_options(paths.out_dir, options)
        run = assemble(lshma, options, data, paths, device)
        if content:
            record.restore(run, content, loaded.path)
            find_best(run, content["options"])
        else:
            save_first(run, replaced)
        if options.tensorboard:
            run.board = stack.enter_context(record.open_board(run))
    return run
