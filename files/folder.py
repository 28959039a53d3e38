"""A run's folder: it belongs to one run, whoever comes first, and says so by its `options.json`."""

import errno
import json
import shutil
import tempfile
import time
from argparse import Namespace
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from files import atomic
from files.interrupt import SIGNALS
from files.lists import few
from files.npy import NOT_NPZ
from option import FLAGS, check

FORMAT = "lshma run 1"
OF_TRAININGS = ("log.jsonl", "training.png", "last.pt", "best.pt", "tensorboard/events.out.tfevents.*")
OF_TESTS = ("model", "testing", "live")  # groups of options that are read from the folder of a run
LOCK, NEW, REPORT = ".lock", ".new", ".new-report"  # who is at work in the folder; what is to replace its files; or its report
# all that runs and report.py write into a folder: what --overwrite removes, and nothing else
FIGURES, ENDINGS = ("curves", "classes", "scores", "training", "timelines"), ("png", "pdf", "svg")
OF_REPORTS = ("report.html", "videos.csv", "snippets.csv", *(f"figures/{name}.{end}" for name in FIGURES for end in ENDINGS))
FILES = ("options.json", "results.json", "scores.npz", "timelines.png", *OF_TRAININGS, *OF_REPORTS)


def claim(options: Namespace, replaced: bool = False) -> Path:
    """Make the folder of a new run, of --out-dir or a name of its own, and write its options.json: from here on it is taken.

    replaced: whether an earlier run in it is `reserved`, and is removed. Raises ValueError where it is another run's, also of
    one that began at the same moment; OSError where it cannot be written.
    """
    if replaced:
        out_dir = Path(options.out_dir)
        clear(out_dir)
    elif options.out_dir:
        out_dir = Path(options.out_dir)
        if not take(out_dir):
            raise taken(out_dir)
    else:
        name = f"runs/{options.data_set}-{time.strftime('%Y%m%d-%H%M%S')}"
        names = (Path(name + (f"-{n}" if n > 1 else "")) for n in range(1, 10**6))
        out_dir = next(path for path in names if take(path))
    options.out_dir = str(out_dir)
    try:
        write_options(out_dir, options)
    except OSError:  # a full disk: nobody's again
        if not replaced:
            (out_dir / "options.json").unlink(missing_ok=True)
        raise
    return out_dir


def require_free(out_dir: str | Path | None, replaceable: bool = True, spared: Sequence[str] = ()) -> None:
    """Raise ValueError where this is the folder of a run; replaceable: whether the script has --overwrite, which replaces none
    with a file that is `spared`.
    """
    if out_dir and Path(out_dir, "options.json").exists():
        raise taken(out_dir, replaceable and not spared_in(Path(out_dir), spared))


def spared_in(out_dir: Path, spared: Sequence[str]) -> Path | None:
    """A file there that is `spared`, as `reserved` takes them, if there is one."""
    return next((path for name in spared for path in out_dir.glob(name)), None)


def taken(out_dir: str | Path, replaceable: bool = True) -> ValueError:
    what = f"--out-dir {out_dir} is the folder of another run (its options.json is there)"
    return ValueError(f"{what}; choose another one" + ", or replace it with --overwrite" * replaceable)


def left_by_run(out_dir: Path) -> list[Path]:
    """The files of the run whose folder this is; none where it is no run's."""
    if not (out_dir / "options.json").exists():
        return []
    found = [path for pattern in FILES for path in sorted(out_dir.glob(pattern))]
    found += [out_dir / "videos" / f"{name}.{end}" for name in names_in(out_dir / "scores.npz") for end in ("csv", *ENDINGS)]
    found = [path for path in found if path.is_symlink() or path.is_file()]
    # what a link leads to is not ours
    return [path for path in found if path.parent == out_dir or not path.parent.is_symlink()]


def names_in(path: Path) -> list[str]:
    """The names of the videos whose scores a file holds, of which a prediction has a table and a picture each; a name that
    is a path, which no prediction makes, is none.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [name for name in map(str, arrays["video"]) if Path(name).name == name and len(name.encode()) < 250]
    except NOT_NPZ:
        return []


@contextmanager
def reserved(options: Namespace, *, spared: Sequence[str] = ()) -> Iterator[bool]:
    """Hold the folder of an earlier run that --overwrite is to replace, from before any work; False where there is none.

    spared: files that show a run which is not to be replaced. Raises ValueError where it is that, or no run's, or a live
    process holds it.
    """
    out_dir = Path(options.out_dir or "")
    if not (options.overwrite and options.out_dir and (out_dir / "options.json").exists()):
        yield False
        return
    try:
        begun = out_dir / "options.json"
        if begun.stat().st_size or left_by_run(out_dir) != [begun]:  # else a run was killed as it began
            read_options(out_dir)
    except ValueError as error:
        what = f"--out-dir {out_dir}: --overwrite replaces the folder of a run, and its options.json is none's"
        raise ValueError(f"{what}; choose another one") from error
    if of_training := spared_in(out_dir, spared):
        raise ValueError(f"{of_training} is a training's, which only a training replaces; choose another --out-dir")
    with held(out_dir):
        yield True


def clear(out_dir: Path, earlier: Sequence[Path] | None = None, made: Sequence[Path] = ()) -> None:
    """Remove the files of the run in this folder, but its options.json: it stays taken. Says what goes and what is left.

    earlier: them, where others are there by now, as `made` in the folder, which may be in the place of some.
    """
    files = left_by_run(out_dir) if earlier is None else earlier
    files, made = [path for path in files if path.name != "options.json"], {*made}
    for path in files:
        if path.relative_to(out_dir) not in made:
            path.unlink()
    for room in {path.parent for path in files} - {out_dir}:
        with suppress(OSError):  # it holds something else
            room.rmdir()
    there = {path.relative_to(out_dir) for path in out_dir.rglob("*") if path.is_symlink() or not path.is_dir()}
    left = sorted({path.parts[0] for path in there - made} - {"options.json", LOCK, NEW, REPORT})
    gone = few(str(path.relative_to(out_dir)) for path in files) or "its options.json"
    print(f"replaced in {out_dir}, {len(files)} files: {gone}" + (f"; left as it was: {', '.join(left)}" if left else ""))


@contextmanager
def claimed(options: Namespace, replaced: bool = False) -> Iterator[Path]:
    """`claim` for as long as the block takes: where it fails, the folder is free again, or the earlier run's as it was.

    Yields where to write; the files are in --out-dir when the block has ended.
    """
    if replaced:
        with staged(Path(options.out_dir), replaced=True) as new:
            write_options(new, options)
            yield new
        return
    with SIGNALS.delayed():
        out_dir = claim(options)
    try:
        with held(out_dir), staged(out_dir) as new:
            yield new
    except BaseException:
        for name in ("options.json", LOCK):
            (out_dir / name).unlink(missing_ok=True)
        with suppress(OSError):  # it is gone, if it was empty
            out_dir.rmdir()
        raise


@contextmanager
def staged(out_dir: Path, replaced: bool = False, name: str = NEW) -> Iterator[Path]:
    """A folder inside this one whose files come into it, all of them, when the block ends without an error, else none.

    replaced: whether the run that is there makes room for them. name: of the folder, where a run may be writing there too.
    """
    new = out_dir / name
    shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
    new.mkdir()
    try:
        yield new
        with SIGNALS.delayed():
            earlier = left_by_run(out_dir) if replaced else []
            made = sorted(path.relative_to(new) for path in new.rglob("*") if path.is_file())
            for path in made:
                (out_dir / path).parent.mkdir(exist_ok=True)  # it may hold what no run wrote
                (new / path).replace(out_dir / path)
            if replaced:
                clear(out_dir, earlier, made)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def take(out_dir: Path) -> bool:
    """Whether the folder was free, and is taken now: one of several processes that ask at once is told so."""
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        (out_dir / "options.json").touch(exist_ok=False)
    except FileExistsError:
        if not out_dir.is_dir():
            raise OSError(f"{out_dir} is a file, and a folder is to be there; choose another --out-dir") from None
        return False
    except OSError as error:
        raise OSError(f"{out_dir} cannot be written ({error.strerror}); choose another --out-dir") from error
    return True


class Busy(ValueError):
    """Another process is at work there."""


@contextmanager
def held(out_dir: Path) -> Iterator[None]:
    """Keep other processes from going on with the run while the block lasts.

    Raises ValueError where another process does already.
    """
    require_writable([out_dir / LOCK])
    with locked(out_dir / LOCK, f"{out_dir}: another process is going on with this run"):
        atomic.sweep(out_dir)
        yield


@contextmanager
def locked(path: Path, otherwise: str) -> Iterator[None]:
    """Hold this file, made where it is not there, while the block lasts; a killed process keeps nobody off.

    Raises Busy, which says `otherwise`, where another process does. Where the system has no such locks, nobody is kept
    off.
    """
    with open(path, "ab") as file:
        try:
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise Busy(f"{otherwise}; wait for its end, or stop it") from None
        yield


def write_options(out_dir: Path, options: Namespace) -> None:
    """Write options.json, by which other scripts know the folder of a run."""
    atomic.write_text(out_dir / "options.json", to_json({"format": FORMAT} | vars(options)))


def read_options(out_dir: Path) -> dict[str, Any]:
    """The options.json of a run's folder. Raises FileNotFoundError or ValueError where it is none, or of another version."""
    path = out_dir / "options.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: not there; give the folder of a test or of a training")
    options = read_json(path)
    if not isinstance(options, dict) or options.get("format") != FORMAT:
        raise ValueError(f"{path}: not the options of a run of this version ({FORMAT}); run it again")
    try:
        check(Namespace(**{flag.name: options.get(flag.name) for group in OF_TESTS for flag in FLAGS[group]}), OF_TESTS)
    except ValueError as error:
        raise ValueError(f"{path}: {error}: damaged; copy it, or run it, again") from None
    return options


def read_json(path: Path, remedy: str = "copy it again") -> dict[str, Any]:
    """A JSON file that a run wrote. Raises ValueError where it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: missing or damaged ({error}); {remedy}") from None


def require_new(paths: Sequence[Path], earlier: Collection[Path] = ()) -> None:
    """Show that no file but an earlier run's is in the place of one that is to be written.

    Raises ValueError or OSError that names one.
    """
    ours = set(earlier)
    for path in paths:
        if path not in ours and (path.is_symlink() or path.is_file()):
            raise ValueError(f"{path} is there already, and of no run; move it away, or choose another --out-dir")
    require_writable(paths)


def require_ours(paths: Sequence[Path], mark: Path, sign: bytes, what: str, flag: str = "--out-dir") -> None:
    """Show that what lies at these paths was written together by us: that `mark` is there, with `sign` near its beginning.

    Raises ValueError that names one of them, and `what` it should be of.
    """
    there = [path for path in paths if path.exists()]
    if there and not (mark.is_file() and sign in mark.read_bytes()[:1000]):
        raise ValueError(f"{there[0]} is there already, and not of {what}; move it away, or choose another {flag}")


def require_writable(paths: Sequence[Path], flag: str = "--out-dir") -> None:
    """Show that these files can be written, in folders that can be made. Raises OSError that names one that cannot."""
    for path in paths:
        there = next(folder for folder in path.absolute().parents if folder.exists() or folder.is_symlink())
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            why = error.strerror if there.exists() else f"{there} is a link to what is not there"
            raise OSError(f"{path.parent} cannot be written ({why}); choose another {flag}") from error
        if path.is_dir():
            raise OSError(f"{path} is a folder, and a file is to be written there; choose another {flag}")


def to_json(content: object) -> str:
    """Indented JSON of plain values; sets become sorted lists."""
    return json.dumps(content, indent=2, default=sorted) + "\n"
