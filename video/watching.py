"""The engine of watch.py: what all cameras bring is encoded together, ready clips take one step of the model, and alarms follow.

Whatever cameras are beside it and in whatever order snippets come, a file's scores are those of the same file extracted and
tested with `--smooth causal`. All that a turn brings is written in one transaction before it is announced; killed at any moment,
a watch goes on from the last one.

Shapes: n new snippets of a camera, N pictures, D width.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lshma import Detector, Scored
from video import alarms
from video.alarms import Alarm, Rule, Seen
from video.cameras import Camera
from video.encoders import Encoder
from video.evidence import Evidence
from video.journal import Journal
from video.pictures import crops_of
from video.readers import Begins, Happened, How, Reader, Taken
from video.snippets import vectors_of

SNIPPETS_AT_ONCE = 64  # of all cameras together
FILES_AT_ONCE = 8  # that are decoded at a time
SAVED_EVERY = 5.0  # seconds between two states of a camera in the journal
DROPS_TOLD_EVERY = 30.0  # seconds


class Timing(NamedTuple):
    """When a snippet was."""

    number: int
    start: float
    end: float
    wall: float  # NaN = of a file


@dataclass
class Watched:
    """A camera that is watched: what is known of it beside the model's memory."""

    camera: Camera
    reader: Reader | None = None
    stream: str = ""  # what its alarms and scores are of: a file, or a live camera since its memory is new
    alarm: alarms.State = alarms.NEW
    timings: deque[Timing] = field(default_factory=deque)  # of snippets whose scores are not known yet
    position: int = 0  # snippets seen of the stream
    evidence: Evidence | None = None
    saved: float = 0.0
    n_dropped: int = 0  # that have been told
    drops_told: float = 0.0
    finished: bool = False
    failed: str = ""


class Watch:
    """All cameras, until files have ended or somebody stops it."""

    def __init__(
        self,
        detector: Detector,
        encoder: Encoder,
        cameras: Sequence[Camera],
        how: How,
        journal: Journal,
        rule: Rule | None,
        evidence: Callable[[str], Evidence],
        announce: Callable[[str, Alarm | Happened], None],
    ):
        """rule: None raises no alarms."""
        self.detector, self.encoder, self.how, self.journal = detector, encoder, how, journal
        self.rule, self.announce = rule, announce
        self.streams, self.changed = detector.stream(), threading.Condition()
        self.watched = {camera.name: Watched(camera) for camera in cameras}
        self.waiting = deque(self.watched.values())
        self.told: list[tuple[str, Alarm | Happened]] = []
        for watched in self.watched.values():
            watched.evidence = evidence(watched.camera.name) if rule else None
            self.resume(watched)

    def resume(self, watched: Watched) -> None:
        """Go on where an earlier watch was, if there was one."""
        camera = watched.camera
        self.streams.add(camera.name)
        self.journal.camera(camera.name, camera.shown, camera.live)
        watched.stream = self.journal.identity(camera) if not camera.live else ""
        saved = self.journal.saved(camera.name)
        if saved is None or (not camera.live and saved.stream != watched.stream):
            return
        if saved.finished:
            watched.finished = True
        ...
