"""Going on with a run: its options, its data and its files must be those that it was begun with.

What may differ between a run and its resumption is in `FREE`: lists and features may move, their content may not change.
"""

import hashlib
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from files import checkpoint
from files.videos import Video
from option import adopt

FREE = {
    *("given", "use_checkpoint", "checkpoint_path", "model_path", "out_dir", "max_epoch", "save_minutes", "workers", "device"),
    *("fps", "false_alarms", "report"),
    *("feature_root", "train_list", "test_list", "gt_path"),
}
OWN = {"given", "use_checkpoint", "checkpoint_path", "out_dir"}  # of a command line alone, never taken from a checkpoint


class Start(NamedTuple):
    """What a run begins from."""

    weights: dict[str, Tensor] | None  # None = fresh ones
    content: dict | None  # of our checkpoint that it goes on from; None = it is a new run


def begin(options: Namespace) -> Start:
    """Read the checkpoint that the options name, if any, and take its options where the command line gave none."""
    path = options.checkpoint_path
    if not options.use_checkpoint:
        return Start(None, None)
    if path is None:
        raise ValueError("--use-checkpoint needs --checkpoint-path: the last.pt of the run to go on with")
    content = checkpoint.load(path)
    weights, trained = checkpoint.weights_of(content, path)
    adopt(options, trained, set() if trained is None else set(vars(options)) - OWN, path)
    return Start(weights, content if checkpoint.is_ours(content) else None)


def digests(train: Sequence[Video], test: Sequence[Video], truth: np.ndarray) -> dict[str, str]:
    """Checksums of what the lists say, of the features and of the ground truth; where the files lie does not count."""

    def of(videos: Sequence[Video]) -> str:
        rows = [(video.path.name, video.label, video.n_frames, video.checksum) for video in videos]
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    return {"--train-list": of(train), "--test-list": of(test), "--gt-path": hashlib.sha256(truth.tobytes()).hexdigest()}


def require_same(options: Namespace, found: dict[str, str], content: dict) -> None:
    """Raise ValueError where options or data are not those that the run was begun with."""
    path = options.checkpoint_path
    for name in sorted(vars(options).keys() - FREE):
        value = content["options"][name]
        if getattr(options, name) != value:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{path}: the run was begun with {flag} {value}, not {getattr(options, name)}; leave {flag} out")
    for flag, value in found.items():
        if content["digests"].get(flag) != value:
            changed = getattr(options, flag[2:].replace("-", "_"))
            raise ValueError(
                f"{flag} {changed} or its files have changed since {path} was saved; restore them, or begin a new run"
            )


class Paths(NamedTuple):
    """Where a run writes."""

    out_dir: Path
    last: Path
    best: Path


def paths_of(options: Namespace, content: dict | None, out_dir: Path) -> Paths:
    """Where the run writes. Raises ValueError where a new run would replace an earlier one's files, or a run its own."""
    last, best = out_dir / "last.pt", Path(options.model_path or out_dir / "best.pt")
    if options.checkpoint_path is not None and (content is not None or not options.use_checkpoint):
        last = Path(options.checkpoint_path)
    if last.resolve() == best.resolve():
        raise ValueError(f"{last} is where the best weights go: go on from last.pt, or name another file")
    if content is None:
        there = [path for path in (last, best, out_dir / "log.jsonl") if path.exists()]
        if there:
            raise ValueError(
                f"{there[0]} is there already: go on with that run (--use-checkpoint --checkpoint-path {out_dir / 'last.pt'}), "
                "or choose another --out-dir"
            )
    return Paths(out_dir, last, best)


def out_dir_of(options: Namespace, content: dict) -> Path:
    """The folder of the run that goes on: the checkpoint's, unless that lies elsewhere. Raises ValueError for another one."""
    beside = Path(options.checkpoint_path).parent
    found = beside if (beside / "options.json").exists() else Path(content["options"]["out_dir"])
    if options.out_dir is not None and Path(options.out_dir).resolve() != found.resolve():
        raise ValueError(f"--out-dir {options.out_dir}: the run goes on in its own folder, {found}; leave --out-dir out")
    return found
