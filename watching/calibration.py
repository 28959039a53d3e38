"""From the scores of normal footage to a threshold that raises so many false alarms an hour, and how sure that is.

    found = calibrate(scores, snippet_seconds, rate=1.0, share=0.5, least=2, pause=4)
    print(found.in_words())

Alarms are counted by `alarms.advance` itself. Scores are float64: near 1, thresholds are told apart as far as that can.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from watching.alarms import Alarm, Rule, Seen, State, advance, finish

SURE = 0.95


class Calibration(NamedTuple):
    """A rule, and what it does on the footage that it was found on."""

    rule: Rule
    wanted: float  # alarms an hour, at most
    n_alarms: int
    hours: float
    hours_alarmed: float  # for which its alarms last

    @property
    def bound(self) -> float:
        """Alarms an hour that the true rate is below, with 95 % confidence."""
        return most_likely(self.n_alarms) / self.hours

    def in_words(self) -> str:
        """Some lines that a person reads."""
        rate = f"{self.n_alarms / self.hours:.3g} an hour, and with {SURE:.0%} confidence fewer than {self.bound:.3g}"
        said = [
            f"threshold {self.rule.on!r}, off below {self.rule.off!r}",
            f"{self.n_alarms} alarms in {lasting(self.hours)} of normal footage: {rate}",
        ]
        if self.bound > self.wanted:
            enough = lasting(most_likely(self.n_alarms) / self.wanted)
            said.append(f"too short to show that there are at most {self.wanted:g}: that takes {enough} with no more alarms")
        if self.hours_alarmed > 0.1 * self.hours:
            said.append(f"alarms last for {self.hours_alarmed / self.hours:.0%} of the time: is all of this footage normal?")
        return "\n".join(said)


def most_likely(n: int) -> float:
    """The mean of a Poisson distribution that leaves n or fewer a probability of 5 %."""
    return float(chi2.ppf(SURE, 2 * n + 2) / 2)


def lasting(hours: float) -> str:
    """2.5 hours, 20 minutes or 12 seconds."""
    unit, n = ("hours", 1) if hours >= 1 else ("minutes", 60) if hours >= 1 / 60 else ("seconds", 3600)
    return f"{hours * n:.3g} {unit}"


def calibrate(
    streams: Sequence[np.ndarray], seconds: float | Sequence[float], *, rate: float, share: float, least: int, pause: int
) -> Calibration:
    """The threshold that will do, where the next lower score as the threshold would not; found from the highest score down.

    It will do where its alarms are at most `rate` an hour, and last for at most half of the time. Where the highest score will
    not, the threshold is above it.

    Args:
        streams: (L,) float64 scores in [0, 1] of each stream's snippets. seconds: of a snippet, or of one of each stream.
        share, least, pause: as `Rule.at` takes them.
    Raises ValueError where there are no scores, or they are not finite, or no threshold up to 1 will do.
    """
    streams = [np.asarray(scores, np.float64) for scores in streams]
    together = np.concatenate([*streams, []])
    if not len(together) or not np.isfinite(together).all():
        found = "some that are NaN or infinite" if len(together) else "none"
        raise ValueError(f"expected scores of normal footage, found {found}")
    hours = sum(len(scores) * of for scores, of in zip(streams, np.broadcast_to(seconds, len(streams)), strict=True)) / 3600
    highest = np.unique(together)[::-1]
    thresholds = np.concatenate(([np.nextafter(highest[0], 2)], highest[highest > 0]))

    def rule_of(i: int) -> Rule:
        return Rule.at(float(thresholds[i]), share, least, pause)

    def will_do(i: int) -> bool:
        n_alarms, n_alarmed = count(streams, rule_of(i))
        return n_alarms <= rate * hours and n_alarmed <= len(together) / 2

    best = last_true(will_do, len(thresholds))  # no score reaches the first
    if thresholds[best] > 1:
        raise ValueError(
            f"no threshold raises at most {rate:g} alarms an hour on this footage: its scores are as high as scores can be; "
            "it is not normal, or the model was trained on other features"
        )
    n_alarms, n_alarmed = count(streams, rule_of(best))
    return Calibration(rule_of(best), rate, n_alarms, hours, hours * n_alarmed / len(together))


def last_true(holds: Callable[[int], bool], n: int) -> int:
    """The last of 0 to n - 1 for which it holds, which it does for 0; where it does not, it is to hold for none that follow."""
    good, bad, step = 0, n, 1
    while bad - good > 1:
        i = min(good + step, (good + bad) // 2) if bad < n else min(good + step, n - 1)
        if holds(i):
            good, step = i, step * 2
        else:
            bad = i
    return good


def count(streams: Sequence[np.ndarray], rule: Rule) -> tuple[int, int]:
    """How many alarms the rule raises, and for how many snippets they last."""
    alarms = [alarm for scores in streams for alarm in alarms_of(scores, rule)]
    return len(alarms), round(sum(alarm.end - alarm.start for alarm in alarms))


def alarms_of(scores: np.ndarray, rule: Rule) -> Iterator[Alarm]:
    """The alarms of a whole stream, ended; their times are in snippets."""
    high, values, i = np.flatnonzero(scores >= rule.on), scores.tolist(), 0
    while (at := np.searchsorted(high, i)) < len(high):  # while there is no alarm, lower scores change nothing
        i, state, news = int(high[at]), State(), []
        while i < len(values):
            state, news = advance(state, Seen(i, i, i + 1, None, values[i], 0), rule, "", "")
            i += 1
            if state.alarm is None:
                break
        yield from finish(state) or [alarm for alarm in news if alarm.end is not None]
