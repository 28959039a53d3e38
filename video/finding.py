"""The videos that a person means: files, and folders of them, each with a name of its own."""

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from files.layouts import files_below, require_printable
from files.lists import several
from files.names import is_hidden, video_name

ENDINGS = frozenset(
    {"3gp", "asf", "avi", "flv", "gif", "h264", "h265", "hevc", "ivf", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg"}
    | {"mpg4", "mts", "mxf", "ogv", "rm", "ts", "vob", "webm", "wmv", "y4m"}
)
BEGINNING = 2**16  # bytes, by which files of the same size are told apart
LONGEST = 230  # bytes of a video's name, so that its files can be written under a temporary name too


class Found(NamedTuple):
    """A video file, and the folder below its source that it lies in."""

    name: str
    path: Path
    folder: Path  # relative; "." where the source is the file itself, or its folder

    def state(self) -> tuple[int, int] | None:
        """What changes when its file does: the time of its last change in nanoseconds, its size; None where it is gone."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def fingerprint(self) -> str | None:
        """The same for the same file wherever it lies: its size and a digest of how it begins; None where it is gone."""
        try:
            with self.path.open("rb") as file:
                return f"{os.fstat(file.fileno()).st_size} {hashlib.sha256(file.read(BEGINNING)).hexdigest()[:16]}"
        except OSError:
            return None


def is_video(path: Path) -> bool:
    return path.suffix.lower().removeprefix(".") in ENDINGS


def is_features(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


def find(sources: Sequence[str], spared: Path | None = None) -> list[Found]:
    """The videos of all sources: a file as it is, of a folder all files below it with a video's ending. Says what is left out,
    but not what lies in the folder `spared`, where results go. A file that is met twice counts once. In a folder a link to
    nothing that has a video's ending is a video: it fails when it is read, as any that cannot be.

    Raises FileNotFoundError where a source is not there or a folder has no videos, OSError where one cannot be read, ValueError
    where two have one name, or a name of which no file can be named.
    """
    found, other = [], []
    for source in sources:
        path = Path(source)
        if not source:
            raise ValueError("a source is empty: name a video or a folder; . is the one you are in")
        if os.path.isdir(path):  # of what cannot be looked at the next tells
            below = [file for file in sorted(files_below(path)) if not is_hidden(file) or is_video(file)]
            here = [file for file in below if is_video(file) and not is_hidden(file)]
            if not here:
                features = "; predict.py scores the features in it" if any(map(is_features, below)) else ""
                raise FileNotFoundError(f"{path}: no videos in it (endings {', '.join(sorted(ENDINGS))}){features}")
            ours = spared and spared.absolute()
            other += [str(file) for file in sorted({*below} - {*here}) if not (ours and file.absolute().is_relative_to(ours))]
            found += [Found(video_name(file), file, file.parent.relative_to(path)) for file in here]
        else:
            require_file(path)
            if is_features(path):
                raise ValueError(f"{path}: features, and a video is expected; predict.py scores features")
            found.append(Found(video_name(path), path, Path()))
    if other:
        why = "since they are hidden, or have no ending of a video"
        print(several(f"{len(other)} files are left out, {why}", other), file=sys.stderr)
    return distinct(found)


def require_file(path: Path) -> None:
    """Raise FileNotFoundError, ValueError or OSError where this is no file, or none that can be looked at."""
    try:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        if not path.is_file():
            raise ValueError(f"{path}: neither a file nor a folder; name a video, or a folder of them")
    except PermissionError as error:
        raise OSError(f"{path}: cannot be looked at ({error.strerror}); mend that, or leave it out") from error


def distinct(found: Sequence[Found]) -> list[Found]:
    """These videos, a file that is met twice once. Raises ValueError as `find` says."""
    require_printable(video.path for video in found)
    first: dict[str, Found] = {}
    for video in found:
        if len(os.fsencode(video.name)) > LONGEST:
            raise ValueError(
                f"{video.path}: expected a name of {LONGEST} bytes at most, of which files can be named; rename it"
            )
        there = first.setdefault(video.name.casefold(), video)
        if os.path.realpath(there.path) != os.path.realpath(video.path):
            raise ValueError(f"{video.path} and {there.path} are both called {video.name}; rename one: results go by the name")
    return list(first.values())


def of_run(features: Path) -> bool:
    """Whether an earlier predict.py has made these features, of videos."""
    return any(folder.name == "features" and (folder.parent / "options.json").is_file() for folder in features.parents)


def split(sources: Sequence[str]) -> tuple[list[str], list[str]]:
    """The sources that are videos, or folders of them, and all others. Raises ValueError of a folder that has features too."""
    videos, others = [], []
    for source in sources:
        path = Path(source)
        below = [file for file in files_below(path) if not is_hidden(file)] if os.path.isdir(path) else [path]
        of_video = any(map(is_video, below))
        if of_video and (features := next((file for file in below if is_features(file) and not of_run(file)), None)):
            raise ValueError(f"{path}: it holds videos and, as {features}, features; name the ones or the others")
        (videos if of_video else others).append(source)
    return videos, others
