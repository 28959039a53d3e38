"""Stopping a run without tearing what it is doing: Ctrl-C, SIGTERM and SIGHUP, held back while state changes."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue

# of a person, of `timeout` or Slurm, of a terminal that closes
STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
EXACT = hasattr(signal, "sigwaitinfo")  # whether this system tells who sent a signal


class Signals:
    """These signals raise KeyboardInterrupt, once, but not inside `held`: there they wait for its end.

    A signal that was ignored when the run began, as SIGHUP under `nohup` is, stays ignored.
    """

    def __init__(self):
        self.holding = self.asked = False
        self.before: dict[int, object] = {}

    def __enter__(self) -> None:
        self.holding = self.asked = False
        for number in STOPS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self.before[number] = signal.signal(number, self.handle)

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        if kind is not KeyboardInterrupt:  # then the process ends, and a second signal must not disturb that
            for number, handler in self.before.items():
                signal.signal(number, handler)

    def handle(self, *_) -> None:
        again, self.asked = self.asked, True
        if not (self.holding or again):
            raise KeyboardInterrupt

    @contextmanager
    def delayed(self) -> Iterator[None]:
        """What is asked in the block is heard by the next `held` that ends."""
        outer, self.holding = self.holding, True
        try:
            yield
        finally:
            self.holding = outer

    @contextmanager
    def held(self) -> Iterator[None]:
        with self.delayed():
            yield
        if self.asked and not self.holding:
            raise KeyboardInterrupt

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Inside `delayed`: they stop this block at once, also what was asked before it."""
        outer, self.holding = self.holding, False
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self.holding = outer

    def ignore(self) -> None:
        """From here to the end of the block none of them stops anything: the run is being saved."""
        self.asked = True


SIGNALS = Signals()  # a process has one set of handlers; who holds or asks anywhere means these


@contextmanager
def blocked() -> Iterator[None]:
    """Signals wait until the block ends; a process that is forked inside begins with them blocked."""
    if not EXACT:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def fail(error: BaseException, _: object) -> None:
    """End a worker process that cannot hand over a batch, as where shared memory is short: whose parent would wait for ever."""
    print(f"a process that reads features: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def hear_children_where_waited_for() -> None:
    """Undo a loader's handler, which raises that a worker has died wherever this process is: the loader itself finds it too."""
    if EXACT and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def obey_parent_alone(worker: int) -> None:
    """Let a worker process, forked while signals were `blocked`, end by the SIGTERM of its parent and by no other signal.

    What stops a run often goes to its whole process group: the main process has to finish its step and save, which it could not
    if the processes that load its data died under it. Stopped while it takes a batch, it hangs up, which is no error to tell.
    """
    Queue._on_queue_feeder_error = staticmethod(fail)
    tell = sys.excepthook
    sys.excepthook = lambda kind, *error: None if issubclass(kind, (EOFError, ConnectionError)) else tell(kind, *error)
    if not EXACT:
        for number in set(STOPS) - {signal.SIGTERM}:
            signal.signal(number, signal.SIG_IGN)
        return
    parent = os.getppid()

    def listen() -> None:
        while True:
            asked = signal.sigwaitinfo(STOPS)
            if asked.si_signo == signal.SIGTERM and asked.si_pid == parent:
                os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    threading.Thread(target=listen, name=f"signals of worker {worker}", daemon=True).start()
