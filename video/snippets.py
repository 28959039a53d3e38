"""Sixteen frames are a snippet: which of them are looked at, and how their vectors become the snippet's.

Nobody has published how VadCLIP made one vector of 16 frames, so it is a rule that a user chooses (RESULTS.md shows what each
does to real features). Whatever looks at a video, extraction or watching, cuts it here.

Shapes: n frames that a snippet is looked at by, D width.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from files.features import FRAMES_PER_SNIPPET
from video.decode import Frame
from video.pictures import SIZE

RULES = {
    "mean": "the mean of --frames-per-snippet frames, evenly spaced",
    "middle": "the ninth frame alone",
    "first": "the first frame alone",
}


def places_of(rule: str, n_frames: int) -> tuple[int, ...]:
    """Which of a snippet's 16 frames a rule looks at, from 0; n_frames, 1 to 16, counts for the mean alone."""
    n = {"mean": n_frames, "middle": 1}.get(rule)
    return (0,) if n is None else tuple((2 * i + 1) * FRAMES_PER_SNIPPET // (2 * n) for i in range(n))


class Snippet(NamedTuple):
    """What is looked at of up to 16 frames."""

    number: int  # from 0
    start: float  # stream time of its first frame, seconds
    n_frames: int
    pictures: np.ndarray  # (n, 256, 340, 3) uint8


def cut(frames: Iterable[Frame], places: tuple[int, ...], first: int = 0) -> Iterator[Snippet]:
    """The snippets of frames in order, numbered from `first`; the last one may have fewer than 16.

    Of a snippet that ends before any frame that the rule looks at, its last frame is looked at.
    """
    number, n, start, pictures, last = first, 0, 0.0, [], None
    for last in frames:
        start = start if n else last.time
        if n in places:
            pictures.append(last.rgb(*SIZE))
        n += 1
        if n == FRAMES_PER_SNIPPET:
            yield Snippet(number, start, n, np.stack(pictures))
            number, n, pictures = number + 1, 0, []
    if n:
        yield Snippet(number, start, n, np.stack(pictures or [last.rgb(*SIZE)]))


def vectors_of(encoded: np.ndarray) -> np.ndarray:
    """A snippet's vectors of its looked-at frames, (n, ..., D) float32, as its own, (..., D) float16, not normalised."""
    return encoded.mean(0, dtype=np.float32).astype(np.float16)
