"""The folder that features are extracted into: made in one way, written a whole video at a time, gone on with later.

Shapes: C crops, L snippets of one video, D width.
"""

import csv
import io
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from files import atomic, folder, origin
from video.encoders import Encoder
from video.finding import Found
from video.pictures import CROP, SIZE
from video.snippets import places_of

COLUMNS = ("video", "frames", "fps", "seconds", "width", "height")


class Facts(NamedTuple):
    """What is known of a video when it is decoded: a row of frames.csv, and what was wrong with it."""

    n_frames: int
    fps: float
    seconds: float
    width: int
    height: int
    remark: str  # "" where nothing is missing


def origin_of(options: Namespace, encoder: Encoder) -> origin.Origin:
    """How these options make features, as extract.json says it."""
    by_time = {"fps": options.fps} if options.by == "time" else {"fps": None}
    rule = {"rule": options.rule, "frames_per_snippet": len(places_of(options.rule, options.frames_per_snippet))}
    what = {"format": origin.FORMAT, "encoder": encoder.name, "weights": encoder.digest, "width": encoder.width}
    return what | rule | {"by": options.by, **by_time, "resize": list(SIZE), "crop": CROP, "crops": options.crops}


class Folder:
    """The folder of features: what is in it was made in one way, and its frames.csv names the videos that are done."""

    def __init__(self, path: Path, made: origin.Origin):
        self.path, self.made = path, made
        self.rows: dict[str, list[str]] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """For this process alone. Raises ValueError where its features were made in another way, or another one is at it."""
        there = self.path / origin.NAME
        folder.require_writable([there], "--out")
        if there.exists():
            known = origin.read(there)
            wrong = origin.differences(self.made, known)
            if known["crops"] != self.made["crops"]:
                wrong = "; ".join(filter(None, [wrong, f"crops {self.made['crops']}, not {known['crops']}"]))
            if wrong:
                raise ValueError(f"{there}: the features there were made in another way ({wrong}); choose another --out")
        elif any(self.path.rglob("*.npy")):
            raise ValueError(f"{self.path} holds features that nothing says the origin of; choose another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        with folder.held(self.path):
            if not there.exists():
                atomic.write_text(there, folder.to_json(self.made))
            self.read_rows()
            yield

    def read_rows(self) -> None:
        path = self.path / "frames.csv"
        if path.exists():
            header, *rows = csv.reader(io.StringIO(path.read_text())) or [[]]
            if tuple(header) != COLUMNS:
                raise ValueError(f"{path}: expected the header {','.join(COLUMNS)}; delete it to extract all videos again")
            self.rows = {row[0]: row for row in rows}

    def files(self, video: Found) -> list[Path]:
        return [self.path / video.folder / f"{video.name}__{crop}.npy" for crop in range(self.made["crops"])]

    def has(self, video: Found) -> bool:
        """Whether a video is done, and its file no newer than its features."""
        files = self.files(video)
        if video.name not in self.rows or not all(file.is_file() for file in files):
            return False
        return min(file.stat().st_mtime for file in files) >= video.path.stat().st_mtime

    def add(self, video: Found, features: np.ndarray, facts: Facts) -> None:
        """Write a video's (C, L, D) features, and after them its row. Raises OSError."""
        files = self.files(video)
        files[0].parent.mkdir(parents=True, exist_ok=True)
        for file, of_crop in zip(files, features, strict=True):
            with atomic.replacing(file) as out:
                np.save(out, of_crop)
        plain = (facts.n_frames, f"{facts.fps:.6g}", f"{facts.seconds:.3f}", facts.width, facts.height)
        self.rows[video.name] = [video.name, *map(str, plain)]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *self.rows.values()])
        atomic.write_text(self.path / "frames.csv", text.getvalue())
