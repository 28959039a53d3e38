"""Stopping a run without tearing what it is doing: Ctrl-C and SIGTERM, held back while state changes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Signals:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, but not inside `held`: there they wait for its end."""

    def __init__(self):
        self.holding = self.asked = False

    def __enter__(self) -> None:
        self.before = {number: signal.signal(number, self.handle) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def handle(self, *_) -> None:
        self.asked = True
        if not self.holding:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        self.holding = True
        try:
            yield
        finally:
            self.holding = False
        if self.asked:
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """From here to the end of the process neither stops anything: the run is being saved."""
        for number in self.before:
            signal.signal(number, signal.SIG_IGN)
        self.before = {}
