"""A video's name, made here alone: of features, annotations, frame counts, lists and scores."""

import re
import unicodedata
from pathlib import PurePath

N_CROPS = 10
FILES = "npy|npz|pt|pth|mp4|avi|mkv|mov|webm|m4v|mpg|mpeg|mpg4|wmv|flv|ts|mts|m2ts|3gp|ogv|vob|asf"
ENDINGS = re.compile(rf"(?<=.)(\.({FILES})|_i3d)$", re.I)  # I3D sets put _i3d behind a video's name
CROP = re.compile(r"(?<=.)__([0-9])$")  # one digit: `cam1__20240101` is a name


def composed(text: str) -> str:
    """The text in composed Unicode (NFC): of ü there are two ways to write it, and macOS has the other one."""
    return unicodedata.normalize("NFC", text)


def name_and_crop(path: str | PurePath) -> tuple[str, int | None]:
    """`Abuse/Abuse001_x264.mp4__5.npy` -> ("Abuse001_x264", 5): without folder, endings and crop, in composed Unicode (NFC).

    The crop is None where the file's name says none.
    """
    name = without_endings(composed(str(path)).replace("\\", "/").rstrip("/").rpartition("/")[2])
    crop = CROP.search(name)
    return (without_endings(name[: crop.start()]), int(crop[1])) if crop else (name, None)


def video_name(path: str | PurePath) -> str:
    """The name of `name_and_crop`."""
    return name_and_crop(path)[0]


def without_endings(name: str) -> str:
    """`cam1.MP4.npy` -> `cam1`, but `Bad.Boys.1995` as it is."""
    while ENDINGS.search(name):
        name = ENDINGS.sub("", name)
    return name


def is_hidden(path: PurePath) -> bool:
    """Whether a file is not data but what a system left beside it: `._name` of macOS, `.name.tmp`."""
    return path.name.startswith(".")
