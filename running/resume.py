"""Going on with a run: its options, its data and its files must be those that it was begun with.

What may differ between a run and its resumption is in `FREE`: lists and features may move, their content may not change.
"""

import hashlib
import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from files import checkpoint, folder
from files.checkpoint import Checkpoint
from files.videos import Video
from option import ADDED, MODEL, flag_of
from running.loading import take_options

FREE = {
    *("given", "use_checkpoint", "checkpoint_path", "model_path", "out_dir", "max_epoch", "save_minutes", "workers", "device"),
    *("patience", "tensorboard", "overwrite", "features", "allow_other_features"),
    *("fps", "false_alarms", "report", "allow_test_in_training", "feature_root", "train_list", "test_list", "gt_path"),
}
OUTPUTS = ("options.json", "results.json", "log.jsonl", "scores.npz", "training.png")
# of a command line alone, never taken from a checkpoint
OWN = {"given", "use_checkpoint", "checkpoint_path", "out_dir", "overwrite"}


def begin(options: Namespace) -> Checkpoint | None:
    """Read the checkpoint that the options go on or start from, if any; its options are taken where the command line gave none.

    Raises ValueError where it holds weights alone and is ours: then there is a last.pt to go on from.
    """
    if not options.use_checkpoint:
        return None
    if options.overwrite:
        raise ValueError("--overwrite begins a new run in place of another, --use-checkpoint keeps one; leave one of them out")
    if options.checkpoint_path is None:
        raise ValueError("--use-checkpoint needs --checkpoint-path: the last.pt of the run to go on with")
    loaded = checkpoint.load(options.checkpoint_path)
    if loaded.options is not None and loaded.run is None:
        raise ValueError(f"{loaded.path} holds the best weights alone; go on from the last.pt of its run")
    take_options(options, loaded, (set(vars(options)) - OWN) & {*MODEL, *(loaded.options or ())})
    return loaded


def digests(train: Sequence[Video], test: Sequence[Video], truth: np.ndarray) -> dict[str, str]:
    """Checksums of what the lists say, of the features and of the ground truth; where the files lie does not count."""

    def of(videos: Sequence[Video]) -> str:
        rows = [(video.path.name, video.label, video.n_frames, video.checksum) for video in videos]
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    found = {"--train-list": of(train), "--test-list": of(test), "--gt-path": hashlib.sha256(truth.tobytes()).hexdigest()}
    return found | {"--crops": of([crop for video in test for crop in video.others])}


def require_same(options: Namespace, digests_now: dict[str, str], content: dict) -> None:
    """Raise ValueError where options or data are not those that the run was begun with."""
    path, begun_with = options.checkpoint_path, ADDED | content["options"]
    for name in sorted(vars(options).keys() - FREE):
        value = begun_with.get(name, getattr(options, name))  # a flag that is newer than the run
        if getattr(options, name) != value:
            flag = flag_of(name if name in options.given or "variant" not in options.given else "variant")
            begun = f"the run was begun with {flag_of(name)} {value}, not {getattr(options, name)}"
            raise ValueError(f"{path}: {begun}; leave {flag} out")
    known = {"--crops": digests_now["--crops"]} | content["digests"]  # older runs say nothing of them
    for flag, value in digests_now.items():
        if known.get(flag) != value:
            changed = getattr(options, flag[2:].replace("-", "_"))
            raise ValueError(
                f"{flag} {changed} or its files have changed since {path} was saved; restore them, or begin a new run"
            )


class Paths(NamedTuple):
    """Where a run writes."""

    out_dir: Path
    last: Path
    best: Path


def paths_of(options: Namespace, content: dict | None, out_dir: Path, replaced: bool = False) -> Paths:
    """Where the run writes; content is the checkpoint's that it goes on from, None of a new run.

    replaced: whether an earlier run in out_dir makes room for it; its checkpoints that lie elsewhere do not.

    Raises ValueError where a new run would replace an earlier one's files, or a run its own.
    """
    last, best = out_dir / "last.pt", Path(options.model_path or out_dir / "best.pt")
    if options.checkpoint_path is not None and (content is not None or not options.use_checkpoint):
        last = Path(options.checkpoint_path)
    if last.resolve() == best.resolve():
        raise ValueError(f"{last} is where the best weights go: go on from last.pt, or name another file")
    if content is None:
        making_room = folder.left_by_run(out_dir) if replaced else []
        there = [path for path in (last, best) if path.exists() and path not in making_room]
        if there:
            raise ValueError(
                f"{there[0]} is there already: go on with its run (--use-checkpoint --checkpoint-path its last.pt), or "
                "name another file, or another --out-dir, or replace the run in that one (--overwrite)"
            )
    return Paths(out_dir, last, best)


def check_paths(options: Namespace, content: dict | None, replaced: bool = False) -> None:
    """Show, before anything is read, that a run's files can be written, and that none is another run's; take its folder's name.

    Raises ValueError or OSError.
    """
    if content is not None:
        options.out_dir = str(out_dir_of(options, content))
    out_dir = Path(options.out_dir or f"runs/{folder.NEW}")  # without --out-dir the name comes when it is claimed
    paths = paths_of(options, content, out_dir, replaced)
    if content is None and not replaced:
        folder.require_free(options.out_dir)
    files = [*(out_dir / name for name in OUTPUTS), paths.last, paths.best]
    folder.require_writable([path for path in files if options.out_dir or path.parent != out_dir])
    boards = out_dir / "tensorboard"
    if options.tensorboard and boards.is_symlink():
        raise ValueError(f"{boards} is a link, and the events it leads to would be replaced; move it, or pass --no-tensorboard")
    if content is None and not replaced:
        events = boards.glob("events.out.tfevents.*") if options.tensorboard else ()
        folder.require_new([*(out_dir / name for name in OUTPUTS), *events])


def claim(options: Namespace, replaced: bool = False) -> Paths:
    """The paths of a new run: its folder, and checkpoints that lie elsewhere, are taken, so that no other run can have them.

    Raises ValueError where another run was first, OSError where they cannot be written.
    """
    out_dir = folder.claim(options, replaced)
    paths = paths_of(options, None, out_dir)
    for path in (paths.last, paths.best):
        if path.parent != out_dir:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                raise ValueError(f"{path} is another run's, which has just begun; name another file") from None
    return paths


def out_dir_of(options: Namespace, content: dict) -> Path:
    """The folder of the run that goes on: the checkpoint's, unless that lies elsewhere. Raises ValueError for another one."""
    beside, own = Path(options.checkpoint_path).parent, Path(content["options"]["out_dir"])
    if (beside / "options.json").exists():
        own = beside if is_of(content["options"], beside) else own
    elif options.out_dir is not None and Path(options.out_dir).resolve() == beside.resolve():
        return beside  # nothing else is left of the run
    if not ((own / "options.json").exists() and is_of(content["options"], own)):
        what = f"the run's folder, {own}, is not there, or holds another run" if own != beside else f"{own} is not its run's"
        remedy = f"put it beside its run's other files, or alone into a folder, and name that with --out-dir {beside}"
        raise ValueError(f"{options.checkpoint_path}: {what}; {remedy}")
    if options.out_dir is not None and Path(options.out_dir).resolve() != own.resolve():
        raise ValueError(f"--out-dir {options.out_dir}: the run goes on in its own folder, {own}; leave --out-dir out")
    return own


def is_of(options: Mapping, out_dir: Path) -> bool:
    """Whether a run's folder is that of the run which has these options; one whose own cannot be read is taken to be."""
    try:
        there = folder.read_options(out_dir)
    except ValueError:
        return True
    return are_alike(options, there)


def are_alike(options: Mapping, others: Mapping) -> bool:
    """Whether these are the options of one run, wherever it is and however far it goes."""
    one, other = (json.loads(json.dumps(dict(of))) for of in (options, others))
    return all(other.get(name) == value for name, value in one.items() if name not in FREE)
