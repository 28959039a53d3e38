"""What a person, or a program, is told of a watch: a line each."""

import json
import time
from typing import Any, TextIO

from evaluation.figures import clock
from watching.alarms import Alarm
from watching.watched import Told


def in_words(told: Told) -> str | None:
    """A line for a person, `door: ALARM since 0:42, score 0.93 at 0:43`; None of what only a program wants to know."""
    what = told.what
    if not isinstance(what, Alarm):
        return f"{told.camera}: {what.kind}: {what.text}" if what.text else f"{told.camera}: {what.kind}"
    score, peak = f"score {what.score:.2f}", moment(what.peak, what.wall_peak)
    if told.news == "rises":
        return None
    if told.news in ("begins", "lasts"):
        return f"{told.camera}: ALARM since {moment(what.start, what.wall_start)}, {score} at {peak}"
    lasted = f"{moment(what.start, what.wall_start)} to {moment(what.end, what.wall_end)}, {what.end - what.start:.1f} s"
    return f"{told.camera}: alarm ended: {lasted}, {score} at {peak}"


def message_of(told: Told) -> dict[str, Any]:
    """What a program is told: `kind` is alarm, or what happened to a camera; times in seconds, of the stream and since 1970."""
    what = told.what
    if isinstance(what, Alarm):
        return {"kind": "alarm", "news": told.news, "id": what.id} | what._asdict()
    return {"kind": what.kind, "camera": told.camera, "wall": time.time(), "text": what.text}


def print_words(told: Told) -> None:
    if line := in_words(told):
        print(line)


def print_failures(told: Told) -> None:
    """What goes wrong alone."""
    if told.what.kind in ("failed", "damaged"):
        print_words(told)


def print_json(told: Told, out: TextIO) -> None:
    print(json.dumps(message_of(told), ensure_ascii=False), file=out)


def moment(stream: float, wall: float | None) -> str:
    """Of a file the time in it; of a live camera the wall's."""
    return clock(stream) if wall is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall))


def counted(n: int, what: str) -> str:
    """`1 alarm`, `2 alarms`"""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
