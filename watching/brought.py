"""What a camera brings: snippets, pictures of what has passed, where its stream begins, and what happened to it."""

from typing import NamedTuple

import numpy as np

from video.snippets import Snippet


class How(NamedTuple):
    """How frames become snippets."""

    places: tuple[int, ...]  # of 16 frames those that are looked at
    by: str  # files: frames or time
    fps: float  # files by time: frames a second
    snippet_seconds: float  # live sources: seconds of 16 frames
    forget_after: float  # live sources: after a gap of more seconds the memory is new


class Picture(NamedTuple):
    """What a person is shown of a moment."""

    time: float  # stream time, seconds
    rgb: np.ndarray  # (height, width, 3) uint8


class Taken(NamedTuple):
    """A snippet, when it was, and what a person is shown of it."""

    snippet: Snippet
    end: float  # stream time, seconds
    wall: float | None  # of its start, seconds since 1970; None = of a file
    pictures: list[Picture]


class Passed(NamedTuple):
    """What a person is shown of a snippet that is known already."""

    pictures: list[Picture]


class Begins(NamedTuple):
    """The source is open, or goes on after a gap; `anew` where its memory is to be forgotten."""

    text: str
    anew: bool
    wall: float  # seconds since 1970
    facts: dict | None = None  # of the stream: fps, width, height, frames; None after a gap


class Happened(NamedTuple):
    """Something that a person may want to know."""

    kind: str  # a word: opened, gap, lost, failed, damaged, dropped, anew, gone, ...
    text: str
