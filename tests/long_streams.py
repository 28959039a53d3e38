"""That a stream never costs more with its length, and takes nothing from others.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/long_streams.py --streams 1000 --clips 1000000

Streams of a small model get snippets in numbers of their own, some lost (zeros), some that are refused (NaN), and begin anew at
random. Prints, for each tenth of the clips, the time of the processor a clip, also against fresh streams given the same in
turn, the memory of the process and its open files; in the end, how far some streams are from what they are alone.
"""

import argparse
import os
import statistics
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from conftest import WIDTH, make_model

import lshma
from option import parse, resolve_variant
from running.loading import ready
from ucf_option import parser

PARTS = 10
LOST, ANEW = 0.02, 0.002  # shares of snippets, and of pushes after which a stream begins anew
LOOKED_AT = 13  # streams
IN_TURN = 8  # turns of a part that fresh streams take too
NOTHING = np.full((1, WIDTH), np.nan, np.float32)


class Crowd:
    """The streams, and of those that are looked at what they were given since they began, and said."""

    def __init__(self, n_streams: int):
        options = parse(parser, ["--visual-width", str(WIDTH), "--keyclip-test", "--forgetting", "salience"])
        resolve_variant(options)
        made = make_model(layers=options.visual_layers, p=options.p, forgetting=options.forgetting)
        self.detector = lshma.Detector(ready(made, options, torch.device("cpu")), options, torch.device("cpu"))
        self.names, self.rng = [f"camera {i}" for i in range(n_streams)], np.random.default_rng(0)
        self.streams = self.fresh_streams()
        looked_at = self.names[:: max(1, n_streams // LOOKED_AT)]
        self.given, self.said = ({name: [] for name in looked_at} for _ in range(2))
        self.n_alone, self.apart = 0, 0.0

    def fresh_streams(self) -> lshma.Streams:
        streams = self.detector.stream()
        streams.add(*self.names)
        return streams

    def coming(self) -> dict[str, np.ndarray]:
        """The next snippets of about half of the streams, one to six each."""
        rng = self.rng
        sizes = {name: rng.integers(1, 7) for name in self.names if rng.random() < 0.5}
        new = {name: rng.standard_normal((n, WIDTH)).astype(np.float32) for name, n in sizes.items()}
        for features in new.values():
            features[rng.random(len(features)) < LOST] = 0
        return new

    def push(self, new: dict[str, np.ndarray]) -> tuple[float, int]:
        """The seconds that it takes, and the clips that it scores."""
        seconds, scored = timed(self.streams, new)
        for name in self.given.keys() & new.keys():
            self.given[name].append(new[name])
        for name in self.said.keys() & scored.keys():
            self.said[name].append(scored[name].scores)
        return seconds, sum(len(of.scores) for of in scored.values()) // self.detector.options.attn_window

    def push_fresh(self, new: dict[str, np.ndarray], waiting: dict[str, np.ndarray]) -> float:
        """The seconds that as many streams without a past take, of which the same snippets wait."""
        fresh = self.fresh_streams()
        fresh.push(waiting)
        return timed(fresh, new)[0]

    def disturb(self, names: list[str]) -> None:
        """What cannot be scored changes nothing; some begin anew."""
        with suppress(ValueError):
            self.streams.push(dict.fromkeys(names[:2], NOTHING))
        for name in names:
            if self.rng.random() < ANEW:
                self.look(name)
                self.streams.reset(name)

    def look(self, name: str) -> None:
        """Compare a stream, if it is looked at, with what it says alone."""
        if not self.said.get(name):
            return
        alone = self.detector.stream()
        alone.add(name)
        expected, found = alone.push({name: np.concatenate(self.given[name])})[name].scores, np.concatenate(self.said[name])
        assert len(found) == len(expected)
        self.n_alone, self.apart = self.n_alone + 1, max(self.apart, float(np.abs(found - expected).max()))
        self.given[name], self.said[name] = [], []


def timed(streams: lshma.Streams, new: dict[str, np.ndarray]) -> tuple[float, dict[str, lshma.Scored]]:
    """The processor's seconds of a push, and what it lets know."""
    began = time.process_time()
    scored = streams.push(new)
    return time.process_time() - began, scored


def run(n_streams: int, n_clips: int) -> Crowd:
    """Print what each part of the clips costs."""
    crowd = Crowd(n_streams)
    for part in range(PARTS):
        spent, done, ratios = 0.0, 0, []
        while done < n_clips / PARTS:
            new = crowd.coming()
            waiting = {name: crowd.streams.cameras[name].waiting for name in new}
            seconds, n = crowd.push(new)
            spent, done = spent + seconds, done + n
            if len(ratios) < IN_TURN:
                ratios.append(seconds / crowd.push_fresh(new, waiting))
            crowd.disturb(list(new))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        costs = f"{1e6 * spent / done:.0f} µs a clip, {statistics.median(ratios):.2f} times as of fresh streams"
        memory = f"{pages * os.sysconf('SC_PAGESIZE') / 2**20:.0f} MB, {len(os.listdir('/proc/self/fd'))} files"
        print(f"part {part + 1} of {PARTS}: {costs}; {memory}", flush=True)
    for name in crowd.given:
        crowd.look(name)
    print(f"{crowd.n_alone} stretches of {len(crowd.given)} streams are as they are alone, within {crowd.apart:.1e}")
    return crowd


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--streams", type=int, default=1000)
    asked.add_argument("--clips", type=int, default=1_000_000, help="of all streams together")
    run(**{f"n_{name}": value for name, value in vars(asked.parse_args()).items()})
