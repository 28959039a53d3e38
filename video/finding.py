"""The videos that a person means: files, and folders of them, each with a name of its own."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from files.lists import several
from files.names import is_hidden, video_name

ENDINGS = frozenset(
    {"3gp", "asf", "avi", "flv", "gif", "h264", "h265", "hevc", "ivf", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg"}
    | {"mpg4", "mts", "mxf", "ogv", "rm", "ts", "vob", "webm", "wmv", "y4m"}
)


class Found(NamedTuple):
    """A video file, and the folder below its source that it lies in."""

    name: str
    path: Path
    folder: Path  # relative; "." where the source is the file itself, or its folder


def is_video(path: Path) -> bool:
    return path.suffix.lower().removeprefix(".") in ENDINGS


def find(sources: Sequence[str]) -> list[Found]:
    """The videos of all sources: a file as it is, of a folder all files below it with a video's ending. Says what is left out.

    Raises FileNotFoundError where a source is not there or a folder has no videos, ValueError where two have one name.
    """
    found, other = [], []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            below = [Path(folder, name) for folder, _, names in os.walk(path, followlinks=True) for name in names]
            below = [file for file in sorted(below) if not is_hidden(file)]
            videos = [file for file in below if is_video(file) and file.is_file()]
            if not videos:
                raise FileNotFoundError(f"{path}: no videos in it (endings {', '.join(sorted(ENDINGS))})")
            other += [str(file) for file in below if file not in videos]
            found += [Found(video_name(file), file, file.parent.relative_to(path)) for file in videos]
        elif path.is_file():
            found.append(Found(video_name(path), path, Path()))
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
    if other:
        print(several(f"{len(other)} files are left out, since they have no ending of a video", other), file=sys.stderr)
    first: dict[str, Path] = {}
    for video in found:
        there = first.setdefault(video.name.casefold(), video.path)
        if there is not video.path:
            raise ValueError(f"{video.path} and {there} are both called {video.name}; rename one: features go by the name")
    return found
