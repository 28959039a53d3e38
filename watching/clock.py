"""The time of a live source, steady whatever its own clock does."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from video.decode import MAX_GAP, Frame

AHEAD = 2.0  # seconds that a source may run before the wall's clock; one that is read faster, as a file by HTTP, is held back
LEEWAY = 1.01  # clocks differ: a source may run so much faster than ours, else it would be held back ever longer
STEPS = 64  # frames; a source with two long steps among them has no gaps, but a low rate, or gives frames in bursts


class Clock:
    """The time of a live source: its own, where that goes on as the wall's does; else the wall's.

    A camera's clock may jump, stand still or run backwards; that is no gap. A gap is what both clocks, or the wall's, show.
    """

    def __init__(self, longest: float, forget_after: float, *, timed: bool, wait: Callable[[float], object] = time.sleep):
        """longest: seconds between two frames that are no gap. timed: whether the source has times of its own."""
        self.longest, self.forget_after, self.timed, self.wait = min(longest, MAX_GAP), forget_after, timed, wait
        self.now, self.n_gaps, self.gap = 0.0, 0, math.inf  # of a source that is new the gap is endless
        self.ahead, self.steps = 0.0, deque(maxlen=STEPS)

    def after(self, gap: float, known: float) -> None:
        """There is a gap of so many seconds since this time: it goes on, or is new as the memory is."""
        self.gap = gap
        self.now = 0.0 if gap > self.forget_after else known + gap

    def steady(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The frames, with times that go on and never back."""
        before = None
        for frame in frames:
            wall = time.monotonic()
            if before is not None:
                self.step(frame.time - before[0], wall - before[1])
            before = frame.time, wall
            yield frame._replace(time=self.now)

    def step(self, told: float, passed: float) -> None:
        """A frame has come: what its own clock says has passed since the last one, and the wall's."""
        longest = self.longest
        if len(self.steps) > 1:  # one long step alone says nothing
            longest = max(longest, min(2 * sorted(self.steps)[-2], MAX_GAP))
        believed = self.timed and told > 0 and (told <= longest or abs(told - passed) < longest)
        step = told if believed else passed
        self.steps.append(step)
        if step > longest:
            self.n_gaps += 1
            self.after(step, self.now)
        else:
            self.now += step
        self.ahead = max(self.ahead + step - LEEWAY * passed, -MAX_GAP)  # so much may come at once after a stall
        if self.ahead > AHEAD:
            self.wait(self.ahead - AHEAD)
