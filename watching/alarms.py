"""When a camera's scores are an alarm: a value per camera, moved on by every scored snippet; no clocks, no files.

    state = State()
    state, news = advance(state, seen, rule, camera="door", stream="...")  # alarms that begin, rise or end with this snippet
    news = finish(state)  # the stream has ended

An alarm begins with the first snippet that scores `on` or more, once `least` snippets have scored `off` or more without a
break; it ends with the last such snippet, once `pause` snippets have scored less. What rises again before is the same alarm.
"""

import hashlib
import json
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What is an alarm: `Rule.at(...)`, or `Rule(...).checked()`."""

    on: float  # scores, 0 < off <= on
    off: float
    least: int  # snippets, 1 or more: shorter ones are no alarm
    pause: int  # snippets, 1 or more: shorter ones end no alarm

    @classmethod
    def at(cls, on: float, share: float, least: int, pause: int) -> "Rule":
        """The rule that is off where the odds, p / (1 - p), are below this share of those at `on`.

        Of small scores it is that share of the score too; near 1 it still is a step in logits. Raises ValueError.
        """
        if not (0 < on <= 1 and 0 < share <= 1):
            raise ValueError(f"an alarm is on at {on!r} and off below a share of {share!r} of it: both are above 0, at most 1")
        return cls(on, min(on, share * on / (1 - on + share * on)), least, pause).checked()

    def checked(self) -> "Rule":
        """The rule. Raises ValueError where it makes no sense."""
        if not 0 < self.off <= self.on <= 1:
            raise ValueError(f"an alarm is on at {self.on!r} and off below {self.off!r}: expected 0 < off <= on <= 1")
        if min(self.least, self.pause) < 1:
            raise ValueError(f"an alarm of {self.least} snippets, a pause of {self.pause}: expected 1 or more")
        return self


class Seen(NamedTuple):
    """A scored snippet."""

    number: int  # in its stream
    time: float  # stream seconds of its start
    end: float
    wall: float | None  # unix seconds of its start; None for files
    score: float
    exit_layer: int


class Alarm(NamedTuple):
    """One event as far as it is known."""

    camera: str
    stream: str  # an identifier
    first: int  # the number of the snippet it begins with
    start: float  # stream seconds
    peak: float
    end: float | None  # None while it lasts
    wall_start: float | None  # unix seconds; None for files
    wall_peak: float | None
    wall_end: float | None
    score: float  # of the peak
    exit_layer: int

    @property
    def id(self) -> str:
        """The same for the same camera, stream and first snippet, whenever it is asked for: 16 hexadecimal digits."""
        what = json.dumps([self.camera, self.stream, int(self.first)])
        return hashlib.sha256(what.encode()).hexdigest()[:16]


class State(NamedTuple):
    """What a camera's alarms need to go on."""

    alarm: Alarm | None = None  # that lasts, or may become one: its end is None
    raised: bool = False
    length: int = 0  # snippets since its start, until it is raised
    below: int = 0  # snippets since the last that scored `off` or more
    end: float = 0.0  # of that snippet
    wall_end: float | None = None

    def to_json(self) -> list[Any]:
        """Plain values; `from_json` makes them the same state, to the bit."""
        return [self.alarm and list(self.alarm), *self[1:]]

    @classmethod
    def from_json(cls, values: list[Any]) -> "State":
        return cls(values[0] and Alarm(*values[0]), *values[1:])


def advance(state: State, seen: Seen, rule: Rule, camera: str, stream: str) -> tuple[State, list[Alarm]]:
    """The state after a stream's next snippet, and the alarms that begin, get a higher peak or end with it."""
    if seen.score < rule.off:
        below = state.below + 1
        if state.raised and below < rule.pause:
            return state._replace(below=below), []
        return State(), finish(state)
    if state.alarm is None and seen.score < rule.on:
        return state, []
    alarm, length = state.alarm or beginning(seen, camera, stream), state.length + (not state.raised)
    higher = seen.score > alarm.score
    if higher:
        alarm = alarm._replace(peak=seen.time, wall_peak=seen.wall, score=seen.score, exit_layer=seen.exit_layer)
    raised = state.raised or length >= rule.least
    wall_end = None if seen.wall is None else seen.wall + seen.end - seen.time
    news = [alarm] if raised and (higher or not state.raised) else []
    return State(alarm, raised, length, 0, seen.end, wall_end), news


def beginning(seen: Seen, camera: str, stream: str) -> Alarm:
    """An alarm that this snippet is the first and the peak of."""
    times, walls = (seen.time, seen.time, None), (seen.wall, seen.wall, None)
    return Alarm(camera, stream, seen.number, *times, *walls, seen.score, seen.exit_layer)


def finish(state: State) -> list[Alarm]:
    """The alarm that lasts, ended, for nothing more will come; what was too short to be raised is none."""
    return [state.alarm._replace(end=state.end, wall_end=state.wall_end)] if state.alarm and state.raised else []
