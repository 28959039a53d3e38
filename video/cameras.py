"""What a person asks to have watched: files, folders, webcams, addresses and lists of cameras, each with a name of its own."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from video.address import masked
from video.finding import find

KINDS = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "srt", "rtp")
ADDRESS = re.compile(rf"({'|'.join(KINDS)})://", re.I)
WEBCAM = re.compile(r"(/dev/video)?[0-9]+")


class Camera(NamedTuple):
    """A source of frames."""

    name: str
    source: str  # as FFmpeg opens it; with its password, if it has one: never printed
    live: bool

    @property
    def shown(self) -> str:
        """The source as it may be printed."""
        return masked(self.source)


def cameras_of(sources: Sequence[str]) -> list[Camera]:
    """The cameras of all sources. Raises FileNotFoundError where a source is none, ValueError where a name is there twice."""
    cameras: list[Camera] = []
    files: list[str] = []
    for source in sources:
        if ADDRESS.match(source):
            cameras.append(Camera(name_of(source), source, True))
        elif "://" in source:  # what is taken for a file is shown as it is
            raise ValueError(f"{masked(source)}: no address of a known kind: {', '.join(f'{kind}://' for kind in KINDS)}")
        elif WEBCAM.fullmatch(source) and not Path(source).is_file():
            number = source.removeprefix("/dev/video")
            cameras.append(Camera(f"webcam{number}", f"/dev/video{number}", True))
        elif source.lower().endswith(".csv"):
            cameras += read_cameras(Path(source))
        else:
            files.append(source)
    cameras += [Camera(video.name, str(video.path), False) for video in find(files)] if files else []
    seen: dict[str, Camera] = {}
    for camera in cameras:
        there = seen.setdefault(camera.name.casefold(), camera)
        if there is not camera:
            what = f"{there.shown} and {camera.shown} are both called {camera.name}"
            raise ValueError(f"{what}; name them in a CSV file name,source")
    return cameras


def name_of(address: str) -> str:
    """`rtsp://me:secret@10.0.0.7:554/door?x=1` -> `10.0.0.7_554_door`"""
    bare = ADDRESS.sub("", masked(address)).rpartition("@")[2].partition("?")[0]
    return re.sub(r"[^\w.-]+", "_", bare).strip("_") or "camera"


def read_cameras(path: Path) -> list[Camera]:
    """The cameras of a CSV file name,source. Raises FileNotFoundError, or ValueError that names file and line."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of cameras")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"name", "source"} <= set(rows.fieldnames or ()):
                raise ValueError(f"{path}, line 1: expected the header name,source, found {rows.fieldnames}")
            cameras = []
            for row in rows:
                name, source = (row["name"] or "").strip(), (row["source"] or "").strip()
                if not name or not source:
                    raise ValueError(f"{path}, line {rows.line_num}: expected a name and a source")
                try:
                    (camera,) = cameras_of([source])
                except ValueError as error:
                    raise ValueError(f"{path}, line {rows.line_num}: expected one file, webcam or address ({error})") from None
                except FileNotFoundError as error:
                    raise FileNotFoundError(f"{path}, line {rows.line_num}: {error}") from None
                cameras.append(camera._replace(name=name))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 with the header name,source ({error})") from error
    if not cameras:
        raise ValueError(f"{path}: no cameras under the header")
    return cameras
