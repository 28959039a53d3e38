"""What a person asks to have watched: files, folders, webcams, addresses and lists of cameras, each with a name of its own."""

import csv
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from video.address import masked
from video.finding import find

KINDS = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "srt", "rtp")
ADDRESS = re.compile(rf"({'|'.join(KINDS)})://", re.I)
WEBCAM = re.compile(r"(/dev/video)?[0-9]+")
KNOWN = ", ".join(f"{kind}://" for kind in KINDS)
INDEX = "put the index first (ffmpeg -i IN -c copy -movflags +faststart OUT), or watch a copy of it here"
LONGEST = 200  # letters of a camera's name


class Camera(NamedTuple):
    """A source of frames."""

    name: str
    source: str  # as FFmpeg opens it; with its password, if it has one: never printed
    live: bool

    @property
    def shown(self) -> str:
        """The source as it may be printed."""
        return masked(self.source)

    def explained(self, why: str) -> str:
        """Why it has failed, with the remedy where FFmpeg's words hide it."""
        if self.source.startswith("http") and "no frames (Input/output error" in why:
            return f"{why}: if it is an MP4 whose index is at its end, and the server gives no parts of a file, {INDEX}"
        return why


def cameras_of(sources: Sequence[str]) -> list[Camera]:
    """The cameras of all sources. Raises FileNotFoundError where a source is none, ValueError where a name is there twice."""
    cameras: list[Camera] = []
    files: list[str] = []
    for source in sources:
        if ADDRESS.match(source):
            kind, rest = source.split(":", 1)  # FFmpeg knows no HTTP://
            cameras.append(Camera(name_of(source), f"{kind.lower()}:{rest}", True))
        elif "://" in source:  # what is taken for a file is shown as it is
            raise ValueError(f"{masked(source)}: no address of a known kind: {KNOWN}")
        elif WEBCAM.fullmatch(source) and not Path(source).is_file():
            number = source.removeprefix("/dev/video")
            cameras.append(Camera(f"webcam{number}", f"/dev/video{number}", True))
        elif not (source and os.path.exists(source)):  # maybe an address with a slip in it
            raise FileNotFoundError(f"{slip(source)}: no such file or folder, nor an address of a known kind: {KNOWN}")
        elif is_list(source):
            cameras += read_cameras(Path(source))
        else:
            files.append(source)
    cameras += [Camera(video.name, str(video.path), False) for video in find(files)] if files else []
    require_names(cameras)
    return cameras


def require_names(cameras: Sequence[Camera]) -> None:
    """Raise ValueError where two of them have the same name."""
    seen: dict[str, Camera] = {}
    for camera in cameras:
        there = seen.setdefault(camera.name.casefold(), camera)
        if there is not camera:
            what = f"{there.shown} and {camera.shown} are both called {camera.name}"
            raise ValueError(f"{what}; give each a name of its own, in a CSV file name,source")


class Sources:
    """What a watch is asked to watch: all its sources, and of those that are lists what they say now."""

    def __init__(self, sources: Sequence[str]):
        """Raises as cameras_of."""
        self.lists = [source for source in sources if is_list(source)]
        self.stamps = self.seen = self.stamped()  # of what was read, and at the last look
        others = [source for source in sources if not is_list(source)]
        self.others = cameras_of(others) if others else []
        self.cameras = self.now()

    def stamped(self) -> list[tuple[int, int] | None]:
        found = [os.stat(path) if os.path.exists(path) else None for path in self.lists]
        return [of and (of.st_mtime_ns, of.st_size) for of in found]

    def edited(self) -> list[Camera] | None:
        """All cameras, where a list was edited before the last call, and not since, else None. Raises as cameras_of, once."""
        written, self.seen = self.seen, self.stamped()
        if self.seen == self.stamps or self.seen != written:  # as before, or perhaps half written
            return None
        self.stamps = self.seen
        return self.now()

    def now(self) -> list[Camera]:
        """All cameras, the lists read now. Raises as cameras_of."""
        cameras = [*(cameras_of(self.lists) if self.lists else ()), *self.others]
        require_names(cameras)
        return cameras


def is_list(source: str) -> bool:
    return not ADDRESS.match(source) and source.lower().endswith(".csv")


def slip(source: str) -> str:
    """What may be shown of a source that is none: an address without its `//` may hold a password too."""
    return re.sub(r"(?s)^.*@", "***@", masked(f"://{source}").removeprefix("://")) or "''"


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
            found = list(rows.fieldnames or ())
            if [found.count(name) for name in ("name", "source")] != [1, 1]:
                raise ValueError(f"{path}, line 1: expected the header name,source, found {slip(','.join(found))}")
            cameras = []
            for row in rows:
                try:
                    cameras.append(camera_of(row))
                except ValueError as error:
                    raise ValueError(f"{path}, line {rows.line_num}: {error}") from None
                except FileNotFoundError as error:
                    raise FileNotFoundError(f"{path}, line {rows.line_num}: {error}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 with the header name,source ({error})") from error
    if not cameras:
        raise ValueError(f"{path}: no cameras under the header")
    return cameras


def camera_of(row: Mapping[str | None, str | None]) -> Camera:
    """The camera of a list's row. Raises FileNotFoundError or ValueError."""
    name, source = (row["name"] or "").strip(), (row["source"] or "").strip()
    if not name or not source:
        raise ValueError("expected a name and a source")
    if None in row:
        raise ValueError("more values than the header has; put one that holds a comma in double quotes")
    if "://" in name:  # maybe with its password
        raise ValueError("the name is an address, and names are shown everywhere; choose another one")
    if not name.isprintable() or len(name) > LONGEST:
        raise ValueError(f"expected a name of at most {LONGEST} printable characters, found {name[:LONGEST]!a}")
    cameras = [] if source.lower().endswith(".csv") else cameras_of([source])
    if len(cameras) != 1:
        what = f"a folder of {len(cameras)} videos" if cameras else "another list"
        raise ValueError(f"expected one file, webcam or address, found {what}, {slip(source)}")
    return cameras[0]._replace(name=name)
