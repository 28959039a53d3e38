"""One run of a grid: a process of its own, finished once or gone on with."""

import fcntl
import json
import re
import shlex
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import option
from experiments.rows import differing
from files import atomic
from files.folder import left_by_run, read_json, read_options

HERE = Path(__file__).resolve().parents[1]


class Row(NamedTuple):
    """One line of the table: a row of ROWS with each varied option at one of its values."""

    base: str
    changes: dict[str, str]


class Cell(NamedTuple):
    """One run: a training, or a test."""

    name: str
    script: str
    row: Row
    tuning: dict[str, str]
    seed: int
    flags: list[str]
    folder: Path

    def read(self, name: str) -> dict:
        """A JSON file of its folder. Raises ValueError where it is missing or damaged."""
        return read_json(self.folder / name, f"delete {self.folder} to run it again")

    def is_done(self) -> bool:
        """Whether it has been run to its end. Raises ValueError where its folder holds another run."""
        if not (self.folder / "cell.json").exists():
            return False
        before = self.read("cell.json")
        if [before["script"], before["flags"]] != [self.script, self.flags]:
            raise ValueError(
                f"{self.folder} holds a run of {before['script']}.py with other flags ({before['flags']}), not "
                f"{self.script}.py {shlex.join(self.flags)}; choose another --out-dir"
            )
        now = self.model()
        if now and before.get("model", now) != now:
            what = "holds a test of another checkpoint than the one that lies at --model-path now"
            raise ValueError(f"{self.folder} {what}; choose another --out-dir")
        return True

    def require_alike(self, options: Namespace) -> None:
        """Raise ValueError where it has been begun with other options than these, as they stood in an option file then."""
        if not any((self.folder / name).exists() for name in ("cell.json", "last.pt")):
            return
        now = vars(options)
        if self.script.endswith("_test"):  # the others are its checkpoint's
            now = {name: now[name] for name in option.TESTING if name not in option.PAPER}
        if names := differing([read_options(self.folder), now]):
            raise ValueError(
                f"{self.folder} holds a run with another {', '.join(names)} than the command and the option file say now; "
                "choose another --out-dir, or delete it to run it again"
            )

    def model(self) -> list[int] | None:
        """What tells the checkpoint that is tested from another one in its place: its size, and when it was written."""
        path = Path(checkpoint_in(self.flags)) if self.script.endswith("_test") else Path()
        return [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else None

    def command(self) -> list[str]:
        """What runs it, or goes on with it."""
        last = self.folder / "last.pt"
        going_on = ["--use-checkpoint", "--checkpoint-path", str(last)] if last.exists() else []
        return [sys.executable, str(HERE / f"{self.script}.py"), *self.flags, "--out-dir", str(self.folder), *going_on]

    def clear(self) -> None:
        """Remove what a killed run left that cannot go on, so that the next one can claim the folder."""
        if (self.folder / "output.txt").exists() and not (self.folder / "last.pt").exists():
            for path in {*left_by_run(self.folder), *filter(Path.is_file, self.folder.iterdir())}:
                if path.name not in ("lock", "output.txt"):
                    path.unlink()

    def selected(self) -> float:
        """The metric that its weights were selected by."""
        results = self.read("results.json")
        return results["best"][results["selected_by"]]

    def summary(self) -> str:
        """`paper, lr 1e-4, seed 1: AUC 71.35, 153 s`, without the time where nobody knows it."""
        results, seconds = self.read("results.json"), self.read("cell.json")["wall_seconds"]
        auc = f"{self.name}: AUC {100 * results.get('best', results)['auc']:.2f}"
        return auc if seconds is None else f"{auc}, {seconds:.0f} s"


def run(cell: Cell, environment: Mapping[str, str], stopped: threading.Event) -> Cell:
    """Run a cell unless it is done; a training that is stopped saves. Raises ValueError with the last line of its output."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    with open(cell.folder / "lock", "w") as lock:
        acquire(lock, stopped)
        if cell.is_done():
            return cell
        cell.clear()
        command = cell.command()
        began = time.monotonic()
        with open(cell.folder / "output.txt", "a") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, env=environment, pass_fds=[lock.fileno()], start_new_session=True
            )
            try:
                while process.poll() is None and not stopped.wait(0.1):
                    pass
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        if process.returncode and stopped.is_set():
            raise KeyboardInterrupt
        if process.returncode:
            words = " ".join((cell.folder / "output.txt").read_text().strip().splitlines()[-1:])
            raise ValueError(f"{shlex.join(command)}\nended with {process.returncode}: {words} (all in {output.name})")
        seconds = None if "--use-checkpoint" in command else time.monotonic() - began  # gone on with, nobody knows in all
        done = {"script": cell.script, "flags": cell.flags, "wall_seconds": seconds, "model": cell.model()}
        atomic.write_text(cell.folder / "cell.json", json.dumps(done, indent=2) + "\n")
        (cell.folder / "last.pt").unlink(missing_ok=True)  # only needed to go on; the selected weights stay
    return cell


def checkpoint_in(flags: Sequence[str]) -> str:
    """The last --model-path among flags, given in either form; empty where there is none."""
    return ["", *re.findall(r"--model-path[\n=](.*)", "\n".join(map(option.dashed, flags)))][-1]


def acquire(lock: TextIO, stopped: threading.Event) -> None:
    """Wait for a process that outlived a killed experiment: it holds the cell's lock until it ends."""
    while not stopped.is_set():
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stopped.wait(0.5)
    raise KeyboardInterrupt
