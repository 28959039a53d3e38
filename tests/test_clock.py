"""The time of live sources, whose clocks jump, stand still, run backwards, or are made up."""

from types import SimpleNamespace

import numpy as np
import pytest

from video.decode import Frame
from watching import clock
from watching.clock import Clock

SNIPPET = 16 / 30  # seconds


class Wall:
    """A clock that goes on when it is told to, in the place of the machine's."""

    def __init__(self):
        self.now, self.waited = 100.0, 0.0

    def monotonic(self):
        return self.now

    def wait(self, seconds):
        self.now, self.waited = self.now + seconds, self.waited + seconds

    def frames(self, times, passing):
        for number, told in enumerate(times):
            yield Frame(number, told, None)
            self.now += passing[number] if np.ndim(passing) else passing


@pytest.fixture
def wall(monkeypatch):
    wall = Wall()
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=wall.monotonic))
    return wall


def steadied(wall, times, passing, timed=True, forget_after=60.0):
    made = Clock(SNIPPET, forget_after, timed=timed, wait=wall.wait)
    return made, np.array([frame.time for frame in made.steady(wall.frames(times, passing))])


T = np.arange(300) / 30  # ten seconds of 30 frames a second
LIES = {
    "right": T,
    "starts late": T + 5000,
    "jumps ahead": T + 1000 * (T > 4),
    "jumps back": T - 1000 * (T > 4),
    "a little back": T - 0.3 * (T > 4),
    "stands still": np.minimum(T, 4),
    "backwards": -T,
    "zero": 0 * T,
    "wild": np.random.default_rng(0).normal(0, 1e6, 300),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_clock_that_lies_does_no_harm(wall, lie):
    made, times = steadied(wall, LIES[lie], 1 / 30)
    assert made.n_gaps == 0 and wall.waited == 0
    assert np.allclose(times, T, atol=1e-6)


def test_made_up_times_are_not_believed(wall):
    """Of MJPEG by HTTP FFmpeg says 25 frames a second, whatever come."""
    for timed, rate in ((False, 8), (True, 25)):
        _, times = steadied(wall, np.arange(80) / 25, 1 / 8, timed=timed)
        assert np.allclose(times, np.arange(80) / rate)


@pytest.mark.parametrize("told", ["both", "the wall's alone"])
def test_a_gap(wall, told):
    passing = np.full(60, 1 / 30)
    passing[29] = 5.0
    seen = np.concatenate([[0], np.cumsum(passing)[:-1]])
    made, times = steadied(wall, seen if told == "both" else np.zeros(60), passing)
    assert made.n_gaps == 1 and made.gap == pytest.approx(5) and np.allclose(times, seen)
    made, times = steadied(wall, seen, passing, forget_after=4)
    assert made.gap == pytest.approx(5) and np.allclose(times[30:], seen[30:] - seen[30])  # what follows is new


def test_a_gap_is_as_long_as_the_streams_clock_says(wall):
    made, times = steadied(wall, np.array([0, 1, 151, 152]) / 30, np.array([1 / 30, 5.2, 1 / 30, 1 / 30]))
    assert made.n_gaps == 1 and np.allclose(times, np.array([0, 1, 151, 152]) / 30)


def test_a_stall_that_is_made_up_for_is_no_gap(wall):
    """The network stood still for 5 s, then all frames came at once: nothing is missing."""
    passing = np.where(np.arange(300) == 100, 5.0, np.where((np.arange(300) > 100) & (np.arange(300) < 250), 1e-4, 1 / 30))
    made, times = steadied(wall, T, passing)
    assert made.n_gaps == 0 and np.allclose(times, T) and wall.waited == 0


def test_a_low_rate_is_no_row_of_gaps(wall):
    made, times = steadied(wall, np.arange(40.0), 1.0)
    assert made.n_gaps == 2 and np.allclose(times, np.arange(40.0))


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("steps", [[*[1e-3] * 9, 0.991], [0.1, 0.8], [1.0, *[0.04] * 30], [2.0, 0.5, 0.6]])
def test_bursts_and_a_rate_that_changes_are_no_row_of_gaps(wall, steps, timed):
    """A camera that a proxy gives in bursts was cut at each, and never scored."""
    passing = np.resize(steps, 600)
    made, times = steadied(wall, np.cumsum(passing) - passing, passing, timed=timed)
    assert made.n_gaps == 2 and np.allclose(times, np.cumsum(passing) - passing)


def test_an_outage_makes_no_low_rate_of_what_follows(wall):
    passing = np.full(200, 1 / 25)
    passing[[100, 125]] = 5.0, 9.0
    assert steadied(wall, np.cumsum(passing) - passing, passing)[0].n_gaps == 2


def test_a_file_by_http_comes_at_its_own_rate(wall):
    made, times = steadied(wall, np.arange(3000) / 30, 1e-3)
    assert made.n_gaps == 0 and np.allclose(times, np.arange(3000) / 30)
    assert wall.now - 100 == pytest.approx((100 - clock.AHEAD) / clock.LEEWAY, abs=1)
