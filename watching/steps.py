"""A camera's scores as the steps of a drawing: no holes between snippets that follow one another, a few thousand at most.

Shapes: n steps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from files.features import FRAMES_PER_SNIPPET
from watching.journal import Journal, Row, Stream

MOST_STEPS = 3000  # of a camera's drawing: above, several snippets share one
LONGEST_STEP = 3.0  # snippets from one's start to the next one's: more is a gap


class Curves(NamedTuple):
    """What is drawn of a camera, (n,) each; of snippets that share a step the largest."""

    starts: np.ndarray  # as `ends`, seconds since the first score
    ends: np.ndarray
    scores: np.ndarray
    logits: np.ndarray
    exit_layer: np.ndarray
    key: np.ndarray


def curves_of(journal: Journal, streams: Sequence[Stream], *, live: bool) -> tuple[float, int, Curves | None]:
    """When a camera's scores begin, how many there are, and what is drawn of them."""
    parts = [rows for stream in streams if len((rows := journal.scores(stream.camera, stream.id)).score)]
    if not parts:
        return 0.0, 0, None
    rows = Row(*(np.concatenate(of) for of in zip(*parts, strict=True)))
    order = np.argsort(rows.wall if live else rows.time, kind="stable")
    rows = Row(*(of[order] for of in rows))
    starts = rows.wall if live else rows.time
    steps = np.diff(rows.time)
    fps = streams[-1].fps or 30.0
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else FRAMES_PER_SNIPPET / fps
    ends = starts + step
    following = np.diff(starts) <= max(1.0, LONGEST_STEP * step)  # live snippets may come in bursts
    ends[:-1] = np.where(following, starts[1:], ends[:-1])
    length = (streams[-1].frames or 0) / fps
    if not live and starts[-1] < length < ends[-1]:
        ends[-1] = length
    began = float(starts[0])
    of_all = Curves(starts - began, ends - began, rows.score, rows.logit, rows.exit_layer, rows.key)
    return began, len(starts), thinned(of_all)


def thinned(curves: Curves) -> Curves:
    """About MOST_STEPS steps at most, none across a gap."""
    n = len(curves.starts)
    place = np.arange(n) // -(-n // MOST_STEPS)
    new = np.append(True, (np.diff(place) > 0) | (curves.starts[1:] != curves.ends[:-1]))
    first = np.flatnonzero(new)
    last = np.append(first[1:], n) - 1
    times = (np.round(of, 2) for of in (curves.starts[first], curves.ends[last]))
    return Curves(*times, *(np.maximum.reduceat(of, first) for of in curves[2:]))
